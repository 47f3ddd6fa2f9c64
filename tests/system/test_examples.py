"""The examples with Fish Audio through a real scheduler, triggerer and LocalExecutor."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conftest import without_records, write_mp4, write_wav
from tests.system.components import patiently
from tests.system.conftest import until
from voice_provider.demo.airflow_home import AirflowHome, AirflowStandalone, example_dag
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
DAGS = ("instant_clone_announcement", "brand_voice_localized", "cross_service_lip_sync", "narration")
NEXT = "narration_track"  # nobody starts it: an asset's event does


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path / "emulator", engine="tone") as process:
        yield process


@pytest.fixture
def airflow(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[AirflowStandalone]:
    root = tmp_path / "voice"
    for name in ("speaker", "brand-1", "brand-2"):
        write_wav(root / "inbox" / f"{name}.wav", seconds=11)
    write_mp4(root / "inbox" / "target.mp4")
    (root / "inbox" / "script.csv").write_text("id,text\n1,Good night.\n2,Sleep well.\n")
    limits = {"allowed_inputs": [str(root)], "allowed_outputs": [str(root)]}
    fish = json.dumps(emulator.connection("fish_audio", **limits))
    environment = {
        "AIRFLOW_CONN_VOICE_DEFAULT": fish,
        "AIRFLOW_CONN_FISH_AUDIO_DEFAULT": fish,
        "AIRFLOW_CONN_SYNC_LABS_DEFAULT": json.dumps(emulator.connection("sync_labs", **limits)),
        "AIRFLOW_VAR_VOICE_ROOT": str(root),
    }
    home = AirflowHome(tmp_path / "airflow")
    for dag in (*DAGS, NEXT):
        home.add_dag(example_dag(f"{dag}.py"))
    with AirflowStandalone(home, environment=environment) as running:
        for dag in (*DAGS, NEXT):
            running.wait_for_dag(dag)
        yield running


def test_they_run_side_by_side_and_leave_nothing_behind(
    airflow: AirflowStandalone, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    emulator.settings(fish_training_seconds=12)  # longer than a task waits before it defers
    [narrator] = emulator.seed_models(["Narrator"], visibility="public", org="another")
    for dag in DAGS:
        conf = {"voice_id": narrator["id"]} if dag == "narration" else {}
        patiently(lambda dag=dag, conf=conf: airflow.trigger(dag, conf))
    # The nightly one also starts the run that was due last: two runs want the same voice at the same time.
    runs = [(dag, run["dag_run_id"]) for dag in DAGS for run in airflow.call("GET", f"dags/{dag}/dagRuns")["dag_runs"]]
    assert len(runs) == 5
    assert {run: airflow.wait(*run) for run in runs} == dict.fromkeys(runs, "success")
    kept = tmp_path / "voice" / "results"
    [started] = until(lambda: airflow.call("GET", f"dags/{NEXT}/dagRuns")["dag_runs"], what=f"{NEXT} to be started")
    assert started["run_type"] == "asset_triggered"
    assert airflow.wait(NEXT, started["dag_run_id"]) == "success"
    assert (kept / "narration" / "script.mp3").is_file()
    shutil.rmtree(kept / "narration")
    results = without_records(path.name for path in kept.rglob("*") if path.is_file())
    nightly = [f"{language}.mp3" for language in ("de", "en", "fr") for _ in range(2)]
    assert results == ["announcement.mp3", *nightly, "line.mp3", "lip_sync.mp4"]
    paid = Counter(f"{row['service']} {row['kind']}" for row in emulator.ledger())
    assert (paid["fish_audio speech"], paid["sync_labs lip_sync"]) == (8 + 2, 1)
    state = emulator.state()
    assert state["models"]["main"] == 1, "the brand voice stays, the voice of the run does not"
    assert (state["assets"], state["key_leaks"]) == (0, 0)
    keyed = [
        path
        for path in airflow.home.folder.rglob("*")
        if path.is_file() and emulator.api_key.encode() in path.read_bytes()
    ]
    assert keyed == [], "the key is in a file of Airflow's"
