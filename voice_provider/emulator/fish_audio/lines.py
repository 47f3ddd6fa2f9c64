"""What a request for speech asks for: its fields, whose voice says which line, and what it costs (sections 4, 5)."""

import hashlib
import logging
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.emulator.engine import EngineError, Spoken, stream
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.requests import FishCaller
from voice_provider.emulator.fish_audio.settings import settings_of
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.state import Charge

log = logging.getLogger(__name__)

DEFAULT_ENGINE = "s2.1-pro"  # also for engines that are not known (section 4)
FREE_ENGINE = "s2.1-pro-free"
USD_PER_BYTE = {  # of drama-3: what two resellers say
    DEFAULT_ENGINE: 15e-6,
    FREE_ENGINE: 0.0,
    "s2-pro": 15e-6,
    "s1": 15e-6,
    "drama-3": 10e-6,
    "drama-3-preview": 10e-6,
}
S1_ENDS = datetime(2027, 1, 1, tzinfo=UTC).timestamp()

MEDIA_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm", "opus": "audio/opus"}
PLAIN_RATES = (8_000, 16_000, 24_000, 32_000, 44_100)
RATES = {"wav": PLAIN_RATES, "pcm": PLAIN_RATES, "mp3": (32_000, 44_100), "opus": (48_000,)}
MP3_KBPS = (64, 128, 192)
OPUS_AUTO, OPUS_BPS = -1000, (24_000, 32_000, 48_000, 64_000)

VOICE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
DICTIONARY_ID = r"^[A-Za-z0-9_-]{1,128}$"
SPEAKER = re.compile(r"<\|speaker:(\d{1,9})\|>")
DIRECTION = re.compile(r"\[[^\[\]]*\]")  # [laugh], [whispering softly]
S1_DIRECTION = re.compile(
    r"\((?:angry|sad|excited|surprised|satisfied|delighted|scared|worried|upset|nervous|frustrated|depressed|empathetic|"
    r"embarrassed|disgusted|moved|proud|relaxed|grateful|confident|interested|curious|confused|joyful|happy|calm|"
    r"serious|sarcastic|in a hurry tone|soft tone|shouting|screaming|whispering|laughing|chuckling|sobbing|"
    r"crying loudly|sighing|panting|groaning|break|long-break|breath|laugh|cough|sigh)\)"
)
BAD_REFERENCE = "Reference Audio is not valid, please check your reference audio"
NO_MATCH = (
    "Failed to parse the request body as MsgPack: data did not match any variant of untagged enum MultiSpeakerReference"
)


class Prosody(BaseModel):
    model_config = ConfigDict(strict=True)
    speed: float | None = None
    volume: float | None = None
    normalize_loudness: bool | None = None


class KeptDictionary(BaseModel):
    """One that the service keeps; one that is not there is dropped without a word."""

    model_config = ConfigDict(strict=True, extra="forbid")
    id: str = Field(pattern=DICTIONARY_ID)
    version: str = Field(pattern=DICTIONARY_ID)


class Entry(BaseModel):
    model_config = ConfigDict(strict=True)
    key: str = Field(min_length=1, max_length=256)
    value: str = Field(min_length=1, max_length=1024)
    case_sensitive: bool = False


