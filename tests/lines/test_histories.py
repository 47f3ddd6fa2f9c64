"""Whatever happens to a script, a line is paid once, and the manifest tells the truth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.jobs.histories import batches, told
from tests.lines.histories import ScriptHistory, ScriptWorld

if TYPE_CHECKING:
    from tests.jobs.in_process import EmulatorHere

# More by hand: VOICE_SCRIPTS=4000 VOICE_FIRST_SEED=5000
SEEDS = batches("VOICE_SCRIPTS", 60, one="VOICE_SCRIPT", at_a_time=30)


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
