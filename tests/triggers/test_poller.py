"""All waits of a connection share one poller: it asks little, holds back for all, and keeps no wait beyond its end."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from tests.hooks.test_reading import endless
from tests.triggers.test_asking import questions
from tests.triggers.test_job import event, order_lip_sync, order_speech, waiting
from voice_provider.hooks.transport import CONNECTIONS, Transport
from voice_provider.hooks.voice import VoiceHook
from voice_provider.triggers import job as job_module
from voice_provider.triggers import poller as module
from voice_provider.triggers import turn as turn_module
from voice_provider.triggers.job import JobTrigger
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle


def together(*triggers: Any) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(event(trigger) for trigger in triggers)))

    return asyncio.run(run())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often a connection is read."""
    found: list[str] = []
    original = VoiceHook.afor_connection

    async def counting(conn_id: str) -> VoiceHook:
        found.append(conn_id)
        return await original(conn_id)

    monkeypatch.setattr(VoiceHook, "afor_connection", counting)
    return found


def test_the_connection_is_read_once_for_all(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    reads: list[str],
    order: Callable[[int], list[str]],
) -> None:
    jobs = order(20)
    emulator.settings(job_seconds=0)  # also for those that have not begun
    emulator.wait_idle()
    waits = [waiting(kind="lip_sync", job_id=job) for job in jobs]
    assert {found["status"] for found in together(*waits)} == {"ended"}
    assert reads == ["voice_default"]


