"""The decision at the start of an attempt, as a table; and the key under which an order is sent."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from voice_provider.jobs.record import Decision, Record, Scope, decide, fingerprint_of, idempotency_key
from voice_provider.models import Job, JobState, Manifest

NOW = "2026-11-21T09:00:00.000+00:00"
JOB = Job(service="sync_labs", kind="lip_sync", id="j1", state=JobState.RUNNING)
KEPT = Manifest(
    service="sync_labs", kind="lip_sync", uri="/x.mp4", sha256="0", bytes=1, format="mp4", media_type="video/mp4"
)
POSTED = {"posted_at": NOW}
RUNNING = {**POSTED, "job": JOB}
DONE = {**RUNNING, "finished": True, "manifest": KEPT}
CLONED = {**RUNNING, "finished": True}
RECEIVED = {**POSTED, "manifest": KEPT}  # the paid answer itself, not yet in its place
ANSWERED = {**POSTED, "finished": True}  # an answer that is no good
FAILED = {**RUNNING, "failed": True}
SAME: dict[str, Any] = {}
CHANGED = {"fingerprint": "other"}
CLEARED = {"max_tries": 1}
RESUBMIT = {**CLEARED, "on_clear": "resubmit"}
MOVED = {"account": "other"}
UNKEYED = {"keyed": False}


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "kind": "lip_sync",
        "fingerprint": "fp",
        "key": "k",
        "max_tries": 0,
        "conn_id": "c",
        "account": "a",
        "created_at": NOW,
    }
    return Record(**(values | changes))


@pytest.mark.parametrize(
    ("remembered", "now", "decision"),
    [
        # nothing was posted
        ({}, SAME, Decision.SUBMIT),
        ({}, UNKEYED, Decision.SUBMIT),
        ({}, CHANGED, Decision.START),
        ({}, CLEARED, Decision.SUBMIT),
        ({}, MOVED, Decision.SUBMIT),
        ({}, RESUBMIT, Decision.RESTART),
        # posted, and no answer was saved
        (POSTED, SAME, Decision.SUBMIT),
        (POSTED, UNKEYED, Decision.RESOLVE),
        (POSTED, CHANGED, Decision.START),
        (POSTED, CLEARED, Decision.SUBMIT),
        (POSTED, CLEARED | UNKEYED, Decision.RESOLVE),
        (POSTED, RESUBMIT, Decision.RESTART),
        (POSTED, RESUBMIT | UNKEYED, Decision.RESTART),
        (POSTED, MOVED, Decision.RESOLVE),
        (POSTED, MOVED | UNKEYED, Decision.RESOLVE),
        (POSTED, MOVED | CLEARED, Decision.RESOLVE),
        (POSTED, MOVED | RESUBMIT, Decision.RESTART),
        (POSTED, MOVED | CHANGED, Decision.START),
        # a job is there
        (RUNNING, SAME, Decision.ATTACH),
        (RUNNING, UNKEYED, Decision.ATTACH),
        (RUNNING, CHANGED, Decision.START),
        (RUNNING, CLEARED, Decision.ATTACH),
        (RUNNING, RESUBMIT, Decision.RESTART),
        (RUNNING, CLEARED | UNKEYED, Decision.ATTACH),
        (RUNNING, MOVED, Decision.RESOLVE),
        (RUNNING, MOVED | CLEARED, Decision.RESOLVE),
        # the job had failed
        (FAILED, SAME, Decision.RESTART),
        (FAILED, CLEARED, Decision.RESTART),
        (FAILED, MOVED, Decision.RESTART),
        (FAILED, CHANGED, Decision.START),
        # the answer was received, or was no good
        (RECEIVED, UNKEYED, Decision.DELIVERED),
        (RECEIVED, UNKEYED | CLEARED, Decision.DELIVERED),
        (RECEIVED, UNKEYED | MOVED, Decision.DELIVERED),
        (RECEIVED, UNKEYED | RESUBMIT, Decision.RESTART),
        (ANSWERED, UNKEYED, Decision.RESOLVE),
        (ANSWERED, UNKEYED | CLEARED, Decision.RESTART),
        # the result is kept
        (DONE, SAME, Decision.DELIVERED),
        (DONE, MOVED, Decision.DELIVERED),
        (DONE, CHANGED, Decision.START),
        (DONE, CLEARED, Decision.RESTART),
        (CLONED, SAME, Decision.ATTACH),
        (CLONED, CLEARED, Decision.RESTART),
        (CLONED, MOVED, Decision.RESOLVE),
        (CLONED, CHANGED, Decision.START),
        (DONE, RESUBMIT, Decision.RESTART),
    ],
)
def test_what_an_attempt_does_follows_from_the_record(
    remembered: dict[str, Any], now: dict[str, Any], decision: Decision
) -> None:
    asked: dict[str, Any] = {"fingerprint": "fp", "account": "a", "keyed": True, "max_tries": 0, "on_clear": "reattach"}
    assert decide(record(**remembered), **(asked | now)) is decision


def test_no_record_leads_to_a_second_payment_that_nobody_asked_for() -> None:
    """Whatever is remembered and asked: what may be paid again was never sent, has a key, or is wanted anew."""
    records = ({}, POSTED, RUNNING, RECEIVED, ANSWERED, DONE, CLONED, FAILED)
    questions = [({}, CHANGED), ({}, CLEARED, RESUBMIT), ({}, MOVED), ({}, UNKEYED)]
    seen = set()
    for remembered, *changes in itertools.product(records, *questions):
        now: dict[str, Any] = {"fingerprint": "fp", "account": "a", "keyed": True, "max_tries": 0}
        now |= {"on_clear": "reattach"} | {name: value for change in changes for name, value in change.items()}
        decision = decide(record(**remembered), **now)
        seen.add(decision)
        cleared = now["max_tries"] == 1
        anew = "failed" in remembered or (cleared and ("finished" in remembered or now["on_clear"] == "resubmit"))
        case = f"{remembered} {now}"
        assert (decision is Decision.START) == (now["fingerprint"] != "fp"), case
        if decision is Decision.RESTART:
            assert anew, case
        if decision is Decision.SUBMIT:
            unsent = "posted_at" not in remembered
            assert unsent or (now["keyed"] and now["account"] == "a" and "job" not in remembered), case
        if decision is Decision.ATTACH:
            assert "job" in remembered, case
            assert now["account"] == "a", case
        if decision is Decision.DELIVERED:
            assert "manifest" in remembered, case
    assert seen == set(Decision)


def test_the_first_attempt_starts() -> None:
    decision = decide(None, fingerprint="fp", account="a", keyed=True, max_tries=0, on_clear="reattach")
    assert decision is Decision.START


def test_a_record_survives_the_store() -> None:
    before = record(**DONE, uploads={"hash": "asset"}, name="A")
    assert Record.load(before.dump()) == before


def test_a_record_that_cannot_be_read_is_not_thrown_away() -> None:
    with pytest.raises(ValueError, match="may stand for a paid job"):
        Record.load({"v": 9, "kind": "dance"})
    assert Record.load(None) is None


def test_every_other_order_has_another_key() -> None:
    scope = Scope(dag_id="d", task_id="t", run_id="r", max_tries=0)
    key = idempotency_key(scope, "fp", 0)
    assert idempotency_key(scope, "fp", 0) == key
    others = {
        idempotency_key(scope, "fp", 1),
        idempotency_key(scope, "other", 0),
        *(
            idempotency_key(scope.model_copy(update=change), "fp", 0)
            for change in ({"dag_id": "x"}, {"task_id": "x"}, {"run_id": "x"}, {"map_index": 0}, {"max_tries": 1})
        ),
    }
    assert len(others | {key}) == 8
    assert 1 <= len(key) <= 128
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_the_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    assert fingerprint_of({"a": 1, "b": "ü"}) == fingerprint_of({"b": "ü", "a": 1})
