"""The services that the emulator is: the one place that names them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.emulator.fish_audio.half import FISH_AUDIO
from voice_provider.emulator.sync_labs.half import SYNC_LABS

if TYPE_CHECKING:
    from voice_provider.emulator.world.half import Half

# The first one also answers for what is nobody's: unknown paths, the control plane, faults of the storage host.
HALVES: tuple[Half, ...] = (SYNC_LABS, FISH_AUDIO)
