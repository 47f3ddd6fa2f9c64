"""The ASGI application: two origins, faults in front of both, one log of requests."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from voice_provider.emulator import control
from voice_provider.emulator.guard import Guard
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.faults import EDGE, inflict, inflict_live, transport_of
from voice_provider.emulator.world.files import StorageError
from voice_provider.emulator.world.half import owner
from voice_provider.emulator.world.refusals import Refusal
from voice_provider.emulator.world.settings import House, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastapi import Request
    from fastapi.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from voice_provider.emulator.engine import Engine
    from voice_provider.emulator.world.half import Half

log = logging.getLogger(__name__)

INTERNAL_ERROR = StorageError(500, "InternalError", "We encountered an internal error.")


def defaults(halves: Sequence[Half]) -> Settings:
    """The settings that there are with these halves."""
    return Settings(*(half.settings() for half in halves), House())


def build(data_dir: Path, engine: Engine, settings: Settings, halves: Sequence[Half]) -> Emulator:
    """Put the world together with what the halves bring along."""
    prices = {half.service: half.price for half in halves if half.price}
    emulator = Emulator(data_dir, engine, settings, prices, [row for half in halves for row in half.rows])
    for half in halves:
        if half.join:
            half.join(emulator)
    return emulator


def api(emulator: Emulator, halves: Sequence[Half]) -> FastAPI:
    app = FastAPI(title="voice emulator", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.emulator, app.state.halves = emulator, tuple(halves)
    app.include_router(control.router)
    app.add_route("/", _to_front_page)
    for half in halves:
        app.include_router(half.router)
        if half.control:
            app.include_router(half.control, prefix=control.router.prefix)
    app.add_exception_handler(Refusal, _answer_refusal)
    app.add_exception_handler(HTTPException, _answer_unknown)
    app.add_exception_handler(Exception, _answer_bug)
    return app


async def _to_front_page(_: Request) -> Response:
    return RedirectResponse(f"{control.router.prefix}/")


async def _answer_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - that is what it was registered for
    return error.response()


async def _answer_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return _half(request).refuse(request, error.status_code, error.detail)


async def _answer_bug(request: Request, error: Exception) -> Response:
    log.error("%s %s broke", request.method, request.url.path, exc_info=error)
    return _half(request).refuse(request, 500, "")


def _half(request: Request) -> Half:
    return owner(request.app.state.halves, request.url.path)


class Gate:
    """The outermost layer: tells the origins apart by the socket a request came in on.

    :param guard: says who may speak to them; default: that of an emulator on 127.0.0.1
    """

    def __init__(
        self, emulator: Emulator, storage_port: int, halves: Sequence[Half], guard: Guard | None = None
    ) -> None:
        self._emulator = emulator
        self._halves = halves
        self._guard = guard or Guard()
        self._api = api(emulator, halves)
        self._storage_port = storage_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        live = scope["type"] == "websocket"
        on_storage = not live and scope["server"][1] == self._storage_port
        app = self._emulator.storage if on_storage else self._api
        to_control = not on_storage and not live and scope["path"].startswith(f"{control.router.prefix}/")
        headers = Headers(scope=scope)
        guard = self._guard
        refusal = guard.of_control(scope["method"], headers) if to_control else guard.of_services(headers)
        if refusal or to_control:
            await (refusal or app)(scope, receive, send)
            return
        entry = self._noted(scope, "storage" if on_storage else "api")
        transport = transport_of(send)
        half = owner(self._halves, scope["path"])
        rule = self._emulator.faults.strike(entry["method"], scope["path"])
        edge = rule is not None and rule.kind in EDGE  # it does not bear the service's marks
        marked = half.mark(send, self._emulator, scope) if half.mark and not on_storage and not edge else send
        watched = _Watched(marked, entry)
        try:
            if rule is not None:
                entry["fault"] = rule.kind
                words = partial(half.ordered, scope["path"])
                await (inflict_live if live else inflict)(rule, app, scope, receive, watched, transport, words)
            else:
                await app(scope, receive, watched)
        except asyncio.CancelledError:
            transport.abort()  # told to stop: uvicorn would make up a 500 otherwise
            raise
        except Exception:
            # The API answers its bugs and raises them again, upon which uvicorn would close the connection.
            if entry["status"] is None:
                log.exception("%s %s broke", entry["method"], scope["path"])
                await INTERNAL_ERROR.response()(scope, receive, watched)

    def _noted(self, scope: Scope, origin: str) -> dict[str, Any]:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        entry = {
            "at": self._emulator.clock.now(),
            "method": scope.get("method", "GET"),  # which is how a live socket opens
            "path": scope["path"],
            "query": "" if origin == "storage" else scope["query_string"].decode("latin-1"),
            "origin": origin,
            "status": None,
            "has_key": "x-api-key" in headers or "authorization" in headers,
            "idempotency_key": headers.get("idempotency-key"),
            "fault": None,
        }
        self._emulator.requests.append(entry)
        return entry


class _Watched:
    """`send`, noting the status that really went out."""

    def __init__(self, send: Send, entry: dict[str, Any]) -> None:
        self._send, self._entry = send, entry

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self._entry["status"] = message["status"]
        elif message["type"] == "websocket.accept":
            self._entry["status"] = 101
        await self._send(message)
