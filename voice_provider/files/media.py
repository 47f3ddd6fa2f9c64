"""What a file really is, read off its bytes: format, media type, length, and whether it is whole.

A name proves nothing: a text file may be called ``.mp4``, and a result may be an error page or stop in the middle.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

HEAD = 64  # bytes that are enough to know a format
_PICTURE_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")  # boxes as in MP4, but HEIC and AVIF


@dataclass(frozen=True, slots=True)
class Format:
    """A media format: the extension without a dot, the media type, and whether tinytag can read its length."""

    extension: str
    media_type: str
    timed: bool = True

    @property
    def kind(self) -> str:
        """``audio``, ``video`` or ``image``."""
        return self.media_type.partition("/")[0]


MP4, MOV, M4A = Format("mp4", "video/mp4"), Format("mov", "video/quicktime"), Format("m4a", "audio/mp4")
WAV, MP3, FLAC = Format("wav", "audio/wav"), Format("mp3", "audio/mpeg"), Format("flac", "audio/flac")
OGG, OPUS = Format("ogg", "audio/ogg"), Format("opus", "audio/ogg")
AAC = Format("aac", "audio/aac", timed=False)
PCM = Format("pcm", "audio/pcm", timed=False)  # 16-bit mono samples and nothing else: nothing shows what they are
WEBM, MKV = Format("webm", "video/webm", timed=False), Format("mkv", "video/x-matroska", timed=False)
AVI = Format("avi", "video/x-msvideo", timed=False)
PNG = Format("png", "image/png", timed=False)
JPEG = Format("jpg", "image/jpeg", timed=False)
WEBP = Format("webp", "image/webp", timed=False)


def sniff(head: bytes) -> Format | None:
    """Return the format that the first bytes show, or ``None`` when they show no known media."""
    if head[4:8] == b"ftyp":
        if head[8:12] in _PICTURE_BRANDS:
            return None
        return {b"M4A ": M4A, b"M4B ": M4A, b"qt  ": MOV}.get(head[8:12], MP4)
    if head[:4] == b"RIFF":
        return {b"WAVE": WAV, b"AVI ": AVI, b"WEBP": WEBP}.get(head[8:12])
    if head[:4] == b"\x1aE\xdf\xa3":
        return WEBM if b"webm" in head else MKV
    if head[:4] == b"OggS":
        return OPUS if b"OpusHead" in head else OGG
    for magic, found in (
        (b"ID3", MP3),
        (b"fLaC", FLAC),
        (b"\x89PNG\r\n", PNG),
        (b"\xff\xd8\xff", JPEG),
    ):
        if head.startswith(magic):
            return found
    return _sniff_frame(head)


def _sniff_frame(head: bytes) -> Format | None:
    """Know MP3 and AAC by the header of their first frame; the mark of UTF-16 text (FF FE) looks much like one."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # twelve bits of sync and layer 0: ADTS
        return AAC
    layer_3 = head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08  # version 1 is reserved
    return MP3 if layer_3 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C else None


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A media file: its format and, where it can be read, its length in seconds."""

    format: Format
    seconds: float | None


class NotWholeError(ValueError):
    """The bytes are no media, or stop before their end; the message says which and where."""


def inspect(file: BinaryIO, size: int, pcm_rate: int | None = None) -> MediaInfo:
    """Read format and length, and check that nothing is missing at the end.

    :param file: open for reading and seeking; left at an unspecified position
    :param size: length of the file in bytes
    :param pcm_rate: Hz of raw 16-bit mono samples, which nothing in the file shows; only where they were asked for
    :raises NotWholeError: when it is empty, is no media, or is cut short
    """
    if not size:
        raise NotWholeError("it is empty (0 bytes)")
    file.seek(0)
    head = file.read(HEAD)
    if pcm_rate is not None:
        if head.lstrip()[:1] in (b"<", b"{") and head.isascii() and b"\0" not in head:  # quiet samples have zeros
            raise NotWholeError(f"its {size:,} bytes are a text or HTML page")
        if size % 2:
            raise NotWholeError(f"it is cut short: its {size:,} bytes end within a sample")
        return MediaInfo(PCM, size / 2 / pcm_rate)
    found = sniff(head)
    if found is None:
        kind = "a text or HTML page" if head.lstrip()[:1] in (b"<", b"{") else "no audio, video or image"
        raise NotWholeError(f"its {size:,} bytes are {kind}")
    if found in (MP4, MOV, M4A):
        _check_boxes(file, size)
    elif found == WAV:
        return MediaInfo(found, read_wav(file, size).seconds)
    return MediaInfo(found, _seconds(file, found))


def _check_boxes(file: BinaryIO, size: int) -> None:
    """Walk the top-level boxes of an MP4 (ISO/IEC 14496-12): they must fill the file exactly, with an index in it."""
    at, names = 0, set()
    while at < size:
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            raise NotWholeError(f"it is cut short at byte {size:,}")
        length, name = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        elif length == 0:
            length = size - at  # the last box may reach to the end of the file
        if length < 8 or at + length > size:
            raise NotWholeError(f"it is cut short: {size:,} of at least {at + max(length, 8):,} bytes are there")
        names.add(name)
        at += length
    for name, what in ((b"moov", "index"), (b"mdat", "media data")):
        if name not in names:
            raise NotWholeError(f"it is cut short: the {what} ({name.decode()}) is missing")


@dataclass(frozen=True, slots=True)
class WavLayout:
    """Where the sound of a WAV is.

    :param start: byte at which it begins
    :param length: bytes of it that are there
    :param byte_rate: bytes a second, 0 where the header does not say
    :param has_sizes: whether the header's sizes are filled in; a writer to a pipe cannot
    """

    start: int
    length: int
    byte_rate: int
    has_sizes: bool

    @property
    def seconds(self) -> float | None:
        """Length by the bytes that are there, because the header may say anything."""
        return self.length / self.byte_rate if self.byte_rate and self.length else None


def read_wav(file: BinaryIO, size: int) -> WavLayout:
    """Walk the chunks of a WAV: none may reach beyond the end, and the sound has to be among them.

    :raises NotWholeError: when it is cut short
    """
    file.seek(4)
    end = 8 + struct.unpack("<I", file.read(4))[0]
    at, byte_rate = 12, 0
    sound: tuple[int, int] | None = None
    while at + 8 <= size and (sound is None or at < end):  # what follows the end of the WAV is no part of it
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"fmt ":
            byte_rate = int.from_bytes(file.read(16)[8:12], "little")
        if name == b"data":
            sound = at + 8, length
            if _is_placeholder(length):
                return WavLayout(at + 8, size - at - 8, byte_rate, has_sizes=False)
        at += 8 + length
        if at > size:
            raise NotWholeError(f"it is cut short: {size:,} of at least {at:,} bytes are there")
        at += length % 2  # a padding byte, which writers often leave out at the end
    placeholder = _is_placeholder(end - 8)
    if sound is None or (size < end - 1 and not placeholder):
        raise NotWholeError(f"it is cut short at byte {size:,}")
    return WavLayout(*sound, byte_rate, has_sizes=not placeholder)


def repair_wav(file: BinaryIO, size: int) -> bool:
    """Fill in the sizes of a WAV that was written to a pipe, and say whether that was needed.

    Players would take the placeholder for 13 hours of sound. What is larger than 4 GiB has no size that fits.

    :param file: open for reading, writing and seeking
    """
    layout = read_wav(file, size)
    if layout.has_sizes or size - 8 >= 1 << 32:
        return False
    for at, value in ((4, size - 8), (layout.start - 4, layout.length)):
        file.seek(at)
        file.write(struct.pack("<I", value))
    return True


def _is_placeholder(length: int) -> bool:
    """Whether a WAV's size was never filled in, as by a writer to a pipe: 0, or near 2 or 4 GiB."""
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or length >= 0xFFFFFE00


def _seconds(file: BinaryIO, found: Format) -> float | None:
    if not found.timed:
        return None
    from tinytag import TinyTag  # noqa: PLC0415  # 2 ms that DAG parsing need not pay

    file.seek(0)
    try:
        seconds = TinyTag.get(file_obj=file, tags=False).duration
    except Exception:  # noqa: BLE001  # a parser's trouble with unusual bytes does not make the file unusable
        return None
    return float(seconds) if seconds else None
