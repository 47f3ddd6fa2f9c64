"""One track of many takes: placed to the sample, joined without a click, as loud as a preset says."""

from __future__ import annotations

import tempfile
from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from voice_provider.files.filters import RATE, SAMPLE, filtered, frames, loudness, samples
from voice_provider.files.media import write_media

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from voice_provider.files.filters import Filter, Loudness

FADE = round(0.010 * RATE)  # samples
PIECE = 64 * 1024  # samples
MARGIN = 0.3  # dB below the limit of peaks: packing it moves them
SILENT = -70  # LUFS: nothing to hear
ROUNDS = 6  # of making it as loud as it should be
NEAR = 0.2  # LU


class Preset(NamedTuple):
    """How loud a track is made (EBU R128).

    :param integrated: LUFS
    :param true_peak: dBTP, at most
    """

    integrated: float
    true_peak: float


PRESETS = {"podcast": Preset(-16, -1.5), "broadcast": Preset(-23, -1), "audiobook": Preset(-19, -3)}


class _Encoding(NamedTuple):
    container: str
    codec: str
    bit_rate: int | None = None


FORMATS = {
    "flac": _Encoding("flac", "flac"),
    "m4a": _Encoding("ipod", "aac", 128_000),
    "mp3": _Encoding("mp3", "libmp3lame", 128_000),
    "ogg": _Encoding("ogg", "libopus", 96_000),
    "wav": _Encoding("wav", "pcm_s16le"),
}


@dataclass(frozen=True)
class Chapter:
    """A part of a track that a player can jump to; times in seconds."""

    title: str
    start: float
    end: float


class Track:
    """Sound that grows; it is in a file without a name, and goes with this object."""

    def __init__(self) -> None:
        self._file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  # is closed with this object
        self._samples = 0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self._samples / RATE

    def silence(self, until: float) -> None:
        """Be silent until a second has come, if it has not."""
        missing = round(until * RATE) - self._samples
        if missing <= 0:
            return
        self._file.seek(self._samples * SAMPLE)
        for start in range(0, missing, PIECE):
            self._file.write(bytes(min(PIECE, missing - start) * SAMPLE))
        self._samples += missing

    def add(self, pieces: Iterable[bytes], at: float | None = None) -> tuple[float, float]:
        """Add a take. Its first and last milliseconds are faded, so that no joint clicks.

        :param at: second in which it begins; default: at once, faded over the end of the one before
        :return: from which second to which it is
        :raises ValueError: the track is longer already
        """
        if at is not None and round(at * RATE) < self._samples:
            raise ValueError(f"the track is {self.seconds:.3f} s long: nothing can begin at {at:.3f} s")
        self.silence(at or 0.0)
        start = self._samples if at is not None else max(self._samples - FADE, 0)
        before = self._read(start, self._samples - start)
        self._file.seek(start * SAMPLE)
        count = sum(self._file.write(piece) for piece in pieces) // SAMPLE
        fade = min(FADE, count // 2)
        self._scale(start, [number / fade for number in range(fade)], before)
        self._scale(start + count - fade, [1 - (number + 1) / fade for number in range(fade)])
        self._samples = max(self._samples, start + count)
        return start / RATE, (start + count) / RATE

    def pieces(self) -> Iterator[bytes]:
        """Yield it from its beginning."""
        for start in range(0, self._samples, PIECE):
            yield self._read(start, min(PIECE, self._samples - start)).tobytes()

    def write(
        self, target: BinaryIO, form: str, preset: Preset | None = None, chapters: Sequence[Chapter] = ()
    ) -> Loudness:
        """Write it as a file.

        :param target: open for reading, writing and seeking; what is in it is replaced
        :param form: of ``FORMATS``; chapters are in m4a, mp3 and ogg
        :param preset: how loud it is to be; None: as it is
        :return: how loud it is now
        """
        if preset is None or (measured := loudness(self.pieces())).integrated <= SILENT:
            return self._encode(target, FORMATS[form], chapters, ())
        gain, room = preset.integrated - measured.integrated, MARGIN
        for _ in range(ROUNDS):
            heard = self._encode(target, FORMATS[form], chapters, _level(gain, measured, preset.true_peak - room))
            missing, over = preset.integrated - heard.integrated, heard.true_peak - preset.true_peak
            if abs(missing) <= NEAR and over <= 0:
                break
            # Limiting takes some loudness away, and so do encoders, which move the peaks besides.
            gain, room = gain + missing, room + max(over, 0)
        return heard

    def _encode(
        self, target: BinaryIO, kind: _Encoding, chapters: Sequence[Chapter], filters: Sequence[Filter]
    ) -> Loudness:
        target.seek(0)
        target.truncate()
        with write_media(target, kind.container) as made:
            stream: Any = made.add_stream(kind.codec, rate=RATE)
            stream.layout = "mono"
            if kind.bit_rate:
                stream.bit_rate = kind.bit_rate
            made.set_chapters([_chapter(number, chapter) for number, chapter in enumerate(chapters)])
            for frame in frames(filtered(self.pieces(), filters) if filters else self.pieces()):
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
        return loudness(samples(target))

    def _read(self, start: int, count: int) -> array[int]:
        self._file.seek(start * SAMPLE)
        return array("h", self._file.read(count * SAMPLE))

    def _scale(self, start: int, factors: Sequence[float], under: Sequence[int] = ()) -> None:
        """Scale samples, and add others to them."""
        sound = self._read(start, len(factors))
        for number, factor in enumerate(factors):
            sound[number] = round(sound[number] * factor)
        for number, other in enumerate(under[: len(sound)]):
            sound[number] = max(-32768, min(32767, sound[number] + other))
        self._file.seek(start * SAMPLE)
        self._file.write(sound.tobytes())


def _level(gain: float, measured: Loudness, limit: float) -> tuple[Filter, ...]:
    """Return a gain, and a limiter where the peaks need one.

    :param gain: dB
    :param limit: dBTP; peaks between the samples are found by looking four times as closely
    """
    volume = ("volume", f"{gain:.3f}dB:precision=float")
    if measured.true_peak + gain <= limit:
        return (volume,)
    limiter = f"limit={10 ** (limit / 20):.6f}:attack=5:release=50:level=false"
    return volume, ("aresample", str(4 * RATE)), ("alimiter", limiter), ("aresample", str(RATE))


def _chapter(number: int, chapter: Chapter) -> Any:
    milliseconds = {"start": round(chapter.start * 1000), "end": round(chapter.end * 1000)}
    return {"id": number, **milliseconds, "time_base": Fraction(1, 1000), "metadata": {"title": chapter.title}}
