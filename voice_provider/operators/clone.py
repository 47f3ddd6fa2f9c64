"""Voices: clone, change and delete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError, NotFoundError, PermanentVoiceError, VoiceError
from voice_provider.jobs.names import ManagedName
from voice_provider.jobs.orders import CloneOrder
from voice_provider.models import Capability
from voice_provider.operators.asset import ids_of
from voice_provider.operators.base import JobOperator, VoiceOperator, as_text
from voice_provider.services.options import VoiceChanges, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.jobs.lifecycle import Lifecycle
    from voice_provider.jobs.record import Record
    from voice_provider.models import Job
    from voice_provider.services.options import CloneOptions, Media

_OPTIONS = ("texts", "visibility", "enhance_audio_quality", "description", "tags", "cover_image")
_CHANGES = tuple(VoiceChanges.model_fields)


class CloneVoiceOperator(JobOperator):
    """Clone a voice from samples.

    The clone is a managed voice: the service knows it as ``name`` plus a suffix that holds the connection's
    namespace and a fingerprint of the samples. So a try whose answer was lost finds its voice again instead of making
    a second one, and the same samples under the same name give the same voice to every run (``ephemeral=False``).

    Returns ``voice_id``, ``service``, ``name`` (at the service), ``label``, ``ephemeral``, ``state`` and, where the
    service has it, ``visibility`` as it really is; ``outcome`` where the voice was ``found`` after a lost answer.

    :param name: what the voice is called (templated)
    :param sample: storage location, asset id, URL hosted by the service, or what ``UploadAssetOperator`` returned;
        audio, at sync. labs also video. A file from storage is sent along, or uploaded first and deleted from the
        service when the voice is there (templated)
    :param samples: several of them, instead of ``sample``; Fish Audio, at most 20 (templated)
    :param texts: what is said in each sample, in the same order; Fish Audio (templated)
    :param visibility: ``private`` (default), ``unlist`` or ``public``; Fish Audio (templated)
    :param enhance_audio_quality: remove noise and level the samples first; default: True; Fish Audio (templated)
    :param description: for people; Fish Audio (templated)
    :param tags: for people; Fish Audio (templated)
    :param cover_image: storage location of a .jpg or .png; Fish Audio (templated)
    :param ephemeral: the voice belongs to this run: other runs make their own, and a teardown deletes it; default:
        False
    :raises SlotLimitError: the plan's clone slots are in use
    :raises InvalidInputError: a sample is missing, unreadable, no media, too short, or not hosted where it has to be;
        or there is an option that the service does not have
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "name", "sample", "samples", *_OPTIONS)

    def __init__(
        self,
        *,
        name: str,
        sample: Media | XComArg | None = None,
        samples: Sequence[Media | XComArg] | XComArg | None = None,
        texts: Sequence[str] | XComArg | None = None,
        visibility: str | None = None,
        enhance_audio_quality: bool | str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        cover_image: Media | XComArg | None = None,
        ephemeral: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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

    @property
    def _label(self) -> str:
        return " ".join((as_text(self.name) or "").split())

    def execute(self, context: Context) -> dict[str, Any]:
        """Clone the voice; a try that fails for good does not leave an ephemeral voice in its slot."""
        try:
            return super().execute(context)
        except VoiceError as error:
            ti = context["ti"]
            if self.ephemeral and (isinstance(error, PermanentVoiceError) or ti.try_number > (ti.max_tries or 0)):
                self._give_back(context)
            raise

    def _give_back(self, context: Context) -> None:
        """Delete what may have been made: a teardown does not run behind a setup that has failed."""
        record = self._lifecycle(context).load()
        wanted = ManagedName.parse(record.name or "") if record is not None and record.posted_at else None
        if wanted is None:
            return
        try:
            for voice in self.hook.list_voices():
                if wanted.is_same_voice(ManagedName.parse(voice.name)):
                    self.hook.delete_voice(voice.id)
                    self.log.info("Deleted voice %s again; its slot is free.", voice.id)
        except VoiceError as error:
            self.log.warning("A voice '%s' may have been left at the service: %s", wanted, error)

    def order(self, context: Context) -> CloneOrder:  # noqa: ARG002
        """Check name and sample."""
        label = self._label
        self.hook.service.check_voice_name(label)
        if ManagedName.parse(label):
            raise InvalidInputError(f"'{label}' is a name that this provider gave: pass the author's own name.")
        options = self._clone_options()
        samples = self._samples()
        files = tuple(self.hook.resolve(sample) for sample in samples)
        self.hook.check_clone(options, files)
        return CloneOrder(
            label=label,
            namespace=self.hook.settings.namespace,
            samples=samples,
            files=files,
            options=options,
            cover=self.hook.cover(options),
            ephemeral=self.ephemeral,
        )

    def _clone_options(self) -> CloneOptions:
        values = {name: getattr(self, name) for name in _OPTIONS}
        values = {name: value for name, value in values.items() if value not in (None, "", "None", [], ())}
        return parse(self.hook.service.clone_options, values, self.hook.service.label)

    def _samples(self) -> tuple[Media, ...]:
        if (self.sample is None) == (self.samples is None):
            raise InvalidInputError("Give exactly one of sample and samples.")
        found = [self.sample] if self.samples is None else self.samples
        if isinstance(found, str | dict):
            found = [found]
        return tuple(found)

    def deliver(self, lifecycle: Lifecycle, record: Record, job: Job, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Return the voice."""
        lifecycle.finish(record)
        self.log.info("Voice %s is ready: %s.", job.id, record.name)
        return {**self.ticket(record, job), "state": "trained"}

    def ticket(self, record: Record, job: Job) -> dict[str, Any]:
        """Return the voice as far as it is known; what others can see of it is compared with what was asked for."""
        result = {
            "service": job.service,
            "voice_id": job.id,
            "name": record.name,
            "label": self._label,
            "ephemeral": self.ephemeral,
            "state": job.status or job.state.value,
        }
        if record.outcome is not None:
            result["outcome"] = record.outcome
        wanted = getattr(self._clone_options(), "visibility", None)
        if wanted is None:
            return result
        voice = self.hook.settle_visibility(self.hook.get_voice(job.id), wanted)
        return {**result, "visibility": voice.visibility}


class UpdateVoiceOperator(VoiceOperator):
    """Change what people see of a voice: only what is given.

    A voice that this provider has made keeps its mark behind a new ``title``, so that it is known again.

    Returns ``voice_id``, ``service``, ``name``, ``visibility``, ``description`` and ``tags`` as they are afterwards.

    :param voice: id, or what ``CloneVoiceOperator`` returned (templated)
    :param title: new name (templated)
    :param description: new description (templated)
    :param tags: all tags from now on; an empty list removes them (templated)
    :param visibility: ``private``, ``unlist`` or ``public`` (templated)
    :param cover_image: storage location of a .jpg or .png (templated)
    :raises CapabilityError: the service cannot change a voice (sync. labs)
    :raises NotFoundError: no such voice, or not of this account
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "voice", *_CHANGES)

    def __init__(
        self,
        *,
        voice: str | dict[str, Any] | XComArg,
        title: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        visibility: str | None = None,
        cover_image: Media | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.voice: Any = voice
        self.title = title
        self.description = description
        self.tags = tags
        self.visibility = visibility
        self.cover_image = cover_image

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Change the voice, and return what it is then."""
        self.hook.service.require(Capability.UPDATE_VOICE)
        found = ids_of(self.voice, "voice_id")
        if len(found) != 1:
            raise InvalidInputError(f"voice names {len(found) or 'no'} voices; one is needed.")
        changes = {name: value for name in _CHANGES if (value := getattr(self, name)) not in (None, "None")}
        if "title" in changes:
            managed = ManagedName.parse(self.hook.get_voice(found[0]).name)
            if managed is not None:
                changes["title"] = str(replace(managed, label=changes["title"]))
        voice = self.hook.update_voice(found[0], **changes)
        voice = self.hook.settle_visibility(voice, as_text(self.visibility), is_ours=False)
        self.log.info("Voice %s is now '%s', %s.", voice.id, voice.name, voice.visibility)
        return {
            "service": voice.service,
            "voice_id": voice.id,
            "name": voice.name,
            "visibility": voice.visibility,
            "description": voice.description,
            "tags": list(voice.tags),
        }


class DeleteVoiceOperator(VoiceOperator):
    """Delete cloned voices; their slots are free at once.

    Made for teardowns: no id (the clone was never made) and a voice that is gone already are successes, and say so.

    Returns ``deleted``: the ids that were deleted.

    :param voice: id, or what ``CloneVoiceOperator`` returned, or a list of them; nothing is nothing to do (templated)
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "voice")

    def __init__(self, *, voice: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.voice = voice

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Delete what there is to delete."""
        deleted = []
        for voice_id in ids_of(self.voice, "voice_id"):
            try:
                self.hook.delete_voice(voice_id)
            except NotFoundError:
                self.log.info("Voice %s is gone already.", voice_id)
            else:
                self.log.info("Deleted voice %s; its slot is free.", voice_id)
                deleted.append(voice_id)
        if not deleted:
            self.log.info("No voice had to be deleted; nothing was sent or nothing was there.")
        return {"deleted": deleted}
