"""What is remembered about a job between the attempts of a task, and the decision that follows from it.

XCom is wiped when a retry starts, so the record lives in Airflow's task state store, under one key, and is written
**before** the request that may be paid. Two invariants that must not be relaxed:

- The idempotency key never depends on the number of the try: a retry has to send the same one.
- A record whose ``posted_at`` is set and which has no job means "the outcome is unknown", never "nothing happened".
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.jobs.names import AssetName, owner_of, task_key
from voice_provider.models import Job, JobKind, Manifest
from voice_provider.services.base import Input

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
    """

    model_config = ConfigDict(frozen=True)

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    max_tries: int = 0

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


class Record(BaseModel):
    """What is remembered. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(extra="ignore")

    v: int = 1
    kind: JobKind
    fingerprint: str
    generation: int = 0
    key: str
    max_tries: int
    conn_id: str
    account: str
    created_at: str
    name: str | None = None
    uploads: dict[str, str] = Field(default_factory=dict, description="sha256 of a file -> id of the asset it became")
    inputs: list[Input] = Field(default_factory=list, description="what was sent; the same key needs the same body")
    posted_at: str | None = None
    job: Job | None = None
    failed: bool = False
    finished: bool = False
    manifest: Manifest | None = None
    deadline: float = Field(default=0, description="of this attempt's wait, seconds since 1970")
    outcome: Outcome | None = Field(default=None, description="where it was not simply ordered once")
    redefers: int = Field(default=0, description="how often this attempt went back to waiting")
    details: dict[str, Any] = Field(default_factory=dict, description="for those who use the result; see the order")
    evicted: list[str] = Field(default_factory=list, description="names of the voices that had to go for this one")

    def dump(self) -> dict[str, Any]:
        """Return plain JSON-ready values."""
        return self.model_dump(mode="json", exclude_none=True)

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
    record: Record | None, *, fingerprint: str, account: str, keyed: bool, max_tries: int, on_clear: OnClear
) -> Decision:
    """Decide from the record alone; the table in the tests is the specification.

    :param fingerprint: of what is asked for now
    :param account: of the connection as it is now
    :param keyed: whether the service takes an idempotency key for this kind of job
    """
    if record is None or record.fingerprint != fingerprint:
        return Decision.START
    cleared = record.max_tries != max_tries
    if record.failed or (cleared and (record.finished or on_clear == "resubmit")):
        return Decision.RESTART
    if record.manifest is not None:
        return Decision.DELIVERED
    if record.account != account and record.posted_at is not None:
        return Decision.RESOLVE  # the job lies at another account: it cannot be asked after with this connection
    if record.job is not None:
        return Decision.ATTACH
    if record.posted_at is None or keyed:
        return Decision.SUBMIT
    return Decision.RESOLVE


def fingerprint_of(what: dict[str, Any]) -> str:
    """Hash what the author asked for; media appear in it by their SHA-256, never by ids or URLs that a service gave."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def idempotency_key(scope: Scope, fingerprint: str, generation: int) -> str:
    """Return the key of a new order; the record keeps it, so that every try sends the same one.

    ``max_tries`` is in it because Airflow raises it when a task is cleared: from 3.4 a clear also empties the store,
    and the new order would else be taken for a repetition of the old one.
    """
    parts = (scope.dag_id, scope.task_id, scope.run_id, scope.map_index, scope.max_tries, fingerprint, generation)
    return "vp-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
