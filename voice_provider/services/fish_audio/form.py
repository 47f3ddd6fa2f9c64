"""How Fish Audio is presented; nothing heavy is imported."""

from __future__ import annotations

from voice_provider.services.form import Form, text

FORM = Form(
    connection_type="fish_audio",
    label="Fish Audio",
    hook="voice_provider.hooks.fish_audio.FishAudioHook",
    url="https://api.fish.audio",
    docs="https://docs.fish.audio",
    fields={
        "speech_model": text(
            "Speech model",
            "What speaks where a task names no model: s2.1-pro (paid), s2.1-pro-free (free, fair use), "
            "or another one of the service. Default: s2.1-pro.",
            examples=["s2.1-pro", "s2.1-pro-free", "s2-pro", "drama-3"],
        )
    },
)
