"""Sound through FFmpeg's filters, a piece at a time: what is long never is in memory as a whole.

Everything in here is 16-bit mono at one rate, which is what speech is; a piece is its bytes.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from voice_provider.files.media import open_media
from voice_provider.files.whole import NotWholeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av import AudioFrame

RATE = 48_000  # Hz
SAMPLE = 2  # bytes
PIECE = 8192  # samples
SILENCE_DB = -45  # what is quieter for a while is a pause; speech of the services falls to nothing between words
SHORTEST_SILENCE = 0.08  # seconds

Filter = tuple[str, str]  # FFmpeg's name and arguments


class Loudness(NamedTuple):
    """How loud something is, by EBU R128.

    :param integrated: LUFS; -70 where there is nothing to hear
    :param true_peak: dBTP
    """

    integrated: float
    true_peak: float


def samples(file: BinaryIO) -> Iterator[bytes]:
    """Decode the first sound of a file.

    :raises NotWholeError: it has none, or cannot be read
    """
    from av import AudioResampler  # noqa: PLC0415  # as in media.open_media

    with open_media(file) as container:
        if not container.streams.audio:
            raise NotWholeError("it has no sound")
        resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in container.decode(container.streams.audio[0]):
            frame.pts = None  # gaps and jumps of its clock are not heard
            yield from map(bytes_of, resampler.resample(frame))
        yield from map(bytes_of, resampler.resample(None))


def filtered(pieces: Iterable[bytes], filters: Iterable[Filter]) -> Iterator[bytes]:
    """Send sound through filters."""
    for frame in through(pieces, (*filters, ("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={RATE}"))):
        yield bytes_of(frame)


def without(pieces: Iterable[bytes], cuts: Iterable[tuple[float, float]]) -> Iterator[bytes]:
    """Leave parts of sound out.

    :param cuts: from second to second, in their order, none over another
    """
    left = [(round(start * RATE), round(end * RATE)) for start, end in cuts]
    at = 0
    for piece in pieces:
        kept, begin, end = bytearray(), at, at + len(piece) // SAMPLE
        while left and left[0][0] < end:
            first, last = left[0]
            kept += piece[(begin - at) * SAMPLE : max(first - at, begin - at) * SAMPLE]
            begin = min(max(last, begin), end)
            if last > end:
                break
            left.pop(0)
        kept += piece[(begin - at) * SAMPLE :]
        at = end
        if kept:
            yield bytes(kept)


def silences(pieces: Iterable[bytes]) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Return the length of sound in seconds, and where nothing is heard."""
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for piece in pieces:
            count += len(piece) // SAMPLE
            yield piece

    found: list[tuple[float, float]] = []
    start: float | None = None
    for frame in through(counted(), [("silencedetect", f"noise={SILENCE_DB}dB:duration={SHORTEST_SILENCE}")]):
        start = float(frame.metadata.get("lavfi.silence_start", start if start is not None else -1))
        start = None if start == -1 else max(start, 0.0)
        if start is not None and (end := frame.metadata.get("lavfi.silence_end")):
            found.append((start, float(end)))
            start = None
    seconds = count / RATE
    if start is not None:
        found.append((start, seconds))
    return seconds, tuple((start, min(end, seconds)) for start, end in found if start < seconds)


def loudness(pieces: Iterable[bytes]) -> Loudness:
    """Measure sound by EBU R128, with its true peak."""
    last: dict[str, str] = {}
    for frame in through(pieces, [("ebur128", "peak=true:metadata=1")]):
        last = frame.metadata or last
    peak = float(last.get("lavfi.r128.true_peak", 0))
    return Loudness(float(last.get("lavfi.r128.I", -70)), _decibels(peak))


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -120.0


def frames(pieces: Iterable[bytes]) -> Iterator[AudioFrame]:
    """Make FFmpeg's frames of pieces, which tell their time."""
    from av import AudioFrame  # noqa: PLC0415  # as in media.open_media

    at = 0
    for piece in pieces:
        for start in range(0, len(piece), PIECE * SAMPLE):
            part = piece[start : start + PIECE * SAMPLE]
            frame = AudioFrame(format="s16", layout="mono", samples=len(part) // SAMPLE)
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), at
            frame.planes[0].update(part.ljust(frame.planes[0].buffer_size, b"\0"))
            at += frame.samples
            yield frame


def through(pieces: Iterable[bytes], filters: Iterable[Filter]) -> Iterator[AudioFrame]:
    """Send sound through filters, and return FFmpeg's frames, which carry what the filters have measured."""
    from av import BlockingIOError as NothingYetError  # noqa: PLC0415  # as in media.open_media
    from av import EOFError as EndError  # noqa: PLC0415
    from av.filter import Graph  # noqa: PLC0415

    graph = Graph()
    source: Any = graph.add_abuffer(sample_rate=RATE, format="s16", layout="mono", time_base=Fraction(1, RATE))
    graph.link_nodes(source, *(graph.add(name, arguments) for name, arguments in filters), graph.add("abuffersink"))
    graph.configure()

    def ready() -> Iterator[AudioFrame]:
        while True:
            try:
                yield graph.pull()  # type: ignore[misc]  # a graph of sound gives sound
            except (NothingYetError, EndError):
                return

    for frame in frames(pieces):
        graph.push(frame)
        yield from ready()
    graph.push(None)
    yield from ready()


def bytes_of(frame: AudioFrame) -> bytes:
    """Return the samples of a frame."""
    return bytes(frame.planes[0])[: frame.samples * SAMPLE]
