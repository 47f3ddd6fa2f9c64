"""A script as one task of SpeakLinesOperator against a mapped TTSOperator a line, in the same Airflow.

Scheduler, LocalExecutor and API server are real. Wall time is from the first task's start to the last one's end, CPU
that of all of Airflow's processes without what they use when idle; both a line, because a mapped line takes long.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_lines_airflow.py``. ``BENCH_LINES`` (1000) are spoken by the
one task, ``BENCH_MAPPED`` (40) by mapped ones, ``BENCH_PARALLELISM`` (8) of these at a time.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from voice_provider.demo.airflow_home import FINAL_RUN_STATES, AirflowHome, AirflowStandalone
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = int(os.environ.get("BENCH_LINES", "1000"))
MAPPED = int(os.environ.get("BENCH_MAPPED", "40"))
PARALLELISM = os.environ.get("BENCH_PARALLELISM", "8")
ANSWER = 0.3  # seconds
SETTLE, IDLE = 10.0, 15.0  # seconds: until all components have started, and to see what they use then
PATIENCE = 900.0
LOOK = 2.0


@dataclass
class Cost:
    """What a line took."""

    wall: float  # seconds
    cpu: float  # seconds

    def __str__(self) -> str:
        return f"{self.wall * 1000:.0f} ms a line, {self.cpu * 1000:.1f} ms of CPU"


def cpu_of(airflow: AirflowStandalone) -> float:
    """Return the CPU seconds of all processes, and of those that have ended."""
    total = 0.0
    for process in airflow.processes():
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStandalone]:
    folder = tmp_path_factory.mktemp("lines")
    with EmulatorProcess(folder / "emulator", engine="tone") as emulator:
        emulator.settings(fish_concurrency=None)
        emulator.fault("slow", "/v1/tts", seconds=ANSWER, times=None)
        [voice] = emulator.seed_models(["Narrator"])
        home = AirflowHome(folder / "airflow")
        home.add_dag(Path(__file__).parent / "dags" / "lines.py")
        environment = {
            "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(emulator.connection("fish_audio")),
            "AIRFLOW__CORE__PARALLELISM": PARALLELISM,
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": PARALLELISM,
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "BENCH_LINES": str(LINES),
            "BENCH_MAPPED": str(MAPPED),
            "BENCH_ROOT": str(folder / "out"),
            "BENCH_VOICE": voice["id"],
        }
        with AirflowStandalone(home, environment=environment) as running:
            for dag in ("one_task", "mapped_tasks"):
                running.wait_for_dag(dag)
            time.sleep(SETTLE)
            yield running


def state_of(airflow: AirflowStandalone, dag: str, run_id: str) -> str:
    """Return the state of a run when it has ended; asked seldom, because each answer costs CPU, too."""
    state, deadline = "", time.monotonic() + PATIENCE
    while state not in FINAL_RUN_STATES:
        assert time.monotonic() < deadline, f"{dag} is {state} after {PATIENCE:g} s"
        time.sleep(LOOK)
        with suppress(TimeoutError):  # all CPUs are busy
            state = airflow.call("GET", f"dags/{dag}/dagRuns/{run_id}")["state"]
    return state


def cost_of(airflow: AirflowStandalone, dag: str, lines: int, idle: float, **conf: int) -> Cost:
    """Run a DAG, and return what a line of it took."""
    began, cpu = time.perf_counter(), cpu_of(airflow)
    run_id = airflow.trigger(dag, conf)
    assert state_of(airflow, dag, run_id) == "success"
    used = cpu_of(airflow) - cpu - idle * (time.perf_counter() - began)
    tasks = airflow.call("GET", f"dags/{dag}/dagRuns/{run_id}/taskInstances?limit=1000")["task_instances"]
    first, last = (
        pick(datetime.fromisoformat(task[end]) for task in tasks)
        for pick, end in ((min, "start_date"), (max, "end_date"))
    )
    return Cost((last - first).total_seconds() / lines, used / lines)


@pytest.mark.benchmark
def test_one_task_against_mapped_ones(airflow: AirflowStandalone) -> None:
    began, cpu = time.perf_counter(), cpu_of(airflow)
    time.sleep(IDLE)
    idle = (cpu_of(airflow) - cpu) / (time.perf_counter() - began)
    one = {width: cost_of(airflow, "one_task", LINES, idle, at_a_time=width) for width in (5, 20)}
    mapped = cost_of(airflow, "mapped_tasks", MAPPED, idle)
    load = os.getloadavg()[0]
    print(f"\nanswers of {ANSWER} s; Airflow uses {idle:.2f} CPUs when idle; load of the machine at the end {load:.1f}")
    print(f"mapped, {PARALLELISM} at a time: {mapped} ({MAPPED:,} lines)")
    for width, aim in ((5, "4 in wall time, 30 in CPU"), (20, "10 in wall time")):
        wall, used = mapped.wall / one[width].wall, mapped.cpu / one[width].cpu
        print(f"one task, {width} at a time: {one[width]} ({LINES:,} lines)")
        print(f"  mapped / one: {wall:.1f} in wall time, {used:.1f} in CPU  (aim: {aim})")
