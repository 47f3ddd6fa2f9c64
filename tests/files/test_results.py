"""What is kept of a paid result: all of it or nothing, and each task its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, write_wav
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
        (60, 58, True),
        (60, 56, False),
        (60, 40, False),
        (60, 31, False),
        (4, 3.2, True),
        (4, 2.8, False),
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
    with pytest.raises(ResultError, match="cut short"):
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
