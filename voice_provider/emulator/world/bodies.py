"""JSON bodies: read, checked against a model, and told what is wrong with them field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse

from voice_provider.emulator.world.refusals import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

M = TypeVar("M", bound=BaseModel)


class BadBodyError(Refusal):
    """A body that is no JSON object, or not the one that is wanted; `field` is the first that is wrong."""

    def __init__(self, messages: list[str], field: str | None = None) -> None:
        super().__init__("; ".join(messages))
        self.messages, self.field = messages, field

    def response(self) -> Response:
        body = {"message": self.messages, "statusCode": 400, "error": "Bad Request"}
        return JSONResponse(body | ({"field": self.field} if self.field else {}), 400)


async def read(request: Request, model: type[M]) -> tuple[M, dict[str, Any]]:
    """The JSON body, checked, and as it was sent."""
    try:
        raw = json.loads(await request.body() or b"{}")
        json.dumps(raw, allow_nan=False, ensure_ascii=False).encode()  # what is kept must be fit to be sent back
    except (ValueError, RecursionError):
        raise BadBodyError(["The body is not JSON."]) from None
    if not isinstance(raw, dict):
        raise BadBodyError(["The body must be a JSON object."])
    return check(model, raw), raw


def check(model: type[M], raw: dict[str, Any]) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        messages = [f"{_where(problem)}: {problem['msg']}" for problem in error.errors()]
        raise BadBodyError(messages, field=_where(error.errors()[0])) from None


def _where(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"]) or "body"
