"""Every way in which sync. labs says no, read into the one tree: which retry, which fail, and what to do next."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from voice_provider.exceptions import (
    AuthError,
    ConcurrencyLimitError,
    InvalidInputError,
    KeyConflictError,
    KeyInUseError,
    NameTakenError,
    NotFoundError,
    PermanentVoiceError,
    QuotaError,
    RateLimitedError,
    ServiceUnavailableError,
    SlotLimitError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.services.base import Request, Response
from voice_provider.services.sync_labs.dialect import SyncLabs

CLONE, SPEAK = Request(method="POST", url="/v2/voices"), Request(method="POST", url="/v2/tts")
SPEAK_JOB, GENERATE = Request(method="POST", url="/v2/tts/jobs"), Request(method="POST", url="/v2/generate")
VOICE, ASSET = Request(method="GET", url="/v2/voices/V"), Request(method="DELETE", url="/v2/assets/A")
PRESIGN, MODELS = Request(method="POST", url="/v2/assets/upload"), Request(method="GET", url="/v2/models")
VOICES = Request(method="GET", url="/v2/voices")
PUT = Request(method="PUT", url="https://uploads.sync.so/1?X-Amz-Signature=s3cret", public=True)
GET = Request(method="GET", url="https://assets.sync.so/1?sig=s3cret", public=True)
PAGE = "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"
XML = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'


def answer(status: int, body: Any = None, **headers: str) -> Response:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=headers, content=content)


def read(request: Request, status: int, body: Any = None, **headers: str) -> VoiceError:
    response = answer(status, body, **headers)
    assert request.public or SyncLabs({}).speaks(request, response), "nothing else is ever read"
    return SyncLabs({}).error(request, response)


def said(status: int, message: Any, code: str | None = None, **more: Any) -> dict[str, Any]:
    return {"message": message, "statusCode": status, **({"errorCode": code} if code else {}), **more}


# who speaks


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 500, 502, 503, 504])
def test_its_own_words_are_a_message_and_the_status_once_more(status: int) -> None:
    service = SyncLabs({})
    for body in (
        said(status, "No"),
        said(status, ["No", "Neither"]),
        said(status, "No", "a_code_of_next_year", requestId="r", suggestion="Try", field="x", error="Bad Request"),
    ):
        for headers in ({}, {"content_type": "application/json; charset=utf-8"}):
            assert service.speaks(SPEAK, answer(status, body, **headers))


FOREIGN: list[tuple[Any, dict[str, str]]] = [
    (None, {}),
    ("", {}),
    (PAGE, {}),
    (PAGE, {"content_type": "text/html"}),
    (said(404, "Not Found"), {"content_type": "text/html; charset=utf-8"}),
    ("404 page not found", {"content_type": "text/plain"}),
    ("upstream connect error or disconnect/reset before headers", {"content_type": "text/plain"}),
    ("{broken", {}),
    ([], {}),
    ([said(404, "No")], {}),
    ("null", {}),
    ("404", {}),
    ({}, {}),
    ({"message": "Forbidden"}, {}),  # Amazon's API Gateway
    ({"message": "no Route matched with those values", "request_id": "1"}, {}),  # Kong
    ({"error": "Not Found", "status": 404, "path": "/v2/x", "timestamp": "now"}, {}),  # Spring
    ({"detail": "Not Found"}, {}),  # FastAPI
    ({"status": 404, "message": "Model not found"}, {}),  # the other service
    ({"message": "No", "statusCode": 200}, {}),
    ({"message": "No", "statusCode": "404"}, {}),
    ({"message": "No", "statusCode": True}, {}),
    ({"message": "No", "statusCode": None}, {}),
    ({"statusCode": 404}, {}),
    ({"message": None, "statusCode": 404}, {}),
    ({"message": {"text": "No"}, "statusCode": 404}, {}),
    ({"message": [], "statusCode": 404}, {}),
    ({"message": ["No", 1], "statusCode": 404}, {}),
    ({"errorCode": "voice_not_found", "statusCode": 404}, {}),
    ("[" * 100_000, {}),
]


@pytest.mark.parametrize(("body", "headers"), FOREIGN)
@pytest.mark.parametrize("request_", [SPEAK, VOICE, ASSET], ids=str)
def test_whatever_has_another_form_is_not_its_word(request_: Request, body: Any, headers: dict[str, str]) -> None:
    assert not SyncLabs({}).speaks(request_, answer(404, body, **headers))


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
@pytest.mark.parametrize(
    ("status", "message", "code", "gone"),
    [
        (404, "No voice", "voice_not_found", True),
        (404, "Nothing", "generation_not_found", True),
        (404, "There is no such speech job.", None, True),
        (404, "Voice not found", None, True),
        (404, "Cannot DELETE /v2/voices/V", None, False),
        (404, "Cannot GET /v2/v2/assets/A", None, False),
        (404, "Not Found", None, False),
        (404, "No", "a_code_of_next_year", False),
        (405, "Cannot DELETE /v2/voices/V", None, False),
        (405, "Method Not Allowed", None, False),
    ],
)
def test_a_404_that_names_no_thing_is_about_the_address(
    method: str, status: int, message: str, code: str | None, gone: bool
) -> None:
    error = read(Request(method=method, url="/v2/voices/V"), status, said(status, message, code))
    if gone:
        assert type(error) is NotFoundError
    else:
        assert isinstance(error, ServiceUnavailableError)
        assert (error.sent, error.foreign) == (False, False)
        assert "It has no such route: the base URL of the connection is wrong" in str(error)
        assert "deleted" not in str(error)


@pytest.mark.parametrize("code", ["voice_not_found", "voice_clone_limit_reached", "account_payment_required"])
def test_a_code_does_not_turn_a_failure_of_the_service_into_a_refusal(code: str) -> None:
    error = read(SPEAK, 503, said(503, "No", code), retry_after="4")
    assert isinstance(error, ServiceUnavailableError)
    assert (error.sent, error.retry_after) == (True, 4)


@pytest.mark.parametrize("request_", [GENERATE, SPEAK_JOB], ids=str)
def test_another_key_is_never_advised(request_: Request) -> None:
    body = said(409, "Reused", "IDEMPOTENCY_KEY_REUSED", suggestion="Use a new key for a new request.")
    error = read(replace(request_, headers={"idempotency-key": "k"}), 409, body)
    assert isinstance(error, KeyConflictError)
    assert error.doubtful  # something was accepted under the key
    assert "new key" not in str(error)
    assert "Another request was accepted under the key" in str(error)


@pytest.mark.parametrize("code", ["generation_conflict", "IDEMPOTENCY_IN_PROGRESS", "a_code_of_next_year", None])
def test_every_other_conflict_of_an_order_is_waited_for(code: str | None) -> None:
    error = read(replace(GENERATE, headers={"idempotency-key": "k"}), 409, said(409, "Busy", code))
    assert isinstance(error, KeyInUseError)
    assert error.sent


# what it says


@pytest.mark.parametrize(
    ("request_", "status", "body", "kind", "message"),
    [
        # 400
        (SPEAK, 400, said(400, ["script too long", "voiceId missing"]), InvalidInputError, "too long; voiceId missing"),
        (CLONE, 400, said(400, "No", "voice_sample_too_short"), InvalidInputError, "30 s to 2 minutes of one clear"),
        (CLONE, 400, said(400, "No", "voice_sample_invalid"), InvalidInputError, "would be refused again"),
        (SPEAK, 400, said(400, "No", "voice_access_denied"), InvalidInputError, "Correct the input"),
        (GENERATE, 400, said(400, "No", "INVALID_IDEMPOTENCY_KEY"), InvalidInputError, "400: No"),
        (GENERATE, 400, said(400, "No", field="options.sync_mode"), InvalidInputError, r"No \(argument sync_mode\)\."),
        (SPEAK, 400, said(400, "No", field="voiceId"), InvalidInputError, r"No \(argument voice_id\)\."),
        (GENERATE, 400, said(400, "No", field="input"), InvalidInputError, r"No \(field input\)\."),
        # 401, both bodies
        (MODELS, 401, said(401, "Unauthorized"), AuthError, "401: Unauthorized. Check the API key and the base URL"),
        (
            MODELS,
            401,
            said(401, "Either Cookie or x-api-key header must be provided", error="Unauthorized"),
            AuthError,
            "x-api-key header must be provided. Check the API key",
        ),
        # 402
        (SPEAK, 402, said(402, "No", "elevenlabs_quota_exceeded"), QuotaError, "402: No. Add credit"),
        (GENERATE, 402, said(402, "No", "free_tier_generations_exhausted"), QuotaError, "Add credit"),
        (GENERATE, 402, said(402, "No", "a_code_of_next_year"), QuotaError, "Add credit"),
        (GENERATE, 402, said(402, ""), QuotaError, "402 without an explanation"),
        (GENERATE, 422, said(422, "No", "plan_feature_unavailable"), QuotaError, "change the plan"),
        # 403
        (
            CLONE,
            403,
            said(403, "Limit", "voice_clone_limit_reached"),
            SlotLimitError,
            "DeleteVoiceOperator.*free at on",
        ),
        (CLONE, 403, said(403, "Voice limit reached"), SlotLimitError, "clone limit of the plan is reached"),
        (VOICES, 403, said(403, "Forbidden"), AuthError, "Check the API key"),
        (ASSET, 403, said(403, "Not yours", "asset_forbidden"), AuthError, "Not yours. Check the API key"),
        # 404
        (VOICE, 404, said(404, "No voice", "voice_not_found"), NotFoundError, "No voice. Check the id"),
        (ASSET, 404, said(404, "No asset", "asset_not_found"), NotFoundError, "Check the id"),
        (GENERATE, 404, said(404, "No", "generation_not_found"), NotFoundError, "another account"),
        # 409
        (CLONE, 409, said(409, "Taken", "voice_name_conflict"), NameTakenError, "Choose another name, or delete"),
        (ASSET, 409, said(409, "Busy", "generation_not_deletable_while_processing"), InvalidInputError, "Busy"),
        # 413
        (CLONE, 413, said(413, "Too large", "voice_sample_source_too_large"), InvalidInputError, "413: Too large"),
        # 422
        (SPEAK, 422, said(422, "No voice", "voice_not_found"), NotFoundError, "Check the id"),
        (CLONE, 422, said(422, "No", "voice_sample_upload_required"), InvalidInputError, "own storage: pass a storage"),
        (CLONE, 422, said(422, "No", "voice_sample_not_accessible"), InvalidInputError, "Correct the input"),
        (CLONE, 422, said(422, "No", "voice_sample_type_unsupported"), InvalidInputError, "Correct the input"),
        (CLONE, 422, said(422, "No", "voice_verification_required"), InvalidInputError, "Correct the input"),
        (GENERATE, 422, said(422, "No", "project_not_found"), NotFoundError, "Check the id"),
        (PRESIGN, 422, said(422, "No", "file_size_exceeds_plan_limit"), InvalidInputError, "422: No"),
        (ASSET, 422, said(422, "No", "uploaded_file_not_found"), InvalidInputError, "run the task again"),
        # 429
        (SPEAK, 429, said(429, "Rate", "rate_limit_exceeded"), RateLimitedError, "too many requests to sync. labs"),
        (CLONE, 429, said(429, "Busy", "voice_clone_busy"), RateLimitedError, "too many requests"),
        (
            GENERATE,
            429,
            said(429, "Full", "concurrency_limit_reached"),
            ConcurrencyLimitError,
            "the new one was not accepted",
        ),
        # 5xx
        (SPEAK, 500, said(500, "Oops", "internal_error", requestId="r-1"), ServiceUnavailableError, "requestId r-1"),
        (SPEAK, 503, said(503, "Down", "elevenlabs_service_unavailable"), ServiceUnavailableError, "503: Down"),
        (SPEAK, 504, said(504, "Slow", "elevenlabs_service_unavailable"), ServiceUnavailableError, "504: Slow"),
        (SPEAK, 502, said(502, "Down", "controller_dependency_error"), ServiceUnavailableError, "502: Down"),
        (GENERATE, 503, said(503, "?", "IDEMPOTENCY_OUTCOME_UNKNOWN"), ServiceUnavailableError, "503"),
        (
            SPEAK_JOB,
            503,
            said(503, "Off", "async_tts_not_enabled"),
            ServiceUnavailableError,
            "set tts_mode to 'direct'",
        ),
        (SPEAK, 418, said(418, "Teapot"), ServiceUnavailableError, "418: Teapot"),
        # the storage host, which speaks XML
        (
            PUT,
            403,
            XML,
            ServiceUnavailableError,
            r"upload to .* refused \(403\).*expired.*next try asks for a new link",
        ),
        (GET, 403, XML, ServiceUnavailableError, r"download from .* refused \(403\)"),
        (GET, 410, "", ServiceUnavailableError, r"refused \(410\)"),
        (GET, 404, XML, ServiceUnavailableError, "download from the service's storage failed with 404"),
        (PUT, 503, XML, ServiceUnavailableError, "upload to the service's storage failed with 503"),
        (PUT, 429, "", RateLimitedError, "The file transfer: too many requests"),
    ],
)
def test_a_refusal_becomes_the_error_that_says_what_to_do(
    request_: Request, status: int, body: Any, kind: type[VoiceError], message: str
) -> None:
    error = read(request_, status, body)
    assert type(error) is kind
    assert error.status == status
    with pytest.raises(kind, match=message):
        raise error
    text = str(error)
    assert "\n" not in text
    assert "s3cret" not in text
    if not request_.public:
        assert text.startswith(f"{request_.method} {request_.url}: ")


@pytest.mark.parametrize(("status", "retries"), [(400, False), (401, False), (402, False), (500, True), (429, True)])
def test_only_what_may_pass_is_worth_a_retry(status: int, retries: bool) -> None:
    error = read(SPEAK, status, said(status, "No"))
    assert isinstance(error, TransientVoiceError if retries else PermanentVoiceError)


@pytest.mark.parametrize("field", ["errorCode", "error_code"])
def test_the_code_is_read_under_both_names_and_kept(field: str) -> None:
    error = read(CLONE, 409, {"message": "Taken", "statusCode": 409, field: "voice_name_conflict", "requestId": "r-2"})
    assert (type(error), error.error_code, error.request_id) == (NameTakenError, "voice_name_conflict", "r-2")


@pytest.mark.parametrize("code", [None, "", 7, {"odd": 1}, ["x"]])
def test_a_code_in_an_odd_form_does_not_hide_the_refusal(code: Any) -> None:
    assert type(read(SPEAK, 422, said(422, "No", errorCode=code))) is InvalidInputError


def test_a_long_message_is_cut() -> None:
    assert len(str(read(SPEAK, 400, said(400, "x" * 100_000)))) < 1000


def test_the_services_own_advice_is_passed_on_where_ours_says_nothing_better() -> None:
    advice = {"suggestion": "Record without music."}
    assert "Record without music." in str(read(CLONE, 422, said(422, "No", "voice_sample_invalid", **advice)))
    assert "Record without" not in str(read(CLONE, 400, said(400, "No", "voice_sample_too_short", **advice)))


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        (said(429, "Rate", "rate_limit_exceeded"), {}, None),
        (said(429, "Rate", "rate_limit_exceeded"), {"retry_after": "7"}, 7.0),
        (said(429, "Rate", "rate_limit_exceeded"), {"retry_after": "0"}, 0.0),
        (said(429, "Rate", "rate_limit_exceeded", retryAfterSeconds=9), {}, 9.0),
        (said(429, "Rate", "rate_limit_exceeded", retryAfterSeconds=9), {"retry_after": "7"}, 7.0),
        (said(429, "Rate", "rate_limit_exceeded", retryAfterSeconds="soon"), {}, None),
    ],
)
def test_the_time_to_wait_comes_from_the_header_and_else_from_the_body(
    body: Any, headers: dict[str, str], seconds: float | None
) -> None:
    error = read(SPEAK, 429, body, **headers)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == seconds
    assert ("asks to wait" in str(error)) is (seconds is not None)


def test_too_many_jobs_says_how_many_and_that_nothing_was_accepted() -> None:
    body = said(429, "Full", "concurrency_limit_reached", activeGenerations=3, concurrencyLimit=3, retryAfterSeconds=20)
    error = read(GENERATE, 429, body)
    assert isinstance(error, ConcurrencyLimitError)
    assert error.retry_after == 20
    assert "3 of 3 jobs are running; the new one was not accepted. It asks to wait 20 s." in str(error)


def test_a_lost_outcome_names_the_job_that_was_accepted() -> None:
    error = read(GENERATE, 503, said(503, "Unknown", "IDEMPOTENCY_OUTCOME_UNKNOWN", generationId="G"))
    assert isinstance(error, ServiceUnavailableError)
    assert (error.job_id, error.sent) == ("G", True)
