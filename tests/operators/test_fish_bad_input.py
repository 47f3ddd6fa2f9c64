"""Bad input at Fish Audio: a typed error with the next step, nothing paid twice, nothing half-written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import write_mp4, write_wav
from voice_provider.exceptions import (
    AuthError,
    CapabilityError,
    InvalidInputError,
    JobFailedError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentVoiceError,
    QuotaError,
    RateLimitedError,
    ServiceUnavailableError,
    VoiceNotReadyError,
)
from voice_provider.models import Manifest
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import DeleteVoiceOperator, UpdateVoiceOperator
from voice_provider.sensors.job import TTSCompleteSensor, VoiceTrainedSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

LINE = "Good evening, and welcome to the news of this hour."
UNKNOWN = "0" * 32


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
    """Speech in a voice of the library, unless it is told otherwise."""

    def make(**changes: Any) -> TTSOperator:
        values: dict[str, Any] = {"text": LINE, "voice_id": None, "output": f"{out}/"} | changes
        if values["voice_id"] is None and "references" not in changes:
            [voice] = emulator.seed_models(["Anybody"])
            values["voice_id"] = voice["id"]
        return TTSOperator(task_id="t", **values)

    return make


@pytest.fixture
def nothing_happens(emulator: EmulatorHandle, out: Path) -> Any:
    """Nothing is billed, and nothing is left in the folder of results."""
    yield
    assert emulator.ledger("speech") == []
    assert list(out.iterdir()) == []


def clone(**values: Any) -> CloneVoiceOperator:
    return CloneVoiceOperator(task_id="t", name="Ann", **values)


# samples


def test_a_short_clip_is_a_warning_and_no_refusal(
    task: Task, emulator: EmulatorHandle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = write_wav(tmp_path / "short.wav", seconds=4)
    with caplog.at_level(logging.WARNING):
        result = task.run(clone(sample=str(short)))
    assert result["state"] == "trained"
    assert len(emulator.models()) == 1


def test_twenty_one_clips_are_too_many(task: Task, emulator: EmulatorHandle, clip: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"21 samples; Fish Audio takes 1 to 20\. Nothing was sent"):
        task.run(clone(samples=[str(clip)] * 21))
    assert emulator.requests("/model") == []


@pytest.mark.parametrize("texts", [["one"], ["one", "two", "three"]])
def test_transcripts_have_to_match_the_samples(
    task: Task, emulator: EmulatorHandle, clip: Path, texts: list[str]
) -> None:
    with pytest.raises(InvalidInputError, match=rf"{len(texts)} transcripts for 2 samples: give one for each"):
        task.run(clone(samples=[str(clip), str(clip)], texts=texts))
    assert emulator.requests("/model") == []


def test_a_text_that_is_called_wav(task: Task, emulator: EmulatorHandle, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("These are only notes, whatever their name says.")
    with pytest.raises(InvalidInputError, match=r"notes\.wav is no audio, video or image, whatever its name says"):
        task.run(clone(sample=str(path)))
    assert emulator.requests("/model") == []


def test_a_video_without_sound_is_no_sample(task: Task, emulator: EmulatorHandle, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "talk.mp4")
    with pytest.raises(
        InvalidInputError, match=r"sample= has no sound \(video/mp4\): .*talk\.mp4\. Give audio, or video"
    ):
        task.run(clone(sample=str(video)))
    assert emulator.requests("/model") == []


@pytest.mark.parametrize("sample", ["https://example.org/a.wav", "11111111-2222-4333-8444-555555555555"])
def test_what_fish_audio_cannot_reach(task: Task, emulator: EmulatorHandle, sample: str) -> None:
    with pytest.raises(InvalidInputError, match="storage location"):
        task.run(clone(sample=sample))
    assert emulator.requests("/model") == []


def test_sample_and_samples_are_one_too_many(task: Task, clip: Path) -> None:
    with pytest.raises(InvalidInputError, match="exactly one of sample and samples"):
        task.run(clone(sample=str(clip), samples=[str(clip)]))
    with pytest.raises(InvalidInputError, match="exactly one of sample and samples"):
        task.run(clone())


def test_a_training_that_fails_leaves_no_voice(task: Task, emulator: EmulatorHandle, clip: Path) -> None:
    emulator.settings(fish_training_fails=True)
    with pytest.raises(JobFailedError, match="ended as failed"):
        task.run(clone(sample=str(clip)))
    assert emulator.models() == []


# speech


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, "script is empty"),
        ({"text": " \n"}, "script is empty"),
        ({"format": "flac"}, "format: "),
        ({"format": "opus", "sample_rate": 44100}, r"opus is not made at 44100 Hz\. It can be 48000 Hz; .*wav"),
        ({"format": "mp3", "sample_rate": 22050}, r"mp3 is not made at 22050 Hz"),
        ({"format": "wav", "sample_rate": "48000"}, r"wav is not made at 48000 Hz.*exists as opus"),
        ({"speed": 3}, "speed: .*less than or equal to 2"),
        ({"speed": "fast"}, "speed: .*valid number"),
        ({"volume": 21}, "volume: "),
        ({"options": {"opus_bitrate": 32}, "format": "opus"}, "It is in bps: 32000"),
        ({"options": {"mp3_bitrate": 128000}}, "It is in kbps: 128"),
        ({"options": {"mp3_bitrate": 128}, "format": "wav"}, "mp3_bitrate is for format mp3; this is wav"),
        ({"options": {"temperature": 2}}, "temperature: "),
        ({"options": {"chunk_length": 99}}, "chunk_length: "),
        ({"options": {"reference_id": "x"}}, "reference_id is no option of Fish Audio"),
        ({"stability": 0.5}, "stability is no option of Fish Audio; it has text, voice_id"),
        ({"text": "<|speaker:0|>Hello <|speaker:1|>there."}, r"names speaker 1, but there are 1 \(counted from 0\)"),
        ({"voice_id": "../wallet/self"}, "no id of a Fish Audio voice"),
        ({"voice_id": []}, "no voices"),
        ({"voice_id": ["a", "b"], "model": "s1"}, "Model s1 has one speaker"),
    ],
)
def test_speech_that_cannot_be_ordered(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        task.run(speak(**changes))
    assert emulator.requests("/v1/tts") == []


@pytest.mark.usefixtures("nothing_happens")
def test_references_that_cannot_be_used(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], tmp_path: Path, clip: Path
) -> None:
    long = write_wav(tmp_path / "in" / "long.wav", seconds=271, rate=1000)
    for references, message in (
        ([{"audio": str(long), "text": "x"}], r"references are 271 s long; at most 270 s .*CloneVoiceOperator"),
        ([{"audio": str(clip)}], r"references.*text"),
        ([{"audio": "https://example.org/a.wav", "text": "x"}], "from a storage location, not from an address"),
        ([{"audio": str(tmp_path / "gone.wav"), "text": "x"}], r"gone\.wav cannot be read: it does not exist"),
        ([str(clip)], "references"),
    ):
        task.store.clear()
        with pytest.raises(InvalidInputError, match=message):
            task.run(speak(references=references))
    with pytest.raises(InvalidInputError, match="voice_id or references, not both"):
        task.run(speak(references=[{"audio": str(clip), "text": "x"}], voice_id=UNKNOWN))
    assert emulator.requests("/v1/tts") == []


@pytest.mark.usefixtures("nothing_happens")
def test_an_unknown_and_a_foreign_voice(task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]) -> None:
    [foreign] = emulator.seed_models(["Somebody else's"], org="another", visibility="private")
    for voice_id in (UNKNOWN, foreign["id"]):
        task.store.clear()
        with pytest.raises(NotFoundError, match=r"Check the voice_id: .*deleted, or be private to another account"):
            task.run(speak(voice_id=voice_id))


@pytest.mark.usefixtures("nothing_happens")
def test_a_voice_in_training_and_one_that_failed(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], clip: Path
) -> None:
    emulator.settings(fish_training_seconds=3600)
    voice = task.run(clone(sample=str(clip), wait_for_completion=False))
    assert voice["state"] == "created"
    task.store.clear()
    with pytest.raises(VoiceNotReadyError, match=r"still 'created'.*nothing was paid.*VoiceTrainedSensor"):
        task.run(speak(voice_id=voice))
    [failed] = emulator.seed_models(["Broken"], state="failed")
    task.store.clear()
    with pytest.raises(InvalidInputError, match=r"training of voice .* has failed"):
        task.run(speak(voice_id=failed["id"]))
    with pytest.raises(JobFailedError, match="ended as failed"):
        task.run(VoiceTrainedSensor(task_id="s", voice=failed["id"]))


# answers


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_wrong_key_in_both_forms(
    task: Task,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    speak: Callable[..., Any],
    hook: VoiceHook,
    clip: Path,
    form: str,
) -> None:
    operator = speak()
    emulator.settings(fish_platform_401=form)
    set_connection(service="fish_audio", password="the-key-of-nobody")
    for work in (operator, clone(sample=str(clip)), DeleteVoiceOperator(task_id="t", voice=UNKNOWN)):
        task.store.clear()
        with pytest.raises(AuthError, match=r"401: (Invalid Token|No permission).* Check the API key") as error:
            task.run(work)
        assert "the-key-of-nobody" not in str(error.value)
    worked, told = operator.hook.test_connection()
    assert not worked
    assert "Check the API key" in told


@pytest.mark.usefixtures("nothing_happens")
def test_an_empty_wallet_is_told_from_a_bad_key(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], hook: VoiceHook
) -> None:
    operator = speak()
    emulator.settings(fish_credit_usd=0)
    with pytest.raises(QuotaError, match=r"402.*Add API credit at https://fish.audio/app/developers.*s2.1-pro-free"):
        task.run(operator)
    worked, told = operator.hook.test_connection()
    assert worked
    assert told == (
        "Connected to Fish Audio, but the API credit is $0.00: model 's2.1-pro', its speech will be refused until "
        "credit is added."
    )


def test_speech_that_is_free_needs_no_wallet(
    task: Task, emulator: EmulatorHandle, set_connection: Callable[..., None], speak: Callable[..., Any]
) -> None:
    emulator.settings(fish_credit_usd=0)
    set_connection(service="fish_audio", speech_model="s2.1-pro-free")
    result = task.run(speak())
    assert result["model"] == "s2.1-pro-free"
    assert [row["usd"] for row in emulator.ledger("speech")] in ([0.0], [])


def test_a_list_of_problems_is_read(emulator: EmulatorHandle, hook: VoiceHook) -> None:
    from voice_provider.services.base import Request

    def ask() -> Any:
        return (yield Request(method="GET", url="/model", params={"page_size": "101", "sort_by": "beauty"}))

    with pytest.raises(InvalidInputError, match=r"422: .*page_size: Input should be less than or equal to 100"):
        hook.run(ask())


def test_too_many_requests_at_once_are_waited_for(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]
) -> None:
    emulator.fault("status", path="/v1/tts", method="POST", status=429, times=2)
    assert task.run(speak())["bytes"] > 0
    assert len(emulator.ledger("speech")) == 1


@pytest.mark.usefixtures("nothing_happens")
def test_a_limit_that_stays_is_told_with_its_number(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]
) -> None:
    operator = speak(timeout=0.5, poll_interval=0.1)
    emulator.settings(fish_concurrency=0)
    with pytest.raises(RateLimitedError, match=r"429.*concurrency limit.*Airflow pool"):
        task.run(operator)
    assert "posted_at" not in task.record, "nothing was accepted, so a retry orders afresh"


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("status", [500, 503])
def test_an_overloaded_service_has_not_begun(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], status: int
) -> None:
    operator = speak()
    emulator.fault("status", path="/v1/tts", method="POST", status=status, times=99)
    with pytest.raises(ServiceUnavailableError, match=f"answered {status}: "):
        task.run(operator)
    assert len(emulator.requests("/v1/tts")) == 1, "the task's own retry orders it again, not this one"
    emulator.call("DELETE", "faults")
    result = task.run(operator)  # the retry
    assert result["bytes"] > 0
    emulator.reset()
    for path in Path(result["uri"]).parent.iterdir():  # the speech and its record
        path.unlink()


@pytest.mark.parametrize("status", [401, 402, 404, 429, 500, 503])
def test_a_page_in_front_of_it_does_not_say_that_nothing_was_begun(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], status: int
) -> None:
    operator = speak()
    emulator.fault("edge_after", path="/v1/tts", method="POST", status=status, times=None)
    for _ in range(2):
        with pytest.raises(OutcomeUnknownError, match="may be billed"):
            task.run(operator)
    assert len(emulator.ledger("speech")) == 1


# what Fish Audio lacks


def test_lip_sync_is_refused_with_what_to_use_instead(
    task: Task, emulator: EmulatorHandle, video: Path, clip: Path, out: Path
) -> None:
    operator = LipSyncOperator(task_id="t", video=str(video), audio=str(clip), output=f"{out}/x.mp4")
    with pytest.raises(CapabilityError, match=r"Fish Audio cannot do this .lip sync.. Use a sync_labs connection"):
        task.run(operator)
    assert emulator.requests() == []


def test_a_job_of_speech_cannot_be_asked_after(task: Task, out: Path) -> None:
    with pytest.raises(CapabilityError, match="nothing is asked after"):
        task.run(TTSCompleteSensor(task_id="s", job="some-id", output=f"{out}/"))


def test_a_manifest_passes_the_sensor_at_once(task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]) -> None:
    manifest = task.run(speak(wait_for_completion=False, deferrable=True))
    assert Manifest.model_validate(manifest).uri
    before = len(emulator.requests())
    assert task.run(TTSCompleteSensor(task_id="s", job=manifest)) == manifest
    assert len(emulator.requests()) == before


# changing voices


def test_what_cannot_be_changed(task: Task, emulator: EmulatorHandle, clip: Path) -> None:
    voice = task.run(clone(sample=str(clip)))
    for changes, message in (
        ({}, "Nothing to change: give title"),
        ({"visibility": "everybody"}, "visibility: "),
        ({"cover_image": str(clip)}, "cover_image is no picture"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            task.run(UpdateVoiceOperator(task_id="u", voice=voice, **changes))
    [foreign] = emulator.seed_models(["Somebody else's"], org="another", visibility="public")
    with pytest.raises(PermanentVoiceError):
        task.run(UpdateVoiceOperator(task_id="u", voice=foreign["id"], title="Mine"))
    assert [request for request in emulator.requests() if request["method"] == "PATCH"][:-1] == []
