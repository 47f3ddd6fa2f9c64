"""What is remembered about the orders of a task between its attempts, and the decisions that follow from it.

XCom is wiped when a retry starts, so the record lives in a store of its own, under one key, and is written **before**
the request that may be paid. It is a short history: the order that is asked for now, and those before it that may be
paid and were not collected. Invariants that must not be relaxed:

- The idempotency key never depends on the number of the try: a retry has to send the same one.
- A record whose ``posted_at`` is set and which has no job means "the outcome is unknown", never "nothing happened".
- An order that may be paid and is not collected is never dropped, whatever the task is asked next; closed ones are.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.jobs.names import AssetName, owner_of, take_name, task_key
from voice_provider.models import Cost, Job, JobKind, Manifest
from voice_provider.services.base import Input

MAX_BYTES = 60_000  # Airflow refuses 65,535
_STUB = {
    *("v", "kind", "fingerprint", "nonce", "key", "keyed", "max_tries", "conn_id", "account", "namespace"),
    *("created_at", "name", "take", "posted_at", "job", "held"),
}
RECORD_KEY = "voice_job"  # renaming it would lose the jobs that are running when a deployment is upgraded

OnUnknownOutcome = Literal["fail", "resubmit"]
OnClear = Literal["reattach", "resubmit"]
Outcome = Literal["found", "recovered", "ordered_again", "reused"]


class Store(Protocol):
    """What of Airflow's task state store is used."""

    def get(self, key: str) -> Any:
        """Return the value or ``None``."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Write the value."""
        ...


