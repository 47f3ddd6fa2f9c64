"""Faults that make speech say something else than was ordered; whoever listens hears what it really says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
import pytest

from tests.emulator.customer import web
from tests.emulator.fish_audio.customer import FishCustomer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.emulator.process import EmulatorHandle

LINE = "One two three four five six seven eight nine ten."


@pytest.fixture
def fish(voice_emulator: EmulatorHandle) -> Iterator[FishCustomer]:
    with FishCustomer(voice_emulator.url) as client:
        yield client


def seconds_of(speech: bytes) -> float:
    with av.open(io.BytesIO(speech)) as file:
        return sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))


def test_a_wrong_take_is_whole_media_billed_as_ordered_and_heard_as_it_is(fish, customer, voice_emulator) -> None:
    def heard(speech: bytes) -> str:
        return str(fish.post("/v1/asr", files={"audio": speech}).json()["text"]).strip()

    def from_fish(form: str) -> bytes:
        return fish.post("/v1/tts", json={"text": LINE, "format": form}).content

    def from_sync(_: str) -> bytes:
        body = {"voiceId": customer.builtin(), "script": LINE}
        return web.get(customer.post("/v2/tts", json=body).json()["url"]).content

    for path, speak, forms in (("/v1/tts", from_fish, ("mp3", "opus", "wav")), ("/v2/tts", from_sync, ("mp3",))):
        for form in forms:
            good = speak(form)
            length = seconds_of(good)
            cases = [
                ({"kind": "speech_swapped", "body": "Somebody else's words."}, "Somebody else's words.", 22 / 49),
                ({"kind": "speech_cut"}, "One two three four five", 0.5),
                ({"kind": "speech_cut", "share": 0.3}, "One two three", 0.3),
                ({"kind": "speech_silenced", "share": 0.3}, "One two three", 1),
                ({"kind": "speech_silenced"}, "", 1),
                ({"kind": "speech_other_voice"}, LINE, 1),
            ]
            assert heard(good) == LINE
            for fault, said, share in cases:
                voice_emulator.fault(path=path, **fault)
                speech = speak(form)
                assert heard(speech) == said, (path, form, fault)
                assert seconds_of(speech) == pytest.approx(length * share, abs=0.1), (path, form, fault)
                assert speech != good
            assert speak(form) == good or form == "opus"  # Ogg numbers its streams by chance
    assert {row["units"] for row in voice_emulator.ledger("speech")} == {len(LINE)}


def test_speech_that_is_a_job_can_be_wrong_too(customer, fish, voice_emulator) -> None:
    voice_emulator.settings(tts_jobs_enabled=True)
    voice_emulator.fault("speech_swapped", "/v2/tts/jobs", method="POST")
    body = {"voiceId": customer.builtin(), "script": LINE}
    job = customer.post("/v2/tts/jobs", json=body, headers={"Idempotency-Key": "k"}).json()
    speech = web.get(customer.job(f"/v2/tts/jobs/{job['id']}")["url"]).content
    assert "words of another line" in fish.post("/v1/asr", files={"audio": speech}).json()["text"]


def test_lines_of_one_length_are_not_taken_for_each_other(fish) -> None:
    for form in ("mp3", "wav"):
        takes = {text: fish.post("/v1/tts", json={"text": text, "format": form}).content for text in ("Abc.", "Xyz.")}
        for text, speech in takes.items():
            assert fish.post("/v1/asr", files={"audio": speech}).json()["text"] == text
