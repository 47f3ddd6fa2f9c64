"""No wait outlives its time, whatever becomes of its questions: each fault of the emulator, on worker and triggerer."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred

from tests.conftest import Task
from tests.hooks.test_reading import LETTERS, answering, endless
from tests.triggers.test_job import BUILT_IN, event, order_speech, waiting
from voice_provider.emulator.world.faults import Kind
from voice_provider.exceptions import JobTimeoutError, VoiceError
from voice_provider.hooks import attempts
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors.job import TTSCompleteSensor, VoiceTrainedSensor
from voice_provider.sensors.slot import VoiceSlotSensor
from voice_provider.triggers import job as job_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.models import Job

WAIT, LAST, LATE = 0.5, 0.3, 5.0  # seconds; the last is for a machine that is busy
LONG = 20  # seconds that a fault lasts

FAULTS: list[tuple[Kind, dict[str, Any]]] = [
    ("status", {"status": 500}),
    ("status", {"status": 429, "headers": {"retry-after": "inf"}}),
    ("status", {"status": 503, "headers": {"retry-after": "31536000"}}),
    ("status", {"status": 404}),
    ("html", {}),
    ("edge_before", {"headers": {"retry-after": "86400"}}),
    ("edge_after", {"form": "text"}),
    ("drop_before", {}),
    ("drop_after", {}),
    ("slow", {"seconds": LONG}),
    ("slow", {"seconds": 0.05, "bytes": 1}),
    ("truncate", {}),
    ("truncate_clean", {}),
    ("empty", {}),
    ("corrupt", {}),
    ("redirect", {}),
    ("job_failed", {}),
    ("job_rejected", {}),
]


def on_the_worker(conn_id: str, job: Job) -> float:
    """Wait as a task does; return the seconds that it took."""
    hook = VoiceHook.for_connection(conn_id)
    hook.transport  # noqa: B018  # what is read and loaded once is no waiting
    began = time.monotonic()
    with suppress(VoiceError):
        hook.wait_for(job, WAIT, 0.05)
    return time.monotonic() - began


async def on_the_triggerer(conn_id: str, job: Job) -> float:
    began = time.monotonic()
    await event(waiting(job, voice_conn_id=conn_id, deadline=time.time() + WAIT))
    return time.monotonic() - began


def test_no_wait_outlives_its_time(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_what_is_said = {kind for kind in get_args(Kind) if kind.startswith("speech_")}  # the answer is as ever
    assert {kind for kind, _ in FAULTS} == set(get_args(Kind)) - of_what_is_said
    for module in (attempts, job_module):
        monkeypatch.setattr(module, "LAST_QUESTION", LAST)
    emulator.settings(concurrency=None)
    waits = {}
    for kind, rule in FAULTS:
        if kind.startswith("job_"):
            emulator.fault(kind, "/v2/tts/jobs", method="POST")
        job = order_speech(hook, emulator)
        if not kind.startswith("job_"):
            emulator.fault(kind, f"*{job.id}*", times=None, **rule)
        waits[f"{kind} {rule}"] = ("voice_default", job)
    with ExitStack() as hosts:
        for conn_id, host in {
            "no_head": answering(b"", b"", LONG),
            "head_drips": answering(*LETTERS),
            "body_drips": endless(b" ", 0.05),
        }.items():
            set_connection(conn_id, host=hosts.enter_context(host), timeout=LONG)
            waits[conn_id] = (conn_id, job)
        with ThreadPoolExecutor(len(waits)) as threads:
            took = dict(zip(waits, threads.map(lambda wait: on_the_worker(*wait), waits.values()), strict=True))
        assert {name: seconds for name, seconds in took.items() if seconds > WAIT + LAST + LATE} == {}

        async def together() -> list[float]:
            return await asyncio.gather(*(on_the_triggerer(*wait) for wait in waits.values()))

        took = dict(zip(waits, asyncio.run(together()), strict=True))
        assert {name: seconds for name, seconds in took.items() if seconds > WAIT + LAST + LATE} == {}


def test_no_attempt_outlives_its_time_by_what_it_asks_around_its_wait(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    sample: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts.LAST_QUESTION", LAST)
    set_connection(tts_mode="jobs", timeout=LONG, clone_slots=1)
    emulator.settings(concurrency=None, job_seconds=3600)
    times = {"timeout": WAIT, "task_id": "t"}

    def speak(**more: Any) -> TTSOperator:
        return TTSOperator(text="Hello.", voice_id=BUILT_IN, output=f"{tmp_path}/out/", **(times | more))

    def clone(**more: Any) -> CloneVoiceOperator:
        return CloneVoiceOperator(name="Ann", sample=str(sample), **times, **more)

    ordered = [Task() for _ in range(4)]
    for task in ordered:
        with suppress(JobTimeoutError):
            task.run(speak(timeout=0))
    again, deferrable, resumed, lost = ordered
    lost.store.set("voice_job", {**lost.record, "account": "another"})
    job = again.record["job"]["id"]
    late = {**resumed.record, "deadline": time.time() - 60}
    resumed.store.set("voice_job", late)
    attempts: dict[str, Callable[[], Any]] = {
        "a second try": lambda: again.run(speak()),
        "a second try that may defer": lambda: deferrable.run(speak(deferrable=True)),
        "back from the triggerer": lambda: speak(deferrable=True).execute_complete(resumed.context),
        "under another key": lambda: lost.run(speak()),
        "a clone looks": lambda: Task().run(clone()),
        "a clone waits for a slot": lambda: Task().run(clone(on_slot_limit="wait")),
        "a sensor": lambda: Task().run(TTSCompleteSensor(job=job, output=f"{tmp_path}/s/", **times)),
        "a sensor defers": lambda: Task().run(
            TTSCompleteSensor(job=job, output=f"{tmp_path}/s/", deferrable=True, **times)
        ),
        "a voice is trained": lambda: Task().run(VoiceTrainedSensor(voice="0" * 24, **times)),
        "a slot": lambda: Task().run(VoiceSlotSensor(**times)),
    }

    def lasts(attempt: Callable[[], Any]) -> float:
        began = time.monotonic()
        with suppress(VoiceError, AirflowSensorTimeout, TaskDeferred):
            attempt()
        return time.monotonic() - began

    took = {}
    for rule in ({"seconds": LONG}, {"seconds": 0.05, "bytes": 1}):
        emulator.fault("slow", "*", method="GET", times=None, **rule)
        with ThreadPoolExecutor(len(attempts)) as threads:
            lasted = threads.map(lasts, attempts.values())
            took |= {f"{name}, {rule}": seconds for name, seconds in zip(attempts, lasted, strict=True)}
        emulator.clear_faults()
    assert {name: seconds for name, seconds in took.items() if seconds > WAIT + LAST + LATE} == {}
    assert min(took.values()) >= LAST, "each has asked"
