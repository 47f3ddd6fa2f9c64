"""``VoiceHook`` over real HTTP: every public method, and what it leaves behind when something goes wrong."""

from __future__ import annotations

import hashlib
import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import write_wav
from voice_provider.exceptions import (
    AuthError,
    InvalidInputError,
    JobFailedError,
    JobTimeoutError,
    NameTakenError,
    NotAllowedError,
    NotFoundError,
    ServiceUnavailableError,
    SlotLimitError,
    VoiceError,
)
from voice_provider.files.storage import StoredFile
from voice_provider.hooks import waiting
from voice_provider.models import Job, JobState
from voice_provider.services.base import Input
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
NOBODY = "11111111-2222-4333-8444-555555555555"


# voices


def test_a_voice_is_cloned_read_listed_and_deleted(hook: VoiceHook, emulator: EmulatorHandle, sample: Path) -> None:
    voice = hook.clone_voice("Ada", str(sample))
    assert (voice.service, voice.name, voice.state) == ("sync_labs", "Ada", "trained")
    assert hook.get_voice(voice.id).id == voice.id
    assert {item.id for item in hook.list_voices()} >= {voice.id, BUILT_IN}
    hook.delete_voice(voice.id)
    assert voice.id not in {item.id for item in hook.list_voices()}
    with pytest.raises(NotFoundError):
        hook.get_voice(voice.id)
    with pytest.raises(NotFoundError):
        hook.delete_voice(voice.id)
    assert emulator.state()["assets"] == 0


@pytest.mark.parametrize("shape", ["same", "different"])
def test_a_clone_can_speak_and_be_deleted_whichever_id_the_service_gives(
    shape: str, hook: VoiceHook, emulator: EmulatorHandle, sample: Path, tmp_path: Path
) -> None:
    emulator.settings(voice_id_shape=shape)
    voice = hook.clone_voice("Ada", str(sample))
    assert hook.synthesize("Hello.", voice.id, f"{tmp_path}/out/").voice_id == voice.id
    hook.delete_voice(voice.id)
    assert emulator.state()["voices"].get("main", 0) == 0


def test_a_voice_is_cloned_from_what_is_hosted_already(hook: VoiceHook, emulator: EmulatorHandle, sample: Path) -> None:
    asset = hook.upload_asset(str(sample))
    assert hook.clone_voice("by id", asset.id).id
    assert hook.clone_voice("by url", str(asset.url)).id
    assert hook.clone_voice("by what an operator returned", {"service": "sync_labs", "asset_id": asset.id}).id
    assert emulator.state()["assets"] == 1


@pytest.mark.parametrize(
    ("settings", "kind"), [({"clone_slots": 0}, SlotLimitError), ({"min_sample_seconds": 60.0}, InvalidInputError)]
)
def test_a_clone_that_fails_leaves_no_sample_behind(
    settings: dict[str, Any], kind: type[VoiceError], hook: VoiceHook, emulator: EmulatorHandle, sample: Path
) -> None:
    emulator.settings(**settings)
    with pytest.raises(kind):
        hook.clone_voice("Ada", str(sample))
    assert emulator.state()["assets"] == 0


def test_a_name_is_checked_before_anything_is_sent(hook: VoiceHook, emulator: EmulatorHandle, sample: Path) -> None:
    with pytest.raises(InvalidInputError, match="1 to 100 characters"):
        hook.clone_voice("", str(sample))
    assert emulator.requests() == []
    emulator.seed_voices(["Ada"])
    with pytest.raises(NameTakenError):
        hook.clone_voice("Ada", str(sample))


