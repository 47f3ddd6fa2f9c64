"""One run of the demo: everything it needs is started side by side, and stopped and removed whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from voice_provider.demo.airflow_home import AirflowHome, example_dag
from voice_provider.demo.dag_run import DAG_ID
from voice_provider.demo.inputs import check_media
from voice_provider.demo.steps import LipSyncProgress, Step, Story, read_tasks
from voice_provider.emulator.process import EmulatorError, EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.demo.inputs import Order
    from voice_provider.demo.screen import LineScreen, TableScreen

PAUSE = 0.2  # seconds between two looks
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CONNECTION = {"tts_mode": "jobs", "namespace": "demo"}


class DemoError(Exception):
    """The demo failed; the message says where and why."""


class TaskError(DemoError):
    """A task of the DAG failed, and its own message says why."""


class Stopped(BaseException):
    """A signal asked the demo to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal into ``Stopped``, and ignore further ones, so that nothing interrupts the cleaning up."""

    def stop(number: int, _: object) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


class Workplace:
    """The folder that everything happens in, and what runs there; a context manager that takes both away.

    :param order: what the demo is to do
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="voice-demo-")).resolve()
        if not self.order.keep:
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._furnish()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _furnish(self) -> None:
        # What somebody makes in the UI is theirs to keep; one run's results are copied out one by one.
        self.root = self.order.output.resolve() if self.order.ui else self.folder / "voice"
        self.inbox = self.root / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.home = AirflowHome(self.folder / "airflow")
        self.dag_file = self.home.add_dag(example_dag(f"{DAG_ID}.py"))
        self.log = self.folder / "airflow.log"
        self.emulator = EmulatorProcess(self.folder / "emulator", engine=self.order.engine)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start Python on a module in a process group of its own, with its messages going to the log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", *command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C in the terminal comes to us, and we end them in order
                **options,
            )
        self._stack.callback(_end, process)
        return process

    def start_emulator(self) -> None:
        """Start the voice service."""
        self._stack.callback(self._stop_emulator)
        try:
            self.emulator.start()
        except EmulatorError as error:
            raise DemoError(str(error)) from None

    def _stop_emulator(self) -> None:
        with contextlib.suppress(EmulatorError):  # it never started
            self.emulator.stop()

    def enter(self, manager: contextlib.AbstractContextManager[Any]) -> None:
        """Enter a context that is left together with this one."""
        self._stack.enter_context(manager)

    def environment(self) -> dict[str, str]:
        """Return the connection and the variable that the DAG needs."""
        root = str(self.root)
        connection = self.emulator.connection(allowed_inputs=[root], allowed_outputs=[root], **CONNECTION)
        return {"AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(connection), "AIRFLOW_VAR_VOICE_ROOT": root}

    def save_logs(self) -> list[Path]:
        """Copy the logs to the output folder, for after a failure; returns where they are."""
        logs = [path for path in (self.log, self.emulator.log) if path.is_file()]
        return [Path(shutil.copy(path, self.order.output)) for path in logs]


def _end(process: subprocess.Popen[str]) -> None:
    """End a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def new_story(order: Order) -> Story:
    """Return the steps, none begun."""
    return Story(Step("Draw and voice two presenters" if order.draws else "Take the files"))


class Clips:
    """The two files in the inbox: the user's, or drawn meanwhile.

    :param place: where
    :param step: the line on the screen
    """

    def __init__(self, place: Workplace, step: Step) -> None:
        self._place = place
        self._step = step
        self._names: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start drawing what has to be drawn."""
        self._step.begin()
        if self._place.order.draws:
            folder = self._place.folder / "clips"
            folder.mkdir()
            self._process = self._place.popen("voice_provider.demo.draw", str(folder), stdin=subprocess.DEVNULL)

    def ready(self) -> bool:
        """Put the clips into the inbox when they are there, and return whether they are."""
        if self._names:
            return True
        drawn: list[str | None] = [None, None]
        if self._process is not None:
            if self._process.poll() is None:
                return False
            if self._process.returncode or self._process.stdout is None:
                self._step.end("failed")
                raise DemoError("The two presenters could not be drawn.")
            drawn = json.loads(self._process.stdout.read().splitlines()[-1])
        order = self._place.order
        for role, given, made in zip(("sample", "target"), (order.sample, order.video), drawn, strict=True):
            path = given or Path(str(made))
            # A name of our own, with the extension that fits the bytes: the DAG takes plain names only.
            name = f"{role}.{check_media(path, role, ('audio', 'video')).format.extension}"
            shutil.copyfile(path, self._place.inbox / name)
            self._names[role] = name
        self._step.end()
        return True

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the DAG that name the files."""
        return {"sample": self._names["sample"], "video": self._names["target"]}


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
    state = place.emulator.state()
    voices, assets = sum(state["voices"].values()), state["assets"]
    return f"\nLeft behind at the service: {voices} voices, {assets} uploaded files." if voices or assets else ""


def _collect(place: Workplace, seconds: float) -> Result:
    """Copy the results out, and look whether anything is left at the service."""
    order = place.order
    state = place.emulator.state()
    files = Files(
        lip_sync=_place(next(place.root.glob("results/*/lip_sync.mp4")), order.output, "lip_sync"),
        speech=_place(next(place.root.glob("results/*/speech/*.*")), order.output, "speech"),
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
    """Copy a file, whole or not at all."""
    target = folder / f"{name}{path.suffix}"
    part = folder / f".{target.name}.part"
    shutil.copyfile(path, part)
    return part.replace(target)
