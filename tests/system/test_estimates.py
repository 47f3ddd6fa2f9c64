"""What a lip sync is said to cost before it is there: real frames are needed to hold that against the bill.

Nothing else is estimated: speech and transcripts are priced by what is sent, and what is kept is counted anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, write_wav
from tests.dags.bill import PRICES
from tests.emulator.engine.footage import footage
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.operators import CostGateOperator, LipSyncOperator
from voice_provider.sensors import LipSyncCompleteSensor

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
SPOKEN = {"text": "Good morning, and welcome to the evening news of this city.", "voice_id": BUILT_IN}
# The video has two seconds: how long each result is follows from both inputs and the mode.
PLAN: tuple[dict[str, Any], ...] = (
    {"sync_mode": "bounce"},
    {"sync_mode": "cut_off", "model": "lipsync-2-pro"},
    {"sync_mode": "loop", **SPOKEN},
    {"sync_mode": "silence", **SPOKEN, "text": "Hi there."},
)


def test_an_estimate_is_within_a_tenth_of_the_bill_and_what_is_kept_is_to_the_cent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, audio = footage(tmp_path / "talk.mp4"), write_wav(tmp_path / "line.wav", 3.2)
    with EmulatorProcess(tmp_path / "emulator", engine="local") as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(emulator.connection("sync_labs", prices=PRICES)))
        for number, case in enumerate(PLAN):
            before, task = sum(row["usd"] for row in emulator.ledger()), Task()
            task.ti.task_id = f"lip_sync_{number}"
            given = {"audio": str(audio)} if "text" not in case else {}
            order = {"video": str(video), "output": f"{tmp_path}/{number}.mp4", **given, **case}
            ticket = task.run(LipSyncOperator(task_id=task.ti.task_id, wait_for_completion=False, **order))
            kept = Task().run(LipSyncCompleteSensor(task_id="wait", job=ticket, poke_interval=0.2))
            bill = sum(row["usd"] for row in emulator.ledger()) - before
            planned = {"seconds": kept["seconds"], "fps": 25, "model": case.get("model")}
            gate = CostGateOperator(task_id="gate", texts=case.get("text"), lip_syncs=planned, limit=9)
            said = Task().run(gate)
            assert ticket["costs"][0]["basis"] == said["basis"] == "estimated"
            assert sum(part["usd"] for part in ticket["costs"]) == pytest.approx(bill, rel=0.1), case
            assert said["usd"] == pytest.approx(bill, rel=0.1), case
            assert kept["cost"]["basis"] == "computed"
            assert kept["cost"]["usd"] == pytest.approx(bill, abs=1e-5), case
