"""Shared by all tests: an Airflow home of its own, the emulator behind a connection, and a task to run operators in."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import tempfile
import time
import wave
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

# Airflow reads its configuration when it is first imported, so its home has to be there before.
_HOME = tempfile.TemporaryDirectory(prefix="voice-tests-")
ROOT = Path(__file__).resolve().parents[1]
os.environ.update(
    AIRFLOW_HOME=_HOME.name,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "example_dags"),
    AIRFLOW__CORE__PARALLELISM="3",
    AIRFLOW__LOGGING__LOGGING_LEVEL="INFO",
)

import pytest  # noqa: E402
from httpx._transports import default as httpx_transports  # noqa: E402

from tests.leaks import (  # noqa: E402, F401  # pytest finds hooks here
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

# What loads Airflow is imported where it is used: the process that starts xdist's workers, and that they wait for, does
# without it.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from tests.jobs.in_process import EmulatorHere
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook


@pytest.fixture(scope="session", autouse=True)
def _one_tls_context() -> Iterator[None]:
    """Let httpx' clients share what each makes for itself, in 20 ms of CPU, also where it speaks plain HTTP."""
    shared = cache(httpx_transports.create_ssl_context)
    with patch.object(httpx_transports, "create_ssl_context", shared):
        yield


@pytest.fixture(scope="session", autouse=True)
def _schemas_checked_once() -> Iterator[None]:
    """Let Airflow check the schema of a DAG's parameter once, and not again for each task that looks at its value."""
    from jsonschema import Draft202012Validator

    check, good = Draft202012Validator.check_schema, set()

    def check_new(schema: Any, *more: Any) -> None:
        if (written := json.dumps(schema, sort_keys=True, default=str)) not in good:
            check(schema, *more)
            good.add(written)

    with patch.object(Draft202012Validator, "check_schema", check_new):
        yield


@pytest.fixture(scope="session")
def _secrets_at_the_start() -> list[tuple[Any, frozenset[str], Any]]:
    """Airflow's two maskers, with what they mask before any test: secrets of the configuration."""
    from airflow._shared.secrets_masker import _secrets_masker as of_the_core
    from airflow.sdk._shared.secrets_masker import _secrets_masker as of_the_sdk

    return [(one, frozenset(one.patterns), one.replacer) for one in (of_the_core(), of_the_sdk())]


@pytest.fixture(autouse=True)
def _own_secrets(_secrets_at_the_start: list[tuple[Any, frozenset[str], Any]]) -> None:
    """Let no test have its secrets masked by an earlier one.

    Each new one makes Airflow compile all of them anew, and look for all of them in whatever is logged.
    """
    for masker, patterns, replacer in _secrets_at_the_start:
        masker.patterns, masker.replacer = set(patterns), replacer


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that are there for real services; what is done stays the same."""
    from airflow.sdk.bases import sensor as airflow_sensor

    from voice_provider.hooks import waiting
    from voice_provider.jobs import following, lifecycle
    from voice_provider.operators import base as operators_base
    from voice_provider.triggers import job as triggers_job

    monkeypatch.setattr("voice_provider.hooks.attempts.FIRST_WAIT", 0.02)
    monkeypatch.setattr(operators_base, "DEFER_GRACE", 0.0)
    monkeypatch.setattr(operators_base, "INLINE_WAIT", 0.3)
    monkeypatch.setattr(triggers_job, "AFTER_A_BLIP", 0.05)
    # A service that wants to be asked after its job in three seconds is asked sooner.
    sooner = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=lambda rest: time.sleep(min(rest, 0.1)))
    monkeypatch.setattr(waiting, "time", sooner)
    monkeypatch.setattr(airflow_sensor, "time", sooner)  # a sensor looks again after five seconds
    monkeypatch.setattr(following, "CONFIRM_AFTER", 0.05)
    # As many looks as ever, but sooner one after the other.
    monkeypatch.setattr(lifecycle, "LOOK_EVERY", lifecycle.LOOK_EVERY / 10)
    monkeypatch.setattr(lifecycle, "FEW_LOOKS", lifecycle.FEW_LOOKS / 10)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep thousands of tests, and all that they import, out of the garbage collector's way.

    It would walk through them while they are made, and again as often as the tests leave garbage: a tenth of all CPU.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)  # the default of 700 has it look at Airflow again and again
        gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for a clock, for a process or for the emulator."""
    return (os.cpu_count() or 1) + 1


class MemoryStore(dict[str, Any]):
    """A task state store in memory; values pass through JSON as they do in Airflow."""

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self[key]) if key in self else default

    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.pop(key, None)


class Task:
    """Runs operators as one task instance: ``run`` is a try, ``clear`` is what a user's clear changes.

    ``others_cleared`` counts the clears of other tasks of the run.
    """

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clears = self.others_cleared = 0
        self.run_after: datetime | None = None
        self.ti = SimpleNamespace(
            id=str(uuid4()),
            dag_id="dag",
            task_id="task",
            run_id="run",
            map_index=-1,
            max_tries=0,
            try_number=1,
            xcom_pull=lambda **_: None,
        )

    @property
    def context(self) -> dict[str, Any]:
        run = SimpleNamespace(clear_number=self.clears + self.others_cleared, run_after=self.run_after)
        return {"ti": self.ti, "dag_run": run, "task_state_store": self.store}

    def run(self, operator: Any) -> Any:
        return operator.execute({**self.context, "task": operator})

    def clear(self) -> None:
        self.ti.max_tries += 1
        self.clears += 1

    @property
    def record(self) -> dict[str, Any]:
        return self.store.get("voice_job")


