"""Every way in which Fish Audio says no, read into the one tree: which retry, which fail, and what to do next."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest

from voice_provider.exceptions import (
    AuthError,
    ConcurrencyLimitError,
    InvalidInputError,
    NotFoundError,
    PermanentVoiceError,
    QuotaError,
    ServiceUnavailableError,
    SlotLimitError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.services.base import Request, Response
from voice_provider.services.fish_audio.dialect import FishAudio

SPEAK, HEAR = Request(method="POST", url="/v1/tts"), Request(method="POST", url="/v1/asr")
CLONE, VOICE = Request(method="POST", url="/model"), Request(method="GET", url="/model/V")
VOICES = Request(method="GET", url="/model?self=true", params={"self": "true"})
CREDIT = Request(method="GET", url="/wallet/self/api-credit")
REQUESTS = [SPEAK, HEAR, CLONE, VOICE, VOICES, CREDIT, Request(method="DELETE", url="/model/V")]

PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>s3cret</body></html>"
BUSY = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body></body></html>\r\n"
NO_CREDIT = (
    "Insufficient API credit. API credit is managed independently from platform credit. Please visit "
    "https://fish.audio/app/developers to view your API credit balance or add funds."
)
UNPACKABLE = (
    "Failed to parse the request body as MsgPack: data did not match any variant of untagged enum MultiSpeakerReference"
)
HTML = {"content_type": "text/html; charset=UTF-8"}


def read(request: Request, status: int, body: Any = None, **headers: str) -> VoiceError:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return FishAudio({}).error(request, Response(status=status, headers=headers, content=content))


def said(status: int, message: Any, **more: Any) -> dict[str, Any]:
    return {"status": status, "message": message, **more}


def field(place: Any, message: str | None = "Field required", kind: str = "missing", **more: Any) -> dict[str, Any]:
    return {"type": kind, "loc": place, **({"msg": message} if message else {}), **more}


@pytest.mark.parametrize(
    ("request_", "status", "body", "kind", "message"),
    [
        # 400: the inference
        (SPEAK, 400, said(400, "missing field `text`"), InvalidInputError, "400: missing field `text`. Correct the"),
        (
            SPEAK,
            400,
            said(400, "Invalid sample rate 22050 for format audio/mpeg, supported: 32000, 44100"),
            InvalidInputError,
            "would be refused again. Nothing was paid",
        ),
        (SPEAK, 400, said(400, "Reference not found"), NotFoundError, "Reference not found. Check the voice_id"),
        (SPEAK, 400, said(400, "Reference Not Found."), NotFoundError, "Check the voice_id"),
        (SPEAK, 422, said(422, "Reference Audio is not valid"), InvalidInputError, "422: Reference Audio is not"),
        (SPEAK, 400, said(400, "Reference audio too long"), InvalidInputError, "Reference audio too long. Correct"),
        (SPEAK, 400, UNPACKABLE, InvalidInputError, "request body as MsgPack: .*MultiSpeakerReference. Correct the"),
        (SPEAK, 400, None, InvalidInputError, "400 without an explanation. Correct the input"),
        (
            HEAR,
            400,
            said(400, "Audio is too short", code="audio_too_short", request_id="r"),
            InvalidInputError,
            "too short",
        ),
        # 401: JSON here, plain text there, and nothing at all
        (SPEAK, 401, said(401, "Invalid Token"), AuthError, "401: Invalid Token. Check the API key and the base URL"),
        (SPEAK, 401, said(401, "Invalid Token", reason=None), AuthError, "401: Invalid Token. Check"),
        (
            SPEAK,
            401,
            said(401, "Invalid Token", reason="expired"),
            AuthError,
            r"401: Invalid Token \(expired\). Check",
        ),
        (
            VOICES,
            401,
            HTTPStatus.UNAUTHORIZED.description,
            AuthError,
            "401: No permission -- see authorization schemes. Check the API key",
        ),
        (CREDIT, 401, None, AuthError, "401 without an explanation. Check the API key"),
        # 402, both texts
        (
            SPEAK,
            402,
            said(402, NO_CREDIT),
            QuotaError,
            "add funds. Nothing was paid. Add API credit at .*s2.1-pro-free",
        ),
        (HEAR, 402, said(402, "Invalid api key or insufficient balance"), QuotaError, "balance. Nothing was paid. Add"),
        (CLONE, 402, said(402, NO_CREDIT), QuotaError, "the credits of a plan do not pay for the API"),
        # 403
        (VOICE, 403, said(403, "Forbidden"), AuthError, "403: Forbidden. Check the API key"),
        (VOICE, 403, HTTPStatus.FORBIDDEN.description, AuthError, "403: Request forbidden -- authorization will not"),
        # 404
        (VOICE, 404, said(404, "Model not found"), NotFoundError, "Model not found. Check the voice_id: .*private to"),
        (VOICE, 404, HTTPStatus.NOT_FOUND.description, NotFoundError, "404: Nothing matches the given URI. Check"),
        (VOICE, 404, None, NotFoundError, "404 without an explanation. Check the voice_id"),
        # 405, 413, 415
        (VOICE, 405, said(405, "Method not allowed"), InvalidInputError, "405: Method not allowed"),
        (
            CLONE,
            413,
            "<html><title>413 Request Entity Too Large</title>",
            InvalidInputError,
            "413: a page '413 Request",
        ),
        (HEAR, 413, said(413, "Too large", code="request_too_large"), InvalidInputError, "413: Too large"),
        (SPEAK, 415, None, InvalidInputError, "415 without an explanation"),
        (HEAR, 415, said(415, "No", code="unsupported_media_type"), InvalidInputError, "415: No. Correct"),
        # 422: a list
        (CLONE, 422, [field(["voices"], **{"in": "body"})], InvalidInputError, "422: voices: Field required. Correct"),
        (CLONE, 422, [field(["body", "voices", 0])], InvalidInputError, r"422: body.voices.0: Field required"),
        (
            CLONE,
            422,
            [field(["title"]), field(["train_mode"], "Input should be 'fast'", "literal_error")],
            InvalidInputError,
            "422: title: Field required; train_mode: Input should be 'fast'. Correct",
        ),
        (VOICES, 422, [field(["page_size"], "Input should be less than or equal to 100")], InvalidInputError, "to 100"),
        (CLONE, 422, [field(["title"], None)], InvalidInputError, "422: title: missing"),
        (CLONE, 422, [field(["title"], None, "")], InvalidInputError, "422: title: not accepted"),
        (CLONE, 422, [field([], "Value error")], InvalidInputError, "422: Value error"),
        (CLONE, 422, [], InvalidInputError, "422 without an explanation"),
        (CLONE, 422, {"detail": "Invalid voice-design signature"}, InvalidInputError, "Invalid voice-design signature"),
        # 5xx
        (SPEAK, 500, said(500, "Oops"), ServiceUnavailableError, "500: Oops. If it stays so, ask its support"),
        (SPEAK, 502, "error code: 502", ServiceUnavailableError, "502: error code: 502. If"),
        (SPEAK, 503, said(503, "High load"), ServiceUnavailableError, "503: High load. If it stays so"),
        (SPEAK, 503, BUSY, ServiceUnavailableError, "503: a page '503 Service Temporarily Unavailable'"),
        (SPEAK, 504, "<html><body>slow</body></html>", ServiceUnavailableError, "504: a page. If it stays so"),
        (SPEAK, 524, None, ServiceUnavailableError, "524 without an explanation. If it stays so"),
        (SPEAK, 418, said(418, "Teapot"), ServiceUnavailableError, "418: Teapot. If it stays so, ask its support"),
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
    assert str(error).startswith(f"{request_.method} {request_.url.partition('?')[0]}: Fish Audio answered {status}")


STEPS = (
    "Check the API key",
    "Check the voice_id",
    "Add API credit",
    "Correct the input",
    "An Airflow pool",
    "ask its support",
    "the base URL of the connection may be wrong",
)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (None, {}),
        (PAGE, HTML),
        ("word " * 50_000, {}),
        ("x" * 100_000, {}),
        ("line\r\n" * 100, {}),
        (said(0, "line\r\n\n\tline " * 10), {}),
        (said(0, "sentence. " * 10_000, reason="r" * 1000), {}),
        ([field(["body", "x" * 1000], "y\n" * 1000)] * 100, {}),
        ({"message": {"deep": ["odd"] * 1000}}, {}),
        (said(0, "Denied..."), {"retry_after": "3", "x_fish_trace_id": "t" * 32}),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429, 500, 502, 503, 504, 599])
def test_every_refusal_is_one_short_line_with_a_next_step(status: int, body: Any, headers: dict[str, str]) -> None:
    for request in REQUESTS:
        text = str(read(request, status, body, **headers))
        assert len(text) < 900
        assert text == " ".join(text.split())
        assert text.endswith(".")
        assert "s3cret" not in text
        assert any(step in text[-400:] for step in STEPS)


@pytest.mark.parametrize(
    ("status", "retries"),
    [(400, False), (401, False), (402, False), (404, False), (422, False), (429, True), (500, True), (504, True)],
)
def test_only_what_may_pass_is_worth_a_retry(status: int, retries: bool) -> None:
    error = read(SPEAK, status, said(status, "No"))
    assert isinstance(error, TransientVoiceError if retries else PermanentVoiceError)


@pytest.mark.parametrize("body", ["[]", "null", "7", '"text"', "{broken", "[[]]", '["text"]', "[null]", "\xff", "{}"])
def test_a_body_in_an_odd_form_does_not_hide_the_refusal(body: str) -> None:
    assert type(read(SPEAK, 400, body)) is InvalidInputError
    assert type(read(SPEAK, 402, body)) is QuotaError


@pytest.mark.parametrize("place", [None, 5, "voices", {"odd": 1}, [], [None], [["x"]]])
def test_a_place_in_an_odd_form_does_not_hide_the_refusal(place: Any) -> None:
    error = read(CLONE, 422, [field(place)])
    assert type(error) is InvalidInputError
    assert "Field required" in str(error)


# too much at once


@pytest.mark.parametrize(
    ("headers", "seconds", "says"),
    [
        ({}, None, "at once; nothing was paid. An Airflow pool of that size"),
        ({"ratelimit_limit_concurrency": "5"}, None, r"at once \(its limit is 5 requests at a time, of all keys"),
        ({"retry_after": "7"}, 7.0, "It asks to wait 7 s. An Airflow pool"),
        ({"retry_after": "0"}, 0.0, "It asks to wait 0 s"),
        ({"retry_after": "-3"}, 0.0, "It asks to wait 0 s"),
        ({"retry_after": "0.5", "ratelimit_limit_concurrency": "15"}, 0.5, r"15 requests .*wait 0.5 s"),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, "An Airflow pool"),
        ({"retry_after": "soon"}, None, "nothing was paid. An Airflow pool"),
    ],
)
@pytest.mark.parametrize("body", [said(429, "You have exceeded your current concurrency limit"), "slow down", PAGE])
def test_too_many_at_once_is_waited_for_as_long_as_the_service_says(
    body: Any, headers: dict[str, str], seconds: float | None, says: str
) -> None:
    error = read(SPEAK, 429, body, **headers)
    assert type(error) is ConcurrencyLimitError
    assert error.retry_after == seconds
    assert ("asks to wait" in str(error)) is (seconds is not None)
    with pytest.raises(ConcurrencyLimitError, match=says):
        raise error


# slots


@pytest.mark.parametrize("status", [402, 403, 429])
@pytest.mark.parametrize(
    "message",
    [
        "Voice slot limit reached",
        "You have reached the maximum number of voice models for your plan",
        "Model quota exceeded: quota of 3 models is used up",
        "No slots left for another voice",
        "limit of private models reached",
    ],
)
def test_a_plan_without_a_free_slot_says_to_delete_a_voice(message: str, status: int) -> None:
    error = read(CLONE, status, said(status, message))
    assert type(error) is SlotLimitError
    assert f"{status}: {message}. Delete a voice that is no longer needed (DeleteVoiceOperator)." in str(error)


@pytest.mark.parametrize(
    ("request_", "status", "message", "kind"),
    [
        (CLONE, 429, "You have exceeded your current concurrency limit", ConcurrencyLimitError),
        (CLONE, 402, NO_CREDIT, QuotaError),
        (CLONE, 403, "Forbidden", AuthError),
        (CLONE, 503, "Voice slot limit service is down", ServiceUnavailableError),
        (CLONE, 422, "The maximum length of a voice's title is 100", InvalidInputError),
        (SPEAK, 429, "concurrency limit of this model", ConcurrencyLimitError),
        (Request(method="PATCH", url="/model/V"), 403, "limit of models", AuthError),
        (VOICES, 429, "limit of models", ConcurrencyLimitError),
    ],
)
def test_another_limit_is_not_taken_for_that_of_the_slots(
    request_: Request, status: int, message: str, kind: type[VoiceError]
) -> None:
    assert type(read(request_, status, said(status, message))) is kind


# what was begun, and what was not


@pytest.mark.parametrize(
    ("status", "sent"),
    [(500, False), (503, False), (502, True), (504, True), (520, True), (524, True), (408, True), (418, True)],
)
@pytest.mark.parametrize("body", [said(500, "No"), BUSY, None])
def test_only_what_was_certainly_not_begun_counts_as_not_sent(body: Any, status: int, sent: bool) -> None:
    error = read(SPEAK, status, body)
    assert isinstance(error, ServiceUnavailableError)
    assert error.sent is sent


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("request_", [SPEAK, VOICE, CLONE, CREDIT], ids=str)
def test_a_page_from_the_edge_means_that_the_service_never_saw_the_request(request_: Request, status: int) -> None:
    error = read(request_, status, PAGE, **HTML)
    assert isinstance(error, ServiceUnavailableError)
    assert not error.sent
    assert "page 'Just a moment...'" in str(error)
    assert "the base URL of the connection may be wrong, or the edge in front of Fish Audio blocks" in str(error)


@pytest.mark.parametrize("status", [401, 402, 413])
def test_a_page_does_not_hide_what_the_status_says_clearly(status: int) -> None:
    kinds: dict[int, type[VoiceError]] = {401: AuthError, 402: QuotaError, 413: InvalidInputError}
    assert type(read(SPEAK, status, PAGE, **HTML)) is kinds[status]


# what to quote


def test_the_code_and_the_trace_are_kept() -> None:
    error = read(SPEAK, 402, said(402, NO_CREDIT), x_fish_error_code="insufficient_balance", x_fish_trace_id="t-1")
    assert (error.error_code, error.request_id, error.status) == ("insufficient_balance", "t-1", 402)


def test_the_code_of_a_transcription_is_in_its_body() -> None:
    error = read(HEAR, 504, said(504, "Slow", code="upstream_timeout", request_id="r-1"))
    assert error.error_code == "upstream_timeout"


@pytest.mark.parametrize("code", [None, "", 7, {"odd": 1}, ["x"]])
def test_a_code_in_an_odd_form_does_not_hide_the_refusal(code: Any) -> None:
    assert type(read(HEAR, 400, said(400, "No", code=code))) is InvalidInputError
    assert read(HEAR, 400, said(400, "No", code=code)).error_code == (str(code) if code else None)


def test_a_failure_of_the_service_names_the_trace_for_its_support() -> None:
    assert "ask its support, and quote trace id t-2." in str(read(SPEAK, 500, None, x_fish_trace_id="t-2"))
    assert str(read(SPEAK, 500)).endswith("If it stays so, ask its support.")
