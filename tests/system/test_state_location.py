"""``state_location`` in a real Airflow, on a folder and on S3: the flagship, a kill, and a try that wakes too late."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.conftest import write_mp4, write_wav
from tests.system.components import AirflowComponents
from tests.system.conftest import DAGS, GENERATE, SOONER, Studio, until
from voice_provider.demo.airflow_home import AirflowHome, example_dag, free_ports
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system
FLAGSHIP = "clone_to_lip_sync"
# What an installed apache-airflow-providers-amazon does; here the store is on loopback, and needs no account.
ATTACH = """
from airflow.sdk.io import attach
from s3fs import S3FileSystem
attach("s3", fs=S3FileSystem(key="k", secret="s", endpoint_url={url!r}, client_kwargs={{"region_name": "us-east-1"}}))
"""


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """S3 on loopback, in a process of its own, with a bucket named ``studio``."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(f"{url}/moto-api/"), 60, "the object store")
        put = urllib.request.Request(f"{url}/studio", method="PUT")
        urllib.request.urlopen(put, timeout=10).close()
        yield url
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module", params=["folder", "s3"])
def remembering_studio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Studio, str]]:
    folder = tmp_path_factory.mktemp("studio")
    root = folder / "voice"
    write_wav(root / "inbox" / "line.wav")
    write_wav(root / "inbox" / "anna.wav")
    write_mp4(root / "inbox" / "talk.mp4", seconds=3.0)
    home = AirflowHome(folder / "airflow")
    attach, location = "", str(folder / "state")
    if request.param == "s3":
        attach, location = ATTACH.format(url=request.getfixturevalue("object_store")), "s3://studio/state/"
    for source in (DAGS / "paid_once.py", example_dag(f"{FLAGSHIP}.py")):
        (home.dags / source.name).write_text(
            source.read_text().replace("\nfrom airflow.sdk import", f"\n{attach}\nfrom airflow.sdk import", 1)
        )
    environment = {"AIRFLOW_VAR_VOICE_ROOT": str(root), **SOONER}
    with (
        EmulatorProcess(folder / "emulator", engine="tone", settings={"concurrency": None}) as emulator,
        AirflowComponents(home, environment=environment) as airflow,
    ):
        for dag in ("on_worker", "clone", FLAGSHIP):
            airflow.wait_for_dag(dag)
        studio = Studio(airflow, emulator, root, state_location=location)
        yield studio, location


@pytest.fixture
def studio(remembering_studio: tuple[Studio, str]) -> Studio:
    studio, _ = remembering_studio
    studio.emulator.reset()
    studio.connect(studio.emulator.api_key)
    return studio


@pytest.fixture
def remembered(remembering_studio: tuple[Studio, str], request: pytest.FixtureRequest) -> Any:
    """Return a function that lists what stands below the location, by its path."""
    _, location = remembering_studio

    def read() -> dict[str, dict[str, Any]]:
        if location.startswith("s3://"):
            from s3fs import S3FileSystem

            url = request.getfixturevalue("object_store")
            fs = S3FileSystem(key="k", secret="s", endpoint_url=url, client_kwargs={"region_name": "us-east-1"})
            fs.invalidate_cache()
            return {name: json.loads(fs.cat_file(name)) for name in fs.find("studio/state")}
        from pathlib import Path

        return {str(path): json.loads(path.read_text()) for path in Path(location).rglob("*.json")}

    return read


def test_the_flagship_through_a_real_scheduler(studio: Studio, remembered: Any) -> None:
    params = {"sample": "anna.wav", "video": "talk.mp4", "script": "Another line."}
    run = studio.airflow.trigger(FLAGSHIP, params)
    assert studio.airflow.wait(FLAGSHIP, run) == "success"
    assert [row["kind"] for row in studio.emulator.ledger()] == ["clone", "speech", "lip_sync"]
    studio.check_books(clone=1, speech=1, lip_sync=1)
    finished = [
        found["values"]["voice_job"]
        for found in remembered().values()
        if found["run_id"] == run and "voice_job" in found["values"]
    ]
    assert sorted(record["kind"] for record in finished) == ["clone", "lip_sync", "speech"]
    assert all(record["finished"] for record in finished)


@pytest.mark.parametrize(
    ("dag", "path", "task"), [("on_worker", GENERATE, "lip_sync"), ("clone", "/v2/voices", "clone")]
)
def test_task_killed_before_it_hears_that_its_order_was_accepted(
    studio: Studio, dag: str, path: str, task: str
) -> None:
    studio.emulator.fault("slow", path=path, method="POST", seconds=30)
    run = studio.start(dag)
    until(lambda: studio.emulator.ledger(task), what="what was paid at the service")
    assert run.task(task)["state"] == "running"
    run.kill_task(task)
    run.success()
    assert run.tries()[task] == 2
    studio.check_books(**{task: 1})


@pytest.mark.parametrize(
    ("dag", "path", "task"), [("on_worker", GENERATE, "lip_sync"), ("clone", "/v2/voices", "clone")]
)
def test_a_try_that_stood_still_wakes_after_the_next_has_finished(
    studio: Studio, dag: str, path: str, task: str, remembered: Any
) -> None:
    studio.emulator.fault("slow", path=path, method="POST", seconds=10)
    run = studio.start(dag)
    until(lambda: studio.emulator.ledger(task), what="what was paid at the service")
    stopped = _stand_still(studio, run.task(task)["pid"])
    try:
        run.until_state("success", task, try_number=2, seconds=150)
        before = len([request for request in studio.emulator.requests() if request["method"] == "POST"])
    finally:
        for process in reversed(stopped):
            process.resume()
    run.success()
    psutil.wait_procs(stopped[-1:], timeout=60)  # the task's own process; its executor's worker goes on
    after = [request for request in studio.emulator.requests() if request["method"] == "POST"]
    assert len(after) == before, "the old try has sent nothing any more"
    studio.check_books(**{task: 1})
    [last] = [
        found["values"]["voice_job"]
        for found in remembered().values()
        if (found["run_id"], found["task_id"], found["try_number"]) == (run.id, task, 2)
    ]
    assert last["finished"]


def _stand_still(studio: Studio, pid: int) -> list[psutil.Process]:
    """Stop (SIGSTOP) a task and the process that sends its heartbeat; return both, the task last."""
    task = psutil.Process(pid)
    supervisor = task.parent()
    assert supervisor is not None
    for process in (supervisor, task):
        studio.airflow.own(process.pid)
        process.suspend()
    return [supervisor, task]
