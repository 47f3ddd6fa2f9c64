"""What the local engine reads and writes: facts by the bytes, and every format of speech at its true length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

pytest.importorskip("hibari")

from tests.conftest import length_of
from tests.emulator.engine.footage import footage, presenter
from tests.emulator.engine.measure import sound_of
from voice_provider.emulator.engine import Engine, EngineError
from voice_provider.emulator.engine.encoder import ENCODINGS
from voice_provider.emulator.engine.media import COMMENT, encode_speech, read_audio, upright

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 1.5
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(int(SECONDS * 24_000)) / 24_000)).astype(np.float32)


def code_of(engine: Engine, path: Path) -> str:
    with pytest.raises(EngineError) as caught:
        engine.probe(path)
    assert path.name in str(caught.value)
    return caught.value.code


def test_probe_goes_by_the_bytes_and_not_by_the_name(local: Engine, face: Path, line: Path, tmp_path: Path):
    (tmp_path / "song.mp3").write_bytes(face.read_bytes())
    (tmp_path / "film.mp4").write_bytes(line.read_bytes())
    cv2.imwrite(str(tmp_path / "picture.png"), presenter("A", 0))
    film = local.probe(tmp_path / "song.mp3")
    assert (film.kind, film.format, film.has_audio, film.width, film.height) == ("video", "mp4", True, 480, 270)
    assert (film.seconds, film.fps) == (pytest.approx(2, abs=0.05), pytest.approx(25))
    song = local.probe(tmp_path / "film.mp4")
    assert (song.kind, song.format, song.width, song.fps) == ("audio", "mp3", None, None)
    picture = local.probe(tmp_path / "picture.png")
    assert (picture.kind, picture.seconds, picture.width, picture.height) == ("image", None, 480, 270)


def test_what_is_not_media_is_refused_whatever_it_is_called(local: Engine, face: Path, line: Path, tmp_path: Path):
    whole = face.read_bytes()
    cases = {
        "notes.mp4": b"not a video at all",
        "empty.mp4": b"",
        "header.png": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "half.mp4": whole[: len(whole) // 2],
        "boxes.mp4": b"\0\0\0\x10ftypisom\0\0\0\0",
        "header.wav": b"RIFF\0\0\0\0WAVE",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        assert code_of(local, tmp_path / name) == "not_media", name


def test_a_video_that_is_cut_off_is_refused_also_when_its_header_is_whole(local: Engine, synced: Path, tmp_path: Path):
    whole = synced.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert code_of(local, tmp_path / "cut.mp4") == "not_media"


def test_the_cover_of_a_song_is_not_a_video(local: Engine, line: Path, tmp_path: Path):
    cover = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    body = b"\0image/png\0\3\0" + cover
    frame = b"APIC" + len(body).to_bytes(4) + bytes(2) + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    song = tmp_path / "song.mp3"
    song.write_bytes(b"ID3\3\0\0" + size + frame + line.read_bytes())
    with av.open(str(song)) as container:
        assert container.streams.video  # FFmpeg says so
    assert local.probe(song).kind == "audio"
    with pytest.raises(EngineError) as caught:
        local.lip_sync(song, tmp_path / "out.mp4", audio=line)
    assert caught.value.code == "bad_input"


@pytest.mark.parametrize(("form", "rate"), [(form, rate) for form, how in ENCODINGS.items() for rate in how.rates])
def test_speech_in_every_format_is_as_long_as_its_samples(form: str, rate: int, tmp_path: Path):
    path = tmp_path / f"speech.{form}"
    assert encode_speech([TONE[:7001], TONE[7001:]], 24_000, path, form, rate) == pytest.approx(SECONDS)
    if form == "pcm":
        sound = np.frombuffer(path.read_bytes(), "<i2") / 32768
    else:
        with av.open(str(path)) as container:
            assert container.streams.audio[0].rate == rate
        sound = read_audio(path, rate)
    assert sound.size / rate == pytest.approx(SECONDS, abs=0.03)
    middle = sound[rate // 2 : rate]
    assert np.argmax(np.abs(np.fft.rfft(middle))) / 0.5 == pytest.approx(220, abs=4)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_an_mp3_says_its_length_and_how_it_was_made(local: Engine, line: Path):
    seconds = sound_of(line).size / 16_000
    assert length_of(line) == pytest.approx(seconds, abs=0.03)
    assert local.probe(line).seconds == pytest.approx(seconds, abs=0.06)  # the header counts the encoder's padding
    with av.open(str(line)) as container:
        assert container.metadata["comment"] == COMMENT
    assert "approximate" in COMMENT


def test_an_encoding_that_does_not_exist_is_refused(tmp_path: Path):
    for form, rate in (("mp3", 12_345), ("midi", None)):
        with pytest.raises(EngineError) as caught:
            encode_speech([TONE], 24_000, tmp_path / "a", form, rate)
        assert caught.value.code == "bad_input"


def test_an_error_in_the_middle_of_writing_leaves_no_file(tmp_path: Path):
    def pieces():
        yield TONE
        raise RuntimeError

    with pytest.raises(RuntimeError):
        encode_speech(pieces(), 24_000, tmp_path / "a.mp3")
    assert list(tmp_path.iterdir()) == []


def test_stereo_becomes_mono_at_the_same_level(tmp_path: Path):
    one, two = (
        footage(tmp_path / "1.mp4", frames=25, tone="mono"),
        footage(tmp_path / "2.mp4", frames=25, tone="stereo"),
    )
    levels = [float(np.sqrt(np.mean(read_audio(path, 16_000) ** 2))) for path in (one, two)]
    assert levels[1] == pytest.approx(levels[0], rel=0.05)


def test_reading_stops_at_the_limit(line: Path):
    assert read_audio(line, 24_000, max_seconds=1.25).size == 30_000


@pytest.mark.parametrize(
    ("degrees", "shape", "corner"),
    [(0, (2, 4), (0, 0)), (90, (4, 2), (3, 0)), (-90, (4, 2), (0, 1)), (180, (2, 4), (1, 3)), (270, (4, 2), (0, 1))],
)
def test_a_frame_is_turned_counterclockwise_by_its_rotation(
    degrees: int, shape: tuple[int, int], corner: tuple[int, int]
):
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[0, 0] = 255
    turned = upright(SimpleNamespace(rotation=degrees, to_ndarray=lambda **_: picture))
    assert turned.shape[:2] == shape
    assert tuple(np.argwhere(turned[..., 0])[0]) == corner
