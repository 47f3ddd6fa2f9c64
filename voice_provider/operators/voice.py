"""Voices that are there: change and delete them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError, NotFoundError
from voice_provider.jobs.names import ManagedName
from voice_provider.models import Capability
from voice_provider.operators.arguments import argument_of, as_text
from voice_provider.operators.asset import ids_of
from voice_provider.operators.base import VoiceOperator
from voice_provider.services.options import VoiceChanges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.services.options import Media, PathObject

_CHANGES = tuple(VoiceChanges.model_fields)


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
        cover_image: Media | PathObject | XComArg | None = None,
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
            changes["title"] = argument_of(changes["title"], "title") or ""
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
