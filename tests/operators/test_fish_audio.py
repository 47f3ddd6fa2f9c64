"""Fish Audio through the operators: voices that are managed, speech that is the paid answer itself."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import wave
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from tests.conftest import MemoryStore, Task, without_records, write_wav
from tests.files.corpus import snapshot
from voice_provider.exceptions import (
    InvalidInputError,
    NotPublishedError,
    OutcomeUnknownError,
    PermanentVoiceError,
    StorageError,
    TransientVoiceError,
    UnusableSpeechError,
)
from voice_provider.files import transfer
from voice_provider.files.storage import Download
from voice_provider.jobs.names import ManagedName
from voice_provider.jobs.notes import Notes
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import UpdateVoiceOperator
from voice_provider.sensors.job import VoiceTrainedSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

LINE = "Good evening, and welcome to the news of this hour. " * 4


@pytest.fixture(autouse=True)
def _fish(emulator: EmulatorHandle, set_connection: Callable[..., None]) -> None:
    set_connection(service="fish_audio")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "in" / "clip.wav", seconds=11)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def speak(emulator: EmulatorHandle, out: Path) -> Callable[..., TTSOperator]:
    [voice] = emulator.seed_models(["Anybody"])

    def make(**changes: Any) -> TTSOperator:
        return TTSOperator(task_id="t", **({"text": LINE, "voice_id": voice["id"], "output": f"{out}/"} | changes))

    return make


def clone(clip: Path, **values: Any) -> CloneVoiceOperator:
    return CloneVoiceOperator(task_id="t", **({"name": "Ann", "samples": [str(clip)]} | values))


def files(folder: Path) -> list[str]:
    return without_records(path.name for path in folder.iterdir())


# voices


def test_everything_that_is_said_of_a_voice_reaches_the_service(
    task: Task, emulator: EmulatorHandle, clip: Path, tmp_path: Path
) -> None:
    cover = tmp_path / "cover.png"
    cover.write_bytes(snapshot("png", "rgb24"))
    second = write_wav(tmp_path / "in" / "second.wav", seconds=12)
    result = task.run(
        clone(
            clip,
            samples=[str(clip), {"service": "fish_audio", "asset_id": None, "uri": str(second)}],
            texts=["The first, and a comma.", "Zweitens: Umlaute äöü."],
            visibility="unlist",
            enhance_audio_quality=False,
            description="Reads the news.",
            tags=["news", "calm, slow"],
            cover_image=str(cover),
        )
    )
    assert result["visibility"] == "unlist"
    voice = clone(clip).hook.get_voice(result["voice_id"])
    assert (voice.description, voice.tags, voice.visibility) == ("Reads the news.", ("news", "calm, slow"), "unlist")
    assert ManagedName.parse(voice.name) is not None
    [model] = emulator.models()
    assert model["title"] == result["name"]


def test_other_samples_transcripts_or_treatment_make_another_voice(task: Task, clip: Path, tmp_path: Path) -> None:
    second = write_wav(tmp_path / "in" / "second.wav", seconds=12)
    ids = set()
    for values in (
        {},
        {"samples": [str(second)]},
        {"samples": [str(clip), str(second)]},
        {"samples": [str(second), str(clip)]},
        {"texts": ["What is said."]},
        {"enhance_audio_quality": False},
        {"name": "Bea"},
    ):
        task.store.clear()
        ids.add(task.run(clone(clip, **values))["voice_id"])
    assert len(ids) == 7
    task.store.clear()
    assert task.run(clone(clip, description="Only words.", tags=["x"]))["voice_id"] in ids


def test_twenty_tasks_that_clone_the_same_at_once_end_with_one_voice(emulator: EmulatorHandle, clip: Path) -> None:
    emulator.settings(fish_concurrency=None)
    found: list[str] = []

    def run(number: int) -> None:
        task = Task()
        task.store = MemoryStore()
        task.ti.run_id = f"run-{number}"
        found.append(task.run(clone(clip))["voice_id"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 20
    [left] = emulator.models()
    assert set(found) == {left["_id"]}


def test_a_training_is_waited_for(task: Task, emulator: EmulatorHandle, clip: Path) -> None:
    emulator.settings(fish_training_polls=3)
    ticket = task.run(clone(clip, wait_for_completion=False))
    assert ticket["state"] in ("created", "training")
    assert task.run(VoiceTrainedSensor(task_id="s", voice=ticket, poke_interval=0.1))["state"] == "trained"
    task.store.clear()
    assert task.run(clone(clip, name="Bea", poll_interval=0.1))["state"] == "trained"


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "status"])
def test_an_answer_that_is_lost_makes_no_second_voice(
    task: Task, emulator: EmulatorHandle, clip: Path, fault: str
) -> None:
    emulator.fault(fault, path="/model", method="POST", times=1, **({"status": 502} if fault == "status" else {}))
    with suppress(TransientVoiceError):
        task.run(clone(clip))
    voice = task.run(clone(clip))
    assert [model["_id"] for model in emulator.models()] == [voice["voice_id"]]


def test_public_that_the_service_makes_private_is_told(task: Task, emulator: EmulatorHandle, clip: Path) -> None:
    emulator.settings(fish_downgrade_public=True)
    assert task.run(clone(clip, visibility="public"))["visibility"] == "private"


def test_a_voice_that_is_more_open_than_asked_for_does_not_stay(
    task: Task, emulator: EmulatorHandle, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voice_provider.services.fish_audio.dialect import FishAudio

    read = FishAudio._voice  # no emulator does such a thing; the service's two references contradict each other, though
    monkeypatch.setattr(FishAudio, "_voice", lambda self, body: read(self, {**body, "visibility": "public"}))
    with pytest.raises(PermanentVoiceError, match="'public' and not 'private', also when it was told again"):
        task.run(clone(clip))
    assert emulator.models() == []


def test_an_update_never_deletes_a_voice(task: Task, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    from voice_provider.services.fish_audio.dialect import FishAudio

    [voice] = emulator.seed_models(["Made by hand"])
    read = FishAudio._voice
    monkeypatch.setattr(FishAudio, "_voice", lambda self, body: read(self, {**body, "visibility": "public"}))
    with pytest.raises(PermanentVoiceError, match="was not deleted"):
        task.run(UpdateVoiceOperator(task_id="u", voice=voice["id"], visibility="private"))
    assert [model["_id"] for model in emulator.models()] == [voice["id"]]


def test_a_voice_is_changed_and_still_known_as_ours(task: Task, emulator: EmulatorHandle, clip: Path) -> None:
    voice = task.run(clone(clip, tags=["a", "b"]))
    changed = task.run(
        UpdateVoiceOperator(task_id="u", voice=voice, title="Ann of the News", tags=[], visibility="unlist")
    )
    assert changed["name"].startswith("Ann of the News [vp:default:")
    assert (changed["visibility"], changed["tags"]) == ("unlist", [])
    task.store.clear()
    assert task.run(clone(clip, visibility="unlist"))["voice_id"] == voice["voice_id"]


# speech


@pytest.mark.parametrize(
    ("form", "rate"),
    [("mp3", None), ("mp3", 32000), ("wav", None), ("wav", 8000), ("pcm", None), ("pcm", 16000), ("opus", None)],
)
def test_every_format_is_kept_with_its_true_length(
    task: Task, speak: Callable[..., Any], form: str, rate: int | None
) -> None:
    result = task.run(speak(format=form, sample_rate=rate))
    kept = Path(result["uri"])
    assert result["format"] == form
    assert kept.suffix == f".{form}"
    assert result["seconds"] == pytest.approx(len(LINE) / 15, rel=0.1)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == result["sha256"]
    if form == "wav":
        with wave.open(str(kept)) as file:  # the service's placeholder would say 13 hours
            assert file.getnframes() / file.getframerate() == pytest.approx(result["seconds"])
            assert file.getframerate() == (rate or 44100)


def test_the_ending_of_the_output_chooses_the_format(task: Task, speak: Callable[..., Any], out: Path) -> None:
    assert task.run(speak(output=f"{out}/line.opus"))["format"] == "opus"
    task.store.clear()
    with pytest.raises(InvalidInputError, match=r"output ends in \.wav, but Fish Audio makes mp3 here"):
        task.run(speak(output=f"{out}/line.wav", format="mp3"))


def test_several_speakers_and_references_reach_the_service(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    voices = [item["id"] for item in emulator.seed_models(["One", "Two"])]
    script = "<|speaker:0|>Hello, is anybody there? <|speaker:1|>Yes, and I have been here all along."
    both = task.run(speak(text=script, voice_id=voices))
    assert both["voice_id"] == ", ".join(voices)
    task.store.clear()
    other = write_wav(tmp_path / "in" / "other.wav", seconds=13)
    spoken = [
        [{"audio": str(clip), "text": "a"}],
        [{"audio": str(other), "text": "b"}, {"audio": str(clip), "text": "c"}],
    ]
    instant = task.run(speak(text=script, voice_id=None, references=spoken))
    assert instant["sha256"] != both["sha256"]
    assert "voice_id" not in instant


def test_a_transcript_can_lie_in_storage(task: Task, speak: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    transcript = tmp_path / "in" / "clip.txt"
    transcript.write_text("What is said in the clip.")
    references = [{"audio": str(clip), "text_uri": str(transcript)}]
    result = task.run(speak(voice_id=None, references=references))
    assert result["bytes"] > 0


def test_the_same_references_are_the_same_order(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "in" / "copy.wav"
    copy.write_bytes(clip.read_bytes())
    for path in (clip, copy):
        task.run(speak(voice_id=None, references=[{"audio": str(path), "text": "x"}]))
    assert len(emulator.ledger("speech")) == 1
    task.run(speak(voice_id=None, references=[{"audio": str(clip), "text": "y"}]))
    assert len(emulator.ledger("speech")) == 2, "another transcript sounds otherwise"


# the paid answer


def test_speech_far_too_short_for_its_text_is_put_aside(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], out: Path
) -> None:
    emulator.settings(fish_truncate_speech=0.2)
    with pytest.raises(UnusableSpeechError, match=r"but its text takes at least .* put aside as .*unusable\.mp3"):
        task.run(speak())
    [name] = files(out)
    assert name.endswith(".unusable.mp3")
    with pytest.raises(OutcomeUnknownError):
        task.run(speak())  # a retry does not buy it again
    assert len(emulator.ledger("speech")) == 1
    emulator.settings(fish_truncate_speech=None)
    task.clear()  # a person does
    assert task.run(speak())["seconds"] > 10
    assert len(emulator.ledger("speech")) == 2


def test_speech_far_too_short_is_bought_again_where_the_author_says_so(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], out: Path
) -> None:
    emulator.settings(fish_truncate_speech=0.2)
    with pytest.raises(UnusableSpeechError):
        task.run(speak(on_unknown_outcome="resubmit"))
    assert len(emulator.ledger("speech")) == 2, "once more, and not for ever"
    names = files(out)
    assert len(names) == 2, "what came is put aside, each order's under a name of its own"
    assert all(name.endswith(".unusable.mp3") for name in names)


@pytest.mark.parametrize("fault", ["truncate", "empty", "drop_after"])
def test_a_bad_answer_is_asked_for_again_where_that_is_free(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], out: Path, fault: str
) -> None:
    emulator.fault(fault, path="/v1/tts", method="POST", times=1)
    result = task.run(speak(model="s2.1-pro-free"))
    assert files(out) == [Path(result["uri"]).name]
    assert sum(row["usd"] for row in emulator.ledger("speech")) == 0


@pytest.mark.parametrize("output", ["folder", "file"])
def test_a_try_that_is_killed_before_the_file_is_in_its_place_is_not_paid_again(
    task: Task,
    emulator: EmulatorHandle,
    speak: Callable[..., Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
) -> None:
    operator = speak(output=f"{out}/" if output == "folder" else f"{out}/line.mp3")

    class Killed(BaseException):
        pass

    def die(self: Download, *_: Any) -> None:
        self.owns = lambda part: False  # type: ignore[method-assign]  # a killed process cleans nothing up
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Download, "publish", die)
        with pytest.raises(Killed):
            task.run(operator)
    assert [name[0] for name in files(out)] == [".", "."]  # what was received, and its receipt
    result = task.run(operator)
    assert files(out) == [Path(result["uri"]).name]
    assert hashlib.sha256(Path(result["uri"]).read_bytes()).hexdigest() == result["sha256"]
    assert len(emulator.ledger("speech")) == 1


@pytest.mark.parametrize("at", [(Download, "publish"), (Notes, "keep")], ids=["publish", "keep"])
def test_what_was_received_is_found_by_the_record_or_by_the_receipt(
    at: tuple[Any, str],
    task: Task,
    emulator: EmulatorHandle,
    speak: Callable[..., Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A try is killed before it publishes, and another output is asked for; or before it has written the record."""

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*at, die)
        with pytest.raises(Killed):
            task.run(speak())
    output = f"{out}/other/" if at[1] == "publish" else f"{out}/"
    result = task.run(speak(output=output))
    assert (result["outcome"], task.record["held"]) == ("recovered", [])
    assert hashlib.sha256(Path(result["uri"]).read_bytes()).hexdigest() == result["sha256"]
    assert len(emulator.ledger("speech")) == 1
    assert not [path for path in out.rglob(".*") if path.is_file()]


