"""sync. labs as a whole: its routes, and the small endpoints that belong to no other file (sections 2, 7, 8, 10)."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from voice_provider.emulator.sync_labs import assets, catalog, generate, generations, speech, transcriptions, voices
from voice_provider.emulator.sync_labs.errors import ApiError
from voice_provider.emulator.sync_labs.requests import Authenticated
from voice_provider.emulator.sync_labs.webhooks import secret_of

router = APIRouter()
router.include_router(voices.router)
router.include_router(speech.router)
router.include_router(assets.router)
router.include_router(generate.router)
router.include_router(generations.router)
router.include_router(transcriptions.router)


@router.get("/v2/errors")
async def list_errors() -> JSONResponse:
    """The catalogue; the one endpoint that asks for no key (section 1)."""
    return JSONResponse(
        [
            {"code": code, "message": known.message, "suggestion": known.suggestion}
            for code, known in catalog.ERRORS.items()
        ]
    )


@router.get("/v2/models")
async def list_models(caller: Authenticated) -> JSONResponse:  # noqa: ARG001 - the key is required
    return JSONResponse([_model_json(model) for model in catalog.MODELS.values()])


def _model_json(model: catalog.Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.id,
        "type": model.kind,
        "version": "1",
        "description": model.description,
        "deprecatedAt": None,
    }


@router.get("/v2/organizations/webhook/secret")
async def webhook_secret(caller: Authenticated) -> JSONResponse:
    return JSONResponse({"secret": secret_of(caller.emulator.state, caller.org)})


@router.api_route("/v2/batch", methods=["GET", "POST"])
@router.get("/v2/batch/{batch_id}")
async def batch(caller: Authenticated, batch_id: str = "") -> JSONResponse:  # noqa: ARG001
    """Batches need a plan that the emulator does not have (section 7)."""
    raise ApiError(402, "plan_feature_unavailable", "Batches need the Scale plan.")
