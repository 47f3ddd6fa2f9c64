"""For the tests of failure: an Airflow whose parts can be killed, the emulator, and what every such test checks."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import remembering, write_mp4, write_wav
from tests.system.components import AirflowComponents
from voice_provider.demo.airflow_home import AirflowHome
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECTION = "voice_default"
DAGS = Path(__file__).parent / "dags"
NEW_KEY = "emulator-key-after-rotation"
GENERATE = "/v2/generate"
# What Airflow takes for dead after minutes is taken for dead after seconds; nothing else differs from a usual one.
SOONER = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "25",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}


def until(done: Callable[[], Any], seconds: float = 90, what: str = "it") -> Any:
    """Return what ``done`` returns as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.3)
    return found


def _is_get(request: dict[str, Any]) -> bool:
    return bool(request["method"] == "GET" and request["path"].startswith(GENERATE[:-1]))  # and .../generations


@dataclass
class Run:
    """A run of a DAG."""

    studio: Studio
    dag: str
    id: str

    @property
    def path(self) -> str:
        return f"dags/{self.dag}/dagRuns/{self.id}"

    def tasks(self) -> dict[str, dict[str, Any]]:
        return self.studio.airflow.task_instances(self.dag, self.id)

    def task(self, name: str = "lip_sync") -> dict[str, Any]:
        return self.tasks().get(name, {})

    def until_state(self, state: str, name: str = "lip_sync", try_number: int = 1, seconds: float = 90) -> None:
        """Return when a task is in a state, in this try."""

        def is_there() -> bool:
            task = self.task(name)
            return (task.get("state"), task.get("try_number")) == (state, try_number)

        until(is_there, seconds, f"{self.dag}.{name} to be {state} in try {try_number}; it is {self.task(name)}")

    def success(self, seconds: float = 120) -> None:
        """Wait until the run has ended, as a success."""
        assert self.studio.airflow.wait(self.dag, self.id, seconds) == "success", {
            name: (ti["state"], ti["try_number"]) for name, ti in self.tasks().items()
        }

    def tries(self) -> dict[str, int]:
        return {name: ti["try_number"] for name, ti in self.tasks().items()}

    def kill_task(self, name: str = "lip_sync") -> None:
        """Kill (SIGKILL) the process that runs the task."""
        self.studio.airflow.kill_process(self.task(name)["pid"])

    def mark_failed(self, name: str = "lip_sync") -> None:
        self.studio.airflow.call("PATCH", f"{self.path}/taskInstances/{name}", {"new_state": "failed"})

    def clear(self, name: str = "lip_sync") -> None:
        """Clear a task as a person does in the UI."""
        body = {"dry_run": False, "dag_run_id": self.id, "task_ids": [name], "only_failed": False}
        cleared = self.studio.airflow.call("POST", f"dags/{self.dag}/clearTaskInstances", body)
        assert [ti["task_id"] for ti in cleared["task_instances"]] == [name]

    def log(self, name: str = "lip_sync", index: int = -1) -> str:
        """Return what all tries of a task have logged, on the worker and on the triggerer."""
        folder = self.studio.airflow.home.folder / "logs" / f"dag_id={self.dag}" / f"run_id={self.id}"
        folder = folder / f"task_id={name}" / ("" if index < 0 else f"map_index={index}")
        files = sorted(folder.rglob("*.log"))
        return "\n".join(path.read_text(errors="replace") for path in files)

    def until_logged(self, text: str, name: str = "lip_sync", seconds: float = 60) -> None:
        until(lambda: text in self.log(name), seconds, f"{text!r} in the log of {self.dag}.{name}")

    def check_kept(self, name: str, index: int = -1) -> Path:
        """The result is where the task says, byte for byte; return where that is."""
        path = f"{self.path}/taskInstances/{name}/xcomEntries/return_value?map_index={index}"
        manifest = self.studio.airflow.call("GET", path)["value"]
        manifest = json.loads(manifest) if isinstance(manifest, str) else manifest
        kept = Path(manifest["uri"])
        assert kept.is_relative_to(self.studio.results)
        data = kept.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (manifest["bytes"], manifest["sha256"])
        return kept

    def check_result(self, name: str = "lip_sync", index: int = -1) -> None:
        """The result is kept, and can be played to its end."""
        import av

        with av.open(str(self.check_kept(name, index))) as container:
            assert any(True for _ in container.decode(video=0))


