"""What is published rather than stored: error codes, models, prices, built-in voices.

The codes are the vendor's (contract section 2); every sentence here is the emulator's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voice_provider.emulator.world.state import Job


@dataclass(frozen=True)
class CatalogError:
    message: str
    suggestion: str = ""


ERRORS: dict[str, CatalogError] = {
    code: CatalogError(*text)
    for code, text in {
        "generation_unsupported_model": ("This model does not exist.", "Ask GET /v2/models which ones do."),
        "generation_pipeline_failed": ("The lip sync stopped with an error.", "Try again; then contact support."),
        "generation_unknown_error": ("The lip sync failed for a reason we do not know.", "Try again."),
        "generation_input_validation_failed": ("The request does not describe a lip sync.", "See `message`."),
        "generation_infra_storage_error": ("The result could not be stored.", "Try again later."),
        "generation_infra_resource_exhausted": ("No machine is free for this work.", "Try again later."),
        "generation_infra_service_unavailable": ("A part of the service is down.", "Try again later."),
        "generation_input_video_inaccessible": ("The video could not be fetched.", "Upload it as an asset."),
        "generation_input_audio_inaccessible": ("The audio could not be fetched.", "Upload it as an asset."),
        "generation_input_image_inaccessible": ("The image could not be fetched.", "Upload it as an asset."),
        "generation_input_video_invalid": ("The video cannot be decoded.", "Send an MP4 that plays."),
        "generation_input_audio_invalid": ("The audio cannot be decoded.", "Send a WAV or MP3 that plays."),
        "generation_input_image_invalid": ("The image cannot be decoded.", "Send a JPEG, PNG or WebP."),
        "generation_input_segments_invalid": ("The segments do not fit the inputs.", "Check times and refIds."),
        "generation_input_trim_invalid": ("A cut of the audio ends before it starts.", "Check the times."),
        "generation_input_face_selection_invalid": (
            "No face was found to move.",
            "Send a video in which a face is visible, or name the speaker.",
        ),
        "generation_input_resolution_unsupported": ("The picture is too large or too small.", "Scale it."),
        "generation_input_duration_greater_than_max_duration": ("The input is too long.", "Cut it."),
        "generation_model_duration_exceeded": ("The input is too long for this model.", "Cut it."),
        "generation_plan_duration_exceeded": ("The input is too long for your plan.", "Cut it or upgrade."),
        "dubbing_duration_exceeded": ("The input is too long to be dubbed.", "Cut it."),
        "free_tier_generations_exhausted": ("The free generations of this month are used up.", "Subscribe."),
        "plan_feature_unavailable": ("Your plan does not include this.", "Upgrade the plan."),
        "account_payment_required": ("The account has no credit left.", "Add credit or pay the open invoice."),
        "account_on_hold": ("The account is on hold.", "Contact support."),
        "voice_clone_limit_reached": (
            "All clone slots of your plan are in use.",
            "Delete a voice you no longer need; its slot is free at once.",
        ),
        "elevenlabs_quota_exceeded": ("The speech quota is used up.", "Wait for the next period."),
        "generation_input_asset_type_mismatch": ("The asset is of another type than the input.", "Check `type`."),
        "generation_input_too_many_visual": ("There is more than one video or image.", "Send exactly one."),
        "generation_input_dub_audio_conflict": ("Dubbing takes no audio of its own.", "Drop one of the two."),
        "concurrency_limit_reached": (
            "Your plan's limit of generations at one time is reached.",
            "Wait for one to finish or upgrade the plan.",
        ),
        "rate_limit_exceeded": ("Rate limit exceeded. Please try again later.", ""),
        "generation_not_deletable_while_processing": ("The generation still runs.", "Wait until it has ended."),
        "invalid_generation_id": ("This is not a generation id.", "Use the id from POST /v2/generate."),
        "unsupported_generation_id_format": ("Generation ids are UUIDs.", "Use the id from POST /v2/generate."),
        "generation_not_found": ("There is no such generation.", "Check the id and the account."),
        "generation_conflict": ("The generation is being changed by someone else.", "Try again."),
        "generation_media_probe_timeout": ("Looking into the input took too long.", "Try again."),
        "generation_media_probe_unavailable": ("The input could not be looked into.", "Try again later."),
        "controller_timeout": ("A part of the service did not answer in time.", "Try again."),
        "controller_unavailable": ("A part of the service is down.", "Try again later."),
        "controller_dependency_error": ("A part of the service failed.", "Try again later."),
        "internal_error": ("Something broke on our side.", "Try again; quote `requestId` to support."),
        "project_not_found": ("There is no such project.", "Check projectId."),
        "asset_not_found": ("There is no such asset.", "Check the id and the account."),
        "asset_forbidden": ("You may look at this asset but not change it.", "Use its owner's key."),
        "invalid_asset_id_format": ("Asset ids are UUIDs.", "Use the id from POST /v2/assets."),
        "uploaded_file_not_found": ("Nothing was uploaded to this URL.", "PUT the file first, then register it."),
        "file_not_in_org_storage": ("This file belongs to another organization.", "Upload it yourself."),
        "file_size_exceeds_plan_limit": ("The file is larger than your plan allows.", "Shrink it or upgrade."),
        "voice_not_found": ("There is no such voice.", "Ask GET /v2/voices for the ids."),
        "voice_sample_not_accessible": ("The sample could not be read.", "Upload it again."),
        "voice_sample_type_unsupported": ("A sample is audio or video.", "Upload audio or video."),
        "voice_sample_upload_required": (
            "Samples must lie in sync. labs storage.",
            "Upload the file with POST /v2/assets/upload first.",
        ),
        "voice_sample_extraction_failed": ("The video has no sound to learn from.", "Use one with speech."),
        "voice_sample_source_too_large": ("The video is too large for a sample.", "Upload the sound alone."),
        "voice_sample_too_short": ("The sample is too short.", "Use 30 seconds to 2 minutes of speech."),
        "voice_sample_invalid": ("The sample is not usable.", "Use clean speech of one person."),
        "voice_name_conflict": ("A voice of this name exists already.", "Choose another name."),
        "voice_clone_busy": ("Too many clones are being made.", "Try again shortly."),
        "elevenlabs_api_key_invalid": ("The speech provider refused the key.", "Check the key."),
        "elevenlabs_service_unavailable": ("The speech provider is down.", "Try again later."),
        "usage_dependency_unavailable": ("Usage cannot be looked up.", "Try again later."),
        "voice_verification_required": ("The voice waits for its owner's confirmation.", "Have it verified."),
        "voice_blocked": ("The voice was blocked.", "Contact support."),
        "voice_access_denied": ("This voice may not be used with your account.", "Use another voice."),
        "cost_estimate_unavailable": ("The cost cannot be estimated.", "Check model and duration."),
        "dialogue_edit_not_found": ("There is no such dialogue edit.", "Check the id."),
        "dialogue_edit_retime_required": ("The dialogue edit needs new timing.", "Send new times."),
        "dialogue_edit_removal_too_large": ("The dialogue edit removes too much.", "Remove less."),
        "INVALID_IDEMPOTENCY_KEY": (
            "Idempotency-Key must be sent once, 1 to 128 characters of A-Z a-z 0-9 . _ ~ -",
            "Send one such header or none.",
        ),
        "IDEMPOTENCY_KEY_REUSED": (
            "This Idempotency-Key belongs to a request with another body.",
            "Use a new key for a new request.",
        ),
        "IDEMPOTENCY_REQUEST_IN_PROGRESS": (
            "The first request with this Idempotency-Key is still being taken on.",
            "Ask again with the same key in a moment.",
        ),
        "IDEMPOTENCY_OUTCOME_UNKNOWN": (
            "It is not known whether the first request with this key was carried out.",
            "Ask again with the same key; do not use a new one.",
        ),
        "async_tts_not_enabled": ("Asynchronous speech is not enabled for your organization.", "Use POST /v2/tts."),
    }.items()
}


@dataclass(frozen=True)
class Model:
    id: str
    kind: str
    description: str
    usd_per_frame: float


# Per-second prices at 25 fps from sync.so/docs/product/billing, upper end of each range, divided by 25.
# That page names none for lipsync-1.9.0-beta and react-1: those two figures are illustrative.
MODELS: dict[str, Model] = {
    model.id: model
    for model in (
        Model("sync-3", "lipsync", "The whole shot at once; also takes an image.", 0.133 / 25),
        Model("lipsync-2", "lipsync", "Keeps the speaker's style.", 0.05 / 25),
        Model("lipsync-2-pro", "lipsync", "Keeps the speaker's style, with finer detail.", 0.083 / 25),
        Model("lipsync-1.9.0-beta", "lipsync", "The fast one of an earlier generation.", 0.02 / 25),
        Model("react-1", "react", "Changes expression and head movement, too.", 0.133 / 25),
    )
}

# Not published per character and per clone: illustrative figures of the emulator.
USD_PER_CHARACTER = 0.0002
USD_PER_CLONE = 0.0
REASONING = 1.5  # times the price of a frame: it is known to be priced, and not how


def price(job: Job, units: float) -> float:
    """What a finished job costs: speech by the character, lip sync by the frame and by what was spoken for it."""
    if job.kind == "transcription":
        return 0.0
    if job.kind == "speech":
        return units * USD_PER_CHARACTER
    characters = sum(len(driver.get("text", "")) for driver in job.work["drivers"])
    reasoning = job.work.get("reasoning", False)
    return units * usd_per_frame(job.work["model"], reasoning=reasoning) + characters * USD_PER_CHARACTER


def usd_per_frame(model: str, *, reasoning: bool) -> float:
    return MODELS[model].usd_per_frame * (REASONING if reasoning else 1)


DEFAULT_FPS = 25.0

# The engine's built-in voices wear ids of the form that the real built-ins have (contract section 3).
BUILTIN_VOICES: tuple[tuple[str, str], ...] = (
    ("EXAVITQu4vr4xnSDxMaL", "Rachel"),
    ("pNInz6obpgDQGcFmaJgB", "Adam"),
    ("onwK4e9ZLuTAKqWW03F9", "Daniel"),
    ("XB0fDUnXU5powFXDhCwa", "Charlotte"),
)
