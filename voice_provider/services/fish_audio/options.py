"""What can be asked of Fish Audio, in this provider's words, checked before anything is sent.

Ranges are those of the service's reference (api.fish.audio, ``POST /v1/tts`` and ``POST /model``); it does not refuse
all values outside them, but bills what it makes of them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.fish_audio.prices import PRICES
from voice_provider.services.options import (
    CloneOptions,
    Media,
    Reference,
    SampleFacts,
    SpeechOptions,
    TranscriptionOptions,
    Unit,
)
from voice_provider.services.texts import SSML, Markup, Script, Text

DEFAULT_MODEL = "s2.1-pro"
FREE_MODELS = ("s2.1-pro-free",)
MODELS = tuple(name.removeprefix("speech/") for name in PRICES.prices if name.startswith("speech/"))
HEARS = "transcribe-1-pro"
HEARD_BEFORE = "transcribe-1"
# What is told of a model that is known and is not to be chosen any more (docs.fish.audio, models and pricing)
OUTDATED = {
    "s1": f"Model s1 ends on 2026-12-31: {DEFAULT_MODEL} then answers in its place, and takes marks in [square "
    f"brackets] only. Use {DEFAULT_MODEL}.",
    "drama-3-preview": "Model drama-3-preview is an earlier name of drama-3, which may not be answered any more. Use "
    "drama-3.",
    HEARD_BEFORE: f"Model {HEARD_BEFORE} ends on 2026-12-31: {HEARS} then answers in its place, without saying so. "
    f"Use {HEARS}, which is the default.",
}
RATES: dict[str, tuple[int, ...]] = {
    "wav": (8000, 16000, 24000, 32000, 44100),
    "pcm": (8000, 16000, 24000, 32000, 44100),
    "mp3": (32000, 44100),
    "opus": (48000,),
}
MP3_BITRATES = (64, 128, 192)  # kbps
OPUS_BITRATES = (-1000, 24000, 32000, 48000, 64000)  # bps; -1000 is automatic
MAX_SAMPLES = 20
MAX_REFERENCE_SECONDS = 270.0
GOOD_SECONDS = 10.0  # "aim for at least 10 seconds per clip"
CLONE_FORMATS = ("audio/wav", "audio/mpeg", "audio/mp4", "audio/ogg")
ENGINE = re.compile(r"[A-Za-z0-9._-]{1,100}")  # goes into a header
_VOICE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")  # of dictionaries, too
_SPEAKER = re.compile(r"<\|speaker:(\d+)\|>")
_TAGS = "The script has tags such as {tag}: the service documents no SSML, and may read them out. Write marks in "
# docs.fish.audio, emotion control: s1 takes its marks in round brackets, all later models take any words in square ones
BRACKETS = Markup(
    marks=re.compile(r"<\|[^|>]*\|>|\[[^\[\]]*\]"),
    others=(
        (SSML, f"{_TAGS}[square brackets]."),
        (
            re.compile(r"\((?:long-)?break\)"),
            "(break) is a mark of model s1; this one may read it out. Write it in [square brackets].",
        ),
    ),
)
ROUND_BRACKETS = Markup(
    marks=re.compile(r"<\|[^|>]*\|>|[(（][^()（）]*[)）]"),
    others=(
        (SSML, f"{_TAGS}(round brackets)."),
        (
            re.compile(r"\[[^\[\]]*\]"),
            "The script has [square brackets]: model s1 takes its marks in (round brackets), and may read these out.",
        ),
    ),
)


def markup_of(engine: str) -> Markup:
    """Return what a model makes of marks."""
    return ROUND_BRACKETS if engine == "s1" else BRACKETS


class Pronunciation(BaseModel):
    """How a word is spoken."""

    key: Text = Field(min_length=1, max_length=256)
    value: Text = Field(min_length=1, max_length=1024)
    case_sensitive: bool = False


class PronunciationDictionary(BaseModel):
    """A dictionary that the service keeps (``id``, ``version``), or one that is sent along (``items``)."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    id: str | None = Field(default=None, pattern=rf"^{_VOICE_ID.pattern}$")
    version: str | None = Field(default=None, pattern=rf"^{_VOICE_ID.pattern}$")
    items: list[Pronunciation] | None = Field(default=None, max_length=5000)

    @property
    def is_kept(self) -> bool:
        """Whether the service keeps it; else it is sent along."""
        return self.items is None

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        named = (self.id is not None, self.version is not None)
        if named not in ((True, True), (False, False)) or named[0] == (self.items is not None):
            raise ValueError("a dictionary is either id and version, both of them, or items")
        return self


