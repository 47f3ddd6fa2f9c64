"""The connection type ``fish_audio``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from voice_provider.hooks.voice import VoiceHook
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.form import FORM

if TYPE_CHECKING:
    from voice_provider.services.base import Service


class FishAudioHook(VoiceHook):
    """A connection to Fish Audio: clone from samples, instant clones, speak, transcribe."""

    conn_type = FORM.connection_type
    hook_name = FORM.label
    service_class: ClassVar[type[Service]] = FishAudio
