"""One trigger for all jobs: it asks after a job until the job has ended or the deadline has come."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from voice_provider.exceptions import PermanentVoiceError, RateLimitedError
from voice_provider.hooks.base import Progress
from voice_provider.hooks.voice import VoiceHook
from voice_provider.models import JobState
from voice_provider.triggers.asking import asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voice_provider.models import JobKind

AFTER_A_BLIP = 2.0  # seconds until a failed question is repeated; a whole interval would make the result late
LONG_POLL = 10.0  # seconds that the service may hold an answer back
SHORTEST = 0.1  # seconds between two questions, whatever was asked for: all waits share one thread
CONFIRMATIONS = 3  # a refusal (401, 404) ends the wait only when it is repeated: edges and deployments hiccup


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
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no annotations
        self.voice_conn_id = voice_conn_id
        self.kind: JobKind = kind
        self.job_id = job_id
        self.path = path
        self.poll_interval = max(poll_interval, SHORTEST)
        self.deadline = deadline
        self.first_poll = first_poll

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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        yield TriggerEvent(await self._wait())

    async def _wait(self) -> dict[str, Any]:
        await asyncio.sleep(max(0.0, min(self.first_poll, self.deadline) - time.time()))
        with ExitStack() as counted:
            return await self._ask_until_it_ends(counted)

    async def _ask_until_it_ends(self, counted: ExitStack) -> dict[str, Any]:
        hook: VoiceHook | None = None
        progress, refusals, blips, asked = Progress(), 0, 0, 0
        while True:
            try:
                if hook is None:
                    counted.close()
                    hook = await VoiceHook.afor_connection(self.voice_conn_id)
                    counted.enter_context(asking(hook).wait(self.kind))
                asked += 1
                # Every third question is answered at once: an answer that is held back tells no progress.
                patience = self._patience() if asked % 3 else 0
                job = await asking(hook).ask(hook, self.kind, self.job_id, self.path, patience, self.poll_interval)
            except PermanentVoiceError as error:
                hook = None  # read the connection again: its key may have been changed meanwhile
                refusals, pause = refusals + 1, AFTER_A_BLIP
                if refusals >= CONFIRMATIONS:
                    return {"status": "refused", "state": None, "message": str(error)}
            except Exception as error:  # noqa: BLE001  # only its end or the deadline ends the wait for a paid job
                self.log.info("Asking after job %s did not succeed; asking again. %s", self.job_id, error)
                pause = min(AFTER_A_BLIP * 2**blips, max(self.poll_interval, AFTER_A_BLIP))  # an outage is no blip
                blips = min(blips + 1, 10)
                if isinstance(error, RateLimitedError):
                    pause = error.retry_after or self.poll_interval
            else:
                refusals = blips = 0
                if (line := progress.told(job)) is not None:
                    self.log.info("%s", line)
                if job.state.is_final:
                    message = ", ".join(filter(None, (job.status or job.state.value, progress.times)))
                    return {"status": "ended", "state": job.state.value, "message": message}
                pause = job.retry_after if job.retry_after is not None else self.poll_interval
            if time.time() >= self.deadline:
                return {"status": "deadline", "state": JobState.RUNNING.value, "message": "the deadline has come"}
            jittered = pause * random.uniform(0.9, 1.1)  # noqa: S311  # spreads the questions of many waits
            await asyncio.sleep(max(0.0, min(jittered, self.deadline - time.time())))

    def _patience(self) -> float:
        """Seconds that the service may hold the answer back: none where it was told to be asked seldom."""
        return min(LONG_POLL, self.poll_interval, max(0.0, self.deadline - time.time()))

    async def on_kill(self) -> None:
        """Say that the job goes on: neither service can cancel one, and a cleared task finds it again."""
        self.log.warning(
            "The task was stopped, but the %s job %s runs on at the service and will be billed; its service "
            "cannot cancel a running job. Clear the task to collect its result.",
            self.kind.replace("_", " "),
            self.job_id,
        )
