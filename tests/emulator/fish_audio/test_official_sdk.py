"""Fish Audio's own Python SDK (package `fishaudio`), unmodified, against the emulator: every call of both its clients.

One call does not work, `account.get_package`, which no answer of the service can satisfy. Refusals, and what else the
SDK does wrong, are in `test_official_sdk_errors`.
"""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal

import pydantic
import pytest
from fishaudio import AsyncFishAudio, FishAudio, WebSocketOptions, exceptions, save
from fishaudio.core import RequestOptions
from fishaudio.types import FlushEvent, Prosody, ReferenceAudio, TextEvent, TTSConfig

from tests.emulator.customer import PNG
from tests.emulator.engine.hearing import heard
from tests.emulator.sdk_customer import assert_covered, clients

TEXT = "Hello there, friend. How are you today?"
SECONDS = len(TEXT) / 15  # what the tone engine makes of it


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


@pytest.fixture
def bills(voice_emulator):
    """Return a function that says what is on the bill."""
    return lambda: [(line["kind"], line["units"], line["unit"]) for line in voice_emulator.ledger()]


def pcm(sdk, text: str = TEXT, **more) -> bytes:
    return sdk.tts.convert(text=text, format="pcm", **more)


# Voices


def test_a_voice_is_made_of_one_recording(sdk, sample, bills):
    made = sdk.voices.create(title="Ada", voices=[sample])
    assert (made.title, made.state, made.visibility, made.train_mode) == ("Ada", "trained", "private", "fast")
    assert (made.description, made.tags, made.cover_image) == ("", [], "")
    assert sdk.voices.get(made.id) == made
    assert bills() == [("clone", 3, "seconds")]


def test_a_voice_is_made_of_several_recordings_with_all_that_can_be_said_of_it(sdk, sample, recording, bills):
    made = sdk.voices.create(
        title="Ada",
        voices=[sample, recording(4)],
        texts=["What she says, first.", "And then."],
        description="Reads aloud",
        tags=["calm", "english, british"],
        cover_image=PNG,
        visibility="public",
        train_mode="fast",
        enhance_audio_quality=False,
    )
    assert (made.description, made.tags, made.visibility) == ("Reads aloud", ["calm", "english, british"], "public")
    assert made.cover_image == f"coverimage/{made.id}"
    assert made.id in [voice.id for voice in sdk.voices.list(title="ada").items]
    assert bills() == [("clone", 7, "seconds")]
    assert sdk.asr.transcribe(audio=sample).text == "What she says, first."
    with pytest.raises(exceptions.APIError, match="1 texts were given for 2 voices") as wrong:
        sdk.voices.create(title="Ada", voices=[sample, sample], texts=["one"])
    assert wrong.value.status == 400


def test_voices_are_listed_filtered_and_paged(sdk, voice_emulator, sample):
    library = sdk.voices.list()
    assert [voice.title for voice in library.items] == ["Rachel", "Adam", "Charlotte"]
    assert library.total == 3
    voice_emulator.seed_models(["First", "Second"], tags=["calm", "low"], age_seconds=60)
    newest = sdk.voices.create(title="Third", voices=[sample], tags=["calm"])

    def titles(**query):
        return [voice.title for voice in sdk.voices.list(**query).items]

    assert len(titles(self_only=True)) == 3
    assert titles(self_only=True, page_size=1, sort_by="created_at") == ["Third"]
    pages = [titles(self_only=True, page_size=2, page_number=page) for page in (1, 2, 3)]
    assert (sorted(pages[0] + pages[1]), [len(page) for page in pages]) == (["First", "Second", "Third"], [2, 1, 0])
    assert titles(title="ir", self_only=True, sort_by="created_at") == ["Third", "First"]
    assert len(titles(tags="calm", self_only=True)) == 3
    assert len(titles(tags=["calm", "low"], self_only=True)) == 2
    assert titles(author_id=library.items[0].author.id) == ["Rachel", "Adam", "Charlotte"]
    assert titles(author_id=newest.author.id) == []  # they are private
    assert len(titles(language="en")) == len(titles(title_language=["zh", "en"])) == 3
    assert titles(language=["zh", "ja"]) == titles(title_language="zh") == []


