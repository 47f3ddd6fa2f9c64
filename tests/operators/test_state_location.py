"""An Airflow without a store of its own (3.2), and ``state_location`` instead: the same promise, or nothing is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred

from tests.conftest import Task
from voice_provider.exceptions import InvalidInputError, StaleTryError
from voice_provider.jobs.store import ObjectStore
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors.job import LipSyncCompleteSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
KINDS = ["clone", "speech", "lip_sync"]


class Killed(BaseException):
    """What a SIGKILL is to the code: no handler runs after it."""


class OldTask(Task):
    """A task instance of Airflow 3.2: nothing is remembered; each try has an id of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.ti.try_number = 0
        self.next_try()

    @property
    def context(self) -> dict[str, Any]:
        return {"ti": self.ti}

    def next_try(self) -> None:
        number = self.ti.try_number + 1
        self.ti = type(self.ti)(**vars(self.ti) | {"try_number": number})
        self.ti.id = f"01990{number:03d}-0000-7000-8000-000000000000"


@pytest.fixture
def old() -> OldTask:
    return OldTask()


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path, set_connection: Callable[..., None]) -> str:
    where = str(tmp_path / "state")
    if request.param == "s3":
        request.getfixturevalue("s3")
        where = "s3://studio/state/"
    set_connection(tts_mode="jobs", state_location=where)
    return where


@pytest.fixture
def operators(sample: Path, video: Path, tmp_path: Path) -> dict[str, Callable[..., Any]]:
    out = str(tmp_path / "out") + "/"
    return {
        "clone": lambda **kw: CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample), ephemeral=True, **kw),
        "speech": lambda **kw: TTSOperator(task_id="t", text="Hello there.", voice_id=BUILT_IN, output=out, **kw),
        "lip_sync": lambda **kw: LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=out, **kw),
    }


def paid(emulator: EmulatorHandle, kind: str) -> int:
    return len([row for row in emulator.ledger(kind) if not row["refunded"]])


