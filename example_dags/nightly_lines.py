"""Every night, speak what has changed in a script of many lines.

The script is a CSV file in UTF-8 with the columns ``id`` and ``text``, and ``voice`` where several speak. Lines that
were spoken before cost nothing, wherever they stand now; ``results/nightly_lines/manifest.jsonl`` says which take
belongs to which line. A retry speaks only what is missing.

Needs a connection ``voice_default`` of type ``fish_audio``, a voice there, and an Airflow variable ``voice_root``: the
one folder or bucket (default ``/opt/airflow/voice``) with the script in ``inbox/``.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from voice_provider.operators import SpeakLinesOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"

with DAG(
    dag_id="nightly_lines",
    schedule="30 1 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
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
        "redo": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Speak these again",
            description="Ids of lines, one a line: their takes are deleted and bought anew.",
        ),
    },
):
    SpeakLinesOperator(
        task_id="speak",
        lines=f"{ROOT}/inbox/{{{{ params.script }}}}",
        voice_id="{{ params.voice_id }}",
        redo="{{ params.redo }}",
        output=f"{ROOT}/results/nightly_lines/",
    )
