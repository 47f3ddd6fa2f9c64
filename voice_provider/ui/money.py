"""What was spent, from what the tasks have returned: by day, DAG and connection, with how each sum is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Query

from voice_provider.models import Capability
from voice_provider.ui.connections import MAY_READ, TYPES, hook_of
from voice_provider.ui.xcoms import MAY_READ_RESULTS, readable, returned

if TYPE_CHECKING:
    from voice_provider.ui.xcoms import Returned

MARKS = ("uri", "voice_id", "cost")  # a DAG that has pushed one of these may have spent something
KINDS = ("speech", "lip_sync")  # of what is kept at a price, known or not
MOST = 10_000  # results that are read; the newest count
UNKNOWN = "unknown"
router = APIRouter()


@router.get("/money", dependencies=[MAY_READ_RESULTS])
def money(user: GetUserDep, days: Annotated[int, Query(ge=1, le=366)] = 30) -> dict[str, Any]:
    """Sum up the results of the DAGs that the user may read.

    :param days: so many, up to now
    :return: ``by`` day, DAG and connection: ``results``, ``seconds``, ``usd`` by basis, ``unknown`` (results)
    """
    since = datetime.now(UTC) - timedelta(days=days)
    found = returned(readable(user), marks=MARKS, whole_dags=True, since=since, limit=MOST)
    by: dict[str, dict[str, dict[str, Any]]] = {"day": {}, "dag": {}, "connection": {}}
    once = {_key(one): one for one in found if _is_paid(one.value)}  # of what is passed on the first, who paid it
    for one in once.values():
        told = one.value
        keys = {"day": str(one.at.date()), "dag": one.instance[0], "connection": _paid_by(told)}
        for name, key in keys.items():
            _add(by[name].setdefault(key, {"results": 0, "seconds": 0.0, "unknown": 0, "usd": {}}), told)
    sums = {name: [{"name": key, **rows[key]} for key in sorted(rows)] for name, rows in by.items()}
    return {"by": sums, "whole": len(found) < MOST}


def _is_paid(told: dict[str, Any]) -> bool:
    """Whether it is a result that was paid; what is ordered and not collected yet (no ``uri``) is none."""
    return told.get("cost") is not None or (told.get("kind") in KINDS and told.get("uri") is not None)


def _key(one: Returned) -> str:
    """Return what tells a result from all others, also where a sensor or an author's task has returned it again."""
    kept = [one.value.get(name) for name in ("uri", "sha256", "job_id", "submitted_at")]
    return repr(kept if kept[0] is not None else one.instance)


def _paid_by(told: dict[str, Any]) -> str:
    """Name the connection as the page lists it; what was kept before results told it is known by its service only."""
    service = str(told.get("service") or UNKNOWN)
    label, conn_id = TYPES.get(service, service), told.get("voice_conn_id")
    return f"{conn_id} ({label})" if conn_id else f"not told ({label})"


def _add(total: dict[str, Any], told: dict[str, Any]) -> None:
    cost = told["cost"] if isinstance(told.get("cost"), dict) else {}
    usd, basis = cost.get("usd"), str(cost.get("basis") or UNKNOWN)
    total["results"] += 1
    total["seconds"] += _number(told.get("seconds")) or 0.0
    if (amount := _number(usd)) is None or basis == UNKNOWN:
        total["unknown"] += 1
    else:
        total["usd"][basis] = total["usd"].get(basis, 0.0) + amount


def _number(value: Any) -> float | None:
    """Return a number that a sum may have: an author can write anything."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_one and 0 <= value < 1e9 else None


@router.get("/connections/{connection_id}/wallet", dependencies=[MAY_READ])
def wallet(connection_id: str) -> dict[str, Any]:
    """Ask what the account can spend, where the service tells it."""
    hook = hook_of(connection_id)
    if Capability.WALLET not in hook.service.capabilities:
        return {"usd": None, "says": f"{hook.service.label} does not tell by its API what is left to spend."}
    return {"usd": hook.wallet().usd, "says": None}
