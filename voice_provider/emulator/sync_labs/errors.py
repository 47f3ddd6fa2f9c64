"""The one exception that becomes a sync. labs error body (section 2), and its words where no endpoint raised it."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from voice_provider.emulator.sync_labs.catalog import ERRORS
from voice_provider.emulator.world.refusals import Refusal, phrase

if TYPE_CHECKING:
    from starlette.requests import Request

SERVER_ERROR = 500
# What an injected fault says if no code was ordered.
CODES = {
    400: "generation_input_validation_failed",
    402: "account_payment_required",
    403: "asset_forbidden",
    404: "asset_not_found",
    409: "generation_conflict",
    422: "voice_not_found",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "controller_dependency_error",
    503: "elevenlabs_service_unavailable",
    504: "elevenlabs_service_unavailable",
}
MISSING = {"/v2/voices": "voice_not_found", "/v2/generat": "generation_not_found", "/v2/projects": "project_not_found"}


class ApiError(Refusal):
    """An answer other than 2xx, in the vendor's shape; message and suggestion default to the catalogue's."""

    def __init__(
        self,
        status: int,
        code: str | None = None,
        message: str | list[str] | None = None,
        *,
        field: str | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        known = ERRORS.get(code or "")
        self.status = status
        self.code = code
        self.message = message or (known.message if known else phrase(status))
        self.headers = headers or {}
        self.body: dict[str, Any] = {
            "message": self.message,
            "statusCode": status,
            "error": phrase(status),
        }
        if code:
            self.body["errorCode"] = code
        if known and known.suggestion:
            self.body["suggestion"] = known.suggestion
        if field:
            self.body["field"] = field
        if status >= SERVER_ERROR:
            self.body["requestId"] = str(uuid.uuid4())
        self.body.update(extra)
        super().__init__(f"{status} {code}: {self.message}")

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, self.headers)


def unauthorized(*, header_present: bool) -> ApiError:
    """Both 401 bodies, exactly as probed live (contract section 2): a bad key is answered without `error`."""
    if not header_present:
        return ApiError(401, message="Either Cookie or x-api-key header must be provided")
    error = ApiError(401)
    del error.body["error"]
    return error


def invalid(message: str | list[str], *, field: str | None = None, code: str | None = None) -> ApiError:
    """A 400 of validation: `message` is a list, as Nest sends it."""
    return ApiError(400, code, [message] if isinstance(message, str) else message, field=field)


def refuse(request: Request, status: int, detail: str) -> Response:
    """An error that no endpoint raised: unknown routes, also under a method that is not allowed, and bugs."""
    if status >= SERVER_ERROR:
        return ApiError(500, "internal_error").response()
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return ApiError(404, message=f"Cannot {request.method} {request.url.path}").response()
    return ApiError(status, message=detail).response()


def ordered(path: str, status: int, code: str | None) -> Response:
    """What an injected fault answers with; a 404 is about what lies under the path."""
    if status == HTTPStatus.UNAUTHORIZED:
        return unauthorized(header_present=True).response()
    if status == HTTPStatus.NOT_FOUND and code is None:
        code = next((code for start, code in MISSING.items() if path.startswith(start)), CODES[status])
    return ApiError(status, code or CODES.get(status)).response()
