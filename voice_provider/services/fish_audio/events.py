"""Speech that comes as server-sent events: each holds a piece of sound, and where the words of its chunk are.

``POST /v1/tts/stream/with-timestamp``: the sound of all events, one after another, is the file. What is said of a
chunk is a snapshot: the last one counts. Its times count from where the chunk begins.
"""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from voice_provider.exceptions import ResultError
from voice_provider.models import Segment, Transcript

if TYPE_CHECKING:
    from voice_provider.services.base import Sink
    from voice_provider.services.texts import Markup

MAX_EVENT = 64 * 1024 * 1024  # bytes; one holds the sound of a sentence or two


class _Alignment(BaseModel):
    segments: list[Segment]


class _Chunk(BaseModel):
    content: str = ""
    chunk_audio_offset_sec: float = 0.0
    alignment: _Alignment


class Events:
    """A ``services.base.Sink`` that passes the sound on to another, and keeps the words.

    :param sink: where the sound goes
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._line, self._data = bytearray(), bytearray()  # what has come of a line, and of an event before it
        self._chunks: dict[int, _Chunk] = {}

    @property
    def position(self) -> int:
        """Bytes of sound so far."""
        return self._sink.position

    def restart(self) -> None:
        """Forget what was received."""
        self._line, self._data = bytearray(), bytearray()
        self._chunks.clear()
        self._sink.restart()

    def write(self, data: bytes) -> None:
        """Take the next piece of the stream.

        :raises ResultError: it is no such stream
        """
        self._line += data
        if len(self._line) + len(self._data) > MAX_EVENT:
            raise ResultError("The speech cannot be read: an event of its stream does not end.")
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        for line in lines:
            self._read(bytes(line.rstrip(b"\r")))

    def end(self, service: str, markup: Markup) -> Transcript:
        """Return the words, as far as they were told.

        :param service: connection type
        :param markup: says what of the text is not spoken
        :raises ResultError: the stream ended within an event
        """
        if self._line or self._data:
            raise ResultError("The speech was cut short: its stream ended within an event.")
        chunks = [chunk for _, chunk in sorted(self._chunks.items())]
        words = [
            part.model_copy(update={"text": said, "start": part.start + offset, "end": part.end + offset})
            for chunk, offset in ((chunk, chunk.chunk_audio_offset_sec) for chunk in chunks)
            for part in chunk.alignment.segments
            if (said := markup.spoken(part.text).strip())
        ]
        text = " ".join(markup.spoken(" ".join(chunk.content for chunk in chunks)).split())
        return Transcript(service=service, text=text, words=tuple(words))

    def _read(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data += line[5:] + b"\n"
        elif not line and self._data:
            data, self._data = self._data, bytearray()
            self._take(bytes(data))

    def _take(self, data: bytes) -> None:
        try:
            event: Any = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise ResultError("The speech cannot be read: an event of its stream is no JSON object.")
        if isinstance(sound := event.get("audio_base64"), str) and sound:
            try:
                self._sink.write(base64.b64decode(sound, validate=True))
            except binascii.Error:
                raise ResultError("The speech cannot be read: the sound of an event is no base64.") from None
        seq = event.get("chunk_seq")
        with suppress(ValidationError):  # the sound is what is paid for: odd words are no reason to lose it
            self._chunks[seq if isinstance(seq, int) else 0] = _Chunk.model_validate(event)
