"""The flagship DAG, run by a real Airflow in this process, over real HTTP to the emulator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.conftest import ROOT, without_records, write_mp4, write_wav
from tests.dags.bill import PRICES, told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

pytestmark = pytest.mark.usefixtures("airflow_db")
SCRIPT = "A line that nobody ever recorded."


@pytest.fixture
def run(emulator: EmulatorHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    write_wav(tmp_path / "inbox" / "sample.wav")
    write_mp4(tmp_path / "inbox" / "target.mp4")
    monkeypatch.setenv("AIRFLOW_VAR_VOICE_ROOT", str(tmp_path))
    bag = DagBag(str(ROOT / "example_dags" / "clone_to_lip_sync.py"))
    assert not bag.import_errors
    dag = bag.dags["clone_to_lip_sync"]

    def run(**params: Any) -> Any:
        return dag.test(run_conf={"sample": "sample.wav", "script": SCRIPT, **params})

    return run


def states(dag_run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}


@pytest.mark.parametrize(("tts_mode", "service_mode"), [("direct", "sync"), ("direct", "seed-async"), ("jobs", "sync")])
def test_a_line_is_spoken_in_the_cloned_voice_and_lip_synced(
    run: Callable[..., Any],
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    tts_mode: str,
    service_mode: str,
) -> None:
    set_connection(tts_mode=tts_mode, prices=PRICES)
    emulator.settings(tts_mode=service_mode, job_seconds=0.5)
    dag_run = run()
    assert set(states(dag_run).values()) == {"success"}, states(dag_run)
    results = without_records(path.name for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert results[0] == "lip_sync.mp4"
    [speech] = results[1:]
    assert re.fullmatch(r"speak-[a-z2-7]{10}\.mp3", speech)
    assert [row["kind"] for row in emulator.ledger()] == ["clone", "speech", "lip_sync"]
    costs = told(dag_run)
    assert [cost["basis"] for cost in costs] == ["computed"] * 2
    assert sum(cost["usd"] for cost in costs) == pytest.approx(sum(row["usd"] for row in emulator.ledger()), abs=1e-5)
    state = emulator.state()
    assert state["voices"].get("main", 0) == 0
    assert state["assets"] == 0
    assert state["key_leaks"] == 0


def test_slot_and_uploads_come_back_when_a_step_fails(run: Callable[..., Any], emulator: EmulatorHandle) -> None:
    emulator.fault("job_failed", path="/v2/generate", code="generation_input_face_selection_invalid", body="No face.")
    dag_run = run()
    found = states(dag_run)
    assert found["lip_sync"] == "failed"
    assert found["delete_voice"] == found["delete_uploads"] == "success"
    assert str(dag_run.state) == "failed"
    state = emulator.state()
    assert state["voices"].get("main", 0) == 0
    assert state["assets"] == 0
