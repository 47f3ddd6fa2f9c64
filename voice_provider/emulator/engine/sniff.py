"""Tell media by their first bytes, and read the few facts that ISO (MP4, MOV) and image headers hold.

No library: both engines ask this first, so a text file called ``.mp4`` never reaches a decoder.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal

from voice_provider.emulator.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal["audio", "video", "image"]
HEAD = 4096  # bytes that are enough for every signature
ISO_STARTS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
ISO_BRANDS: dict[bytes, tuple[Kind, str]] = {
    b"M4A ": ("audio", "m4a"),
    b"M4B ": ("audio", "m4a"),
    b"qt  ": ("video", "mov"),
}
OGG_MARKS: dict[bytes, tuple[Kind, str]] = {b"\x80theora": ("video", "ogg"), b"OpusHead": ("audio", "opus")}
MARKS: tuple[tuple[int, bytes, Kind, str], ...] = (  # offset, bytes, kind, name of the format
    (0, b"\x89PNG\r\n\x1a\n", "image", "png"),
    (0, b"\xff\xd8\xff", "image", "jpeg"),
    (8, b"WEBP", "image", "webp"),
    (8, b"WAVE", "audio", "wav"),
    (8, b"AVI ", "video", "avi"),
    (8, b"AIFF", "audio", "aiff"),
    (0, b"fLaC", "audio", "flac"),
    (0, b"ID3", "audio", "mp3"),
)


def sniff(path: Path) -> tuple[Kind, str]:
    """Return the kind and the format of a file.

    :param path: the file
    :raises EngineError: ``not_media``
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    known = _known(head)
    if known is None:
        what = "is empty" if not head else "is neither audio, video nor an image that this engine knows"
        raise EngineError("not_media", f"{path.name} {what}. Give a WAV, MP3, MP4, MOV, WebM, Ogg, PNG or JPEG file.")
    return known


def _known(head: bytes) -> tuple[Kind, str] | None:
    for offset, mark, kind, name in MARKS:
        if head.startswith(mark, offset):
            return kind, name
    if head[4:8] in ISO_STARTS:
        return ISO_BRANDS.get(head[8:12] if head[4:8] == b"ftyp" else b"qt  ", ("video", "mp4"))
    if head.startswith(b"OggS"):
        return next((found for mark, found in OGG_MARKS.items() if mark in head[:128]), ("audio", "ogg"))
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video", "webm" if b"webm" in head[:128] else "mkv"
    return ("audio", "mp3" if head[1] & 0x06 else "aac") if _is_frame_sync(head) else None


def _is_frame_sync(head: bytes) -> bool:
    """Whether this is the header of an MPEG audio layer III frame or of an ADTS frame, not merely the byte FF."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    layer_three = head[1] & 0x06 == 0x02 and head[1] & 0x18 != 0x08
    adts = head[1] & 0xF6 == 0xF0
    return (layer_three and head[2] >> 4 not in {0, 15} and head[2] & 0x0C != 0x0C) or adts


@dataclass
class IsoFacts:
    """What the boxes of an MP4 or MOV file say: seconds, kinds of tracks (``vide``, ``soun``) and picture size."""

    seconds: float | None = None
    tracks: list[str] = field(default_factory=list)
    width: int | None = None
    height: int | None = None


def iso_facts(path: Path) -> IsoFacts:
    """Read the header boxes; a damaged file gives the facts that can still be read."""
    facts = IsoFacts()
    with path.open("rb") as file:
        _read_boxes(file, 0, path.stat().st_size, facts)
    return facts


def missing_bytes(path: Path) -> int:
    """Return how much an MP4 or MOV file is shorter than its boxes say; 0 for every other file.

    FFmpeg decodes a file whose header comes first, and whose end is missing, without a word about it.
    """
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(8)[4:] not in ISO_STARTS:
            return 0
        while start + 8 <= size:
            file.seek(start)
            header = file.read(16)
            length = struct.unpack_from(">I", header)[0]
            if length == 1 and len(header) == 16:
                length = struct.unpack_from(">Q", header, 8)[0]
            if length < 8:  # 0: the last box, as long as the file; else not a box at all
                return 0
            start += length
    return max(0, start - size)


def wav_seconds(path: Path) -> float | None:
    """Return how long a WAV file is; where its header promises more than there is, as in a stream, what there is."""
    size, start, rate = path.stat().st_size, 12, 0
    with path.open("rb") as file:
        while start + 8 <= size:
            file.seek(start)
            kind, length = struct.unpack("<4sI", file.read(8))
            if kind == b"fmt " and size >= start + 20:
                rate = struct.unpack_from("<8xI", file.read(12))[0]
            elif kind == b"data":
                return min(length, size - start - 8) / rate if rate else None
            start += 8 + length + length % 2
    return None


def _read_boxes(file: BinaryIO, start: int, end: int, facts: IsoFacts) -> None:
    for kind, body, stop in _boxes(file, start, end):
        if kind in {b"moov", b"trak", b"mdia"}:
            _read_boxes(file, body, stop, facts)
        elif kind in {b"mvhd", b"hdlr", b"tkhd"}:
            file.seek(body)
            data = file.read(min(stop - body, 256))
            wide = data[:1] == b"\x01"
            if kind == b"mvhd" and len(data) >= (32 if wide else 20):
                scale, length = struct.unpack_from(">IQ" if wide else ">II", data, 20 if wide else 12)
                facts.seconds = length / scale if scale and length else None
            elif kind == b"hdlr" and data[8:12] in {b"vide", b"soun"}:
                facts.tracks.append(data[8:12].decode())
            elif kind == b"tkhd" and len(data) >= (96 if wide else 84):
                width, height = struct.unpack_from(">II", data, 88 if wide else 76)
                if width and height:
                    facts.width, facts.height = width >> 16, height >> 16


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the body and end of every box in a range of the file."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, kind = struct.unpack_from(">I4s", header)
        body = start + 8
        if size == 1 and len(header) == 16:
            size, body = struct.unpack_from(">Q", header, 8)[0], start + 16
        stop = end if size == 0 else min(start + size, end)
        if stop < body:
            return
        yield kind, body, stop
        start = stop


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG, WebP or JPEG file, or None when its header does not say."""
    with path.open("rb") as file:
        head = file.read(32)
        if head.startswith(b"\x89PNG") and len(head) >= 24:
            width, height = struct.unpack_from(">II", head, 16)
            return width, height
        if head[8:16] == b"WEBPVP8X" and len(head) >= 30:
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        if head[8:16] == b"WEBPVP8 " and len(head) >= 30:
            return struct.unpack_from("<H", head, 26)[0] & 0x3FFF, struct.unpack_from("<H", head, 28)[0] & 0x3FFF
        if head[8:16] == b"WEBPVP8L" and len(head) >= 25:
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        return _jpeg_size(file) if head.startswith(b"\xff\xd8") else None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while len(segment := file.read(4)) == 4 and segment[0] == 0xFF:
        marker, length = segment[1], struct.unpack_from(">H", segment, 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # a start-of-frame segment
            height, width = struct.unpack(">HH", file.read(5).ljust(5, b"\0")[1:])
            return width, height
        file.seek(length - 2, 1)
    return None
