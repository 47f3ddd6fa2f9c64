"""What operations can count: each fact once, by Airflow's own metrics, whatever the task does and however it ends."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability.stats import Stats

from tests.conftest import Task, write_wav
from voice_provider.compat import SINCE_3_3
from voice_provider.exceptions import ConcurrencyLimitError, VoiceError
from voice_provider.files.receiving import Download
from voice_provider.hooks import metrics
from voice_provider.hooks.voice import VoiceHook
from voice_provider.lines import speaking
from voice_provider.operators import (
    CleanupVoicesOperator,
    CloneVoiceOperator,
    DeleteVoiceOperator,
    SpeakLinesOperator,
    TTSOperator,
)
from voice_provider.sensors import TTSCompleteSensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
PRICES = json.dumps({"speech": {"characters": 0.0002}})


class Backend(NoStatsLogger):
    """A backend as Airflow has them, which remembers what it is told."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.levels: dict[str, float] = {}
        self.broken = False

    def _named(self, stat: str, tags: Any) -> str:
        if self.broken and stat.startswith("voice."):
            raise OSError("nobody listens")
        return " ".join([stat, *(str(value) for _, value in sorted((tags or {}).items()))])

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: Any = None) -> None:
        self.counted[self._named(stat, tags)] += count

    def timing(self, stat: str, dt: timedelta, *, tags: Any = None) -> None:
        self.times.setdefault(self._named(stat, tags), []).append(dt.total_seconds())

    def gauge(self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: Any = None) -> None:
        self.levels[self._named(stat, tags)] = value

    def news(self) -> dict[str, int]:
        """Return what of ours was counted since it was asked last."""
        counted, self.counted = self.counted, Counter()
        return {name.removeprefix("voice."): count for name, count in counted.items() if name.startswith("voice.")}


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend behind Airflow's metrics; afterwards there is none, as there was before."""
    backend, more = Backend(), {"export_legacy_names": False} if SINCE_3_3 else {}
    Stats.initialize(factory=lambda: backend, **more)
    yield backend
    Stats.initialize(factory=NoStatsLogger, **more)


def speech(folder: Path, **changes: Any) -> TTSOperator:
    return TTSOperator(task_id="t", **{"text": "Hello there.", "voice_id": BUILT_IN, "output": f"{folder}/"} | changes)


