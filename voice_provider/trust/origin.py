"""Where a result comes from, as far as it is known when it is ordered: settings, voices, inputs, consents.

It waits in the task's state, or in the ticket of a completion sensor, until the result is there. All of it may be
shown: there are hashes where there are texts, media and people.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.locations import bare
from voice_provider.files.storage import StoredFile
from voice_provider.models import ConsentRef
from voice_provider.services.base import Input

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from voice_provider.services.lip_sync import LipSyncOptions
    from voice_provider.services.options import Media, Options, SpeechOptions

MANY = 50  # entries of a list that are written out
_MEDIA = ("video", "image", "audio", "references")
_WORDS = ("text", "script", "prompt")

Source = Input | StoredFile
PartT = TypeVar("PartT", bound=BaseModel)


class Part(BaseModel):
    """A part of a record; what a later version adds is not in the way."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Run(Part):
    """The task instance that made it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @classmethod
    def of(cls, ti: Any) -> Self:
        """Read it off Airflow's task instance."""
        index = -1 if ti.map_index is None else ti.map_index
        return cls(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=index)


class Speaker(Part):
    """Whose voice it is; ``fingerprint`` is that of samples and settings, for a voice that this provider has made."""

    id: str | None = None
    name: str | None = None
    fingerprint: str | None = None
    samples: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: dict[str, Any], fingerprint: str | None = None) -> Self:
        """Read what another task has returned of a voice, or of speech in it.

        :raises InvalidInputError: it is no such thing
        """
        values = {"id": told.get("voice_id"), "name": told.get("name"), "samples": told.get("samples") or ()}
        return _understood(cls, {**values, "fingerprint": fingerprint}, "voice")


class Origin(Part):
    """What is known when something is ordered; it waits in the task's state until the result is there."""

    settings: dict[str, Any] = Field(default_factory=dict)
    speakers: tuple[Speaker, ...] = ()
    inputs: tuple[dict[str, str], ...] = ()
    consents: tuple[ConsentRef, ...] = ()

    def dump(self) -> dict[str, Any]:
        """Return plain JSON-ready values."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def load(cls, value: Any) -> Self:
        """Read what was dumped; nothing, where the job was ordered by an earlier version or elsewhere."""
        return _understood(cls, value or {}, "ticket")

    @property
    def samples(self) -> tuple[str, ...]:
        """The recordings that all its voices are made of."""
        return tuple(dict.fromkeys(digest for speaker in self.speakers for digest in speaker.samples))


def recordings(options: SpeechOptions) -> list[Media]:
    """Return the recordings of an instant clone as the author gave them, those of all speakers one after another."""
    return [item.audio for speaker in options.speakers for item in speaker]


def digest_of(media: Media, source: Source) -> str | None:
    """Return the hash of a media input, where it is known."""
    if isinstance(source, StoredFile):
        return source.sha256()
    return str(media["sha256"]) if isinstance(media, dict) and media.get("sha256") else None


def speech_origin(
    options: SpeechOptions,
    references: Sequence[StoredFile] = (),
    told: Sequence[Speaker] = (),
    consents: Iterable[ConsentRef | None] = (),
) -> Origin:
    """Describe speech.

    :param references: the files of its ``recordings``
    :param told: what is known of the voices besides their ids
    :param consents: those that other tasks have passed on with the voices, and this one's own
    """
    files = iter(references)
    instant = [Speaker(samples=tuple(next(files).sha256() for _ in speaker)) for speaker in options.speakers]
    media = [("reference", item, file) for item, file in zip(recordings(options), references, strict=True)]
    return _origin(options, media, (*_known(options.voice_ids, told), *instant), consents)


def lip_sync_origin(
    options: LipSyncOptions,
    sources: Sequence[Source],
    told: Sequence[Speaker] = (),
    consents: Iterable[ConsentRef | None] = (),
) -> Origin:
    """Describe a lip sync; the recordings of this provider's own speech tell their voices, samples and consents.

    :param sources: of its media, in their order
    """
    roles = ["video" if options.video is not None else "image", *("audio" for _ in options.audio)]
    media = list(zip(roles, options.media, sources, strict=True))
    heard = [Speaker.of({**item, "name": None}) for _, item, _ in media[1:] if isinstance(item, dict)]
    spoken = _known([item.voice_id for item in options.text], told)
    return _origin(options, media, (*(one for one in heard if one.id or one.samples), *spoken), consents)


def consents_in(*values: Any) -> tuple[ConsentRef, ...]:
    """Return the consents that other tasks have passed on with a voice, a recording or an upload.

    :raises InvalidInputError: something else stands where a consent should be
    """
    found: list[ConsentRef] = []
    for value in values:
        if isinstance(value, list | tuple):
            found += consents_in(*value)
        elif isinstance(value, dict) and value.get("consent"):
            passed = value["consent"]
            found += [
                _understood(ConsentRef, one, "consent") for one in (passed if isinstance(passed, list) else [passed])
            ]
    return tuple(dict.fromkeys(found))


def _understood(model: type[PartT], value: Any, what: str) -> PartT:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fields = ", ".join(dict.fromkeys(str(item["loc"][0]) for item in error.errors() if item["loc"]))
        raise InvalidInputError(
            f"The {what} that was passed on cannot be read ({fields or 'no dict'}). Pass the other task's .output "
            "unchanged. Nothing was uploaded or paid."
        ) from None


def _known(ids: Sequence[str], told: Sequence[Speaker]) -> list[Speaker]:
    by_id = {speaker.id: speaker for speaker in told}
    return [by_id.get(voice_id) or Speaker(id=voice_id) for voice_id in ids]


def _origin(
    options: Options,
    media: Sequence[tuple[str, Media, Source]],
    speakers: Sequence[Speaker],
    consents: Iterable[ConsentRef | None],
) -> Origin:
    passed_on = consents_in([item for _, item, _ in media])
    return Origin(
        settings=_told(options.model_dump(mode="json", exclude_none=True)),
        speakers=tuple(dict.fromkeys(speakers)),
        inputs=tuple({"role": role, **_identity(item, source)} for role, item, source in media),
        consents=tuple(dict.fromkeys(filter(None, (*consents, *passed_on)))),
    )


def _identity(media: Media, source: Source) -> dict[str, str]:
    digest = digest_of(media, source)
    if digest is not None or isinstance(source, StoredFile):
        return {"sha256": digest or ""}
    return {"asset_id": source.asset_id} if source.asset_id else {"url": bare(source.url or "")}


def _told(value: Any, name: str = "") -> Any:
    """Return options as they may be shown: no media, and of texts and long lists only the length and the hash."""
    if isinstance(value, str):
        return _hashed(value, "characters") if name in _WORDS else bare(value)
    if isinstance(value, dict):
        return {key: _told(item, key) for key, item in value.items() if key not in _MEDIA and item is not None}
    if isinstance(value, list):
        if len(value) > MANY or name == "items":  # of a pronunciation dictionary: words of the script
            return _hashed(json.dumps(value, sort_keys=True), "entries", len(value))
        return [_told(item, name) for item in value]
    return value


def _hashed(text: str, unit: str, count: int | None = None) -> dict[str, Any]:
    return {unit: len(text) if count is None else count, "sha256": hashlib.sha256(text.encode()).hexdigest()}
