"""What a test or a demo may turn: plan limits, wire variants the contract leaves open, and how long work takes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MIB = 1024**2
GIB = 1024**3


class Settings(BaseModel):
    """All knobs with their defaults; an optional limit set to null is off, a rate set to 0 is off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Wire variants (contract sections 3.3, 4.1, 4.2, 5.1, 5)
    tts_mode: Literal["sync", "seed-async"] = "sync"
    tts_jobs_enabled: bool = True
    voice_id_shape: Literal["same", "different"] = "same"
    null_metadata: bool = False
    upload_returns_asset_id: bool = False
    require_provider: bool = False
    error_code_field: Literal["errorCode", "error_code"] = "errorCode"
    speech_urls: Literal["stable", "signed"] = "stable"

    # The plan (contract section 11; sync. labs publishes no clone slots, these are ours)
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

    # Requests per window and API key (contract section 11); 0 turns a bucket off
    rate_limits: bool = True
    rate_tts: int = Field(default=60, ge=0)
    rate_tts_jobs: int = Field(default=60, ge=0)
    rate_voices: int = Field(default=10, ge=0)
    rate_uploads: int = Field(default=120, ge=0)
    rate_generate: int = Field(default=0, ge=0)
    rate_generate_get: int = Field(default=600, ge=0)
    retry_after_header: bool = True

    # Time: minimum seconds by the emulator's clock; 0 is "as long as the engine needs"
    queue_seconds: float = Field(default=0.0, ge=0)
    job_seconds: float = Field(default=0.0, ge=0)
    upload_url_seconds: int = Field(default=3600, ge=1)
    result_url_seconds: int = Field(default=3600, ge=1)

    # Fish Audio: voice models (its contract, sections 3.1-3.7 and 12); training takes both, polls and seconds
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

    # Fish Audio: speech (sections 4, 5, 7); `truncate_speech` is the share after which a 200 silently ends
    fish_wav_sizes: Literal["placeholder", "true"] = "placeholder"
    fish_opus_kbps: bool = False
    fish_truncate_speech: float | None = Field(default=None, ge=0, le=1)
    fish_max_reference_seconds: float = Field(default=270.0, gt=0)
    fish_tts_first_byte_seconds: float = Field(default=0.0, ge=0)
    fish_speech_seconds: float = Field(default=0.0, ge=0)
    fish_free_engine_charged: bool = False

    # Fish Audio: the account (sections 9, 10); a debit shows in the wallet after `debit_seconds`
    fish_concurrency: int | None = Field(default=5, ge=0)
    fish_retry_after: int | None = Field(default=None, ge=0)
    fish_credit_usd: float = 10.0
    fish_debit_seconds: float = Field(default=0.0, ge=0)

    # The house
    workers: int = Field(default=2, ge=1, le=64)
    pages: bool = True

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return these settings with some replaced; `ValueError` names what is wrong and what there is."""
        unknown = sorted(set(changes) - set(Settings.model_fields))
        if unknown:
            known = ", ".join(sorted(Settings.model_fields))
            raise ValueError(f"Unknown setting: {', '.join(unknown)}. Known settings: {known}.")
        try:
            return Settings.model_validate(self.model_dump() | changes)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"Setting not accepted: {wrong}.") from error
