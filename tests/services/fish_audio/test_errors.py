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
PLAIN = {"content_type": "text/plain; charset=utf-8", "x_fish_trace_id": "t-0"}
STATUSES = [400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429, 500, 502, 503, 504, 599]


def answer(status: int, body: Any = None, **headers: str) -> Response:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=headers, content=content)


def read(request: Request, status: int, body: Any = None, **headers: str) -> VoiceError:
    headers |= PLAIN if isinstance(body, str) else {}
    response = answer(status, body, **headers)
    assert FishAudio({}).speaks(request, response), "nothing else is ever read"
    return FishAudio({}).error(request, response)


def said(status: int, message: Any, **more: Any) -> dict[str, Any]:
    return {"status": status, "message": message, **more}


def field(place: Any, message: str | None = "Field required", kind: str = "missing", **more: Any) -> dict[str, Any]:
    return {"type": kind, "loc": place, **({"msg": message} if message is not None else {}), **more}


# who speaks


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_its_own_words_are_a_message_and_the_status_once_more(request_: Request, status: int) -> None:
    for more in ({}, {"reason": None}, {"reason": "expired"}, {"code": "internal_error", "request_id": "r"}):
        assert FishAudio({}).speaks(request_, answer(status, said(status, "No", **more)))
        assert FishAudio({}).speaks(request_, answer(status, said(status, "No"), content_type="application/json"))


def test_the_fields_that_are_wrong_are_a_list_of_their_own() -> None:
    for items in ([field(["voices"], **{"in": "body"})], [field(["title"]), field([], "Odd")]):
        assert FishAudio({}).speaks(CLONE, answer(422, items))
        assert not FishAudio({}).speaks(CLONE, answer(400, items))
    for items in ([], [{}], ["text"], [None], [field(["title"]), {}], [{"loc": [], "msg": "No"}]):
        assert not FishAudio({}).speaks(CLONE, answer(422, items))


@pytest.mark.parametrize(
    ("request_", "status", "text", "headers", "own"),
    [
        (VOICES, 401, HTTPStatus.UNAUTHORIZED.description, PLAIN, True),
        (CLONE, 401, HTTPStatus.UNAUTHORIZED.description, PLAIN, True),
        (SPEAK, 400, UNPACKABLE, PLAIN, True),
        (CLONE, 400, "Failed to parse the request body as multipart: no boundary", PLAIN, True),
        # other words, another place, another status
        (VOICES, 401, "Unauthorized", PLAIN, False),
        (SPEAK, 401, HTTPStatus.UNAUTHORIZED.description, PLAIN, False),
        (CREDIT, 401, HTTPStatus.UNAUTHORIZED.description, PLAIN, False),
        (SPEAK, 400, "Bad request", PLAIN, False),
        (SPEAK, 503, UNPACKABLE, PLAIN, False),
        (VOICE, 404, HTTPStatus.NOT_FOUND.description, PLAIN, False),
        (VOICE, 404, "Model not found", PLAIN, False),
        (VOICE, 403, HTTPStatus.FORBIDDEN.description, PLAIN, False),
        (CLONE, 413, HTTPStatus.REQUEST_ENTITY_TOO_LARGE.description, PLAIN, False),
        # without the trace, or not said to be text
        (VOICES, 401, HTTPStatus.UNAUTHORIZED.description, {"content_type": "text/plain"}, False),
        (SPEAK, 400, UNPACKABLE, {"x_fish_trace_id": "t"}, False),
        (SPEAK, 400, UNPACKABLE, {**PLAIN, **HTML}, False),
    ],
)
def test_bare_text_is_its_word_only_where_that_is_documented(
    request_: Request, status: int, text: str, headers: dict[str, str], own: bool
) -> None:
    assert FishAudio({}).speaks(request_, answer(status, text, **headers)) is own


FOREIGN: list[Any] = [
    None,
    "",
    PAGE,
    BUSY,
    "404 page not found",
    "error code: 502",
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
    "{broken",
    [],
    "null",
    "7",
    {},
    {"message": "Forbidden"},
    {"message": "no Route matched with those values"},
    {"detail": "Not Found"},
    {"message": "No voice", "statusCode": 404, "errorCode": "voice_not_found"},
    {"status": "error", "message": "No"},
    {"status": 200, "message": "No"},
    {"status": "404", "message": "No"},
    {"status": True, "message": "No"},
    {"status": 404},
    {"status": 404, "message": None},
    {"status": 404, "message": ["No"]},
]


@pytest.mark.parametrize("headers", [{}, PLAIN, {"content_type": "application/json"}])
@pytest.mark.parametrize("body", FOREIGN)
@pytest.mark.parametrize("request_", [SPEAK, VOICE, CLONE], ids=str)
def test_whatever_has_another_form_is_not_its_word(request_: Request, body: Any, headers: dict[str, str]) -> None:
    assert not FishAudio({}).speaks(request_, answer(404, body, **headers))


