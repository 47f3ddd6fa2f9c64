"""Fish Audio's older Python SDK (package `fish_audio_sdk`), unmodified, against the emulator: every call, both forms.

What does not work is the SDK's doing, and each has a test below that shows it:

- Errors are taken for objects of `status` and `message` alone: a validation error of the platform (422, an array), a
  plain text (401 of `/model`, unless the emulator's setting `fish_platform_401` is "json") and a `reason` break it.
- Refusals of `tts` lose their message, as do errors on a live socket.
- A refused handshake is an exception of `httpx_ws`; asynchronous errors after it come in an `ExceptionGroup`.
- `update_model(tags=[])` sends nothing, so tags cannot be removed.
- Wallets are read without their `_id`.
- Opus cannot be asked for.
"""

from __future__ import annotations

import asyncio
import json
import threading
from decimal import Decimal

import httpx_ws
import pydantic
import pytest
from fish_audio_sdk import (
    ASRRequest,
    AsyncWebSocketSession,
    HttpCodeErr,
    Prosody,
    ReferenceAudio,
    Session,
    TTSRequest,
    WebSocketErr,
    WebSocketSession,
)

from tests.emulator.customer import PNG
from tests.emulator.engine.hearing import heard
from tests.emulator.sdk_customer import assert_covered, clients

TEXT = "Hello there, friend. How are you today?"
SECONDS = len(TEXT) / 15  # what the tone engine makes of it
NOBODY = "0" * 32
CLIP = "What she says."


@pytest.fixture(params=["plain", "awaitable"])
def form(request):
    return request.param


@pytest.fixture
def connect(form, voice_emulator):
    """Return a function that makes a session with a key, the emulator's customer's by default."""
    with clients(lambda key: Session(key, base_url=voice_emulator.url), asynchronous=form == "awaitable") as make:
        yield make


@pytest.fixture
def session(connect):
    return connect()


@pytest.fixture
def connect_live(form, voice_emulator):
    """Return a function that makes a session for live speech."""
    kind = {"plain": WebSocketSession, "awaitable": AsyncWebSocketSession}[form]
    with clients(lambda key: kind(key, base_url=voice_emulator.url), asynchronous=form == "awaitable") as make:
        yield make


@pytest.fixture
def live(connect_live):
    """Return a function that speaks what is written by and by."""
    return lambda items, backend="s1", **more: b"".join(connect_live().tts(TTSRequest(text="", **more), items, backend))


@pytest.fixture
def bills(voice_emulator):
    """Return a function that says what is on the bill."""
    return lambda: [(line["kind"], line["units"], line["unit"]) for line in voice_emulator.ledger()]


def speak(session, text: str = TEXT, **more) -> bytes:
    return b"".join(session.tts(TTSRequest(text=text, **{"format": "pcm"} | more)))


# Models


def test_a_model_is_made_looked_at_and_listed(session, sample, recording, bills, voice_emulator):
    made = session.create_model(title="Ada", voices=[sample])
    assert (made.title, made.state, made.visibility, made.train_mode) == ("Ada", "trained", "private", "fast")
    assert session.get_model(made.id) == made
    full = session.create_model(
        title="Zoë",
        visibility="public",
        description="Reads aloud",
        cover_image=PNG,
        voices=[sample, recording(4)],
        texts=["One.", "Two."],
        tags=["calm", "low"],
        enhance_audio_quality=False,
    )
    assert (full.description, full.tags, full.visibility) == ("Reads aloud", ["calm", "low"], "public")
    assert full.cover_image
    assert bills() == [("clone", 3, "seconds"), ("clone", 7, "seconds")]

    def titles(**query):
        return [model.title for model in session.list_models(**query).items]

    assert titles() == ["Rachel", "Adam", "Charlotte", "Zoë"]
    assert titles(self_only=True, sort_by="created_at") == ["Zoë", "Ada"]
    assert titles(self_only=True, sort_by="created_at", page_size=1, page_number=2) == ["Ada"]
    assert session.list_models(self_only=True, page_size=1).total == 2
    assert titles(title="zo") == titles(tag="calm") == titles(tag=["low", "calm"]) == ["Zoë"]
    assert titles(author_id=full.author.id, language="en", title_language=["en", "zh"]) == ["Zoë"]
    assert titles(language="zh") == []


def test_a_model_is_changed_and_deleted(session, sample):
    model_id = session.create_model(title="Ada", voices=[sample]).id
    assert session.update_model(model_id, title="Zoë", visibility="unlist", tags=["a", "b"]) is None
    session.update_model(model_id, cover_image=PNG, description="New")
    session.update_model(model_id)
    now = session.get_model(model_id)
    assert (now.title, now.visibility, now.tags, now.description) == ("Zoë", "unlist", ["a", "b"], "New")
    assert now.cover_image
    assert session.delete_model(model_id) is None
    for gone in (session.get_model, session.delete_model, session.update_model):
        with pytest.raises(HttpCodeErr, match="404 Model not found"):
            gone(model_id)


