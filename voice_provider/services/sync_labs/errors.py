"""How sync. labs says that something is wrong, read into the one tree of errors.

Bodies are JSON objects with ``message`` (text or a list of it) and ``statusCode``, the HTTP status once more; besides,
``errorCode`` (or ``error_code``), ``suggestion`` and ``requestId``. Codes are an open set, so the status decides where
the code is not known. What has another form comes from something in between, and is not read here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import (
    AuthError,
    ConcurrencyLimitError,
    InvalidInputError,
    KeyConflictError,
    KeyInUseError,
    NameTakenError,
    NotFoundError,
    QuotaError,
    RateLimitedError,
    ServiceUnavailableError,
    SlotLimitError,
    VoiceError,
)

if TYPE_CHECKING:
    from voice_provider.services.base import Request, Response

_BY_CODE: dict[str, type[VoiceError]] = {
    "voice_clone_limit_reached": SlotLimitError,
    "voice_name_conflict": NameTakenError,
    "voice_not_found": NotFoundError,
    "asset_not_found": NotFoundError,
    "generation_not_found": NotFoundError,
    "project_not_found": NotFoundError,
    "asset_forbidden": AuthError,
    "elevenlabs_api_key_invalid": AuthError,
    "elevenlabs_quota_exceeded": QuotaError,
    "account_payment_required": QuotaError,
    "account_on_hold": QuotaError,
    "free_tier_generations_exhausted": QuotaError,
    "plan_feature_unavailable": QuotaError,
}
_BY_STATUS: dict[int, type[VoiceError]] = {
    400: InvalidInputError,
    401: AuthError,
    402: QuotaError,
    403: AuthError,
    404: NotFoundError,
    409: InvalidInputError,
    413: InvalidInputError,
    422: InvalidInputError,
}
_ARGUMENTS = {  # this provider's word for a field of the service
    **{name: name for name in ("model", "segments", "sync_mode", "model_mode", "prompt", "temperature", "stability")},
    "voiceId": "voice_id",
    "script": "text",
    "similarityBoost": "similarity_boost",
    "active_speaker_detection": "active_speaker",
    "occlusion_detection_enabled": "occlusion_detection",
    "reasoning_enabled": "reasoning_enabled",
    "dubParams": "dub_language",
    "outputFileName": "output_file_name",
    "projectId": "project_id",
}
_NEXT: dict[type[VoiceError], str] = {
    AuthError: "Check the API key and the base URL of the connection.",
    QuotaError: "Add credit or change the plan at sync. labs, then try again.",
    SlotLimitError: "The clone limit of the plan is reached. Delete a voice that is no longer needed "
    "(DeleteVoiceOperator): its slot is free at once.",
    NameTakenError: "Choose another name, or delete the voice that has it.",
    NotFoundError: "Check the id: it may have been deleted, or belong to another account.",
    InvalidInputError: "Correct the input; the same request would be refused again.",
}
_NEXT_BY_CODE = {
    "voice_sample_upload_required": "Samples must lie in the service's own storage: pass a storage location (it is "
    "uploaded for you) or upload it with UploadAssetOperator first.",
    "voice_sample_too_short": "Use a longer sample: 30 s to 2 minutes of one clear speaker is best.",
    "uploaded_file_not_found": "The upload did not arrive or has expired; run the task again.",
}
_KEYED = ("/v2/generate", "/v2/tts/jobs")
_ANOTHER_BODY = re.compile(r"REUSE|PAYLOAD|MISMATCH|DIFFERENT", re.IGNORECASE)  # of the codes that a 409 may have
# A 404 that names no thing is the router's: no such route here, or not yet on the instance that was asked.
_THING = re.compile(r"\b(voices?|assets?|generations?|jobs?|projects?)\b", re.IGNORECASE)
_ROUTER = re.compile(r"Cannot [A-Z]+ /")


def speaks(response: Response) -> bool:
    """Whether an answer that is no success is the service's own, by its body."""
    body = response.object()
    status, message = body.get("statusCode"), body.get("message")
    lines = message if isinstance(message, list) and message else [message]
    return (
        not response.is_page
        and type(status) is int
        and status == response.status
        and all(isinstance(line, str) for line in lines)
    )


