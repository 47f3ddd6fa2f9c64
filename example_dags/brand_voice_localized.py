"""Every night, speak the same message in many languages with one brand voice.

The voice is cloned once, by the first run: the same samples under the same name give the same voice to every run
after it. Each language is a mapped task of its own, so that one that fails is retried alone and the others are not
paid again.

Needs a connection ``voice_default`` of type ``fish_audio`` and an Airflow variable ``voice_root``: the one folder or
bucket (default ``/opt/airflow/voice``) with the samples in ``inbox/``; results are kept in ``results/``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from voice_provider.operators import CloneVoiceOperator, TTSOperator
from voice_provider.sensors import VoiceTrainedSensor

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
RESULTS = f"{ROOT}/results/{{{{ dag.dag_id }}}}-{{{{ run_id }}}}"

with DAG(
    dag_id="brand_voice_localized",
    schedule="30 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
    catchup=False,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "samples": Param(
            ["brand-1.wav", "brand-2.wav"],
            type="array",
            items={"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
            minItems=1,
            maxItems=20,
            title="Samples of the brand voice",
            description="Files in the inbox; a minute or two of one clear speaker is best.",
        ),
        "messages": Param(
            {
                "en": "Our doors are open again. Come in and look around.",
                "de": "Unsere Türen sind wieder offen. Kommen Sie herein und sehen Sie sich um.",
                "fr": "Nos portes sont de nouveau ouvertes. Entrez et regardez.",
            },
            type="object",
            propertyNames={"pattern": "^[a-z]{2}(-[A-Z]{2})?$"},  # they become file names
            additionalProperties={"type": "string", "minLength": 1},
            title="Message by language",
            description="Two-letter code of the language, and what is said in it.",
        ),
    },
):

    @task
    def samples_of(root: str, params: dict[str, Any] | None = None) -> list[str]:
        """Name the samples."""
        return [f"{root}/inbox/{name}" for name in (params or {})["samples"]]

    @task
    def messages_of(results: str, params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """Make a task of every language: its text, and the file that it is kept in."""
        return [
            {"text": text, "output": f"{results}/{language}.mp3"}
            for language, text in sorted((params or {})["messages"].items())
        ]

    # One voice for all runs. Its name holds a fingerprint of the samples: other samples make another voice.
    clone_voice = CloneVoiceOperator(task_id="clone_voice", name="Brand", samples=samples_of(root=ROOT))
    voice = VoiceTrainedSensor(task_id="wait_until_trained", voice=clone_voice.output, deferrable=True)

    # Fish Audio counts requests at a time over all keys of an account (5 on the smallest plan): leave some for others.
    TTSOperator.partial(
        task_id="speak",
        voice_id=voice.output,
        max_active_tis_per_dag=3,
        map_index_template="{{ task.output_location.rpartition('/')[2] }}",
    ).expand_kwargs(messages_of(results=RESULTS))
