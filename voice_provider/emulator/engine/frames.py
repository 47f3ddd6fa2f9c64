"""The placeholder's tone as an MP3 stream, without encoding it anew for every line.

A tone repeats itself, and so do its frames if each can be decoded on its own: they are encoded once, without a bit
reservoir, and laid one behind the other from then on. Encoding took a hundred times as long as all else that a line
needs.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from math import pi, sin

from voice_provider.emulator.engine.encoder import Encoder

FRAME = 1152  # samples of one frame of MPEG-1 layer III
GRAIN = 16  # a period is a multiple of it, so that after at most 31 frames all begins anew
SETTLED = 3  # frames after which the encoder's beginning is over
RATES = (44_100, 48_000, 32_000)  # Hz, by their number in a frame's header
BIT_RATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kbit/s, the same


class ToneFrames:
    """Lays frames of tones one behind the other.

    :param rate: Hz
    :param bit_rate: bits a second; default: the format's
    :param comment: what the file says about itself
    """

    def __init__(self, rate: int, bit_rate: int | None, comment: str) -> None:
        self._format = (rate, bit_rate, comment)
        self._rate = rate
        self._said, self._frames = 0.0, 0

    def write(self, pitch: float, level: int, seconds: float) -> bytes:
        """Return the frames of a tone, in all as many as the time so far asks for.

        :param pitch: Hz
        :param level: of 32767; 0 is silence
        :param seconds: how long it is heard
        """
        period = max(1, round(self._rate / pitch / GRAIN)) * GRAIN
        head, cycle = _cycle(period, level, *self._format)
        self._said += seconds
        until = max(1, round(self._said * self._rate / FRAME))
        parts = [cycle[number % len(cycle)] for number in range(self._frames, until)]
        if not self._frames:
            parts.insert(0, head)
        self._frames = until
        return b"".join(parts)

    def finish(self) -> bytes:
        """Nothing is kept back."""
        return b""


@lru_cache(maxsize=256)
def _cycle(period: int, level: int, rate: int, bit_rate: int | None, comment: str) -> tuple[bytes, tuple[bytes, ...]]:
    """Return what a file begins with, and the frames after which a tone of this period begins anew."""
    encoder = Encoder("mp3", rate, (rate, "s16"), bit_rate=bit_rate, comment=comment, codec_options={"reservoir": "0"})
    wanted = period // GRAIN
    one = array("h", (round(level * sin(2 * pi * i / period)) for i in range(period)))
    samples = one.tobytes() * ((wanted + 2 * SETTLED) * FRAME // period + 1)
    stream = encoder.write(samples) + encoder.finish()
    start = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(stream[6:10])))  # behind the ID3 tag
    head = stream[:start]
    frames: list[bytes] = []
    while len(frames) < wanted + SETTLED:
        frames.append(stream[start : start + _length(stream[start : start + 4])])
        start += len(frames[-1])
    return head, tuple(frames[SETTLED:])


def _length(header: bytes) -> int:
    """Return how many bytes a frame has, by the first four of them."""
    kbits, rate = BIT_RATES[header[2] >> 4], RATES[header[2] >> 2 & 3]
    return 144_000 * kbits // rate + (header[2] >> 1 & 1)
