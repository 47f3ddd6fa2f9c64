"""Voice models of Fish Audio: made out of recordings, listed, looked at, changed and deleted (section 3)."""

import hashlib
import logging
import uuid
from pathlib import Path
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, InstanceOf

from voice_provider.emulator.engine import MIN_SAMPLE_SECONDS, EngineError
from voice_provider.emulator.fish_audio.bodies import Form, UploadedFile, check, read_form_or_packed
from voice_provider.emulator.fish_audio.errors import FishError
from voice_provider.emulator.fish_audio.heard import remember_file
from voice_provider.emulator.fish_audio.library import entity_data, library, person_id, stamp, training
from voice_provider.emulator.fish_audio.requests import FishCaller, PlatformCaller, identify, signature, unauthorized
from voice_provider.emulator.fish_audio.settings import settings_of
from voice_provider.emulator.fish_audio.state import AGE, USE, FishModel
from voice_provider.emulator.world.emulator import Emulator

log = logging.getLogger(__name__)
router = APIRouter()

# A title that holds this word trains and then fails, whatever the settings say.
FAILING_TITLE = "[fail]"
LANGUAGES = ["en"]
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
WINDOW = 1000  # how far the public list can be paged through
MAX_OFFSET = 10_000

Visibility = Literal["private", "unlist", "public"]


class Fields(BaseModel):
    """A body or query whose names may be repeated; of one that is no list, the last value counts."""

    LISTS: ClassVar[frozenset[str]]

    @classmethod
    def of(cls, form: Form) -> dict[str, Any]:
        return {
            name: values if name in cls.LISTS and values != [None] else values[-1] if values else None
            for name, values in form.items()
        }


class Creation(Fields):
    LISTS = frozenset({"voices", "texts", "tags", "voice_design_signatures"})
    type: Literal["tts"]
    title: str
    train_mode: Literal["fast"]
    voices: list[InstanceOf[UploadedFile]] = Field(min_length=1, max_length=20)
    visibility: Visibility = "private"
    description: str | None = None
    cover_image: InstanceOf[UploadedFile] | None = None
    texts: list[str] | None = Field(default=None, max_length=20)
    tags: list[str] | None = None
    enhance_audio_quality: bool = True
    generate_sample: bool = False
    voice_design_signatures: list[str] | None = None


class Change(Fields):
    LISTS = frozenset({"tags"})
    title: str | None = None
    description: str | None = None
    cover_image: InstanceOf[UploadedFile] | None = None
    visibility: Visibility | None = None
    tags: list[str] = []


class Listing(Fields):
    LISTS = frozenset({"tag", "language", "title_language"})
    page_size: int = Field(default=10, ge=1, le=100)
    page_number: int = Field(default=1, ge=1)
    title: str | None = None
    tag: list[str] = []
    own: bool = Field(default=False, alias="self")
    author_id: str | None = None
    language: list[str] = []
    title_language: list[str] = []
    licensed: bool = False
    sort_by: Literal["score", "task_count", "created_at"] = "score"


def entity(emulator: Emulator, model: FishModel) -> dict[str, Any]:
    """All fields, always: the official SDK requires several that the specification calls optional (section 11)."""
    author = person_id(model.owner)
    return {
        "_id": model.id,
        "type": "tts",
        "train_mode": "fast",
        "state": model.state_now(emulator.clock.now()),
        "samples": [],
        "created_at": stamp(model.created_at),
        "updated_at": stamp(model.updated_at),
        "languages": LANGUAGES,
        "visibility": model.visibility,
        "lock_visibility": False,
        "dmca_taken_down": False,
        "takedown_category": None,
        "pvc_release_state": None,
        "pvc_notice_period_months": None,
        "pvc_released_at": None,
        "pvc_retire_requested_at": None,
        "pvc_retire_effective_at": None,
        "quality": None,
        "like_count": 0,
        "mark_count": 0,
        "shared_count": 0,
        "unliked": False,
        "liked": False,
        "marked": False,
        "author": {"_id": author, "nickname": model.owner, "avatar": f"avatars/{author}.jpg"},
        **model.data,
    }


def not_found() -> FishError:
    return FishError(404, "Model not found")


