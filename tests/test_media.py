"""What a file is, and whether all of it is there: read off the bytes, whatever the name says."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voice_provider.media import NotWholeError, inspect, sniff

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider import media

FTYP = b"\0\0\0\x18ftyp"


def whole(data: bytes) -> media.MediaInfo:
    return inspect(io.BytesIO(data), len(data))


def box(name: bytes, content: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(content) if length is None else length, name) + content


def wav(seconds: float = 0.5, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(b"\1\2" * int(seconds * rate))
    return file.getvalue()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A second of video with sound, with the index at the end and at the front."""
    import av
    import numpy as np

    made = {}
    options: dict[str, str]
    for where, options in (("end", {}), ("front", {"movflags": "faststart"})):
        path: Path = tmp_path_factory.mktemp("mp4") / "video.mp4"
        with av.open(str(path), "w", options=options) as container:
            video, audio = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=8000)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(10):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90 + number, np.uint8), format="rgb24")
                container.mux(video.encode(picture))
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            sound.rate, sound.pts = 8000, 0
            for stream, last in ((audio, sound), (audio, None), (video, None)):
                container.mux(stream.encode(last))
        made[where] = path.read_bytes()
    assert made["end"].index(b"moov") > made["end"].index(b"mdat")
    assert made["front"].index(b"moov") < made["front"].index(b"mdat")
    return made


@pytest.mark.parametrize(
    ("head", "extension", "kind"),
    [
        (FTYP + b"isom", "mp4", "video"),
        (FTYP + b"mp42", "mp4", "video"),
        (FTYP + b"a brand of next year", "mp4", "video"),
        (FTYP + b"qt  ", "mov", "video"),
        (FTYP + b"M4A ", "m4a", "audio"),
        (FTYP + b"M4B ", "m4a", "audio"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav", "audio"),
        (b"RIFF\0\0\0\0AVI LIST", "avi", "video"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp", "image"),
        (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x84webm", "webm", "video"),
        (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x88matroska", "mkv", "video"),
        (b"ID3\4\0\0\0\0\0\0", "mp3", "audio"),
        (b"\xff\xfb\x90\x64\0", "mp3", "audio"),
        (b"\xff\xf3\x40\xc0\0", "mp3", "audio"),
        (b"\xff\xe3\x18\xc4\0", "mp3", "audio"),
        (b"\xff\xf1\x50\x80\0", "aac", "audio"),
        (b"\xff\xf9\x50\x80\0", "aac", "audio"),
        (b"OggS\0\2", "ogg", "audio"),
        (b"fLaC\0\0\0\x22", "flac", "audio"),
        (b"\x89PNG\r\n\x1a\n", "png", "image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "jpg", "image"),
    ],
)
def test_a_format_is_known_by_its_first_bytes(head: bytes, extension: str, kind: str) -> None:
    found = sniff(head)
    assert found is not None
    assert (found.extension, found.kind) == (extension, kind)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"R",
        b"RIFF",
        b"RIFF\0\0\0\0????",
        b"Dear diary",
        b"<!DOCTYPE html>",
        b'{"message": "not found"}',
        "A script, saved as Unicode by an editor".encode("utf-16"),
        "A script, saved as Unicode by an editor".encode("utf-16-be"),
        "A script".encode("utf-8-sig"),
        b"\xff\xff\xff\xff\xff\xff",
        b"\xff\xfb\xf0\0",  # an MP3 frame cannot have this bitrate
        b"\xff\xfb\x9c\0",  # nor this sampling rate
        b"\xff\xeb\x90\0",  # nor this version
        b"\xff\xfb",
        FTYP + b"heic",
        FTYP + b"avif",
        b"%PDF-1.7",
        b"PK\3\4",
    ],
)
def test_what_is_no_media_is_not_taken_for_it(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"it is empty \(0 bytes\)"),
        (b"\n <html><title>Access denied</title></html>", "a text or HTML page"),
        (b'{"message": "expired"}', "a text or HTML page"),
        (b"plain words", "its 11 bytes are no audio, video or image"),
        (bytes(5000), "its 5,000 bytes are no audio, video or image"),
    ],
)
def test_what_is_not_whole_says_why(data: bytes, message: str) -> None:
    with pytest.raises(NotWholeError, match=message):
        whole(data)


@pytest.mark.parametrize("where", ["front", "end"])
def test_a_whole_video_is_whole_and_has_its_length(where: str, videos: dict[str, bytes]) -> None:
    info = whole(videos[where])
    assert info.format.extension == "mp4"
    assert info.seconds == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("where", ["front", "end"])
def test_a_video_that_is_cut_anywhere_is_noticed(where: str, videos: dict[str, bytes]) -> None:
    data = videos[where]
    unnoticed = [end for end in range(len(data)) if not _is_cut(data[:end])]
    assert unnoticed == []


def _is_cut(data: bytes) -> bool:
    try:
        whole(data)
    except NotWholeError:
        return True
    return False


def test_a_wav_that_is_cut_anywhere_is_noticed() -> None:
    data = wav(seconds=0.1)
    data += b"LIST" + struct.pack("<I", 4) + b"INFO"
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert whole(data).seconds == pytest.approx(0.1)
    assert [end for end in range(len(data)) if not _is_cut(data[:end])] == []


@given(seconds=st.floats(0.01, 0.5), keep=st.floats(0, 1, exclude_max=True))
def test_a_wav_of_any_length_that_is_cut_is_noticed(seconds: float, keep: float) -> None:
    data = wav(seconds)
    assert whole(data).seconds == pytest.approx(seconds, abs=0.001)
    assert _is_cut(data[: int(len(data) * keep)])


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFE00])
def test_a_wav_that_was_written_to_a_pipe_has_no_sizes_and_is_whole(length: int) -> None:
    data = bytearray(wav())
    at = data.index(b"data")
    data[4:8] = struct.pack("<I", min(length + 36, 0xFFFFFFFF) if length else 0)
    data[at + 4 : at + 8] = struct.pack("<I", length)
    assert whole(bytes(data)).format.extension == "wav"


