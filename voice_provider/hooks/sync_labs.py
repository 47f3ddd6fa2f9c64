"""The connection type ``sync_labs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from voice_provider.hooks.voice import VoiceHook
from voice_provider.services.sync_labs.dialect import SyncLabs
from voice_provider.services.sync_labs.form import FORM

if TYPE_CHECKING:
    from voice_provider.services.base import Service


class SyncLabsHook(VoiceHook):
    """A connection to sync. labs: clone from an uploaded audio or video, speak, lip sync."""

    conn_type = FORM.connection_type
    hook_name = FORM.label
    service_class: ClassVar[type[Service]] = SyncLabs
