"""What can be ordered: a line of speech, a lip sync, or a clone; each knows its fingerprint and how it is submitted."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.storage import StoredFile
from voice_provider.hooks.costs import lip_sync_costs
from voice_provider.models import Capability, Job
from voice_provider.services.base import Input
from voice_provider.services.texts import SPOKEN_A_SECOND, spoken_characters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from voice_provider.files.captions import CaptionFormat
    from voice_provider.files.storage import Output
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.record import Record, Scope
    from voice_provider.models import Cost, JobKind
    from voice_provider.services.base import Body, Flow, Service
    from voice_provider.services.lip_sync import LipSyncOptions
    from voice_provider.services.options import Media, SpeechOptions

Source = Input | StoredFile
MOST_PACKED = 40_000  # bytes a second of packed audio: 320 kbit/s
LEAST_ROOM = 256 * 1024  # bytes


def identity(media: Media, source: Source) -> str:
    """Return what identifies a media input: the hash of its bytes where they are known, else what the author wrote."""
    if isinstance(source, StoredFile):
        digest = source.sha256()
        if isinstance(media, dict) and media.get("sha256") not in (None, digest):
            raise InvalidInputError(
                f"{source.location} is not what the task before has kept: its hash is another one. Do two tasks write "
                "it? Mapped tasks need a folder as output, which ends in '/'."
            )
        return digest
    if isinstance(media, dict) and media.get("sha256"):
        return str(media["sha256"])
    return source.asset_id or source.url or ""


def fingerprint_of(what: dict[str, Any]) -> str:
    """Hash what the author asked for; media appear in it by their SHA-256, never by ids or URLs that a service gave."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Order(ABC):
    """Something to be paid for.

    :param origin: what the record beside the result will say of where it comes from; no part of what is asked for
    """

    kind: ClassVar[JobKind]
    origin: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what the author asked for, for the fingerprint."""

    @property
    def sources(self) -> Sequence[Source]:
        """The media inputs, in the order in which ``submit`` takes them."""
        return ()

    @property
    def is_exclusive(self) -> bool:
        """Whether it has to fail where another task has made the same."""
        return False

    @property
    def is_shared(self) -> bool:
        """Whether another task may have made the same, and it serves as well."""
        return False

    def fingerprint(self) -> str:
        """Hash the request."""
        return fingerprint_of({"kind": self.kind, **self.describe()})

    def former_fingerprint(self) -> str:
        """Hash the request as the version before did, whose records may still be there."""
        return self.fingerprint()

    def name(self, scope: Scope, made: int) -> str | None:  # noqa: ARG002  # for orders that name what they make
        """Return the name at the service of what is made, where it has one."""
        return None

    def details(self) -> dict[str, Any]:
        """Return what the record keeps for those who use the result."""
        return {}

    @abstractmethod
    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:
        """Send the order."""

    def look(self, service: Service, record: Record) -> Flow[Job | None]:  # noqa: ARG002
        """Look, before anything is sent, whether it is there already or cannot be made now."""
        return None
        yield  # a flow that asks nothing

    def is_answer(self, service: Service) -> bool:  # noqa: ARG002
        """Whether the result is the answer itself, and there is no job to ask after."""
        return False

    def is_free(self, service: Service) -> bool:  # noqa: ARG002
        """Whether it costs nothing, so that it may be ordered again after a bad answer."""
        return False

    def costs(self, hook: VoiceHook, *, surely: bool = False) -> tuple[Cost, ...]:  # noqa: ARG002
        """Return what it would cost, part by part; nothing, where what is made takes a slot and no money.

        :param surely: a service that does not answer for a moment is an error, and no unknown price
        """
        return ()

    def is_settled_by_name(self, service: Service) -> bool:  # noqa: ARG002
        """Whether sending the order twice makes one thing, because the service refuses the name the second time."""
        return False

    def find(self, service: Service, record: Record) -> Flow[Job | None]:  # noqa: ARG002
        """Look at the service for what became of an order whose answer was lost."""
        return None
        yield  # a flow that asks nothing


@dataclass(frozen=True)
class SpeechOrder(Order):
    """One line in one voice, or several.

    :param made_from: what cloned voices were made from, by the id that the service gave them: a voice that is cloned
        anew from the same is the same
    :param place: returns where the speech is kept, by the name it has in a folder and the task instance
    :param captions: that are wanted beside it; the speech is the same without
    """

    kind = "speech"
    options: SpeechOptions
    references: tuple[StoredFile, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)
    place: Callable[[str, str], Output] | None = None
    captions: CaptionFormat | None = None

    def describe(self) -> dict[str, Any]:
        """Everything that is heard; references by their hash, cloned voices by what they were made from."""
        what = self.options.model_dump(mode="json", exclude_none=True, exclude={"references"})
        if "voice_id" in what:
            what["voice_id"] = _named(what["voice_id"], self.made_from)
        files = iter(self.references)
        spoken = [
            [(identity(item.audio, next(files)), item.text) for item in speaker] for speaker in self.options.speakers
        ]
        return {**what, "references": spoken} if spoken else what

    def former_fingerprint(self) -> str:
        """Hash the request with the ids of its voices."""
        return replace(self, made_from={}).fingerprint()

    def likely_bytes(self) -> int:
        """Return for how much audio there has to be room before it is paid for: twice what people would take."""
        rate = self.options.pcm_rate or getattr(self.options, "sample_rate", None) or 44_100
        whole = getattr(self.options, "format", None) in ("wav", "pcm")
        seconds = 2 * spoken_characters(self.options.text) / SPOKEN_A_SECOND
        return int(max(seconds * (2 * rate if whole else MOST_PACKED), LEAST_ROOM))

    def is_answer(self, service: Service) -> bool:
        """Whether the speech is the answer itself, and there is no job to ask after."""
        return Capability.ASYNC_SPEECH not in service.capabilities

    def is_free(self, service: Service) -> bool:
        """Whether it costs nothing."""
        return service.is_free(self.options)

    def costs(self, hook: VoiceHook, *, surely: bool = False) -> tuple[Cost, ...]:  # noqa: ARG002
        """Return what it costs by the text."""
        return (hook.speech_cost(self.options),)

    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:  # noqa: ARG002
        """Send the line."""
        return (yield from service.start_speech(self.options, record.key if service.is_keyed("speech") else None))


@dataclass(frozen=True)
class LipSyncOrder(Order):
    """One video and what it is to say."""

    kind = "lip_sync"
    options: LipSyncOptions
    media: tuple[Source, ...]
    made_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> Sequence[Source]:
        """The visual and the recordings."""
        return self.media

    def describe(self) -> dict[str, Any]:
        """Everything that is seen and heard; files by their hash."""
        what = self.options.model_dump(mode="json", exclude_none=True, exclude={"video", "image", "audio"})
        names = [item.ref_id for item in self.options.audio]
        seen = [identity(media, source) for media, source in zip(self.options.media, self.media, strict=True)]
        visual = "video" if self.options.video is not None else "image"
        for item in what.get("text", ()):
            item["voice_id"] = _named(item["voice_id"], self.made_from)
        return {**what, visual: seen[0], "audio": list(zip(names, seen[1:], strict=True))}

    def former_fingerprint(self) -> str:
        """Hash the request with the ids of its voices."""
        return replace(self, made_from={}).fingerprint()

    def costs(self, hook: VoiceHook, *, surely: bool = False) -> tuple[Cost, ...]:
        """Return what the video would cost, and what is spoken for it."""
        return lip_sync_costs(hook, self.options, self.media, surely=surely)

    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:
        """Send the request."""
        key = record.key if service.is_keyed("lip_sync") else None
        hosted = [where for where in inputs if isinstance(where, Input)]
        return (yield from service.start_lip_sync(self.options, hosted, key))


def _named(voices: Any, made_from: Mapping[str, str]) -> Any:
    """Name cloned voices by what they were made from."""
    if isinstance(voices, list):
        return [_named(voice, made_from) for voice in voices]
    return made_from.get(voices, voices)
