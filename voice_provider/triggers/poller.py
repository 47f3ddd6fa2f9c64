"""One poller for each connection and event loop: all that waits on a triggerer asks through it.

- The connection is read once, again when the service refuses, and after some minutes.
- As many questions are on their way as there are connections: inside httpx a queue costs more than the questions.
- What the service asks to wait holds for everybody, and is never cut short.
- Where the service answers for many, a thousand waits cost a few requests a round, and no timer each.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from voice_provider.exceptions import PermanentVoiceError, ServiceUnavailableError
from voice_provider.hooks.transport import CONNECTIONS
from voice_provider.hooks.voice import VoiceHook
from voice_provider.models import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk.types import Logger

    from voice_provider.hooks.base import Progress
    from voice_provider.models import Job, JobKind
    from voice_provider.services.base import Flow

T = TypeVar("T")

GATHER = 0.25  # seconds that the first round waits for others
MOST = 100  # jobs in one question; what the service answers at most
QUESTION = 30.0  # seconds until a question is given up, whatever comes of its answer
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
        self._waiting: Counter[JobKind] = Counter()
        self._rounds: dict[JobKind, Rounds] = {}

    async def hook(self) -> VoiceHook:
        """Return the hook that all share."""
        async with self._reading:
            if self._hook is None or time.monotonic() - self._read_at > READ_AGAIN:
                self._hook = await VoiceHook.afor_connection(self._conn_id)
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

    @contextmanager
    def wait(self, kind: JobKind) -> Iterator[None]:
        """Count a wait for a job as long as it lasts."""
        self._waiting[kind] += 1
        try:
            yield
        finally:
            self._waiting[kind] -= 1

    async def job(
        self, kind: JobKind, job_id: str, path: str | None, *, patience: float, interval: float, log: Logger,
        progress: Progress,
    ) -> Job:  # fmt: skip
        """Return a job as it is; where it is asked after together with others, as it is when it has ended.

        :param patience: seconds that the service may hold the answer to a single question back
        :param interval: seconds between two questions, as the author wants it
        """
        together = (
            self._waiting[kind] > 1
            and kind == "lip_sync"
            and Capability.ASKS_FOR_MANY in (await self.hook()).service.capabilities
        )
        if together:
            rounds = self._rounds.setdefault(kind, Rounds(self, kind))
            job = await rounds.end_of(Wait(job_id, interval, log, progress, asyncio.get_running_loop().create_future()))
            if job is not None:
                return job
        return await self.ask(
            lambda hook: hook.service.get_job(kind, job_id, path=path, wait=0 if together else patience)
        )

    def is_alone(self, kind: JobKind) -> bool:
        """Whether a single wait is left, for which the service may hold its answers back."""
        return self._waiting[kind] == 1


@dataclass(eq=False, slots=True)
class Wait:
    """One wait among many: what it is told by."""

    job_id: str
    interval: float
    log: Logger
    progress: Progress
    end: asyncio.Future[Job | None]


class Rounds:
    """Asks after all jobs of a kind, again and again: a whole round takes half of the shortest interval."""

    def __init__(self, poller: Poller, kind: JobKind) -> None:
        self._poller, self._kind = poller, kind
        self._waits: dict[Wait, None] = {}
        self._task: asyncio.Task[None] | None = None

    async def end_of(self, wait: Wait) -> Job | None:
        """Return the job when it has ended; None if the answers do not have it, or nobody else waits any more.

        :raises PermanentVoiceError: the service refuses to say
        """
        self._waits[wait] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._go_round())
        try:
            return await wait.end
        finally:
            self._waits.pop(wait, None)

    async def _go_round(self) -> None:
        await asyncio.sleep(GATHER)
        failed = 0
        while self._waits:
            began, waits = time.monotonic(), list(self._waits)
            if len(waits) == 1 and self._poller.is_alone(self._kind):
                self._tell(waits[0], None)
                return
            interval = min(wait.interval for wait in waits)
            pause = min(interval / 2 * 2**failed, interval)
            chunks = [waits[at : at + MOST] for at in range(0, len(waits), MOST)]
            well = True
            for number, chunk in enumerate(chunks, 1):
                well = await self._ask(chunk) and well
                await asyncio.sleep(max(0.0, began + pause * number / len(chunks) - time.monotonic()))
            failed = 0 if well else min(failed + 1, 5)

    async def _ask(self, waits: list[Wait]) -> bool:
        """Ask after some jobs, and tell who waits for them; return whether there was an answer."""
        ids = list(dict.fromkeys(wait.job_id for wait in waits))
        try:
            jobs = await self._poller.ask(lambda hook: hook.service.get_jobs(self._kind, ids))
        except PermanentVoiceError as error:
            for wait in waits:
                if not wait.end.done():
                    wait.end.set_exception(error)
            return False
        except Exception as error:  # noqa: BLE001  # only its end, or its deadline, ends the wait for a paid job
            waits[0].log.info("Asking after %d jobs did not succeed; asking again. %s", len(ids), error)
            return False
        for wait in waits:
            job = jobs.get(wait.job_id)
            if job is not None and (line := wait.progress.told(job)) is not None:
                wait.log.info("%s", line)
            if job is None or job.state.is_final:
                self._tell(wait, job)
        return True

    def _tell(self, wait: Wait, job: Job | None) -> None:
        self._waits.pop(wait, None)
        if not wait.end.done():
            wait.end.set_result(job)


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


def poller(conn_id: str) -> Poller:
    """Return what the waits of this connection share on this event loop."""
    here = _pollers.setdefault(asyncio.get_running_loop(), {})
    found = here.get(conn_id)
    if found is None:
        found = here[conn_id] = Poller(conn_id)
    return found
