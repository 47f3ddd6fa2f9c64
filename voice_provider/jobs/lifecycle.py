"""The life of a job, from the intent to the kept result; it survives the death of the worker at every line.

Nothing in here knows Airflow: a store, a hook and a scope are handed in, so that tests can kill it between any two
lines. The order of events is what keeps the promise "paid once":

1. The order is written down, with its nonce and whether it carries its key; then it is sent. What has media is
   written down before they are uploaded, too.
2. The job's id is written down, or for speech that is the answer itself what came and where it is.
3. The result is put in its place. That is written down where it would have to be fetched again.
4. The task has told its result; only then is it written that it is finished, and only now a clear is a new order.

Each of these writes is a request to Airflow's API server: what has no need of its own is written with the next one.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
from voice_provider.files.storage import is_kept
from voice_provider.hooks import metrics
from voice_provider.hooks.waiting import describe
from voice_provider.jobs.answers import Answers, NoAnswerError
from voice_provider.jobs.clones import BeingMadeError, GoneError
from voice_provider.jobs.following import Following
from voice_provider.jobs.notes import now
from voice_provider.jobs.orders import SpeechOrder
from voice_provider.jobs.record import (
    Decision,
    Ending,
    OnClear,
    OnUnknownOutcome,
    Outcome,
    Record,
    Then,
    decide,
    follows,
    idempotency_key,
    new_nonce,
)
from voice_provider.models import Job
from voice_provider.money.budget import check_budget
from voice_provider.money.prices import total
from voice_provider.services.base import Input

if TYPE_CHECKING:
    from voice_provider.jobs.orders import Order
    from voice_provider.models import Cost
    from voice_provider.services.base import Body


LOOK_EVERY = 1.0  # seconds between two looks for a voice that another task is making
FEW_LOOKS = 10.0  # seconds, where it is not known that another task is making it
LOOK_FOR = 60.0  # seconds until a retry has to look again


@dataclass
class Lifecycle(Following):
    """One job of one task instance, from its order on.

    :param forgets: a clear empties the store, as Airflow's own does from 3.4 on
    :param on_unknown_outcome: what to do when an unkeyed order may have been accepted and cannot be found: ``fail`` (a
        person decides) or ``resubmit`` (it may be paid twice)
    :param on_clear: what clearing a task means whose job still runs: ``reattach`` or ``resubmit``; clearing a
        finished task is always a new order
    """

    forgets: bool = False
    on_unknown_outcome: OnUnknownOutcome = "fail"
    on_clear: OnClear = "reattach"
    _ordered_again: bool = field(default=False, init=False)
    _looked: bool = field(default=False, init=False)
    max_cost: float | None = field(default=None, init=False)  # dollars that an order may cost; None: any

    def __post_init__(self) -> None:
        super().__post_init__()
        self._answers = Answers(self.hook, self.scope, self._notes, self.log)

    def begin(self, order: Order) -> Record:
        """Do what has to be done until there is a job or a kept result, and return the record that names it.

        :raises OutcomeUnknownError: an earlier, unkeyed order may have been accepted, and ``on_unknown_outcome`` is
            ``fail``
        """
        fingerprint = order.fingerprint()
        record = self._asked_for(order, fingerprint)
        decision = decide(
            record,
            fingerprint=fingerprint,
            account=self.hook.settings.account,
            keyed=self.hook.service.is_keyed(order.kind),
            scope=self.scope,
            on_clear=self.on_clear,
        )
        if record is None or decision in (Decision.START, Decision.RESTART):
            if record is not None:
                cleared = "the task was cleared, or its job had failed"
                self._leave(record, cleared if decision is Decision.RESTART else "the request has changed")
            return self._submit(order, self._new(order, fingerprint, record))
        if (known := self._knowing_clears(record)) != record:
            record = self._notes.save(known)
        record = record.model_copy(update={"origin": dict(order.origin)})  # written with whatever comes next
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

    def _asked_for(self, order: Order, fingerprint: str) -> Record | None:
        """Return the record, with the order of this request as its newest where it was asked for before."""
        record = self.load()
        if record is None or record.fingerprint == fingerprint:
            return record
        if record.v == 1 and record.fingerprint == order.former_fingerprint():
            return self._notes.save(record, v=2, fingerprint=fingerprint)  # of the version before, which named ids
        back = record.back_to(fingerprint)
        if back is None:
            return record
        self._leave(record, "another request is asked for again")
        self.log.info("%s was ordered before, and was not collected: it is gone on with.", _name_of(back))
        return self._notes.save(self._knowing_clears(back))

    def _knowing_clears(self, record: Record) -> Record:
        """Return the record with what later tells a clear from a retry; ``retries`` are those of the last clear."""
        retries = record.retries if record.max_tries == self.scope.max_tries else self.scope.retries
        update = {"max_tries": self.scope.max_tries, "clears": self.scope.clears, "retries": retries}
        return record.model_copy(update=update)

    def _leave(self, record: Record, why: str) -> None:
        """Say what becomes of the order before a new one."""
        if not record.is_open:
            self.log.info("This is a new order: %s.", why)
            return
        self.log.warning(
            "This is a new order: %s. The one before, %s, may be paid and was not collected; it stays in the task's "
            "record. Ask for the same again to collect it, or use: voice-provider jobs list, voice-provider jobs "
            "collect.",
            why,
            _name_of(record),
        )

    def _new(self, order: Order, fingerprint: str, old: Record | None, outcome: Outcome | None = None) -> Record:
        nonce, settings = new_nonce(), self.hook.settings
        key = idempotency_key(self.scope, settings.namespace, fingerprint, nonce)
        record = Record(
            v=2,
            kind=order.kind,
            fingerprint=fingerprint,
            nonce=nonce,
            key=key,
            take=self.scope.take_name(key) if order.kind != "clone" else "",
            max_tries=self.scope.max_tries,
            clears=self.scope.clears,
            retries=self.scope.retries,
            conn_id=self.hook.voice_conn_id,
            account=settings.account,
            namespace=settings.namespace,
            created_at=now(),
            name=order.name(self.scope, int(time.time())),
            details=order.details(),
            origin=dict(order.origin),
            deadline=self.deadline,
            outcome=outcome,
            costs=self._costs(order),
        )
        if old is not None:
            record = old.followed_by(record.with_uploads_of(old))
        if self.forgets:
            self.log.warning(
                "This Airflow forgets what a task has ordered when it is cleared: a clear while the job runs pays for "
                "another. Set state_location in connection '%s' to have it remembered.",
                self.hook.voice_conn_id,
            )
        return record

    def _costs(self, order: Order) -> list[Cost]:
        return list(order.costs(self.hook, surely=self.max_cost is not None))

    def _submit(self, order: Order, record: Record) -> Record:
        if record.posted_at is None and self.max_cost is not None:  # one that was sent may be paid already
            cost = total(record.costs or self._costs(order))
            check_budget(cost, self.max_cost, f"The {order.kind.replace('_', ' ')}")
        if isinstance(order, SpeechOrder) and order.is_answer(self.hook.service):
            try:
                return self._answers.order(order, record, self.deadline)
            except NoAnswerError as lost:
                return self._unknown(order, lost.record, f"the answer was lost ({lost})", lost.error)
        if record.posted_at is None:
            record = record.model_copy(update={"name": order.name(self.scope, int(time.time()))})  # nothing has it yet
            if order.sources and record != self.load():  # what is uploaded, or looked for, is found again by it
                record = self._notes.save(record)
            there = self.hook.run(order.look(self.hook.service, record))
            if there is not None:
                self.log.info("%s is there already and is used: nothing is sent.", describe(there))
                return self._use(record, there, "reused")
        # The same key needs the same body; what goes by a name is uploaded again if it has been deleted meanwhile.
        same = record.posted_at is not None and record.keyed is not False
        inputs: list[Input | Body] = list(record.inputs) if same else []
        if not inputs:
            for source in order.sources:
                record, where = self._uploads.provide(source, record)
                inputs.append(where)
        hosted = [where for where in inputs if isinstance(where, Input)]
        before, account = record.posted_at, self.hook.settings.account
        keyed = self.hook.service.is_keyed(order.kind)
        record = self._notes.save(record, posted_at=before or now(), account=account, inputs=hosted, keyed=keyed)
        try:
            job = self.hook.submit(order.kind, order.submit(self.hook.service, inputs, record))
        except VoiceError as error:
            return self._not_accepted(order, record, error, doubtful=before is not None or error.doubtful)
        record = self._accept(record, job)
        self.log.info("%s was accepted by %s (%s).", describe(job), job.service, job.status or job.state.value)
        return record

    def _not_accepted(self, order: Order, record: Record, error: VoiceError, *, doubtful: bool) -> Record:
        """Return the record of what is there all the same; else remember what is known, and raise.

        :param doubtful: it was sent before with an unknown outcome, of which a refusal now says nothing
        """
        service, ending = self.hook.service, ending_of(error)
        then = follows(
            ending,
            doubtful=doubtful,
            keyed=record.keyed is True,
            by_name=order.is_settled_by_name(service),
            shared=order.is_shared and isinstance(error, RateLimitedError),
            exclusive=order.is_exclusive,
        )
        if then is Then.ASK:
            return self._unknown(order, record, f"the answer was lost ({error})", error)
        if then is Then.LOOK:
            others = order.is_shared and not doubtful and ending is not Ending.LOST
            found = self._find(order, record, self._patience(error), others=others)
            if found is not None:
                return found
        if then in (Then.FORGET, Then.YIELD) or (then is Then.LOOK and ending is Ending.LATER and not doubtful):
            record = self._notes.save(record, posted_at=None, inputs=[])
            if then is Then.YIELD or isinstance(error, PermanentVoiceError):
                self._uploads.discard(record)
        raise NameTakenError(str(error)) if then is Then.YIELD else error

    def _patience(self, error: VoiceError) -> float:
        """Return how many seconds it is looked for what another task, or an earlier sending, may be making."""
        if isinstance(error, BeingMadeError):
            return LOOK_FOR
        looked, self._looked = self._looked, self._looked or isinstance(error, SlotLimitError)
        return (
            FEW_LOOKS
            if isinstance(error, RateLimitedError) or (isinstance(error, SlotLimitError) and not looked)
            else 0
        )

    def _accept(self, record: Record, job: Job) -> Record:
        # A result URL is remembered only where the service cannot be asked for it again: speech that was answered at
        # once.
        keep_url = job.kind == "speech" and not job.status
        self._accepted = job
        kept = job if keep_url else job.model_copy(update={"url": None})
        return self._notes.keep(record, job=kept, name=job.name or record.name)

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
            return record
        if isinstance(order, SpeechOrder) and order.is_answer(self.hook.service):
            if (found := self._answers.find(order, record)) is not None:
                return found
            if self._is_again(order, record):
                return self._unknown(order, record, f"what was kept at {kept.uri} is gone or changed")
            # Where it was is not forgotten: it may be another worker's disk that lacks it.
            raise OutcomeUnknownError(
                f"The speech of {record.posted_at} was received, and is not as it was at "
                f"{' and '.join([*record.held, kept.uri])}, as this worker ({socket.gethostname()}) sees it. A try "
                "that finds it there uses it, and nothing is paid again; to order it again, clear the task with "
                "on_clear='resubmit'."
            )
        self.log.info("The result that was kept at %s is gone or changed; fetching it again.", kept.uri)
        record = self._notes.save(record, manifest=None, held=[], collected=False, finished=False)
        return self._attach(record) if record.job is not None else self._resolve(order, record)

    def _find(self, order: Order, record: Record, seconds: float = 0, *, others: bool = False) -> Record | None:
        """Look at the service for what became of an order whose answer was lost, or that another task has sent.

        :param seconds: how long it is looked for again, where it may still be in the making
        :param others: what is found can only be another task's, because no answer to this one was lost
        """
        until = time.monotonic() + min(seconds, max(0.0, self.deadline - time.time()))
        while (found := self.hook.run(order.find(self.hook.service, record))) is None:
            if time.monotonic() + LOOK_EVERY > until:
                return None
            time.sleep(LOOK_EVERY)
        why = "another task has made it" if others else "it is ours, although no answer said so"
        self.log.info("%s is there: %s. It is used.", describe(found), why)
        return self._use(record, found, "reused" if others else "found")

    def _use(self, record: Record, there: Job, outcome: Outcome) -> Record:
        """Take what is there, in place of what an order would have made."""
        metrics.count("orders", service=there.service, kind=there.kind, outcome=outcome)
        return self._accept(self._notes.save(record, outcome=outcome), there)

    def _resolve(self, order: Order, record: Record) -> Record:
        """An order may have been accepted: look for it, else repeat it where that is safe, else ask the author."""
        same_account = record.account == self.hook.settings.account
        if record.job is not None:  # under a new key of the same account the job is still there, and asking is free
            with suppress(NotFoundError):
                self.hook.get_job(record.job.kind, record.job.id, path=record.job.path)
                return self._attach(self._notes.save(record, account=self.hook.settings.account))
        if isinstance(order, SpeechOrder) and order.is_answer(self.hook.service):
            found = self._answers.find(order, record)
        else:
            found = self._find(order, record)
        if found is not None:
            return found
        if same_account and order.is_settled_by_name(self.hook.service):
            return self._submit(order, record)
        return self._unknown(order, record, "an earlier try ended before the answer came")

    def _is_again(self, order: Order, record: Record) -> bool:
        """Whether an order is sent again whose result cannot be had: where it is free, or wanted, once in its life."""
        return order.is_free(self.hook.service) or (self.on_unknown_outcome == "resubmit" and not record.may_be_again)

    def _unknown(self, order: Order, record: Record, why: str, error: VoiceError | None = None) -> Record:
        """Order again where that is free or wanted, once in the life of an order; else say that a person has to decide.

        :param error: what went wrong just now, if it was just now
        """
        if self._is_again(order, record):
            if self._ordered_again and error is not None:
                raise error
            self._ordered_again = True
            self.log.warning("%s Ordering again.", error or f"It is unknown what became of the order: {why}.")
            return self._submit(order, self._new(order, record.fingerprint, record, "ordered_again"))
        if isinstance(error, ResultError | UnusableSpeechError):
            raise UnusableSpeechError(
                f"{error} The order of {record.posted_at} was answered and may be billed. Clear the task to order it "
                "again; with on_unknown_outcome='resubmit' a task does so itself, once."
            ) from None
        if record.account != self.hook.settings.account:
            why = "this connection now belongs to another account"
        hint = f" {self.hook.service.speech_hint}" if order.kind == "speech" else ""
        if record.may_be_again and self.on_unknown_outcome == "resubmit":
            hint = " It was ordered a second time already. Clear the task with on_clear='resubmit' to order it anew."
        raise OutcomeUnknownError(
            f"It is unknown whether {self.hook.service.label} accepted the {order.kind.replace('_', ' ')} order of "
            f"{record.posted_at}: {why}. It may be billed. Look at the account; if it is not there, run the task with "
            f"on_unknown_outcome='resubmit'.{hint}".rstrip()
        )


def ending_of(error: VoiceError) -> Ending:
    """Say how a sending ended that brought no job."""
    if isinstance(error, BeingMadeError):
        return Ending.ANOTHER
    if isinstance(error, ServiceUnavailableError) and error.sent:
        return Ending.LOST
    return Ending.REFUSED if isinstance(error, PermanentVoiceError) else Ending.LATER


def _name_of(record: Record) -> str:
    """Name an order for people: its kind, its job or voice, and when it was sent."""
    what = record.kind.replace("_", " ")
    job = f" job {record.job.id}" if record.job is not None and record.kind != "clone" else ""
    voice = f" '{record.name}'" if record.name and not job else ""
    return f"the {what}{job}{voice} of {record.posted_at or record.created_at}"
