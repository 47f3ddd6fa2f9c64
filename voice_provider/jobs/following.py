"""A job that is there: it is asked after, watched, collected and finished, in as many tries as that takes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voice_provider.exceptions import NotFoundError, OutcomeUnknownError, ServiceUnavailableError, VoiceError
from voice_provider.hooks import metrics
from voice_provider.hooks.waiting import describe, succeeded
from voice_provider.jobs.clones import GoneError
from voice_provider.jobs.notes import Notes, now
from voice_provider.jobs.uploads import Uploads
from voice_provider.models import Job, JobState, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk.types import Logger

    from voice_provider.files.storage import Output
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.record import Record, Scope, Store

CONFIRM_AFTER = 2.0  # seconds until a "no such job" is believed: edges and deployments hiccup


@dataclass
class Following:
    """One job of one task instance, once it is there.

    :param store: where it is kept what was ordered
    :param show: gets a line for people who look how far the job is
    """

    hook: VoiceHook
    store: Store
    scope: Scope
    log: Logger
    show: Callable[[str], None] = lambda _: None
    deadline: float = field(default=0, init=False)  # of this attempt's wait, seconds since 1970; see ``ends_at``
    _accepted: Job | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._notes = Notes(self.store, self.log)
        self._uploads = Uploads(self.hook, self.scope, self._notes, self.log)

    def load(self) -> Record | None:
        """Read what is remembered."""
        return self._notes.load()

    def ends_at(self, deadline: float) -> None:
        """Let this attempt end at a time: nothing is asked, looked for or put in its place much longer.

        :param deadline: seconds since 1970
        """
        self.deadline = deadline
        self.hook.ask_until(deadline)

    def wait_until(self, record: Record, deadline: float, redefers: int = 0) -> Record:
        """Remember how long this attempt waits, so that a wait that fails on the triggerer does not begin anew."""
        if (record.deadline, record.redefers) == (deadline, redefers):
            return record  # written with the order
        return self._notes.save(record, deadline=deadline, redefers=redefers)

    def note_evicted(self, names: list[str]) -> None:
        """Remember which voices had to go, so that the task can still say so after a wait or a retry."""
        record = self.load()
        assert record is not None  # noqa: S101  # it was written before the order was refused
        self._notes.save(record, evicted=[*record.evicted, *names])

    def given_back(self, record: Record) -> None:
        """Remember that what was made is deleted again: a clear, or another try, makes it anew."""
        self._notes.save(record, failed=True)

    def tell(self, line: str) -> None:
        """Show how far the job is."""
        self.show(f"{now()} {line}")

    # following a job

    def is_running(self, record: Record) -> bool:
        """Whether this try of the task can go on with a job that was ordered before, whatever became of its inputs."""
        over = record.failed or record.finished or record.max_tries != self.scope.max_tries
        return record.job is not None and not over

    def hand_over(self, record: Record) -> Record:
        """Remember, when its ticket is told, that the rest is another task's: to clear this one is a new order."""
        return self._notes.save(record, finished=True)

    def refresh(self, record: Record) -> Job:
        """Ask after the record's job once.

        :raises OutcomeUnknownError: the service does not know the job
        """
        accepted, self._accepted = self._accepted, None
        if accepted is not None:
            return accepted  # this very moment: some services do not find a job in its first second
        job = record.job
        assert job is not None  # noqa: S101  # begin() returned it
        if job.url and job.state.is_final:
            return job
        try:
            with suppress(NotFoundError):
                return self.hook.get_job(job.kind, job.id, path=job.path)
            time.sleep(CONFIRM_AFTER if time.time() < self.deadline else 0)
            return self.hook.get_job(job.kind, job.id, path=job.path)
        except NotFoundError as error:
            if job.kind == "clone":  # by a person or a sweep; another under its name can be no second one
                self._notes.save(record, failed=True)
                raise GoneError(
                    f"{describe(job)} was there, and has been deleted meanwhile. A retry looks again.", sent=False
                ) from None
            raise OutcomeUnknownError(
                f"{describe(job)}, ordered at {record.posted_at}, is not known to the service any more: {error} "
                f"If it was deleted there, clear the task with on_clear='resubmit' to order it again."
            ) from None

    def watch(self, record: Record, job: Job, until: float, poll_interval: float) -> Job:
        """Wait here until the job has ended or a time has come; see ``VoiceHook.watch``."""
        try:
            return self.hook.watch(job, until, poll_interval, self.tell)
        except NotFoundError:
            return self.refresh(record)

    def fail(self, record: Record, job: Job) -> None:
        """Remember that the job failed, give back what was made for it, and raise its error."""
        self._uploads.discard(self._notes.save(record, failed=True))
        if job.kind == "clone":
            with suppress(VoiceError):
                self.hook.delete_voice(job.id)
        succeeded(job)

    def collect(self, record: Record, job: Job, output: Output, **details: object) -> Manifest:
        """Fetch the result of a succeeded job, keep it, remember that, and return its manifest."""
        succeeded(job)
        details |= {"submitted_at": record.posted_at, "outcome": record.outcome}
        try:
            manifest = self.hook.keep(job, output, record.costs, **details)
        except ServiceUnavailableError as error:
            if error.status is None or error.status >= 500 or record.job is None:
                raise
            if record.job.url:  # speech that was answered at once: there is nothing to ask for another link
                raise OutcomeUnknownError(
                    f"{describe(job)} was ordered at {record.posted_at} and paid, but the link to its result has "
                    f"expired and {job.service} gives no other. Clear the task with on_clear='resubmit' to order it "
                    f"again. {self.hook.service.speech_hint}"
                ) from None
            self.log.info("The link to the result has expired; asking for a new one.")
            manifest = self.hook.keep(self.refresh(record), output, record.costs, **details)
        self._notes.keep(record, manifest=manifest, collected=True)
        return manifest

    def copy_to(self, place: Output, manifest: Manifest) -> Manifest:
        """Copy a kept result to where it is wanted now: ``output`` is no part of what was asked for."""
        uri = place.copy(manifest.uri, manifest.format, manifest.sha256, manifest.bytes)
        self.log.info("What was kept at %s is now at %s, too.", manifest.uri, uri)
        return self.note_kept(manifest.model_copy(update={"uri": uri}))

    def note_kept(self, manifest: Manifest) -> Manifest:
        """Remember that what is kept is now described so."""
        record = self.load()
        assert record is not None  # noqa: S101  # it holds the manifest
        self._notes.save(record, manifest=manifest)
        return manifest

    def is_there(self, record: Record) -> Record:
        """Remember that what was made is there for others, too: a task that fails afterwards does not take it back."""
        if record.job is not None:
            metrics.result(record.job, record.posted_at, time.time())
        return self._notes.save(record, collected=True)

    def finish(self) -> None:
        """Remember, when the result is told, that everything is done, and delete what was uploaded on the way."""
        record = self.load()
        assert record is not None  # noqa: S101  # there is a result
        if not record.finished:
            job = record.job.model_copy(update={"url": None, "state": JobState.SUCCEEDED}) if record.job else None
            record = self._notes.save(record, finished=True, collected=True, held=[], job=job)
        self._uploads.discard(record)
