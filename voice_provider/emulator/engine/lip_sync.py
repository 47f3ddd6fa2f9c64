"""A video that says something else: which frame is shown when, with which sound, and with the mouth moved to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voice_provider.emulator.engine import EngineError, LipSyncResult, Segment
from voice_provider.emulator.engine.face import Mouth, Track, track
from voice_provider.emulator.engine.media import (
    AAC_RATE,
    STILL_FPS,
    Picture,
    Samples,
    VideoWriter,
    decoding,
    frame_rate,
    pictures_in,
    read_audio,
    read_picture,
    upright,
    writing,
)
from voice_provider.emulator.engine.mouth import open_mouth, openings
from voice_provider.emulator.engine.sniff import sniff
from voice_provider.emulator.engine.timeline import check_segments, check_sync_mode, output_seconds, source_time

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path

BLOCK, BLOCK_PIXELS = 48, 48 * 1280 * 720  # most frames, and most pixels, kept where the video plays backwards
TRACK_SHARE = 0.45  # of the work, for the progress
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Plan:
    """What the result is made of.

    :param sound: the whole sound, mono at ``AAC_RATE``
    :param order: source frame shown at each frame of the result
    :param moved: which frames of the result have their mouth moved
    """

    sound: Samples
    order: npt.NDArray[np.intp]
    moved: npt.NDArray[np.bool_]


def lip_sync(
    visual: Path,
    output: Path,
    *,
    audio: Path | None = None,
    segments: Sequence[Segment] = (),
    sync_mode: str = "bounce",
    temperature: float = 0.5,
    speaker: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> LipSyncResult:
    """Write the video; see ``Engine.lip_sync``.

    :raises EngineError: ``no_face``, ``not_media``, ``no_audio``, ``bad_segments``, ``bad_input``; each of them before
        the output is opened
    """
    report = progress or (lambda _: None)
    if (audio is None) == (not segments):
        raise EngineError("bad_input", "Give exactly one of audio and segments.")
    check_sync_mode(sync_mode)
    source = _Still(visual) if sniff(visual)[0] == "image" else _Video(visual)
    said = read_audio(audio, AAC_RATE) if audio is not None else None
    if said is not None and not said.size:
        raise EngineError("no_audio", f"{audio and audio.name} has a sound track without sound in it.")
    seen = source.track(speaker, lambda share: report(TRACK_SHARE * share))
    if seen is None:
        raise EngineError(
            "no_face",
            f"No face that looks into the camera was found in {visual.name}. Use a video in which one is seen from the "
            "front, well lit and at least 60 pixels wide.",
        )
    fps = float(source.rate)
    length = source.seconds(seen, said, segments)
    plan = (
        _whole(said, length, seen, fps, sync_mode) if said is not None else _parts(visual, segments, length, seen, fps)
    )
    with writing(output):
        size = _draw(
            source, seen, plan, output, temperature, lambda share: report(TRACK_SHARE + (1 - TRACK_SHARE) * share)
        )
    report(1.0)
    return LipSyncResult(len(plan.order) / fps, *size, fps, len(plan.order))


def _whole(said: Samples, length: float, seen: Track, fps: float, mode: str) -> Plan:
    """One sound for the whole video."""
    spoken = said.size / AAC_RATE
    seconds = output_seconds(length, spoken, mode)
    count = max(1, round(seconds * fps))
    order = _order(seen, fps, count, lambda time: source_time(time, length, seconds, mode))
    sound = _fit(said, round(count / fps * AAC_RATE))
    return Plan(sound, order, np.ones(count, np.bool_))


def _parts(visual: Path, segments: Sequence[Segment], length: float, seen: Track, fps: float) -> Plan:
    """Parts with a sound of their own; elsewhere picture and sound stay."""
    ordered = check_segments(segments, length)
    count = max(1, round(length * fps))
    sound = _fit(_original(visual), round(count / fps * AAC_RATE))
    moved = np.zeros(count, np.bool_)
    for segment in ordered:
        first, last = round(segment.start * AAC_RATE), min(sound.size, round(segment.end * AAC_RATE))
        heard = read_audio(segment.audio, AAC_RATE)
        start = round((segment.audio_start or 0) * AAC_RATE)
        end = heard.size if segment.audio_end is None else round(segment.audio_end * AAC_RATE)
        if start >= heard.size:
            raise EngineError(
                "bad_segments",
                f"Segment {segment.start:g}-{segment.end:g} s starts in its audio at {start / AAC_RATE:g} s, and "
                f"{segment.audio.name} is {heard.size / AAC_RATE:.2f} s long. Let it start before.",
            )
        sound[first:last] = _fit(heard[start:end], max(0, last - first))
        moved[round(segment.start * fps) : round(segment.end * fps)] = True
    return Plan(sound, _order(seen, fps, count, lambda time: time), moved)


def _original(visual: Path) -> Samples:
    try:
        return read_audio(visual, AAC_RATE)
    except EngineError:  # a silent video, or a picture
        return np.zeros(0, np.float32)


def _fit(sound: Samples, count: int) -> Samples:
    """Cut the sound, or follow it by silence."""
    return np.pad(sound[:count], (0, max(0, count - sound.size))).astype(np.float32)


def _order(seen: Track, fps: float, count: int, moment: Callable[[float], float]) -> npt.NDArray[np.intp]:
    times = np.array([moment((number + 0.5) / fps) for number in range(count)])
    return np.clip(np.searchsorted(seen.times, times, side="right") - 1, 0, len(seen.times) - 1)


def _draw(
    source: _Video | _Still, seen: Track, plan: Plan, output: Path, temperature: float, report: Progress
) -> tuple[int, int]:
    fps, count = float(source.rate), len(plan.order)
    opening, rounding = openings(plan.sound, AAC_RATE, fps, count)
    opening = np.clip(opening * (0.7 + 0.6 * temperature), 0, 1)
    writer: VideoWriter | None = None
    try:
        for number, image in enumerate(source.frames(seen.times, plan.order)):
            writer = writer or VideoWriter(output, source.rate, (image.shape[1], image.shape[0]))
            shown = int(plan.order[number])
            if plan.moved[number] and seen.visible[shown] > 0.5:
                mouth = Mouth.from_vector(seen.mouths[shown])
                image = open_mouth(image, mouth, float(opening[number]), float(rounding[number]))  # noqa: PLW2901
            writer.picture(image)
            report(number / count)
    except BaseException:
        if writer is not None:
            writer.close()
        raise
    assert writer is not None  # noqa: S101  # there is at least one frame
    writer.finish(plan.sound)
    return writer.width, writer.height


class _Still:
    """A picture that is shown for as long as there is something to say."""

    rate = STILL_FPS

    def __init__(self, path: Path) -> None:
        self._picture = read_picture(path)

    def seconds(self, seen: Track, said: Samples | None, segments: Sequence[Segment]) -> float:  # noqa: ARG002
        return max(segment.end for segment in segments) if said is None else said.size / AAC_RATE

    def track(self, speaker: tuple[float, float] | None, report: Progress) -> Track | None:
        report(1.0)
        return track([(0.0, self._picture)], speaker)

    def frames(self, times: npt.NDArray[np.float64], order: npt.NDArray[np.intp]) -> Iterator[Picture]:  # noqa: ARG002
        for _ in order:
            yield self._picture


class _Video:
    """The pictures of a video, never all of them in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with decoding(path) as container:
            stream = pictures_in(container)
            if stream is None:
                raise EngineError("bad_input", f"{path.name} has no pictures. Give a video or an image.")
            self._block = min(BLOCK, max(2, BLOCK_PIXELS // (stream.width * stream.height)))
            self.rate: Fraction = frame_rate(stream)
            self._seconds = container.duration / 1_000_000 if container.duration else None

    def seconds(self, seen: Track, said: Samples | None, segments: Sequence[Segment]) -> float:  # noqa: ARG002
        return float(seen.times[-1]) + 1 / float(self.rate)

    def track(self, speaker: tuple[float, float] | None, report: Progress) -> Track | None:
        return track(self._all(report), speaker)

    def _all(self, report: Progress) -> Iterator[tuple[float, Picture]]:
        with decoding(self._path) as container:
            stream = pictures_in(container)
            stream.thread_type = "AUTO"
            first, latest = None, 0.0
            for frame in container.decode(stream):
                if frame.pts is None:  # a frame without a moment of its own is never shown
                    continue
                first = frame.pts if first is None else first
                latest = max(latest, float((frame.pts - first) * stream.time_base))
                report(min(1.0, latest / self._seconds) if self._seconds else 0.0)
                yield latest, upright(frame)

    def frames(self, times: npt.NDArray[np.float64], order: npt.NDArray[np.intp]) -> Iterator[Picture]:
        """Yield pictures in the given order; where it runs backwards, blocks are decoded forwards and kept."""
        with decoding(self._path) as container:
            stream = pictures_in(container)
            stream.thread_type = "AUTO"
            block: dict[int, Any] = {}
            decoder, at, start = container.decode(stream), -1, None
            for number, index in enumerate(order):
                if index not in block:
                    ahead = order[number : number + self._block]
                    backwards = len(ahead) > 1 and ahead[1] < index == ahead.max()
                    first = max(0, index - self._block + 1) if backwards and ahead[1] >= index - 2 else index
                    if first <= at:
                        container.seek((start or 0) + round(times[first] / stream.time_base), stream=stream)
                        decoder, at = container.decode(stream), -1
                    block = {}
                    for frame in decoder:
                        if frame.pts is None:
                            continue
                        start = frame.pts if start is None else start
                        at = int(np.argmin(np.abs(times - float((frame.pts - start) * stream.time_base))))
                        if at >= first:
                            block[at] = frame
                        if at >= index:
                            break
                yield upright(block[min(block, key=lambda have: abs(have - index))])
