"""Jobs to wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from voice_provider.services.base import Input
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


@pytest.fixture
def order(emulator: EmulatorHandle, hook: VoiceHook, video: Path) -> Callable[[int], list[str]]:
    """Order so many lip syncs that do not end."""
    asset = hook.upload_asset(str(video))
    options = parse(LipSyncOptions, {"video": asset.id, "text": [{"text": "Hello.", "voice_id": BUILT_IN}]})

    def make(count: int) -> list[str]:
        emulator.settings(job_seconds=3600, concurrency=None)
        flows = [hook.service.start_lip_sync(options, [Input(asset_id=asset.id)], f"key-{n}") for n in range(count)]
        return [hook.run(flow).id for flow in flows]

    return make
