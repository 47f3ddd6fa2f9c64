"""What is kept of a paid result: all of it or nothing, and each task its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, write_wav
from tests.files.corpus import encode, snapshot
from voice_provider.exceptions import ResultError
from voice_provider.files.storage import Output
from voice_provider.models import Job, JobState
from voice_provider.operators.lip_sync import LipSyncOperator

if TYPE_CHECKING:
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook


@pytest.mark.parametrize(
    ("announced", "came", "is_whole"),
    [
        (60, 60, True),
        (60, 59.92, True),
        (60, 59.8, False),
        (60, 31, False),
        (4, 4.5, True),
        (4, 3.95, True),
        (4, 3.8, False),
        (4, 8, False),
    ],
)
def test_a_result_is_as_long_as_the_service_said(
    hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path, announced: float, came: float, is_whole: bool
) -> None:
    asset = hook.upload_asset(str(write_wav(tmp_path / "in.wav", seconds=came)))
    job = Job(service="sync_labs", kind="speech", id="J", state=JobState.SUCCEEDED, url=asset.url, seconds=announced)
    out = tmp_path / "out"
    if is_whole:
        assert hook.keep(job, Output(f"{out}/", "x")).seconds == pytest.approx(came)
        return
    with pytest.raises(ResultError, match="cut short" if came < announced else "too long"):
        hook.keep(job, Output(f"{out}/", "x"))
    assert list(out.iterdir()) == []


def test_a_result_is_of_the_kind_that_was_ordered_and_has_its_sound(
    hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path
) -> None:
    part = encode("mp3", "libmp3lame", seconds=10)
    made: dict[str, bytes] = {
        "talk.wav": encode("wav", "pcm_s16le"),
        "talk.m4a": encode("mp4", "aac"),
        "joined.mp3": part + part,
        "talk.mp4": encode("mp4", "aac", "mpeg4"),
        "silent.mp4": encode("mp4", None, "mpeg4"),
        "face.png": snapshot("png", "rgb24"),
    }
    assets = {}
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
        assets[name] = hook.upload_asset(str(tmp_path / name)).url
    for kind, name, seconds, message in (
        ("speech", "talk.wav", 2, ""),
        ("speech", "talk.m4a", 2, ""),
        ("speech", "joined.mp3", 20, ""),
        ("speech", "joined.mp3", 10, r"too long: 20\.\d+ s of the 10\.00 s"),
        ("speech", "face.png", None, r"it is image \(png\), not audio"),
        ("speech", "talk.mp4", 2, r"it is video \(mp4\), not audio"),
        ("lip_sync", "talk.mp4", 2, ""),
        ("lip_sync", "talk.wav", 2, r"it is audio \(wav\), not video"),
        ("lip_sync", "talk.m4a", 2, r"it is audio \(m4a\), not video"),
        ("lip_sync", "face.png", None, r"it is image \(png\), not video"),
        ("lip_sync", "silent.mp4", 2, "it has no sound"),
    ):
        state = JobState.SUCCEEDED
        job = Job.model_validate(
            {"service": "sync_labs", "kind": kind, "id": "J", "state": state, "url": assets[name], "seconds": seconds}
        )
        out = tmp_path / "out" / f"{kind}-{name}-{seconds}"
        if not message:
            assert hook.keep(job, Output(f"{out}/", "x")).seconds == pytest.approx(seconds, abs=0.1)
            continue
        with pytest.raises(ResultError, match=message):
            hook.keep(job, Output(f"{out}/", "x"))
        assert list(out.iterdir()) == []


def test_two_tasks_with_the_same_request_and_folder_do_not_meet(
    emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.fault("slow", path="/results/*", seconds=1, times=2)  # both fetch at the same time

    def lip_sync(task_id: str) -> dict[str, Any]:
        task = Task()
        task.ti.task_id = task_id
        result: dict[str, Any] = task.run(
            LipSyncOperator(task_id=task_id, video=str(video), audio=str(sample), output=f"{tmp_path}/out/")
        )
        return result

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lip_sync, ("one", "another"))
    assert first["job_id"] != second["job_id"]
    assert first["uri"] != second["uri"]
    for result in (first, second):
        assert Path(result["uri"]).stat().st_size == result["bytes"]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".part"] == []
    assert [fault["fired"] for fault in emulator.faults()] == [2]
