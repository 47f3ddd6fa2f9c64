"""One poller for each connection and event loop: all that waits on a triggerer asks through it.

- The connection is read once, again when the service refuses, and after some minutes.
- As many questions are on their way as there are connections: inside httpx a queue costs more than the questions.
- What the service asks to wait holds for everybody, and is never cut short.
- Where the service answers for many, a thousand waits cost a few requests a round.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakKeyDictionary

from voice_provider.exceptions import PermanentVoiceError, ServiceUnavailableError
from voice_provider.hooks.transport import CONNECTIONS
from voice_provider.hooks.voice import VoiceHook
from voice_provider.models import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from voice_provider.models import Job, JobKind
    from voice_provider.services.base import Flow

T = TypeVar("T")
log = logging.getLogger(__name__)

RING = 0.25  # seconds between two looks for waits whose time is over, at least
GATHER = 0.25  # seconds that the first round waits for others
MOST = 100  # jobs in one question; what the service answers at most
QUESTION = 30.0  # seconds until a question is given up, whatever comes of its answer
READING = 10.0  # seconds until reading the connection is given up
READ_AGAIN = 300.0  # seconds after which the connection is read again
LONGEST_PAUSE = 3600.0  # seconds; what a service asks for beyond is no answer any more


class Poller:
    """Asks for all waits of one connection.

    :param conn_id: id of the connection
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._hook: VoiceHook | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._not_before = 0.0  # monotonic time
        self.waiting: Counter[JobKind] = Counter()  # all waits, by what they wait for
        self._rounds: dict[JobKind, Rounds] = {}

    async def hook(self) -> VoiceHook:
        """Return the hook that all share."""
        async with self._reading:
            if self._hook is None or time.monotonic() - self._read_at > READ_AGAIN:
                try:
                    async with asyncio.timeout(READING):
                        self._hook = await VoiceHook.afor_connection(self._conn_id)
                except TimeoutError:
                    raise ServiceUnavailableError(
                        f"Airflow did not say within {READING:g} s what connection '{self._conn_id}' is.", sent=False
                    ) from None
                self._read_at = time.monotonic()
            return self._hook

    async def ask(self, question: Callable[[VoiceHook], Flow[T]]) -> T:
        """Ask the service, when it is this one's turn.

        :param question: returns the flow at a service
        :raises ServiceUnavailableError: no whole answer came within ``QUESTION`` seconds, or the transport's reasons
        """
        hook = await self.hook()
        async with self._places:
            await self._hold_back()
            try:
                async with asyncio.timeout(QUESTION):
                    return await hook.arun(question(hook))
            except TimeoutError:
                raise ServiceUnavailableError(
                    f"{hook.service.label} gave no whole answer within {QUESTION:g} s.", sent=True
                ) from None
            except PermanentVoiceError:
                if self._hook is hook:
                    self._hook = None  # read the connection again: its key may have been changed meanwhile
                raise
            except Exception as error:
                asked = min(getattr(error, "retry_after", None) or 0.0, LONGEST_PAUSE)
                spread = random.uniform(0, 0.1 * min(asked, 10))  # noqa: S311  # never less than was asked for
                self._not_before = max(self._not_before, time.monotonic() + asked + spread)
                raise

    async def _hold_back(self) -> None:
        while (until := self._not_before) > time.monotonic():
            await asyncio.sleep(until - time.monotonic())
            if self._not_before == until:
                return

    # jobs that are asked after together

    async def asks_together(self, kind: JobKind) -> bool:
        """Whether jobs of a kind are asked after together: there are several, and the service answers for many."""
        if kind != "lip_sync" or self.waiting[kind] < 2:
            return False
        return Capability.ASKS_FOR_MANY in (await self.hook()).service.capabilities

    def join(self, wait: Wait) -> None:
        """Ask after its job in each round from now on, until it has ended or ``leave``."""
        kind = wait.whose.kind
        rounds = self._rounds.get(kind)
        if rounds is None:
            rounds = self._rounds[kind] = Rounds(self, kind)
        rounds.join(wait)

    def leave(self, wait: Wait) -> None:
        """Ask no more; also for one that has been told."""
        self._rounds[wait.whose.kind].leave(wait)


