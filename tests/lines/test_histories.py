"""Whatever happens to a script, a line is paid once, and the manifest tells the truth."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.jobs.histories import told
from tests.jobs.in_process import EmulatorHere
from tests.lines.histories import ScriptHistory, ScriptWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

RANDOM, AT_A_TIME = int(os.environ.get("VOICE_SCRIPTS", "60")), 30
FIRST = int(os.environ.get("VOICE_FIRST_SEED", "0"))
ONE = os.environ.get("VOICE_SCRIPT")  # the seed of a history that is to be repeated
SEEDS = (
    [range(int(ONE), int(ONE) + 1)]
    if ONE
    else [range(n, min(n + AT_A_TIME, FIRST + RANDOM)) for n in range(FIRST, FIRST + RANDOM, AT_A_TIME)]
)


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A disk in memory, where there is one."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="voice-", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def here(disk: Path) -> Iterator[EmulatorHere]:
    emulator = EmulatorHere(disk / "emulator")
    yield emulator
    emulator.close()


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_whatever_happens_a_line_is_paid_once_and_told_as_it_is(
    here: EmulatorHere, disk: Path, monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        world = ScriptWorld(here, monkeypatch, Path(folder), disk / "emulator")
        for seed in seeds:
            history = ScriptHistory(world, seed)
            with told(lambda history=history: str(history)):
                history.live()
