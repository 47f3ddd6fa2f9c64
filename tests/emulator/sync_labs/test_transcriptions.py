"""Transcripts of stored recordings (documentation of the transcriptions API)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.customer import Customer, web

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

LINE = "One two three. Four five."
UNKNOWN = "6533643b-aceb-4c40-967e-d9ba9baac39e"


@pytest.fixture
def spoken(customer: Customer) -> str:
    """A stored recording of the line, in a voice of the engine."""
    speech = customer.post("/v2/tts", json={"voiceId": customer.builtin(), "script": LINE}).json()
    return customer.upload(web.get(speech["url"]).content, "line.mp3", "audio/mpeg")


def order(customer: Customer, **body: Any) -> dict[str, Any]:
    answer = customer.post("/v2/transcriptions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def words(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [word for segment in job["transcript"]["segments"] for word in segment["words"]]


def test_what_the_engine_spoke_is_written_down_word_by_word(customer, spoken, voice_emulator) -> None:
    billed = voice_emulator.ledger()
    voice_emulator.settings(job_seconds=60)
    asked = order(customer, sourceAudioUrl=spoken)
    assert (asked["status"], asked["transcript"], asked["error"]) == ("PENDING", None, None)
    voice_emulator.advance(61)
    done = customer.job(f"/v2/transcriptions/{asked['id']}")
    assert (done["status"], done["speakerCount"], done["sourceVideoUrl"]) == ("COMPLETED", 1, None)
    assert len(done["transcript"]["segments"]) == 2  # sentences
    assert [word["text"] for word in words(done)] == LINE.split()
    place = 0
    for word in words(done):  # the tone engine says 15 characters a second
        assert word["startMs"] == pytest.approx(place / 15 * 1000, abs=80)
        place += len(word["text"]) + 1
        assert word["endMs"] == pytest.approx(place / 15 * 1000, abs=80)
    assert voice_emulator.ledger() == billed, "transcripts cost nothing"


def test_the_same_recording_and_window_is_the_same_job(customer, spoken) -> None:
    first = order(customer, sourceAudioUrl=spoken)["id"]
    assert order(customer, sourceAudioUrl=spoken)["id"] == first
    part = order(customer, sourceAudioUrl=spoken, sourceStartMs=1000, sourceEndMs=1200)
    assert part["id"] != first
    done = customer.job(f"/v2/transcriptions/{part['id']}")
    assert [word["text"] for word in words(done)] == ["Four"], "places are those in the whole recording"
    assert words(done)[0]["startMs"] == pytest.approx(1000, abs=20)


def test_a_lip_synced_video_says_what_was_spoken_for_it(customer, video) -> None:
    text = {"type": "text", "provider": {"voiceId": customer.builtin(), "script": LINE}}
    inputs = [{"type": "video", "url": customer.upload(video, "v.mp4", "video/mp4")}, text]
    made = customer.post("/v2/generate", json={"model": "lipsync-2", "input": inputs}).json()
    result = web.get(customer.job(f"/v2/generate/{made['id']}")["outputUrl"]).content
    asked = order(customer, sourceVideoUrl=customer.upload(result, "r.mp4", "video/mp4"))
    done = customer.job(f"/v2/transcriptions/{asked['id']}")
    assert " ".join(word["text"] for word in words(done)) == LINE


def test_of_what_the_engine_does_not_understand_there_are_no_words(
    customer, recording: Callable[[float], bytes]
) -> None:
    asked = order(customer, sourceAudioUrl=customer.upload(recording(4)))
    done = customer.job(f"/v2/transcriptions/{asked['id']}")
    assert (done["status"], done["transcript"], done["speakerCount"]) == ("COMPLETED", {"segments": []}, None)


def test_a_job_can_fail_and_be_ordered_again(customer, spoken, voice_emulator: EmulatorHandle) -> None:
    voice_emulator.fault("job_failed", path="/v2/transcriptions", code="SOURCE_TOO_LONG")
    failed = customer.job(f"/v2/transcriptions/{order(customer, sourceAudioUrl=spoken)['id']}")
    assert (failed["status"], failed["error"], failed["transcript"]) == ("FAILED", {"code": "SOURCE_TOO_LONG"}, None)
    again = order(customer, sourceAudioUrl=spoken)
    assert again["id"] != failed["id"]
    assert customer.job(f"/v2/transcriptions/{again['id']}")["status"] == "COMPLETED"


def test_what_is_no_recording_fails_as_a_job(customer) -> None:
    asked = order(customer, sourceAudioUrl=customer.upload(b"not media"))
    assert customer.job(f"/v2/transcriptions/{asked['id']}")["error"] == {"code": "NO_AUDIO"}


def test_what_cannot_be_asked_for(customer, stranger, spoken) -> None:
    absent = customer.presign()["url"]
    for body, status, field in (
        ({}, 400, "sourceVideoUrl"),
        ({"sourceVideoUrl": spoken, "sourceAudioUrl": spoken}, 400, "sourceVideoUrl"),
        ({"sourceAudioUrl": spoken, "sourceStartMs": 5, "sourceEndMs": 5}, 400, "sourceEndMs"),
        ({"sourceAudioUrl": spoken, "sourceStartMs": -1}, 400, "sourceStartMs"),
        ({"sourceAudioUrl": "https://example.org/a.mp3"}, 422, "sourceAudioUrl"),
        ({"sourceVideoUrl": absent}, 422, "sourceVideoUrl"),
    ):
        answer = customer.post("/v2/transcriptions", json=body)
        assert (answer.status_code, answer.json()["field"]) == (status, field), body
    assert stranger.post("/v2/transcriptions", json={"sourceAudioUrl": spoken}).status_code == 422
    job = order(customer, sourceAudioUrl=spoken)["id"]
    for asker, job_id, status in ((stranger, job, 404), (customer, UNKNOWN, 404), (customer, "7", 400)):
        assert asker.get(f"/v2/transcriptions/{job_id}").status_code == status
