"""The placeholder engine: a plain tone of the right length, at once, without the packages of the ``local`` extra.

Speech is a WAV file with one steady tone per voice; a stream is that tone, too. A lip sync is an MP4 file with a grey
card and the same kind of tone: of the right length and readable everywhere, and nothing in it that could pass for the
video that was asked for.
"""

from __future__ import annotations

import hashlib
import json
import struct
import wave
import zlib
from array import array
from math import pi, sin
from typing import TYPE_CHECKING, Protocol

from voice_provider.emulator.engine import (
    MIN_SAMPLE_SECONDS,
    PAUSE_SECONDS,
    EngineError,
    LipSyncResult,
    MediaInfo,
    Phrase,
    Spoken,
    words_in,
)
from voice_provider.emulator.engine.sentences import pieces_of
from voice_provider.emulator.engine.sniff import image_size, iso_facts, sniff, wav_seconds
from voice_provider.emulator.engine.timeline import check_segments, output_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from voice_provider.emulator.engine import Segment

RATE = 8_000
CHARACTERS_PER_SECOND = 15
MIN_SPEECH_SECONDS = 0.3
STILL_SECONDS = 5.0  # taken for media whose header does not say how long it is
VOICES = {"base": 200, "low": 125, "bright": 250}  # Hz
LIP_SYNC_PITCH = 160
LEVEL = 6000  # of 32767
STREAMED = {"mp3": (44_100, 32_000), "opus": (48_000,), "pcm": (44_100, 8_000, 16_000, 24_000, 32_000)}  # Hz
CARD = (320, 180)
COMMENT = "engine: tone, a placeholder without speech or picture"


