"""The local engine's lip sync: the mouth follows the sound, and pictures and sound are where they should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

pytest.importorskip("hibari")

from tests.emulator.engine.footage import (
    SIZE,
    footage,
    loudness,
    mouth_moves,
    numbers_of,
    pictures_of,
    presenter,
)
from tests.emulator.engine.measure import RATE, measure, sound_of
from voice_provider.emulator.engine import Engine, EngineError, Segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Say = Callable[[float], Path]

MOVED, KEPT = 45, 30  # difference of grey levels around a mouth that speaks, and around one that does not


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as caught:
        call()
    return caught.value.code


def test_the_mouth_follows_the_line(synced: Path, line: Path):
    found = measure(synced, line)
    assert found.streams == {"video": 1, "audio": 1}
    assert found.seconds == pytest.approx(found.speech_seconds, abs=0.05)
    assert abs(found.audio_offset) <= 0.15
    assert found.correlation_smoothed >= 0.9
    assert found.correlation_plain >= 0.8


def test_temperature_opens_the_mouth_wider(local: Engine, face: Path, say: Say, tmp_path: Path):
    changed = []
    for temperature in (0.0, 1.0):
        local.lip_sync(face, tmp_path / "out.mp4", audio=say(2), temperature=temperature)
        pairs = zip(pictures_of(face), pictures_of(tmp_path / "out.mp4"), strict=True)
        changed.append(sum(int((cv2.absdiff(a, b) > MOVED).sum()) for a, b in pairs))
    assert changed[1] > 1.3 * changed[0]


# ---------------------------------------------------------------- lengths that differ

LONGER, SHORTER = 1.6, 0.6
ORDERS = {
    ("bounce", LONGER): [*range(25), *range(24, 9, -1)],
    ("loop", LONGER): [*range(25), *range(15)],
    ("cut_off", LONGER): [*range(25)],
    ("silence", LONGER): [*range(25), *([24] * 15)],
    ("remap", LONGER): [int((number + 0.5) * 5 / 8) for number in range(40)],
    ("bounce", SHORTER): [*range(15)],
    ("loop", SHORTER): [*range(15)],
    ("cut_off", SHORTER): [*range(15)],
    ("silence", SHORTER): [*range(25)],
    ("remap", SHORTER): [int((number + 0.5) * 5 / 3) for number in range(15)],
}


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a numbered presenter, with a tone."""
    return footage(tmp_path_factory.mktemp("second") / "second.mp4", frames=25, tone="mono")


@pytest.mark.parametrize(("mode", "seconds"), ORDERS)
def test_each_mode_shows_the_right_frames_for_as_long_as_it_should(
    local: Engine, second: Path, say: Say, tmp_path: Path, mode: str, seconds: float
):
    result = local.lip_sync(second, tmp_path / "out.mp4", audio=say(seconds), sync_mode=mode)
    expected = ORDERS[mode, seconds]
    assert (result.frames, result.seconds) == (len(expected), pytest.approx(len(expected) / 25))
    shown = numbers_of(tmp_path / "out.mp4")
    assert max(abs(np.subtract(shown, expected))) <= (mode == "remap")  # where a frame ends exactly, either one will do
    assert sound_of(tmp_path / "out.mp4").size / RATE == pytest.approx(result.seconds, abs=0.05)
    said = min(seconds, result.seconds)
    assert loudness(tmp_path / "out.mp4", said - 0.4, said) > 0.05
    if said < result.seconds:
        assert loudness(tmp_path / "out.mp4", said + 0.1, result.seconds) < 0.001


def test_several_rounds_of_a_short_video(local: Engine, say: Say, tmp_path: Path):
    footage(tmp_path / "short.mp4", frames=10)
    local.lip_sync(tmp_path / "short.mp4", tmp_path / "out.mp4", audio=say(1.2), sync_mode="bounce")
    there, back = [*range(10)], [*range(9, -1, -1)]
    assert numbers_of(tmp_path / "out.mp4") == there + back + there


# ---------------------------------------------------------------- segments


