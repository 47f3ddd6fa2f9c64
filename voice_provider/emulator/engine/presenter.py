"""Two flat-design presenters, drawn frame by frame: they breathe, blink, and move their mouth if they are told to.

The faces have enough shading around eyes and nose for OpenCV's Haar cascades to find them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from voice_provider.emulator.engine.media import Picture

Colour = tuple[int, int, int]  # red, green, blue
Points = npt.NDArray[np.float64]
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Presenter:
    """Colours and style of one character."""

    skin: Colour
    hair: Colour
    lips: Colour
    eyes: Colour
    jacket: Colour
    shirt: Colour
    wall: Colour
    accent: Colour
    long_hair: bool


PRESENTERS = {
    "A": Presenter(
        (240, 200, 172),
        (84, 52, 38),
        (196, 92, 92),
        (74, 96, 70),
        (38, 94, 120),
        (246, 244, 238),
        (214, 228, 232),
        (240, 180, 96),
        True,
    ),
    "B": Presenter(
        (190, 132, 96),
        (36, 28, 28),
        (150, 78, 74),
        (60, 40, 28),
        (70, 66, 104),
        (236, 240, 246),
        (206, 200, 190),
        (104, 160, 140),
        False,
    ),
}


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(np.clip(part * factor, 0, 255)) for part in colour)
    return red, green, blue


class _Pen:
    """Anti-aliased shapes in a coordinate system centred on the face (1 unit = 1 pixel at 720p)."""

    def __init__(self, image: Picture, x: float, y: float, scale: float) -> None:
        self.image, self.x, self.y, self.scale = image, x, y, scale

    def _fixed(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        placed = np.asarray(points, float) * self.scale + (self.x, self.y)
        return np.round(placed * (1 << _SHIFT)).astype(np.int32)

    def polygon(self, points: npt.ArrayLike, colour: Colour) -> None:
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: npt.ArrayLike, colour: Colour, width: float) -> None:
        width = max(1, round(width * self.scale))
        cv2.polylines(self.image, [self._fixed(points)], False, colour, width, cv2.LINE_AA, _SHIFT)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, start: float = 0, end: float = 360
    ) -> None:
        self.polygon(arc(x, y, rx, ry, start, end), colour)


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Points:
    """Points of an elliptic arc; angles in degrees, clockwise from the right."""
    angle = np.radians(np.linspace(start, end, 73))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def background(who: Presenter, width: int, height: int) -> Picture:
    """Wall with a soft vertical gradient, a picture frame and a shelf."""
    fade = np.linspace(1.04, 0.90, height)[:, None, None]
    image = np.clip(np.array(who.wall) * fade * np.ones((1, width, 1)), 0, 255).astype(np.uint8)
    pen = _Pen(image, width / 2, height / 2, height / 720)
    box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    pen.polygon((-560, -250) + box * (210, 260), _shade(who.wall, 0.82))
    pen.polygon((-548, -238) + box * (186, 236), _shade(who.wall, 1.06))
    pen.ellipse(-455, -120, 58, 58, who.accent)
    pen.polygon((370, 60) + box * (220, 14), _shade(who.wall, 0.72))
    for k, (height_, tint) in enumerate([(110, 0.9), (130, 1.1), (96, 0.75)]):
        pen.polygon((395 + 34 * k, 60 - height_) + box * (28, height_), _shade(who.accent, tint))
    return image


def _body(pen: _Pen, who: Presenter) -> None:
    """Shoulders, jacket, shirt and neck."""
    shoulders = [[-330, 420], [-310, 330], [-250, 275], [-80, 225], [80, 225], [250, 275], [310, 330], [330, 420]]
    pen.polygon(shoulders, who.jacket)
    pen.polygon([[-78, 226], [78, 226], [0, 430]], who.shirt)
    for side in (-1, 1):
        pen.polygon([[side * 78, 224], [side * 118, 262], [side * 66, 300], [side * 22, 420]], _shade(who.jacket, 0.82))
    pen.polygon([[-60, 120], [60, 120], [62, 232], [0, 268], [-62, 232]], _shade(who.skin, 0.84))


def _eyes(pen: _Pen, who: Presenter, blink: float, glance: float, brow: float) -> None:
    """Two eyes with lids (``blink`` 0 open .. 1 shut), eyebrows and a little shadow in the sockets."""
    for side in (-1, 1):
        x = 60 * side
        pen.ellipse(x, -42, 42, 28, _shade(who.skin, 0.84))
        height = 16 * (1 - blink)
        if height > 3:
            pen.ellipse(x, -38, 28, height, (226, 226, 224))
            pen.ellipse(x + 7 * glance, -37, 17, min(16, height), who.eyes)
            pen.ellipse(x + 7 * glance, -37, 9, min(9, height), (22, 20, 22))
            pen.ellipse(x + 7 * glance + 4, -42, 3.5, min(3.5, height / 3), (255, 255, 255))
        pen.line(arc(x, -38, 33, max(height, 2) + 1, 188, 352), _shade(who.hair, 0.7), 6)
        pen.line(arc(x, -58 - brow, 43, 22, 210 + 4 * side, 330 + 4 * side), who.hair, 10)


def _mouth(pen: _Pen, who: Presenter, opening: float) -> None:
    """Closed lips, or an open mouth with teeth and tongue (``opening`` 0..1)."""
    half, drop = 56 - 6 * opening, 46 * opening
    x = np.linspace(-1, 1, 41)
    y = 106 - 9 * (1 - 0.5 * opening) * x**2  # the corners are higher than the middle: a small smile
    bow = 1 - x**2
    seam = np.stack([half * x, y + 5 * bow], 1)
    upper = np.stack([half * x, y - 15 * bow**0.8 + 4 * np.exp(-((x / 0.16) ** 2))], 1)
    inner = np.stack([half * 0.9 * x, y + 4 + (1 + drop) * bow**0.7], 1)
    lower = np.stack([half * x, y + 5 + (16 + drop) * bow**0.7], 1)
    pen.polygon(np.concatenate([seam, lower[::-1]]), _shade(who.lips, 1.1))
    if drop > 2:
        pen.polygon(np.concatenate([seam, inner[::-1]]), (74, 26, 30))
        if drop > 20:
            pen.ellipse(0, 110 + drop * 0.8, half * 0.42, drop * 0.2, (160, 72, 78))
        teeth = np.minimum(inner, np.add(seam, (0, min(10, drop * 0.4))))
        pen.polygon(np.concatenate([seam[4:-4], teeth[4:-4][::-1]]), (240, 238, 232))
    pen.polygon(np.concatenate([upper, seam[::-1]]), _shade(who.lips, 0.92))
    pen.line(seam, _shade(who.lips, 0.55), 4)


def _hair_back(pen: _Pen, who: Presenter) -> None:
    if who.long_hair:
        pen.ellipse(0, -60, 188, 190, who.hair)
        pen.polygon([[-188, -60], [-196, 170], [-130, 236], [130, 236], [196, 170], [188, -60]], _shade(who.hair, 0.85))


def _blush(skin: Colour) -> Colour:
    red, green, blue = (int(a * 0.85 + b * 0.15) for a, b in zip(skin, (226, 90, 80), strict=True))
    return red, green, blue


def _head(pen: _Pen, who: Presenter, blink: float, glance: float, brow: float, opening: float) -> None:
    for side in (-1, 1):
        pen.ellipse(side * 152, -8, 22, 34, _shade(who.skin, 0.88))
    chin = 8 * opening
    face = np.concatenate([arc(0, -30, 152, 168, 180, 360), arc(0, -20, 152, 206 + chin, 0, 180)])
    pen.polygon(face, who.skin)
    for side in (-1, 1):  # cheeks
        pen.ellipse(side * 92, 46, 30, 20, _blush(who.skin))
    _eyes(pen, who, blink, glance, brow)
    pen.polygon([[-7, -30], [7, -30], [24, 42], [0, 54], [-24, 42]], _shade(who.skin, 1.05))
    pen.line(arc(0, 38, 21, 13, 25, 155), _shade(who.skin, 0.68), 6)
    _mouth(pen, who, opening)
    cap = arc(0, -62, 168, 158, 180, 360) if who.long_hair else arc(0, -42, 160, 172, 180, 360)
    if who.long_hair:
        fringe = [[160, 20], [140, -80], [60, -118], [-40, -150], [-96, -104], [-142, -70], [-160, 20]]
    else:
        fringe = [[158, -10], [138, -80], [110, -128], [20, -120], [-70, -132], [-126, -110], [-138, -80], [-158, -10]]
    pen.polygon(np.concatenate([cap, np.array(fringe, float)]), who.hair)


def draw_frame(who: Presenter, time: float, wall: Picture, opening: float = 0.0) -> Picture:
    """Draw a frame.

    :param who: one of ``PRESENTERS``
    :param time: seconds since the beginning
    :param wall: what ``background`` drew
    :param opening: how far the mouth is open, 0 to 1
    """
    image = wall.copy()
    height, width = image.shape[:2]
    scale, breath = height / 720, sin(2 * pi * time / 4.3)
    phase = (time + 0.8) % 3.7  # one blink of 0.2 s every 3.7 s
    blink = 0.5 - 0.5 * cos(2 * pi * phase / 0.2) if phase < 0.2 else 0.0
    x, y = 9 * sin(0.9 * time) + 4 * sin(2.3 * time), 4 * breath + 3 * opening
    head = _Pen(image, width / 2 + x * scale, height / 2 + y * scale, scale)
    _hair_back(head, who)
    _body(_Pen(image, width / 2, height / 2 + (20 + 3 * breath) * scale, scale), who)
    _head(head, who, blink, sin(0.7 * time) * 0.6, 3 + 3 * sin(1.3 * time) + 4 * opening, float(np.clip(opening, 0, 1)))
    return image