def know_runs(ti: Any, dags: dict[str, dict[str, str]]) -> None:
    """Let a task instance know the runs of DAGs by their state, as Airflow's does; it counts what it is asked.

    :param dags: state by run, by DAG
    """
    ti.asked = 0

    def chosen(dag_id: str, run_ids: list[str] | None, states: list[str] | None = None) -> list[str]:
        ti.asked += 1
        runs = dags.get(dag_id, {})
        among = runs if run_ids is None else [run for run in dict.fromkeys(run_ids) if run in runs]
        return [run for run in among if states is None or runs[run] in states]

    ti.get_task_states = lambda dag_id, run_ids=None: {run: {"t": "success"} for run in chosen(dag_id, run_ids)}
    ti.get_dr_count = lambda dag_id, run_ids=None, states=None: len(chosen(dag_id, run_ids, states))


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A disk in memory, where there is one: thousands of histories write a lot, and sync whatever they write."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    # What the emulator forgot may still be on its way out of here.
    with tempfile.TemporaryDirectory(prefix="voice-", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def here(disk: Path) -> Iterator[EmulatorHere]:
    """The emulator without sockets, which would cost more than all these histories."""
    from tests.jobs.in_process import EmulatorHere

    emulator = EmulatorHere(disk / "emulator")
    yield emulator
    emulator.close()


@pytest.fixture
def task() -> Task:
    return Task()


def remembering(folder: Path | None) -> dict[str, str]:
    """Return the field of a connection without which Airflow 3.2 orders nothing; later ones remember by themselves."""
    from voice_provider.compat import SINCE_3_3

    return {} if SINCE_3_3 or folder is None else {"state_location": str(folder)}


@pytest.fixture
def set_connection(
    voice_emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Return a function that (re)writes the connection ``voice_default``: to the emulator, unless it is told "
    "otherwise."""

    state = tmp_path / "state" if "airflow_db" in request.fixturenames else None  # where real DAGs run

    def write(
        conn_id: str = "voice_default",
        host: str | None = None,
        password: str | None = None,
        service: str = "sync_labs",
        **extra: Any,
    ) -> None:
        value = voice_emulator.connection(service, **{**remembering(state), **extra})
        value["host"] = value["host"] if host is None else host
        value["password"] = value["password"] if password is None else password
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))

    write()
    return write


@pytest.fixture
def emulator(voice_emulator: EmulatorHandle, set_connection: Callable[..., None]) -> EmulatorHandle:
    """The emulator, with the connection ``voice_default`` leading to it."""
    return voice_emulator


@pytest.fixture
def hook(emulator: EmulatorHandle) -> VoiceHook:
    from voice_provider.hooks.voice import VoiceHook

    return VoiceHook.for_connection("voice_default")


def without_records(names: Iterable[str]) -> list[str]:
    """Leave out the records that stand beside their results; one that stands alone is seen."""
    from voice_provider.trust.provenance import ENDING

    found = list(names)
    return sorted(name for name in found if not (name.endswith(ENDING) and name.removesuffix(ENDING) in found))


@cache
def _buzz(count: int, width: int) -> bytes:
    samples = b"".join(((i * 997) % 20011 - 10005).to_bytes(2, "little", signed=True) for i in range(count))
    return samples if width == 2 else samples[1::2]


def write_wav(path: Path, seconds: float = 3.0, rate: int = 8000, width: int = 2) -> Path:
    """Write a buzz that passes as a voice at the emulator's tone engine.

    :param width: bytes of a sample; FFmpeg looks for other formats in 16 bits, which takes it five times as long
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(_buzz(int(seconds * rate), width))
    return path


@cache
def _grey(seconds: float) -> bytes:
    import av
    import numpy as np

    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(int(seconds * 10)):
            picture = np.full((48, 64, 3), 100 + number % 50, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def write_mp4(path: Path, seconds: float = 1.0) -> Path:
    """Write a small grey video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_grey(seconds))
    return path


def length_of(path: Path) -> float:
    """Return how long a media file says it is, in seconds."""
    import av

    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_mp4(tmp_path / "in" / "video.mp4")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "in" / "sample.wav")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """Return a folder that is filled once in a run of pytest: xdist's workers wait for the one that is the first.

    :param make: fills the folder, which is there; nobody writes into it afterwards
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name, numbered=False)
        make(folder)
        return folder
    folder = factory.getbasetemp().parent / name  # beside the folders of the workers
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """A metadata database in the tests' Airflow home; in this process, which has loaded most of what that takes."""
    from airflow.utils import db

    db.initdb()


@pytest.fixture(scope="session")
def object_store() -> Iterator[Any]:
    """S3 on loopback, behind Airflow's ``s3://``."""
    from airflow.sdk.io import attach
    from airflow.sdk.io.store import _STORE_CACHE
    from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
    from s3fs import S3FileSystem
    from werkzeug.serving import make_server

    class KeepAlive(MotoRequestHandler):
        """Lets a client ask again on its connection, as the real one does."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

    # The application alone: moto's server looks for each request which of its two hundred services it is for.
    server = make_server("127.0.0.1", 0, create_backend_app("s3"), threaded=True, request_handler=KeepAlive)
    serving = Thread(target=server.serve_forever)
    serving.start()
    fs = S3FileSystem(
        key="k",
        secret="s",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        client_kwargs={"region_name": "us-east-1"},
    )
    attach("s3", fs=fs)
    yield fs
    del _STORE_CACHE["s3"]
    server.shutdown()
    serving.join()


@pytest.fixture
def s3(object_store: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store with a bucket named ``studio``, empty; what goes there is received into a folder of this test."""
    from moto.core.base_backend import BackendDict

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("worker")))
    BackendDict.reset()
    object_store.call_s3("create_bucket", Bucket="studio")
    object_store.invalidate_cache()
    return object_store
