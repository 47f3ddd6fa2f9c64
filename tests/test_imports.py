"""Parsing a DAG is cheap: no engine, no web server, no network, no connection, no file but code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

OF_THE_EMULATOR_OR_ENGINE = {
    "av", "cv2", "hibari", "numpy", "fastapi", "uvicorn", "starlette", "rich", "fsspec", "upath",
    "voice_provider.emulator", "voice_provider.cli", "voice_provider.demo",
}  # fmt: skip

IMPORTS = """
import json, sys
from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger
before = set(sys.modules)
import voice_provider, voice_provider.operators, voice_provider.sensors
from voice_provider import VoiceHook, ephemeral_voice
for door in (voice_provider.operators, voice_provider.sensors):
    for name in door.__all__:
        getattr(door, name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# The audit hook sees every open, connection and process of the interpreter, also those made in C.
PARSE = """
import json, os, runpy, sys, sysconfig, zoneinfo
import airflow.sdk, airflow.sdk.bases.operator, airflow.sdk.bases.sensor, airflow.triggers.base
from airflow.sdk import BaseHook, BaseOperator, Connection, DAG, Param, Variable

root, dags, events = sys.argv[1], sys.argv[2:], []
heavy = {"av", "numpy"}  # what reads media; a DAG that is parsed reads none
code = tuple(os.path.realpath(path) for path in {
    sys.prefix, sys.base_prefix, root, *sysconfig.get_paths().values(),
})
time_zones = tuple(map(os.path.realpath, zoneinfo.TZPATH))  # what the standard library reads for any start_date

CODE = (".py", ".pyc", ".yaml")

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        writes = isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if path.startswith(code) and (path.endswith(CODE) or "dist-info" in path or "__pycache__" in path):
            return
        if path.startswith(time_zones) or "/tzdata/zoneinfo/" in path:
            return
        events.append([event, path, bool(writes)])
    elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "sqlite3.connect"):
        events.append([event, str(arguments[0])])

def told(name):
    def read(*_, **__):
        events.append([name])
        raise RuntimeError(name)
    return read

BaseHook.get_connection = BaseHook.get_hook = Connection.get = told("connection")
Variable.get = told("variable")
with DAG("empty", schedule=None, params={"x": Param("x", type="string")}):
    BaseOperator(task_id="x")  # what Airflow itself reads for any DAG is not ours
enter, entered = DAG.__enter__, []
DAG.__enter__ = lambda dag: entered.append(dag.dag_id) or enter(dag)
for dag in dags:  # importing Airflow takes seconds: each is parsed by a fork that has imported nothing else
    fork = os.fork()
    if not fork:
        sys.addaudithook(watch)
        runpy.run_path(dag)
        found = {"file": dag, "dags": entered, "events": events, "heavy": sorted(heavy & set(sys.modules))}
        print(json.dumps(found), flush=True)
        os._exit(0)  # to take Airflow apart in good order takes longer than all the rest
    os.waitpid(fork, 0)
"""


def lines(code: str, *arguments: str, **environment: str) -> list[str]:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        # What is imported stays: it is not to be looked through for garbage while it comes.
        [sys.executable, "-c", f"import gc; gc.disable()\n{code}", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return done.stdout.splitlines()


def child(code: str, *arguments: str, **environment: str) -> Any:
    """Run code in a fresh interpreter and return the JSON of its last line."""
    return json.loads(lines(code, *arguments, **environment)[-1])


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What importing all operators and sensors adds to what every DAG imports."""
    return set(child(IMPORTS))


def test_importing_the_operators_imports_neither_engine_nor_emulator(imported: set[str]) -> None:
    assert "voice_provider.operators.speech" in imported
    heavy = {
        name
        for name in imported
        if name in OF_THE_EMULATOR_OR_ENGINE or name.split(".")[0] in OF_THE_EMULATOR_OR_ENGINE
    }
    assert heavy == set()


def test_parsing_builds_no_model_that_only_a_running_task_needs(imported: set[str]) -> None:
    later = (
        *("services.lip_sync", "trust.sidecar", "trust.consent", "files.captions", "lines"),
        *("jobs.record", "jobs.lifecycle", "jobs.store"),
    )
    assert not {name for name in imported if name.startswith(tuple(f"voice_provider.{room}" for room in later))}


def test_the_pytest_plugin_imports_nothing_when_it_is_loaded() -> None:
    plugin = "import sys; before = set(sys.modules); import voice_provider.emulator.pytest_plugin; import json; "
    added = set(child(f"import pytest; {plugin} print(json.dumps(sorted(set(sys.modules) - before)))"))
    assert not {
        name for name in added if name.split(".")[0] in ("fastapi", "uvicorn", "airflow", "av", "cv2", "pydantic")
    }


EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    """What parsing each example does, by its file."""
    told = [json.loads(line) for line in lines(PARSE, str(ROOT), *map(str, EXAMPLES)) if line.startswith('{"file"')]
    return {example.pop("file"): example for example in told}


@pytest.mark.parametrize("dag", EXAMPLES, ids=lambda path: path.stem)
def test_parsing_an_example_opens_no_socket_no_connection_and_no_file(dag: Path, parsed: dict[str, Any]) -> None:
    assert str(dag) in parsed, "it cannot be parsed"
    assert len(parsed[str(dag)]["dags"]) == 1
    assert parsed[str(dag)]["events"] == []
    assert parsed[str(dag)]["heavy"] == []
