"""Assets and projects of sync. labs (contract sections 5 and 8)."""

import asyncio
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from voice_provider.emulator.engine import EngineError, MediaInfo
from voice_provider.emulator.sync_labs.errors import ApiError, invalid
from voice_provider.emulator.sync_labs.requests import (
    Authenticated,
    Caller,
    is_uuid,
    query_limit,
    query_values,
    read,
    whole,
)
from voice_provider.emulator.sync_labs.settings import settings_of
from voice_provider.emulator.world import urls
from voice_provider.emulator.world.clock import iso
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.files import MAX_PUT
from voice_provider.emulator.world.state import Asset, Project, Upload, new_id

router = APIRouter()

DEFAULT_PAGE = 20
MAX_SIDE = 65_536  # pixels
AssetType = Literal["AUDIO", "VIDEO", "IMAGE"]
Visibility = Literal["USER", "ORGANIZATION"]
SORTS = {
    "name": "COALESCE(name, '') COLLATE NOCASE",
    "date": "created_at",
    "duration": "COALESCE(seconds, 0)",
    "size": "COALESCE(size, 0)",
    "kind": "type",
}


class UploadBody(BaseModel):
    fileName: str = Field(min_length=1, max_length=255)  # noqa: N815
    contentType: str = Field(min_length=1)  # noqa: N815
    size: int = Field(ge=1, le=MAX_PUT)


class RegisterBody(BaseModel):
    url: str
    type: AssetType
    name: str | None = None
    visibility: Visibility = "USER"
    projectId: str | None = None  # noqa: N815


class PatchBody(BaseModel):
    name: str | None = None
    visibility: Visibility | None = None
    durationSeconds: float | None = Field(default=None, ge=0)  # noqa: N815
    size: int | None = Field(default=None, ge=0, le=MAX_PUT)
    format: str | None = None
    width: int | None = Field(default=None, ge=1, le=MAX_SIDE)
    height: int | None = Field(default=None, ge=1, le=MAX_SIDE)


class BatchBody(BaseModel):
    ids: str | list[str] = Field(max_length=100)


class ProjectBody(BaseModel):
    name: str = Field(min_length=1)
    id: UUID | None = None
    description: str | None = None
    visibility: Visibility = "USER"
    mode: Literal["CREATOR", "DEVELOPER"] = "CREATOR"


class ProjectPatch(BaseModel):
    name: str | None = Field(default=None, min_length=1)
    description: str | None = None
    visibility: Visibility | None = None


def asset_json(emulator: Emulator, asset: Asset) -> dict[str, Any]:
    upload = emulator.state.first(Upload, "id = ?", asset.upload_id) if asset.upload_id else None
    metadata = {
        "size": asset.size,
        "format": asset.format,
        "durationSeconds": asset.seconds,
        "width": asset.width,
        "height": asset.height,
    }
    if settings_of(emulator).null_metadata:  # as right after registration (section 5)
        metadata = dict.fromkeys(metadata)
    return {
        "id": asset.id,
        "createdAt": iso(asset.created_at),
        "updatedAt": iso(asset.updated_at),
        "name": asset.name,
        "url": emulator.storage.asset_url(upload) if upload else asset.url,
        "type": asset.type,
        "inputType": asset.input_type,
        "visibility": asset.visibility,
        "thumbnailUrl": None,
        "projectId": asset.project_id,
        **metadata,
    }


def visible(caller: Caller, asset_id: str) -> Asset:
    """An asset that the caller may see: their own, or one shared with their organization."""
    if not is_uuid(asset_id):
        raise ApiError(400, "invalid_asset_id_format", field="id")
    asset = find_asset(caller, asset_id)
    if asset is None:
        raise ApiError(404, "asset_not_found")
    return asset


def find_asset(caller: Caller, asset_id: str) -> Asset | None:
    where = "id = ? AND org = ? AND (owner = ? OR visibility = 'ORGANIZATION')"
    return caller.emulator.state.first(Asset, where, asset_id, caller.org, caller.owner)


def _own(caller: Caller, asset_id: str) -> Asset:
    asset = visible(caller, asset_id)
    if asset.owner != caller.owner:
        raise ApiError(403, "asset_forbidden")
    return asset


