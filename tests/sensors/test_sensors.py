"""The sensors: they wait for what another task has ordered, keep it, and buy nothing."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from tests.conftest import Task
from voice_provider.exceptions import InvalidInputError, JobFailedError, NotAllowedError, NotFoundError, ResultError
from voice_provider.operators import base as operators_base
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors import job as sensors_job
from voice_provider.sensors.job import LipSyncCompleteSensor, TTSCompleteSensor, VoiceTrainedSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


@pytest.fixture
def ticket(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Order a lip sync that runs until the clock is moved, and return its ticket."""

    def order(**changes: Any) -> dict[str, Any]:
        emulator.settings(job_seconds=60)
        out = str(tmp_path / "out.mp4")
        values = {"video": str(video), "audio": str(sample), "output": out, "wait_for_completion": False}
        task.clear()
        result: dict[str, Any] = task.run(LipSyncOperator(task_id="t", **(values | changes)))
        task.store.clear()
        return result

    return order


def test_the_sensor_keeps_the_result_where_the_operator_was_told(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    job = ticket()
    assert emulator.state()["assets"] == 2
    emulator.advance(61)
    sensor = LipSyncCompleteSensor(task_id="s", job=job, poke_interval=0.1)
    result = task.run(sensor)
    assert result["uri"] == str(tmp_path / "out.mp4")
    assert Path(result["uri"]).stat().st_size == result["bytes"]
    assert emulator.state()["assets"] == 0
    assert len(emulator.ledger("lip_sync")) == 1
    before = len(emulator.requests("/results/"))
    assert before
    assert task.run(LipSyncCompleteSensor(task_id="s", job=job)) == result  # a retry fetches nothing
    assert len(emulator.requests("/results/")) == before


def test_the_sensor_keeps_the_result_where_it_is_told_itself(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    job = ticket()
    emulator.advance(61)
    sensor = LipSyncCompleteSensor(task_id="s", job=job["job_id"], output=str(tmp_path / "b") + "/")
    assert task.run(sensor)["uri"] == f"{tmp_path}/b/{job['job_id']}.mp4"


def test_the_sensor_defers_and_comes_back(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]
) -> None:
    def sensor() -> LipSyncCompleteSensor:
        return LipSyncCompleteSensor(task_id="s", job=job, deferrable=True, poke_interval=0.1)

    job = ticket()
    with pytest.raises(TaskDeferred) as deferred:
        task.run(sensor())
    emulator.advance(61)
    event = asyncio.run(anext(deferred.value.trigger.run()))
    kwargs = {"event": event.payload}
    assert sensor().resume_execution(deferred.value.method_name, kwargs, task.context)["bytes"] > 0
    job = ticket()
    with pytest.raises(TaskDeferred):
        task.run(sensor())
    emulator.advance(61)
    assert sensor().resume_execution("__fail__", {"error": "Trigger failure"}, task.context)["bytes"] > 0


def test_a_short_job_is_not_worth_deferring(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators_base, "INLINE_WAIT", 5.0)
    job = ticket()
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        emulator.advance(25)

    monkeypatch.setattr(sensors_job.time, "sleep", sleep)
    assert task.run(LipSyncCompleteSensor(task_id="s", job=job, deferrable=True))["bytes"] > 0
    assert asked


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_timeout_is_airflows_own_and_soft_fail_skips(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], deferrable: bool
) -> None:
    common = {"job": ticket(), "timeout": 0.0, "poke_interval": 0.05, "deferrable": deferrable}
    with pytest.raises(AirflowSensorTimeout):
        task.run(LipSyncCompleteSensor(task_id="s", **common))
    with pytest.raises(AirflowSkipException):
        task.run(LipSyncCompleteSensor(task_id="s", soft_fail=True, **common))
    assert len(emulator.ledger("lip_sync")) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_result_that_cannot_be_kept_is_for_a_retry_not_for_the_next_question(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], deferrable: bool
) -> None:
    job = ticket()
    emulator.advance(61)
    emulator.fault("corrupt", path="/results/*", times=1)
    with pytest.raises(ResultError):
        task.run(LipSyncCompleteSensor(task_id="s", job=job, poke_interval=0.05, deferrable=deferrable))
    assert len(emulator.requests("/results/")) == 1
    assert task.run(LipSyncCompleteSensor(task_id="s", job=job, deferrable=deferrable))["bytes"] > 0


def test_a_failed_trigger_neither_skips_nor_waits_for_ever(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]
) -> None:
    def sensor() -> LipSyncCompleteSensor:
        limit = timedelta(minutes=10)
        return LipSyncCompleteSensor(
            task_id="s", job=job, deferrable=True, soft_fail=True, poke_interval=0.1, execution_timeout=limit
        )

    job = ticket()
    failed = {"error": "Trigger failure"}
    with pytest.raises(TaskDeferred) as deferred:
        task.run(sensor())
    deadline = deferred.value.trigger.deadline
    assert deadline - time.time() == pytest.approx(600, abs=10)
    with pytest.raises(TaskDeferred) as deferred:
        sensor().resume_execution("__fail__", failed, task.context)
    assert deferred.value.trigger.deadline == deadline
    emulator.advance(61)
    assert sensor().resume_execution("__fail__", failed, task.context)["bytes"] > 0


