"""Voices: clone one, or use the one that is there; find a slot for it."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

import pendulum
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from voice_provider.exceptions import (
    InvalidInputError,
    NotFoundError,
    PermanentVoiceError,
    SlotLimitError,
    StaleTryError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.hooks.visibility import is_more_open
from voice_provider.jobs.clones import CloneOrder, IfExists, made_for, replaced
from voice_provider.jobs.names import ManagedName
from voice_provider.models import Room
from voice_provider.operators.arguments import argument_of, as_text, patterns_of
from voice_provider.operators.base import JobOperator
from voice_provider.operators.lineage import listed
from voice_provider.operators.runs import Runs
from voice_provider.operators.slots import evict, shortage
from voice_provider.operators.times import end_of
from voice_provider.services.options import VoiceFilters, parse, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.jobs.lifecycle import Lifecycle
    from voice_provider.jobs.orders import Order
    from voice_provider.jobs.record import Record
    from voice_provider.models import ConsentRef, Job, Voice
    from voice_provider.services.options import CloneOptions, Media, PathObject

_OPTIONS = ("texts", "visibility", "enhance_audio_quality", "description", "tags", "cover_image")
OnSlotLimit = Literal["fail", "wait", "evict"]
GIVING_BACK = 60.0  # seconds in which a task that fails for good looks for what it has made
MOST_EVICTED = 5  # by one try: who still finds no slot then has others who are faster


class CloneVoiceOperator(JobOperator):
    """Clone a voice from samples.

    The clone is a managed voice: the service knows it as ``name`` plus a suffix that holds the connection's
    namespace and a fingerprint of the samples. So a try whose answer was lost finds its voice again instead of making
    a second one, and the same samples under the same name give the same voice to every run, also to two at once.

    Returns ``voice_id``, ``service``, ``name`` (at the service), ``label``, ``ephemeral``, ``state``, ``samples``
    (their sha256), ``slots_in_use``, ``slot_limit`` and ``evicted`` (names); ``consent`` and ``expires_at`` where there
    is one; where the service has it, ``visibility`` as it really is; ``outcome`` where the voice was ``reused``, or
    ``found`` after a lost answer.

    :param name: what the voice is called (templated)
    :param sample: storage location, asset id, URL hosted by the service, or what ``UploadAssetOperator`` returned;
        audio, or video with sound, of which only the sound is sent where the service takes recordings. A file from
        storage is sent along, or uploaded first and deleted from the service when the voice is there (templated)
    :param samples: several of them, instead of ``sample``; Fish Audio, at most 20 (templated)
    :param texts: what is said in each sample, in the same order; Fish Audio (templated)
    :param visibility: ``private`` (default), ``unlist`` or ``public``; Fish Audio (templated)
    :param enhance_audio_quality: remove noise and level the samples first; default: True; Fish Audio (templated)
    :param description: for people; Fish Audio (templated)
    :param tags: for people; Fish Audio (templated)
    :param cover_image: storage location of a .jpg or .png; Fish Audio (templated)
    :param ephemeral: the voice belongs to this run: other runs make their own, and a teardown deletes it; default:
        False
    :param if_exists: what to do where the voice is there already: ``reuse`` (default: the same name, samples and
        settings give the same voice back, and nothing is uploaded; other samples make another voice), ``replace``
        (always another one; when it is there, what had the name before is deleted, whatever its samples: not with
        ``wait_for_completion=False``), ``new``
        (always another one) or ``fail``. It is about voices of this connection's namespace that this provider made, and
        not about ephemeral ones
    :param on_slot_limit: what to do where the plan's clone slots are all in use: ``fail`` (default), ``wait`` until one
        is free, or ``evict`` a voice of this connection's namespace that this provider made: an expired one first, then
        the oldest where the age is known: of a run that has ended, or for all runs and at least a day old. Never one
        that a person made
    :param protect: voices that are never evicted: names, ids, or patterns with ``*`` (templated)
    :param expires: when the voice has to be deleted, by ``CleanupVoicesOperator`` or for another voice: a date (the
        voice stays that day), or a timedelta where the voice is of this task alone. It ends with its ``consent`` at the
        latest. A voice that stays longer is not reused, nor is one that ends within a day, or before half of that time
        (templated)
    :param consent: of the person whose voice it is: ``{"who": ..., "when": ..., "evidence": URI}``, with ``expires``,
        ``samples`` (their sha256) and ``id`` if wanted, or the storage location of a .json file with that. A connection
        can require it. Airflow shows arguments in its UI; a file keeps the person out of it (templated)
    :raises SlotLimitError: the plan's clone slots are in use, and none became free
    :raises NameTakenError: the voice is there already, and ``if_exists`` is ``fail``
    :raises ConsentError: it is missing where it is required, has expired, or is for other samples; nothing was sent
    :raises InvalidInputError: a sample is missing, unreadable, no media, too short, or not hosted where it has to be;
        or there is an option that the service does not have
    """

    template_fields: Sequence[str] = (
        *JobOperator.template_fields,
        "name",
        "sample",
        "samples",
        *_OPTIONS,
        "protect",
        "expires",
        "consent",
    )
    reads = ("sample", "samples", "cover_image")
    keeps = ()

    def __init__(
        self,
        *,
        name: str,
        sample: Media | PathObject | XComArg | None = None,
        samples: Sequence[Media | PathObject | XComArg] | XComArg | None = None,
        texts: Sequence[str] | XComArg | None = None,
        visibility: str | None = None,
        enhance_audio_quality: bool | str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        cover_image: Media | PathObject | XComArg | None = None,
        ephemeral: bool = False,
        if_exists: IfExists | None = None,
        on_slot_limit: OnSlotLimit = "fail",
        protect: Sequence[str] = (),
        expires: str | date | timedelta | None = None,
        consent: str | PathObject | dict[str, Any] | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if if_exists not in (None, *get_args(IfExists)):
            raise ValueError(f"if_exists is '{if_exists}'; use one of {', '.join(get_args(IfExists))}.")
        if ephemeral and if_exists not in (None, "new"):
            raise ValueError(f"An ephemeral voice belongs to one run: if_exists='{if_exists}' does not go with it.")
        if if_exists == "replace" and not self.wait_for_completion:
            raise ValueError("if_exists='replace' deletes what had the name when the new voice is there: wait for it.")
        if on_slot_limit not in get_args(OnSlotLimit):
            raise ValueError(f"on_slot_limit is '{on_slot_limit}'; use one of {', '.join(get_args(OnSlotLimit))}.")
        if isinstance(expires, timedelta) and not (ephemeral or if_exists == "new"):
            raise ValueError("A voice for all runs has one name for all of them: give expires as a date.")
        self.name = name
        self.sample: Any = sample  # what another task gives is there when the task runs
        self.samples: Any = samples
        self.texts = texts
        self.visibility = visibility
        self.enhance_audio_quality = enhance_audio_quality
        self.description = description
        self.tags = tags
        self.cover_image = cover_image
        self.ephemeral = ephemeral
        self.if_exists: IfExists = if_exists or "reuse"
        self.on_slot_limit = on_slot_limit
        self.protect = protect
        self.expires = expires
        self.consent: Any = consent

    collects_blindly = False  # the voice may be another person's than the one who is asked for now

    @property
    def _label(self) -> str:
        return " ".join((argument_of(self.name, "name") or "").split())

    def execute(self, context: Context) -> dict[str, Any]:
        """Clone the voice."""
        with self._given_back(context):
            return super().execute(context)

    def _resume(self, context: Context, *, failed: bool = False) -> dict[str, Any]:
        with self._given_back(context):
            return super()._resume(context, failed=failed)

    @contextmanager
    def _given_back(self, context: Context) -> Iterator[None]:
        """See to it that a try which fails for good leaves no voice in a slot that this task alone would use."""
        try:
            yield
        except StaleTryError:
            raise  # what there is belongs to the try that has begun since
        except (Exception, AirflowTaskTimeout) as error:
            ti = context["ti"]
            if isinstance(error, AirflowFailException) or ti.try_number > (ti.max_tries or 0):
                self._give_back(context)
            raise

    def _give_back(self, context: Context) -> None:
        """Delete what may have been made: a teardown does not run behind a setup that has failed."""
        try:
            lifecycle = self._lifecycle(context)
            lifecycle.ends_at(time.time() + GIVING_BACK)  # that of the wait may be over
            record = lifecycle.load()
            wanted = ManagedName.parse(record.name or "") if record is not None else None
            if record is None or wanted is None or wanted.run is None or (record.collected and not self.ephemeral):
                return  # nothing was begun, or it is there for others
            where = VoiceFilters(since=_run_after(context)) if self.ephemeral else made_for(record)
            voices = self.hook.run(self.hook.service.list_voices(where))
            names = [(voice, ManagedName.parse(voice.name)) for voice in voices]
            made = [voice for voice, name in names if wanted.accepts(name) or wanted.is_of_the_same_task(name)]
            if made:
                lifecycle.given_back(record)  # first: where a later try has begun, this raises, and they are its own
            for voice in made:
                with suppress(NotFoundError):
                    self.hook.delete_voice(voice.id)
                self.log.info("Deleted voice %s again; its slot is free.", voice.id)
        except Exception as error:  # noqa: BLE001  # the first error is the one to tell
            self.log.warning("A voice of this task may have been left at the service: %s", error)

    def order(self, context: Context) -> CloneOrder:
        """Check name, samples and consent."""
        self._runs = Runs(context, log=self.log)
        self._spared = patterns_of(self.protect, "protect")
        label = self._label
        self.hook.service.check_voice_name(label)
        if ManagedName.parse(label):
            raise InvalidInputError(f"'{label}' is a name that this provider gave: pass the author's own name.")
        options = self._clone_options()
        samples = self._samples()
        files = tuple(self.hook.resolve(sample, "sample") for sample in samples)
        self.hook.check_clone(options, files)
        consent = self.hook.check_consent(self.consent, samples, files)
        return CloneOrder(
            label=label,
            namespace=self.hook.settings.namespace,
            samples=samples,
            files=files,
            options=options,
            cover=self.hook.cover(options),
            if_exists=self.if_exists,
            ephemeral=self.ephemeral,
            expires=self._expiry(consent),
            slots=self.hook.settings.clone_slots,
            consent=consent,
            run_after=_run_after(context),
        )

    def _expiry(self, consent: ConsentRef | None) -> int | None:
        """Return when the voice has to be deleted, in seconds since 1970: with its consent at the latest."""
        now = pendulum.now("UTC")
        ends = [consent.expires] if consent is not None else []
        found = [end_of(value, "expires", now) for value in (self.expires, *ends) if as_text(value) is not None]
        if not found:
            return None
        if min(found) <= now:
            raise InvalidInputError(f"The voice would have expired already, on {min(found)}. Correct expires.")
        return int(min(found).timestamp())

    # slots

    def _begin(self, lifecycle: Lifecycle, order: Order, deadline: float) -> Record:
        """Order; a clone that finds no slot waits for one, or makes one, if it may."""
        evicted: list[str] = []
        # What a clone in the making takes is seen by the service alone: of two counts the higher one is nearer.
        before = self.hook.slots().active if self.on_slot_limit == "wait" else None
        replaces = self.if_exists == "replace"
        while True:
            try:
                return super()._begin(lifecycle, order, deadline)
            except SlotLimitError as error:
                self.log.info("No clone slot is free; nothing was cloned. %s", error)
                replaces, freed = False, replaces and self._replace(lifecycle.load())
                if freed:
                    continue
                if self.on_slot_limit == "wait":
                    self._wait_for_slot(lifecycle, error, deadline, before or 0)
                elif self.on_slot_limit == "fail":
                    hint = "Delete one (DeleteVoiceOperator, CleanupVoicesOperator), or set on_slot_limit."
                    raise shortage(self.hook, error, hint) from None
                else:
                    self._evict(lifecycle, error, evicted)

    def _evict(self, lifecycle: Lifecycle, error: SlotLimitError, evicted: list[str]) -> None:
        """Make room by deleting a voice, if one may go.

        :param evicted: what has gone for this try, which is told where it was in vain
        """
        if len(evicted) >= MOST_EVICTED:
            gone = ", ".join(f"'{name}'" for name in evicted)
            raise shortage(self.hook, error, f"{len(evicted)} were evicted, and others took their slots: {gone}.")
        name = evict(self.hook, self._runs, self._spared, self.log)
        if name is None:
            raise shortage(self.hook, error, "None of the rest may be evicted." if evicted else "None may be evicted.")
        evicted.append(name)
        lifecycle.note_evicted([name])

    def _wait_for_slot(self, lifecycle: Lifecycle, error: SlotLimitError, deadline: float, before: int) -> None:
        """Wait by counting, never by ordering: sync. labs takes ten clones an hour, and counts those it refuses.

        :param before: how many there were before the order was sent
        """
        room = self.hook.slots()
        learned = error.status is not None  # the service has refused: it holds no more, whatever the connection says
        limit = max(room.active or 0, before, 1) if learned else room.limit
        if learned and room.limit is not None and (room.active or 0) < room.limit:
            self.log.warning("The service refuses at %s: is the connection's clone_slots right?", room)
        lifecycle.tell(f"Waiting for a clone slot: {room} in use.")
        if self.deferrable:
            record = lifecycle.load()
            assert record is not None  # noqa: S101  # it was written before the order was sent
            if time.time() < deadline:
                lifecycle.wait_until(record, deadline, record.redefers)
                self._wait_for_turn(limit, deadline, of="clones", learned=learned)
        told_to_wait = 0.0
        while time.time() < deadline:
            pause = max(self.poll_interval * random.uniform(0.8, 1.2), told_to_wait)  # noqa: S311
            time.sleep(max(0.0, min(pause, deadline - time.time())))
            told_to_wait = 0.0
            try:
                room = self.hook.slots()
            except TransientVoiceError as blip:
                told_to_wait = getattr(blip, "retry_after", None) or 0.0
            if limit is None or (room.active or 0) < limit:
                return
            limit = max(limit, room.active or 0) if learned else limit
        raise shortage(self.hook, error, f"None became free within {self.timeout:g} s. Clear the task to wait again.")

    def _clone_options(self) -> CloneOptions:
        values = {name: getattr(self, name) for name in _OPTIONS}
        values = {name: value for name, value in values.items() if value not in (None, "", "None", [], ())}
        return parse(self.hook.service.clone_options, values, self.hook.service.label)

    def _samples(self) -> tuple[Media, ...]:
        if (self.sample is None) == (self.samples is None):
            raise InvalidInputError("Give exactly one of sample and samples.")
        self.samples = listed(self.samples)
        found = plain([self.sample] if self.samples is None else self.samples)
        if isinstance(found, str | dict):
            found = [found]
        return tuple(found)

    def deliver(self, lifecycle: Lifecycle, record: Record, job: Job, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Return the voice."""
        record = lifecycle.is_there(record)
        ticket = self.ticket(record, job)  # may find that nobody may have this voice: then the one before stays
        if self.if_exists == "replace":
            self._replace(record, job)
        result = {**ticket, "state": "trained", **self._slots(record)}
        until = f", until {result['expires_at']}" if "expires_at" in result else ""
        self.log.info("Voice %s is ready: %s%s.", job.id, record.name, until)
        return result

    def _replace(self, record: Record | None, job: Job | None = None) -> bool:
        """Delete what had the name before; return whether there was any."""
        flow = replaced(self.hook.service, self.hook.settings.namespace, self._label, record, job)
        gone = self.hook.run(flow)
        for name in gone:
            self.log.info("Deleted '%s', which had the name before.", name)
        return bool(gone)

    def _slots(self, record: Record) -> dict[str, Any]:
        """Return how full the plan is now, as far as that can be told."""
        room = Room()
        with suppress(VoiceError):  # the voice is there; that is what counts
            room = self.hook.slots()
            self.log.info("Clone slots in use: %s.", room)
        return {"slots_in_use": room.active, "slot_limit": room.limit, "evicted": record.evicted}

    def ticket(self, record: Record, job: Job) -> dict[str, Any]:
        """Return the voice as far as it is known; what others can see of it is compared with what was asked for."""
        result: dict[str, Any] = {
            "service": job.service,
            "voice_id": job.id,
            "name": record.name,
            "label": self._label,
            "ephemeral": self.ephemeral,
            "state": job.status or job.state.value,
            **record.details,
        }
        if record.outcome is not None:
            result["outcome"] = record.outcome
        name = ManagedName.parse(record.name or "")  # that of the voice as it is, which may have been made before
        if name is not None and name.expires is not None:
            result["expires_at"] = pendulum.from_timestamp(name.expires).isoformat()
        wanted = getattr(self._clone_options(), "visibility", None)
        if wanted is None:
            return result
        voice = self.hook.get_voice(job.id)
        # What is found after a lost answer may be another task's: it is made less open if that is asked for, not more.
        shared = name is not None and name.run is None
        found = record.outcome == "found" and shared and not is_more_open(voice.visibility, wanted)
        if record.outcome != "reused" and not found:
            voice = self.hook.settle_visibility(voice, wanted)
        elif voice.visibility != wanted:
            self._check_shared(voice, wanted)
        return {**result, "visibility": voice.visibility}

    def _check_shared(self, voice: Voice, wanted: str) -> None:
        """Leave a voice as it is that others use too; refuse one that is more open than this task asks for."""
        self.log.warning("Voice %s is '%s', and stays so: others use it, too.", voice.id, voice.visibility)
        if as_text(self.visibility) is not None and is_more_open(voice.visibility, wanted):
            raise PermanentVoiceError(
                f"Voice {voice.id} is there already and is '{voice.visibility}', more open than '{wanted}'. Change it "
                "with UpdateVoiceOperator, or make another with if_exists='new'."
            )


def _run_after(context: Context) -> float | None:
    """Return before which nothing of a run was made, also where it was cleared: seconds since 1970; None: not known."""
    after = getattr(context.get("dag_run"), "run_after", None)
    return after.timestamp() if after is not None else None
