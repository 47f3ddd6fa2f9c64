"""Small videos whose frames say their own number: six black or white squares in the corner, in binary.

The squares survive two encodings, so a test can tell which frame of the source each frame of a result shows.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from tests.emulator.engine.measure import RATE, sound_of
from voice_provider.emulator.engine.presenter import PRESENTERS, background, draw_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SIZE = (480, 270)
FPS = Fraction(25)
BITS, SQUARE = 6, 16
TICK = 90_000


def presenter(name: str, time: float, size: tuple[int, int] = SIZE) -> Any:
    return _presenter(name, time, size).copy()


@lru_cache(128)  # two seconds of both
def _presenter(name: str, time: float, size: tuple[int, int]) -> Any:
    return draw_frame(PRESENTERS[name], time, _wall(name, size))


@cache
def _wall(name: str, size: tuple[int, int]) -> Any:
    return background(PRESENTERS[name], *size)


def footage(
    path: Path,
    *,
    frames: int = 50,
    rate: Fraction = FPS,
    size: tuple[int, int] = SIZE,
    picture: Callable[[int], Any] | None = None,
    times: Sequence[float] = (),
    tone: str = "",
    matrix: Sequence[int] = (),
    store: Callable[[Any], Any] = lambda picture: picture,
    form: str = "mp4",
) -> Path:
    """Write a video.

    :param picture: what frame number so-and-so shows; default presenter A
    :param times: seconds at which each frame is shown; default one every ``1 / rate``
    :param tone: layout of a sound track with a tone of 440 Hz, ``mono`` or ``stereo``; default no sound track
    :param matrix: display matrix of the file
    :param store: how a picture is turned before it is stored
    """
    with av.open(str(path), "w", format=form) as container:
        video: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "12"})
        sound: Any = container.add_stream("aac", rate=RATE, layout=tone) if tone else None
        if matrix:
            video.set_display_matrix(matrix)
        video.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        video.codec_context.time_base = Fraction(1, TICK) if form != "avi" else 1 / rate
        for number in range(frames):
            shown = picture(number) if picture else presenter("A", number / float(rate), size)
            for bit in range(BITS):
                shown[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 255 * (number >> bit & 1)
            stored = np.ascontiguousarray(store(shown))
            if not number:
                video.height, video.width = stored.shape[:2]
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = round((times[number] if times else number / rate) * TICK), Fraction(1, TICK)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            _tone(container, sound, frames / float(rate), 2 if tone == "stereo" else 1)
    return path


def _tone(container: Any, stream: Any, seconds: float, channels: int) -> None:
    wave = (0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
    for start in range(0, wave.size, 1024):
        part = np.ascontiguousarray(np.tile(wave[start : start + 1024], (channels, 1)))
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo" if channels == 2 else "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def pictures_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0)]


def numbers_of(path: Path) -> list[int]:
    """Return which frame of the source each frame shows."""
    squares = [np.s_[4 : SQUARE - 4, bit * SQUARE + 4 : (bit + 1) * SQUARE - 4] for bit in range(BITS)]
    return [
        sum(1 << bit for bit, square in enumerate(squares) if picture[square].mean() > 128)
        for picture in pictures_of(path)
    ]


def mouth_moves(source: Path, result: Path, left: float = 0.0, right: float = 1.0) -> list[float]:
    """Return how much each frame differs from the source's around the mouths, between two shares of the width."""
    return [
        float(np.percentile(cv2.absdiff(a, b)[_mouth_part(a, left, right)], 99.5))
        for a, b in zip(pictures_of(source), pictures_of(result), strict=True)
    ]


def _mouth_part(picture: Any, left: float, right: float) -> Any:
    height, width = picture.shape[:2]
    return np.s_[int(0.55 * height) : int(0.85 * height), int(left * width) : int(right * width)]


def loudness(path: Path, start: float, end: float) -> float:
    """Return the root mean square of a part of the sound."""
    return float(np.sqrt(np.mean(sound_of(path)[int(start * RATE) : int(end * RATE)] ** 2)))