class FishSpeech(SpeechOptions):
    """Speech at Fish Audio; what is not given is left to the service."""

    voice_id: str | tuple[str, ...] | None = None
    references: tuple[Reference, ...] | tuple[tuple[Reference, ...], ...] = ()
    model: str | None = Field(default=None, min_length=1)
    format: Literal["mp3", "wav", "pcm", "opus"] = "mp3"
    sample_rate: int | None = Field(default=None, description="Hz")
    mp3_bitrate: int | None = Field(default=None, description="kbps")
    opus_bitrate: int | None = Field(default=None, description="bps")
    latency: Literal["normal", "balanced", "low"] | None = None
    chunk_length: int | None = Field(default=None, ge=100, le=300)
    min_chunk_length: int | None = Field(default=None, ge=0, le=100)
    normalize: bool | None = None
    temperature: Unit | None = None
    top_p: Unit | None = None
    repetition_penalty: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_new_tokens: int | None = Field(default=None, ge=1)
    condition_on_previous_chunks: bool | None = None
    early_stop_threshold: Unit | None = None
    speed: Annotated[float, Field(ge=0.5, le=2.0)] | None = None
    volume: Annotated[float, Field(ge=-20, le=20)] | None = Field(default=None, description="dB")
    normalize_loudness: bool | None = None
    features: tuple[Text, ...] = ()
    pronunciation_dictionary: tuple[PronunciationDictionary, ...] = Field(default=(), max_length=3)

    @model_validator(mode="before")
    @classmethod
    def _flatten_prosody(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take ``prosody={"speed": ...}`` as the service's documentation writes it."""
        prosody = values.get("prosody")
        rest = {name: value for name, value in values.items() if name != "prosody"}
        if prosody is None or not isinstance(prosody, dict):
            return rest if prosody is None else values
        if twice := sorted(rest.keys() & prosody):
            raise ValueError(f"prosody names {', '.join(twice)} a second time; give it once")
        return {**rest, **prosody}

    @field_validator("voice_id")
    @classmethod
    def _check_ids(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for voice_id in (value,) if isinstance(value, str) else value or ():
            if not _VOICE_ID.fullmatch(voice_id):
                raise ValueError(f"'{voice_id[:60]}' is no id of a Fish Audio voice; pass what the service returned")
        return value

    @field_validator("pronunciation_dictionary")
    @classmethod
    def _check_dictionaries(cls, value: tuple[PronunciationDictionary, ...]) -> tuple[PronunciationDictionary, ...]:
        if len({dictionary.is_kept for dictionary in value}) > 1:
            raise ValueError("kept dictionaries (id, version) and ones that are sent along (items) are never mixed")
        return value

    @property
    def pcm_rate(self) -> int | None:
        """Hz, where raw samples are asked for."""
        return (self.sample_rate or max(RATES["pcm"])) if self.format == "pcm" else None

    @property
    def speakers(self) -> tuple[tuple[Reference, ...], ...]:
        """The references of each speaker; one list is one speaker."""
        if self.references and isinstance(self.references[0], Reference):
            return (self.references,)
        return self.references  # type: ignore[return-value]


def check_speech(options: FishSpeech, references: list[SampleFacts], engine: str) -> list[str]:
    """Check what spans several options; return warnings.

    :raises InvalidInputError: naming the rule that is broken
    """
    refuse = InvalidInputError
    if not ENGINE.fullmatch(engine):
        raise refuse(f"{engine[:60]!a} is no name of a model. Use {', '.join(MODELS)}.")
    warnings = markup_of(engine).check(options.text)
    if not options.voice_ids and not options.references:
        raise refuse(
            "Nobody to speak: give voice_id, or references for an instant clone. (Fish Audio would take a voice of its "
            "own choice, which may differ with each call.)"
        )
    if options.voice_ids and options.references:
        raise refuse("Give voice_id or references, not both: Fish Audio does not say which of them it would use.")
    if empty := [str(number) for number, speaker in enumerate(options.speakers) if not speaker]:
        raise refuse(f"There are no references for speaker {', '.join(empty)} (counted from 0).")
    speakers = len(options.voice_ids) or len(options.speakers)
    named = {int(number) for number in _SPEAKER.findall(options.text)}
    if named and max(named) >= speakers:
        raise refuse(f"The script names speaker {max(named)}, but there are {speakers} (counted from 0).")
    if engine == "s1" and speakers > 1:
        raise refuse(f"Model s1 has one speaker in a call, not {speakers}. Use {DEFAULT_MODEL}.")
    _check_sound(options)
    warnings += [OUTDATED[engine]] if engine in OUTDATED else []
    if engine not in MODELS:
        warnings.append(f"Model '{engine}' is not known; the service may bill its default instead.")
    if engine == "s1" and options.normalize_loudness is not None:
        warnings.append("normalize_loudness is read by the models after s1 only; s1 ignores it.")
    total = sum(reference.seconds or 0.0 for reference in references)
    if total > MAX_REFERENCE_SECONDS:
        raise refuse(
            f"The references are {total:.0f} s long; at most {MAX_REFERENCE_SECONDS:.0f} s are taken, and 10 to 30 s "
            "are best. Cut them, or clone the voice once (CloneVoiceOperator) and pass its voice_id."
        )
    return warnings + _check_recordings(references, "reference")


def _check_sound(options: FishSpeech) -> None:
    rates = RATES[options.format]
    if options.sample_rate is not None and options.sample_rate not in rates:
        fits = [name for name, known in RATES.items() if options.sample_rate in known]
        also = f"; {options.sample_rate} Hz exists as {' and '.join(fits)}" if fits else ""
        raise InvalidInputError(
            f"{options.format} is not made at {options.sample_rate} Hz. It can be "
            f"{', '.join(map(str, rates))} Hz{also}."
        )
    for name, form, known in (("mp3_bitrate", "mp3", MP3_BITRATES), ("opus_bitrate", "opus", OPUS_BITRATES)):
        value = getattr(options, name)
        if value is None:
            continue
        if options.format != form:
            raise InvalidInputError(f"{name} is for format {form}; this is {options.format}. Leave it out.")
        if value not in known:
            hint = f" It is in bps: {value}000." if value * 1000 in known else ""
            hint = f" It is in kbps: {value // 1000}." if value / 1000 in known else hint
            raise InvalidInputError(f"{name} {value} does not exist; use {', '.join(map(str, known))}.{hint}")


def _check_recordings(files: list[SampleFacts], what: str) -> list[str]:
    warnings = []
    for file in files:
        if not file.media_type.startswith("audio/") and not file.name.lower().endswith(".m4a"):
            raise InvalidInputError(
                f"The {what} {file.name} is {file.media_type}; Fish Audio takes recordings: wav, mp3, m4a or opus. "
                "Save its sound as one of them."
            )
        if file.seconds is not None and file.seconds < GOOD_SECONDS:
            warnings.append(
                f"The {what} {file.name} is {file.seconds:.1f} s long; at least {GOOD_SECONDS:.0f} s give a better "
                "likeness, and one or two minutes the best."
            )
    return warnings


class FishTranscription(TranscriptionOptions):
    """How Fish Audio listens; the last three are options of ``transcribe-1-pro``."""

    language: str | None = Field(default=None, pattern=r"^[a-z]{2}$")
    model: str | None = Field(default=None, pattern=rf"^{ENGINE.pattern}$")
    diarize: bool | None = None
    num_speakers: int | None = Field(default=None, ge=1)
    tag_audio_events: bool | None = None

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The fields of the form that is sent, besides the recording."""
        asked = {"ignore_timestamps": not self.segments, **self.model_dump(exclude_none=True)}
        return [(name, _in_form(value)) for name, value in asked.items() if name not in ("segments", "model")]


def check_transcription(options: FishTranscription) -> list[str]:
    """Check what spans several options; return warnings.

    :raises InvalidInputError: naming the rule that is broken
    """
    model = options.model or HEARS
    if options.diarize is False and options.num_speakers is not None:
        raise InvalidInputError(
            "num_speakers is for speakers that are told apart, and diarize is False. Leave one out."
        )
    asked = options.model_dump(exclude_none=True, include={"diarize", "num_speakers", "tag_audio_events"})
    if model == HEARD_BEFORE and asked:
        raise InvalidInputError(f"Model {model} has no {' or '.join(asked)}. Use {HEARS}, or leave it out.")
    if model in OUTDATED:
        return [OUTDATED[model]]
    return [] if model == HEARS else [f"Model '{model}' is not known; the service may use and bill another instead."]


def _in_form(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class FishClone(CloneOptions):
    """How Fish Audio makes a voice."""

    texts: tuple[Script, ...] = ()
    visibility: Literal["private", "unlist", "public"] = "private"
    enhance_audio_quality: bool = True
    generate_sample: bool | None = None
    description: Text | None = None
    tags: tuple[Text, ...] = ()
    cover_image: Media | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Transcripts and the treatment of the recordings are heard in the voice."""
        return self.model_dump(mode="json", include={"texts", "enhance_audio_quality"}, exclude_defaults=True)


def check_clone(options: FishClone, samples: list[SampleFacts | None]) -> list[str]:
    """Check samples and transcripts against each other; return warnings.

    :raises InvalidInputError: naming the rule that is broken
    """
    if not 1 <= len(samples) <= MAX_SAMPLES:
        raise InvalidInputError(f"{len(samples)} samples; Fish Audio takes 1 to {MAX_SAMPLES}. Nothing was sent.")
    if options.texts and len(options.texts) != len(samples):
        raise InvalidInputError(
            f"{len(options.texts)} transcripts for {len(samples)} samples: give one for each, in the same order, or "
            "none (the service then transcribes them itself). Nothing was sent."
        )
    known = [sample for sample in samples if sample is not None]
    warnings = _check_recordings(known, "sample")
    warnings += [
        f"The sample {sample.name} is {sample.media_type}; the documented ones are wav, mp3, m4a and opus."
        for sample in known
        if sample.media_type.startswith("audio/") and sample.media_type not in CLONE_FORMATS
    ]
    total = sum(sample.seconds or 0.0 for sample in known)
    if total > MAX_REFERENCE_SECONDS:
        warnings.append(f"The samples are {total:.0f} s long together; more than 270 s have been refused.")
    if options.visibility == "public" and options.cover_image is None:
        warnings.append("A public voice may need a cover_image.")
    return warnings
