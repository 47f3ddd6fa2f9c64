"""Voices: clone and delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError, NotFoundError, PermanentVoiceError, VoiceError
from voice_provider.jobs.names import ManagedName
from voice_provider.jobs.orders import CloneOrder
from voice_provider.operators.asset import ids_of
from voice_provider.operators.base import JobOperator, VoiceOperator, as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.jobs.lifecycle import Lifecycle
    from voice_provider.jobs.record import Record
    from voice_provider.models import Job
    from voice_provider.services.options import Media


class CloneVoiceOperator(JobOperator):
    """Clone a voice from a sample.

    The clone is a managed voice: the service knows it as ``name`` plus a suffix that holds the connection's
    namespace and a fingerprint of the sample. So a try whose answer was lost finds its voice again instead of taking
    a second slot, and the same sample under the same name gives the same voice to every run (``ephemeral=False``).

    Returns ``voice_id``, ``service``, ``name`` (at the service), ``label``, ``ephemeral`` and ``state``.

    :param name: what the voice is called (templated)
    :param sample: storage location, asset id, URL hosted by the service, or what ``UploadAssetOperator`` returned;
        audio or video. A file from storage is uploaded first and deleted from the service when the voice is there
        (templated)
    :param ephemeral: the voice belongs to this run: other runs make their own, and a teardown deletes it; default:
        False
    :raises SlotLimitError: the plan's clone slots are in use
    :raises InvalidInputError: the sample is missing, unreadable, no media, too short, or not hosted where it has to be
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "name", "sample")

    def __init__(self, *, name: str, sample: Media | XComArg, ephemeral: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.sample: Any = sample  # what another task gives is there when the task runs
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
        source = self.hook.resolve(self.sample)
        return CloneOrder(
            label=label,
            namespace=self.hook.settings.namespace,
            sample=self.sample,
            source=source,
            ephemeral=self.ephemeral,
        )

    def deliver(self, lifecycle: Lifecycle, record: Record, job: Job, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Return the voice."""
        lifecycle.finish(record)
        self.log.info("Voice %s is ready: %s.", job.id, record.name)
        return {**self.ticket(record, job), "state": "trained"}

    def ticket(self, record: Record, job: Job) -> dict[str, Any]:
        """Return the voice as far as it is known."""
        return {
            "service": job.service,
            "voice_id": job.id,
            "name": record.name,
            "label": self._label,
            "ephemeral": self.ephemeral,
            "state": job.status or job.state.value,
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
