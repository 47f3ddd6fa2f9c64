"""No answer has a field that neither the official SDK nor the documentation knows: every endpoint, walked once.

What a customer may come to rely on here has to be there at the service, too; what the emulator has to say beyond that
is in headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import APIRoute
from sync.common import Asset, EstimatedGenerationCost, Generation, GenerationError, ModelInfo, PaginatedAssetsResponse
from sync.core.serialization import FieldMetadata

from tests.emulator.customer import LINE, PNG, Customer, web
from voice_provider.emulator.sync_labs.routes import router

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel

Fields = dict[str, Any]  # what there is below each of them; empty where that is the customer's own, or no object


def of_sdk(model: type[BaseModel], *documented: str, **below: Fields) -> Fields:
    """The fields that a model of the SDK has on the wire, and those of the documentation that it has not yet."""
    names = set(documented)
    for name, field in model.model_fields.items():
        aliases = [item.alias for item in field.metadata if isinstance(item, FieldMetadata)]
        names.add(aliases[0] if aliases else name)
    return {name: {} for name in names} | below


def of_documents(names: str, **below: Fields) -> Fields:
    return {name: {} for name in names.split()} | below


ERROR = of_sdk(GenerationError, "errorCode", "suggestion", "field", "requestId", "error")
BUSY = of_documents("activeGenerations concurrencyLimit retryAfterSeconds upgradeUrl")
VOICE = of_documents("id internalVoiceId voiceId name provider previewUrl restriction")
ASSET = of_sdk(Asset, "projectId")
ASSETS = of_sdk(PaginatedAssetsResponse, items=ASSET)
PROJECT = of_documents("id name description visibility mode createdAt updatedAt")
GENERATION = of_sdk(Generation, "errorCode", "outputFileName", "synthesizedAudioUrl", "projectId", "progress_percent")
COST = of_sdk(EstimatedGenerationCost, "estimatedCredits")
SPEECH = of_documents("id url duration")
SPEECH_JOB = of_documents(
    "id status url duration createdAt startedAt finishedAt", error=of_documents("message errorCode")
)
TRANSCRIPT = of_documents(
    "id status sourceVideoUrl sourceStartMs sourceEndMs createdAt speakerCount",
    error=of_documents("code"),
    transcript={"segments": of_documents("id", words=of_documents("text startMs endMs speakerId"))},
)
ANSWERS: dict[str, Fields] = {
    "GET /v2/errors": of_documents("code message suggestion"),
    "GET /v2/models": of_sdk(ModelInfo),
    "GET /v2/organizations/webhook/secret": of_documents("secret"),
    "GET /v2/voices": VOICE,
    "POST /v2/voices": VOICE,
    "GET /v2/voices/{voice_id}": VOICE,
    "DELETE /v2/voices/{voice_id}": {},
    "POST /v2/assets/upload": of_documents("uploadUrl url expiresIn"),
    "POST /v2/assets": ASSET,
    "GET /v2/assets": ASSETS,
    "POST /v2/assets/batch": ASSET,
    "GET /v2/assets/{asset_id}": ASSET,
    "PATCH /v2/assets/{asset_id}": ASSET,
    "DELETE /v2/assets/{asset_id}": of_documents("id"),
    "GET /v2/assets/{asset_id}/download": {},
    "POST /v2/projects": PROJECT,
    "GET /v2/projects": PROJECT,
    "GET /v2/projects/{project_id}": PROJECT,
    "PATCH /v2/projects/{project_id}": PROJECT,
    "DELETE /v2/projects/{project_id}": of_documents("id"),
    "POST /v2/tts": SPEECH,
    "GET /v2/tts/{job_id}": of_documents(
        "id status synthesizedAudioUrl url duration error createdAt"
    ),  # section 4.1, B
    "POST /v2/tts/jobs": SPEECH_JOB,
    "GET /v2/tts/jobs/{job_id}": SPEECH_JOB,
    "POST /v2/generate": GENERATION,
    "GET /v2/generate/{job_id}": GENERATION,
    "GET /v2/generations/{job_id}": GENERATION,
    "GET /v2/generations": GENERATION,
    "GET /v2/generations/count": of_documents("count"),
    "GET /v2/generations/{job_id}/result": {},
    "DELETE /v2/generations/{job_id}": of_documents("id"),
    "POST /v2/generations/estimate": COST,
    "POST /v2/generate/estimate-cost": COST,
    "POST /v2/analyze/cost": COST,
    "POST /v2/transcriptions": TRANSCRIPT,
    "GET /v2/transcriptions/{job_id}": TRANSCRIPT,
}
BATCHES = {"GET /v2/batch", "POST /v2/batch", "GET /v2/batch/{batch_id}"}  # refused on every plan that there is here
FILES = {"GET /previews/{voice_id}.mp3"}  # no endpoint: where `previewUrl` leads


def template(method: str, path: str) -> str:
    """The route that a path is, such as `GET /v2/voices/{voice_id}`."""
    return next(
        f"{method} {route.path}"
        for route in router.routes
        if isinstance(route, APIRoute) and method in route.methods and route.path_regex.match(path)
    )


def unknown(body: Any, fields: Fields, where: str) -> list[str]:
    """Where in an answer there is a field that is not known; a field without any below it is not looked into."""
    if isinstance(body, list):
        return [found for item in body for found in unknown(item, fields, where)]
    if not isinstance(body, dict):
        return []
    return [
        found
        for name, value in body.items()
        for found in (
            [f"{where}: {name}"]
            if name not in fields
            else unknown(value, fields[name], f"{where}: {name}")
            if fields[name]
            else []
        )
    ]


def test_an_unknown_field_is_found_wherever_it_is() -> None:
    body = {"id": 1, "engine": "tone", "transcript": {"segments": [{"words": [{"text": "a", "loud": 1}]}]}}
    assert unknown([body], TRANSCRIPT, "x") == ["x: engine", "x: transcript: segments: words: loud"]


@pytest.fixture
def answers(customer: Customer) -> list[httpx.Response]:
    """What the customer is answered from here on."""
    found: list[httpx.Response] = []
    customer.event_hooks = {"response": [found.append]}
    return found


def test_every_endpoint_answers_in_known_fields(
    customer: Customer, answers: list[httpx.Response], order: dict, sample: bytes, voice_emulator
) -> None:
    walk(customer, order, sample, voice_emulator)
    reached, problems = set(), []
    for answer in answers:
        answer.read()
        place = template(answer.request.method, answer.request.url.path)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        body = answer.json() if is_json else None
        if answer.is_error:
            known = ERROR | (BUSY if isinstance(body, dict) and "upgradeUrl" in body else {})
        else:
            reached.add(place)
            known = ANSWERS[place]
            if place == "POST /v2/tts" and answer.status_code == 201:
                known = ANSWERS["GET /v2/tts/{job_id}"]
        problems += unknown(body, known, place)
    assert problems == []
    assert {route for route in ANSWERS if route not in reached} == set()
    routes = {f"{method} {r.path}" for r in router.routes if isinstance(r, APIRoute) for method in r.methods}
    assert routes == ANSWERS.keys() | BATCHES | FILES


def walk(customer: Customer, order: dict, sample: bytes, emulator: Any) -> None:
    """Call every endpoint, where it can end in several ways in each of them."""
    for path in ("errors", "models", "organizations/webhook/secret", "batch", "batch/1"):
        customer.get(f"/v2/{path}")
    project = customer.post("/v2/projects", json={"name": "Spring", "description": "x"}).json()["id"]
    customer.get("/v2/projects")
    customer.get(f"/v2/projects/{project}")
    customer.patch(f"/v2/projects/{project}", json={"name": "Summer"})
    walk_files(customer, sample, project)
    voice = customer.clone(customer.upload(sample)).json()["id"]
    customer.clone(customer.upload(sample))  # the name is taken
    for voice_id in ("", f"/{voice}", f"/{customer.builtin()}"):
        customer.get(f"/v2/voices{voice_id}")
    walk_speech(customer, voice, emulator)
    walk_generations(customer, order, voice, project, emulator)
    customer.delete(f"/v2/voices/{voice}")
    customer.delete(f"/v2/projects/{project}")


def walk_files(customer: Customer, sample: bytes, project: str) -> None:
    asset = customer.asset(sample, projectId=project)["id"]
    customer.asset(PNG, "face.png", "image/png")
    customer.get("/v2/assets?limit=1")
    customer.get("/v2/assets?types=NOTHING")
    customer.post("/v2/assets/batch", json={"ids": [asset]})
    customer.get(f"/v2/assets/{asset}")
    customer.get(f"/v2/assets/{asset}/download")
    customer.patch(f"/v2/assets/{asset}", json={"name": "x"})
    customer.delete(f"/v2/assets/{asset}")


def walk_speech(customer: Customer, voice: str, emulator: Any) -> None:
    """In every mode and end, and what was said written down."""
    line = {"voiceId": voice, "script": LINE}
    customer.post("/v2/tts", json=line | {"voiceId": "nobody"})
    spoken = customer.post("/v2/tts", json=line).json()["url"]
    stored = customer.upload(web.get(spoken).content, "line.mp3", "audio/mpeg")
    emulator.settings(tts_mode="seed-async")
    customer.job(f"/v2/tts/{customer.post('/v2/tts', json=line).json()['id']}")
    for fails in (False, True):
        if fails:
            emulator.fault("job_failed", path="/v2/tts/jobs")
            emulator.fault("job_failed", path="/v2/transcriptions", code="NO_AUDIO")
        customer.job(customer.post("/v2/tts/jobs", json=line).headers["location"])
        asked = {"sourceAudioUrl": stored, "sourceStartMs": int(fails)}
        customer.job(f"/v2/transcriptions/{customer.post('/v2/transcriptions', json=asked).json()['id']}")


def walk_generations(customer: Customer, order: dict, voice: str, project: str, emulator: Any) -> None:
    text = {"type": "text", "provider": {"voiceId": voice, "script": LINE}}
    more = {"outputFileName": "x", "projectId": project, "options": {"sync_mode": "loop"}}
    for kind in ("audio", "text", "job_failed", "job_rejected"):
        if kind.startswith("job"):
            emulator.fault(kind, path="/v2/generate")
        body = order | more | ({"input": [order["input"][0], text]} if kind == "text" else {})
        job = customer.post("/v2/generate", json=body).json()["id"]
        customer.job(f"/v2/generate/{job}")
        for query in ("?include=progress", "?wait=true&timeout=1", "?wait=true&timeout=0"):
            customer.get(f"/v2/generate/{job}{query}")
        customer.get(f"/v2/generations/{job}")
        if kind == "text":
            emulator.settings(result_host="200")
            customer.get(customer.get(f"/v2/generate/{job}").json()["outputUrl"])
    emulator.settings(concurrency=0)
    customer.post("/v2/generate", json=order)
    customer.get("/v2/generations")
    customer.get("/v2/generations/count")
    cost = {"model": "sync-3", "duration": 2}
    for path in ("generations/estimate", "generate/estimate-cost"):
        customer.post(f"/v2/{path}", json=cost)
        customer.post(f"/v2/{path}", json=cost | {"model": "nothing"})
    customer.post("/v2/analyze/cost", json=order)
    for _ in range(2):
        customer.delete(f"/v2/generations/{job}")
