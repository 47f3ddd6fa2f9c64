"""Generations after they were ordered, and what they would cost (contract sections 6.3 to 6.6)."""

import asyncio
import hmac
import math
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from voice_provider.emulator.engine import EngineError, MediaInfo
from voice_provider.emulator.sync_labs import catalog
from voice_provider.emulator.sync_labs.assets import find_asset
from voice_provider.emulator.sync_labs.errors import ApiError, invalid
from voice_provider.emulator.sync_labs.requests import (
    SERVICE,
    Authenticated,
    Caller,
    is_uuid,
    named_page,
    query_limit,
    query_values,
    read,
)
from voice_provider.emulator.sync_labs.settings import settings_of
from voice_provider.emulator.world.clock import iso
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.half import Parts
from voice_provider.emulator.world.state import Job

router = APIRouter()

DEFAULT_PAGE = 100
DEFAULT_WAIT, MAX_WAIT = 5.0, 10.0
WAIT_RETRY_AFTER = "2"
UNKNOWN_SECONDS = 10.0
CHARACTERS_PER_SECOND = 15.0

# What the engine and the work say, in the vendor's words.
JOB_ERRORS = {
    "no_face": "generation_input_face_selection_invalid",
    "no_audio": "generation_input_audio_invalid",
    "not_media": "generation_input_video_invalid",
    "bad_segments": "generation_input_segments_invalid",
    "bad_input": "generation_input_validation_failed",
    "text_unspeakable": "generation_input_validation_failed",
    "pipeline_failed": "generation_pipeline_failed",
} | {
    f"{kind}_{problem}": f"generation_input_{kind}_{problem}"
    for kind in ("video", "audio", "image")
    for problem in ("invalid", "inaccessible")
}


def generation_json(emulator: Emulator, job: Job, *, progress: bool = False) -> dict[str, Any]:
    request, done = job.request, job.status == "COMPLETED"
    body: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "createdAt": iso(job.created_at),
        "model": request.get("model"),
        "input": request.get("input", []),
        "outputUrl": _output_url(emulator, job) if done else None,
        "outputDuration": job.result.get("output_seconds"),
        "error": job.error,
        # The SDKs of 2026 read `error_code`, the documentation writes `errorCode` (section 6).
        settings_of(emulator).error_code_field: error_code(job),
    }
    for name in ("options", "segments", "webhookUrl", "projectId"):
        if request.get(name) is not None:
            body[name] = request[name]
    if request.get("outputFileName"):
        body["outputFileName"] = request["outputFileName"] + ".mp4"
    if "speech" in job.result:
        body["synthesizedAudioUrl"] = emulator.storage.speech_url(job)
    if progress:
        body["progress_percent"] = emulator.jobs.percent(job)
    return body


def _output_url(emulator: Emulator, job: Job) -> str:
    if settings_of(emulator).result_host == "storage":
        return emulator.storage.result_url(job, job.request.get("outputFileName"))
    return f"{emulator.api_url}/v2/generations/{job.id}/result?token={emulator.storage.token(job.id)}"


def error_code(job: Job) -> str | None:
    return JOB_ERRORS.get(job.error_code, job.error_code) if job.error_code else None


def _find(caller: Caller, job_id: str) -> Job:
    if not is_uuid(job_id):
        raise ApiError(400, "unsupported_generation_id_format", field="id")
    where = "id = ? AND org = ? AND service = ? AND kind = 'lip_sync'"
    job = caller.emulator.state.first(Job, where, job_id, caller.org, SERVICE)
    if job is None:
        raise ApiError(404, "generation_not_found")
    return job


# More specific paths come first: "/v2/generations/count" is no generation's id.


def _filters(request: Request, caller: Caller) -> tuple[str, list[Any]]:
    where, args = "service = ? AND kind = 'lip_sync' AND org = ?", [SERVICE, caller.org]
    for name, column in (("status", "status"), ("ids", "id"), ("source", "source")):
        if values := query_values(request, name):
            where += f" AND {column} IN ({','.join('?' * len(values))})"
            args += values
    if project := request.query_params.get("projectId"):
        where, args = where + " AND project_id = ?", [*args, project]
    return where, args


@router.get("/v2/generations")
async def list_generations(request: Request, caller: Authenticated) -> JSONResponse:
    state = caller.emulator.state
    where, args = _filters(request, caller)
    limit, cursor = query_limit(request), request.query_params.get("cursor")
    if cursor is not None:
        last = state.first(Job, "id = ? AND org = ?", cursor, caller.org)
        if limit is None or last is None:
            raise invalid("cursor is the last id of the page before and needs limit", field="cursor")
        where, args = where + " AND seq < ?", [*args, last.seq]
    found = state.find(Job, f"{where} ORDER BY seq DESC LIMIT {limit or DEFAULT_PAGE}", *args)
    return JSONResponse([generation_json(caller.emulator, job) for job in found])


@router.get("/v2/generations/count")
async def count_generations(request: Request, caller: Authenticated) -> JSONResponse:
    where, args = _filters(request, caller)
    return JSONResponse({"count": caller.emulator.state.count(Job, where, *args)})


