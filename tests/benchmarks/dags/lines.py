"""The same lines as one task, and as a mapped task each; for ``bench_lines_airflow.py``."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from voice_provider.operators import SpeakLinesOperator, TTSOperator

VOICE, ROOT = os.environ["BENCH_VOICE"], os.environ["BENCH_ROOT"]
OUTPUT = f"{ROOT}/{{{{ run_id }}}}/"


def lines(count: str) -> list[str]:
    """Return lines of three seconds."""
    return [f"Line {number} of a long night, three seconds long." for number in range(int(os.environ[count]))]


with DAG("one_task", schedule=None, params={"at_a_time": 5}):
    SpeakLinesOperator(
        task_id="speak",
        lines=[{"text": text} for text in lines("BENCH_LINES")],
        voice_id=VOICE,
        output=OUTPUT,
        concurrency="{{ params.at_a_time }}",
    )

with DAG("mapped_tasks", schedule=None):
    TTSOperator.partial(task_id="speak", voice_id=VOICE, output=OUTPUT).expand(text=lines("BENCH_MAPPED"))
