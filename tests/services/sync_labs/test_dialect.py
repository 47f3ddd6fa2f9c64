"""The dialect of sync. labs: exactly what is sent, and every answer that its contract allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.services.flows import answer, drive
from voice_provider.exceptions import (
    AuthError,
    CapabilityError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    ServiceUnavailableError,
)
from voice_provider.models import Capability, JobState
from voice_provider.services.base import Input, Request
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import CloneOptions, VoiceFilters, parse
from voice_provider.services.sync_labs.dialect import SyncLabs
from voice_provider.services.sync_labs.options import SyncLabsSpeech

if TYPE_CHECKING:
    from collections.abc import Iterator

UUID = "6533643b-aceb-4c40-967e-d9ba9baac39e"
ODD_IDS = ["../assets/1", "a/b", "a?b", "a#b", "a%2fb", "", " ", "a b", "..", "x" * 129, "é", "a\n"]


@dataclass
class Body:
    """A file to send."""

    name: str = "speaker.wav"
    size: int = 5
    media_type: str = "audio/wav"

    def chunks(self) -> Iterator[bytes]:
        yield b"sound"


@dataclass
class Sink:
    """A place to receive."""

    position: int = 0
    data: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.data.append(data)

    def restart(self) -> None:
        self.data.clear()


@pytest.fixture
def service() -> SyncLabs:
    return SyncLabs({})


@pytest.fixture
def keyed() -> SyncLabs:
    return SyncLabs({"tts_mode": "jobs"})


# the service as a whole


def test_the_key_goes_into_its_header(service: SyncLabs) -> None:
    assert service.key_headers("secret") == {"x-api-key": "secret"}


def test_a_mode_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="tts_mode of the connection is 'async'; use 'direct' or 'jobs'"):
        SyncLabs({"tts_mode": "async"})


@pytest.mark.parametrize("mode", [None, "", "direct"])
def test_speech_is_ordered_directly_unless_the_connection_says_otherwise(mode: str | None) -> None:
    assert SyncLabs({"tts_mode": mode}).tts_mode == "direct"


@pytest.mark.parametrize(("mode", "keyed"), [("direct", {"lip_sync"}), ("jobs", {"lip_sync", "speech"})])
def test_what_is_keyed(mode: str, keyed: set[str]) -> None:
    service = SyncLabs({"tts_mode": mode})
    assert {kind for kind in ("clone", "speech", "lip_sync") if service.is_keyed(kind)} == keyed


def test_what_it_cannot_do_says_what_to_do_instead(service: SyncLabs) -> None:
    service.require(Capability.LIP_SYNC)
    with pytest.raises(
        CapabilityError, match=r"sync. labs cannot do this .update voice.. Delete the voice and clone it"
    ):
        service.require(Capability.UPDATE_VOICE)
    with pytest.raises(CapabilityError, match="runs to its end and is billed"):
        service.require(Capability.CANCEL)


@pytest.mark.parametrize(
    ("text", "expected"), [(UUID, True), (UUID.upper(), True), ("/data/a.wav", False), (UUID + "0", False), ("", False)]
)
def test_an_asset_id_is_a_uuid(text: str, expected: bool, service: SyncLabs) -> None:
    assert service.is_asset_id(text) is expected


def test_the_account_is_checked_by_listing_the_models(service: SyncLabs) -> None:
    models = [{"id": "lipsync-2", "name": "Lipsync 2", "type": "lipsync"}, {"id": "sync-3", "name": None}, {}]
    said, sent = drive(service.check_account(), answer(models))
    assert said == "Connected to sync. labs: 2 lip sync models, text-to-speech mode 'direct'."
    assert [(request.method, request.url, request.public) for request in sent] == [("GET", "/v2/models", False)]


@pytest.mark.parametrize("body", ["<html>", {"models": []}, None, "[broken"])
def test_a_page_instead_of_a_list_is_no_list(body: Any, service: SyncLabs) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"something else than a list\. Check the base URL"):
        drive(service.list_models(), answer(body))


# voices


@pytest.mark.parametrize(
    ("body", "voice_id"),
    [
        ({"voiceId": "V", "name": "Ada"}, "V"),
        ({"voiceId": "V", "name": "Ada", "internalVoiceId": "I"}, "V"),
        ({"id": "U", "voiceId": "theirs", "name": "Ada"}, "U"),
        ({"id": None, "voiceId": "V"}, "V"),
        ({"id": "U", "something": {"new": True}}, "U"),
        ({"id": 7}, "7"),
    ],
)
def test_the_id_of_a_clone_is_read_under_both_names(body: dict[str, Any], voice_id: str, service: SyncLabs) -> None:
    voice, sent = drive(service.clone_voice("Ada", [Input(asset_id=UUID)], CloneOptions()), answer(body, 201))
    assert (voice.id, voice.name, voice.state, voice.service) == (voice_id, "Ada", "trained", "sync_labs")
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("sample", "source"),
    [
        (Input(asset_id=UUID), {"assetId": UUID}),
        (Input(url="https://assets.sync.so/a.wav"), {"url": "https://assets.sync.so/a.wav"}),
    ],
)
def test_a_clone_is_ordered_once_with_time_to_answer(sample: Input, source: dict[str, str], service: SyncLabs) -> None:
    _, [request] = drive(service.clone_voice("Ada", [sample], CloneOptions()), answer({"id": "U"}, 201))
    assert (request.method, request.url) == ("POST", "/v2/voices")
    assert request.json == {"name": "Ada", "provider": "elevenlabs", **source}
    assert not request.may_repeat
    assert request.timeout is not None
    assert request.timeout >= 120


@pytest.mark.parametrize("body", [{}, {"name": "Ada"}, "<html>", [], {"id": ""}])
def test_a_voice_without_an_id_is_no_answer(body: Any, service: SyncLabs) -> None:
    with pytest.raises(ServiceUnavailableError, match="voice that has no id"):
        drive(service.clone_voice("Ada", [Input(asset_id=UUID)], CloneOptions()), answer(body, 201))


def test_voices_are_listed_as_they_are(service: SyncLabs) -> None:
    body = [
        {"id": "EXAVITQu4vr4xnSDxMaL", "name": "Rachel", "provider": "elevenlabs", "previewUrl": "https://x/p.mp3"},
        {"id": "U", "voiceId": "theirs", "name": None, "restriction": {"reason": "unverified"}, "previewUrl": 5},
        "not a voice",
    ]
    voices, [request] = drive(service.list_voices(VoiceFilters()), answer(body))
    assert [(voice.id, voice.name, voice.restricted) for voice in voices] == [
        ("EXAVITQu4vr4xnSDxMaL", "Rachel", False),
        ("U", "", True),
    ]
    assert (request.method, request.url) == ("GET", "/v2/voices")


def test_a_voice_is_read_and_deleted_by_its_id(service: SyncLabs) -> None:
    voice, [request] = drive(service.get_voice("U-1"), answer({"id": "U-1", "name": "Ada"}))
    assert (voice.id, request.url) == ("U-1", "/v2/voices/U-1")
    for body in (True, "", None, {"id": "U-1"}):
        result, [request] = drive(service.delete_voice("U-1"), answer(body))
        assert result is None
        assert (request.method, request.url, request.may_repeat) == ("DELETE", "/v2/voices/U-1", True)


@pytest.mark.parametrize("name", ["x", "x" * 100, " Ada "])
def test_names_that_a_voice_can_have(name: str, service: SyncLabs) -> None:
    service.check_voice_name(name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_names_that_no_voice_can_have(name: str, service: SyncLabs) -> None:
    with pytest.raises(InvalidInputError, match="A voice's name has 1 to 100 characters, not"):
        service.check_voice_name(name)


@pytest.mark.parametrize("odd", ODD_IDS)
@pytest.mark.parametrize(
    "call",
    ["get_voice", "delete_voice", "get_asset", "delete_asset", "download_asset", "update_asset", "lip_sync", "speech"],
)
def test_an_id_that_would_change_the_path_is_refused_before_anything_is_sent(
    call: str, odd: str, service: SyncLabs
) -> None:
    flow: Any
    if call in ("lip_sync", "speech"):
        flow = service.get_job(call, odd)  # type: ignore[arg-type]
    else:
        more = {"download_asset": (Sink(),), "update_asset": ({},)}.get(call, ())
        flow = getattr(service, call)(odd, *more)
    with pytest.raises(InvalidInputError, match=r"is not an id of sync\. labs\. Pass the id that the service returned"):
        next(flow)


# assets

GRANT = {"uploadUrl": "https://uploads.sync.so/1?X-Amz-Signature=s", "url": "https://assets.sync.so/1", "expiresIn": 60}
ASSET = {"id": UUID, "type": "AUDIO", "url": GRANT["url"], "name": "speaker", "size": 5, "durationSeconds": 1.5}


def test_an_upload_asks_for_a_place_puts_the_bytes_there_and_registers_them(service: SyncLabs) -> None:
    body = Body()
    asset, sent = drive(service.upload_asset(body, "speaker"), answer(GRANT, 201), answer(""), answer(ASSET, 201))
    assert (asset.id, asset.type, asset.seconds, asset.size) == (UUID, "AUDIO", 1.5, 5)
    presign, put, register = sent
    assert (presign.method, presign.url, presign.may_repeat) == ("POST", "/v2/assets/upload", True)
    assert presign.json == {"fileName": "speaker.wav", "contentType": "audio/wav", "size": 5}
    assert (put.method, put.url, put.public, put.may_repeat) == ("PUT", GRANT["uploadUrl"], True, True)
    assert put.headers == {"content-type": "audio/wav"}
    assert put.body is body
    assert (register.method, register.url, register.may_repeat) == ("POST", "/v2/assets", False)
    assert register.json == {"url": GRANT["url"], "type": "AUDIO", "name": "speaker"}


@pytest.mark.parametrize(
    ("media_type", "kind"), [("video/mp4", "VIDEO"), ("image/png", "IMAGE"), ("audio/mpeg", "AUDIO")]
)
def test_the_kind_of_an_asset_follows_from_its_bytes(media_type: str, kind: str, service: SyncLabs) -> None:
    flow = service.upload_asset(Body(media_type=media_type), "x")
    _, sent = drive(flow, answer(GRANT, 201), answer(""), answer(ASSET, 201))
    assert sent[2].json["type"] == kind


@pytest.mark.parametrize("grant", [{}, {"uploadUrl": "https://u"}, {"url": "https://a"}, "<html>", {"assetId": UUID}])
def test_a_grant_without_both_addresses_is_no_answer(grant: Any, service: SyncLabs) -> None:
    with pytest.raises(ServiceUnavailableError, match="no uploadUrl and url"):
        drive(service.upload_asset(Body(), "x"), answer(grant, 201))


def test_a_file_over_the_limit_is_not_even_announced(service: SyncLabs) -> None:
    with pytest.raises(
        InvalidInputError, match=r"speaker\.wav has 5,368,709,121 bytes; sync\. labs takes at most 5 GiB"
    ):
        next(service.upload_asset(Body(size=5 * 1024**3 + 1), "x"))
    assert next(service.upload_asset(Body(size=5 * 1024**3), "x"))


LOST = ServiceUnavailableError("no complete answer", sent=True)


def test_a_lost_registration_adopts_the_asset_that_is_there(service: SyncLabs) -> None:
    other = {**ASSET, "id": "other", "url": "https://assets.sync.so/2"}
    asset, sent = drive(
        service.upload_asset(Body(), "speaker"),
        answer(GRANT, 201),
        answer(""),
        LOST,
        answer({"items": [other, ASSET]}),
    )
    assert asset.id == UUID
    assert [request.method for request in sent] == ["POST", "PUT", "POST", "GET"]
    assert sent[3].params["searchQuery"] == "speaker"


def test_a_lost_registration_that_never_arrived_is_repeated(service: SyncLabs) -> None:
    asset, sent = drive(
        service.upload_asset(Body(), "speaker"),
        answer(GRANT, 201),
        answer(""),
        LOST,
        answer({"items": []}),
        answer(ASSET, 201),
    )
    assert asset.id == UUID
    assert sent[4].json == sent[2].json


@pytest.mark.parametrize("error", [ServiceUnavailableError("unreachable", sent=False), InvalidInputError("no")])
def test_a_refused_registration_is_not_looked_for(error: Any, service: SyncLabs) -> None:
    with pytest.raises(type(error)):
        drive(service.upload_asset(Body(), "x"), answer(GRANT, 201), answer(""), error)


@pytest.mark.parametrize(
    "more",
    [
        {"name": None, "size": None, "durationSeconds": None, "url": None, "createdAt": None, "type": None},
        {"size": "many", "durationSeconds": "long", "createdAt": 5, "name": ["x"]},
        {"inputType": "NEW", "projectId": None, "width": 1},
    ],
)
def test_an_asset_with_missing_or_odd_details_is_still_an_asset(more: dict[str, Any], service: SyncLabs) -> None:
    asset, _ = drive(service.get_asset(UUID), answer(ASSET | more))
    assert asset.id == UUID


def test_an_asset_without_an_id_is_no_answer(service: SyncLabs) -> None:
    with pytest.raises(ServiceUnavailableError, match="asset that has no id"):
        drive(service.get_asset(UUID), answer({"name": "x"}))


def test_assets_are_listed_page_by_page(service: SyncLabs) -> None:
    pages = [
        answer({"items": [ASSET] * 2, "nextCursor": "b"}),
        answer({"items": [ASSET], "nextCursor": "c"}),
        answer({"items": []}),
    ]
    assets, sent = drive(service.list_assets(), *pages)
    assert len(assets) == 3
    assert [dict(request.params) for request in sent] == [
        {"sortBy": "dateDesc", "limit": "100"},
        {"sortBy": "dateDesc", "limit": "100", "cursor": "b"},
        {"sortBy": "dateDesc", "limit": "100", "cursor": "c"},
    ]


@pytest.mark.parametrize("body", [{}, {"items": None}, {"assets": []}, [], "<html>"])
def test_what_holds_no_list_does_not_say_that_there_are_no_assets(body: Any, service: SyncLabs) -> None:
    with pytest.raises(ServiceUnavailableError, match="something else than a list of assets"):
        drive(service.list_assets(), answer(body))


def test_a_limit_ends_the_listing(service: SyncLabs) -> None:
    assets, sent = drive(service.list_assets(search="talk", limit=2), answer({"items": [ASSET] * 3, "nextCursor": "b"}))
    assert len(assets) == 2
    assert dict(sent[0].params) == {"sortBy": "dateDesc", "limit": "2", "searchQuery": "talk"}


def test_a_cursor_that_does_not_move_ends_the_listing(service: SyncLabs) -> None:
    page = answer({"items": [ASSET], "nextCursor": "b"})
    assets, _ = drive(service.list_assets(), page, page)
    assert len(assets) == 2


def test_an_asset_is_changed_and_deleted_by_its_id(service: SyncLabs) -> None:
    _, [request] = drive(service.update_asset(UUID, {"name": "new"}), answer(ASSET))
    assert (request.method, request.url, request.json) == ("PATCH", f"/v2/assets/{UUID}", {"name": "new"})
    _, [request] = drive(service.delete_asset(UUID), answer({"id": UUID}))
    assert (request.method, request.url) == ("DELETE", f"/v2/assets/{UUID}")


@pytest.mark.parametrize("text", ["https://files/x?sig=1", "https://files/x?sig=1\n", '"https://files/x?sig=1"'])
def test_an_asset_is_fetched_from_where_the_service_says_without_the_key(text: str, service: SyncLabs) -> None:
    sink = Sink()
    _, [ask, fetch] = drive(service.download_asset(UUID, sink), answer(text), answer(""))
    assert (ask.url, ask.public) == (f"/v2/assets/{UUID}/download", False)
    assert (fetch.url, fetch.public, fetch.sink) == ("https://files/x?sig=1", True, sink)


# speech


def speech(**values: Any) -> SyncLabsSpeech:
    return parse(SyncLabsSpeech, {"text": "Hello.", "voice_id": "V", **values})


def test_direct_speech_is_sent_as_the_contract_says(service: SyncLabs) -> None:
    flow = service.start_speech(speech(stability=0, similarity_boost=1), "key")
    _, [request] = drive(flow, answer({"id": "J", "url": "https://a/x.mp3", "duration": 2.1}))
    assert (request.method, request.url) == ("POST", "/v2/tts")
    assert request.json == {
        "script": "Hello.",
        "voiceId": "V",
        "provider": "elevenlabs",
        "stability": 0.0,
        "similarityBoost": 1.0,
    }
    assert request.headers == {}
    assert not request.may_repeat


def test_keyed_speech_carries_its_key_and_may_be_repeated(keyed: SyncLabs) -> None:
    _, [request] = drive(keyed.start_speech(speech(), "key"), answer({"id": "J", "status": "PENDING"}, 202))
    assert (request.url, request.headers, request.may_repeat) == ("/v2/tts/jobs", {"idempotency-key": "key"}, True)
    assert request.json == {"script": "Hello.", "voiceId": "V", "provider": "elevenlabs"}
    _, [request] = drive(keyed.start_speech(speech(), None), answer({"id": "J", "status": "PENDING"}, 202))
    assert (request.headers, request.may_repeat) == ({}, False)


@pytest.mark.parametrize(
    ("body", "state", "url", "seconds"),
    [
        ({"id": "J", "url": "https://a", "duration": 2.1}, JobState.SUCCEEDED, "https://a", 2.1),
        ({"id": "J", "synthesizedAudioUrl": "https://s", "duration": None}, JobState.SUCCEEDED, "https://s", None),
        ({"id": "J", "status": "PENDING", "synthesizedAudioUrl": None, "error": None}, JobState.PENDING, None, None),
        ({"id": "J", "status": "pending", "url": None}, JobState.PENDING, None, None),
        ({"id": "J", "status": "PROCESSING"}, JobState.RUNNING, None, None),
        ({"id": "J", "status": "WARMING_UP"}, JobState.RUNNING, None, None),
        (
            {"id": "J", "status": "COMPLETED", "synthesizedAudioUrl": "https://s", "url": "https://a", "duration": 3},
            JobState.SUCCEEDED,
            "https://s",
            3,
        ),
        ({"id": "J", "status": "SUCCESS", "url": "https://a"}, JobState.SUCCEEDED, "https://a", None),
        ({"id": "J", "status": "SUCCEEDED", "outputUrl": "https://o"}, JobState.SUCCEEDED, "https://o", None),
        (
            {"id": "J", "status": "SUCCESS", "url": "https://a", "duration": "two"},
            JobState.SUCCEEDED,
            "https://a",
            None,
        ),
        ({"id": "J", "status": "FAILED", "url": "https://a"}, JobState.FAILED, "https://a", None),
        (
            {"id": 12, "url": "https://a", "engine": 5, "createdAt": 9, "model": {}},
            JobState.SUCCEEDED,
            "https://a",
            None,
        ),
    ],
)
def test_every_form_of_a_speech_job_is_understood(
    body: dict[str, Any], state: JobState, url: str | None, seconds: float | None, service: SyncLabs
) -> None:
    job, _ = drive(service.start_speech(speech(), None), answer(body))
    assert (job.id, job.kind, job.state, job.url, job.seconds) == (str(body["id"]), "speech", state, url, seconds)


@pytest.mark.parametrize(
    "body", [{}, "<html>", {"id": "J"}, {"status": "PENDING"}, {"id": "J", "status": "", "url": ""}]
)
def test_an_answer_without_a_job_is_an_unknown_outcome(body: Any, service: SyncLabs) -> None:
    with pytest.raises(ServiceUnavailableError, match="no id or no status") as caught:
        drive(service.start_speech(speech(), None), answer(body))
    assert caught.value.sent


@pytest.mark.parametrize(
    ("mode", "location", "path"),
    [
        ("direct", None, "/v2/tts/J"),
        ("jobs", None, "/v2/tts/jobs/J"),
        ("jobs", "/v2/tts/jobs/J", "/v2/tts/jobs/J"),
        ("direct", "/v2/elsewhere/J", "/v2/elsewhere/J"),
        ("jobs", "https://api.sync.so/v2/tts/jobs/J?x=1", "/v2/tts/jobs/J"),
        ("jobs", "https://evil.example/v2/tts/jobs/J", "/v2/tts/jobs/J"),
        ("jobs", "//evil.example/J", "/J"),
        ("jobs", "jobs/J", "/v2/tts/jobs/J"),
        ("jobs", ".evil.example/J", "/v2/tts/.evil.example/J"),
        ("jobs", "@evil.example/J", "/v2/tts/@evil.example/J"),
    ],
)
def test_a_job_is_asked_after_where_the_answer_says_but_never_at_another_host(
    mode: str, location: str | None, path: str
) -> None:
    service = SyncLabs({"tts_mode": mode})
    headers = {"location": location} if location else {}
    job, _ = drive(service.start_speech(speech(), None), answer({"id": "J", "status": "PENDING"}, 202, **headers))
    assert job.path == path
    _, [request] = drive(service.get_job("speech", job.id, path=job.path), answer({"id": "J", "status": "PENDING"}))
    assert (request.method, request.url, request.public) == ("GET", path, False)


@pytest.mark.parametrize(("mode", "path"), [("direct", "/v2/tts/J"), ("jobs", "/v2/tts/jobs/J")])
def test_a_job_whose_path_is_not_known_is_asked_after_in_the_mode_of_the_connection(mode: str, path: str) -> None:
    flow = SyncLabs({"tts_mode": mode}).get_job("speech", "J")
    _, [request] = drive(flow, answer({"id": "J", "status": "PENDING"}))
    assert request.url == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "script is empty: there is nothing to say. Nothing was paid"),
        ("\n\t ", "script is empty"),
        ("x" * 5001, "5,001 characters; sync. labs takes at most 5,000 in one call. SpeakLines"),
    ],
)
def test_a_script_that_cannot_be_spoken_is_refused_for_speech_and_for_lip_sync(
    text: str, message: str, service: SyncLabs
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        service.check_speech(speech(text=text))
    with pytest.raises(InvalidInputError, match=message):
        service.check_lip_sync(lip_sync(audio=(), text=[{"text": text, "voice_id": "V"}]))
    assert service.check_speech(speech(text="x" * 5000)) == []


# lip sync


def lip_sync(**values: Any) -> LipSyncOptions:
    return parse(LipSyncOptions, {"video": "/v.mp4", "audio": [{"media": "/a.wav"}], **values})


V, A, B = Input(asset_id="V"), Input(asset_id="A"), Input(url="https://assets.sync.so/b.wav")
RUNNING = answer({"id": "G", "status": "PENDING"}, 201)


def test_the_smallest_generation_has_no_empty_fields(service: SyncLabs) -> None:
    _, [request] = drive(service.start_lip_sync(lip_sync(), [V, A], "key"), RUNNING)
    assert (request.method, request.url, request.headers) == ("POST", "/v2/generate", {"idempotency-key": "key"})
    assert request.may_repeat
    assert request.json == {
        "model": "lipsync-2",
        "input": [{"type": "video", "assetId": "V"}, {"type": "audio", "assetId": "A"}],
    }


def test_a_generation_without_a_key_is_sent_once(service: SyncLabs) -> None:
    _, [request] = drive(service.start_lip_sync(lip_sync(), [V, A], None), RUNNING)
    assert (request.headers, request.may_repeat) == ({}, False)


def test_every_option_is_sent_in_the_spelling_of_the_service(service: SyncLabs) -> None:
    options = lip_sync(
        model="react-1",
        audio=[{"media": "/a.wav", "ref_id": "a"}, {"media": "/b.wav", "ref_id": "b"}],
        text=[{"text": "Hi.", "voice_id": "W", "stability": 0.2, "similarity_boost": 0.3, "ref_id": "t"}],
        segments=[
            {"start_time": 0, "end_time": 1, "audio_input": {"ref_id": "a", "start_time": 2, "end_time": 3}},
            {"start_time": 1, "end_time": 2, "audio_input": {"ref_id": "t"}, "options_override": {"sync_mode": "loop"}},
        ],
        sync_mode="cut_off",
        temperature=0.7,
        model_mode="face",
        prompt="happy",
        active_speaker={"auto_detect": False, "frame_number": 3, "coordinates": [10, 20], "v3": True},
        occlusion_detection=True,
        reasoning_enabled=False,
        output_file_name="spring_campaign",
        project_id="P",
    )
    _, [request] = drive(service.start_lip_sync(options, [V, A, B], "key"), RUNNING)
    assert request.json == {
        "model": "react-1",
        "input": [
            {"type": "video", "assetId": "V"},
            {"type": "audio", "assetId": "A", "refId": "a"},
            {"type": "audio", "url": "https://assets.sync.so/b.wav", "refId": "b"},
            {
                "type": "text",
                "provider": {
                    "name": "elevenlabs",
                    "voiceId": "W",
                    "script": "Hi.",
                    "stability": 0.2,
                    "similarityBoost": 0.3,
                },
                "refId": "t",
            },
        ],
        "options": {
            "sync_mode": "cut_off",
            "model_mode": "face",
            "prompt": "happy",
            "temperature": 0.7,
            "active_speaker_detection": {
                "auto_detect": False,
                "frame_number": 3,
                "coordinates": [10.0, 20.0],
                "v3": True,
            },
            "occlusion_detection_enabled": True,
            "reasoning_enabled": False,
        },
        "segments": [
            {"startTime": 0.0, "endTime": 1.0, "audioInput": {"refId": "a", "startTime": 2.0, "endTime": 3.0}},
            {
                "startTime": 1.0,
                "endTime": 2.0,
                "audioInput": {"refId": "t"},
                "optionsOverride": {"sync_mode": "loop"},
            },
        ],
        "outputFileName": "spring_campaign",
        "projectId": "P",
    }


def test_a_picture_and_a_translation_are_sent_as_the_contract_says(service: SyncLabs) -> None:
    picture = parse(LipSyncOptions, {"model": "sync-3", "image": "/i.png", "audio": [{"media": "/a.wav"}]})
    _, [request] = drive(service.start_lip_sync(picture, [V, A], "key"), RUNNING)
    assert request.json["input"][0] == {"type": "image", "assetId": "V"}
    dub = parse(LipSyncOptions, {"video": "/v.mp4", "dub_language": "de"})
    _, [request] = drive(service.start_lip_sync(dub, [V], "key"), RUNNING)
    assert request.json["dubParams"] == {"providerName": "elevenlabs", "targetLang": "de", "sourceLang": "auto"}
    assert request.json["input"] == [{"type": "video", "assetId": "V"}]


def test_zero_and_false_are_sent_because_they_are_not_nothing(service: SyncLabs) -> None:
    flow = service.start_lip_sync(lip_sync(temperature=0, occlusion_detection=False), [V, A], "key")
    _, [request] = drive(flow, RUNNING)
    assert request.json["options"] == {"temperature": 0.0, "occlusion_detection_enabled": False}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PENDING", JobState.PENDING),
        ("PROCESSING", JobState.RUNNING),
        ("DREAMING", JobState.RUNNING),
        ("COMPLETED", JobState.SUCCEEDED),
        ("FAILED", JobState.FAILED),
        ("REJECTED", JobState.FAILED),
        ("CANCELED", JobState.FAILED),
        ("CANCELLED", JobState.FAILED),
        ("TIMED_OUT", JobState.FAILED),
    ],
)
def test_every_status_of_a_generation_is_understood(status: str, state: JobState, service: SyncLabs) -> None:
    job, _ = drive(service.get_job("lip_sync", "G"), answer({"id": "G", "status": status}))
    assert (job.state, job.status) == (state, status)


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"error": "No face", "errorCode": "generation_pipeline_failed"}, "No face", "generation_pipeline_failed"),
        ({"error": "No face", "error_code": "generation_pipeline_failed"}, "No face", "generation_pipeline_failed"),
        ({"error": {"message": "No face", "errorCode": "x"}}, "No face", None),
        ({"error": {"errorCode": "x"}}, "x", None),
        ({"error": {}}, None, None),
        ({"error": None}, None, None),
        ({"error": ["odd"], "errorCode": 5}, "['odd']", None),
        ({}, None, None),
    ],
)
def test_the_reason_of_a_failure_is_read_in_every_form(
    body: dict[str, Any], error: str | None, code: str | None, service: SyncLabs
) -> None:
    job, _ = drive(service.get_job("lip_sync", "G"), answer({"id": "G", "status": "FAILED", **body}))
    assert (job.error, job.error_code) == (error, code)


def test_a_finished_generation_tells_where_its_result_is(service: SyncLabs) -> None:
    body = {
        "id": "G",
        "status": "COMPLETED",
        "outputUrl": "https://results/g.mp4?sig=1",
        "outputDuration": 4.2,
        "synthesizedAudioUrl": "https://results/speech.mp3",
        "model": "lipsync-2",
        "createdAt": "2026-11-21T08:00:00Z",
        "webhookUrl": None,
    }
    ours = {"x_emulator_page": "http://127.0.0.1/g", "x_emulator_engine": "local"}  # which the service does not send
    job, _ = drive(service.get_job("lip_sync", "G"), answer(body, retry_after="3", **ours))
    assert (job.url, job.seconds, job.model) == ("https://results/g.mp4?sig=1", 4.2, "lipsync-2")
    assert (job.page_url, job.engine, job.retry_after) == ("http://127.0.0.1/g", "local", 3)
    assert "sig=1" not in repr(job)


@pytest.mark.parametrize(
    ("wait", "params"),
    [
        (0, {"include": "progress"}),
        (0.9, {"include": "progress"}),
        (1, {"wait": "true", "timeout": "1"}),
        (5.7, {"wait": "true", "timeout": "5"}),
        (60, {"wait": "true", "timeout": "10"}),
    ],
)
def test_the_service_may_hold_its_answer_back_for_at_most_ten_seconds(
    wait: float, params: dict[str, str], service: SyncLabs
) -> None:
    body = {"id": "G", "status": "PROCESSING", "progress_percent": 40}
    job, [request] = drive(service.get_job("lip_sync", "G", wait=wait), answer(body))
    assert (request.url, dict(request.params), job.progress) == ("/v2/generate/G", params, 0.4)


def test_a_clone_is_trained_as_soon_as_it_is_there(service: SyncLabs) -> None:
    job, [request] = drive(service.get_job("clone", "U"), answer({"id": "U", "name": "Ada"}))
    assert (job.id, job.kind, job.state, request.url) == ("U", "clone", JobState.SUCCEEDED, "/v2/voices/U")


def test_a_generation_that_was_accepted_while_its_answer_was_lost_is_found(service: SyncLabs) -> None:
    lost = ServiceUnavailableError("outcome unknown", job_id="G")
    flow = service.start_lip_sync(lip_sync(), [V, A], "key")
    job, sent = drive(flow, lost, answer({"id": "G", "status": "PROCESSING"}))
    assert (job.id, sent[1].url) == ("G", "/v2/generate/G")


@pytest.mark.parametrize("error", [NotFoundError("not yet"), AuthError("no"), ServiceUnavailableError("down")])
def test_a_question_that_is_refused_is_no_refusal_of_the_order(error: Any, service: SyncLabs) -> None:
    lost = ServiceUnavailableError("outcome unknown", job_id="G")
    with pytest.raises(ServiceUnavailableError, match="outcome unknown") as caught:
        drive(service.start_lip_sync(lip_sync(), [V, A], "key"), lost, error)
    assert (caught.value.job_id, caught.value.sent) == ("G", True)


@pytest.mark.parametrize("error", [LOST, RateLimitedError("slow down")])
def test_any_other_failure_of_an_order_is_passed_on(error: Any, service: SyncLabs) -> None:
    with pytest.raises(type(error)):
        drive(service.start_lip_sync(lip_sync(), [V, A], "key"), error)


def test_the_newest_generations_are_listed(service: SyncLabs) -> None:
    body = [{"id": "G", "status": "COMPLETED"}, {"id": "H", "status": "NEW_WORD"}]
    jobs, [request] = drive(service.list_jobs(limit=500), answer(body))
    assert [(job.id, job.state) for job in jobs] == [("G", JobState.SUCCEEDED), ("H", JobState.RUNNING)]
    assert (request.url, dict(request.params)) == ("/v2/generations", {"limit": "100"})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"estimatedFrameCount": 300, "estimatedGenerationCost": 1.5, "estimatedCredits": None}, (300, 1.5, None)),
        ([{"estimatedFrameCount": 300, "estimatedGenerationCost": 1.5}], (300, 1.5, None)),
        ({"estimatedFrameCount": "many", "estimatedGenerationCost": 1, "estimatedCredits": 9}, (None, 1, 9)),
        ([], (None, None, None)),
        ("<html>", (None, None, None)),
    ],
)
def test_an_estimate_is_read_in_every_form(body: Any, expected: tuple[Any, ...], service: SyncLabs) -> None:
    estimate, [request] = drive(service.estimate("lipsync-2", 10, 30), answer(body))
    assert (estimate.frames, estimate.usd, estimate.credits) == expected
    assert (request.url, request.may_repeat) == ("/v2/generations/estimate", True)
    assert request.json == {"model": "lipsync-2", "duration": 10, "fps": 30}


@pytest.mark.parametrize("reasoning", [True, False])
def test_every_priced_option_is_in_the_question_for_the_price(reasoning: bool, service: SyncLabs) -> None:
    flow = service.estimate("sync-3", 10, 25, reasoning_enabled=reasoning)
    _, [request] = drive(flow, answer({"estimatedGenerationCost": 1.5}))
    assert request.json == {"model": "sync-3", "duration": 10, "fps": 25, "reasoningEnabled": reasoning}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (True, True),
        ("false", False),  # as a template renders it
        ({"auto_detect": True, "use_v2": True}, {"auto_detect": True, "use_v2": True}),
        ({"face_image": "https://assets.sync.so/f.png"}, {"face_image": "https://assets.sync.so/f.png"}),
        ({"of_next_year": 1}, {"of_next_year": 1}),
    ],
)
def test_who_speaks_is_told_in_every_form_that_the_service_takes(given: Any, sent: Any, service: SyncLabs) -> None:
    _, [request] = drive(service.start_lip_sync(lip_sync(active_speaker=given), [V, A], None), RUNNING)
    assert request.json["options"] == {"active_speaker_detection": sent}


def test_an_unreadable_speaker_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="active_speaker"):
        lip_sync(active_speaker="the tall one")


@pytest.mark.parametrize(
    ("values", "ignored"),
    [
        ({"model": "lipsync-2", "temperature": 0.5}, []),
        ({"model": "lipsync-2-pro", "temperature": 0.5}, []),
        ({"model": "sync-3", "temperature": 0.5}, ["temperature"]),
        ({"model": "react-1", "model_mode": "face", "prompt": "sad"}, []),
        ({"model": "lipsync-2", "model_mode": "face", "prompt": "sad"}, ["model_mode", "prompt"]),
        ({"model": "sync-3", "video": None, "image": "/i.png"}, []),
        ({"model": "a model of next year"}, []),
    ],
)
def test_options_that_the_model_ignores_are_warned_of(
    values: dict[str, Any], ignored: list[str], service: SyncLabs
) -> None:
    warnings = service.check_lip_sync(lip_sync(**values))
    assert [warning.split()[0] for warning in warnings] == ignored
    assert all(f"{values['model']} ignores it" in warning for warning in warnings)


def test_a_picture_is_for_one_model_and_an_emotion_is_one_of_six(service: SyncLabs) -> None:
    still = {"video": None, "image": "/i.png"}
    for model in ("lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta", "react-1"):
        with pytest.raises(
            InvalidInputError, match=rf"image is taken by model sync-3 only, not by {model}\. Set model="
        ):
            service.check_lip_sync(lip_sync(**still, model=model))
    assert service.check_lip_sync(lip_sync(**still, model="sync-3")) == []
    [warning] = service.check_lip_sync(lip_sync(**still, model="a model of next year"))
    assert "not by a model of next year, as far as is known" in warning
    for detected in (True, {"auto_detect": True}):
        with pytest.raises(InvalidInputError, match="active_speaker cannot be found out in a picture: give frame_num"):
            service.check_lip_sync(lip_sync(**still, model="sync-3", active_speaker=detected))
    pointed = {"frame_number": 0, "coordinates": [3, 4]}
    assert service.check_lip_sync(lip_sync(**still, model="sync-3", active_speaker=pointed)) == []
    with pytest.raises(InvalidInputError, match="prompt is 'glad'; react-1 takes one of happy, sad, "):
        service.check_lip_sync(lip_sync(model="react-1", prompt="glad"))


# requests and responses


def test_a_request_shows_neither_query_nor_script_nor_headers() -> None:
    request = Request(
        method="PUT", url="https://u/x?X-Amz-Signature=sig", json={"script": "words"}, headers={"x-api-key": "secret"}
    )
    assert repr(request) == "<Request PUT https://u/x>"


@pytest.mark.parametrize(("method", "repeats"), [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False)])
def test_only_a_post_is_not_repeated_unasked(method: str, repeats: bool) -> None:
    assert Request(method=method, url="/x").may_repeat is repeats
    assert Request(method=method, url="/x", repeatable=not repeats).may_repeat is not repeats


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("Fri, 21 Nov 2026 08:00:00 GMT", None), ("", None)]
)
def test_a_wait_that_the_service_asks_for_is_read(header: str, seconds: float | None) -> None:
    assert answer({}, retry_after=header).retry_after == seconds


def test_a_body_that_is_not_json_is_nothing() -> None:
    assert answer("<html>").json() is None
    assert answer("<html>").object() == {}
    assert answer([1]).object() == {}
    assert answer("\ud7ff").text


def test_one_job_that_cannot_be_read_does_not_hide_the_others(service: SyncLabs) -> None:
    body = [{"id": "A", "status": "PROCESSING"}, {"id": "B"}, {"status": "COMPLETED"}, {"id": "C", "status": "FAILED"}]
    jobs, [request] = drive(service.get_jobs("lip_sync", ["A", "B", "C"]), answer(body))
    assert {name: job.state for name in "ABCD" if (job := jobs.read(name))} == {
        "A": JobState.RUNNING,
        "C": JobState.FAILED,
    }
    assert request.params["ids"] == ["A", "B", "C"]


def test_a_glance_tells_whether_there_is_news_of_a_job(service: SyncLabs) -> None:
    def glance(**job: Any) -> Any:
        return drive(service.get_jobs("lip_sync", ["A"]), answer([{"id": "A", **job}]))[0].glance("A")

    news = [{"status": "PENDING"}, {"status": "PROCESSING"}, {"status": "PROCESSING", "progress_percent": 50}]
    news += [{"status": "PROCESSING", "progress_percent": 75}, {"status": "COMPLETED"}, {"status": "FAILED"}]
    assert len({glance(**one) for one in news}) == len(news)
    assert glance(status="PROCESSING", createdAt="1") == glance(status="PROCESSING", createdAt="2")
    assert drive(service.get_jobs("lip_sync", ["B"]), answer([{"id": "A"}]))[0].glance("B") is None
