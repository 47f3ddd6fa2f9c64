"""Fish Audio's own Python SDK (package `fishaudio`), unmodified, against the emulator: refusals.

What does not work is the SDK's doing, and each has a test below that shows it:

- The platform's validation errors (422, a JSON array) break its error handling: `AttributeError`.
- Opus at its default bit rate, 32, is refused: the service counts in bits a second. -1000 (automatic) works, and so
  does 32 with the emulator's setting `fish_opus_kbps`.
- A voice with the train mode "full" cannot be read.
- `voices.update(tags=[])` sends nothing, so tags cannot be removed.
- `tts.stream` begins when the whole answer is there.
- `max_retries` does nothing.
- A refused handshake and a timeout are exceptions of its HTTP libraries.
- Errors on a live socket lose their message, and with the asynchronous client come in an `ExceptionGroup`.
"""

from __future__ import annotations

import time

import httpx
import httpx_ws
import pydantic
import pytest
from fishaudio import AsyncFishAudio, FishAudio, exceptions
from fishaudio.core import RequestOptions
from fishaudio.types import ReferenceAudio, TTSConfig

from tests.emulator.engine.hearing import heard
from tests.emulator.sdk_customer import clients

TEXT = "Hello there, friend. How are you today?"
NOBODY = "0" * 32


@pytest.fixture(params=[FishAudio, AsyncFishAudio])
def connect(request, voice_emulator):
    """Return a function that makes a client with a key, the emulator's customer's by default."""
    kind = request.param
    with clients(
        lambda key: kind(api_key=key, base_url=voice_emulator.url), asynchronous=kind is AsyncFishAudio
    ) as make:
        yield make


@pytest.fixture
def sdk(connect):
    return connect()


def live(sdk, **more) -> bytes:
    return b"".join(sdk.tts.stream_websocket([TEXT], **more))


def test_a_wrong_key_is_an_authentication_error(connect):
    nobody = connect("wrong")
    for call in (
        nobody.account.get_credits,
        lambda: nobody.tts.convert(text=TEXT),
        lambda: nobody.asr.transcribe(audio=b""),
    ):
        with pytest.raises(exceptions.AuthenticationError, match="Invalid Token"):
            call()
    with pytest.raises(exceptions.AuthenticationError, match="No permission -- see authorization schemes"):
        nobody.voices.list(self_only=True)


def test_an_empty_wallet_is_a_plain_error_of_402(sdk, voice_emulator, sample):
    voice_emulator.settings(fish_credit_usd=0)
    for call in (
        lambda: sdk.tts.convert(text=TEXT),
        lambda: list(sdk.tts.stream(text=TEXT)),
        lambda: sdk.asr.transcribe(audio=sample),
    ):
        with pytest.raises(exceptions.APIError, match="Insufficient API credit") as refused:
            call()
        assert (type(refused.value), refused.value.status) == (exceptions.APIError, 402)
    assert sdk.voices.create(title="Ada", voices=[sample])  # which is free


def test_too_many_at_one_time_is_a_rate_limit_error(sdk, voice_emulator):
    voice_emulator.settings(fish_concurrency=0)
    with pytest.raises(exceptions.RateLimitError, match="concurrency limit") as refused:
        sdk.tts.convert(text=TEXT)
    assert refused.value.status == 429


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda sdk: sdk.tts.convert(text=TEXT, reference_id=NOBODY), "Reference not found"),
        (
            lambda sdk: sdk.tts.convert(text=TEXT, references=[ReferenceAudio(audio=b"noise", text="")]),
            "Reference Audio is not valid",
        ),
        (lambda sdk: sdk.tts.convert(text=TEXT, config=TTSConfig(sample_rate=22_050)), "Invalid sample rate 22050"),
        (lambda sdk: sdk.voices.create(title="Ada", voices=[b"noise"]), "cannot be decoded as audio"),
        (lambda sdk: sdk.asr.transcribe(audio=b"noise"), "audio"),
    ],
)
def test_a_bad_request_is_a_plain_error_of_400_and_costs_nothing(sdk, call, message, voice_emulator):
    with pytest.raises(exceptions.APIError, match=message) as refused:
        call(sdk)
    assert (type(refused.value), refused.value.status) == (exceptions.APIError, 400)
    assert voice_emulator.ledger() == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, exceptions.AuthenticationError),
        (402, exceptions.APIError),
        (403, exceptions.PermissionError),
        (404, exceptions.NotFoundError),
        (429, exceptions.RateLimitError),
        *[(status, exceptions.ServerError) for status in (500, 502, 503, 504)],
    ],
)
def test_every_refusal_has_its_own_exception(sdk, voice_emulator, status, kind):
    voice_emulator.fault("status", "/model/*", status=status)
    voice_emulator.fault("html", "/model/*", status=status)
    for _ in range(2):
        with pytest.raises(exceptions.APIError) as refused:
            sdk.voices.get(NOBODY)
        assert (type(refused.value), refused.value.status) == (kind, status)
        assert refused.value.message


