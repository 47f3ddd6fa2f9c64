"""Follow the pitch of a voice: normalised autocorrelation, then the smoothest path through its best candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

RATE = 24_000
HOP = 300  # samples between two estimates: 12.5 ms
LOWEST, HIGHEST = 65.0, 420.0  # Hz
WINDOW = 1080  # samples: three periods of the lowest pitch
CANDIDATES = 5
BLOCK = 512  # frames analysed at a time, so that a long sample needs little memory


def track_pitch(samples: npt.NDArray[np.floating]) -> Floats:
    """Return the pitch in Hz every 12.5 ms, 0 where there is none.

    :param samples: mono, 24 kHz
    """
    sound = np.asarray(samples, np.float64)
    count = len(sound) // HOP
    if count == 0:
        return np.zeros(0)
    padded = np.pad(sound, (WINDOW // 2, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    loudness = float(np.sqrt(np.mean(sound**2))) + 1e-9
    blocks = [_candidates(frames[start : start + BLOCK], loudness) for start in range(0, count, BLOCK)]
    return _best_path(np.concatenate([pitch for pitch, _ in blocks]), np.concatenate([score for _, score in blocks]))


def _candidates(frames: npt.NDArray[np.float64], loudness: float) -> tuple[Floats, Floats]:
    """Return pitch and score of the best candidates of each frame; the last column stands for "no voice"."""
    size = 1 << (2 * WINDOW - 1).bit_length()
    window = np.hanning(WINDOW)
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)
    shortest, longest = int(RATE / HIGHEST), int(RATE / LOWEST)
    centred = frames - frames.mean(1, keepdims=True)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(centred * window, size)) ** 2, size)[:, : longest + 2]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / (shape[: longest + 2] / shape[0])
    span = correlation[:, shortest : longest + 1]
    lags = np.arange(shortest, longest + 1)
    score = span - 0.01 * np.log2(lags / shortest)  # of two equal periods the shorter one is the pitch
    peak = np.zeros(span.shape, bool)
    peak[:, 1:-1] = (span[:, 1:-1] > span[:, :-2]) & (span[:, 1:-1] >= span[:, 2:])
    score = np.where(peak, score, -np.inf)
    best = np.argpartition(-score, CANDIDATES, axis=1)[:, :CANDIDATES]
    rows = np.arange(len(frames))[:, None]
    lag = best + shortest
    before, here, after = correlation[rows, lag - 1], correlation[rows, lag], correlation[rows, lag + 1]
    bend = before - 2 * here + after
    pitch = RATE / (lag + 0.5 * (before - after) / np.where(np.abs(bend) < 1e-12, 1e-12, bend))
    found = np.isfinite(score[rows, best])
    quiet = np.maximum(0.0, 2 - np.sqrt(np.mean(centred**2, 1)) / loudness / 0.06)
    return (
        np.pad(np.where(found, pitch, 0.0), ((0, 0), (0, 1))),
        np.column_stack([np.where(found, score[rows, best], 0.0), 0.45 + 0.5 * quiet]),
    )


def _best_path(pitch: Floats, score: Floats) -> Floats:
    """Choose one candidate per frame (Viterbi): high scores, small jumps, few changes between voice and none."""
    voiced, octave = pitch > 0, np.log2(np.maximum(pitch, 1))
    cost, back = -score[0], np.zeros(pitch.shape, np.intp)
    for i in range(1, len(pitch)):
        both = voiced[i][None] & voiced[i - 1][:, None]
        jump = np.abs(octave[i][None] - octave[i - 1][:, None]) * 0.7
        switch = np.where(voiced[i][None] != voiced[i - 1][:, None], 0.14, 0.0)
        total = cost[:, None] + np.where(both, jump, switch)
        back[i] = total.argmin(0)
        cost = total.min(0) - score[i]
    path = np.zeros(len(pitch), np.intp)
    path[-1] = cost.argmin()
    for i in range(len(pitch) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return np.asarray(pitch[np.arange(len(pitch)), path])
