"""No answer of the emulator holds a field that the service does not have: who codes against it would rely on it.

The names are those of the service's specification, of its documentation and of recorded answers (its contract, sections
2, 3, 6 to 10; transcription as of November 2026). What is said of the emulator itself is in headers.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgpack
import pytest

from tests.emulator.customer import PNG
from tests.emulator.fish_audio.test_models import ENTITY

TEXT = "Hello there, friend. How are you today?"
ERROR = {"status", "message", "reason"}
AUTHOR = {"_id", "nickname", "avatar"}
SEGMENT = {"text", "start", "end"}
TRANSCRIPT = {"text", "duration", "language", "language_code", "segments", "segments.*"}
PAGE = {
    "total", "items", "items.*", "has_more", "max_offset", "accessible_upper_bound", "window_limited", "total_is_exact",
}  # fmt: skip
CANDIDATE = {
    "id", "index", "audio_base64", "sample_rate", "duration_ms", "text", "instruct", "language", "signature",
    "features",
}  # fmt: skip


def below(name: str, fields: set[str]) -> set[str]:
    return {f"{name}.{field}" for field in fields}


MODEL = ENTITY | below("author", AUTHOR) | {"tags.*", "languages.*"}
EVENT = {"audio_base64", "content", "chunk_seq", "chunk_audio_offset_sec", "alignment", "alignment.audio_duration"}
EVENT |= {"alignment.segments", "alignment.segments.*"} | below("alignment.segments.*", SEGMENT)
CREDIT = {
    "_id", "user_id", "credit", "cumulative_top_up", "created_at", "updated_at", "has_phone_sha256", "has_free_credit",
}  # fmt: skip
PACKAGE = {
    "user_id", "type", "total", "balance", "created_at", "updated_at", "finished_at", "extra_balance", "has_used_trial",
}  # fmt: skip
PRO = TRANSCRIPT | below("segments.*", SEGMENT) | {"request_id", "speaker_turns", "speaker_turns.*"}
PRO |= below("speaker_turns.*", SEGMENT | {"speaker"})


def names(value: Any, where: str = "") -> set[str]:
    """Every name in a JSON value, with a ``*`` for each list on the way."""
    found = {where} - {""}
    if isinstance(value, dict):
        return found.union(*(names(inner, f"{where}.{name}".lstrip(".")) for name, inner in value.items()))
    if isinstance(value, list):
        return found.union(*(names(inner, f"{where}.*".lstrip(".")) for inner in value))
    return found


def test_no_answer_holds_a_field_that_the_service_does_not_have(fish, sample, voice_emulator):
    model = fish.model(sample, tags=["a"], cover=PNG)
    speech = fish.post("/v1/tts", json={"text": TEXT}).content
    heard = {"files": {"audio": speech}, "data": {"ignore_timestamps": "false"}}
    pro = {"headers": {"model": "transcribe-1-pro"}, **heard}
    bad = {"headers": {"model": "transcribe-1-pro"}, "files": {"audio": b"noise"}}
    listed = PAGE | below("items.*", MODEL)
    design = {"candidates", "candidates.*"} | below("candidates.*", CANDIDATE)
    fault = {"*"} | below("*", {"type", "loc", "msg", "ctx", "in", "loc.*"})
    asked: list[tuple[tuple[Any, ...], dict[str, Any], set[str]]] = [
        (("GET", f"/model/{model['_id']}"), {}, MODEL),
        (("GET", "/model?self=true"), {}, listed),
        (("GET", "/model"), {}, listed),
        (("GET", "/model?page_size=101"), {}, fault),
        (("GET", "/model/unknown"), {}, ERROR),
        (("GET", "/wallet/self/api-credit"), {}, CREDIT),
        (("GET", "/wallet/self/package"), {}, PACKAGE),
        (("POST", "/v1/asr"), heard, TRANSCRIPT | below("segments.*", SEGMENT)),
        (("POST", "/v1/asr"), pro, PRO),
        (("POST", "/v1/asr"), bad, ERROR | {"code", "request_id"}),
        (("POST", "/v1/tts"), {"json": {}}, ERROR),
        (("POST", "/v1/tts"), {"json": {"text": "x", "references": [{"audio": "x", "text": "x"}]}}, ERROR),
        (("POST", "/v1/voice-design"), {"json": {"instruction": "A calm voice", "reference_text": "Hi."}}, design),
        (("POST", "/v1/voice-design"), {"json": {}}, ERROR),
        (("GET", "/v1/nothing"), {}, ERROR),
    ]
    seen = {}
    for (method, url), more, fields in asked:
        answer = fish.request(method, url, **more)
        unknown = names(answer.json()) - fields
        assert unknown == set(), f"{method} {url}: {answer.status_code}"
        seen[url, answer.status_code] = names(answer.json())
    assert PRO - seen["/v1/asr", 200] == set(), "all of them were seen"
    stream = fish.post("/v1/tts/stream/with-timestamp", json={"text": TEXT}).text
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert set().union(*map(names, events)) == EVENT


def test_times_of_words_count_from_the_beginning_of_their_chunk(fish):
    """And they are where the engine said them: a word takes what its letters take."""
    stream = fish.post("/v1/tts/stream/with-timestamp", json={"text": TEXT, "format": "pcm", "chunk_length": 25}).text
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    chunks = {event["chunk_seq"]: event for event in events if event["alignment"]}
    words = [
        (word["text"], event["chunk_audio_offset_sec"] + word["start"], event["chunk_audio_offset_sec"] + word["end"])
        for _, event in sorted(chunks.items())
        for word in event["alignment"]["segments"]
    ]
    assert len(chunks) == 2
    assert [word for word, _, _ in words] == TEXT.split()
    at = 0.0
    for word, start, end in words:
        assert start == pytest.approx(at, abs=0.08)
        at += (len(word) + 1) / 15
        assert end == pytest.approx(at, abs=0.08)
    sound = b"".join(base64.b64decode(event["audio_base64"]) for event in events)
    assert len(sound) / 2 / 44_100 == pytest.approx(words[-1][2], abs=0.01)


KEPT, SENT = {"id": "d-1", "version": "3"}, {"items": [{"key": "Airflow", "value": "air flow"}]}


@pytest.mark.parametrize("packed", [False, True])
def test_dictionaries_are_checked_as_the_specification_has_them(fish, packed, voice_emulator):
    """One that is not there is dropped without a word."""

    def speak(dictionaries: Any) -> int:
        body = {"text": "Hi.", "format": "pcm", "pronunciation_dictionary": dictionaries}
        if packed:
            headers = {"Content-Type": "application/msgpack"}
            return fish.post("/v1/tts", content=msgpack.packb(body), headers=headers).status_code
        return fish.post("/v1/tts", json=body).status_code

    good = ([], None, [KEPT], [KEPT] * 3, [SENT] * 3, [{"items": []}])
    bad = (
        [KEPT] * 4, [SENT] * 4, [KEPT, SENT], [{"id": "d"}], [{"version": "3"}], [{**KEPT, "version": 3}], [{}], [7],
        [{**KEPT, "id": "a b"}], [{**KEPT, "id": "d" * 129}], [{**KEPT, **SENT}], KEPT,
        [{"items": [{"key": "", "value": "x"}]}], [{"items": [{"key": "x", "value": ""}]}], [{"items": [{"key": "x"}]}],
    )  # fmt: skip
    assert [speak(dictionaries) for dictionaries in good] == [200] * len(good)
    assert [speak(dictionaries) for dictionaries in bad] == [400] * len(bad)
    assert len(voice_emulator.ledger()) == len(good)


def test_each_model_has_its_price(fish, voice_emulator):
    prices = {"s2.1-pro": 15, "s2-pro": 15, "s1": 15, "drama-3": 10, "s2.1-pro-free": 0, "unheard-of": 15}
    for model, price in prices.items():
        answer = fish.post("/v1/tts", json={"text": "x" * 1000, "format": "pcm"}, headers={"model": model})
        assert answer.headers["x-emulator-model"] == (model if model in list(prices)[:-1] else "s2.1-pro")
        assert voice_emulator.ledger()[-1]["usd"] == pytest.approx(price / 1000)
