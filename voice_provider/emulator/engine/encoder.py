"""Speech in its file formats, encoded as it comes. Needs PyAV and nothing else, so the tone engine has it, too."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self, cast

import av

from voice_provider.emulator.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Encoding:
    """How a format of speech is written: codec, container, sample format, rates in Hz (the first is the default).

    `level` is FFmpeg's `compression_level`: how long the codec thinks about it.
    """

    codec: str
    container: str
    sample_format: str
    rates: tuple[int, ...]
    bit_rate: int | None = None
    level: str | None = None


ENCODINGS = {
    # At LAME's own level an MP3 takes twice as long, and as long as all the rest of speaking.
    "mp3": Encoding("libmp3lame", "mp3", "fltp", (44_100, 32_000), 128_000, level="7"),
    "wav": Encoding("pcm_s16le", "wav", "s16", (44_100, 8_000, 16_000, 24_000, 32_000)),
    "pcm": Encoding("pcm_s16le", "s16le", "s16", (44_100, 8_000, 16_000, 24_000, 32_000)),
    "opus": Encoding("libopus", "ogg", "flt", (48_000,), 32_000),
}
SAMPLE_BYTES = {"flt": 4, "s16": 2}


class Encoder:
    """Writes mono samples into a file, or hands the bytes out as soon as there are some.

    :param form: a name from ``ENCODINGS``
    :param rate: rate of the result in Hz; default: the format's first
    :param source: rate in Hz and format (``flt`` or ``s16``) of the samples that come in
    :param path: the file; without one, ``write`` and ``finish`` return the bytes
    :param bit_rate: bits a second; default: the format's
    :param comment: what the file says about itself, if its format can
    :param options: of the codec, as FFmpeg names them
    :raises EngineError: ``bad_input``, for a format or rate that does not exist
    """

    def __init__(
        self,
        form: str,
        rate: int | None,
        source: tuple[int, str],
        path: Path | None = None,
        *,
        bit_rate: int | None = None,
        comment: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        encoding = ENCODINGS.get(form)
        wanted = rate or (encoding.rates[0] if encoding else 0)
        if encoding is None or wanted not in encoding.rates:
            raise EngineError("bad_input", f"No speech is written as {form} at {wanted} Hz.")
        self.written = 0
        self._rate, self._source_format = source
        self._pipe = _Pipe()
        # What the muxer keeps back until its buffer is full would be missing from the piece it belongs to.
        flushed = {} if path else {"flush_packets": "1"}
        target: Any = str(path) if path else self._pipe
        self._container = cast("Any", av.open(target, "w", format=encoding.container, options=flushed))
        self._container.metadata["comment"] = comment
        of_codec = {**({"compression_level": encoding.level} if encoding.level else {}), **(options or {})}
        self._stream = self._container.add_stream(encoding.codec, rate=wanted, layout="mono", options=of_codec)
        self._stream.format = encoding.sample_format
        if bits := bit_rate or encoding.bit_rate:
            self._stream.bit_rate = bits
        self._resampler = av.AudioResampler(format=encoding.sample_format, layout="mono", rate=wanted)

    def write(self, samples: bytes) -> bytes:
        count = len(samples) // SAMPLE_BYTES[self._source_format]
        if count:
            frame: Any = av.AudioFrame(format=self._source_format, layout="mono", samples=count)
            frame.planes[0].update(samples)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self.written, Fraction(1, self._rate)
            self._encode(frame)
            self.written += count
        return self._pipe.take()

    def finish(self) -> bytes:
        """Write what is left, and the end of the file."""
        self._encode(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._pipe.take()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _encode(self, frame: Any) -> None:
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(resampled))


class _Pipe:
    """A file to write into, whose content is taken away as it comes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
