"""The latest kept results: where they come from, whether they are still what was kept, and how they sound and look.

An XCom is written by a DAG's author, and must not make the API server read what it likes: a file is opened only below
the connection's ``allowed_outputs``, and on this machine's own disk only where the deployment says so.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from voice_provider.exceptions import InvalidInputError, NotAllowedError, NotFoundError, VoiceError
from voice_provider.files.locations import check_allowed, explained, is_local, local_path, open_local, open_path
from voice_provider.models import Manifest
from voice_provider.trust.provenance import verify
from voice_provider.ui.connections import MAY_READ, hook_of
from voice_provider.ui.ranges import ranged
from voice_provider.ui.xcoms import MAY_READ_RESULTS, Instance, readable, returned

if TYPE_CHECKING:
    from voice_provider.hooks.settings import Settings
    from voice_provider.hooks.voice import VoiceHook

MOST_CHECKED = 1024**3  # bytes of a file that the API server reads to check its hash
BLOCK = 1024**2  # bytes that are fetched at a time from an object store
_PLAYABLE = re.compile(r"(audio|video)/[a-z0-9.+-]{1,40}")
router = APIRouter(prefix="/connections/{connection_id}")


@router.get("/results", dependencies=[MAY_READ, MAY_READ_RESULTS])
def list_results(
    connection_id: str,
    user: GetUserDep,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> dict[str, Any]:
    """Return the newest results of the connection, and for each why it does not play, if it does not."""
    hook = hook_of(connection_id)
    values = returned(readable(user), marks=["uri"], limit=limit + 1, offset=offset)
    found = []
    for one in values[:limit]:
        manifest = _manifest(one.value)
        if manifest is not None and _is_of(manifest, hook):
            why = _obstacle(manifest, hook.settings)
            found.append({**one.where, **manifest.dump(), "kept_at": one.at.isoformat(), "obstacle": why})
    return {"results": found, "next": offset + limit if len(values) > limit else None}


def _manifest(value: Any) -> Manifest | None:
    try:
        return Manifest.model_validate(value)
    except ValidationError:
        return None


def _is_of(manifest: Manifest, hook: VoiceHook) -> bool:
    """Whether a connection has paid it; what was kept before results told it is known by its service only."""
    return manifest.service == hook.service.name and manifest.voice_conn_id in (None, hook.voice_conn_id)


def _obstacle(manifest: Manifest, settings: Settings) -> str | None:
    """Say why a result is not played here, if it is not."""
    try:
        check_place(manifest.uri, settings)
    except VoiceError as error:
        return str(error)
    return None if _PLAYABLE.fullmatch(manifest.media_type) else f"It is no audio or video, but {manifest.media_type}."


def check_place(uri: str, settings: Settings) -> None:
    """Refuse what this server does not read, whatever an XCom says.

    :raises NotAllowedError: naming the setting that would allow it
    """
    if not settings.allowed_outputs:
        raise NotAllowedError(
            f"Results are played from below allowed_outputs of connection '{settings.conn_id}', and it has none: name "
            "there the folders or buckets that results are kept in."
        )
    check_allowed(uri, settings.allowed_outputs, "output")
    if is_local(uri) and not conf.getboolean("voice", "serve_local_files", fallback=False):
        raise NotAllowedError(
            "It is kept on a disk, and the API server reads its own disk only where the deployment says so ([voice] "
            "serve_local_files = True); it is for those whose workers and API server share that folder."
        )


def _of(user: Any, hook: VoiceHook, instance: Instance) -> Manifest:
    """Read the manifest of a task instance anew: what the browser says of it is not asked.

    :raises NotFoundError: it has returned none that is of this connection
    """
    found = returned(readable(user) & {instance[0]}, of=[instance], limit=1)
    manifest = _manifest(found[0].value) if found else None
    if manifest is None or not _is_of(manifest, hook):
        raise NotFoundError(f"This task has returned no result of '{hook.voice_conn_id}' that was kept as a file.")
    return manifest


_ONE = "/dags/{dag_id}/result"
RunId = Annotated[str, Query(max_length=250)]
TaskId = Annotated[str, Query(max_length=250)]


@router.get(f"{_ONE}/media", dependencies=[MAY_READ, MAY_READ_RESULTS])
def play(
    connection_id: str,
    dag_id: str,
    run_id: RunId,
    task_id: TaskId,
    request: Request,
    user: GetUserDep,
    map_index: int = -1,
) -> Response:
    """Send a result, or the part of it that the player asks for."""
    hook = hook_of(connection_id)
    settings, manifest = hook.settings, _of(user, hook, (dag_id, run_id, task_id, map_index))
    why = _obstacle(manifest, settings)
    if why is not None:
        raise NotAllowedError(why)
    with explained(
        f"{manifest.uri} cannot be played", "Check that it is still there, and the API server's permissions."
    ):
        file, size = _open(manifest.uri, settings)
    if size != manifest.bytes:
        file.close()
        raise InvalidInputError(f"{manifest.uri} is not the file that was kept: it has {size:,} bytes.")
    return ranged(request, file, size, manifest.media_type)


def _open(uri: str, settings: Settings) -> tuple[BinaryIO, int]:
    if is_local(uri):
        file = open_local(Path(local_path(uri)), settings.allowed_outputs)
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            file.close()
            raise FileNotFoundError(uri)
        return file, found.st_size
    path = open_path(uri)
    return cast("BinaryIO", path.open("rb", block_size=BLOCK)), int(path.stat().st_size)


@router.get(f"{_ONE}/check", dependencies=[MAY_READ, MAY_READ_RESULTS])
def check_result(
    connection_id: str, dag_id: str, run_id: RunId, task_id: TaskId, user: GetUserDep, map_index: int = -1
) -> dict[str, Any]:
    """Read the file and the record beside it; say whether it is what was kept, and where it comes from."""
    hook = hook_of(connection_id)
    settings, manifest = hook.settings, _of(user, hook, (dag_id, run_id, task_id, map_index))
    check_place(manifest.uri, settings)
    if manifest.bytes > MOST_CHECKED:
        return {
            "record": None,
            "problem": f"It is too long to be checked here. Run: voice-provider verify {manifest.uri}",
        }
    record, problem = verify(manifest.uri)
    if record is not None and problem is None and record.file.sha256 != manifest.sha256:
        problem = "The file and its record are not those that the task has returned: both have been replaced."
    return {"record": record.dump() if record is not None else None, "problem": problem}