# Speech


@pytest.mark.parametrize(
    ("options", "codec", "rate"),
    [
        ({}, "mp3float", 44_100),
        ({"format": "mp3", "sample_rate": 32_000, "mp3_bitrate": 64}, "mp3float", 32_000),
        ({"format": "wav", "sample_rate": 24_000}, "pcm_s16le", 24_000),
        ({"format": "pcm", "sample_rate": 8_000}, "pcm_s16le", 8_000),
    ],
)
def test_speech_in_every_format(session, options, codec, rate, bills):
    audio = b"".join(session.tts(TTSRequest(text=TEXT, **options)))
    found = heard(audio, options.get("format", "mp3"), rate)
    assert (found.codec, found.rate, found.channels) == (codec, rate, 1)
    assert found.seconds == pytest.approx(SECONDS, abs=0.1)
    assert bills() == [("speech", len(TEXT), "bytes")]


def test_every_option_is_taken(session):
    plain = speak(session)
    options = {"chunk_length": 100, "normalize": False, "latency": "normal", "top_p": 0.1, "temperature": 0.1}
    audio = speak(session, prosody=Prosody(speed=2, volume=6), **options)
    assert len(audio) == pytest.approx(len(plain) / 2, rel=0.02)
    assert max(memoryview(audio).cast("h")) == pytest.approx(2 * max(memoryview(plain).cast("h")), rel=0.02)


@pytest.mark.parametrize("backend", ["speech-1.5", "speech-1.6", "agent-x0", "s1", "s1-mini", "s2-pro"])
def test_every_backend_speaks(session, backend):
    assert b"".join(session.tts(TTSRequest(text=TEXT, format="pcm"), backend)) == speak(session)


def test_voices_and_recordings_that_come_along_make_a_difference(session, sample, recording):
    ada = session.create_model(title="Ada", voices=[sample]).id
    clips = [[ReferenceAudio(audio=clip, text=CLIP)] for clip in (sample, recording(4))]
    voices = [speak(session), speak(session, reference_id=ada), *(speak(session, references=clip) for clip in clips)]
    assert voices[1] == voices[2]
    assert len(set(voices)) == 3


# Live speech


@pytest.mark.parametrize(
    ("options", "codec", "rate"),
    [({}, "mp3float", 44_100), ({"format": "wav", "sample_rate": 16_000}, "pcm_s16le", 16_000)],
)
def test_live_speech_in_every_format(connect_live, options, codec, rate, bills):
    items = ["Hello there, ", "friend. How", " are you today?"]
    audio = b"".join(connect_live().tts(TTSRequest(text="", **options), items))
    found = heard(audio, options.get("format", "mp3"), rate)
    assert (found.codec, found.rate, found.seconds) == (codec, rate, pytest.approx(SECONDS, abs=0.1))
    assert bills() == [("speech", len(TEXT), "bytes")]


def test_live_speech_takes_the_same_options(live, session, sample):
    ada = session.create_model(title="Ada", voices=[sample]).id
    clip = ReferenceAudio(audio=sample, text=CLIP)
    by_id = live([TEXT], format="pcm", reference_id=ada)
    assert by_id == live([TEXT], format="pcm", references=[clip]) == speak(session, reference_id=ada)
    assert by_id != live([TEXT], format="pcm") == speak(session)
    assert live([TEXT], "s2-pro", format="pcm", prosody=Prosody(speed=0.5)) == speak(
        session, prosody=Prosody(speed=0.5)
    )


def test_live_speech_of_nothing_and_of_very_much(live, bills):
    assert live([]) == b""
    assert bills() == []
    assert len(live(["word " * 400], format="pcm")) / 88_200 == pytest.approx(2000 / 15, rel=0.01)


def test_audio_comes_while_the_text_is_still_being_written(voice_emulator):
    heard_some = threading.Event()

    def writing():
        yield "Hello there, friend. How"
        assert heard_some.wait(10)
        yield " are you today?"

    with WebSocketSession(voice_emulator.api_key, base_url=voice_emulator.url, max_workers=1) as live:
        audio = b""
        for piece in live.tts(TTSRequest(text="", format="pcm"), writing()):
            audio += piece
            heard_some.set()
    assert len(audio) / 88_200 == pytest.approx(SECONDS, abs=0.1)