def test_a_voice_is_changed_and_deleted(sdk, sample):
    made = sdk.voices.create(title="Ada", voices=[sample], description="Old", tags=["old"])
    assert sdk.voices.update(made.id, title="Zoë", visibility="unlist", tags=["a", "b"]) is None
    sdk.voices.update(made.id, cover_image=PNG, description="New")
    sdk.voices.update(made.id)
    now = sdk.voices.get(made.id)
    assert (now.title, now.visibility, now.tags, now.description) == ("Zoë", "unlist", ["a", "b"], "New")
    assert now.cover_image
    assert sdk.voices.delete(made.id) is None
    for gone in (sdk.voices.get, sdk.voices.delete, sdk.voices.update):
        with pytest.raises(exceptions.NotFoundError, match="Model not found"):
            gone(made.id)
    assert sdk.voices.list(self_only=True).total == 0


def test_training_that_takes_time_is_followed(sdk, sample, voice_emulator):
    voice_emulator.settings(fish_training_polls=2)
    made = sdk.voices.create(title="Ada", voices=[sample])
    assert made.state == "created"
    assert [sdk.voices.get(made.id).state for _ in range(2)] == ["training", "trained"]
    failing = sdk.voices.create(title="[fail]", voices=[sample])
    assert [sdk.voices.get(failing.id).state for _ in range(2)] == ["training", "failed"]


# Speech


@pytest.mark.parametrize(
    ("config", "codec", "rate"),
    [
        ({"format": "mp3"}, "mp3float", 44_100),
        ({"format": "mp3", "sample_rate": 32_000}, "mp3float", 32_000),
        ({"format": "wav"}, "pcm_s16le", 44_100),
        *[({"format": "wav", "sample_rate": rate}, "pcm_s16le", rate) for rate in (8_000, 16_000, 24_000, 32_000)],
        *[({"format": "pcm", "sample_rate": rate}, "pcm_s16le", rate) for rate in (8_000, 16_000, 24_000, 44_100)],
        ({"format": "opus", "opus_bitrate": -1000}, "opus", 48_000),
    ],
)
def test_speech_in_every_format(sdk, config, codec, rate, bills):
    found = heard(sdk.tts.convert(text=TEXT, config=TTSConfig(**config)), config["format"], rate)
    assert (found.codec, found.rate, found.channels) == (codec, rate, 1)
    assert found.seconds == pytest.approx(SECONDS, abs=0.1)
    assert abs(found.samples).max() > 0.1
    assert bills() == [("speech", len(TEXT), "bytes")]


@pytest.mark.parametrize("kbps", [64, 128, 192])
def test_mp3_has_the_bit_rate_that_was_asked_for(sdk, kbps):
    audio = sdk.tts.convert(text=TEXT * 4, config=TTSConfig(mp3_bitrate=kbps))
    assert len(audio) * 8 / heard(audio, "mp3").seconds == pytest.approx(kbps * 1000, rel=0.05)


def test_prosody_changes_the_sound_and_parameters_go_before_the_configuration(sdk):
    def measured(**more):
        audio = pcm(sdk, **more)
        return len(audio) / 88_200, max(memoryview(audio).cast("h"))

    _, loud = measured()
    config = TTSConfig(format="mp3", prosody=Prosody(speed=0.5, volume=-6))
    almost = {"abs": 0.1, "rel": 0.01}
    assert measured(config=config) == pytest.approx((2 * SECONDS, loud / 2), **almost)
    assert measured(config=config, speed=2.0, latency="normal") == pytest.approx((SECONDS / 2, loud / 2), **almost)


def test_every_other_option_is_taken(sdk):
    config = TTSConfig(
        normalize=False,
        chunk_length=100,
        latency="normal",
        top_p=0.1,
        temperature=1.0,
        max_new_tokens=10,
        repetition_penalty=2.0,
        min_chunk_length=0,
        condition_on_previous_chunks=False,
        early_stop_threshold=0.5,
    )
    assert heard(sdk.tts.convert(text=TEXT, config=config, latency="balanced"), "mp3").seconds > 2


@pytest.mark.parametrize(("model", "free"), [("s1", False), ("s2-pro", False), ("s2.1-pro-free", True)])
def test_every_engine_is_billed_as_it_should_be(sdk, model, free, voice_emulator):
    pcm(sdk, model=model)
    assert (voice_emulator.ledger()[0]["usd"] == 0) == free


def test_engines_of_former_times_are_warned_of_and_still_speak(sdk):
    with pytest.warns(DeprecationWarning, match=r"speech-1\.6"):
        assert pcm(sdk, model="speech-1.6")


