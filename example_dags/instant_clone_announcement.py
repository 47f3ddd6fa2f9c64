"""Speak an announcement in somebody's voice from one recording, with no voice to create, to wait for or to delete.

Needs a connection ``voice_default`` of type ``fish_audio`` and an Airflow variable ``voice_root``: the one folder or
bucket (default ``/opt/airflow/voice``) in whose ``inbox/`` the recording lies and in whose ``results/`` the
announcement is kept. What is typed into the form names a file in there and cannot reach outside.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from voice_provider.operators import TTSOperator, UploadAssetOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"

with DAG(
    dag_id="instant_clone_announcement",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "recording": Param(
            "speaker.wav",
            type="string",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            title="Recording",
            description="wav, mp3, m4a or opus in the inbox; 10 to 30 s of one clear speaker is best.",
        ),
        "transcript": Param(
            "This is how I speak when nobody is in a hurry.",
            type="string",
            minLength=1,
            title="What is said in the recording",
            description="Word for word: it sharpens the pronunciation.",
        ),
        "announcement": Param(
            "Good morning. The library opens at ten today, and there is coffee on the second floor.",
            type="string",
            format="multiline",
            minLength=1,
            title="Announcement",
        ),
        "speed": Param(1.0, type="number", minimum=0.5, maximum=2.0, title="Speed"),
    },
):
    # Look at the recording before anything is paid: is it sound, is it whole, how long is it?
    check_recording = UploadAssetOperator(task_id="check_recording", file=f"{ROOT}/inbox/{{{{ params.recording }}}}")

    # Speak in that voice, this once. The audio streams to its place.
    TTSOperator(
        task_id="announce",
        text="{{ params.announcement }}",
        references=[{"audio": check_recording.output, "text": "{{ params.transcript }}"}],
        speed="{{ params.speed }}",
        output=f"{ROOT}/results/{{{{ dag.dag_id }}}}-{{{{ run_id }}}}/announcement.mp3",
    )
