"""What can be measured in a recording of speech without understanding it: pauses, level, clipping, pitch, colour.

One pass through FFmpeg's filters. Pitch is found in a copy at 4 kHz by autocorrelation, which FFmpeg has no filter for.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import accumulate
from math import log10, sqrt
from operator import mul
from statistics import median
from typing import TYPE_CHECKING

from voice_provider.files.filters import RATE, SAMPLE, SHORTEST_SILENCE, SILENCE_DB, bytes_of, through

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from av import AudioFrame

END = 0.04  # seconds at the end of a recording
FULL_SCALE = (32_767, -32_767, -32_768)
LOW_RATE = 4_000  # Hz
WINDOW = 160  # samples at that rate: 40 ms
STEP = 320  # of which each second window is looked at
PERIODS = range(LOW_RATE // 400, LOW_RATE // 60 + 1)  # samples; from 400 Hz down to 60
VOICED = 0.6  # of a perfect correlation; below, it is a consonant, noise or a pause
QUIET = 200  # of 32767, root mean square of a window with nothing in it
_FULL = tuple(array("h", [value]).tobytes() for value in FULL_SCALE)
COLOUR = "lavfi.aspectralstats.1.centroid"


@dataclass(frozen=True)
class Measures:
    """What was measured; levels in dB below full scale, None where there is nothing to measure.

    :param seconds: length
    :param sound: seconds in which something is heard
    :param silence: seconds of the longest pause inside, or at the end
    :param end: level of the last 40 ms, against the level of what is heard: 0 dB is as loud
    :param clipped: share of samples that stand at full scale
    :param pitch: Hz, the median of what has one
    :param colour: Hz, the median centroid of the spectrum where something is heard: dull or bright
    """

    seconds: float
    sound: float
    silence: float
    end: float | None = None
    clipped: float = 0.0
    pitch: float | None = None
    colour: float | None = None


def measure(pieces: Iterable[bytes]) -> Measures:
    """Measure a recording.

    :param pieces: of it, as ``filters.samples`` yields them
    """
    meter = _Meter()
    low = array("h")
    for frame in through(meter.watch(pieces), [("lowpass", "f=500"), ("aresample", str(LOW_RATE))]):
        low.frombytes(bytes_of(frame))
    return meter.measures(_pitch(low))


class _Meter:
    """Looks at sound as it passes."""

    def __init__(self) -> None:
        self._count = self._clipped = 0
        self._energy = 0.0
        self._tail = b""
        self._silences: list[tuple[float, float]] = []
        self._silent_from: float | None = None
        self._colours: list[float] = []

    def watch(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what was put in."""
        filters = [
            (
                "aspectralstats",
                "win_size=2048:overlap=0:measure=centroid",
            ),  # loses what filters before it noted
            ("silencedetect", f"noise={SILENCE_DB}dB:duration={SHORTEST_SILENCE}"),
            ("aformat", "sample_fmts=s16"),
        ]
        for frame in through(pieces, filters):
            self._note(frame)
            yield bytes_of(frame)

    def _note(self, frame: AudioFrame) -> None:
        sound = bytes_of(frame)
        samples = array("h", sound)
        energy = float(sum(map(mul, samples, samples)))
        self._count += len(samples)
        if any(value in sound for value in _FULL):  # bytes are looked through thirty times as fast as numbers
            self._clipped += sum(samples.count(value) for value in FULL_SCALE)
        self._energy += energy
        self._tail = (self._tail + sound)[-round(END * RATE) * SAMPLE :]
        found = frame.metadata
        if "lavfi.silence_start" in found:
            self._silent_from = max(float(found["lavfi.silence_start"]), 0.0)
        if "lavfi.silence_end" in found and self._silent_from is not None:
            self._silences.append((self._silent_from, float(found["lavfi.silence_end"])))
            self._silent_from = None
        if COLOUR in found and len(samples) and sqrt(energy / len(samples)) > QUIET:
            self._colours.append(float(found[COLOUR]))

    def measures(self, pitch: float | None) -> Measures:
        seconds = self._count / RATE
        silences = [*self._silences, *([(self._silent_from, seconds)] if self._silent_from is not None else [])]
        sound = seconds - sum(min(end, seconds) - start for start, end in silences)
        behind = [end - start for start, end in silences if start > 0]  # what stands before the first word is no loss
        level = sqrt(self._energy / RATE / sound) if sound > SHORTEST_SILENCE else 0.0
        tail = array("h", self._tail)
        end = sqrt(sum(map(mul, tail, tail)) / len(tail)) if tail else 0.0
        return Measures(
            seconds=round(seconds, 3),
            sound=round(max(sound, 0.0), 3),
            silence=round(max(behind, default=0.0), 3),
            end=round(20 * log10(max(end, 1) / level), 1) if level else None,
            clipped=round(self._clipped / max(self._count, 1), 5),
            pitch=pitch,
            colour=round(median(self._colours), 1) if self._colours else None,
        )


def _pitch(samples: array[int]) -> float | None:
    """Return the median pitch in Hz; None where nothing has one."""
    energies = [0, *accumulate(map(mul, samples, samples))]  # of all samples up to each
    found = [
        LOW_RATE / period
        for start in range(0, len(samples) - WINDOW - PERIODS[-1], STEP)
        if (period := _period(samples, energies, start))
    ]
    return round(median(found), 1) if found else None


def _period(samples: array[int], energies: Sequence[int], start: int) -> float | None:
    """Return after how many samples a window repeats itself, to a fraction of one; None where it does not."""
    window = samples[start : start + WINDOW]
    energy = energies[start + WINDOW] - energies[start]
    if energy < WINDOW * QUIET**2:
        return None
    likeness = []
    for later in range(start + PERIODS[0], start + PERIODS[-1] + 1):
        both = energy * (energies[later + WINDOW] - energies[later])
        likeness.append(sum(map(mul, window, samples[later : later + WINDOW])) / sqrt(both) if both else 0.0)
    best = max(likeness)
    if best < VOICED:
        return None
    # Twice the period is as good as the period: the first peak that is nearly as good as the best counts.
    for place in range(1, len(likeness) - 1):
        before, here, after = likeness[place - 1 : place + 2]
        if here > 0.9 * best and before <= here >= after:
            bend = before - 2 * here + after
            return PERIODS[place] + (0.5 * (before - after) / bend if bend else 0.0)
    return None  # it rises or falls all the way
