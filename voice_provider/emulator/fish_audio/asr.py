"""Transcription of Fish Audio (section 8): by heart, what is known here; by ear, what the engine understands."""

import hashlib
import math
import re
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from voice_provider.emulator.engine import EngineError
from voice_provider.emulator.fish_audio.bodies import Form, UploadedFile, read_form_or_packed
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.requests import FishCaller, InferenceCaller, slot
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.heard import Transcript, recall
from voice_provider.emulator.world.settings import MIB

router = APIRouter()

USD_PER_SECOND = 0.36 / 3600
PRO = "transcribe-1-pro"
KINDS = ("multipart/form-data", "application/msgpack")
LANGUAGE = re.compile(r"[a-z]{2}")
SPEAKER_COUNTS = ("num_speakers", "min_speakers", "max_speakers")
MAX_BYTES = 50 * MIB  # `transcribe-1` only
SHORTEST, LONGEST = 1.0, 3600.0  # seconds


class Transcription:
    """A request while it is answered; the pro engine says more, also when it refuses."""

    def __init__(self, caller: FishCaller, engine: str | None) -> None:
        self.caller = caller
        self.pro = engine == PRO
        self.id = uuid.uuid4().hex

    def refuse(self, status: int, code: str, message: str) -> FishError:
        error = FishError(status, message)
        if self.pro:
            error.body |= {"code": code, "request_id": self.id}
            error.headers["x-request-id"] = self.id
        return error

    def audio(self, form: Form) -> UploadedFile:
        given = form.get("audio", [])
        if not given:
            raise self.refuse(400, "invalid_request", "missing field `audio`")
        if len(given) > 1 or not isinstance(given[0], UploadedFile):
            raise self.refuse(400, "invalid_request", "`audio` must be exactly one file")
        if not self.pro and given[0].size > MAX_BYTES:
            raise self.refuse(413, "request_too_large", "The audio is larger than 50 MiB")
        return given[0]

    def check_options(self, form: Form) -> None:
        """Only the pro engine minds."""
        language = _value(form, "language")
        if self.pro and language and not LANGUAGE.fullmatch(str(language)):
            raise self.refuse(400, "invalid_parameter", "language must be a lowercase ISO 639-1 code")
        for name in SPEAKER_COUNTS:
            count = _value(form, name)
            if self.pro and count is not None and not str(count).isdecimal():
                raise self.refuse(400, "invalid_parameter", f"{name} must be a whole number")

    async def hear(self, audio: UploadedFile) -> Transcript:
        emulator = self.caller.emulator
        try:
            heard = await emulator.jobs.in_thread(lambda: _hear(emulator, audio))
        except EngineError as error:
            raise self.refuse(400, "invalid_audio", error.message.replace(audio.path.name, "The audio")) from error
        if heard.seconds < SHORTEST:
            raise self.refuse(400, "audio_too_short", f"The audio is shorter than {SHORTEST:g} s")
        if heard.seconds > LONGEST:
            raise self.refuse(400, "audio_too_long", f"The audio is longer than {LONGEST / 60:g} minutes")
        return heard

    def json(self, heard: Transcript, *, timestamps: bool) -> dict[str, Any]:
        segments = [vars(segment) for segment in heard.segments] if timestamps else []
        answer: dict[str, Any] = {"text": heard.text, "duration": round(heard.seconds, 3), "segments": segments}
        if heard.text:
            answer |= {"language_code": "en", "language": "English"}
        if self.pro:
            answer["request_id"] = self.id
        if self.pro and timestamps:
            answer["speaker_turns"] = [{"speaker": "speaker:0"} | segment for segment in segments]
            answer["text"] = f"<|speaker:0|>{heard.text}" if heard.text else ""
        return answer


def _value(form: Form, name: str) -> Any:
    return (form.get(name) or [None])[0]


def _hear(emulator: Emulator, audio: UploadedFile) -> Transcript:
    """In a worker thread: what the recording says, and how long it is."""
    if known := recall(emulator.files, audio.path):
        return known
    media = emulator.engine.probe(audio.path)
    seconds = media.seconds or 0.0
    phrases = list(emulator.engine.transcribe(audio.path)) if SHORTEST <= seconds <= LONGEST else []
    return Transcript(" ".join(phrase.text for phrase in phrases), seconds, phrases)


@router.post("/v1/asr")
async def transcribe(request: Request, caller: InferenceCaller) -> JSONResponse:
    work = Transcription(caller, request.headers.get("model"))
    caller.check_credit()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise work.refuse(415, "unsupported_media_type", f"Send {KINDS[0]} or {KINDS[1]}")
    with slot(caller):
        async with read_form_or_packed(request) as form:
            audio = work.audio(form)
            work.check_options(form)
            ignored = _value(form, "ignore_timestamps")
            heard = await work.hear(audio)
    seconds = math.ceil(heard.seconds)
    sha256 = hashlib.sha256(heard.text.encode()).hexdigest()
    caller.emulator.state.insert(caller.charge("asr", work.id, seconds, "seconds", seconds * USD_PER_SECOND, sha256))
    answer = work.json(heard, timestamps=ignored not in (None, True, "true"))
    return JSONResponse(answer, headers={"x-emulator-engine": caller.emulator.engine.name, "x-request-id": work.id})
