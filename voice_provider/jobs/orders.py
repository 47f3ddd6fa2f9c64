"""What can be ordered: a clone, a line of speech, a lip sync; each knows its fingerprint and how it is submitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from voice_provider.exceptions import InvalidInputError, NameTakenError
from voice_provider.jobs.names import ManagedName, short_hash
from voice_provider.jobs.record import Scope, fingerprint_of
from voice_provider.models import Job, JobState
from voice_provider.services.base import Input
from voice_provider.storage import StoredFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.jobs.record import Record
    from voice_provider.models import JobKind, Voice
    from voice_provider.services.base import Flow, Service
    from voice_provider.services.options import LipSyncOptions, Media, SpeechOptions

Source = Input | StoredFile


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


@dataclass(frozen=True)
class Order(ABC):
    """Something to be paid for."""

    kind: ClassVar[JobKind]

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what the author asked for, for the fingerprint."""

    @property
    def sources(self) -> Sequence[Source]:
        """The media inputs, in the order in which ``submit`` takes them."""
        return ()

    def fingerprint(self) -> str:
        """Hash the request."""
        return fingerprint_of({"kind": self.kind, **self.describe()})

    def name(self, scope: Scope, made: int) -> str | None:  # noqa: ARG002  # for orders that name what they make
        """Return the name at the service of what is made, where it has one."""
        return None

    @abstractmethod
    def submit(self, service: Service, inputs: Sequence[Input], record: Record) -> Flow[Job]:
        """Send the order."""

    def is_settled_by_name(self, service: Service) -> bool:  # noqa: ARG002
        """Whether sending the order twice makes one thing, because the service refuses the name the second time."""
        return False

    def find(self, service: Service, record: Record) -> Flow[Job | None]:  # noqa: ARG002
        """Look at the service for what became of an order whose answer was lost."""
        return None
        yield  # a flow that asks nothing


@dataclass(frozen=True)
class SpeechOrder(Order):
    """One line in one voice."""

    kind = "speech"
    options: SpeechOptions

    def describe(self) -> dict[str, Any]:
        """Everything that is heard."""
        return self.options.model_dump(mode="json", exclude_none=True)

    def submit(self, service: Service, inputs: Sequence[Input], record: Record) -> Flow[Job]:  # noqa: ARG002
        """Send the line."""
        return (yield from service.start_speech(self.options, record.key if service.is_keyed("speech") else None))


@dataclass(frozen=True)
class LipSyncOrder(Order):
    """One video and what it is to say."""

    kind = "lip_sync"
    options: LipSyncOptions
    media: tuple[Source, ...]

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
        return {**what, visual: seen[0], "audio": list(zip(names, seen[1:], strict=True))}

    def submit(self, service: Service, inputs: Sequence[Input], record: Record) -> Flow[Job]:
        """Send the request."""
        key = record.key if service.is_keyed("lip_sync") else None
        return (yield from service.start_lip_sync(self.options, inputs, key))


@dataclass(frozen=True)
class CloneOrder(Order):
    """A managed voice.

    :param label: what the author calls it
    :param ephemeral: it belongs to this run; another run gets its own
    """

    kind = "clone"
    label: str
    namespace: str
    sample: Media
    source: Source
    ephemeral: bool = False

    @property
    def sources(self) -> Sequence[Source]:
        """The sample."""
        return (self.source,)

    def describe(self) -> dict[str, Any]:
        """The sample's bytes and the label."""
        return {"label": self.label, "samples": [identity(self.sample, self.source)]}

    def name(self, scope: Scope, made: int) -> str:
        """Return the managed name; the record keeps it, so that it is the same for every try of a task."""
        return str(
            ManagedName(
                label=self.label,
                namespace=self.namespace,
                fingerprint=short_hash(self.fingerprint()),
                run=scope.run if self.ephemeral else None,
                made=made if self.ephemeral else None,
            )
        )

    def submit(self, service: Service, inputs: Sequence[Input], record: Record) -> Flow[Job]:
        """Clone the voice; where the name is taken by the very same voice, that one is the result."""
        try:
            voice = yield from service.clone_voice(record.name or self.label, inputs[0])
        except NameTakenError:
            found = yield from self.find(service, record)
            if found is None:
                raise
            return found
        return _as_job(voice)

    def is_settled_by_name(self, service: Service) -> bool:
        """Yes, where voices' names are unique."""
        return service.unique_voice_names

    def find(self, service: Service, record: Record) -> Flow[Job | None]:
        """Look for a voice of the same namespace and full fingerprint; a name that a person typed never matches."""
        wanted = ManagedName.parse(record.name or "")
        for voice in (yield from service.list_voices()):
            if wanted is not None and wanted.is_same_voice(ManagedName.parse(voice.name)):
                return _as_job(voice)
        return None


def _as_job(voice: Voice) -> Job:
    states = {"training": JobState.RUNNING, "trained": JobState.SUCCEEDED, "failed": JobState.FAILED}
    return Job(service=voice.service, kind="clone", id=voice.id, state=states[voice.state], status=voice.state)
