"""Many waits of one account ask together: a thousand of them cost a few requests a round.

What all waits of a triggerer share is kept for each event loop and account. A single wait asks for itself, and lets
the service hold the answer back; as soon as there are several, their questions are gathered for a moment and go out
as one, where the service can answer for many.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from voice_provider.models import Capability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.models import Job, JobKind, Room

GATHER = 2.0  # seconds that a question waits for others at most
MOST = 100  # jobs in one question; what the service answers at most
FRESH = 1.0  # seconds for which a count holds
SETTLE = {"jobs": 12.0, "clones": 30.0}  # seconds in which a task that was let go orders, if there is a worker for it
Countable = Literal["jobs", "clones"]


class Asking:
    """What the waits of one account share on one event loop.

    :param of: what the account has room for
    """

    def __init__(self, of: Countable = "jobs") -> None:
        self._of: Countable = of
        self._waiting: Counter[JobKind] = Counter()
        self._questions: dict[str, asyncio.Future[Job | None]] = {}
        self._round: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._room: Room | None = None
        self._seen: dict[int, float] = {}  # when so many were last counted
        self._counted_at = -FRESH
        self._let_go: list[float] = []

    @contextmanager
    def wait(self, kind: JobKind) -> Iterator[None]:
        """Count a wait for a job as long as it lasts."""
        self._waiting[kind] += 1
        del self._let_go[:1]  # who waits for a job has ordered it
        try:
            yield
        finally:
            self._waiting[kind] -= 1

    async def ask(
        self, hook: VoiceHook, kind: JobKind, job_id: str, path: str | None, patience: float, interval: float
    ) -> Job:
        """Ask after a job, together with others where that is possible.

        :param patience: seconds that the service may hold the answer to a single question back
        :param interval: seconds between two questions; a question waits at most half of it for others
        """
        many = kind == "lip_sync" and Capability.ASKS_FOR_MANY in hook.service.capabilities
        together = many and self._waiting[kind] > 1
        if together:
            job = await self._gathered(hook, kind, job_id, min(GATHER, interval / 2))
            if job is not None:
                return job
        return await hook.arun(hook.service.get_job(kind, job_id, path=path, wait=0 if together else patience))

    async def _gathered(self, hook: VoiceHook, kind: JobKind, job_id: str, gather: float) -> Job | None:
        question = self._questions.get(job_id)
        if question is None:
            question = self._questions[job_id] = asyncio.get_running_loop().create_future()
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._ask_all(hook, kind, gather))
        return await asyncio.shield(question)

    async def _ask_all(self, hook: VoiceHook, kind: JobKind, gather: float) -> None:
        await asyncio.sleep(gather)
        while questions := dict(list(self._questions.items())[:MOST]):
            for job_id in questions:
                del self._questions[job_id]
            try:
                jobs = await hook.arun(hook.service.get_jobs(kind, list(questions)))
            except BaseException as error:  # each of them has to hear of it, also of a cancellation
                for question in questions.values():
                    if not question.done():
                        question.set_exception(error if isinstance(error, Exception) else RuntimeError("cancelled"))
                        question.exception()  # nobody may be left to read it
                if not isinstance(error, Exception):
                    raise
            else:
                for job_id, question in questions.items():
                    if not question.done():
                        question.set_result(jobs.get(job_id))

    async def may_go(self, hook: VoiceHook, limit: int | None, *, learned_at: float | None = None) -> bool:
        """Whether one more task may order now; those that were let go a moment ago count as if they had.

        :param limit: how many the account may have at a time, if that is known
        :param learned_at: monotonic time, where the limit is what was counted when the service refused: more seen
            since then prove that it is higher; more seen before do not, as the plan may hold less now
        """
        async with self._lock:
            now = time.monotonic()
            if now - self._counted_at >= FRESH:
                before = self._room
                flow = hook.service.slots() if self._of == "clones" else hook.service.room()
                counted = self._room = await hook.arun(flow)
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


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Asking]] = WeakKeyDictionary()


def asking(hook: VoiceHook, of: Countable = "jobs") -> Asking:
    """Return what the waits of this hook's account share on this event loop."""
    here = _shared.setdefault(asyncio.get_running_loop(), {})
    return here.setdefault((hook.settings.account, of), Asking(of))
