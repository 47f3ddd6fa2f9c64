"""The voices of a connection: a page of the list, a preview, and a deletion by the rules of the command line."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.api_fastapi.logging.decorators import action_logging
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, status

from voice_provider.exceptions import NotFoundError, ServiceUnavailableError
from voice_provider.files.media import probe
from voice_provider.files.whole import NotMediaError, NotWholeError
from voice_provider.jobs.account import Account, matching, objection, run_of
from voice_provider.services.base import download
from voice_provider.ui.connections import MAY_DELETE, MAY_READ, Recent, hook_of
from voice_provider.ui.ranges import ranged
from voice_provider.ui.xcoms import readable, returned

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

    from voice_provider.hooks.voice import VoiceHook

MOST_TOLD = 2000  # tasks of the runs of a page of voices, in which their consents are looked for
MOST_PREVIEW = 8 * 1024**2  # bytes; services' own are some 100 KB
router = APIRouter(prefix="/connections/{connection_id}/voices")


class Look:
    """An account and its rows, as one look has found them."""

    def __init__(self, hook: VoiceHook) -> None:
        self.account = Account.look(hook)
        self.rows = self.account.rows()


_recent: Recent[Look] = Recent()


@router.get("", dependencies=[MAY_READ])
def list_voices(
    connection_id: str,
    user: GetUserDep,
    search: Annotated[str, Query(max_length=200)] = "",
    which: Annotated[str, Query(pattern="^(slots|ours|all)$")] = "slots",
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: float = 0.0,
) -> dict[str, Any]:
    """Return some voices, how many there are, and the slots.

    :param after: when this browser has deleted one (``at``), for workers that have seen the list before
    """
    look = _recent.get(connection_id, lambda: Look(hook_of(connection_id)), after)
    account = look.account
    chosen = [row for row in look.rows if which == "all" or row["ours" if which == "ours" else "takes_slot"]]
    found = matching(chosen, search) if search.strip() else chosen
    shown = [_shown(row, account) for row in found[offset : offset + limit]]
    consents = _consents(user, shown)
    return {
        "namespace": account.namespace,
        "slots": {"active": account.room.active, "limit": account.room.limit},
        "total": len(found),
        "voices": [{**row, "consent": consents.get(row["id"])} for row in shown],
    }


def _shown(row: dict[str, Any], account: Account) -> dict[str, Any]:
    dag_id, run_id = run_of(row)
    plays = account.voices[row["id"]].preview_url is not None
    return {**row, "dag_id": dag_id, "run_id": run_id, "plays": plays}


def _consents(user: BaseUser, rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Tell of the voices of a run whether its task was given a consent; of others, and of DAGs not read, nothing."""
    runs = list({(row["dag_id"], row["run_id"]) for row in rows if row["run_id"]})
    if not runs:
        return {}
    found: dict[str, bool] = {}
    for one in returned(readable(user), of=runs, marks=["voice_id"], limit=MOST_TOLD):
        voice = str(one.value.get("voice_id"))  # also of tasks that speak with it, which pass the consent on
        found[voice] = found.get(voice, False) or bool(one.value.get("consent"))
    return found


@router.get("/{voice_id}/preview", dependencies=[MAY_READ])
def preview(connection_id: str, voice_id: str, request: Request) -> Response:
    """Play what the service lets people hear of a voice; fetched here, so that the browser asks nobody else."""
    hook = hook_of(connection_id)
    voice = hook.get_voice(voice_id)
    if voice.preview_url is None:
        raise NotFoundError(f"'{voice.name}' has no preview at {hook.service.label}.")
    sink = _Sink()
    hook.run(download(voice.preview_url, sink))
    try:
        media_type = probe(sink.file, sink.position).format.media_type
    except (NotMediaError, NotWholeError):
        media_type = ""
    if not media_type.startswith("audio/"):
        raise ServiceUnavailableError(f"What {hook.service.label} sent as the preview of '{voice.name}' is no audio.")
    return ranged(request, sink.file, sink.position, media_type)


class _Sink:
    """A preview in memory, no longer than it may be."""

    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.position = 0

    def write(self, data: bytes) -> None:
        if self.position + len(data) > MOST_PREVIEW:
            raise ServiceUnavailableError(
                f"The preview is longer than {MOST_PREVIEW // 1024**2} MiB: it is not played."
            )
        self.position += self.file.write(data)

    def restart(self) -> None:
        self.file, self.position = io.BytesIO(), 0


@router.delete("/{voice_id}", dependencies=[MAY_DELETE, Depends(action_logging("delete_voice"))])
def delete_voice(connection_id: str, voice_id: str, expect: str | None = None) -> dict[str, Any]:
    """Delete a clone; its slot is free at once. The audit log has got an entry by now.

    :param expect: the voice's name at the service, which says that a person has answered a second question: needed for
        a voice that this provider did not make in the connection's namespace
    """
    hook = hook_of(connection_id)
    account = Account.look(hook)  # as it is now, whatever the page shows
    found = account.facts(account.voices.get(voice_id) or hook.get_voice(voice_id))
    why = objection(found, account.namespace, force=expect == found["name_at_service"])
    if why is not None:
        asks = found["takes_slot"]
        more = "Nothing was deleted; to delete it all the same, confirm its name." if asks else "Nothing was deleted."
        raise HTTPException(status.HTTP_409_CONFLICT, f"{why} {more}")
    hook.delete_voice(voice_id)
    _recent.forget(connection_id)
    return {"deleted": voice_id, "at": time.time()}
