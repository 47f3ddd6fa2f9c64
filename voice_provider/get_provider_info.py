"""All that Airflow shows of this provider without importing its code: connection forms, operators, links."""

from __future__ import annotations

from typing import Any

from voice_provider.services.forms import FORMS


def _modules(room: str, *names: str) -> list[dict[str, Any]]:
    modules = [f"voice_provider.{room}.{name}" for name in names]
    return [{"integration-name": form.label, "python-modules": modules} for form in FORMS]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form that Airflow's providers manager reads."""
    return {
        "package-name": "airflow-provider-voice",
        "name": "Voice",
        "description": "Voice cloning, text-to-speech and lip sync as scheduled, restartable, affordable work.",
        "integrations": [
            {"integration-name": form.label, "external-doc-url": form.docs, "tags": ["service"]} for form in FORMS
        ],
        "hooks": [
            {
                "integration-name": form.label,
                "python-modules": ["voice_provider.hooks.voice", form.hook.rpartition(".")[0]],
            }
            for form in FORMS
        ],
        "operators": _modules(
            "operators",
            "asset",
            "checking",
            "cleanup",
            "clone",
            "gate",
            "lines",
            "lip_sync",
            "speech",
            "tracks",
            "voice",
        ),
        "sensors": _modules("sensors", "job", "slot"),
        "triggers": _modules("triggers", "job", "jobs", "turn"),
        "connection-types": [form.connection_form() for form in FORMS],
        "config": {
            "voice": {
                "description": "The page in Airflow's UI.",
                "options": {
                    "serve_local_files": {
                        "description": (
                            "Whether the page plays results that are kept on a disk of the API server, as far as they "
                            "are below a connection's allowed_outputs. For deployments whose workers and API server "
                            "share that folder."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    }
                },
            }
        },
        "extra-links": ["voice_provider.links.ResultLink", "voice_provider.links.JobLink"],
    }
