"""Where the mouth is in every frame: the face by OpenCV's Haar cascades, the mouth in it by colour and darkness."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voice_provider.emulator.engine.media import Picture

Floats = npt.NDArray[np.float64]
FACE_EVERY = 3  # the face is searched in every third frame
SEARCH_SIZE = 360  # pixels of the shorter side in which a face is searched
PATCH = 200  # the face box is scaled to this width before the mouth is searched
MAX_LOST = 1.0  # seconds that a lost face keeps its last place
STRIDE = 1.5  # face widths within which a speaker who was lost is found again


@dataclass
class Mouth:
    """A mouth: corners in pixels; ``sag`` and ``gap`` as shares of the mouth's width."""

    left: Floats
    right: Floats
    sag: float  # how far the lip line hangs below the straight line between the corners
    gap: float  # opening that the source shows already
    teeth: float  # 1 when teeth show in the source, else 0

    def vector(self) -> Floats:
        """Return the numbers in one row."""
        return np.array([*self.left, *self.right, self.sag, self.gap, self.teeth])

    @classmethod
    def from_vector(cls, row: Floats) -> Mouth:
        """Read a row."""
        return cls(row[:2], row[2:4], float(row[4]), float(row[5]), float(row[6]))


_loaded = threading.local()  # a cascade is no object for two threads


def _cascades() -> list[Any]:
    """Return this thread's cascades: they take 20 ms to read."""
    if not hasattr(_loaded, "cascades"):
        names = (f"{cv2.data.haarcascades}haarcascade_frontalface_{name}.xml" for name in ("alt2", "default"))
        _loaded.cascades = [cv2.CascadeClassifier(name) for name in names]
    found: list[Any] = _loaded.cascades
    return found


class FaceFinder:
    """Finds one face and follows it.

    :param speaker: pixel whose nearest face it is; default: the largest face
    """

    def __init__(self, speaker: tuple[float, float] | None = None) -> None:
        self._cascades = _cascades()
        self._clahe = cv2.createCLAHE(3, (8, 8))
        self._speaker = speaker
        self._last: Floats | None = None
        self._place: Floats | None = None  # middle of the face when it was last seen

    def __call__(self, gray: npt.NDArray[np.uint8], scale: float) -> Floats | None:
        """Return x, y, size, size of the face in pixels of ``gray``, or ``None``.

        :param scale: what ``gray`` was shrunk by
        """
        box = None if self._last is None else self._near(gray, self._last)
        if box is None:
            box = self._search(gray, scale)
        self._last = box
        if box is not None:
            self._place = box[:2] + box[2] / 2
        return box

    def _search(self, gray: npt.NDArray[np.uint8], scale: float) -> Floats | None:
        tries = ((gray, 1.1, 4), (self._clahe.apply(gray), 1.05, 2))  # the second one finds badly lit faces
        for image, step, neighbours in tries:
            hits = [cascade.detectMultiScale(image, step, neighbours, minSize=(40, 40)) for cascade in self._cascades]
            found = [np.asarray(box, np.float64) for boxes in hits for box in boxes]
            if found and self._speaker is not None:
                return self._nearest(found, scale)
            if found:
                return max(found, key=lambda box: float(box[2]))
        return None

    def _nearest(self, found: list[Floats], scale: float) -> Floats | None:
        """Return the speaker, and not the neighbour of a speaker who looks away for a moment."""
        place = np.array(self._speaker) * scale if self._place is None else self._place
        distances = [float(np.linalg.norm(box[:2] + box[2] / 2 - place)) for box in found]
        best = int(np.argmin(distances))
        return None if self._place is not None and distances[best] > STRIDE * found[best][2] else found[best]

    def _near(self, gray: npt.NDArray[np.uint8], last: Floats) -> Floats | None:
        x, y, width, _ = last
        left, top = int(max(0, x - 0.3 * width)), int(max(0, y - 0.3 * width))
        part = gray[top : int(y + 1.3 * width), left : int(x + 1.3 * width)]
        limits = {"minSize": (int(0.8 * width),) * 2, "maxSize": (int(1.25 * width),) * 2}
        found = self._cascades[0].detectMultiScale(part, 1.05, 3, **limits)
        if not len(found):
            return None
        best = min(found, key=lambda box: abs(box[2] - width))
        return np.asarray(np.add(best, (left, top, 0, 0)), np.float64)


