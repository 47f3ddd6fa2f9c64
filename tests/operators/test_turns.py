"""An order that is not accepted yet is no failure: it waits its turn, and is sent again under the same key."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.conftest import Task
from voice_provider.exceptions import ConcurrencyLimitError, RateLimitedError
from voice_provider.operators import base as operators_base
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


@pytest.fixture
def lip_sync(video: Path, sample: Path, tmp_path: Path) -> Callable[..., LipSyncOperator]:
    def make(**changes: Any) -> LipSyncOperator:
        values = {"video": str(video), "audio": str(sample), "output": f"{tmp_path}/out/", "poll_interval": 0.1}
        return LipSyncOperator(task_id="t", **(values | changes))

    return make


@pytest.fixture
def full(emulator: EmulatorHandle, lip_sync: Callable[..., LipSyncOperator]) -> EmulatorHandle:
    """An account whose only place is taken by a job that takes an hour."""
    emulator.settings(concurrency=1, job_seconds=3600)
    other = Task()
    other.ti.run_id = "another"
    other.run(lip_sync(wait_for_completion=False))
    return emulator


def posts(emulator: EmulatorHandle) -> list[str]:
    return [r["idempotency_key"] for r in emulator.requests("/v2/generate") if r["method"] == "POST"]


def event_of(deferred: pytest.ExceptionInfo[TaskDeferred]) -> dict[str, Any]:
    return asyncio.run(anext(deferred.value.trigger.run())).payload


def test_it_waits_on_the_triggerer_and_orders_once(
    full: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        task.run(lip_sync(deferrable=True))
    trigger = deferred.value.trigger
    assert isinstance(trigger, TurnTrigger)
    assert trigger.limit == 1
    assert trigger.not_before > time.time() + 3, "not before the service wants to be asked"
    trigger.not_before = 0.0  # nobody waits for that here
    assert "posted_at" not in task.record
    assert task.store.get("voice_progress").endswith("nothing was paid.") or "Not accepted yet" in task.store.get(
        "voice_progress"
    )
    threading.Timer(0.3, full.advance, (3601,)).start()
    assert event_of(deferred)["status"] == "turn"
    full.settings(job_seconds=0)
    operator = lip_sync(deferrable=True)  # another process
    arguments = {"event": {"status": "turn", "message": "there is room"}}
    result = operator.resume_execution(deferred.value.method_name, arguments, task.context)
    assert result["bytes"] > 0
    assert len(full.ledger("lip_sync")) == 2, "the one before, and this one"
    keys = posts(full)
    assert keys[1] == keys[2] != keys[0], "sent again under the same key"
    assert len([r for r in full.requests("/v2/assets/upload") if r["method"] == "POST"]) == 4, "uploads are used again"


def test_it_may_be_refused_again_and_waits_on_until_its_deadline(
    full: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
) -> None:
    with pytest.raises(TaskDeferred) as first:
        task.run(lip_sync(deferrable=True, timeout=100))
    deadline = first.value.trigger.deadline
    with pytest.raises(TaskDeferred) as second:
        lip_sync(deferrable=True, timeout=100).resume_execution("execute_complete", {"event": {}}, task.context)
    assert second.value.trigger.deadline == deadline, "the wait does not begin anew"
    record = task.record
    task.store.set("voice_job", {**record, "deadline": time.time() - 1})
    with pytest.raises(ConcurrencyLimitError, match="1 of 1 jobs are running; the new one was not accepted"):
        lip_sync(deferrable=True).resume_execution("execute_complete", {"event": {}}, task.context)
    with pytest.raises(TaskDeferred):  # the next try waits afresh
        task.run(lip_sync(deferrable=True))
    assert len(full.ledger("lip_sync")) == 1


def test_a_trigger_that_fails_again_and_again_ends_the_attempt(
    full: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
) -> None:
    from voice_provider.exceptions import JobTimeoutError
    from voice_provider.operators.base import MAX_REDEFERS

    with pytest.raises(TaskDeferred):
        task.run(lip_sync(deferrable=True))
    for _ in range(MAX_REDEFERS):
        with pytest.raises(TaskDeferred):
            lip_sync(deferrable=True).resume_execution("__fail__", {"error": "Trigger failure"}, task.context)
    with pytest.raises(JobTimeoutError, match="nothing was ordered or paid"):
        lip_sync(deferrable=True).resume_execution("__fail__", {"error": "Trigger failure"}, task.context)
    assert len(full.ledger("lip_sync")) == 1


def test_without_a_triggerer_it_waits_on_the_worker(
    full: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator], monkeypatch: pytest.MonkeyPatch
) -> None:
    naps = []

    def make_room(seconds: float) -> None:  # while it waits as long as the service wants it to
        naps.append(seconds)
        full.settings(job_seconds=0)
        full.advance(3601)

    monkeypatch.setattr(operators_base, "time", SimpleNamespace(time=time.time, sleep=make_room))
    monkeypatch.setattr(operators_base, "random", SimpleNamespace(uniform=lambda least, _: least))
    refusal = {"statusCode": 429, "message": "Full.", "errorCode": "concurrency_limit_reached"}
    full.fault("status", path="/v2/generate", method="POST", status=429, body=refusal, headers={"Retry-After": "40"})
    assert task.run(lip_sync(deferrable=False))["bytes"] > 0
    assert naps == [40]
    assert len(full.ledger("lip_sync")) == 2


def test_a_rate_limit_is_waited_out_on_the_triggerer_as_long_as_it_says(
    emulator: EmulatorHandle, task: Task, sample: Path
) -> None:
    emulator.settings(rate_voices=1)
    Task().run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample)))
    began = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        task.run(CloneVoiceOperator(task_id="t", name="Bea", sample=str(sample), deferrable=True, timeout=7200))
    assert isinstance(deferred.value.trigger, TurnTrigger)
    assert 3500 < deferred.value.trigger.not_before - began < 3700, "ten clones an hour"
    with pytest.raises(RateLimitedError) as told:  # on a worker, it is left to the retries and their policy
        Task().run(CloneVoiceOperator(task_id="t", name="Cleo", sample=str(sample)))
    assert told.value.retry_after == pytest.approx(3600, abs=100)


def test_how_fast_to_ask_does_not_hold_a_worker(
    emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
) -> None:
    emulator.fault("status", path="/v2/generate", method="POST", status=429, headers={"Retry-After": "40"})
    began = time.monotonic()
    with pytest.raises(RateLimitedError) as told:
        task.run(lip_sync(deferrable=False, timeout=45))
    assert told.value.retry_after == 40
    assert time.monotonic() - began < 20
    assert emulator.ledger() == []


def test_speech_at_fish_audio_waits_its_turn_too(
    emulator: EmulatorHandle, set_connection: Callable[..., None], task: Task, tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"])
    emulator.settings(fish_concurrency=0)

    def speak() -> TTSOperator:
        out = f"{tmp_path}/out/"
        return TTSOperator(
            task_id="t", text="Good evening.", voice_id=voice["id"], output=out, deferrable=True, poll_interval=0.1
        )

    with pytest.raises(TaskDeferred) as deferred:
        task.run(speak())
    emulator.settings(fish_concurrency=5)
    assert event_of(deferred)["status"] == "turn"
    result = speak().resume_execution("execute_complete", {"event": {"status": "turn"}}, task.context)
    assert result["bytes"] > 0
    assert len(emulator.ledger("speech")) == 1


def test_progress_is_shown_in_the_state_panel(
    emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
) -> None:
    task.run(lip_sync())
    assert "The lip sync job " in task.store.get("voice_progress")
    assert "COMPLETED" in task.store.get("voice_progress")


@pytest.mark.parametrize("how", ["from the triggerer", "in another try"])
def test_the_state_panel_ends_with_the_job_wherever_it_was_waited_for(
    emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator], how: str
) -> None:
    emulator.settings(job_seconds=3600)
    with pytest.raises(TaskDeferred):
        task.run(lip_sync(deferrable=True))
    assert "COMPLETED" not in task.store.get("voice_progress")
    emulator.settings(job_seconds=0)
    emulator.wait_idle()
    if how == "in another try":
        task.ti.try_number += 1
        task.run(lip_sync())
    else:
        lip_sync(deferrable=True).resume_execution("execute_complete", {"event": {"status": "ended"}}, task.context)
    assert task.store.get("voice_progress").endswith(": COMPLETED.")


def test_progress_that_cannot_be_shown_fails_nothing(
    emulator: EmulatorHandle,
    task: Task,
    lip_sync: Callable[..., LipSyncOperator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = task.store.set

    def store(key: str, value: Any, **more: Any) -> None:
        if key == "voice_progress":
            raise ConnectionError("the API server is away")
        keep(key, value, **more)

    monkeypatch.setattr(task.store, "set", store)
    assert task.run(lip_sync())["bytes"] > 0
