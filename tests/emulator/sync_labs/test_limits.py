"""What the plan allows: rates, work at one time, money (contract section 11)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.emulator.customer import LINE, Customer


def test_ten_clones_an_hour_then_the_window_has_to_pass(customer, voice_emulator):
    for _ in range(10):
        assert customer.post("/v2/voices", json={}).status_code == 400
    refused = customer.post("/v2/voices", json={})
    assert refused.status_code == 429
    assert refused.json()["errorCode"] == "rate_limit_exceeded"
    assert refused.json()["error"] == "Too Many Requests"
    assert 3590 < int(refused.headers["retry-after"]) <= 3601
    voice_emulator.advance(3601)
    assert customer.post("/v2/voices", json={}).status_code == 400


@pytest.mark.parametrize(
    ("knob", "method", "path", "default"),
    [
        ("rate_tts", "POST", "/v2/tts", 60),
        ("rate_tts_jobs", "POST", "/v2/tts/jobs", 60),
        ("rate_uploads", "POST", "/v2/assets/upload", 120),
        ("rate_generate", "POST", "/v2/generate", 0),
        ("rate_generate_get", "GET", "/v2/generate/x", 600),
    ],
)
def test_each_bucket_has_its_knob_and_can_be_turned_off(customer, voice_emulator, knob, method, path, default):
    def allowed() -> bool:
        return customer.request(method, path).status_code != 429

    assert voice_emulator.settings()[knob] == default
    voice_emulator.settings(**{knob: 2})
    assert [allowed() for _ in range(3)] == [True, True, False]
    voice_emulator.settings(**{knob: 0})
    assert allowed()
    voice_emulator.settings(**{knob: 2}, retry_after_header=False)
    assert not allowed()
    assert "retry-after" not in customer.request(method, path).headers
    voice_emulator.settings(rate_limits=False)
    assert allowed()


def test_buckets_belong_to_a_key(customer, voice_emulator):
    voice_emulator.settings(rate_tts=1)
    voice_emulator.add_account("second", "main")
    assert [customer.post("/v2/tts").status_code for _ in range(2)] == [400, 429]
    with Customer(voice_emulator.url, "second") as other:
        assert other.post("/v2/tts").status_code == 400


def test_the_plan_limits_generations_at_one_time(customer, order, stranger, voice_emulator):
    voice_emulator.settings(concurrency=2, job_seconds=3600)
    for _ in range(2):
        assert customer.post("/v2/generate", json=order).status_code == 201
    full = customer.post("/v2/generate", json=order)
    body = full.json()
    assert (full.status_code, body["errorCode"]) == (429, "concurrency_limit_reached")
    assert (body["activeGenerations"], body["concurrencyLimit"]) == (2, 2)
    assert body["retryAfterSeconds"] > 0
    assert body["upgradeUrl"]
    assert stranger.post("/v2/generate", json=order).status_code == 201
    assert voice_emulator.state()["active_generations"] == 3
    voice_emulator.advance(3601)
    voice_emulator.wait_idle()
    assert customer.post("/v2/generate", json=order).status_code == 201
    assert len(voice_emulator.ledger()) == 4


def test_twenty_orders_at_once_never_exceed_the_limit(customer, order, voice_emulator):
    voice_emulator.settings(concurrency=3, job_seconds=3600)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: customer.post("/v2/generate", json=order).status_code, range(20)))
    assert (answers.count(201), answers.count(429)) == (3, 17)


def test_a_replay_needs_no_free_place(customer, order, voice_emulator):
    voice_emulator.settings(concurrency=1, job_seconds=3600)
    headers = {"Idempotency-Key": "k"}
    first = customer.post("/v2/generate", json=order, headers=headers)
    assert customer.post("/v2/generate", json=order, headers=headers).json()["id"] == first.json()["id"]


def test_work_stops_when_the_credit_is_spent(customer, order, voice_emulator):
    body = {"voiceId": customer.builtin(), "script": LINE}
    price = len(LINE) * 0.0002
    voice_emulator.settings(credit_usd=1.5 * price)
    assert customer.post("/v2/tts", json=body).status_code == 200
    for answer in (customer.post("/v2/tts", json=body), customer.post("/v2/tts/jobs", json=body)):
        assert (answer.status_code, answer.json()["errorCode"]) == (402, "account_payment_required")
    voice_emulator.settings(credit_usd=0)
    assert customer.post("/v2/generate", json=order).status_code == 402
    assert len(voice_emulator.ledger()) == 1


def test_the_free_tier_counts_by_the_month_and_is_off_by_default(customer, order, voice_emulator):
    body = {"voiceId": customer.builtin(), "script": LINE}
    voice_emulator.settings(free_tts=1, free_generations=1)
    assert customer.post("/v2/tts", json=body).status_code == 200
    assert customer.post("/v2/tts", json=body).json()["errorCode"] == "elevenlabs_quota_exceeded"
    assert customer.post("/v2/generate", json=order).status_code == 201
    assert customer.post("/v2/generate", json=order).json()["errorCode"] == "free_tier_generations_exhausted"
    voice_emulator.advance(31 * 86400)
    assert customer.post("/v2/tts", json=body).status_code == 200
