"""Where the demo happens: a folder of its own, what runs in it, and how all of it goes away again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from voice_provider.demo.airflow_home import AirflowHome, example_dag
from voice_provider.demo.inputs import check_media
from voice_provider.emulator.process import EmulatorError, EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.demo.inputs import Order
    from voice_provider.demo.steps import Step

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAMESPACE = "demo"  # of the connections
NAMES = {"sample": "sample", "video": "target"}  # of files in the inbox, by the DAG's parameter


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

    heard = [one for one in SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        scenario = self.order.scenario
        for name, text in scenario.inbox.items():
            path = self.inbox / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.dag_file = self.home.add_dag(example_dag(f"{scenario.dag}.py"))
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

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return the connections that the DAG needs by their ids, in Airflow's JSON form."""
        root = str(self.root)
        common: dict[str, Any] = {"allowed_inputs": [root], "allowed_outputs": [root], "namespace": NAMESPACE}
        common["state_location"] = str(self.folder / "state")  # so that it runs on Airflow 3.2, too
        return {
            conn_id: self.emulator.connection(service, **common, **settings)
            for conn_id, (service, settings) in self.order.scenario.connections.items()
        }

    def environment(self) -> dict[str, str]:
        """Return the connections and the variable that the DAG needs, as Airflow reads them from the environment."""
        connections = {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(value) for conn_id, value in self.connections().items()
        }
        return {**connections, "AIRFLOW_VAR_VOICE_ROOT": str(self.root)}

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


class Clips:
    """The files in the inbox that the DAG's parameters name: the user's, or drawn meanwhile.

    :param place: where
    :param step: the line on the screen
    """

    def __init__(self, place: Workplace, step: Step) -> None:
        self._place = place
        self._step = step
        self.params: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start drawing what has to be drawn."""
        self._step.begin()
        order = self._place.order
        if order.drawn:
            command = ("voice_provider.demo.draw", str(self._place.folder / "clips"), order.engine, *order.drawn)
            self._process = self._place.popen(*command, stdin=subprocess.DEVNULL)

    def ready(self) -> bool:
        """Put the clips into the inbox when they are there, and return whether they are."""
        if self.params:
            return True
        drawn: dict[str, str] = {}
        if self._process is not None:
            if self._process.poll() is None:
                return False
            if self._process.returncode or self._process.stdout is None:
                self._step.end("failed")
                raise DemoError("The presenters could not be drawn.")
            drawn = json.loads(self._process.stdout.read().splitlines()[-1])
        order = self._place.order
        for param, given in order.given.items():
            path = given or Path(drawn[order.scenario.clips[param]])
            # A name of our own, with the extension that fits the bytes: the DAG takes plain names only.
            name = f"{NAMES[param]}.{check_media(path, param, ('audio', 'video')).format.extension}"
            shutil.copyfile(path, self._place.inbox / name)
            self.params[param] = name
        self._step.end()
        return True
