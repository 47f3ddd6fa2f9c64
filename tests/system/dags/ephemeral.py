"""DAGs for the test of clone slots: each run has a voice of its own, in one of two namespaces of one account."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseSensorOperator

from voice_provider.compat import SINCE_3_3
from voice_provider.groups import ephemeral_voice
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.retries import voice_retry_policy

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

ROOT = "{{ var.value.voice_root }}"
# The second id is too long to be written out in the name of a voice: the sweep has to be told of it.
CROWD = {"default": "crowd", "dev": "crowd_in_the_namespace_of_development"}
DOOMED = {"default": "doomed_default", "dev": "doomed_dev"}
LATE, COUNTED = "late", "counted"
SWEEP = {"default": "sweep_default", "dev": "sweep_dev"}
HELD = "held"  # a pool without slots, until the test gives it some
LATEST = timedelta(seconds=60)
# Each fifth try of a clone meets a fault that it cannot sit out, and who waits needs two in a row that do not: with
# three retries, one of 57 runs would use them up every few times.
RETRIES = 8


SOON = (
    {"retry_policy": voice_retry_policy(first=timedelta(seconds=1), longest=timedelta(seconds=3))} if SINCE_3_3 else {}
)


class Never(BaseSensorOperator):
    """Holds the voice of its run for as long as the run lasts, and no worker."""

    def poke(self, context: Context) -> bool:
        """Say: not yet."""
        return False


def dag(dag_id: str, retries: int = RETRIES, **more: Any) -> DAG:
    defaults = {
        "retries": retries,
        "retry_delay": timedelta(seconds=1),
        **SOON,
        "weight_rule": "upstream",  # who has a voice speaks and gives it back before others ask for one
    }
    return DAG(
        dag_id=dag_id,
        schedule=None,
        catchup=False,
        max_active_runs=100,
        max_active_tasks=100,
        default_args=defaults,
        **more,
    )


def voice(connection: str, **more: Any) -> Any:
    return ephemeral_voice(
        "Presenter",
        f"{ROOT}/inbox/line.wav",
        group_id="voice",
        voice_conn_id=connection,
        on_slot_limit="wait",
        deferrable=True,
        poll_interval=1,
        **more,
    )


def speak(made: XComArg, connection: str) -> None:
    TTSOperator(
        task_id="speak",
        text="A line of {{ run_id }}.",
        voice_id=made,
        output=f"{ROOT}/results/{{{{ dag.dag_id }}}}/{{{{ run_id }}}}/",
        voice_conn_id=connection,
        deferrable=True,
        poll_interval=1,
    )


for namespace, crowd in CROWD.items():
    with dag(crowd), voice(f"voice_{namespace}") as made:
        speak(made, f"voice_{namespace}")

    with dag(DOOMED[namespace], retries=0), voice(f"voice_{namespace}", pool=HELD) as made:
        speak(made, f"voice_{namespace}")

    with dag(SWEEP[namespace]):
        # Both know all DAGs: it is the namespace alone that keeps them apart.
        CleanupVoicesOperator(
            task_id="sweep",
            orphaned=True,
            dag_ids=[*CROWD.values(), *DOOMED.values(), LATE],
            voice_conn_id=f"voice_{namespace}",
        )

with dag(LATE, dagrun_timeout=LATEST), voice("voice_default"):
    Never(task_id="never", mode="reschedule", poke_interval=3600)

with dag(COUNTED), voice("voice_counted") as made:
    speak(made, "voice_counted")