def test_it_is_read_again_after_some_minutes_and_after_a_refusal(
    hook: VoiceHook, emulator: EmulatorHandle, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_AGAIN", 0.0)
    job = order_speech(hook, emulator)
    together(waiting(job, deadline=time.time() + 0.3))
    assert len(reads) > 2
    monkeypatch.setattr(module, "READ_AGAIN", 300.0)
    reads.clear()
    emulator.fault("status", path="/v2/tts/*", status=401)
    together(waiting(job, deadline=time.time() + 0.4))
    assert len(reads) == 2


@pytest.mark.parametrize("asked", ["inf", "31536000", "1e400", "nan"])
def test_a_service_that_asks_to_wait_for_ever_ends_no_wait_late_and_none_early(
    asked: str, hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (job_module, turn_module):
        monkeypatch.setattr(room, "LAST_QUESTION", 0.5)
    job = order_speech(hook, emulator)
    emulator.fault("status", path="/v2/*", method="GET", status=429, headers={"Retry-After": asked}, times=None)
    began = time.monotonic()
    waits = (
        waiting(job, deadline=time.time() + 0.5),
        TurnTrigger("voice_default", 1, 0.1, time.time() + 0.5, 0.0),
    )
    assert [found["status"] for found in together(*waits)] == ["deadline"] * 2
    assert 0.4 < time.monotonic() - began < 1.4


def test_what_the_service_asks_to_wait_holds_for_everybody(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)
    emulator.fault("status", path="/v2/tts/*", status=429, headers={"Retry-After": "0.6"})
    asked: list[float] = []
    plain = Transport._asend

    async def watched(transport: Transport, request: Any) -> Any:
        asked.append(time.monotonic())
        return await plain(transport, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transport, "_asend", watched)
        together(*(waiting(job, deadline=time.time() + 1.2) for _ in range(5)))
    at_once = [at for at in asked if at - asked[0] < 0.3]
    assert len(at_once) <= 5, "those that were on their way"
    assert all(at - asked[0] >= 0.6 for at in asked[len(at_once) :])
    assert len(asked) > len(at_once)


def test_no_more_questions_than_connections_are_on_their_way(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = order_speech(hook, emulator, seconds=0)
    emulator.wait_idle()
    under_way, most = 0, 0
    plain = Transport._asend

    async def watched(transport: Transport, request: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.01)
            return await plain(transport, request)
        finally:
            under_way -= 1

    monkeypatch.setattr(Transport, "_asend", watched)
    assert {found["status"] for found in together(*(waiting(job) for _ in range(40)))} == {"ended"}
    assert most == CONNECTIONS


def test_a_clock_that_is_behind_keeps_no_wait(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = order_speech(hook, emulator)
    began = time.monotonic()
    behind = {"deadline": time.time() + 86400, "at_most": 0.4, "first_poll": time.time() + 3600}
    turn = TurnTrigger("voice_default", 0, 0.1, time.time() + 86400, time.time() + 3600, at_most=0.4)
    assert [found["status"] for found in together(waiting(job, **behind), turn)] == ["deadline"] * 2
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("many", [1, 3])
def test_an_answer_that_drips_keeps_no_wait(
    many: int, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "LAST_QUESTION", 0.2)
    with endless(b" ", every=0.05) as url:
        set_connection(host=url)
        began = time.monotonic()
        waits = (waiting(kind="lip_sync", job_id=f"J{n}", deadline=time.time() + 0.5) for n in range(many))
        assert {found["status"] for found in together(*waits)} == {"deadline"}
        assert time.monotonic() - began < 3


def test_one_timer_ends_each_wait_in_its_time(set_connection: Callable[..., None]) -> None:
    """A timer for each would be two objects more for Python's collector, of the few that a wait has."""
    ends = [0.9, 0.3, 0.6, 0.31, 0.9]
    took: dict[int, float] = {}

    async def wait(number: int, began: float) -> None:
        trigger = waiting(kind="lip_sync", job_id=f"J{number}", deadline=time.time() + ends[number])
        assert (await event(trigger))["status"] == "deadline"
        took[number] = time.monotonic() - began

    async def run() -> int:
        waits = [asyncio.create_task(wait(number, time.monotonic())) for number in range(len(ends))]
        await asyncio.sleep(0.1)
        scheduled = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        timers = [handle for handle in scheduled if "Rounds" in repr(handle)]
        await asyncio.gather(*waits)
        assert module.poller("voice_default")._rounds["lip_sync"]._timer is None, "nothing is left behind"
        return len(timers)

    with endless(b" ", every=0.05) as url:
        set_connection(host=url)
        assert asyncio.run(run()) == 1
    late = {number: took[number] - ends[number] for number in took}
    assert all(-0.01 <= seconds < 2 for seconds in late.values()), late
    assert [number for number in took if ends[number] < 0.5] == [1, 3]


def test_what_is_new_of_a_job_is_told_in_the_log_of_its_own_wait(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    order: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(JobTrigger, "_tell", staticmethod(lambda line: told.append((whose.get(), line))))
    jobs = order(6)

    async def wait(job: str) -> dict[str, Any]:
        whose.set(job)
        return await event(waiting(kind="lip_sync", job_id=job, poll_interval=0.2))

    async def run() -> None:
        waits = [asyncio.create_task(wait(job)) for job in jobs]
        await asyncio.sleep(0.6)
        await asyncio.to_thread(emulator.advance, 3601)
        await asyncio.gather(*waits)

    asyncio.run(run())
    assert {job for job, _ in told} == set(jobs)
    assert all(job in line for job, line in told)


def test_a_single_wait_is_handed_back_to_be_asked_after_alone(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    order: Callable[[int], list[str]],
    video: Path,
) -> None:
    [short] = order(1)
    long = order_lip_sync(hook, emulator, video)

    async def run() -> list[dict[str, Any]]:
        brief = asyncio.create_task(event(waiting(kind="lip_sync", job_id=short, deadline=time.time() + 0.8)))
        last = asyncio.create_task(event(waiting(long, poll_interval=0.2, deadline=time.time() + 2)))
        return [await brief, await last]

    assert [found["status"] for found in asyncio.run(run())] == ["deadline"] * 2
    assert questions(emulator)[-1] == f"/v2/generate/{long.id}"
