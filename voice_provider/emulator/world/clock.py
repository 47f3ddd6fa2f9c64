"""The emulator's time: the machine's clock plus an offset that tests move.

Everything that expires, waits or is dated asks this clock, so "an hour later" takes no hour.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        self._moved = asyncio.Event()

    def now(self) -> float:
        return time.time() + self.offset

    def move_to(self, offset: float) -> None:
        self.offset = offset
        self.wake()

    def wake(self) -> None:
        """Let everything that waits for a moment look again: the clock, or the moment, has moved."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def reach(self, moment: Callable[[], float]) -> None:
        """Wait until the moment; it is asked for again whenever `wake` is called."""
        while (remaining := moment() - self.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(remaining):
                    await moved.wait()
            except TimeoutError:
                continue


def iso(moment: float) -> str:
    """ISO 8601 with `Z`, to the millisecond."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
