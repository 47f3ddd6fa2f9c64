"""The emulator as a child process: started, spoken to, killed and started again.

For tests (through the pytest plugin), the demo and the command line. Standard library only, so importing it is cheap.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

START_SECONDS = 60.0
STOP_SECONDS = 10.0
CALL_SECONDS = 30.0
LOG_NAME = "emulator.log"


class EmulatorError(RuntimeError):
    """The emulator did not start, or its control plane refused a call."""


class EmulatorHandle:
    """A running emulator as its tests see it: where it is, what it remembers, and every knob it has."""

    def __init__(self, url: str, storage_url: str, api_key: str, engine: str) -> None:
        self.url = url
        self.storage_url = storage_url
        self.api_key = api_key
        self.engine = engine
        # Loopback must not go through a proxy that the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def connection(self, service: str = "sync_labs", *, api_key: str | None = None, **extra: Any) -> dict[str, Any]:
        """The JSON form of an Airflow connection to this emulator, for `AIRFLOW_CONN_*`.

        :param service: the connection type, "sync_labs" or "fish_audio"
        :param api_key: the key; default is the emulator's own
        :param extra: what goes into the connection's extra field
        """
        found: dict[str, Any] = {"conn_type": service, "host": self.url, "password": api_key or self.api_key}
        # Airflow masks the extra field as a whole, and warns that "{}" is too short a secret for that.
        return {**found, "extra": extra} if extra else found

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control plane, for example `call("GET", "state")`."""
        request = urllib.request.Request(  # noqa: S310 - our own http address
            f"{self.url}/_emulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=CALL_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise EmulatorError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def state(self) -> dict[str, Any]:
        """A summary: voices and voice models by org, assets, jobs by status, active, key_leaks ..."""
        found: dict[str, Any] = self.call("GET", "state")
        return found

    def ledger(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The bill, oldest first; `kind` is clone, speech, lip_sync, asr or design."""
        found: list[dict[str, Any]] = self.call("GET", f"ledger?kind={kind}" if kind else "ledger")
        return found

    def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """The last requests, oldest first, without those to the control plane; `path` filters by prefix."""
        found: list[dict[str, Any]] = self.call("GET", "requests")
        return [entry for entry in found if path is None or entry["path"].startswith(path)]

    def voices(self, org: str = "main") -> list[dict[str, Any]]:
        """The clones of an organization with the dates that the service does not tell."""
        found: list[dict[str, Any]] = self.call("GET", f"voices?org={org}")
        return found

    def fault(self, kind: str, path: str = "*", **rule: Any) -> str:
        """Order a fault and return its id; see `faults.FaultRule` for the rule's fields."""
        return str(self.call("POST", "faults", {"kind": kind, "path": path, **rule})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force with how often each matched (`seen`) and struck (`fired`)."""
        found: list[dict[str, Any]] = self.call("GET", "faults")
        return found

    def clear_faults(self) -> None:
        self.call("DELETE", "faults")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings and return all of them."""
        found: dict[str, Any] = self.call("PATCH", "settings", changes) if changes else self.call("GET", "settings")
        return found

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward."""
        self.call("POST", "clock", {"advance_seconds": seconds})

    def seed_voices(
        self, names: Sequence[str] | None = None, *, count: int = 0, org: str = "main", age_seconds: float = 0.0
    ) -> list[dict[str, Any]]:
        """Put clones there without cloning, by name or so many; returns their ids and names."""
        body = {"names": None if names is None else list(names), "count": count, "org": org, "age_seconds": age_seconds}
        found: list[dict[str, Any]] = self.call("POST", "voices", body)
        return found

    def models(self, org: str = "main") -> list[dict[str, Any]]:
        """The voice models of an organization (`/model`), without a poll that their training counts."""
        found: list[dict[str, Any]] = self.call("GET", f"models?org={org}")
        return found

    def seed_models(
        self, titles: Sequence[str] | None = None, *, count: int = 0, org: str = "main", **more: Any
    ) -> list[dict[str, Any]]:
        """Put voice models (`/model`) there, by title or so many; returns their ids and titles.

        :param more: owner, visibility, tags, state, age_seconds
        """
        body = {"titles": None if titles is None else list(titles), "count": count, "org": org, **more}
        found: list[dict[str, Any]] = self.call("POST", "models", body)
        return found

    def add_account(self, api_key: str, org: str, owner: str | None = None) -> None:
        """Let another API key in, for the same organization ("main") or another one; one person's unless `owner`."""
        self.call("POST", "accounts", {"api_key": api_key, "org": org, "owner": owner})

    def reset(self) -> None:
        """Forget everything; settings as at the start, the real time."""
        self.call("POST", "reset", {})

    def wait_idle(self, seconds: float = 30.0) -> None:
        """Return when no job runs any more."""
        deadline = time.monotonic() + seconds
        while self.state()["active"]:
            if time.monotonic() > deadline:
                raise EmulatorError(f"Jobs still run after {seconds:g} s.")
            time.sleep(0.01)


class EmulatorProcess(EmulatorHandle):
    """The emulator in a process of its own; also a context manager.

    :param data_dir: where it keeps its state; the same folder again gives the same state and ports
    :param port: the API port; 0 is the former one or any
    :param engine: auto, local or tone
    :param settings: settings to start with (and to go back to on `reset`)
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int = 0,
        *,
        engine: str = "auto",
        settings: Mapping[str, Any] | None = None,
        log_level: str = "info",
    ) -> None:
        super().__init__("", "", API_KEY, engine)
        self.data_dir = Path(data_dir)
        self.log = self.data_dir / LOG_NAME
        self._port = port
        self._engine = engine
        self._settings = dict(settings or {})
        self._log_level = log_level
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> Self:
        """Start and wait until it answers."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "voice_provider.emulator", "--data-dir", str(self.data_dir)]
        command += ["--port", str(self._port), "--engine", self._engine, "--log-level", self._log_level]
        command += ["--exit-with-parent"]
        for key, value in self._settings.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            # A session of its own: Ctrl-C is for the parent, which may still need the emulator to clean up.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        facts = self._ready_line(self._process)
        self.url, self.storage_url, self.engine = facts["url"], facts["storage_url"], facts["engine"]
        return self

    def _ready_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline() if readable else b""
        if not line:
            self.kill()
            tail = self.log.read_text(errors="replace")[-2000:]
            raise EmulatorError(f"The emulator did not start; the end of {self.log}:\n{tail}")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def stop(self) -> int:
        """Stop it in good order and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """Stop it as `kill -9` does."""
        return self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Kill it and start it again on the same state, at the same address."""
        self.kill()
        return self.start()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise EmulatorError("The emulator is not running.")
        return self._process

    def _end(self, number: int) -> int:
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        self._process = None
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()
