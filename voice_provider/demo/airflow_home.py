"""A throwaway Airflow: its home, the environment that leads to it, and ``airflow standalone`` running in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

PACKAGE = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0
STOP_SECONDS = 6.0  # the triggerer takes 10 and has nothing to lose
CALL_SECONDS = 30.0
FINAL_RUN_STATES = ("success", "failed")


class AirflowError(RuntimeError):
    """Airflow did not start, or did not do what it was asked."""


def example_dag(name: str) -> Path:
    """Return a file of ``example_dags``: beside the package in a checkout, inside it when installed from a wheel.

    :raises FileNotFoundError: in neither place
    """
    for folder in (PACKAGE / "example_dags", PACKAGE.parent / "example_dags"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"example_dags/{name} is neither in {PACKAGE} nor beside it.")


def free_ports(count: int) -> list[int]:
    """Return different ports that are free on loopback now.

    They are below those from which systems give outgoing connections theirs: it takes seconds until they are used.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("No port between 20000 and 32000 is free on 127.0.0.1.")


class AirflowHome:
    """A folder for Airflow with a metadata database and DAG files of its own.

    :param folder: made if it does not exist
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dags = folder / "dags"
        self.database = folder / "airflow.db"
        self.dags.mkdir(parents=True, exist_ok=True)

    def add_dag(self, path: Path) -> Path:
        """Copy a DAG file into the home and return where it is."""
        return Path(shutil.copy(path, self.dags))

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of this process without anybody's Airflow settings, leading to this home.

        :param more: further variables, such as ``AIRFLOW_CONN_...``
        """
        found = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(("AIRFLOW", "_AIRFLOW"))
        }
        # `airflow standalone` starts `airflow` by name; loopback must not go through a proxy of the environment.
        found["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), found.get("PATH", os.defpath)))
        for name in ("NO_PROXY", "no_proxy"):
            found[name] = ",".join(filter(None, (found.get(name), "127.0.0.1", "localhost")))
        return {
            **found,
            "PYTHONUTF8": "1",  # Airflow reads its own files in the locale's encoding
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}",
            **more,
        }


class AirflowStandalone:
    """``airflow standalone`` in a home of its own, on free ports of loopback, without a login; a context manager.

    :param home: where it lives
    :param environment: further variables, such as ``AIRFLOW_CONN_...`` and ``AIRFLOW__...``
    :param log: file that gets what the components print; default: in the home
    """

    def __init__(
        self, home: AirflowHome, *, environment: Mapping[str, str] | None = None, log: Path | None = None
    ) -> None:
        self.home = home
        self.log = log or home.folder / "standalone.log"
        self.port, *self._log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self._more = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def environment(self) -> dict[str, str]:
        """Return the environment that all components run in."""
        return self.home.environment(
            **{
                "AIRFLOW__API__HOST": "127.0.0.1",
                "AIRFLOW__API__PORT": str(self.port),
                "AIRFLOW__API__BASE_URL": self.url,
                # Both are needed: tasks go by this one, and find nobody if only the port is changed.
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self._log_ports[0]),
                "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self._log_ports[1]),
                "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
                "AIRFLOW__CORE__PARALLELISM": "3",  # the default of 32 starts 32 workers at once
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
                "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
                "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
                **self._more,
            }
        )

    def start(self) -> Self:
        """Start all components, and return when they are healthy."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "airflow", "standalone"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # of its own, to end all of it; a task has a group of its own, too
            )
        self._until(self._is_healthy, START_SECONDS, "start")
        return self

    def _is_healthy(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AirflowError(f"Airflow ended with code {self._process.returncode}; its log is {self.log}.")
        try:
            health = self._call("GET", "/api/v2/monitor/health", token=False)
        except (OSError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def _until(self, done: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise AirflowError(f"Airflow did not {what} within {seconds:g} s; its log is {self.log}.")
            time.sleep(0.3)

    # the REST API

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the REST API, for example ``call("GET", "dags")``.

        :param path: below ``/api/v2/``
        """
        return self._call(method, f"/api/v2/{path}", body)

    def _call(self, method: str, path: str, body: Any = None, *, token: bool = True) -> Any:
        if token and not self._token:
            self._token = self._call("GET", "/auth/token", token=False)["access_token"]
        request = urllib.request.Request(  # noqa: S310 - our own http address
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._token}"} if token else {}),
        )
        with self._opener.open(request, timeout=CALL_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def wait_for_dag(self, dag_id: str, seconds: float = 60.0) -> None:
        """Return when the DAG has been read."""

        def is_there() -> bool:
            try:
                self.call("GET", f"dags/{dag_id}")
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                return False
            return True

        self._until(is_there, seconds, f"read the DAG {dag_id}")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Trigger a run, as a person or another system would, and return its id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.call("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def wait(self, dag_id: str, run_id: str, seconds: float = 300.0) -> str:
        """Return the state of a run when it has ended."""
        state = ""

        def has_ended() -> bool:
            nonlocal state
            state = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
            return state in FINAL_RUN_STATES

        try:
            self._until(has_ended, seconds, f"finish the run {run_id}")
        except AirflowError as error:
            found = self.task_instances(dag_id, run_id)
            tasks = ", ".join(f"{task} {ti['state']} (try {ti['try_number']})" for task, ti in found.items())
            raise AirflowError(f"{error} Its tasks: {tasks}.") from error
        return state

    def task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id; mapped ones as ``task_id[index]``."""
        found = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=500")["task_instances"]
        return {ti["task_id"] if ti["map_index"] < 0 else f"{ti['task_id']}[{ti['map_index']}]": ti for ti in found}

    # processes

    @property
    def is_running(self) -> bool:
        """Whether the parent of all components is there."""
        return self._process is not None and self._process.poll() is None

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the running processes whose command line or title has all the words, such as ``triggerer``."""
        if self._process is None:
            return []
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) != self._process.pid and process.environ().get("AIRFLOW_HOME") != str(
                    self.home.folder
                ):
                    continue
                line = " ".join(process.cmdline())
                if process.status() != psutil.STATUS_ZOMBIE and all(word in line for word in words):
                    found.append(process)
        return found

    def kill(self, *words: str) -> int:
        """Kill (SIGKILL) the processes that the words select, and return how many there were."""
        found = self.processes(*words)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return len(found)

    def stop(self) -> None:
        """Stop everything: the parent in good order, and then whatever is left of it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=STOP_SECONDS)
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