def test_the_trigger_asks_where_the_service_said(
    emulator: EmulatorHandle, set_connection: Callable[..., None], task: Task, tmp_path: Path
) -> None:
    set_connection(tts_mode="jobs")
    emulator.settings(job_seconds=60)
    speak = TTSOperator(
        task_id="t", text="Hello.", voice_id=BUILT_IN, output=f"{tmp_path}/out/", wait_for_completion=False
    )
    job = task.run(speak)
    assert job["path"]
    with pytest.raises(TaskDeferred) as deferred:
        task.run(TTSCompleteSensor(task_id="s", job=job, deferrable=True))
    assert deferred.value.trigger.path == job["path"]


def test_a_cleared_sensor_with_another_output_keeps_it_there(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    job = ticket()
    emulator.advance(61)
    task.run(LipSyncCompleteSensor(task_id="s", job=job))
    moved = task.run(LipSyncCompleteSensor(task_id="s", job=job, output=str(tmp_path / "elsewhere.mp4")))
    assert moved["uri"] == str(tmp_path / "elsewhere.mp4")
    assert Path(moved["uri"]).is_file()


def test_a_result_that_is_gone_is_fetched_again(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]
) -> None:
    job = ticket()
    emulator.advance(61)
    first = task.run(LipSyncCompleteSensor(task_id="s", job=job))
    whole = Path(first["uri"]).read_bytes()
    for spoil in (
        Path.unlink,
        lambda path: path.write_bytes(whole[:-1]),
        lambda path: path.write_bytes(bytes(len(whole))),
    ):
        spoil(Path(first["uri"]))
        assert task.run(LipSyncCompleteSensor(task_id="s", job=job)) == first
        assert Path(first["uri"]).read_bytes() == whole
    assert len(emulator.ledger("lip_sync")) == 1


def test_nothing_is_kept_outside_of_what_the_connection_allows(
    emulator: EmulatorHandle,
    task: Task,
    ticket: Callable[..., dict[str, Any]],
    set_connection: Callable[..., None],
    tmp_path: Path,
) -> None:
    job = ticket()
    emulator.advance(61)
    set_connection(allowed_outputs=f"{tmp_path}/allowed")
    with pytest.raises(NotAllowedError, match="is outside the storage that the connection allows"):
        task.run(LipSyncCompleteSensor(task_id="s", job=job))
    assert not (tmp_path / "out.mp4").exists()
    result = task.run(LipSyncCompleteSensor(task_id="s", job=job, output=f"{tmp_path}/allowed/out.mp4"))
    assert Path(result["uri"]).is_file()


def test_a_retry_deletes_the_uploads_that_the_try_before_has_left(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]
) -> None:
    job = ticket()
    emulator.advance(61)
    emulator.fault("status", path="/v2/assets/*", method="DELETE", status=403, times=2)
    first = task.run(LipSyncCompleteSensor(task_id="s", job=job))
    assert emulator.state()["assets"] == 2, "a file that is left behind is no reason to lose the result"
    assert task.run(LipSyncCompleteSensor(task_id="s", job=job)) == first
    assert emulator.state()["assets"] == 0


def test_the_triggerer_does_not_ask_before_the_service_wants_to_be_asked(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]
) -> None:
    job = ticket()
    for answer in ({"status": 200, "body": {"id": job["job_id"], "status": "PROCESSING"}}, {"status": 429}):
        emulator.fault("status", path="/v2/generate/*", headers={"Retry-After": "70"}, **answer)
        began = time.time()
        with pytest.raises(TaskDeferred) as deferred:
            task.run(LipSyncCompleteSensor(task_id="s", job=job, deferrable=True, poke_interval=0.1))
        assert deferred.value.trigger.first_poll >= began + 70


