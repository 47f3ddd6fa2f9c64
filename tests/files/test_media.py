"""What a file is, and whether all of it is there: read off the bytes, whatever the name says."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voice_provider.files.media import NotWholeError, inspect, read_wav, repair_wav, sniff

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.files import media

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
        (b"OggS\0\2" + bytes(22) + b"\x01\x13OpusHead\1\1", "opus", "audio"),
        (b"OggS\0\2" + bytes(22) + b"\x01\x1e\x01vorbis", "ogg", "audio"),
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


# a WAV that was written to a pipe, as speech is

PIPED = 4294967076, 4294967040  # the sizes that Fish Audio writes: of the file, and of the sound


def chunk(name: bytes, content: bytes, *, length: int | None = None) -> bytes:
    """A chunk of a WAV, with its padding byte."""
    size = len(content) if length is None else length
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))
LIST = chunk(b"LIST", b"INFOISFT\7\0\0\0Lavf60\0")  # an odd length, as encoders write it


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content) if length is None else length) + content


def piped(sound: bytes, *before: bytes, sizes: tuple[int, int] = PIPED) -> bytes:
    """A WAV whose sizes were never filled in."""
    return riff(FMT, *before, b"data" + struct.pack("<I", sizes[1]) + sound, length=sizes[0])


def repaired(data: bytes) -> bytes:
    file = io.BytesIO(data)
    assert repair_wav(file, len(data))
    assert len(file.getvalue()) == len(data)
    return file.getvalue()


@pytest.mark.parametrize("sizes", [PIPED, (0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF + 36, 0x7FFFFFFF), (44, 0)])
@pytest.mark.parametrize("before", [(), (LIST,), (LIST, LIST)])
@pytest.mark.parametrize("count", [2, 8000, 12345])
def test_the_length_of_a_piped_wav_is_that_of_the_bytes_that_are_there(
    count: int, before: tuple[bytes, ...], sizes: tuple[int, int]
) -> None:
    data = piped(b"\1\2" * count, *before, sizes=sizes)
    assert whole(data).seconds == pytest.approx(count / 8000)
    layout = read_wav(io.BytesIO(data), len(data))
    assert not layout.has_sizes
    assert data[layout.start : layout.start + layout.length] == b"\1\2" * count


@pytest.mark.parametrize("sizes", [PIPED, (0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (44, 0)])
@pytest.mark.parametrize("before", [(), (LIST,)])
def test_a_repaired_wav_is_read_by_every_player(before: tuple[bytes, ...], sizes: tuple[int, int]) -> None:
    sound = bytes(range(250)) * 40
    data = repaired(piped(sound, *before, sizes=sizes))
    with wave.open(io.BytesIO(data)) as file:
        assert file.getnframes() == len(sound) // 2
        assert file.readframes(-1) == sound
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    assert whole(data).seconds == pytest.approx(len(sound) / 16000)


def test_only_the_two_sizes_of_a_piped_wav_are_changed() -> None:
    before = piped(bytes(range(250)), LIST)
    after = repaired(before)
    at = before.index(b"data") + 4
    kept = set(range(len(before))) - {4, 5, 6, 7, at, at + 1, at + 2, at + 3}
    assert all(before[position] == after[position] for position in kept)


def test_a_repaired_wav_needs_no_second_repair() -> None:
    data = repaired(piped(b"\1\2" * 500))
    file = io.BytesIO(data)
    assert not repair_wav(file, len(data))
    assert file.getvalue() == data
    assert _is_cut(data[:-2])  # from here on its sizes say where it ends


@pytest.mark.parametrize(
    "data",
    [wav(), riff(FMT, LIST, chunk(b"data", b"\1\2" * 9), LIST), wav() + b"TAG" + bytes(125), wav() + b"\xff" * 100],
)
def test_a_wav_with_sizes_is_left_as_it_is(data: bytes) -> None:
    file = io.BytesIO(data)
    assert not repair_wav(file, len(data))
    assert file.getvalue() == data
    with wave.open(io.BytesIO(data)) as sound:
        assert whole(data).seconds == pytest.approx(sound.getnframes() / 8000)


def test_a_wav_whose_file_size_alone_is_missing_is_repaired() -> None:
    sound = b"\1\2" * 500
    data = repaired(riff(FMT, chunk(b"data", sound), length=PIPED[0]))
    assert data == riff(FMT, chunk(b"data", sound))


def test_a_piped_wav_that_ends_within_a_sample_is_still_opened() -> None:
    data = repaired(piped(b"\1\2" * 500 + b"\3"))
    with wave.open(io.BytesIO(data)) as file:
        assert file.readframes(500) == b"\1\2" * 500


def test_a_wav_that_no_size_fits_is_left_as_it_is(tmp_path: Path) -> None:
    path, size = tmp_path / "long.wav", 1 << 32 | 44
    path.write_bytes(piped(b""))
    with path.open("r+b") as file:
        file.truncate(size)  # takes no room on the disk
        assert not repair_wav(file, size)
        file.seek(0)
        assert file.read(44) == piped(b"")
        assert inspect(file, size).seconds == pytest.approx((size - 44) / 16000)


def test_a_wav_with_chunks_around_its_sound_has_the_length_of_its_sound() -> None:
    data = riff(LIST, FMT, LIST, chunk(b"data", b"\1\2" * 4000), LIST)
    assert whole(data).seconds == pytest.approx(0.5)
    assert [end for end in range(len(data)) if not _is_cut(data[:end])] == [len(data) - 1]  # its last padding byte


def test_a_wav_without_sound_is_cut_short() -> None:
    for data in (riff(), riff(FMT), riff(FMT, LIST), riff(FMT, LIST, length=PIPED[0])):
        with pytest.raises(NotWholeError, match="cut short at byte"):
            whole(data)


@pytest.mark.parametrize("data", [riff(chunk(b"data", b"\1\2")), riff(FMT, chunk(b"data", b"")), piped(b"")])
def test_a_wav_whose_length_cannot_be_known_is_whole_all_the_same(data: bytes) -> None:
    assert whole(data).seconds is None


@given(count=st.integers(0, 300), before=st.lists(st.binary(max_size=20), max_size=3))
def test_any_piped_wav_is_the_same_sound_after_its_repair(count: int, before: list[bytes]) -> None:
    sound = b"\1\2" * count
    data = repaired(piped(sound, *(chunk(b"LIST", content) for content in before)))
    assert data == riff(FMT, *(chunk(b"LIST", content) for content in before), chunk(b"data", sound))


# raw samples, and Opus


@pytest.mark.parametrize("rate", [8000, 44100])
def test_raw_samples_are_known_by_what_was_asked_for(rate: int) -> None:
    info = inspect(io.BytesIO(b"\1\2" * rate), 2 * rate, rate)
    assert (info.format.extension, info.format.media_type, info.seconds) == ("pcm", "audio/pcm", 1.0)


def test_raw_samples_that_were_not_asked_for_are_no_media() -> None:
    with pytest.raises(NotWholeError, match="no audio, video or image"):
        whole(b"\1\2" * 100)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"it is empty \(0 bytes\)"),
        (b"\1\2\3", "cut short: its 3 bytes end within a sample"),
        (b'{"status": 503, "message": "High load"}', "its 39 bytes are a text or HTML page"),
        (b"\r\n <!DOCTYPE html><html><head><title>Busy</title></head></html>", "a text or HTML page"),
    ],
)
def test_what_cannot_be_raw_samples_says_why(data: bytes, message: str) -> None:
    with pytest.raises(NotWholeError, match=message):
        inspect(io.BytesIO(data), len(data), 44100)


@pytest.mark.parametrize(
    "sound",
    [
        bytes(1000),
        b"<\0" * 500,  # quiet, and every byte of it is ASCII
        b"{\0}\0" * 250,
        b" \0\n\0<\0" * 200,
        b"<\xff{\xff" * 250,
    ],
)
def test_quiet_samples_are_not_taken_for_a_page(sound: bytes) -> None:
    assert inspect(io.BytesIO(sound), len(sound), 44100).seconds == pytest.approx(len(sound) / 88200)


@pytest.mark.parametrize(
    ("codec", "container", "rate", "extension", "media_type"),
    [("libopus", "ogg", 48000, "opus", "audio/ogg"), ("mp3", "mp3", 44100, "mp3", "audio/mpeg")],
)
def test_speech_in_the_formats_of_the_service_has_its_length(
    codec: str, container: str, rate: int, extension: str, media_type: str
) -> None:
    import av
    import numpy as np

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"  # type: ignore[attr-defined]
        kind = "flt" if codec == "libopus" else "fltp"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2 * rate), np.float32), format=kind, layout="mono")
        sound.rate, sound.pts = rate, 0
        for frame in (sound, None):
            out.mux(stream.encode(frame))  # type: ignore[attr-defined]
    info = whole(file.getvalue())
    assert (info.format.extension, info.format.media_type) == (extension, media_type)
    assert info.seconds == pytest.approx(2.0, abs=0.1)


# MP4


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