def test_a_voice_makes_a_difference(sdk, sample, recording):
    ada, zoe = (sdk.voices.create(title="Someone", voices=[clip]).id for clip in (sample, recording(4)))
    assert len({pcm(sdk), pcm(sdk, reference_id=ada), pcm(sdk, reference_id=zoe)}) == 3
    assert pcm(sdk, config=TTSConfig(reference_id=ada)) == pcm(sdk, reference_id=ada)
    assert pcm(sdk, config=TTSConfig(reference_id=ada), reference_id=zoe) == pcm(sdk, reference_id=zoe)


def test_recordings_that_come_along_make_a_difference(sdk, sample, recording):
    ada, zoe = (ReferenceAudio(audio=clip, text="What she says.") for clip in (sample, recording(4)))
    assert len({pcm(sdk), pcm(sdk, references=[ada]), pcm(sdk, references=[zoe])}) == 3
    assert pcm(sdk, config=TTSConfig(references=[ada])) == pcm(sdk, references=[ada])
    learnt = sdk.voices.create(title="Ada", voices=[sample]).id
    assert pcm(sdk, reference_id=learnt) == pcm(sdk, references=[ada])


def test_a_stream_has_the_same_audio_as_the_whole(sdk, bills, tmp_path):
    long = "This is one of many sentences. " * 12
    pieces = list(sdk.tts.stream(text=long, format="mp3", latency="normal", speed=1.5, model="s2-pro"))
    save(pieces, tmp_path / "long.mp3")
    whole = sdk.tts.convert(text=long, format="mp3", latency="normal", speed=1.5)
    assert (tmp_path / "long.mp3").read_bytes() == whole
    assert bills() == [("speech", len(long), "bytes")] * 2


# Live speech

SENTENCES = ["Hello there, ", "friend. How", TextEvent(text=" are you"), FlushEvent(), " today?"]


def live(sdk, items=SENTENCES, **more) -> bytes:
    return b"".join(sdk.tts.stream_websocket(items, **more))


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        ({}, 44_100),
        ({"format": "wav", "sample_rate": 16_000}, 16_000),
        ({"format": "pcm", "sample_rate": 8_000}, 8_000),
        ({"format": "opus", "opus_bitrate": -1000}, 48_000),
    ],
)
def test_live_speech_in_every_format(sdk, config, rate, bills):
    found = heard(live(sdk, config=TTSConfig(**config)), config.get("format", "mp3"), rate)
    assert (found.rate, found.seconds) == (rate, pytest.approx(SECONDS, abs=0.1))
    assert bills() == [("speech", len(TEXT), "bytes")]


def test_live_speech_takes_the_same_options(sdk, sample):
    ada = sdk.voices.create(title="Ada", voices=[sample]).id
    config = TTSConfig(format="wav", prosody=Prosody(speed=0.5), chunk_length=100)
    options = WebSocketOptions(
        keepalive_ping_timeout_seconds=5, keepalive_ping_interval_seconds=5, max_message_size_bytes=500, queue_size=2
    )
    found = live(sdk, [TEXT], format="pcm", config=config, speed=2.0, latency="normal", model="s1", ws_options=options)
    assert found == pcm(sdk, speed=2.0)
    by_id = live(sdk, [TEXT], format="pcm", reference_id=ada)
    by_clip = live(sdk, [TEXT], format="pcm", references=[ReferenceAudio(audio=sample, text="What she says.")])
    assert by_id == by_clip == pcm(sdk, reference_id=ada) != pcm(sdk)


def test_live_speech_of_nothing_and_of_very_much(sdk, bills):
    assert live(sdk, []) == b""
    assert bills() == []
    found = live(sdk, ["word " * 400], format="pcm")  # one message of many frames
    assert len(found) / 88_200 == pytest.approx(2000 / 15, rel=0.01)


def test_audio_comes_while_the_text_is_still_being_written(voice_emulator):
    heard_some = threading.Event()

    def writing():
        yield "Hello there, friend. "
        yield FlushEvent()
        assert heard_some.wait(10)
        yield "How are you today?"

    with FishAudio(api_key=voice_emulator.api_key, base_url=voice_emulator.url) as sdk:
        audio = b""
        for piece in sdk.tts.stream_websocket(writing(), format="pcm", max_workers=1):
            audio += piece
            heard_some.set()
    assert len(audio) / 88_200 == pytest.approx(SECONDS, abs=0.1)


