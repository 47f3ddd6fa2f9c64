"""The official Python SDK of sync. labs (`syncsdk`), unmodified, against the emulator: every call of both its clients.

Batches answer 402, as they do to every customer below the Scale plan. Refusals, and what the SDK does wrong, are in
`test_official_sdk_errors`.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from sync import AsyncSync, Sync
from sync.common import (
    ActiveSpeaker,
    Audio,
    ElevenLabs,
    GenerationOptions,
    GenerationSegment,
    SegmentAudioInput,
    Tts,
    Video,
)
from sync.common.errors import NotFoundError, PaymentRequiredError
from sync.core.api_error import ApiError
from sync.core.unchecked_base_model import construct_type
from sync.webhooks import GenerationNotification

from tests.emulator.customer import LINE, web
from tests.emulator.sdk_customer import assert_covered, clients

NOTHING = "6533643b-aceb-4c40-967e-d9ba9baac39e"
BATCH = ("rows.jsonl", b'{"request_id": "a", "endpoint": "/v2/generate", "payload": {}}\n', "application/jsonl")


@pytest.fixture(params=[Sync, AsyncSync])
def connect(request, voice_emulator):
    """Return a function that makes a client with a key, the emulator's customer's by default."""
    kind = request.param
    with clients(lambda key: kind(api_key=key, base_url=voice_emulator.url), asynchronous=kind is AsyncSync) as make:
        yield make


@pytest.fixture
def sdk(connect):
    return connect()


@pytest.fixture
def inputs(order) -> list:
    return [Video(url=order["input"][0]["url"]), Audio(url=order["input"][1]["url"])]


@pytest.fixture
def files(video, sample) -> dict:
    return {"video": ("v.mp4", video, "video/mp4"), "audio": ("a.wav", sample, "audio/wav")}


def finished(sdk, job_id: str):
    deadline = time.monotonic() + 10
    while (job := sdk.generations.get(job_id)).status in ("PENDING", "PROCESSING"):
        assert time.monotonic() < deadline
    return job


# Generations


def test_a_generation_is_created_and_collected(sdk, inputs, voice_emulator):
    options = GenerationOptions(sync_mode="cut_off", temperature=0.7, occlusion_detection_enabled=True)
    job = sdk.generations.create(model="lipsync-2", input=inputs, options=options, output_file_name="sdk")
    assert job.status == "PENDING"
    done = finished(sdk, job.id)
    assert (done.status, done.model, done.options.sync_mode) == ("COMPLETED", "lipsync-2", "cut_off")
    assert (done.input, done.created_at) == (inputs, job.created_at)
    assert done.output_duration == pytest.approx(3, abs=0.1)
    assert web.get(done.output_url).content[4:8] == b"ftyp"
    (bill,) = voice_emulator.ledger("lip_sync")
    assert bill["job_id"] == job.id


def test_generations_are_listed_by_status_and_id(sdk, inputs, voice_emulator):
    voice_emulator.fault("job_failed", "/v2/generate")
    failed, done = (sdk.generations.create(model="lipsync-2", input=inputs).id for _ in range(2))
    voice_emulator.wait_idle()

    def found(**query):
        return [job.id for job in sdk.generations.list(**query)]

    assert found() == [done, failed]
    assert found(status=["COMPLETED"]) == [done]
    assert found(status=["COMPLETED", "FAILED"]) == [done, failed]
    assert found(ids=[failed]) == [failed]
    assert found(ids=[failed, done], status=["PENDING"]) == []


def test_assets_and_segments(sdk, customer, video, sample):
    visual = customer.asset(video, "v.mp4", "video/mp4")["id"]
    sound = customer.asset(sample)["id"]
    segment = GenerationSegment(
        start_time=0, end_time=2, audio_input=SegmentAudioInput(ref_id="a", start_time=0, end_time=2)
    )
    job = sdk.generations.create(
        model="lipsync-2-pro",
        input=[Video(asset_id=visual), Audio(asset_id=sound, ref_id="a")],
        segments=[segment],
        options=GenerationOptions(active_speaker_detection=ActiveSpeaker(auto_detect=True)),
    )
    done = finished(sdk, job.id)
    assert (done.status, done.segments) == ("COMPLETED", [segment])


def test_text_inputs_are_spoken(sdk, order, customer, voice_emulator):
    voice = ElevenLabs(voice_id=customer.builtin(), script=LINE, stability=0.2, similarity_boost=0.9)
    picture = Video(url=order["input"][0]["url"])
    job = sdk.generations.create(model="lipsync-2", input=[picture, Tts(provider=voice)])
    assert finished(sdk, job.id).status == "COMPLETED"
    assert [line["kind"] for line in voice_emulator.ledger()] == ["lip_sync"]


@pytest.mark.parametrize("hook", [{}, {"webhook_url": "https://example.org/hook"}])
def test_files_in_a_form(sdk, files, hook):
    job = sdk.generations.create_with_files(model="lipsync-2", **files, **hook)
    done = finished(sdk, job.id)
    assert (done.status, done.webhook_url) == ("COMPLETED", hook.get("webhook_url"))


def test_costs_are_estimated_without_any(sdk, inputs, voice_emulator):
    options = GenerationOptions(sync_mode="loop")
    (cost,) = sdk.generations.estimate_cost(model="lipsync-2", input=inputs, options=options, output_file_name="sdk")
    assert cost.estimated_frame_count == 75
    assert cost.estimated_generation_cost > 0
    assert voice_emulator.ledger() == []


def test_notifications_are_what_the_sdk_expects(sdk, inputs):
    arrived: queue.Queue[bytes] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            arrived.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        job = sdk.generations.create(model="lipsync-2", input=inputs, webhook_url=url)
        body = json.loads(arrived.get(timeout=5))
        server.shutdown()
    told = construct_type(type_=GenerationNotification, object_=body)
    assert (told.id, told.status, told.model, told.input) == (job.id, "COMPLETED", "lipsync-2", inputs)
    assert (told.created_at, told.error, told.error_code) == (job.created_at, None, None)
    assert web.get(told.output_url).status_code == 200


# Assets, models, batches


def test_assets_are_listed_and_looked_at(sdk, customer, sample, video):
    first, second = customer.asset(sample, name="First"), customer.asset(sample, name="Second")
    picture = customer.asset(video, "v.mp4", "video/mp4")

    def page(**query):
        found = sdk.assets.list(**query)
        return [asset.id for asset in found.items], found.total_count, found.next_cursor

    ids, count, cursor = page(limit=1, types=["AUDIO", "VIDEO"], sort_by="dateAsc")
    assert (ids, count) == ([first["id"]], 3)
    ids, _, cursor = page(limit=2, cursor=cursor, types=["AUDIO", "VIDEO"], sort_by="dateAsc")
    assert (ids, cursor) == ([second["id"], picture["id"]], None)
    assert page(types=["VIDEO"])[0] == [picture["id"]]
    assert page(search_query="sec")[0] == [second["id"]]
    assert page(project_id=NOTHING)[0] == []
    asset = sdk.assets.get(picture["id"])
    assert (asset.type, asset.visibility, asset.format, asset.input_type) == ("VIDEO", "USER", "mp4", "UPLOAD")
    assert (asset.size, asset.duration_seconds) == (len(video), pytest.approx(3, abs=0.1))
    assert (asset.width, asset.height) == (320, 180)
    assert web.get(asset.url).content == video


def test_models_are_listed(sdk):
    models = {model.id: model for model in sdk.models.list()}
    assert models.keys() >= {"sync-3", "lipsync-2", "lipsync-2-pro", "react-1"}
    assert (models["lipsync-2"].type, models["react-1"].type) == ("lipsync", "react")
    assert not any(model.deprecated_at for model in models.values())


def test_batches_need_a_plan_that_the_emulators_customer_does_not_have(sdk):
    with pytest.raises(PaymentRequiredError) as refused:
        sdk.batch.create(input=BATCH, webhook_url="https://example.org/hook", dry_run=True)
    assert refused.value.body.message == "Batches need the Scale plan."
    for call in (lambda: sdk.batch.get(NOTHING), lambda: sdk.batch.list(status="COMPLETED")):
        with pytest.raises(ApiError) as refused:
            call()
        assert (refused.value.status_code, refused.value.body["errorCode"]) == (402, "plan_feature_unavailable")


def test_batches_of_a_customer_who_has_it_are_read(sdk, voice_emulator):
    # The emulator makes none; their answers are as the contract has them.
    batch = {
        "id": NOTHING,
        "created_at": "2026-10-02T09:30:00Z",
        "status": "PROCESSING",
        "metrics": {"total_generations": 20, "success_count": 5, "failed_count": 1, "pending_count": 14},
        "outputUrl": "https://example.org/rows.jsonl",
    }
    for method, path, body in (("POST", "", batch), ("GET", "/*", batch), ("GET", "", [batch])):
        voice_emulator.fault("status", f"/v2/batch{path}", method=method, status=200, body=body)
    made = sdk.batch.create(input=BATCH)
    assert (made.id, made.status, made.metrics.pending_count) == (NOTHING, "PROCESSING", 14)
    assert sdk.batch.get(NOTHING) == sdk.batch.list()[0] == made


def test_raw_responses_have_the_same_data_and_headers(sdk, inputs, files, customer, sample):
    asset = customer.asset(sample)["id"]
    job = sdk.generations.create(model="lipsync-2", input=inputs)
    made = sdk.generations.with_raw_response.create(model="lipsync-2", input=inputs)
    assert (made.data.status, made.headers["content-type"]) == ("PENDING", "application/json")
    assert sdk.generations.with_raw_response.create_with_files(model="lipsync-2", **files).data.status == "PENDING"
    for done in (made.data, job):
        assert finished(sdk, done.id).status == "COMPLETED"
    assert sdk.generations.with_raw_response.get(job.id).data == sdk.generations.get(job.id)
    assert sdk.generations.with_raw_response.list(ids=[job.id]).data == sdk.generations.list(ids=[job.id])
    cost = sdk.generations.with_raw_response.estimate_cost(model="lipsync-2", input=inputs)
    assert cost.data == sdk.generations.estimate_cost(model="lipsync-2", input=inputs)
    assert sdk.assets.with_raw_response.list().data == sdk.assets.list()
    assert sdk.assets.with_raw_response.get(asset).data == sdk.assets.get(asset)
    assert sdk.models.with_raw_response.list().data == sdk.models.list()
    with pytest.raises(PaymentRequiredError):
        sdk.batch.with_raw_response.create(input=BATCH)
    with pytest.raises(ApiError):
        sdk.batch.with_raw_response.get(NOTHING)
    with pytest.raises(ApiError):
        sdk.batch.with_raw_response.list()


# Options of a request


def test_options_of_a_single_request(sdk, voice_emulator, inputs, customer, sample):
    voice_emulator.add_account("stranger", "elsewhere")
    asset = customer.asset(sample)["id"]
    with pytest.raises(NotFoundError):
        sdk.assets.get(asset, request_options={"additional_headers": {"x-api-key": "stranger"}})
    assert sdk.assets.list(request_options={"additional_query_parameters": {"types": "VIDEO"}}).items == []
    more = {"additional_body_parameters": {"outputFileName": "more"}}
    assert sdk.generations.create(model="lipsync-2", input=inputs, request_options=more).outputFileName == "more.mp4"
    voice_emulator.fault("slow", "/v2/models", seconds=1)
    with pytest.raises(httpx.ReadTimeout):
        sdk.models.list(request_options={"timeout_in_seconds": 0.1})


def test_a_request_is_tried_again(sdk, voice_emulator):
    voice_emulator.fault("status", "/v2/models", status=503, times=2, headers={"retry-after": "0"})
    assert sdk.models.list(request_options={"max_retries": 4})
    assert [entry["status"] for entry in voice_emulator.requests("/v2/models")] == [503, 503, 200]


PLAIN = {
    "assets.get": test_assets_are_listed_and_looked_at,
    "assets.list": test_assets_are_listed_and_looked_at,
    "batch.create": test_batches_of_a_customer_who_has_it_are_read,
    "batch.get": test_batches_of_a_customer_who_has_it_are_read,
    "batch.list": test_batches_of_a_customer_who_has_it_are_read,
    "generations.create": test_a_generation_is_created_and_collected,
    "generations.create_with_files": test_files_in_a_form,
    "generations.estimate_cost": test_costs_are_estimated_without_any,
    "generations.get": test_raw_responses_have_the_same_data_and_headers,
    "generations.list": test_generations_are_listed_by_status_and_id,
    "models.list": test_models_are_listed,
}
RAW = {call.replace(".", ".with_raw_response."): test_raw_responses_have_the_same_data_and_headers for call in PLAIN}


@pytest.mark.parametrize("client", [Sync, AsyncSync])
def test_every_call_that_the_sdk_has_is_covered(client):
    assert_covered(client(api_key="any"), "sync", PLAIN | RAW)
