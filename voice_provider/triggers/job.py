"""One trigger for all jobs: it asks after a job until the job has ended or the deadline has come."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from voice_provider.exceptions import PermanentVoiceError, RateLimitedError
from voice_provider.hooks.attempts import LAST_QUESTION
from voice_provider.hooks.waiting import Progress
from voice_provider.models import JobState
from voice_provider.triggers.poller import Wait, poller
from voice_provider.triggers.turns import turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voice_provider.models import Job, JobKind
    from voice_provider.triggers.poller import Poller

AFTER_A_BLIP = 2.0  # seconds until a failed question is repeated; a whole interval would make the result late
LONG_POLL = 10.0  # seconds that the service may hold an answer back
SHORTEST = 0.1  # seconds between two questions, whatever was asked for: all waits share one thread
DEADLINE = {"status": "deadline", "state": JobState.RUNNING.value, "message": "the deadline has come"}
CONFIRMATIONS = 3  # a refusal (401, 404) ends the wait only when it is repeated: edges and deployments hiccup


def seconds_left(deadline: float, at_most: float | None) -> float:
    """Return how long a wait lasts.

    :param deadline: wall-clock time, seconds since 1970
    :param at_most: seconds, where the worker has said so: the clock here may be wrong
    """
    return max(0.0, min(deadline - time.time(), math.inf if at_most is None else at_most))


class JobTrigger(BaseTrigger):
    """Waits for a job. It never raises for a blip, carries no key, no script and no URL, and sends one event.

    The event is ``{"status": "ended" | "deadline" | "refused", "state": ..., "message": ...}``; the worker asks
    after the job again before it believes it.

    :param voice_conn_id: id of the connection
    :param kind: kind of job
    :param job_id: the service's id of it
    :param path: where to ask after it, if that does not follow from the id
    :param poll_interval: seconds between two questions, where the service says nothing else
    :param deadline: wall-clock time (seconds since 1970) at which the wait ends; survives restarts of the triggerer
    :param first_poll: wall-clock time before which the first question is not asked
    :param at_most: seconds that the wait lasts at most, whatever the clock of the triggerer says; None: by the clock
    """

    def __init__(
        self,
        voice_conn_id: str,
        kind: JobKind,
        job_id: str,
        path: str | None,
        poll_interval: float,
        deadline: float,
        first_poll: float,
        at_most: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no annotations
        self.voice_conn_id = voice_conn_id
        self.kind: JobKind = kind
        self.job_id = job_id
        self.path = path
        self.poll_interval = max(poll_interval, SHORTEST)
        self.deadline = deadline
        self.first_poll = first_poll
        self.at_most = at_most
        self._progress: Progress | None = None
        self._began = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and plain JSON arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "voice_conn_id": self.voice_conn_id,
                "kind": self.kind,
                "job_id": self.job_id,
                "path": self.path,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "first_poll": self.first_poll,
                "at_most": self.at_most,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        yield TriggerEvent(await self._wait())

    async def _wait(self) -> dict[str, Any]:
        """Wait as long as the worker wanted at most, also where the clock of this machine says something else."""
        seconds = seconds_left(self.deadline, self.at_most)
        until = time.monotonic() + seconds
        await asyncio.sleep(max(0.0, min(self.first_poll - time.time(), seconds)))
        shared, self._began = poller(self.voice_conn_id), time.monotonic()
        refusals = blips = asked = 0
        has_ordered = False
        shared.waiting[self.kind] += 1
        try:
            while True:
                try:
                    if not has_ordered:  # who waits for a job has ordered it: its turn is over
                        turns(await shared.hook()).ordered()
                        has_ordered = True
                    job = None
                    if await shared.asks_together(self.kind):
                        wait = Wait(self, until)
                        shared.join(wait)
                        try:
                            job = await wait
                        finally:
                            shared.leave(wait)
                    if job is None:
                        asked += 1
                        job = await self._ask_alone(shared, until, asked)
                except TimeoutError:
                    return dict(DEADLINE)
                except PermanentVoiceError as error:
                    refusals, pause = refusals + 1, AFTER_A_BLIP
                    if refusals >= CONFIRMATIONS:
                        return {"status": "refused", "state": None, "message": str(error)}
                except Exception as error:  # noqa: BLE001  # only its end or the deadline ends the wait for a paid job
                    self._tell(f"Asking after job {self.job_id} did not succeed; asking again. {error}")
                    pause = min(AFTER_A_BLIP * 2**blips, max(self.poll_interval, AFTER_A_BLIP))  # an outage is no blip
                    blips = min(blips + 1, 10)
                    if isinstance(error, RateLimitedError):  # the poller holds back as long as was asked
                        pause = 0.0 if error.retry_after else self.poll_interval
                else:
                    refusals = blips = 0
                    self.hear(job)
                    if job.state.is_final:
                        times = self._progress.times if self._progress is not None else ""
                        message = ", ".join(filter(None, (job.status or job.state.value, times)))
                        return {"status": "ended", "state": job.state.value, "message": message}
                    pause = job.retry_after if job.retry_after is not None else self.poll_interval
                if time.monotonic() >= until:
                    return dict(DEADLINE)
                jittered = pause * random.uniform(1.0, 1.1)  # noqa: S311  # spreads the questions of many waits
                await asyncio.sleep(max(0.0, min(jittered, until - time.monotonic())))
        finally:
            shared.waiting[self.kind] -= 1

    async def _ask_alone(self, shared: Poller, until: float, asked: int) -> Job:
        """Ask after this job only; every third question is answered at once, because only that tells progress."""
        rest = until - time.monotonic()
        alone = self.kind != "lip_sync" or shared.waiting[self.kind] == 1
        patience = max(0.0, min(LONG_POLL, self.poll_interval, rest)) if alone and asked % 3 else 0
        async with asyncio.timeout(max(rest, 0) + LAST_QUESTION):
            return await shared.ask(
                lambda hook: hook.service.get_job(self.kind, self.job_id, path=self.path, wait=patience)
            )

    def hear(self, job: Job) -> None:
        """Log how far the job is, where there is something new."""
        if self._progress is None:  # not before there is an answer: ten thousand waits are made at once
            self._progress = Progress(self._began)
        if (line := self._progress.told(job)) is not None:
            self._tell(line)

    @staticmethod
    def _tell(line: str) -> None:
        """Log with one logger for all waits: Airflow knows by the context whose line it is."""
        JobTrigger.logger().info("%s", line)

    async def on_kill(self) -> None:
        """Say that the job goes on: neither service can cancel one, and a cleared task finds it again."""
        self.log.warning(
            "The task was stopped, but the %s job %s runs on at the service and will be billed; its service "
            "cannot cancel a running job. Clear the task to collect its result.",
            self.kind.replace("_", " "),
            self.job_id,
        )
