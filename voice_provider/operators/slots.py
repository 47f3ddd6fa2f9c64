"""Clone slots: what is in them, and whose voice may go for another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from voice_provider.exceptions import NotFoundError, SlotLimitError
from voice_provider.jobs.inventory import managed, to_evict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk.types import Logger

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.operators.runs import Runs


def evict(hook: VoiceHook, runs: Runs, protect: Sequence[str], log: Logger) -> str | None:
    """Delete the voice of the connection's namespace that is missed least, and return its name.

    :param protect: patterns of voices that stay
    :return: ``None`` where no voice may go
    """
    own = [found for found in managed(hook.list_voices()) if found.name.namespace == hook.settings.namespace]
    runs.ask((found.name.owner, found.name.run) for found in own if found.name.owner and found.name.run)
    for victim in to_evict(own, protect, runs.state_of, time.time()):
        try:
            hook.delete_voice(victim.voice.id)
        except NotFoundError:
            continue  # another task was faster; there may be another voice to go
        why = "had expired" if victim.is_expired(time.time()) else "was the oldest that may go"
        log.info("Evicted voice %s, '%s': it %s. Its slot is free.", victim.voice.id, victim.voice.name, why)
        return victim.voice.name
    return None


def shortage(hook: VoiceHook, error: SlotLimitError, hint: str) -> SlotLimitError:
    """Return the error of a clone that found no slot, with whose voices are in them."""
    room = hook.slots()
    ours = managed(hook.list_voices())
    own = [found for found in ours if found.name.namespace == hook.settings.namespace]
    expired = sum(found.is_expired(time.time()) for found in own)
    others = (room.active or 0) - len(own)
    return SlotLimitError(
        f"{error} In use: {room}; {len(own)} by voices of this provider in namespace '{hook.settings.namespace}' "
        f"({expired} of them expired), {max(others, 0)} by others. {hint}",
        error_code=error.error_code,
        status=error.status,
        request_id=error.request_id,
    )
