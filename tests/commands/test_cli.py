"""The command line, and the demo with placeholder media: what a person sees, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from rich.console import Console

from tests.conftest import length_of, write_mp4, write_wav
from voice_provider import __version__
from voice_provider.cli import main
from voice_provider.demo import inputs
from voice_provider.demo.airflow_home import AirflowHome, example_dag
from voice_provider.demo.scenarios import DUB, NEW_LINE
from voice_provider.demo.screen import LineScreen, TableScreen, open_screen
from voice_provider.demo.steps import Step, Story, read_tasks
from voice_provider.demo.summary import fitted, ui_command
from voice_provider.demo.workplace import Clips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.demo.scenarios import Scenario

DEMO = [sys.executable, "-m", "voice_provider.cli", "demo", "--engine", "tone"]


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    sample, video = write_wav(tmp_path / "my sample.wav"), write_mp4(tmp_path / "my video.mp4")
    return ["--sample", str(sample), "--video", str(video), "--output", str(tmp_path / "out")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A temporary folder of its own, to see what stays in it, and an Airflow of the user's that must not matter."""
    (tmp_path / "tmp").mkdir()
    mine = {
        "TMPDIR": str(tmp_path / "tmp"),
        "AIRFLOW_HOME": str(tmp_path / "my-airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "my-dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/mine.db",
        "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps({"conn_type": "sync_labs", "password": "the-real-key"}),
    }
    return {**{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}, **mine}


def run(arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def left_processes(environment: dict[str, str]) -> list[str]:
    """Command lines of processes that were started with our temporary folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == environment["TMPDIR"]:
                found.append(" ".join(process.cmdline()))
    return found


def test_demo_leaves_the_results_and_nothing_else(
    clips: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(clips, environment)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for task in NEW_LINE.tasks:
        assert re.search(rf"\({task}\): done after \d+\.\d s", done.stdout), task
    assert "no voice and no uploaded file" in done.stdout
    assert "Lip sync" in done.stdout
    assert "--ui" in done.stdout.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "lip_sync.mp4",
        "lip_sync.mp4.provenance.json",
        "speech.mp3",
        "speech.mp3.provenance.json",
    ]
    assert main(["verify", str(tmp_path / "out" / "lip_sync.mp4")]) == 0  # the first thing that one has
    assert not list((tmp_path / "tmp").iterdir())
    assert not list(tmp_path.glob("m*-airflow"))
    assert not (tmp_path / "mine.db").exists()
    assert not left_processes(environment)


def test_a_given_sample_and_the_drawn_clip_of_that_name_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    mine = write_mp4(tmp_path / "mine.mp4")

    def popen(*command: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, **options)

    order = inputs.Order(DUB, None, mine, None, tmp_path / "out", engine="tone")
    place: Any = SimpleNamespace(order=order, folder=tmp_path, inbox=tmp_path / "inbox", popen=popen)
    clips = Clips(place, Step("Draw"))
    clips.begin()
    while not clips.ready():
        time.sleep(0.02)
    assert clips.params == {"sample": "sample.mp4", "video": "target.mp4"}
    assert (tmp_path / "inbox" / "sample.mp4").read_bytes() == mine.read_bytes()
    assert length_of(tmp_path / "inbox" / "target.mp4") == pytest.approx(17.6, abs=0.01)


def test_dub_without_the_extra_makes_placeholders_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inputs, "find_spec", lambda name: None if name == "cv2" else name)
    (tmp_path / "file").touch()
    assert main(["demo", "--dub", "--output", f"{tmp_path}/file/out"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "Without cv2 there will be tones and a grey card" in error
    assert "'airflow-provider-voice[local]'" in error
    assert "file/out cannot be written" in error, "nothing else is wrong"


def test_what_was_done_to_a_line_is_said_in_words() -> None:
    plain = {"tempo": 1.0, "removed": 0.0, "overflow": 0.0, "late": 0.0}
    cases: list[tuple[dict[str, float], str]] = [
        ({}, "as spoken"),
        ({"tempo": 0.9}, "10 % slower"),
        ({"removed": 0.31, "tempo": 1.15}, "0.31 s less silence, 15 % faster"),
        ({"tempo": 1.2, "overflow": 0.7}, "20 % faster, 0.70 s too long"),
        ({"late": 0.25}, "0.25 s late"),
    ]
    for change, words in cases:
        assert fitted({**plain, **change}) == words


def test_failed_demo_names_the_task_and_the_reason_and_keeps_the_logs(
    clips: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    write_wav(Path(clips[1]), seconds=0.4)
    script = "Zebras dance at noon."
    done = run([*clips, "--script", script], environment)
    assert done.returncode == 1
    assert "clone_voice: POST /v2/voices" in done.stderr
    assert "at least 1 s" in done.stderr
    assert "delete_uploads): done" in done.stdout
    logs = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in logs] == ["airflow.log", "emulator.log"]
    assert not any(script in path.read_text() for path in logs)
    assert not list((tmp_path / "tmp").iterdir())


def until_there(folder: Path, pattern: str) -> None:
    """Wait for a file of the demo's: where it is then does not depend on how busy the machine is."""
    deadline = time.monotonic() + 60
    while not any(folder.glob(pattern)):
        assert time.monotonic() < deadline, pattern
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "there"), [(signal.SIGINT, "*/emulator/state.sqlite"), (signal.SIGTERM, "*/airflow/airflow.db")]
)
def test_stopped_demo_takes_everything_with_it(
    clips: list[str], environment: dict[str, str], tmp_path: Path, number: signal.Signals, there: str
) -> None:
    process = subprocess.Popen([*DEMO, *clips], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until_there(tmp_path / "tmp", there)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert not list((tmp_path / "tmp").iterdir())
    assert not left_processes(environment)


def test_keep_leaves_the_work_folder_and_says_where(
    clips: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen([*DEMO, *clips, "--keep"], env=environment, stdout=subprocess.PIPE, text=True)
    until_there(tmp_path / "tmp", "*/emulator/state.sqlite")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    (kept,) = (tmp_path / "tmp").iterdir()
    assert f"kept in {kept}" in output
    assert (kept / "airflow").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "{}/missing.wav"], "missing.wav cannot be read: no such file or directory."),
        (["--sample", "{}/empty.wav"], "empty.wav is unusable: it is empty"),
        (["--sample", "{}/text.mp4"], "text.mp4 is unusable: its 5 bytes are no audio, video or image. Give audio or"),
        (["--sample", "{}"], "cannot be read: is a directory."),
        (["--video", "{}/my sample.wav"], "my sample.wav is audio (wav). Give video."),
        (["--script", " "], "The script is empty."),
        (["--dub", "--script", "Hi."], "This demo speaks subtitles of its own. Leave --script out."),
        (["--script", "a" * 5001], "The script has 5,001 characters; at most 5,000 are allowed."),
        (["--output", "{}/text.mp4/out"], "text.mp4/out cannot be written"),
        (
            ["--engine", "local", "--script", "こんにちは"],
            "cannot be spoken here: The local engine speaks English only.",
        ),
    ],
)
def test_wrong_input_is_told_in_a_sentence_before_anything_starts(
    clips: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: pytest.fail("something was started"))
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp4").write_text("words")
    given = [argument.format(tmp_path) for argument in arguments]
    assert main(["demo", "--engine", "tone", *clips, *given]) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inputs, "find_spec", lambda name: None if name == "cv2" else name)
    assert main(["demo", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "not installed (cv2)" in error
    assert "'airflow-provider-voice[local]'" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--port", "1"], "demo has no argument '--port'; 'voice-provider demo --help' shows those it has"),
        (["demo", "--output", ""], "argument --output: is empty; name a folder, or leave it out"),
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_unknown_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "usage: voice-provider" in error
    assert message in error


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"airflow-provider-voice {__version__}\n"


def test_emulator_takes_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["emulator", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: voice-provider emulator ")
    assert "--data-dir" in shown
    assert "clone_slots=10" in shown  # a key of --set


def test_environment_has_nothing_of_the_users_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", "mine")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "mine")
    monkeypatch.setenv("_AIRFLOW_DB", "mine")
    found = AirflowHome(tmp_path).environment(AIRFLOW_VAR_X="1")
    assert "mine" not in found.values()
    assert found["AIRFLOW_HOME"] == str(tmp_path)
    assert found["AIRFLOW_VAR_X"] == "1"
    assert found["PATH"].startswith(str(Path(sys.executable).parent))
    assert "127.0.0.1" in found["NO_PROXY"]


def test_example_dag_is_found_and_knows_the_story() -> None:
    source = example_dag("clone_to_lip_sync.py").read_text()
    assert set(re.findall(r'task_id="(\w+)"', source)) == set(NEW_LINE.tasks)
    with pytest.raises(FileNotFoundError):
        example_dag("missing.py")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("scenario", [NEW_LINE, DUB], ids=["new_line", "dub"])
def test_table_fits_the_terminal(width: int, scenario: Scenario) -> None:
    story = Story(Step("Draw and voice two presenters"), scenario.tasks)
    story.clips.begin()
    story.tasks[scenario.lip_sync].begin()
    story.tasks[scenario.lip_sync].share = 0.45
    story.tasks["delete_voice"].end("failed")
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=width)
    with open_screen(console, story) as screen:
        assert isinstance(screen, TableScreen)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    assert "…" not in plain
    for step in story:
        assert f"{step.label} " in plain
        assert step.task_id in plain
    assert max(map(len, plain.splitlines())) <= width


def test_no_terminal_gets_a_line_for_each_change() -> None:
    story = Story(Step("Take the files"), NEW_LINE.tasks)
    output = io.StringIO()
    with open_screen(Console(file=output, width=40), story) as screen:
        assert isinstance(screen, LineScreen)
        story.clips.begin()
        screen.update()
        screen.update()
        story.clips.end()
    lines = [line.partition("s  ")[2] for line in output.getvalue().splitlines()]
    assert lines == ["Take the files: running", "Take the files: done after 0.0 s"]


def test_missing_database_is_no_news(tmp_path: Path) -> None:
    story = Story(Step("Take the files"), NEW_LINE.tasks)
    read_tasks(tmp_path / "airflow.db", story)
    assert {step.state for step in story} == {"waiting"}
    assert not list(tmp_path.iterdir())


def test_ui_command_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "a venv" / "bin" / "voice-provider"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert ui_command(["--sample", "a b.wav"]) == "'a venv/bin/voice-provider' demo --sample 'a b.wav' --ui"
    monkeypatch.setenv("PATH", str(script.parent))
    assert ui_command([]) == "voice-provider demo --ui"
