"""Live speech of Fish Audio: text comes in by and by over a WebSocket, audio goes out sentence by sentence (section 7).

All frames are MessagePack maps. Text is kept until its sentence is complete, or until `flush` or `stop`.
"""

import logging
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgpack
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from voice_provider.emulator.engine import EngineError, Spoken
from voice_provider.emulator.engine.sentences import sentences
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.heard import Alignment, Listener
from voice_provider.emulator.fish_audio.lines import (
    SPEAKER,
    SpeechOrder,
    bill,
    check_paid,
    engine_of,
    lines,
    start,
    understand,
    voices_of,
)
from voice_provider.emulator.fish_audio.requests import FishCaller, inference_caller, slot
from voice_provider.emulator.fish_audio.settings import settings_of
from voice_provider.emulator.fish_audio.speech import CHUNK_LENGTH, following, wav_header

log = logging.getLogger(__name__)
router = APIRouter()


class BadEventError(Exception):
    """A frame that cannot be understood."""


@router.websocket("/v1/tts/live")
async def live(socket: WebSocket) -> None:
    await _serve(socket, timestamps=False)


@router.websocket("/v1/tts/live/with-timestamp")
async def live_with_timestamps(socket: WebSocket) -> None:
    await _serve(socket, timestamps=True)


async def _serve(socket: WebSocket, *, timestamps: bool) -> None:
    """Refuse the handshake by an HTTP answer; once it is accepted, everything is an event."""
    try:
        caller = await inference_caller(socket)
        engine = engine_of(caller.emulator, socket.headers.get("model"))
        check_paid(caller, engine)
    except FishError as error:
        await socket.send_denial_response(error.response())
        return
    marks = {"x-emulator-engine": caller.emulator.engine.name, "x-emulator-model": engine}
    await socket.accept(headers=[(name.encode(), value.encode()) for name, value in marks.items()])
    with ExitStack() as holding:
        try:
            try:
                holding.enter_context(slot(caller))
            except FishError:
                limit = caller.settings.fish_concurrency
                await _send(socket, event="error", error="Concurrency limit exceeded", max_concurrency=limit)
            else:
                while await _converse(socket, caller, engine, timestamps=timestamps):
                    pass
            await socket.close()
        except WebSocketDisconnect:
            return


async def _converse(socket: WebSocket, caller: FishCaller, engine: str, *, timestamps: bool) -> bool:
    """One speech, from `start` to `finish`; True if another one may follow on the same socket."""
    speech: _Speech | None = None
    try:
        speech = await _open(socket, caller, engine, timestamps=timestamps)
        await speech.converse()
    except (FishError, EngineError, BadEventError) as error:
        message = error.body["message"] if isinstance(error, FishError) else str(error)
        # The specification of October has `error`, that of August `finish`: of the newer one is what does not begin.
        end = (
            {"event": "finish", "reason": "error", "message": message}
            if speech
            else {"event": "error", "error": message}
        )
        await _send(socket, **end)
        return False
    finally:
        if speech is not None:
            speech.bill()
    return timestamps


async def _open(socket: WebSocket, caller: FishCaller, engine: str, *, timestamps: bool) -> "_Speech":
    while (event := await _receive(socket)).get("event") != "start":
        if event.get("event") in ("text", "flush", "stop"):
            raise BadEventError("The first event must be `start`")
    order = understand(caller, event.get("request"), engine, packed=True)
    return _Speech(socket, caller, order, await voices_of(caller, order), timestamps=timestamps)


