"""The chunks of a WAV: what a writer to a pipe leaves out is filled in, so that every player knows where it ends."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from voice_provider.files.whole import NotWholeError, cut_short, is_placeholder


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
            if is_placeholder(length):
                return WavLayout(at + 8, size - at - 8, byte_rate, has_sizes=False)
        at += 8 + length
        if at > size:
            cut_short(size, at)
        at += length % 2  # a padding byte, which writers often leave out at the end
    placeholder = is_placeholder(end - 8)
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
