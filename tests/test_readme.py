"""The README's blocks, as they are printed: what can be pasted works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.sdk import DAG, BaseHook, Connection

from tests.conftest import ROOT
from voice_provider.cli import parser
from voice_provider.emulator import API_KEY
from voice_provider.emulator import __main__ as emulator
from voice_provider.hooks.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    found = [text for name, text in BLOCKS if name == language]
    assert found, language
    return found


def test_every_block_is_of_a_language_that_is_tried_here() -> None:
    assert {name for name, _ in BLOCKS} == {"", "bash", "python", "yaml"}  # none: what a command prints


def test_python_runs_inside_a_dag() -> None:
    for block in blocks("python"):
        namespace: dict[str, Any] = {}
        with DAG("readme", schedule=None):
            exec(block, namespace)
        assert namespace.keys() - {"__builtins__"}, block


def test_bash_is_bash_and_its_connections_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    known = set()
    for block in blocks("bash"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
        for line in re.findall(r"^export .*$", block, re.MULTILINE):
            show = f'{line}; exec "$0" -c "import os; print(os.environ[\'AIRFLOW_CONN_VOICE_DEFAULT\'])"'
            value = subprocess.run(
                ["bash", "-c", show, sys.executable], capture_output=True, text=True, check=True
            ).stdout.strip()
            monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", value)
            given = BaseHook.get_connection("voice_default")
            settings = read_settings(given, given.extra_dejson, "https://service.example")
            assert settings.key in ("YOUR-KEY", API_KEY), line
            known.add(given.conn_type)
    assert known == {"sync_labs", "fish_audio"}


def test_commands_have_the_options_that_are_printed() -> None:
    printed = "\n".join(text for language, text in BLOCKS if language != "python")
    called = re.findall(r"voice-provider( [^\n&|#]+)", printed)
    called += re.findall(r"`voice-provider( [^`|]+)`", README.replace("\n", " "))
    commands = set()
    for line in called:
        given = shlex.split(line)
        if given[0] == "emulator":
            emulator.parse(given[1:])
        else:
            assert parser().parse_known_args(given)[1] == []
        commands.add(given[0])
    assert commands >= {"demo", "emulator", "verify", "voices", "jobs"}


@pytest.mark.system
def test_the_tests_of_a_project_that_is_empty_run_as_printed(tmp_path: Path) -> None:
    tests = [block for block in blocks("python") if "def test_" in block]
    for number, block in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(block)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**outside, "AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{len(tests)} passed" in done.stdout, done.stdout + done.stderr
    assert not list((tmp_path / "airflow").glob("*.db"))  # the user's database is never touched


def test_the_compose_file_starts_an_emulator_that_its_airflow_may_ask_over_http(tmp_path: Path) -> None:
    [block] = blocks("yaml")
    services = yaml.safe_load(block)["services"]
    given = shlex.split(services["voices"]["command"])
    assert given[:2] == ["voice-provider", "emulator"]
    options = emulator.parse(given[2:])
    variable = services["airflow"]["environment"]["AIRFLOW_CONN_VOICE_DEFAULT"]
    connection = Connection.from_json(variable, "voice_default")
    settings = read_settings(connection, connection.extra_dejson, "https://service.example")
    assert settings.base_url == f"http://{options.host}:{options.port}"
    assert settings.plain_http
    assert settings.key == API_KEY
    # The same command, for a name and a folder that there are here.
    here = {"voices": "localhost", "8080": "0", "/data": str(tmp_path)}
    command = [here.get(word, word) for word in given[2:]]
    with subprocess.Popen(
        [sys.executable, "-m", "voice_provider.emulator", *command, "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["url"].startswith("http://localhost:")
        process.terminate()


def test_pictures_that_are_shown_are_there() -> None:
    shown = re.findall(r"\]\((docs/[^)]+)\)", README)
    assert shown
    for name in shown:
        assert (ROOT / name).read_bytes().startswith(b"\x89PNG"), name
