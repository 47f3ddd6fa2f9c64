"""Transcripts of stored recordings (documentation of the transcriptions API, November 2026)."""

import json
from itertools import count
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from voice_provider.emulator.sync_labs.errors import ApiError, invalid
from voice_provider.emulator.sync_labs.requests import (
    SERVICE,
    Authenticated,
    Caller,
    is_uuid,
    named_page,
    outcome,
    read,
)
from voice_provider.emulator.world.clock import iso
from voice_provider.emulator.world.state import Job

router = APIRouter()

# What the engine and the work say, in the vendor's words; of those only the first is documented with its meaning.
JOB_ERRORS = {"no_audio": "NO_AUDIO_TRACK", "not_media": "NO_AUDIO", "pipeline_failed": "INTERNAL_ERROR"}


class TranscriptionBody(BaseModel):
    sourceVideoUrl: str | None = None  # noqa: N815
    sourceAudioUrl: str | None = None  # noqa: N815
    sourceStartMs: int = Field(default=0, ge=0)  # noqa: N815
    sourceEndMs: int | None = Field(default=None, gt=0)  # noqa: N815


@router.post("/v2/transcriptions")
async def order_transcription(request: Request, caller: Authenticated) -> JSONResponse:
    """Take it on; the same source and window is answered with the job that there is. Not billed."""
    body, _ = await read(request, TranscriptionBody)
    if (body.sourceVideoUrl is None) == (body.sourceAudioUrl is None):
        raise invalid("exactly one of sourceVideoUrl and sourceAudioUrl must be given", field="sourceVideoUrl")
    if body.sourceEndMs is not None and body.sourceEndMs <= body.sourceStartMs:
        raise invalid("sourceEndMs must be after sourceStartMs", field="sourceEndMs")
    asked = body.model_dump()
    same = "service = ? AND kind = 'transcription' AND org = ? AND status != 'FAILED' AND request = ?"
    job = caller.emulator.state.first(Job, same, SERVICE, caller.org, json.dumps(asked))
    if job is None:
        job = caller.job("transcription", asked, {"source": _source(caller, body)} | outcome(request))
        caller.emulator.jobs.order(job, None, scope="transcriptions")
    return JSONResponse(_json(job), 201, named_page(caller.emulator, job))


def _source(caller: Caller, body: TranscriptionBody) -> dict[str, str]:
    field = "sourceVideoUrl" if body.sourceAudioUrl is None else "sourceAudioUrl"
    emulator, url = caller.emulator, body.sourceVideoUrl or body.sourceAudioUrl or ""
    file = emulator.storage.locate(url)
    if file is None or not file.path.exists():
        ours = emulator.storage.is_ours(url)
        raise ApiError(422, "uploaded_file_not_found" if ours else "file_not_in_org_storage", field=field)
    if file.org != caller.org:
        raise ApiError(422, "file_not_in_org_storage", field=field)
    return {"file": str(file.path.relative_to(emulator.files.root))}


@router.get("/v2/transcriptions/{job_id}")
async def get_transcription(job_id: str, caller: Authenticated) -> JSONResponse:
    if not is_uuid(job_id):
        raise invalid("id must be a UUID", field="id")
    where = "id = ? AND org = ? AND service = ? AND kind = 'transcription'"
    job = caller.emulator.state.first(Job, where, job_id, caller.org, SERVICE)
    if job is None:
        raise ApiError(404, message="There is no such transcription job.")
    return JSONResponse(_json(job), headers=named_page(caller.emulator, job))


def _json(job: Job) -> dict[str, Any]:
    done, asked = job.status == "COMPLETED", job.request
    failed = job.status in ("FAILED", "REJECTED")
    return {
        "id": job.id,
        "status": "FAILED" if failed else job.status,
        "sourceVideoUrl": asked["sourceVideoUrl"],
        "sourceStartMs": asked["sourceStartMs"],
        "sourceEndMs": asked["sourceEndMs"],
        "createdAt": iso(job.created_at),
        "transcript": {"segments": _segments(job)} if done else None,
        "speakerCount": 1 if job.result.get("one_speaker") else None,
        "error": {"code": JOB_ERRORS.get(job.error_code or "", job.error_code)} if failed else None,
    }


def _segments(job: Job) -> list[dict[str, Any]]:
    """The words inside the window, in the time of the whole recording."""
    start, end = job.request["sourceStartMs"], job.request["sourceEndMs"]
    speaker = "speaker_0" if job.result["one_speaker"] else None
    segments, numbers = [], count()
    for phrase in job.result["said"]:
        words = [
            {
                "text": word["text"],
                "startMs": round(word["start"] * 1000),
                "endMs": round(word["end"] * 1000),
                "speakerId": speaker,
            }
            for word in phrase
        ]
        inside = [word for word in words if word["endMs"] > start and (end is None or word["startMs"] < end)]
        if inside:
            segments.append({"id": f"segment_{next(numbers)}", "words": inside})
    return segments
