"""The order for a managed voice: what is there already is found by its name, and two tasks end with one voice."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from voice_provider.exceptions import (
    NameTakenError,
    NotFoundError,
    PermanentVoiceError,
    ServiceUnavailableError,
    SlotLimitError,
    TransientVoiceError,
)
from voice_provider.jobs.names import ManagedName, short_hash
from voice_provider.jobs.orders import Order, Source, fingerprint_of, identity
from voice_provider.models import Job, JobState
from voice_provider.services.base import present
from voice_provider.services.options import VoiceFilters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.files.storage import StoredFile
    from voice_provider.jobs.record import Record, Scope
    from voice_provider.models import ConsentRef, Voice
    from voice_provider.services.base import Body, Flow, Input, Service
    from voice_provider.services.options import CloneOptions, Media

IfExists = Literal["reuse", "replace", "new", "fail"]
SETTLINGS = 3  # how often a service that does not answer is asked which voice stays, and to delete the other
NEWEST = 200  # voices that are looked through where a search has found none
ENDS_SOON = 86_400  # seconds: what expires within a day, or half the life that was asked for, is not handed on


class BeingMadeError(ServiceUnavailableError):
    """A voice of this very name was ordered by another task or try; it is listed, or will be soon."""


class GoneError(ServiceUnavailableError):
    """A voice that was ordered before has been deleted meanwhile, by a person or a sweep."""


@dataclass(frozen=True)
class CloneOrder(Order):
    """A managed voice.

    :param label: what the author calls it
    :param if_exists: what to do about voices that were made for all runs, and are there already
    :param ephemeral: it belongs to this run; another run gets its own
    :param expires: when it has to be deleted, in seconds since 1970
    :param slots: how many clones the plan holds, where that is known
    :param consent: a reference to it, for what is made with the voice
    :param run_after: before which the run did not begin, in seconds since 1970; default: not known
    """

    kind = "clone"
    label: str
    namespace: str
    samples: tuple[Media, ...]
    files: tuple[Source, ...]
    options: CloneOptions
    cover: StoredFile | None = None
    if_exists: IfExists = "reuse"
    ephemeral: bool = False
    expires: int | None = None
    slots: int | None = None
    consent: ConsentRef | None = None
    run_after: float | None = None

    @property
    def sources(self) -> Sequence[Source]:
        """The samples."""
        return self.files

    @property
    def is_exclusive(self) -> bool:
        """Whether it has to fail where another task has made the same."""
        return self.if_exists == "fail" and not self.ephemeral

    @property
    def is_shared(self) -> bool:
        """Whether a voice that another task has made serves as well."""
        return self.if_exists == "reuse" and not self.ephemeral

    def describe(self) -> dict[str, Any]:
        """The samples' bytes, the label, and what else is heard in the voice."""
        samples = [identity(media, source) for media, source in zip(self.samples, self.files, strict=True)]
        own = {"ephemeral": True} if self.ephemeral else {}  # what was there for all is not this run's to give back
        return {"label": self.label, "samples": samples, **self.options.identity, **own}

    def former_fingerprint(self) -> str:
        """Hash the request without whether the voice is for this run only."""
        return fingerprint_of({"kind": self.kind, **{k: v for k, v in self.describe().items() if k != "ephemeral"}})

    def details(self) -> dict[str, Any]:
        """Return what later tasks say about the voice: its samples by their hash, and the consent."""
        samples = [identity(media, source) for media, source in zip(self.samples, self.files, strict=True)]
        return present(
            samples=samples,
            consent=self.consent.dump() if self.consent is not None else None,
        )

    def name(self, scope: Scope, made: int) -> str:
        """Return the managed name; the record keeps it, so that it is the same for every try of a task."""
        own = not self.is_shared and self.if_exists != "fail"
        return str(
            ManagedName(
                label=self.label,
                namespace=self.namespace,
                fingerprint=short_hash(self.fingerprint()),
                owner=scope.owner if self.ephemeral else None,
                run=scope.run if own else None,
                made=made if own else None,
                expires=self.expires,
            )
        )

    def look(self, service: Service, record: Record) -> Flow[Job | None]:
        """Use or refuse what is there; then see whether there is a slot, before anything is uploaded.

        :raises NameTakenError: a voice of this name is there, and that was not wanted
        :raises SlotLimitError: as many clones are there as the plan holds
        """
        if self.is_shared:
            same = yield from self._same(service, record, _called(record))
            if not same and not service.unique_voice_names:  # what a search does not find may be there all the same
                same = yield from self._same(service, record, VoiceFilters(limit=NEWEST))
            if same:
                return _as_job(self._usable(min(same, key=_rank)))
        elif self.ephemeral:
            yield from self._delete(service, (yield from self._predecessors(service, record, self.run_after)))
        elif self.if_exists == "fail":
            for voice, _ in (yield from _namesakes(service, self.namespace, self.label, _called(record))):
                raise NameTakenError(
                    f"A voice '{self.label}' is there already: {voice.id}. With if_exists='reuse' the same samples "
                    "give it back; with 'replace' it is deleted when the new one is there."
                )
        if self.slots is not None:
            in_use = (yield from service.slots()).active
            if in_use is not None and in_use >= self.slots:
                raise SlotLimitError(f"{in_use} of {self.slots} clone slots are in use, as the connection counts them.")
        return None

    def _usable(self, voice: Voice) -> Voice:
        if voice.restricted:
            raise PermanentVoiceError(
                f"The voice '{self.label}' is there ({voice.id}), but the service restricts it: it cannot speak. Ask "
                "the service why, or delete it; the task then makes another."
            )
        return voice

    def submit(self, service: Service, inputs: Sequence[Input | Body], record: Record) -> Flow[Job]:
        """Clone the voice.

        :raises BeingMadeError: the very same voice has come to be meanwhile, or is about to
        """
        try:
            voice = yield from service.clone_voice(record.name or self.label, inputs, self.options, self.cover)
        except NameTakenError as error:  # nobody else gives such a name
            raise BeingMadeError(
                f"{error} Another task has ordered the voice, and it is not listed yet.", sent=False
            ) from None
        if not service.unique_voice_names:
            voice = yield from self._settle(service, record, voice)
        return _as_job(voice)

    def _settle(self, service: Service, record: Record, made: Voice) -> Flow[Voice]:
        """Leave one voice where several tasks have made the same at once: the one that stays longest, or the oldest.

        Each deletes only its own: another's may have been handed on already. Where the service does not answer, also
        when it is asked again, there may be two, which is no reason to lose the one that was made; but not one whose
        deletion was asked for. There may be two as well where a service lists a voice after one that it calls younger.

        :raises BeingMadeError: another task's is left
        """
        for _ in range(SETTLINGS):
            with suppress(TransientVoiceError):
                first = yield from self._first(service, record, made)
                break
        else:
            return made
        if first.id == made.id:
            return made
        for _ in range(SETTLINGS):
            with suppress(TransientVoiceError):
                yield from self._delete(service, [made])
                break
        raise BeingMadeError(
            f"Voice {first.id} was made at the same time as {made.id}, which is deleted again.", sent=False
        )

    def _first(self, service: Service, record: Record, made: Voice) -> Flow[Voice]:
        """Return which of the same voices is to stay; a list may hold what was deleted a moment ago."""
        same = {voice.id: voice for voice in (yield from self._same(service, record, made_for(record)))} | {
            made.id: made
        }
        for voice in sorted(same.values(), key=_rank):
            if voice.id == made.id:
                break
            with suppress(NotFoundError):
                yield from service.get_voice(voice.id)
                return voice
        return made

    def is_settled_by_name(self, service: Service) -> bool:
        """Yes, where a second voice of the name is refused, or costs nothing and is found and deleted."""
        return service.unique_voice_names or service.free_clones

    def find(self, service: Service, record: Record) -> Flow[Job | None]:
        """Look for a voice of the same namespace and full fingerprint; a name that a person typed never matches."""
        same = yield from self._same(service, record, made_for(record))
        return _as_job(min(same, key=_rank)) if same else None

    @staticmethod
    def _same(service: Service, record: Record, where: VoiceFilters) -> Flow[list[Voice]]:
        wanted = ManagedName.parse(record.name or "")
        if wanted is None:
            return []
        same = []
        for voice in (yield from service.list_voices(where)):
            name = ManagedName.parse(voice.name)
            if name is None or not wanted.accepts(name) or not _stays(name, wanted):
                continue
            if voice.state == "failed":  # its training failed behind a try that was killed; nobody else deletes it
                yield from CloneOrder._delete(service, [voice])
            else:
                same.append(voice)
        return same

    @staticmethod
    def _predecessors(service: Service, record: Record, run_after: float | None) -> Flow[list[Voice]]:
        """List the voices that the same task of the same run has made before it was cleared, or changed.

        :param run_after: before which nothing of the run can have been made; None: not known
        """
        own = ManagedName.parse(record.name or "")
        if own is None:
            return []
        return [
            voice
            for voice in (yield from service.list_voices(VoiceFilters(since=run_after)))
            if own.is_of_the_same_task(ManagedName.parse(voice.name))
        ]

    @staticmethod
    def _delete(service: Service, voices: Sequence[Voice]) -> Flow[None]:
        for voice in voices:
            with suppress(NotFoundError):
                yield from service.delete_voice(voice.id)


