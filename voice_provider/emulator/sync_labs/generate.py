"""Ordering a generation at sync. labs: its rules, and the work order it becomes (contract sections 6.1, 6.2 and 9)."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from voice_provider.emulator.sync_labs import catalog
from voice_provider.emulator.sync_labs.assets import find_asset
from voice_provider.emulator.sync_labs.errors import ApiError, invalid
from voice_provider.emulator.sync_labs.generations import generation_json
from voice_provider.emulator.sync_labs.requests import (
    SERVICE,
    Authenticated,
    Caller,
    check,
    fingerprint,
    generate_key,
    named_page,
    outcome,
    read,
)
from voice_provider.emulator.sync_labs.voices import speaking
from voice_provider.emulator.world import urls
from voice_provider.emulator.world.state import Job, Upload, new_id

router = APIRouter()

INVALID = "generation_input_validation_failed"
SEGMENTS_INVALID = "generation_input_segments_invalid"
FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
BUSY_SECONDS = 5
MAX_FILES, MAX_FIELDS, MAX_FIELD_BYTES = 3, 32, 1024 * 1024
DEFAULT_TEMPERATURE = 0.5
FORM_FILES = ("video", "image", "audio")
FORM_TEXT = ("model", "webhookUrl", "outputFileName", "projectId", "sync_mode")
FORM_JSON = ("input", "options", "segments", "dubParams", "temperature")
FORM_OPTIONS = ("sync_mode", "temperature")  # as the vendor's own ComfyUI node sends them, beside all others


class TextProvider(BaseModel):
    name: Literal["elevenlabs"] = "elevenlabs"
    voiceId: str = Field(min_length=1)  # noqa: N815
    script: str = Field(min_length=1, max_length=5000)
    stability: float = Field(default=0.5, ge=0, le=1)
    similarityBoost: float = Field(default=0.75, ge=0, le=1)  # noqa: N815


class Input(BaseModel):
    type: Literal["video", "image", "audio", "text"]
    url: str | None = None
    assetId: str | None = None  # noqa: N815
    refId: str | None = None  # noqa: N815
    provider: TextProvider | None = None


class Speaker(BaseModel):
    auto_detect: bool | None = None
    frame_number: int | None = Field(default=None, ge=0)
    coordinates: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    bounding_boxes: list[Any] | None = None
    use_v2: bool | None = None
    v3: bool | None = None
    face_image: str | None = None


class Options(BaseModel):
    """The options that the engine can follow or that have a price; any other is accepted and ignored (section 6.1)."""

    sync_mode: Literal["bounce", "loop", "cut_off", "silence", "remap"] = "bounce"
    temperature: float | None = Field(default=None, ge=0, le=1)
    active_speaker_detection: Speaker | bool | None = None
    reasoning_enabled: bool = False


class AudioCut(BaseModel):
    refId: str  # noqa: N815
    startTime: float | None = Field(default=None, ge=0)  # noqa: N815
    endTime: float | None = Field(default=None, ge=0)  # noqa: N815


class SegmentBody(BaseModel):
    startTime: float = Field(ge=0)  # noqa: N815
    endTime: float = Field(gt=0)  # noqa: N815
    audioInput: AudioCut  # noqa: N815


class GenerateBody(BaseModel):
    model: str
    input: list[Input] = Field(min_length=1)
    options: Options | None = None
    segments: list[SegmentBody] | None = None
    dubParams: dict[str, Any] | None = None  # noqa: N815
    webhookUrl: str | None = None  # noqa: N815
    outputFileName: str | None = None  # noqa: N815
    projectId: str | None = None  # noqa: N815


@router.post("/v2/generate")
async def generate(request: Request, caller: Authenticated) -> JSONResponse:
    caller.spend("generate")
    key = generate_key(request)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        raw, sha256, files = await _read_form(request, caller)
        try:
            body = check(GenerateBody, raw)
        except ApiError:
            _drop(caller, files)
            raise
    else:
        (body, raw), files = await read(request, GenerateBody), {}
        sha256 = fingerprint(raw)
    # From here on nothing awaits: of many requests with one key, one makes the job and the rest find it.
    try:
        job, replayed = _order(request, caller, body, raw, files, sha256, key)
    except ApiError:
        _drop(caller, files)
        raise
    if replayed:
        _drop(caller, files)
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return JSONResponse(generation_json(caller.emulator, job), 201, headers | named_page(caller.emulator, job))


def _order(
    request: Request,
    caller: Caller,
    body: GenerateBody,
    raw: dict[str, Any],
    files: dict[str, Upload],
    sha256: str,
    key: str | None,
) -> tuple[Job, bool]:
    """The job that this request makes, or the one that its key stands for already (then True)."""
    emulator = caller.emulator
    job = caller.known("generate", key, sha256, ApiError(409, "IDEMPOTENCY_KEY_REUSED"))
    if job is not None:
        return job, True
    order = _work_order(caller, body, files)
    caller.check_project(body.projectId)
    characters = sum(len(driver.get("text", "")) for driver in order["drivers"])
    caller.pay(
        characters * catalog.USD_PER_CHARACTER,
        kind="lip_sync",
        monthly=caller.settings.free_generations,
        exhausted="free_tier_generations_exhausted",
    )
    _check_concurrency(caller)
    job = caller.job("lip_sync", raw, order | outcome(request))
    job.source, job.project_id = request.headers.get("x-sync-source", "api"), body.projectId
    emulator.jobs.order(job, caller.charge("lip_sync", job.id, 0, "frames", 0.0, sha256, key=key), scope="generate")
    return job, False


def _drop(caller: Caller, files: dict[str, Upload]) -> None:
    """Forget the files of a form that made no job."""
    for upload in files.values():
        caller.emulator.state.delete(upload)
        caller.emulator.files.path("uploads", upload.id).unlink(missing_ok=True)


def _check_concurrency(caller: Caller) -> None:
    limit = caller.settings.concurrency
    where = "service = ? AND org = ? AND kind = 'lip_sync' AND status IN ('PENDING', 'PROCESSING')"
    active = caller.emulator.state.count(Job, where, SERVICE, caller.org)
    if limit is not None and active >= limit:
        raise ApiError(
            429,
            "concurrency_limit_reached",
            activeGenerations=active,
            concurrencyLimit=limit,
            retryAfterSeconds=BUSY_SECONDS,
            upgradeUrl="https://sync.so/pricing",
        )


async def _read_form(request: Request, caller: Caller) -> tuple[dict[str, Any], str, dict[str, Upload]]:
    """A multipart order: the body it means, its fingerprint with the files' own, and the files as uploads."""
    try:
        async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
            raw = _form_body(form)
            files: dict[str, Upload] = {}
            hashes: dict[str, str] = {}
            for kind in FORM_FILES:
                given = [part for part in form.getlist(kind) if isinstance(part, UploadFile)]
                if len(given) > 1:
                    raise invalid(f"{kind} may be given once", field=kind, code=INVALID)
                if given:
                    files[kind], hashes[kind] = await _keep(caller, given[0])
    except HTTPException as error:
        raise ApiError(413, INVALID, str(error.detail)) from error
    sha256 = fingerprint([raw, hashes])
    if isinstance(items := raw.get("input", []), list):
        urls_of = {kind: caller.emulator.storage.asset_url(upload) for kind, upload in files.items()}
        raw["input"] = _with_files(items, urls_of)
    return raw, sha256, files


