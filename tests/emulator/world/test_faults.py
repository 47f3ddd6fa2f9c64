"""Faults, as a real HTTP client meets them."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.emulator.customer import LINE, web


@pytest.fixture
def body(customer):
    return {"voiceId": customer.builtin(), "script": LINE}


def test_a_dropped_reply_leaves_the_work_done_once(customer, sample, voice_emulator):
    url = customer.upload(sample)
    voice_emulator.fault("drop_after", "/v2/voices", method="POST")
    with pytest.raises(httpx.RemoteProtocolError):
        customer.clone(url)
    assert [voice["name"] for voice in voice_emulator.voices()] == ["Ada"]
    assert len(voice_emulator.ledger("clone")) == 1
    assert customer.clone(url).status_code == 409
    (entry, _) = voice_emulator.requests("/v2/voices")
    assert (entry["status"], entry["fault"]) == (None, "drop_after")


def test_a_dropped_generation_is_found_by_its_key(customer, order, voice_emulator):
    headers = {"Idempotency-Key": "k"}
    voice_emulator.fault("drop_after", "/v2/generate")
    with pytest.raises(httpx.TransportError):
        customer.post("/v2/generate", json=order, headers=headers)
    assert customer.post("/v2/generate", json=order, headers=headers).headers["idempotency-replayed"] == "true"
    assert len(voice_emulator.ledger()) == 1


def test_a_request_dropped_before_its_work_did_nothing(customer, body, voice_emulator):
    voice_emulator.fault("drop_before", "/v2/tts*")
    with pytest.raises(httpx.TransportError):
        customer.post("/v2/tts", json=body)
    assert voice_emulator.ledger() == []
    assert customer.post("/v2/tts", json=body).status_code == 200


def test_an_upload_can_be_cut_in_the_middle(customer, voice_emulator):
    data = bytes(20_000_000)
    grant = customer.presign(size=len(data))
    voice_emulator.fault("drop_before", "/uploads/*", method="PUT", bytes=1_000_000)
    with pytest.raises(httpx.TransportError):
        web.put(grant["uploadUrl"], content=data, headers={"Content-Type": "audio/wav"})
    assert web.get(grant["url"]).status_code == 404
    assert web.put(grant["uploadUrl"], content=data, headers={"Content-Type": "audio/wav"}).status_code == 200


def test_a_status_comes_in_the_vendors_shape_and_with_what_was_ordered(customer, body, voice_emulator):
    voice_emulator.fault("status", "/v2/tts", status=503, headers={"Retry-After": "7"})
    answer = customer.post("/v2/tts", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json()["requestId"]
    voice_emulator.fault("status", "/v2/tts", status=422, code="voice_blocked")
    assert customer.post("/v2/tts", json=body).json()["errorCode"] == "voice_blocked"
    voice_emulator.fault("status", "/v2/tts", status=418, body={"mine": True})
    assert customer.post("/v2/tts", json=body).json() == {"mine": True}
    voice_emulator.fault("status", "/v2/tts", status=401)
    assert customer.post("/v2/tts", json=body).json() == {"message": "Unauthorized", "statusCode": 401}
    assert voice_emulator.ledger() == []


def test_html_and_redirects(customer, voice_emulator):
    voice_emulator.fault("html", "/v2/models")
    blocked = customer.get("/v2/models")
    assert (blocked.status_code, blocked.headers["content-type"]) == (403, "text/html; charset=UTF-8")
    voice_emulator.fault("redirect", "/v2/models", location="http://127.0.0.1:1/elsewhere")
    moved = customer.get("/v2/models")
    assert (moved.status_code, moved.headers["location"]) == (302, "http://127.0.0.1:1/elsewhere")


def test_downloads_come_short_empty_or_as_junk(customer, sample, voice_emulator):
    url = customer.upload(sample)
    voice_emulator.fault("truncate", "/uploads/*", bytes=100)
    with pytest.raises(httpx.RemoteProtocolError, match="received 100 bytes"):
        web.get(url)
    voice_emulator.fault("truncate", "/uploads/*")
    with pytest.raises(httpx.RemoteProtocolError):
        web.get(url)
    voice_emulator.fault("truncate_clean", "/uploads/*", bytes=100)
    short = web.get(url)
    assert (short.content, short.headers["content-length"]) == (sample[:100], "100")
    voice_emulator.fault("empty", "/uploads/*")
    empty = web.get(url)
    assert (empty.status_code, empty.content) == (200, b"")
    voice_emulator.fault("corrupt", "/uploads/*")
    junk = web.get(url).content
    assert len(junk) == len(sample)
    assert junk[:12] == b"this is not "
    assert web.get(url).content == sample


def test_a_slow_reply_takes_its_time_and_a_trickle_more(customer, voice_emulator):
    voice_emulator.fault("slow", "/v2/models", seconds=0.2)
    began = time.monotonic()
    assert customer.get("/v2/models").status_code == 200
    assert 0.2 <= time.monotonic() - began < 1
    length = len(customer.get("/v2/models").content)
    voice_emulator.fault("slow", "/v2/models", seconds=0.05, bytes=length // 4)
    began = time.monotonic()
    assert len(customer.get("/v2/models").content) == length
    assert time.monotonic() - began >= 0.2


def test_rules_choose_by_method_path_and_count(customer, voice_emulator):
    voice_emulator.fault("status", "/v2/m*", method="GET", status=500, after=1, times=2)
    codes = [customer.get("/v2/models").status_code for _ in range(4)]
    assert codes == [200, 500, 500, 200]
    (rule,) = voice_emulator.faults()
    assert (rule["seen"], rule["fired"]) == (4, 2)
    voice_emulator.clear_faults()
    voice_emulator.fault("status", "*", status=500, times=None, method="DELETE")
    assert customer.get("/v2/models").status_code == 200
    assert [customer.delete("/v2/voices/x").status_code for _ in range(3)] == [500] * 3
    voice_emulator.clear_faults()
    assert customer.delete("/v2/voices/x").status_code == 404


def test_chance_is_seeded(customer, voice_emulator):
    def history() -> list[int]:
        voice_emulator.clear_faults()
        voice_emulator.fault("status", "*", status=500, times=None, probability=0.3, seed=7)
        return [customer.get("/v2/models").status_code for _ in range(40)]

    first = history()
    assert 0 < first.count(500) < 40
    assert history() == first


def test_one_rule_can_be_taken_back_and_a_bad_one_is_refused(customer, voice_emulator):
    kept, dropped = (voice_emulator.fault("status", "/v2/models", status=status) for status in (500, 502))
    assert [rule["id"] for rule in voice_emulator.call("DELETE", f"faults/{dropped}")] == [kept]
    with pytest.raises(RuntimeError, match="kind"):
        voice_emulator.fault("earthquake")
    with pytest.raises(RuntimeError, match="wish"):
        voice_emulator.fault("slow", wish=1)


def test_the_control_plane_has_no_faults(voice_emulator):
    voice_emulator.fault("drop_before", "*", times=None)
    assert voice_emulator.state()["faults"] == 1


@pytest.mark.parametrize("form", ["html", "json", "text"])
def test_an_edge_answers_in_place_of_the_service_before_the_work_or_after_it(customer, body, voice_emulator, form):
    voice_emulator.fault("edge_before", "/v2/tts", status=403, form=form)
    blocked = customer.post("/v2/tts", json=body)
    assert blocked.status_code == 403
    assert "statusCode" not in blocked.text
    assert voice_emulator.ledger() == []
    voice_emulator.fault("edge_after", "/v2/tts", form=form)
    assert customer.post("/v2/tts", json=body).status_code == 502
    assert len(voice_emulator.ledger("speech")) == 1


def test_an_edge_says_what_was_ordered_and_does_not_bear_the_marks_of_the_service(customer, voice_emulator):
    voice_emulator.fault("edge_before", "/model*", status=404, form="text", body="404 page not found")
    answer = web.get(f"{voice_emulator.url}/model")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (
        404,
        "404 page not found",
        "text/plain",
    )
    assert "x-fish-trace-id" not in answer.headers
    voice_emulator.fault("edge_before", "/v2/models", status=499, form="json", headers={"Retry-After": "3"})
    answer = customer.get("/v2/models")
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (499, {"message": "Unknown"}, "3")
