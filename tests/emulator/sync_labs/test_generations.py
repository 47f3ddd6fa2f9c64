"""Ordering lip syncs and looking after them (contract sections 6 and 9)."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.emulator.customer import LINE, PNG, Customer, web

if TYPE_CHECKING:
    import httpx

UNKNOWN = "6533643b-aceb-4c40-967e-d9ba9baac39e"
LONG = 86_400


def text_input(voice: str, script: str = LINE, **more: object) -> dict[str, object]:
    return {"type": "text", "provider": {"name": "elevenlabs", "voiceId": voice, "script": script}, **more}


def test_a_lip_sync_goes_from_pending_to_a_playable_result(customer, order, voice_emulator):
    order |= {"options": {"sync_mode": "cut_off", "unknown_option": 1}, "outputFileName": "greeting"}
    answer = customer.post("/v2/generate", json=order)
    assert answer.status_code == 201
    asked = answer.json()
    assert (asked["status"], asked["outputUrl"], answer.headers["x-emulator-engine"]) == ("PENDING", None, "tone")
    assert (asked["model"], asked["input"], asked["options"]) == ("lipsync-2", order["input"], order["options"])
    done = customer.job(f"/v2/generate/{asked['id']}")
    assert (done["status"], done["outputFileName"], done["errorCode"]) == ("COMPLETED", "greeting.mp4", None)
    assert done["outputDuration"] == pytest.approx(3, abs=0.1)
    assert web.get(done["outputUrl"]).content[4:8] == b"ftyp"
    (bill,) = voice_emulator.ledger("lip_sync")
    assert (bill["job_id"], bill["unit"], bill["settled"], bill["refunded"]) == (asked["id"], "frames", True, False)


def test_inputs_can_be_assets_urls_of_ours_and_of_other_servers(customer, order, video, sample):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(video)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for visual in (
            {"type": "video", "assetId": customer.asset(video, "v.mp4", "video/mp4")["id"]},
            {"type": "video", "url": f"http://127.0.0.1:{server.server_port}/v.mp4"},
        ):
            job = customer.post("/v2/generate", json=order | {"input": [visual, order["input"][1]]}).json()
            assert customer.job(f"/v2/generate/{job['id']}")["status"] == "COMPLETED"
    finally:
        server.shutdown()
        server.server_close()


def test_text_is_spoken_first_and_the_speech_can_be_had(customer, order, voice_emulator):
    order["input"][1] = text_input(customer.builtin())
    job = customer.job(f"/v2/generate/{customer.post('/v2/generate', json=order).json()['id']}")
    assert job["status"] == "COMPLETED"
    assert web.get(job["synthesizedAudioUrl"]).content[:3] == b"ID3"
    assert len(voice_emulator.ledger()) == 1


def test_segments_take_their_audio_by_name(customer, order, sample):
    audio = {"type": "audio", "url": order["input"][1]["url"], "refId": "hers"}
    order["input"][1:] = [audio, text_input(customer.builtin(), refId="his")]
    order["segments"] = [
        {"startTime": 0, "endTime": 1, "audioInput": {"refId": "hers", "startTime": 0.5, "endTime": 1.5}},
        {"startTime": 1, "endTime": 3, "audioInput": {"refId": "his"}},
    ]
    job = customer.job(f"/v2/generate/{customer.post('/v2/generate', json=order).json()['id']}")
    assert (job["status"], job["segments"]) == ("COMPLETED", order["segments"])


def test_a_picture_can_speak_with_sync_3_only(customer, order):
    order["input"][0] = {"type": "image", "url": customer.upload(PNG, "face.png", "image/png")}
    assert customer.post("/v2/generate", json=order).status_code == 400
    for detected in (True, {"auto_detect": True}):  # speaker selection guide: for videos only
        options = {"active_speaker_detection": detected}
        assert customer.post("/v2/generate", json=order | {"model": "sync-3", "options": options}).status_code == 400
    job = customer.post("/v2/generate", json=order | {"model": "sync-3"}).json()
    assert customer.job(f"/v2/generate/{job['id']}")["status"] == "COMPLETED"


def test_files_can_come_along_in_a_form(customer, video, sample, voice_emulator):
    def send(audio: bytes) -> httpx.Response:
        form = {"model": "lipsync-2", "options": json.dumps({"sync_mode": "loop"}), "outputFileName": "formed"}
        files = {"video": ("v.mp4", video, "video/mp4"), "audio": ("a.wav", audio, "audio/wav")}
        return customer.post("/v2/generate", data=form, files=files, headers={"Idempotency-Key": "form"})

    job = send(sample).json()
    done = customer.job(f"/v2/generate/{job['id']}")
    assert (done["status"], done["options"], done["outputFileName"]) == (
        "COMPLETED",
        {"sync_mode": "loop"},
        "formed.mp4",
    )
    assert [item["type"] for item in done["input"]] == ["video", "audio"]
    assert send(sample).json()["id"] == job["id"]
    assert send(sample + b"\0").status_code == 409
    assert len(voice_emulator.ledger()) == 1


def test_a_form_may_also_mix_files_and_inputs(customer, order, video, sample):
    form = {"model": "lipsync-2", "input": json.dumps([order["input"][1]])}
    job = customer.post("/v2/generate", data=form, files={"video": ("v.mp4", video, "video/mp4")}).json()
    assert customer.job(f"/v2/generate/{job['id']}")["status"] == "COMPLETED"


def test_a_form_is_read_as_the_vendors_own_node_sends_it(customer, video, sample):
    """Files stand in for items without an address, options stand beside `input`, and what is not known is ignored."""
    form = {
        "model": "lipsync-2",
        "sync_mode": "cut_off",
        "temperature": "0.3",
        "active_speaker": "false",
        "active_speaker_detection": '{"occlusion_detection_enabled": true}',
        "video_url": "not an address",
        "input": json.dumps([{"type": "video", "segments_secs": [[0, 1]]}, {"type": "audio", "refId": "a"}]),
    }
    files = {"video": ("v.mp4", video, "video/mp4"), "audio": ("a.wav", sample, "audio/wav")}
    job = customer.post("/v2/generate", data=form, files=files).json()
    assert job["options"] == {"sync_mode": "cut_off", "temperature": 0.3}
    seen, heard = job["input"]
    assert (seen["type"], heard["type"], heard["refId"]) == ("video", "audio", "a")
    assert customer.job(f"/v2/generate/{job['id']}")["status"] == "COMPLETED"
    # One that has an address gives way, too.
    form["input"] = json.dumps(
        [{"type": "audio", "assetId": UNKNOWN}, {"type": "video", "url": "https://example.org/v"}]
    )
    job = customer.post("/v2/generate", data=form, files=files).json()
    assert [sorted(item) for item in job["input"]] == [["type", "url"]] * 2
    assert customer.job(f"/v2/generate/{job['id']}")["status"] == "COMPLETED"
    bad = customer.post("/v2/generate", data=form | {"sync_mode": "sideways"}, files=files)
    assert (bad.status_code, bad.json()["field"]) == (400, "options.sync_mode")


def test_options_of_the_vendors_own_client_are_taken(customer, order):
    for options in (
        {"temperature": None, "active_speaker_detection": True, "reasoning_enabled": False},
        {"active_speaker_detection": {"auto_detect": True, "use_v2": True, "v3": False, "face_image": "https://x/f"}},
    ):
        asked = customer.post("/v2/generate", json=order | {"options": options}).json()
        assert asked["options"] == options
        assert customer.job(f"/v2/generate/{asked['id']}")["status"] == "COMPLETED"
    assert customer.post("/v2/generate", json=order | {"options": {"temperature": 1.1}}).status_code == 400


def test_reasoning_has_a_price_that_the_estimate_tells(customer, order, voice_emulator):
    prices = []
    for reasoning in (False, True):
        made = customer.post("/v2/generate", json=order | {"options": {"reasoning_enabled": reasoning}}).json()
        customer.job(f"/v2/generate/{made['id']}")
        bill = voice_emulator.ledger("lip_sync")[-1]
        question = {"model": "lipsync-2", "duration": bill["units"], "fps": 1, "reasoningEnabled": reasoning}
        told = customer.post("/v2/generations/estimate", json=question).json()["estimatedGenerationCost"]
        assert told == pytest.approx(bill["usd"])
        prices.append(told)
    assert prices[1] > prices[0] > 0


@pytest.mark.parametrize("path", ["/v2/generate", "/v2/tts/jobs"])
def test_a_copy_in_progress_is_a_conflict_for_a_while(customer, order, voice_emulator, path):
    voice_emulator.settings(key_busy_seconds=5)
    body = order if path == "/v2/generate" else {"voiceId": customer.builtin(), "script": LINE}
    first, copy = (customer.post(path, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (copy.status_code, copy.json()["errorCode"]) == (409, "IDEMPOTENCY_REQUEST_IN_PROGRESS")
    other = customer.post(path, json=body | {"projectId": UNKNOWN}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["errorCode"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    voice_emulator.advance(6)
    assert customer.post(path, json=body, headers={"Idempotency-Key": "k"}).json()["id"] == first.json()["id"]
    assert len(voice_emulator.ledger()) == 1


@pytest.mark.parametrize("how", ["302", "307", "200"])
def test_a_result_can_be_at_the_apis_own_host(customer, order, voice_emulator, how):
    voice_emulator.settings(result_host=how)
    job = customer.job(f"/v2/generate/{customer.post('/v2/generate', json=order).json()['id']}")
    assert job["outputUrl"].startswith(f"{voice_emulator.url}/v2/generations/{job['id']}/result?token=")
    first = web.get(job["outputUrl"])
    assert first.status_code == int(how)
    assert web.get(job["outputUrl"], follow_redirects=True).content[4:8] == b"ftyp"
    assert web.get(job["outputUrl"][:-1]).status_code == 404
    assert voice_emulator.state()["key_leaks"] == 0
    customer.get(job["outputUrl"])
    assert voice_emulator.state()["key_leaks"] == 1


def test_forms_have_limits(customer, video):
    many = [("video", ("v.mp4", video, "video/mp4"))] * 4
    answer = customer.post("/v2/generate", data={"model": "lipsync-2"}, files=many)
    assert (answer.status_code, answer.json()["errorCode"]) == (413, "generation_input_validation_failed")
    bad = customer.post("/v2/generate", data={"options": "{"}, files={"video": ("v.mp4", video)})
    assert bad.json()["field"] == "options"


AUDIO = {"type": "audio", "url": "https://example.org/a.wav"}
VIDEO = {"type": "video", "url": "https://example.org/v.mp4"}


def segment(ref: str = "a", start: float = 0, end: float = 1, **cut: float) -> dict[str, object]:
    return {"startTime": start, "endTime": end, "audioInput": {"refId": ref, **cut}}


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "lipsync-0"}, 400, "generation_unsupported_model"),
        ({"input": [VIDEO, VIDEO, AUDIO]}, 400, "generation_input_too_many_visual"),
        ({"input": [AUDIO]}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO]}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO, AUDIO, AUDIO]}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO, {"type": "audio"}]}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO, {"type": "audio", "url": "ftp://x/a.wav"}]}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO, {"type": "text"}]}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO, text_input("nobody")]}, 422, "voice_not_found"),
        ({"input": [VIDEO, {"type": "audio", "assetId": UNKNOWN}]}, 422, "asset_not_found"),
        ({"segments": [segment("b")]}, 400, "generation_input_segments_invalid"),
        ({"segments": [segment(start=1, end=1)]}, 400, "generation_input_segments_invalid"),
        ({"segments": [segment(), segment(start=0.5, end=2)]}, 400, "generation_input_segments_invalid"),
        ({"segments": [segment(startTime=2, endTime=1)]}, 400, "generation_input_trim_invalid"),
        ({"dubParams": {"targetLang": "de"}}, 400, "generation_input_dub_audio_conflict"),
        ({"input": [VIDEO], "dubParams": {"targetLang": "de"}}, 402, "plan_feature_unavailable"),
        ({"outputFileName": "a b"}, 400, "generation_input_validation_failed"),
        ({"webhookUrl": "http://[::1"}, 400, "generation_input_validation_failed"),
        ({"input": [VIDEO, {"type": "audio", "url": "http://["}]}, 400, "generation_input_validation_failed"),
        ({"webhookUrl": "nowhere"}, 400, "generation_input_validation_failed"),
        ({"projectId": UNKNOWN}, 422, "project_not_found"),
        ({"input": []}, 400, None),
        ({"options": {"temperature": 2}}, 400, None),
        ({"options": {"sync_mode": "sideways"}}, 400, None),
    ],
)
def test_orders_that_make_no_sense_are_refused_before_they_cost(customer, change, status, code, voice_emulator):
    order = {"model": "lipsync-2", "input": [VIDEO, AUDIO | {"refId": "a"}]} | change
    answer = customer.post("/v2/generate", json=order)
    assert (answer.status_code, answer.json().get("errorCode")) == (status, code), answer.text
    assert voice_emulator.ledger() == []
    assert voice_emulator.state()["jobs"] == {}


def test_an_asset_of_the_wrong_type_is_refused(customer, order, sample):
    order["input"][0] = {"type": "video", "assetId": customer.asset(sample)["id"]}
    answer = customer.post("/v2/generate", json=order)
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "generation_input_asset_type_mismatch")


@pytest.mark.parametrize(
    ("visual", "code"),
    [
        ("https://example.org/v.mp4", "generation_input_video_inaccessible"),
        ("http://127.0.0.1:9/v.mp4", "generation_input_video_inaccessible"),
        (b"no video at all", "generation_input_video_invalid"),
    ],
)
def test_inputs_that_cannot_be_used_fail_the_job_and_are_refunded(customer, order, visual, code, voice_emulator):
    url = visual if isinstance(visual, str) else customer.upload(visual, "v.mp4", "video/mp4")
    order["input"][0]["url"] = url
    job = customer.job(f"/v2/generate/{customer.post('/v2/generate', json=order).json()['id']}")
    assert (job["status"], job["errorCode"], job["outputUrl"]) == ("FAILED", code, None)
    assert job["error"]
    assert [bill["refunded"] for bill in voice_emulator.ledger()] == [True]


def test_a_job_can_be_made_to_fail_or_to_be_rejected(customer, order, voice_emulator):
    voice_emulator.fault("job_failed", "/v2/generate", code="no_face", body="No face was found.")
    voice_emulator.fault("job_rejected", "/v2/generate", code="account_on_hold")
    ends = [customer.job(f"/v2/generate/{customer.post('/v2/generate', json=order).json()['id']}") for _ in range(2)]
    assert [(job["status"], job["errorCode"]) for job in ends] == [
        ("FAILED", "generation_input_face_selection_invalid"),
        ("REJECTED", "account_on_hold"),
    ]


def test_the_code_of_a_failure_can_have_its_older_name(customer, order, voice_emulator):
    voice_emulator.settings(error_code_field="error_code")
    voice_emulator.fault("job_failed", "/v2/generate", code="no_face")
    job = customer.job(f"/v2/generate/{customer.post('/v2/generate', json=order).json()['id']}")
    assert job["error_code"] == "generation_input_face_selection_invalid"
    assert "errorCode" not in job


def test_a_key_gives_the_same_generation_and_refuses_another_body(customer, order, stranger, voice_emulator):
    headers = {"Idempotency-Key": "order-1"}
    first = customer.post("/v2/generate", json=order, headers=headers).json()
    done = customer.job(f"/v2/generate/{first['id']}")
    again = customer.post("/v2/generate", json=order, headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (again.json()["id"], again.json()["status"]) == (first["id"], done["status"])
    other = customer.post("/v2/generate", json=order | {"model": "sync-3"}, headers=headers)
    assert (other.status_code, other.json()["errorCode"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert stranger.post("/v2/generate", json=order, headers=headers).json()["id"] != first["id"]
    (bill,) = [bill for bill in voice_emulator.ledger() if bill["org"] == "main"]
    assert bill["idempotency_key"] == "order-1"


def test_twenty_orders_with_one_key_at_once_are_one_order(customer, order, voice_emulator):
    headers = {"Idempotency-Key": "same"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: customer.post("/v2/generate", json=order, headers=headers), range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(voice_emulator.ledger()) == 1


@pytest.mark.parametrize("keys", [[""], ["k" * 129], ["a b"], ["k", "k"]])
def test_a_bad_key_is_refused(customer, order, keys):
    headers = [("idempotency-key", key) for key in keys]
    answer = customer.post("/v2/generate", json=order, headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_IDEMPOTENCY_KEY")


def test_a_long_poll_returns_at_the_end_or_after_its_time(customer, order, voice_emulator):
    voice_emulator.settings(job_seconds=LONG)
    job = customer.post("/v2/generate", json=order).json()["id"]
    running = customer.get(f"/v2/generate/{job}", params={"wait": "true", "timeout": 1})
    assert running.json()["status"] == "PROCESSING"
    assert running.headers["retry-after"] == "2"
    assert running.headers["x-sync-wait-mode"] == "long_poll"
    assert running.headers["x-sync-wait-timeout-seconds"] == "1"
    threading.Timer(0.1, voice_emulator.advance, [LONG]).start()
    began = time.monotonic()
    done = customer.get(f"/v2/generate/{job}", params={"wait": "true", "timeout": 10})
    assert done.json()["status"] == "COMPLETED"
    assert time.monotonic() - began < 5
    assert "retry-after" not in done.headers
    for bad in ("0", "11", "soon"):
        assert customer.get(f"/v2/generate/{job}", params={"wait": "true", "timeout": bad}).status_code == 400
    assert customer.get(f"/v2/generate/{job}", params={"wait": "true", "include": "progress"}).status_code == 400


def test_progress_follows_the_clock_of_a_job_that_is_held(customer, order, voice_emulator):
    voice_emulator.settings(queue_seconds=10, job_seconds=1000)
    job = customer.post("/v2/generate", json=order).json()["id"]

    def look() -> dict[str, object]:
        return customer.get(f"/v2/generate/{job}", params={"include": "progress"}).json()

    assert (look()["status"], look()["progress_percent"]) == ("PENDING", 0)
    voice_emulator.advance(11)
    while look()["status"] == "PENDING":
        pass
    voice_emulator.advance(500)
    deadline = time.monotonic() + 5
    while look()["progress_percent"] not in (50, 51):
        assert time.monotonic() < deadline, look()
    voice_emulator.settings(job_seconds=0)
    assert customer.job(f"/v2/generate/{job}")["status"] == "COMPLETED"
    assert look()["progress_percent"] == 100
    assert "progress_percent" not in customer.get(f"/v2/generate/{job}").json()


@pytest.fixture
def three_jobs(customer, order) -> list[str]:
    ids = []
    for source in ("studio", "api", "api"):
        answer = customer.post("/v2/generate", json=order, headers={"x-sync-source": source})
        customer.job(f"/v2/generate/{answer.json()['id']}")
        ids.append(answer.json()["id"])
    return ids


def ids_of(customer: Customer, query: str = "") -> list[str]:
    return [job["id"] for job in customer.get(f"/v2/generations?{query}").json()]


def test_generations_are_listed_newest_first_filtered_and_paged(customer, three_jobs, stranger):
    first, second, third = three_jobs
    assert ids_of(customer) == [third, second, first]
    assert ids_of(stranger) == []
    for query in (f"ids={first},{second}", f"ids={first}&ids={second}", f'ids=["{first}","{second}"]'):
        assert ids_of(customer, query) == [second, first]
    assert ids_of(customer, "source=studio") == [first]
    assert ids_of(customer, "status=PENDING,PROCESSING") == []
    assert ids_of(customer, "limit=2") == [third, second]
    assert ids_of(customer, f"limit=2&cursor={second}") == [first]
    assert customer.get("/v2/generations", params={"cursor": second}).status_code == 400
    assert customer.get("/v2/generations", params={"limit": 0}).status_code == 400
    assert customer.get("/v2/generations/count", params={"status": "COMPLETED"}).json() == {"count": 3}


def test_a_generation_is_deleted_only_when_it_has_ended(customer, order, voice_emulator):
    voice_emulator.settings(job_seconds=LONG)
    job = customer.post("/v2/generate", json=order).json()["id"]
    running = customer.delete(f"/v2/generations/{job}")
    assert (running.status_code, running.json()["errorCode"]) == (409, "generation_not_deletable_while_processing")
    voice_emulator.advance(LONG)
    result = customer.job(f"/v2/generations/{job}")["outputUrl"]
    assert customer.delete(f"/v2/generations/{job}").json() == {"id": job}
    assert customer.get(f"/v2/generate/{job}").json()["errorCode"] == "generation_not_found"
    assert web.get(result).status_code == 404
    assert len(voice_emulator.ledger()) == 1


def test_ids_are_uuids_and_foreign_generations_do_not_exist(customer, stranger, three_jobs):
    assert customer.get("/v2/generate/nonsense").json()["errorCode"] == "unsupported_generation_id_format"
    assert customer.get(f"/v2/generate/{UNKNOWN}").json()["errorCode"] == "generation_not_found"
    assert stranger.get(f"/v2/generate/{three_jobs[0]}").status_code == 404


def test_costs_are_estimated_in_every_variant(customer, order, voice_emulator):
    for path in ("/v2/generations/estimate", "/v2/generate/estimate-cost"):
        answer = customer.post(path, json={"model": "lipsync-2", "duration": 10, "fps": 25}).json()
        assert answer == {
            "estimatedFrameCount": 250,
            "estimatedGenerationCost": pytest.approx(0.5),
            "estimatedCredits": None,
        }
    (old,) = customer.post("/v2/analyze/cost", json=order).json()
    assert old["estimatedFrameCount"] == pytest.approx(75, abs=3)
    (text,) = customer.post(
        "/v2/analyze/cost", json=order | {"input": [order["input"][0], text_input("x", "a" * 150)]}
    ).json()
    assert text["estimatedFrameCount"] == 250
    unknown = customer.post("/v2/generations/estimate", json={"model": "new", "duration": 1})
    assert (unknown.status_code, unknown.json()["errorCode"]) == (422, "cost_estimate_unavailable")
    assert customer.post("/v2/generations/estimate", json={"model": "sync-3", "duration": 0}).status_code == 400
    assert voice_emulator.ledger() == []


def test_models_and_errors_are_published(customer, voice_emulator):
    models = customer.get("/v2/models").json()
    assert {"sync-3", "lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta", "react-1"} == {m["id"] for m in models}
    codes = web.get(f"{voice_emulator.url}/v2/errors").json()
    assert len({entry["code"] for entry in codes}) >= 62
    assert all(entry["message"] for entry in codes)


def test_batches_need_a_larger_plan(customer):
    for answer in (
        customer.post("/v2/batch", json={"rows": []}),
        customer.get("/v2/batch/x"),
        customer.get("/v2/batch"),
    ):
        assert (answer.status_code, answer.json()["errorCode"]) == (402, "plan_feature_unavailable")


def test_unknown_paths_are_answered_in_the_vendors_shape(customer):
    assert customer.get("/v2/nothing").json() == {
        "message": "Cannot GET /v2/nothing",
        "error": "Not Found",
        "statusCode": 404,
    }
    assert customer.put("/v2/voices").status_code == 404
