"""What can be ordered: a clone, a line of speech, a lip sync; each knows its fingerprint and how it is submitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from voice_provider.exceptions import InvalidInputError, NameTakenError, NotFoundError, ServiceUnavailableError
from voice_provider.jobs.names import ManagedName, short_hash
from voice_provider.jobs.record import Scope, fingerprint_of
from voice_provider.models import Capability, Job, JobState
from voice_provider.services.base import Input
from voice_provider.services.options import VoiceFilters
from voice_provider.storage import StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voice_provider.jobs.record import Record
    from voice_provider.models import JobKind, Voice
    from voice_provider.services.base import Body, Flow, Service
    from voice_provider.services.options import CloneOptions, LipSyncOptions, Media, SpeechOptions
    from voice_provider.storage import Output

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
    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:
        """Send the order."""

    def is_answer(self, service: Service) -> bool:  # noqa: ARG002
        """Whether the result is the answer itself, and there is no job to ask after."""
        return False

    def is_free(self, service: Service) -> bool:  # noqa: ARG002
        """Whether it costs nothing, so that it may be ordered again after a bad answer."""
        return False

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

    :param place: returns where the speech is kept, by the name it has in a folder and the task instance
    """

    kind = "speech"
    options: SpeechOptions
    references: tuple[StoredFile, ...] = ()
    place: Callable[[str, str], Output] | None = None

    def describe(self) -> dict[str, Any]:
        """Everything that is heard; references by their hash."""
        what = self.options.model_dump(mode="json", exclude_none=True, exclude={"references"})
        files = iter(self.references)
        spoken = [
            [(identity(item.audio, next(files)), item.text) for item in speaker] for speaker in self.options.speakers
        ]
        return {**what, "references": spoken} if spoken else what

    def is_answer(self, service: Service) -> bool:
        """Whether the speech is the answer itself, and there is no job to ask after."""
        return Capability.ASYNC_SPEECH not in service.capabilities

    def is_free(self, service: Service) -> bool:
        """Whether it costs nothing."""
        return service.is_free(self.options)

    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:  # noqa: ARG002
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

    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:
        """Send the request."""
        key = record.key if service.is_keyed("lip_sync") else None
        hosted = [where for where in inputs if isinstance(where, Input)]
        return (yield from service.start_lip_sync(self.options, hosted, key))


@dataclass(frozen=True)
class CloneOrder(Order):
    """A managed voice.

    :param label: what the author calls it
    :param ephemeral: it belongs to this run; another run gets its own
    """

    kind = "clone"
    label: str
    namespace: str
    samples: tuple[Media, ...]
    files: tuple[Source, ...]
    options: CloneOptions
    cover: StoredFile | None = None
    ephemeral: bool = False

    @property
    def sources(self) -> Sequence[Source]:
        """The samples."""
        return self.files

    def describe(self) -> dict[str, Any]:
        """The samples' bytes, the label, and what else is heard in the voice."""
        samples = [identity(media, source) for media, source in zip(self.samples, self.files, strict=True)]
        return {"label": self.label, "samples": samples, **self.options.identity}

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

    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:
        """Clone the voice; where the very same voice is there already, that one is the result."""
        if not service.unique_voice_names:
            found = yield from self.find(service, record)
            if found is not None:
                return found
        try:
            voice = yield from service.clone_voice(record.name or self.label, inputs, self.options, self.cover)
        except NameTakenError as error:
            found = yield from self.find(service, record)
            if found is None and ManagedName.parse(record.name or "") is not None:
                raise ServiceUnavailableError(  # nobody else gives such a name
                    f"{error} The voice is not listed yet: an earlier try has ordered it, and it is still being made. "
                    "A retry finds it."
                ) from None
            if found is None:
                raise
            return found
        if not service.unique_voice_names:
            voice = yield from self._settle(service, record, voice)
        return _as_job(voice)

    def _settle(self, service: Service, record: Record, made: Voice) -> Flow[Voice]:
        """Leave one voice where several tasks have made the same at once: the oldest.

        Each deletes only its own: another's may have been handed on already.
        """
        same = {voice.id: voice for voice in (yield from self._same(service, record))} | {made.id: made}
        oldest = min(same.values(), key=_age)
        if oldest.id != made.id:
            with suppress(NotFoundError):
                yield from service.delete_voice(made.id)
        return oldest

    def is_settled_by_name(self, service: Service) -> bool:
        """Yes, where a second voice of the name is refused, or costs nothing and is found and deleted."""
        return service.unique_voice_names or service.free_clones

    def find(self, service: Service, record: Record) -> Flow[Job | None]:
        """Look for a voice of the same namespace and full fingerprint; a name that a person typed never matches."""
        same = yield from self._same(service, record)
        return _as_job(min(same, key=_age)) if same else None

    @staticmethod
    def _same(service: Service, record: Record) -> Flow[list[Voice]]:
        wanted = ManagedName.parse(record.name or "")
        if wanted is None:
            return []
        voices = yield from service.list_voices(VoiceFilters())
        same = [voice for voice in voices if wanted.is_same_voice(ManagedName.parse(voice.name))]
        for voice in same:
            if voice.state == "failed":  # its training failed behind a try that was killed; nobody else deletes it
                with suppress(NotFoundError):
                    yield from service.delete_voice(voice.id)
        return [voice for voice in same if voice.state != "failed"]


def _age(voice: Voice) -> tuple[str, str]:
    return voice.created_at or "", voice.id


def _as_job(voice: Voice) -> Job:
    states = {"training": JobState.RUNNING, "trained": JobState.SUCCEEDED, "failed": JobState.FAILED}
    return Job(
        service=voice.service, kind="clone", id=voice.id, state=states[voice.state], status=voice.status or voice.state
    )
