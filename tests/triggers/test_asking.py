"""Waits of one account ask together, and go on one after the other."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.triggers.test_job import event, recorded_sleeps
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.services.base import Input
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import parse
from voice_provider.triggers import turns as module
from voice_provider.triggers.job import CONFIRMATIONS, JobTrigger
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


def waiting(job_id: str, seconds: float = 20, **changes: Any) -> JobTrigger:
    values = {"poll_interval": 1.0, "path": None, "deadline": time.time() + seconds, "first_poll": 0.0}
    return JobTrigger(voice_conn_id="voice_default", kind="lip_sync", job_id=job_id, **(values | changes))


def turn(limit: int | None, seconds: float = 3, **changes: Any) -> TurnTrigger:
    values = {"poll_interval": 0.1, "deadline": time.time() + seconds, "not_before": 0.0, "limit": limit}
    return TurnTrigger(voice_conn_id="voice_default", **(values | changes))


def all_events(*triggers: Any) -> list[dict[str, Any]]:
    async def together() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(event(trigger) for trigger in triggers)))

    return asyncio.run(together())


def questions(emulator: EmulatorHandle) -> list[str]:
    return [r["path"] for r in emulator.requests("/v2/gen") if r["method"] == "GET"]


def test_many_waits_cost_a_few_requests_a_round(emulator: EmulatorHandle, order: Callable[[int], list[str]]) -> None:
    jobs = order(150)
    began = time.time()
    events = all_events(*(waiting(job, seconds=3.2) for job in jobs))
    rounds = (time.time() - began) / 1.0
    assert {found["status"] for found in events} == {"deadline"}, [e for e in events if e["status"] != "deadline"]
    asked = questions(emulator)
    assert len(asked) <= 8 * rounds, "150 waits would have cost 150 requests a round"
    assert asked.count("/v2/generations") >= len(asked) - 10, "only the first does not know of the others"


def test_each_of_many_hears_of_its_own_job(emulator: EmulatorHandle, order: Callable[[int], list[str]]) -> None:
    jobs = order(12)

    async def run() -> list[dict[str, Any]]:
        waits = [asyncio.create_task(event(waiting(job, poll_interval=0.2))) for job in jobs]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(emulator.settings, job_seconds=0)
        return list(await asyncio.gather(*waits))

    assert {(found["status"], found["state"]) for found in asyncio.run(run())} == {("ended", "succeeded")}


def test_a_job_that_is_not_in_the_answer_for_many_is_asked_after_alone(
    emulator: EmulatorHandle, order: Callable[[int], list[str]]
) -> None:
    jobs = order(3)
    unknown = "11111111-2222-4333-8444-555555555555"
    events = all_events(*(waiting(job, seconds=1.5) for job in jobs), waiting(unknown, poll_interval=0.1))
    assert [found["status"] for found in events] == ["deadline"] * 3 + ["refused"]
    assert f"/v2/generate/{unknown}" in questions(emulator)


def test_an_outage_of_the_answer_for_many_ends_no_wait(
    emulator: EmulatorHandle, order: Callable[[int], list[str]]
) -> None:
    jobs = order(4)
    emulator.fault("status", path="/v2/generations", method="GET", status=503, times=2)
    emulator.settings(job_seconds=0)

    async def run() -> list[dict[str, Any]]:
        waits = [asyncio.create_task(event(waiting(job, poll_interval=0.2))) for job in jobs]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(emulator.settings, job_seconds=0)
        return list(await asyncio.gather(*waits))

    assert {found["status"] for found in asyncio.run(run())} == {"ended"}


def test_a_wait_that_is_cancelled_leaves_the_others_in_peace(
    emulator: EmulatorHandle, order: Callable[[int], list[str]]
) -> None:
    jobs = order(3)

    async def run() -> list[Any]:
        waits = [asyncio.create_task(event(waiting(job, seconds=2, poll_interval=0.2))) for job in jobs]
        await asyncio.sleep(0.35)
        waits[0].cancel()
        return list(await asyncio.gather(*waits, return_exceptions=True))

    cancelled, *others = asyncio.run(run())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [found["status"] for found in others] == ["deadline", "deadline"]


# waiting for a turn


def test_as_many_go_on_as_there_is_room_for(
    emulator: EmulatorHandle, order: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.1)
    order(3)
    events = all_events(*(turn(5, seconds=1.5) for _ in range(10)))
    assert sorted(found["status"] for found in events) == ["deadline"] * 8 + ["turn"] * 2
    assert {request["method"] for request in emulator.requests("/v2/generations")} == {"GET"}
    assert len([r for r in emulator.requests("/v2/generate") if r["method"] == "POST"]) == 3, "nothing was tried"


def test_a_job_that_waits_in_the_queue_takes_a_place_too(
    emulator: EmulatorHandle, order: Callable[[int], list[str]]
) -> None:
    emulator.settings(queue_seconds=3600)
    order(2)
    assert [found["status"] for found in all_events(turn(2, seconds=1))] == ["deadline"]
    assert [found["status"] for found in all_events(turn(3, seconds=5))] == ["turn"]


def test_nothing_is_asked_before_its_time(emulator: EmulatorHandle) -> None:
    began = time.time()
    assert [found["status"] for found in all_events(turn(5, seconds=5, not_before=began + 1))] == ["turn"]
    assert time.time() - began >= 1
    assert len(questions(emulator)) == 1
    assert [found["status"] for found in all_events(turn(5, seconds=0.2, not_before=time.time() + 60))] == ["deadline"]
    assert len(questions(emulator)) == 1


def test_two_accounts_are_counted_apart(
    emulator: EmulatorHandle,
    order: Callable[[int], list[str]],
    set_connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FRESH", 60.0)
    order(1)
    emulator.add_account("the-key-of-another", "other")
    set_connection("another", password="the-key-of-another")

    async def one_after_the_other() -> list[str]:
        full, room = turn(1, seconds=0.3), turn(1, seconds=5)
        room.voice_conn_id = "another"
        return [(await event(full))["status"], (await event(room))["status"]]

    assert asyncio.run(one_after_the_other()) == ["deadline", "turn"]


def test_the_jobs_of_two_accounts_are_asked_after_with_their_own_keys(
    emulator: EmulatorHandle,
    order: Callable[[int], list[str]],
    video: Path,
    set_connection: Callable[..., None],
) -> None:
    jobs = order(2)
    emulator.add_account("the-key-of-another", "other")
    set_connection("another", password="the-key-of-another")
    theirs = VoiceHook.for_connection("another")
    asset = theirs.upload_asset(str(video))
    options = parse(LipSyncOptions, {"video": asset.id, "text": [{"text": "Hello.", "voice_id": BUILT_IN}]})
    for number in range(2):
        flow = theirs.service.start_lip_sync(options, [Input(asset_id=asset.id)], f"key-{number}")
        jobs.append(theirs.run(flow).id)
    emulator.advance(3601)
    emulator.wait_idle()
    waits = [waiting(job, poll_interval=0.4) for job in jobs]
    for wait in waits[2:]:
        wait.voice_conn_id = "another"
    events = all_events(*waits)
    assert {(found["status"], found["state"]) for found in events} == {("ended", "succeeded")}
    alone = [path for path in questions(emulator) if path != "/v2/generations"]
    assert len(alone) <= 2, "the first of each account does not know of the others"


def test_a_task_that_never_orders_keeps_its_turn_for_a_while_only(
    emulator: EmulatorHandle, order: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.05)
    monkeypatch.setattr(module, "SETTLE", {"jobs": 0.5})
    order(1)
    events = all_events(*(turn(2, seconds=2.5) for _ in range(3)))
    assert [found["status"] for found in events] == ["turn"] * 3


def counted(emulator: EmulatorHandle) -> int:
    return len([r for r in emulator.requests("/v2/voices") if r["method"] == "GET"])


def test_what_was_counted_before_a_refusal_does_not_overrule_what_it_taught(
    emulator: EmulatorHandle, hook: VoiceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.05)
    voices = emulator.seed_voices(count=4)

    async def run() -> list[str]:
        before = await event(turn(4, seconds=0.3, of="clones", learned=True))
        for voice in voices[:2]:  # the plan holds two now
            await hook.arun(hook.service.delete_voice(voice["id"]))
        refused = await asyncio.gather(*(event(turn(2, seconds=0.5, of="clones", learned=True)) for _ in range(3)))
        return [found["status"] for found in (before, *refused)]

    assert asyncio.run(run()) == ["deadline"] * 4
    assert counted(emulator) > 2


@pytest.mark.parametrize(("learned", "end"), [(True, "turn"), (False, "deadline")])
def test_what_is_counted_after_a_refusal_proves_that_there_are_more_slots(
    emulator: EmulatorHandle, hook: VoiceHook, monkeypatch: pytest.MonkeyPatch, end: str, *, learned: bool
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.05)
    emulator.seed_voices(count=2)

    async def run() -> dict[str, Any]:
        wait = asyncio.create_task(event(turn(2, seconds=20 if learned else 3, of="clones", learned=learned)))
        [voice] = await asyncio.to_thread(emulator.seed_voices, count=1)  # it was in the making when it was refused
        enough = await asyncio.to_thread(counted, emulator) + 2
        while await asyncio.to_thread(counted, emulator) < enough:
            assert not wait.done()
        await hook.arun(hook.service.delete_voice(voice["id"]))
        return await wait

    assert asyncio.run(run())["status"] == end


def test_where_no_limit_is_known_one_goes_after_the_other(
    emulator: EmulatorHandle, hook: VoiceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.05)
    events = all_events(*(turn(None, seconds=0.8) for _ in range(4)))
    assert sorted(found["status"] for found in events) == ["deadline"] * 3 + ["turn"]


def test_at_fish_audio_the_headers_say_whether_there_is_room(
    emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(service="fish_audio")
    emulator.settings(fish_concurrency=2)
    events = all_events(*(turn(None, seconds=0.8) for _ in range(4)))
    assert sorted(found["status"] for found in events) == ["deadline"] * 2 + ["turn"] * 2


def test_an_outage_ends_no_turn(emulator: EmulatorHandle, hook: VoiceHook) -> None:
    emulator.fault("html", path="/v2/generations", method="GET", status=503, times=3)
    assert all_events(turn(5))[0]["status"] == "turn"


def test_a_key_that_is_refused_again_and_again_ends_the_wait(
    emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(password="the-key-of-nobody")
    found = all_events(turn(5))[0]
    assert found["status"] == "refused"
    assert "the-key-of-nobody" not in str(found)


def test_a_refusal_that_passes_is_forgotten(
    emulator: EmulatorHandle, hook: VoiceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.0)
    recorded_sleeps(monkeypatch)
    full = [{"id": "J", "status": "PROCESSING"}]
    for _ in range(3):
        emulator.fault("status", path="/v2/generations", status=401, times=CONFIRMATIONS - 1)
        emulator.fault("status", path="/v2/generations", status=200, body=full)
    assert all_events(turn(1, seconds=1000))[0]["status"] == "turn"
    assert len(questions(emulator)) == 3 * CONFIRMATIONS + 1


def test_a_pause_that_the_service_asks_for_is_made(
    emulator: EmulatorHandle, hook: VoiceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("status", path="/v2/generations", status=429, headers={"Retry-After": "7"})
    emulator.fault("status", path="/v2/generations", status=429)
    emulator.fault("status", path="/v2/generations", status=503)
    naps = recorded_sleeps(monkeypatch)
    assert all_events(turn(1, seconds=1000, poll_interval=20))[0]["status"] == "turn"
    assert [round(nap) for nap in naps] == [7, 20, 20]


def test_those_who_wait_for_their_turn_do_not_ask_at_the_same_moment(
    emulator: EmulatorHandle, hook: VoiceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("status", path="/v2/generations", status=503, times=30)
    naps: list[float] = []

    async def at_once(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    assert all_events(turn(1, seconds=1000, poll_interval=10))[0]["status"] == "turn"
    assert all(10 <= nap <= 12 for nap in naps[1:])
    assert len(set(naps)) > 20


def test_a_turn_passes_through_airflow(emulator: EmulatorHandle) -> None:
    path, values = turn(5).serialize()
    assert path == "voice_provider.triggers.turn.TurnTrigger"
    assert TurnTrigger(**values).serialize() == (path, values)


def test_a_turn_carries_no_key_no_address_and_no_script(
    emulator: EmulatorHandle, task: Task, video: Path, tmp_path: Path
) -> None:
    emulator.settings(concurrency=0)
    operator = LipSyncOperator(
        task_id="t", video=str(video), text="Hello.", voice_id=BUILT_IN, output=f"{tmp_path}/o.mp4", deferrable=True
    )
    with pytest.raises(TaskDeferred) as deferred:
        task.run(operator)
    trigger = deferred.value.trigger
    assert isinstance(trigger, TurnTrigger)
    text = repr(trigger) + str(vars(trigger)) + json.dumps(trigger.serialize())
    for secret in (emulator.api_key, emulator.url, "Hello"):
        assert secret not in text


def test_who_waits_for_a_job_has_had_its_turn_also_where_all_are_asked_after_together(
    emulator: EmulatorHandle, order: Callable[[int], list[str]], hook: VoiceHook
) -> None:
    jobs = order(3)

    async def run() -> int:
        taken = module.turns(hook)
        taken._let_go = [time.monotonic()] * 3
        await asyncio.gather(*(event(waiting(job, seconds=0.5)) for job in jobs))
        return len(taken._let_go)

    assert asyncio.run(run()) == 0