def test_an_order_is_counted_where_it_is_sent_and_a_result_where_it_is_kept(
    emulator: EmulatorHandle,
    backend: Backend,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_connection(tts_mode="jobs", prices=PRICES)
    emulator.settings(tts_mode="seed-async", job_seconds=0.1)
    ordered, usual = (
        "orders speech {} sync_labs",
        {
            "orders speech accepted sync_labs": 1,
            "results speech kept sync_labs": 1,
            "cost_microusd speech sync_labs": 2400,
        },
    )
    Task().run(speech(tmp_path))
    assert backend.news() == usual
    for name in ("wait", "receipt"):
        [seconds] = backend.times[f"voice.{name}_duration speech sync_labs"]
        assert 0 < seconds < 30

    ticket = Task().run(speech(tmp_path, wait_for_completion=False))
    assert backend.news() == {ordered.format("accepted"): 1}, "what is ordered is not there yet"
    Task().run(TTSCompleteSensor(task_id="t", job=ticket, output=f"{tmp_path}/", poke_interval=0.1))
    assert backend.news() == {name: count for name, count in usual.items() if "orders" not in name}
    assert len(backend.times["voice.wait_duration speech sync_labs"]) == 2

    lines = [{"id": name, "text": "Hello there.", "take": name} for name in "ab"]
    Task().run(SpeakLinesOperator(task_id="t", lines=lines, voice_id=BUILT_IN, output=f"{tmp_path}/lines/"))
    assert backend.news() == {name: 2 * count for name, count in usual.items()}

    emulator.fault("status", path="/v2/tts/jobs", method="POST", status=429)
    Task().run(speech(tmp_path))
    assert backend.news() == {**usual, "rate_limited requests sync_labs": 1}, "sent again, it is one order"

    emulator.fault("job_failed")
    with suppress(VoiceError):
        Task().run(speech(tmp_path))
    assert backend.news() == {ordered.format("accepted"): 1, "results speech failed sync_labs": 1}

    emulator.fault("status", path="/v2/tts/jobs", method="POST", status=402)
    with suppress(VoiceError):
        Task().run(speech(tmp_path))
    assert backend.news() == {ordered.format("refused"): 1}

    set_connection(tts_mode="direct", prices=PRICES)
    emulator.fault("drop_after", path="/v2/tts", method="POST")
    with suppress(VoiceError):
        Task().run(speech(tmp_path))
    assert backend.news() == {ordered.format("unknown"): 1}

    backend.broken = True
    assert Task().run(speech(tmp_path))["uri"], "a backend that fails is no reason to lose what was paid"
    monkeypatch.setitem(sys.modules, "airflow.sdk.observability.stats", None)
    assert Task().run(speech(tmp_path))["uri"], "nor is an Airflow that has moved its metrics"


def test_speech_that_is_the_answer_is_counted_once_in_tasks_lines_and_functions(
    emulator: EmulatorHandle,
    backend: Backend,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"])
    one = {"orders speech accepted fish_audio": 1, "results speech kept fish_audio": 1}
    cost = "cost_microusd speech fish_audio"
    Task().run(speech(tmp_path, voice_id=voice["id"]))
    VoiceHook.for_connection("voice_default").synthesize("Hello there.", voice["id"], f"{tmp_path}/f/")
    assert backend.news() == {**{name: 2 * count for name, count in one.items()}, cost: 2 * 180}
    assert len(backend.times["voice.wait_duration speech fish_audio"]) == 1

    lines = [{"id": name, "text": f"Line {name}."} for name in "abc"]
    emulator.fault("status", path="/v1/tts", status=429)
    speak = {"voice_id": voice["id"], "output": f"{tmp_path}/lines/", "concurrency": 1}
    monkeypatch.setattr(speaking, "FIRST_PAUSE", 0.05)
    task = Task()
    for task.ti.try_number in (1, 2):  # the second finds all of them there
        task.ti.id = f"01990{task.ti.try_number:03d}-0000-7000-8000-000000000000"
        task.run(SpeakLinesOperator(task_id="t", lines=lines, **speak))
    counted = backend.news()
    assert counted.pop("rate_limited jobs fish_audio", 0) + counted.pop("rate_limited requests fish_audio", 0) == 1
    assert counted.pop("orders speech postponed fish_audio") == 1
    assert counted == {**{name: 3 * count for name, count in one.items()}, cost: 3 * 105}

    class Killed(BaseException):
        pass

    task = Task()
    with monkeypatch.context() as patch:
        patch.setattr(Download, "publish", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            task.run(speech(tmp_path, voice_id=voice["id"]))
    assert backend.news() == {**one, cost: 180}
    spoken = task.run(speech(tmp_path, voice_id=voice["id"]))
    assert backend.news() == {"orders speech recovered fish_audio": 1}, "nothing was sent, and nothing paid"

    VoiceHook.for_connection("voice_default").transcribe(spoken["uri"])
    heard = {"orders transcription accepted fish_audio": 1, "results transcription kept fish_audio": 1}
    counted = backend.news()
    assert counted.pop("cost_microusd transcription fish_audio") == 100 * math.ceil(spoken["seconds"])
    assert counted == heard

    emulator.settings(fish_truncate_speech=0.2)
    with suppress(VoiceError):
        Task().run(speech(tmp_path, voice_id=voice["id"], text="Good evening, and welcome to the news. " * 4))
    assert backend.news() == {"orders speech unusable fish_audio": 1}


def test_voices_are_counted_and_so_are_the_slots_that_they_take(
    emulator: EmulatorHandle, backend: Backend, sample: Path, tmp_path: Path
) -> None:
    def clone(name: str, **more: Any) -> Any:
        return Task().run(CloneVoiceOperator(task_id="t", name=name, sample=str(sample), **more))

    made = clone("Ann")
    assert backend.news() == {"orders clone accepted sync_labs": 1, "results clone kept sync_labs": 1}
    assert clone("Ann")["voice_id"] == made["voice_id"]
    assert backend.news() == {"orders clone reused sync_labs": 1, "results clone kept sync_labs": 1}
    slots = "voice.slots_in_use voice_default sync_labs"
    assert backend.levels == {slots: 1}
    Task().run(DeleteVoiceOperator(task_id="t", voice=made))
    Task().run(CleanupVoicesOperator(task_id="t", orphaned=True))
    assert backend.levels == {slots: 0}

    emulator.fault("drop_after", path="/v2/voices", method="POST")
    other = write_wav(tmp_path / "in" / "other.wav", seconds=4)
    Task().run(CloneVoiceOperator(task_id="t", name="Bea", sample=str(other)))
    assert backend.news() == {
        "orders clone unknown sync_labs": 1,
        "orders clone found sync_labs": 1,
        "results clone kept sync_labs": 1,
    }


def test_a_limit_of_jobs_is_told_from_one_of_requests(backend: Backend) -> None:
    for error in (ConcurrencyLimitError("a"), ConcurrencyLimitError("a", brief=True), VoiceError("a")):
        assert metrics.limits(error, "s") is error
    assert backend.news() == {"rate_limited jobs s": 1, "rate_limited requests s": 1}
