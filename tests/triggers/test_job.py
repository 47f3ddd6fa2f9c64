"""The wait for a job: only the job's end, its deadline, or a repeated refusal ends it."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.serde import deserialize, serialize

from voice_provider.hooks import transport
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.speech import TTSOperator
from voice_provider.services.base import Input
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import parse
from voice_provider.services.sync_labs.options import SyncLabsSpeech
from voice_provider.triggers import job as trigger_module
from voice_provider.triggers import poller as poller_module
from voice_provider.triggers.job import CONFIRMATIONS, JobTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.models import Job

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
NOBODY = "11111111-2222-4333-8444-555555555555"


def order_speech(hook: VoiceHook, emulator: EmulatorHandle, seconds: float = 3600) -> Job:
    """Order speech that takes so long."""
    emulator.settings(tts_mode="seed-async", job_seconds=seconds)
    options = parse(SyncLabsSpeech, {"text": "Hello.", "voice_id": BUILT_IN})
    return hook.run(hook.service.start_speech(options, None))


def order_lip_sync(hook: VoiceHook, emulator: EmulatorHandle, video: Path, seconds: float = 3600) -> Job:
    emulator.settings(job_seconds=seconds)
    asset = hook.upload_asset(str(video))
    options = parse(LipSyncOptions, {"video": asset.id, "text": [{"text": "Hello.", "voice_id": BUILT_IN}]})
    return hook.run(hook.service.start_lip_sync(options, [Input(asset_id=asset.id)], "key"))


def waiting(job: Job | None = None, **changes: Any) -> JobTrigger:
    values: dict[str, Any] = {
        "voice_conn_id": "voice_default",
        "kind": job.kind if job else "speech",
        "job_id": job.id if job else "J",
        "path": job.path if job else None,
        "poll_interval": 0.05,
        "deadline": time.time() + 10,
        "first_poll": 0.0,
    }
    return JobTrigger(**(values | changes))


async def event(trigger: JobTrigger) -> dict[str, Any]:
    async for sent in trigger.run():
        payload: dict[str, Any] = sent.payload
        return payload
    raise AssertionError("no event was sent")


def outcome(trigger: JobTrigger, *others: Any) -> dict[str, Any]:
    """Wait with the trigger; ``others`` run beside it in threads."""

    async def together() -> dict[str, Any]:
        found, *_ = await asyncio.gather(event(trigger), *(asyncio.to_thread(other) for other in others))
        return found

    return asyncio.run(together())


def asked(emulator: EmulatorHandle) -> list[dict[str, Any]]:
    return [request for request in emulator.requests("/v2/") if request["method"] == "GET"]


def when_asked(emulator: EmulatorHandle, times: int, then: Callable[[], Any]) -> Callable[[], None]:
    """Do something once the trigger has asked so many times."""

    def watch() -> None:
        deadline = time.monotonic() + 5
        while len(asked(emulator)) < times:
            assert time.monotonic() < deadline, "the trigger does not ask"
            time.sleep(0.01)
        then()

    return watch


# what it carries


def test_it_passes_through_airflow_and_comes_back_the_same(emulator: EmulatorHandle) -> None:
    trigger = waiting(kind="lip_sync", path="/v2/x", deadline=1.5, first_poll=0.5)
    path, values = trigger.serialize()
    assert path == "voice_provider.triggers.job.JobTrigger"
    assert json.loads(json.dumps(values)) == values
    assert deserialize(serialize(values)) == values
    again = JobTrigger(**values)
    assert again.serialize() == trigger.serialize()
    assert vars(again).keys() >= values.keys()


def test_it_carries_no_key_no_address_and_no_script(emulator: EmulatorHandle, task: Task, tmp_path: Path) -> None:
    emulator.settings(tts_mode="seed-async", job_seconds=3600)
    out = f"{tmp_path}/out/"
    with pytest.raises(TaskDeferred) as deferred:
        task.run(TTSOperator(task_id="t", text="Hello.", voice_id=BUILT_IN, output=out, deferrable=True))
    trigger = deferred.value.trigger
    assert isinstance(trigger, JobTrigger)
    text = repr(trigger) + str(vars(trigger)) + json.dumps(trigger.serialize())
    for secret in (emulator.api_key, emulator.url, "Hello"):
        assert secret not in text


# how it ends


def test_a_job_that_has_ended_ends_the_wait(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()
    assert outcome(waiting(job)) == {"status": "ended", "state": "succeeded", "message": "COMPLETED"}


def test_a_job_that_ends_meanwhile_ends_the_wait(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)
    ended = outcome(waiting(job), when_asked(emulator, 3, lambda: emulator.advance(3600)))
    assert ended["status"] == "ended"
    assert len(asked(emulator)) > 3


def test_a_job_that_fails_ends_the_wait(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("job_failed", path="/v2/tts")
    job = order_speech(hook, emulator, seconds=0)
    assert outcome(waiting(job)) == {"status": "ended", "state": "failed", "message": "FAILED"}


def test_a_clone_is_waited_for_like_any_job(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    [voice] = emulator.seed_voices(count=1)
    assert outcome(waiting(kind="clone", job_id=voice["id"]))["state"] == "succeeded"


def test_the_deadline_ends_the_wait_on_the_clock_of_the_wall(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)
    began = time.time()
    ended = outcome(waiting(job, deadline=began + 0.4))
    assert ended == {"status": "deadline", "state": "running", "message": "the deadline has come"}
    assert 0.4 <= time.time() - began < 1.5


def test_a_wait_that_is_taken_up_after_its_deadline_still_asks_once(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)
    assert outcome(waiting(job, deadline=time.time() - 3600))["status"] == "deadline"
    assert len(asked(emulator)) == 1
    emulator.advance(3600)
    emulator.wait_idle()
    assert outcome(waiting(job, deadline=time.time() - 3600))["status"] == "ended"


def test_the_first_question_is_not_asked_before_its_time(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator, seconds=0)
    began = time.time()
    outcome(waiting(job, first_poll=began + 0.3))
    assert time.time() - began >= 0.3
    assert len(asked(emulator)) == 1


def test_a_first_question_after_the_deadline_is_asked_at_the_deadline(
    hook: VoiceHook, emulator: EmulatorHandle
) -> None:
    job = order_speech(hook, emulator)
    began = time.time()
    assert outcome(waiting(job, first_poll=began + 60, deadline=began + 0.2))["status"] == "deadline"
    assert time.time() - began < 2


@pytest.mark.parametrize("status", [401, 404, 403])
def test_a_refusal_ends_the_wait_only_when_it_is_repeated(
    status: int, hook: VoiceHook, emulator: EmulatorHandle
) -> None:
    job = order_speech(hook, emulator)
    emulator.fault("status", path="/v2/tts/*", status=status, times=None)
    ended = outcome(waiting(job))
    assert (ended["status"], ended["state"]) == ("refused", None)
    assert str(status) in ended["message"]
    assert len(asked(emulator)) == CONFIRMATIONS


def test_a_refusal_that_passes_is_forgotten(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)
    for after in (0, 3, 6):
        emulator.fault("status", path="/v2/tts/*", status=404, times=CONFIRMATIONS - 1, after=after)
    ended = outcome(waiting(job), when_asked(emulator, 8, lambda: emulator.advance(3600)))
    assert ended["status"] == "ended"


def test_a_key_that_is_changed_during_the_wait_is_taken_up(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "CONFIRMATIONS", 50)
    job = order_speech(hook, emulator, seconds=0)
    set_connection(password="sk-withdrawn")
    assert outcome(waiting(job), when_asked(emulator, 2, set_connection))["status"] == "ended"


# what does not end it


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "html", "status": 502},
        {"kind": "html", "status": 403},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "status", "status": 200, "body": "not json"},
        {"kind": "status", "status": 200, "body": {"id": "J"}},
    ],
)
def test_a_blip_does_not_end_the_wait(fault: dict[str, Any], hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()
    emulator.fault(path="/v2/tts/*", times=CONFIRMATIONS + 2, **fault)
    assert outcome(waiting(job))["status"] == "ended"
    assert len(asked(emulator)) == CONFIRMATIONS + 3


def test_a_connection_that_cannot_be_read_for_a_while_does_not_end_the_wait(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = order_speech(hook, emulator, seconds=0)
    monkeypatch.delenv("AIRFLOW_CONN_VOICE_DEFAULT")
    tried: list[int] = []
    original = VoiceHook.afor_connection

    async def counting(conn_id: str) -> VoiceHook:
        tried.append(1)
        if len(tried) == 3:
            set_connection()
        return await original(conn_id)

    monkeypatch.setattr(VoiceHook, "afor_connection", counting)
    assert outcome(waiting(job))["status"] == "ended"
    assert len(tried) == 3


def test_an_outage_does_not_end_the_wait_before_its_deadline(set_connection: Callable[..., None]) -> None:
    set_connection(host="http://127.0.0.1:9")
    began = time.time()
    assert outcome(waiting(deadline=began + 0.5))["status"] == "deadline"
    assert time.time() - began >= 0.5


def test_an_outage_is_asked_about_less_and_less_often(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()
    emulator.fault("status", path="/v2/tts/*", status=503, times=5)
    naps = recorded_sleeps(monkeypatch)
    monkeypatch.setattr(trigger_module, "AFTER_A_BLIP", 2.0)
    outcome(waiting(job, poll_interval=10, deadline=time.time() + 1000))
    assert [round(nap) for nap in naps] == [2, 4, 8, 10, 10]


def recorded_sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the trigger sleep no time, and return the pauses that it would have made (jitter taken out)."""
    naps: list[float] = []

    async def at_once(seconds: float) -> None:
        if seconds:
            naps.append(seconds)

    monkeypatch.setattr(trigger_module.asyncio, "sleep", at_once)
    monkeypatch.setattr(trigger_module.random, "uniform", lambda low, _: low)
    passed = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(naps))
    monkeypatch.setattr(poller_module, "time", passed)
    return naps


