"""The decision at the start of an attempt, as a table; and the key under which an order is sent."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from voice_provider.jobs.orders import fingerprint_of
from voice_provider.jobs.record import (
    MAX_BYTES,
    Decision,
    Ending,
    Record,
    Scope,
    Then,
    decide,
    follows,
    idempotency_key,
    new_nonce,
)
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
OTHER_CLEARED = {"clears": 1}  # another task of the run
CLEARED_UNSEEN = {"clears": 1, "retries": 1}  # with lower retries max_tries may stay as it was
RESUBMIT = {**CLEARED, "on_clear": "resubmit"}
MOVED = {"account": "other"}
UNKEYED = {"keyed": False}
SENT_UNKEYED = {**POSTED, "keyed": False}
SENT_KEYED = {**POSTED, "keyed": True}
KEPT_NOT_TOLD = {**RUNNING, "manifest": KEPT, "collected": True}


def ask(remembered: dict[str, Any], now: dict[str, Any]) -> Decision:
    """Ask what is done, with what is remembered, about what is asked for now."""
    asked: dict[str, Any] = {"fingerprint": "fp", "account": "a", "keyed": True, "on_clear": "reattach"}
    of_scope = {name: value for name, value in now.items() if name in ("max_tries", "clears", "retries")}
    given = asked | {name: value for name, value in now.items() if name not in of_scope}
    scope = Scope(dag_id="d", task_id="t", run_id="r", **{"retries": 2, **of_scope})
    return decide(record(**remembered), scope=scope, **given)


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "kind": "lip_sync",
        "fingerprint": "fp",
        "key": "k",
        "max_tries": 0,
        "retries": 2,
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
        # cleared, with lower retries: max_tries is as it was
        (DONE, CLEARED_UNSEEN, Decision.RESTART),
        (CLONED, CLEARED_UNSEEN, Decision.RESTART),
        (RUNNING, CLEARED_UNSEEN, Decision.ATTACH),
        (RUNNING, CLEARED_UNSEEN | {"on_clear": "resubmit"}, Decision.ATTACH),  # perhaps it was another task
        ({**DONE, "retries": None}, OTHER_CLEARED, Decision.RESTART),  # it is not known which they were
        # another task of the run was cleared, and Airflow has not heard that this one has finished
        (DONE, OTHER_CLEARED, Decision.DELIVERED),
        (CLONED, OTHER_CLEARED, Decision.ATTACH),
        (DONE, {"retries": 1}, Decision.DELIVERED),
        # kept, and nobody was told
        (KEPT_NOT_TOLD, SAME, Decision.DELIVERED),
        (KEPT_NOT_TOLD, CLEARED, Decision.DELIVERED),
        (KEPT_NOT_TOLD, CLEARED_UNSEEN, Decision.DELIVERED),
        (KEPT_NOT_TOLD, RESUBMIT, Decision.RESTART),
        # the connection sends keys now, or does not any more
        (SENT_UNKEYED, SAME, Decision.RESOLVE),
        (SENT_UNKEYED, CLEARED, Decision.RESOLVE),
        (SENT_UNKEYED, UNKEYED, Decision.RESOLVE),
        (SENT_KEYED, SAME, Decision.SUBMIT),
        (SENT_KEYED, UNKEYED, Decision.RESOLVE),
    ],
)
def test_what_an_attempt_does_follows_from_the_record(
    remembered: dict[str, Any], now: dict[str, Any], decision: Decision
) -> None:
    assert ask(remembered, now) is decision


def test_no_record_leads_to_a_second_payment_that_nobody_asked_for() -> None:
    """Whatever is remembered and asked: what may be paid again was never sent, has a key, or is wanted anew."""
    records = ({}, POSTED, SENT_KEYED, SENT_UNKEYED, RUNNING, KEPT_NOT_TOLD, RECEIVED, ANSWERED, DONE, CLONED, FAILED)
    questions = [({}, CHANGED), ({}, CLEARED, OTHER_CLEARED, CLEARED_UNSEEN, RESUBMIT), ({}, MOVED), ({}, UNKEYED)]
    seen = set()
    for remembered, *changes in itertools.product(records, *questions):
        now: dict[str, Any] = {"fingerprint": "fp", "account": "a", "keyed": True, "max_tries": 0}
        now |= {"on_clear": "reattach"} | {name: value for change in changes for name, value in change.items()}
        decision = ask(remembered, now)
        seen.add(decision)
        cleared = now["max_tries"] == 1
        told = "finished" in remembered and (cleared or "retries" in now)
        anew = "failed" in remembered or told or (cleared and now["on_clear"] == "resubmit")
        case = f"{remembered} {now}"
        assert (decision is Decision.START) == (now["fingerprint"] != "fp"), case
        if decision is Decision.RESTART:
            assert anew, case
        if decision is Decision.SUBMIT:
            unsent = "posted_at" not in remembered
            keyed = now["keyed"] and remembered.get("keyed", True)
            assert unsent or (keyed and now["account"] == "a" and "job" not in remembered), case
        if decision is Decision.ATTACH:
            assert "job" in remembered, case
            assert now["account"] == "a", case
        if decision is Decision.DELIVERED:
            assert "manifest" in remembered, case
    assert seen == set(Decision)


def test_the_first_attempt_starts() -> None:
    scope = Scope(dag_id="d", task_id="t", run_id="r")
    decision = decide(None, fingerprint="fp", account="a", keyed=True, scope=scope, on_clear="reattach")
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
    key = idempotency_key(scope, "prod", "fp", "n")
    assert idempotency_key(scope, "prod", "fp", "n") == key
    assert idempotency_key(scope.model_copy(update={"max_tries": 1}), "prod", "fp", "n") == key  # the record keeps it
    others = {
        idempotency_key(scope, "dev", "fp", "n"),
        idempotency_key(scope, "prod", "other", "n"),
        idempotency_key(scope, "prod", "fp", "m"),
        *(
            idempotency_key(scope.model_copy(update=change), "prod", "fp", "n")
            for change in ({"dag_id": "x"}, {"task_id": "x"}, {"run_id": "x"}, {"map_index": 0})
        ),
    }
    assert len(others | {key}) == 8
    assert 1 <= len(key) <= 128
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len({new_nonce() for _ in range(100)}) == 100


def test_every_task_instance_has_a_short_name_of_its_own() -> None:
    scope = Scope(dag_id="d", task_id="t", run_id="r")
    others = ({"dag_id": "x"}, {"task_id": "x"}, {"run_id": "x"}, {"map_index": 0}, {"map_index": 1})
    assert len({scope.run, *(scope.model_copy(update=change).run for change in others)}) == 6
    assert scope.model_copy(update={"max_tries": 1, "clears": 1}).run == scope.run


def test_the_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    assert fingerprint_of({"a": 1, "b": "ü"}) == fingerprint_of({"b": "ü", "a": 1})


PLAIN = {"doubtful": False, "keyed": False, "by_name": False, "shared": False, "exclusive": False}
DOUBTFUL, KEYED, BY_NAME = {"doubtful": True}, {"keyed": True}, {"by_name": True}
SHARED, EXCLUSIVE = {"shared": True}, {"exclusive": True}


@pytest.mark.parametrize(
    ("ending", "order", "then"),
    [
        # the service says no, and nothing was sent before
        (Ending.REFUSED, {}, Then.FORGET),
        (Ending.REFUSED, KEYED, Then.FORGET),
        (Ending.REFUSED, BY_NAME, Then.FORGET),
        (Ending.REFUSED, SHARED, Then.FORGET),
        # it speaks of this sending only
        (Ending.REFUSED, DOUBTFUL, Then.KEEP),
        (Ending.REFUSED, DOUBTFUL | KEYED, Then.KEEP),
        (Ending.REFUSED, DOUBTFUL | BY_NAME, Then.LOOK),
        # not now
        (Ending.LATER, {}, Then.FORGET),
        (Ending.LATER, KEYED, Then.FORGET),
        (Ending.LATER, SHARED, Then.LOOK),
        (Ending.LATER, DOUBTFUL, Then.KEEP),
        (Ending.LATER, DOUBTFUL | KEYED, Then.KEEP),
        (Ending.LATER, DOUBTFUL | BY_NAME, Then.LOOK),
        # nobody knows
        (Ending.LOST, {}, Then.ASK),
        (Ending.LOST, DOUBTFUL, Then.ASK),
        (Ending.LOST, KEYED, Then.KEEP),
        (Ending.LOST, DOUBTFUL | KEYED, Then.KEEP),
        (Ending.LOST, BY_NAME, Then.LOOK),
        (Ending.LOST, SHARED | BY_NAME, Then.LOOK),
        # there is one of the name
        (Ending.ANOTHER, BY_NAME, Then.LOOK),
        (Ending.ANOTHER, BY_NAME | EXCLUSIVE, Then.YIELD),
        (Ending.ANOTHER, BY_NAME | EXCLUSIVE | DOUBTFUL, Then.LOOK),
    ],
)
def test_what_follows_for_an_order_from_how_its_sending_ended(
    ending: Ending, order: dict[str, bool], then: Then
) -> None:
    assert follows(ending, **(PLAIN | order)) is then


def test_what_may_be_accepted_is_never_forgotten() -> None:
    for ending, *flags in itertools.product(Ending, *([False, True] for _ in PLAIN)):
        order = dict(zip(PLAIN, flags, strict=True))
        if order["doubtful"] or ending is Ending.LOST:
            assert follows(ending, **order) not in (Then.FORGET, Then.YIELD), f"{ending} {order}"


class TestHistory:
    """What was ordered before, may be paid and was not collected."""

    def test_an_open_order_stays_behind_a_new_one(self) -> None:
        first = record(**RUNNING)
        second = first.followed_by(record(fingerprint="second", **POSTED))
        third = second.followed_by(record(fingerprint="third"))
        assert [old.fingerprint for old in third.earlier] == ["fp", "second"]
        assert all(not old.earlier for old in third.earlier)
        assert Record.load(third.dump()) == third

    @pytest.mark.parametrize("closed", [{}, DONE, FAILED, ANSWERED], ids=["unsent", "done", "failed", "answered"])
    def test_a_closed_one_does_not(self, closed: dict[str, Any]) -> None:
        assert record(**closed).followed_by(record(fingerprint="second")).earlier == []

    def test_it_is_found_when_the_same_is_asked_for_again(self) -> None:
        first = record(**RUNNING)
        second = first.followed_by(record(fingerprint="second", **POSTED))
        back = second.back_to("fp")
        assert back is not None
        assert back.job == JOB
        assert [old.fingerprint for old in back.earlier] == ["second"]
        assert back.back_to("third") is None

    def test_of_two_of_one_request_the_newer_comes_back(self) -> None:
        orders = record(nonce="1", **POSTED).followed_by(record(nonce="2", **POSTED))
        back = orders.followed_by(record(fingerprint="other", **POSTED)).back_to("fp")
        assert back is not None
        assert back.nonce == "2"
        assert [old.nonce for old in back.earlier] == ["1", ""]

    def test_uploads_go_on_with_the_new_order_of_the_same_account(self) -> None:
        first = record(uploads={"hash": "asset"}, uploading=["name"])
        second = record(fingerprint="second").with_uploads_of(first)
        assert (second.uploads, second.uploading) == (first.uploads, first.uploading)
        moved = record(account="b").with_uploads_of(first)
        assert (moved.uploads, moved.uploading) == ({}, []), "there they are not known, and cannot be deleted"

    def test_a_long_history_stays_small_and_names_every_job(self) -> None:
        newest = record(**RUNNING, uploads={f"{n:064}": "asset" * 8 for n in range(20)})
        for number in range(100):
            job = JOB.model_copy(update={"id": f"job-{number}"})
            sent: dict[str, Any] = {"nonce": str(number), "keyed": True, "held": ["host:/part"], "job": job, **POSTED}
            newest = newest.followed_by(record(fingerprint=f"{number:064}", details={"x": "y" * 900}, **sent))
        stored = newest.dump()
        assert len(json.dumps(stored)) <= MAX_BYTES
        loaded = Record.load(stored)
        assert loaded is not None
        jobs = {old.job.id for old in loaded.earlier if old.job is not None}
        assert jobs >= {f"job-{number}" for number in range(99)}
        kept = {(bool(old.nonce), old.keyed, *old.held, old.posted_at, old.account) for old in loaded.earlier[1:]}
        assert kept == {(True, True, "host:/part", NOW, "a")}, "what finds an order again, or sends it again"

    def test_a_record_of_the_version_before_is_read(self) -> None:
        stored = {
            "v": 1, "kind": "lip_sync", "fingerprint": "fp", "generation": 2, "key": "vp-1", "max_tries": 1,
            "conn_id": "c", "account": "a", "created_at": NOW, "posted_at": NOW, "failed": False, "finished": False,
            "uploads": {"hash": "asset"}, "inputs": [{"asset_id": "asset"}], "deadline": 0, "redefers": 0,
            "details": {}, "evicted": [],
        }  # fmt: skip
        loaded = Record.load(stored)
        assert loaded is not None
        assert (loaded.keyed, loaded.nonce, loaded.earlier) == (None, "", [])
        scope = Scope(dag_id="d", task_id="t", run_id="r", max_tries=1)
        now: dict[str, Any] = {"fingerprint": "fp", "account": "a", "scope": scope, "on_clear": "reattach"}
        assert decide(loaded, keyed=True, **now) is Decision.SUBMIT
        assert decide(loaded, keyed=False, **now) is Decision.RESOLVE
