"""The emulator in the process of the tests: the same application, spoken to without sockets.

For thousands of histories, where sockets would cost more than what is tested. Whatever a fault does to a connection
comes out as it does over a socket: as httpx' errors and as bodies that break off.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import anyio.to_thread
import httpx

from voice_provider.emulator import API_KEY, engine
from voice_provider.emulator.app import Gate, build, defaults
from voice_provider.emulator.halves import HALVES
from voice_provider.emulator.process import EmulatorError, EmulatorHandle
from voice_provider.emulator.world.faults import FaultRule
from voice_provider.emulator.world.state import Charge, Voice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import Message

API_PORT, STORAGE_PORT = 1, 2  # nothing listens there; they tell the two origins apart


class Exchange:
    """A request and what is answered: the three callables of ASGI, and the socket that is not there."""

    def __init__(self, request: httpx.Request) -> None:
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.whole = False
        self.transport = self  # where faults look for the socket
        self._body: bytes | None = request.read()
        self._cut = asyncio.Event()

    async def receive(self) -> Message:
        if self._body is None:
            await self._cut.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
            return
        if message.get("body"):
            self.pieces.append(message["body"])
        self.whole = not message.get("more_body", False)

    def abort(self) -> None:
        """Cut the connection."""
        self._cut.set()

    close = abort


class Pieces(httpx.SyncByteStream):
    """The body as it was sent, in pieces; the end that a cut connection has."""

    def __init__(self, exchange: Exchange, length: int | None) -> None:
        self._exchange, self._length = exchange, length

    def __iter__(self) -> Iterator[bytes]:
        yield from self._exchange.pieces
        come = sum(map(len, self._exchange.pieces))
        if not self._exchange.whole or (self._length is not None and come < self._length):
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class Line(httpx.BaseTransport):
    """httpx' way to the application."""

    def __init__(self, emulator: EmulatorHere) -> None:
        self._emulator = emulator

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = self._emulator.answer(request)
        if exchange.status is None:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        length = next((int(value) for name, value in exchange.headers if name.lower() == b"content-length"), None)
        if length is None:
            exchange.headers.append((b"transfer-encoding", b"chunked"))
        return httpx.Response(exchange.status, headers=exchange.headers, stream=Pieces(exchange, length))


class AtOnce(Executor):
    """Does what it is given where it is given it: nobody else waits for the loop, and a thread costs more."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # its caller raises it
            done.set_exception(error)
        return done


async def _at_once(call: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """Stand in for ``anyio.to_thread.run_sync``, by which files are read and written."""
    return call(*args)


class EmulatorHere(EmulatorHandle):
    """A handle like any other; its work is done while somebody asks it something.

    :param data_dir: where it keeps its state
    """

    def __init__(self, data_dir: Path) -> None:
        where = [f"http://127.0.0.1:{port}" for port in (API_PORT, STORAGE_PORT)]
        super().__init__(*where, API_KEY, "tone")
        self._loop = asyncio.new_event_loop()
        data_dir.mkdir(parents=True)
        self._loop.run_until_complete(self._build(data_dir))

    async def _build(self, data_dir: Path) -> None:
        self._world = build(data_dir, engine.load("tone"), defaults(HALVES), HALVES)
        self._world.jobs._threads = AtOnce()
        self._world.api_url, self._world.storage.url = self.url, self.storage_url
        self._app = Gate(self._world, STORAGE_PORT, HALVES)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = httpx.Request(method, f"{self.url}/_emulator/{path}", headers=headers, content=content)
        exchange = self.answer(request)
        answer = b"".join(exchange.pieces)
        if exchange.status is None or exchange.status >= 400:
            raise EmulatorError(f"{method} {path}: {exchange.status} {answer.decode()}")
        return json.loads(answer)

    # what histories ask thousands of times, straight from the world that the control plane looks into

    def reset(self) -> None:
        self._world.reset()

    def settings(self, **changes: Any) -> dict[str, Any]:
        if changes:
            self._world.change_settings(changes)
        return self._world.settings.values()

    def ledger(self, kind: str | None = None) -> list[dict[str, Any]]:
        found = self._world.state.find(Charge, "?1 IS NULL OR kind = ?1 ORDER BY seq", kind)
        return [charge.values() for charge in found]

    def voices(self, org: str = "main") -> list[dict[str, Any]]:
        return [voice.values() for voice in self._world.state.find(Voice, "org = ?", org)]

    def fault(self, kind: str, path: str = "*", **rule: Any) -> str:
        return self._world.faults.add(FaultRule.model_validate({"kind": kind, "path": path, **rule}))

    def clear_faults(self) -> None:
        self._world.faults.remove(None)

    def answer(self, request: httpx.Request) -> Exchange:
        exchange = Exchange(request)
        # As httpcore does: what stands in the first line may be given apart from the address.
        path, _, query = request.extensions.get("target", request.url.raw_path).partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 3),
            "server": ("127.0.0.1", request.url.port),
            "state": {},
        }
        with patch.object(anyio.to_thread, "run_sync", _at_once):
            self._loop.run_until_complete(self._app(scope, exchange.receive, exchange.send))
        return exchange

    def close(self) -> None:
        self._world.close()
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