def test_asynchronous_sessions_do_many_things_at_once(voice_emulator, bills):
    where = {"base_url": voice_emulator.url}

    async def conversation(live) -> bytes:
        heard_some = asyncio.Event()

        async def writing():
            yield "Hello there, friend. How"
            await asyncio.wait_for(heard_some.wait(), 10)
            yield " are you today?"

        audio = b""
        async for piece in live.tts(TTSRequest(text="", format="pcm"), writing()):
            audio += piece
            heard_some.set()
        return audio

    async def speech(session) -> bytes:
        return b"".join([piece async for piece in session.tts.awaitable(TTSRequest(text=TEXT, format="pcm"))])

    async def flow() -> list[bytes]:
        key = voice_emulator.api_key
        async with Session(key, **where) as session, AsyncWebSocketSession(key, **where) as live:
            return await asyncio.gather(conversation(live), conversation(live), speech(session), speech(session))

    assert len(set(asyncio.run(flow()))) == 1
    assert bills() == [("speech", len(TEXT), "bytes")] * 4


# Recognition and the account


def test_speech_is_understood(session, bills):
    speech = b"".join(session.tts(TTSRequest(text=TEXT)))
    whole = session.asr(ASRRequest(audio=speech, language="en", ignore_timestamps=False))
    assert (whole.text, whole.duration) == (TEXT, pytest.approx(SECONDS, abs=0.1))  # seconds, whatever the SDK says
    assert [segment.text for segment in whole.segments] == ["Hello there, friend.", "How are you today?"]
    brief = session.asr(ASRRequest(audio=speech))
    assert (brief.text, brief.segments) == (TEXT, [])
    assert bills()[1:] == [("asr", 3, "seconds")] * 2


def test_the_wallets_say_what_is_left(session, voice_emulator):
    before = session.get_api_credit()
    speak(session)
    spent = Decimal(str(voice_emulator.ledger()[0]["usd"]))
    assert before.credit == 10
    assert session.get_api_credit().credit == 10 - spent < 10
    package = session.get_package()
    assert (package.type, package.total, package.balance) == ("free", 8000, 8000)
    assert package.user_id == before.user_id


# Sessions and refusals


def test_a_session_can_be_closed_and_opened_again(voice_emulator):
    session = Session(voice_emulator.api_key, base_url=voice_emulator.url)
    for _ in range(2):
        with session:
            assert session.get_api_credit()

    async def twice() -> None:
        for _ in range(2):
            async with session:
                assert await session.get_api_credit.awaitable()

    asyncio.run(twice())
    session.init_sync_client()
    assert session.list_models()
    session.init_async_client()
    assert asyncio.run(session.list_models.awaitable())


def test_a_live_session_can_be_closed(connect_live):
    live = connect_live()
    live.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(live.tts(TTSRequest(text=""), [TEXT]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda session, _: session.create_model(title="Ada", voices=[b"noise"]), "cannot be decoded"),
        (lambda session, clip: session.create_model(title="Ada", voices=[clip], texts=["", ""]), "2 texts were given"),
        (lambda session, _: session.asr(ASRRequest(audio=b"noise")), "audio"),
    ],
)
def test_a_bad_request_is_told_and_costs_nothing(session, sample, call, message, bills):
    with pytest.raises(HttpCodeErr, match=message) as refused:
        call(session, sample)
    assert refused.value.status == 400
    assert bills() == []


@pytest.mark.parametrize("status", [400, 402, 403, 404, 429, 500, 502, 503, 504])
def test_every_refusal_is_a_status_and_a_message(session, voice_emulator, status):
    voice_emulator.fault("status", "/model/*", status=status)
    with pytest.raises(HttpCodeErr) as refused:
        session.get_model(NOBODY)
    assert (refused.value.status, bool(refused.value.message)) == (status, True)


def test_a_wrong_key_and_an_empty_wallet(connect, voice_emulator, sample):
    nobody = connect("wrong")
    for call in (nobody.get_api_credit, nobody.get_package, lambda: nobody.asr(ASRRequest(audio=sample))):
        with pytest.raises(HttpCodeErr, match="401 Invalid Token"):
            call()
    voice_emulator.settings(fish_credit_usd=0)
    with pytest.raises(HttpCodeErr, match="402 Insufficient API credit"):
        connect().asr(ASRRequest(audio=sample))


# What the SDK does wrong


def test_sdk_bug_a_validation_error_of_the_platform_breaks_the_error_handling(session):
    # It takes every JSON body for an object; those of 422 are arrays.
    with pytest.raises(TypeError, match="list indices must be integers"):
        session.list_models(page_size=101)


def test_sdk_bug_a_plain_text_breaks_the_error_handling(connect, voice_emulator):
    # The platform's 401 is words, not JSON.
    with pytest.raises(json.JSONDecodeError):
        connect("wrong").get_model(NOBODY)
    voice_emulator.settings(fish_platform_401="json")
    with pytest.raises(HttpCodeErr, match="401 Invalid Token"):
        connect("wrong").get_model(NOBODY)


