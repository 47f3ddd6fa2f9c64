"""Make an audiobook of a text file: spoken, checked, and joined to one track with chapters, as loud as audiobooks are.

The text is plain, in UTF-8, its paragraphs parted by empty lines; a line ``# The title`` or ``Chapter 1`` begins a
chapter. Each paragraph is a line of its own, a long one is cut between its sentences. So when the text is corrected
only what has changed is spoken again, and the track is made anew from the takes that are there. A take that is not
what the text says is spoken once more; where it is still wrong then, no track is made.

Needs a connection ``voice_default``, a voice there, and an Airflow variable ``voice_root``: the one folder or bucket
(default ``/opt/airflow/voice``) with the text in ``inbox/``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from voice_provider import checked_lines
from voice_provider.operators import JoinLinesOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"
BOOK = f"{ROOT}/results/audiobook/{{{{ params.text.rpartition('.')[0] }}}}"

with DAG(
    dag_id="audiobook",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "text": Param(
            "book.txt",
            type="string",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(txt|md)$",
            title="Text",
            description="A .txt or .md file in the inbox.",
        ),
        "voice_id": Param(
            "narrator", type="string", minLength=1, title="Voice", description="Id at the service; it reads the book."
        ),
        "transcribe": Param(
            True,
            type="boolean",
            title="Listen",
            description="Compare the words that are heard with the text; the service may bill it by the second.",
        ),
        "redo": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Speak these again",
            description="Numbers of lines, one a line, as in the manifest: their takes are deleted and bought anew.",
        ),
    },
):
    spoken = checked_lines(
        f"{ROOT}/inbox/{{{{ params.text }}}}",
        f"{BOOK}/",
        rounds=1,
        voice_id="{{ params.voice_id }}",
        redo="{{ params.redo }}",
        check={"transcribe": "{{ params.transcribe }}"},
    )
    JoinLinesOperator(
        task_id="join", lines=spoken, gap=0.6, chapter_gap=2.0, loudness="audiobook", output=f"{BOOK}.m4a"
    )
