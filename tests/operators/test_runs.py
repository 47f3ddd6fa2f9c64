"""Which runs are active, as Airflow tells it; what it does not tell counts as active, and nothing is deleted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from voice_provider.jobs.names import owner_of, task_hash
from voice_provider.operators.runs import Runs

LONG = "the_news_of_the_day_in_every_language"
STATES = {"a": "success", "b": "failed", "c": "running", "d": "queued"}


class Airflow:
    """A task instance that knows the runs of two DAGs, and counts what it is asked."""

    def __init__(self) -> None:
        self.dag_id, self.asked = "cleanup", 0

    def get_task_states(self, dag_id: str) -> dict[str, dict[str, Any]]:
        self.asked += 1
        return {run: {"t": "success"} for run in STATES} if dag_id in ("news", LONG) else {}

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        assert dag_id in ("news", LONG)
        self.asked += 1
        return STATES[run_id]


def state(runs: Runs, dag: str, run: str) -> str:
    return runs.state_of(owner_of(dag), task_hash(dag, run, "any", 3))


@pytest.mark.parametrize("dag", ["news", LONG])
def test_a_run_is_active_while_it_is_queued_or_running(dag: str) -> None:
    runs = Runs({"ti": Airflow()}, [LONG])  # type: ignore[typeddict-item]
    found = {run: state(runs, dag, run) for run in (*STATES, "never seen")}
    assert found == {"a": "ended", "b": "ended", "c": "active", "d": "active", "never seen": "unknown"}


def test_a_dag_that_cannot_be_named_cannot_be_asked_after() -> None:
    runs = Runs({"ti": Airflow()})  # type: ignore[typeddict-item]
    assert state(runs, LONG, "a") == "unnamed"
    assert state(runs, "gone", "a") == "unknown"


def test_airflow_is_asked_once_for_a_dag_and_once_for_a_run() -> None:
    airflow = Airflow()
    runs = Runs({"ti": airflow})  # type: ignore[typeddict-item]
    for _ in range(1000):
        state(runs, "news", "a")
    assert airflow.asked == 2


def test_what_airflow_does_not_tell_counts_as_active() -> None:
    def away(*_: str) -> Any:
        raise ConnectionError("the API server is away")

    ti = SimpleNamespace(dag_id="cleanup", get_task_states=away)
    assert state(Runs({"ti": ti}), "news", "a") == "active"  # type: ignore[typeddict-item]
