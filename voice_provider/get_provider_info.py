"""All that Airflow shows of this provider without importing its code: connection forms, operators, links.

The keys are those of Airflow's ``provider_info.schema.json``; connection forms are declared here only, because the
form methods on hooks are deprecated since Airflow 3.2.
"""

from __future__ import annotations

from typing import Any

_SYNC_LABS = "sync. labs"


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
        "description": "How long one request may stay silent. Cloning waits at least 180 s. Default: 60.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
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


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form that Airflow's providers manager reads."""
    return {
        "package-name": "airflow-provider-voice",
        "name": "Voice",
        "description": "Voice cloning, text-to-speech and lip sync as scheduled, restartable, affordable work.",
        "integrations": [
            {
                "integration-name": _SYNC_LABS,
                "external-doc-url": "https://sync.so/docs",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": _SYNC_LABS,
                "python-modules": ["voice_provider.hooks.voice", "voice_provider.hooks.sync_labs"],
            }
        ],
        "operators": [
            {
                "integration-name": _SYNC_LABS,
                "python-modules": [
                    "voice_provider.operators.asset",
                    "voice_provider.operators.clone",
                    "voice_provider.operators.lip_sync",
                    "voice_provider.operators.speech",
                ],
            }
        ],
        "sensors": [{"integration-name": _SYNC_LABS, "python-modules": ["voice_provider.sensors.job"]}],
        "triggers": [{"integration-name": _SYNC_LABS, "python-modules": ["voice_provider.triggers.job"]}],
        "connection-types": [
            {
                "connection-type": "sync_labs",
                "hook-class-name": "voice_provider.hooks.sync_labs.SyncLabsHook",
                "hook-name": _SYNC_LABS,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port", "extra"],
                    "relabeling": {"password": "API key", "host": "Base URL"},
                    "placeholders": {"host": "https://api.sync.so"},
                },
                "conn-fields": {
                    "tts_mode": _text(
                        "Text-to-speech mode",
                        "direct: POST /v2/tts, open to every account. jobs: POST /v2/tts/jobs with an idempotency "
                        "key, so that a lost reply is never paid twice; sync. labs must have enabled it for the "
                        "account. Default: direct.",
                        enum=["direct", "jobs", None],
                    ),
                    **_COMMON_FIELDS,
                },
            }
        ],
        "extra-links": ["voice_provider.links.ResultLink", "voice_provider.links.JobLink"],
    }