def test_only_segments_speak_and_the_rest_keeps_its_sound(local: Engine, face: Path, say: Say, tmp_path: Path):
    segments = [Segment(1.2, 1.6, say(3), audio_start=0.5, audio_end=2.5), Segment(0.4, 0.8, say(3))]
    result = local.lip_sync(face, tmp_path / "out.mp4", segments=segments, sync_mode="loop")
    assert result.seconds == pytest.approx(2)
    moves = np.array(mouth_moves(face, tmp_path / "out.mp4"))
    inside = np.zeros(50, bool)
    inside[10:20] = inside[30:40] = True
    assert moves[inside].max() > MOVED
    assert np.median(moves[inside]) > moves[~inside].max()
    assert moves[~inside].max() < KEPT
    heard, said, tone = sound_of(tmp_path / "out.mp4"), sound_of(say(3)), sound_of(face)
    for start, end, source, offset in (
        (0.45, 0.75, said, -0.4),
        (1.25, 1.55, said, 0.5 - 1.2),
        (0.1, 0.35, tone, 0),
        (1.65, 1.95, tone, 0),
    ):
        part = heard[int(start * RATE) : int(end * RATE)]
        wanted = source[round((start + offset) * RATE) :][: part.size]
        assert np.corrcoef(part, wanted)[0, 1] > 0.95, (start, end)


def test_a_segment_that_is_longer_than_its_audio_ends_in_silence(local: Engine, face: Path, say: Say, tmp_path: Path):
    segment = Segment(0.2, 1.8, say(3), audio_start=1.0, audio_end=1.5)
    local.lip_sync(face, tmp_path / "out.mp4", segments=[segment])
    assert loudness(tmp_path / "out.mp4", 0.3, 0.6) > 0.05
    assert loudness(tmp_path / "out.mp4", 0.85, 1.7) < 0.005
    assert loudness(tmp_path / "out.mp4", 1.85, 2.0) > 0.05
    assert max(mouth_moves(face, tmp_path / "out.mp4")[24:44]) < KEPT


def test_a_silent_video_may_have_segments(local: Engine, say: Say, tmp_path: Path):
    footage(tmp_path / "silent.mp4")
    local.lip_sync(tmp_path / "silent.mp4", tmp_path / "out.mp4", segments=[Segment(0.5, 1, say(3))])
    assert loudness(tmp_path / "out.mp4", 0, 0.4) < 0.001
    assert loudness(tmp_path / "out.mp4", 0.55, 0.95) > 0.05


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a presenter in few frames."""
    return footage(tmp_path_factory.mktemp("slow") / "slow.mp4", frames=10, rate=Fraction(5))


@pytest.mark.parametrize(
    "spans",
    [
        [(0.0, 1.0), (0.5, 1.5)],
        [(0.0, 0.0)],
        [(1.0, 0.5)],
        [(-0.5, 0.5)],
        [(1.0, 9.0)],
        [(0.0, 1.0, 2.0, 1.0)],
        [(0.0, 1.0, -1.0)],
        [(0.0, 1.0, 3.5)],
    ],
)
def test_segments_that_make_no_sense_are_refused(
    local: Engine, slow: Path, say: Say, tmp_path: Path, spans: list[tuple[float, ...]]
):
    segments = [Segment(start, end, say(3), *part) for start, end, *part in spans]
    assert code_of(lambda: local.lip_sync(slow, tmp_path / "out.mp4", segments=segments)) == "bad_segments"
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- pictures, speakers


def test_a_picture_speaks_at_25_frames_a_second_for_as_long_as_its_audio(local: Engine, say: Say, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "face.png"), cv2.cvtColor(presenter("B", 0), cv2.COLOR_RGB2BGR))
    for mode in ("cut_off", "bounce", "silence"):
        result = local.lip_sync(tmp_path / "face.png", tmp_path / "out.mp4", audio=say(1.2), sync_mode=mode)
        assert (result.fps, result.frames, result.seconds) == (25, 30, pytest.approx(1.2))
    pictures = pictures_of(tmp_path / "out.mp4")
    assert max(float(cv2.absdiff(pictures[0], other).max()) for other in pictures) > MOVED


def test_a_picture_with_segments_lasts_until_the_last_one_ends(local: Engine, say: Say, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "face.png"), cv2.cvtColor(presenter("B", 0), cv2.COLOR_RGB2BGR))
    segments = [Segment(0.2, 0.6, say(1)), Segment(1, 1.4, say(1))]
    result = local.lip_sync(tmp_path / "face.png", tmp_path / "out.mp4", segments=segments)
    assert result.seconds == pytest.approx(1.4)
    assert loudness(tmp_path / "out.mp4", 0.65, 0.95) < 0.005


@pytest.fixture(scope="module")
def couple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of two presenters side by side."""

    def two(number: int) -> np.ndarray:
        return np.hstack([presenter("A", number / 25), presenter("B", number / 25)])

    return footage(tmp_path_factory.mktemp("couple") / "two.mp4", frames=25, picture=two)


