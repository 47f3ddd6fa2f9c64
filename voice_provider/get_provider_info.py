"""All that Airflow shows of this provider without importing its code: connection forms, operators, links.

The keys are those of Airflow's ``provider_info.schema.json``; connection forms are declared here only, because the
form methods on hooks are deprecated since Airflow 3.2.
"""

from __future__ import annotations

from typing import Any

_SYNC_LABS = "sync. labs"
_FISH_AUDIO = "Fish Audio"


def _text(label: str, description: str, **schema: Any) -> dict[str, Any]:
    """Return an optional text field; ``null`` is allowed because the UI else marks the field as required."""
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


_COMMON_FIELDS = {
    "namespace": _text(
        "Namespace",
        "Keeps the voices of several Airflows on one account apart (for example dev and prod). Small letters, "
        "digits and '-', at most 16. Default: default.",
    ),
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "How long one request may stay silent; cloning and speech get 180 s or more. Default: 60.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
    },
    "require_consent": {
        "label": "Require consent",
        "description": "Make no voice without the consent of the person whose it is (consent= of the tasks): nothing "
        "is uploaded before. Default: off.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "clone_slots": {
        "label": "Clone slots",
        "description": "How many cloned voices the plan holds, where the service does not tell. Empty: not known.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 100000},
    },
    "allowed_inputs": _text(
        "Allowed input locations",
        "Storage prefixes that files may be read from, one a line, such as s3://campaigns/in/ or file:///data/voice/. "
        "Empty: whatever the worker can read.",
        format="multiline",
    ),
    "allowed_outputs": _text(
        "Allowed output locations",
        "Storage prefixes that results may be written to, one a line. Empty: whatever the worker can write.",
        format="multiline",
    ),
}


def _connection_type(service: str, label: str, url: str, fields: dict[str, Any]) -> dict[str, Any]:
    hook = {"sync_labs": "SyncLabsHook", "fish_audio": "FishAudioHook"}[service]
    return {
        "connection-type": service,
        "hook-class-name": f"voice_provider.hooks.{service}.{hook}",
        "hook-name": label,
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "port", "extra"],
            "relabeling": {"password": "API key", "host": "Base URL"},
            "placeholders": {"host": url},
        },
        "conn-fields": {**fields, **_COMMON_FIELDS},
    }


def _modules(room: str, *names: str) -> list[dict[str, Any]]:
    modules = [f"voice_provider.{room}.{name}" for name in names]
    return [{"integration-name": label, "python-modules": modules} for label in (_SYNC_LABS, _FISH_AUDIO)]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form that Airflow's providers manager reads."""
    return {
        "package-name": "airflow-provider-voice",
        "name": "Voice",
        "description": "Voice cloning, text-to-speech and lip sync as scheduled, restartable, affordable work.",
        "integrations": [
            {"integration-name": _SYNC_LABS, "external-doc-url": "https://sync.so/docs", "tags": ["service"]},
            {"integration-name": _FISH_AUDIO, "external-doc-url": "https://docs.fish.audio", "tags": ["service"]},
        ],
        "hooks": [
            {
                "integration-name": _SYNC_LABS,
                "python-modules": ["voice_provider.hooks.voice", "voice_provider.hooks.sync_labs"],
            },
            {"integration-name": _FISH_AUDIO, "python-modules": ["voice_provider.hooks.fish_audio"]},
        ],
        "operators": _modules("operators", "asset", "cleanup", "clone", "lip_sync", "speech", "voice"),
        "sensors": _modules("sensors", "job", "slot"),
        "triggers": _modules("triggers", "job", "turn"),
        "connection-types": [
            _connection_type(
                "sync_labs",
                _SYNC_LABS,
                "https://api.sync.so",
                {
                    "tts_mode": _text(
                        "Text-to-speech mode",
                        "direct: POST /v2/tts, open to every account. jobs: POST /v2/tts/jobs with an idempotency "
                        "key, so that a lost reply is never paid twice; sync. labs must have enabled it for the "
                        "account. Default: direct.",
                        enum=["direct", "jobs", None],
                    )
                },
            ),
            _connection_type(
                "fish_audio",
                _FISH_AUDIO,
                "https://api.fish.audio",
                {
                    "speech_model": _text(
                        "Speech model",
                        "What speaks where a task names no model: s2.1-pro (paid), s2.1-pro-free (free, fair use), "
                        "s2-pro, drama-3-preview. Default: s2.1-pro.",
                    )
                },
            ),
        ],
        "extra-links": ["voice_provider.links.ResultLink", "voice_provider.links.JobLink"],
    }
