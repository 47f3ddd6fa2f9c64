"""What the operators do when everything is in order: what they return, keep, wait for, link to and clean up."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.conftest import write_mp4, write_wav
from tests.files.corpus import snapshot
from voice_provider.exceptions import CapabilityError, JobTimeoutError, VoiceError
from voice_provider.links import ResultLink
from voice_provider.models import Capability
from voice_provider.operators import base
from voice_provider.operators.asset import DeleteAssetOperator, UploadAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.sync_labs.dialect import SyncLabs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


def sent(emulator: EmulatorHandle, path: str) -> dict[str, Any]:
    """Return the generation, job or speech that the emulator has stored for the last POST to a path."""
    posts = [request for request in emulator.requests(path) if request["method"] == "POST"]
    assert posts
    return posts[-1]


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Collect the JSON bodies that go over the wire."""
    from voice_provider.hooks.transport import Transport

    seen: list[tuple[str, Any]] = []
    build = Transport._build

    def record(self: Transport, client: Any, request: Any, **kwargs: Any) -> Any:
        if request.json is not None:
            seen.append((request.url, request.json))
        return build(self, client, request, **kwargs)

    monkeypatch.setattr(Transport, "_build", record)
    return seen


def test_an_upload_returns_what_is_needed_to_use_it(emulator: EmulatorHandle, task: Task, sample: Path) -> None:
    result = task.run(UploadAssetOperator(task_id="t", file=str(sample)))
    assert result["sha256"] == hashlib.sha256(sample.read_bytes()).hexdigest()
    assert result["seconds"] == pytest.approx(3.0)
    assert result["name"].startswith("sample.wav [vp:default@dag#")
    assert result["bytes"] == sample.stat().st_size
    assert task.run(DeleteAssetOperator(task_id="d", asset=[result])) == {"deleted": [result["asset_id"]]}
    assert emulator.state()["assets"] == 0


def test_a_clone_of_an_uploaded_asset_does_not_delete_it(emulator: EmulatorHandle, task: Task, sample: Path) -> None:
    asset = task.run(UploadAssetOperator(task_id="t", file=str(sample)))
    voice = task.run(CloneVoiceOperator(task_id="t", name=" Ann \n Lee ", sample=asset))
    assert voice["label"] == "Ann Lee"
    assert emulator.state()["assets"] == 1


def test_an_ephemeral_voice_belongs_to_its_run(emulator: EmulatorHandle, task: Task, sample: Path) -> None:
    ids = set()
    for run in ("run-1", "run-2"):
        task.store.clear()
        task.ti.run_id = run
        operator = CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample), ephemeral=True)
        ids.add(task.run(operator)["voice_id"])
    assert len(ids) == 2
    assert emulator.state()["voices"]["main"] == 2


