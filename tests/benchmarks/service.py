"""The questions of sync. labs after jobs, answered in a process of its own and as cheaply as can be.

The emulator would be measured along: it keeps books and makes media. This one has every job that is asked for; all run
until they are told to end.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.conftest import ROOT

if TYPE_CHECKING:
    from types import TracebackType


def job_id(number: int) -> str:
    """Return the id of one of the jobs."""
    return f"11111111-2222-4333-8444-{number:012d}"


class SyncService:
    """Runs it; a context manager."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.benchmarks.service"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def connection(self) -> dict[str, Any]:
        """A connection of Airflow's to it."""
        return {"conn_type": "sync_labs", "password": "key", "host": self.url}

    def requests(self) -> int:
        """Return how many questions there were."""
        return int(self._ask("/requests"))

    def end(self) -> None:
        """End all jobs."""
        self._ask("/end")

    def _ask(self, path: str) -> Any:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.url + path, timeout=10) as answer:
            return json.load(answer)


class _Answers:
    def __init__(self) -> None:
        self._requests = 0
        self._status = "PROCESSING"

    def _job(self, name: str) -> dict[str, Any]:
        media = [
            {"type": kind, "assetId": job_id(0), "url": f"https://a.example/{name}"} for kind in ("video", "audio")
        ]
        done = self._status == "COMPLETED"
        return {
            "id": name,
            "createdAt": "2026-11-21T03:00:00Z",
            "input": media,
            "model": "lipsync-2",
            "status": self._status,
            "options": {"sync_mode": "bounce"},
            "outputUrl": f"https://a.example/{name}.mp4" if done else None,
            "outputDuration": 12.5 if done else None,
            "error": None,
        }

    def _answer(self, target: str) -> Any:
        path, query = urlsplit(target).path, urlsplit(target).query
        if path == "/requests":
            return self._requests
        if path == "/end":
            self._status = "COMPLETED"
            return True
        self._requests += 1
        if path == "/v2/generations":
            return [self._job(name) for name in parse_qs(query)["ids"]]
        return self._job(path.rpartition("/")[2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = json.dumps(self._answer(head.split(b" ", 2)[1].decode())).encode()
                about = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(about.encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_Answers().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