def test_a_sample_that_cannot_be_deleted_does_not_lose_the_voice(
    hook: VoiceHook, emulator: EmulatorHandle, sample: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    emulator.fault("status", path="/v2/assets/*", method="DELETE", status=500, times=None)
    assert hook.clone_voice("Ada", str(sample)).id == emulator.voices()[0]["id"]
    assert "could not be deleted" in "".join(capfd.readouterr())


# assets


def test_a_file_is_uploaded_read_renamed_fetched_and_deleted(
    hook: VoiceHook, emulator: EmulatorHandle, sample: Path, tmp_path: Path
) -> None:
    asset = hook.upload_asset(str(sample), name="Ada, March")
    assert (asset.type, asset.name, asset.size) == ("AUDIO", "Ada, March", sample.stat().st_size)
    assert hook.get_asset(asset.id) == asset
    assert hook.update_asset(asset.id, name="Ada").name == "Ada"
    assert [item.id for item in hook.list_assets(search="Ada", limit=1)] == [asset.id]
    assert hook.list_assets(search="Grace") == []
    manifest = hook.download_asset(asset.id, f"{tmp_path}/out/")
    assert manifest.kind == "file"
    assert manifest.sha256 == hashlib.sha256(sample.read_bytes()).hexdigest()
    assert Path(manifest.uri).read_bytes() == sample.read_bytes()
    hook.delete_asset(asset.id)
    for call in (hook.get_asset, hook.delete_asset):
        with pytest.raises(NotFoundError, match="Check the id"):
            call(asset.id)


@pytest.mark.parametrize("settings", [{"null_metadata": True}, {"upload_returns_asset_id": True}])
def test_an_upload_works_in_every_form_of_the_service(
    settings: dict[str, Any], hook: VoiceHook, emulator: EmulatorHandle, video: Path
) -> None:
    emulator.settings(**settings)
    asset = hook.upload_asset(str(video))
    assert (asset.type, hook.get_asset(asset.id).id) == ("VIDEO", asset.id)


def test_assets_beyond_one_page_are_listed(hook: VoiceHook, emulator: EmulatorHandle, sample: Path) -> None:
    made = [hook.upload_asset(str(sample), name=f"take {number}").id for number in range(4)]
    newest_first = made[::-1]
    assert [asset.id for asset in hook.list_assets()] == newest_first
    assert [asset.id for asset in hook.list_assets(limit=3)] == newest_first[:3]


def test_a_file_over_the_limit_of_the_plan_is_refused_before_it_is_sent(
    hook: VoiceHook, emulator: EmulatorHandle, sample: Path
) -> None:
    emulator.settings(max_file_size=1000)
    with pytest.raises(InvalidInputError, match=r"POST /v2/assets/upload: sync. labs answered 422"):
        hook.upload_asset(str(sample))
    assert [request["path"] for request in emulator.requests()] == ["/v2/assets/upload"]


def test_storage_that_the_connection_does_not_allow_is_refused(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, tmp_path: Path
) -> None:
    set_connection(allowed_inputs="/data/in", allowed_outputs=f"{tmp_path}/allowed")
    calls: list[Callable[[], Any]] = [
        lambda: hook.upload_asset(str(sample)),
        lambda: hook.clone_voice("Ada", str(sample)),
        lambda: hook.download_asset(NOBODY, f"{tmp_path}/"),
        lambda: hook.synthesize("Hi.", BUILT_IN, f"{tmp_path}/"),
        lambda: hook.lip_sync(f"{tmp_path}/x.mp4", video=NOBODY, audio=[{"media": NOBODY}]),
        lambda: hook.lip_sync(f"{tmp_path}/allowed/x.mp4", video=str(sample), audio=[{"media": NOBODY}]),
    ]
    for call in calls:
        with pytest.raises(NotAllowedError, match="is outside the storage that the connection allows"):
            call()
    assert emulator.requests() == []


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (NOBODY, Input(asset_id=NOBODY)),
        (f" {NOBODY}\n", Input(asset_id=NOBODY)),
        ("https://assets.sync.so/a.wav", Input(url="https://assets.sync.so/a.wav")),
        ({"asset_id": NOBODY}, Input(asset_id=NOBODY)),
        ({"service": "sync_labs", "asset_id": NOBODY, "uri": "/x"}, Input(asset_id=NOBODY)),
        ({"service": "fish_audio", "asset_id": NOBODY, "url": "https://a"}, Input(url="https://a")),
        ({"uri": "FILE"}, "FILE"),
        ("FILE", "FILE"),
        ("file://FILE", "FILE"),
    ],
)
def test_a_media_argument_is_understood_in_every_form(media: Any, expected: Any, hook: VoiceHook, sample: Path) -> None:
    def here(value: Any) -> Any:
        return value.replace("FILE", str(sample)) if isinstance(value, str) else value

    media = {name: here(value) for name, value in media.items()} if isinstance(media, dict) else here(media)
    found = hook.resolve(media)
    if expected == "FILE":
        assert isinstance(found, StoredFile)
        assert found.location.removeprefix("file://") == str(sample)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ("", "media input is empty. Pass a storage location, an asset id, a URL or a manifest"),
        ("  ", "media input is empty"),
        ({}, "media input is empty"),
        ({"service": "fish_audio", "asset_id": NOBODY}, "media input is empty"),
        (None, "media input is empty"),
        (7, "media input is empty"),
        ("talk.mp4", "'talk.mp4' is no storage location .*no URL and no asset id of sync. labs"),
        ("file:/etc/passwd", "no storage location"),
    ],
)
def test_a_media_argument_that_is_none_says_what_to_pass(media: Any, message: str, hook: VoiceHook) -> None:
    with pytest.raises(InvalidInputError, match=message):
        hook.resolve(media)


