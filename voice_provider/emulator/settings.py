"""What a test or a demo may turn: plan limits, wire variants the contract leaves open, and how long work takes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
