"""What can be asked for: speech and lip sync options in this provider's words, checked before anything is sent.

Field names follow the provider (``voice_id``, ``start_time``); the vendor's spelling (``voiceId``, ``startTime``) is
accepted too, so that an example from its documentation can be pasted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.texts import Markup, Script, Text, spoken_characters

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FASTEST = 26.0  # letters and digits a second; people speak about 13 (185 words a minute)

Unit = Annotated[float, Field(ge=0, le=1)]


class PathObject(Protocol):
    """A path object: ``pathlib``'s, or Airflow's ``ObjectStoragePath``, which is no ``os.PathLike``."""

    def as_uri(self) -> str:
        """Return it as a URI."""
        ...


def is_path(value: Any) -> bool:
    """Whether it is a path object."""
    return isinstance(value, os.PathLike) or hasattr(type(value), "as_uri")


def plain(value: Any) -> Any:
    """Return path objects as the texts they stand for, also in lists and dicts; all else as it is."""
    if is_path(value):
        return str(value)
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if type(value) is dict:
        return {name: plain(item) for name, item in value.items()}
    return value


def _media(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, str | dict):
        return value
    raise ValueError(
        f"it is a {type(value).__name__}; give a storage location, an asset id, a URL, or what another task returned"
    )


# an asset id, a URL, a storage location, or what an operator returned
Media: TypeAlias = Annotated[str | dict[str, Any], BeforeValidator(_media)]


class Options(BaseModel):
    """Base: unknown names are refused, because a misspelt option would be paid for and ignored.

    What is wrong is told in this provider's names, also where the vendor's were written.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, loc_by_alias=False
    )


OptionsT = TypeVar("OptionsT", bound=Options)


class Reference(Options):
    """A recording whose voice is to be imitated in one call, with what is said in it."""

    audio: Media
    text: Script


class SpeechOptions(Options):
    """One line to be spoken; each service adds its own options."""

    text: Script

    @property
    def pcm_rate(self) -> int | None:
        """Hz, where raw samples are asked for."""
        return None

    @property
    def voice_ids(self) -> list[str]:
        """The voices that speak; none where references stand for them."""
        chosen = getattr(self, "voice_id", None) or ()
        return [chosen] if isinstance(chosen, str) else list(chosen)

    @property
    def speakers(self) -> tuple[tuple[Reference, ...], ...]:
        """The references of each speaker."""
        return ()

    def least_seconds(self, markup: Markup) -> float:
        """Return the length below which speech cannot be this text: it is twice as fast as people talk.

        :param markup: says what of it is not spoken
        """
        return spoken_characters(markup.spoken(self.text)) / FASTEST / (getattr(self, "speed", None) or 1.0)


class CloneOptions(Options):
    """How a voice is made of its samples; each service adds its own options."""

    @property
    def identity(self) -> dict[str, Any]:
        """What of it makes another voice; the rest (description, tags ...) can be changed afterwards."""
        return {}


class TranscriptionOptions(Options):
    """How a recording is written down; each service adds its own options."""

    segments: bool = Field(default=False, description="also when each part is said, and by whom")


class VoiceChanges(Options):
    """What can be changed of a voice afterwards; only what is given is."""

    title: Annotated[Text, Field(min_length=1)] | None = None
    description: Text | None = None
    tags: tuple[Text, ...] | None = None
    visibility: Literal["private", "unlist", "public"] | None = None
    cover_image: Media | None = None


class VoiceFilters(Options):
    """Which voices are listed.

    ``own`` leaves out what the service or other people have published, where the service can tell them apart. What
    was made before ``since`` may be left out, where that saves requests: it is never used to tell voices apart.
    """

    own: bool = True
    title: str | None = None
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = Field(default=(), description="two-letter codes")
    title_languages: tuple[str, ...] = Field(default=(), description="two-letter codes")
    author: str | None = None
    licensed: bool | None = None
    sort_by: Literal["score", "task_count", "created_at"] | None = None
    since: float | None = Field(default=None, description="seconds since 1970, by this machine's clock")
    limit: int | None = Field(default=None, ge=1)


class SampleFacts(NamedTuple):
    """What is known of a recording before it is sent; ``seconds`` only where it can be read."""

    name: str
    media_type: str
    seconds: float | None


class TextInput(Options):
    """A script that the service speaks itself before it moves the lips."""

    text: Script = Field(validation_alias=AliasChoices("text", "script"))
    voice_id: Text = Field(min_length=1)
    stability: Unit | None = None
    similarity_boost: Unit | None = None
    ref_id: Text | None = None


class AudioInput(Options):
    """A recording that the lips follow."""

    media: Media = Field(validation_alias=AliasChoices("media", "audio"))
    ref_id: Text | None = None


