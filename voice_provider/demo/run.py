"""One run of the demo: what it needs is made side by side, the DAG is watched, the results are brought home."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voice_provider.demo.steps import LipSyncProgress, Step, Story, read_tasks
from voice_provider.demo.workplace import Clips, DemoError, TaskError

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.demo.inputs import Order
    from voice_provider.demo.screen import LineScreen, TableScreen
    from voice_provider.demo.workplace import Workplace

PAUSE = 0.2  # seconds between two looks


@dataclass
class Files:
    """Where the results are for the user to find."""

    lip_sync: Path
    speech: Path
    sample: Path
    target: Path


@dataclass
class Result:
    """What there is to tell afterwards."""

    files: Files
    ledger: list[dict[str, Any]]
    left_voices: int
    left_assets: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left at the service."""
        return self.left_voices == self.left_assets == 0


@dataclass
class DagProcess:
    """The process that runs the DAG, and what it has told so far."""

    process: subprocess.Popen[str]
    facts: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    is_ready: bool = False
    ended: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True, name="dag").start()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(ValueError):  # closed while it was read: the demo is over
            for line in self.process.stdout:
                self.facts.put(json.loads(line))
        self.facts.put({"gone": True})

    def start(self, environment: dict[str, str], conf: dict[str, str]) -> None:
        """Tell it to begin."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        self.process.stdin.write(json.dumps({"environment": environment, "conf": conf}) + "\n")
        self.process.stdin.flush()

    def listen(self) -> None:
        """Take in what it has told.

        :raises DemoError: it ended before the DAG did
        """
        while not self.facts.empty():
            fact = self.facts.get()
            self.is_ready = self.is_ready or "ready" in fact
            self.ended = fact.get("ended", self.ended)
            if "error" in fact:
                self.errors[fact["task"]] = fact["error"]
            if "broken" in fact:
                raise DemoError(fact["broken"])
            if "gone" in fact and not self.ended:
                raise DemoError("The process that runs the DAG ended before the DAG did.")


def new_story(order: Order) -> Story:
    """Return the steps, none begun."""
    return Story(Step("Draw and voice two presenters" if order.draws else "Take the files"))


def run(place: Workplace, story: Story, screen: LineScreen | TableScreen) -> Result:
    """Prepare, run the DAG, and bring the results to the output folder.

    :raises DemoError: a step failed
    """
    began = time.monotonic()
    dag = _prepare(place, story, screen)
    progress = LipSyncProgress(place.emulator)
    lip_sync = story.tasks["lip_sync"]
    while not dag.ended:
        time.sleep(PAUSE)
        dag.listen()
        read_tasks(place.home.database, story)
        progress.read(lip_sync)
        screen.update()
    read_tasks(place.home.database, story)
    screen.update()
    if dag.ended != "success":
        raise TaskError(_why(story, dag) + _left(place))
    return _collect(place, time.monotonic() - began)


def _prepare(place: Workplace, story: Story, screen: LineScreen | TableScreen) -> DagProcess:
    """Do at one time what can be done at one time: draw, start the service, make the database; then begin the DAG."""
    clips = Clips(place, story.clips)
    clips.begin()
    story.airflow.begin()
    command = ("voice_provider.demo.dag_run", str(place.dag_file))
    dag = DagProcess(place.popen(*command, stdin=subprocess.PIPE, env=place.home.environment()))
    story.emulator.begin()
    screen.update()
    clips.ready()
    place.start_emulator()
    story.emulator.end()
    while not (clips.ready() and dag.is_ready):
        screen.update()
        time.sleep(PAUSE)
        dag.listen()
        if dag.is_ready and story.airflow.state == "running":
            story.airflow.end()
    screen.update()
    dag.start(place.environment(), {"script": place.order.script, **clips.params})
    return dag


def _why(story: Story, dag: DagProcess) -> str:
    failed = [step.task_id for step in story.tasks.values() if step.state == "failed"]
    reasons = [f"{task}: {dag.errors.get(task, 'no reason was given')}" for task in failed]
    return "\n".join(reasons) or f"The DAG run ended as {dag.ended}."


def _left(place: Workplace) -> str:
    try:
        state = place.emulator.state()
    except OSError:
        return f"\nThe voice service itself is gone; its log is {place.emulator.log.name}."
    voices, assets = sum(state["voices"].values()), state["assets"]
    return f"\nLeft behind at the service: {voices} voices, {assets} uploaded files." if voices or assets else ""


def _collect(place: Workplace, seconds: float) -> Result:
    """Copy the results out, and look whether anything is left at the service."""
    order = place.order
    state = place.emulator.state()
    kept = place.root.glob("results/*/speech/*.*")
    files = Files(
        lip_sync=_place(next(place.root.glob("results/*/lip_sync.mp4")), order.output, "lip_sync"),
        speech=_place(next(path for path in kept if path.suffix != ".json"), order.output, "speech"),
        sample=order.sample or _place(next(place.inbox.glob("sample.*")), order.output, "sample"),
        target=order.video or _place(next(place.inbox.glob("target.*")), order.output, "target"),
    )
    return Result(
        files=files,
        ledger=place.emulator.ledger(),
        left_voices=sum(state["voices"].values()),
        left_assets=state["assets"],
        seconds=seconds,
    )


def _place(path: Path, folder: Path, name: str) -> Path:
    """Copy a file and the record that stands beside it, each whole or not at all."""
    target = folder / f"{name}{path.suffix}"
    for source in (*path.parent.glob(f"{path.name}.*"), path):
        part = folder / f".{target.name}.part"
        shutil.copyfile(source, part)
        part.replace(folder / (target.name + source.name.removeprefix(path.name)))
    return target
