"""Ask a person before a voice is cloned: they see whose consent it is, for which recording, until when.

Needs a connection ``voice_default`` (best with "Require consent" switched on, so that no other DAG clones without one)
and an Airflow variable ``voice_root``: the one folder or bucket (default ``/opt/airflow/voice``) with the recording in
``inbox/`` and the consent in ``consents/``, a JSON file such as ::

    {"id": "release-7", "who": "...", "when": "2026-03-31", "expires": "2027-03-31",
     "evidence": "s3://legal/releases/7.pdf", "samples": ["<sha256 of the recording>"]}

The person's name stays in that file: Airflow shows the consent's id. Whether the signed release is real is for the
person who approves to see.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task

from voice_provider import VoiceHook
from voice_provider.operators import CloneVoiceOperator, TTSOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
SAMPLE = f"{ROOT}/inbox/{{{{ params.sample }}}}"
CONSENT = f"{ROOT}/consents/{{{{ params.consent }}}}"
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # no slash, no leading dot: a name in the folder and nothing else

with DAG(
    dag_id="approved_voice",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "name": Param("Narrator", type="string", minLength=1, maxLength=40, title="Name of the voice"),
        "sample": Param(
            "speaker.wav", type="string", pattern=FILE_NAME, title="Recording", description="In the inbox."
        ),
        "consent": Param(
            "release-7.json", type="string", pattern=FILE_NAME, title="Consent", description="A file in consents/."
        ),
    },
):

    @task(multiple_outputs=True)
    def look(sample: str, consent: str) -> dict[str, Any]:
        """Check recording and consent against each other, before a person is asked; nothing is sent anywhere."""
        found = VoiceHook.for_connection("voice_default").look_at(sample, consent)
        ends = found["consent"].get("expires")
        last_day = (datetime.fromisoformat(ends) - timedelta(seconds=1)).date() if ends else None
        return {**found, "until": str(last_day or "it is revoked")}

    looked = look(sample=SAMPLE, consent=CONSENT)

    ask = ApprovalOperator(
        task_id="ask",
        subject="May the voice '{{ params.name }}' be cloned?",
        body="""Recording **{{ params.sample }}**, {{ ti.xcom_pull('look')['seconds'] | round(1) }} s,
sha256 `{{ ti.xcom_pull('look')['sha256'][:16] }}…`

Consent **{{ ti.xcom_pull('look')['consent']['id'] }}** (`consents/{{ params.consent }}`), holds until
{{ ti.xcom_pull('look')['until'] }}

Look at the signed release before you approve. The voice takes a clone slot.""",
        response_timeout=timedelta(days=3),
    )

    # What was looked at, by its hash: a recording or a consent that was replaced after the approval is refused.
    clone_voice = CloneVoiceOperator(
        task_id="clone_voice",
        name="{{ params.name }}",
        sample=looked,
        consent=looked["consent"],  # type: ignore[index]
    )
    TTSOperator(
        task_id="listen",
        text="This is what I sound like. If you know me, you can tell how well it went.",
        voice_id=clone_voice.output,
        output=f"{ROOT}/results/{{{{ dag.dag_id }}}}-{{{{ run_id }}}}/",
    )
    looked >> ask >> clone_voice