def test_speech_is_kept_and_described(emulator: EmulatorHandle, task: Task, tmp_path: Path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("\ufeffA line from a file. Ünïcode too.\n", encoding="utf-8")
    operator = TTSOperator(
        task_id="t",
        text_uri=f"file://{script}",
        voice_id={"voice_id": BUILT_IN, "name": "x"},
        output=str(tmp_path / "a new folder") + "/",
        stability="0.4",
        similarity_boost=0.9,
    )
    result = task.run(operator)
    kept = Path(result["uri"])
    assert kept.parent == tmp_path / "a new folder"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == result["sha256"]
    assert result["voice_id"] == BUILT_IN
    assert result["engine"] == "tone"
    assert result["kind"] == "speech"
    assert result["seconds"] > 0.3
    assert sorted(path.name for path in kept.parent.iterdir()) == [kept.name, f"{kept.name}.provenance.json"]
    assert emulator.ledger("speech")[0]["units"] == len("A line from a file. Ünïcode too.")


def test_every_lip_sync_option_reaches_the_service(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path, bodies: list[Any]
) -> None:
    operator = LipSyncOperator(
        task_id="t",
        video=str(video),
        audio=[{"ref_id": "a", "media": str(sample)}],
        text=[{"ref_id": "b", "text": "And then.", "voice_id": BUILT_IN, "stability": 0.2}],
        segments=[
            {"start_time": 0, "end_time": 0.4, "audio_input": {"ref_id": "a", "start_time": 0.1, "end_time": 0.5}},
            {"startTime": 0.5, "endTime": 0.9, "audioInput": {"refId": "b"}, "optionsOverride": {"temperature": 1}},
        ],
        model="lipsync-2-pro",
        sync_mode="cut_off",
        temperature=0.3,
        active_speaker={"auto_detect": False, "frame_number": 2, "coordinates": [10, 20]},
        occlusion_detection=True,
        reasoning_enabled="True",  # as a template renders it
        output_file_name="take-1",
        output=str(tmp_path / "out.mp4"),
    )
    result = task.run(operator)
    body = dict(bodies)["/v2/generate"]
    asset_ids = [item.pop("assetId") for item in body["input"] if "assetId" in item]
    assert len(asset_ids) == 2
    assert body == {
        "model": "lipsync-2-pro",
        "input": [
            {"type": "video"},
            {"type": "audio", "refId": "a"},
            {
                "type": "text",
                "refId": "b",
                "provider": {"name": "elevenlabs", "voiceId": BUILT_IN, "script": "And then.", "stability": 0.2},
            },
        ],
        "options": {
            "sync_mode": "cut_off",
            "temperature": 0.3,
            "active_speaker_detection": {"auto_detect": False, "frame_number": 2, "coordinates": [10.0, 20.0]},
            "occlusion_detection_enabled": True,
            "reasoning_enabled": True,
        },
        "segments": [
            {"startTime": 0.0, "endTime": 0.4, "audioInput": {"refId": "a", "startTime": 0.1, "endTime": 0.5}},
            {
                "startTime": 0.5,
                "endTime": 0.9,
                "audioInput": {"refId": "b"},
                "optionsOverride": {"temperature": 1},
            },
        ],
        "outputFileName": "take-1",
    }
    assert result["model"] == "lipsync-2-pro"
    assert emulator.state()["assets"] == 0


def test_every_lip_sync_option_is_an_argument_that_is_templated() -> None:
    assert set(LipSyncOptions.model_fields) <= set(LipSyncOperator.template_fields)


def test_a_script_can_drive_the_lips_directly(
    emulator: EmulatorHandle, task: Task, video: Path, tmp_path: Path, bodies: list[Any]
) -> None:
    result = task.run(
        LipSyncOperator(
            task_id="t",
            video=str(video),
            text="Hello.",
            voice_id={"voice_id": BUILT_IN},
            output=str(tmp_path / "o.mp4"),
        )
    )
    assert dict(bodies)["/v2/generate"]["input"][1]["provider"]["script"] == "Hello."
    assert result["bytes"] > 0
    assert emulator.state()["assets"] == 0


def test_dubbing_and_a_picture(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path, bodies: list[Any]
) -> None:
    out = str(tmp_path / "out") + "/"
    order = LipSyncOperator(task_id="t", video=str(video), dub_language="de", output=out).order(task.context)
    from voice_provider.services.base import Input
    from voice_provider.services.sync_labs.requests import generation

    body = generation(order.options, [Input(asset_id="a")])
    assert body["dubParams"] == {"providerName": "elevenlabs", "targetLang": "de", "sourceLang": "auto"}
    known = LipSyncOperator(
        task_id="t", video=str(video), dub_language="de", dub_source_language="fr", output=out
    ).order(task.context)
    assert generation(known.options, [Input(asset_id="a")])["dubParams"]["sourceLang"] == "fr"
    picture = tmp_path / "face.png"
    picture.write_bytes(snapshot("png", "rgb24"))
    still = LipSyncOperator(task_id="t", image=str(picture), audio=str(sample), model="sync-3", output=out)
    body = generation(still.order(task.context).options, [Input(asset_id="a"), Input(url="https://x/y.wav")])
    assert body["input"] == [{"type": "image", "assetId": "a"}, {"type": "audio", "url": "https://x/y.wav"}]
    assert emulator.ledger() == []
    assert bodies == []


def test_what_is_uploaded_on_the_way_is_known_as_ours(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.settings(job_seconds=60)
    operator = LipSyncOperator(
        task_id="t", video=str(video), audio=str(sample), output=str(tmp_path / "o.mp4"), wait_for_completion=False
    )
    task.run(operator)
    names = [asset.name or "" for asset in operator.hook.list_assets()]
    assert len(names) == 2
    assert all(" [vp:default@dag#" in name for name in names)


def test_the_same_file_twice_is_uploaded_once(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    audio = [{"ref_id": name, "media": str(sample)} for name in "ab"]
    segments = [
        {"start_time": start, "end_time": start + 0.3, "audio_input": {"ref_id": name}}
        for start, name in ((0, "a"), (0.5, "b"))
    ]
    out = str(tmp_path / "o.mp4")
    task.run(LipSyncOperator(task_id="t", video=str(video), audio=audio, segments=segments, output=out))
    assert len([r for r in emulator.requests("/v2/assets/upload") if r["method"] == "POST"]) == 2


def test_another_recording_at_the_same_place_is_another_order(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    def lip_sync() -> dict[str, Any]:
        values = {"video": str(video), "audio": str(sample), "output": str(tmp_path / "o.mp4")}
        result: dict[str, Any] = task.run(LipSyncOperator(task_id="t", **values))
        return result

    first = lip_sync()
    assert lip_sync()["job_id"] == first["job_id"]
    write_wav(sample, 2.0)
    second = lip_sync()
    assert second["job_id"] != first["job_id"]
    write_mp4(video, 2.0)
    assert lip_sync()["job_id"] not in (first["job_id"], second["job_id"])
    assert len(emulator.ledger("lip_sync")) == 3


def test_a_copy_that_is_still_being_taken_on_is_asked_for_again_under_its_key(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.settings(key_busy_seconds=0.4)
    emulator.fault("drop_after", method="POST", path="/v2/generate")
    film = {"video": str(video), "audio": str(sample), "output": f"{tmp_path}/o.mp4"}
    kept = task.run(LipSyncOperator(task_id="t", poll_interval=0.1, **film))
    asked = [entry for entry in emulator.requests("/v2/generate") if entry["method"] == "POST"]
    assert len({entry["idempotency_key"] for entry in asked}) == 1
    assert {entry["status"] for entry in asked[1:-1]} == {409}
    assert asked[-1]["status"] == 201
    [bill] = emulator.ledger()
    assert (bill["job_id"], bill["refunded"]) == (kept["job_id"], False)


def test_one_file_that_cannot_be_deleted_does_not_keep_the_rest(
    emulator: EmulatorHandle, hook: VoiceHook, task: Task, sample: Path
) -> None:
    stays, *others = (hook.upload_asset(str(sample)).id for _ in range(3))
    emulator.fault("status", path=f"/v2/assets/{stays}", method="DELETE", status=403, times=None)
    with pytest.raises(VoiceError, match="403"):
        task.run(DeleteAssetOperator(task_id="d", asset=[stays, *others]))
    assert [asset.id for asset in hook.list_assets()] == [stays]


def test_what_is_told_apart_by_its_key_alone_is_not_forgotten_where_the_key_is_known(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    operator = LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=str(tmp_path / "o.mp4"))
    conflict = {"message": "This key was used with another body.", "statusCode": 409, "errorCode": "KEY_REUSED"}
    emulator.fault("status", path="/v2/generate", method="POST", status=409, body=conflict)
    with pytest.raises(VoiceError, match="409"):
        task.run(operator)
    assert task.record["posted_at"], "something was accepted under this key"
    assert emulator.state()["assets"] == 2, "and it may need its files"


def test_a_retry_after_a_clear_that_went_on_with_the_job_does_not_pay_again(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    def lip_sync(**more: Any) -> dict[str, Any]:
        values = {"video": str(video), "audio": str(sample), "output": str(tmp_path / "o.mp4"), **more}
        result: dict[str, Any] = task.run(LipSyncOperator(task_id="t", **values))
        return result

    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        lip_sync(timeout=0)
    task.clear()
    emulator.advance(61)
    first = lip_sync()
    again = lip_sync()  # the worker died before Airflow heard of the success: a retry, and no clear
    assert again["job_id"] == first["job_id"]
    assert len(emulator.ledger("lip_sync")) == 1
    emulator.settings(job_seconds=0)
    task.clear()
    assert lip_sync()["job_id"] != first["job_id"]


class TestDeferred:
    """The wait goes to the triggerer, and everything is collected when it comes back."""

    @pytest.fixture
    def lip_sync(self, video: Path, sample: Path, tmp_path: Path) -> Callable[..., LipSyncOperator]:
        def make(**changes: Any) -> LipSyncOperator:
            values = {
                "video": str(video),
                "audio": str(sample),
                "output": str(tmp_path / "o.mp4"),
                "poll_interval": 0.2,
            }
            return LipSyncOperator(task_id="t", **(values | {"deferrable": True} | changes))

        return make

    def test_defers_resumes_and_keeps(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        emulator.settings(job_seconds=60)
        operator = lip_sync()
        with pytest.raises(TaskDeferred) as deferred:
            task.run(operator)
        _, arguments = deferred.value.trigger.serialize()
        assert json.loads(json.dumps(arguments)) == arguments
        assert emulator.api_key not in json.dumps({**arguments, "voice_conn_id": ""})
        emulator.advance(61)
        event = asyncio.run(anext(deferred.value.trigger.run()))
        assert event.payload["status"] == "ended"
        resumed = lip_sync()  # another process: nothing of the first operator is left
        result = resumed.resume_execution(deferred.value.method_name, {"event": event.payload}, task.context)
        assert result["bytes"] > 0
        assert len(emulator.ledger("lip_sync")) == 1
        assert emulator.state()["assets"] == 0

    def test_a_short_job_is_not_worth_deferring(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        assert task.run(lip_sync())["bytes"] > 0
        assert len(emulator.ledger("lip_sync")) == 1

    def test_a_trigger_that_failed_burns_no_retry(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        emulator.settings(job_seconds=60)
        with pytest.raises(TaskDeferred):
            task.run(lip_sync())
        failed = {"error": "Trigger failure", "traceback": ["boom"]}
        with pytest.raises(TaskDeferred):  # still running: it waits on
            lip_sync().resume_execution("__fail__", failed, task.context)
        emulator.advance(61)
        assert lip_sync().resume_execution("__fail__", failed, task.context)["bytes"] > 0

    def test_a_trigger_that_fails_again_and_again_ends_the_attempt(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        emulator.settings(job_seconds=60)
        failed = {"error": "Trigger failure"}
        with pytest.raises(TaskDeferred):
            task.run(lip_sync())
        for _ in range(base.MAX_REDEFERS):
            with pytest.raises(TaskDeferred):
                lip_sync().resume_execution("__fail__", failed, task.context)
        with pytest.raises(JobTimeoutError, match="collects it without paying again"):
            lip_sync().resume_execution("__fail__", failed, task.context)
        with pytest.raises(TaskDeferred):  # a retry waits afresh
            task.run(lip_sync())
        assert len(emulator.ledger("lip_sync")) == 1

    def test_a_trigger_that_fails_does_not_move_the_deadline(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        emulator.settings(job_seconds=60)
        with pytest.raises(TaskDeferred) as first:
            task.run(lip_sync())
        with pytest.raises(TaskDeferred) as second:
            lip_sync().resume_execution("__fail__", {"error": "Trigger failure"}, task.context)
        assert second.value.trigger.deadline == first.value.trigger.deadline

    def test_a_timeout_leaves_the_job_to_the_next_try(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        emulator.settings(job_seconds=60)
        with pytest.raises(JobTimeoutError, match=r"goes on at sync_labs; a retry.*without paying again"):
            task.run(lip_sync(timeout=timedelta(seconds=0.2), deferrable=False))
        emulator.advance(61)
        assert task.run(lip_sync(timeout=0))["bytes"] > 0
        assert len(emulator.ledger("lip_sync")) == 1

    def test_execution_timeout_bounds_the_wait_too(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator]
    ) -> None:
        emulator.settings(job_seconds=60)
        with pytest.raises(JobTimeoutError):
            task.run(lip_sync(execution_timeout=timedelta(seconds=0.1)))

    def test_links_lead_to_the_job_while_it_runs_and_to_the_result(
        self, emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., LipSyncOperator], tmp_path: Path
    ) -> None:
        emulator.settings(job_seconds=60)
        operator = lip_sync()
        with pytest.raises(TaskDeferred):
            task.run(operator)
        links = {link.name: link.get_link(operator, ti_key=None) for link in operator.operator_extra_links}
        assert links["Job at the service"].startswith(f"{emulator.url}/_emulator/jobs/")
        assert links["Result"] == links["Job at the service"], "a browser does not open local files"
        operator.result_location = "s3://bucket/o.mp4"
        assert ResultLink().get_link(operator, ti_key=None).startswith("https://console.aws.amazon.com/")


def test_deferrable_follows_airflows_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> TTSOperator:
        return TTSOperator(task_id="t", text="x", voice_id="y", output="/z")

    assert make().deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert make().deferrable is True


@pytest.mark.parametrize("name", ["on_unknown_outcome", "on_clear"])
def test_a_policy_that_does_not_exist_is_refused_when_the_dag_is_parsed(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 'maybe'; use"):
        TTSOperator(task_id="t", text="x", voice_id="y", output="/z", **{name: "maybe"})


def test_a_connection_without_the_capability_says_what_to_use(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SyncLabs, "capabilities", frozenset({Capability.HOSTS_ASSETS}))
    operator = LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=str(tmp_path / "o.mp4"))
    with pytest.raises(CapabilityError, match=r"sync\. labs cannot do this \(lip sync\)"):
        task.run(operator)
    assert emulator.requests() == []


def test_being_killed_says_that_the_job_runs_on(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.settings(job_seconds=60)
    out = str(tmp_path / "o.mp4")
    operator = LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=out, wait_for_completion=False)
    operator.on_kill()
    assert "billed" not in capsys.readouterr().out, "nothing was ordered yet"
    task.run(operator)
    operator.on_kill()
    assert "runs on at sync_labs and will be billed" in capsys.readouterr().out
