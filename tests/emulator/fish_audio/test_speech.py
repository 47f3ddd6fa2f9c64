"""Speech of Fish Audio over HTTP (its contract, sections 4 to 6)."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.emulator.fish_audio.customer import FishCustomer

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

TEXT = "Hello there, friend. How are you today?"
SECONDS = len(TEXT) / 15


def speak(fish: FishCustomer, *, model: str | None = None, packed: bool = False, **fields: Any) -> httpx.Response:
    headers = {"model": model} if model else {}
    body = {"text": TEXT} | fields
    if packed:
        return fish.post(
            "/v1/tts", content=msgpack.packb(body), headers=headers | {"Content-Type": "application/msgpack"}
        )
    return fish.post("/v1/tts", json=body, headers=headers)


def seconds_of(wav: bytes) -> float:
    return (len(wav) - 44) / 2 / int.from_bytes(wav[24:28], "little")


def test_speech_is_a_stream_of_audio(fish, voice_emulator):
    answer = speak(fish)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert (answer.headers["x-emulator-engine"], answer.headers["x-emulator-model"]) == ("tone", "s2.1-pro")
    assert len(answer.headers["x-fish-trace-id"]) == 32
    assert answer.content[:3] == b"ID3" or answer.content[:2] == b"\xff\xfb"
    assert len(answer.content) / 16_000 == pytest.approx(SECONDS, abs=0.1)
    (bill,) = voice_emulator.ledger("speech")
    assert (bill["units"], bill["unit"], bill["usd"]) == (len(TEXT), "bytes", round(len(TEXT) * 15e-6, 6))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("form", "media", "magic"),
    [
        ("mp3", "audio/mpeg", (b"ID3", b"\xff\xfb")),
        ("wav", "audio/wav", (b"RIFF",)),
        ("opus", "audio/opus", (b"OggS",)),
        ("pcm", "audio/pcm", (b"\0\0",)),
    ],
)
def test_every_format_in_both_encodings_of_the_request(fish, form, media, magic, packed):
    answer = speak(fish, packed=packed, format=form)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.content.startswith(magic)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 32_000, 44_100])
def test_a_wav_file_has_a_placeholder_for_its_size(fish, rate, voice_emulator):
    wav = speak(fish, format="wav", sample_rate=rate).content
    sizes = [int.from_bytes(wav[at : at + 4], "little") for at in (4, 40)]
    assert sizes == [4_294_967_076, 4_294_967_040]
    assert seconds_of(wav) == pytest.approx(SECONDS, abs=0.05)
    voice_emulator.settings(fish_wav_sizes="true")
    true = speak(fish, format="wav", sample_rate=rate).content
    assert true[44:] == wav[44:]
    assert [int.from_bytes(true[at : at + 4], "little") for at in (4, 40)] == [len(true) - 8, len(true) - 44]


def test_all_fields_of_the_official_sdk_are_accepted(fish):
    body = {
        "references": [],
        "reference_id": None,
        "format": "mp3",
        "sample_rate": None,
        "mp3_bitrate": 128,
        "opus_bitrate": 32,
        "normalize": True,
        "chunk_length": 200,
        "latency": "balanced",
        "top_p": 0.7,
        "temperature": 0.7,
        "repetition_penalty": 1.2,
        "max_new_tokens": 1024,
        "min_chunk_length": 50,
        "condition_on_previous_chunks": True,
        "early_stop_threshold": 1.0,
        "prosody": None,
        "of_tomorrow": {"any": "thing"},
    }
    assert speak(fish, packed=True, **body).status_code == 200
    prosody = {"speed": 1, "volume": 0, "normalize_loudness": True}
    assert speak(fish, **body | {"prosody": prosody, "features": ["quality-guard"]}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "flac"}, "unknown variant `flac`, expected one of `wav`, `pcm`, `mp3`, `opus`"),
        ({"latency": "turbo"}, "unknown variant `turbo`, expected one of `normal`, `balanced`, `low`"),
        ({"sample_rate": 22_050}, "Invalid sample rate 22050 for format audio/mpeg"),
        ({"format": "opus", "sample_rate": 44_100}, "Invalid sample rate 44100 for format audio/opus"),
        ({"mp3_bitrate": 96}, "Invalid mp3 bitrate 96"),
        ({"format": "opus", "opus_bitrate": 32}, "Invalid opus bitrate 32"),
        ({"prosody": {"speed": 2.5}}, "speed must be in [0.5, 2.0]"),
        ({"reference_id": "no/such"}, "reference_id must be 1..=128 chars of [A-Za-z0-9_-]"),
        ({"reference_id": ["0" * 32, ""]}, "reference_id must be 1..=128 chars of [A-Za-z0-9_-]"),
        ({"reference_id": "0" * 32}, "Reference not found"),
        ({"references": [{"audio": "AAAA", "text": "x"}]}, "Reference Audio is not valid"),
        ({"text": 7}, "text: "),
        ({"text": "\ud800"}, "unicode"),
    ],
)
def test_a_bad_field_is_told_and_costs_nothing(fish, fields, message, voice_emulator):
    answer = fish.post(
        "/v1/tts", content=json.dumps({"text": TEXT} | fields), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert message in answer.json()["message"]
    assert voice_emulator.ledger() == []


def test_bodies_that_cannot_be_parsed(fish):
    assert "missing field `text`" in fish.post("/v1/tts", json={}).json()["message"]
    for kind, content, name in (("application/json", b"{", "JSON"), ("application/msgpack", b"\xc1", "MsgPack")):
        answer = fish.post("/v1/tts", content=content, headers={"Content-Type": kind})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert f"as {name}" in answer.text
    assert fish.post("/v1/tts", json=[]).status_code == 400
    assert fish.post("/v1/tts", data={"text": TEXT}).status_code == 415


def test_first_the_key_then_the_credit_then_the_body(fish, voice_emulator):
    voice_emulator.settings(fish_credit_usd=0)
    with FishCustomer(voice_emulator.url, "wrong") as nobody:
        assert nobody.post("/v1/tts", content=b"{").json() == {"status": 401, "message": "Invalid Token"}
    answer = fish.post("/v1/tts", content=b"{")
    assert (answer.status_code, answer.headers["x-fish-error-code"]) == (402, "insufficient_balance")
    assert speak(fish, model="s2.1-pro-free").status_code == 200
    (bill,) = voice_emulator.ledger()
    assert (bill["units"], bill["usd"]) == (len(TEXT), 0)
    voice_emulator.settings(fish_free_engine_charged=True)
    assert speak(fish, model="s2.1-pro-free").status_code == 402


@pytest.mark.parametrize(
    ("asked", "speaks"),
    [("s1", "s1"), ("s2-pro", "s2-pro"), ("speech-1.6", "s2.1-pro"), ("anything", "s2.1-pro"), (None, "s2.1-pro")],
)
def test_an_engine_that_is_not_known_becomes_the_default(fish, asked, speaks):
    assert speak(fish, model=asked).headers["x-emulator-model"] == speaks


def test_s1_retires(fish, voice_emulator):
    voice_emulator.advance(max(0.0, 1_798_761_601 - time.time()))  # 2027-01-01
    assert speak(fish, model="s1").headers["x-emulator-model"] == "s2.1-pro"


def test_an_empty_text_is_a_moment_of_sound(fish, voice_emulator):
    for text in ("", " ", "[laugh]", "..."):
        answer = speak(fish, text=text, format="wav")
        assert answer.status_code == 200
        assert seconds_of(answer.content) == pytest.approx(0.1)
    assert voice_emulator.ledger()[0]["units"] == 0


def test_bytes_are_billed_not_characters(fish, voice_emulator):
    speak(fish, text="Zoë")
    assert voice_emulator.ledger()[0]["units"] == 4


def test_stage_directions_are_not_spoken(fish):
    plain = speak(fish, text="Hello there.", format="wav").content
    assert speak(fish, text="[laugh]Hello there.", format="wav").content == plain
    assert speak(fish, text="(sad)Hello there.", format="wav", model="s1").content == plain
    assert speak(fish, text="(sad)Hello there.", format="wav").content != plain  # only S1 takes these as directions


def test_speed_and_volume(fish):
    plain = speak(fish, format="wav").content
    assert seconds_of(speak(fish, format="wav", prosody={"speed": 2.0}).content) == pytest.approx(
        seconds_of(plain) / 2, abs=0.01
    )
    loud = speak(fish, format="wav", prosody={"volume": 6}).content
    assert max(memoryview(loud[44:]).cast("h")) == pytest.approx(2 * max(memoryview(plain[44:]).cast("h")), rel=0.01)


# Voices


def test_a_cloned_voice_speaks_and_speakers_take_turns(fish, sample, recording):
    one, two = fish.model(sample)["_id"], fish.model(recording(4))["_id"]
    alone = [speak(fish, reference_id=voice, format="pcm").content for voice in (one, two)]
    assert alone[0] != alone[1] != speak(fish, format="pcm").content
    text = f"<|speaker:0|>{TEXT}<|speaker:1|>{TEXT}"
    both = speak(fish, text=text, reference_id=[one, two], format="pcm").content
    assert both == alone[0] + alone[1]
    refused = speak(fish, text=text, reference_id=[one, two], model="s1")
    assert "untagged enum MultiSpeakerReference" in refused.json()["message"]


def test_a_voice_must_be_visible_and_trained(fish, fish_stranger, sample, voice_emulator):
    private, listed = (fish_stranger.model(sample, visibility=v)["_id"] for v in ("private", "unlist"))
    assert speak(fish, reference_id=private).json()["message"] == "Reference not found"
    assert speak(fish, reference_id=listed).status_code == 200
    voice_emulator.settings(fish_training_seconds=60)
    fresh = fish.model(sample)["_id"]
    assert speak(fish, reference_id=fresh).json()["message"] == "Reference not found"
    voice_emulator.advance(61)
    assert speak(fish, reference_id=fresh).status_code == 200


def test_a_voice_can_come_along_with_the_request(fish, sample, recording, voice_emulator):
    def clip(seconds: float) -> dict[str, Any]:
        return {"audio": recording(seconds), "text": "aaa"}

    plain = speak(fish, format="pcm").content
    first = speak(fish, packed=True, format="pcm", references=[clip(3)]).content
    assert first != plain
    assert speak(fish, packed=True, format="pcm", references=[clip(3)]).content == first
    text = f"<|speaker:0|>{TEXT}<|speaker:1|>{TEXT}"
    fields = {"references": [[clip(3)], [clip(4)]], "reference_id": ["a", "b"]}
    both = speak(fish, packed=True, text=text, format="pcm", **fields).content
    assert both[: len(first)] == first != both[len(first) :]
    voice_emulator.settings(fish_max_reference_seconds=6)
    too_long = speak(fish, packed=True, references=[clip(3.5), clip(4.5)])
    assert (too_long.status_code, too_long.json()["message"]) == (400, "Reference audio too long")
    for wrong in (
        {"audio": b"noise", "text": "x"},
        {"audio": "text", "text": "x"},
        {"audio": recording(0.5), "text": ""},
    ):
        answer = speak(fish, packed=True, references=[wrong])
        assert (answer.status_code, "Reference Audio is not valid" in answer.json()["message"]) == (400, True)


# Time, faults, limits


def test_audio_can_end_too_early_without_a_word(fish, voice_emulator):
    whole = speak(fish).content
    voice_emulator.settings(fish_truncate_speech=0.4)
    answer = speak(fish)
    assert answer.status_code == 200
    assert answer.content == whole[: int(len(whole) * 0.4)]


def test_the_first_byte_and_the_last_can_take_their_time(fish, voice_emulator):
    voice_emulator.settings(fish_tts_first_byte_seconds=0.5, fish_speech_seconds=1.0)
    started = time.monotonic()
    with fish.stream("POST", "/v1/tts", json={"text": TEXT}) as answer:
        first = time.monotonic() - started
        answer.read()
    assert first >= 0.5
    assert time.monotonic() - started >= 1.0
    voice_emulator.settings(fish_tts_first_byte_seconds=600)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(speak, fish)
        wait_for(lambda: len(voice_emulator.ledger()) == 2)
        voice_emulator.advance(600)
        assert waiting.result().status_code == 200


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_so_many_at_one_time_until_the_last_byte(fish, voice_emulator):
    voice_emulator.settings(fish_concurrency=2, fish_speech_seconds=600)
    streams = [fish.stream("POST", "/v1/tts", json={"text": TEXT}) for _ in range(2)]
    answers = [stream.__enter__() for stream in streams]
    assert [answer.status_code for answer in answers] == [200, 200]
    refused = speak(fish)
    assert (refused.status_code, refused.json()["status"]) == (429, 429)
    assert "exceeded your current concurrency limit" in refused.json()["message"]
    assert (refused.headers["ratelimit-limit-concurrency"], refused.headers["ratelimit-current-concurrency"]) == (
        "2",
        "2",
    )
    streams[0].__exit__(None, None, None)  # a client that goes away gives its slot back
    wait_for(lambda: fish.get("/model").headers["ratelimit-current-concurrency"] == "1")
    voice_emulator.advance(600)
    answers[1].read()
    streams[1].__exit__(None, None, None)
    voice_emulator.settings(fish_speech_seconds=0)
    assert speak(fish).status_code == 200
    assert len(voice_emulator.ledger()) == 3  # the one that was cut off, too


def test_a_refused_request_gives_its_slot_back(fish, voice_emulator):
    voice_emulator.settings(fish_concurrency=1)
    for _ in range(3):
        assert speak(fish, packed=True, references=[{"audio": b"noise", "text": "x"}]).status_code == 400
        assert speak(fish).status_code == 200


def test_a_client_that_goes_away_ends_the_synthesis(fish, voice_emulator, logged):
    text = "This sentence is one of very many that nobody will hear. " * 400
    with fish.stream("POST", "/v1/tts", json={"text": text}) as answer:
        next(answer.iter_raw())
    began = time.monotonic()
    wait_for(lambda: fish.get("/model").headers["ratelimit-current-concurrency"] == "0")
    assert time.monotonic() - began < 3
    assert fish.post("/v1/tts", json={"text": TEXT}).status_code == 200
    assert [bill["units"] for bill in voice_emulator.ledger()] == [len(text), len(TEXT)]
    assert "Speech of" in logged()
    assert "many" not in logged()


def test_a_long_text_leaves_sentence_by_sentence(fish):
    text = "This is one of the sentences. " * 300
    sizes = []
    with fish.stream("POST", "/v1/tts", json={"text": text, "format": "pcm"}) as answer:
        sizes = [len(piece) for piece in answer.iter_raw()]
    assert sum(sizes) / 88_200 == pytest.approx(len(text) / 15, rel=0.01)
    assert len(sizes) >= 300


def test_twenty_at_once(fish, voice_emulator):
    voice_emulator.settings(fish_concurrency=None)
    gate = threading.Barrier(20)

    def one(_: int) -> bytes:
        gate.wait()
        return speak(fish, format="pcm").content

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(one, range(20)))) == 1
    assert len(voice_emulator.ledger()) == 20


# Words and their places


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.strip().split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_events_say_where_the_words_are(fish, voice_emulator):
    body = {"text": f"{TEXT} {'Another sentence follows here. ' * 3}", "format": "wav", "chunk_length": 100}
    answer = fish.post("/v1/tts/stream/with-timestamp", json=body)
    events = events_of(answer)
    audio = b"".join(base64.b64decode(event["audio_base64"]) for event in events)
    assert audio == fish.post("/v1/tts", json=body).content
    assert [event["chunk_seq"] for event in events] == [0, 0, 0, 1, 1, 1]
    assert events[-1]["alignment"] is None
    snapshots = {event["chunk_seq"]: event for event in events if event["alignment"]}
    words = [
        (segment["text"], event["chunk_audio_offset_sec"] + segment["start"], segment["end"])
        for event in snapshots.values()
        for segment in event["alignment"]["segments"]
    ]
    assert " ".join(word for word, _, _ in words) == body["text"].strip()
    assert [start for _, start, _ in words] == sorted(start for _, start, _ in words)
    last = snapshots[1]
    end = last["chunk_audio_offset_sec"] + last["alignment"]["audio_duration"]
    assert end == pytest.approx(seconds_of(audio), abs=0.01)
    assert snapshots[1]["content"] == "Another sentence follows here. Another sentence follows here."
    assert len(voice_emulator.ledger("speech")) == 2


def test_events_refuse_as_the_audio_does(fish):
    assert fish.post("/v1/tts/stream/with-timestamp", json={}).json()["status"] == 400
    assert fish.get("/v1/tts").status_code == 405
