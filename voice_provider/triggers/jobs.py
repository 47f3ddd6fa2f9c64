"""One trigger for many jobs of a task: it waits for each of them as for a single one, until enough have ended."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from voice_provider.triggers.job import DEADLINE, JobTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from voice_provider.models import JobKind

log = logging.getLogger(__name__)


class JobsTrigger(BaseTrigger):
    """Waits until so many of some jobs have ended. It carries ids only, and sends one event.

    The event is ``{"status": "ended" | "deadline", "message": ..., "at": ...}`` (wall-clock time, seconds since 1970);
    the worker asks after the jobs itself.

    :param jobs: the service's id of each, and where to ask after it, if that does not follow from the id
    :param enough: how many of them have to end, or be refused again and again
    :param voice_conn_id: as all others: see ``JobTrigger``
    """

    def __init__(
        self,
        voice_conn_id: str,
        kind: JobKind,
        jobs: Sequence[tuple[str, str | None]],
        enough: int,
        poll_interval: float,
        deadline: float,
        first_poll: float,
        at_most: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no annotations
        self.jobs, self.enough = [(job_id, path) for job_id, path in jobs], enough
        self._same: dict[str, Any] = {
            "voice_conn_id": voice_conn_id,
            "kind": kind,
            "poll_interval": poll_interval,
            "deadline": deadline,
            "first_poll": first_poll,
            "at_most": at_most,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and plain JSON arguments."""
        jobs = [list(job) for job in self.jobs]
        return f"{type(self).__module__}.{type(self).__qualname__}", {"jobs": jobs, "enough": self.enough, **self._same}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        yield TriggerEvent({**await self._wait(), "at": time.time()})

    async def _wait(self) -> dict[str, Any]:
        waits = [
            asyncio.create_task(_OneOfMany(job_id=job_id, path=path, **self._same).wait()) for job_id, path in self.jobs
        ]
        ended = 0
        try:
            for wait in asyncio.as_completed(waits):
                if (await wait)["status"] == DEADLINE["status"]:
                    return {"status": DEADLINE["status"], "message": f"{ended} of {len(waits)} jobs have ended in time"}
                ended += 1
                if ended >= self.enough:
                    break
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return {"status": "ended", "message": f"{ended} of {len(waits)} jobs have ended"}

    async def on_kill(self) -> None:
        """Say that the jobs go on: no service can cancel one, and a cleared task finds them again."""
        self.log.warning(
            "The task was stopped, but %d jobs run on at the service and will be billed. Clear the task to collect "
            "what they make.",
            len(self.jobs),
        )


class _OneOfMany(JobTrigger):
    """Tells of each job only to those who look closely: a script has thousands."""

    async def wait(self) -> dict[str, Any]:
        """Wait, and return what the event says."""
        return await self._wait()

    @staticmethod
    def _tell(line: str) -> None:
        log.debug("%s", line)