def read_error(request: Request, response: Response) -> VoiceError:
    """Return the error for an answer that is no success; the caller raises it."""
    body = response.object()
    code = str(body.get("errorCode") or body.get("error_code") or "") or None
    what = f"{request.method} {request.url.partition('?')[0]}" if not request.public else "The file transfer"
    said = _message(body)
    details: dict[str, Any] = {"error_code": code, "status": response.status, "request_id": body.get("requestId")}
    if response.status == 429:
        return _rate_limit(body, response, what, details)
    if request.public:
        return _transfer_error(request, response, details)
    if response.status in (404, 405) and not _names_a_thing(body, code):
        return ServiceUnavailableError(
            f"{what}: sync. labs answered {response.status}{said} It has no such route: the base URL of the connection "
            "is wrong, or the service is just being changed.",
            sent=False,
            **details,
        )
    if response.status == 409 and request.url in _KEYED and "idempotency-key" in request.headers:
        return _key_known(what, said, code, details)
    kind = _BY_CODE.get(code or "") if response.status < 500 else None
    kind = kind or _BY_STATUS.get(response.status)
    if response.status == 403 and (request.method, request.url) == ("POST", "/v2/voices") and not code:
        kind = SlotLimitError  # the guide names no code: a 403 to a clone is the clone limit
    if kind is None:
        hint = ""
        if request.url == "/v2/tts/jobs" and response.status == 503:
            hint = (
                " If sync. labs has not enabled TTS jobs for this account, set tts_mode to 'direct' on the connection."
            )
        quote = f" Quote requestId {body['requestId']} to its support." if body.get("requestId") else ""
        return ServiceUnavailableError(
            f"{what}: sync. labs answered {response.status}{said}{hint}{quote}",
            job_id=body.get("generationId"),
            retry_after=response.retry_after,
            **details,
        )
    suggestion = body.get("suggestion") if kind is InvalidInputError else None  # else ours names what to do in Airflow
    next_step = _NEXT_BY_CODE.get(code or "") or suggestion or _NEXT[kind]
    return kind(f"{what}: sync. labs answered {response.status}{said} {next_step}", **details)


def _key_known(what: str, said: str, code: str | None, details: dict[str, Any]) -> VoiceError:
    """Read a 409 to an order by its code; not to follow its advice, another key, which is how one is paid twice."""
    if _ANOTHER_BODY.search(code or ""):
        return KeyConflictError(
            f"{what}: sync. labs answered 409{said} Another request was accepted under the key of this order, and may "
            "be billed: look for it at the account. Clear the task with on_clear='resubmit' to order anew.",
            doubtful=True,
            **details,
        )
    return KeyInUseError(
        f"{what}: sync. labs answered 409{said} The order is at work there; it is asked again.", **details
    )


def _names_a_thing(body: dict[str, Any], code: str | None) -> bool:
    """Whether a 404 is about a voice, a file or a job, and not about the address."""
    message = str(body.get("message"))
    return (code or "").endswith("_not_found") or bool(_THING.search(message) and not _ROUTER.match(message))


def _message(body: dict[str, Any]) -> str:
    """Say what the service said, short, or that it said nothing readable."""
    message = body.get("message")
    if isinstance(message, list):
        message = "; ".join(str(item) for item in message)
    name = str(body.get("field") or "").removeprefix("options.")
    ours = f"argument {_ARGUMENTS[name]}" if name in _ARGUMENTS else f"field {name}"
    field = f" ({ours})" if name else ""
    if not message:
        return " without an explanation."
    return f": {str(message)[:500].rstrip('.')}{field}."


def _rate_limit(body: dict[str, Any], response: Response, what: str, details: dict[str, Any]) -> VoiceError:
    """Tell too many jobs at once (a state of the account) from too many requests (a pace)."""
    wait = response.retry_after
    if wait is None and isinstance(body.get("retryAfterSeconds"), int | float):
        wait = float(body["retryAfterSeconds"])
    after = f" It asks to wait {wait:g} s." if wait is not None else ""
    if details["error_code"] == "concurrency_limit_reached":
        return ConcurrencyLimitError(
            f"{what}: {body.get('activeGenerations', 'all')} of {body.get('concurrencyLimit', 'the plan’s')} jobs are "
            f"running; the new one was not accepted.{after}",
            retry_after=wait,
            limit=body["concurrencyLimit"] if isinstance(body.get("concurrencyLimit"), int) else None,
            **details,
        )
    return RateLimitedError(f"{what}: too many requests to sync. labs.{after}", retry_after=wait, **details)


def _transfer_error(request: Request, response: Response, details: dict[str, Any]) -> VoiceError:
    """Read a refusal of the storage host, which answers in XML and knows expiry and signatures only."""
    doing = "upload to" if request.method == "PUT" else "download from"
    if response.status in (401, 403, 410):
        return ServiceUnavailableError(
            f"The {doing} the service's storage was refused ({response.status}): the link has expired or does not fit "
            "the file. Nothing was kept; the next try asks for a new link.",
            **details,
        )
    return ServiceUnavailableError(f"The {doing} the service's storage failed with {response.status}.", **details)