def test_a_cancelled_wait_stops(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)

    async def stopped() -> None:
        task = asyncio.create_task(event(waiting(job)))
        await asyncio.sleep(0.1)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())


# how it asks


def test_a_pause_that_the_service_asks_for_is_made(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = order_speech(hook, emulator)
    emulator.fault("status", path="/v2/tts/*", status=429, headers={"Retry-After": "7"})
    emulator.fault("status", path="/v2/tts/*", status=429)
    body = {"id": job.id, "status": "PROCESSING"}
    emulator.fault("status", path="/v2/tts/*", status=200, body=body, headers={"Retry-After": "3"})
    emulator.fault("status", path="/v2/tts/*", status=200, body=body)
    emulator.advance(3600)
    emulator.wait_idle()
    naps = recorded_sleeps(monkeypatch)
    outcome(waiting(job, poll_interval=20, deadline=time.time() + 1000))
    assert [round(nap) for nap in naps] == [7, 20, 3, 20]


def test_pauses_are_spread_by_a_tenth(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()
    emulator.fault("status", path="/v2/tts/*", status=200, body={"id": job.id, "status": "PENDING"}, times=30)
    naps: list[float] = []

    async def at_once(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(trigger_module.asyncio, "sleep", at_once)
    outcome(waiting(job, poll_interval=10, deadline=time.time() + 1000))
    assert all(10 <= nap <= 11 for nap in naps[1:])
    assert len(set(naps)) > 20


@pytest.mark.parametrize(("interval", "expected"), [(0.5, "include=progress"), (3, "timeout=3"), (60, "timeout=10")])
def test_the_service_holds_its_answer_back_where_it_can(
    interval: float, expected: str, hook: VoiceHook, emulator: EmulatorHandle, video: Path
) -> None:
    job = order_lip_sync(hook, emulator, video, seconds=0)
    emulator.wait_idle()
    outcome(waiting(job, poll_interval=interval, deadline=time.time() + 600))
    [question] = [request for request in asked(emulator) if request["path"].startswith("/v2/generate/")]
    assert expected in question["query"]
    assert ("wait=true" in question["query"]) is ("timeout" in expected)


def test_every_third_question_is_answered_at_once_because_only_that_tells_progress(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = order_lip_sync(hook, emulator, video, seconds=0)
    emulator.wait_idle()
    body = {"id": job.id, "status": "PROCESSING"}
    emulator.fault("status", path="/v2/generate/*", status=200, body=body, times=6)
    recorded_sleeps(monkeypatch)
    outcome(waiting(job, poll_interval=3, deadline=time.time() + 1000))
    queries = [request["query"] for request in asked(emulator) if request["path"].startswith("/v2/generate/")]
    assert ["wait=true" in query for query in queries] == [True, True, False, True, True, False, True]


def test_an_answer_that_is_held_back_comes_when_the_job_ends(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path
) -> None:
    job = order_lip_sync(hook, emulator, video)
    began = time.monotonic()

    def release() -> None:
        time.sleep(0.3)  # the question is on its way and is not listed before its answer
        emulator.advance(3600)

    assert outcome(waiting(job, poll_interval=5), release)["status"] == "ended"
    assert time.monotonic() - began < 3
    assert len([request for request in asked(emulator) if request["path"].startswith("/v2/generate/")]) == 1


def test_a_status_is_told_once_and_not_with_every_question(
    hook: VoiceHook, emulator: EmulatorHandle, capfd: pytest.CaptureFixture[str]
) -> None:
    job = order_speech(hook, emulator)
    outcome(waiting(job), when_asked(emulator, 6, lambda: emulator.advance(3600)))
    lines = [line for line in "".join(capfd.readouterr()).splitlines() if f"speech job {job.id}" in line]
    assert 1 <= len(lines) <= 2
    assert len({line.split(job.id)[1] for line in lines}) == len(lines)


def test_all_waits_of_one_account_share_one_client(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[httpx.AsyncClient] = []
    original = httpx.AsyncClient.__init__

    def counting(self: httpx.AsyncClient, **values: Any) -> None:
        made.append(self)
        original(self, **values)

    monkeypatch.setattr(transport.httpx.AsyncClient, "__init__", counting)
    emulator.add_account("sk-other-account", "other")
    set_connection("second_name")
    set_connection("other_account", password="sk-other-account")
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()

    async def many() -> None:
        await asyncio.gather(*(event(waiting(job)) for _ in range(10)))
        await event(waiting(job, voice_conn_id="second_name"))
        assert len(made) == 1
        await event(waiting(job, voice_conn_id="other_account"))
        assert len(made) == 2
        await made[0].aclose()
        await event(waiting(job))
        assert len(made) == 3

    asyncio.run(many())


def test_waits_do_not_wait_for_each_other(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()
    emulator.fault("slow", path="/v2/tts/*", seconds=0.3, times=8)

    async def many() -> float:
        began = time.monotonic()
        await asyncio.gather(*(event(waiting(job)) for _ in range(8)))
        return time.monotonic() - began

    assert asyncio.run(many()) < 1.2


def test_a_killed_task_is_told_that_its_job_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    asyncio.run(waiting(kind="lip_sync", job_id="G-1").on_kill())
    said = "".join(capfd.readouterr())
    assert "the lip sync job G-1 runs on at the service and will be billed" in said
    assert "Clear the task to collect its result" in said
