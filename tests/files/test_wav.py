"""The chunks of a WAV: all of them there, and the sizes that a writer to a pipe leaves out."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.files.test_media import wav
from voice_provider.files.media import inspect, probe
from voice_provider.files.wav import read_wav, repair_wav
from voice_provider.files.whole import NotWholeError

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.files.formats import MediaInfo


def whole(data: bytes) -> MediaInfo:
    return inspect(io.BytesIO(data), len(data))


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
        assert read_wav(file, size).seconds == pytest.approx((size - 44) / 16000)


def test_a_wav_with_chunks_around_its_sound_has_the_length_of_its_sound() -> None:
    data = riff(LIST, FMT, LIST, chunk(b"data", b"\1\2" * 400), LIST)
    assert whole(data).seconds == pytest.approx(0.05)
    assert [end for end in range(len(data)) if not _is_cut(data[:end])] == [len(data) - 1]  # its last padding byte


def test_a_wav_without_sound_is_cut_short() -> None:
    for data in (riff(), riff(FMT), riff(FMT, LIST), riff(FMT, LIST, length=PIPED[0])):
        with pytest.raises(NotWholeError, match="cut short at byte"):
            whole(data)


@pytest.mark.parametrize("data", [riff(chunk(b"data", b"\1\2")), riff(FMT, chunk(b"data", b"")), piped(b"")])
def test_a_wav_without_a_sample_or_without_a_format_is_none(data: bytes) -> None:
    for look in (probe, inspect):
        with pytest.raises(NotWholeError, match="it holds no sound"):
            look(io.BytesIO(data), len(data))


@given(count=st.integers(0, 300), before=st.lists(st.binary(max_size=20), max_size=3))
def test_any_piped_wav_is_the_same_sound_after_its_repair(count: int, before: list[bytes]) -> None:
    sound = b"\1\2" * count
    data = repaired(piped(sound, *(chunk(b"LIST", content) for content in before)))
    assert data == riff(FMT, *(chunk(b"LIST", content) for content in before), chunk(b"data", sound))
