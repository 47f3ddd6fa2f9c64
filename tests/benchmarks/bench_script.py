"""A script of 10,000 lines in one task: memory above a task of one line, and time when one line has changed.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_script.py``; ``BENCH_SCRIPT=1000`` for a shorter one. The task
runs in processes of its own, whose memory is the kernel's word: what Python counts itself leaves out what C has taken.
"""

from __future__ import annotations

import json
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import MemoryStore
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.operators import SpeakLinesOperator

LINES = int(os.environ.get("BENCH_SCRIPT", "10000"))
AT_A_TIME = int(os.environ.get("BENCH_SCRIPT_AT_A_TIME", "5"))
TEXT = "Line {} of a long night that takes three seconds."


def _script(path: Path, lines: list[int]) -> Path:
    path.write_text("".join(["id,text,scene\n", *(f"l{n},{TEXT.format(line)},{n // 100}\n" for n, line in lines)]))
    return path


def _speak(script: Path, output: str, voice: str) -> dict[str, Any]:
    """Run the task, and return its counts, seconds of wall time, and MiB at most."""
    ids = {"dag_id": "d", "task_id": "t", "run_id": script.stem, "map_index": -1, "max_tries": 0, "try_number": 1}
    ti = SimpleNamespace(**ids, id="0" * 8 + "-0000" * 3 + "-" + "0" * 12)
    task: Any = SpeakLinesOperator(
        task_id="t", lines=str(script), voice_id=voice, output=output, concurrency=AT_A_TIME, model="s1"
    )
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    began = time.perf_counter()
    counts = task.execute({"ti": ti, "task_state_store": MemoryStore()})["counts"]
    seconds = time.perf_counter() - began
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {"counts": counts, "seconds": seconds, "peak": int(peak[1]) / 1024 if peak else 0.0}


@pytest.mark.benchmark
def test_a_long_script_takes_little_memory_and_a_change_of_it_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(enumerate(range(LINES)))
    one = _script(tmp_path / "one.csv", numbers[:1])
    whole = _script(tmp_path / "whole.csv", numbers)
    changed = _script(tmp_path / "changed.csv", [*numbers[1:], (0, LINES)])
    with (
        EmulatorProcess(tmp_path / "emulator", engine="tone") as emulator,
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as worker,
    ):
        emulator.settings(fish_concurrency=None)
        [voice] = emulator.seed_models(["Narrator"])
        monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(emulator.connection("fish_audio")))
        runs = [
            worker.submit(_speak, script, f"{tmp_path}/{folder}/", voice["id"]).result()
            for script, folder in ((one, "one"), (whole, "out"), (changed, "out"))
        ]
        paid = len(emulator.ledger("speech"))
    idle, first, second = runs
    print(f"\n{LINES:,} lines, {AT_A_TIME} at a time")
    for name, run in (("one line", idle), ("all", first), ("one changed", second)):
        print(f"{name:12} {run['seconds']:7.1f} s, {run['peak']:6.1f} MiB, {run['peak'] - idle['peak']:+5.1f}")
    assert first["counts"] == {"spoken": LINES}
    assert second["counts"] == {"reused": LINES - 1, "spoken": 1}
    assert paid == LINES + 2
    assert max(first["peak"], second["peak"]) - idle["peak"] <= 40
    assert second["seconds"] < 30
