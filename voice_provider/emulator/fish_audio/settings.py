"""The knobs of Fish Audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from voice_provider.emulator.world.settings import MIB, Section

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator


class FishSettings(Section):
    # Voice models (sections 3.1-3.7 and 12); training takes both, polls and seconds
    fish_training_polls: int = Field(default=0, ge=0)
    fish_training_seconds: float = Field(default=0.0, ge=0)
    fish_training_fails: bool = False
    fish_downgrade_public: bool = False
    fish_public_needs_cover: bool = False
    fish_min_clip_seconds: float = Field(default=0.0, ge=0)
    fish_max_total_seconds: float = Field(default=270.0, gt=0)
    fish_max_upload_bytes: int = Field(default=100 * MIB, ge=1)
    fish_delete_status: Literal[200, 204] = 204
    fish_platform_401: Literal["plain", "json"] = "plain"

    # Speech (sections 4, 5, 7); `truncate_speech` is the share after which a 200 silently ends
    fish_wav_sizes: Literal["placeholder", "true"] = "placeholder"
    fish_opus_kbps: bool = False
    fish_truncate_speech: float | None = Field(default=None, ge=0, le=1)
    fish_max_reference_seconds: float = Field(default=270.0, gt=0)
    fish_tts_first_byte_seconds: float = Field(default=0.0, ge=0)
    fish_speech_seconds: float = Field(default=0.0, ge=0)
    fish_free_engine_charged: bool = False

    # Transcription: from so many seconds on, `transcribe-1` answers 503
    fish_long_recording_seconds: float = Field(default=95.0, gt=0)

    # The account (sections 9, 10); a debit shows in the wallet after `debit_seconds`
    fish_concurrency: int | None = Field(default=5, ge=0)
    fish_retry_after: int | None = Field(default=None, ge=0)
    fish_credit_usd: float = 10.0
    fish_debit_seconds: float = Field(default=0.0, ge=0)


def settings_of(emulator: Emulator) -> FishSettings:
    return emulator.settings.of(FishSettings)
