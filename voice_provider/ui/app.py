"""The web app of the page.

Airflow checks nobody for an app that is mounted: each route names its own check, and ``tests/ui`` walks them all.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.responses import FileResponse, JSONResponse

from voice_provider.exceptions import CapabilityError, InvalidInputError, NotAllowedError, NotFoundError, VoiceError
from voice_provider.ui import connections, jobs, money, results, voices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STATIC = Path(__file__).with_name("static")
SAFE = ("GET", "HEAD", "OPTIONS")
# What a service or a file says is never a page of this host, and no other site shows or reads it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
# The first that fits; the rest is the service, or what is between: not this server's fault, nor the browser's.
STATUS: tuple[tuple[type[VoiceError], int], ...] = (
    (NotFoundError, status.HTTP_404_NOT_FOUND),
    (NotAllowedError, status.HTTP_403_FORBIDDEN),
    (InvalidInputError, status.HTTP_400_BAD_REQUEST),
    (CapabilityError, status.HTTP_400_BAD_REQUEST),
    (VoiceError, status.HTTP_502_BAD_GATEWAY),
)


@cache
def app() -> FastAPI:
    """Return the app, made once in a process."""
    made = FastAPI(title="Voice", docs_url=None, redoc_url=None, openapi_url=None)
    made.middleware("http")(_guard)
    made.add_exception_handler(VoiceError, _told)
    made.add_exception_handler(AirflowNotFoundException, _no_connection)
    for part in (connections, voices, jobs, results, money):
        made.include_router(part.router)
    made.add_api_route("/static/{name}", _static, dependencies=[Depends(get_user)])
    return made


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let no other site do anything in a user's name, and send every answer with strict headers."""
    answer = await call_next(request) if _is_from_here(request) else JSONResponse({"detail": "Foreign origin."}, 403)
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def _is_from_here(request: Request) -> bool:
    """Whether a request that changes something comes from Airflow's own pages, or from no page at all.

    Every browser tells the origin of such a request; behind a proxy the host may be another than that of the address.
    """
    came_from = request.headers.get("origin")
    if request.method in SAFE or (came_from is None and request.headers.get("sec-fetch-site", "none") == "none"):
        return True
    hosts = {request.url.netloc, urlsplit(conf.get("api", "base_url", fallback="") or "").netloc}
    return urlsplit(came_from or "").netloc in hosts - {""}


def _told(_: Request, error: Exception) -> Response:
    code = next(code for kind, code in STATUS if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, code)


def _no_connection(request: Request, _: Exception) -> Response:
    conn_id = request.path_params.get("connection_id")
    detail = (
        f"The API server cannot read connection '{conn_id}': it is not in Airflow's database, nor in an environment "
        "variable or a secrets backend of the API server."
    )
    return JSONResponse({"detail": detail}, status.HTTP_404_NOT_FOUND)


def _static(name: str) -> Response:
    """Return a module of the page; browsers take a module of the right type only."""
    path = STATIC / name
    if path.parent != STATIC or path.suffix != ".js" or not path.is_file():
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    return FileResponse(path, media_type="text/javascript", headers={"Cache-Control": "private, no-cache"})