@pytest.mark.parametrize(("speaker", "left"), [((240, 160), True), ((650, 150), False), (None, None)])
def test_the_speaker_is_the_face_that_is_pointed_at(
    local: Engine, couple: Path, say: Say, tmp_path: Path, speaker: tuple[float, float] | None, left: bool | None
):
    local.lip_sync(couple, tmp_path / "out.mp4", audio=say(1), speaker=speaker)
    moves = [max(mouth_moves(couple, tmp_path / "out.mp4", *half)) for half in ((0, 0.5), (0.5, 1))]
    assert max(moves) > MOVED
    assert min(moves) < KEPT
    if left is not None:
        assert (moves[0] > moves[1]) == left


def test_a_speaker_who_is_gone_for_a_moment_is_not_mistaken_for_the_neighbour(local: Engine, say: Say, tmp_path: Path):
    def two(number: int) -> np.ndarray:
        first = presenter("A", number / 25)
        return np.hstack([cv2.flip(first, 0) if 8 <= number < 20 else first, presenter("B", number / 25)])

    footage(tmp_path / "two.mp4", picture=two)
    local.lip_sync(tmp_path / "two.mp4", tmp_path / "out.mp4", audio=say(2), speaker=(240, 150))
    assert max(mouth_moves(tmp_path / "two.mp4", tmp_path / "out.mp4", 0.5, 1)) < KEPT
    assert max(mouth_moves(tmp_path / "two.mp4", tmp_path / "out.mp4", 0, 0.5)[30:]) > MOVED


# ---------------------------------------------------------------- refusals, progress, threads


def test_without_a_face_nothing_is_written(local: Engine, say: Say, tmp_path: Path):
    wall = np.full((SIZE[1], SIZE[0], 3), 170, np.uint8)
    footage(tmp_path / "wall.mp4", frames=5, picture=lambda _: wall.copy())
    cv2.imwrite(str(tmp_path / "wall.png"), wall)
    for name in ("wall.mp4", "wall.png"):
        output = tmp_path / f"{name}.out.mp4"
        with pytest.raises(EngineError, match=name) as caught:
            local.lip_sync(tmp_path / name, output, audio=say(1.2))
        assert caught.value.code == "no_face"
        assert not output.exists()


def test_what_cannot_be_read_is_refused_and_nothing_is_written(
    local: Engine, face: Path, synced: Path, say: Say, tmp_path: Path
):
    (tmp_path / "notes.mp4").write_text("not a video at all")
    (tmp_path / "cut.mp4").write_bytes(synced.read_bytes()[: synced.stat().st_size // 2])
    footage(tmp_path / "silent.mp4", frames=3)
    output = tmp_path / "out.mp4"
    for visual, audio, code in (
        (tmp_path / "notes.mp4", say(3), "not_media"),
        (tmp_path / "cut.mp4", say(3), "not_media"),
        (face, tmp_path / "notes.mp4", "not_media"),
        (face, tmp_path / "cut.mp4", "not_media"),
        (face, tmp_path / "silent.mp4", "no_audio"),
        (say(3), say(3), "bad_input"),
    ):
        assert code_of(lambda v=visual, a=audio: local.lip_sync(v, output, audio=a)) == code
        assert not output.exists()


def test_one_driver_and_a_known_mode_are_wanted(local: Engine, face: Path, say: Say, tmp_path: Path):
    for arguments in (
        {},
        {"audio": say(3), "segments": [Segment(0, 1, say(3))]},
        {"audio": say(3), "sync_mode": "backwards"},
        {"segments": [Segment(0, 1, say(3))], "sync_mode": "backwards"},
    ):
        assert code_of(lambda given=arguments: local.lip_sync(face, tmp_path / "out.mp4", **given)) == "bad_input"


def test_an_error_while_it_is_written_leaves_no_file(local: Engine, face: Path, say: Say, tmp_path: Path):
    def stop(share: float) -> None:
        if share > 0.7:
            assert list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.lip_sync(face, tmp_path / "out.mp4", audio=say(1.2), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_grows_from_0_to_1(local: Engine, face: Path, say: Say, tmp_path: Path):
    shares: list[float] = []
    local.lip_sync(face, tmp_path / "out.mp4", audio=say(1.2), progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 50
    assert shares[0] < 0.1
    assert shares[-1] == 1
    assert max(np.diff(shares)) < 0.1


def test_two_threads_at_once_do_what_one_does(local: Engine, face: Path, learnt: Path, say: Say, tmp_path: Path):
    audio = say(1.2)

    def work(name: str) -> tuple[bytes, bytes]:
        local.speak("One after the other, or both at once.", tmp_path / f"{name}.mp3", voice=learnt)
        local.lip_sync(face, tmp_path / f"{name}.mp4", audio=audio)
        return (tmp_path / f"{name}.mp3").read_bytes(), (tmp_path / f"{name}.mp4").read_bytes()

    alone = work("alone")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ("first", "second"))) == [alone, alone]
