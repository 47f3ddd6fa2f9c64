"""What Airflow shows of a service without importing its code: plain data, for ``get_provider_info``.

The keys are those of Airflow's ``provider_info.schema.json``; connection forms are declared in this way only, because
the form methods on hooks are deprecated since Airflow 3.2. Nothing but the standard library is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def text(label: str, description: str, **schema: Any) -> dict[str, Any]:
    """Return an optional text field; ``null`` is allowed because the UI else marks the field as required."""
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


@dataclass(frozen=True)
class Form:
    """How a service is presented, and how people connect to it.

    :param connection_type: Airflow's name of it, and the provider's: ``<folder below services/>``
    :param label: what people call it
    :param hook: class path of its hook
    :param url: base URL of its API
    :param docs: its documentation
    :param fields: extra fields of its connections besides those of every service
    """

    connection_type: str
    label: str
    hook: str
    url: str
    docs: str
    fields: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def connection_form(self) -> dict[str, Any]:
        """Return the entry of ``connection-types``."""
        return {
            "connection-type": self.connection_type,
            "hook-class-name": self.hook,
            "hook-name": self.label,
            "ui-field-behaviour": {
                "hidden-fields": ["schema", "login", "port", "extra"],
                "relabeling": {"password": "API key", "host": "Base URL"},
                "placeholders": {"host": self.url},
            },
            "conn-fields": {**self.fields, **COMMON_FIELDS},
        }


COMMON_FIELDS: Mapping[str, dict[str, Any]] = {
    "namespace": text(
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
    "concurrency": {
        "label": "Lines at a time",
        "description": "How many lines of a script are spoken at a time, where a task does not say. Empty: as many as "
        "the service says that the account may, else 5.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 100000},
    },
    "state_location": text(
        "State location",
        "Where it is remembered what was ordered: a folder that all workers share, or s3://bucket/path/. Airflow 3.2 "
        "needs it for what is paid or cloned; from 3.3 on Airflow has a store of its own. Empty: Airflow's.",
        pattern="^(/|[a-z][a-z0-9+.-]*://)|^$",
    ),
    "allowed_hosts": text(
        "Allowed hosts",
        "Private hosts that the service may name for files, such as a private endpoint: one a line, a leading dot for "
        "a whole domain. Empty: hosts on the network only.",
    ),
    "plain_http": {
        "label": "Plain HTTP",
        "description": "Allow http:// in the base URL for a host with private addresses only, such as the emulator "
        "in a network of containers: the API key goes there unencrypted. Default: off.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "max_download_mb": {
        "label": "Largest download (MiB)",
        "description": "No result is longer than this, whatever its sender says. Default: 4096.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 100000},
    },
    "prices": text(
        "Prices",
        'JSON with what you pay, in dollars a unit, where it is not what is published, or nothing is: {"speech": '
        '{"characters": 0.0002}}. Kinds: speech (bytes of UTF-8, or characters), transcription (seconds), lip_sync '
        "(frames, or seconds); of one model: speech/MODEL. Empty: the published ones.",
        format="multiline",
    ),
    "spool_location": text(
        "Spool location",
        "Where paid audio is kept that cannot be put in its place, until a later try puts it there: a folder that all "
        "workers share, or s3://bucket/path/. Empty: the state location, else the worker's disk.",
        pattern="^(/|[a-z][a-z0-9+.-]*://)|^$",
    ),
    "allowed_inputs": text(
        "Allowed input locations",
        "Storage prefixes that files may be read from, one a line, such as s3://campaigns/in/ or file:///data/voice/. "
        "Empty: whatever the worker can read.",
        format="multiline",
    ),
    "allowed_outputs": text(
        "Allowed output locations",
        "Storage prefixes that results may be written to, one a line. Empty: whatever the worker can write.",
        format="multiline",
    ),
}
