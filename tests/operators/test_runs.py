"""Which runs are active, as Airflow tells it; what it does not tell counts as active, and nothing is deleted."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import know_runs
from voice_provider.jobs.names import owner_of, task_key
from voice_provider.operators.runs import CHUNK, MOST_RUNS, Runs

LONG = "the_news_of_the_day_in_every_language"
STATES = {"a": "success", "b": "failed", "c": "running", "d": "queued"}


def airflow() -> SimpleNamespace:
    """A task instance that knows the runs of two DAGs."""
    ti = SimpleNamespace(dag_id="cleanup")
    know_runs(ti, {"news": STATES, LONG: STATES})
    return ti


def state(runs: Runs, dag: str, run: str) -> str:
    return runs.state_of(owner_of(dag), task_key(dag, run, "any", 3))


@pytest.mark.parametrize("dag", ["news", LONG])
def test_a_run_is_active_while_it_is_queued_or_running(dag: str) -> None:
    runs = Runs({"ti": airflow()}, [LONG])  # type: ignore[typeddict-item]
    found = {run: state(runs, dag, run) for run in (*STATES, "never seen")}
    assert found == {"a": "ended", "b": "ended", "c": "active", "d": "active", "never seen": "unknown"}


def test_a_dag_that_cannot_be_named_cannot_be_asked_after() -> None:
    runs = Runs({"ti": airflow()})  # type: ignore[typeddict-item]
    assert state(runs, LONG, "a") == "unnamed"
    assert state(runs, "gone", "a") == "unknown"


def test_many_runs_are_asked_after_together_and_once() -> None:
    ti = SimpleNamespace(dag_id="cleanup")
    start = datetime(2026, 11, 1, tzinfo=UTC)
    ids = [f"scheduled__{(start + timedelta(minutes=number)).isoformat()}" for number in range(1000)]
    know_runs(ti, {"news": dict.fromkeys(ids, "success")})
    runs = Runs({"ti": ti})  # type: ignore[typeddict-item]
    runs.ask((owner_of("news"), task_key("news", run, "t", 0)) for run in ids)
    assert ti.asked == 1000 / CHUNK
    assert {state(runs, "news", run) for run in ids} == {"ended"}
    assert ti.asked == 1000 / CHUNK


def test_of_ten_thousand_runs_a_few_active_ones_are_found_with_few_questions() -> None:
    ti = SimpleNamespace(dag_id="cleanup")
    start = datetime(2026, 11, 1, tzinfo=UTC)
    ids = [f"scheduled__{(start + timedelta(minutes=number)).isoformat()}" for number in range(10_000)]
    active = set(random.Random(7).sample(ids, 100))
    know_runs(ti, {"news": {run: "running" if run in active else "success" for run in ids}})
    runs = Runs({"ti": ti})  # type: ignore[typeddict-item]
    runs.ask((owner_of("news"), task_key("news", run, "t", 0)) for run in ids)
    asked = ti.asked
    assert {run for run in ids if state(runs, "news", run) == "active"} == active
    assert ti.asked == asked <= 1_000


def test_a_run_that_is_cleared_between_two_questions_is_not_taken_for_another() -> None:
    ti = SimpleNamespace(dag_id="cleanup")
    ids = [f"manual__2026-11-01T00:0{minute}:00.123456+00:00" for minute in range(2)]
    states = dict(zip(ids, ("success", "running"), strict=True))
    know_runs(ti, {"news": states})
    count = ti.get_dr_count

    def count_and_clear(dag_id: str, run_ids: Any = None, states_: Any = None, **more: Any) -> int:
        found: int = count(dag_id, run_ids, states_, **more)
        states.update(dict.fromkeys(ids, "running"))
        return found

    ti.get_dr_count = count_and_clear
    runs = Runs({"ti": ti})  # type: ignore[typeddict-item]
    runs.ask((owner_of("news"), task_key("news", run, "t", 0)) for run in ids)
    assert {state(runs, "news", run) for run in ids} == {"active"}


def test_one_active_run_among_many_is_found() -> None:
    ti = SimpleNamespace(dag_id="cleanup")
    ids = [f"manual__2026-11-01T00:{minute:02}:00.123456+00:00" for minute in range(60)]
    know_runs(ti, {"news": {run: "running" if run == ids[7] else "failed" for run in ids}})
    runs = Runs({"ti": ti})  # type: ignore[typeddict-item]
    assert [run for run in ids if state(runs, "news", run) != "ended"] == [ids[7]]


def test_a_long_history_is_not_read_for_a_run_that_has_to_be_looked_for() -> None:
    ti = SimpleNamespace(dag_id="cleanup")
    know_runs(ti, {"news": {f"run {number}": "success" for number in range(MOST_RUNS + 1)}})
    runs = Runs({"ti": ti})  # type: ignore[typeddict-item]
    assert state(runs, "news", "run 1") == "unnamed"
    assert ti.asked == 1


def test_what_airflow_does_not_tell_counts_as_active() -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the API server is away")

    ti = SimpleNamespace(dag_id="cleanup", get_task_states=away, get_dr_count=away)
    assert state(Runs({"ti": ti}), "news", "a") == "active"  # type: ignore[typeddict-item]
