"""Voice design of Fish Audio: voices by description (section 10). Each candidate is one of the engine's own voices."""

import base64
import hashlib
import math
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.emulator.engine import EngineError
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.requests import InferenceCaller, signature, slot
from voice_provider.emulator.fish_audio.speech import read_speech, wav_header
from voice_provider.emulator.world.emulator import Emulator

router = APIRouter()

RATE = 44_100
USD_PER_REQUEST = 0.01
SAMPLE_TEXT = "Hello, this is how I sound. I hope that you like this voice."
LOW = ("deep", "low", "male ", "man", "old", "bass", "grandfather")
HIGH = ("high", "bright", "female", "woman", "girl", "child", "young")


class DesignBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    instruction: str = Field(min_length=1, max_length=2000)
    reference_text: str | None = Field(default=None, max_length=150)
    language: str | None = None
    n: int = Field(default=2, ge=1, le=4)
    speed: float = Field(default=1.0, gt=0, le=3)
    num_step: int = Field(default=32, ge=1, le=128)
    guidance_scale: float = Field(default=2.0, ge=0)
    instruct_guidance_scale: float = Field(default=0.0, ge=0)
    seed: int | None = None


@router.post("/v1/voice-design")
async def design(request: Request, caller: InferenceCaller) -> JSONResponse:
    emulator = caller.emulator
    caller.check_credit()
    raw, packed = await read_speech(request)
    if packed:
        raise FishError(415, "Expected request with `Content-Type: application/json`")
    try:
        body = DesignBody.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FishError(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None
    with slot(caller):
        try:
            candidates = await emulator.jobs.in_thread(
                lambda: [_candidate(emulator, body, index) for index in range(body.n)]
            )
        except EngineError as error:
            raise FishError(400, error.message) from error
    sha256 = hashlib.sha256(body.instruction.encode()).hexdigest()
    emulator.state.insert(caller.charge("design", uuid.uuid4().hex, 1, "requests", USD_PER_REQUEST, sha256))
    for candidate in candidates:
        candidate["signature"] = signature(emulator, candidate.pop("sha256"))
    return JSONResponse({"candidates": candidates}, headers={"x-emulator-engine": emulator.engine.name})


def _candidate(emulator: Emulator, body: DesignBody, index: int) -> dict[str, Any]:
    text = body.reference_text or SAMPLE_TEXT
    voices = _ranked(emulator, body.instruction)
    stream = emulator.engine.stream(
        [(voices[index % len(voices)], text)],
        form="pcm",
        rate=RATE,
        speed=min(2.0, max(0.5, body.speed)),
        seed=(body.seed or 0) + index,
    )
    samples = b"".join(piece.audio for piece in stream)
    audio = wav_header(RATE, len(samples)) + samples
    return {
        "id": uuid.uuid4().hex,
        "index": index,
        "audio_base64": base64.b64encode(audio).decode(),
        "sample_rate": RATE,
        "duration_ms": math.ceil(len(samples) / 2 / RATE * 1000),
        "text": text,
        "instruct": body.instruction,
        "language": body.language,
        "features": [],
        "sha256": hashlib.sha256(audio).hexdigest(),
    }


def _ranked(emulator: Emulator, instruction: str) -> list[str]:
    """The built-in voices (base, low, bright), the one that fits the description first."""
    wanted = f"{instruction.lower()} "
    high = sum(word in wanted for word in HIGH)
    low = sum(word in wanted for word in LOW) - ("female" in wanted) - ("woman" in wanted)
    best = "low" if low > high else "bright" if high > low else "base"
    return sorted(emulator.engine.builtin_voices, key=lambda name: name != best)
