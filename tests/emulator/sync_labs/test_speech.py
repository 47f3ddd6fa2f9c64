"""Speech in its three forms (contract section 4)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.emulator.customer import LINE, Customer, web

if TYPE_CHECKING:
    import httpx


@pytest.fixture
def body(customer: Customer) -> dict[str, object]:
    return {"voiceId": customer.builtin(), "script": LINE, "provider": "elevenlabs"}


def test_speech_is_answered_at_once_with_a_url(customer, body, voice_emulator):
    answer = customer.post("/v2/tts", json=body)
    assert answer.status_code == 200
    speech = answer.json()
    assert answer.headers["x-emulator-engine"] == "tone"
    assert speech["duration"] == pytest.approx(len(LINE) / 15, abs=0.05)
    assert web.get(speech["url"]).content[:3] == b"ID3"
    (bill,) = voice_emulator.ledger("speech")
    assert (bill["job_id"], bill["units"], bill["unit"]) == (speech["id"], len(LINE), "characters")
    assert bill["usd"] > 0


def test_speech_can_be_a_job_to_poll_as_the_guide_says(customer, body, voice_emulator):
    voice_emulator.settings(tts_mode="seed-async", job_seconds=60)
    asked = customer.post("/v2/tts", json=body)
    assert asked.status_code == 201
    assert (asked.json()["status"], asked.json()["synthesizedAudioUrl"]) == ("PENDING", None)
    voice_emulator.advance(61)
    assert asked.headers["x-emulator-page"].startswith(voice_emulator.url)
    done = customer.job(f"/v2/tts/{asked.json()['id']}")
    assert (done["status"], done["error"]) == ("COMPLETED", None)
    assert web.get(done["synthesizedAudioUrl"]).status_code == 200


def test_a_speech_job_has_a_location_a_pace_and_an_end(customer, body, voice_emulator):
    voice_emulator.settings(job_seconds=60)
    asked = customer.post("/v2/tts/jobs", json=body)
    assert asked.status_code == 202
    assert asked.headers["location"] == f"/v2/tts/jobs/{asked.json()['id']}"
    assert {key: asked.json()[key] for key in ("status", "url", "duration", "error", "startedAt", "finishedAt")} == {
        "status": "PENDING",
        "url": None,
        "duration": None,
        "error": None,
        "startedAt": None,
        "finishedAt": None,
    }
    assert customer.get(asked.headers["location"]).headers["retry-after"] == "3"
    voice_emulator.advance(61)
    done = customer.job(asked.headers["location"])
    assert done["status"] == "SUCCESS"
    assert done["createdAt"] <= done["startedAt"] < done["finishedAt"]
    assert "retry-after" not in customer.get(asked.headers["location"]).headers
    assert web.get(done["url"]).status_code == 200


def test_a_failed_speech_job_says_why_and_is_not_billed(customer, body, voice_emulator):
    voice_emulator.fault("job_failed", "/v2/tts/jobs", body="no breath left")
    asked = customer.post("/v2/tts/jobs", json=body)
    failed = customer.job(asked.headers["location"])
    assert (failed["status"], failed["url"]) == ("FAILED", None)
    assert failed["error"] == {"message": "no breath left", "errorCode": "internal_error"}
    (bill,) = voice_emulator.ledger()
    assert (bill["refunded"], bill["usd"]) == (True, 0)


def test_a_key_stands_for_one_job_and_one_body(customer, body, stranger, voice_emulator):
    def ask(who: Customer, key: str, script: str = LINE) -> httpx.Response:
        return who.post("/v2/tts/jobs", json=body | {"script": script}, headers={"Idempotency-Key": key})

    first = ask(customer, "k")
    customer.job(first.headers["location"])
    again = ask(customer, "k")
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, first.json()["id"], "SUCCESS")
    conflict = ask(customer, "k", "something else")
    assert (conflict.status_code, conflict.json()["errorCode"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert ask(stranger, "k").json()["id"] != first.json()["id"]
    for bad in ("", "k" * 129):
        assert ask(customer, bad).json()["errorCode"] == "INVALID_IDEMPOTENCY_KEY"
    assert len([bill for bill in voice_emulator.ledger() if bill["org"] == "main"]) == 1


def test_twenty_requests_with_one_key_pay_once(customer, body, voice_emulator):
    with ThreadPoolExecutor(20) as pool:
        headers = {"Idempotency-Key": "same"}
        answers = list(pool.map(lambda _: customer.post("/v2/tts/jobs", json=body, headers=headers), range(20)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(voice_emulator.ledger()) == 1


def test_speech_jobs_can_be_closed_to_an_organization(customer, body, voice_emulator):
    voice_emulator.settings(tts_jobs_enabled=False)
    answer = customer.post("/v2/tts/jobs", json=body)
    assert answer.status_code == 503
    assert answer.json()["requestId"]


@pytest.mark.parametrize("path", ["/v2/tts", "/v2/tts/jobs"])
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"script": ""}, "script"),
        ({"script": "a" * 5001}, "script"),
        ({"voiceId": None}, "voiceId"),
        ({"stability": 1.5}, "stability"),
        ({"similarityBoost": -0.1}, "similarityBoost"),
        ({"provider": "other"}, "provider"),
    ],
)
def test_a_bad_body_is_told_by_its_field_and_costs_nothing(customer, body, path, change, field, voice_emulator):
    answer = customer.post(path, json=body | change)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert voice_emulator.ledger() == []


def test_bodies_that_are_no_json_objects_are_refused(customer):
    for content in (b"{", b"[]", b'{"stability": NaN}', b'{"script": "\\ud800"}', b'{"stability": 1e999}'):
        assert customer.post("/v2/tts", content=content).status_code == 400


def test_an_unknown_voice_is_422_here_not_404(customer, body, stranger, sample):
    foreign = stranger.clone(stranger.upload(sample)).json()["id"]
    for voice in ("nobody", foreign):
        answer = customer.post("/v2/tts", json=body | {"voiceId": voice})
        assert (answer.status_code, answer.json()["errorCode"]) == (422, "voice_not_found")


def test_a_text_that_cannot_be_spoken_is_refused_or_fails(customer, body, voice_emulator):
    assert customer.post("/v2/tts", json=body | {"script": "..."}).status_code == 400
    asked = customer.post("/v2/tts/jobs", json=body | {"script": "..."})
    assert customer.job(asked.headers["location"])["error"]["errorCode"] == "generation_input_validation_failed"
    assert all(bill["refunded"] for bill in voice_emulator.ledger())


def test_the_kinds_of_speech_job_do_not_mix_and_belong_to_one_organization(customer, body, stranger):
    job = customer.post("/v2/tts/jobs", json=body).json()["id"]
    speech = customer.post("/v2/tts", json=body).json()["id"]
    for who, path in (
        (customer, f"/v2/tts/{job}"),
        (customer, f"/v2/tts/jobs/{speech}"),
        (customer, "/v2/tts/jobs/unknown"),
        (stranger, f"/v2/tts/jobs/{job}"),
    ):
        assert who.get(path).status_code == 404


def test_neither_script_nor_key_is_in_the_log(customer, logged):
    body = {"voiceId": customer.builtin(), "script": "a very secret sentence"}
    customer.post("/v2/tts", json=body)
    customer.job(customer.post("/v2/tts/jobs", json=body).headers["location"])
    log = logged()
    assert "Speech of 22 characters" in log
    assert "secret" not in log
    assert "emulator\n" not in log