@router.post("/v2/assets/upload")
async def request_upload(request: Request, caller: Authenticated) -> JSONResponse:
    emulator = caller.emulator
    caller.spend("uploads")
    body, _ = await read(request, UploadBody)
    if body.size > caller.settings.max_file_size:
        raise ApiError(422, "file_size_exceeds_plan_limit", field="size")
    upload = Upload(
        id=new_id(),
        org=caller.org,
        file_name=PurePosixPath(body.fileName.replace("\\", "/")).name or "file",
        content_type=body.contentType,
        size=None,
        asset_id=new_id() if caller.settings.upload_returns_asset_id else None,
        created_at=emulator.clock.now(),
    )
    emulator.state.insert(upload)
    answer: dict[str, Any] = {
        "uploadUrl": emulator.storage.upload_url(upload),
        "url": emulator.storage.asset_url(upload),
        "expiresIn": emulator.house.upload_url_seconds,
    }
    if upload.asset_id:
        # The guide's text has this call return an asset id (section 5.1); the file is behind it after the PUT.
        kind = upload.content_type.partition("/")[0].upper()
        body_of_asset = RegisterBody(url=answer["url"], type=kind if kind in ("VIDEO", "IMAGE") else "AUDIO")
        emulator.state.insert(_asset(caller, body_of_asset, upload, None))
        answer["assetId"] = upload.asset_id
    return JSONResponse(answer, 201)


def _asset(caller: Caller, body: RegisterBody, upload: Upload | None, media: MediaInfo | None) -> Asset:
    now = caller.emulator.clock.now()
    return Asset(
        id=(upload and upload.asset_id) or new_id(),
        org=caller.org,
        owner=caller.owner,
        upload_id=upload.id if upload else None,
        url=None if upload else body.url,
        name=body.name or (upload.file_name if upload else PurePosixPath(urlsplit(body.url).path).name),
        type=body.type,
        visibility=body.visibility,
        input_type="UPLOAD" if upload else "URL",
        project_id=body.projectId,
        size=upload.size if upload else None,
        format=media.format if media else None,
        seconds=round(media.seconds, 3) if media and media.seconds else None,
        width=media.width if media else None,
        height=media.height if media else None,
        created_at=now,
        updated_at=now,
    )


@router.post("/v2/assets")
async def register_asset(request: Request, caller: Authenticated) -> JSONResponse:
    emulator = caller.emulator
    body, _ = await read(request, RegisterBody)
    caller.check_project(body.projectId)
    upload, media = None, None
    if emulator.storage.is_ours(body.url):
        file = emulator.storage.locate(body.url)
        if file is None or file.upload is None or not file.path.exists():
            raise ApiError(422, "uploaded_file_not_found", field="url")
        if file.org != caller.org:
            raise ApiError(422, "file_not_in_org_storage", field="url")
        upload = file.upload
        if (upload.size or 0) > caller.settings.max_file_size:
            raise ApiError(422, "file_size_exceeds_plan_limit", field="url")
        try:
            media = await asyncio.to_thread(emulator.engine.probe, file.path)
        except EngineError:
            media = None  # registering looks at the size only; what is no media is found out when it is used
    elif urls.split(body.url) is None:
        raise invalid("url must be a URL address", field="url")
    asset = _asset(caller, body, upload, media)
    existing = emulator.state.first(Asset, "id = ?", asset.id)
    if existing:
        emulator.state.update(asset)
    else:
        emulator.state.insert(asset)
    return JSONResponse(asset_json(emulator, asset), 201)


@router.get("/v2/assets")
async def list_assets(request: Request, caller: Authenticated) -> JSONResponse:
    query = request.query_params
    limit = query_limit(request) or DEFAULT_PAGE
    where, args = "org = ? AND (owner = ? OR visibility = 'ORGANIZATION')", [caller.org, caller.owner]
    if types := query_values(request, "types"):
        if set(types) - {"AUDIO", "VIDEO", "IMAGE"}:
            raise invalid("each value in types must be one of: AUDIO, VIDEO, IMAGE", field="types")
        where += f" AND type IN ({','.join('?' * len(types))})"
        args += types
    if project := query.get("projectId"):
        where, args = where + " AND project_id = ?", [*args, project]
    if text := query.get("searchQuery"):
        where, args = where + " AND instr(lower(COALESCE(name, '')), lower(?))", [*args, text]
    sort = query.get("sortBy", "dateDesc")
    column, direction = sort.removesuffix("Asc").removesuffix("Desc"), "DESC" if sort.endswith("Desc") else "ASC"
    if column not in SORTS or sort == column:
        raise invalid("sortBy must be a known order, such as nameAsc or dateDesc", field="sortBy")
    start = whole(query.get("cursor", "0"))
    if start is None:
        raise invalid("cursor is not one that was given", field="cursor")
    state = caller.emulator.state
    order = f"{where} ORDER BY {SORTS[column]} {direction}, rowid {direction} LIMIT {limit} OFFSET {start}"
    total = state.count(Asset, where, *args)
    page = [asset_json(caller.emulator, asset) for asset in state.find(Asset, order, *args)]
    answer: dict[str, Any] = {"items": page, "totalCount": total}
    if start + len(page) < total:
        answer["nextCursor"] = str(start + len(page))
    return JSONResponse(answer)


