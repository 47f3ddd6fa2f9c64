"""How sync. labs is presented; nothing heavy is imported."""

from __future__ import annotations

from voice_provider.services.form import Form, text

FORM = Form(
    connection_type="sync_labs",
    label="sync. labs",
    hook="voice_provider.hooks.sync_labs.SyncLabsHook",
    url="https://api.sync.so",
    docs="https://sync.so/docs",
    fields={
        "tts_mode": text(
            "Text-to-speech mode",
            "direct: POST /v2/tts, open to every account. jobs: POST /v2/tts/jobs with an idempotency "
            "key, so that a lost reply is never paid twice; sync. labs must have enabled it for the "
            "account. Default: direct.",
            # Not an enum: a field that may be empty would need "null" among what people choose from.
            examples=["direct", "jobs"],
            pattern="^(direct|jobs)?$",
        )
    },
)