def test_after_a_clear_of_both_the_new_video_is_collected(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.settings(job_seconds=60)
    out, order = str(tmp_path / "out.mp4"), Task()

    def ordered() -> dict[str, Any]:
        values: dict[str, Any] = {"video": str(video), "audio": str(sample), "output": out}
        ticket: dict[str, Any] = order.run(LipSyncOperator(task_id="t", wait_for_completion=False, **values))
        emulator.advance(61)
        return ticket

    old = task.run(LipSyncCompleteSensor(task_id="s", job=ordered()))
    order.clear()
    task.clear()
    again = ordered()
    new = task.run(LipSyncCompleteSensor(task_id="s", job=again))
    assert new["job_id"] == again["job_id"] != old["job_id"]
    assert new["uri"] == old["uri"] == out


def test_a_trigger_that_fails_again_and_again_ends_the_wait(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]
) -> None:
    def sensor() -> LipSyncCompleteSensor:
        return LipSyncCompleteSensor(task_id="s", job=job, deferrable=True, poke_interval=0.1, timeout=600)

    job = ticket()
    failed = {"error": "Trigger failure"}
    with pytest.raises(TaskDeferred):
        task.run(sensor())
    for _ in range(operators_base.MAX_REDEFERS):
        with pytest.raises(TaskDeferred):
            sensor().resume_execution("__fail__", failed, task.context)
    with pytest.raises(AirflowSensorTimeout, match="its job goes on"):
        sensor().resume_execution("__fail__", failed, task.context)
    with pytest.raises(TaskDeferred):  # a retry waits afresh
        task.run(sensor())


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_job_fails_with_the_services_reason_and_cleans_up(
    emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]], deferrable: bool
) -> None:
    emulator.fault("job_rejected", path="/v2/generate", code="generation_input_video_invalid", body="Not a video.")
    job = ticket()
    emulator.advance(61)
    with pytest.raises(JobFailedError, match=r"REJECTED: Not a video \(generation_input_video_invalid"):
        task.run(LipSyncCompleteSensor(task_id="s", job=job, deferrable=deferrable))
    assert emulator.state()["assets"] == 0
    with pytest.raises(AirflowSkipException):
        task.run(LipSyncCompleteSensor(task_id="s", job=job, deferrable=deferrable, soft_fail=True))


def test_a_blip_is_not_yet(emulator: EmulatorHandle, task: Task, ticket: Callable[..., dict[str, Any]]) -> None:
    job = ticket()
    emulator.advance(61)
    emulator.fault("status", path="/v2/generate/*", status=503, times=7)
    assert task.run(LipSyncCompleteSensor(task_id="s", job=job, poke_interval=0.05))["bytes"] > 0


def test_speech_that_was_answered_at_once_is_passed_through(
    emulator: EmulatorHandle, task: Task, tmp_path: Path
) -> None:
    out = str(tmp_path / "speech") + "/"
    operator = TTSOperator(task_id="t", text="Hi.", voice_id=BUILT_IN, output=out, wait_for_completion=False)
    manifest = task.run(operator)
    assert manifest["bytes"] > 0
    count = len(emulator.requests())
    assert task.run(TTSCompleteSensor(task_id="s", job=manifest)) == manifest
    assert len(emulator.requests()) == count


@pytest.mark.parametrize("mode", ["jobs", "direct"])
def test_speech_that_has_to_be_asked_after(
    mode: str, emulator: EmulatorHandle, task: Task, tmp_path: Path, set_connection: Callable[..., None]
) -> None:
    set_connection(tts_mode=mode)
    emulator.settings(tts_mode="seed-async", job_seconds=60)
    out = str(tmp_path / "speech") + "/"
    ticket = task.run(TTSOperator(task_id="t", text="Hi.", voice_id=BUILT_IN, output=out, wait_for_completion=False))
    assert ticket["job_id"]
    set_connection(tts_mode="direct" if mode == "jobs" else "jobs")  # an edit does not lose the job
    emulator.advance(61)
    result = task.run(TTSCompleteSensor(task_id="s", job=ticket))
    assert result["voice_id"] == BUILT_IN
    assert result["bytes"] > 0


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_trained_voice_passes_at_once(emulator: EmulatorHandle, task: Task, sample: Path, deferrable: bool) -> None:
    voice = task.run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample)))
    result = task.run(VoiceTrainedSensor(task_id="s", voice=voice, deferrable=deferrable))
    assert result["voice_id"] == voice["voice_id"]
    assert result["label"] == "Ann"
    assert result["state"] == "trained"
    assert emulator.ledger("clone")


def test_what_cannot_be_waited_for_fails_at_once(emulator: EmulatorHandle, task: Task) -> None:
    nobody = "11111111-2222-4333-8444-555555555555"
    with pytest.raises(NotFoundError):
        task.run(VoiceTrainedSensor(task_id="s", voice=nobody))
    with pytest.raises(InvalidInputError, match="no voices"):
        task.run(VoiceTrainedSensor(task_id="s", voice=None))
    with pytest.raises(InvalidInputError, match="job is empty"):
        task.run(TTSCompleteSensor(task_id="s", job=None, output="/x"))
    with pytest.raises(InvalidInputError, match="output is missing"):
        task.run(TTSCompleteSensor(task_id="s", job="some-job"))
    with pytest.raises(InvalidInputError, match=r"not known to sync\. labs"):
        task.run(TTSCompleteSensor(task_id="s", job=nobody, output="/tmp/x"))
    assert emulator.ledger() == []
