"""The one exception that becomes a sync. labs error body (contract section 2)."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from voice_provider.emulator.sync_labs.catalog import ERRORS

SERVER_ERROR = 500


class ApiError(Exception):
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
        self.message = message or (known.message if known else HTTPStatus(status).phrase)
        self.headers = headers or {}
        self.body: dict[str, Any] = {
            "message": self.message,
            "statusCode": status,
            "error": HTTPStatus(status).phrase,
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
