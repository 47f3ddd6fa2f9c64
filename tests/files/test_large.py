"""A video of gigabytes in an object store: to see what it is, a few requests and a few megabytes are enough."""

from __future__ import annotations

import heapq
import io
import mmap
import struct
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.files.corpus import encode
from voice_provider.exceptions import InvalidInputError
from voice_provider.files.storage import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 2 * 1024**3  # bytes
MOST = 8 * 1024**2  # bytes that may be read
MINUTES = 20


def long_video(path: Path, **options: str) -> bytes:
    """Return an MP4 of 20 minutes, of small packets: its index is as large as that of a real one."""
    with (
        av.open(io.BytesIO(encode("mp4", "aac", "mpeg4", seconds=1))) as short,
        av.open(str(path), "w", format="mp4", options=options) as file,
    ):
        streams: dict[int, Any] = {stream.index: file.add_stream_from_template(stream) for stream in short.streams}
        packets: dict[int, Any] = {}
        for packet in short.demux():
            if packet.size and packet.is_keyframe and (packet.dts or 0) >= 0:
                packets.setdefault(packet.stream_index, packet)

        def track(index: int, packet: Any) -> Iterator[tuple[float, int, int]]:
            for number in range(int(MINUTES * 60 / (packet.duration * packet.time_base))):
                yield float(number * packet.duration * packet.time_base), index, number

        for _, index, number in heapq.merge(*(track(*found) for found in packets.items())):
            model = packets[index]
            packet = av.Packet(bytes(model)[:100] + bytes(number % 7))
            packet.stream, packet.time_base, packet.is_keyframe = streams[index], model.time_base, True
            packet.pts = packet.dts = number * model.duration
            packet.duration = model.duration
            file.mux_one(packet)
    return path.read_bytes()


def stretched(data: bytes, path: Path) -> tuple[mmap.mmap, int]:
    """Return it as a file of 2 GiB that takes no room on the disk, zeros behind its packets; and its index's size."""
    parts: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        parts[name] = data[at : at + length]
        at += length
    with path.open("wb") as file:
        for name, part in parts.items():
            if name == b"free":  # is there to become a part of a longer header
                continue
            if name == b"mdat":
                rest = sum(len(content) for other, content in parts.items() if other not in (b"mdat", b"free"))
                begin = file.tell()
                file.write(struct.pack(">I4sQ", 1, b"mdat", SIZE - rest) + part[8:])
                file.seek(begin + SIZE - rest)
            else:
                file.write(part)
        file.truncate(SIZE)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0), len(parts[b"moov"])


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index at the end", "index in front"])
def test_a_video_of_two_gigabytes_is_known_by_a_few_megabytes(
    options: dict[str, str], s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import FakeKey, s3_backends
    from s3fs import S3File

    data, index = stretched(long_video(tmp_path / "short.mp4", **options), tmp_path / "long.mp4")
    s3.pipe_file("studio/in/long.mp4", b"x")
    key = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["studio"].keys["in/long.mp4"]
    monkeypatch.setattr(FakeKey, "value", property(lambda _: data))  # whole, it would have to be held in memory
    fetched: list[int] = []
    fetch = S3File._fetch_range

    def counted(file: Any, start: int, end: int) -> bytes:
        found: bytes = fetch(file, start, end)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(S3File, "_fetch_range", counted)

    key.contentsize = SIZE
    s3.invalidate_cache()
    file = StoredFile("s3://studio/in/long.mp4")
    assert (file.size, file.kind, file.info.sound) == (SIZE, "video", "aac")
    assert file.seconds() == pytest.approx(MINUTES * 60, abs=0.1)
    assert index > 250_000, "the index is as large as that of a real video"
    assert (sum(fetched) < MOST, len(fetched) <= 12) == (True, True), fetched

    fetched.clear()
    key.contentsize = SIZE * 6 // 10
    s3.invalidate_cache()
    with pytest.raises(InvalidInputError, match=r"it is cut short: 1,288,490,188 of at least 2,14\d,\d+,?\d* bytes"):
        StoredFile("s3://studio/in/long.mp4")
    assert sum(fetched) < MOST
