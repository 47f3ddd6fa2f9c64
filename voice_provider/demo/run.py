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
from voice_provider.demo.workplace import NAMES, Clips, DemoError, TaskError

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.demo.inputs import Order
    from voice_provider.demo.scenarios import Lines
    from voice_provider.demo.screen import LineScreen, TableScreen
    from voice_provider.demo.workplace import Workplace

PAUSE = 0.2  # seconds between two looks


@dataclass
class Result:
    """What there is to tell afterwards.

    :param files: where the user finds what, by what it is called
    :param lines: of a script, each with its subtitle, its take and how that was fitted
    """

    files: list[tuple[str, Path]]
    lines: list[dict[str, Any]]
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

    def start(self, environment: dict[str, str], conf: dict[str, Any]) -> None:
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
    drawn = {0: "Take the files", 1: "Draw and voice a presenter", 2: "Draw and voice two presenters"}
    return Story(Step(drawn[len(order.drawn)]), order.scenario.tasks)


def run(place: Workplace, story: Story, screen: LineScreen | TableScreen) -> Result:
    """Prepare, run the DAG, and bring the results to the output folder.

    :raises DemoError: a step failed
    """
    began = time.monotonic()
    dag = _prepare(place, story, screen)
    progress = LipSyncProgress(place.emulator)
    lip_sync = story.tasks[place.order.scenario.lip_sync]
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
    return collect(place, time.monotonic() - began)


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
    dag.start(place.environment(), conf_of(place.order, clips))
    return dag


def conf_of(order: Order, clips: Clips) -> dict[str, Any]:
    """Return the parameters of a run, when the clips are there."""
    script = {} if order.script is None else {"script": order.script}
    return {**order.scenario.conf, **script, **clips.params}


def _why(story: Story, dag: DagProcess) -> str:
    failed = [step.task_id for step in story.tasks.values() if step.state == "failed"]
    reasons = [f"{task}: {dag.errors.get(task, 'no reason was given')}" for task in failed]
    return "\n".join(reasons) or f"The DAG run ended as {dag.ended}."


def _left(place: Workplace) -> str:
    try:
        state = place.emulator.state()
    except OSError:
        return f"\nThe voice service itself is gone; its log is {place.emulator.log.name}."
    voices, assets = _voices(state), state["assets"]
    return f"\nLeft behind at the service: {voices} voices, {assets} uploaded files." if voices or assets else ""


def collect(place: Workplace, seconds: float) -> Result:
    """Copy the results out, and look whether anything is left at the service.

    :param seconds: that the demo took
    """
    order, scenario = place.order, place.order.scenario
    state = place.emulator.state()
    files = []
    for label, name, pattern in scenario.results:
        kept = next(path for path in place.root.glob(f"results/{pattern}") if path.suffix != ".json")
        files.append((label, _place(kept, order.output, name)))
    inputs = {}
    for param, label in scenario.inputs.items():
        path = order.given[param]
        if path is None:
            path = _place(next(place.inbox.glob(f"{NAMES[param]}.*")), order.output, scenario.clips[param])
        inputs[path] = label  # a clip that is both is told once
    return Result(
        files=[*files, *((label, path) for path, label in inputs.items())],
        lines=_lines(place.root, scenario.lines) if scenario.lines else [],
        ledger=place.emulator.ledger(),
        left_voices=_voices(state),
        left_assets=state["assets"],
        seconds=seconds,
    )


def _voices(state: dict[str, Any]) -> int:
    return sum(state[kind].get("main", 0) for kind in ("voices", "models"))  # of the account that the key is of


def _lines(root: Path, where: Lines) -> list[dict[str, Any]]:
    """Put together what is told of each line: its text and slot, its take, and what was done to that.

    What reads these files in a DAG imports Airflow, and this process is to touch nobody's Airflow.
    """
    takes = [json.loads(row) for row in (root / where.manifest).read_text(encoding="utf-8").splitlines()]
    cues = {cue["id"]: cue for cue in json.loads(next(root.glob(where.cues)).read_text(encoding="utf-8"))}
    return [
        {
            "text": where.texts[take["id"]],
            "slot": (take["start"], take["end"]),
            "spoken": take["seconds"],
            **cues[take["id"]],
        }
        for take in takes
    ]


def _place(path: Path, folder: Path, name: str) -> Path:
    """Copy a file and the record that stands beside it, each whole or not at all."""
    target = folder / f"{name}{path.suffix}"
    for source in (*path.parent.glob(f"{path.name}.*"), path):
        part = folder / f".{target.name}.part"
        shutil.copyfile(source, part)
        part.replace(folder / (target.name + source.name.removeprefix(path.name)))
    return target
