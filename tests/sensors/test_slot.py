"""The wait for a clone slot: it counts and never clones."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from voice_provider.exceptions import InvalidInputError
from voice_provider.hooks.voice import VoiceHook
from voice_provider.sensors.base import WAIT_KEY
from voice_provider.sensors.slot import VoiceSlotSensor
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle


def sensor(**arguments: Any) -> VoiceSlotSensor:
    return VoiceSlotSensor(**{"task_id": "slot", "poke_interval": 0.1, "timeout": 20, **arguments})


def delete(voice: dict[str, Any]) -> None:
    VoiceHook.for_connection("voice_default").delete_voice(voice["id"])


@pytest.fixture(params=["sync_labs", "fish_audio"])
def service(request: pytest.FixtureRequest, emulator: EmulatorHandle, set_connection: Callable[..., None]) -> str:
    set_connection(service=request.param, clone_slots=3)
    return str(request.param)


def seed(emulator: EmulatorHandle, service: str, count: int) -> None:
    (emulator.seed_voices if service == "sync_labs" else emulator.seed_models)(count=count)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_free_slot_is_told_at_once(emulator: EmulatorHandle, task: Task, service: str, *, deferrable: bool) -> None:
    seed(emulator, service, 1)
    found = task.run(sensor(deferrable=deferrable, needed="2"))
    found = getattr(found, "xcom_value", found)
    assert found == {"slots_in_use": 1, "slot_limit": 3, "free": 2}


def test_the_wait_ends_when_a_slot_is_free(emulator: EmulatorHandle, task: Task) -> None:
    voices = emulator.seed_voices(count=4)
    timer = threading.Timer(0.5, lambda: [delete(voice) for voice in voices[:2]])
    timer.start()
    assert task.run(sensor(slots=3))["free"] == 1
    timer.join()
    assert not [entry for entry in emulator.requests("/v2") if entry["method"] == "POST"]


def test_a_deferred_wait_counts_on_the_triggerer(
    emulator: EmulatorHandle, task: Task, set_connection: Callable[..., None]
) -> None:
    set_connection(clone_slots=5)
    voices = emulator.seed_voices(count=4)
    waiting = sensor(deferrable=True, needed=2)
    with pytest.raises(TaskDeferred) as deferred:
        task.run(waiting)
    trigger = deferred.value.trigger
    assert isinstance(trigger, TurnTrigger)

    async def wait() -> dict[str, Any]:
        event = asyncio.ensure_future(anext(aiter(TurnTrigger(**trigger.serialize()[1]).run())))
        await asyncio.sleep(0.5)
        assert not event.done()
        await asyncio.to_thread(delete, voices[0])
        return (await asyncio.wait_for(event, 10)).payload  # type: ignore[no-any-return]

    event = asyncio.run(wait())
    assert event["status"] == "turn"
    found = waiting.execute_complete(task.context, event)
    assert found == {"slots_in_use": 3, "slot_limit": 5, "free": 2}


@pytest.mark.parametrize(("soft", "end"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_has_an_end(
    emulator: EmulatorHandle, task: Task, end: type[Exception], *, soft: bool, deferrable: bool
) -> None:
    emulator.seed_voices(count=3)
    waiting = sensor(slots=3, timeout=0.3, soft_fail=soft, deferrable=deferrable)
    with pytest.raises((end, TaskDeferred)) as ended:
        task.run(waiting)
    if deferrable:
        assert isinstance(ended.value, TaskDeferred)
        time.sleep(0.3)
        with pytest.raises(end):
            waiting.execute_complete(task.context, {"status": "deadline"})


def test_execution_timeout_bounds_the_deferred_wait_too(emulator: EmulatorHandle, task: Task) -> None:
    emulator.seed_voices(count=3)
    waiting = sensor(slots=3, timeout=600, deferrable=True, execution_timeout=timedelta(seconds=60))
    with pytest.raises(TaskDeferred) as deferred:
        task.run(waiting)
    assert deferred.value.trigger.deadline <= time.time() + 60
    task.store.delete(WAIT_KEY)  # the wait begins anew where it is not known since when it lasts
    with pytest.raises(TaskDeferred) as again:
        waiting.execute_complete(task.context, {"status": "turn"})
    assert again.value.trigger.deadline <= time.time() + 60


def test_execution_timeout_ends_a_try_and_not_the_sensor(emulator: EmulatorHandle, task: Task) -> None:
    emulator.seed_voices(count=3)
    waiting = sensor(slots=3, timeout=600, deferrable=True, execution_timeout=timedelta(seconds=0.2))
    with pytest.raises(TaskDeferred):
        task.run(waiting)
    time.sleep(0.2)
    with pytest.raises(AirflowTaskTimeout, match=r"within 0\.2 s"):
        waiting.execute_complete(task.context, {"status": "deadline"})


def test_a_trigger_that_failed_is_no_end_of_the_wait(emulator: EmulatorHandle, task: Task) -> None:
    voices = emulator.seed_voices(count=3)
    waiting = sensor(slots=3, deferrable=True)
    with pytest.raises(TaskDeferred):
        task.run(waiting)
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            waiting.resume_execution("__fail__", {"error": "Trigger failure"}, task.context)
    delete(voices[0])
    found = waiting.resume_execution("__fail__", {"error": "Trigger failure"}, task.context)
    assert found["free"] == 1


def test_a_blip_does_not_end_the_wait(emulator: EmulatorHandle, task: Task) -> None:
    emulator.fault("status", path="/v2/voices", method="GET", status=503, times=6)
    assert task.run(sensor(slots=3))["free"] == 3


@pytest.mark.parametrize(
    ("arguments", "says"), [({}, "clone_slots"), ({"slots": 2, "needed": 3}, "holds 2"), ({"slots": "few"}, "slots")]
)
def test_what_cannot_be_waited_for_is_refused(
    emulator: EmulatorHandle, task: Task, arguments: dict[str, Any], says: str
) -> None:
    assert emulator.url
    with pytest.raises(InvalidInputError, match=says):
        task.run(sensor(**arguments))
