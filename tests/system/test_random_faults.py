"""The flagship DAG at a service that fails at random: every run succeeds, and pays each job once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.conftest import ROOT, without_records, write_mp4, write_wav
from tests.system.faults import SEED, inflict
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.retries import voice_retry_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("airflow_db")]
RUNS = 20


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorProcess]:
    write_wav(tmp_path / "inbox" / "sample.wav")
    write_mp4(tmp_path / "inbox" / "target.mp4")
    monkeypatch.setenv("AIRFLOW_VAR_VOICE_ROOT", str(tmp_path))
    with EmulatorProcess(tmp_path / "emulator", engine="tone") as process:
        monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(process.connection(tts_mode="jobs")))
        yield process


def test_every_run_succeeds_and_pays_once(emulator: EmulatorProcess, tmp_path: Path) -> None:
    struck: Counter[str] = Counter()
    tries: Counter[int] = Counter()
    for number in range(RUNS):
        emulator.reset()
        emulator.settings(job_seconds=0.3, rate_limits=False)
        seed = SEED + number
        inflict(emulator, seed)
        dag = DagBag(str(ROOT / "example_dags" / "clone_to_lip_sync.py")).dags["clone_to_lip_sync"]
        assert {task.retries for task in dag.tasks} == {3}
        for task in dag.tasks:
            task.retry_policy = voice_retry_policy(first=timedelta(seconds=0.2), longest=timedelta(seconds=1))
        run = dag.test(run_conf={"sample": "sample.wav", "script": f"Line {number}, which nobody ever recorded."})
        struck.update(str(request["fault"]) for request in emulator.requests() if request["fault"])
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        tries.update(ti.try_number for ti in run.get_task_instances())
        told = f"VOICE_FAULTS_SEED={seed}, run {number}: {states}"
        assert set(states.values()) == {"success"}, told
        assert Counter(row["kind"] for row in emulator.ledger()) == {"clone": 1, "speech": 1, "lip_sync": 1}, told
        emulator.call("DELETE", "faults")
        state = emulator.state()
        assert state["voices"].get("main", 0) == 0, told
        assert state["key_leaks"] == 0, told
        kept = without_records(path.name for path in (tmp_path / "results").rglob("*") if path.is_file())
        assert len(kept) == 2, (kept, told)
        assert "lip_sync.mp4" in kept, (kept, told)
        shutil.rmtree(tmp_path / "results")
    print(f"\n{RUNS} runs, faults by kind: {dict(struck)}; tasks by number of tries: {dict(tries)}")
    assert len(struck) >= 9, "every kind of fault has struck"