@router.post("/v2/assets/batch")
async def get_assets(request: Request, caller: Authenticated) -> JSONResponse:
    body, _ = await read(request, BatchBody)
    ids = [body.ids] if isinstance(body.ids, str) else body.ids
    if not ids:
        raise invalid("ids must contain at least 1 element", field="ids")
    found = []
    for asset_id in ids:
        try:
            found.append(asset_json(caller.emulator, visible(caller, asset_id)))
        except ApiError:
            continue
    return JSONResponse(found)


@router.get("/v2/assets/{asset_id}")
async def get_asset(asset_id: str, caller: Authenticated) -> JSONResponse:
    return JSONResponse(asset_json(caller.emulator, visible(caller, asset_id)))


@router.patch("/v2/assets/{asset_id}")
async def patch_asset(asset_id: str, request: Request, caller: Authenticated) -> JSONResponse:
    asset = _own(caller, asset_id)
    body, _ = await read(request, PatchBody)
    for name, value in body.model_dump(exclude_unset=True).items():
        setattr(asset, "seconds" if name == "durationSeconds" else name, value)
    asset.updated_at = caller.emulator.clock.now()
    caller.emulator.state.update(asset)
    return JSONResponse(asset_json(caller.emulator, asset))


@router.delete("/v2/assets/{asset_id}")
async def delete_asset(asset_id: str, caller: Authenticated) -> JSONResponse:
    forget_asset(caller.emulator, _own(caller, asset_id))
    return JSONResponse({"id": asset_id})


def forget_asset(emulator: Emulator, asset: Asset) -> None:
    """Delete an asset, and its file unless another asset shows the same one."""
    state = emulator.state
    state.delete(asset)
    if asset.upload_id and not state.count(Asset, "upload_id = ?", asset.upload_id):
        upload = state.first(Upload, "id = ?", asset.upload_id)
        if upload:
            state.delete(upload)
            emulator.files.path("uploads", upload.id).unlink(missing_ok=True)


@router.get("/v2/assets/{asset_id}/download")
async def download_asset(asset_id: str, caller: Authenticated) -> PlainTextResponse:
    return PlainTextResponse(asset_json(caller.emulator, visible(caller, asset_id))["url"])


# Projects


def _project_json(project: Project) -> dict[str, Any]:
    stamps = {"createdAt": iso(project.created_at), "updatedAt": iso(project.updated_at)}
    return {"id": project.id, **project.data, **stamps}


def _project(caller: Caller, project_id: str) -> Project:
    project = caller.emulator.state.first(Project, "id = ? AND org = ?", project_id, caller.org)
    if project is None:
        raise ApiError(404, "project_not_found")
    return project


@router.post("/v2/projects")
async def create_project(request: Request, caller: Authenticated) -> JSONResponse:
    state, now = caller.emulator.state, caller.emulator.clock.now()
    body, _ = await read(request, ProjectBody)
    project_id = str(body.id) if body.id else new_id()
    project = state.first(Project, "id = ? AND org = ?", project_id, caller.org)
    if project is None:
        data = body.model_dump(exclude={"id"})
        project = Project(id=project_id, org=caller.org, data=data, created_at=now, updated_at=now)
        state.insert(project)
    return JSONResponse(_project_json(project), 201)


@router.get("/v2/projects")
async def list_projects(caller: Authenticated) -> JSONResponse:
    projects = caller.emulator.state.find(Project, "org = ? ORDER BY created_at DESC", caller.org)
    return JSONResponse([_project_json(project) for project in projects])


@router.get("/v2/projects/{project_id}")
async def get_project(project_id: str, caller: Authenticated) -> JSONResponse:
    return JSONResponse(_project_json(_project(caller, project_id)))


@router.patch("/v2/projects/{project_id}")
async def patch_project(project_id: str, request: Request, caller: Authenticated) -> JSONResponse:
    project = _project(caller, project_id)
    body, _ = await read(request, ProjectPatch)
    project.data |= body.model_dump(exclude_unset=True)
    project.updated_at = caller.emulator.clock.now()
    caller.emulator.state.update(project)
    return JSONResponse(_project_json(project))


@router.delete("/v2/projects/{project_id}")
async def delete_project(project_id: str, caller: Authenticated) -> JSONResponse:
    """Delete a project with its generations and assets (section 8)."""
    project, state = _project(caller, project_id), caller.emulator.state
    for asset in state.find(Asset, "project_id = ? AND org = ?", project.id, caller.org):
        forget_asset(caller.emulator, asset)
    caller.emulator.jobs.delete("project_id = ? AND org = ?", project.id, caller.org)
    state.delete(project)
    return JSONResponse({"id": project_id})
