"""Orders that may be paid and were not collected, as they are remembered below ``state_location``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voice_provider.jobs.names import short_hash
from voice_provider.jobs.record import RECORD_KEY, Record
from voice_provider.jobs.store import folder_of, newest_of, task_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.hooks.settings import Settings
    from voice_provider.models import Job

_DONE = "collected-{}.txt"


@dataclass(frozen=True)
class LeftOrder:
    """An order with the task instance that placed it.

    :param folder: where the task instance is remembered
    """

    record: Record
    folder: str
    namespace: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    @property
    def id(self) -> str:
        """By what it is asked for: its job's id, else a short one of its own."""
        return self.record.job.id if self.record.job is not None else f"order-{short_hash(self.record.key, 10)}"

    @property
    def task(self) -> str:
        """Name the task instance for people."""
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{index}"

    @property
    def state(self) -> str:
        """Say what is known of it."""
        if self.record.manifest is not None:
            if self.record.collected or not self.record.held:
                return "kept, not told"
            return f"received, held at {', '.join(self.record.held)} if not at {self.record.manifest.uri}"
        return "ordered" if self.record.job is not None else "unknown"

    def row(self) -> dict[str, Any]:
        """Return what the lists show of it."""
        return {
            "id": self.id,
            "kind": self.record.kind,
            "task": self.task,
            "run": self.run_id,
            "namespace": self.namespace,
            "ordered_at": self.record.posted_at,
            "state": self.state,
        }

    def note_collected(self) -> None:
        """Remember, beside what the task itself remembers, that a person has collected it."""
        folder_of(self.folder).write(_DONE.format(short_hash(self.record.key, 16)), self.id.encode())


def row_of_job(job: Job) -> dict[str, Any]:
    """Return what the lists show of a job that only the service tells of."""
    state = job.status or job.state.value
    return {"id": job.id, "kind": job.kind, "task": None, "run": None, "ordered_at": job.created_at, "state": state}


def left_of(settings: Settings) -> list[LeftOrder]:
    """List what is left of a connection's account, the newest first; nothing without a ``state_location``."""
    if settings.state_location is None:
        return []
    found = [order for order in left_orders(settings.state_location) if order.record.account == settings.account]
    return sorted(found, key=lambda order: order.record.posted_at or "", reverse=True)


def left_orders(location: str) -> Iterator[LeftOrder]:
    """List what is left, the newest of each task instance first.

    :param location: the connection's ``state_location``
    """
    for folder, names in task_folders(location):
        found = newest_of(folder, names)
        if found is None:
            continue
        where = {name: found[name] for name in ("namespace", "dag_id", "run_id", "task_id", "map_index")}
        for values in (found["values"], *(found.get("former") or [])):
            for record in _records(values.get(RECORD_KEY)):
                if record.is_open and _DONE.format(short_hash(record.key, 16)) not in _marks(folder):
                    yield LeftOrder(record=record, folder=folder, **where)


def _records(value: Any) -> list[Record]:
    try:
        newest = Record.load(value)
    except ValueError:
        return []
    return [] if newest is None else [newest, *reversed(newest.earlier)]


def _marks(folder: str) -> list[str]:
    return folder_of(folder).names()
