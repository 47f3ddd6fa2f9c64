"""The suite itself: a key that is written down somewhere fails the run, however it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LEAK = "Path(os.environ['AIRFLOW_HOME'], 'task.log').write_text(f'key={API_KEY}')"


def run(folder: Path, body: str, workers: int) -> subprocess.CompletedProcess[str]:
    """Run a few tests under this suite's conftest, one of which does what is told."""
    (folder / "test_tiny.py").write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from voice_provider.emulator import API_KEY\n"
        f"def test_it(): {body}\n"
        "def test_another(): pass\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-n", str(workers), f"--rootdir={folder}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AIRFLOW"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_that_is_written_to_airflows_home_fails_the_run(tmp_path: Path, workers: int) -> None:
    done = run(tmp_path, LEAK, workers)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 passed" in done.stdout, "no test has failed"
    assert done.stdout.count("The API key was written to ") == 1


def test_a_run_without_a_leak_is_a_success(tmp_path: Path) -> None:
    done = run(tmp_path, "pass", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The API key" not in done.stdout
