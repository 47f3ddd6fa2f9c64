"""The wallets of Fish Audio: prepaid API credit, and the web plan's, which does not pay for the API (section 9)."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from voice_provider.emulator.fish_audio.bodies import check
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.library import PUBLISHED_AT, person_id, stamp
from voice_provider.emulator.fish_audio.requests import FishCaller, InferenceCaller

router = APIRouter()

PLAN_CREDITS = 8000
PLAN_SECONDS = 30 * 86400


class CreditQuery(BaseModel):
    check_free_credit: bool = False
    team_id: str | None = None


def check_own(user_id: str, caller: FishCaller) -> None:
    """Refuse a look into somebody else's wallet; what the service answers then is not known."""
    if user_id not in ("self", person_id(caller.owner)):
        raise FishError(403, "You may look into your own wallet only.")


@router.get("/wallet/{user_id}/api-credit")
async def api_credit(user_id: str, request: Request, caller: InferenceCaller) -> JSONResponse:
    """Decimal strings; a debit shows a while after the work (section 9)."""
    emulator = caller.emulator
    query = check(CreditQuery, dict(request.query_params), "query")
    check_own(user_id, caller)
    now = emulator.clock.now()
    body: dict[str, Any] = {
        "_id": person_id(f"wallet of {caller.org}"),
        "user_id": person_id(caller.owner),
        "credit": f"{caller.credit(until=now - caller.settings.fish_debit_seconds):.6f}",
        "cumulative_top_up": f"{caller.settings.fish_credit_usd:g}",
        "created_at": stamp(PUBLISHED_AT),
        "updated_at": stamp(now),
        "has_phone_sha256": True,
        "has_free_credit": False if query.check_free_credit else None,
    }
    return JSONResponse(body)


@router.get("/wallet/{user_id}/package")
async def package(user_id: str, caller: InferenceCaller) -> JSONResponse:
    """Without `_id`, which the official SDK misses (section 11)."""
    check_own(user_id, caller)
    body = {
        "user_id": person_id(caller.owner),
        "type": "free",
        "total": PLAN_CREDITS,
        "balance": PLAN_CREDITS,
        "created_at": stamp(PUBLISHED_AT),
        "updated_at": stamp(PUBLISHED_AT),
        "finished_at": stamp(caller.emulator.clock.now() + PLAN_SECONDS),
        "extra_balance": 0,
        "has_used_trial": False,
    }
    return JSONResponse(body)