# speech


@pytest.mark.parametrize(
    ("connection", "settings", "path"),
    [
        ({}, {}, "/v2/tts"),
        ({}, {"tts_mode": "seed-async"}, "/v2/tts"),
        ({"tts_mode": "jobs"}, {}, "/v2/tts/jobs"),
        ({}, {"speech_urls": "signed", "require_provider": True}, "/v2/tts"),
    ],
)
def test_a_line_is_spoken_and_kept_in_every_mode_of_the_service(
    connection: dict[str, Any],
    settings: dict[str, Any],
    path: str,
    hook: VoiceHook,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
) -> None:
    set_connection(**connection)
    emulator.settings(**settings)
    manifest = hook.synthesize("Hello, world.", BUILT_IN, f"{tmp_path}/out/", stability=0.3, similarity_boost=1)
    assert (manifest.kind, manifest.voice_id, manifest.service) == ("speech", BUILT_IN, "sync_labs")
    assert Path(manifest.uri).stat().st_size == manifest.bytes
    assert manifest.seconds
    assert [request["path"] for request in emulator.requests() if request["method"] == "POST"] == [path]
    assert len(emulator.ledger("speech")) == 1


def test_speech_jobs_that_are_not_enabled_are_never_replaced_by_direct_speech(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path
) -> None:
    set_connection(tts_mode="jobs")
    emulator.settings(tts_jobs_enabled=False)
    with pytest.raises(ServiceUnavailableError, match="set tts_mode to 'direct' on the connection"):
        hook.synthesize("Hello.", BUILT_IN, f"{tmp_path}/out/")
    assert {request["path"] for request in emulator.requests()} == {"/v2/tts/jobs"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": ""}, "script is empty"),
        ({"voice_id": ""}, "voice"),
        ({"stability": 1.5}, "stability"),
        ({"speed": 2}, "speed is no option of sync. labs; it has"),
        ({"output": "relative.wav"}, "is no location"),
    ],
)
def test_speech_that_cannot_be_ordered_is_refused_before_anything_is_sent(
    values: dict[str, Any], message: str, hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        hook.synthesize(**{"text": "Hi.", "voice_id": BUILT_IN, "output": f"{tmp_path}/", **values})
    assert emulator.requests() == []


# lip sync


def test_a_video_is_lip_synced_and_kept_and_nothing_else_stays(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    manifest = hook.lip_sync(f"{tmp_path}/out/", video=str(video), audio=[{"media": str(sample)}], sync_mode="loop")
    assert (manifest.kind, manifest.format, manifest.model) == ("lip_sync", "mp4", "lipsync-2")
    assert Path(manifest.uri).parent == tmp_path / "out"
    assert emulator.state()["assets"] == 0
    [job] = hook.list_jobs()
    assert (job.id, job.state) == (manifest.job_id, JobState.SUCCEEDED)
    assert hook.get_job("lip_sync", job.id).url


def test_a_script_drives_a_lip_sync(hook: VoiceHook, emulator: EmulatorHandle, video: Path, tmp_path: Path) -> None:
    manifest = hook.lip_sync(f"{tmp_path}/out.mp4", video=str(video), text=[{"text": "Hi.", "voice_id": BUILT_IN}])
    assert Path(manifest.uri).exists()


def test_what_is_hosted_already_is_used_and_not_deleted(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    visual, audio = hook.upload_asset(str(video)), hook.upload_asset(str(sample))
    hook.lip_sync(f"{tmp_path}/out.mp4", video=visual.id, audio=[{"media": {"asset_id": audio.id}}])
    assert emulator.state()["assets"] == 2
    assert len(emulator.requests("/v2/assets/upload")) == 2


def test_ignored_options_are_warned_of(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    video: Path,
    sample: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hook.lip_sync(f"{tmp_path}/o.mp4", video=str(video), audio=[{"media": str(sample)}], prompt="happy")
    assert "prompt is read by react-1 models only; lipsync-2 ignores it" in "".join(capfd.readouterr())


@pytest.mark.parametrize(("fault", "status"), [("job_failed", "FAILED"), ("job_rejected", "REJECTED")])
def test_a_job_that_fails_says_why_and_leaves_nothing(
    fault: str,
    status: str,
    hook: VoiceHook,
    emulator: EmulatorHandle,
    video: Path,
    sample: Path,
    tmp_path: Path,
) -> None:
    emulator.fault(fault, path="/v2/generate", code="generation_input_video_invalid", body="No face was found")
    with pytest.raises(
        JobFailedError,
        match=rf"lip sync job .* ended as {status}: No face was found \(generation_input_video_invalid\)\. Correct the",
    ):
        hook.lip_sync(f"{tmp_path}/out.mp4", video=str(video), audio=[{"media": str(sample)}])
    assert emulator.state()["assets"] == 0
    assert not (tmp_path / "out.mp4").exists()


def test_a_job_that_takes_too_long_goes_on_and_keeps_its_files(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    video: Path,
    sample: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    emulator.settings(job_seconds=3600)
    with pytest.raises(JobTimeoutError, match=r"The lip sync job \S+ still \w+ after 0.2 s; it goes on"):
        hook.lip_sync(f"{tmp_path}/out.mp4", timeout=0.2, video=str(video), audio=[{"media": str(sample)}])
    assert emulator.state()["assets"] == 2
    assert "needs its files" in "".join(capfd.readouterr())
    emulator.advance(3600)
    emulator.wait_idle()
    [job] = hook.list_jobs()
    assert hook.wait_for(job, 5).state is JobState.SUCCEEDED


def test_files_that_cannot_be_deleted_do_not_lose_the_result(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.fault("status", path="/v2/assets/*", method="DELETE", status=404, times=None)
    assert Path(hook.lip_sync(f"{tmp_path}/o.mp4", video=str(video), audio=[{"media": str(sample)}]).uri).exists()


def test_a_file_that_cannot_be_read_gives_back_what_was_uploaded_before(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        hook.lip_sync(f"{tmp_path}/o.mp4", video=str(video), audio=[{"media": f"{tmp_path}/nowhere.wav"}])
    assert emulator.state()["assets"] == 0
    assert emulator.ledger() == []


def test_what_it_costs_and_which_models_there_are(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    assert "lipsync-2" in {model.id for model in hook.list_models()}
    estimate = hook.estimate("lipsync-2", seconds=10)
    assert estimate.frames == 300
    assert estimate.usd
    assert hook.estimate("lipsync-2", seconds=10, fps=25).frames == 250
    reasoned = hook.estimate("lipsync-2", seconds=10, reasoning_enabled=True)
    assert reasoned.usd
    assert reasoned.usd > estimate.usd, "it has a price of its own"


# waiting


def running(hook: VoiceHook, emulator: EmulatorHandle, text: str = "Hello.") -> Job:
    from voice_provider.services.sync_labs.options import SyncLabsSpeech

    emulator.settings(tts_mode="seed-async", job_seconds=3600)
    return hook.run(hook.service.start_speech(parse(SyncLabsSpeech, {"text": text, "voice_id": BUILT_IN}), None))


def test_a_question_that_fails_does_not_end_the_wait(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = running(hook, emulator)
    emulator.fault("status", path="/v2/tts/*", status=500, times=7)
    emulator.advance(3600)
    assert hook.wait_for(job, 5, poll_interval=0.05).state is JobState.SUCCEEDED


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (401, AuthError)])
def test_a_refusal_that_is_said_twice_ends_the_wait(
    hook: VoiceHook, emulator: EmulatorHandle, status: int, kind: type[VoiceError]
) -> None:
    job = running(hook, emulator)
    emulator.fault("status", path="/v2/tts/*", status=status, times=None)
    began = time.monotonic()
    with pytest.raises(kind):
        hook.wait_for(job, 10, poll_interval=0.05)
    assert time.monotonic() - began < 5
    assert len(emulator.requests("/v2/tts/")) == 2


def test_a_wait_ends_at_its_time(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = running(hook, emulator)
    began = time.monotonic()
    job = hook.watch(job, time.time() + 0.3, 0.05)
    assert 0.25 < time.monotonic() - began < 1
    assert not job.state.is_final


def test_pauses_grow_to_the_interval_and_the_service_may_ask_for_longer_ones(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = running(hook, emulator)
    body = {"id": job.id, "status": "PROCESSING"}
    emulator.fault("status", path="/v2/tts/*", status=200, body=body, times=5)
    emulator.fault("status", path="/v2/tts/*", status=200, body=body, headers={"Retry-After": "700"})
    emulator.advance(3600)
    emulator.wait_idle()
    naps: list[float] = []
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=naps.append)
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "FIRST_PAUSE", 100.0)
    assert hook.wait_for(job, 10_000, poll_interval=400).state is JobState.SUCCEEDED
    assert naps == [pytest.approx(pause, abs=20) for pause in (100, 150, 225, 337, 400, 700)]


def test_what_the_service_asks_to_wait_counts_from_its_answer_on(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = running(hook, emulator)
    body, wait = {"id": job.id, "status": "PROCESSING"}, {"Retry-After": "700"}
    emulator.fault("status", path="/v2/tts/*", status=200, body=body, headers=wait)
    emulator.fault("status", path="/v2/tts/*", status=429, headers=wait)
    emulator.advance(3600)
    emulator.wait_idle()
    naps: list[float] = []
    ticks = itertools.count(step=60.0)  # each question takes a minute
    clock = SimpleNamespace(time=time.time, monotonic=lambda: next(ticks), sleep=naps.append)
    monkeypatch.setattr(waiting, "time", clock)
    assert hook.wait_for(job, 10_000, poll_interval=0.1).state is JobState.SUCCEEDED
    assert naps == [700, 700]


def test_every_third_question_is_answered_at_once_because_only_that_tells_progress(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = hook.upload_asset(str(video))
    options = parse(LipSyncOptions, {"video": asset.id, "text": [{"text": "Hello.", "voice_id": BUILT_IN}]})
    job = hook.run(hook.service.start_lip_sync(options, [Input(asset_id=asset.id)], "key"))
    emulator.wait_idle()
    body = {"id": job.id, "status": "PROCESSING"}
    emulator.fault("status", path="/v2/generate/*", status=200, body=body, times=6)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hook.wait_for(job, 1000, poll_interval=3)
    asked = [request["query"] for request in emulator.requests("/v2/generate/")]
    assert ["wait=true" in query for query in asked] == [True, True, False, True, True, False, True]
    assert ["progress" in query for query in asked] == [False, False, True, False, False, True, False]


def test_a_job_that_has_ended_is_not_asked_after(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    job = Job(service="sync_labs", kind="speech", id="J", state=JobState.SUCCEEDED, url="https://x")
    assert hook.wait_for(job, 5) is job
    assert emulator.requests() == []


def test_a_job_without_a_result_says_so(hook: VoiceHook, tmp_path: Path) -> None:
    from voice_provider.files.storage import Output

    job = Job(service="sync_labs", kind="speech", id="J", state=JobState.SUCCEEDED)
    with pytest.raises(ServiceUnavailableError, match="The speech job J succeeded, but the service names no result"):
        hook.keep(job, Output(f"{tmp_path}/", "x"))


def test_a_result_whose_length_is_not_what_was_announced_is_not_kept(
    hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path
) -> None:
    from voice_provider.files.storage import Output

    asset = hook.upload_asset(str(write_wav(tmp_path / "short.wav", seconds=1)))
    job = Job(
        service="sync_labs", kind="speech", id="J", state=JobState.SUCCEEDED, url=asset.url, seconds=30, engine="tone"
    )
    with pytest.raises(VoiceError, match=r"cut short: 1.00 s of the 30.00 s"):
        hook.keep(job, Output(f"{tmp_path}/out/", "x"))
    assert list((tmp_path / "out").iterdir()) == []


def test_the_transport_is_what_airflow_calls_the_connection(hook: VoiceHook) -> None:
    assert hook.get_conn() is hook.transport
    assert hook.get_conn().settings is hook.settings