def test_the_asynchronous_client_does_many_things_at_once(voice_emulator, bills):
    async def conversation(sdk) -> bytes:
        heard_some = asyncio.Event()

        async def writing():
            yield "Hello there, friend. "
            yield FlushEvent()
            await asyncio.wait_for(heard_some.wait(), 10)
            yield "How are you today?"

        audio = b""
        async for piece in sdk.tts.stream_websocket(writing(), format="pcm"):
            audio += piece
            heard_some.set()
        return audio

    async def flow():
        async with AsyncFishAudio(api_key=voice_emulator.api_key, base_url=voice_emulator.url) as sdk:
            stream = await sdk.tts.stream(text=TEXT, format="pcm")
            whole = await stream.collect()
            talks = [conversation(sdk), conversation(sdk)]
            return whole, await asyncio.gather(*talks, *(sdk.tts.convert(text=TEXT, format="pcm") for _ in range(3)))

    whole, found = asyncio.run(flow())
    assert set(found) == {whole}
    assert bills() == [("speech", len(TEXT), "bytes")] * 6


# Recognition and the account


def test_speech_is_understood(sdk, bills):
    speech = sdk.tts.convert(text=TEXT)
    found = sdk.asr.transcribe(audio=speech)
    assert (found.text, found.duration) == (TEXT, pytest.approx(SECONDS, abs=0.1))  # seconds, whatever the SDK says
    assert [segment.text for segment in found.segments] == ["Hello there, friend.", "How are you today?"]
    assert [segment.start for segment in found.segments] == [0, found.segments[0].end]
    brief = sdk.asr.transcribe(audio=speech, language="en", include_timestamps=False)
    assert (brief.text, brief.segments) == (TEXT, [])
    assert sdk.asr.transcribe(audio=speech, language=None).text == TEXT
    assert bills()[1:] == [("asr", 3, "seconds")] * 3


def test_the_wallet_says_what_is_left(sdk, voice_emulator):
    before = sdk.account.get_credits()
    assert (before.credit, before.has_phone_sha256, before.has_free_credit) == (Decimal(10), True, None)
    assert sdk.account.get_credits(check_free_credit=True).has_free_credit is False
    pcm(sdk)
    spent = Decimal(str(voice_emulator.ledger()[0]["usd"]))
    assert sdk.account.get_credits().credit == before.credit - spent < before.credit


def test_sdk_bug_the_package_is_expected_to_have_an_id(sdk):
    # Neither the specification nor the service has `_id` there.
    with pytest.raises(pydantic.ValidationError, match="_id"):
        sdk.account.get_package()


def test_options_of_a_single_request(sdk, voice_emulator):
    voice_emulator.add_account("stranger", "elsewhere")
    other = RequestOptions(additional_headers={"Authorization": "Bearer stranger"})
    assert sdk.account.get_credits(request_options=other).user_id != sdk.account.get_credits().user_id
    licensed = RequestOptions(additional_query_params={"page_size": "2", "licensed": "true"})
    assert len(sdk.voices.list(request_options=licensed).items) == 2


def test_a_client_can_be_closed(connect):
    sdk = connect()
    sdk.close()
    with pytest.raises(RuntimeError, match="closed"):
        sdk.voices.list()


COVERED = {
    "account.get_credits": test_the_wallet_says_what_is_left,
    "account.get_package": test_sdk_bug_the_package_is_expected_to_have_an_id,
    "asr.transcribe": test_speech_is_understood,
    "close": test_a_client_can_be_closed,
    "tts.convert": test_speech_in_every_format,
    "tts.stream": test_a_stream_has_the_same_audio_as_the_whole,
    "tts.stream_websocket": test_audio_comes_while_the_text_is_still_being_written,
    "voices.create": test_a_voice_is_made_of_one_recording,
    "voices.delete": test_a_voice_is_changed_and_deleted,
    "voices.get": test_a_voice_is_made_of_one_recording,
    "voices.list": test_voices_are_listed_filtered_and_paged,
    "voices.update": test_a_voice_is_changed_and_deleted,
}


@pytest.mark.parametrize("client", [FishAudio, AsyncFishAudio])
def test_every_call_that_the_sdk_has_is_covered(client):
    assert_covered(client(api_key="any"), "fishaudio", COVERED)