def made_for(record: Record) -> VoiceFilters:
    """Return where a voice is found that was made for an order: it cannot be older than the order.

    By its age and not by a search: what was made a moment ago may not be in the service's index yet.
    """
    return VoiceFilters(since=datetime.fromisoformat(record.created_at).timestamp())


def _called(record: Record) -> VoiceFilters:
    """Return where voices of an order's label are found, of whatever age.

    Words of the label alone: how a service cuts a name into words, or what brackets mean to its search, is not known.
    """
    name = ManagedName.parse(record.name or "")
    return VoiceFilters(title=name.stem if name is not None else None)


def _namesakes(
    service: Service, namespace: str, label: str, where: VoiceFilters
) -> Flow[list[tuple[Voice, ManagedName]]]:
    """List the voices that this provider made under this name for all runs, of whatever samples."""
    return [
        (voice, name)
        for voice in (yield from service.list_voices(where))
        if (name := ManagedName.parse(voice.name)) is not None
        and not name.is_ephemeral
        and name.namespace == namespace
        and name.is_called(label)
    ]


def replaced(service: Service, namespace: str, label: str, record: Record | None, job: Job | None) -> Flow[list[str]]:
    """Delete what has a name besides the voice that replaces it; return the names.

    Of two tasks that replace at once, the voice of the one that began later stays.

    :param record: of the order that replaces
    :param job: the new voice, where it is there already
    """
    own = ManagedName.parse(record.name or "") if record is not None else None
    if record is None or own is None:
        return []
    gone = []
    for voice, name in (yield from _namesakes(service, namespace, label, _called(record))):
        newer = (name.made or 0, voice.id) >= (own.made or 0, job.id if job is not None else "")
        if voice.name != str(own) and not (newer and name.made is not None):
            with suppress(NotFoundError):
                yield from service.delete_voice(voice.id)
            gone.append(voice.name)  # also where somebody else was faster: its slot is free
    return gone


def _stays(name: ManagedName, wanted: ManagedName) -> bool:
    """Whether a voice is there long enough to be used; one that was ordered to end so soon is."""
    now, margin = time.time(), float(ENDS_SOON)
    if wanted.expires is not None:
        margin = 0 if name.expires == wanted.expires else min(margin, (wanted.expires - now) / 2)
    return name.expires is None or name.expires > now + margin


def _rank(voice: Voice) -> tuple[float, str, str]:
    name = ManagedName.parse(voice.name)
    ends = name.expires if name is not None and name.expires is not None else math.inf
    return -ends, voice.created_at or "", voice.id


def _as_job(voice: Voice) -> Job:
    states = {"training": JobState.RUNNING, "trained": JobState.SUCCEEDED, "failed": JobState.FAILED}
    return Job(
        service=voice.service,
        kind="clone",
        id=voice.id,
        state=states[voice.state],
        status=voice.status or voice.state,
        name=voice.name or None,
    )
