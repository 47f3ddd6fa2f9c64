"""Measures a lip-synced video from the outside, by its pixels and its sound; shares nothing with the engine.

The mouth's opening is the number of dark pixels in the lower middle of the face, frame by frame. It is compared with
the loudness of the speech: the root mean square of 40 ms around the middle of each frame, in decibels above a floor
30 dB below the loudest frames (what is quieter counts as silence). "Smoothed" is that after a Gaussian of one frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000
RANGE = 30.0


@dataclass(frozen=True)
class Measured:
    """Streams of the file; seconds the sound is late; correlation of the mouth's opening with the loudness."""

    streams: dict[str, int]
    seconds: float
    speech_seconds: float
    audio_offset: float
    correlation_plain: float
    correlation_smoothed: float


def sound_of(path: Path) -> Any:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([*parts, *(out.to_ndarray()[0] for out in resampler.resample(None))])


def measure(mp4: Path, speech: Path) -> Measured:
    """Measure a video against the speech that it is to say."""
    with av.open(str(mp4)) as container:
        streams = {"video": len(container.streams.video), "audio": len(container.streams.audio)}
        rate = float(container.streams.video[0].average_rate)
        gaps = np.array(_gaps(frame.to_ndarray(format="gray") for frame in container.decode(video=0)))
    said, heard = sound_of(speech), sound_of(mp4)
    loud = _loudness(said, rate, len(gaps))
    return Measured(
        streams=streams,
        seconds=len(gaps) / rate,
        speech_seconds=said.size / RATE,
        audio_offset=_offset(said, heard),
        correlation_plain=float(np.corrcoef(gaps, loud)[0, 1]),
        correlation_smoothed=float(np.corrcoef(gaps, _smooth(loud))[0, 1]),
    )


def _gaps(frames: Any) -> list[float]:
    finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    box, gaps = None, []
    for number, gray in enumerate(frames):
        if box is None or number % 5 == 0:
            found = finder.detectMultiScale(gray, 1.1, 4, minSize=(100, 100))
            box = max(found, key=lambda b: b[2]) if len(found) else box
        assert box is not None, "no face in the first frame"
        x, y, size, _ = box
        # no wider: beside the chin there may be dark hair
        part = gray[y + int(0.62 * size) : y + int(1.03 * size), x + int(0.35 * size) : x + int(0.65 * size)]
        gaps.append(float((part < 0.40 * np.median(part)).sum()))
    return gaps


def _loudness(sound: Any, rate: float, count: int) -> Any:
    half = int(0.02 * RATE)
    padded = np.pad(sound, (half, half + RATE))
    middles = ((np.arange(count) + 0.5) / rate * RATE).astype(int) + half
    level = np.array([10 * np.log10(np.mean(padded[m - half : m + half] ** 2) + 1e-9) for m in middles])
    floor = max(np.percentile(level, 95) - RANGE, -60)
    return np.clip(level - floor, 0, None)


def _smooth(values: Any, sigma: float = 1.0) -> Any:
    reach = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    return np.convolve(np.pad(values, 4, mode="edge"), kernel / kernel.sum(), "valid")


def _offset(said: Any, heard: Any) -> float:
    """Seconds by which the sound in the video is late, by cross-correlation within half a second."""
    size = 1 << (max(said.size, heard.size) * 2 - 1).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    lags = np.concatenate([np.arange(RATE // 2), np.arange(-RATE // 2, 0)])
    return float(lags[int(np.argmax(both[lags]))] / RATE)


def pitch_of(path: Path) -> float:
    """Return the median pitch in Hz, by autocorrelation of the loud, clearly voiced frames."""
    sound = sound_of(path)
    size, found = int(0.05 * RATE), []
    window = np.hanning(size)
    own = np.correlate(window, window, "full")[size - 1 :]
    limit = 0.5 * np.sqrt(np.mean(sound**2))
    for start in range(0, sound.size - size, size // 2):
        part = sound[start : start + size]
        if np.sqrt(np.mean(part**2)) < limit:
            continue
        part = (part - part.mean()) * window
        curve = np.correlate(part, part, "full")[size - 1 :] / (part @ part) / np.maximum(own, 1e-6) * own[0]
        lags = np.arange(RATE // 400, RATE // 60)
        best = lags[int(np.argmax(curve[lags] - 0.02 * np.log2(lags)))]
        if curve[best] > 0.6:
            found.append(RATE / best)
    return float(np.median(found))
