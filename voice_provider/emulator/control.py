"""The control plane under `/_emulator/`: look inside, set limits, order faults, move the clock. No key, no faults."""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from voice_provider.emulator.world import pages
from voice_provider.emulator.world.bodies import read
from voice_provider.emulator.world.clock import iso
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.faults import FaultRule
from voice_provider.emulator.world.half import Half, Parts
from voice_provider.emulator.world.state import Asset, Charge, Job, Voice

router = APIRouter(prefix="/_emulator")

SHOWN_REQUESTS = 1000


class ClockMove(BaseModel):
    model_config = ConfigDict(extra="forbid")
    advance_seconds: float = Field(default=0.0, ge=0)
    reset: bool = False


class Account(BaseModel):
    """Another key; keys of one organization are one person's unless `owner` says otherwise."""

    model_config = ConfigDict(extra="forbid")
    api_key: str = Field(min_length=1)
    org: str = Field(min_length=1)
    owner: str | None = None


@router.get("/")
async def index(request: Request, emulator: Parts) -> HTMLResponse:
    """Show people what was done so far: jobs, voices, the bill."""
    store = emulator.state
    halves: tuple[Half, ...] = request.app.state.halves
    voices = [(voice.service, voice.name, voice.id) for voice in store.find(Voice, "1 ORDER BY created_at DESC")]
    voices += [(half.service, *voice) for half in halves if half.voices for voice in half.voices(emulator)]
    jobs, charges = store.find(Job, "1 ORDER BY seq DESC"), store.find(Charge, "1 ORDER BY seq DESC")
    return HTMLResponse(pages.index(jobs, voices, charges, engine=emulator.engine.name))


@router.get("/health")
async def health(emulator: Parts) -> JSONResponse:
    return JSONResponse({"status": "ok", "engine": emulator.engine.name, "now": iso(emulator.clock.now())})


@router.get("/state")
async def state(request: Request, emulator: Parts) -> JSONResponse:
    store = emulator.state
    leaks = store.leaks()
    halves: tuple[Half, ...] = request.app.state.halves
    summaries = [half.summary(emulator) for half in halves if half.summary]
    return JSONResponse(
        {
            "voices": store.tally("voices", "org"),
            "assets": store.count(Asset),
            "assets_by_org": store.tally("assets", "org"),
            "jobs": store.tally("jobs", "status"),
            "jobs_by_kind": store.tally("jobs", "kind"),
            "active": store.count(Job, "status IN ('PENDING', 'PROCESSING')"),
            "active_generations": store.count(Job, "status IN ('PENDING', 'PROCESSING') AND kind = 'lip_sync'"),
            "ledger": store.count(Charge),
            "key_leaks": len(leaks),
            "key_leak_list": leaks,
            "faults": len(emulator.faults.listing()),
            "now": iso(emulator.clock.now()),
            "clock_offset": emulator.clock.offset,
            "engine": emulator.engine.name,
        }
        | {name: value for summary in summaries for name, value in summary.items()}
    )


@router.get("/ledger")
async def ledger(emulator: Parts, kind: str | None = None) -> JSONResponse:
    charges = emulator.state.find(Charge, "?1 IS NULL OR kind = ?1 ORDER BY seq", kind)
    return JSONResponse([_charge_json(charge) for charge in charges])


def _charge_json(charge: Charge) -> dict[str, Any]:
    return charge.values() | {
        "at": iso(charge.at),
        "usd": round(charge.usd, 6),
        "settled": bool(charge.settled),
        "refunded": bool(charge.refunded),
    }


@router.get("/requests")
async def requests(emulator: Parts, limit: int = SHOWN_REQUESTS) -> JSONResponse:
    return JSONResponse([entry | {"at": iso(entry["at"])} for entry in list(emulator.requests)[-limit:]])


@router.post("/reset")
async def reset(emulator: Parts) -> JSONResponse:
    emulator.reset()
    return JSONResponse({"reset": True})


@router.get("/settings")
async def get_settings(emulator: Parts) -> JSONResponse:
    return JSONResponse(emulator.settings.values())


@router.patch("/settings")
async def patch_settings(request: Request, emulator: Parts) -> JSONResponse:
    try:
        changes = json.loads(await request.body())
        emulator.change_settings(changes)
    except (ValueError, TypeError) as error:
        raise HTTPException(400, str(error)) from error
    return JSONResponse(emulator.settings.values())


@router.post("/faults")
async def add_fault(request: Request, emulator: Parts) -> JSONResponse:
    rule, _ = await read(request, FaultRule)
    return JSONResponse({"id": emulator.faults.add(rule)}, 201)


@router.get("/faults")
async def list_faults(emulator: Parts) -> JSONResponse:
    return JSONResponse(emulator.faults.listing())


@router.delete("/faults")
@router.delete("/faults/{fault_id}")
async def clear_faults(emulator: Parts, fault_id: str | None = None) -> JSONResponse:
    emulator.faults.remove(fault_id)
    return JSONResponse(emulator.faults.listing())


@router.post("/clock")
async def move_clock(request: Request, emulator: Parts) -> JSONResponse:
    move, _ = await read(request, ClockMove)
    emulator.move_clock(0.0 if move.reset else emulator.clock.offset + move.advance_seconds)
    return JSONResponse({"now": iso(emulator.clock.now()), "offset": emulator.clock.offset})


@router.post("/accounts")
async def add_account(request: Request, emulator: Parts) -> JSONResponse:
    account, _ = await read(request, Account)
    emulator.state.add_account(account.api_key, account.org, account.owner or account.org)
    return JSONResponse({"org": account.org}, 201)


def _job(emulator: Emulator, job_id: str) -> Job:
    job = emulator.state.first(Job, "id = ?", job_id)
    if job is None:
        raise HTTPException(404, "There is no such job.")
    return job


@router.get("/jobs/{job_id}")
async def job_page(job_id: str, emulator: Parts) -> HTMLResponse:
    job = _job(emulator, job_id)
    return HTMLResponse(pages.page(job, percent=emulator.jobs.percent(job), engine=emulator.engine.name))


@router.get("/jobs/{job_id}/media")
async def job_media(job_id: str, emulator: Parts) -> FileResponse:
    job = _job(emulator, job_id)
    path = emulator.jobs.file(job, "results") or emulator.jobs.file(job, "speech")
    if path is None or not path.exists():
        raise HTTPException(404, "There is nothing to play yet.")
    return FileResponse(path)
