"""For tests of DAGs: `voice_emulator`, fresh for every test, and `run_voice_dag`, which runs a DAG against it.

pytest loads this file in every run of a project that has the package installed, so it imports nothing but pytest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from voice_provider.emulator.dag_runner import DagRunner
    from voice_provider.emulator.process import EmulatorHandle, EmulatorProcess

ENGINE_OPTION = "voice_emulator_engine"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(ENGINE_OPTION, "engine of the voice emulator: tone (default), local or auto", default="tone")


@pytest.fixture(scope="session")
def voice_emulator_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatorProcess]:
    """The emulator's process, for the whole session."""
    from voice_provider.emulator.process import EmulatorProcess  # noqa: PLC0415 - only where it is used

    engine = os.environ.get("VOICE_EMULATOR_ENGINE") or str(request.config.getini(ENGINE_OPTION))
    with EmulatorProcess(tmp_path_factory.mktemp("voice-emulator"), engine=engine) as process:
        yield process


@pytest.fixture
def voice_emulator(voice_emulator_process: EmulatorProcess) -> EmulatorHandle:
    """An emulator without voices, assets, jobs, bills or faults, at its start settings and the real time."""
    voice_emulator_process.reset()
    return voice_emulator_process


@pytest.fixture(scope="session")
def voice_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An Airflow with a metadata database of its own, until the session ends; the user's is not touched."""
    from voice_provider.emulator.dag_runner import own_airflow  # noqa: PLC0415 - loads Airflow

    yield from own_airflow(tmp_path_factory.mktemp("voice-airflow"))


@pytest.fixture
def run_voice_dag(
    voice_airflow: None,  # noqa: ARG001 - it is there meanwhile
    voice_emulator: EmulatorHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> DagRunner:
    """A function that runs a DAG in this process, its connections leading to the emulator; see `DagRunner.__call__`."""
    from voice_provider.emulator.dag_runner import DagRunner  # noqa: PLC0415 - only where it is used

    return DagRunner(voice_emulator, tmp_path, monkeypatch)
