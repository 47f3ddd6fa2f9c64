"""Ask before it is dear: up to a limit nobody is asked, above it a person sees the sum and approves or rejects.

Needs a connection ``voice_default`` (Fish Audio) and an Airflow variable ``voice_root``: the one folder or bucket
(default ``/opt/airflow/voice``) with the script in ``inbox/``. The gate reads the whole script and orders nothing;
``max_cost`` is the second lock: it holds, whatever was approved, for what the task that speaks is really missing.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from voice_provider.operators import CostGateOperator, SpeakLinesOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
SCRIPT = f"{ROOT}/inbox/{{{{ params.script }}}}"

with DAG(
    dag_id="approved_budget",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "script": Param("script.csv", type="string", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", title="Script"),
        "voice_id": Param("narrator", type="string", minLength=1, title="Voice", description="Id at the service."),
        "limit": Param(0.5, type="number", minimum=0, title="Dollars up to which nobody is asked"),
        "max_cost": Param(20, type="number", minimum=0, title="Dollars that are never exceeded"),
    },
):
    gate = CostGateOperator(
        task_id="gate",
        lines=SCRIPT,
        limit="{{ params.limit }}",
        on_exceed="ask",
        response_timeout=timedelta(days=3),
    )
    speak = SpeakLinesOperator(
        task_id="speak",
        lines=SCRIPT,
        voice_id="{{ params.voice_id }}",
        output=f"{ROOT}/results/{{{{ dag.dag_id }}}}/",
        max_cost="{{ params.max_cost }}",
    )
    gate >> speak
