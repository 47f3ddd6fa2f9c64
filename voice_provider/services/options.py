"""What can be asked for: speech and lip sync options in this provider's words, checked before anything is sent.

Field names follow the provider (``voice_id``, ``start_time``); the vendor's spelling (``voiceId``, ``startTime``) is
accepted too, so that an example from its documentation can be pasted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
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
