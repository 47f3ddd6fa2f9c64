"""The voices of an account as a person sees them, and the rules by which a person deletes one.

The command line and the page in Airflow's UI both show and delete through here, so that they cannot differ.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from voice_provider.jobs.inventory import ManagedVoice, timestamp_of
from voice_provider.jobs.names import RUN, ManagedName, run_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.models import Room, Voice


@dataclass(frozen=True)
class Account:
    """What there is at the service, as one look has found it.

    :param namespace: of the connection
    :param voices: by id
    :param clones: ids of those that take a slot
    """

    namespace: str
    voices: dict[str, Voice]
    clones: frozenset[str]
    room: Room

    @classmethod
    def look(cls, hook: VoiceHook) -> Account:
        """Ask for the voices and for the slots."""
        voices = {voice.id: voice for voice in hook.list_voices()}
        room = hook.slots()
        # A service that lists built-in voices too names its clones; else all that it lists are clones.
        clones = frozenset(voices) if room.ids is None else room.ids
        return cls(hook.settings.namespace, voices, clones, room)

    def facts(self, voice: Voice) -> dict[str, Any]:
        """Return everything that is known of a voice, as plain values; dates in ISO 8601, UTC."""
        name = ManagedName.parse(voice.name)
        made = ManagedVoice(voice, name).made if name is not None else timestamp_of(voice.created_at)
        expires = name.expires if name is not None else None
        return {
            "id": voice.id,
            "name": name.label if name is not None else voice.name,
            "service": voice.service,
            "name_at_service": voice.name,
            "made_by_this_provider": name is not None,
            "ours": name is not None and name.namespace == self.namespace,
            "takes_slot": voice.id in self.clones,
            "namespace": name.namespace if name is not None else None,
            "owner": name.owner if name is not None else None,
            "run": name.run if name is not None else None,
            "fingerprint": name.fingerprint if name is not None else None,
            "made_at": _iso(made),
            "expires_at": _iso(expires),
            "expired": expires is not None and expires <= time.time(),
            **voice.model_dump(
                mode="json",
                include={"state", "status", "restricted", "visibility", "description", "tags", "languages"},
            ),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the facts of all voices: clones before built-in ones, expired ones first, then the oldest."""
        rows = [self.facts(voice) for voice in self.voices.values()]
        return sorted(
            rows, key=lambda row: (not row["takes_slot"], not row["expired"], row["made_at"] or "~", row["name"])
        )


def objection(found: dict[str, Any], namespace: str, *, force: bool) -> str | None:
    """Say why a voice is not deleted, if it is not.

    :param found: its facts
    :param namespace: of the connection
    :param force: also one that this provider did not make in this namespace
    """
    if not found["takes_slot"]:
        return f"'{found['name']}' is no clone of this account: it takes no slot, and the service does not delete it."
    if found["ours"] or force:
        return None
    whose = f"belongs to namespace '{found['namespace']}'" if found["namespace"] else "was not made by this provider"
    return f"'{found['name']}' {whose}; the connection's namespace is '{namespace}'."


def run_of(found: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the ids of the DAG and of the run that a voice was made in, as far as its name tells them in full."""
    owner, run = found["owner"], found["run"]
    dag_id = owner if owner and "~" not in owner else None  # a long id is cut, and ends in a hash
    return dag_id, run_id_of(run[:RUN]) if run and dag_id else None


def matching(rows: Iterable[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the voices in whose name, id, namespace or owner a text is found, in whatever case."""
    wanted = " ".join(text.split()).casefold()
    fields = ("name", "name_at_service", "id", "namespace", "owner")
    return [row for row in rows if any(wanted in (row[field] or "").casefold() for field in fields)]


def _iso(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds is not None else None
