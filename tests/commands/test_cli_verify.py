"""``voice-provider verify``: a clear verdict on a file, and what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import write_wav
from voice_provider.cli import main
from voice_provider.files.storage import StoredFile
from voice_provider.models import Manifest
from voice_provider.operators.speech import TTSOperator
from voice_provider.trust.consent import Consent
from voice_provider.trust.provenance import MAX_RECORD
from voice_provider.trust.origin import Origin
from voice_provider.trust.provenance import keep

if TYPE_CHECKING:
    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

SCRIPT = "A most confidential sentence, which nobody may read."
WHO = "the person who speaks"
CONSENT = Consent(who=WHO, when="2026-03-31", evidence="s3://releases/7.pdf").ref.dump()
VOICE = {"voice_id": "EXAVITQu4vr4xnSDxMaL", "name": "Ann", "samples": ["a" * 64], "consent": CONSENT}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def kept(task: Task, output: str) -> str:
    task.ti.map_index = 3
    operator = TTSOperator(task_id="t", text=SCRIPT, voice_id=VOICE, stability=0.4, output=output)
    return str(task.run(operator)["uri"])


@pytest.fixture
def result(emulator: EmulatorHandle, task: Task, tmp_path: Path) -> Path:
    return Path(kept(task, f"{tmp_path}/out/line.mp3"))


def record(result: Path) -> Path:
    return result.with_name(f"{result.name}.provenance.json")


def test_a_track_of_ten_thousand_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track = write_wav(tmp_path / "track.wav")
    told = StoredFile(str(track)).describe()
    takes = tuple({"role": "take", "id": f"line {number}", "sha256": f"{number:064x}"} for number in range(10_000))
    keep(Manifest(service="sync_labs", kind="speech", format="wav", **told), Origin(inputs=takes), None)
    assert main(["verify", str(track)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"id line 19, role take, sha256 {19:064x}" in shown
    assert "line 20," not in shown
    assert "and 9,980 more" in shown
    assert main(["verify", str(track), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["provenance"]["inputs"]) == 10_000


def test_a_file_that_is_what_was_kept(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["verify", str(result)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "speech by sync_labs",
        f"{result.stat().st_size:,} bytes",
        "DAG dag, run run, task task [3]",
        f"Ann id {VOICE['voice_id']}",
        f"sha256 {'a' * 64}",
        f"{CONSENT['id']}, sha256 {CONSENT['sha256']}",
        "stability │ 0.4",
        f'"characters": {len(SCRIPT)}',
        f"Matches: {result} is what was kept.",
    ):
        assert words in told
    assert WHO not in told
    assert SCRIPT not in told
    assert "\x1b" not in told


def test_json_is_one_object(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["verify", str(result), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    written = json.loads(record(result).read_text())
    assert told == {"file": str(result), "matches": True, "problem": None, "provenance": written}


def test_a_relative_path_and_the_record_itself_name_the_file_too(
    result: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(result.parent)
    assert main(["verify", "line.mp3"]) == 0
    assert main(["verify", "line.mp3.provenance.json"]) == 0
    assert main(["verify", f"file://{result}"]) == 0
    assert main(["verify", "wav.line"]) == 1
    assert "There is no file at" in capsys.readouterr().out


def change_a_byte(result: Path) -> None:
    content = bytearray(result.read_bytes())
    content[len(content) // 2] ^= 1
    result.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (change_a_byte, "is not the file that was kept"),
        (lambda result: result.write_bytes(result.read_bytes()[:-1]), "is not the file that was kept"),
        (lambda result: result.unlink(), "There is no file at"),
        (lambda result: (result.unlink(), result.mkdir()), "There is no file at"),
        (lambda result: record(result).unlink(), "There is no record beside it"),
        (lambda result: record(result).write_text("{"), "cannot be read (no JSON)"),
        (lambda result: record(result).write_bytes(b"\xff\xfe"), "cannot be read (no JSON)"),
        (lambda result: record(result).write_text("[]"), "cannot be read"),
        (lambda result: record(result).write_text('{"schema": "x"}'), "cannot be read (schema, file, made, kept_at)"),
        (lambda result: record(result).write_text(" " * MAX_RECORD + record(result).read_text()), "cannot be read"),
    ],
    ids=[
        "one byte", "cut short", "gone", "a folder", "no record", "no JSON", "no text", "no object", "other", "too long"
    ],
)  # fmt: skip
def test_a_file_that_is_not_or_of_which_nothing_is_known(
    result: Path, damage: Any, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(result)
    capsys.readouterr()
    assert main(["verify", str(result)]) == 1
    shown = capsys.readouterr().out
    assert ("Does not match: " if "is not the file" in told else "Nothing is known of it: ") in shown
    assert told in shown
    assert main(["verify", str(result), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["matches"] is False
    assert told in answer["problem"]


def test_it_works_on_an_object_store(
    emulator: EmulatorHandle, task: Task, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = kept(task, "s3://studio/night/line.mp3")
    assert main(["verify", uri]) == 0
    s3.pipe("studio/night/line.mp3", s3.cat("studio/night/line.mp3")[:-1] + b"x")
    assert main(["verify", uri]) == 1
    assert main(["verify", "s3://studio/night/other.mp3"]) == 1
    assert main(["verify", "nothing://here/x.mp3"]) == 1
    told = capsys.readouterr().out
    assert "There is no file at s3://studio/night/other.mp3" in told
    assert "Unsupported filesystem: 'nothing'" in told


def test_a_record_cannot_speak_to_the_terminal(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(record(result).read_text())
    found["voice"]["name"] = "\x1b]0;owned\x07[bold]Ann[/bold]"
    record(result).write_text(json.dumps(found))
    capsys.readouterr()
    assert main(["verify", str(result)]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "[bold]Ann[/bold]" in told


def test_the_help_says_what_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--help"])
    assert stop.value.code == 0
    assert "a record, not a signature" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit) as stop:
        main(["verify"])
    assert stop.value.code == 2
