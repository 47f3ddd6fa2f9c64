"""The steps of the demo, in the order in which its story is told, and where their state is read from."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.request
from contextlib import closing
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

State = Literal["waiting", "running", "retrying", "done", "skipped", "failed"]
AIRFLOW_STATES: dict[str, State] = {
    "running": "running",
    "deferred": "running",
    "restarting": "running",
    "up_for_retry": "retrying",
    "up_for_reschedule": "running",
    "success": "done",
    "skipped": "skipped",
    "upstream_failed": "skipped",
    "removed": "skipped",
    "failed": "failed",
}
PROGRESS_PAUSE = 0.7  # seconds between two questions after a running job
CALL_SECONDS = 2.0


@dataclass
class Step:
    """A line on the screen."""

    label: str
    task_id: str = ""
    state: State = "waiting"
    started: float | None = None
    seconds: float | None = None
    share: float | None = None  # of a remote job that runs, 0 to 1

    def begin(self) -> None:
        """Take the time from now on."""
        self.state, self.started = "running", time.time()

    def end(self, state: State = "done") -> None:
        """Stop the clock."""
        self.state = state
        self.seconds = None if self.started is None else time.time() - self.started

    @property
    def elapsed(self) -> float | None:
        """Seconds that it took, or has taken so far."""
        if self.seconds is None and self.started is not None:
            return max(0.0, time.time() - self.started)
        return self.seconds


@dataclass
class Story:
    """All that is shown: the preparations, then the tasks of the DAG.

    :param clips: the first preparation
    :param labels: of the tasks, by their ids
    """

    clips: Step
    labels: InitVar[Mapping[str, str]]
    emulator: Step = field(default_factory=lambda: Step("Start a local voice service"))
    airflow: Step = field(default_factory=lambda: Step("Prepare a throwaway Airflow"))
    tasks: dict[str, Step] = field(init=False)

    def __post_init__(self, labels: Mapping[str, str]) -> None:
        self.tasks = {task_id: Step(label, task_id) for task_id, label in labels.items()}

    @property
    def preparations(self) -> tuple[Step, ...]:
        """The steps before the DAG."""
        return self.clips, self.emulator, self.airflow

    def fail(self) -> None:
        """Mark what was under way as failed."""
        for step in self:
            if step.state == "running":
                step.end("failed")

    def __iter__(self) -> Iterator[Step]:
        """Go through all steps in order."""
        yield from self.preparations
        yield from self.tasks.values()


def read_tasks(database: Path, story: Story) -> None:
    """Take the states of the tasks from Airflow's metadata database, which is opened for reading only."""
    query = "SELECT task_id, state, start_date, end_date FROM task_instance"
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            rows = connection.execute(query).fetchall()
    except sqlite3.Error:  # not there yet, or being written: the next look will tell
        return
    for task_id, state, start, end in rows:
        step = story.tasks.get(task_id)
        if step is None:
            continue
        step.started = None if state == "upstream_failed" else _seconds(start)
        # While a deferred task waits, dag.test() calls it queued; a task that has begun is running for us.
        step.state = AIRFLOW_STATES.get(state, "waiting" if start is None else "running")
        finished = step.state in ("done", "failed") and start is not None and end is not None
        step.seconds = _seconds(end) - _seconds(start) if finished else None  # type: ignore[operator]


def _seconds(date: str | None) -> float | None:
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() if date else None


class LipSyncProgress:
    """Asks the emulator how far the running lip sync is, as its customers can."""

    def __init__(self, emulator: EmulatorHandle) -> None:
        self._emulator = emulator
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._next = 0.0

    def read(self, step: Step) -> None:
        """Note the share that is done; without an answer the bar just stays where it is."""
        if step.state != "running":
            step.share = None
            return
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROGRESS_PAUSE
        try:
            running = self._get("generations?status=PROCESSING")
            if running:
                found = self._get(f"generate/{running[0]['id']}?include=progress")
                step.share = float(found["progress_percent"]) / 100
        except (OSError, ValueError, LookupError, TypeError):
            return

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own http address
            f"{self._emulator.url}/v2/{path}", headers={"x-api-key": self._emulator.api_key}
        )
        with self._opener.open(request, timeout=CALL_SECONDS) as answer:
            return json.load(answer)
