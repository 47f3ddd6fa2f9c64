"""Speech of sync. labs: at once, as the guide's job to poll, and as a keyed job (contract section 4)."""

import logging
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from voice_provider.emulator.engine import EngineError
from voice_provider.emulator.sync_labs.errors import ApiError, invalid
from voice_provider.emulator.sync_labs.requests import (
    SERVICE,
    Authenticated,
    Caller,
    fingerprint,
    named_page,
    outcome,
    read,
    require_provider,
    speech_price,
    tts_key,
)
from voice_provider.emulator.sync_labs.settings import settings_of
from voice_provider.emulator.sync_labs.voices import speaking
from voice_provider.emulator.world import work
from voice_provider.emulator.world.clock import iso
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.state import Charge, Job

log = logging.getLogger(__name__)
router = APIRouter()

JOB_ERRORS = {
    "text_unspeakable": "generation_input_validation_failed",
    "bad_input": "generation_input_validation_failed",
    "pipeline_failed": "internal_error",
}


class SpeechBody(BaseModel):
    script: str = Field(min_length=1, max_length=5000)
    voiceId: str = Field(min_length=1)  # noqa: N815
    provider: Literal["elevenlabs"] | None = None
    stability: float = Field(default=0.5, ge=0, le=1)
    similarityBoost: float = Field(default=0.75, ge=0, le=1)  # noqa: N815


def _speech_charge(caller: Caller, job: Job, script: str, raw: dict[str, Any], key: str | None = None) -> Charge:
    units = len(script)
    return caller.charge("speech", job.id, units, "characters", speech_price(script), fingerprint(raw), key=key)


def _driver(caller: Caller, request: Request, body: SpeechBody) -> dict[str, Any]:
    """Who says what, and how an injected fault wants it said."""
    driver = speaking(caller, body.voiceId, body.script, body.stability, body.similarityBoost)
    fault = getattr(request.state, "speech", None)
    return driver | {"fault": fault} if fault else driver


@router.post("/v2/tts")
async def speak(request: Request, caller: Authenticated) -> JSONResponse:
    """Speech at once (section 4.1, shape A), or as the guide's text has it: a job to poll (shape B)."""
    emulator = caller.emulator
    caller.spend("tts")
    body, raw = await read(request, SpeechBody)
    require_provider(emulator, body.provider)
    driver = _driver(caller, request, body)
    _pay_speech(caller, body.script)
    mode = caller.settings.tts_mode
    job = caller.job("speech", raw, {"driver": driver, "mode": mode})
    log.info("Speech of %d characters, request %s", len(body.script), fingerprint(raw)[:12])
    if mode == "seed-async":
        job.work |= outcome(request)
        emulator.jobs.order(job, _speech_charge(caller, job, body.script, raw), scope="tts")
        return JSONResponse(_seed_json(emulator, job), 201, named_page(emulator, job))
    try:
        made = await emulator.jobs.in_thread(lambda: work.speak(emulator.engine, emulator.files, driver, job.id))
    except EngineError as error:
        raise invalid(error.message, field="script") from error
    temporary, name = made.files["speech"]
    temporary.rename(emulator.files.path("speech", name))
    job.result = made.result | {"speech": name}
    job.status, job.started_at, job.finished_at = "COMPLETED", job.created_at, emulator.clock.now()
    charge = _speech_charge(caller, job, body.script, raw)
    charge.settled = 1
    emulator.state.accept(job, charge, scope="tts")
    answer = {"id": job.id, "url": emulator.storage.speech_url(job), "duration": job.result["seconds"]}
    return JSONResponse(answer)


def _pay_speech(caller: Caller, script: str) -> None:
    caller.pay(
        speech_price(script),
        kind="speech",
        monthly=caller.settings.free_tts,
        exhausted="elevenlabs_quota_exceeded",
    )


def _error(job: Job) -> dict[str, Any] | None:
    """TtsJobError: its fields are not documented; these are the ones every other error has (section 4.3)."""
    if job.status not in ("FAILED", "REJECTED"):
        return None
    return {"message": job.error, "errorCode": JOB_ERRORS.get(job.error_code or "", job.error_code)}


def _seed_json(emulator: Emulator, job: Job) -> dict[str, Any]:
    url = emulator.storage.speech_url(job) if job.status == "COMPLETED" else None
    return {
        "id": job.id,
        "status": job.status,
        "synthesizedAudioUrl": url,
        "url": url,
        "duration": job.result.get("seconds"),
        "error": _error(job),
        "createdAt": iso(job.created_at),
    }


@router.post("/v2/tts/jobs")
async def order_speech(request: Request, caller: Authenticated) -> JSONResponse:
    emulator = caller.emulator
    if not caller.settings.tts_jobs_enabled:
        raise ApiError(503, "async_tts_not_enabled")
    caller.spend("tts_jobs")
    key = tts_key(request)
    body, raw = await read(request, SpeechBody)
    require_provider(emulator, body.provider)
    job = caller.known("tts_jobs", key, fingerprint(raw), ApiError(409, "IDEMPOTENCY_KEY_REUSED"))
    if job is None:
        driver = _driver(caller, request, body)
        _pay_speech(caller, body.script)
        job = caller.job("speech", raw, {"driver": driver, "mode": "jobs"} | outcome(request))
        emulator.jobs.order(job, _speech_charge(caller, job, body.script, raw, key), scope="tts_jobs")
    where = {"Location": f"/v2/tts/jobs/{job.id}"}
    return JSONResponse(_job_json(emulator, job), 202, where | _headers(emulator, job))


def _headers(emulator: Emulator, job: Job) -> dict[str, str]:
    asked = {"Retry-After": str(settings_of(emulator).tts_retry_after)} if job.active else {}
    return asked | named_page(emulator, job)


def _job_json(emulator: Emulator, job: Job) -> dict[str, Any]:
    done = job.status == "COMPLETED"
    return {
        "id": job.id,
        "status": "SUCCESS" if done else "FAILED" if job.status == "REJECTED" else job.status,
        "url": emulator.storage.speech_url(job) if done else None,
        "duration": job.result.get("seconds"),
        "error": _error(job),
        "createdAt": iso(job.created_at),
        "startedAt": iso(job.started_at) if job.started_at else None,
        "finishedAt": iso(job.finished_at) if job.finished_at else None,
    }


def _find(caller: Caller, job_id: str, *, in_jobs: bool) -> Job:
    where = "id = ? AND org = ? AND service = ? AND kind = 'speech'"
    job = caller.emulator.state.first(Job, where, job_id, caller.org, SERVICE)
    if job is None or (job.work["mode"] == "jobs") != in_jobs:
        raise ApiError(404, message="There is no such speech job.")
    return job


@router.get("/v2/tts/jobs/{job_id}")
async def get_speech_job(job_id: str, caller: Authenticated) -> JSONResponse:
    job = _find(caller, job_id, in_jobs=True)
    return JSONResponse(_job_json(caller.emulator, job), headers=_headers(caller.emulator, job))


@router.get("/v2/tts/{job_id}")
async def get_speech(job_id: str, caller: Authenticated) -> JSONResponse:
    job = _find(caller, job_id, in_jobs=False)
    return JSONResponse(_seed_json(caller.emulator, job), headers=named_page(caller.emulator, job))