@router.get("/v2/generate/{job_id}")
@router.get("/v2/generations/{job_id}")
async def get_generation(job_id: str, request: Request, caller: Authenticated) -> JSONResponse:
    caller.spend("generate_get")
    job = _find(caller, job_id)
    query = request.query_params
    progress = "progress" in query_values(request, "include")
    if query.get("wait", "").lower() not in ("true", "1"):
        body = generation_json(caller.emulator, job, progress=progress)
        return JSONResponse(body, headers=named_page(caller.emulator, job))
    if progress:
        raise invalid("include=progress cannot be used with wait", field="include")
    seconds = _wait_seconds(query.get("timeout"))
    headers = named_page(caller.emulator, job) | {
        "X-Sync-Wait-Mode": "long_poll",
        "X-Sync-Wait-Timeout-Seconds": f"{seconds:g}",
    }
    if job.active:
        await caller.emulator.jobs.wait(job.id, seconds)
        job = _find(caller, job_id)
    if job.active:
        headers["Retry-After"] = WAIT_RETRY_AFTER
    return JSONResponse(generation_json(caller.emulator, job), headers=headers)


def _wait_seconds(given: str | None) -> float:
    try:
        seconds = float(given) if given is not None else DEFAULT_WAIT
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= MAX_WAIT:
        raise invalid("timeout must be a number of seconds from 1 to 10", field="timeout")
    return seconds


@router.get("/v2/generations/{job_id}/result")
async def get_result(job_id: str, request: Request, emulator: Parts) -> Response:
    """The result at the API's own host, by a token and without a key; one that comes along is a leak."""
    for header in ("x-api-key", "authorization"):
        if header in request.headers:
            emulator.state.record_leak(emulator.clock.now(), request.method, request.url.path, header)
    job = emulator.state.first(Job, "id = ? AND service = ? AND kind = 'lip_sync'", job_id, SERVICE)
    known = job is not None and hmac.compare_digest(
        request.query_params.get("token", ""), emulator.storage.token(job.id)
    )
    if job is None or not known or job.status != "COMPLETED":
        raise ApiError(404, "generation_not_found")
    how = settings_of(emulator).result_host
    path = emulator.jobs.file(job, "results")
    if how == "200" and path:
        return FileResponse(path, media_type="video/mp4")
    status = int(how) if how.isdigit() else 302
    return RedirectResponse(emulator.storage.result_url(job, job.request.get("outputFileName")), status)


@router.delete("/v2/generations/{job_id}")
async def delete_generation(job_id: str, caller: Authenticated) -> JSONResponse:
    job = _find(caller, job_id)
    if job.active:
        raise ApiError(409, "generation_not_deletable_while_processing")
    caller.emulator.jobs.delete("id = ?", job.id)
    return JSONResponse({"id": job.id})


# Cost


class EstimateBody(BaseModel):
    model: str
    duration: float = Field(gt=0)
    fps: float = Field(default=30.0, gt=0)
    reasoningEnabled: bool = False  # noqa: N815


class AnalyzeInput(BaseModel):
    type: str
    url: str | None = None
    assetId: str | None = None  # noqa: N815
    provider: dict[str, Any] | None = None


class AnalyzeBody(BaseModel):
    model: str
    input: list[AnalyzeInput] = Field(min_length=1)
    options: dict[str, Any] | None = None


def _estimate(model: str, frames: int, *, reasoning: bool) -> dict[str, Any]:
    if model not in catalog.MODELS:
        raise ApiError(422, "cost_estimate_unavailable", field="model")
    usd = round(frames * catalog.usd_per_frame(model, reasoning=reasoning), 6)
    return {"estimatedFrameCount": frames, "estimatedGenerationCost": usd}


@router.post("/v2/generations/estimate")
@router.post("/v2/generate/estimate-cost")
async def estimate(request: Request, caller: Authenticated) -> JSONResponse:  # noqa: ARG001 - the key is required
    body, _ = await read(request, EstimateBody)
    costs = _estimate(body.model, round(body.duration * body.fps), reasoning=body.reasoningEnabled)
    return JSONResponse(costs | {"estimatedCredits": None})


@router.post("/v2/analyze/cost")
async def analyze_cost(request: Request, caller: Authenticated) -> JSONResponse:
    """The SDK's estimate: the body of a generation, answered with a list (section 6.5)."""
    body, _ = await read(request, AnalyzeBody)
    fps, visual, driver = catalog.DEFAULT_FPS, 0.0, 0.0
    for item in body.input:
        if item.type == "text":
            driver += len((item.provider or {}).get("script", "")) / CHARACTERS_PER_SECOND
            continue
        media = await _look(caller, item)
        seconds = (media and media.seconds) or (0.0 if item.type == "image" else UNKNOWN_SECONDS)
        if item.type == "audio":
            driver += seconds
        else:
            visual, fps = seconds, (media and media.fps) or fps
    options = body.options or {}
    mode = options.get("sync_mode", "bounce")
    seconds = min(visual, driver) if mode == "cut_off" and visual else driver or visual
    return JSONResponse([_estimate(body.model, round(seconds * fps), reasoning=bool(options.get("reasoning_enabled")))])


async def _look(caller: Caller, item: AnalyzeInput) -> MediaInfo | None:
    """What an input in our storage is like; None for one that is elsewhere or no media."""
    emulator = caller.emulator
    url = item.url
    if item.assetId:
        asset = find_asset(caller, item.assetId)
        if asset is None:
            raise ApiError(422, "asset_not_found", field="input")
        path = emulator.files.path("uploads", asset.upload_id) if asset.upload_id else None
    else:
        file = emulator.storage.locate(url or "")
        path = file.path if file else None
    if path is None or not path.exists():
        return None
    try:
        return await asyncio.to_thread(emulator.engine.probe, path)
    except EngineError:
        return None
