"""The control plane's operations on voice models: look at them, put some there without training."""

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from voice_provider.emulator.fish_audio.library import entity_data, training
from voice_provider.emulator.fish_audio.models import Visibility, entity
from voice_provider.emulator.fish_audio.state import FishModel
from voice_provider.emulator.world.bodies import read
from voice_provider.emulator.world.half import Parts

router = APIRouter()


class SeedModels(BaseModel):
    """Voice models made by hand; in any state, which then does not change."""

    model_config = ConfigDict(extra="forbid")
    titles: list[str] | None = None
    count: int = Field(default=0, ge=0, le=100_000)
    prefix: str = "voice"
    org: str = "main"
    owner: str | None = None
    visibility: Visibility = "private"
    tags: list[str] = []
    state: str = "trained"
    age_seconds: float = 0.0


@router.get("/models")
async def models(emulator: Parts, org: str = "main") -> JSONResponse:
    """The voice models of an organization, without being a poll that their training counts."""
    found = emulator.state.find(FishModel, "org = ? ORDER BY created_at, id", org)
    return JSONResponse([entity(emulator, model) for model in found])


@router.post("/models")
async def seed_models(request: Request, emulator: Parts) -> JSONResponse:
    seed, _ = await read(request, SeedModels)
    titles = (
        seed.titles if seed.titles is not None else [f"{seed.prefix} {number}" for number in range(1, seed.count + 1)]
    )
    moment = emulator.clock.now() - seed.age_seconds
    made = [
        FishModel(
            id=uuid.uuid4().hex,
            org=seed.org,
            owner=seed.owner or seed.org,
            visibility=seed.visibility,
            data=entity_data(title, tags=seed.tags),
            profile=None,
            builtin=None,
            training=training(seed.state),
            created_at=moment,
            updated_at=moment,
        )
        for title in titles
    ]
    emulator.state.insert_many(made)
    return JSONResponse([{"id": model.id, "title": model.data["title"]} for model in made], 201)