class Waiting(Protocol):
    """Who waits for a job.

    ``poll_interval``: seconds between two questions, as the author wants it.
    """

    kind: JobKind
    job_id: str
    poll_interval: float

    def hear(self, job: Job) -> None:
        """Take note of how far the job is."""
        ...


class Wait(asyncio.Future["Job | None"]):
    """One of many waits for a job, kept small: Python's collector stops the loop to walk through all ten thousand.

    Its result is the job when it has ended; None when it is to be asked after alone: the answers do not have it, or
    nobody else waits any more. It raises what the service refuses with, and ``TimeoutError`` when the time is over.

    :param whose: who waits
    :param until: monotonic time at which it ends
    """

    __slots__ = ("_context", "seen", "until", "whose")

    def __init__(self, whose: Waiting, until: float) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.whose, self.until = whose, until
        self.seen: Hashable = None  # a glance at the last answer
        self._context = copy_context()  # where Airflow looks whose log a line belongs to

    def hear(self, job: Job | None) -> bool:
        """Take an answer; return whether it was the last."""
        if job is not None:
            self._context.run(self.whose.hear, job)
        if job is not None and not job.state.is_final:
            return False
        if not self.done():
            self.set_result(job)
        return True


class Rounds:
    """Asks after all jobs of a kind, again and again: a whole round takes half of the shortest interval.

    One timer ends the waits whose time is over, also while the service does not answer.
    """

    def __init__(self, poller: Poller, kind: JobKind) -> None:
        self._poller, self._kind = poller, kind
        self._waits: dict[Wait, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def join(self, wait: Wait) -> None:
        """See ``Poller.join``."""
        self._waits[wait] = None
        if wait.until < self._rings_at:
            self._ring_at(wait.until)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._go_round(), context=Context())

    def leave(self, wait: Wait) -> None:
        """See ``Poller.leave``."""
        self._waits.pop(wait, None)
        if not self._waits:
            self._ring_at(math.inf)

    def _ring_at(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at, self._timer = until, None
        if until < math.inf:
            seconds = until - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end_late, context=Context())

    def _end_late(self) -> None:
        """End the waits whose time is over; the next look is not at once, where each has an end of its own."""
        now, later = time.monotonic(), math.inf
        for wait in self._waits:
            if wait.until > now:
                later = min(later, wait.until)
            elif not wait.done():
                wait.set_exception(TimeoutError())
        self._ring_at(max(later, now + RING))

    async def _go_round(self) -> None:
        await asyncio.sleep(GATHER)
        failed = 0
        while self._waits:
            began, waits = time.monotonic(), list(self._waits)
            interval = min(wait.whose.poll_interval for wait in waits)
            pause = min(interval / 2 * 2**failed, interval)
            chunks = [waits[at : at + MOST] for at in range(0, len(waits), MOST)]
            well = True
            for number, chunk in enumerate(chunks, 1):
                well = await self._ask(chunk) and well
                await asyncio.sleep(max(0.0, began + pause * number / len(chunks) - time.monotonic()))
            failed = 0 if well else min(failed + 1, 5)
            if len(self._waits) == 1 == self._poller.waiting[self._kind]:
                next(iter(self._waits)).hear(None)  # for a single one the service may hold its answer back
                return

    async def _ask(self, waits: list[Wait]) -> bool:
        """Ask after some jobs, and tell who waits for them; return whether there was an answer."""
        ids = list(dict.fromkeys(wait.whose.job_id for wait in waits))
        try:
            answer = await self._poller.ask(lambda hook: hook.service.get_jobs(self._kind, ids))
        except PermanentVoiceError as error:
            for wait in waits:
                if not wait.done():
                    wait.set_exception(error)
            return False
        except Exception as error:  # noqa: BLE001  # only its end, or its deadline, ends the wait for a paid job
            log.info("Asking after %d jobs did not succeed; asking again. %s", len(ids), error)
            return False
        for wait in waits:
            glance = answer.glance(wait.whose.job_id)
            if glance is None or glance != wait.seen:
                wait.seen = glance
                if wait.hear(answer.read(wait.whose.job_id)):
                    self._waits.pop(wait, None)
        return True


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


def poller(conn_id: str) -> Poller:
    """Return what the waits of this connection share on this event loop."""
    here = _pollers.setdefault(asyncio.get_running_loop(), {})
    found = here.get(conn_id)
    if found is None:
        found = here[conn_id] = Poller(conn_id)
    return found
