"""What the plan allows: requests per window, work at one time, money."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.emulator.world.clock import Clock


class RateBuckets:
    """Sliding windows per bucket and API key. They live in memory: a restart forgets them, as a deploy would."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def take(self, bucket: str, api_key: str, limit: int, window: float) -> float | None:
        """Count one request; return None if it is allowed, else the seconds until one is."""
        taken, now = self._taken[bucket, api_key], self._clock.now()
        while taken and taken[0] <= now - window:
            taken.popleft()
        if len(taken) >= limit:
            return taken[0] + window - now
        taken.append(now)
        return None

    def clear(self) -> None:
        self._taken.clear()


class InFlight:
    """How many requests of each account are being answered right now."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def now(self, account: str) -> int:
        return self._held[account]

    @contextmanager
    def hold(self, account: str) -> Iterator[None]:
        held = self._held  # after a reset it is another one, which owes us nothing
        held[account] += 1
        try:
            yield
        finally:
            held[account] -= 1

    def clear(self) -> None:
        self._held = Counter()
