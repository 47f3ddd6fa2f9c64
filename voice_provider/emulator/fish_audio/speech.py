"""Speech of Fish Audio: as a stream of audio, and as events that say where the words are (sections 5 and 6)."""

import base64
import json
import struct
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgpack
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from voice_provider.emulator.engine import EngineError, Spoken
from voice_provider.emulator.fish_audio.errors import FishError, PlainError
from voice_provider.emulator.fish_audio.heard import Alignment, Listener
from voice_provider.emulator.fish_audio.lines import (
    MEDIA_TYPES,
    SpeechOrder,
    bill,
    check_paid,
    engine_of,
    lines,
    start,
    understand,
    voices_of,
)
from voice_provider.emulator.fish_audio.requests import FishCaller, InferenceCaller, slot
from voice_provider.emulator.fish_audio.settings import settings_of
from voice_provider.emulator.world.emulator import Emulator

router = APIRouter()

JSON, PACKED = "application/json", "application/msgpack"
NAMES = {JSON: "JSON", PACKED: "MsgPack"}
CHUNK_LENGTH = 300
# What the service writes, because it does not know the length when it begins (section 5.2).
UNKNOWN_RIFF, UNKNOWN_DATA = 4_294_967_076, 4_294_967_040


def wav_header(rate: int, size: int | None = None) -> bytes:
    """The 44 bytes in front of 16-bit mono samples; without a size, what stands for "as much as comes"."""
    riff, data = (UNKNOWN_RIFF, UNKNOWN_DATA) if size is None else (size + 36, size)
    return struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", riff, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data)


async def read_speech(request: Request) -> tuple[Any, bool]:
    """The body, and whether it came as MessagePack, which alone can hold recordings."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in NAMES:
        raise FishError(415, f"Expected request with `Content-Type: {JSON}` or `{PACKED}`")
    limit, body = settings_of(request.app.state.emulator).fish_max_upload_bytes, bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise FishError(413, "Payload Too Large")
        return (json.loads(body), False) if kind == JSON else (msgpack.unpackb(body), True)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise PlainError(400, f"Failed to parse the request body as {NAMES[kind]}: {error}") from None
    except ClientDisconnect:
        raise PlainError(400) from None  # nobody reads it


@dataclass
class Accepted:
    """Speech that has begun and is paid for; `holding` gives the slot back."""

    emulator: Emulator
    order: SpeechOrder
    stream: Iterator[Spoken]
    first: Spoken | None
    started: float
    holding: ExitStack

    async def pieces(self) -> AsyncIterator[Spoken]:
        """The stream, one sentence at a time in a worker thread: when the client is gone, the next is not begun."""
        listener, piece = Listener(self.emulator), self.first
        while piece is not None:
            listener.hear(piece)
            yield piece
            piece = await following(self.emulator, self.stream)
        listener.end()
        await self.reach("fish_speech_seconds")

    async def reach(self, setting: str) -> None:
        """Wait until so many seconds after the start as a setting says."""
        await self.emulator.clock.reach(lambda: self.started + getattr(settings_of(self.emulator), setting))


async def following(emulator: Emulator, stream: Iterator[Spoken]) -> Spoken | None:
    return await emulator.jobs.in_thread(lambda: next(stream, None))


async def accept(request: Request, caller: FishCaller, *, timed: bool = False) -> Accepted:
    """Everything before the first byte: checks, a slot, the voices, the first sentence, the bill."""
    emulator = caller.emulator
    engine = engine_of(emulator, request.headers.get("model"))
    check_paid(caller, engine)
    raw, packed = await read_speech(request)
    order = understand(caller, raw, engine, packed=packed)
    with ExitStack() as holding:
        holding.enter_context(slot(caller))
        started, text = emulator.clock.now(), order.body.text
        said, fault = lines(text, engine, await voices_of(caller, order)), getattr(request.state, "speech", None)
        stream = start(emulator, order, said, text, timed=timed, fault=fault)
        try:
            first = await following(emulator, stream)
        except EngineError as error:
            raise FishError(400, error.message) from error
        emulator.state.insert(bill(caller, order, text, uuid.uuid4().hex))
        return Accepted(emulator, order, stream, first, started, holding.pop_all())


class SpeechResponse(StreamingResponse):
    """A chunked answer that gives its slot back when the last byte is sent or the client is gone."""

    def __init__(self, accepted: Accepted, content: AsyncIterator[bytes], media_type: str) -> None:
        headers = {"x-emulator-engine": accepted.emulator.engine.name, "x-emulator-model": accepted.order.engine}
        super().__init__(content, headers=headers, media_type=media_type)
        self._accepted = accepted

    async def stream_response(self, send: Send) -> None:
        await self._accepted.reach("fish_tts_first_byte_seconds")
        await super().stream_response(send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._accepted.holding:
            await super().__call__(scope, receive, send)


@router.post("/v1/tts")
async def speak(request: Request, caller: InferenceCaller) -> Response:
    accepted = await accept(request, caller)
    return SpeechResponse(accepted, _audio(accepted), MEDIA_TYPES[accepted.order.body.format])


async def _audio(accepted: Accepted) -> AsyncIterator[bytes]:
    settings, order = settings_of(accepted.emulator), accepted.order
    in_wav, share = order.body.format == "wav", settings.fish_truncate_speech
    true_sizes = in_wav and settings.fish_wav_sizes == "true"
    if true_sizes or share is not None:  # the whole has to be known first
        samples = b"".join([piece.audio async for piece in accepted.pieces()])
        header = wav_header(order.rate, len(samples) if true_sizes else None) if in_wav else b""
        whole = header + samples
        yield whole if share is None else whole[: int(len(whole) * share)]
        return
    header = wav_header(order.rate) if in_wav else b""
    async for piece in accepted.pieces():
        if audio := header + piece.audio:
            yield audio
        header = b""


@router.post("/v1/tts/stream/with-timestamp")
async def speak_with_timestamps(request: Request, caller: InferenceCaller) -> Response:
    accepted = await accept(request, caller, timed=True)
    return SpeechResponse(accepted, _events(accepted), "text/event-stream")


async def _events(accepted: Accepted) -> AsyncIterator[bytes]:
    order = accepted.order
    alignment = Alignment(order.body.chunk_length or CHUNK_LENGTH)
    header = wav_header(order.rate) if order.body.format == "wav" else b""
    async for piece in accepted.pieces():
        audio = {"audio_base64": base64.b64encode(header + piece.audio).decode()}
        header = b""
        yield f"data: {json.dumps(audio | alignment.add(piece))}\n\n".encode()