class _Encoder(Protocol):
    def write(self, samples: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class ToneEngine:
    """See ``Engine``; every method takes milliseconds."""

    name = "tone"
    builtin_voices: Sequence[str] = tuple(VOICES)
    speech_format = "wav"

    def probe(self, path: Path) -> MediaInfo:
        """Say what a file is from its first bytes and headers; nothing is decoded."""
        kind, name = sniff(path)
        if kind == "image":
            width, height = image_size(path) or (None, None)
            return MediaInfo("image", name, None, has_audio=False, width=width, height=height, fps=None)
        if name in {"mp4", "mov", "m4a"}:
            facts = iso_facts(path)
            if facts.tracks and "vide" not in facts.tracks:
                kind = "audio"
            heard = "soun" in facts.tracks or not facts.tracks  # nothing readable: give it the benefit of the doubt
            return MediaInfo(
                kind, name, facts.seconds, has_audio=heard, width=facts.width, height=facts.height, fps=None
            )
        if name == "wav":
            return MediaInfo(kind, name, wav_seconds(path), has_audio=True, width=None, height=None, fps=None)
        seconds, kinds = _streams(path)
        if kinds == {"audio"}:
            kind = "audio"  # a browser's recorder writes sound without pictures as WebM
        heard = "audio" in kinds or not kinds
        return MediaInfo(kind, name, seconds, has_audio=heard, width=None, height=None, fps=None)

    def learn_voice(self, samples: Sequence[Path], profile: Path, *, max_seconds: float = 120.0) -> None:
        """Give every set of samples a pitch of its own."""
        if not samples:
            raise EngineError("bad_input", "No sample was given. Give at least one recording of the voice.")
        digest, seconds = hashlib.sha256(), 0.0
        for sample in samples:
            info = self.probe(sample)
            if not info.has_audio:
                raise EngineError("no_audio", f"{sample.name} has no sound. Give a recording of the voice.")
            seconds += MIN_SAMPLE_SECONDS if info.seconds is None else min(info.seconds, max_seconds)
            with sample.open("rb") as file:
                digest.update(file.read(1 << 20))
        if seconds < MIN_SAMPLE_SECONDS:
            raise EngineError(
                "sample_too_short",
                f"The sample is {seconds:.1f} s long and at least {MIN_SAMPLE_SECONDS:g} s are needed. Record more.",
            )
        pitch = 90 + int(digest.hexdigest()[:8], 16) % 200
        profile.write_text(json.dumps({"engine": "tone", "pitch_hz": pitch, "seconds": round(seconds, 3)}))

    def speak(
        self,
        text: str,
        output: Path,
        *,
        voice: str | Path = "base",
        stability: float = 0.5,
        similarity: float = 0.75,
        seed: int = 0,
    ) -> float:
        """Write a tone in the voice's pitch, 15 characters a second; the last three arguments change nothing."""
        del stability, similarity, seed
        if not any(character.isalnum() for character in text):
            raise EngineError("text_unspeakable", "There is nothing to say in the text. Write at least one word.")
        seconds = max(MIN_SPEECH_SECONDS, len(text.strip()) / CHARACTERS_PER_SECOND)
        sound = _tone(_pitch(voice), seconds)
        with wave.open(str(output), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(sound)
        return len(sound) / 2 / RATE

    def stream(
        self,
        parts: Iterable[tuple[str | Path, str] | None],
        *,
        form: str,
        rate: int | None = None,
        bit_rate: int | None = None,
        speed: float = 1.0,
        volume: float = 0.0,
        stability: float = 0.5,
        similarity: float = 0.75,
        seed: int = 0,
        timed: bool = False,
    ) -> Iterator[Spoken]:
        """Give each part its voice's tone; the last four arguments change nothing."""
        del stability, similarity, seed, timed
        wanted = rate or STREAMED.get(form, (0,))[0]
        if wanted not in STREAMED.get(form, ()):
            raise EngineError("bad_input", f"No speech is written as {form} at {wanted} Hz.")
        encoder = _encoder(form, wanted, bit_rate)
        seconds, speechless, said = 0.0, False, 0
        for piece in pieces_of(parts):
            if piece is None:
                yield Spoken(b"", "", 0.0)
                continue
            voice, text = piece
            if not any(character.isalnum() for character in text):
                speechless = True
                continue
            least = 0.0 if seconds else MIN_SPEECH_SECONDS
            sound = _tone(_pitch(voice), max(least, len(text) / CHARACTERS_PER_SECOND / speed), wanted, volume)
            seconds += len(sound) / 2 / wanted
            took = len(sound) / 2 / wanted
            said = zlib.crc32(text.encode(), said)
            sound = _marked(sound, zlib.crc32(text.encode())) if form == "pcm" else sound
            yield Spoken(encoder.write(sound), text, took, tuple(words_in(text, took)))
        if speechless and not seconds:
            raise EngineError("text_unspeakable", "There is nothing to say in the text. Write at least one word.")
        pause = b"" if seconds else encoder.write(bytes(2 * round(PAUSE_SECONDS * wanted)))
        tag = _id3v1(said) if form == "mp3" else b""
        yield Spoken(pause + encoder.finish() + tag, "", 0.0)

    def transcribe(self, path: Path) -> Sequence[Phrase]:
        """Understand nothing."""
        del path
        return ()

    def lip_sync(
        self,
        visual: Path,
        output: Path,
        *,
        audio: Path | None = None,
        segments: Sequence[Segment] = (),
        sync_mode: str = "bounce",
        temperature: float = 0.5,
        speaker: tuple[float, float] | None = None,
        speaker_frame: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> LipSyncResult:
        """Write a grey card with a tone, as long as the real thing would be."""
        del temperature, speaker, speaker_frame
        picture = self.probe(visual)
        if picture.kind == "audio":
            raise EngineError("bad_input", f"{visual.name} has no picture. Give a video or an image.")
        if (audio is None) == (not segments):
            raise EngineError("bad_input", "Give either one audio or segments with audio of their own.")
        heard = [self.probe(path) for path in ([audio] if audio else [segment.audio for segment in segments])]
        if not all(info.has_audio for info in heard):
            raise EngineError("no_audio", "The driving audio has no sound. Give a recording or synthesized speech.")
        seen = STILL_SECONDS if picture.seconds is None else picture.seconds
        if audio is None:
            check_segments(segments, seen)
            seconds = seen
        else:
            said = STILL_SECONDS if heard[0].seconds is None else heard[0].seconds
            seconds = output_seconds(seen, said, "remap" if picture.kind == "image" else sync_mode)
        write_card(output, seconds)
        if progress:
            progress(1.0)
        return LipSyncResult(seconds, *CARD, fps=1 / max(seconds, 0.001), frames=1)


def create() -> ToneEngine:
    """Return the engine, for ``load``."""
    return ToneEngine()


def _streams(path: Path) -> tuple[float | None, set[str]]:
    """Return the length that a file tells, and the kinds of its streams; nothing of one that cannot be read."""
    import av  # noqa: PLC0415  # most of what this engine does needs none

    try:
        with path.open("rb") as file, av.open(file, "r") as container:
            kinds = {str(stream.type) for stream in (*container.streams.audio, *container.streams.video)}
            return container.duration / av.time_base if container.duration else None, kinds
    except (av.FFmpegError, OSError):
        return None, set()


def _pitch(voice: str | Path) -> int:
    if isinstance(voice, str):
        if voice not in VOICES:
            raise EngineError("bad_input", f"No built-in voice {voice!r}. Use one of {', '.join(VOICES)}.")
        return VOICES[voice]
    try:
        return int(json.loads(voice.read_text())["pitch_hz"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            "bad_input", f"{voice.name} is not a voice of the tone engine. Learn the voice again."
        ) from error


def _tone(pitch: int, seconds: float, rate: int = RATE, volume: float = 0.0) -> bytes:
    """Return 16-bit samples of a steady tone: one period, repeated, which is fast without NumPy."""
    period = round(rate / pitch)
    level = min(32_767.0, LEVEL * 10 ** (volume / 20))
    wave_form = array("h", (round(level * sin(2 * pi * i / period)) for i in range(period)))
    count = max(1, round(seconds * rate))
    return (wave_form.tobytes() * (count // period + 1))[: 2 * count]


# The emulator knows by its bytes what a recording says, and tones of one length are alike: each is marked by its text.


def _marked(samples: bytes, said: int) -> bytes:
    """Write 32 bits into the lowest bits of the samples behind the first one, where nobody hears them."""
    head = bytearray(samples[2:66])
    for number in range(len(head) // 2):
        head[2 * number] = head[2 * number] & 0xFE | said >> number & 1
    return samples[:2] + bytes(head) + samples[66:]


def _id3v1(said: int) -> bytes:
    """Return the tag at the end of an MP3 file (ID3v1: title, artist, album, year, comment and genre)."""
    return b"TAG" + bytes(94) + f"{said:08x}".encode().ljust(30, b"\0") + b"\xff"


class _Plain:
    """Samples as they are."""

    def write(self, samples: bytes) -> bytes:
        return samples

    def finish(self) -> bytes:
        return b""


def _encoder(form: str, rate: int, bit_rate: int | None) -> _Encoder:
    """Return what makes the format."""
    if form == "pcm":
        return _Plain()
    from voice_provider.emulator.engine.encoder import Encoder  # noqa: PLC0415  # loads PyAV
    from voice_provider.emulator.engine.tone_mp3 import RepeatedTone  # noqa: PLC0415  # the same

    if form == "mp3":
        return RepeatedTone(rate, bit_rate, COMMENT)
    return Encoder(form, rate, (rate, "s16"), bit_rate=bit_rate, comment=COMMENT)


# ---------------------------------------------------------------- the MP4 file, box by box (ISO 14496-12, QuickTime)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


MATRIX = _words(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # upright


def write_card(output: Path, seconds: float) -> None:
    """Write one track with a still picture (``png ``) and one with little-endian samples (``sowt``).

    :param seconds: how long both are
    """
    sound = _tone(LIP_SYNC_PITCH, seconds)
    count, card = len(sound) // 2, _grey_png(*CARD)
    ftyp = _box(b"ftyp", b"isom", bytes(4), b"isomqt  ")
    start = len(ftyp) + 8  # of the picture inside the file; the sound follows
    seen = _box(b"png ", struct.pack(">6xH16xHHIIIH32xHh", 1, *CARD, 72 << 16, 72 << 16, 0, 1, 24, -1))
    heard = _box(b"sowt", struct.pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, RATE << 16))
    comment = COMMENT.encode()
    moov = _box(
        b"moov",
        _box(b"mvhd", bytes(12), _words(RATE, count, 1 << 16), b"\1" + bytes(11), MATRIX, bytes(24), _words(3)),
        _track(b"vide", CARD, count, _box(b"vmhd", _words(1), bytes(8)), seen, (1, len(card), start)),
        _track(b"soun", (0, 0), count, _box(b"smhd", bytes(8)), heard, (count, 2, start + len(card))),
        _box(b"udta", _box(b"\xa9cmt", struct.pack(">HH", len(comment), 0x55C4), comment)),
    )
    output.write_bytes(ftyp + _box(b"mdat", card, sound) + moov)


def _track(
    kind: bytes, size: tuple[int, int], count: int, header: bytes, entry: bytes, data: tuple[int, int, int]
) -> bytes:
    """Return a ``trak`` box; ``data`` is the number of samples, the bytes of one, and where they start."""
    samples, sample_bytes, start = data
    table = _box(
        b"stbl",
        _box(b"stsd", _words(0, 1), entry),
        _box(b"stts", _words(0, 1, samples, count // samples)),
        _box(b"stsc", _words(0, 1, 1, samples, 1)),
        _box(b"stsz", _words(0, sample_bytes, samples)),
        _box(b"stco", _words(0, 1, start)),
    )
    here = _box(b"dinf", _box(b"dref", _words(0, 1), _box(b"url ", _words(1))))
    return _box(
        b"trak",
        _box(
            b"tkhd",
            _words(7, 0, 0, 1 if kind == b"vide" else 2, 0, count),
            bytes(12),
            struct.pack(">HH", 0 if kind == b"vide" else 0x100, 0),
            MATRIX,
            _words(size[0] << 16, size[1] << 16),
        ),
        _box(
            b"mdia",
            _box(b"mdhd", _words(0, 0, 0, RATE, count), struct.pack(">HH", 0x55C4, 0)),
            _box(b"hdlr", bytes(8), kind, bytes(13)),
            _box(b"minf", header, here, table),
        ),
    )


def _grey_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return _words(len(body)) + kind + body + _words(zlib.crc32(kind + body))

    rows = (b"\0" + b"\x80\x80\x80" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