@dataclass
class Studio:
    """Airflow, the service, and the folder that both the inputs and the results are in."""

    airflow: AirflowComponents
    emulator: EmulatorProcess
    root: Path
    state_location: str | None = None

    @property
    def results(self) -> Path:
        return self.root / "results"

    def connect(self, api_key: str) -> None:
        """Write the connection into Airflow's metadata database, or another key into the one that is there."""
        value = self.emulator.connection(
            api_key=api_key,
            allowed_inputs=[str(self.root)],
            allowed_outputs=[str(self.root)],
            **({"state_location": self.state_location} if self.state_location else {}),
        )
        body = {"connection_id": CONNECTION, **value, "extra": json.dumps(value["extra"])}
        there = [found["connection_id"] for found in self.airflow.call("GET", "connections")["connections"]]
        if CONNECTION in there:
            self.airflow.call("PATCH", f"connections/{CONNECTION}", body)
        else:
            self.airflow.call("POST", "connections", body)

    def start(self, dag: str) -> Run:
        return Run(self, dag, self.airflow.trigger(dag))

    def hold_jobs(self) -> None:
        """Let jobs run until ``finish_jobs``."""
        self.emulator.settings(job_seconds=3600)

    def finish_jobs(self) -> None:
        self.emulator.advance(3601)

    def orders(self) -> list[dict[str, Any]]:
        """Return the requests for lip sync, refused and repeated ones, too."""
        return [request for request in self.emulator.requests(GENERATE) if request["method"] == "POST"]

    def questions(self) -> dict[str, int]:
        """Return how often each running job was asked after, alone or with others; 1000 requests are remembered."""
        asked = [f"{request['path']}?{request['query']}" for request in self.emulator.requests() if _is_get(request)]
        running = [row["job_id"] for row in self.emulator.ledger() if not row["settled"]]
        return {job_id: sum(job_id in question for question in asked) for job_id in running}

    def until_asked(self, times: int = 2, *, jobs: int = 1, seconds: float = 60) -> None:
        """Return when so many jobs run, and each of them was asked after so often from then on."""
        before = until(lambda: len(found := self.questions()) >= jobs and found, seconds, f"{jobs} jobs")
        wanted = {job_id: count + times for job_id, count in before.items()}

        def asked() -> bool:
            now = self.questions()
            return all(now.get(job_id, 0) >= count for job_id, count in wanted.items())

        until(asked, seconds, "questions after each job")

    def refused(self) -> list[dict[str, Any]]:
        """Return the questions after a job that the service would not answer."""
        return [request for request in self.emulator.requests() if _is_get(request) and (request["status"] or 0) >= 400]

    def check_books(self, **paid: int) -> None:
        """As many paid jobs as were asked for, nothing left over, and the key nowhere."""
        rows = self.emulator.ledger()
        assert Counter(row["kind"] for row in rows) == Counter(paid)
        assert all(row["settled"] and not row["refunded"] for row in rows), rows
        state = self.emulator.state()
        assert (sum(state["voices"].values()), state["assets"], state["active"], state["key_leaks"]) == (0, 0, 0, 0)
        files = [path for path in self.root.rglob("*") if path.is_file()]
        assert [path for path in files if path.name.endswith(".part")] == []
        keyed = [
            path
            for path in (*self.airflow.home.folder.rglob("*"), *files)
            if path.is_file() and any(key.encode() in path.read_bytes() for key in (self.emulator.api_key, NEW_KEY))
        ]
        assert keyed == [], "a key is in a file of Airflow's"


@pytest.fixture(scope="module")
def failing_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    root = folder / "voice"
    write_wav(root / "inbox" / "line.wav")
    write_mp4(root / "inbox" / "talk.mp4", seconds=3.0)
    home = AirflowHome(folder / "airflow")
    home.add_dag(DAGS / "paid_once.py")
    environment = {"AIRFLOW_VAR_VOICE_ROOT": str(root), **SOONER}
    with (
        EmulatorProcess(folder / "emulator", engine="tone", settings={"concurrency": None}) as emulator,
        AirflowComponents(home, environment=environment) as airflow,
    ):
        for dag in ("on_worker", "deferred", "clone", "lines", "deadlines", "crowd"):
            airflow.wait_for_dag(dag)
        state = remembering(folder / "state").get("state_location")
        yield Studio(airflow, emulator, root, state)


@pytest.fixture
def studio(failing_studio: Studio) -> Iterator[Studio]:
    """Everything runs, the service is as new, and the connection has its key; what a failed test left is ended."""
    studio = failing_studio
    studio.emulator.reset()
    shutil.rmtree(studio.results, ignore_errors=True)
    studio.connect(studio.emulator.api_key)
    yield studio
    if studio.emulator._process is None:
        studio.emulator.start()
    studio.emulator.clear_faults()
    studio.airflow.start_missing()
    for run in studio.airflow.call("GET", "dags/~/dagRuns?state=running&state=queued")["dag_runs"]:
        studio.airflow.call("PATCH", f"dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}", {"state": "failed"})
