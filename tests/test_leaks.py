"""The suite itself: a key that is printed or written down somewhere fails the run, however it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import conftest, leaks
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# As the suite's own: each process has a home of its own.
CONFTEST = """\
import os, tempfile
HOME = tempfile.TemporaryDirectory()
os.environ["AIRFLOW_HOME"] = HOME.name
from tests.leaks import *
"""
TESTS = """\
import os
from pathlib import Path
from voice_provider.emulator import API_KEY
def test_one(): {body}
def test_another(): pass
"""
WRITES = "Path(os.environ['AIRFLOW_HOME'], 'task.log').write_text(f'key={API_KEY}')"


def run(folder: Path, body: str, workers: int) -> subprocess.CompletedProcess[str]:
    """Run two tests in a session of their own, one of which does what is told."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_tiny.py").write_text(TESTS.format(body=body))
    options = ["-q", "-p", "no:cacheprovider", "-p", "xdist", "-n", str(workers), f"--rootdir={folder}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AIRFLOW"))}
    path = os.pathsep.join((str(ROOT), *filter(None, (os.environ.get("PYTHONPATH"),))))
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=folder,
        env=environment | {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_that_is_written_to_airflows_home_fails_the_run(tmp_path: Path, workers: int) -> None:
    done = run(tmp_path, WRITES, workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "2 passed" in done.stdout, "no test has failed"
    assert done.stdout.count("The API key was written to ") == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_that_is_printed_fails_the_test(tmp_path: Path, workers: int) -> None:
    done = run(tmp_path, "print(API_KEY)", workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_without_a_leak_is_a_success(tmp_path: Path, workers: int) -> None:
    done = run(tmp_path, "pass", workers)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "The API key" not in done.stdout


def test_the_suite_is_watched() -> None:
    hooks = [name for name in vars(leaks) if name.startswith("pytest_")]
    assert len(hooks) == 4
    for name in hooks:
        assert getattr(conftest, name) is getattr(leaks, name)
    assert os.environ["AIRFLOW_HOME"] == conftest._HOME.name
