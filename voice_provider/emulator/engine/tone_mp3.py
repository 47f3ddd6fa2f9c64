"""A steady tone as MP3 at the price of a copy: a few frames are encoded, and repeated.

Each frame of the loop stands for itself (no bit reservoir), so any row of them is a file. Where the loop begins again
the wave does not meet its beginning exactly; nobody listens to a placeholder.
"""

from __future__ import annotations

from functools import lru_cache

from voice_provider.emulator.engine.encoder import Encoder

SAMPLES = 1152  # in a frame (ISO 11172-3, layer III)
LOOP = 16  # frames
LEAD = 4  # frames in which the encoder gets under way
KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
RATES = (44_100, 48_000, 32_000)  # Hz


class RepeatedTone:
    """Takes samples of steady tones and hands out MP3; see ``Encoder``.

    :param rate: of the samples, 44100 or 32000 Hz
    :param bit_rate: bits a second
    :param comment: what the file says about itself
    """

    def __init__(self, rate: int, bit_rate: int | None, comment: str) -> None:
        self._as = rate, bit_rate, comment
        self._samples = self._frames = 0
        self._loop: tuple[bytes, ...] = ()

    def write(self, samples: bytes) -> bytes:
        """Return whole frames; what is left of a frame goes with the next piece."""
        first = not self._loop
        head, self._loop = _loop(_start_of(samples), *self._as)
        self._samples += len(samples) // 2
        return (head if first else b"") + self._upto(self._samples // SAMPLES)

    def finish(self) -> bytes:
        """Return the last frame."""
        return self._upto(-(-self._samples // SAMPLES))

    def _upto(self, count: int) -> bytes:
        frames = b"".join(self._loop[number % LOOP] for number in range(self._frames, count))
        self._frames = max(self._frames, count)
        return frames


def _start_of(samples: bytes) -> bytes:
    """Return as much of a tone as the loop takes, however short it is."""
    wanted = 2 * SAMPLES * (LOOP + 2 * LEAD)
    return (samples * (wanted // max(len(samples), 1) + 1))[:wanted]


@lru_cache(maxsize=64)
def _loop(samples: bytes, rate: int, bit_rate: int | None, comment: str) -> tuple[bytes, tuple[bytes, ...]]:
    """Return what a file begins with, and the frames that are repeated."""
    encoder = Encoder("mp3", rate, (rate, "s16"), bit_rate=bit_rate, comment=comment, options={"reservoir": "0"})
    data = encoder.write(samples) + encoder.finish()
    # ID3v2: ten bytes, of which the last four say in seven bits each how many follow
    start = 10 + sum((data[6 + n] & 127) << (21 - 7 * n) for n in range(4)) if data[:3] == b"ID3" else 0
    found, at = [], start
    while at + 4 <= len(data):
        header = int.from_bytes(data[at : at + 4])
        size = 144_000 * KBPS[header >> 12 & 15] // RATES[header >> 10 & 3] + (header >> 9 & 1)
        found.append(data[at : at + size])
        at += size
    return data[:start], tuple(found[LEAD : LEAD + LOOP])
