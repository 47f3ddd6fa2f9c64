"""Voices of sync. labs: built-in and cloned (contract section 3)."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from voice_provider.emulator.engine import EngineError
from voice_provider.emulator.sync_labs import catalog
from voice_provider.emulator.sync_labs.assets import find_asset
from voice_provider.emulator.sync_labs.errors import ApiError, invalid
from voice_provider.emulator.sync_labs.requests import (
    SERVICE,
    Authenticated,
    Caller,
    check_provider,
    fingerprint,
    read,
    require_provider,
)
from voice_provider.emulator.sync_labs.settings import settings_of
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.files import StoredFile
from voice_provider.emulator.world.state import Upload, Voice, new_id

router = APIRouter()

PREVIEW = "This is how I sound."

SAMPLE_ERRORS = {
    "sample_too_short": (400, "voice_sample_too_short"),
    "sample_has_no_voice": (400, "voice_sample_invalid"),
    "no_audio": (422, "voice_sample_extraction_failed"),
    "not_media": (400, "voice_sample_invalid"),
}


class CloneBody(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    provider: Literal["elevenlabs"] | None = None
    url: str | None = None
    assetId: str | None = None  # noqa: N815 - the wire's name


def builtins(emulator: Emulator) -> dict[str, tuple[str, str]]:
    """Built-in voices by id: (name, the engine's name for it)."""
    return {
        voice_id: (name, engine_name)
        for (voice_id, name), engine_name in zip(catalog.BUILTIN_VOICES, emulator.engine.builtin_voices, strict=False)
    }


def voice_json(voice: Voice) -> dict[str, Any]:
    return {
        "id": voice.id,
        "voiceId": voice.provider_id,
        "internalVoiceId": voice.id,
        "name": voice.name,
        "provider": "elevenlabs",
    }


def _builtin_json(voice_id: str, name: str) -> dict[str, Any]:
    return {"id": voice_id, "voiceId": voice_id, "name": name, "provider": "elevenlabs"}


def _clone(caller: Caller, voice_id: str) -> Voice | None:
    where = "id = ? AND org = ? AND service = ? AND ready"
    return caller.emulator.state.first(Voice, where, voice_id, caller.org, SERVICE)


@router.get("/v2/voices")
async def list_voices(request: Request, caller: Authenticated) -> JSONResponse:
    check_provider(request)
    clones = caller.emulator.state.find(
        Voice, "service = ? AND org = ? AND ready ORDER BY created_at", SERVICE, caller.org
    )
    built_in = [_builtin_json(voice_id, name) for voice_id, (name, _) in builtins(caller.emulator).items()]
    return JSONResponse([_heard(request, voice) for voice in built_in + [voice_json(voice) for voice in clones]])


@router.get("/v2/voices/{voice_id}")
async def get_voice(voice_id: str, request: Request, caller: Authenticated) -> JSONResponse:
    check_provider(request)
    if built_in := builtins(caller.emulator).get(voice_id):
        return JSONResponse(_heard(request, _builtin_json(voice_id, built_in[0])))
    voice = _clone(caller, voice_id)
    if voice is None:
        raise ApiError(404, "voice_not_found")
    return JSONResponse(_heard(request, voice_json(voice)))


def _heard(request: Request, voice: dict[str, Any]) -> dict[str, Any]:
    return {**voice, "previewUrl": f"{request.base_url}previews/{voice['id']}.mp3"}


@router.get("/previews/{voice_id}.mp3")
async def preview(voice_id: str, request: Request) -> Response:
    """A few words in a voice; public, and made whenever they are asked for."""
    emulator: Emulator = request.app.state.emulator
    built_in = builtins(emulator).get(voice_id)
    voice = emulator.state.first(Voice, "id = ? AND service = ? AND ready", voice_id, SERVICE)
    if built_in is None and voice is None:
        raise ApiError(404, "voice_not_found")
    learnt = emulator.files.path("voices", voice.profile) if voice is not None and voice.profile else None
    speaker = (
        learnt if learnt is not None and learnt.exists() else (built_in or ("", emulator.engine.builtin_voices[0]))[1]
    )
    pieces = emulator.engine.stream([(speaker, PREVIEW)], form="mp3")
    sound = await emulator.jobs.in_thread(lambda: b"".join(piece.audio for piece in pieces))
    return Response(sound, media_type="audio/mpeg")


@router.delete("/v2/voices/{voice_id}")
async def delete_voice(voice_id: str, caller: Authenticated) -> JSONResponse:
    voice = _clone(caller, voice_id)
    if voice is None:
        raise ApiError(404, "voice_not_found")
    caller.emulator.state.delete(voice)
    if voice.profile:
        caller.emulator.files.path("voices", voice.profile).unlink(missing_ok=True)
    return JSONResponse(True)


@router.post("/v2/voices")
async def clone_voice(request: Request, caller: Authenticated) -> JSONResponse:
    emulator = caller.emulator
    caller.spend("voices")
    body, raw = await read(request, CloneBody)
    require_provider(emulator, body.provider)
    if (body.url is None) == (body.assetId is None):
        raise invalid("exactly one of url and assetId must be given", field="url")
    sample = _sample(caller, body)
    caller.pay(catalog.USD_PER_CLONE, kind="clone", monthly=None, exhausted="")
    voice = _reserve(caller, body.name)
    try:
        seconds = await emulator.jobs.in_thread(lambda: _learn(emulator, sample, voice.id))
    except BaseException as error:
        emulator.state.delete(voice)
        if isinstance(error, EngineError):
            status, code = SAMPLE_ERRORS.get(error.code, (400, "voice_sample_invalid"))
            raise ApiError(status, code, error.message) from error
        raise
    voice.ready = 1
    charge = caller.charge("clone", voice.id, seconds, "seconds", catalog.USD_PER_CLONE, fingerprint(raw))
    charge.settled = 1
    with emulator.state.transaction():
        if emulator.state.update(voice):
            emulator.state.insert(charge)
    return JSONResponse(_heard(request, voice_json(voice)), 201)


def _reserve(caller: Caller, name: str) -> Voice:
    """Take name and slot before the work begins, so that many requests at once cannot take one slot twice."""
    emulator, state = caller.emulator, caller.emulator.state
    slots = caller.settings.clone_slots
    if slots is not None and state.count(Voice, "service = ? AND org = ?", SERVICE, caller.org) >= slots:
        raise ApiError(403, "voice_clone_limit_reached")
    if state.first(Voice, "service = ? AND org = ? AND name = ?", SERVICE, caller.org, name):
        raise ApiError(409, "voice_name_conflict", field="name")
    voice_id = new_id()
    same = caller.settings.voice_id_shape == "same"
    voice = Voice(
        id=voice_id,
        service=SERVICE,
        org=caller.org,
        name=name,
        provider_id=voice_id if same else new_id().replace("-", "")[:20],
        profile=f"{voice_id}.voice",
        ready=0,
        created_at=emulator.clock.now(),
    )
    state.insert(voice)
    return voice


def _sample(caller: Caller, body: CloneBody) -> StoredFile:
    emulator = caller.emulator
    if body.assetId is not None:
        asset = find_asset(caller, body.assetId)
        if asset is None:
            raise ApiError(422, "asset_not_found", field="assetId")
        upload = emulator.state.first(Upload, "id = ?", asset.upload_id)
        if upload is None:
            raise ApiError(422, "voice_sample_upload_required", field="assetId")
        return StoredFile(emulator.files.path("uploads", upload.id), upload.org, upload.file_name, upload)
    url = body.url or ""
    if not emulator.storage.is_ours(url):
        raise ApiError(422, "voice_sample_upload_required", field="url")
    sample = emulator.storage.locate(url)
    if sample is None or sample.org != caller.org:
        raise ApiError(422, "voice_sample_not_accessible", field="url")
    return sample


def _learn(emulator: Emulator, sample: StoredFile, voice_id: str) -> float:
    """Check the sample and learn its voice (in a worker thread); returns the seconds that were used."""
    settings = settings_of(emulator)
    if not sample.path.exists():
        raise ApiError(422, "voice_sample_not_accessible")
    media = emulator.engine.probe(sample.path)
    if media.kind == "image":
        raise ApiError(422, "voice_sample_type_unsupported")
    if media.kind == "video" and sample.path.stat().st_size > settings.max_sample_video_bytes:
        raise ApiError(413, "voice_sample_source_too_large")
    if not media.has_audio:
        raise ApiError(422, "voice_sample_extraction_failed")
    seconds = settings.max_sample_seconds if media.seconds is None else media.seconds
    if seconds < settings.min_sample_seconds:
        raise ApiError(
            400,
            "voice_sample_too_short",
            f"The sample is {seconds:.1f} s long; at least {settings.min_sample_seconds:g} s are needed.",
        )
    temporary = emulator.files.temporary(".voice")
    try:
        emulator.engine.learn_voice([sample.path], temporary, max_seconds=settings.max_sample_seconds)
        temporary.rename(emulator.files.path("voices", f"{voice_id}.voice"))
    finally:
        temporary.unlink(missing_ok=True)
    return round(min(seconds, settings.max_sample_seconds), 3)


def speaking(caller: Caller, voice_id: str, script: str, stability: float, similarity: float) -> dict[str, Any]:
    """A work order's driver for a line of text; 422 if the voice is unknown (not 404: section 2)."""
    driver: dict[str, Any] = {"text": script, "stability": stability, "similarity": similarity}
    if built_in := builtins(caller.emulator).get(voice_id):
        return driver | {"builtin": built_in[1]}
    voice = _clone(caller, voice_id)
    if voice is None:
        raise ApiError(422, "voice_not_found", field="voiceId")
    return driver | {"profile": voice.profile, "builtin": caller.emulator.engine.builtin_voices[0]}