class Scope(BaseModel):
    """Which task instance asks.

    :param max_tries: Airflow raises it when the task is cleared and at no other time; that is how 3.3 tells a clear
        from a retry (from 3.4 a clear empties the store, which says the same)
    :param clears: how often tasks of the run were cleared, this one or others
    :param retries: of the task as it is now: a clear that came together with lower ones may leave ``max_tries`` as it
        was, and no other clear does
    :param label: what people see of a mapped task instance instead of its index, where its ``map_index_template`` says
    """

    model_config = ConfigDict(frozen=True)

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    max_tries: int = 0
    clears: int = 0
    retries: int | None = None
    label: str = ""

    @property
    def run(self) -> str:
        """A short name of the task instance for what it makes at a service: the same for every try."""
        return task_key(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def owner(self) -> str:
        """How the DAG is named as the owner of what it makes."""
        return owner_of(self.dag_id)

    def asset_name(self, file_name: str, namespace: str) -> str:
        """Return the display name of a file that this task instance uploads."""
        return str(AssetName(file_name, namespace, self.owner, self.run))

    def take_name(self, key: str) -> str:
        """Return the name in a folder of what an order makes.

        :param key: of the order
        """
        return take_name(self.task_id, (self.label or str(self.map_index)) if self.map_index >= 0 else "", key)


class Record(BaseModel):
    """What is remembered of an order, and of those before it. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(extra="ignore")

    v: int = Field(default=1, description="2 since orders have a nonce")
    kind: JobKind
    fingerprint: str
    nonce: str = Field(default="", description="of this order alone: two orders of one request have different keys")
    key: str
    keyed: bool | None = Field(default=None, description="whether it was sent with its key; not known of version 1")
    max_tries: int
    clears: int = 0
    retries: int | None = None
    conn_id: str
    account: str
    namespace: str = "default"
    created_at: str
    name: str | None = None
    take: str = Field(
        default="", description="name in a folder of what is kept; not of orders before it was remembered"
    )
    costs: list[Cost] = Field(default_factory=list, description="what it would cost, as it was ordered, by its parts")
    uploading: list[str] = Field(default_factory=list, description="names of uploads that were begun, and maybe made")
    uploads: dict[str, str] = Field(default_factory=dict, description="sha256 of a file -> id of the asset it became")
    inputs: list[Input] = Field(default_factory=list, description="what was sent; the same key needs the same body")
    posted_at: str | None = None
    job: Job | None = None
    failed: bool = False
    collected: bool = Field(default=False, description="what was made is in its place: others may use it")
    finished: bool = Field(default=False, description="the task has returned it; written last")
    manifest: Manifest | None = None
    held: list[str] = Field(default_factory=list, description="where audio is that was received, and is not in place")
    deadline: float = Field(default=0, description="of this attempt's wait, seconds since 1970")
    outcome: Outcome | None = Field(default=None, description="where it was not simply ordered once")
    redefers: int = Field(default=0, description="how often this attempt went back to waiting")
    details: dict[str, Any] = Field(default_factory=dict, description="for those who use the result; see the order")
    origin: dict[str, Any] | None = Field(
        default=None, description="what the record beside the result will say; not of orders before it was kept here"
    )
    evicted: list[str] = Field(default_factory=list, description="names of the voices that had to go for this one")
    earlier: list[Record] = Field(default_factory=list, description="open orders before this one, newest last")

    @property
    def is_open(self) -> bool:
        """Whether it may be paid, and was not collected."""
        return self.posted_at is not None and not self.finished and not self.failed

    @property
    def file_name(self) -> str:
        """What is kept is called so in a folder, without its ending; the same for every try of the order."""
        return self.take or self.fingerprint[:16]

    @property
    def may_be_again(self) -> bool:
        """Whether it may be paid twice already: it was ordered again because it was unknown what became of it."""
        return self.outcome == "ordered_again"

    @property
    def known_uploads(self) -> set[str]:
        """Ids of all that was uploaded for this order and those before it."""
        return {asset for record in (self, *self.earlier) for asset in record.uploads.values()}

    def followed_by(self, newer: Record) -> Record:
        """Return a newer order that remembers this one, if it is open, and those before it."""
        before = [*self.earlier, *([self.model_copy(update={"earlier": []})] if self.is_open else [])]
        return newer.model_copy(update={"earlier": [old for old in before if old.is_open]})

    def with_uploads_of(self, other: Record) -> Record:
        """Return this order, which also knows what was uploaded for another: somebody has to delete it."""
        if other.account != self.account:
            return self
        names = [name for name in other.uploading if name not in self.uploading]
        uploads = {**other.uploads, **self.uploads}
        return self.model_copy(update={"uploads": uploads, "uploading": [*self.uploading, *names]})

    def back_to(self, fingerprint: str) -> Record | None:
        """Return the newest open order of a request that was asked for before, if there is one, as the one of now."""
        for number in reversed(range(len(self.earlier))):
            if self.earlier[number].fingerprint == fingerprint:
                rest = self.model_copy(update={"earlier": self.earlier[:number] + self.earlier[number + 1 :]})
                return rest.followed_by(self.earlier[number].with_uploads_of(self))
        return None

    def dump(self) -> dict[str, Any]:
        """Return plain JSON-ready values, under 60 KB: of many orders the oldest are kept as what finds them again."""
        value = self.model_dump(mode="json", exclude_none=True, exclude={"earlier": {"__all__": {"earlier"}}})
        for old in value["earlier"]:
            if len(json.dumps(value)) < MAX_BYTES:
                break
            for name in set(old) - _STUB:
                del old[name]
        return value

    @classmethod
    def load(cls, value: Any) -> Record | None:
        """Read a stored value.

        :raises ValueError: it cannot be read; it may hide a paid job, so it is not thrown away
        """
        if value is None:
            return None
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
            raise ValueError(
                f"The task's record '{RECORD_KEY}' cannot be read ({fields}). It may stand for a paid job: look "
                f"at it in the task state panel, then delete it there to start anew."
            ) from None


class Decision(StrEnum):
    """What to do at the start of an attempt."""

    START = "start"  # nothing was asked for yet, or something else: order it
    RESTART = "restart"  # the same again, as a new order
    SUBMIT = "submit"  # go on with the order that was written down: (re-)send it under its key
    RESOLVE = "resolve"  # an unkeyed order may have been accepted: look for what became of it
    ATTACH = "attach"  # there is a job: ask after it
    DELIVERED = "delivered"  # the result is kept already


def decide(
    record: Record | None, *, fingerprint: str, account: str, keyed: bool, scope: Scope, on_clear: OnClear
) -> Decision:
    """Decide from the record alone; the table in the tests is the specification.

    :param fingerprint: of what is asked for now
    :param account: of the connection as it is now
    :param keyed: whether the connection as it is now sends such an order with an idempotency key
    """
    if record is None or record.fingerprint != fingerprint:
        return Decision.START
    cleared = record.max_tries != scope.max_tries
    unseen = record.retries != scope.retries and record.clears != scope.clears
    if record.failed or (cleared and on_clear == "resubmit"):
        return Decision.RESTART
    if record.finished and (cleared or unseen):
        return Decision.RESTART
    if record.manifest is not None:
        return Decision.DELIVERED
    if record.posted_at is not None and record.account != account:
        return Decision.RESOLVE  # the job lies at another account: it cannot be asked after with this connection
    if record.job is not None:
        return Decision.ATTACH
    was_keyed = keyed if record.keyed is None else record.keyed
    if record.posted_at is None or (was_keyed and keyed):
        return Decision.SUBMIT
    return Decision.RESOLVE


class Ending(StrEnum):
    """How a sending ended that brought no job."""

    REFUSED = "refused"  # the service says so, and would again
    LATER = "later"  # the service says that it was not accepted now, or it did not leave
    LOST = "lost"  # nobody has said what became of it
    ANOTHER = "another"  # the service has one of this name, which can only be another task's or an earlier try's


class Then(StrEnum):
    """What follows for the order."""

    FORGET = "forget"  # nothing was accepted: the next try sends it anew
    KEEP = "keep"  # it may have been accepted: the next try sends the very same under its key
    LOOK = "look"  # it may be there: look for it, and else keep it, because sending it twice makes one thing
    ASK = "ask"  # it may have been accepted and cannot be found: a person decides, or it is ordered again
    YIELD = "yield"  # another task has made it, which was not wanted


def follows(ending: Ending, *, doubtful: bool, keyed: bool, by_name: bool, shared: bool, exclusive: bool) -> Then:
    """Say what follows for an order from how its sending ended; the table in the tests is the specification.

    :param doubtful: an earlier sending of the same order has an unknown outcome, of which this one says nothing
    :param keyed: it was sent with its idempotency key
    :param by_name: sending it twice makes one thing, which is found by its name
    :param shared: what another task has made serves as well
    :param exclusive: it has to fail where another task has made the same
    """
    if ending is Ending.ANOTHER:
        return Then.YIELD if exclusive and not doubtful else Then.LOOK
    if ending is Ending.LOST:
        return Then.KEEP if keyed else Then.LOOK if by_name else Then.ASK
    if doubtful:
        return Then.KEEP if keyed or not by_name else Then.LOOK
    return Then.LOOK if ending is Ending.LATER and shared else Then.FORGET


def new_nonce() -> str:
    """Return what tells an order from all others: also from that of a run that was deleted and made again."""
    return secrets.token_hex(8)


def idempotency_key(scope: Scope, namespace: str, fingerprint: str, nonce: str) -> str:
    """Return the key of a new order; the record keeps it, so that every try sends the same one.

    :param namespace: of the connection: two Airflows on one account have task instances of the same names
    """
    parts = (namespace, scope.dag_id, scope.task_id, scope.run_id, scope.map_index, fingerprint, nonce)
    return "vp-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
