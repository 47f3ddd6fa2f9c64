"""Transcription and voice design of Fish Audio (its contract, sections 8 and 10)."""

from __future__ import annotations

import base64
import math
import struct
import uuid

import msgpack
import pytest

from tests.emulator.fish_audio.customer import FishCustomer

TEXT = "Hello there, friend. How are you today?"
PRO = {"model": "transcribe-1-pro"}


@pytest.fixture
def speech(fish) -> bytes:
    return fish.post("/v1/tts", json={"text": TEXT}).content


def test_speech_that_was_made_here_is_recognised(fish, speech, voice_emulator):
    answer = fish.post("/v1/asr", files={"audio": speech}, data={"ignore_timestamps": "false", "language": "en"})
    assert answer.status_code == 200
    heard = answer.json()
    assert heard["text"] == TEXT
    assert heard["duration"] == pytest.approx(len(TEXT) / 15, abs=0.01)
    assert [segment["text"] for segment in heard["segments"]] == ["Hello there, friend.", "How are you today?"]
    assert heard["segments"][0]["end"] == heard["segments"][1]["start"] == pytest.approx(1.4)
    assert (heard["language_code"], heard["language"]) == ("en", "English")
    (bill,) = voice_emulator.ledger("asr")
    assert (bill["units"], bill["unit"]) == (math.ceil(heard["duration"]), "seconds")
    assert bill["usd"] == pytest.approx(bill["units"] * 0.0001)


def test_timestamps_are_left_out_by_default(fish, speech):
    assert fish.post("/v1/asr", files={"audio": speech}).json()["segments"] == []
    for value, count in ((True, 0), (False, 2)):
        packed = msgpack.packb({"audio": speech, "ignore_timestamps": value})
        answer = fish.post("/v1/asr", content=packed, headers={"Content-Type": "application/msgpack"})
        assert len(answer.json()["segments"]) == count


def test_a_wav_file_is_known_whatever_its_header_says(fish):
    wav = fish.post("/v1/tts", json={"text": TEXT, "format": "wav"}).content
    put_right = wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:40] + struct.pack("<I", len(wav) - 44) + wav[44:]
    for audio in (wav, put_right):
        assert fish.post("/v1/asr", files={"audio": audio}).json()["text"] == TEXT


def test_what_the_engine_does_not_understand_is_honestly_empty(fish, sample):
    heard = fish.post("/v1/asr", files={"audio": sample}, data={"ignore_timestamps": "false"}).json()
    assert heard == {"text": "", "duration": 3.0, "segments": []}


def test_a_streamed_wav_file_is_as_long_as_it_is(fish):
    wav = fish.post("/v1/tts", json={"text": TEXT, "format": "wav"}).content
    wav = wav[:-2] + b"\1\0"  # not what was made here
    assert fish.post("/v1/asr", files={"audio": wav}).json()["duration"] == pytest.approx(len(TEXT) / 15, abs=0.01)


def test_the_pro_engine_says_more(fish, speech, voice_emulator):
    heard = fish.post("/v1/asr", headers=PRO, files={"audio": speech}, data={"ignore_timestamps": "no"})
    body = heard.json()
    assert body["request_id"] == heard.headers["x-request-id"]
    assert str(uuid.UUID(body["request_id"])) == body["request_id"]
    assert [part["text"] for part in body["segments"]] == TEXT.split()
    ends = [part["end"] for part in body["segments"]]
    assert [part["start"] for part in body["segments"]] == [0.0, *ends[:-1]]
    assert ends[-1] == pytest.approx(body["duration"], abs=0.01)
    assert body["speaker_turns"] == [{"speaker": "speaker:0", "text": TEXT, "start": 0.0, "end": ends[-1]}]
    assert body["text"] == f"<|speaker:0|>{TEXT}"
    plain = fish.post("/v1/asr", headers=PRO, files={"audio": speech}).json()
    alone = {"ignore_timestamps": "false", "diarize": "false"}
    alone = fish.post("/v1/asr", headers=PRO, files={"audio": speech}, data=alone).json()
    assert "speaker_turns" not in plain | alone
    assert plain["text"] == alone["text"] == TEXT
    voice_emulator.advance(60 * 86400)  # into the year after: the former engine has ended, without an error
    after = fish.post("/v1/asr", headers={"model": "transcribe-1"}, files={"audio": speech})
    assert (after.headers["x-emulator-model"], "request_id" in after.json()) == ("transcribe-1-pro", True)


AIFF, WMA, AMR = b"FORM\0\0\0\0AIFF", bytes.fromhex("3026b2758e66cf11"), b"#!AMR\n"


