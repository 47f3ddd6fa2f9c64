"""Who sees a voice: it is a person's, so it never stays more open than asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.exceptions import PermanentVoiceError

if TYPE_CHECKING:
    from voice_provider.hooks.base import ServiceHook
    from voice_provider.models import Voice

_OPENNESS = {"private": 0, "unlist": 1, "public": 2}


def is_more_open(visibility: str | None, wanted: str) -> bool:
    """Whether more people see a voice than are meant to."""
    return _OPENNESS.get(visibility or "", 9) > _OPENNESS[wanted]


def settled(hook: ServiceHook, voice: Voice, wanted: str | None, *, is_ours: bool) -> Voice:
    """Set right what others can see of a voice; see ``VoiceHook.settle_visibility``."""
    if wanted is None or voice.visibility in (wanted, None):
        return voice
    hook.log.warning("Voice %s is '%s', not '%s' as asked for; changing it.", voice.id, voice.visibility, wanted)
    hook.run(hook.service.update_voice(voice.id, {"visibility": wanted}))
    voice = hook.run(hook.service.get_voice(voice.id))
    if voice.visibility == wanted:
        return voice
    if is_more_open(voice.visibility, wanted):
        if is_ours:
            hook.run(hook.service.delete_voice(voice.id))
        done = "was deleted" if is_ours else "was not deleted, because it may be somebody else's work"
        raise PermanentVoiceError(
            f"{hook.service.label} made voice {voice.id} '{voice.visibility}' and not '{wanted}', also when it was "
            f"told again. The voice {done}. Change the visibility at the service, then run this again."
        )
    hook.log.warning(
        "Voice %s stays '%s': %s does not make it '%s' on this way; publish it on its web site.",
        voice.id,
        voice.visibility,
        hook.service.label,
        wanted,
    )
    return voice