def test_what_went_to_the_spool_is_found_although_the_connection_names_another(
    task: Task,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    speak: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("not now")

    monkeypatch.setattr(transfer, "PAUSE", tenacity.wait_none())
    set_connection(service="fish_audio", spool_location=f"{tmp_path}/spool")
    with monkeypatch.context() as patch:
        patch.setattr(Download, "_move", refuse)
        with pytest.raises(NotPublishedError, match="/spool/"):
            task.run(speak(timeout=0))
    set_connection(service="fish_audio")
    assert task.run(speak())["outcome"] == "recovered"
    assert len(emulator.ledger("speech")) == 1
    assert [path for path in (tmp_path / "spool").rglob("*") if path.is_file()] == []


def test_every_namespace_and_task_has_a_spool_of_its_own(
    task: Task, set_connection: Callable[..., None], speak: Callable[..., Any], tmp_path: Path
) -> None:
    spools = set()
    for namespace in ("one", "two"):
        set_connection(service="fish_audio", spool_location=f"{tmp_path}/spool", namespace=namespace)
        for task.ti.map_index in (-1, 0):
            spools.add(speak()._spool_of(task.context))
    assert len(spools) == 4


def test_speech_whose_answer_was_lost_is_not_ordered_again_unasked(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]
) -> None:
    emulator.fault("drop_after", path="/v1/tts")
    for _ in range(3):
        with pytest.raises(OutcomeUnknownError, match="may be billed"):
            task.run(speak())
        task.clear()
    assert len(emulator.ledger("speech")) == 1


