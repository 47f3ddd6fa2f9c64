"""CleanupVoicesOperator over many voices: how long and how much memory, against the bare requests in the same run.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_cleanup.py``. A tenth of the voices stays: made by hand, of
another namespace, protected, or of a run that is active.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.jobs.names import ManagedName, run_key, short_hash

if TYPE_CHECKING:
    from pathlib import Path

VOICES = int(os.environ.get("BENCH_CLEANUP_VOICES", "10000"))
MEBIBYTE = 1024 * 1024

CHILD = """
import json, resource, sys, time
from types import SimpleNamespace
import httpx
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators import cleanup
from voice_provider.operators.cleanup import CleanupVoicesOperator

class Store(dict):
    def set(self, key, value):
        self[key] = value

def sweep():
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1, max_tries=0, xcom_push=lambda **_: None)
    ti.get_task_states = lambda dag_id, run_ids=None: {"ended": {}, "running": {}}
    ti.get_dr_count = lambda dag_id, run_ids=(), states=(): int(run_ids == ["ended"] or not states)
    operator = CleanupVoicesOperator(task_id="t", orphaned=True, protect=["Dear*"])
    began = time.perf_counter()
    report = operator.execute({"ti": ti, "task_state_store": Store()})
    return time.perf_counter() - began, report

def current():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

# The baseline: what the same deletions cost as bare requests of one client.
hook = VoiceHook.for_connection("voice_default")
path = {"sync_labs": "/v2/voices/"}.get(hook.service.name, "/model/")
headers = hook.service.key_headers(hook.settings.key)
with httpx.Client(base_url=hook.settings.base_url, headers=headers) as client:
    ids = sys.stdin.read().split()
    began = time.perf_counter()
    for voice_id in ids:
        client.delete(path + voice_id).raise_for_status()
    bare = (time.perf_counter() - began) / len(ids)

def peak():
    # the most since the last call, which is then forgotten
    with open("/proc/self/status") as file:
        most = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return most

idle, listed = current(), []
judge = cleanup.judge

def judged(*arguments):
    listed.extend([peak(), current()])
    return judge(*arguments)

cleanup.judge = judged
peak()
seconds, report = sweep()
memory = {"listing": listed[0] - idle, "deleting": peak() - listed[1]}
size = len(json.dumps(report))
counts = {name: len(value) if isinstance(value, list) else value for name, value in report.items()}
print("RESULT" + json.dumps({"took": seconds, "bare": bare, **memory, "size": size, **counts}))
"""


def names(count: int) -> list[str]:
    """Nine of ten are orphans."""
    made = int(time.time()) - 100
    found = []
    for number in range(count):
        kind = number % 50
        run = run_key("news", "running" if kind == 0 else "ended") + "aaaaaaa"
        namespace = "dev" if kind == 1 else "default"
        label = f"Dear {number}" if kind == 2 else f"Voice {number}"
        name = ManagedName(label, namespace, short_hash(str(number)), "news", run, made - number)
        found.append(f"Made by hand {number}" if kind in (3, 4) else str(name))
    return found


@pytest.mark.benchmark
@pytest.mark.parametrize("service", ["sync_labs", "fish_audio"])
@pytest.mark.parametrize("count", [VOICES // 10, VOICES])
def test_a_cleanup_of_many_voices(tmp_path: Path, service: str, count: int) -> None:
    with EmulatorProcess(tmp_path / "emulator", engine="tone", settings={"rate_limits": False}) as emulator:
        seed = emulator.seed_voices if service == "sync_labs" else emulator.seed_models
        bare = [str(item.get("id") or item["_id"]) for item in seed([f"bare {number}" for number in range(200)])]
        seed(names(count))
        env = {
            **os.environ,
            "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(emulator.connection(service)),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        }
        command = [sys.executable, "-c", CHILD]
        run = subprocess.run(
            command, env=env, cwd=ROOT, input=" ".join(bare), capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr[-2000:]
        found = json.loads(run.stdout.split("RESULT")[1])
        print(f"\n{service}, {count:,} voices: {found['deleted']:,} deleted, {found['failed']} failed, {found['kept']}")
        print(f"took                 {found['took']:6.1f} s  (aim: at most 60 for 10,000)")
        print(f"a deletion           {found['took'] / found['deleted'] * 1000:6.2f} ms")
        print(f"a bare request       {found['bare'] * 1000:6.2f} ms")
        print(f"memory to list them  {found['listing'] / MEBIBYTE:6.1f} MiB above idle")
        print(f"memory to delete     {found['deleting'] / MEBIBYTE:6.1f} MiB above that")
        print(f"report               {found['size'] / MEBIBYTE:6.2f} MiB")
        assert found["deleted"] == count * 9 // 10
        assert found["failed"] == 0
