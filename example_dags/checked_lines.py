"""Speak a script of many lines so that no wrong take goes on: check them, and speak again what is wrong.

A service can answer with speech that is whole and still wrong: silent, cut off, other words, another voice. All takes
are measured; with ``transcribe`` they are listened to besides, which the service may bill, each one once. What is wrong
is spoken again, at most twice, and paid each time; where a line is wrong even then the run fails and names it.
``results/checked_lines/verdicts.jsonl`` tells of each line.

Needs a connection ``voice_default``, a voice there, and an Airflow variable ``voice_root``: the one folder or bucket
(default ``/opt/airflow/voice``) with the script in ``inbox/``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from voice_provider import checked_lines
from voice_provider.operators import JoinLinesOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"

with DAG(
    dag_id="checked_lines",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "script": Param(
            "script.csv",
            type="string",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
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
        "transcribe": Param(
            True,
            type="boolean",
            title="Listen",
            description="Compare the words that are heard with the script; the service may bill it by the second.",
        ),
    },
):
    spoken = checked_lines(
        f"{ROOT}/inbox/{{{{ params.script }}}}",
        f"{ROOT}/results/checked_lines/",
        rounds=2,
        voice_id="{{ params.voice_id }}",
        check={"transcribe": "{{ params.transcribe }}"},
    )
    JoinLinesOperator(task_id="join", lines=spoken, output=f"{ROOT}/results/checked_lines.mp3")
