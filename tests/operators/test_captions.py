"""Captions beside speech: where the words are, kept with the audio, paid with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import webvtt

from voice_provider.emulator import API_KEY
from voice_provider.exceptions import CapabilityError, InvalidInputError
from voice_provider.files import beside
from voice_provider.hooks.voice import VoiceHook
from voice_provider.models import Capability, Segment, Transcript
from voice_provider.operators.speech import TTSOperator
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.events import Events
from voice_provider.trust import provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

LINE = (
    "Good evening, and welcome. [laugh] Every morning the old ferry carries eleven bicycles, two goats and a box of "
    "fresh bread across the wide river. Why would anyone choose to walk?"
)


@pytest.fixture
def speak(emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path) -> Callable[..., TTSOperator]:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"])
    output = f"{tmp_path}/out/talk.wav"

    def make(**changes: Any) -> TTSOperator:
        return TTSOperator(task_id="t", **({"text": LINE, "voice_id": voice["id"], "output": output} | changes))

    return make


def heard(emulator: EmulatorHandle, audio: Path) -> list[dict[str, Any]]:
    """Where the emulator's engine put the words of speech that it made."""
    answer = httpx.post(
        f"{emulator.url}/v1/asr",
        headers={"authorization": f"Bearer {API_KEY}", "model": "transcribe-1-pro"},
        files={"audio": audio.read_bytes()},
        data={"ignore_timestamps": "false"},
    )
    return answer.json()["segments"]


def check_times(captions: Path, words: list[dict[str, Any]]) -> None:
    """Each cue begins and ends with its words, within 80 ms."""
    rest = list(words)
    for cue in webvtt.from_srt(captions) if captions.suffix == ".srt" else webvtt.read(captions):
        own = [rest.pop(0) for _ in cue.text.split()]
        assert [word["text"] for word in own] == cue.text.split()
        for shown, true in ((cue.start, own[0]["start"]), (cue.end, own[-1]["end"])):
            hours, minutes, seconds = shown.split(":")
            assert abs(int(hours) * 3600 + int(minutes) * 60 + float(seconds) - true) < 0.08
    assert rest == []


def test_captions_come_with_the_speech_and_are_where_the_words_are(
    task: Task, speak: Callable[..., TTSOperator], emulator: EmulatorHandle
) -> None:
    result = task.run(speak(captions="srt"))
    captions = Path(result["captions"]["uri"])
    assert captions == Path(result["uri"]).with_suffix(".srt")
    data = captions.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (result["captions"]["sha256"], result["captions"]["bytes"])
    assert [row["kind"] for row in emulator.ledger()] == ["speech"], "nothing else is paid"
    record, problem = provenance.verify(result["uri"])
    assert problem is None
    assert record is not None
    assert record.captions is not None
    assert (record.captions.name, record.captions.sha256) == ("talk.srt", result["captions"]["sha256"])
    check_times(captions, heard(emulator, Path(result["uri"])))
    assert task.run(speak(captions="srt")) == result, "what is there is used"


def test_captions_that_are_wanted_later_are_heard_in_what_is_kept(
    task: Task, speak: Callable[..., TTSOperator], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    """After a kill, say: the speech is not paid again, and its transcription once."""
    bare = task.run(speak(output=f"{tmp_path}/out/"))
    assert "captions" not in bare
    result = task.run(speak(output=f"{tmp_path}/out/", captions="vtt"))
    assert (result["uri"], result["sha256"]) == (bare["uri"], bare["sha256"])
    assert [row["kind"] for row in emulator.ledger()] == ["speech", "asr"]
    check_times(Path(result["captions"]["uri"]), heard(emulator, Path(result["uri"])))
    emulator_rows = len(emulator.ledger())
    moved = task.run(speak(output=f"{tmp_path}/elsewhere/", captions="vtt"))
    assert moved["captions"]["sha256"] == result["captions"]["sha256"]
    assert Path(moved["captions"]["uri"]).parent == tmp_path / "elsewhere"
    assert "captions" not in task.run(speak(output=f"{tmp_path}/elsewhere/"))
    assert len(emulator.ledger()) == emulator_rows, "they are copied"


def test_a_place_that_refuses_the_captions_does_not_hold_the_speech_back(
    task: Task, speak: Callable[..., TTSOperator], emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = beside.put, []

    def put(place: str, *args: Any, **options: Any) -> None:
        if not refused:
            refused.append(place)
            raise PermissionError("no")
        real(place, *args, **options)

    monkeypatch.setattr(beside, "put", put)
    result = task.run(speak(captions="srt"))
    assert refused == [result["captions"]["uri"]]
    assert [row["kind"] for row in emulator.ledger()] == ["speech", "asr"]


def test_a_service_that_does_not_tell_the_words_is_asked_to_hear_them(
    task: Task, speak: Callable[..., TTSOperator], emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FishAudio, "times_speech", False)
    result = task.run(speak(captions="srt"))
    assert [row["kind"] for row in emulator.ledger()] == ["speech", "asr"]
    check_times(Path(result["captions"]["uri"]), heard(emulator, Path(result["uri"])))


def test_captions_that_cannot_be_had_are_told_before_anything_is_paid(
    task: Task, speak: Callable[..., TTSOperator], emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match=r"captions is 'txt'; use 'srt' or 'vtt'\."):
        task.run(speak(captions="txt"))
    monkeypatch.setattr(FishAudio, "times_speech", False)
    monkeypatch.setattr(FishAudio, "capabilities", FishAudio.capabilities - {Capability.TRANSCRIPTION})
    with pytest.raises(CapabilityError, match="transcription"):
        task.run(speak(captions="srt"))
    assert emulator.ledger() == []
    assert VoiceHook.for_connection("voice_default").check_captions(None) is None


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -1e300])
def test_odd_times_of_words_do_not_lose_the_speech(
    task: Task,
    speak: Callable[..., TTSOperator],
    emulator: EmulatorHandle,
    monkeypatch: pytest.MonkeyPatch,
    odd: float,
) -> None:
    said = Transcript(service="x", text="Good", words=(Segment(text="Good", start=odd, end=odd),))
    monkeypatch.setattr(Events, "end", lambda *_: said)
    result = task.run(speak(captions="srt"))
    assert Path(result["captions"]["uri"]).exists()
    assert len(emulator.ledger("speech")) == 1