class SentDictionary(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    items: list[Entry] = Field(max_length=5000)


Dictionaries = (
    Annotated[list[KeptDictionary], Field(max_length=3)] | Annotated[list[SentDictionary], Field(max_length=3)]
)


class SpeechBody(BaseModel):
    """Fields that change the sound, and those whose type at least is checked; others are tolerated."""

    model_config = ConfigDict(strict=True)
    text: str
    reference_id: str | list[str] | None = None
    references: list[Any] | None = None
    format: Literal["wav", "pcm", "mp3", "opus"] = "mp3"
    sample_rate: int | None = None
    mp3_bitrate: int | None = None
    opus_bitrate: int | None = None
    latency: Literal["normal", "balanced", "low"] | None = None
    chunk_length: int | None = None
    min_chunk_length: int | None = None
    normalize: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None
    condition_on_previous_chunks: bool | None = None
    early_stop_threshold: float | None = None
    prosody: Prosody | None = None
    features: list[str] | None = None
    pronunciation_dictionary: Dictionaries | None = None


@dataclass(frozen=True)
class Clip:
    """A recording that came along with the request, and the voice it belongs to."""

    speaker: int
    audio: bytes


@dataclass(frozen=True)
class SpeechOrder:
    """A request that was understood: `voices` by speaker, or `clips` to learn them from first."""

    body: SpeechBody
    engine: str
    rate: int
    bit_rate: int | None
    voices: tuple[str | Path, ...]
    clips: tuple[Clip, ...]


def engine_of(emulator: Emulator, wanted: str | None) -> str:
    """The engine that really speaks: others than these are taken for the default without a word."""
    if wanted == "s1" and emulator.clock.now() >= S1_ENDS:
        return DEFAULT_ENGINE
    return wanted if wanted in USD_PER_BYTE else DEFAULT_ENGINE


def check_paid(caller: FishCaller, engine: str) -> None:
    if engine != FREE_ENGINE or caller.settings.fish_free_engine_charged:
        caller.check_credit()


def understand(caller: FishCaller, raw: Any, engine: str, *, packed: bool) -> SpeechOrder:
    """Check a body in the order of the real service: shape first, then sense (section 5.4)."""
    body = _shaped(raw)
    if engine == "s1" and isinstance(body.reference_id, list):
        raise FishError(400, NO_MATCH)
    rate, bit_rate = _encoding(caller.emulator, body)
    speed = body.prosody.speed if body.prosody else None
    if speed is not None and not 0.5 <= speed <= 2.0:
        raise FishError(400, "speed must be in [0.5, 2.0]")
    ids = [body.reference_id] if isinstance(body.reference_id, str) else body.reference_id or []
    if not all(VOICE_ID.fullmatch(voice_id) for voice_id in ids):
        raise FishError(400, "reference_id must be 1..=128 chars of [A-Za-z0-9_-]")
    clips = _clips(body.references, packed=packed)
    # Which of the two wins is not documented; with clips of several speakers the ids are labels.
    voices = () if clips else tuple(_voice(caller, voice_id) for voice_id in ids)
    return SpeechOrder(body, engine, rate, bit_rate, voices, clips)


def _shaped(raw: Any) -> SpeechBody:
    try:
        body = SpeechBody.model_validate(raw)
        body.text.encode()
    except ValidationError as error:
        raise FishError(400, _problem(error)) from None
    except UnicodeEncodeError:
        raise FishError(400, "invalid unicode code point in `text`") from None
    return body


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"] if not isinstance(part, str) or part.isidentifier())
    match first["type"]:
        case "missing":
            return f"missing field `{name}`"
        case "literal_error":
            known = first["ctx"]["expected"].replace(" or ", ", ").replace("'", "`")
            return f"unknown variant `{first['input']}`, expected one of {known}"
        case "model_type":
            return "invalid type: expected struct TTSRequest"
    return f"{name}: {first['msg']}"


def _encoding(emulator: Emulator, body: SpeechBody) -> tuple[int, int | None]:
    """Rate in Hz and bits a second; bit rates of formats that were not asked for are not looked at (section 11)."""
    rate = body.sample_rate or RATES[body.format][-1]
    if body.sample_rate is not None and body.sample_rate not in RATES[body.format]:
        known = ", ".join(str(known) for known in RATES[body.format])
        media = MEDIA_TYPES[body.format]
        raise FishError(400, f"Invalid sample rate {body.sample_rate} for format {media}. Supported: [{known}]")
    if body.format == "mp3":
        kbps = 128 if body.mp3_bitrate is None else body.mp3_bitrate
        if kbps not in MP3_KBPS:
            raise FishError(400, f"Invalid mp3 bitrate {kbps}. Supported: {list(MP3_KBPS)}")
        return rate, kbps * 1000
    if body.format == "opus":
        given = OPUS_AUTO if body.opus_bitrate is None else body.opus_bitrate
        bps = given * 1000 if settings_of(emulator).fish_opus_kbps and 0 < given < 1000 else given
        if bps not in (OPUS_AUTO, *OPUS_BPS):
            raise FishError(400, f"Invalid opus bitrate {given}. Supported: {[OPUS_AUTO, *OPUS_BPS]}")
        return rate, None if bps == OPUS_AUTO else bps
    return rate, None


def _voice(caller: FishCaller, voice_id: str) -> str | Path:
    model = caller.model_for(voice_id)
    if model is None or model.state_now(caller.emulator.clock.now()) != "trained":
        raise FishError(400, "Reference not found")
    return caller.voice_of(model)


def _clips(references: list[Any] | None, *, packed: bool) -> tuple[Clip, ...]:
    if not references:
        return ()
    if not packed:
        raise FishError(400, BAD_REFERENCE)
    speakers = references if isinstance(references[0], list) else [references]
    clips = []
    for speaker, given in enumerate(speakers):
        for clip in given if isinstance(given, list) else [given]:
            if not isinstance(clip, dict) or not isinstance(clip.get("audio"), bytes):
                raise FishError(400, BAD_REFERENCE)
            if not isinstance(clip.get("text"), str):
                raise FishError(400, "missing field `text`")
            clips.append(Clip(speaker, clip["audio"]))
    return tuple(clips)


# Voices and lines


async def voices_of(caller: FishCaller, order: SpeechOrder) -> tuple[str | Path, ...]:
    """The engine's voices by speaker, learnt from the clips if there are any; a default voice at least."""
    emulator = caller.emulator
    if not order.clips:
        return order.voices or (emulator.engine.builtin_voices[0],)
    count = 1 + max(clip.speaker for clip in order.clips)
    by_speaker = [[clip.audio for clip in order.clips if clip.speaker == speaker] for speaker in range(count)]
    if not all(by_speaker):
        raise FishError(400, BAD_REFERENCE)
    try:
        return await emulator.jobs.in_thread(lambda: _learnt(emulator, by_speaker))
    except EngineError as error:
        raise FishError(400, BAD_REFERENCE, reason=error.code) from error


def _learnt(emulator: Emulator, by_speaker: list[list[bytes]]) -> tuple[Path, ...]:
    """Profiles by speaker (in a worker thread); the same recordings are learnt once."""
    temporary: list[Path] = []
    try:
        return tuple(_profile(emulator, clips, temporary) for clips in by_speaker)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def _profile(emulator: Emulator, clips: list[bytes], temporary: list[Path]) -> Path:
    digest = hashlib.sha256(b"".join(hashlib.sha256(clip).digest() for clip in clips)).hexdigest()
    profile = emulator.files.path("voices", f"reference-{digest}.{emulator.engine.name}")
    if profile.exists():
        return profile
    samples, seconds = [], 0.0
    for clip in clips:
        sample = emulator.files.temporary()
        temporary.append(sample)
        sample.write_bytes(clip)
        media = emulator.engine.probe(sample)
        if not media.has_audio:
            raise FishError(400, BAD_REFERENCE)
        seconds += media.seconds or 0.0
        samples.append(sample)
    if seconds > settings_of(emulator).fish_max_reference_seconds:
        raise FishError(400, "Reference audio too long")
    learnt = emulator.files.temporary(".voice")
    temporary.append(learnt)
    emulator.engine.learn_voice(samples, learnt)
    learnt.rename(profile)
    return profile


def spoken(text: str, engine: str) -> str:
    """The text without stage directions: `[laugh]`, and for S1 `(sad)`."""
    return S1_DIRECTION.sub("", text) if engine == "s1" else DIRECTION.sub("", text)


def lines(text: str, engine: str, voices: tuple[str | Path, ...]) -> list[tuple[str | Path, str]]:
    """Who says what; an index without a voice falls to the first one (what the service does then is not known)."""
    pieces = SPEAKER.split(spoken(text, engine))  # text, index, text, index, text ...
    speakers = [0, *(int(index) for index in pieces[1::2])]
    return [
        (voices[speaker if speaker < len(voices) else 0], said)
        for speaker, said in zip(speakers, pieces[::2], strict=True)
        if any(character.isalnum() for character in said)
    ]


def start(
    emulator: Emulator,
    order: SpeechOrder,
    parts: Iterable[tuple[str | Path, str] | None],
    seed: str,
    *,
    timed: bool = False,
    fault: dict[str, Any] | None = None,
) -> Iterator[Spoken]:
    """Let the engine speak; WAV is its plain samples, the header is ours."""
    body, prosody = order.body, order.body.prosody
    temperature = 0.7 if body.temperature is None else body.temperature
    return stream(
        emulator.engine,
        fault,
        parts,
        form="pcm" if body.format == "wav" else body.format,
        rate=order.rate,
        bit_rate=order.bit_rate,
        speed=1.0 if prosody is None or prosody.speed is None else prosody.speed,
        volume=0.0 if prosody is None or prosody.volume is None else min(20.0, max(-20.0, prosody.volume)),
        stability=min(1.0, max(0.0, 1 - temperature / 1.4)),  # the default is the middle of both scales
        seed=zlib.crc32(seed.encode()),
        timed=timed,
    )


def bill(caller: FishCaller, order: SpeechOrder, text: str, ref: str) -> Charge:
    """A line for the bill: UTF-8 bytes of the text, as they were sent (section 10)."""
    sent = text.encode()
    charged = caller.settings.fish_free_engine_charged and order.engine == FREE_ENGINE
    price = USD_PER_BYTE[DEFAULT_ENGINE if charged else order.engine]
    sha256 = hashlib.sha256(sent).hexdigest()
    log.info("Speech of %d bytes with %s, text %s", len(sent), order.engine, sha256[:12])
    return caller.charge("speech", ref, len(sent), "bytes", len(sent) * price, sha256)