def test_a_wav_without_its_last_padding_byte_is_whole() -> None:
    sound = b"RIFF" + struct.pack("<I", 4 + 24 + 8 + 3 + 1) + b"WAVE"
    sound += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", 3) + b"abc"
    assert whole(sound).format.extension == "wav"
    assert whole(sound + b"\0").format.extension == "wav"
    assert _is_cut(sound[:-1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"mdat", b"x" * 20), r"the index \(moov\) is missing"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov"), r"the media data \(mdat\) is missing"),
        (
            box(b"ftyp", b"isom\0\0\0\0") + box(b"moov") + box(b"mdat", b"x", length=100),
            "25 of at least|33 of at least",
        ),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov") + b"\0\0", "cut short at byte 26"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", length=3), "cut short: 24 of at least 24"),
    ],
)
def test_a_broken_video_says_what_is_missing(data: bytes, message: str) -> None:
    with pytest.raises(NotWholeError, match=message):
        whole(data)


def test_long_and_open_ended_boxes_are_understood() -> None:
    head = box(b"ftyp", b"isom\0\0\0\0") + box(b"moov")
    long_box = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"12345"
    assert whole(head + long_box).format.extension == "mp4"
    assert whole(head + box(b"mdat", b"to the end", length=0)).format.extension == "mp4"
    assert _is_cut(head + long_box[:-1])


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    _is_cut(data)
    sniff(data)


@settings(max_examples=300)
@given(
    head=st.sampled_from([FTYP + b"isom", b"RIFF\0\0\0\0WAVE", b"ID3\4\0\0", b"OggS", b"fLaC", b"\xff\xfb\x90\x64"]),
    rest=st.binary(max_size=400),
)
@example(head=FTYP + b"isom", rest=b"")
@example(head=b"fLaC", rest=b"\0\0\0\x22" + bytes(34))
def test_no_bytes_after_a_good_beginning_make_it_fail_otherwise(head: bytes, rest: bytes) -> None:
    _is_cut(head + rest)


def test_unusual_insides_leave_the_length_unknown(videos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    from tinytag import TinyTag

    def surprised(**_: object) -> None:
        raise AttributeError("a parser's surprise")

    monkeypatch.setattr(TinyTag, "get", surprised)
    assert whole(videos["front"]).seconds is None
    assert whole(b"\x89PNG\r\n\x1a\n" + bytes(40)).seconds is None
