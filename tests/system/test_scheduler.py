"""The flagship DAG through a real scheduler, triggerer and LocalExecutor, triggered over the REST API with "
"other params."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import remembering, write_mp4, write_wav
from voice_provider.demo.airflow_home import AirflowHome, AirflowStandalone, example_dag
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
DAG = "clone_to_lip_sync"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path / "emulator", engine="tone") as process:
        yield process


@pytest.fixture
def airflow(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[AirflowStandalone]:
    root = tmp_path / "voice"
    write_wav(root / "inbox" / "anna.wav")
    write_mp4(root / "inbox" / "talk.mp4")
    limits = {"allowed_inputs": [str(root)], "allowed_outputs": [str(root)]}
    connection = emulator.connection(tts_mode="jobs", **limits, **remembering(tmp_path / "state"))
    environment = {
        "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(connection),
        "AIRFLOW_VAR_VOICE_ROOT": str(root),
        "AIRFLOW__CORE__FERNET_KEY": "",
    }
    home = AirflowHome(tmp_path / "airflow")
    home.add_dag(example_dag(f"{DAG}.py"))
    with AirflowStandalone(home, environment=environment) as running:
        running.wait_for_dag(DAG)
        yield running


def until(done: Any, seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
    return found


def state_of(airflow: AirflowStandalone, run: str, task: str) -> str:
    return str(airflow.task_instances(DAG, run)[task]["state"])


def trigger_arguments(home: AirflowHome) -> str:
    """Return what the metadata database holds of the waiting triggers; in the clear, because there is no Fernet key."""
    with sqlite3.connect(f"file:{home.database}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT kwargs FROM trigger").fetchall()
    assert rows
    return "\n".join(str(row[0]) for row in rows)


def test_jobs_are_waited_for_on_the_triggerer_and_collected(
    airflow: AirflowStandalone, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    emulator.settings(job_seconds=3600)
    params = {"sample": "anna.wav", "video": "talk.mp4", "script": "Another line.", "sync_mode": "loop"}
    run = airflow.trigger(DAG, params)
    for task in ("speech_complete", "lip_sync"):
        until(lambda task=task: state_of(airflow, run, task) == "deferred")
        arguments = trigger_arguments(airflow.home)
        assert '"voice_default"' in arguments
        assert emulator.api_key not in arguments
        assert "Another line" not in arguments
        # Shown while it waits; Airflow writes it down just after the state.
        path = f"dags/{DAG}/dagRuns/{run}/taskInstances/{task}/links"
        link = until(lambda path=path: airflow.call("GET", path)["extra_links"]["Job at the service"])
        assert link.startswith(f"{emulator.url}/_emulator/jobs/")
        emulator.advance(3601)
    assert airflow.wait(DAG, run) == "success"
    assert {ti["try_number"] for ti in airflow.task_instances(DAG, run).values()} == {1}
    assert [row["kind"] for row in emulator.ledger()] == ["clone", "speech", "lip_sync"]
    state = emulator.state()
    assert (state["voices"].get("main", 0), state["assets"], state["key_leaks"]) == (0, 0, 0)
    assert (tmp_path / "voice" / "results" / f"{DAG}-{run}" / "lip_sync.mp4").stat().st_size > 0
    keyed = [
        path
        for path in airflow.home.folder.rglob("*")
        if path.is_file() and emulator.api_key.encode() in path.read_bytes()
    ]
    assert keyed == [], "the key is in a file of Airflow's"


def test_a_form_cannot_reach_outside_its_folder(airflow: AirflowStandalone) -> None:
    for value in ("../../etc/passwd", "/etc/passwd", ".hidden", "a/b.mp4", "s3://b/c.mp4", "x\n.mp4"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            airflow.trigger(DAG, {"sample": value})
        assert refused.value.code == 400
