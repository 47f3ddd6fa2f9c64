"""``voice-provider jobs``: what was ordered, may be paid and was not collected, and how a person collects it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.operators.test_state_location import OldTask
from voice_provider.cli import main
from voice_provider.exceptions import JobTimeoutError, NotPublishedError, OutcomeUnknownError
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.trust import provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


@pytest.fixture(autouse=True)
def _process_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets it for its process; here it is undone."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


@pytest.fixture
def state(tmp_path: Path, set_connection: Callable[..., None]) -> Path:
    set_connection(tts_mode="jobs", state_location=str(tmp_path / "state"))
    return tmp_path / "state"


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["jobs", "list", "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def speak(tmp_path: Path, text: str = "Hello there.", **more: Any) -> TTSOperator:
    return TTSOperator(task_id="t", text=text, voice_id=BUILT_IN, output=f"{tmp_path}/out/", **more)


def leave_a_job(emulator: EmulatorHandle, tmp_path: Path) -> tuple[OldTask, str]:
    """Let a task order one thing, and then, asked for another, leave the first one at the service."""
    task = OldTask()
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(speak(tmp_path, timeout=0))
    [first] = emulator.ledger("speech")
    task.next_try()
    with pytest.raises(JobTimeoutError):
        task.run(speak(tmp_path, "Something else.", timeout=0))
    emulator.settings(job_seconds=0)
    emulator.advance(61)
    task.next_try()
    assert task.run(speak(tmp_path, "Something else."))["bytes"] > 0
    return task, first["job_id"]


@pytest.mark.usefixtures("state")
def test_what_was_left_is_listed_with_its_task_and_collected_once(
    emulator: EmulatorHandle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, job = leave_a_job(emulator, tmp_path)
    [row] = listed(capsys)
    assert (row["id"], row["kind"], row["task"], row["run"], row["state"]) == (
        job,
        "speech",
        "dag.task",
        "run",
        "ordered",
    )
    assert main(["jobs", "list"]) == 0
    shown = capsys.readouterr().out
    assert job in shown
    assert "1 order: not collected, from " in shown
    assert main(["jobs", "collect", job, "--output", f"{tmp_path}/fetched/", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    kept = Path(manifest["uri"])
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == manifest["sha256"]
    assert provenance.verify(str(kept))[1] is None
    assert listed(capsys) == []
    assert len(emulator.ledger("speech")) == 2


@pytest.mark.usefixtures("state")
def test_what_was_left_is_collected_by_the_task_when_it_asks_for_the_same_again(
    emulator: EmulatorHandle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, job = leave_a_job(emulator, tmp_path)
    task.next_try()
    assert task.run(speak(tmp_path))["job_id"] == job
    assert listed(capsys) == []
    assert len(emulator.ledger("speech")) == 2


@pytest.mark.usefixtures("state")
def test_a_job_that_still_runs_is_for_later(
    emulator: EmulatorHandle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        OldTask().run(speak(tmp_path, timeout=0))
    [row] = listed(capsys)
    assert main(["jobs", "collect", row["id"], "--output", f"{tmp_path}/fetched/"]) == 1
    assert "collect it later" in capsys.readouterr().err


def test_of_what_nobody_knows_there_is_nothing_to_collect(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_connection(state_location=str(tmp_path / "state"))
    emulator.fault("drop_after", path="/v2/tts")
    with pytest.raises(OutcomeUnknownError):
        OldTask().run(speak(tmp_path))
    [row] = listed(capsys)
    assert row["state"] == "unknown"
    assert main(["jobs", "collect", row["id"], "--output", f"{tmp_path}/fetched/"]) == 1
    assert "Look at the account" in capsys.readouterr().err


@pytest.fixture
def spooled(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[OldTask, Callable[[], TTSOperator]]:
    """Let a task receive speech whose place refuses it, and return the task, and what makes its operator."""
    from voice_provider.files import receiving

    set_connection(service="fish_audio", state_location=str(tmp_path / "state"), spool_location="s3://studio/spool/")
    [voice] = emulator.seed_models(["A"], visibility="public")
    task, put = OldTask(), receiving.put

    def refused(file: Any, place: str) -> None:
        if place.startswith("s3://studio/out/"):
            raise PermissionError("may not be written")
        put(file, place)

    def order() -> TTSOperator:
        return TTSOperator(
            task_id="t", text="Hello there.", voice_id=voice["id"], output="s3://studio/out/line.mp3", timeout=1
        )

    with monkeypatch.context() as patch:
        patch.setattr(receiving, "put", refused)
        with pytest.raises(NotPublishedError, match=r"may not be written.*kept at s3://studio/spool/default/dag/run/"):
            task.run(order())
    return task, order


@pytest.mark.usefixtures("spooled")
def test_audio_that_could_not_be_put_in_its_place_is_in_the_spool_and_is_collected_from_there(
    emulator: EmulatorHandle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [row] = listed(capsys)
    assert row["state"].startswith("received, held at ")
    assert row["state"].endswith(" if not at s3://studio/out/line.mp3")
    assert main(["jobs", "collect", row["id"], "--output", f"{tmp_path}/fetched/", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert Path(manifest["uri"]).stat().st_size == manifest["bytes"]
    beside = json.loads(Path(f"{manifest['uri']}.provenance.json").read_text())
    assert beside["made"]["settings"]["text"]["characters"] == len("Hello there.")
    assert listed(capsys) == []
    assert len(emulator.ledger("speech")) == 1


def test_the_next_try_looks_in_the_spool_first_and_pays_nothing(
    emulator: EmulatorHandle, spooled: tuple[OldTask, Callable[[], TTSOperator]], s3: Any
) -> None:
    task, order = spooled
    task.next_try()  # on another worker: nothing of it is on this disk
    result = task.run(order())
    assert (result["outcome"], result["uri"]) == ("recovered", "s3://studio/out/line.mp3")
    assert len(emulator.ledger("speech")) == 1
    s3.invalidate_cache()
    assert not s3.find("studio/spool")


def test_without_a_state_location_it_is_what_the_service_lists(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    video: Path,
    sample: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.conftest import Task

    set_connection()
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        Task().run(
            LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=f"{tmp_path}/o/", timeout=0)
        )
    emulator.settings(job_seconds=0)
    emulator.advance(61)
    [row] = listed(capsys)
    assert main(["jobs", "list"]) == 0
    assert "collected or not: the connection has no state_location" in capsys.readouterr().out
    assert main(["jobs", "collect", row["id"], "--output", f"{tmp_path}/fetched/"]) == 0
    assert "Kept " in capsys.readouterr().out
