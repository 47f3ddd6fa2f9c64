"""Every operator, sensor and method of the hook, at every service: it works, or the service is said to lack it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from voice_provider.get_provider_info import get_provider_info
from voice_provider.hooks.voice import VoiceHook
from voice_provider.models import Capability, Manifest, Voice
from voice_provider.operators.asset import DeleteAssetOperator, UploadAssetOperator
from voice_provider.operators.base import VoiceOperator
from voice_provider.operators.checking import CheckLinesOperator
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.gate import CostGateOperator
from voice_provider.operators.lines import SpeakLinesOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.tracks import FitLinesOperator, JoinLinesOperator
from voice_provider.operators.voice import DeleteVoiceOperator, UpdateVoiceOperator
from voice_provider.sensors.job import JobSensor, LipSyncCompleteSensor, TTSCompleteSensor, VoiceTrainedSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import World

LINE = "Good evening, and welcome to the news of this hour."


@dataclass(frozen=True)
class Use:
    """One way to use something.

    :param of: the operator class, or the name of the hook's method
    :param needs: what the service has to be able to do; nothing where every service can
    """

    of: Any
    needs: Capability | None
    call: Callable[[World], Any]

    def __str__(self) -> str:
        return self.of if isinstance(self.of, str) else self.of.__name__


def clone(world: World, **options: Any) -> Voice:
    return world.hook.clone_voice("Ann", str(world.sample), **options)


def asset(world: World) -> str:
    return world.hook.upload_asset(str(world.sample)).id


def out(world: World) -> str:
    return f"{world.folder}/"


def kept(world: World) -> Manifest:
    told = world.hook.look_at(str(world.sample)) | {"service": world.service, "kind": "speech", "format": "wav"}
    return Manifest.model_validate(told)


def track(world: World) -> str:
    return f"{world.folder}/track.wav"


def subtitles(world: World) -> str:
    place = world.sample.with_name("lines.srt")
    place.write_text("1\n00:00:00,000 --> 00:00:01,000\nA line.\n")
    return str(place)


def reference(world: World) -> dict[str, str]:
    return {"audio": str(world.sample), "text": "What is said in it."}


def lip_sync(world: World, **options: Any) -> Any:
    return LipSyncOperator(
        task_id="t", video=str(world.video), audio=str(world.sample), output=f"{world.folder}/o.mp4", **options
    )


def speech(world: World, **options: Any) -> Any:
    return TTSOperator(task_id="t", text=LINE, voice_id=world.voice_id(), output=out(world), **options)


def check(world: World, **options: Any) -> Any:
    spoken = [world.hook.look_at(str(world.sample))]
    where = {"lines": [{"text": LINE}], "output": f"{world.folder}/"}
    return world.run(CheckLinesOperator(task_id="t", spoken=spoken, **where, **options))


UNKNOWN = "11111111-2222-4333-8444-555555555555"
HOSTS, LIPS = Capability.HOSTS_ASSETS, Capability.LIP_SYNC
USES = [
    Use("list_voices", None, lambda w: w.hook.list_voices(title="Ann", limit=3)),
    Use("list_voices", Capability.VOICE_LIBRARY, lambda w: w.hook.list_voices(own=False, languages=["en"])),
    Use("get_voice", None, lambda w: w.hook.get_voice(w.voice_id())),
    Use("clone_voice", None, clone),
    Use("clone_voice", Capability.SEVERAL_SAMPLES, lambda w: w.hook.clone_voice("Ann", [str(w.sample)] * 2)),
    Use("update_voice", Capability.UPDATE_VOICE, lambda w: w.hook.update_voice(w.made, title="Bea", tags=["a"])),
    Use("delete_voice", None, lambda w: w.hook.delete_voice(clone(w).id)),
    Use("wallet", Capability.WALLET, lambda w: w.hook.wallet()),
    Use("transcribe", Capability.TRANSCRIPTION, lambda w: w.hook.transcribe(str(w.sample), segments=True)),
    Use("caption", Capability.TRANSCRIPTION, lambda w: w.hook.caption(kept(w), "srt")),
    Use("upload_asset", HOSTS, asset),
    Use("upload_file", HOSTS, lambda w: w.hook.upload_file(w.hook.resolve(str(w.sample)))),
    Use("list_assets", HOSTS, lambda w: w.hook.list_assets(search="x", limit=3)),
    Use("get_asset", HOSTS, lambda w: w.hook.get_asset(asset(w))),
    Use("update_asset", HOSTS, lambda w: w.hook.update_asset(asset(w), name="Bea")),
    Use("delete_asset", HOSTS, lambda w: w.hook.delete_asset(asset(w))),
    Use("download_asset", HOSTS, lambda w: w.hook.download_asset(asset(w), out(w))),
    Use("synthesize", None, lambda w: w.hook.synthesize(LINE, w.voice_id(), out(w))),
    Use(
        "synthesize",
        Capability.INSTANT_CLONE,
        lambda w: w.hook.synthesize(LINE, None, out(w), references=[reference(w)]),
    ),
    Use(
        "lip_sync",
        LIPS,
        lambda w: w.hook.lip_sync(f"{w.folder}/o.mp4", video=str(w.video), audio=[{"media": str(w.sample)}]),
    ),
    Use("get_jobs", Capability.ASKS_FOR_MANY, lambda w: w.hook.get_jobs("lip_sync", [UNKNOWN])),
    Use("room", None, lambda w: w.hook.room()),
    Use("slots", None, lambda w: w.hook.slots()),
    Use("look_at", None, lambda w: w.hook.look_at(str(w.sample))),
    Use("list_jobs", LIPS, lambda w: w.hook.list_jobs()),
    Use("list_models", LIPS, lambda w: w.hook.list_models()),
    Use("estimate", Capability.ESTIMATE, lambda w: w.hook.estimate("lipsync-2", 3)),
    Use("get_job", None, lambda w: w.hook.get_job("clone", clone(w).id)),
    Use("test_connection", None, lambda w: w.hook.test_connection()),
    Use(
        JoinLinesOperator,
        None,
        lambda w: w.run(JoinLinesOperator(task_id="t", lines=[kept(w).dump()], output=track(w))),
    ),
    Use(
        FitLinesOperator,
        None,
        lambda w: w.run(FitLinesOperator(task_id="t", lines=[kept(w).dump()], subtitles=subtitles(w), output=track(w))),
    ),
    Use(UploadAssetOperator, None, lambda w: w.run(UploadAssetOperator(task_id="t", file=str(w.sample)))),
    Use(
        DeleteAssetOperator,
        None,
        lambda w: w.run(
            DeleteAssetOperator(task_id="t", asset=w.run(UploadAssetOperator(task_id="t", file=str(w.sample))))
        ),
    ),
    Use(CloneVoiceOperator, None, lambda w: w.run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(w.sample)))),
    Use(
        CloneVoiceOperator,
        Capability.SEVERAL_SAMPLES,
        lambda w: w.run(CloneVoiceOperator(task_id="t", name="Ann", samples=[str(w.sample), str(w.sample)])),
    ),
    Use(VoiceTrainedSensor, None, lambda w: w.run(VoiceTrainedSensor(task_id="t", voice=clone(w).id))),
    Use(
        UpdateVoiceOperator,
        Capability.UPDATE_VOICE,
        lambda w: w.run(UpdateVoiceOperator(task_id="t", voice=w.made, title="Bea")),
    ),
    Use(DeleteVoiceOperator, None, lambda w: w.run(DeleteVoiceOperator(task_id="t", voice=clone(w).id))),
    Use(CleanupVoicesOperator, None, lambda w: w.run(CleanupVoicesOperator(task_id="t", pattern="Ann*"))),
    Use(TTSOperator, None, lambda w: w.run(speech(w))),
    Use(
        TTSOperator,
        Capability.INSTANT_CLONE,
        lambda w: w.run(TTSOperator(task_id="t", text=LINE, references=[reference(w)], output=out(w))),
    ),
    Use(
        TTSCompleteSensor,
        None,
        lambda w: w.run(TTSCompleteSensor(task_id="s", job=w.run(speech(w, wait_for_completion=False)))),
    ),
    Use(
        TTSCompleteSensor,
        Capability.ASYNC_SPEECH,
        lambda w: w.run(
            TTSCompleteSensor(
                task_id="s", job=w.run(speech(w, wait_for_completion=False)).get("job_id"), output=out(w), timeout=20
            )
        ),
    ),
    Use(CheckLinesOperator, None, check),
    Use(CheckLinesOperator, Capability.TRANSCRIPTION, lambda w: check(w, transcribe=True)),
    Use(LipSyncOperator, LIPS, lambda w: w.run(lip_sync(w))),
    Use(CostGateOperator, LIPS, lambda w: w.run(CostGateOperator(task_id="t", lip_syncs={"seconds": 2}, limit=1))),
    Use(
        LipSyncCompleteSensor,
        LIPS,
        lambda w: w.run(
            LipSyncCompleteSensor(
                task_id="s",
                job=w.run(lip_sync(w, wait_for_completion=False)) if LIPS in w.hook.service.capabilities else "a-job",
                output=f"{w.folder}/o.mp4",
            )
        ),
    ),
]


@pytest.mark.parametrize("use", USES, ids=str)
def test_it_works_or_is_said_to_be_lacking(world: World, use: Use) -> None:
    world.folder.mkdir()
    if use.of is TTSCompleteSensor and use.needs is Capability.ASYNC_SPEECH:
        world.emulator.settings(tts_mode="seed-async")
        if use.needs not in world.hook.service.capabilities:
            operator = TTSCompleteSensor(task_id="s", job="a-job", output=out(world))
            with world.needs(use.needs):
                world.run(operator)
            return
    if use.needs is Capability.UPDATE_VOICE:
        world.made = clone(world).id
    with world.needs(use.needs):
        result = use.call(world)
        if isinstance(result, Manifest):
            assert result.bytes > 0
    assert [path.name for path in world.folder.iterdir() if path.name.startswith(".") or "unusable" in path.name] == []
    assert world.emulator.state()["assets"] <= 1  # only what was uploaded by name, nothing that was sent along


def test_the_suite_uses_everything_there_is() -> None:
    internal = {
        "check_captions",
        "check_clone",
        "check_consent",
        "cover",
        "delete_leftovers",
        "settle_visibility",
    }  # of the hook, for the operators
    methods = {name for name, item in vars(VoiceHook).items() if inspect.isfunction(item) and name[0] != "_"}
    tasks: set[type] = set()
    for room in ("operators", "sensors"):
        for group in get_provider_info()[room]:
            for name in group["python-modules"]:
                module = __import__(name, fromlist=["x"])
                tasks |= {
                    item
                    for item in vars(module).values()
                    if inspect.isclass(item)
                    and issubclass(item, VoiceOperator | JobSensor)
                    and item.__module__ == name
                    and item.__name__ not in ("JobSensor", "CompletionSensor", "TrackOperator")
                }
    used = {use.of for use in USES}
    assert methods - internal <= used
    assert tasks <= used | {SpeakLinesOperator}  # below: it needs nothing
    every = {use.needs for use in USES} - {None}
    assert every == set(Capability) - {Capability.CANCEL}  # which no service has


def test_a_script_is_spoken_everywhere(world: World) -> None:
    world.folder.mkdir()
    script = SpeakLinesOperator(task_id="t", lines=[{"text": LINE}], voice_id=world.voice_id(), output=out(world))
    assert world.run(script)["counts"] == {"spoken": 1}


EVERYWHERE = [use for use in USES if not isinstance(use.of, str) and use.needs is None]


@pytest.mark.parametrize("use", EVERYWHERE, ids=str)
def test_what_tasks_return_has_the_same_names_everywhere(world: World, use: Use) -> None:
    world.folder.mkdir()
    result = use.call(world)
    names = {
        UploadAssetOperator: {"service", "asset_id", "uri", "name", "sha256", "bytes", "media_type", "seconds"},
        DeleteAssetOperator: {"deleted"},
        CloneVoiceOperator: {"service", "voice_id", "name", "label", "ephemeral", "state"},
        VoiceTrainedSensor: {"service", "voice_id", "state"},
        DeleteVoiceOperator: {"deleted"},
        JoinLinesOperator: {"service", "kind", "uri", "sha256", "seconds", "lines", "loudness", "cues"},
        FitLinesOperator: {"service", "kind", "uri", "sha256", "seconds", "lines", "loudness", "subtitles", "late"},
        CheckLinesOperator: {"manifest", "verdicts", "counts", "bad", "transcribed", "cost"},
        CleanupVoicesOperator: {"deleted", "would_delete", "failed", "kept", "others", "slots_in_use", "dry_run"},
    }.get(
        use.of, {"service", "kind", "uri", "sha256", "bytes", "format", "media_type", "seconds", "job_id", "voice_id"}
    )
    assert names <= set(result)
    assert result.get("service", world.service) == world.service
    assert "reference_id" not in result
