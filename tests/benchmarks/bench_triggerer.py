"""Deferred waits on a real ``airflow triggerer``: its supervisor, its database, its logs.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_triggerer.py``; two to four minutes. ``BENCH_WAITS`` says how
many waits there are, default 2000. They are in the metadata database as Airflow leaves a task that defers. Their jobs
end halfway, and every event has to arrive at its task instance.

Connection look-ups are counted where they cost: at the supervisor, which answers its runner one after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.benchmarks.service import SyncService
from tests.conftest import ROOT
from voice_provider.demo.airflow_home import AirflowHome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAITS = int(os.environ.get("BENCH_WAITS", "2000"))
WATCHED_SECONDS = 20.0  # while nothing ends
LONGEST = 240.0  # seconds for the start, and for all events
MOST_LOOK_UPS = 5  # one, and what a slow start or a refresh may add; never one a wait

DAG = """
from airflow.sdk import DAG, BaseOperator

class Waits(BaseOperator):
    def __init__(self, *, number, **kwargs):
        super().__init__(**kwargs)
        self.number = number

with DAG("waits", schedule=None):
    Waits.partial(task_id="wait").expand(number=list(range({waits})))
"""

DEFER = """
import time
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.trigger import Trigger
from airflow.utils import timezone
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from tests.benchmarks.service import job_id
from voice_provider.triggers.job import JobTrigger

with create_session() as session:
    dag = SerializedDagModel.get("waits", session=session).dag
    now = timezone.utcnow()
    run = dag.create_dagrun(
        run_id="r", logical_date=now, data_interval=(now, now), run_after=now, run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST, state=DagRunState.RUNNING, session=session,
    )
    for ti in run.get_task_instances(session=session):
        wait = JobTrigger(
            "voice_default", "lip_sync", job_id(ti.map_index + 1), None, 5, time.time() + 3600, time.time(), 3600
        )
        row = Trigger.from_object(wait)
        session.add(row)
        session.flush()
        ti.state, ti.trigger_id, ti.next_method, ti.next_kwargs = TaskInstanceState.DEFERRED, row.id, "resume", {}
"""

# ``airflow triggerer`` itself, with a tally of what its supervisor is asked for.
TRIGGERER = """
import collections, json, sys
from airflow.__main__ import main
from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

tally, plain = collections.Counter(), TriggerRunnerSupervisor._handle_request

def counted(self, msg, log, req_id):
    tally[type(msg).__name__] += 1
    with open(file_of_tally, "w") as file:
        json.dump(tally, file)
    return plain(self, msg, log, req_id)

TriggerRunnerSupervisor._handle_request = counted
file_of_tally = sys.argv[-1]
sys.argv = ["airflow", "triggerer", "--capacity", "100000", "--skip-serve-logs"]
main()
"""


def wait_for(done: Callable[[], bool], what: str) -> float:
    """Return how many seconds it took until something was so."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < LONGEST, f"waited in vain for {what}"
        time.sleep(0.5)
    return time.monotonic() - began


def airflow(home: AirflowHome, *command: str, **environment: str) -> None:
    """Run a command of Airflow's to its end."""
    line, environment = [sys.executable, *command], home.environment(**environment)
    done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@contextlib.contextmanager
def triggerer(home: AirflowHome, tally: Path, **environment: str) -> Iterator[psutil.Process]:
    """Run the triggerer in a session of its own, and end all of it."""
    with (home.folder / "triggerer.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", TRIGGERER, str(tally)],
            env=home.environment(**environment),
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def used(process: psutil.Process) -> tuple[float, float]:
    """Return CPU seconds and resident MiB of a process."""
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss / 1024**2


@pytest.mark.benchmark
def test_deferred_waits_on_a_real_triggerer(tmp_path: Path) -> None:
    home, tally = AirflowHome(tmp_path / "airflow"), tmp_path / "tally.json"
    (home.dags / "waits.py").write_text(DAG.format(waits=WAITS))

    def states() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True, timeout=30)) as database:
            return dict(database.execute("SELECT state, count(*) FROM task_instance GROUP BY state").fetchall())

    with SyncService() as service:
        environment = {
            "AIRFLOW__CORE__MAX_MAP_LENGTH": str(WAITS),
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": str(WAITS),
            "PYTHONPATH": str(ROOT),
        }
        airflow(home, "-m", "airflow", "db", "migrate", **environment)
        add = ("connections", "add", "voice_default", "--conn-json", json.dumps(service.connection))
        airflow(home, "-m", "airflow", *add, **environment)
        airflow(home, "-m", "airflow", "dags", "reserialize", **environment)
        airflow(home, "-c", DEFER, **environment)
        assert states() == {"deferred": WAITS}
        with triggerer(home, tally, **environment) as supervisor:
            started = wait_for(lambda: service.requests() >= WAITS / 100, "the first round of questions")
            time.sleep(WATCHED_SECONDS / 4)  # until all are there
            [runner] = supervisor.children()
            before, asked = [used(process)[0] for process in (supervisor, runner)], service.requests()
            time.sleep(WATCHED_SECONDS)
            waiting = [used(process) for process in (supervisor, runner)]
            asked = service.requests() - asked
            service.end()
            handed_out = wait_for(lambda: states() == {"scheduled": WAITS}, "all events")
            ended = [used(process) for process in (supervisor, runner)]
        look_ups = json.loads(tally.read_text())
    print(f"\n{WAITS:,} deferred waits: first questions {started:.0f} s after the start, connection looked up", end=" ")
    print(f"{look_ups.get('GetConnection', 0)} times; {asked / WATCHED_SECONDS:.1f} questions a second")
    for number, name in enumerate(("supervisor", "runner")):
        share = (waiting[number][0] - before[number]) / WATCHED_SECONDS
        print(f"{name:11} {share:6.1%} of a core while it waits, {ended[number][0]:6.1f} s CPU in all,", end=" ")
        print(f"{waiting[number][1]:.0f} MiB")
    print(f"all events were with their tasks {handed_out:.0f} s after the jobs ended; requests at the supervisor:")
    print(", ".join(f"{name} {count}" for name, count in sorted(look_ups.items())))
    assert 1 <= look_ups["GetConnection"] <= MOST_LOOK_UPS
