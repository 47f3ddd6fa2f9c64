"""The first command of the README, with real speech and real pictures: what it must show, measured on its results."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conftest import without_records, write_mp4, write_wav
from tests.emulator.engine.measure import measure, pitch_of
from voice_provider.demo.airflow_home import AirflowHome, AirflowStandalone
from voice_provider.demo.scenarios import DUBBED_LINES
from voice_provider.emulator import API_KEY
from voice_provider.files.filters import samples
from voice_provider.files.filters import silences as silences_of
from voice_provider.lines.script import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.system
DEMO = [sys.executable, "-m", "voice_provider.cli", "demo"]


@dataclass
class Done:
    """A finished demo."""

    output: str
    folder: Path
    seconds: float
    temporary: Path
    trace: str  # every address that was connected or sent to, where there is strace to see it

    def file(self, name: str) -> Path:
        (found,) = without_records(path.name for path in self.folder.glob(f"{name}.*"))
        return self.folder / found


def run(folder: Path, *arguments: str, traced: bool = False) -> Done:
    temporary, trace = folder.parent / f"{folder.name}.tmp", folder.parent / f"{folder.name}.trace"
    temporary.mkdir()
    tracer = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)] if traced else []
    began = time.monotonic()
    done = subprocess.run(
        [*tracer, *DEMO, "--output", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    return Done(done.stdout, folder, seconds, temporary, trace.read_text() if traced else "")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return run(tmp_path_factory.mktemp("demo"), traced=shutil.which("strace") is not None)


def check_media(video: Path, speech: Path) -> None:
    """One video and one audio stream; the sound is the speech, in its place; the mouth follows it."""
    found = measure(video, speech)
    print(found)
    assert found.streams == {"video": 1, "audio": 1}
    assert found.seconds == pytest.approx(found.speech_seconds, abs=0.15)
    assert found.audio_offset == pytest.approx(0, abs=0.15)
    assert found.correlation_smoothed >= 0.9
    assert found.correlation_plain >= 0.8


def test_results_are_what_was_promised(demo: Done, record_property: pytest.RecordProperty) -> None:
    record_property("seconds", round(demo.seconds, 1))
    print(f"the demo took {demo.seconds:.1f} s")
    check_media(demo.file("lip_sync"), demo.file("speech"))
    assert "no voice and no uploaded file" in demo.output
    names = without_records(path.name for path in demo.folder.iterdir())
    assert names == ["lip_sync.mp4", "sample.mp4", demo.file("speech").name, "target.mp4"]
    assert "approximate voice match" in demo.output


def test_nothing_stays_in_the_temporary_folder(demo: Done) -> None:
    assert not list(demo.temporary.iterdir())


@pytest.mark.skipif(not shutil.which("strace"), reason="apt-get install strace, to see whom the demo talks to")
def test_nothing_leaves_the_machine(demo: Done) -> None:
    hosts = set(re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', demo.trace))
    assert {four or six for four, six in hosts} == {"127.0.0.1"}


def test_speech_has_the_pitch_of_the_sample(demo: Done) -> None:
    assert pitch_of(demo.file("speech")) == pytest.approx(pitch_of(demo.file("sample")), rel=0.08)


def test_other_files_and_another_line(demo: Done, tmp_path: Path) -> None:
    sample, video = demo.file("speech"), demo.file("sample")
    line = "Something else entirely, from other files."
    done = run(tmp_path / "out", "--sample", str(sample), "--video", str(video), "--script", line)
    check_media(done.file("lip_sync"), done.file("speech"))
    assert "no voice and no uploaded file" in done.output
    assert [name.partition(".")[0] for name in without_records(path.name for path in done.folder.iterdir())] == [
        "lip_sync",
        "speech",
    ]
    assert pitch_of(done.file("speech")) == pytest.approx(pitch_of(sample), rel=0.08)


def test_a_dub_is_heard_in_its_times_in_the_presenters_voice_and_the_lips_follow(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--dub")
    video, track, srt = (done.folder / f"dubbed.{ending}" for ending in ("mp4", "wav", "srt"))
    check_media(video, track)
    assert "no voice and no uploaded file" in done.output
    cues = read_lines(srt.read_bytes(), "dubbed.srt")
    assert [cue.start for cue in cues] == [start for start, *_ in DUBBED_LINES]
    assert all((cue.end or 0) <= (after.start or 0) for cue, after in itertools.pairwise(cues))
    with track.open("rb") as file:
        seconds, silences = silences_of(samples(file))
    ends = [0.0, *(second for span in silences for second in span), seconds]
    spoken = [(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True) if end - start > 0.02]
    assert spoken
    for start, end in spoken:
        assert any((cue.start or 0) - 0.04 <= start and end <= (cue.end or 0) + 0.04 for cue in cues), (start, end)
    assert pitch_of(track) == pytest.approx(pitch_of(done.folder / "sample.mp4"), rel=0.08)
    assert not list(done.temporary.iterdir())


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    write_wav(tmp_path / "a.wav")
    write_mp4(tmp_path / "b.mp4")
    files = ["--sample", str(tmp_path / "a.wav"), "--video", str(tmp_path / "b.mp4"), "--output", str(tmp_path / "out")]
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [*DEMO, "--ui", "--engine", "tone", *files],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


def test_ui_runs_the_dag_in_a_real_airflow_until_it_is_stopped(ui: subprocess.Popen[str], tmp_path: Path) -> None:
    assert ui.stdout is not None
    url = next(found[0] for line in ui.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    airflow = AirflowStandalone(AirflowHome(tmp_path / "client"))
    airflow.url = url
    [listed] = airflow.call("GET", "connections")["connections"]
    tested = airflow.call("POST", "connections/test", {**listed, "password": API_KEY})
    assert tested["status"], tested
    [first] = airflow.call("GET", "dags/clone_to_lip_sync/dagRuns")["dag_runs"]  # begun by the demo itself
    assert airflow.wait("clone_to_lip_sync", first["dag_run_id"], 120) == "success"
    here = "/voice/connections/voice_default"
    page = {part: airflow._call("GET", f"{here}/{part}") for part in ("voices", "jobs", "results")}
    assert {voice["name"] for voice in page["voices"]["voices"]} >= {"Campaign", "Made by hand", "Narrator"}
    assert [job["dag_id"] for job in page["jobs"]["jobs"]] == ["clone_to_lip_sync"]
    assert {found["obstacle"] for found in page["results"]["results"]} == {None}, "they play"
    assert {found["kind"] for found in page["results"]["results"]} == {"speech", "lip_sync"}
    [paid_by] = airflow._call("GET", "/voice/money")["by"]["connection"]
    assert (paid_by["name"], paid_by["results"]) == ("voice_default (sync. labs)", 2)
    assert paid_by["usd"]["computed"] > 0
    run_id = airflow.trigger("clone_to_lip_sync", {"sample": "sample.wav"})
    assert airflow.wait("clone_to_lip_sync", run_id, 120) == "success"
    states = {task: ti["state"] for task, ti in airflow.task_instances("clone_to_lip_sync", run_id).items()}
    assert set(states.values()) == {"success"}, states
    ui.send_signal(signal.SIGINT)
    assert ui.wait(60) == 130
    assert not list((tmp_path / "tmp").iterdir())
    assert list((tmp_path / "out" / "results").glob("*/lip_sync.mp4"))
