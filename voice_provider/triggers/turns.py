"""Whose turn it is to order, where an account has no room: counted for all that wait for it on one event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.models import Room
    from voice_provider.triggers.poller import Poller

FRESH = 1.0  # seconds for which a count holds
SETTLE = {"jobs": 12.0, "clones": 30.0}  # seconds in which a task that was let go orders, if there is a worker for it
Countable = Literal["jobs", "clones"]


class Turns:
    """Lets one after the other order.

    :param of: what the account has room for
    """

    def __init__(self, of: Countable = "jobs") -> None:
        self._of: Countable = of
        self._lock = asyncio.Lock()
        self._room: Room | None = None
        self._seen: dict[int, float] = {}  # when so many were last counted
        self._counted_at = -FRESH
        self._let_go: list[float] = []

    def ordered(self) -> None:
        """One of those that were let go has ordered: it waits for its job now."""
        del self._let_go[:1]

    async def may_go(self, shared: Poller, limit: int | None, *, learned_at: float | None = None) -> bool:
        """Whether one more task may order now; those that were let go a moment ago count as if they had.

        :param limit: how many the account may have at a time, if that is known
        :param learned_at: monotonic time, where the limit is what was counted when the service refused: more seen
            since then prove that it is higher; more seen before do not, as the plan may hold less now
        """
        async with self._lock:
            now = time.monotonic()
            if now - self._counted_at >= FRESH:
                before = self._room
                counted = self._room = await shared.ask(
                    lambda hook: hook.service.slots() if self._of == "clones" else hook.service.room()
                )
                self._counted_at = now
                self._seen[counted.active or 0] = now
                self._let_go = [at for at in self._let_go[_arrived(before, counted) :] if now - at < SETTLE[self._of]]
            room = self._room
            most = room.limit if room is not None and room.limit is not None else limit
            if learned_at is not None and most is not None:
                most = max([most, *(count for count, at in self._seen.items() if at >= learned_at)])
            if room is None or room.active is None or most is None:
                free = 1 - len(self._let_go)  # nothing is known: one after the other
            else:
                free = most - room.active - len(self._let_go)
            if free <= 0:
                return False
            self._let_go.append(now)
            return True


def _arrived(before: Room | None, now: Room) -> int:
    """Return how many have come since the last count; by name where they have one, because others may have gone."""
    if before is None:
        return 0
    if now.ids is not None and before.ids is not None:
        return len(now.ids - before.ids)
    return max((now.active or 0) - (before.active or 0), 0)


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Turns]] = WeakKeyDictionary()


def turns(hook: VoiceHook, of: Countable = "jobs") -> Turns:
    """Return the turns of this hook's account on this event loop; connections of one account share them."""
    here = _shared.setdefault(asyncio.get_running_loop(), {})
    return here.setdefault((hook.settings.account, of), Turns(of))
