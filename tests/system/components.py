"""Airflow as separate processes, so that one of them can be killed, stay away, and be started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

import psutil
import tenacity

from voice_provider.demo.airflow_home import START_SECONDS, STOP_SECONDS, AirflowStandalone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


class AirflowComponents(AirflowStandalone):
    """What ``airflow standalone`` starts, started one by one; each in a session of its own, with all that it starts."""

    NAMES = ("api-server", "scheduler", "dag-processor", "triggerer")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._environment: dict[str, str] = {}
        self._components: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: set[int] = set()  # also those of components that were killed: a task may outlive its executor

    def start(self) -> Self:
        """Start all components, and return when they are healthy."""
        migrate = [sys.executable, "-P", "-m", "airflow", "db", "migrate"]
        done = subprocess.run(migrate, env=self.environment(), capture_output=True, timeout=START_SECONDS, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
        for name in self.NAMES:
            self.start_component(name)
        self._until(self._is_healthy, START_SECONDS, "start")
        return self

    def environment(self) -> dict[str, str]:
        """Return the environment that all components run in; the same ports at every call."""
        self._environment = self._environment or super().environment()
        return self._environment

    def start_component(self, name: str) -> None:
        """Start one of ``NAMES``; its output goes to ``NAME.log`` in the home."""
        with self.log_of(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "airflow", name],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._components[name] = process
        self._sessions.add(process.pid)

    def start_missing(self) -> None:
        """Start what was killed and not started again."""
        for name in self.NAMES:
            if name not in self._components:
                self.start_component(name)

    def log_of(self, name: str) -> Path:
        return self.home.folder / f"{name}.log"

    def kill_component(self, name: str) -> int:
        """Kill (SIGKILL) a component and all that runs in its session; return how many processes that were."""
        process = self._components.pop(name)
        count = _kill(self._in_sessions({process.pid}))
        process.wait(STOP_SECONDS)
        return count

    def kill_process(self, pid: int) -> None:
        """Kill (SIGKILL) one process, which has to be of this Airflow."""
        self.own(pid)
        os.kill(pid, signal.SIGKILL)

    def own(self, pid: int) -> None:
        """Make sure that a process is of this Airflow, before anything is done to it."""
        assert os.getsid(pid) in self._sessions, f"process {pid} is not of this Airflow"

    @staticmethod
    def _in_sessions(sessions: Iterable[int]) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def stop(self) -> None:
        """Kill everything: there is nothing to lose, and a task may hold a shutdown up."""
        while left := self._in_sessions(self._sessions):
            _kill(left)
        for process in self._components.values():
            process.wait(STOP_SECONDS)
        self._components.clear()


def _kill(processes: list[psutil.Process]) -> int:
    # Parents first would let them report what happened to their children.
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=STOP_SECONDS)
    return len(processes)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, OSError) and getattr(error, "code", 500) >= 500


@tenacity.retry(
    retry=tenacity.retry_if_exception(_may_pass),
    wait=tenacity.wait_fixed(1),
    stop=tenacity.stop_after_delay(60),
    reraise=True,
)
def patiently(call: Callable[[], Any]) -> Any:
    """Ask Airflow again where it is away, or its SQLite was locked; it may have done it the first time."""
    return call()
