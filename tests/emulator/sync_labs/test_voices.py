"""Cloning, listing and deleting voices (contract section 3)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.emulator.customer import LINE, PNG, Customer


def test_a_voice_is_cloned_from_an_asset_and_speaks_at_once(customer, sample, voice_emulator):
    answer = customer.post("/v2/voices", json={"name": "Ada", "assetId": customer.asset(sample)["id"]})
    assert answer.status_code == 201
    voice = answer.json()
    assert voice["id"] == voice["voiceId"] == voice["internalVoiceId"]
    assert (voice["name"], voice["provider"]) == ("Ada", "elevenlabs")
    spoken = customer.post("/v2/tts", json={"voiceId": voice["id"], "script": LINE})
    assert spoken.status_code == 200
    (bill,) = voice_emulator.ledger("clone")
    assert (bill["job_id"], bill["units"], bill["unit"]) == (voice["id"], pytest.approx(3), "seconds")


def test_a_voice_is_cloned_from_the_uploaded_url_without_registering(customer, sample):
    assert customer.clone(customer.upload(sample)).status_code == 201


def test_a_voice_is_cloned_from_a_video(customer, video):
    asset = customer.asset(video, "talk.mp4", "video/mp4")
    assert customer.post("/v2/voices", json={"name": "Ada", "assetId": asset["id"]}).status_code == 201


def test_the_list_holds_built_ins_and_clones_of_the_organization(customer, stranger, sample):
    built_in = customer.get("/v2/voices").json()
    assert built_in
    assert all({"id", "name", "provider"} <= voice.keys() for voice in built_in)
    voice = customer.clone(customer.upload(sample)).json()
    assert customer.get("/v2/voices", params={"provider": "elevenlabs"}).json() == [*built_in, voice]
    assert stranger.get("/v2/voices").json() == built_in
    assert customer.get("/v2/voices", params={"provider": "other"}).status_code == 400


def test_one_voice_is_found_by_its_id_and_only_by_its_owner(customer, stranger, sample):
    voice = customer.clone(customer.upload(sample)).json()
    assert customer.get(f"/v2/voices/{voice['id']}").json() == voice
    assert customer.get(f"/v2/voices/{customer.builtin()}").status_code == 200
    for answer in (stranger.get(f"/v2/voices/{voice['id']}"), customer.get("/v2/voices/nobody")):
        assert (answer.status_code, answer.json()["errorCode"]) == (404, "voice_not_found")


def test_a_full_plan_refuses_until_a_voice_is_deleted(customer, sample, voice_emulator):
    voice_emulator.settings(clone_slots=1)
    url = customer.upload(sample)
    voice = customer.clone(url, "first").json()
    full = customer.clone(url, "second")
    assert (full.status_code, full.json()["errorCode"]) == (403, "voice_clone_limit_reached")
    deleted = customer.delete(f"/v2/voices/{voice['id']}")
    assert (deleted.status_code, deleted.json()) == (200, True)
    assert customer.clone(url, "second").status_code == 201


def test_twenty_clones_at_once_fill_exactly_the_slots_there_are(customer, sample, voice_emulator):
    voice_emulator.settings(clone_slots=3, rate_voices=0)
    url = customer.upload(sample)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: customer.clone(url, f"voice {n}").status_code, range(20)))
    assert sorted(set(answers)) == [201, 403]
    assert answers.count(201) == 3
    assert voice_emulator.state()["voices"] == {"main": 3}
    assert len(voice_emulator.ledger("clone")) == 3


def test_twenty_clones_of_one_name_at_once_make_one_voice(customer, sample, voice_emulator):
    voice_emulator.settings(rate_voices=0)
    url = customer.upload(sample)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: customer.clone(url).status_code, range(20)))
    assert (answers.count(201), answers.count(409)) == (1, 19)


def test_a_name_is_taken_once_per_organization(customer, stranger, sample):
    url = customer.upload(sample)
    assert customer.clone(url).status_code == 201
    again = customer.clone(url)
    assert (again.status_code, again.json()["errorCode"], again.json()["field"]) == (409, "voice_name_conflict", "name")
    assert stranger.clone(stranger.upload(sample)).status_code == 201


@pytest.mark.parametrize("body", [{}, {"url": "u", "assetId": "a"}], ids=["neither", "both"])
def test_exactly_one_of_url_and_asset_is_needed(customer, body):
    answer = customer.post("/v2/voices", json={"name": "Ada"} | body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["message"], list)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "u"}, "name"),
        ({"name": "", "url": "u"}, "name"),
        ({"name": "n" * 101, "url": "u"}, "name"),
        ({"name": "Ada", "url": "u", "provider": "other"}, "provider"),
    ],
)
def test_a_bad_body_is_told_by_its_field(customer, body, field):
    answer = customer.post("/v2/voices", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_the_provider_is_needed_only_where_the_setting_says_so(customer, sample, voice_emulator):
    url = customer.upload(sample)
    voice_emulator.settings(require_provider=True)
    assert customer.post("/v2/voices", json={"name": "Ada", "url": url}).json()["field"] == "provider"
    voice_emulator.settings(require_provider=False)
    assert customer.post("/v2/voices", json={"name": "Ada", "url": url}).status_code == 201


def test_samples_must_lie_in_our_storage_and_be_readable(customer, stranger, sample):
    def refused(url: str) -> tuple[int, str]:
        answer = customer.clone(url)
        return answer.status_code, answer.json()["errorCode"]

    assert refused("https://example.org/voice.wav") == (422, "voice_sample_upload_required")
    assert refused(customer.presign()["url"]) == (422, "voice_sample_not_accessible")
    assert refused(stranger.upload(sample)) == (422, "voice_sample_not_accessible")
    missing = {"name": "Ada", "assetId": "6533643b-aceb-4c40-967e-d9ba9baac39e"}
    assert customer.post("/v2/voices", json=missing).json()["errorCode"] == "asset_not_found"
    external = customer.post("/v2/assets", json={"url": "https://example.org/voice.wav", "type": "AUDIO"}).json()
    answer = customer.post("/v2/voices", json={"name": "Ada", "assetId": external["id"]})
    assert answer.json()["errorCode"] == "voice_sample_upload_required"


def test_samples_that_cannot_be_learnt_from_are_refused_and_leave_no_voice(customer, recording, voice_emulator):
    def refused(data: bytes, name: str, content_type: str) -> tuple[int, str]:
        answer = customer.clone(customer.upload(data, name, content_type))
        return answer.status_code, answer.json()["errorCode"]

    assert refused(recording(0.5), "short.wav", "audio/wav") == (400, "voice_sample_too_short")
    assert refused(b"just some text", "talk.mp4", "video/mp4") == (400, "voice_sample_invalid")
    assert refused(PNG, "face.png", "image/png") == (422, "voice_sample_type_unsupported")
    voice_emulator.settings(min_sample_seconds=5)
    assert refused(recording(3), "short.wav", "audio/wav") == (400, "voice_sample_too_short")
    assert voice_emulator.state()["voices"] == {}
    assert voice_emulator.ledger() == []


def test_a_video_without_sound_is_no_sample(customer, tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(20):
            file.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        file.mux(stream.encode(None))
    answer = customer.clone(customer.upload(path.read_bytes(), "silent.mp4", "video/mp4"))
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "voice_sample_extraction_failed")


def test_a_video_sample_may_be_too_large(customer, video, voice_emulator):
    voice_emulator.settings(max_sample_video_bytes=100)
    answer = customer.clone(customer.upload(video, "talk.mp4", "video/mp4"))
    assert (answer.status_code, answer.json()["errorCode"]) == (413, "voice_sample_source_too_large")


def test_built_in_and_foreign_and_deleted_voices_cannot_be_deleted(customer, stranger, sample):
    voice = customer.clone(customer.upload(sample)).json()
    assert customer.delete(f"/v2/voices/{customer.builtin()}").status_code == 404
    assert stranger.delete(f"/v2/voices/{voice['id']}").status_code == 404
    assert customer.delete(f"/v2/voices/{voice['id']}").status_code == 200
    assert customer.delete(f"/v2/voices/{voice['id']}").json()["errorCode"] == "voice_not_found"


def test_the_provider_id_can_differ_and_is_then_the_wrong_one_to_use(customer, sample, voice_emulator):
    voice_emulator.settings(voice_id_shape="different")
    voice = customer.clone(customer.upload(sample)).json()
    assert voice["id"] != voice["voiceId"]
    assert customer.post("/v2/tts", json={"voiceId": voice["id"], "script": LINE}).status_code == 200
    assert customer.post("/v2/tts", json={"voiceId": voice["voiceId"], "script": LINE}).status_code == 422
    assert customer.delete(f"/v2/voices/{voice['voiceId']}").status_code == 404
    assert customer.delete(f"/v2/voices/{voice['id']}").status_code == 200


def test_seeded_voices_are_voices_with_an_age(customer, voice_emulator):
    (made,) = voice_emulator.seed_voices(["by hand"], age_seconds=3600)
    voice_emulator.seed_voices(count=2)
    assert len(voice_emulator.voices()) == 3
    assert voice_emulator.voices()[0]["name"] == "by hand"
    assert customer.get(f"/v2/voices/{made['id']}").json()["name"] == "by hand"
    assert customer.post("/v2/tts", json={"voiceId": made["id"], "script": LINE}).status_code == 200


def test_both_401_bodies_are_told_apart(voice_emulator):
    with Customer(voice_emulator.url, "wrong") as wrong:
        assert wrong.get("/v2/voices").json() == {"message": "Unauthorized", "statusCode": 401}
        del wrong.headers["x-api-key"]
        assert wrong.get("/v2/voices").json() == {
            "message": "Either Cookie or x-api-key header must be provided",
            "error": "Unauthorized",
            "statusCode": 401,
        }