def test_bad_requests_cost_nothing_and_are_named(fish, sample, voice_emulator):
    """Of options and formats only the pro engine minds."""
    cases = [
        (b"noise", {}, "invalid_audio"),
        (b"", {}, "invalid_audio"),
        *((content, {}, "invalid_audio") for content in (AIFF, WMA, AMR)),
        (sample, {"language": "English"}, "invalid_parameter"),
        (sample, {"num_speakers": "two"}, "invalid_parameter"),
        (sample, {"num_speakers": "0"}, "invalid_parameter"),
        (sample, {"num_speakers": "2", "diarize": "false"}, "invalid_parameter"),
        (sample, {"diarize": "perhaps"}, "invalid_parameter"),
        (sample, {"tag_audio_events": "x"}, "invalid_parameter"),
    ]
    for content, fields, code in cases:
        answer = fish.post("/v1/asr", headers=PRO, files={"audio": content}, data=fields)
        assert (answer.status_code, answer.json()["code"]) == (400, code), fields
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert voice_emulator.ledger() == []
    for content, fields, status in ((b"noise", {}, 400), (sample, cases[5][1], 200)):
        plain = fish.post("/v1/asr", files={"audio": content}, data=fields)
        assert plain.status_code == status
        assert "code" not in plain.json()
        assert plain.headers["x-request-id"]


def test_requests_are_named_also_when_they_are_refused_for_the_account(fish, sample, voice_emulator):
    with FishCustomer(voice_emulator.url, "wrong") as nobody:
        answers = [nobody.post("/v1/asr", headers=PRO, files={"audio": sample})]
    voice_emulator.settings(fish_concurrency=0)
    answers.append(fish.post("/v1/asr", headers=PRO, files={"audio": sample}))
    voice_emulator.settings(fish_credit_usd=0)
    answers.append(fish.post("/v1/asr", headers=PRO, files={"audio": sample}))
    assert [answer.status_code for answer in answers] == [401, 429, 402]
    assert all(answer.json()["request_id"] == answer.headers["x-request-id"] for answer in answers)


def test_a_long_recording_is_too_much_for_the_former_engine(fish, sample, recording, voice_emulator):
    voice_emulator.settings(fish_long_recording_seconds=3)
    refused = fish.post("/v1/asr", files={"audio": sample})
    assert (refused.status_code, refused.json().keys()) == (503, {"status", "message"})
    assert fish.post("/v1/asr", headers=PRO, files={"audio": sample}).status_code == 200
    assert fish.post("/v1/asr", files={"audio": recording(0.5)}).status_code == 200  # the least of a second is gone
    assert [bill["units"] for bill in voice_emulator.ledger("asr")] == [3, 1]


def test_there_is_one_audio_in_one_of_two_encodings(fish, sample, voice_emulator):
    assert "missing field `audio`" in fish.post("/v1/asr", files={"other": sample}).json()["message"]
    assert fish.post("/v1/asr", files=[("audio", sample), ("audio", sample)]).status_code == 400
    wrong = fish.post("/v1/asr", headers=PRO, json={"audio": base64.b64encode(sample).decode()})
    assert (wrong.status_code, wrong.json()["code"]) == (415, "unsupported_media_type")
    voice_emulator.settings(fish_credit_usd=0)
    assert fish.post("/v1/asr", json={}).status_code == 402


def test_a_designed_voice_is_sound_with_a_proof(fish, voice_emulator):
    body = {"instruction": "A deep male voice, calm", "n": 3, "reference_text": "Good evening."}
    answer = fish.post("/v1/voice-design", json=body)
    assert answer.status_code == 200
    candidates = answer.json()["candidates"]
    assert [candidate["index"] for candidate in candidates] == [0, 1, 2]
    sounds = [base64.b64decode(candidate["audio_base64"]) for candidate in candidates]
    assert len(set(sounds)) == 3
    for sound, candidate in zip(sounds, candidates, strict=True):
        assert sound[:4] == b"RIFF"
        assert (len(sound) - 44) / 88.2 == pytest.approx(candidate["duration_ms"], abs=1)
    (bill,) = voice_emulator.ledger("design")
    assert bill["usd"] == 0.01
    longer = fish.post("/v1/voice-design", json={"instruction": "A woman", "n": 1}).json()["candidates"][0]
    created = fish.create(
        base64.b64decode(longer["audio_base64"]), voice_design_signatures=longer["signature"], title="designed"
    )
    assert (created.status_code, created.json()["source"]) == (201, "voice_design")


@pytest.mark.parametrize(
    "fields", [{"n": 5}, {"instruction": ""}, {"instruction": "a" * 2001}, {"speed": 0}, {"unheard_of": 1}]
)
def test_a_bad_design_is_refused(fish, fields, voice_emulator):
    answer = fish.post("/v1/voice-design", json={"instruction": "A calm voice"} | fields)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert voice_emulator.ledger() == []
