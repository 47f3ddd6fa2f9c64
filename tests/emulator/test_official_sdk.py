"""The vendor's own Python SDK, unmodified, against the emulator."""

from __future__ import annotations

import asyncio

import pytest
from sync import AsyncSync, Sync
from sync.common import Audio, GenerationOptions, GenerationSegment, SegmentAudioInput, Video
from sync.common.errors import BadRequestError, NotFoundError, UnauthorizedError
from sync.core.api_error import ApiError

from tests.emulator.customer import LINE, web


@pytest.fixture
def sdk(voice_emulator) -> Sync:
    return Sync(api_key=voice_emulator.api_key, base_url=voice_emulator.url)


@pytest.fixture
def inputs(order) -> list:
    return [Video(url=order["input"][0]["url"]), Audio(url=order["input"][1]["url"])]


def finished(sdk: Sync, job_id: str):
    while (job := sdk.generations.get(job_id)).status in ("PENDING", "PROCESSING"):
        pass
    return job


def test_a_generation_is_created_and_collected(sdk, inputs):
    options = GenerationOptions(sync_mode="cut_off", temperature=0.7)
    job = sdk.generations.create(model="lipsync-2", input=inputs, options=options, output_file_name="sdk")
    assert job.status == "PENDING"
    done = finished(sdk, job.id)
    assert (done.status, done.model, done.options.sync_mode) == ("COMPLETED", "lipsync-2", "cut_off")
    assert done.output_duration == pytest.approx(3, abs=0.1)
    assert web.get(done.output_url).status_code == 200
    assert [found.id for found in sdk.generations.list(ids=[job.id])] == [job.id]
    assert [found.id for found in sdk.generations.list(status=["COMPLETED", "FAILED"])] == [job.id]


def test_assets_and_segments(sdk, customer, video, sample):
    visual = customer.asset(video, "v.mp4", "video/mp4")["id"]
    sound = customer.asset(sample)["id"]
    job = sdk.generations.create(
        model="lipsync-2-pro",
        input=[Video(asset_id=visual), Audio(asset_id=sound, ref_id="a")],
        segments=[
            GenerationSegment(
                start_time=0, end_time=2, audio_input=SegmentAudioInput(ref_id="a", start_time=0, end_time=2)
            )
        ],
    )
    assert finished(sdk, job.id).status == "COMPLETED"


def test_files_in_a_form(sdk, video, sample):
    job = sdk.generations.create_with_files(
        model="lipsync-2", video=("v.mp4", video, "video/mp4"), audio=("a.wav", sample, "audio/wav")
    )
    assert finished(sdk, job.id).status == "COMPLETED"


def test_cost_assets_and_models(sdk, inputs, customer, sample):
    (cost,) = sdk.generations.estimate_cost(model="lipsync-2", input=inputs)
    assert cost.estimated_frame_count > 0
    assert cost.estimated_generation_cost > 0
    first, second = customer.asset(sample), customer.asset(sample)
    page = sdk.assets.list(limit=1, types=["AUDIO", "VIDEO"], sort_by="dateAsc")
    assert ([asset.id for asset in page.items], page.total_count) == ([first["id"]], 2)
    page = sdk.assets.list(limit=1, cursor=page.next_cursor, types=["AUDIO", "VIDEO"], sort_by="dateAsc")
    assert [asset.id for asset in page.items] == [second["id"]]
    assert sdk.assets.get(first["id"]).duration_seconds == pytest.approx(3)
    assert "sync-3" in [model.id for model in sdk.models.list()]


def test_errors_are_the_sdks_own_types(sdk, inputs, voice_emulator):
    with pytest.raises(BadRequestError) as wrong:
        sdk.generations.create(model="lipsync-0", input=inputs)
    assert wrong.value.body.status_code == 400
    with pytest.raises(NotFoundError):
        sdk.generations.get("6533643b-aceb-4c40-967e-d9ba9baac39e")
    with pytest.raises(UnauthorizedError):
        Sync(api_key="wrong", base_url=voice_emulator.url).models.list()
    voice_emulator.settings(concurrency=0)
    with pytest.raises(ApiError) as busy:
        sdk.generations.create(model="lipsync-2", input=inputs)
    assert busy.value.status_code == 429


def test_the_asynchronous_client_does_the_same(voice_emulator, inputs, order):
    async def flow():
        sdk = AsyncSync(api_key=voice_emulator.api_key, base_url=voice_emulator.url)
        job = await sdk.generations.create(model="lipsync-2", input=inputs)
        while (done := await sdk.generations.get(job.id)).status in ("PENDING", "PROCESSING"):
            pass
        listed = await sdk.generations.list()
        cost = await sdk.generations.estimate_cost(model="lipsync-2", input=inputs)
        models, assets = await sdk.models.list(), await sdk.assets.list()
        with pytest.raises(NotFoundError):
            await sdk.generations.get("6533643b-aceb-4c40-967e-d9ba9baac39e")
        return done, listed, cost, models, assets

    done, listed, cost, models, assets = asyncio.run(flow())
    assert (done.status, [job.id for job in listed]) == ("COMPLETED", [done.id])
    assert cost[0].estimated_frame_count > 0
    assert models
    assert assets.items == []


def test_text_inputs_are_spoken(sdk, order, customer):
    from sync.common import Tts

    text = Tts(provider={"name": "elevenlabs", "voice_id": customer.builtin(), "script": LINE})
    job = sdk.generations.create(model="lipsync-2", input=[Video(url=order["input"][0]["url"]), text])
    assert finished(sdk, job.id).status == "COMPLETED"