def _form_body(form: FormData) -> dict[str, Any]:
    """What the fields of a form mean; those that are not known are ignored, as the service does (section 6.2)."""
    raw: dict[str, Any] = {}
    for name in (*FORM_TEXT, *FORM_JSON):
        values = [value for value in form.getlist(name) if isinstance(value, str)]
        if not values:
            continue
        if name in FORM_TEXT:
            raw[name] = values[0]
            continue
        try:
            parsed = [json.loads(value) for value in values]
        except ValueError:
            raise invalid(f"{name} must be JSON", field=name, code=INVALID) from None
        raw[name] = parsed[0] if len(parsed) == 1 else parsed
    if isinstance(raw.get("input"), dict):
        raw["input"] = [raw["input"]]
    beside = {name: raw.pop(name) for name in FORM_OPTIONS if name in raw}
    if beside and isinstance(options := raw.get("options", {}), dict):
        raw["options"] = beside | options
    return raw


def _with_files(items: list[Any], files: dict[str, str]) -> list[Any]:
    """A file stands in for the first input item of its kind, and keeps its name."""
    left, placed = dict(files), []
    for item in items:
        url = left.pop(str(item.get("type")), None) if isinstance(item, dict) else None
        rest = item if url is None else {name: value for name, value in item.items() if name != "assetId"}
        placed.append(rest if url is None else rest | {"url": url})
    return placed + [{"type": kind, "url": url} for kind, url in left.items()]


async def _keep(caller: Caller, part: UploadFile) -> tuple[Upload, str]:
    emulator = caller.emulator
    temporary = emulator.files.temporary()
    digest, size = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as file:
            while piece := await part.read(MAX_FIELD_BYTES):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        if size > caller.settings.max_file_size:
            raise ApiError(422, "file_size_exceeds_plan_limit")
        upload = Upload(
            id=new_id(),
            org=caller.org,
            file_name=Path(part.filename or "file").name,
            content_type=part.content_type or "application/octet-stream",
            size=size,
            asset_id=None,
            created_at=emulator.clock.now(),
        )
        temporary.rename(emulator.files.path("uploads", upload.id))
    finally:
        temporary.unlink(missing_ok=True)
    emulator.state.insert(upload)
    return upload, digest.hexdigest()


# Rules