class SegmentAudio(Options):
    """Which input speaks in a segment, and which part of it (seconds)."""

    ref_id: Text
    start_time: float | None = Field(default=None, ge=0)
    end_time: float | None = Field(default=None, gt=0)


class Segment(Options):
    """A part of the video (seconds) with the input that speaks in it."""

    start_time: float = Field(ge=0)
    end_time: float = Field(gt=0)
    audio_input: SegmentAudio
    options_override: dict[str, Any] | None = None


class ActiveSpeaker(BaseModel):
    """Who speaks, when several faces are in the picture (the wire's ``active_speaker_detection``).

    Its fields are those of the service's own client of November 2026; others are passed on as they are.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    auto_detect: bool | None = None
    use_v2: bool | None = None
    v3: bool | None = None
    face_image: str | None = Field(default=None, description="the face that speaks, as the service takes it")
    frame_number: int | None = Field(default=None, ge=0)
    coordinates: tuple[float, float] | None = Field(default=None, description="x and y in pixels")
    bounding_boxes: list[Any] | None = None
    bounding_boxes_url: str | None = None


class LipSyncOptions(Options):
    """One video (or picture) and what it is to say."""

    model: Text = Field(default="lipsync-2", min_length=1)
    video: Media | None = None
    image: Media | None = None
    audio: tuple[AudioInput, ...] = ()
    text: tuple[TextInput, ...] = ()
    segments: tuple[Segment, ...] = ()
    dub_language: Text | None = None
    dub_source_language: Text = "auto"
    sync_mode: Literal["bounce", "loop", "cut_off", "silence", "remap"] | None = None
    temperature: Unit | None = None
    model_mode: Literal["lips", "face", "head"] | None = None
    prompt: Text | None = None
    active_speaker: ActiveSpeaker | bool | None = None
    occlusion_detection: bool | None = None
    reasoning_enabled: bool | None = None
    output_file_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,255}$")
    project_id: Text | None = None

    @property
    def media(self) -> list[Media]:
        """Every file of the request: the visual first, then the recordings."""
        return [media for _, media in self.named_media]

    @property
    def named_media(self) -> list[tuple[str, Media]]:
        """The same, each with the name of its argument."""
        visual = ("video", self.video) if self.video is not None else ("image", self.image or "")
        return [visual, *(("audio", item.media) for item in self.audio)]


def parse(model: type[OptionsT], values: dict[str, Any], service: str = "this request") -> OptionsT:
    """Build options, or raise ``InvalidInputError`` naming every field that is wrong.

    :param service: whose options they are, for the message about one that it does not have
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(_problem(model, item, service) for item in error.errors()))
        raise InvalidInputError(f"{problems}. Nothing was uploaded or paid; correct the task's arguments.") from None


def _problem(model: type[Options], item: ErrorDetails, service: str) -> str:
    parts = [str(part) for part in item["loc"]]
    where = ".".join(part for part in parts if "[" not in part and part != "str") or "options"  # no names of types
    if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
        return f"{where} is no option of {service}; it has {', '.join(model.model_fields)}"
    return f"{where}: {item['msg'].removeprefix('Value error, ')}"


def check_lip_sync_shape(options: LipSyncOptions) -> None:
    """Check what holds at every service: one visual, one driver, segments that name existing inputs in order.

    :raises InvalidInputError: naming the rule that is broken
    """
    refuse = InvalidInputError
    if (options.video is None) == (options.image is None):
        raise refuse("Give exactly one of video and image.")
    drivers = len(options.audio) + len(options.text)
    if options.dub_language:
        if options.image is not None:
            raise refuse("dub_language translates what is said in a video, and image says nothing: give video.")
        if drivers:
            raise refuse("dub_language translates the video's own speech: leave audio and text out, or leave it out.")
        return
    if not drivers:
        raise refuse("Nothing to say: give audio, text with voice_id, or dub_language.")
    if not options.segments:
        if drivers > 1:
            raise refuse(f"{drivers} audio and text inputs, but no segments that say when each speaks.")
        return
    names = [*(item.ref_id for item in options.audio), *(item.ref_id for item in options.text)]
    if None in names or len(set(names)) != len(names):
        raise refuse("With segments every audio and text input needs a ref_id of its own.")
    end = 0.0
    for number, segment in enumerate(options.segments, 1):
        if segment.audio_input.ref_id not in names:
            raise refuse(
                f"Segment {number} uses ref_id '{segment.audio_input.ref_id}', which no input has. "
                f"Inputs: {', '.join(str(name) for name in names)}."
            )
        if segment.end_time <= segment.start_time:
            raise refuse(f"Segment {number} ends ({segment.end_time} s) before it starts ({segment.start_time} s).")
        if segment.start_time < end:
            raise refuse(f"Segment {number} starts at {segment.start_time} s, inside the one before it (to {end} s).")
        end = segment.end_time
