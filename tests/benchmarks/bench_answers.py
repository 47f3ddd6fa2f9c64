"""Answers that would fill the memory: what a worker and a triggerer take for them above what they have at rest.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_answers.py``. Each is asked for in a process of its own, which
has asked for something small in the same way before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
BURST = 600  # MiB that 0.6 MiB are
LONGEST = 200  # MiB of a file that the connection allows
LIMIT = 64  # MiB above idle

CHILD = """
import asyncio, sys, tempfile
from voice_provider.exceptions import VoiceError
from voice_provider.files.storage import Output
from voice_provider.hooks.voice import VoiceHook
from voice_provider.services.base import download
from voice_provider.services.options import VoiceFilters

def worker(hook):
    hook.list_voices()

def triggerer(hook):
    asyncio.run(hook.transport.arun(hook.service.list_voices(VoiceFilters())))

def file(hook):
    with tempfile.TemporaryDirectory() as folder, Output(folder + "/x.mp4", "x").receive() as sink:
        hook.transport.run(download(hook.transport.settings.base_url + "/file", sink), 1)

def ask(conn_id):
    try:
        globals()[sys.argv[1]](VoiceHook.for_connection(conn_id))
    except VoiceError as error:
        return str(error)

def memory(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024

ask("calm")
idle = memory("VmRSS:")
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # forget the peak of starting up
said = ask("hurt")
print(f"RESULT{memory('VmHWM:') - idle:.1f} {said}")
"""


@contextmanager
def host() -> Iterator[str]:
    """A host whose answers below ``/calm`` are small, below ``/burst`` packed, and below ``/endless`` endless."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(b"[") + b"".join(packer.compress(b" " * MIB) for _ in range(BURST)) + packer.flush()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            if self.path.startswith("/endless"):
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                piece = b"%x\r\n%s\r\n" % (MIB, b"[" * MIB)
                try:
                    while True:
                        self.wfile.write(piece)
                except OSError:
                    return
            body = packed if self.path.startswith("/burst") else b"[]"
            if body is packed:
                self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """It needs no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # that they hang up is the point
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def above_idle(url: str, ask: str, answer: str) -> tuple[float, str]:
    """Ask in a process of its own; return MiB above idle, and what was said of the answer."""
    conn = {"conn_type": "sync_labs", "password": "sk-0123456789", "extra": {"max_download_mb": LONGEST}}
    hosts = {"CALM": f"{url}/calm", "HURT": f"{url}/{answer}"}
    named = {f"AIRFLOW_CONN_{name}": json.dumps({**conn, "host": where}) for name, where in hosts.items()}
    command = [sys.executable, "-c", CHILD, ask]
    run = subprocess.run(
        command, env={**os.environ, **named}, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    took, _, said = run.stdout.split("RESULT")[1].partition(" ")
    return float(took), said.strip()


@pytest.mark.benchmark
def test_no_answer_fills_the_memory() -> None:
    with host() as url:
        print(f"\n{'asked by':10} {'answer':8} {'above idle':>14}   (aim: at most {LIMIT} MiB)")
        found = {}
        for answer in ("burst", "endless"):
            for ask in ("worker", "triggerer", "file"):
                took, said = found[ask, answer] = above_idle(url, ask, answer)
                print(f"{ask:10} {answer:8} {took:10.1f} MiB   {said[:80]}")
        longest = {"file": f"longer than {LONGEST} MiB"}
        assert [key for key, (_, said) in found.items() if longest.get(key[0], "longer than 16 MiB") not in said] == []
        assert max(took for took, _ in found.values()) <= LIMIT
