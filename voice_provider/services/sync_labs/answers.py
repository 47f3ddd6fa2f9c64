"""How the answers of sync. labs are read: which of them are its own, and the nouns that they become."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from voice_provider.exceptions import ServiceUnavailableError
from voice_provider.models import Asset, Job, JobState, Voice
from voice_provider.services.base import Response, is_data
from voice_provider.services.sync_labs.form import FORM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voice_provider.models import JobKind

NAME = FORM.connection_type
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

NounT = TypeVar("NounT", bound=BaseModel)

_DONE = {"COMPLETED", "SUCCESS", "SUCCEEDED"}
_FAILED = {"FAILED", "REJECTED", "CANCELED", "CANCELLED", "TIMED_OUT"}


def read_voice(body: Mapping[str, Any]) -> Voice:
    """A clone's id is ``id`` where present, else ``voiceId`` (the provider's own id in newer answers)."""
    voice_id = body.get("id") or body.get("voiceId")
    if not voice_id:
        raise ServiceUnavailableError("The service answered with a voice that has no id.")
    return noun(
        Voice,
        service=NAME,
        id=str(voice_id),
        name=body.get("name") or "",
        preview_url=body.get("previewUrl"),
        restricted=bool(body.get("restriction")),
    )


def read_asset(body: Mapping[str, Any]) -> Asset:
    if not body.get("id"):
        raise ServiceUnavailableError("The service answered with an asset that has no id.")
    return noun(
        Asset,
        service=NAME,
        id=str(body["id"]),
        type=body.get("type") or "",
        name=body.get("name"),
        url=body.get("url"),
        size=body.get("size"),
        seconds=body.get("durationSeconds"),
        created_at=body.get("createdAt"),
    )


def read_job(
    kind: JobKind, response: Response, *, path: str | None = None, body: Mapping[str, Any] | None = None
) -> Job:
    body = response.object() if body is None else body
    url = body.get("synthesizedAudioUrl") if kind == "speech" else None
    url = url or body.get("outputUrl") or body.get("url") or None
    status = str(body.get("status") or "").upper()
    if not body.get("id") or not (status or url):
        raise ServiceUnavailableError("The service answered with a job that has no id or no status.")
    failure, code = body.get("error"), body.get("errorCode") or body.get("error_code")
    if isinstance(failure, dict):
        code = code or failure.get("code")
        failure = failure.get("message") or failure.get("errorCode") or code
    progress = body.get("progress_percent")
    return noun(
        Job,
        service=NAME,
        kind=kind,
        id=str(body["id"]),
        path=path,
        state=_state(status, has_result=url is not None),
        status=status,
        url=url,
        seconds=body.get("outputDuration") or body.get("duration"),
        error=str(failure) if failure else None,
        error_code=code,
        progress=progress / 100 if isinstance(progress, int | float) else None,
        retry_after=response.retry_after,
        engine=response.headers.get("x-emulator-engine"),
        page_url=response.headers.get("x-emulator-page"),
        model=body.get("model"),
        created_at=body.get("createdAt"),
    )


def _state(status: str, *, has_result: bool) -> JobState:
    """Unknown words mean "still running": the deadline, not a new word, ends the wait."""
    if status in _FAILED:
        return JobState.FAILED
    if status in _DONE or (not status and has_result):
        return JobState.SUCCEEDED
    return JobState.PENDING if status == "PENDING" else JobState.RUNNING


def noun(noun: type[NounT], /, **values: Any) -> NounT:
    """Build a noun from an answer; a detail in a form that nobody expects is not worth losing a paid job for."""
    try:
        return noun(**values)
    except ValidationError as error:
        unreadable = {problem["loc"][0] for problem in error.errors()}
        return noun(**{name: value for name, value in values.items() if name not in unreadable})


# What a success has to hold to be the service's.


def is_list(response: Response) -> bool:
    return not response.is_page and isinstance(response.json(), list)


def is_voice(response: Response) -> bool:
    body = response.object()
    return not response.is_page and bool(body.get("id") or body.get("voiceId"))


def has_id(response: Response) -> bool:
    return not response.is_page and bool(response.object().get("id"))


def has_items(response: Response) -> bool:
    return not response.is_page and isinstance(response.object().get("items"), list)


def is_grant(response: Response) -> bool:
    body = response.object()
    return not response.is_page and bool(body.get("uploadUrl") and body.get("url"))


def is_job(response: Response) -> bool:
    body = response.object()
    tells = ("status", "synthesizedAudioUrl", "outputUrl", "url")
    return has_id(response) and any(body.get(name) for name in tells)


def is_address(response: Response) -> bool:
    return not response.is_page and address_of(response).startswith(("https://", "http://"))


def is_estimate(response: Response) -> bool:
    told = priced(response)
    return is_data(response) and any(name in told for name in ("estimatedFrameCount", "estimatedGenerationCost"))


def address_of(response: Response) -> str:
    return response.text.strip().strip('"')


def priced(response: Response) -> dict[str, Any]:
    answer = response.json()
    answer = answer[0] if isinstance(answer, list) and answer else answer  # an older form answers with a list
    return answer if isinstance(answer, dict) else {}


def items_of(response: Response) -> list[dict[str, Any]]:
    value = response.json()
    if not isinstance(value, list):
        raise ServiceUnavailableError(
            "sync. labs answered with a page or with something else than a list. Check the base URL of the connection."
        )
    return [item for item in value if isinstance(item, dict)]
