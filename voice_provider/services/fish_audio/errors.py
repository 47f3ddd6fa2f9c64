"""How Fish Audio says that something is wrong, read into the one tree of errors.

Two back ends answer: the platform (``/model*``, ``/wallet*``) and the inference (``/v1/*``). Both say
``{"message": ..., "status": ...}``, with the HTTP status once more; the platform has a JSON list for fields (422), and
two texts are bare: a wrong key at ``/model`` (401), and a body that cannot be parsed (400). What has another form comes
from something in between, and is not read here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import (
    AuthError,
    ConcurrencyLimitError,
    InvalidInputError,
    NotFoundError,
    QuotaError,
    ServiceUnavailableError,
    SlotLimitError,
    VoiceError,
)
from voice_provider.services.fish_audio.options import HEARD_BEFORE, HEARS

if TYPE_CHECKING:
    from voice_provider.services.base import Request, Response

_BY_STATUS: dict[int, type[VoiceError]] = {
    400: InvalidInputError,
    401: AuthError,
    402: QuotaError,
    403: AuthError,
    404: NotFoundError,
    413: InvalidInputError,
    415: InvalidInputError,
    422: InvalidInputError,
}
_NEXT: dict[type[VoiceError], str] = {
    AuthError: "Check the API key and the base URL of the connection.",
    QuotaError: "Add API credit at https://fish.audio/app/developers (the credits of a plan do not pay for the API), "
    "or speak with model s2.1-pro-free; then try again.",
    NotFoundError: "Check the voice_id: the voice may have been deleted, or be private to another account.",
    InvalidInputError: "Correct the input; the same request would be refused again.",
    SlotLimitError: "Delete a voice that is no longer needed (DeleteVoiceOperator).",
}
_SLOTS = re.compile(
    r"\b(slots?|limit|maximum|quota)\b.*\b(models?|voices?)\b|\b(models?|voices?)\b.*\b(slots?|limit|maximum)\b",
    re.IGNORECASE,
)
_REFUSED = (500, 503)  # in its own words: the work was not begun; after 502 and 504 it may have been, and be billed
# 95 s of sound were answered so by one model, and taken by the other
_LONG = f"Model {HEARD_BEFORE} answers so to long recordings: use model='{HEARS}', which is the default. "
_WRONG_KEY = "No permission -- see authorization schemes"
_UNREADABLE = "Failed to "  # parse the request body as ...
# A 404 that names no thing is a router's: no such route here, or not yet on the instance that was asked.
_THING = re.compile(r"\b(models?|voices?|references?)\b", re.IGNORECASE)


def speaks(request: Request, response: Response) -> bool:
    """Whether an answer that is no success is the service's own, by its body; bare text also by status and trace."""
    if response.is_page:
        return False
    value = response.json()
    if isinstance(value, dict):
        status = value.get("status")
        return type(status) is int and status == response.status and isinstance(value.get("message"), str)
    if isinstance(value, list):
        return response.status == 422 and bool(value) and all(_is_problem(item) for item in value)
    if response.media_type != "text/plain" or "x-fish-trace-id" not in response.headers:
        return False
    text = response.text.strip()
    if response.status == 401:
        return request.url.startswith("/model") and text == _WRONG_KEY
    return response.status == 400 and text.startswith(_UNREADABLE)


def _is_problem(item: Any) -> bool:
    return isinstance(item, dict) and {"loc", "msg", "type"} <= item.keys()


def read_error(request: Request, response: Response) -> VoiceError:
    """Return the error for an answer that is no success; the caller raises it."""
    status = response.status
    what = f"{request.method} {request.url.partition('?')[0]}"
    message = _message(response)
    # Transcription names its requests; all other answers have a trace only.
    asked = str(response.object().get("request_id") or response.headers.get("x-request-id") or "")
    details: dict[str, Any] = {
        "error_code": response.headers.get("x-fish-error-code") or str(response.object().get("code") or "") or None,
        "status": status,
        "request_id": asked or response.headers.get("x-fish-trace-id"),
    }
    said = f"{what}: Fish Audio answered {status}" + (f": {message}" if message else " without an explanation")
    said = said.rstrip(".") + (f" (request {_line(asked, 64)})." if asked else ".")
    if (request.method, request.url) == ("POST", "/model") and status in (402, 403, 429) and _SLOTS.search(message):
        return SlotLimitError(f"{said} {_NEXT[SlotLimitError]}", **details)  # no status is documented for it
    if status == 429:
        limit = response.headers.get("ratelimit-limit-concurrency")
        many = f" (its limit is {limit} requests at a time, of all keys together)" if limit else ""
        after = f" It asks to wait {response.retry_after:g} s." if response.retry_after is not None else ""
        return ConcurrencyLimitError(
            f"{said} Too many requests at once{many}.{after} An Airflow pool of that size for the tasks of this "
            "connection avoids it.",
            retry_after=response.retry_after,
            limit=int(limit) if limit and limit.isdecimal() else None,
            brief=True,
            **details,
        )
    kind = _BY_STATUS.get(status)
    of_a_thing = _THING.search(message) or request.url.startswith("/wallet/")
    if status == 405 or (status == 404 and not of_a_thing):
        return ServiceUnavailableError(
            f"{said} It has no such route: the base URL of the connection is wrong, or the service is just being "
            "changed.",
            sent=False,
            **details,
        )
    if kind is None:
        trace = f", and quote trace id {details['request_id']}" if details["request_id"] and not asked else ""
        hint = _LONG if status == 503 and request.headers.get("model") == HEARD_BEFORE else ""
        return ServiceUnavailableError(
            f"{said} {hint}If it stays so, ask its support{trace}.",
            sent=status not in _REFUSED,
            retry_after=response.retry_after,
            **details,
        )
    if status == 400 and "reference not found" in message.lower():
        kind = NotFoundError
    wallet = kind is NotFoundError and request.url.startswith("/wallet/")
    return kind(f"{said} {_NEXT[AuthError if wallet else kind]}", **details)


def _message(response: Response) -> str:
    """Say what the service said, short and in one line, whatever form it has."""
    value = response.json()
    if isinstance(value, dict):
        said = str(value.get("message") or value.get("detail") or "")
        reason = value.get("reason")
        return _line(f"{said} ({reason})" if reason else said, 500)
    if isinstance(value, list):
        return _line("; ".join(_problem(item) for item in value if isinstance(item, dict)), 500)
    return _line(response.text, 200)


def _line(text: str, longest: int) -> str:
    return " ".join(text.split())[:longest].rstrip()


def _problem(item: dict[str, Any]) -> str:
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else str(place or "")
    return f"{where}: {item.get('msg') or item.get('type') or 'not accepted'}" if where else str(item.get("msg") or "")
