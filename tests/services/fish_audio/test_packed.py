"""A MessagePack body with files in it: what any other packer would make of it, without holding the files."""

from __future__ import annotations

import math
import struct
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.storage import StoredFile
from voice_provider.services.fish_audio.packed import PackedBody

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
HEAD = b"RIFF\xff\xff\xff\x7fWAVE" + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 44100, 88200, 2, 16)
HEAD += b"data\xff\xff\xff\x7f"  # of a WAV that was written to a pipe


@dataclass
class Recording:
    """A file to send, in memory; it counts how often it is opened."""

    data: bytes
    name: str = "speaker.wav"
    media_type: str = "audio/wav"
    opened: int = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        self.opened += 1
        for at in range(0, len(self.data), 1000):
            yield self.data[at : at + 1000]


def packed(value: dict[str, Any]) -> bytes:
    return b"".join(PackedBody(value).chunks())


def with_bytes(value: Any) -> Any:
    """The same value with every file as its bytes, for another packer."""
    if isinstance(value, Recording):
        return value.data
    if isinstance(value, dict):
        return {name: with_bytes(item) for name, item in value.items()}
    return [with_bytes(item) for item in value] if isinstance(value, list | tuple) else value


SPEECH = {
    "text": "Grüße, 世界! " * 30,
    "format": "mp3",
    "sample_rate": 44100,
    "temperature": 0.7,
    "normalize": True,
    "prosody": {"speed": 1.25, "volume": -3.0},
    "features": ["quality-guard"],
    "opus_bitrate": -1000,
    "nothing": None,
    "raw": b"\0\1\2",
    "many": list(range(70_000)),
    "wide": {f"field {number}": number for number in range(20)},
}


def test_without_files_it_is_what_any_packer_makes() -> None:
    assert packed(SPEECH) == msgpack.packb(SPEECH)


@pytest.mark.parametrize("size", [65_536, 100_000, 3 * MIB + 1])
def test_with_a_recording_it_is_what_any_packer_makes_of_its_bytes(size: int) -> None:
    value = SPEECH | {"references": [{"audio": Recording(bytes(size)), "text": "What is said."}]}
    assert packed(value) == msgpack.packb(with_bytes(value))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535])
def test_a_small_recording_is_read_back_as_it_is(size: int) -> None:
    data = bytes(range(256)) * 256
    value = {"references": [{"audio": Recording(data[:size]), "text": "x"}], "text": "after it"}
    assert msgpack.unpackb(packed(value)) == with_bytes(value)


def test_recordings_of_several_speakers_stay_apart_and_in_order() -> None:
    value = {"references": [[{"audio": Recording(b"a"), "text": "1"}], [{"audio": Recording(b"b"), "text": "2"}] * 2]}
    audio = [[item["audio"] for item in speaker] for speaker in msgpack.unpackb(packed(value))["references"]]
    assert audio == [[b"a"], [b"b", b"b"]]


def test_lists_and_tuples_are_arrays() -> None:
    assert msgpack.unpackb(packed({"a": (1, (2, "three")), "b": [], "c": {}})) == {
        "a": [1, [2, "three"]],
        "b": [],
        "c": {},
    }


def test_its_size_is_known_without_opening_a_file() -> None:
    file = Recording(bytes(100_000))
    body = PackedBody({"references": [{"audio": file, "text": "ü" * 300}], "text": "x"})
    assert body.size == len(
        msgpack.packb(with_bytes({"references": [{"audio": file, "text": "ü" * 300}], "text": "x"}))
    )
    assert file.opened == 0


def test_it_is_opened_anew_for_every_attempt() -> None:
    file = Recording(bytes(5000))
    body = PackedBody({"references": [{"audio": file, "text": "x"}]})
    half = body.chunks()
    next(half)
    first, second = b"".join(body.chunks()), b"".join(body.chunks())
    assert first == second
    assert msgpack.unpackb(second)["references"][0]["audio"] == file.data
    assert file.opened == 2


def test_it_says_what_it_is() -> None:
    body = PackedBody({})
    assert (body.media_type, body.size) == ("application/msgpack", 1)


def test_a_file_of_any_size_passes_through_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(HEAD)
    with path.open("r+b") as out:
        out.truncate(64 * MIB)
    body = PackedBody({"references": [{"audio": StoredFile(str(path)), "text": "x"}] * 2, "text": "y"})
    tracemalloc.start()
    try:
        sent = sum(map(len, body.chunks()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent == body.size > 128 * MIB
    assert peak < 4 * MIB


def test_a_recording_that_grows_while_it_is_sent_does_not_shift_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(HEAD + bytes(1000))
    body = PackedBody({"references": [{"audio": StoredFile(str(path)), "text": "x"}]})
    with path.open("ab") as out:
        out.write(b"more")
    with pytest.raises(InvalidInputError, match="changed while it was read"):
        list(body.chunks())


names = st.text(max_size=40)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=300)
values = st.recursive(
    plain | st.integers(0, 3000).map(lambda size: Recording(bytes(size))),
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(names, inner, max_size=17),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, values, max_size=17))
def test_any_value_is_read_back_as_it_is_and_has_the_size_it_says(value: dict[str, Any]) -> None:
    data = packed(value)
    assert len(data) == PackedBody(value).size
    assert same(msgpack.unpackb(data), with_bytes(value))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    not_a_number = isinstance(one, float) and math.isnan(one)
    return type(one) is type(other) and (math.isnan(other) if not_a_number else one == other)
