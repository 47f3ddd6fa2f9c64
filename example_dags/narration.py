"""Speak a script, and say so by an asset: what waits for a narration starts when one is kept, whoever asked for it.

The event of the asset ``voice_narration`` has in ``extra`` what the task returns: ``manifest``, ``counts``,
``seconds``, ``cost``. ``narration_track`` is a DAG that it starts; it may belong to other people, and knows of this one
nothing but the asset.

Needs a connection ``voice_default``, a voice there, and an Airflow variable ``voice_root``: the one folder or bucket
(default ``/opt/airflow/voice``) with the script in ``inbox/``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from voice_provider.operators import SpeakLinesOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
NARRATION = Asset("voice_narration")

with DAG(
    dag_id="narration",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "script": Param(
            "script.csv",
            type="string",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(csv|jsonl|srt|vtt)$",
            title="Script",
            description="CSV, JSONL, SRT or VTT in the inbox.",
        ),
        "voice_id": Param(
            "narrator",
            type="string",
            minLength=1,
            title="Voice",
            description="Id at the service; it speaks the lines that name no voice.",
        ),
    },
):
    SpeakLinesOperator(
        task_id="speak",
        lines=f"{ROOT}/inbox/{{{{ params.script }}}}",
        voice_id="{{ params.voice_id }}",
        output=f"{ROOT}/results/narration/{{{{ params.script.rpartition('.')[0] }}}}/",
        outlets=[NARRATION],
    )
