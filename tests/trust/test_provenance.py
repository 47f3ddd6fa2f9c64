"""The record beside every kept result: what it says, what it must not say, and that a killed try still leaves one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.context import set_current_context

from tests.conftest import without_records, write_wav
from voice_provider import __version__
from voice_provider.exceptions import InvalidInputError, StorageError
from voice_provider.files import beside
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs.names import ManagedName
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors.job import LipSyncCompleteSensor, TTSCompleteSensor, VoiceTrainedSensor
from voice_provider.trust import provenance
from voice_provider.trust.consent import Consent
from voice_provider.trust.origin import consents_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
SCRIPT = "A most confidential sentence, which nobody may read."
WHO = "the person who speaks"
GIVEN = {"who": WHO, "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}
CONSENT = Consent(**GIVEN).ref.dump()
OTHER_CONSENT = Consent(**{**GIVEN, "who": "Bea"}).ref.dump()
RUN = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}


class Killed(BaseException):
    """The end of a process; nothing handles it."""


def record(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(result["uri"] + ".provenance.json").read_text())
    return found


def digest(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


@pytest.fixture
def speak(emulator: EmulatorHandle, tmp_path: Path) -> Callable[..., TTSOperator]:
    def make(**changes: Any) -> TTSOperator:
        values = {"text": SCRIPT, "voice_id": BUILT_IN, "output": f"{tmp_path}/out/"}
        return TTSOperator(task_id="t", **(values | changes))

    return make


@pytest.fixture
def lip_sync(emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path) -> Callable[..., LipSyncOperator]:
    def make(**changes: Any) -> LipSyncOperator:
        values = {"video": str(video), "audio": str(sample), "output": f"{tmp_path}/out/talk.mp4"}
        return LipSyncOperator(task_id="t", **(values | changes))

    return make


@pytest.fixture
def clone(task: Task, sample: Path) -> dict[str, Any]:
    """A managed voice, with what a task hands on of it: its samples and the consent."""
    voice: dict[str, Any] = task.run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample)))
    task.store.clear()
    return {**voice, "samples": [digest(sample.read_bytes())], "consent": CONSENT}


# what it says


def test_speech_is_recorded_with_voice_samples_settings_run_and_consent(
    task: Task, speak: Callable[..., TTSOperator], clone: dict[str, Any], sample: Path
) -> None:
    task.ti.map_index = 3
    voice = task.run(VoiceTrainedSensor(task_id="s", voice=clone))
    result = task.run(speak(voice_id=voice, stability=0.4))
    assert (result["consent"], result["samples"]) == (CONSENT, clone["samples"])
    kept, found = Path(result["uri"]), record(result)
    managed = ManagedName.parse(clone["name"])
    assert managed is not None
    assert found.pop("kept_at") > str(found["made"]["submitted_at"])[:19]
    assert found == {
        "schema": "airflow-provider-voice/provenance/1",
        "file": {
            "name": kept.name,
            "sha256": digest(kept.read_bytes()),
            "bytes": kept.stat().st_size,
            "media_type": result["media_type"],
            "seconds": result["seconds"],
        },
        "made": {
            "kind": "speech",
            "service": "sync_labs",
            "model": result.get("model"),
            "engine": "tone",
            "job_id": result["job_id"],
            "submitted_at": result["submitted_at"],
            "outcome": None,
            "cost": {"usd": None, "basis": "unknown", "units": {"bytes": len(SCRIPT), "characters": len(SCRIPT)}},
            "settings": {
                "text": {"characters": len(SCRIPT), "sha256": digest(SCRIPT)},
                "voice_id": clone["voice_id"],
                "stability": 0.4,
            },
        },
        "voice": {
            "id": clone["voice_id"],
            "name": clone["name"],
            "fingerprint": managed.fingerprint,
            "samples": [digest(sample.read_bytes())],
        },
        "inputs": [],
        "consent": {"id": CONSENT["id"], "sha256": CONSENT["sha256"]},
        "run": {**RUN, "map_index": 3},
        "generator": {"name": "airflow-provider-voice", "version": __version__},
    }
    text = Path(f"{kept}.provenance.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert len(text) < 3000


def test_an_instant_clone_is_recorded_with_its_recordings(
    task: Task, set_connection: Callable[..., None], speak: Callable[..., TTSOperator], tmp_path: Path
) -> None:
    set_connection(service="fish_audio", require_consent=True)
    clips = [write_wav(tmp_path / "in" / f"{number}.wav", seconds=11 + number) for number in range(2)]
    references = [[{"audio": str(clip), "text": "What is said in it."}] for clip in clips]
    script = "<|speaker:0|>Hello, is anybody there? <|speaker:1|>Yes, and I have been here all along."
    result = task.run(speak(voice_id=None, text=script, references=references, consent=GIVEN))
    hashes = [digest(clip.read_bytes()) for clip in clips]
    found = record(result)
    assert found["inputs"] == [{"role": "reference", "sha256": one} for one in hashes]
    assert [voice["samples"] for voice in found["voice"]] == [[one] for one in hashes]
    assert found["consent"]["id"] == CONSENT["id"] == result["consent"]["id"]
    assert result["samples"] == hashes
    assert found["made"]["settings"].keys() >= {"format", "text"}
    told = json.dumps(found) + json.dumps(result) + json.dumps(dict(task.store))
    assert not [word for word in (WHO, "releases", "said in it", "anybody") if word in told]


def test_a_lip_sync_carries_on_what_its_audio_brings(
    task: Task,
    speak: Callable[..., TTSOperator],
    lip_sync: Callable[..., LipSyncOperator],
    clone: dict[str, Any],
    video: Path,
) -> None:
    spoken = task.run(speak(voice_id=clone))
    task.store.clear()
    result = task.run(lip_sync(audio=spoken))
    assert (result["consent"], result["samples"]) == (CONSENT, clone["samples"])
    found = record(result)
    assert found["made"]["kind"] == "lip_sync"
    assert found["made"]["model"] == "lipsync-2"
    assert found["voice"] == {
        "id": clone["voice_id"],
        "name": None,
        "fingerprint": None,
        "samples": clone["samples"],
    }
    assert found["inputs"] == [
        {"role": "video", "sha256": digest(video.read_bytes())},
        {"role": "audio", "sha256": spoken["sha256"]},
    ]
    assert found["consent"]["id"] == CONSENT["id"]


def test_voices_with_consents_of_their_own_are_all_named(
    task: Task, emulator: EmulatorHandle, set_connection: Callable[..., None], speak: Callable[..., TTSOperator]
) -> None:
    set_connection(service="fish_audio")
    one, two = (item["id"] for item in emulator.seed_models(["One", "Two"]))
    voices = [
        {"voice_id": one, "samples": ["a" * 64], "consent": CONSENT},
        {"voice_id": two, "samples": ["b" * 64], "consent": OTHER_CONSENT},
    ]
    result = task.run(speak(text="<|speaker:0|>Hello there. <|speaker:1|>Hello yourself.", voice_id=voices))
    assert result["consent"] == [CONSENT, OTHER_CONSENT]
    found = record(result)
    assert [voice["id"] for voice in found["voice"]] == [one, two]
    assert [item["id"] for item in found["consent"]] == [CONSENT["id"], OTHER_CONSENT["id"]]
    assert consents_in(result) == consents_in(voices)


def test_no_text_and_no_address_that_grants_access_is_told(
    task: Task, hook: VoiceHook, lip_sync: Callable[..., LipSyncOperator], sample: Path, video: Path
) -> None:
    asset = hook.upload_asset(str(video))
    secret = "https://user:word@files.example/boxes.json?signature=granted#part"
    result = task.run(
        lip_sync(
            video=f"{asset.url}?signature=granted",
            audio=[{"ref_id": "a", "media": str(sample)}],
            text=[{"ref_id": "b", "text": SCRIPT, "voice_id": BUILT_IN}],
            segments=[
                {"start_time": 0, "end_time": 0.4, "audio_input": {"ref_id": "a"}},
                {
                    "start_time": 0.5,
                    "end_time": 0.9,
                    "audio_input": {"ref_id": "b"},
                    "options_override": {"prompt": "confidential", "temperature": 1},
                },
            ],
            active_speaker={"auto_detect": False, "bounding_boxes_url": secret, "bounding_boxes": list(range(999))},
        )
    )
    found = record(result)
    settings = found["made"]["settings"]
    hashed = {"characters": len(SCRIPT), "sha256": digest(SCRIPT)}
    assert settings["text"] == [{"ref_id": "b", "text": hashed, "voice_id": BUILT_IN}]
    assert settings["segments"][1]["options_override"]["prompt"]["characters"] == len("confidential")
    assert settings["active_speaker"]["bounding_boxes_url"] == "https://files.example/boxes.json"
    assert settings["active_speaker"]["bounding_boxes"]["entries"] == 999
    assert found["inputs"][0] == {"role": "video", "url": str(asset.url).partition("?")[0]}
    told = json.dumps(found) + json.dumps(task.record["origin"])
    assert not [word for word in ("onfidential", "granted", "user:word") if word in told]
    assert found["voice"]["id"] == BUILT_IN


def test_words_of_a_pronunciation_dictionary_are_texts(
    task: Task, emulator: EmulatorHandle, set_connection: Callable[..., None], speak: Callable[..., TTSOperator]
) -> None:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"])
    entries = {"pronunciation_dictionary": [{"items": [{"key": "Confidentia", "value": "kon-fi"}]}]}
    found = record(task.run(speak(voice_id=voice["id"], options=entries)))
    assert found["made"]["settings"]["pronunciation_dictionary"][0]["items"]["entries"] == 1
    assert "onfidentia" not in json.dumps(found)


@pytest.mark.parametrize(
    "handed",
    [
        {"voice_id": BUILT_IN, "consent": "consent-7"},
        {"voice_id": BUILT_IN, "consent": {"who": WHO}},
        {"voice_id": BUILT_IN, "samples": "abc"},
        {"voice_id": BUILT_IN, "name": ["x"]},
    ],
)
def test_what_no_task_has_returned_is_refused_before_anything_is_paid(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., TTSOperator], handed: dict[str, Any]
) -> None:
    with pytest.raises(
        InvalidInputError, match=r"that was passed on cannot be read \((consent|id|samples|name|no dict)"
    ):
        task.run(speak(voice_id=handed))
    assert emulator.requests() == []


# where it is


def test_in_an_object_store_it_is_one_small_object(task: Task, speak: Callable[..., TTSOperator], s3: Any) -> None:
    result = task.run(speak(output="s3://studio/night/line.mp3"))
    s3.invalidate_cache()
    assert sorted(s3.find("studio")) == ["studio/night/line.mp3", "studio/night/line.mp3.provenance.json"]
    found = json.loads(s3.cat("studio/night/line.mp3.provenance.json"))
    assert found["file"]["sha256"] == result["sha256"] == digest(s3.cat("studio/night/line.mp3"))
    assert provenance.verify(result["uri"])[1] is None


@pytest.mark.parametrize("deferred", [False, True])
def test_the_sensor_that_keeps_a_result_records_it_as_its_own_run(
    task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., LipSyncOperator], sample: Path, deferred: bool
) -> None:
    emulator.settings(job_seconds=60)
    audio = {"uri": str(sample), "voice_id": "v", "samples": ["a" * 64], "consent": CONSENT}
    ticket = json.loads(json.dumps(task.run(lip_sync(audio=audio, sync_mode="cut_off", wait_for_completion=False))))
    task.store.clear()
    task.ti.task_id = "sensor"
    if deferred:
        sensor = LipSyncCompleteSensor(task_id="s", job=ticket, deferrable=True, poke_interval=0.1)
        with pytest.raises(TaskDeferred) as away:
            task.run(sensor)
        emulator.advance(61)
        event = asyncio.run(anext(away.value.trigger.run()))
        result = sensor.resume_execution(away.value.method_name, {"event": event.payload}, task.context)
    else:
        emulator.advance(61)
        result = task.run(LipSyncCompleteSensor(task_id="s", job=ticket))
    assert (result["consent"], result["samples"]) == (CONSENT, ["a" * 64])
    found = record(result)
    assert found["run"] == {**RUN, "task_id": "sensor"}
    assert found["made"]["settings"]["sync_mode"] == "cut_off"
    assert found["made"]["submitted_at"] == ticket["submitted_at"]
    assert [item["role"] for item in found["inputs"]] == ["video", "audio"]


def test_a_result_that_a_sensor_passes_through_keeps_the_record_of_its_task(
    task: Task, speak: Callable[..., TTSOperator]
) -> None:
    result = task.run(speak(wait_for_completion=False))
    before = record(result)
    task.ti.task_id = "sensor"
    assert task.run(TTSCompleteSensor(task_id="s", job=result)) == result
    assert record(result) == before


def test_a_job_of_which_only_the_id_is_known_is_recorded_as_far_as_it_is_known(
    task: Task, lip_sync: Callable[..., LipSyncOperator], tmp_path: Path
) -> None:
    job_id = task.run(lip_sync(wait_for_completion=False))["job_id"]
    found = record(task.run(LipSyncCompleteSensor(task_id="s", job=job_id, output=f"{tmp_path}/o.mp4")))
    assert (found["voice"], found["inputs"], found["made"]["settings"]) == (None, [], {})


def test_a_wait_on_the_triggerer_forgets_nothing(
    task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., LipSyncOperator], video: Path
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(TaskDeferred):
        task.run(lip_sync(deferrable=True, sync_mode="cut_off"))
    emulator.advance(61)
    taken = digest(video.read_bytes())
    video.unlink()  # what was read once is not read again
    found = record(lip_sync(deferrable=True, sync_mode="cut_off").execute_complete(task.context))
    assert found["made"]["settings"]["sync_mode"] == "cut_off"
    assert found["inputs"][0] == {"role": "video", "sha256": taken}


def test_the_hook_records_the_task_that_it_is_called_in(
    task: Task, hook: VoiceHook, video: Path, sample: Path, tmp_path: Path
) -> None:
    alone = hook.synthesize(SCRIPT, BUILT_IN, f"{tmp_path}/a.mp3").dump()
    assert record(alone)["run"] is None
    assert record(alone)["voice"]["id"] == BUILT_IN
    with set_current_context(task.context):  # type: ignore[arg-type]
        spoken = hook.synthesize(SCRIPT, BUILT_IN, f"{tmp_path}/b.mp3")
        synced = hook.lip_sync(f"{tmp_path}/b.mp4", video=str(video), audio=[{"media": str(sample)}])
    assert record(spoken.dump())["run"] == record(synced.dump())["run"] == RUN
    assert [item["role"] for item in record(synced.dump())["inputs"]] == ["video", "audio"]
    assert SCRIPT not in json.dumps(record(alone))


def test_the_hook_records_an_instant_clone_with_its_consent(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path
) -> None:
    set_connection(service="fish_audio", require_consent=True)
    clip = write_wav(tmp_path / "in" / "clip.wav", seconds=11)
    references = [{"audio": str(clip), "text": "x"}]
    speak = VoiceHook.for_connection("voice_default").synthesize
    result = speak(SCRIPT, None, f"{tmp_path}/out/", references=references, consent=GIVEN).dump()
    assert result["samples"] == record(result)["voice"]["samples"] == [digest(clip.read_bytes())]
    assert result["consent"]["id"] == record(result)["consent"]["id"] == CONSENT["id"]


def test_a_name_that_leaves_no_room_for_the_record_is_refused_before_anything_is_paid(
    task: Task, emulator: EmulatorHandle, hook: VoiceHook, speak: Callable[..., TTSOperator], tmp_path: Path
) -> None:
    long = f"{tmp_path}/out/{'x' * 236}.mp3"
    with pytest.raises(InvalidInputError, match="at most 239 bytes"):
        task.run(speak(output=long))
    with pytest.raises(InvalidInputError, match="at most 239 bytes"):
        hook.synthesize(SCRIPT, BUILT_IN, long)
    assert emulator.ledger() == []
    assert record(task.run(speak(output=f"{tmp_path}/out/{'x' * 235}.mp3")))["run"] == RUN


# a try that ends between the two


@contextmanager
def dies_before_the_record() -> Iterator[None]:
    """A process that ends after the result is in its place, and before its record is."""

    def die(place: str, *_: Any, **__: Any) -> None:
        assert place.endswith(".provenance.json")
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "put", die)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize("service", ["sync_labs", "fish_audio"])
def test_a_retry_writes_the_record_that_a_killed_try_did_not(
    task: Task,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    speak: Callable[..., TTSOperator],
    tmp_path: Path,
    service: str,
) -> None:
    set_connection(service=service)
    voice = BUILT_IN if service == "sync_labs" else emulator.seed_models(["Anybody"])[0]["id"]
    voice_id = {"voice_id": voice, "samples": ["a" * 64], "consent": CONSENT}
    with dies_before_the_record():
        task.run(speak(voice_id=voice_id))
    [kept] = (tmp_path / "out").iterdir()
    result = task.run(speak(voice_id=voice_id))
    assert result["uri"] == str(kept)
    assert record(result)["consent"]["id"] == result["consent"]["id"] == CONSENT["id"]
    assert without_records(path.name for path in kept.parent.iterdir()) == [kept.name]
    assert len(emulator.ledger("speech")) == 1


def test_a_retry_of_the_sensor_writes_it_too(
    task: Task,
    emulator: EmulatorHandle,
    lip_sync: Callable[..., LipSyncOperator],
) -> None:
    ticket = task.run(lip_sync(wait_for_completion=False))
    task.store.clear()
    with dies_before_the_record():
        task.run(LipSyncCompleteSensor(task_id="s", job=ticket))
    fetched = len(emulator.requests("/results/"))
    result = task.run(LipSyncCompleteSensor(task_id="s", job=ticket))
    assert record(result)["file"]["sha256"] == result["sha256"]
    assert len(emulator.requests("/results/")) == fetched, "nothing is fetched again"
    assert emulator.state()["assets"] == 0


def test_a_retry_writes_the_same_but_for_the_time(task: Task, speak: Callable[..., TTSOperator]) -> None:
    first = task.run(speak())
    before = record(first)
    Path(first["uri"] + ".provenance.json").write_text("{}")
    assert task.run(speak()) == first
    assert {**record(first), "kept_at": None} == {**before, "kept_at": None}


def test_a_record_that_cannot_be_written_is_for_a_retry_which_does_not_pay_again(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., TTSOperator], tmp_path: Path
) -> None:
    place = tmp_path / "out" / "line.mp3.provenance.json"
    place.mkdir(parents=True)
    operator = speak(output=f"{tmp_path}/out/line.mp3")
    with pytest.raises(StorageError, match=r"line\.mp3\.provenance\.json cannot be written: .*does not pay again"):
        task.run(operator)
    assert sorted(path.name for path in place.parent.iterdir()) == ["line.mp3", "line.mp3.provenance.json"]
    place.rmdir()
    assert record(task.run(operator))["run"] == RUN
    assert len(emulator.ledger("speech")) == 1


def test_the_record_never_tells_of_another_request_than_the_one_that_was_paid(
    task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., LipSyncOperator], sample: Path
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(TaskDeferred):
        task.run(lip_sync(deferrable=True, sync_mode="cut_off"))
    emulator.advance(61)
    remembered = task.record
    origin = {"settings": {"temperature": 0.5}}
    task.store.set("voice_job", {name: value for name, value in remembered.items() if name != "origin"})
    for fingerprint, settings in (("of another", {}), (remembered["fingerprint"], origin["settings"])):
        task.store.set("voice_origin", {"fingerprint": fingerprint, "origin": origin})  # by the version before
        found = record(lip_sync(deferrable=True).execute_complete(task.context))
        assert (found["made"]["settings"], found["inputs"]) == (settings, [])
        assert found["made"]["job_id"]


def test_the_hook_does_not_lose_what_was_paid_for_want_of_a_record(
    hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "line.mp3.provenance.json"
    place.mkdir()
    assert Path(hook.synthesize(SCRIPT, BUILT_IN, f"{tmp_path}/line.mp3").uri).is_file()
    assert "line.mp3.provenance.json cannot be written" in "".join(capfd.readouterr())
    assert len(emulator.ledger("speech")) == 1


def test_a_store_that_is_away_for_a_moment_gets_its_record_in_the_same_try(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., TTSOperator], s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, failing = s3.pipe_file, [True]

    def broken(*args: Any, **kwargs: Any) -> Any:
        if failing:
            failing.clear()
            raise OSError("the store is away")
        return put(*args, **kwargs)

    monkeypatch.setattr(s3, "pipe_file", broken)
    assert provenance.verify(task.run(speak(output="s3://studio/line.mp3"))["uri"])[1] is None
    assert failing == []


def test_a_record_that_is_too_large_for_one_is_not_read(task: Task, speak: Callable[..., TTSOperator]) -> None:
    result = task.run(speak())
    record = Path(result["uri"] + provenance.ENDING)
    text = record.read_text()
    record.write_text(text + " " * (provenance.MAX_RECORD - len(text)))
    assert provenance.verify(result["uri"])[1] is None
    record.write_text(text + " " * (provenance.MAX_RECORD - len(text) + 1))
    found, problem = provenance.verify(result["uri"])
    assert found is None
    assert problem is not None
    assert "cannot be read" in problem


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(
    task: Task, speak: Callable[..., TTSOperator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("somebody's")
    opened: list[int] = []
    original = beside.create

    def planted(part: Path, folder: int) -> Any:
        part.symlink_to(victim)
        file = original(part, folder)
        opened.append(os.fstat(file.fileno()).st_mode & 0o777)
        return file

    monkeypatch.setattr(beside, "create", planted)
    result = task.run(speak())
    assert victim.read_text() == "somebody's"
    assert opened == [0o600]
    place = Path(result["uri"] + provenance.ENDING)
    assert not place.is_symlink()
    assert place.stat().st_mode & 0o777 == Path(result["uri"]).stat().st_mode & 0o777


def test_a_record_goes_where_its_result_is_although_the_folder_was_swapped(
    task: Task, speak: Callable[..., TTSOperator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, out, aside = tmp_path / "victim", tmp_path / "mine" / "out", tmp_path / "mine" / "aside"
    victim.mkdir()
    original = beside.opened

    def swapped(folder: Path, *more: Any) -> Any:
        out.rename(aside)
        out.symlink_to(victim)
        monkeypatch.setattr(beside, "opened", original)
        return original(folder, *more)

    monkeypatch.setattr(beside, "opened", swapped)
    with pytest.raises(StorageError, match=r"record .* cannot be written"):
        task.run(speak(output=f"{out}/line.mp3"))
    assert list(victim.iterdir()) == []
    assert [path.name for path in aside.iterdir()] == ["line.mp3"]
