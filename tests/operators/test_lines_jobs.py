"""Scripts of many lines where speech is a job: keyed, asked after, waited for elsewhere, and paid once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred

from tests.operators.test_lines import SCRIPT, Killed, Lines, dies
from voice_provider.exceptions import (
    JobTimeoutError,
    OutcomeUnknownError,
    PermanentVoiceError,
    QuotaError,
    TransientVoiceError,
)
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs.names import FULL, ManagedName
from voice_provider.lines import journal as lines_journal
from voice_provider.lines import speaking, ways
from voice_provider.lines.journal import Journal
from voice_provider.lines.run import ScriptRun
from voice_provider.lines.ways import AsJob
from voice_provider.operators import SpeakLinesOperator
from voice_provider.operators import base as operators_base
from voice_provider.operators import lines as operators_lines
from voice_provider.triggers.jobs import JobsTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
JOBS = "/v2/tts/jobs"


class Jobs(Lines):
    """As ``Lines``, where speech is a job."""

    def operator(self, lines: Any = SCRIPT, **changes: Any) -> SpeakLinesOperator:
        values = {"voice_id": self.voice, "output": f"{self.folder}/", "concurrency": 2, "poll_interval": 0.02}
        return SpeakLinesOperator(task_id="t", lines=lines, **(values | changes))

    def run(self, lines: Any = SCRIPT, task: Any = None, **changes: Any) -> dict[str, Any]:
        return super().run(lines, task, format=None, poll_interval=0.02, **changes)

    def deferred(self, **changes: Any) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as found:
            self.run(deferrable=True, **changes)
        return found.value

    def come_back(self, left: TaskDeferred, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
        assert left.method_name == "execute_complete"
        result: dict[str, Any] = self.operator(deferrable=True, **changes).execute_complete(self.task.context, event)
        return result

    def posts(self) -> Counter[str]:
        """Return how often each key was sent."""
        sent = self.emulator.requests(JOBS)
        return Counter(request["idempotency_key"] for request in sent if request["method"] == "POST")

    def short(self) -> str:
        return "".join(outcome[0] for outcome in self.outcomes().values())


@pytest.fixture
def lines(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Jobs:
    set_connection(tts_mode="jobs")
    emulator.settings(tts_retry_after=0)
    monkeypatch.setattr(speaking, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(speaking, "QUIET", 0.0)  # a job that was accepted is written down before anything else
    monkeypatch.setattr(ways, "CONFIRM_AFTER", 0.02)
    return Jobs(emulator, tmp_path / "out", BUILT_IN)


def event_of(left: TaskDeferred) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        sent = await anext(left.trigger.run())
        return dict(sent.payload)

    return asyncio.run(first())


def test_a_script_is_spoken_once_in_jobs_and_at_once(lines: Jobs, set_connection: Callable[..., None]) -> None:
    assert lines.run()["counts"] == {"spoken": 6}
    assert len(lines.posts()) == lines.paid() == 6
    assert lines.run()["counts"] == {"reused": 6}
    assert lines.run(redo=["b"])["counts"] == {"reused": 5, "spoken": 1}
    assert lines.run(stability=0.2)["counts"] == {"spoken": 6}
    assert set(lines.posts().values()) == {1}, "an order that is a new one has another key"
    lines.paid()
    for mode in ("sync", "seed-async"):
        set_connection()
        lines.emulator.settings(tts_mode=mode)
        assert lines.run([{"text": f"Said by {mode}."}] * 2)["counts"] == {"spoken": 2}
        assert lines.paid() == 1
    lines.rows()


# where a try dies, how many were paid then, and how often each key was sent in the end
KILLS: list[tuple[str, Any, str, int, bool, int, list[int]]] = [
    ("after the window is written", Journal, "write", 3, True, 0, [1] * 6),
    ("between an order and its answer", AsJob, "_order", 3, True, 3, [1, 1, 1, 1, 1, 2]),
    ("between a job's end and its take", VoiceHook, "keep", 3, False, 3, [1] * 6),
    ("between a take and the next line", VoiceHook, "keep", 3, True, 3, [1] * 6),
    ("between the takes and the manifest", ScriptRun, "end", 1, False, 6, [1] * 6),
]


def test_after_a_kill_each_line_is_gone_on_with_and_none_is_paid_twice(
    lines: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, (name, where, call, at, after, paid, sent) in enumerate(KILLS):
        lines.folder, before = tmp_path / str(number), lines.posts()
        with dies(monkeypatch, where, call, at, after=after), pytest.raises(Killed):
            lines.run(concurrency=1)
        assert lines.paid() == paid, name
        lines.run()
        assert set(lines.short()) <= {"s", "r"}, name
        assert sorted((lines.posts() - before).values()) == sent, name
        assert lines.paid() == 6 - paid, name


def test_without_a_key_only_a_job_that_is_known_is_gone_on_with(
    lines: Jobs, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_connection()
    for mode, quiet, then in (("sync", 99.0, "rruuss"), ("seed-async", 99.0, "rruuss"), ("seed-async", 0.0, "rrsuss")):
        lines.folder = tmp_path / f"{mode}{quiet}"
        lines.emulator.settings(tts_mode=mode)
        monkeypatch.setattr(speaking, "QUIET", quiet)
        with dies(monkeypatch, VoiceHook, "keep", 3), pytest.raises(Killed):
            lines.run(concurrency=1)
        with pytest.raises(OutcomeUnknownError, match="may be paid"):
            lines.run()
        assert lines.short() == then, (mode, quiet)
        assert lines.run(on_unknown_outcome="resubmit")["counts"]["spoken"] == then.count("u")


def test_what_was_ordered_at_another_account_is_in_doubt(
    lines: Jobs, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with dies(monkeypatch, AsJob, "_order", after=True), pytest.raises(Killed):
        lines.run(SCRIPT[:1])
    lines.emulator.add_account("other-key", "other")
    set_connection(tts_mode="jobs", password="other-key")
    with pytest.raises(OutcomeUnknownError):
        lines.run(SCRIPT[:1])
    assert lines.paid() == 1


def test_it_waits_on_the_triggerer_until_half_of_the_jobs_have_ended(
    lines: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators_base, "INLINE_WAIT", 0.1)
    lines.emulator.settings(job_seconds=3600)
    left = lines.deferred(concurrency=4)
    path, values = left.trigger.serialize()
    assert JobsTrigger(**json.loads(json.dumps(values))).serialize() == (path, values)
    assert path == "voice_provider.triggers.jobs.JobsTrigger"
    told = json.dumps(values)
    assert not [text for text in (*lines.posts(), lines.emulator.api_key, "Line") if text in told]
    assert (len(values["jobs"]), values["enough"]) == (4, 2)
    assert lines.short() == "mmmmmm"
    assert "collects it" in str(lines.rows()["a"].error)
    with pytest.raises(TransientVoiceError, match="it waits for jobs"):  # the folder stays its own
        lines.run(task=lines.a_task(run_id="tomorrow"))
    lines.emulator.advance(3600)
    event = event_of(left)
    assert event["status"] == "ended"
    left = lines_left(lines, left, event)
    values = left.trigger.serialize()[1]
    assert (len(values["jobs"]), values["enough"]) == (2, 2), "no line waits for a place: all of them"
    assert lines.short() == "ssssmm"
    lines.emulator.advance(3600)
    assert lines.come_back(left, event_of(left), concurrency=4)["counts"] == {"spoken": 6}
    assert lines.paid() == len(lines.posts()) == lines.posts().total() == 6


def lines_left(lines: Jobs, left: TaskDeferred, event: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as found:
        lines.come_back(left, event, concurrency=4)
    return found.value


def test_a_wait_that_ends_badly_loses_nothing(lines: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators_base, "INLINE_WAIT", 0.1)
    lines.emulator.settings(job_seconds=3600)
    left = lines.deferred(timeout=0.3)
    event = event_of(left)
    assert event["status"] == "deadline"
    with pytest.raises(JobTimeoutError, match="a retry collects it"):
        lines.come_back(left, event, timeout=0.3)
    left = lines.deferred()  # a retry
    lines.emulator.advance(3600)
    lines.emulator.settings(job_seconds=0)

    def fail(*_: Any) -> None:
        raise TaskDeferralError("the trigger is gone")

    monkeypatch.setattr(SpeakLinesOperator, "execute_complete", fail)
    operator = lines.operator(deferrable=True)
    assert operator.resume_execution("execute_complete", {}, lines.task.context)["counts"] == {"spoken": 6}
    assert lines.paid() == 6


def test_a_wait_that_comes_back_goes_on_and_begins_no_new_one(lines: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators_base, "INLINE_WAIT", 0.1)
    lines.emulator.settings(job_seconds=3600)
    left = lines.deferred(lines=SCRIPT[:2], timeout=1.5)
    lines.emulator.advance(3600)
    lines.emulator.fault("status", "*.mp3", status=503, times=None)  # they have ended, and cannot be fetched
    for _ in range(20):
        event = event_of(left)
        try:
            lines.come_back(left, event, lines=SCRIPT[:2], timeout=1.5)
        except TaskDeferred as again:
            left = again
        except TransientVoiceError:
            break
    else:
        raise AssertionError("it goes to and fro")
    lines.emulator.clear_faults()
    assert lines.run(SCRIPT[:2])["counts"] == {"spoken": 2}
    assert lines.paid() == 2


def test_what_the_task_has_spent_in_a_queue_is_no_silence_of_the_service(
    lines: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators_base, "INLINE_WAIT", 0.1)
    lines.emulator.settings(job_seconds=3600)
    left = lines.deferred(lines=SCRIPT[:2], timeout=10)
    lines.emulator.advance(3600)
    event = event_of(left)
    later = SimpleNamespace(time=lambda: time.time() + 60, monotonic=time.monotonic)
    for module in (operators_lines, lines_journal):
        monkeypatch.setattr(module, "time", later)  # the task was in Airflow's queue, past the deadline
    lines.emulator.fault("status", "*.mp3", status=503, times=None)
    with pytest.raises(TaskDeferred) as again:  # there is time left, and it waits elsewhere
        lines.come_back(left, event, lines=SCRIPT[:2], timeout=10)
    lines.emulator.clear_faults()
    event["at"] = later.time()
    assert lines.come_back(again.value, event, lines=SCRIPT[:2], timeout=10)["counts"] == {"spoken": 2}
    assert lines.paid() == 2


def test_a_wait_ends_also_where_there_always_is_a_question_on_its_way(
    lines: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "FIRST_PAUSE", 0.0)  # who was answered asks at once, and is never alone
    lines.emulator.settings(job_seconds=3600)
    lines.emulator.fault("slow", f"{JOBS}/*", method="GET", seconds=0.4, times=None)
    late = threading.Timer(60, lines.emulator.advance, [3600])
    late.daemon = True
    late.start()
    with pytest.raises(JobTimeoutError, match="none ended"):
        lines.run(concurrency=6, timeout=0.5)
    late.cancel()
    lines.emulator.clear_faults()
    lines.emulator.advance(3600)
    assert lines.run()["counts"] == {"spoken": 6}
    assert lines.paid() == 6


def test_a_job_that_fails_is_a_failed_line_and_a_clear_orders_it_anew(lines: Jobs) -> None:
    lines.emulator.fault("job_failed", JOBS, after=1)
    with pytest.raises(PermanentVoiceError, match=r"1 of 6 lines have no take.*'b'.*ended as FAILED"):
        lines.run(concurrency=1)
    assert lines.short() == "sfssss"
    assert lines.run(max_failed=1)["counts"] == {"failed": 1, "reused": 5}
    assert len(lines.posts()) == 6
    lines.task.clear()
    assert lines.run()["counts"] == {"reused": 5, "spoken": 1}
    assert len(lines.posts()) == 7


def test_what_goes_wrong_on_the_way_costs_no_line(lines: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "FIRST_PAUSE", 0.002)
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("status", JOBS, {"status": 429, "times": 3}),
        ("status", JOBS, {"status": 503, "times": 3}),
        ("drop_after", JOBS, {"times": 3}),
        ("edge_after", JOBS, {"times": 2}),
        ("status", f"{JOBS}/*", {"status": 429, "times": 2}),
        ("status", f"{JOBS}/*", {"status": 503, "times": 7}),
        ("status", f"{JOBS}/*", {"status": 404, "times": 1}),
        ("truncate", "*.mp3", {"times": 1}),
    ]
    for kind, path, rule in cases:
        lines.emulator.fault(kind, path, **rule)
        text = f"{kind} {path} {rule}"
        assert lines.run([{"text": f"{text} {n}"} for n in range(3)])["counts"] == {"spoken": 3}, text
        assert lines.paid() == 3, text
        assert [fault["fired"] for fault in lines.emulator.faults()] == [rule["times"]], text
        lines.emulator.clear_faults()
    lines.emulator.settings(key_busy_seconds=0.5)  # longer than an outage may be here
    lines.emulator.fault("drop_after", JOBS)
    assert lines.run([{"text": "At work already."}])["counts"] == {"spoken": 1}
    assert lines.paid() == 1


def test_a_refusal_after_a_lost_answer_says_nothing_of_the_order(lines: Jobs) -> None:
    for times, status in ((1, 422), (9, 503)):  # refused when it is sent again, and nobody there for long
        script = [{"text": f"Lost, then {status}."}]
        lines.emulator.fault("drop_after", JOBS)
        lines.emulator.fault("status", JOBS, status=status, times=times)
        with pytest.raises((PermanentVoiceError, TransientVoiceError), match=str(status)):
            lines.run(script)
        lines.emulator.clear_faults()
        lines.task.clear()
        assert lines.run(script)["counts"] == {"spoken": 1}, status
        assert lines.paid() == 1
    assert sorted(lines.posts().values()) == [3, 7], "under one key, as often as it took"


def test_another_voice_under_the_key_of_an_order_is_in_doubt(lines: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [{"text": "Hello."}]
    first, second = (
        {"voice_id": voice["id"], "name": str(ManagedName("Ann", "default", "a" * FULL))}
        for voice in lines.emulator.seed_voices(["Ann", "Ann, cloned anew"])
    )
    with dies(monkeypatch, AsJob, "_order", after=True), pytest.raises(Killed):
        lines.run(script, voice_id=first)
    with pytest.raises(OutcomeUnknownError, match="Another request was accepted"):
        lines.run(script, voice_id=second)
    assert lines.run(script, voice_id=second, on_unknown_outcome="resubmit")["counts"] == {"spoken": 1}
    assert lines.paid() == 2


def test_what_every_line_would_meet_stops_and_what_runs_is_collected_later(lines: Jobs) -> None:
    lines.emulator.settings(job_seconds=3600)
    lines.emulator.fault("status", JOBS, status=402, times=None, after=2)
    with pytest.raises(QuotaError):
        lines.run(concurrency=4)
    lines.emulator.clear_faults()
    lines.emulator.advance(3600)
    lines.emulator.settings(job_seconds=0)
    assert lines.run()["counts"] == {"spoken": 6}
    assert lines.paid() == 6