def test_speech_that_was_refused_is_ordered_anew(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]
) -> None:
    emulator.fault("status", path="/v1/tts", status=402)
    with pytest.raises(PermanentVoiceError):
        task.run(speak())
    result = task.run(speak())
    assert (result.get("outcome"), task.record["held"]) == (None, [])
    assert len(emulator.ledger("speech")) == 1


def test_a_try_that_is_killed_while_it_speaks_leaves_the_outcome_unknown(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(self: Download, data: bytes) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Download, "write", die)
        with pytest.raises(Killed):
            task.run(speak())
    with pytest.raises(OutcomeUnknownError, match="an earlier try ended before the answer came"):
        task.run(speak())
    assert len(emulator.ledger("speech")) == 1
    assert files(out) == []
    assert task.run(speak(on_unknown_outcome="resubmit"))["bytes"] > 0
    assert len(emulator.ledger("speech")) == 2


def test_a_full_disk_is_found_out_before_anything_is_paid(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageError, match=r"no room for [\d,]+ bytes.*nothing was paid"):
            task.run(speak())
    assert (emulator.ledger("speech"), files(out)) == ([], [])
    assert task.run(speak())["bytes"] > 0


def test_the_room_that_is_taken_suffices(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _, __, size: taken.append(size))
    results = [task.run(speak(text=LINE * 3, format=form)) for form in ("mp3", "wav")]
    assert len(taken) == len(results)
    for size, result in zip(taken, results, strict=True):
        assert 256 * 1024 < result["bytes"] <= size