def find_mouth(image: Picture, box: Floats) -> Mouth:
    """Locate the mouth inside a face box by redness and by dark, wide structure."""
    scale = PATCH / box[2]
    x0, y0, width, height = 0.12, 0.60, 0.76, 0.50  # the part of the face box that is searched
    corner = box[:2] + box[2] * np.array([x0, y0])
    size = (int(width * PATCH), int(height * PATCH))
    to_patch = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float32)
    source = cv2.GaussianBlur(image, (0, 0), 0.45 / scale) if scale < 0.6 else image
    patch = cv2.warpAffine(source, to_patch, size, borderMode=cv2.BORDER_REPLICATE)
    light, green_red, _ = cv2.split(cv2.cvtColor(np.float32(patch) / np.float32(255), cv2.COLOR_RGB2Lab))
    middle = np.s_[:, size[0] // 4 : -size[0] // 4]
    skin_light, skin_red = float(np.median(light[middle])), float(np.median(green_red[middle]))

    kernel = np.ones((int(0.22 * PATCH), 1), np.uint8)
    dark = cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, kernel) / max(skin_light, 1.0)
    red = np.clip((green_red - skin_red - 3) / 25, 0, 1)
    score = 1.5 * dark + red
    grid_x = (np.arange(size[0]) / PATCH + x0 - 0.5)[None]
    grid_y = (np.arange(size[1]) / PATCH + y0 - 0.77)[:, None]
    prior = np.exp(-0.5 * (grid_x / 0.16) ** 2 - 0.5 * (grid_y / 0.09) ** 2)
    likely = cv2.blur(score, (int(0.2 * PATCH), int(0.04 * PATCH))) * prior
    left, right = np.array([0.35, 0.77]), np.array([0.65, 0.77])  # where mouths are, if nothing plausible is found
    for _ in range(3):
        cy, cx = np.unravel_index(int(np.argmax(likely)), likely.shape)
        around = np.s_[max(0, cy - 8) : cy + 9, max(0, cx - 20) : cx + 21]
        offset = grid_y - grid_y[cy]
        band = (np.abs(grid_x) < 0.27) & (offset > -0.055) & (offset < 0.085)
        mask = np.uint8(band & (score > 0.4 * np.percentile(score[around], 85)))
        _, labels = cv2.connectedComponents(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 9), np.uint8)))
        counts = np.bincount(labels[around].ravel(), minlength=2)
        ys, xs = np.nonzero(labels == 1 + counts[1:].argmax())
        if len(xs) and 0.16 < np.ptp(xs) / PATCH < 0.54:
            columns = xs - xs.min()
            rows = np.bincount(columns, ys) / np.maximum(np.bincount(columns), 1)
            left, right = (np.array(end) / PATCH + (x0, y0) for end in _corners(rows, int(xs.min())))
            break
        likely = likely * (np.abs(offset) > 0.06)  # nose or shadow: look elsewhere
    left, right = box[:2] + box[2] * left, box[:2] + box[2] * right
    return Mouth(left, right, *_lip_line(image, left, right, skin_light))


def _corners(rows: Floats, start: int) -> list[tuple[float, float]]:
    """Return the ends of a mouth from its mean row in each column; steep ends are smile creases and are cut off."""
    first, last = 0, len(rows) - 1
    while first < len(rows) // 4 and abs(rows[first + 5] - rows[first]) > 3:
        first += 1
    while last > 3 * len(rows) // 4 and abs(rows[last - 5] - rows[last]) > 3:
        last -= 1
    return [
        (start + first, float(rows[first : first + 5].mean())),
        (start + last + 1, float(rows[last - 4 : last + 1].mean())),
    ]


