"""The watch over the API key, for the suite's conftest: who prints it or writes it down fails the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAKS = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail every test that prints or logs the key, whatever else it is about."""
    report = yield
    for title, text in report.sections:
        if API_KEY in text:
            report.outcome, report.longrepr = (
                "failed",
                f"The API key is in the section '{title}' of this test's output.",
            )
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search Airflow's home (metadata database, logs, rendered fields, XComs, links) for the key.

    Each worker of xdist has a home of its own and tells what it found; only the session that started them can fail.
    """
    found = session.config.stash.setdefault(LEAKS, [])
    files = (path for path in Path(os.environ["AIRFLOW_HOME"]).rglob("*") if path.is_file())
    found += [str(path) for path in files if API_KEY.encode() in path.read_bytes()]
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["leaks"] = found
    elif found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker found."""
    output: dict[str, Any] = getattr(node, "workeroutput", None) or {}
    node.config.stash.setdefault(LEAKS, []).extend(output.get("leaks", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the key was written to."""
    for path in config.stash.get(LEAKS, []):
        terminalreporter.write_line(f"The API key was written to {path}", red=True)