@pytest.mark.parametrize("status", STATUSES)
def test_a_page_is_never_its_word(status: int) -> None:
    for request in REQUESTS:
        for body in (PAGE, said(status, "Model not found"), [field(["title"])], UNPACKABLE):
            assert not FishAudio({}).speaks(request, answer(status, body, **PLAIN | HTML))


@pytest.mark.parametrize(
    ("request_", "status", "message", "gone"),
    [
        (VOICE, 404, "Model not found", True),
        (VOICE, 404, "No such voice", True),
        (SPEAK, 404, "Reference not found", True),
        (CREDIT, 404, "Not Found", True),
        (VOICE, 404, "Not Found", False),
        (VOICE, 404, "Nothing matches the given URI", False),
        (SPEAK, 404, "Not Found", False),
        (VOICE, 405, "Method not allowed", False),
    ],
)
def test_a_404_that_names_no_thing_is_about_the_address(
    request_: Request, status: int, message: str, gone: bool
) -> None:
    error = read(request_, status, said(status, message))
    if gone:
        assert type(error) is NotFoundError
    else:
        assert isinstance(error, ServiceUnavailableError)
        assert (error.sent, error.foreign) == (False, False)
        assert "It has no such route: the base URL of the connection is wrong" in str(error)
        assert "deleted" not in str(error)


# what it says


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
            "would be refused again",
        ),
        (SPEAK, 400, said(400, "Reference not found"), NotFoundError, "Reference not found. Check the voice_id"),
        (SPEAK, 400, said(400, "Reference Not Found."), NotFoundError, "Check the voice_id"),
        (SPEAK, 422, said(422, "Reference Audio is not valid"), InvalidInputError, "422: Reference Audio is not"),
        (SPEAK, 400, said(400, "Reference audio too long"), InvalidInputError, "Reference audio too long. Correct"),
        (SPEAK, 400, UNPACKABLE, InvalidInputError, "request body as MsgPack: .*MultiSpeakerReference. Correct the"),
        (SPEAK, 400, said(400, ""), InvalidInputError, "400 without an explanation. Correct the input"),
        (
            HEAR,
            400,
            said(400, "Audio is too short", code="audio_too_short", request_id="r"),
            InvalidInputError,
            "too short",
        ),
        # 401: JSON here, plain text there
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
        (CREDIT, 401, said(401, ""), AuthError, "401 without an explanation. Check the API key"),
        # 402, both texts
        (
            SPEAK,
            402,
            said(402, NO_CREDIT),
            QuotaError,
            "add funds. Add API credit at .*s2.1-pro-free",
        ),
        (HEAR, 402, said(402, "Invalid api key or insufficient balance"), QuotaError, "balance. Add"),
        (CLONE, 402, said(402, NO_CREDIT), QuotaError, "the credits of a plan do not pay for the API"),
        # 403
        (VOICE, 403, said(403, "Forbidden"), AuthError, "403: Forbidden. Check the API key"),
        # 404
        (VOICE, 404, said(404, "Model not found"), NotFoundError, "Model not found. Check the voice_id: .*private to"),
        (CREDIT, 404, said(404, "Not Found"), NotFoundError, "Not Found. Check the API key and the base URL"),
        # 413, 415
        (HEAR, 413, said(413, "Too large", code="request_too_large"), InvalidInputError, "413: Too large"),
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
        (CLONE, 422, [field(["title"], "")], InvalidInputError, "422: title: missing"),
        (CLONE, 422, [field(["title"], "", "")], InvalidInputError, "422: title: not accepted"),
        (CLONE, 422, [field([], "Value error")], InvalidInputError, "422: Value error"),
        (CLONE, 422, said(422, "Invalid voice-design signature"), InvalidInputError, "Invalid voice-design signature"),
        # 5xx
        (SPEAK, 500, said(500, "Oops"), ServiceUnavailableError, "500: Oops. If it stays so, ask its support"),
        (SPEAK, 502, said(502, "Bad"), ServiceUnavailableError, "502: Bad. If"),
        (SPEAK, 503, said(503, "High load"), ServiceUnavailableError, "503: High load. If it stays so"),
        (SPEAK, 504, said(504, ""), ServiceUnavailableError, "504 without an explanation. If it stays so"),
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
    "the base URL of the connection is wrong",
)


@pytest.mark.parametrize(
    ("message", "more", "headers"),
    [
        ("", {}, {}),
        ("word " * 50_000, {}, {}),
        ("x" * 100_000, {}, {}),
        ("line\r\n\n\tline " * 10, {}, {}),
        ("sentence. " * 10_000, {"reason": "r" * 1000}, {}),
        ("Model not found", {"reason": {"deep": ["odd"] * 1000}}, {}),
        ("Denied...", {}, {"retry_after": "3", "x_fish_trace_id": "t" * 32}),
    ],
)
@pytest.mark.parametrize("status", STATUSES)
def test_every_refusal_is_one_short_line_with_a_next_step(
    status: int, message: str, more: dict[str, Any], headers: dict[str, str]
) -> None:
    for request in REQUESTS:
        text = str(read(request, status, said(status, message, **more), **headers))
        assert len(text) < 900
        assert text == " ".join(text.split())
        assert text.endswith(".")
        assert any(step in text[-400:] for step in STEPS)


