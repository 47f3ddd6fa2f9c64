"""The life of a job, from the intent to the kept result; it survives the death of the worker at every line.

Nothing in here knows Airflow: a store, a hook and a scope are handed in, so that tests can kill it between any two
lines. The order of events is what keeps the promise "paid once": the record is written before the request that may
be paid, and the job's id right after it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pendulum

from voice_provider.exceptions import (
    NameTakenError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentVoiceError,
    RateLimitedError,
    ResultError,
    ServiceUnavailableError,
    SlotLimitError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.files.storage import Output, StoredFile, is_kept
from voice_provider.hooks.base import describe, succeeded
from voice_provider.jobs.clones import BeingMadeError, GoneError
from voice_provider.jobs.orders import SpeechOrder
from voice_provider.jobs.record import (
    RECORD_KEY,
    Decision,
    OnClear,
    OnUnknownOutcome,
    Record,
    Scope,
    Store,
    decide,
    idempotency_key,
)
from voice_provider.models import Capability, Job, JobState, Manifest
from voice_provider.services.base import Input

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk.types import Logger

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.orders import Order
    from voice_provider.services.base import Body


LOOK_EVERY = 1.0  # seconds between two looks for a voice that another task is making
FEW_LOOKS = 10.0  # seconds, where it is not known that another task is making it
LOOK_FOR = 60.0  # seconds until a retry has to look again
CONFIRM_AFTER = 2.0  # seconds until a "no such job" is believed: edges and deployments hiccup


@dataclass
class Lifecycle:
    """One job of one task instance.

    :param store: where it is kept what was ordered
    :param show: gets a line for people who look how far the job is
    :param on_unknown_outcome: what to do when an unkeyed order may have been accepted and cannot be found: ``fail`` (a
        person decides) or ``resubmit`` (it may be paid twice)
    :param on_clear: what clearing a task means whose job still runs: ``reattach`` or ``resubmit``; clearing a
        finished task is always a new order
    """

    hook: VoiceHook
    store: Store
    scope: Scope
    log: Logger
    show: Callable[[str], None] = lambda _: None
    on_unknown_outcome: OnUnknownOutcome = "fail"
    on_clear: OnClear = "reattach"
    _accepted: Job | None = field(default=None, init=False)
    _ordered_again: bool = field(default=False, init=False)
    _looked: bool = field(default=False, init=False)

    def load(self) -> Record | None:
        """Read what is remembered."""
        return Record.load(self.store.get(RECORD_KEY))

    def wait_until(self, record: Record, deadline: float, redefers: int = 0) -> Record:
        """Remember how long this attempt waits, so that a wait that fails on the triggerer does not begin anew."""
        return self._save(record, deadline=deadline, redefers=redefers)

    def note_evicted(self, names: list[str]) -> None:
        """Remember which voices had to go, so that the task can still say so after a wait or a retry."""
        record = self.load()
        assert record is not None  # noqa: S101  # it was written before the order was refused
        self._save(record, evicted=[*record.evicted, *names])

    def given_back(self, record: Record) -> None:
        """Remember that what was made is deleted again: a clear, or another try, makes it anew."""
        self._save(record, failed=True)

    def tell(self, line: str) -> None:
        """Show how far the job is."""
        self.show(f"{_now()} {line}")

    def _save(self, record: Record, **changes: object) -> Record:
        record = record.model_copy(update=changes)
        self.store.set(RECORD_KEY, record.dump())
        return record

    # getting a job

    def begin(self, order: Order) -> Record:
        """Do what has to be done until there is a job or a kept result, and return the record that names it.

        :raises OutcomeUnknownError: an earlier, unkeyed order may have been accepted, and ``on_unknown_outcome`` is
            ``fail``
        """
        fingerprint = order.fingerprint()
        keyed = self.hook.service.is_keyed(order.kind)
        record = self.load()
        decision = decide(
            record,
            fingerprint=fingerprint,
            account=self.hook.settings.account,
            keyed=keyed,
            max_tries=self.scope.max_tries,
            on_clear=self.on_clear,
        )
        if record is None or decision in (Decision.START, Decision.RESTART):
            if record is not None:
                cleared = "the task was cleared, or its job had failed"
                why = cleared if decision is Decision.RESTART else "the request has changed"
                self.log.info("This is a new order: %s.", why)
            return self._submit(order, self._new(order, fingerprint, record))
        if record.max_tries != self.scope.max_tries:
            record = self._save(record, max_tries=self.scope.max_tries)
        if decision is Decision.DELIVERED:
            return self._delivered(order, record)
        if decision is Decision.ATTACH:
            with suppress(GoneError):
                if order.kind == "clone":
                    self._accepted = self.refresh(record)
                return self._attach(record)
            self.log.info("The voice of the try before has been deleted meanwhile: this is a new order.")
            return self._submit(order, self._new(order, fingerprint, self.load()))
        if decision is Decision.RESOLVE:
            return self._resolve(order, record)
        return self._submit(order, record)

    def _new(self, order: Order, fingerprint: str, old: Record | None) -> Record:
        generation = old.generation + 1 if old is not None else 0  # also for a request that was made before: A, B, A
        record = Record(
            kind=order.kind,
            fingerprint=fingerprint,
            generation=generation,
            key=idempotency_key(self.scope, fingerprint, generation),
            max_tries=self.scope.max_tries,
            conn_id=self.hook.voice_conn_id,
            account=self.hook.settings.account,
            created_at=_now(),
            name=order.name(self.scope, int(time.time())),
            details=order.details(),
            uploads=old.uploads if old is not None and old.account == self.hook.settings.account else {},
        )
        return self._save(record)

    def _submit(self, order: Order, record: Record) -> Record:
        if isinstance(order, SpeechOrder) and order.is_answer(self.hook.service):
            return self._speak(order, record)
        if record.posted_at is None:
            if (name := order.name(self.scope, int(time.time()))) != record.name:
                record = self._save(record, name=name)  # it has waited, and nothing has had the old name
            there = self.hook.run(order.look(self.hook.service, record))
            if there is not None:
                self.log.info("%s is there already and is used: nothing is sent.", describe(there))
                return self._accept(self._save(record, outcome="reused"), there)
        inputs: list[Input | Body] = list(record.inputs) if record.posted_at is not None else []
        if not inputs:
            for source in order.sources:
                record, where = self._upload(source, record)
                inputs.append(where)
        hosted = [where for where in inputs if isinstance(where, Input)]
        before = record.posted_at
        record = self._save(record, posted_at=_now(), account=self.hook.settings.account, inputs=hosted)
        try:
            job = self.hook.run(order.submit(self.hook.service, inputs, record))
        except VoiceError as error:
            return self._not_accepted(order, record, error, before)
        record = self._accept(record, job)
        line = f"{describe(job)} was accepted by {job.service} ({job.status or job.state.value})."
        self.log.info("%s", line)
        self.tell(line)
        return record

    def _not_accepted(self, order: Order, record: Record, error: VoiceError, before: str | None) -> Record:
        """Return the record of what is there all the same; else remember what is known, and raise.

        :param before: when it was sent before with an unknown outcome, of which a refusal now says nothing
        """
        service = self.hook.service
        if error.status == 409 and service.is_keyed(order.kind):
            raise error  # the key is known there with another body: something was accepted, so nothing is forgotten
        if isinstance(error, ServiceUnavailableError) and error.sent:
            if service.is_keyed(order.kind):
                raise error  # a retry sends it again under the same key
            others = isinstance(error, BeingMadeError) and before is None
            if others and order.is_exclusive:
                self.discard_uploads(self._save(record, posted_at=None, inputs=[]))
                raise NameTakenError(str(error)) from None
            seconds = LOOK_FOR if isinstance(error, BeingMadeError) else 0
            found = self._find(order, record, seconds, others=others and order.is_shared)
            if found is not None:
                return found
            if order.is_settled_by_name(service):
                raise error  # a retry looks again, and repeats it under the same name
            return self._unknown(order, record, f"the answer was lost ({error})", error)
        # Refused, or never sent: nothing was accepted now.
        record = self._save(record, posted_at=None if service.is_keyed(order.kind) else before, inputs=[])
        found = None
        if isinstance(error, SlotLimitError) and before is not None:
            # What is in the last slot may be its own, of the order before.
            found, self._looked = self._find(order, record, 0 if self._looked else FEW_LOOKS), True
        elif isinstance(error, RateLimitedError) and order.is_shared:
            found = self._find(order, record, FEW_LOOKS, others=before is None)  # one of the others may have made it
        if found is not None:
            return found
        if isinstance(error, PermanentVoiceError):
            self.discard_uploads(record)
        raise error

    def _speak(self, order: SpeechOrder, record: Record) -> Record:
        """Speak where the audio is the answer itself.

        Its hash is written down before it is moved to its place: a try after a kill in between finds it.
        """
        assert order.place is not None  # noqa: S101  # the operator gave it
        record = self._save(record, posted_at=_now(), account=self.hook.settings.account)
        with order.place(record.fingerprint[:16], self.scope.run).receive() as sink:
            try:
                job, kept = self.hook.speak(order.options, order.references, sink)
            except VoiceError as error:
                answered = sink.begun or isinstance(error, ResultError)
                lost = isinstance(error, ServiceUnavailableError) and error.sent
                if not answered and not lost:
                    self._save(record, posted_at=None)  # refused, or never sent: nothing was accepted
                    raise
                failure = error
                if sink.begun and not isinstance(error, ResultError | UnusableSpeechError):
                    failure = ResultError(f"The speech stopped after {sink.position:,} bytes. {error}")
            else:
                details = {"submitted_at": record.posted_at, "outcome": record.outcome}
                manifest = self.hook.describe_speech(order.options, job, kept, **details)
                record = self._save(record, manifest=manifest)
                sink.publish(kept)
                self.log.info(
                    "%s spoke; kept %s: %.1f s, %s bytes.",
                    job.model or job.service,
                    kept.uri,
                    manifest.seconds or 0,
                    f"{kept.bytes:,}",
                )
                return self.finish(record, manifest=manifest)
        # Where it is known what came, a clear of the task is a new order; a mere retry never is.
        return self._unknown(order, self._save(record, finished=answered), f"the answer was lost ({failure})", failure)

    def _accept(self, record: Record, job: Job) -> Record:
        # A result URL is remembered only where the service cannot be asked for it again: speech that was answered at
        # once.
        keep_url = job.kind == "speech" and not job.status
        self._accepted = job
        kept = job if keep_url else job.model_copy(update={"url": None})
        return self._save(record, job=kept, name=job.name or record.name)

    def _upload(self, source: Input | StoredFile, record: Record) -> tuple[Record, Input | Body]:
        if isinstance(source, Input) or Capability.HOSTS_ASSETS not in self.hook.service.capabilities:
            return record, source
        digest = source.sha256()
        asset_id = record.uploads.get(digest)
        if asset_id is not None:
            with suppress(NotFoundError):
                self.hook.get_asset(asset_id)
                return record, Input(asset_id=asset_id)
        asset = self.hook.upload_file(source, self.scope.asset_name(source.name, self.hook.settings.namespace))
        self.log.info("Uploaded %s (%s bytes) as asset %s.", source.location, f"{source.size:,}", asset.id)
        return self._save(record, uploads={**record.uploads, digest: asset.id}), Input(asset_id=asset.id)

    def _attach(self, record: Record) -> Record:
        assert record.job is not None  # noqa: S101  # decide() looked
        when = f"was ordered at {record.posted_at}" if record.posted_at else "was there before"
        self.log.info("%s %s; it is not ordered again.", describe(record.job), when)
        return record

    def _delivered(self, order: Order, record: Record) -> Record:
        kept = record.manifest
        assert kept is not None  # noqa: S101  # decide() looked
        if is_kept(kept.uri, kept.sha256, kept.bytes):
            self.log.info("The result is kept already: %s.", kept.uri)
            return self.finish(record, manifest=kept)
        if isinstance(order, SpeechOrder) and order.place is not None:
            output = order.place(record.fingerprint[:16], self.scope.run)
            if not record.finished and output.recover(kept.uri, kept.sha256, kept.bytes):
                self.log.info("The try before had received the speech; it is kept: %s.", kept.uri)
                return self.finish(record, manifest=kept.model_copy(update={"outcome": "recovered"}))
        self.log.info("The result that was kept at %s is gone or changed; fetching it again.", kept.uri)
        record = self._save(record, manifest=None, finished=False)
        return self._attach(record) if record.job is not None else self._resolve(order, record)

    def _find(self, order: Order, record: Record, seconds: float = 0, *, others: bool = False) -> Record | None:
        """Look at the service for what became of an order whose answer was lost, or that another task has sent.

        :param seconds: how long it is looked for again, where it may still be in the making
        :param others: what is found can only be another task's, because no answer to this one was lost
        """
        until = time.monotonic() + seconds
        while (found := self.hook.run(order.find(self.hook.service, record))) is None:
            if time.monotonic() + LOOK_EVERY > until:
                return None
            time.sleep(LOOK_EVERY)
        why = "another task has made it" if others else "it is ours, although no answer said so"
        self.log.info("%s is there: %s. It is used.", describe(found), why)
        return self._accept(self._save(record, outcome="reused" if others else "found"), found)

    def _resolve(self, order: Order, record: Record) -> Record:
        """An order may have been accepted: look for it, else repeat it where that is safe, else ask the author."""
        same_account = record.account == self.hook.settings.account
        if record.job is not None:  # under a new key of the same account the job is still there, and asking is free
            with suppress(NotFoundError):
                self.hook.get_job(record.job.kind, record.job.id, path=record.job.path)
                return self._attach(self._save(record, account=self.hook.settings.account))
        found = self._find(order, record)
        if found is not None:
            return found
        if same_account and order.is_settled_by_name(self.hook.service):
            return self._submit(order, record)
        return self._unknown(order, record, "an earlier try ended before the answer came")

    def _unknown(self, order: Order, record: Record, why: str, error: VoiceError | None = None) -> Record:
        """Order again where that is free or wanted, at most once in a try; else say that a person has to decide.

        :param error: what went wrong just now, if it was just now
        """
        if self.on_unknown_outcome == "resubmit" or order.is_free(self.hook.service):
            if self._ordered_again and error is not None:
                raise error
            self._ordered_again = True
            self.log.warning("%s Ordering again.", error or f"It is unknown what became of the order: {why}.")
            again = self._new(order, record.fingerprint, record)
            return self._submit(order, self._save(again, outcome="ordered_again"))
        if isinstance(error, ResultError | UnusableSpeechError):
            raise UnusableSpeechError(
                f"{error} The order of {record.posted_at} was answered and may be billed. Clear the task to order it "
                "again; with on_unknown_outcome='resubmit' a task does so itself, once in a try."
            ) from None
        if record.account != self.hook.settings.account:
            why = "this connection now belongs to another account"
        hint = f" {self.hook.service.speech_hint}" if order.kind == "speech" else ""
        raise OutcomeUnknownError(
            f"It is unknown whether {self.hook.service.label} accepted the {order.kind.replace('_', ' ')} order of "
            f"{record.posted_at}: {why}. It may be billed. Look at the account; if it is not there, run the task with "
            f"on_unknown_outcome='resubmit'.{hint}".rstrip()
        )

    # following a job

    def is_running(self, record: Record) -> bool:
        """Whether this try of the task can go on with a job that was ordered before, whatever became of its inputs."""
        over = record.failed or record.finished or record.max_tries != self.scope.max_tries
        return record.job is not None and not over

    def hand_over(self, record: Record) -> Record:
        """Remember that the rest is another task's: to clear this one afterwards is a new order."""
        return self._save(record, finished=True)

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
            time.sleep(CONFIRM_AFTER)
            return self.hook.get_job(job.kind, job.id, path=job.path)
        except NotFoundError as error:
            if job.kind == "clone":  # by a person or a sweep; another under its name can be no second one
                self._save(record, failed=True)
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
        self.discard_uploads(self._save(record, failed=True))
        if job.kind == "clone":
            with suppress(VoiceError):
                self.hook.delete_voice(job.id)
        succeeded(job)

    def collect(self, record: Record, job: Job, output: Output, **details: object) -> Manifest:
        """Fetch the result of a succeeded job, keep it, remember that, and return its manifest."""
        succeeded(job)
        details |= {"submitted_at": record.posted_at, "outcome": record.outcome}
        try:
            manifest = self.hook.keep(job, output, **details)
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
            manifest = self.hook.keep(self.refresh(record), output, **details)
        self.finish(record, manifest=manifest)
        return manifest

    def finish(self, record: Record, manifest: Manifest | None = None) -> Record:
        """Remember that everything is done, and delete what was uploaded on the way."""
        job = record.job.model_copy(update={"url": None, "state": JobState.SUCCEEDED}) if record.job else None
        record = self._save(record, finished=True, manifest=manifest, job=job)
        return self.discard_uploads(record)

    def discard_uploads(self, record: Record) -> Record:
        """Delete the files that were uploaded for this job: samples and recordings of people are not left behind."""
        if not record.uploads:
            return record
        left = dict(record.uploads)
        for digest, asset_id in record.uploads.items():
            try:
                with suppress(NotFoundError):
                    self.hook.delete_asset(asset_id)
                del left[digest]
            except VoiceError as error:
                self.log.warning("Asset %s, uploaded for this task, could not be deleted: %s", asset_id, error)
        return self._save(record, uploads=left)


def _now() -> str:
    return pendulum.now("UTC").isoformat(timespec="milliseconds")
