"""DAGs for the tests of failure: each asks for one thing in one way, and retries soon."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lines import SpeakLinesOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.voice import DeleteVoiceOperator

ROOT = "{{ var.value.voice_root }}"
RETRY_SOON = {"retries": 4, "retry_delay": timedelta(seconds=1)}
CROWD = 50
LINES = 6
DEADLINE = 15  # seconds; longer than a task waits before it defers, and than it takes to hear of the trigger's end


def dag(dag_id: str) -> DAG:
    return DAG(dag_id=dag_id, schedule=None, catchup=False, default_args=RETRY_SOON)


def lip_sync(task_id: str = "lip_sync", **more: Any) -> LipSyncOperator:
    return LipSyncOperator(
        task_id=task_id,
        video=f"{ROOT}/inbox/talk.mp4",
        audio=f"{ROOT}/inbox/line.wav",
        output=f"{ROOT}/results/{{{{ run_id }}}}/{task_id}/",
        poll_interval=1,
        **more,
    )


with dag("on_worker"):
    lip_sync(deferrable=False)

with dag("deferred"):
    lip_sync(deferrable=True)

with dag("clone"):
    clone = CloneVoiceOperator(
        task_id="clone", name="Anna", sample=f"{ROOT}/inbox/line.wav", ephemeral=True, deferrable=False
    )
    DeleteVoiceOperator(task_id="delete", voice=clone.output).as_teardown(setups=clone)

with dag("lines"):
    SpeakLinesOperator(
        task_id="speak",
        lines=[{"text": f"This is line {number}."} for number in range(LINES)],
        voice_id="EXAVITQu4vr4xnSDxMaL",
        output=f"{ROOT}/results/{{{{ run_id }}}}/",
        concurrency=LINES - 2,
        poll_interval=1,
        deferrable=True,
    )

with dag("deadlines"):
    lip_sync("timeout_on_worker", deferrable=False, timeout=DEADLINE)
    lip_sync("timeout_deferred", deferrable=True, timeout=DEADLINE)
    lip_sync("execution_timeout_deferred", deferrable=True, execution_timeout=timedelta(seconds=DEADLINE))

with dag("crowd"):
    LipSyncOperator.partial(
        task_id="lip_sync",
        video=f"{ROOT}/inbox/talk.mp4",
        audio=f"{ROOT}/inbox/line.wav",
        poll_interval=1,
        deferrable=True,
    ).expand(output=[f"{ROOT}/results/{{{{ run_id }}}}/{number}.mp4" for number in range(CROWD)])