@router.get("/model")
async def list_models(request: Request) -> JSONResponse:
    """The public list, which needs no key, or one's own models (section 3.2)."""
    emulator: Emulator = request.app.state.emulator
    params = request.query_params
    query = check(Listing, Listing.of({name: params.getlist(name) for name in params}), "query")
    caller = identify(request)
    if caller is None and (query.own or "authorization" in request.headers):
        raise unauthorized(request)
    where, values = _filter(emulator, caller if query.own else None, query)
    own = query.own and caller is not None
    shelf = [] if own else sorted((model for model in library(emulator).values() if _matches(model, query)), key=_rank)
    total = emulator.state.count(FishModel, where, *values) + len(shelf)
    limited = not own and total > WINDOW
    total = min(total, WINDOW) if limited else total
    start = (query.page_number - 1) * query.page_size
    size = max(0, min(query.page_size, total - start))
    by_age = query.sort_by == "created_at"
    # The shelf is merged into the rows: as many of them could stand before the page.
    skipped = max(0, start - len(shelf))
    rows = emulator.state.find(
        FishModel, f"{where} ORDER BY {AGE if by_age else USE} LIMIT ? OFFSET ?", *values, size + len(shelf), skipped
    )
    page = sorted([*rows, *shelf], key=_age if by_age else _rank)[start - skipped :][:size]
    return JSONResponse(
        {
            "total": total,
            "items": [entity(emulator, model) for model in page],
            "has_more": start + query.page_size < total,
            "max_offset": WINDOW if limited else MAX_OFFSET,
            "accessible_upper_bound": WINDOW if limited else 0,
            "window_limited": limited,
            "total_is_exact": not limited,
        }
    )


def _age(model: FishModel) -> tuple[float, ...]:
    return -model.created_at, *(-ord(sign) for sign in model.id)


def _rank(model: FishModel) -> tuple[float, ...]:
    """The score is not told; here it is how often a voice was used."""
    return -model.data["task_count"], *_age(model)


def _filter(emulator: Emulator, owner: FishCaller | None, query: Listing) -> tuple[str, list[Any]]:
    """The condition of the rows that are asked for, and its values."""
    parts: list[tuple[str, Any]] = [("org = ?", owner.org) if owner else ("visibility = ?", "public")]
    if query.title is not None:
        parts.append(("instr(lower(json_extract(data, '$.title')), lower(?))", query.title))
    parts += [("EXISTS (SELECT 1 FROM json_each(data, '$.tags') WHERE value = ?)", tag) for tag in query.tag]
    if owner is None and query.author_id is not None:
        names = (name for name in emulator.state.tally(FishModel.TABLE, "owner") if person_id(name) == query.author_id)
        parts.append(("owner = ?", next(names, None)))
    if owner is None and query.licensed:
        parts.append(("json_extract(data, '$.licensed') = ?", True))
    if not _is_spoken(query):
        parts.append(("?", False))
    return " AND ".join(part for part, _ in parts), [value for _, value in parts]


def _is_spoken(query: Listing) -> bool:
    return all(not asked or set(asked) & set(LANGUAGES) for asked in (query.language, query.title_language))


def _matches(model: FishModel, query: Listing) -> bool:
    """Whether a voice of the library is asked for."""
    data = model.data
    wanted = (
        query.title is None or query.title.lower() in data["title"].lower(),
        all(tag in data["tags"] for tag in query.tag),
        query.author_id in (None, person_id(model.owner)),
        data["licensed"] or not query.licensed,
        _is_spoken(query),
    )
    return all(wanted)


@router.get("/model/{model_id}")
async def get_model(model_id: str, caller: PlatformCaller) -> JSONResponse:
    """One model; a look at one's own is a poll that its training counts."""
    model = caller.model_for(model_id)
    if model is None:
        raise not_found()
    if model.org == caller.org and model.training["polled"] < model.training["polls"]:
        model.training["polled"] += 1
        caller.emulator.state.update(model)
    return JSONResponse(entity(caller.emulator, model))


@router.post("/model")
async def create_model(request: Request, caller: PlatformCaller) -> JSONResponse:
    emulator = caller.emulator
    async with read_form_or_packed(request) as form:
        body = check(Creation, Creation.of(form), "body")
        if body.texts is not None and len(body.texts) != len(body.voices):
            raise FishError(400, f"{len(body.texts)} texts were given for {len(body.voices)} voices")
        model = _new_model(caller, body)
        seconds, sha256 = await emulator.jobs.in_thread(lambda: _learn(emulator, body, model.id))
        if body.cover_image:
            _keep_cover(emulator, model, body.cover_image)
    with emulator.state.transaction():
        model.created_at = model.updated_at = emulator.clock.now()  # none is listed after one that is younger
        emulator.state.insert(model)
        emulator.state.insert(caller.charge("clone", model.id, seconds, "seconds", 0.0, sha256))
    log.info("Model %s learnt from %d clips, %g s", model.id, len(body.voices), seconds)
    return JSONResponse(entity(emulator, model), 201)


def _new_model(caller: FishCaller, body: Creation) -> FishModel:
    settings, now = caller.settings, caller.emulator.clock.now()
    fails = settings.fish_training_fails or FAILING_TITLE in body.title
    model_id = uuid.uuid4().hex
    return FishModel(
        id=model_id,
        org=caller.org,
        owner=caller.owner,
        visibility=_visibility(caller.emulator, body.visibility, covered=_is_cover(body.cover_image)),
        data=entity_data(
            body.title,
            description=body.description or "",
            tags=body.tags or [],
            default_text=body.texts[0] if body.texts else "",
            source="voice_design" if body.voice_design_signatures else None,
        ),
        profile=f"{model_id}.voice",
        builtin=None,
        training=training(
            "failed" if fails else "trained",
            polls=settings.fish_training_polls,
            seconds=settings.fish_training_seconds,
        ),
        created_at=now,
        updated_at=now,
    )


