"""Moving the mouth: how far it opens at each moment of the sound, and drawing it that far open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from voice_provider.emulator.engine.face import smooth

if TYPE_CHECKING:
    from voice_provider.emulator.engine.face import Floats, Mouth
    from voice_provider.emulator.engine.media import Picture, Samples

MAX_GAP = 0.36  # widest opening, as a share of the mouth's width
RANGE = 28  # decibels between the loudest sound and a closed mouth
BLOCK = 512  # frames whose sound is analysed at a time
EDGE = 1.5  # pixels over which the inside of the mouth fades into the lips
MIN_WIDTH = 8  # pixels; a smaller mouth is left alone


def openings(sound: Samples, rate: int, fps: float, count: int) -> tuple[Floats, Floats]:
    """Return opening and rounding (0 to 1) for ``count`` frames.

    :param sound: mono samples
    :param rate: their rate in Hz
    :param fps: frames a second
    """
    width = int(0.04 * rate)
    padded = np.pad(sound, (width, width + int(rate / fps)))
    middles = ((np.arange(count) + 0.5) / fps * rate).astype(int) + width  # a frame is seen around its middle
    starts = np.minimum(middles - width // 2, len(padded) - width)
    frequency = np.fft.rfftfreq(width, 1 / rate)
    lower, upper = (frequency > 100) & (frequency < 1000), (frequency >= 1000) & (frequency < 4000)
    low, high = np.zeros(count), np.zeros(count)
    for at in range(0, count, BLOCK):  # so that a long sound needs little memory
        windows = np.lib.stride_tricks.sliding_window_view(padded, width)[starts[at : at + BLOCK]]
        power = np.abs(np.fft.rfft(windows * np.hanning(width), axis=1)) ** 2
        low[at : at + BLOCK], high[at : at + BLOCK] = power[:, lower].sum(1), power[:, upper].sum(1)
    level = 10 * np.log10(low + high + 1e-9)
    floor = max(float(np.percentile(level, 95)) - RANGE, -35)  # quieter than this is silence
    opening = np.clip((level - floor) / RANGE, 0, 1) ** 1.2
    rounding = np.clip((low / (low + high + 1e-9) - 0.6) / 0.4, 0, 1) * (opening > 0.1)
    return smooth(opening, 0.8), smooth(rounding, 1.2)


def open_mouth(image: Picture, mouth: Mouth, opening: float, rounding: float = 0.0) -> Picture:
    """Return the picture with the lips parted by ``opening`` (0 to 1)."""
    axis = mouth.right - mouth.left
    width = float(np.linalg.norm(axis))
    target = MAX_GAP * opening * (1 - 0.15 * rounding)
    if width < MIN_WIDTH or abs(target - mouth.gap) * width < 0.7:
        return image
    centre, axis = (mouth.left + mouth.right) / 2, axis / width
    reach = int(1.5 * width)
    x0, y0 = np.maximum(centre.astype(int) - reach, 0)
    x1, y1 = np.minimum(centre.astype(int) + reach, (image.shape[1], image.shape[0]))
    if x1 - x0 < MIN_WIDTH or y1 - y0 < MIN_WIDTH:
        return image
    patch = image[y0:y1, x0:x1]

    # mouth coordinates of every pixel: u along the lips (-0.5 to 0.5), v below the line between the corners
    dx = (np.arange(x0, x1, dtype=np.float32) - centre[0])[None] / width
    dy = (np.arange(y0, y1, dtype=np.float32) - centre[1])[:, None] / width
    u, v = dx * axis[0] + dy * axis[1], dy * axis[0] - dx * axis[1]
    half = 0.46 * (1 - 0.2 * rounding)
    column = np.clip(1 - (u / half) ** 2, 0, 1)
    below = v - mouth.sag * np.clip(1 - 4 * u * u, 0, 1)  # height below the lip line
    shape = np.sqrt(column)
    old, new = mouth.gap * shape, target * shape

    # the lower lip follows the opening, the chin the mean opening; both fade out downwards and sideways
    depth = below - new
    jaw = (target - mouth.gap) * np.exp(-2.6 * u * u)
    mix, fade = np.clip(depth / 0.3, 0, 1), np.clip(1 - depth / 1.1, 0, 1)
    shift = np.where(depth >= 0, ((new - old) * (1 - mix) + jaw * mix) * fade * fade * (3 - 2 * fade), 0)
    # a little above its edge, too, so that what was there does not shine through where the inside is blended in
    shift = np.where((depth < 0) & (depth > -EDGE / width) & (below > old), below - old, shift)
    squeeze = 0.16 * rounding * opening * np.exp(-((u / 0.6) ** 2) - ((below - 0.1) / 0.45) ** 2) * u
    map_x = np.arange(x1 - x0, dtype=np.float32)[None] + (squeeze * axis[0] + shift * axis[1]) * width
    map_y = np.arange(y1 - y0, dtype=np.float32)[:, None] + (squeeze * axis[1] - shift * axis[0]) * width
    moved = cv2.remap(
        patch, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )

    # the inside of the mouth, blended over the parted lips
    edge = width / EDGE
    hole = np.clip(below * edge + 0.5, 0, 1) * np.clip((new - below) * edge + 0.5, 0, 1) * (column > 0)
    if hole.any():
        inner = _inside(u, below, new, half, _brightness(patch), width, 1 - mouth.teeth)
        moved = np.clip(moved * (1 - hole[..., None]) + inner * hole[..., None], 0, 255).astype(np.uint8)
    result = image.copy()
    result[y0:y1, x0:x1] = moved
    return result


def _brightness(patch: Picture) -> float:
    height, width = patch.shape[:2]
    middle = patch[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    return float(np.clip(np.median(middle) / 175, 0.3, 1.1))


def _inside(
    u: npt.NDArray[np.floating],
    below: npt.NDArray[np.floating],
    gap: npt.NDArray[np.floating],
    half: float,
    light: float,
    width: float,
    teeth_share: float,
) -> npt.NDArray[np.floating]:
    """Return the colours of a dark cavity with a tongue and a hint of upper teeth."""
    depth = np.clip(below / np.maximum(gap, 1e-6), 0, 1)[..., None]
    tongue = np.clip((depth - 0.6) / 0.3, 0, 1) * np.exp(-((u / 0.22) ** 2))[..., None]
    cavity, flesh, enamel = (np.array(c, np.float32) for c in ((58, 20, 22), (62, 24, 26), (205, 197, 187)))
    colour = light * (cavity * (0.5 + 0.9 * depth**2) + flesh * tongue)
    teeth = np.clip((np.minimum(0.07, 0.45 * gap) - below) * width / 2, 0, 1)
    teeth = teeth * 0.75 * teeth_share * np.clip(1 - (u / half / 0.85) ** 2, 0, 1)
    teeth = (teeth * np.clip(gap * width / 4 - 0.6, 0, 1))[..., None]
    return np.asarray(colour * (1 - teeth) + light * enamel * teeth)
