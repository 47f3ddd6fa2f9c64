"""Whether a media file is all there: what its container says of its own size, against the bytes that are there.

FFmpeg reads a file whose end is missing without a word: an MP4 with its index in front still tells its full length.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.files.formats import MediaInfo

OGG_PAGE = 65_307  # bytes that a page has at most
MAX_PICTURE = 256 * 1024 * 1024  # bytes that are read of one

# Boxes at the top of a file (ISO/IEC 14496-12, QuickTime); what has another name and does not fit is no box, but a
# trailer of the camera's own.
BOXES = frozenset(
    b"ftyp styp moov moof mdat mfra meta free skip wide uuid sidx ssix emsg prft pdin pnot udta PICT".split()
)
SEGMENT = b"\x18\x53\x80\x67"  # the element of a Matroska file that holds all the rest
_MPEG_TS = ((188, 0), (192, 4), (204, 0))  # length of a packet, and where in it the mark is


class NotWholeError(ValueError):
    """The bytes are no media, or stop before their end; the message says which and where.

    ``info`` is what there is of it, where a part of a result can be heard or seen: a ``formats.MediaInfo``.
    """

    info: MediaInfo | None = None


class NotMediaError(NotWholeError):
    """The bytes are nothing that FFmpeg knows as media."""


def cut_short(size: int, least: int) -> NoReturn:
    """Raise the error for a file that ends too early."""
    raise NotWholeError(f"it is cut short: {size:,} of at least {least:,} bytes are there")


def is_placeholder(length: int) -> bool:
    """Whether a size in a RIFF was never filled in, as by a writer to a pipe: 0, or near 2 or 4 GiB."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or length >= 0xFFFFFE00


# Each check raises NotWholeError, and says whether the length in the file's header can be believed.


def check_boxes(file: BinaryIO, size: int) -> bool:
    """Walk the top-level boxes of an MP4 or MOV; a fragmented one tells its length in its fragments only."""
    at, name, names = 0, b"", set()
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, name = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        elif length == 0:
            length = size - at  # the last box may reach to the end of the file
        if length < 8 or at + length > size:
            if name not in BOXES:
                break
            cut_short(size, at + max(length, 8))
        names.add(name)
        at += length
    else:
        if name == b"moof" or (b"moof" in names and at < size):  # its data, or the header of the next one
            cut_short(size, size + 8 - (size - at))
        if not names & {b"moov", b"meta"}:
            raise NotWholeError("it is cut short: the index (moov) is missing")
    if b"moov" in names and b"mdat" not in names:
        raise NotWholeError("it is cut short: the media data (mdat) is missing")
    return b"moof" not in names


def check_ebml(file: BinaryIO, size: int) -> bool:
    """Walk the elements of a Matroska or WebM file (RFC 8794); one that was recorded live has no sizes at the top."""
    at = 0
    while at < size:
        file.seek(at)
        header = file.read(12)
        name = 9 - header[0].bit_length()  # bytes of the id, then of the length
        if name > 4:
            break  # no element: bytes behind the last one
        width = 9 - header[name].bit_length() if len(header) > name else 9
        if width > 8 or len(header) < name + width:
            cut_short(size, at + name + max(1, width % 9))
        length = int.from_bytes(header[name : name + width], "big") & ((1 << 7 * width) - 1)
        at += name + width
        if length == (1 << 7 * width) - 1:
            continue  # unknown: what is in it follows
        at += length
        if at > size:
            cut_short(size, at)
        if header.startswith(SEGMENT):
            return True
    return False


def check_riff(file: BinaryIO, size: int) -> bool:
    """Walk the RIFFs of an AVI (it begins a new one every gigabyte) or the one of a WebP."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or is_placeholder(length):
            break
        at += 8 + length
        if at > size:
            cut_short(size, at)
        at += length % 2
    return at > 0


def check_aiff(file: BinaryIO, size: int) -> bool:
    """Compare the size of the one FORM of an AIFF."""
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "big")
    if end > size:
        cut_short(size, end)
    return False


def check_ogg(file: BinaryIO, size: int) -> bool:
    """Look whether the last page is whole (RFC 3533)."""
    start = max(0, size - OGG_PAGE)
    file.seek(start)
    tail = file.read(OGG_PAGE)
    at = tail.rfind(b"OggS")
    page = tail[at:]
    count = page[26] if len(page) > 26 else 0
    end = at + 27 + count + sum(page[27 : 27 + count])
    rest = tail[end:]
    if at < 0 or len(page) < 27 + count or end > len(tail) or (rest and b"OggS".startswith(rest)):
        cut_short(size, start + max(end, len(tail) + 1))
    return False


def check_ts(file: BinaryIO, size: int) -> bool:
    """Look whether an MPEG transport stream ends with a whole packet."""
    file.seek(0)
    head = file.read(512)
    for length, mark in _MPEG_TS:
        if head[mark : mark + length + 1 : length] == b"GG" and size % length:
            cut_short(size, size - size % length + length)
    return False


def check_picture(file: BinaryIO, size: int) -> bool:
    """Look for the end of a PNG, JPEG, GIF or BMP; what follows it, as the clip of a moving photo, is no part of it."""
    file.seek(0)
    data = file.read(MAX_PICTURE)
    if data.startswith(b"\x89PNG"):
        ends = b"IEND" in data
    elif data.startswith(b"\xff\xd8"):
        ends = b"\xff\xd9" in data[_after_segments(data) :]
    elif data.startswith(b"GIF"):
        ends = data.rstrip(b"\0").endswith(b";")
    else:
        ends = len(data) >= int.from_bytes(data[2:6], "little")
    if not ends:
        raise NotWholeError(f"it is cut short: the picture does not end within its {size:,} bytes")
    return False


def _after_segments(jpeg: bytes) -> int:
    """Return where the coded picture of a JPEG begins: the segments before it may hold a small one with its own end."""
    *_, end = (0, *_segments(jpeg))
    return end


def _segments(jpeg: bytes) -> Iterator[int]:
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xd9":
        is_last = jpeg[at + 1 : at + 2] == b"\xda"  # start of scan
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield at
        if is_last:
            return
