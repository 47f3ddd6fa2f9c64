"""When each line of a dub begins and how fast it is spoken: a pure plan, made before any sound is touched.

What is too long for its subtitle first takes the silence up to the next one, then gives up silence of its own, then is
spoken faster, as far as nobody hears it. What is left over is told, and the lines behind it wait: no word is cut, and
no two lines sound at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 0.05  # seconds between two lines, at least
SHORTEST_PAUSE = 0.12  # seconds that are left of a pause between words
EDGE = 0.02  # seconds that are left of the silence before the first word and behind the last
FASTEST, SLOWEST = 1.2, 0.85  # beyond them a listener notices
AUDIBLE = 0.001  # seconds; what is less comes of reckoning
FULL = 0.95  # of its time that speech takes without being slowed


@dataclass(frozen=True)
class Take:
    """A line as it was spoken, and when it should be heard.

    :param start: of its subtitle, in seconds
    :param end: of its subtitle; not before ``start``
    :param seconds: length of the recording
    :param pauses: where in the recording nothing is heard, from second to second
    """

    id: str
    start: float
    end: float
    seconds: float
    pauses: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Placed:
    """Where a line goes, and what is done to it.

    :param at: second of the track in which it begins
    :param seconds: its length there
    :param tempo: how much faster it is than it was spoken; slower below 1
    :param cuts: silence that is taken out of the recording, from second to second
    :param overflow: seconds that it is longer than the time it had
    :param late: seconds that it begins after its subtitle, because the line before it is too long
    """

    id: str
    at: float
    seconds: float
    tempo: float = 1.0
    cuts: tuple[tuple[float, float], ...] = ()
    overflow: float = 0.0
    late: float = 0.0

    @property
    def end(self) -> float:
        """Second of the track in which it ends."""
        return self.at + self.seconds


def fit(
    takes: Sequence[Take],
    *,
    until: float = math.inf,
    fastest: float = FASTEST,
    slowest: float = SLOWEST,
    gap: float = GAP,
) -> list[Placed]:
    """Place lines on one track.

    :param until: second in which the track ends, of a video
    :param fastest: how much faster a line may become
    :param slowest: how much slower, to fill its time; 1: never
    :param gap: seconds between two lines
    :return: them in the order in which they are heard
    """
    takes = sorted(takes, key=lambda take: take.start)  # those of one start stay as they were
    placed: list[Placed] = []
    free = 0.0
    for number, take in enumerate(takes):
        at = max(take.start, free)
        following = takes[number + 1].start - gap if number + 1 < len(takes) else until
        line = _place(take, at, following - at, fastest, slowest)
        placed.append(line)
        free = line.end + gap
    return placed


def _place(take: Take, at: float, room: float, fastest: float, slowest: float) -> Placed:
    """Fit one line into the time from its beginning to the next line's."""
    slot, late = min(take.end - at, room), at - take.start
    if take.seconds <= room:
        tempo = max(take.seconds / slot, slowest) if take.seconds < FULL * slot else 1.0
        return Placed(take.id, at, take.seconds / tempo, tempo, late=late)
    cuts = _shorten(take, take.seconds - room)
    length = take.seconds - sum(end - start for start, end in cuts)
    tempo = min(max(length / room, 1.0), fastest) if room > 0 else fastest
    length /= tempo
    over = length - room
    return Placed(take.id, at, length, tempo, cuts, over if over > AUDIBLE else 0.0, late)


def _shorten(take: Take, seconds: float) -> tuple[tuple[float, float], ...]:
    """Take silence out of the middle of each pause, from all in the measure in which they have it."""
    spare = [(start, end, max(end - start - _rest(take, start, end), 0.0)) for start, end in take.pauses]
    whole = sum(most for _, _, most in spare)
    share = min(seconds / whole, 1.0) if whole else 0.0
    cuts = []
    for start, end, most in spare:
        if most > 0:
            kept = (end - start - most * share) / 2
            first = start if start <= 0 else start + kept
            last = end if end >= take.seconds else end - kept
            cuts.append((first, first + most * share) if start <= 0 else (last - most * share, last))
    return tuple(cuts)


def _rest(take: Take, start: float, end: float) -> float:
    return EDGE if start <= 0 or end >= take.seconds else SHORTEST_PAUSE
