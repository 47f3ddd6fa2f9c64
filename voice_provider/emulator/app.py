"""The ASGI application: two origins, faults in front of both, one log of requests."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from voice_provider.emulator import control
from voice_provider.emulator.fish_audio import routes as fish_audio
from voice_provider.emulator.fish_audio.requests import FishError, Invalid422, Marked, PlainError, is_fish, refusal
from voice_provider.emulator.sync_labs import routes as sync_labs
from voice_provider.emulator.sync_labs.errors import ApiError
from voice_provider.emulator.world.faults import inflict, inflict_live, transport_of
from voice_provider.emulator.world.files import StorageError

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from voice_provider.emulator.world.emulator import Emulator

log = logging.getLogger(__name__)

INTERNAL_ERROR = StorageError(500, "InternalError", "We encountered an internal error.")


def api(emulator: Emulator) -> FastAPI:
    app = FastAPI(title="voice emulator", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.emulator = emulator
    app.include_router(control.router)
    app.include_router(sync_labs.router)
    app.include_router(fish_audio.router)
    app.add_exception_handler(ApiError, _answer_error)
    for kind in (FishError, PlainError, Invalid422):
        app.add_exception_handler(kind, _answer_fish)
    app.add_exception_handler(HTTPException, _answer_unknown)
    app.add_exception_handler(Exception, _answer_bug)
    return app


async def _answer_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)  # noqa: S101 - that is what it was registered for
    return JSONResponse(error.body, error.status, error.headers)


async def _answer_fish(_: Request, error: Exception) -> Response:
    assert isinstance(error, FishError | PlainError | Invalid422)  # noqa: S101
    return error.response()


async def _answer_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if is_fish(request.url.path):
        return refusal(request.url.path, error.status_code).response()
    message = error.detail if error.status_code not in (404, 405) else f"Cannot {request.method} {request.url.path}"
    wrong = ApiError(404 if error.status_code == 405 else error.status_code, message=message)
    return JSONResponse(wrong.body, wrong.status)


async def _answer_bug(request: Request, error: Exception) -> Response:
    log.error("%s %s broke", request.method, request.url.path, exc_info=error)
    if is_fish(request.url.path):
        return refusal(request.url.path, 500).response()
    wrong = ApiError(500, "internal_error")
    return JSONResponse(wrong.body, wrong.status)


class Gate:
    """The outermost layer: tells the origins apart by the socket a request came in on."""

    def __init__(self, emulator: Emulator, storage_port: int) -> None:
        self._emulator = emulator
        self._api = api(emulator)
        self._storage_port = storage_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        live = scope["type"] == "websocket"
        on_storage = not live and scope["server"][1] == self._storage_port
        app = self._emulator.storage if on_storage else self._api
        if not on_storage and scope["path"].startswith("/_emulator/"):
            await app(scope, receive, send)
            return
        entry = self._noted(scope, "storage" if on_storage else "api")
        transport = transport_of(send)
        marked = Marked(send, self._emulator, scope) if is_fish(scope["path"]) and not on_storage else send
        watched = _Watched(marked, entry)
        rule = self._emulator.faults.strike(entry["method"], scope["path"])
        try:
            if rule is not None:
                entry["fault"] = rule.kind
                await (inflict_live if live else inflict)(rule, app, scope, receive, watched, transport)
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
