"""Transcripts of sync. labs: what is asked for, and every answer that its documentation allows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.flows import answer, drive
from voice_provider.exceptions import InvalidInputError, ServiceUnavailableError
from voice_provider.models import Asset, JobState
from voice_provider.services.options import parse
from voice_provider.services.sync_labs.dialect import SyncLabs

SERVICE = SyncLabs({})
URL = "https://assets.sync.so/uploads/1/talk.mp3"
PENDING = {"id": "T", "status": "PENDING", "sourceStartMs": 0, "createdAt": "2026-11-27T08:00:00Z"}


def word(text: str, start: Any, end: Any, speaker: str | None = None) -> dict[str, Any]:
    return {"text": text, "startMs": start, "endMs": end, "speakerId": speaker}


SEGMENTS = [
    {
        "id": "1",
        "words": [word("Good", 500, 700, "A"), word("morning.", 710, 1250, "A"), word("Yes?", 1300, 1500, "B")],
    },
    {"id": "2", "words": [word("Well", 2000, 2200, "B")]},
]


def finished(**more: Any) -> dict[str, Any]:
    return PENDING | {"status": "COMPLETED", "transcript": {"segments": SEGMENTS}, "speakerCount": 2} | more


def read(body: Any) -> Any:
    return drive(SERVICE.get_transcript("T"), answer(body))[0]


@pytest.mark.parametrize(
    ("kind", "field"), [("VIDEO", "sourceVideoUrl"), ("AUDIO", "sourceAudioUrl"), ("", "sourceAudioUrl")]
)
def test_a_hosted_recording_is_named_as_what_it_is(kind: str, field: str) -> None:
    recording = Asset(service="sync_labs", id="A", type=kind, url=URL)
    job, [request] = drive(SERVICE.start_transcription(recording), answer(PENDING, status=201))
    assert (request.method, request.url, request.json) == ("POST", "/v2/transcriptions", {field: URL})
    assert request.may_repeat, "the same recording is answered with the same job, and costs nothing"
    assert (job.kind, job.id, job.state) == ("transcription", "T", JobState.PENDING)


def test_a_recording_without_an_address_is_not_ordered() -> None:
    with pytest.raises(ServiceUnavailableError, match="no address of asset A"):
        drive(SERVICE.start_transcription(Asset(service="sync_labs", id="A")))


def test_a_transcript_has_words_phrases_and_turns_in_seconds() -> None:
    heard = read(finished(sourceEndMs=2500))
    assert (heard.service, heard.text, heard.seconds) == ("sync_labs", "Good morning. Yes? Well", 2.5)
    assert [(part.text, part.start, part.end, part.speaker) for part in heard.words] == [
        ("Good", 0.5, 0.7, "A"), ("morning.", 0.71, 1.25, "A"), ("Yes?", 1.3, 1.5, "B"), ("Well", 2.0, 2.2, "B"),
    ]  # fmt: skip
    assert [(part.text, part.start, part.end, part.speaker) for part in heard.segments] == [
        ("Good morning. Yes?", 0.5, 1.5, None), ("Well", 2.0, 2.2, "B"),
    ]  # fmt: skip
    assert [(part.text, part.start, part.end, part.speaker) for part in heard.turns] == [
        ("Good morning.", 0.5, 1.25, "A"), ("Yes? Well", 1.3, 2.2, "B"),
    ]  # fmt: skip


def test_without_known_speakers_there_are_no_turns_and_silence_is_a_transcript_too() -> None:
    alone = read(finished(transcript={"segments": [{"words": [word("Hm.", 0, 90)]}]}))
    assert (alone.text, alone.turns, alone.seconds) == ("Hm.", (), None)
    silent = read(finished(transcript={"segments": []}))
    assert (silent.text, silent.words, silent.segments) == ("", (), ())


@pytest.mark.parametrize("odd", [None, "soon", {}, []])
def test_a_word_without_a_place_is_in_the_text_only(odd: Any) -> None:
    heard = read(finished(transcript={"segments": [{"words": [word("Oh", odd, 90), word("no.", 90, 300)]}, odd]}))
    assert heard.text == "Oh no."
    assert [part.text for part in heard.words] == [part.text for part in heard.segments] == ["no."]


@pytest.mark.parametrize("transcript", [None, [], "Hello.", {}, {"segments": None}])
def test_a_job_that_ended_without_a_transcript_is_no_silence(transcript: Any) -> None:
    with pytest.raises(ServiceUnavailableError, match="holds no transcript"):
        read(finished(transcript=transcript))


def test_a_failed_job_says_why() -> None:
    body = PENDING | {"status": "FAILED", "error": {"code": "NO_AUDIO_TRACK"}}
    job, [request] = drive(SERVICE.get_job("transcription", "T", wait=10), answer(body))
    assert (request.url, dict(request.params)) == ("/v2/transcriptions/T", {})
    assert (job.state, job.error, job.error_code) == (JobState.FAILED, "NO_AUDIO_TRACK", "NO_AUDIO_TRACK")


def test_an_id_that_is_none_asks_for_nothing() -> None:
    for flow in (SERVICE.get_transcript("../voices"), SERVICE.get_job("transcription", "a/b")):
        with pytest.raises(InvalidInputError, match="is not an id of"):
            drive(flow)


@pytest.mark.parametrize("option", ["language", "model", "diarize", "num_speakers", "tag_audio_events"])
def test_an_option_that_it_does_not_have_is_refused_by_name(option: str) -> None:
    with pytest.raises(
        InvalidInputError, match=rf"{option} is no option of sync\. labs; it has segments\. Nothing was"
    ):
        parse(SERVICE.transcription_options, {"segments": True, option: "x"}, SERVICE.label)
