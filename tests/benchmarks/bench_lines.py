"""SpeakLinesOperator against a bare asyncio loop over the same answers: wall time and CPU a line.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_lines.py``; ``BENCH_LINES=1000`` for the whole script.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.conftest import MemoryStore
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.operators import SpeakLinesOperator

if TYPE_CHECKING:
    from pathlib import Path

LINES = int(os.environ.get("BENCH_LINES", "150"))
AT_A_TIME = int(os.environ.get("BENCH_LINES_AT_A_TIME", "5"))
ANSWER = 0.3  # seconds
TEXT = "Line {} of a long night, three seconds long."


async def _bare(url: str, key: str, voice: str) -> None:
    turn = asyncio.Semaphore(AT_A_TIME)
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}", "model": "s1"}) as client:

        async def speak(number: int) -> None:
            async with turn:
                body = {"text": TEXT.format(-number), "reference_id": voice, "format": "mp3"}
                (await client.post("/v1/tts", json=body, timeout=60)).raise_for_status()

        await asyncio.gather(*map(speak, range(1, LINES + 1)))


@pytest.mark.benchmark
def test_many_lines_are_as_fast_as_a_bare_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmulatorProcess(tmp_path / "emulator", engine="tone") as emulator:
        emulator.settings(fish_concurrency=None)
        [voice] = emulator.seed_models(["Narrator"])
        emulator.fault("slow", "/v1/tts", seconds=ANSWER, times=None)
        monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(emulator.connection("fish_audio")))
        ti = SimpleNamespace(
            dag_id="d",
            task_id="t",
            run_id="r",
            map_index=-1,
            max_tries=0,
            try_number=1,
            id="0" * 8 + "-0000" * 3 + "-" + "0" * 12,
        )
        script = [{"text": TEXT.format(number)} for number in range(LINES)]
        operator: Any = SpeakLinesOperator(
            task_id="t",
            lines=script,
            voice_id=voice["id"],
            output=f"{tmp_path}/out/",
            concurrency=AT_A_TIME,
            model="s1",
        )
        began, cpu = time.perf_counter(), time.process_time()
        result = operator.execute({"ti": ti, "task_state_store": MemoryStore()})
        ours, ours_cpu = time.perf_counter() - began, time.process_time() - cpu
        assert result["counts"] == {"spoken": LINES}
        began, cpu = time.perf_counter(), time.process_time()
        asyncio.run(_bare(emulator.url, emulator.api_key, voice["id"]))
        bare, bare_cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"\n{LINES:,} lines, {AT_A_TIME} at a time, answers of {ANSWER} s")
        print(f"operator   {ours:6.1f} s, {ours_cpu / LINES * 1000:6.1f} ms of CPU a line")
        print(f"bare loop  {bare:6.1f} s, {bare_cpu / LINES * 1000:6.1f} ms of CPU a line")
        print(f"ratio      {bare / ours:6.2f}  (aim: at least 0.95)")