def _lip_line(image: Picture, left: Floats, right: Floats, skin: float) -> tuple[float, float, float]:
    """Return sag of the lip line, height of the visible opening (shares of the mouth's width), and teeth."""
    n, top, bottom = 80, 24, 56  # samples for a mouth's width; rows above and below the corners
    target = np.array([[0, top], [n, top], [0, top + n]], np.float32)
    down = np.array([left[1] - right[1], right[0] - left[0]])
    corners = np.array([left, right, left + down], np.float32)
    to_strip = cv2.getAffineTransform(corners, target)
    strip = cv2.warpAffine(image, to_strip, (n, top + bottom), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    lab = cv2.GaussianBlur(cv2.cvtColor(np.float32(strip) / np.float32(255), cv2.COLOR_RGB2Lab), (5, 3), 0)
    u = np.arange(int(0.12 * n), int(0.88 * n))
    sags = np.arange(-0.10, 0.56, 1 / n)
    rows = top + n * sags[:, None] * (1 - (2 * (u / n - 0.5)[None]) ** 2)
    curves = lab[np.clip(rows.round().astype(int), 0, len(lab) - 1), u]
    light, red, _ = curves.mean(1).T  # mean colour along each curve
    best = int(np.argmin(light + 25 * np.abs(sags - 0.06)))
    white = light - red
    peak = best + int(white[best : best + 13].argmax())
    lip = peak + int(red[peak : peak + 12].argmax())
    teeth = bool(peak > best and light[peak] > 0.9 * skin and red[lip] > red[peak] + 4)  # white between two lips
    if teeth:  # they stay on the upper lip
        best = peak + int(np.argmax(white[peak : lip + 1] < (white[peak] + white[lip]) / 2))
    inside = np.nonzero((curves[..., 0] < 0.4 * skin).mean(1) > 0.25)[0]  # rows with a dark cavity
    inside = inside[(inside > best - 12) & (inside < best + 40)]
    gap = float(np.ptp(inside)) / n - 0.04 if len(inside) else 0.0  # a closed lip line is a few rows thick
    if not 0.02 < gap < 0.5:
        return float(sags[best]), 0.0, float(teeth)
    return float(sags[inside[0]] + 0.02), gap, float(teeth)


@dataclass
class Track:
    """The mouth through a video.

    :param times: seconds of each frame
    :param mouths: one ``Mouth.vector`` a frame, smoothed
    :param visible: 0 to 1 a frame, how far the face is to be trusted
    """

    times: Floats
    mouths: Floats
    visible: Floats


def track(frames: Iterable[tuple[float, Picture]], speaker: tuple[float, float] | None = None) -> Track | None:
    """Follow face and mouth through a video; ``None`` when there is no face in it at all.

    :param frames: time in seconds and picture
    :param speaker: pixel whose nearest face speaks
    """
    finder, box, seen = FaceFinder(speaker), None, -1e9
    times: list[float] = []
    vectors: list[Floats] = []
    found: list[bool] = []
    for number, (time, image) in enumerate(frames):
        if number % FACE_EVERY == 0:
            new = _find_face(finder, image)
            if new is not None:
                seen = time
                jumped = box is None or np.abs(new - box).max() > 0.3 * box[2]
                box = new if box is None or jumped else 0.5 * box + 0.5 * new
        times.append(time)
        found.append(box is not None and time - seen <= MAX_LOST)
        vectors.append(find_mouth(image, box).vector() if box is not None and found[-1] else np.full(7, np.nan))
    if not any(found):
        return None
    ok = np.array(found)
    return Track(np.array(times) - times[0], _smooth_track(np.array(vectors), ok), smooth(ok.astype(np.float64), 2.0))


def _find_face(finder: FaceFinder, image: Picture) -> Floats | None:
    scale = min(1.0, SEARCH_SIZE / min(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = finder(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), scale)
    return None if found is None else found / scale


def _smooth_track(table: Floats, ok: npt.NDArray[np.bool_]) -> Floats:
    """Fill gaps, drop short false finds, and smooth between scene cuts only."""
    index = np.arange(len(ok))
    table = np.stack([np.interp(index, index[ok], column[ok]) for column in table.T], 1)
    width = np.linalg.norm(table[:, 2:4] - table[:, :2], axis=1)
    table[:, :4] = _median(table[:, :4], 5)
    cuts = 1 + np.nonzero(np.abs(np.diff(table[:, :4], axis=0)).max(1) > 0.6 * np.median(width))[0]
    for part in np.split(index, cuts):
        table[part, :4] = smooth(table[part, :4], 2.0)
        table[part, 4] = smooth(_median(table[part, 4:5], 2)[:, 0], 2.0)
        table[part, 5] = smooth(table[part, 5], 0.6)
        table[part, 6] = smooth(table[part, 6], 4.0)
    return table


def smooth(values: Floats, sigma: float) -> Floats:
    """Smooth along the first axis with a Gaussian of ``sigma`` rows."""
    column: Any = np.ascontiguousarray(np.reshape(values, (len(values), -1)), np.float64)
    blurred = cv2.GaussianBlur(column, (1, 2 * int(3 * sigma) + 1), 1e-6, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64).reshape(np.shape(values))


def _median(values: Floats, reach: int) -> Floats:
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0), axis=-1))