def _work_order(caller: Caller, body: GenerateBody, files: dict[str, Upload]) -> dict[str, Any]:
    """Check what section 6.1 demands and turn the request into what the engine needs."""
    if body.model not in catalog.MODELS:
        raise invalid(f"model {body.model!r} does not exist", field="model", code="generation_unsupported_model")
    if body.outputFileName is not None and not FILE_NAME.fullmatch(body.outputFileName):
        raise invalid("outputFileName may have 1 to 255 of A-Z a-z 0-9 _ -", field="outputFileName", code=INVALID)
    if body.webhookUrl is not None and urls.split(body.webhookUrl) is None:
        raise invalid("webhookUrl must be a URL address", field="webhookUrl", code=INVALID)
    visuals = [item for item in body.input if item.type in ("video", "image")]
    if len(visuals) > 1:
        raise ApiError(400, "generation_input_too_many_visual", field="input")
    if not visuals:
        raise invalid("input needs a video or an image", field="input", code=INVALID)
    visual = visuals[0]
    if visual.type == "image" and body.model != "sync-3":
        raise invalid("an image can be used with sync-3 only", field="input", code=INVALID)
    spoken = [item for item in body.input if item.type in ("audio", "text")]
    _check_drivers(body, spoken)
    options = body.options or Options()
    told = options.active_speaker_detection
    speaker = told if isinstance(told, Speaker) else Speaker()
    if visual.type == "image" and (told is True or speaker.auto_detect):
        raise invalid("the speaker of an image cannot be detected", field="options", code=INVALID)
    return {
        "model": body.model,
        "visual": _source(caller, visual),
        "visual_kind": visual.type,
        "drivers": [_driver(caller, item, item.refId or f"#{number}") for number, item in enumerate(spoken)],
        "segments": [
            {
                "start": segment.startTime,
                "end": segment.endTime,
                "ref": segment.audioInput.refId,
                "audio_start": segment.audioInput.startTime,
                "audio_end": segment.audioInput.endTime,
            }
            for segment in body.segments or []
        ],
        "sync_mode": options.sync_mode,
        "temperature": DEFAULT_TEMPERATURE if options.temperature is None else options.temperature,
        "reasoning": options.reasoning_enabled,
        "speaker": speaker.coordinates or _middle(speaker.bounding_boxes),
        "speaker_frame": speaker.frame_number,
        "files": [upload.id for upload in files.values()],
    }


def _check_drivers(body: GenerateBody, spoken: list[Input]) -> None:
    if body.dubParams is not None:
        if spoken:
            raise ApiError(400, "generation_input_dub_audio_conflict", field="dubParams")
        raise ApiError(402, "plan_feature_unavailable", "The emulator has no dubbing.", field="dubParams")
    if not spoken:
        raise invalid("input needs an audio or a text", field="input", code=INVALID)
    if not body.segments:
        if len(spoken) > 1:
            raise invalid("several audio inputs need segments that say where each goes", field="input", code=INVALID)
        return
    names = [item.refId for item in spoken if item.refId is not None]
    if len(set(names)) < len(names):
        raise invalid("each refId may be used once", field="input", code=SEGMENTS_INVALID)
    end = 0.0
    for number, segment in enumerate(sorted(body.segments, key=lambda segment: segment.startTime)):
        where, cut = f"segments.{number}", segment.audioInput
        if segment.endTime <= segment.startTime or segment.startTime < end:
            raise invalid("segments must end after they start and not overlap", field=where, code=SEGMENTS_INVALID)
        if cut.refId not in names:
            raise invalid(f"no input has the refId {cut.refId!r}", field=where, code=SEGMENTS_INVALID)
        if cut.startTime is not None and cut.endTime is not None and cut.endTime <= cut.startTime:
            raise invalid(
                "a cut of the audio must end after it starts", field=where, code="generation_input_trim_invalid"
            )
        end = segment.endTime


def _driver(caller: Caller, item: Input, ref: str) -> dict[str, Any]:
    if item.type == "audio":
        return {"ref": ref, "source": _source(caller, item)}
    if item.provider is None:
        raise invalid("a text input needs a provider with voiceId and script", field="input", code=INVALID)
    said = item.provider
    return {"ref": ref} | speaking(caller, said.voiceId, said.script, said.stability, said.similarityBoost)


def _source(caller: Caller, item: Input) -> dict[str, str]:
    if (item.url is None) == (item.assetId is None):
        raise invalid(f"a {item.type} input needs exactly one of url and assetId", field="input", code=INVALID)
    url = item.url
    if item.assetId is not None:
        asset = find_asset(caller, item.assetId)
        if asset is None:
            raise ApiError(422, "asset_not_found", field="input")
        if asset.type.lower() != item.type:
            raise ApiError(422, "generation_input_asset_type_mismatch", field="input")
        if asset.upload_id:
            return {"file": f"uploads/{asset.upload_id}"}
        url = asset.url
    url = url or ""
    if urls.split(url) is None:
        raise invalid(f"the url of the {item.type} input must be a URL address", field="input", code=INVALID)
    file = caller.emulator.storage.locate(url)
    if file is not None:
        return {"file": str(file.path.relative_to(caller.emulator.files.root))}
    return {"url": url}


def _middle(boxes: list[Any] | None) -> list[float] | None:
    """The middle of the first box [x1, y1, x2, y2] that is given: where the speaker is."""
    for box in boxes or []:
        if isinstance(box, list) and len(box) == 4:
            left, top, right, bottom = map(float, box)
            return [(left + right) / 2, (top + bottom) / 2]
    return None
