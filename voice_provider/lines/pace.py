"""How many lines are sent at a time: as many as the account may have, fewer after it was refused."""

from __future__ import annotations


class Pace:
    """Halves when the service says "too many", and creeps up while it is quiet.

    :param most: lines at a time
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._allowed = float(most)
        self._not_before = 0.0
        self._cut = float("-inf")

    @property
    def allowed(self) -> int:
        """Lines that may be in flight now."""
        return int(self._allowed)

    def pause(self, now: float) -> float:
        """Return the seconds for which nothing is to be sent."""
        return max(0.0, self._not_before - now)

    def refused(self, sent: float, now: float, retry_after: float) -> None:
        """Take notice of a 429; those of one burst halve once, because they all say the same.

        :param sent: when the refused line was sent, by the same clock as ``now``, in seconds
        :param retry_after: seconds that the service asked to wait
        """
        if sent > self._cut:
            self._allowed = max(1.0, self._allowed / 2)
            self._cut = now
        self._not_before = max(self._not_before, now + retry_after)

    def spoken(self) -> None:
        """Take notice of a line that was accepted: as many as there are at a time make room for one more."""
        self._allowed = min(float(self.most), self._allowed + 1 / self._allowed)