def _visibility(emulator: Emulator, asked: Visibility, *, covered: bool) -> Visibility:
    """What is asked for, unless a setting has the stricter of the documented rules (section 3.1)."""
    if asked == "public" and settings_of(emulator).fish_downgrade_public:
        return "private"
    if asked == "public" and settings_of(emulator).fish_public_needs_cover and not covered:
        raise FishError(400, "A public model needs a cover image")
    return asked


def _is_cover(file: UploadedFile | None) -> bool:
    if file is not None and not file.head.startswith(PICTURES):
        raise FishError(400, "The cover image is neither JPEG nor PNG")
    return file is not None


def _keep_cover(emulator: Emulator, model: FishModel, file: UploadedFile) -> None:
    file.path.rename(_cover_path(emulator, model))
    model.data["cover_image"] = f"coverimage/{model.id}"


def _cover_path(emulator: Emulator, model: FishModel) -> Path:
    return emulator.files.path("voices", f"{model.id}.cover")


def _learn(emulator: Emulator, body: Creation, model_id: str) -> tuple[float, str]:
    """Check the clips and learn their voice (in a worker thread); returns their seconds and their hash."""
    hashes = [_sha256(clip.path) for clip in body.voices]
    if body.voice_design_signatures and body.voice_design_signatures != [signature(emulator, sha) for sha in hashes]:
        raise FishError(400, "Invalid voice-design signature")
    seconds = _checked_seconds(emulator, body.voices)
    temporary = emulator.files.temporary(".voice")
    try:
        emulator.engine.learn_voice([clip.path for clip in body.voices], temporary, max_seconds=seconds)
        temporary.rename(emulator.files.path("voices", f"{model_id}.voice"))
        for clip, text in zip(body.voices, body.texts or (), strict=False):
            remember_file(emulator, clip.path, text)
    except EngineError as error:
        raise FishError(400, error.message) from error
    finally:
        temporary.unlink(missing_ok=True)
    return round(seconds, 3), hashlib.sha256("".join(hashes).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked_seconds(emulator: Emulator, clips: list[UploadedFile]) -> float:
    """The length of all clips; 400 if one of them is no audio or too short, or if they are too long together."""
    settings, total = settings_of(emulator), 0.0
    for number, clip in enumerate(clips):
        try:
            media = emulator.engine.probe(clip.path)
        except EngineError as error:
            raise FishError(400, f"voices[{number}] cannot be decoded as audio") from error
        if not media.has_audio or media.width is not None:
            raise FishError(400, f"voices[{number}] is no audio")
        seconds, least = media.seconds or MIN_SAMPLE_SECONDS, settings.fish_min_clip_seconds
        if seconds < least:
            raise FishError(400, f"voices[{number}] is {seconds:.1f} s long, at least {least:g} s are needed")
        total += seconds
    if total > settings.fish_max_total_seconds:
        raise FishError(400, f"The voices are {total:.1f} s long, at most {settings.fish_max_total_seconds:g} s fit")
    return total


@router.patch("/model/{model_id}")
async def update_model(model_id: str, request: Request, caller: PlatformCaller) -> Response:
    """Only what was sent changes; the answer has no body (section 3.4)."""
    emulator = caller.emulator
    async with read_form_or_packed(request) as form:
        change = check(Change, Change.of(form), "body")
        model = caller.own_model(model_id)
        if model is None:
            raise not_found()
        if _is_cover(change.cover_image) and change.cover_image:
            _keep_cover(emulator, model, change.cover_image)
        if change.title is not None:
            model.data["title"] = change.title
        if "description" in change.model_fields_set:
            model.data["description"] = change.description or ""
        if "tags" in change.model_fields_set:
            model.data["tags"] = change.tags
        if change.visibility is not None:
            covered = bool(model.data["cover_image"])
            model.visibility = _visibility(emulator, change.visibility, covered=covered)
        model.updated_at = emulator.clock.now()
        emulator.state.update(model)
    return Response(status_code=200)


@router.delete("/model/{model_id}")
async def delete_model(model_id: str, caller: PlatformCaller) -> Response:
    emulator = caller.emulator
    model = caller.own_model(model_id)
    if model is None:
        raise not_found()
    emulator.state.delete(model)
    for path in (emulator.files.path("voices", f"{model.id}.voice"), _cover_path(emulator, model)):
        path.unlink(missing_ok=True)
    return Response(status_code=caller.settings.fish_delete_status)
