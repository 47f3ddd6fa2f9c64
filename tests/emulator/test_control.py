"""The control plane and the pages of jobs."""

from __future__ import annotations

import time

import pytest

from tests.emulator.customer import LINE, Customer, web
from voice_provider.emulator import API_KEY
from voice_provider.emulator.process import EmulatorError


def test_reset_forgets_everything_in_no_time(customer, order, sample, voice_emulator):
    customer.clone(customer.upload(sample))
    voice_emulator.settings(job_seconds=3600, clone_slots=1)
    customer.post("/v2/generate", json=order)
    voice_emulator.fault("status")
    voice_emulator.advance(1000)
    voice_emulator.add_account("other", "elsewhere")
    began = time.monotonic()
    voice_emulator.reset()
    assert time.monotonic() - began < 0.25
    state = voice_emulator.state()
    assert (state["voices"], state["assets"], state["jobs"], state["ledger"]) == ({}, 0, {}, 0)
    assert (state["faults"], state["clock_offset"], state["active"]) == (0, 0, 0)
    assert voice_emulator.settings()["clone_slots"] == 10
    assert voice_emulator.requests() == []
    assert web.get(order["input"][0]["url"]).status_code == 404
    with Customer(voice_emulator.url, "other") as other:
        assert other.get("/v2/models").status_code == 401
    assert customer.clone(customer.upload(sample)).status_code == 201


def test_settings_are_read_changed_and_checked(voice_emulator):
    assert voice_emulator.settings(concurrency=None, job_seconds=1.5)["concurrency"] is None
    with pytest.raises(EmulatorError, match=r"Unknown setting: slots. Known settings: .*clone_slots"):
        voice_emulator.settings(slots=1)
    with pytest.raises(EmulatorError, match="tts_mode"):
        voice_emulator.settings(tts_mode="whisper")
    assert voice_emulator.settings()["job_seconds"] == 1.5


def test_the_clock_moves_what_is_dated(customer, sample, voice_emulator):
    before = customer.asset(sample)["createdAt"]
    voice_emulator.advance(40 * 86400)
    assert customer.asset(sample)["createdAt"][:7] > before[:7]
    voice_emulator.call("POST", "clock", {"reset": True})
    assert customer.asset(sample)["createdAt"][:7] == before[:7]


def test_requests_are_listed_with_origin_and_key_but_no_secret(customer, sample, voice_emulator):
    customer.upload(sample)
    customer.get("/v2/models", headers={"Idempotency-Key": "k"})
    presign, put, models = voice_emulator.requests()
    assert (presign["method"], presign["path"], presign["origin"], presign["has_key"]) == (
        "POST",
        "/v2/assets/upload",
        "api",
        True,
    )
    assert (put["origin"], put["status"], put["has_key"], put["query"]) == ("storage", 200, False, "")
    assert models["idempotency_key"] == "k"


def test_the_connection_is_what_airflow_reads(voice_emulator):
    assert voice_emulator.connection(namespace="test") == {
        "conn_type": "sync_labs",
        "host": voice_emulator.url,
        "password": API_KEY,
        "extra": {"namespace": "test"},
    }


def test_a_page_shows_a_job_without_script_or_key(customer, order, voice_emulator):
    order["input"][1] = {
        "type": "text",
        "provider": {"name": "elevenlabs", "voiceId": customer.builtin(), "script": "<b>secret words</b>"},
    }
    voice_emulator.settings(job_seconds=3600)
    asked = customer.post("/v2/generate", json=order)
    job, page_url = asked.json(), asked.headers["x-emulator-page"]
    waiting = web.get(page_url)
    assert waiting.headers["content-type"].startswith("text/html")
    assert "http-equiv" in waiting.text
    assert web.get(page_url + "/media").status_code == 404
    voice_emulator.advance(3600)
    customer.job(f"/v2/generate/{job['id']}")
    page = web.get(page_url).text
    assert "http-equiv" not in page
    assert "<video" in page
    assert "19 characters" in page
    assert "secret" not in page
    assert web.get(page_url + "/media").content[4:8] == b"ftyp"
    assert web.get(page_url + "/media", headers={"Range": "bytes=0-9"}).status_code == 206


def test_speech_has_a_page_too_and_pages_can_be_turned_off(customer, voice_emulator):
    body = {"voiceId": customer.builtin(), "script": LINE}
    asked = customer.post("/v2/tts/jobs", json=body)
    job = customer.job(asked.headers["location"])
    assert "<audio" in web.get(asked.headers["x-emulator-page"]).text
    voice_emulator.settings(pages=False)
    assert "x-emulator-page" not in customer.get(f"/v2/tts/jobs/{job['id']}").headers
    assert web.get(f"{voice_emulator.url}/_emulator/jobs/unknown").status_code == 404


def test_the_front_page_shows_jobs_voices_and_the_bill_and_no_script(customer, voice_emulator):
    assert web.get(f"{voice_emulator.url}/_emulator/").text.count("None yet.") == 3
    voice_emulator.seed_voices(["<b>Anna"])
    [model] = voice_emulator.seed_models(["Berta"])
    job = customer.post("/v2/tts/jobs", json={"voiceId": customer.builtin(), "script": LINE}).json()
    customer.job(f"/v2/tts/jobs/{job['id']}")
    page = web.get(f"{voice_emulator.url}/", follow_redirects=True).text
    for shown in (
        f'href="/_emulator/jobs/{job["id"]}"',
        "&lt;b&gt;Anna",
        "Berta",
        model["id"],
        "COMPLETED",
        "Bill: $0.0",
    ):
        assert shown in page, shown
    assert LINE not in page
    assert API_KEY not in page


def test_ten_thousand_voices_are_seeded_and_listed_quickly(customer, voice_emulator):
    voice_emulator.seed_voices(count=10_000)
    began = time.monotonic()
    assert len(customer.get("/v2/voices").json()) > 10_000
    assert time.monotonic() - began < 2