def changes(emulator: EmulatorHandle) -> list[str]:
    return [request["path"] for request in emulator.requests() if request["method"] != "GET"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("dies_at", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("location")
def test_a_worker_that_dies_at_any_write_pays_once_and_loses_nothing(
    kind: str,
    dies_at: int,
    when: str,
    emulator: EmulatorHandle,
    old: OldTask,
    operators: dict[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left, write = dies_at, ObjectStore.set

    def mortal(self: ObjectStore, key: str, value: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            raise Killed
        write(self, key, value)
        if left == 0:
            raise Killed

    monkeypatch.setattr(ObjectStore, "set", mortal)
    try:
        result = old.run(operators[kind]())
    except Killed:
        old.next_try()
        result = old.run(operators[kind]())
    assert paid(emulator, kind) == 1
    if kind == "clone":
        assert [voice["id"] for voice in emulator.voices()] == [result["voice_id"]]
    else:
        assert result["bytes"] > 0


@pytest.mark.parametrize("stands_still_at", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("location")
def test_a_try_that_stood_still_and_wakes_after_the_next_has_finished_stops(
    kind: str,
    stands_still_at: int,
    emulator: EmulatorHandle,
    old: OldTask,
    operators: dict[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left, write, results = stands_still_at, ObjectStore.set, []
    first = old.context

    def standing_still(self: ObjectStore, key: str, value: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:  # SIGSTOP past its heartbeat: Airflow gives the task to another worker, which does all of it
            old.next_try()
            results.append(old.run(operators[kind]()))
        write(self, key, value)

    monkeypatch.setattr(ObjectStore, "set", standing_still)
    with pytest.raises(StaleTryError):
        operators[kind]().execute(first)
    assert results
    assert paid(emulator, kind) == 1
    if kind == "clone":
        assert [voice["id"] for voice in emulator.voices()] == [results[0]["voice_id"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("location")
def test_a_job_that_was_deferred_is_collected_by_the_same_try(
    kind: str, emulator: EmulatorHandle, old: OldTask, operators: dict[str, Callable[..., Any]]
) -> None:
    emulator.settings(job_seconds=1.0, queue_seconds=0.5)
    operator = operators[kind](deferrable=True)
    try:
        result = old.run(operator)
    except TaskDeferred:
        again = operators[kind](deferrable=True)  # another process
        result = None
        for _ in range(20):
            try:
                result = again.execute_complete(old.context, {"message": "ended"})
                break
            except TaskDeferred:
                again = operators[kind](deferrable=True)
    assert result
    assert paid(emulator, kind) == 1


def test_airflows_own_store_is_read_once_more_when_the_location_is_set_under_way(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    operators: dict[str, Callable[..., Any]],
) -> None:
    task = Task()
    set_connection(tts_mode="jobs")
    emulator.settings(job_seconds=60)
    with pytest.raises(Exception, match="is still"):
        task.run(operators["speech"](timeout=0))
    set_connection(tts_mode="jobs", state_location=str(tmp_path / "state"))
    emulator.settings(job_seconds=0)
    emulator.advance(120)
    task.ti.id = "01990001-0000-7000-8000-000000000000"
    assert task.run(operators["speech"]())["bytes"] > 0
    assert paid(emulator, "speech") == 1


class TestWhatCannotBeUsed:
    """One sentence, before anything is sent."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_location(
        self, kind: str, emulator: EmulatorHandle, old: OldTask, operators: dict[str, Callable[..., Any]]
    ) -> None:
        with pytest.raises(InvalidInputError, match="needs a state_location") as error:
            old.run(operators[kind]())
        assert "voice_default" in str(error.value)
        assert changes(emulator) == []

    @pytest.mark.parametrize(
        ("where", "says"),
        [
            ("/proc/voice-state", "cannot be used"),
            ("s3://no-such-bucket/state", "cannot be used"),
            ("memory://state", "cannot create an object exclusively"),
            ("state/here", "has to be an absolute path or a URI"),
            ("/state/../etc", "has to be an absolute path or a URI"),
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_one_that_cannot_be_written(
        self,
        where: str,
        says: str,
        kind: str,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        old: OldTask,
        operators: dict[str, Callable[..., Any]],
        request: pytest.FixtureRequest,
    ) -> None:
        request.getfixturevalue("s3")
        set_connection(tts_mode="jobs", state_location=where)
        with pytest.raises(InvalidInputError, match=re.escape(says)) as error:
            old.run(operators[kind]())
        assert "state_location" in str(error.value)
        assert changes(emulator) == []


class TestWhatNeedsNone:
    """What is not paid for works on 3.2 as it is."""

    def test_a_sweep(self, emulator: EmulatorHandle, old: OldTask) -> None:
        assert old.run(CleanupVoicesOperator(task_id="t", orphaned=True))["deleted"] == []
        assert emulator.requests()

    def test_a_sensor_that_waits_as_long_as_it_may(
        self,
        emulator: EmulatorHandle,
        old: OldTask,
        set_connection: Callable[..., None],
        operators: dict[str, Callable[..., Any]],
        tmp_path: Path,
    ) -> None:
        set_connection(state_location=str(tmp_path / "state"))
        emulator.settings(job_seconds=60)
        ticket = old.run(operators["lip_sync"](wait_for_completion=False))
        set_connection()
        sensor = LipSyncCompleteSensor(task_id="s", job=ticket, deferrable=True, timeout=300)
        with pytest.raises(TaskDeferred) as deferred:
            old.run(sensor)
        waited = deferred.value.kwargs["waited"]
        with pytest.raises(TaskDeferred) as again:
            sensor.execute_complete(old.context, {"message": "x"}, **deferred.value.kwargs)
        assert again.value.kwargs["waited"] == waited  # coming back does not begin the wait anew
        with pytest.raises(TaskDeferralError):
            sensor.resume_execution("__fail__", {"error": "Trigger failure"}, old.context)
        emulator.settings(job_seconds=0)
        emulator.advance(120)
        assert sensor.execute_complete(old.context, {"message": "ended"}, **deferred.value.kwargs)["bytes"] > 0


@pytest.mark.parametrize("kind", ["speech", "lip_sync"])
def test_two_airflows_on_one_account_do_not_meet(
    kind: str,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
    tmp_path: Path,
) -> None:
    jobs = set()
    for namespace in ("dev", "prod"):  # the same DAG, the same scheduled run, and even the same place to remember
        set_connection(tts_mode="jobs", namespace=namespace, state_location=str(tmp_path / "state"))
        jobs.add(OldTask().run(operators[kind]())["job_id"])
    assert len(jobs) == paid(emulator, kind) == 2


@pytest.mark.parametrize("kind", ["speech", "lip_sync"])
def test_a_run_that_is_made_again_under_its_id_is_a_new_order(
    kind: str, emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], set_connection: Callable[..., None]
) -> None:
    set_connection(tts_mode="jobs")
    jobs = {Task().run(operators[kind]())["job_id"] for _ in range(2)}  # the store went with the run
    assert len(jobs) == paid(emulator, kind) == 2
