"""What the demo can show: an example DAG, what it needs, and what a person finds afterwards; the rest is shared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPT = "Good morning. Nobody ever recorded me saying this, and the voice is borrowed, too."
# The times are those of the sentences in the clip that is drawn.
DUBBED_LINES: tuple[tuple[float, float, dict[str, str]], ...] = (
    (
        0.3,
        2.2,
        {
            "de": "Hallo und willkommen.",
            "es": "Hola, y bienvenidos.",
            "fr": "Bonjour, et bienvenue.",
        },
    ),
    (
        2.95,
        5.75,
        {
            "de": "Seit elf Jahren lese ich hier die Abendnachrichten.",
            "es": "Llevo once años leyendo aquí las noticias.",
            "fr": "Depuis onze ans, je lis ici le journal du soir.",
        },
    ),
    (
        6.45,
        10.4,
        {
            "de": "Manche sind lang, manche kurz, einige sogar gut.",
            "es": "Unas son largas, otras cortas, algunas incluso buenas.",
            "fr": "Certaines sont longues, d'autres courtes, parfois même bonnes.",
        },
    ),
    (
        11.05,
        17.1,
        {
            "de": "Heute geht es um eine kleine Bäckerei, einen geduldigen Hund und die längste Schlange der Stadt.",
            "es": "Hoy les hablo de una pequeña panadería, un perro paciente y la cola más larga de la ciudad.",
            "fr": "Ce soir, une petite boulangerie, un chien très patient et la plus longue file de la ville.",
        },
    ),
)


def _time(seconds: float) -> str:
    """Write a time as SubRip has it; what writes subtitles in a DAG imports Airflow, and this must not."""
    return f"00:00:{seconds:06.3f}".replace(".", ",")


@dataclass(frozen=True)
class Lines:
    """Where a scenario tells of its lines.

    :param texts: of the lines, by their ids
    :param manifest: of the takes, below the root
    :param cues: pattern of the track's cue sheet, below the root
    """

    texts: Mapping[str, str]
    manifest: str
    cues: str


@dataclass(frozen=True)
class Scenario:
    """One thing to show.

    :param dag: id of the DAG that is run, and name of its file in ``example_dags``
    :param introduction: what a person is told first
    :param tasks: label of each task, by its id, in the order of the story
    :param lip_sync: id of the task whose job tells how far it is
    :param connections: service and settings of each connection, by its id
    :param clips: which clip is drawn where no file is given, by the DAG's parameter for it
    :param inputs: what the files are called in the summary, by that parameter
    :param results: pattern below ``results/``, by name in the output folder and what it is called in the summary
    :param form: title and default, in the DAG's form, of each parameter that the demo may set otherwise
    :param script: what is spoken; None: what is in ``inbox``
    :param conf: further parameters of the run
    :param inbox: texts that are put there, by file name
    :param lines: where the lines are told of, if there are any
    :param note: what the local engine cannot do
    :param placeholders: whether tones and a grey card are shown where the local engine is not installed
    """

    dag: str
    introduction: str
    tasks: Mapping[str, str]
    lip_sync: str
    connections: Mapping[str, tuple[str, Mapping[str, str]]]
    clips: Mapping[str, str]
    inputs: Mapping[str, str]
    results: tuple[tuple[str, str, str], ...]
    form: Mapping[str, tuple[str, str]]
    script: str | None = None
    conf: Mapping[str, Any] = field(default_factory=dict)
    inbox: Mapping[str, str] = field(default_factory=dict)
    lines: Lines | None = None
    note: str = ""
    placeholders: bool = False


NEW_LINE = Scenario(
    dag="clone_to_lip_sync",
    introduction="A real Airflow DAG clones a voice, speaks with it and moves the lips in a video.",
    tasks={
        "upload_sample": "Upload the sample",
        "clone_voice": "Clone the voice in it",
        "wait_until_trained": "Wait until it is trained",
        "speak": "Order a new line in it",
        "speech_complete": "Fetch the speech",
        "upload_target": "Upload the video to re-voice",
        "lip_sync": "Move the lips to the line",
        "delete_voice": "Give the clone slot back",
        "delete_uploads": "Delete the uploaded files",
    },
    lip_sync="lip_sync",
    connections={"voice_default": ("sync_labs", {"tts_mode": "jobs"})},
    clips={"sample": "sample", "video": "target"},
    inputs={"sample": "Voice taken from", "video": "Lips moved in"},
    results=(("Video", "lip_sync", "*/lip_sync.mp4"), ("Speech", "speech", "*/speech/*")),
    form={
        "sample": ("Voice sample", "sample.mp4"),
        "video": ("Video to re-voice", "target.mp4"),
        "script": ("New line", SCRIPT),
    },
    script=SCRIPT,
)

DUB = Scenario(
    dag="dub_subtitles",
    introduction="A real Airflow DAG dubs a video: it speaks subtitles in the presenter's own voice, fits them into "
    "their times, and moves the lips.",
    tasks={
        "files_of": "Look what is to be dubbed",
        "clone_voice": "Clone the presenter's voice",
        "wait_until_trained": "Wait until it is trained",
        "dub.speak": "Speak the subtitles in it",
        "dub.fit": "Fit them into their times",
        "dub.lip_sync": "Move the lips to the track",
        "delete_voice": "Give the clone slot back",
    },
    lip_sync="dub.lip_sync",
    connections={"fish_audio_default": ("fish_audio", {}), "sync_labs_default": ("sync_labs", {})},
    clips={"sample": "sample", "video": "sample"},
    inputs={"sample": "Voice taken from", "video": "Dubbed from"},
    results=(
        ("Video", "dubbed", "*/de.mp4"),
        ("Subtitles", "dubbed", "*/de.fitted.srt"),
        ("Track", "dubbed", "*/de.wav"),
    ),
    form={"sample": ("Recording of the presenter", "sample.mp4"), "video": ("Video to dub", "target.mp4")},
    conf={"languages": ["de"]},
    inbox={
        f"subs/{language}.srt": "\n".join(
            f"{number}\n{_time(start)} --> {_time(end)}\n{texts[language]}\n"
            for number, (start, end, texts) in enumerate(DUBBED_LINES, 1)
        )
        for language in ("de", "es", "fr")
    },
    lines=Lines(
        texts={str(number): texts["de"] for number, (_, _, texts) in enumerate(DUBBED_LINES, 1)},
        manifest="results/dub_subtitles/de/manifest.jsonl",
        cues="results/dub_subtitles-*/de.cues.json",
    ),
    note="It reads German as if it were English.",
    placeholders=True,
)
