"""Sensors: a voice is trained, a job has ended, a clone slot is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider import front_door

if TYPE_CHECKING:
    from voice_provider.sensors.job import LipSyncCompleteSensor, TTSCompleteSensor, VoiceTrainedSensor
    from voice_provider.sensors.slot import VoiceSlotSensor

__all__ = ["LipSyncCompleteSensor", "TTSCompleteSensor", "VoiceSlotSensor", "VoiceTrainedSensor"]

__getattr__ = front_door(
    __name__,
    {
        "LipSyncCompleteSensor": "job",
        "TTSCompleteSensor": "job",
        "VoiceSlotSensor": "slot",
        "VoiceTrainedSensor": "job",
    },
)


def __dir__() -> list[str]:
    return __all__
