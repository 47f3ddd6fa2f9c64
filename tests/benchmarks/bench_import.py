"""What importing all operators and sensors adds to importing the Airflow classes that every DAG imports.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_import.py``. Both are timed in one fresh interpreter, one
after the other, so the ratio does not depend on the machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

from tests.conftest import ROOT

RUNS = 7
LIMIT_MS = 60

CHILD = """
import json, time
began = time.perf_counter()
from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger
airflow = time.perf_counter()
import voice_provider, voice_provider.operators, voice_provider.sensors
for door in (voice_provider, voice_provider.operators, voice_provider.sensors):
    for name in door.__all__:
        getattr(door, name)
ours = time.perf_counter()
print(json.dumps([1000 * (airflow - began), 1000 * (ours - airflow)]))
"""


@pytest.mark.benchmark
def test_importing_all_operators_and_sensors_adds_little_to_airflow() -> None:
    times = []
    for _ in range(RUNS + 1):  # the first run writes the byte code
        done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True, cwd=ROOT)
        times.append(json.loads(done.stdout.splitlines()[-1]))
    airflow, ours = (statistics.median(column) for column in zip(*times[1:], strict=True))
    print(f"\nAirflow's base classes: {airflow:.0f} ms; all operators and sensors: {ours:.1f} ms more", end=" ")
    print(f"({ours / airflow:.1%}), medians of {RUNS} runs.")
    assert ours <= LIMIT_MS
