"""A person approves or rejects a clone, and the nightly sweep runs by its schedule: in a real Airflow."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import write_wav
from tests.system.components import patiently
from voice_provider.demo.airflow_home import AirflowHome, AirflowStandalone, example_dag
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.jobs.names import ManagedName, short_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
SECONDS = 120
A_LOOK = 5  # seconds that a person takes at the least


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path / "emulator", engine="tone") as process:
        made = int(time.time()) - 200_000
        gone = ManagedName("Gone", "default", short_hash("gone"), "deleted_dag", "a" * 18, made)
        process.seed_voices(["By hand", str(gone)])
        yield process


@pytest.fixture
def airflow(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[AirflowStandalone]:
    root = tmp_path / "voice"
    recording = write_wav(root / "inbox" / "speaker.wav", seconds=5)
    consent = {
        "id": "release-7",
        "who": "the speaker of this test",
        "when": "2026-03-31",
        "evidence": "s3://legal/releases/7.pdf",
        "samples": [hashlib.sha256(recording.read_bytes()).hexdigest()],
    }
    (root / "consents").mkdir()
    (root / "consents" / "release-7.json").write_text(json.dumps(consent))
    connection = emulator.connection("sync_labs", require_consent=True)
    environment = {
        "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(connection),
        "AIRFLOW_VAR_VOICE_ROOT": str(root),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2",  # Airflow's SQLite is locked at times: a task, once more
    }
    home = AirflowHome(tmp_path / "airflow")
    for dag in ("approved_voice", "nightly_slot_cleanup"):
        home.add_dag(example_dag(f"{dag}.py"))
    with AirflowStandalone(home, environment=environment) as running:
        for dag in ("approved_voice", "nightly_slot_cleanup"):
            running.wait_for_dag(dag)
        yield running


def asked(airflow: AirflowStandalone, run: str) -> dict[str, Any]:
    """Wait until a person is asked, and return what they see."""
    until = time.monotonic() + SECONDS
    while True:
        found = airflow.call("GET", f"dags/approved_voice/dagRuns/{run}/hitlDetails")["hitl_details"]
        if found:
            return dict(found[0])
        assert time.monotonic() < until, "nobody was asked"
        time.sleep(1)


def answer(airflow: AirflowStandalone, run: str, option: str) -> None:
    """Answer some seconds after the question, as a person would, and again where Airflow asks again.

    An answer that comes before the scheduler has heard that the task waits makes Airflow 3.3.2 fail that try ("finished
    with state success, but the task instance's state attribute is queued"), and the next one asks anew.
    """
    path = f"dags/approved_voice/dagRuns/{run}/taskInstances/ask/-1/hitlDetails"
    until = time.monotonic() + SECONDS
    while (state := states(airflow, "approved_voice", run)["ask"]) != "success":
        assert time.monotonic() < until, f"the answer was not taken: the task is {state}"
        if state in ("awaiting_input", "deferred"):
            time.sleep(A_LOOK)
            patiently(lambda: airflow.call("PATCH", path, {"chosen_options": [option], "params_input": {}}))
        time.sleep(1)


def states(airflow: AirflowStandalone, dag: str, run: str) -> dict[str, str]:
    found = airflow.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
    return {ti["task_id"]: ti["state"] for ti in found}


def test_a_person_decides_and_the_sweep_runs_by_itself(
    airflow: AirflowStandalone, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    # The run that was due last starts by itself; it is no dry run, and knows no run of the DAG that is gone.
    [nightly] = [run["dag_run_id"] for run in airflow.call("GET", "dags/nightly_slot_cleanup/dagRuns")["dag_runs"]]
    assert airflow.wait("nightly_slot_cleanup", nightly) == "success"
    assert [voice["name"] for voice in emulator.voices()] == ["By hand"]

    ends: dict[str, dict[str, str]] = {}
    for option in ("Reject", "Approve"):
        run = patiently(lambda: airflow.trigger("approved_voice", {}))
        seen = asked(airflow, run)
        assert "release-7" in seen["body"]
        assert "the speaker of this test" not in json.dumps(seen)
        assert not [entry for entry in emulator.requests("/v2/assets") if entry["method"] != "GET"]
        assert emulator.ledger("clone") == []
        answer(airflow, run, option)
        assert airflow.wait("approved_voice", run) == "success"
        ends[option] = states(airflow, "approved_voice", run)
    assert set(ends["Approve"].values()) == {"success"}
    assert [ends["Reject"][task] for task in ("ask", "clone_voice", "listen")] == ["success", "skipped", "skipped"]
    assert len(emulator.ledger("clone")) == 1
    assert emulator.state()["assets"] == 0
    [record] = (tmp_path / "voice" / "results").rglob("*.provenance.json")
    assert json.loads(record.read_text())["consent"]["id"] == "release-7"
    assert "the speaker of this test" not in record.read_text()
    assert emulator.state()["key_leaks"] == 0
