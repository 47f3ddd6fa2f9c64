"""The control plane's operations on clones: look at them, put some there without cloning."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from voice_provider.emulator.sync_labs.requests import SERVICE
from voice_provider.emulator.world.bodies import read
from voice_provider.emulator.world.clock import iso
from voice_provider.emulator.world.half import Parts
from voice_provider.emulator.world.state import Voice, new_id

router = APIRouter()


class SeedVoices(BaseModel):
    """Clones made by hand, so to speak: by name, or so many of them."""

    model_config = ConfigDict(extra="forbid")
    names: list[str] | None = None
    count: int = Field(default=0, ge=0, le=100_000)
    prefix: str = "voice"
    org: str = "main"
    service: str = SERVICE
    age_seconds: float = 0.0


@router.get("/voices")
async def voices(emulator: Parts, org: str = "main") -> JSONResponse:
    """The clones of an organization with their dates, which the service does not tell."""
    found = emulator.state.find(Voice, "org = ? ORDER BY created_at", org)
    return JSONResponse(
        [
            {"id": v.id, "name": v.name, "service": v.service, "created_at": iso(v.created_at), "ready": bool(v.ready)}
            for v in found
        ]
    )


@router.post("/voices")
async def seed_voices(request: Request, emulator: Parts) -> JSONResponse:
    seed, _ = await read(request, SeedVoices)
    names = seed.names if seed.names is not None else [f"{seed.prefix} {number}" for number in range(1, seed.count + 1)]
    made = []
    for name in names:
        voice_id = new_id()
        made.append(
            Voice(
                id=voice_id,
                service=seed.service,
                org=seed.org,
                name=name,
                provider_id=voice_id,
                profile=None,
                ready=1,
                created_at=emulator.clock.now() - seed.age_seconds,
            )
        )
    emulator.state.insert_many(made)
    return JSONResponse([{"id": voice.id, "name": voice.name} for voice in made], 201)