@pytest.mark.parametrize(
    ("status", "retries"),
    [(400, False), (401, False), (402, False), (404, False), (422, False), (429, True), (500, True), (504, True)],
)
def test_only_what_may_pass_is_worth_a_retry(status: int, retries: bool) -> None:
    error = read(SPEAK, status, said(status, "No model"))
    assert isinstance(error, TransientVoiceError if retries else PermanentVoiceError)


def test_a_long_list_of_fields_is_cut() -> None:
    text = str(read(CLONE, 422, [field(["body", "x" * 1000], "y\n" * 1000)] * 100))
    assert len(text) < 900
    assert text.endswith("Correct the input; the same request would be refused again.")


@pytest.mark.parametrize("place", [None, 5, "voices", {"odd": 1}, [], [None], [["x"]]])
def test_a_place_in_an_odd_form_does_not_hide_the_refusal(place: Any) -> None:
    error = read(CLONE, 422, [field(place)])
    assert type(error) is InvalidInputError
    assert "Field required" in str(error)


# too much at once


@pytest.mark.parametrize(
    ("headers", "seconds", "says"),
    [
        ({}, None, "at once. An Airflow pool of that size"),
        ({"ratelimit_limit_concurrency": "5"}, None, r"at once \(its limit is 5 requests at a time, of all keys"),
        ({"retry_after": "7"}, 7.0, "It asks to wait 7 s. An Airflow pool"),
        ({"retry_after": "0"}, 0.0, "It asks to wait 0 s"),
        ({"retry_after": "-3"}, 0.0, "It asks to wait 0 s"),
        ({"retry_after": "0.5", "ratelimit_limit_concurrency": "15"}, 0.5, r"15 requests .*wait 0.5 s"),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, "An Airflow pool"),
        ({"retry_after": "soon"}, None, "at once. An Airflow pool"),
    ],
)
def test_too_many_at_once_is_waited_for_as_long_as_the_service_says(
    headers: dict[str, str], seconds: float | None, says: str
) -> None:
    error = read(SPEAK, 429, said(429, "You have exceeded your current concurrency limit"), **headers)
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
def test_only_what_it_says_it_has_not_begun_counts_as_not_sent(status: int, sent: bool) -> None:
    error = read(SPEAK, status, said(status, "No"), retry_after="2")
    assert isinstance(error, ServiceUnavailableError)
    assert (error.sent, error.foreign, error.retry_after) == (sent, False, 2)


# what to quote


def test_the_code_and_the_trace_are_kept() -> None:
    error = read(SPEAK, 402, said(402, NO_CREDIT), x_fish_error_code="insufficient_balance", x_fish_trace_id="t-1")
    assert (error.error_code, error.request_id, error.status) == ("insufficient_balance", "t-1", 402)


def test_the_code_of_a_transcription_is_in_its_body() -> None:
    error = read(HEAR, 504, said(504, "Slow", code="upstream_timeout", request_id="r-1"))
    assert (error.error_code, error.request_id) == ("upstream_timeout", "r-1")


def test_a_request_that_the_service_has_named_is_named_in_the_message() -> None:
    """By what its support asks for; the trace is for requests without a name."""
    in_body = read(HEAR, 400, said(400, "No", request_id="r-1"), x_fish_trace_id="t-1")
    in_header = read(HEAR, 503, said(503, "Busy"), x_request_id="r-2", x_fish_trace_id="t-2")
    assert ": No (request r-1). Correct" in str(in_body)
    assert str(in_header).endswith("503: Busy (request r-2). If it stays so, ask its support.")
    assert (in_body.request_id, in_header.request_id) == ("r-1", "r-2")


def test_a_refused_long_recording_says_which_model_takes_it() -> None:
    def hear(model: str) -> Request:
        return Request(method="POST", url="/v1/asr", headers={"model": model})

    assert "use model='transcribe-1-pro'" in str(read(hear("transcribe-1"), 503, said(503, "Busy")))
    for request, status in ((hear("transcribe-1-pro"), 503), (hear("transcribe-1"), 500), (SPEAK, 503)):
        assert "transcribe-1-pro" not in str(read(request, status, said(status, "Busy")))


@pytest.mark.parametrize("code", [None, "", 7, {"odd": 1}, ["x"]])
def test_a_code_in_an_odd_form_does_not_hide_the_refusal(code: Any) -> None:
    assert type(read(HEAR, 400, said(400, "No", code=code))) is InvalidInputError
    assert read(HEAR, 400, said(400, "No", code=code)).error_code == (str(code) if code else None)


def test_a_failure_of_the_service_names_the_trace_for_its_support() -> None:
    assert "quote trace id t-2." in str(read(SPEAK, 500, said(500, "Oops"), x_fish_trace_id="t-2"))
    assert str(read(SPEAK, 500, said(500, "Oops"))).endswith("If it stays so, ask its support.")
