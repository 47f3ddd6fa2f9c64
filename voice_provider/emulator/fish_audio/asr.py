"""Transcription of Fish Audio (section 8): by heart, what is known here; by ear, what the engine understands."""

import hashlib
import math
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from voice_provider.emulator.engine import EngineError
from voice_provider.emulator.fish_audio.bodies import Form, UploadedFile, read_form_or_packed
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.requests import inference_caller, slot
from voice_provider.emulator.fish_audio.settings import settings_of
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.heard import Transcript, hear

router = APIRouter()

USD_PER_SECOND = 0.36 / 3600
PRO, FORMER = "transcribe-1-pro", "transcribe-1"
FORMER_ENDS = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
KINDS = ("multipart/form-data", "application/msgpack")
LANGUAGE = re.compile(r"[a-z]{2}")
SWITCHES = ("diarize", "tag_audio_events")
SPEAKER_COUNTS = ("num_speakers", "min_speakers", "max_speakers")
REFUSED = ((b"FORM", "AIFF"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"), (b"#!AMR", "AMR"))  # by first bytes
SPEAKER = "speaker:0"  # the engine tells no speakers apart


class Transcription:
    """A request while it is answered; the pro engine says more, also when it refuses."""

    def __init__(self, emulator: Emulator, engine: str | None) -> None:
        self.emulator = emulator
        former = emulator.clock.now() < FORMER_ENDS and engine != PRO  # also for engines that are not known
        self.engine = FORMER if former else PRO
        self.pro = not former
        self.id = str(uuid.uuid4())

    def refuse(self, status: int, code: str, message: str) -> FishError:
        return self.named(FishError(status, message), code)

    def named(self, error: FishError, code: str | None = None) -> FishError:
        """Add what each error of the pro engine carries."""
        error.headers["x-request-id"] = self.id
        if self.pro:
            error.body |= ({"code": code} if code else {}) | {"request_id": self.id}
        return error

    def audio(self, form: Form) -> UploadedFile:
        given = form.get("audio", [])
        if not given:
            raise self.refuse(400, "invalid_request", "missing field `audio`")
        if len(given) > 1 or not isinstance(given[0], UploadedFile):
            raise self.refuse(400, "invalid_request", "`audio` must be exactly one file")
        name = next((name for mark, name in REFUSED if given[0].head.startswith(mark)), None)
        if self.pro and name:
            raise self.refuse(400, "invalid_audio", f"Unsupported audio format {name}")
        return given[0]

    def check_options(self, form: Form) -> None:
        """Only the pro engine minds."""
        if not self.pro:
            return
        language = _value(form, "language")
        if language and not LANGUAGE.fullmatch(str(language)):
            raise self.refuse(400, "invalid_parameter", "language must be a lowercase ISO 639-1 code")
        for name in SWITCHES:
            if (given := _value(form, name)) is not None and _switch(given) is None:
                raise self.refuse(400, "invalid_parameter", f"{name} must be true or false")
        for name in SPEAKER_COUNTS:
            count = _value(form, name)
            if count is not None and not (str(count).isdecimal() and int(count)):
                raise self.refuse(400, "invalid_parameter", f"{name} must be a whole number, 1 or more")
            if count is not None and _switch(_value(form, "diarize")) is False:
                raise self.refuse(400, "invalid_parameter", f"{name} cannot be given with diarize=false")

    async def hear(self, audio: UploadedFile) -> Transcript:
        emulator = self.emulator
        try:
            heard = await emulator.jobs.in_thread(lambda: hear(emulator.engine, emulator.files, audio.path))
        except EngineError as error:
            raise self.refuse(400, "invalid_audio", error.message.replace(audio.path.name, "The audio")) from error
        if not self.pro and heard.seconds >= settings_of(emulator).fish_long_recording_seconds:
            raise self.refuse(503, "upstream_timeout", "Service Unavailable")
        return heard

    def json(self, heard: Transcript, *, timestamps: bool, diarize: bool) -> dict[str, Any]:
        """The pro engine says where words are, the one before it where sentences are."""
        parts = heard.words or heard.segments if self.pro else heard.segments
        segments = [vars(part) for part in parts] if timestamps else []
        answer: dict[str, Any] = {"text": heard.text, "duration": round(heard.seconds, 3), "segments": segments}
        if heard.text:
            answer |= {"language_code": "en", "language": "English"}
        if self.pro:
            answer["request_id"] = self.id
        if self.pro and segments and diarize:
            turn = {"text": heard.text, "start": segments[0]["start"], "end": segments[-1]["end"]}
            answer |= {"speaker_turns": [{"speaker": SPEAKER} | turn], "text": f"<|{SPEAKER}|>{heard.text}"}
        return answer


def _value(form: Form, name: str) -> Any:
    return (form.get(name) or [None])[0]


def _switch(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(str(value).lower())


@router.post("/v1/asr")
async def transcribe(request: Request) -> JSONResponse:
    work = Transcription(request.app.state.emulator, request.headers.get("model"))
    try:
        return await _answer(request, work)
    except FishError as error:
        raise work.named(error) from error


async def _answer(request: Request, work: Transcription) -> JSONResponse:
    caller = await inference_caller(request)
    caller.check_credit()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise work.refuse(415, "unsupported_media_type", f"Send {KINDS[0]} or {KINDS[1]}")
    with slot(caller):
        async with read_form_or_packed(request) as form:
            audio = work.audio(form)
            work.check_options(form)
            timestamps = _value(form, "ignore_timestamps") not in (None, True, "true")
            diarize = _switch(_value(form, "diarize")) is not False
            heard = await work.hear(audio)
    seconds = math.ceil(heard.seconds)
    sha256 = hashlib.sha256(heard.text.encode()).hexdigest()
    work.emulator.state.insert(caller.charge("asr", work.id, seconds, "seconds", seconds * USD_PER_SECOND, sha256))
    marks = {"x-emulator-engine": work.emulator.engine.name, "x-emulator-model": work.engine, "x-request-id": work.id}
    return JSONResponse(work.json(heard, timestamps=timestamps, diarize=diarize), headers=marks)