def test_a_full_disk_is_no_reason_to_pay_in_silence(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Download.write

    def full(self: Download, data: bytes) -> None:
        if self.position > 8000:
            raise StorageError("The result cannot be written to this worker's disk: No space left on device.")
        write(self, data)

    monkeypatch.setattr(Download, "write", full)
    with pytest.raises(UnusableSpeechError, match=r"stopped after [\d,]+ bytes.*No space left.*may be billed"):
        task.run(speak())
    with pytest.raises(OutcomeUnknownError):
        task.run(speak())
    assert len(emulator.ledger("speech")) == 1
    assert files(out) == []


def test_deferrable_speech_is_kept_by_the_worker(task: Task, speak: Callable[..., Any]) -> None:
    assert task.run(speak(deferrable=True, wait_for_completion=False))["uri"]


def test_the_script_is_not_in_the_log(
    task: Task, speak: Callable[..., Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    task.run(speak(text="A most confidential sentence, which nobody may read."))
    told = capfd.readouterr()
    assert "confidential" not in told.out + told.err + caplog.text


# object stores


def objects(s3: Any) -> list[str]:
    s3.invalidate_cache()
    return without_records(s3.find("studio"))


@pytest.mark.parametrize("form", ["mp3", "wav"])
def test_speech_is_kept_in_an_object_store(task: Task, speak: Callable[..., Any], s3: Any, form: str) -> None:
    result = task.run(speak(output=f"s3://studio/night/line.{form}"))
    assert objects(s3) == [f"studio/night/line.{form}"]
    assert hashlib.sha256(s3.cat("studio/night/line." + form)).hexdigest() == result["sha256"]
    assert task.run(speak(output=f"s3://studio/night/line.{form}")) == result


def test_an_upload_that_fails_publishes_nothing_and_is_not_paid_again(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs.core import S3File

    call, failing = S3File._call_s3, [True]

    def broken(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if failing and name in ("put_object", "upload_part", "complete_multipart_upload"):
            raise OSError("the store is away")
        return call(self, name, *args, **kwargs)

    monkeypatch.setattr(S3File, "_call_s3", broken)
    for _ in range(2):
        with pytest.raises(NotPublishedError, match=r"the store is away.*the next try looks there first and pays noth"):
            task.run(speak(output="s3://studio/night/", timeout=1))
        assert objects(s3) == []
    failing.clear()
    result = task.run(speak(output="s3://studio/night/"))
    assert (result["outcome"], len(emulator.ledger("speech"))) == ("recovered", 1)
    assert objects(s3) == [result["uri"].removeprefix("s3://")]


def test_a_store_that_is_away_for_a_moment_is_not_noticed(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs.core import S3File

    call, failing = S3File._call_s3, [True, True]

    def broken(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if failing and name == "put_object":
            raise OSError(f"the store is away {failing.pop()}")
        return call(self, name, *args, **kwargs)

    monkeypatch.setattr(S3File, "_call_s3", broken)
    assert task.run(speak(output="s3://studio/night/"))["bytes"] > 0
    assert len(objects(s3)) == len(emulator.ledger("speech")) == 1


def test_samples_and_references_are_streamed_from_an_object_store(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], s3: Any, clip: Path
) -> None:
    s3.pipe("studio/in/clip.wav", clip.read_bytes())
    assert task.run(clone(clip, samples=["s3://studio/in/clip.wav"]))["state"] == "trained"
    task.store.clear()
    references = [{"audio": "s3://studio/in/clip.wav", "text": "x"}]
    assert task.run(speak(voice_id=None, references=references))["bytes"] > 0
