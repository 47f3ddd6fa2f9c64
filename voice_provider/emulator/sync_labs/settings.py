"""The knobs of sync. labs: plan limits, and wire variants that its contract leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from voice_provider.emulator.world.settings import GIB, Section

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator


class SyncLabsSettings(Section):
    # Wire variants (sections 3.3, 4.1, 4.2, 5.1, 5)
    tts_mode: Literal["sync", "seed-async"] = "sync"
    tts_jobs_enabled: bool = True
    voice_id_shape: Literal["same", "different"] = "same"
    null_metadata: bool = False
    upload_returns_asset_id: bool = False
    require_provider: bool = False
    # Seconds that a running speech job asks to wait (section 4.3 documents 3)
    tts_retry_after: int = Field(default=3, ge=0)
    error_code_field: Literal["errorCode", "error_code"] = "errorCode"
    # Where a result is: at the storage host, or at the API's own with a token, which leads there by this status (200:
    # sends the file itself)
    result_host: Literal["storage", "302", "307", "200"] = "storage"
    # For so long a copy under the same Idempotency-Key is answered 409 (section 9); 0 is never
    key_busy_seconds: float = Field(default=0.0, ge=0)

    # The plan (section 11; no clone slots are published, these are ours)
    clone_slots: int | None = Field(default=10, ge=0)
    concurrency: int | None = Field(default=3, ge=0)
    max_file_size: int = Field(default=5 * GIB, ge=1)
    credit_usd: float | None = None
    free_generations: int | None = None
    free_tts: int | None = None

    # Samples: the engine needs a second of sound, the contract names no minimum (section 14)
    min_sample_seconds: float = Field(default=1.0, ge=0)
    max_sample_seconds: float = Field(default=120.0, gt=0)
    max_sample_video_bytes: int = Field(default=GIB, ge=1)

    # Requests per window and API key (section 11); 0 turns a bucket off
    rate_limits: bool = True
    rate_tts: int = Field(default=60, ge=0)
    rate_tts_jobs: int = Field(default=60, ge=0)
    rate_voices: int = Field(default=10, ge=0)
    rate_uploads: int = Field(default=120, ge=0)
    rate_generate: int = Field(default=0, ge=0)
    rate_generate_get: int = Field(default=600, ge=0)
    retry_after_header: bool = True


def settings_of(emulator: Emulator) -> SyncLabsSettings:
    return emulator.settings.of(SyncLabsSettings)
