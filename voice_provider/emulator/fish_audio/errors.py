"""In which shape Fish Audio refuses.

Two back ends answer there (section 1). The platform (`/model*`, `/wallet*`) validates with a 422 array and leaves
framework errors in plain text; inference (`/v1/*`) says everything as `{"status", "message"}`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from voice_provider.emulator.world.refusals import Refusal, phrase

if TYPE_CHECKING:
    from starlette.requests import Request

PATHS = ("/model", "/model/", "/wallet/", "/v1/")
INFERENCE = "/v1/"

INVALID_TOKEN = "Invalid Token"  # noqa: S105 - the service's words
NO_CREDIT = (
    "Insufficient API credit. API credit is managed independently from platform credit. "
    "Please visit https://fish.audio/app/developers to view your API credit balance or add funds."
)
TOO_MANY = "You have exceeded your current concurrency limit"
MESSAGES = {401: INVALID_TOKEN, 402: NO_CREDIT, 404: "Model not found", 429: TOO_MANY}
ERROR_CODES = {401: "invalid_api_key", 402: "insufficient_balance"}


class FishError(Refusal):
    """An answer other than 2xx as `{"status", "message"}` (section 2)."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body: dict[str, Any] = {"status": status, "message": message} | ({"reason": reason} if reason else {})
        code = code or ERROR_CODES.get(status)
        self.headers = (headers or {}) | ({"x-fish-error-code": code} if code else {})

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, self.headers)


class PlainError(Refusal):
    """An answer of the framework below the platform: the status in words."""

    def __init__(self, status: int, text: str | None = None) -> None:
        self.status, self.text = status, text or HTTPStatus(status).description
        super().__init__(f"{status}: {self.text}")

    def response(self) -> Response:
        return PlainTextResponse(self.text, self.status)


class Invalid422(Refusal):
    """The platform's field validation: a JSON array."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{item['loc']}: {item['msg']}" for item in items))
        self.items = items

    def response(self) -> Response:
        return JSONResponse(self.items, 422)


def refuse(request: Request, status: int, _: str) -> Response:
    """How an error that no endpoint raised looks under a path: unknown routes, too large, bugs."""
    routes = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
    if not request.url.path.startswith(INFERENCE) and status in routes:
        return PlainError(status).response()  # the framework's below the platform
    return FishError(status, phrase(status)).response()


def ordered(path: str, status: int, code: str | None) -> Response:
    """What an injected fault answers with: the words that this status usually comes with."""
    if status == 401 and path.startswith("/model"):
        return PlainError(401).response()
    return FishError(status, MESSAGES.get(status) or phrase(status), code=code).response()
