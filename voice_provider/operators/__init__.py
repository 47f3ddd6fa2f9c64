"""Operators: upload, clone, speak, lip sync, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider import front_door

if TYPE_CHECKING:
    from voice_provider.operators.asset import DeleteAssetOperator, UploadAssetOperator
    from voice_provider.operators.checking import CheckLinesOperator
    from voice_provider.operators.cleanup import CleanupVoicesOperator
    from voice_provider.operators.clone import CloneVoiceOperator
    from voice_provider.operators.gate import CostGateOperator
    from voice_provider.operators.lines import SpeakLinesOperator
    from voice_provider.operators.lip_sync import LipSyncOperator
    from voice_provider.operators.speech import TTSOperator
    from voice_provider.operators.tracks import FitLinesOperator, JoinLinesOperator
    from voice_provider.operators.voice import DeleteVoiceOperator, UpdateVoiceOperator

__all__ = [
    "CheckLinesOperator",
    "CleanupVoicesOperator",
    "CloneVoiceOperator",
    "CostGateOperator",
    "DeleteAssetOperator",
    "DeleteVoiceOperator",
    "FitLinesOperator",
    "JoinLinesOperator",
    "LipSyncOperator",
    "SpeakLinesOperator",
    "TTSOperator",
    "UpdateVoiceOperator",
    "UploadAssetOperator",
]

__getattr__ = front_door(
    __name__,
    {
        "CheckLinesOperator": "checking",
        "CleanupVoicesOperator": "cleanup",
        "CloneVoiceOperator": "clone",
        "CostGateOperator": "gate",
        "DeleteAssetOperator": "asset",
        "DeleteVoiceOperator": "voice",
        "FitLinesOperator": "tracks",
        "JoinLinesOperator": "tracks",
        "LipSyncOperator": "lip_sync",
        "SpeakLinesOperator": "lines",
        "TTSOperator": "speech",
        "UpdateVoiceOperator": "voice",
        "UploadAssetOperator": "asset",
    },
)


def __dir__() -> list[str]:
    return __all__
