"""Jobs on the page: what was paid and not collected, with what to do, and what the service lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.commands.test_cli_jobs import leave_a_job
from tests.ui.conftest import answered
from voice_provider.ui import jobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from fastapi.testclient import TestClient

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

JOBS = "connections/voice_default/jobs"


def test_what_was_paid_and_not_collected_is_told_with_what_to_do(
    admin: TestClient,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_connection(tts_mode="jobs", state_location=str(tmp_path / "state"))
    _, job = leave_a_job(emulator, tmp_path)
    [hidden] = answered(admin, JOBS)["left"]
    assert (hidden["id"], hidden["dag_id"], hidden["task"], hidden["run"]) == (job, None, None, None)
    assert f"voice-provider jobs collect {job} --conn-id voice_default" in hidden["what_to_do"]
    monkeypatch.setattr(jobs, "readable", lambda _: {"dag"})
    [row] = answered(admin, JOBS)["left"]
    assert (row["dag_id"], row["run_id"], row["task_id"], row["state"]) == ("dag", "run", "task", "ordered")


def test_the_service_s_own_jobs_are_listed_running_ones_first(
    admin: TestClient,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    hook: VoiceHook,
    video: Path,
    sample: Path,
) -> None:
    set_connection(state_location="")
    from voice_provider.models import JobState
    from voice_provider.services.base import Input
    from voice_provider.services.lip_sync import LipSyncOptions
    from voice_provider.services.options import parse

    def order() -> str:
        options = parse(LipSyncOptions, {"video": str(video), "audio": [{"audio": str(sample)}]})
        media = [Input(asset_id=hook.upload_asset(path).id) for path in (video, sample)]
        return hook.run(hook.service.start_lip_sync(options, media, None)).id

    first = order()
    while hook.get_job("lip_sync", first, wait=2).state is not JobState.SUCCEEDED:
        pass
    emulator.settings(job_seconds=60)
    second = order()
    third = order()
    found = answered(admin, JOBS)
    assert [job["id"] for job in found["jobs"]][2] == first
    assert {job["id"]: job["ended"] for job in found["jobs"]} == {first: True, second: False, third: False}
    assert (found["left"], "state_location" in found["problem"]) == ([], True)


def test_what_cannot_be_read_leaves_a_page_that_says_so(
    admin: TestClient, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(state_location="http+odd://bucket/state")
    found = answered(admin, JOBS)
    assert "cannot be read by the API server" in found["problem"]
    set_connection(service="fish_audio")
    jobs._recent.forget("voice_default")
    found = answered(admin, JOBS)
    assert (found["jobs"], found["lists"]) == ([], False)
