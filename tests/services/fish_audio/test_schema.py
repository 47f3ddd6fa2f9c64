"""What is sent is what Fish Audio's published specification has: names, types and values, of each route in use.

The specification as of October 2026, and for transcription the documentation of November, written down here as facts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tests.services.flows import answer, drive
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.options import FishClone, FishSpeech, FishTranscription
from voice_provider.services.options import VoiceFilters, parse

if TYPE_CHECKING:
    from voice_provider.services.base import Request

ID = r"^[A-Za-z0-9_-]{1,128}$"
VOICE = "d5d21261512b4852b9ccd709facf93f3"


class Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Prosody(Schema):
    speed: float = Field(default=1, ge=0.5, le=2)
    volume: float = Field(default=0, ge=-20, le=20)
    normalize_loudness: bool = True


class Kept(Schema):
    id: str = Field(pattern=ID)
    version: str = Field(pattern=ID)


class Entry(Schema):
    key: str = Field(min_length=1, max_length=256)
    value: str = Field(min_length=1, max_length=1024)
    case_sensitive: bool = False


class Sent(Schema):
    items: list[Entry] = Field(max_length=5000)


class Speech(Schema):
    """``POST /v1/tts`` and ``POST /v1/tts/stream/with-timestamp``, JSON."""

    text: str
    reference_id: str | list[str] | None = None
    format: str = Field(default="mp3", pattern=r"^(wav|pcm|mp3|opus)$")
    sample_rate: int | None = None
    mp3_bitrate: int = Field(default=128, json_schema_extra={"enum": [64, 128, 192]})
    opus_bitrate: int = -1000
    latency: str = Field(default="normal", pattern=r"^(normal|balanced|low)$")
    chunk_length: int = Field(default=300, ge=100, le=300)
    min_chunk_length: int = Field(default=50, ge=0, le=100)
    normalize: bool = True
    temperature: float = Field(default=0.7, ge=0, le=1)
    top_p: float = Field(default=0.7, ge=0, le=1)
    repetition_penalty: float = 1.2
    max_new_tokens: int = 1024
    condition_on_previous_chunks: bool = True
    early_stop_threshold: float = Field(default=1, ge=0, le=1)
    prosody: Prosody | None = None
    features: list[str] = []
    pronunciation_dictionary: list[Kept] | list[Sent] | None = Field(default=None, max_length=3)


EVERY_OPTION = {
    "voice_id": [VOICE, "b"], "sample_rate": "44100", "mp3_bitrate": "192", "latency": "low", "chunk_length": 200,
    "min_chunk_length": 0, "normalize": "false", "temperature": "0.5", "top_p": 0, "repetition_penalty": 1.1,
    "max_new_tokens": "2048", "condition_on_previous_chunks": False, "early_stop_threshold": 0.9, "speed": "1.2",
    "volume": -3, "normalize_loudness": True, "features": ["quality-guard"], "model": "drama-3",
}  # fmt: skip
DICTIONARIES = (
    [{"id": "d-1", "version": 3}] * 3,
    [{"items": [{"key": "Airflow", "value": "air flow", "case_sensitive": "true"}]}],
)
FORMS = {
    "/model": {
        "title": ".+", "type": "tts", "train_mode": "fast", "visibility": "private|unlist|public", "texts": ".+",
        "description": ".*", "tags": ".+", "enhance_audio_quality": "true|false", "generate_sample": "true|false",
    },
    "/v1/asr": {
        "language": "[a-z]{2}", "ignore_timestamps": "true|false", "diarize": "true|false",
        "num_speakers": "[1-9][0-9]*", "tag_audio_events": "true|false",
    },
}  # fmt: skip
FILES = {"/model": {"voices", "cover_image"}, "/v1/asr": {"audio"}}
QUERY = {
    "self": "true|false", "page_size": "[1-9]|[1-9][0-9]|100", "page_number": "[1-9][0-9]*", "title": ".+", "tag": ".+",
    "language": "[a-z]{2}", "title_language": "[a-z]{2}", "author_id": ".+", "licensed": "true|false",
    "sort_by": "score|task_count|created_at",
}  # fmt: skip


class Recording:
    name, size, media_type = "a.wav", 3, "audio/wav"

    def chunks(self) -> Any:
        yield b"abc"


class Sink:
    position = 0

    def write(self, data: bytes) -> None: ...
    def restart(self) -> None: ...


def sent(flow: Any, body: Any, **headers: str) -> Request:
    _, [request] = drive(flow, answer(body, **headers))
    return request


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("dictionary", DICTIONARIES)
def test_speech_is_asked_for_as_the_specification_has_it(dictionary: Any, timed: bool) -> None:
    options = parse(FishSpeech, {"text": "Hi.", **EVERY_OPTION, "pronunciation_dictionary": dictionary}, "Fish Audio")
    FishAudio({}).check_speech(options)
    flow = FishAudio({}).speak(options, [], Sink(), timed=timed)
    kind = "text/event-stream" if timed else "audio/mpeg"
    request = sent(flow, "", content_type=kind)
    body = Speech.model_validate(request.json)
    assert body.model_fields_set == set(Speech.model_fields) - {"opus_bitrate"}, "every option was looked at"
    assert (request.url, request.headers) == (
        "/v1/tts/stream/with-timestamp" if timed else "/v1/tts", {"model": "drama-3"},
    )  # fmt: skip
    with pytest.raises(ValidationError):
        Speech.model_validate({**request.json, "speed": 1})


def test_forms_hold_what_the_specification_has() -> None:
    clone = {
        "texts": ["x"], "visibility": "unlist", "description": "d", "tags": ["a", "b"], "enhance_audio_quality": False,
        "generate_sample": True,
    }  # fmt: skip
    hearing = {
        "language": "de", "segments": True, "diarize": True, "num_speakers": 2, "tag_audio_events": False,
    }  # fmt: skip
    service, voice = FishAudio({}), {"_id": VOICE, "state": "trained"}
    requests = [
        sent(service.clone_voice("Ada", [Recording()], parse(FishClone, clone), Recording()), voice),
        sent(service.clone_voice("Ada", [Recording()], FishClone()), voice),
        sent(service.transcribe(Recording(), parse(FishTranscription, hearing)), {"text": ""}),
        sent(service.transcribe(Recording(), FishTranscription()), {"text": ""}),
    ]
    seen: dict[str, set[str]] = {url: set() for url in FORMS}
    for request in requests:
        for name, value in request.form:
            assert re.fullmatch(FORMS[request.url][name], value), (request.url, name, value)
            seen[request.url].add(name)
        assert {name for name, _ in request.files} <= FILES[request.url]
        assert request.headers.get("model") == ("transcribe-1-pro" if request.url == "/v1/asr" else None)
    assert {url: set(fields) for url, fields in FORMS.items()} == seen, "every field was looked at"


def test_lists_are_asked_for_as_the_specification_has_it() -> None:
    filters = {
        "own": False, "title": "x", "tags": ["a"], "languages": ["en"], "title_languages": ["de"], "author": "me",
        "licensed": True, "sort_by": "score",
    }  # fmt: skip
    request = sent(FishAudio({}).list_voices(parse(VoiceFilters, filters)), {"total": 0, "items": []})
    for name, given in request.params.items():
        for value in [given] if isinstance(given, str) else given:
            assert re.fullmatch(QUERY[name], value), (name, value)
    assert request.params.keys() == QUERY.keys()
