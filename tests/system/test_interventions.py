"""What people, clocks and the service do to a task that waits: an outage, a mark, a clear, a deadline, a new key."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import NEW_KEY, until

if TYPE_CHECKING:
    from tests.system.conftest import Studio

pytestmark = pytest.mark.system
OUTAGE = 60.0  # seconds of 503
TOLD = 5.0  # seconds in which a person is told that a job runs on
CROWD, LIMIT = 50, 5  # lip syncs at once, and what the plan allows


def test_a_minute_of_503_while_deferred(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("deferred")
    run.until_state("deferred")
    studio.until_asked()
    studio.emulator.fault("status", status=503, times=None)
    over = time.monotonic() + OUTAGE
    while time.monotonic() < over:
        assert run.task()["state"] == "deferred"
        time.sleep(1)
    (fault,) = studio.emulator.faults()
    assert fault["fired"] >= 5, "it was asked all the time"
    studio.emulator.clear_faults()
    studio.finish_jobs()
    run.success()
    assert run.tries() == {"lip_sync": 1}
    assert len(studio.orders()) == 1
    run.check_result()
    studio.check_books(lip_sync=1)


def test_marked_failed_while_deferred_says_that_the_job_runs_on_and_a_clear_finds_it(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("deferred")
    run.until_state("deferred")
    studio.until_asked()
    run.mark_failed()
    began = time.monotonic()
    run.until_logged("runs on at the service and will be billed", seconds=TOLD)
    print(f"said {time.monotonic() - began:.1f} s after it was marked")
    assert studio.airflow.wait(run.dag, run.id) == "failed"
    run.clear()
    studio.until_asked()
    studio.finish_jobs()
    run.success()
    assert run.tries() == {"lip_sync": 2}
    assert len(studio.orders()) == 1
    run.check_result()
    studio.check_books(lip_sync=1)


def test_cleared_while_deferred_finds_the_same_job_and_cleared_after_success_orders_one_more(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("deferred")
    run.until_state("deferred")
    studio.until_asked()
    run.clear()
    run.until_state("deferred", try_number=2)
    studio.until_asked()
    studio.finish_jobs()
    run.success()
    assert len(studio.orders()) == 1
    run.check_result()
    studio.check_books(lip_sync=1)
    run.clear()
    until(lambda: len(studio.orders()) == 2, what="the new order")
    studio.finish_jobs()
    run.success()
    assert run.tries() == {"lip_sync": 3}
    assert len(studio.orders()) == 2
    run.check_result()
    studio.check_books(lip_sync=2)


def test_what_a_deadline_cuts_off_is_collected_by_a_retry(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("deadlines")
    names = {"timeout_on_worker", "timeout_deferred", "execution_timeout_deferred"}
    until(lambda: min((tries := run.tries()).values(), default=0) >= 2 and set(tries) == names, what="second tries")
    studio.finish_jobs()
    run.success()
    for name in names:
        assert "of this attempt's wait. It goes on at sync_labs; a retry" in run.log(name)
        run.check_result(name)
    assert len(studio.orders()) == 3
    studio.check_books(lip_sync=3)


def test_key_replaced_while_tasks_wait(studio: Studio) -> None:
    studio.hold_jobs()
    runs = [studio.start("deferred"), studio.start("on_worker")]
    runs[0].until_state("deferred")
    studio.until_asked(jobs=2)
    studio.emulator.add_account(NEW_KEY, "main")
    studio.connect(NEW_KEY)
    studio.until_asked(jobs=2)
    runs[1].kill_task()  # the next try reads the connection again; the job is one of the former key's
    runs[1].until_state("running", try_number=2)
    studio.until_asked(jobs=2)
    assert studio.refused() == []
    studio.emulator.add_account(studio.emulator.api_key, "nobody")  # what the former key asks after is not there now
    until(studio.refused, what="the former key to be refused")
    studio.until_asked(jobs=2)
    studio.finish_jobs()
    for run, tries in zip(runs, (1, 2), strict=True):
        run.success()
        assert run.tries() == {"lip_sync": tries}
        run.check_result()
    assert len(studio.orders()) == 2
    studio.check_books(lip_sync=2)


def test_fifty_at_once_where_five_are_allowed(studio: Studio) -> None:
    studio.emulator.settings(concurrency=LIMIT)
    studio.hold_jobs()
    run = studio.start("crowd")
    most: list[int] = []

    def states() -> Counter[str]:
        most.append(studio.emulator.state()["active_generations"])
        assert most[-1] <= LIMIT
        found = Counter(str(task["state"]) for task in run.tasks().values())
        assert not found.keys() & {"failed", "up_for_retry", "upstream_failed"}, found
        return found

    until(lambda: states()["deferred"] == CROWD, 300, "all of them to be deferred")
    assert most[-1] == LIMIT
    assert len(studio.emulator.ledger()) == LIMIT, "the others wait for their turn"
    studio.emulator.settings(job_seconds=4)
    studio.finish_jobs()
    until(lambda: states()["success"] == CROWD, 400, "all of them to succeed")
    run.success()
    assert run.tries() == {f"lip_sync[{index}]": 1 for index in range(CROWD)}
    for index in range(CROWD):
        run.check_result(index=index)
    studio.check_books(lip_sync=CROWD)
