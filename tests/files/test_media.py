"""What a file is, and whether all of it is there: read off the bytes, whatever the name says."""

from __future__ import annotations

import io
import re
import struct
import wave
import zlib
from typing import TYPE_CHECKING

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.files.corpus import ID3V1, encode, id3
from voice_provider.files.media import inspect, open_media, probe
from voice_provider.files.whole import NotWholeError, check_boxes

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.files.formats import MediaInfo

FTYP = b"\0\0\0\x18ftyp"


def whole(data: bytes) -> MediaInfo:
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
    "data",
    [
        b"R",
        b"RIFF",
        b"RIFF\0\0\0\0????",
        b"Dear diary",
        b"Dear diary. " * 1000,
        ("A script, saved as Unicode by an editor. " * 50).encode("utf-16"),
        ("A script, saved as Unicode by an editor. " * 50).encode("utf-16-be"),
        ("\u4e00" * 3000).encode("utf-16"),
        "A script".encode("utf-8-sig"),
        b"\xff" * 6000,
        b"\xff\xfb\xf0\0" * 1000,  # an MP3 frame cannot have this bitrate
        bytes(5000),
        b"%PDF-1.7\n" + bytes(range(256)) * 20,
        b"PK\3\4" + bytes(range(256)) * 20,
        b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n\n" * 20,
        b"YUV4MPEG2 W64 H48 F10:1\nFRAME\n" + bytes(4608),
        b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"></svg>',
        ID3V1,
        id3(),
        id3() + b"\xff\xfb",
        b"OggS",
        b"\x1aE\xdf\xa3",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_media_is_not_taken_for_it(data: bytes) -> None:
    for look in (probe, inspect):
        with pytest.raises(NotWholeError):
            look(io.BytesIO(data), len(data))


def test_nothing_but_the_file_itself_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's playlists and lists of files name others, which may be local files or addresses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(wav())
    (tmp_path / "secret.ts").write_bytes(encode("mpegts", "aac"))
    concat = "ffconcat version 1.0\nfile 'secret.wav'\n"
    with av.open(io.BytesIO(concat.encode())) as opened:  # else the test would show nothing
        assert sum(packet.size for packet in opened.demux()) == len(wav()) - 44
    place = tmp_path
    lists = (
        concat,
        f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n",
        "ffconcat version 1.0\nfile 'concat:secret.wav|secret.wav'\n",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.ts\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n{tmp_path}/secret.wav\n",
        f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{place}/secret.wav</BaseURL></MPD>',
        f'<ASX version="3.0"><Entry><Ref href="file://{tmp_path}/secret.wav"/></Entry></ASX>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    )
    for text in lists:
        for look in (probe, inspect):
            with pytest.raises(NotWholeError, match=r"no audio, video or image|a text or HTML page"):
                look(io.BytesIO(text.encode()), len(text))


def test_the_sound_of_a_file_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MOV may say that its samples are in another file; that one is not opened."""
    monkeypatch.chdir(tmp_path)
    data = encode("mov", "pcm_s16le")
    inside, outside = b"url \0\0\0\1", b"url \0\0\0\0"
    assert data.count(inside) == 1
    assert inspect(io.BytesIO(data.replace(inside, outside)), len(data)).seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("lock", ["format_whitelist", "protocol_whitelist"])
def test_either_lock_alone_keeps_a_list_from_opening_what_it_names(
    lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(wav())
    original = av.open
    monkeypatch.setattr(av, "open", lambda file, options, **rest: original(file, options={lock: options[lock]}, **rest))
    with pytest.raises(NotWholeError), open_media(io.BytesIO(b"ffconcat version 1.0\nfile 'secret.wav'\n")):
        pytest.fail("it was opened")


def test_a_picture_that_would_fill_the_memory_is_not_decoded() -> None:
    def png(side: int) -> bytes:
        def part(name: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

        head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        rows = zlib.compress(bytes(side * (side + 1)), 1)
        return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")

    for side, is_decoded in ((64, True), (4000, False)):
        data = png(side)
        with open_media(io.BytesIO(data)) as opened:
            assert (opened.streams.video[0].codec_context.pix_fmt is not None) is is_decoded
        assert probe(io.BytesIO(data), len(data)).format.media_type == "image/png"


def test_files_are_opened_in_one_place() -> None:
    client = [path for path in (ROOT / "voice_provider").rglob("*.py") if "emulator" not in path.parts]
    assert [
        path.name
        for path in client
        if re.search(r"\bav\.open\(|from av import .*\bopen\b|av\.container\.open", path.read_text())
    ] == ["media.py"]
    source = (ROOT / "voice_provider/files/media.py").read_text()
    assert source.count("av.open(") == 2  # one reads, one writes
    assert len(client) > 80


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
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov") + b"\0\0", r"the media data \(mdat\) is missing"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", length=3), "cut short: 24 of at least 24"),
    ],
)
def test_a_broken_video_says_what_is_missing(data: bytes, message: str) -> None:
    with pytest.raises(NotWholeError, match=message):
        whole(data)


def test_long_and_open_ended_boxes_are_understood() -> None:
    head = box(b"ftyp", b"isom\0\0\0\0") + box(b"moov")
    long_box = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"12345"
    for data, is_indexed in (
        (head + long_box, True),
        (head + box(b"mdat", b"to the end", length=0), True),
        (head + long_box + box(b"what", b"a box of next year") + box(b"moof") + long_box, False),
        (head + long_box + b"no box, but a trailer", True),
    ):
        assert check_boxes(io.BytesIO(data), len(data)) is is_indexed
    cut = head + long_box[:-1]
    with pytest.raises(NotWholeError, match="44 of at least 45 bytes"):
        check_boxes(io.BytesIO(cut), len(cut))


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    _is_cut(data)


@settings(max_examples=300)
@given(
    head=st.sampled_from(
        [
            FTYP + b"isom",
            b"\xff\xd8\xff\xe0",
            b"\x1aE\xdf\xa3\x84webm\x18S\x80g\xff",
            b"GIF89a",
            b"RIFF\0\0\0\0WAVE",
            b"ID3\4\0\0",
            b"OggS",
            b"fLaC",
            b"\xff\xfb\x90\x64",
        ]
    ),
    rest=st.binary(max_size=400),
)
@example(head=FTYP + b"isom", rest=b"")
@example(head=b"fLaC", rest=b"\0\0\0\x22" + bytes(34))
def test_no_bytes_after_a_good_beginning_make_it_fail_otherwise(head: bytes, rest: bytes) -> None:
    _is_cut(head + rest)