async def _receive(socket: WebSocket) -> dict[str, Any]:
    frame = await socket.receive()
    if frame["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(frame.get("code", 1005))
    try:
        event = msgpack.unpackb(frame.get("bytes") or b"")
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise BadEventError(f"The frame is not MessagePack: {error}") from None
    if not isinstance(event, dict):
        raise BadEventError("The frame is not a map")
    return event


def _text(event: dict[str, Any]) -> str:
    text = event.get("text")
    if not isinstance(text, str):
        raise BadEventError("missing field `text`")
    return text


async def _send(socket: WebSocket, **event: Any) -> None:
    await socket.send_bytes(msgpack.packb(event))


class _Speech:
    """One stream of the engine, fed as the text comes."""

    def __init__(
        self,
        socket: WebSocket,
        caller: FishCaller,
        order: SpeechOrder,
        voices: tuple[str | Path, ...],
        *,
        timestamps: bool,
    ) -> None:
        self._socket, self._caller, self._order, self._voices = socket, caller, order, voices
        self._emulator = caller.emulator
        self._started = self._emulator.clock.now()
        self._buffer, self._said = "", ""
        self._speaker = "0"
        self._waiting: deque[tuple[str | Path, str]] = deque()
        self._ended = False
        self._stream: Iterator[Spoken] | None = None
        self._listener = Listener(self._emulator)
        self._alignment = Alignment(order.body.chunk_length or CHUNK_LENGTH) if timestamps else None
        self._header = wav_header(order.rate) if order.body.format == "wav" else b""

    async def converse(self) -> None:
        """Follow the client's events until `stop`; those that are not known are nothing."""
        await self._hear(self._order.body.text)
        while True:
            event = await _receive(self._socket)
            match event.get("event"):
                case "start":
                    raise BadEventError("The speech has been started already")
                case "text":
                    await self._hear(_text(event))
                case "flush":
                    await self._flush()
                case "stop":
                    await self._stop()
                    return

    def bill(self) -> None:
        if self._said:
            self._emulator.state.insert(bill(self._caller, self._order, self._said, uuid.uuid4().hex))

    async def _hear(self, text: str) -> None:
        """Take text and say the sentences that it completes."""
        *complete, self._buffer = [*sentences(self._buffer + text)] or [""]
        await self._say(complete)

    async def _flush(self) -> None:
        complete, self._buffer = [self._buffer], ""
        await self._say(complete)

    async def _stop(self) -> None:
        """Say what is left, and the end of the stream; without any text there is none."""
        await self._flush()
        self._ended = True
        if self._stream is not None:
            await self._send_pieces(self._stream)
            self._listener.end()
        await self._reach("fish_speech_seconds")
        await _send(self._socket, event="finish", reason="stop", time=self._milliseconds())

    async def _say(self, texts: list[str]) -> None:
        for text in texts:
            self._said += text
            self._waiting += lines(f"<|speaker:{self._speaker}|>{text}", self._order.engine, self._voices)
            self._speaker = (SPEAKER.findall(text) or [self._speaker])[-1]
        if self._waiting:
            if self._stream is None:
                timed = self._alignment is not None
                self._stream = start(self._emulator, self._order, self._parts(), self._said, timed=timed)
                await self._reach("fish_tts_first_byte_seconds")
            await self._send_pieces(self._stream)

    def _parts(self) -> Iterator[tuple[str | Path, str] | None]:
        while self._waiting or not self._ended:
            yield self._waiting.popleft() if self._waiting else None

    async def _send_pieces(self, stream: Iterator[Spoken]) -> None:
        """Send what the engine says until it waits for more, or has ended."""
        while (piece := await following(self._emulator, stream)) is not None:
            if not piece.seconds and not self._ended:
                return
            if piece.audio or piece.text:
                self._listener.hear(piece)
                words = self._alignment.add(piece) if self._alignment else {}
                audio, self._header = self._header + piece.audio, b""
                await _send(self._socket, event="audio", audio=audio, time=self._milliseconds(), **words)

    def _milliseconds(self) -> int:
        return round(1000 * (self._emulator.clock.now() - self._started))

    async def _reach(self, setting: str) -> None:
        await self._emulator.clock.reach(lambda: self._started + getattr(settings_of(self._emulator), setting))
