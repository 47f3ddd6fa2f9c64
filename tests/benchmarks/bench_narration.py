"""TTSOperator with a 30-minute narration that streams to disk: memory above idle, against a short line.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_narration.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from pathlib import Path

CHARACTERS = int(os.environ.get("BENCH_NARRATION_CHARACTERS", "28000"))
ENGINE = os.environ.get("BENCH_NARRATION_ENGINE", "auto")
MEBIBYTE = 1024 * 1024
SENTENCE = "The keeper climbed the stairs of the lighthouse, counted the ships on the water, and wrote them down. "

CHILD = """
import json, resource, sys, time
from types import SimpleNamespace
from voice_provider.operators.speech import TTSOperator

class Store(dict):
    def set(self, key, value):
        self[key] = value

def speak(text, output):
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1, max_tries=0)
    began = time.perf_counter()
    operator = TTSOperator(task_id="t", text=text, voice_id=sys.argv[1], output=output)
    result = operator.execute({"ti": ti, "task_state_store": Store()})
    return time.perf_counter() - began, result

def current():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

text = sys.stdin.read()
speak("A short line, so that everything is imported.", sys.argv[2] + "/short.mp3")
idle = current()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the peak of starting up
seconds, result = speak(text, sys.argv[2] + "/narration." + sys.argv[3])
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print("RESULT" + json.dumps({"took": seconds, "above_idle": peak - idle, **result}))
"""


@pytest.mark.benchmark
@pytest.mark.parametrize("form", ["mp3", "wav"])
def test_a_narration_streams_to_disk(tmp_path: Path, form: str) -> None:
    text = (SENTENCE * (CHARACTERS // len(SENTENCE) + 1))[:CHARACTERS]
    with EmulatorProcess(tmp_path / "emulator", engine=ENGINE) as emulator:
        [voice] = emulator.seed_models(["Narrator"])
        env = {**os.environ, "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(emulator.connection("fish_audio"))}
        command = [sys.executable, "-c", CHILD, voice["id"], str(tmp_path), form]
        run = subprocess.run(command, env=env, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[-2000:]
        found = json.loads(run.stdout.split("RESULT")[1])
        print(f"\n{CHARACTERS:,} characters as {form}, engine {found['engine']}")
        print(f"speech               {found['seconds'] / 60:6.1f} min, {found['bytes'] / MEBIBYTE:.1f} MiB")
        print(f"took                 {found['took']:6.1f} s")
        print(f"memory above idle    {found['above_idle'] / MEBIBYTE:6.1f} MiB  (aim: at most 40)")