# What the SDK does wrong


def test_sdk_bug_a_validation_error_of_the_platform_breaks_the_error_handling(sdk):
    # It takes every JSON body for an object; those of 422 are arrays.
    with pytest.raises(AttributeError, match="'list' object has no attribute 'get'"):
        sdk.voices.list(page_size=101)


def test_sdk_bug_the_bit_rate_of_opus_is_counted_in_thousands(sdk, voice_emulator):
    # The default is 32 and nothing but -1000, 24, 32, 48 and 64 can be said; the service takes bits a second.
    with pytest.raises(exceptions.APIError, match="Invalid opus bitrate 32") as refused:
        sdk.tts.convert(text=TEXT, format="opus")
    assert refused.value.status == 400
    assert sdk.tts.convert(text=TEXT, format="mp3")  # where the field, sent always, is not looked at
    voice_emulator.settings(fish_opus_kbps=True)
    assert heard(sdk.tts.convert(text=TEXT, format="opus"), "opus").codec == "opus"


def test_sdk_bug_a_fully_trained_voice_cannot_be_read(sdk, voice_emulator, sample, fish):
    # The specification knows "fast" and "full"; the SDK only "fast".
    entity = fish.model(sample)
    voice_emulator.fault("status", "/model/*", status=200, body=entity | {"train_mode": "full"})
    with pytest.raises(pydantic.ValidationError, match="train_mode"):
        sdk.voices.get(entity["_id"])


def test_sdk_bug_tags_cannot_be_removed(sdk, sample):
    # An empty list becomes no field at all in a form.
    made = sdk.voices.create(title="Ada", voices=[sample], tags=["old"])
    sdk.voices.update(made.id, tags=[])
    assert sdk.voices.get(made.id).tags == ["old"]


def test_sdk_bug_a_stream_begins_when_all_of_it_is_there(sdk, voice_emulator):
    # The request is made in one piece; only then the body is handed out bit by bit.
    voice_emulator.settings(fish_speech_seconds=0.5)
    began = time.monotonic()
    next(iter(sdk.tts.stream(text=TEXT)))
    assert time.monotonic() - began >= 0.5


def test_sdk_bug_nothing_is_tried_again(sdk, voice_emulator):
    # `max_retries` is read by nobody.
    voice_emulator.fault("status", "/model", status=503)
    with pytest.raises(exceptions.ServerError):
        sdk.voices.list(request_options=RequestOptions(max_retries=3))
    assert len(voice_emulator.requests("/model")) == 1


def test_sdk_bug_a_timeout_is_an_exception_of_httpx(sdk, voice_emulator):
    # Nothing wraps the errors of the HTTP library.
    voice_emulator.settings(fish_tts_first_byte_seconds=600)
    with pytest.raises(httpx.ReadTimeout):
        sdk.tts.convert(text=TEXT, request_options=RequestOptions(timeout=0.1))


@pytest.mark.parametrize("status", [401, 402])
def test_sdk_bug_a_refused_handshake_is_an_exception_of_httpx_ws(connect, voice_emulator, status):
    # Only a disconnect is translated to the SDK's own WebSocketError.
    voice_emulator.settings(fish_credit_usd=0)
    with pytest.raises(httpx_ws.WebSocketUpgradeError) as refused:
        live(connect("wrong") if status == 401 else connect())
    assert refused.value.response.status_code == status


@pytest.mark.parametrize("connect", [FishAudio], indirect=True)
def test_sdk_bug_errors_on_a_live_socket_lose_their_message(sdk, voice_emulator):
    # An `error` event is skipped until the socket closes.
    with pytest.raises(exceptions.WebSocketError, match=r"^WebSocket disconnected unexpectedly$"):
        live(sdk, reference_id=NOBODY)  # "Reference not found"
    voice_emulator.settings(fish_concurrency=0)
    with pytest.raises(exceptions.WebSocketError, match=r"^WebSocket disconnected unexpectedly$"):
        live(sdk)  # "Concurrency limit exceeded"


@pytest.mark.parametrize("connect", [AsyncFishAudio], indirect=True)
def test_sdk_bug_asynchronous_errors_on_a_live_socket_come_in_a_group(sdk):
    # The task group of httpx_ws wraps what is raised while the socket is open, and nobody unwraps it.
    with pytest.raises(ExceptionGroup) as refused:
        live(sdk, reference_id=NOBODY)
    assert [type(error) for error in refused.value.exceptions] == [exceptions.WebSocketError]
