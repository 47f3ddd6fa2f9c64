"""The official Python SDK of sync. labs (`syncsdk`), unmodified, against the emulator: refusals.

What does not work is the SDK's doing, and each has a test below that shows it:

- `create_with_files` cannot send `options` or `input`.
- A form that is sent again after an error has lost its fields.
- `max_retries` of 1 and 2 try nothing again, and `retry-after-ms` is not understood.
- The code of a failed generation is read from `error_code`, which the service calls `errorCode` (the emulator's setting
  `error_code_field` has both).
- Errors other than 400, 401, 404 and 500 have no type of their own but at batches, nor has 400 at assets.
"""

from __future__ import annotations

import time

import pytest
from sync import AsyncSync, Sync
from sync.common import Audio, GenerationOptions, Video
from sync.common.errors import (
    BadRequestError,
    InternalServerError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)
from sync.core.api_error import ApiError

from tests.emulator.sdk_customer import clients

NOTHING = "6533643b-aceb-4c40-967e-d9ba9baac39e"
BATCH = ("rows.jsonl", b"{}", "application/jsonl")


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


def test_errors_are_the_sdks_own_types(connect, sdk, inputs, voice_emulator):
    with pytest.raises(BadRequestError) as wrong:
        sdk.generations.create(model="lipsync-0", input=inputs)
    assert wrong.value.body.status_code == 400
    assert wrong.value.body.message
    for call in (sdk.generations.get, sdk.assets.get):
        with pytest.raises(NotFoundError):
            call(NOTHING)
    nobody = connect("wrong")
    for call in (nobody.models.list, nobody.assets.list, nobody.generations.list, nobody.batch.list):
        with pytest.raises(UnauthorizedError):
            call()
    voice_emulator.settings(concurrency=0)
    with pytest.raises(ApiError) as busy:
        sdk.generations.create(model="lipsync-2", input=inputs)
    assert (busy.value.status_code, busy.value.body["errorCode"]) == (429, "concurrency_limit_reached")
    voice_emulator.fault("status", "/v2/models", status=500)
    with pytest.raises(InternalServerError) as broken:
        sdk.models.list()
    assert broken.value.body.status_code == 500
    voice_emulator.fault("status", "/v2/batch", status=429)
    with pytest.raises(TooManyRequestsError):
        sdk.batch.create(input=BATCH)


def test_a_page_instead_of_an_answer_is_told_as_it_is(sdk, voice_emulator):
    voice_emulator.fault("html", "/v2/models")
    with pytest.raises(ApiError) as blocked:
        sdk.models.list()
    assert (blocked.value.status_code, "you have been blocked" in blocked.value.body) == (403, True)


# What the SDK does wrong


@pytest.mark.parametrize("field", ["options", "input"])
def test_sdk_bug_a_form_cannot_hold_structures(sdk, files, inputs, field):
    # They are handed to httpx as they are, not as JSON; so only files, the model and the webhook can be sent.
    fields = {"options": GenerationOptions(sync_mode="loop")} if field == "options" else {"input": inputs}
    with pytest.raises(TypeError, match="Expected primitive type"):
        sdk.generations.create_with_files(model="lipsync-2", **files, **fields)


def test_sdk_bug_inputs_without_files_are_sent_as_python(sdk, inputs):
    # Without a file there is no multipart, and httpx writes what it is given with `str`.
    with pytest.raises(BadRequestError):
        sdk.generations.create_with_files(model="lipsync-2", input=inputs)


def test_sdk_bug_a_form_that_is_sent_again_has_lost_its_fields(sdk, voice_emulator, files):
    # Everything is handed on to the second request but `data`.
    voice_emulator.fault("status", "/v2/generate", status=503, headers={"retry-after": "0"})
    with pytest.raises(BadRequestError, match="model: Field required"):
        sdk.generations.create_with_files(model="lipsync-2", **files, request_options={"max_retries": 3})


@pytest.mark.parametrize("retries", [1, 2])
def test_sdk_bug_two_retries_are_none(sdk, voice_emulator, retries):
    # It counts from 2, so the third is the first.
    voice_emulator.fault("status", "/v2/models", status=503)
    with pytest.raises(ApiError):
        sdk.models.list(request_options={"max_retries": retries})
    assert len(voice_emulator.requests("/v2/models")) == 1


def test_sdk_bug_milliseconds_to_wait_are_not_understood(sdk, voice_emulator):
    # The header's text is compared to a number, and the error of that is swallowed.
    voice_emulator.fault("status", "/v2/models", status=503, headers={"retry-after-ms": "20000", "retry-after": "0"})
    began = time.monotonic()
    assert sdk.models.list(request_options={"max_retries": 3})
    assert time.monotonic() - began < 5


def test_sdk_bug_the_code_of_a_failure_is_looked_for_under_another_name(sdk, inputs, voice_emulator):
    # The specification of the SDK has `error_code`, the documentation of the service `errorCode`.
    voice_emulator.fault("job_failed", "/v2/generate", code="generation_timeout", body="Too late")
    job = sdk.generations.create(model="lipsync-2", input=inputs)
    voice_emulator.wait_idle()
    failed = sdk.generations.get(job.id)
    assert (failed.status, failed.error, failed.error_code) == ("FAILED", "Too late", None)
    assert failed.errorCode == "generation_timeout"
    voice_emulator.settings(error_code_field="error_code")
    assert sdk.generations.get(failed.id).error_code == "generation_timeout"


def test_sdk_bug_few_refusals_have_a_type(sdk, voice_emulator):
    # Its specification lists few of the statuses that the documentation has.
    with pytest.raises(ApiError) as wrong:
        sdk.assets.get("no-uuid")
    assert (type(wrong.value), wrong.value.status_code) == (ApiError, 400)
    for status in (402, 403, 409, 413, 422, 429, 503):
        voice_emulator.fault("status", "/v2/generations", status=status)
        with pytest.raises(ApiError) as wrong:
            sdk.generations.list()
        assert (type(wrong.value), wrong.value.status_code) == (ApiError, status)
