"""Clone a speaker's voice from a talking-head video, speak a new line in it, and lip sync that onto another video.

Needs a connection ``voice_default`` (type ``sync_labs``) and an Airflow variable ``voice_root``: the one folder or
bucket (default ``/opt/airflow/voice``) in whose ``inbox/`` the two videos lie and in whose ``results/`` everything
is kept. What is typed into the form names files in there and cannot reach outside.

``voice-provider demo`` runs this file on your machine, without a key.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from voice_provider.operators import (
    CloneVoiceOperator,
    DeleteAssetOperator,
    DeleteVoiceOperator,
    LipSyncOperator,
    TTSOperator,
    UploadAssetOperator,
)
from voice_provider.sensors import TTSCompleteSensor, VoiceTrainedSensor

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
RESULTS = f"{ROOT}/results/{{{{ dag.dag_id }}}}-{{{{ run_id }}}}"
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # no slash, no leading dot: a name in the inbox and nothing else

with DAG(
    dag_id="clone_to_lip_sync",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["voice", "example"],
    # From Airflow 3.3 on, "retry_policy": voice_retry_policy() waits as the errors say.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "sample": Param(
            "sample.mp4",
            type="string",
            pattern=FILE_NAME,
            title="Voice sample",
            description="Audio or video in the inbox; 30 s to 2 minutes of one clear speaker is best.",
        ),
        "video": Param(
            "target.mp4",
            type="string",
            pattern=FILE_NAME,
            title="Video to re-voice",
            description="Video in the inbox whose lips are to move.",
        ),
        "script": Param(
            "Good morning. Nobody ever recorded me saying this, and the voice is borrowed, too.",
            type="string",
            format="multiline",
            minLength=1,
            maxLength=5000,
            title="New line",
            description="What the presenter is to say; at most 5,000 characters.",
        ),
        "voice_name": Param("Presenter", type="string", minLength=1, maxLength=40, title="Name of the voice"),
        "model": Param(
            "lipsync-2",
            type="string",
            enum=["lipsync-2", "lipsync-2-pro", "sync-3"],
            title="Lip sync model",
        ),
        "sync_mode": Param(
            "bounce",
            type="string",
            enum=["bounce", "loop", "cut_off", "silence", "remap"],
            title="When video and line differ in length",
        ),
    },
):
    # Upload the sample. Voices are cloned from files in the service's own storage.
    upload_sample = UploadAssetOperator(task_id="upload_sample", file=f"{ROOT}/inbox/{{{{ params.sample }}}}")

    # Clone the voice; it belongs to this run and takes one clone slot of the plan.
    clone_voice = CloneVoiceOperator(
        task_id="clone_voice", name="{{ params.voice_name }}", sample=upload_sample.output, ephemeral=True
    )
    wait_until_trained = VoiceTrainedSensor(task_id="wait_until_trained", voice=clone_voice.output, deferrable=True)

    # Synthesize a new line in the cloned voice: order it, then wait for it and keep it.
    speak = TTSOperator(
        task_id="speak",
        text="{{ params.script }}",
        voice_id=wait_until_trained.output,
        output=f"{RESULTS}/speech/",
        wait_for_completion=False,
    )
    speech = TTSCompleteSensor(task_id="speech_complete", job=speak.output, deferrable=True)

    # Lip sync the line onto a different video, and keep the result.
    upload_target = UploadAssetOperator(task_id="upload_target", file=f"{ROOT}/inbox/{{{{ params.video }}}}")
    lip_sync = LipSyncOperator(
        task_id="lip_sync",
        video=upload_target.output,
        audio=speech.output,
        model="{{ params.model }}",
        sync_mode="{{ params.sync_mode }}",
        output=f"{RESULTS}/lip_sync.mp4",
        deferrable=True,
    )

    # Give the clone slot and the uploads back, also when a step in between has failed.
    delete_voice = DeleteVoiceOperator(task_id="delete_voice", voice=clone_voice.output)
    delete_uploads = DeleteAssetOperator(task_id="delete_uploads", asset=[upload_sample.output, upload_target.output])
    speech >> delete_voice.as_teardown(setups=clone_voice, on_failure_fail_dagrun=True)
    clone_voice >> delete_uploads
    # Not on_failure_fail_dagrun here: with it, Airflow would take the state of the run from this task alone, and a
    # run whose lip sync has failed would count as a success.
    lip_sync >> delete_uploads.as_teardown(setups=[upload_sample, upload_target])
