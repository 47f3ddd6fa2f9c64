"""Dub a video into several languages: subtitles are spoken, fitted into their times, and the lips follow.

The subtitles lie in ``inbox/subs/``, a file a language (``de.srt``, ``fr.srt``, ``es.srt``), with the times of the
video. The presenter's voice is cloned from a recording and given back at the end; who else speaks (a subtitle that
begins with ``<v Ann>``) needs a voice at Fish Audio, named in the form. Takes are kept across runs, in
``results/dub_subtitles/``: a line that changes is one line paid, times that change cost no speech.

Needs the connections ``fish_audio_default`` and ``sync_labs_default``, and an Airflow variable ``voice_root``: the
one folder or bucket (default ``/opt/airflow/voice``) with the files in ``inbox/``; results are kept in ``results/``.

``voice-provider demo --dub`` runs this file on your machine, without a key.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task, task_group

from voice_provider.operators import (
    CloneVoiceOperator,
    DeleteVoiceOperator,
    FitLinesOperator,
    LipSyncOperator,
    SpeakLinesOperator,
)
from voice_provider.sensors import VoiceTrainedSensor

FISH_AUDIO = "fish_audio_default"
SYNC_LABS = "sync_labs_default"
ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
RESULTS = f"{ROOT}/results/{{{{ dag.dag_id }}}}-{{{{ run_id }}}}"
VIDEO = f"{ROOT}/inbox/{{{{ params.video }}}}"
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"  # no slash, no leading dot: a name in the inbox and nothing else

with DAG(
    dag_id="dub_subtitles",
    schedule=None,
    catchup=False,
    max_active_runs=1,  # one run at a time speaks into the folder of a language
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "languages": Param(
            ["de", "fr", "es"],
            type="array",
            items={"type": "string", "pattern": "^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$"},  # they become file names
            minItems=1,
            uniqueItems=True,
            title="Languages",
            description="One a line; the subtitles of 'de' are inbox/subs/de.srt.",
        ),
        "video": Param("target.mp4", type="string", pattern=FILE_NAME, title="Video to dub"),
        "sample": Param(
            "sample.mp4",
            type="string",
            pattern=FILE_NAME,
            title="Recording of the presenter",
            description="Audio or video in the inbox; it may be the video itself, if she speaks alone in it.",
        ),
        "voices": Param(
            {},
            type="object",
            additionalProperties={"type": "string", "minLength": 1},
            title="Others who speak",
            description="Each name in the subtitles, and the id of its voice at Fish Audio.",
        ),
    },
):

    @task
    def files_of(root: str, results: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Say of every language who speaks, what is read, and what is made."""
        values = params or {}
        return [
            {
                "voices": values["voices"],
                "subtitles": f"{root}/inbox/subs/{language}.srt",
                "takes": f"{root}/results/dub_subtitles/{language}/",
                "track": f"{results}/{language}.wav",
                "dubbed": f"{results}/{language}.mp4",
            }
            for language in values["languages"]
        ]

    # At Fish Audio: the presenter's voice, private and of this run.
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

    @task_group
    def dub(voices: dict[str, str], subtitles: str, takes: str, track: str, dubbed: str) -> None:
        """Dub the video into one language."""
        # All lines of a language in one task, a language at a time: together they would share what the account may.
        speak = SpeakLinesOperator(
            task_id="speak",
            voice_conn_id=FISH_AUDIO,
            lines=subtitles,
            voices=voices,
            voice_id=voice.output,
            output=takes,
            max_active_tis_per_dag=1,
        )
        # Each line to its time: a track as long as the video, and subtitles that fit it. Nothing is paid.
        fit = FitLinesOperator(
            task_id="fit",
            voice_conn_id=FISH_AUDIO,
            lines=speak.output,
            subtitles=subtitles,
            video=VIDEO,
            output=track,
            loudness="podcast",
        )
        # At sync. labs: the track is uploaded on the way, moves the lips, and is deleted there again.
        LipSyncOperator(
            task_id="lip_sync",
            voice_conn_id=SYNC_LABS,
            video=VIDEO,
            audio=fit.output,
            sync_mode="cut_off",
            output=dubbed,
            deferrable=True,
        )

    dubs = dub.expand_kwargs(files_of(root=ROOT, results=RESULTS))

    # The voice goes when all languages are through, also when one of them could not be spoken.
    delete_voice = DeleteVoiceOperator(task_id="delete_voice", voice_conn_id=FISH_AUDIO, voice=clone_voice.output)
    dubs >> delete_voice.as_teardown(setups=clone_voice)
