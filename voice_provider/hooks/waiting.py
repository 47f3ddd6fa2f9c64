"""The wait for a job on the worker: when it is asked after, what is worth a line, and what its end means."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from voice_provider.exceptions import JobFailedError, PermanentVoiceError, TransientVoiceError
from voice_provider.hooks import metrics
from voice_provider.models import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk.types import Logger

CONFIRMATIONS = 2  # a refusal (401, 404) ends a wait only when it is repeated: deployments hiccup
FIRST_PAUSE = 0.5  # seconds after the first question; short jobs are common, and then it grows to the interval


def watch(
    job: Job,
    ask: Callable[[Job, float], Job],
    until: float,
    poll_interval: float,
    tell: Callable[[str], None],
    log: Logger,
) -> Job:
    """Wait; see ``ServiceHook.watch``.

    :param ask: asks after the job; its second argument are seconds that the service may take until it has ended
    """
    pause = min(FIRST_PAUSE, poll_interval)
    progress, asked, refusals = Progress(), 0, 0
    while not job.state.is_final and time.time() < until:
        began, told_to_wait = time.monotonic(), 0.0
        asked += 1  # every third question is answered at once: an answer that is held back tells no progress
        patience = max(0.0, min(poll_interval, until - time.time())) if asked % 3 else 0
        try:
            job = ask(job, patience)
        except PermanentVoiceError as error:
            refusals += 1
            if refusals >= CONFIRMATIONS:
                raise
            log.warning("Asking after the job was refused; asking again. %s", error)
        except TransientVoiceError as error:
            log.warning("Asking after the job did not succeed; asking again. %s", error)
            told_to_wait = getattr(error, "retry_after", None) or 0.0
        else:
            refusals, told_to_wait = 0, job.retry_after or 0.0
        if (line := progress.told(job)) is not None:
            log.info("%s", line)
            tell(line)
        if not job.state.is_final:
            rest = max(pause - (time.monotonic() - began), told_to_wait)  # it counts from the answer on
            time.sleep(max(0.0, min(rest, until - time.time())))
            pause = min(pause * 1.5, poll_interval)
    return job


class Progress:
    """What is worth a line: a new status, a quarter more of the work; never every answer.

    :param began: monotonic time at which the wait began; default: now
    """

    __slots__ = ("_began", "_ended", "_last", "_running")

    def __init__(self, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._running: float | None = None
        self._ended: float | None = None
        self._last: tuple[str, int] | None = None

    def told(self, job: Job) -> str | None:
        """Return a line about the job, where there is something new."""
        now = time.monotonic()
        if job.state is JobState.RUNNING and self._running is None:
            self._running = now
        if job.state.is_final:
            self._ended = now
        quarter = int((job.progress or 0) * 4)
        if (job.status, quarter) == self._last:
            return None
        self._last = job.status, quarter
        percent = f" {job.progress:.0%}" if job.progress is not None else ""
        return f"{describe(job)}: {job.status or job.state.value}{percent}" + (f" ({self.times})" if self.times else "")

    @property
    def times(self) -> str:
        """How long the job waited and ran, as far as it was seen."""
        running, ended = self._running, self._ended
        queued = f"seen waiting for {running - self._began:.0f} s" if running and running - self._began >= 1 else ""
        ran = f"running for {ended - running:.0f} s" if running and ended and ended - running >= 1 else ""
        return ", ".join(filter(None, (queued, ran)))


def describe(job: Job) -> str:
    """Name a job in a message."""
    return f"The {job.kind.replace('_', ' ')} job {job.id}"


def succeeded(job: Job) -> Job:
    """Return a job that has succeeded; raise ``JobFailedError`` for one that has failed."""
    if job.state is JobState.FAILED:
        metrics.count("results", service=job.service, kind=job.kind, outcome="failed")
        code = f" ({job.error_code})" if job.error_code else ""
        raise JobFailedError(
            f"{describe(job)} ended as {job.status or 'failed'}: {(job.error or 'no reason given').rstrip('.')}{code}. "
            f"Correct the input and order it again; the service decides whether a failed job is billed.",
            error_code=job.error_code,
        )
    return job
