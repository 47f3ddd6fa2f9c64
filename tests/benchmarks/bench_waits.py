"""What waiting for many jobs costs an event loop, against plain httpx that asks after each of them.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_waits.py``; about half a minute. Each row is a process of its
own, and all wait for as many jobs, as long and with the same interval. CPU seconds count, not the clock's, so that a
busy machine changes little. ``BENCH_WAITS`` says how many jobs there are, default 100:
plain httpx does not keep up with many more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks.service import SyncService
from tests.conftest import ROOT

WAITS = int(os.environ.get("BENCH_WAITS", "100"))
TOGETHER = 0.3  # of the CPU of plain httpx, at most
ONE_BY_ONE = 1.0  # of the CPU of plain httpx for a question, at most: on a busy machine neither asks in time

CHILD = """
import asyncio, json, random, resource, sys, time
import httpx
from tests.benchmarks.service import job_id
from voice_provider.hooks.voice import VoiceHook
from voice_provider.triggers.job import JobTrigger

kind, waits, seconds, interval, url = sys.argv[1], int(sys.argv[2]), 10.0, 1.0, sys.argv[3]
reads, plain = [], VoiceHook.afor_connection

async def counted(conn_id):
    reads.append(conn_id)
    return await plain(conn_id)

VoiceHook.afor_connection = counted

async def ask(client, number, until):
    while time.monotonic() < until:
        answer = await client.get(f"{url}/v2/tts/jobs/{job_id(number)}")
        assert answer.json()["status"] == "PROCESSING"
        await asyncio.sleep(interval * random.uniform(1.0, 1.1))

async def wait(number, seconds):
    path = f"/v2/tts/jobs/{job_id(number)}" if kind == "speech" else None
    deadline = time.time() + seconds
    trigger = JobTrigger("voice_default", kind, job_id(number), path, interval, deadline, 0.0)
    async for event in trigger.run():
        assert event.payload["status"] == "deadline", event.payload

async def main(count, seconds):
    if kind != "httpx":
        await asyncio.gather(*(wait(number, seconds) for number in range(count)))
        return
    async with httpx.AsyncClient(timeout=30) as client:
        await asyncio.gather(*(ask(client, number, time.monotonic() + seconds) for number in range(count)))

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

asyncio.run(main(2, 0.5))  # what is imported at first use is no part of it
reads.clear()
began = used()
asyncio.run(main(waits, seconds))
print("RESULT" + json.dumps({"cpu": used() - began, "reads": len(reads)}))
"""


@pytest.mark.benchmark
def test_many_waits_against_plain_httpx() -> None:
    found: dict[str, dict[str, float]] = {}
    for kind in ("httpx", "speech", "lip_sync"):
        with SyncService() as service:
            env = {**os.environ, "AIRFLOW_CONN_VOICE_DEFAULT": json.dumps(service.connection)}
            command = [sys.executable, "-c", CHILD, kind, str(WAITS), service.url]
            done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            found[kind] = {**json.loads(done.stdout.split("RESULT")[1]), "requests": service.requests()}
    names = {"httpx": "plain httpx", "speech": "asked one by one", "lip_sync": "asked together"}
    base = found["httpx"]["cpu"]
    print(f"\n{WAITS} jobs for 10 s, a question a second each")
    for kind, row in found.items():
        print(f"{names[kind]:16} {row['cpu']:6.2f} s CPU ({row['cpu'] / base:4.2f})", end=" ")
        print(f"{row['requests']:6.0f} requests, connection read {row['reads']:.0f} times")
    question = {kind: row["cpu"] / row["requests"] for kind, row in found.items()}
    print(f"a question: asked one by one {question['speech'] / question['httpx']:.2f} of plain httpx")
    assert found["speech"]["requests"] >= 0.8 * found["httpx"]["requests"], "it asks as often"
    assert [found[kind]["reads"] for kind in ("speech", "lip_sync")] == [1, 1]
    assert question["speech"] <= ONE_BY_ONE * question["httpx"]
    assert found["lip_sync"]["cpu"] <= TOGETHER * base
