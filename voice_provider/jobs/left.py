"""Orders that may be paid and were not collected, as they are remembered below ``state_location``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voice_provider.jobs.names import short_hash
from voice_provider.jobs.record import RECORD_KEY, Record
from voice_provider.jobs.store import folder_of, newest_of, task_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def note_collected(self) -> None:
        """Remember, beside what the task itself remembers, that a person has collected it."""
        folder_of(self.folder).write(_DONE.format(short_hash(self.record.key, 16)), self.id.encode())


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
