"""Videos that are unlike the demo's: odd sizes and rates, turned phones, lost faces, hardly any sound."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

pytest.importorskip("hibari")

from tests.emulator.engine.footage import footage, loudness, mouth_moves, numbers_of, pictures_of, presenter
from tests.emulator.engine.measure import RATE, sound_of
from voice_provider.emulator.engine import Engine, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Say = Callable[[float], Path]

# What a phone that is held upright writes: stored on its left side, to be turned clockwise by a quarter.
# ISO 14496-12: a pixel (p, q), rows counted downwards, is shown at p * (a, b) + q * (c, d); here (p, q) at (-q, p).
PHONE = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
PORTRAIT = (360, 480)


def test_an_odd_size_loses_a_row_and_a_column(local: Engine, say: Say, tmp_path: Path):
    footage(tmp_path / "odd.mp4", frames=10, size=(639, 359))
    result = local.lip_sync(tmp_path / "odd.mp4", tmp_path / "out.mp4", audio=say(0.4))
    assert (result.width, result.height) == (638, 358)
    assert pictures_of(tmp_path / "out.mp4")[0].shape == (358, 638, 3)


def test_the_rate_of_television_is_kept_exactly(local: Engine, say: Say, tmp_path: Path):
    footage(tmp_path / "ntsc.mp4", frames=30, rate=Fraction(30_000, 1001))
    result = local.lip_sync(tmp_path / "ntsc.mp4", tmp_path / "out.mp4", audio=say(1.2), sync_mode="loop")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(30_000, 1001)
    assert result.frames == 36
    assert numbers_of(tmp_path / "out.mp4") == [*range(30), *range(6)]


@pytest.mark.parametrize("start", [0.0, 1.5])
def test_frames_of_a_variable_rate_are_shown_when_they_are_due(local: Engine, say: Say, tmp_path: Path, start: float):
    steps = [0.04] * 20 + [0.1] * 8 + [0.02] * 20
    times = [round(start + time, 4) for time in accumulate(steps, initial=0.0)]
    footage(tmp_path / "variable.mp4", frames=len(times), times=times)
    result = local.lip_sync(tmp_path / "variable.mp4", tmp_path / "out.mp4", audio=say(2), sync_mode="cut_off")
    for number, shown in enumerate(numbers_of(tmp_path / "out.mp4")):
        due = start + (number + 0.5) / result.fps
        assert abs(times[shown] - due) < 0.11, number
        assert shown == int(np.searchsorted(times, due, side="right")) - 1


def test_what_a_phone_holds_sideways_is_shown_upright(local: Engine, say: Say, tmp_path: Path):
    def portrait(number: int) -> np.ndarray:
        return presenter("A", number / 25, PORTRAIT)

    lying = footage(
        tmp_path / "phone.mp4",
        frames=25,
        picture=portrait,
        matrix=PHONE,
        store=lambda picture: cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE),
    )
    info = local.probe(lying)
    assert (info.width, info.height) == PORTRAIT
    result = local.lip_sync(lying, tmp_path / "out.mp4", audio=say(1))
    assert (result.width, result.height) == PORTRAIT
    assert numbers_of(tmp_path / "out.mp4") == [*range(25)]
    footage(tmp_path / "upright.mp4", frames=25, picture=portrait)
    unmoved, moved = pictures_of(tmp_path / "upright.mp4")[12], pictures_of(tmp_path / "out.mp4")[12]
    assert float(np.median(cv2.absdiff(unmoved, moved))) < 5
    assert max(mouth_moves(tmp_path / "upright.mp4", tmp_path / "out.mp4")) > 40
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_a_video_without_sound_speaks(local: Engine, say: Say, tmp_path: Path):
    footage(tmp_path / "silent.mp4", frames=15)
    assert not local.probe(tmp_path / "silent.mp4").has_audio
    local.lip_sync(tmp_path / "silent.mp4", tmp_path / "out.mp4", audio=say(0.6))
    assert loudness(tmp_path / "out.mp4", 0.1, 0.5) > 0.05


def test_the_sound_of_a_stereo_video_drives(local: Engine, face: Path, tmp_path: Path):
    footage(tmp_path / "stereo.mp4", frames=25, tone="stereo")
    result = local.lip_sync(face, tmp_path / "out.mp4", audio=tmp_path / "stereo.mp4")
    assert result.seconds == pytest.approx(1, abs=0.08)
    heard = sound_of(tmp_path / "out.mp4")[4000:12_000]
    assert np.argmax(np.abs(np.fft.rfft(heard))) * RATE / heard.size == pytest.approx(440, abs=4)


@pytest.mark.parametrize("seconds", [0.01, 0.2])
def test_hardly_any_sound_gives_hardly_any_video(local: Engine, face: Path, say: Say, tmp_path: Path, seconds: float):
    for mode in ("bounce", "remap"):
        result = local.lip_sync(face, tmp_path / "out.mp4", audio=say(seconds), sync_mode=mode)
        assert result.frames == len(pictures_of(tmp_path / "out.mp4")) == max(1, round(seconds * 25))


def test_where_the_face_is_lost_the_picture_stays_as_it_is(local: Engine, say: Say, tmp_path: Path):
    wall = np.full((270, 480, 3), 150, np.uint8)
    footage(
        tmp_path / "lost.mp4",
        frames=55,
        picture=lambda number: wall.copy() if 10 <= number < 45 else presenter("A", number / 25),
    )
    result = local.lip_sync(tmp_path / "lost.mp4", tmp_path / "out.mp4", audio=say(2.2))
    moves = mouth_moves(tmp_path / "lost.mp4", tmp_path / "out.mp4")
    assert result.frames == 55
    assert max(moves[:10]) > 40
    assert max(moves[38:45]) < 12  # more than a second after it was last seen
    assert max(moves[47:]) > 40


def test_a_single_frame_is_enough(local: Engine, say: Say, tmp_path: Path):
    footage(tmp_path / "one.mp4", frames=1)
    for mode in ("bounce", "loop", "silence", "remap"):
        local.lip_sync(tmp_path / "one.mp4", tmp_path / "out.mp4", audio=say(0.4), sync_mode=mode)
        assert numbers_of(tmp_path / "out.mp4") == [0] * 10


@pytest.mark.parametrize("form", ["matroska", "mov", "avi"])
def test_other_containers_are_read(local: Engine, say: Say, tmp_path: Path, form: str):
    footage(tmp_path / "video", frames=20, tone="mono" if form != "avi" else "", form=form)
    local.lip_sync(tmp_path / "video", tmp_path / "out.mp4", audio=say(1.2))
    assert numbers_of(tmp_path / "out.mp4") == [*range(20), *range(19, 9, -1)]


def test_a_video_that_starts_late_bounces_too(local: Engine, say: Say, tmp_path: Path):
    times = [2 + number / 25 for number in range(20)]
    footage(tmp_path / "late.mkv", frames=20, times=times, form="matroska")
    local.lip_sync(tmp_path / "late.mkv", tmp_path / "out.mp4", audio=say(1.2))
    assert numbers_of(tmp_path / "out.mp4") == [*range(20), *range(19, 9, -1)]


def test_a_damaged_middle_is_refused_or_survived_but_never_half_written(
    local: Engine, face: Path, say: Say, tmp_path: Path
):
    content = bytearray(face.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = b"\xff" * 4000
    (tmp_path / "damaged.mp4").write_bytes(content)
    try:
        frames = local.lip_sync(tmp_path / "damaged.mp4", tmp_path / "out.mp4", audio=say(1.2)).frames
    except EngineError:
        frames = 0
    assert (tmp_path / "out.mp4").exists() == bool(frames)
    assert not frames or frames == len(pictures_of(tmp_path / "out.mp4"))
