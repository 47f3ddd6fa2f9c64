"""What a running deployment of the version before has stored is read: records, trigger rows, sidecars, waits."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.conftest import Task, write_mp4, write_wav
from voice_provider.exceptions import JobTimeoutError
from voice_provider.jobs.clones import CloneOrder
from voice_provider.jobs.orders import LipSyncOrder, Order, SpeechOrder
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors.job import LipSyncCompleteSensor
from voice_provider.services.base import Input
from voice_provider.services.fish_audio.options import FishClone, FishSpeech
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import parse
from voice_provider.services.sync_labs.options import SyncLabsSpeech
from voice_provider.trust import provenance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

NOW = "2026-11-27T22:27:09.441+00:00"
# As they were stored by 0.1.0 before orders had a nonce; ids and places are filled in by the tests.
OF_A_LIP_SYNC = {
    "v": 1, "kind": "lip_sync", "generation": 0, "key": "vp-ed5c127754ed0b066b136742646201848ff0618e", "max_tries": 0,
    "conn_id": "voice_default", "created_at": NOW, "posted_at": NOW, "failed": False, "finished": False,
    "deadline": 1795822029.4339867, "redefers": 0, "details": {}, "evicted": [],
}  # fmt: skip
OF_SPEECH = {**OF_A_LIP_SYNC, "kind": "speech", "key": "vp-4f050e070cbd87fd5743f34280e324777e514ba7"}
# Of the recording and the video of these tests: what identifies a request has not changed.
LIP_SYNC_FINGERPRINT = "11c04864340e25981b3a2f33ce4aad4495124568b2f7b9e3fbe515f65336499d"
TRIGGER: tuple[str, dict[str, Any]] = (
    "voice_provider.triggers.job.JobTrigger",
    {"voice_conn_id": "voice_default", "kind": "lip_sync", "poll_interval": 5.0},
)


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    return write_mp4(tmp_path / "in" / "v.mp4"), write_wav(tmp_path / "in" / "sample.wav", 12)


def lip_sync(inputs: tuple[Path, Path], out: Path, **more: Any) -> LipSyncOperator:
    video, sample = inputs
    return LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=f"{out}/", **more)


def paid(emulator: EmulatorHandle, kind: str) -> int:
    return len(emulator.ledger(kind))


def as_before(task: Task, record: dict[str, Any], **more: Any) -> None:
    """Write what is remembered now as the version before would have."""
    now = task.record
    kept = {name: now[name] for name in ("account", "uploads", "inputs", "job", "manifest") if name in now}
    kept["job"] = {name: value for name, value in kept["job"].items() if name != "error"} if "job" in kept else None
    task.store.set("voice_job", {**record, **{k: v for k, v in kept.items() if v is not None}, **more})


def test_a_deferred_lip_sync_is_waited_for_and_collected(
    emulator: EmulatorHandle, task: Task, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(TaskDeferred):
        task.run(lip_sync(inputs, tmp_path / "out", deferrable=True))
    job = task.record["job"]["id"]
    assert task.record["fingerprint"] == LIP_SYNC_FINGERPRINT
    as_before(task, OF_A_LIP_SYNC, fingerprint=LIP_SYNC_FINGERPRINT)
    emulator.advance(61)
    path, arguments = TRIGGER
    module, _, name = path.rpartition(".")
    trigger = getattr(importlib.import_module(module), name)(
        **arguments, job_id=job, path=f"/v2/generate/{job}", deadline=4102444800.0, first_poll=0.0
    )

    async def wait() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    [event] = asyncio.run(wait())
    result = lip_sync(inputs, tmp_path / "out", deferrable=True).execute_complete(task.context, event)
    assert result["job_id"] == job
    assert result["uri"] == f"{tmp_path}/out/{LIP_SYNC_FINGERPRINT[:16]}.mp4", (
        "a try of the version before has begun it"
    )
    assert paid(emulator, "lip_sync") == 1
    assert emulator.state()["assets"] == 0
    assert task.record["finished"]


def test_a_lip_sync_whose_answer_was_lost_is_sent_again_under_its_old_key(
    emulator: EmulatorHandle, task: Task, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(lip_sync(inputs, tmp_path / "out", timeout=0))
    as_before(task, OF_A_LIP_SYNC, fingerprint=LIP_SYNC_FINGERPRINT, key=task.record["key"])
    value = task.record
    del value["job"]
    task.store.set("voice_job", value)
    emulator.advance(61)
    task.run(lip_sync(inputs, tmp_path / "out"))
    assert paid(emulator, "lip_sync") == 1


def test_speech_in_a_cloned_voice_is_collected_although_the_voice_was_named_by_its_id(
    emulator: EmulatorHandle, set_connection: Callable[..., None], inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    set_connection(tts_mode="jobs")
    voice = Task().run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(inputs[1])))
    task = Task()

    def speak(**more: Any) -> TTSOperator:
        return TTSOperator(task_id="t", text="Hello there.", voice_id=voice, output=f"{tmp_path}/out/", **more)

    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(speak(timeout=0))
    asked = {"kind": "speech", "text": "Hello there.", "voice_id": voice["voice_id"]}
    fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    assert task.record["fingerprint"] != fingerprint
    as_before(task, OF_SPEECH, fingerprint=fingerprint)
    emulator.advance(61)
    assert task.run(speak())["bytes"] > 0
    assert paid(emulator, "speech") == 1


@pytest.mark.parametrize("ephemeral", [False, True])
def test_a_cloned_voice_is_the_same_one(
    emulator: EmulatorHandle, task: Task, inputs: tuple[Path, Path], *, ephemeral: bool
) -> None:
    def clone() -> CloneVoiceOperator:
        return CloneVoiceOperator(task_id="t", name="Ann", sample=str(inputs[1]), ephemeral=ephemeral)

    voice = task.run(clone())
    value = task.record
    asked = {"kind": "clone", "label": "Ann", "samples": voice["samples"]}
    fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    assert fingerprint == "168ae08292963744ff12696e43f600e3aa9347b111bf3579387fc66e21cc2408"
    new = ("nonce", "keyed", "clears", "retries", "namespace", "uploading", "collected", "held", "earlier")
    value = {name: item for name, item in value.items() if name not in new}
    task.store.set("voice_job", {**value, "v": 1, "generation": 0, "fingerprint": fingerprint, "finished": False})
    assert task.run(clone())["voice_id"] == voice["voice_id"]
    assert paid(emulator, "clone") == 1


def test_what_was_kept_is_not_bought_again_by_a_retry_and_is_by_a_clear(
    emulator: EmulatorHandle, set_connection: Callable[..., None], task: Task, tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["A"], visibility="public")

    def speak() -> TTSOperator:
        return TTSOperator(task_id="t", text="Hello there.", voice_id=voice["id"], output=f"{tmp_path}/out/f.mp3")

    first = task.run(speak())
    as_before(task, OF_SPEECH, fingerprint=task.record["fingerprint"], finished=True)
    assert task.run(speak())["sha256"] == first["sha256"]
    assert paid(emulator, "speech") == 1
    as_before(task, OF_SPEECH, fingerprint=task.record["fingerprint"], finished=True)
    task.clear()
    task.run(speak())
    assert paid(emulator, "speech") == 2


def test_a_sensor_that_was_deferred_goes_on_with_what_the_store_says(
    emulator: EmulatorHandle, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    emulator.settings(job_seconds=60)
    ticket = Task().run(lip_sync(inputs, tmp_path / "out", wait_for_completion=False))
    waiting = Task()
    waiting.store.set("voice_wait", {"deadline": 0, "redefers": 0})
    sensor = LipSyncCompleteSensor(task_id="s", job=ticket, deferrable=True, timeout=300)
    with pytest.raises(Exception, match="was not there within 300 s"):  # its time was over, as the store says
        sensor.execute_complete(waiting.context, {"status": "deadline", "message": "the deadline has come"})
    emulator.advance(61)
    emulator.wait_idle()
    waiting.store.set("voice_wait", {"deadline": 4102444800.0, "redefers": 0})
    assert sensor.execute_complete(waiting.context, {"status": "ended", "message": "COMPLETED"})["bytes"] > 0


def test_what_identifies_a_request_has_not_changed() -> None:
    """Whatever is checked of it now: another fingerprint would be another order, and be paid again."""
    text = 'Grüße (laughing) [sigh] 👋🏽\r\n\tSecond <break time="1s"/> line.'
    video, audio = "https://x/v.mp4", "https://x/a.wav"
    film = {
        "video": video,
        "text": [{"ref_id": "b", "script": text, "voiceId": "v"}],
        "audio": [{"audio": audio, "refId": "a"}],
        "segments": [{"startTime": 0, "endTime": 1, "audioInput": {"refId": "a"}}],
        "model": "sync-3",
        "project_id": "p",
    }
    line = {
        "text": text,
        "voice_id": "a" * 32,
        "format": "wav",
        "prosody": {"speed": 1.1},
        "features": ["quality-guard"],
        "pronunciation_dictionary": [{"items": [{"key": "a", "value": "b"}]}],
    }
    voice = {"texts": [text], "description": "d", "tags": ["t"]}
    hosted = (Input(url=video), Input(url=audio))
    orders: list[Order] = [
        SpeechOrder(parse(FishSpeech, line)),
        SpeechOrder(parse(SyncLabsSpeech, {"text": text, "voice_id": "v", "stability": 0.4})),
        LipSyncOrder(parse(LipSyncOptions, film), hosted),
        CloneOrder("Ann", "default", (audio,), hosted[1:], parse(FishClone, voice)),
    ]
    assert [order.fingerprint() for order in orders] == [
        "890e9967c58dfd1f1c4e6ed2da89fb8ad14f65b4f9c4a5c8e4ca79f06ba65562",
        "58c3f1136352631f618a4ecf432250947ce15786176d8f7d2a206d2154f34de5",
        "3fa447b2c92b68fdfea2d8961e06f9296e062209fe868cdf4615703ec0d0f1e6",
        "f0dab47a4cfcfdbf1666a25be2c639cbedfcde7533575a05356d27a09b37f516",
    ]


def test_a_record_beside_a_result_is_read(tmp_path: Path) -> None:
    kept = write_wav(tmp_path / "line.wav")
    data = kept.read_bytes()
    kept.with_name("line.wav.provenance.json").write_text(
        json.dumps(
            {
                "consent": None,
                "file": {
                    "bytes": len(data),
                    "media_type": "audio/wav",
                    "name": "line.wav",
                    "seconds": 3.0,
                    "sha256": hashlib.sha256(data).hexdigest(),
                },
                "generator": {"name": "airflow-provider-voice", "version": "0.1.0"},
                "inputs": [],
                "kept_at": "2026-11-27T22:27:14+00:00",
                "made": {
                    "engine": "tone",
                    "job_id": "735154e6d6eb4498911b68963d613c27",
                    "kind": "speech",
                    "model": "s2.1-pro",
                    "outcome": None,
                    "service": "fish_audio",
                    "settings": {"features": [], "format": "wav", "text": {"characters": 12, "sha256": "23ea"}},
                    "submitted_at": "2026-11-27T22:27:14.531+00:00",
                },
                "run": {"dag_id": "dag", "map_index": -1, "run_id": "run", "task_id": "task"},
                "schema": "airflow-provider-voice/provenance/1",
                "voice": {"fingerprint": None, "id": "4fae", "name": None, "samples": []},
            }
        )
    )
    record, problem = provenance.verify(str(kept))
    assert problem is None
    assert record is not None
    assert "735154e6d6eb4498911b68963d613c27" in json.dumps(record if isinstance(record, dict) else record.model_dump())
