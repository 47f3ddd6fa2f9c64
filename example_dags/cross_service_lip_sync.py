"""Clone and speak at Fish Audio, lip sync at sync. labs, in one DAG: swapping the service is swapping the connection.

Needs the connections ``fish_audio_default`` and ``sync_labs_default``, and an Airflow variable ``voice_root``: the
one folder or bucket (default ``/opt/airflow/voice``) with the files in ``inbox/``; results are kept in ``results/``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from voice_provider.operators import CloneVoiceOperator, DeleteVoiceOperator, LipSyncOperator, TTSOperator
from voice_provider.sensors import VoiceTrainedSensor

FISH_AUDIO = "fish_audio_default"
SYNC_LABS = "sync_labs_default"
ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
RESULTS = f"{ROOT}/results/{{{{ dag.dag_id }}}}-{{{{ run_id }}}}"
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # no slash, no leading dot: a name in the inbox and nothing else

with DAG(
    dag_id="cross_service_lip_sync",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "sample": Param("speaker.wav", type="string", pattern=FILE_NAME, title="Recording of the voice"),
        "video": Param("target.mp4", type="string", pattern=FILE_NAME, title="Video to re-voice"),
        "script": Param(
            "Two services made this: one lent me the voice, the other moved my lips.",
            type="string",
            format="multiline",
            minLength=1,
            title="New line",
        ),
    },
):
    # At Fish Audio: a voice of this run, private, and a line in it.
    clone_voice = CloneVoiceOperator(
        task_id="clone_voice",
        voice_conn_id=FISH_AUDIO,
        name="Presenter",
        sample=f"{ROOT}/inbox/{{{{ params.sample }}}}",
        visibility="private",
        ephemeral=True,
    )
    voice = VoiceTrainedSensor(
        task_id="wait_until_trained", voice_conn_id=FISH_AUDIO, voice=clone_voice.output, deferrable=True
    )
    speak = TTSOperator(
        task_id="speak",
        voice_conn_id=FISH_AUDIO,
        text="{{ params.script }}",
        voice_id=voice.output,
        output=f"{RESULTS}/line.mp3",
    )

    # At sync. labs: the kept line is uploaded on the way, moves the lips, and is deleted there again.
    LipSyncOperator(
        task_id="lip_sync",
        voice_conn_id=SYNC_LABS,
        video=f"{ROOT}/inbox/{{{{ params.video }}}}",
        audio=speak.output,
        output=f"{RESULTS}/lip_sync.mp4",
        deferrable=True,
    )

    # The voice goes as soon as it has spoken, also when it could not.
    delete_voice = DeleteVoiceOperator(task_id="delete_voice", voice_conn_id=FISH_AUDIO, voice=clone_voice.output)
    speak >> delete_voice.as_teardown(setups=clone_voice)