def test_sdk_bug_a_reason_breaks_the_error_handling(session, voice_emulator):
    # Everything in the body becomes an argument of the exception, which knows but two.
    body = {"status": 503, "message": "Busy", "reason": None}
    voice_emulator.fault("status", "/model/*", status=503, body=body)
    with pytest.raises(KeyError, match="detail"):
        session.get_model(NOBODY)


def test_sdk_bug_refusals_of_speech_lose_their_message(connect, voice_emulator):
    # The answer is a stream that nobody has read yet, so the status is put into words.
    for fields in ({"reference_id": NOBODY}, {"sample_rate": 22_050}):
        with pytest.raises(HttpCodeErr, match=r"^400 Bad Request$"):
            speak(connect(), **fields)
    with pytest.raises(HttpCodeErr, match=r"^401 Unauthorized$"):
        speak(connect("wrong"))
    voice_emulator.settings(fish_concurrency=0)
    with pytest.raises(HttpCodeErr, match=r"^429 Too Many Requests$"):
        speak(connect())
    voice_emulator.settings(fish_credit_usd=0)
    with pytest.raises(HttpCodeErr, match=r"^402 Payment Required$"):
        speak(connect())


@pytest.mark.parametrize("status", [401, 402])
def test_sdk_bug_a_refused_handshake_is_an_exception_of_httpx_ws(connect_live, voice_emulator, status):
    # Only a disconnect is translated to the SDK's own WebSocketErr.
    voice_emulator.settings(fish_credit_usd=0)
    live = connect_live("wrong") if status == 401 else connect_live()
    with pytest.raises(httpx_ws.WebSocketUpgradeError) as refused:
        list(live.tts(TTSRequest(text=""), [TEXT]))
    assert refused.value.response.status_code == status


@pytest.mark.parametrize("form", ["plain"], indirect=True)
def test_sdk_bug_errors_on_a_live_socket_lose_their_message(live, voice_emulator):
    # Of `finish` only the reason is read, and an `error` event is skipped until the socket closes.
    with pytest.raises(WebSocketErr, match=r"^$"):
        live([TEXT], reference_id=NOBODY)  # "Reference not found"
    voice_emulator.settings(fish_concurrency=0)
    with pytest.raises(WebSocketErr, match=r"^$"):
        live([TEXT])  # "Concurrency limit exceeded"


@pytest.mark.parametrize("form", ["awaitable"], indirect=True)
def test_sdk_bug_asynchronous_errors_on_a_live_socket_come_in_a_group(live):
    # The task group of httpx_ws wraps what is raised while the socket is open, and nobody unwraps it.
    with pytest.raises(ExceptionGroup) as refused:
        live([TEXT], reference_id=NOBODY)
    assert [type(error) for error in refused.value.exceptions] == [WebSocketErr]


def test_sdk_bug_tags_cannot_be_removed(session, sample):
    # An empty list becomes no field at all in a form.
    made = session.create_model(title="Ada", voices=[sample], tags=["old"])
    session.update_model(made.id, tags=[])
    assert session.get_model(made.id).tags == ["old"]


def test_sdk_bug_wallets_are_read_without_their_ids(session):
    # A name with an underscore is private to pydantic; so at least the package, which has none, can be read.
    assert not hasattr(session.get_api_credit(), "_id")
    assert not hasattr(session.get_package(), "_id")


def test_sdk_bug_opus_cannot_be_asked_for():
    # `opus_bitrate` is sent with every request, but the format is not in the list.
    with pytest.raises(pydantic.ValidationError, match="format"):
        TTSRequest(text=TEXT, format="opus")


SESSION = {
    "asr": test_speech_is_understood,
    "create_model": test_a_model_is_made_looked_at_and_listed,
    "delete_model": test_a_model_is_changed_and_deleted,
    "get_api_credit": test_the_wallets_say_what_is_left,
    "get_model": test_a_model_is_made_looked_at_and_listed,
    "get_package": test_the_wallets_say_what_is_left,
    "init_async_client": test_a_session_can_be_closed_and_opened_again,
    "init_sync_client": test_a_session_can_be_closed_and_opened_again,
    "list_models": test_a_model_is_made_looked_at_and_listed,
    "tts": test_speech_in_every_format,
    "update_model": test_a_model_is_changed_and_deleted,
}
LIVE = {"close": test_a_live_session_can_be_closed, "tts": test_live_speech_in_every_format}


@pytest.mark.parametrize(
    ("client", "covered"), [(Session, SESSION), (WebSocketSession, LIVE), (AsyncWebSocketSession, LIVE)]
)
def test_every_call_that_the_sdk_has_is_covered(client, covered):
    assert_covered(client("any"), "fish_audio_sdk", covered)
