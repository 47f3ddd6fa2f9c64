"""Compressed silence, frame by frame, where no encoder is installed: readable everywhere, and of the right length."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MP3_SAMPLES = 1152  # of a frame
MP3_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_RATES = (44_100, 48_000, 32_000)
OPUS_RATE, OPUS_SAMPLES = 48_000, 960
OPUS_SILENCE = b"\xf8\xff\xfe"  # 20 ms, one channel, the whole band
OPUS_DELAY = 312  # samples that a player drops at the start
PAGE_PACKETS = 50
POLYNOMIAL = 0x04C11DB7
FIRST, LAST = 2, 4  # flags of an Ogg page


class Mp3Silence:
    """Writes MPEG-1 Layer III frames, mono, in which nothing is coded."""

    def __init__(self, rate: int, bit_rate: int) -> None:
        header = 0xFFFB0000 | MP3_KBPS.index(bit_rate // 1000) << 12 | MP3_RATES.index(rate) << 10 | 0xC0
        self._frame = struct.pack(">I", header).ljust(144 * bit_rate // rate, b"\0")
        self._rest = 0

    def write(self, samples: bytes) -> bytes:
        """Return frames for as many 16-bit samples; what does not fill a frame waits for more."""
        frames, self._rest = divmod(self._rest + len(samples) // 2, MP3_SAMPLES)
        return self._frame * frames

    def finish(self) -> bytes:
        return self._frame if self._rest else b""


class OpusSilence:
    """Writes Opus in Ogg (RFC 7845), mono."""

    def __init__(self) -> None:
        self._pages = 0
        self._samples = 0
        self._packets = 0  # that wait for their page
        head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, OPUS_DELAY, OPUS_RATE, 0, 0)
        vendor = b"voice emulator"
        tags = b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + bytes(4)
        self._head = self._page([head], 0, FIRST) + self._page([tags], 0)
        self._rest = 0
        self._granule = 0

    def write(self, samples: bytes) -> bytes:
        """Return pages for as many 16-bit samples; the last ones wait for more."""
        count = len(samples) // 2
        self._samples += count
        packets, self._rest = divmod(self._rest + count, OPUS_SAMPLES)
        self._packets += packets
        pages, self._head = [self._head], b""
        while self._packets > PAGE_PACKETS:  # one packet at least is left for the last page
            pages.append(self._sound(PAGE_PACKETS))
        return b"".join(pages)

    def finish(self) -> bytes:
        """Return the last page; its position says where in it the sound ends."""
        self._packets += -(-(self._rest + OPUS_DELAY) // OPUS_SAMPLES)  # what did not fill a packet, and the delay
        return self._head + self._page([OPUS_SILENCE] * self._packets, OPUS_DELAY + self._samples, LAST)

    def _sound(self, packets: int) -> bytes:
        self._packets -= packets
        self._granule += packets * OPUS_SAMPLES
        return self._page([OPUS_SILENCE] * packets, self._granule)

    def _page(self, packets: list[bytes], granule: int, flags: int = 0) -> bytes:
        sizes = bytes(len(packet) for packet in packets)  # all are shorter than 255 bytes
        start = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, 1, self._pages)
        end = bytes([len(sizes)]) + sizes + b"".join(packets)
        self._pages += 1
        return start + struct.pack("<I", ogg_checksum(start + bytes(4) + end)) + end


def _checksums() -> Iterator[int]:
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (POLYNOMIAL if value & 1 << 31 else 0)) & 0xFFFFFFFF
        yield value


CHECKSUMS = tuple(_checksums())


def ogg_checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it: not mirrored, from zero, which ``zlib`` cannot."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ CHECKSUMS[value >> 24 ^ byte]
    return value
