"""The dialect of Fish Audio: exactly what is sent, and every answer that its contract allows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.services.flows import answer, drive
from voice_provider.exceptions import (
    AuthError,
    CapabilityError,
    InvalidInputError,
    NotFoundError,
    QuotaError,
    RateLimitedError,
    ServiceUnavailableError,
    VoiceError,
    VoiceNotReadyError,
)
from voice_provider.models import Capability, JobState
from voice_provider.services.base import Input, Request, Response
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.options import FishClone, FishSpeech, FishTranscription
from voice_provider.services.options import VoiceFilters, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

ID, OTHER = "d5d21261512b4852b9ccd709facf93f3", "7ecad23df62a4174acd6a2a6cb5201ee"
PAGE = "<!DOCTYPE html><html><head><title>Welcome</title></head></html>"
SPOKEN = {"content_type": "audio/mpeg", "x_fish_trace_id": "t" * 32}
ODD_IDS = ["../wallet/self", "a/b", "a?b", "a#b", "a%2fb", "", " ", "a b", "..", "x" * 129, "é", "a\n", "a;b", "a,b"]

# As the service shows a voice: section "ModelEntity" of its reference.
VOICE: dict[str, Any] = {
    "_id": ID, "type": "tts", "title": "Ada", "description": "", "cover_image": "", "train_mode": "fast",
    "state": "trained", "tags": [], "samples": [], "created_at": "2026-11-21T07:29:41.058506Z",
    "updated_at": "2026-11-21T07:29:41.057917Z", "languages": ["en"], "visibility": "private",
    "lock_visibility": False, "dmca_taken_down": False, "default_text": "", "source": None, "quality": None,
    "like_count": 0, "mark_count": 0, "shared_count": 0, "task_count": 0, "unliked": False, "liked": False,
    "marked": False, "author": {"_id": OTHER, "nickname": "me", "avatar": f"avatars/{OTHER}.jpg"},
}  # fmt: skip


@dataclass
class Body:
    """A file to send."""

    data: bytes = b"sound"
    name: str = "speaker.wav"
    media_type: str = "audio/wav"

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield self.data


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
def service() -> FishAudio:
    return FishAudio({})


# the service as a whole


def test_the_key_goes_into_its_header(service: FishAudio) -> None:
    assert service.key_headers("secret") == {"authorization": "Bearer secret"}


def test_nothing_is_keyed_and_nothing_is_an_asset(service: FishAudio) -> None:
    assert not any(service.is_keyed(kind) for kind in ("clone", "speech", "lip_sync"))
    assert not any(service.is_asset_id(text) for text in (ID, "6533643b-aceb-4c40-967e-d9ba9baac39e", "", "/a.wav"))


@pytest.mark.parametrize(
    ("capability", "instead"),
    [
        (Capability.LIP_SYNC, "Use a sync_labs connection for the lip sync"),
        (Capability.HOSTS_ASSETS, "pass storage locations"),
        (Capability.ASYNC_SPEECH, "Its speech is the answer itself"),
        (Capability.ESTIMATE, r"\$15 for a million UTF-8 bytes"),
        (Capability.CANCEL, "Speech that was begun is billed"),
    ],
)
def test_what_it_cannot_do_says_what_to_do_instead(capability: Capability, instead: str, service: FishAudio) -> None:
    with pytest.raises(
        CapabilityError, match=f"Fish Audio cannot do this .{capability.replace('_', ' ')}.. .*{instead}"
    ):
        service.require(capability)


def test_everything_is_either_done_or_says_what_to_do_instead(service: FishAudio) -> None:
    assert service.capabilities | service.instead.keys() == set(Capability)
    assert service.capabilities.isdisjoint(service.instead)


@pytest.mark.parametrize(
    "call",
    [
        lambda service: service.upload_asset(Body(), "x"),
        lambda service: service.get_asset(ID),
        lambda service: service.start_speech(speech(), None),
        lambda service: service.list_models(),
        lambda service: service.estimate("lipsync-2", 1, 25),
        lambda service: service.list_jobs(),
    ],
)
def test_what_it_cannot_do_sends_nothing(call: Any, service: FishAudio) -> None:
    with pytest.raises(CapabilityError):
        call(service)


# the wallet

CREDIT = {
    "_id": "w", "user_id": OTHER, "credit": "10.000000", "cumulative_top_up": "10",
    "created_at": "2026-11-21T00:00:00Z", "updated_at": "2026-11-21T00:00:00Z", "has_phone_sha256": True,
    "has_free_credit": None,
}  # fmt: skip
POOR = "Connected to Fish Audio, but the API credit is"
PACKAGE = {"user_id": OTHER, "type": "plus", "total": 250_000, "balance": 12_000, "created_at": "x", "finished_at": "y"}


@pytest.mark.parametrize(
    ("credit", "model", "said"),
    [
        ("10.000000", None, "Connected to Fish Audio: $10.00 of API credit, model 's2.1-pro'."),
        ("12345.678", "s2-pro", "Connected to Fish Audio: $12,345.68 of API credit, model 's2-pro'."),
        (0.01, None, "Connected to Fish Audio: $0.01 of API credit, model 's2.1-pro'."),
        (
            "0",
            None,
            f"{POOR} $0.00: model 's2.1-pro', its speech will be refused until credit is added.",
        ),
        (
            "-0.250000",
            "",
            f"{POOR} $-0.25: model 's2.1-pro', its speech will be refused until credit is added.",
        ),
        (
            "0.000000",
            "s2.1-pro-free",
            f"{POOR} $0.00: model 's2.1-pro-free', its speech is free.",
        ),
    ],
)
def test_the_account_is_checked_by_its_credit(credit: Any, model: str | None, said: str) -> None:
    found, sent = drive(FishAudio({"speech_model": model}).check_account(), answer(CREDIT | {"credit": credit}))
    assert found == said
    assert [(request.method, request.url, request.public) for request in sent] == [
        ("GET", "/wallet/self/api-credit", False)
    ]


def test_a_key_that_is_refused_is_not_a_connection(service: FishAudio) -> None:
    with pytest.raises(AuthError):
        drive(service.check_account(), AuthError("401"))


def test_a_wallet_has_credit_and_a_plan(service: FishAudio) -> None:
    wallet, sent = drive(service.wallet(), answer(CREDIT), answer(PACKAGE))
    assert wallet.dump() == {
        "service": "fish_audio", "usd": 10.0, "topped_up_usd": 10.0, "plan": "plus", "plan_credits": 12_000,
    }  # fmt: skip
    assert [request.url for request in sent] == ["/wallet/self/api-credit", "/wallet/self/package"]


@pytest.mark.parametrize(
    "package", [NotFoundError("404"), InvalidInputError("422"), answer(None), answer(""), answer({}), answer(PAGE)]
)
def test_a_wallet_without_a_plan_is_a_wallet(package: Any, service: FishAudio) -> None:
    wallet, _ = drive(service.wallet(), answer(CREDIT | {"credit": "-1.5", "cumulative_top_up": None}), package)
    assert wallet.dump() == {"service": "fish_audio", "usd": -1.5}


@pytest.mark.parametrize("error", [AuthError("401"), ServiceUnavailableError("503"), RateLimitedError("429")])
def test_a_plan_that_could_not_be_asked_after_is_not_taken_for_none(error: VoiceError, service: FishAudio) -> None:
    with pytest.raises(type(error)):
        drive(service.wallet(), answer(CREDIT), error)


@pytest.mark.parametrize("balance", [None, "many", [1], "1e999"])
def test_a_plan_in_an_odd_form_has_no_balance(balance: Any, service: FishAudio) -> None:
    package = answer(PACKAGE | {"balance": balance, "type": 7})
    if balance == "1e999":
        package = answer('{"balance": 1e999}')
    wallet, _ = drive(service.wallet(), answer(CREDIT), package)
    assert (wallet.plan, wallet.plan_credits) == (None, None)


@pytest.mark.parametrize("body", [PAGE, {}, [], None, {"credit": None}, {"credit": "much"}, {"credit": {}}, "[broken"])
def test_a_page_instead_of_a_wallet_is_no_wallet(body: Any, service: FishAudio) -> None:
    for flow in (service.check_account(), service.wallet()):
        with pytest.raises(ServiceUnavailableError, match=r"something else than a wallet\. Check the base URL"):
            drive(flow, answer(body))


# reading a voice


def test_a_voice_is_read_and_deleted_by_its_id(service: FishAudio) -> None:
    voice, [request] = drive(service.get_voice(ID), answer(VOICE))
    assert (request.method, request.url, request.public, request.may_repeat) == ("GET", f"/model/{ID}", False, True)
    assert voice.dump() == {
        "service": "fish_audio", "id": ID, "name": "Ada", "state": "trained", "status": "trained", "restricted": False,
        "visibility": "private", "description": "", "tags": [], "languages": ["en"],
        "created_at": "2026-11-21T07:29:41.058506Z",
    }  # fmt: skip
    for body in (None, "", {"status": "ok"}, "Deleted"):
        result, [request] = drive(service.delete_voice(ID), answer(body, 204))
        assert result is None
        assert (request.method, request.url, request.may_repeat) == ("DELETE", f"/model/{ID}", True)


@pytest.mark.parametrize(
    ("state", "read", "job"),
    [
        ("trained", "trained", JobState.SUCCEEDED),
        ("failed", "failed", JobState.FAILED),
        ("created", "training", JobState.RUNNING),
        ("training", "training", JobState.RUNNING),
        ("a state of next year", "training", JobState.RUNNING),
        ("", "training", JobState.RUNNING),
    ],
)
def test_only_trained_and_failed_end_a_training(state: str, read: str, job: JobState, service: FishAudio) -> None:
    voice, _ = drive(service.get_voice(ID), answer(VOICE | {"state": state}))
    assert (voice.state, voice.status) == (read, state)
    found, [request] = drive(service.get_job("clone", ID, wait=20), answer(VOICE | {"state": state}))
    assert (found.id, found.kind, found.state, found.status) == (ID, "clone", job, state)
    assert (request.method, request.url) == ("GET", f"/model/{ID}")


@pytest.mark.parametrize("state", [None, 7, ["trained"], {"trained": True}])
def test_a_state_in_an_odd_form_is_not_taken_for_trained(state: Any, service: FishAudio) -> None:
    voice, _ = drive(service.get_voice(ID), answer(VOICE | {"state": state}))
    assert voice.state == "training"


@pytest.mark.parametrize("kind", ["speech", "lip_sync"])
def test_nothing_else_is_a_job(kind: Any, service: FishAudio) -> None:
    with pytest.raises(CapabilityError):
        next(service.get_job(kind, ID))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"train_mode": "full", "type": "svc", "licensed": True, "quality": {"audios": []}, "v9": {}}, {}),
        ({"title": None, "description": None, "tags": None, "languages": None}, {"name": "", "tags": ()}),
        ({"title": 7, "description": [], "tags": "one", "languages": {"en": 1}}, {"description": None, "tags": ()}),
        ({"tags": ["a", 7, None, "b"], "languages": ["en", "zh"]}, {"tags": ("a", "b"), "languages": ("en", "zh")}),
        ({"visibility": "unlist"}, {"visibility": "unlist"}),
        ({"visibility": "friends"}, {"visibility": "friends"}),
        ({"visibility": None, "created_at": 5}, {"visibility": None, "created_at": None}),
        ({"dmca_taken_down": None}, {"restricted": False}),
        ({"dmca_taken_down": True, "takedown_category": "dmca"}, {"restricted": True}),
    ],
)
def test_a_voice_with_missing_or_odd_details_is_still_a_voice(
    more: dict[str, Any], expected: dict[str, Any], service: FishAudio
) -> None:
    voice, _ = drive(service.get_voice(ID), answer(VOICE | more))
    assert (voice.id, voice.state) == (ID, "trained")
    assert {name: getattr(voice, name) for name in expected} == expected


def test_of_a_voice_only_its_id_has_to_be_there(service: FishAudio) -> None:
    voice, _ = drive(service.get_voice(ID), answer({"_id": ID}))
    assert (voice.id, voice.name, voice.state, voice.visibility, voice.tags) == (ID, "", "training", None, ())


SAMPLE = {"title": "Default Sample", "text": "Hello.", "task_id": "T"}


@pytest.mark.parametrize(
    ("samples", "url"),
    [
        (
            [SAMPLE | {"audio": "https://platform.r2.fish.audio/task/T.mp3"}],
            "https://platform.r2.fish.audio/task/T.mp3",
        ),
        ([SAMPLE | {"audio": "https://r2/a?X-Amz-Signature=s"}, SAMPLE], "https://r2/a?X-Amz-Signature=s"),
        ([SAMPLE | {"audio": "task/T.mp3"}], None),
        ([SAMPLE | {"audio": "http://insecure/T.mp3"}], None),
        ([SAMPLE | {"audio": None}], None),
        ([SAMPLE], None),
        (["task/T.mp3"], None),
        ([], None),
        (None, None),
        ({"audio": "https://x"}, None),
    ],
)
def test_a_preview_is_what_can_be_fetched(samples: Any, url: str | None, service: FishAudio) -> None:
    voice, _ = drive(service.get_voice(ID), answer(VOICE | {"samples": samples}))
    assert voice.preview_url == url
    assert "Signature" not in repr(voice)


@pytest.mark.parametrize("body", [{}, {"id": ID}, {"_id": ""}, {"_id": None}, [VOICE], [], None, PAGE, "[broken"])
def test_a_voice_without_an_id_is_no_answer(body: Any, service: FishAudio) -> None:
    for flow in (
        service.get_voice(ID),
        service.get_job("clone", ID),
        service.clone_voice("Ada", [Body()], FishClone()),
    ):
        with pytest.raises(ServiceUnavailableError, match="voice that has no id"):
            drive(flow, answer(body))


@pytest.mark.parametrize("odd", ODD_IDS)
@pytest.mark.parametrize("call", ["get_voice", "delete_voice", "update_voice", "get_job"])
def test_an_id_that_would_change_the_path_is_refused_before_anything_is_sent(
    call: str, odd: str, service: FishAudio
) -> None:
    flow: Any = {
        "get_voice": lambda: service.get_voice(odd),
        "delete_voice": lambda: service.delete_voice(odd),
        "update_voice": lambda: service.update_voice(odd, {"title": "x"}),
        "get_job": lambda: service.get_job("clone", odd),
    }[call]()
    with pytest.raises(InvalidInputError, match=r"is not an id of Fish Audio\. Pass the id that the service returned"):
        next(flow)


@pytest.mark.parametrize("voice_id", [ID, "a", "x" * 128, "My_voice-7"])
def test_any_id_that_the_service_may_give_is_taken(voice_id: str, service: FishAudio) -> None:
    assert next(service.get_voice(voice_id)).url == f"/model/{voice_id}"


@pytest.mark.parametrize("name", ["x", "x" * 100, " Ada "])
def test_names_that_a_voice_can_have(name: str, service: FishAudio) -> None:
    service.check_voice_name(name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_names_that_no_voice_can_have(name: str, service: FishAudio) -> None:
    with pytest.raises(InvalidInputError, match="A voice's name has 1 to 100 characters, not"):
        service.check_voice_name(name)


# listing


def page(*ids: str, **envelope: Any) -> Any:
    return answer({"total": len(ids), "items": [VOICE | {"_id": voice_id} for voice_id in ids], **envelope})


def ids(first: int, last: int) -> list[str]:
    return [f"voice-{number}" for number in range(first, last + 1)]


@pytest.mark.parametrize(
    ("filters", "params"),
    [
        ({}, {"self": "true", "sort_by": "created_at"}),
        ({"own": False}, {"self": "false"}),
        ({"own": False, "sort_by": "task_count"}, {"self": "false", "sort_by": "task_count"}),
        ({"sort_by": "score", "title": "Ada"}, {"self": "true", "sort_by": "score", "title": "Ada"}),
        (
            {"own": False, "tags": ["a", "b"], "languages": ["en"], "title_languages": ["zh", "en"]},
            {"self": "false", "tag": ["a", "b"], "language": ["en"], "title_language": ["zh", "en"]},
        ),
        ({"own": False, "author": OTHER, "licensed": True}, {"self": "false", "author_id": OTHER, "licensed": "true"}),
        ({"own": False, "licensed": "false", "limit": 3}, {"self": "false", "licensed": "false"}),
    ],
)
def test_voices_are_asked_for_as_the_filters_say(
    filters: dict[str, Any], params: dict[str, Any], service: FishAudio
) -> None:
    _, [request] = drive(service.list_voices(parse(VoiceFilters, filters)), page(has_more=False))
    assert (request.method, request.url) == ("GET", "/model")
    assert request.params == {"page_size": "100", "page_number": "1", **params}


@pytest.mark.parametrize(
    ("envelope", "goes_on"),
    [
        ({"has_more": False}, False),
        ({"has_more": False, "total": 1000}, False),
        ({"has_more": True}, True),
        ({"has_more": True, "total": 100}, True),
        ({"has_more": None, "total": 100}, False),
        ({"has_more": None, "total": 101}, True),
        ({"total": 100}, False),
        ({"total": 250}, True),
        ({"total": None}, False),
        ({"total": "many"}, False),
        ({"total": 1000, "max_offset": 1000, "accessible_upper_bound": 1000, "window_limited": True}, True),
        (
            {
                "has_more": False,
                "max_offset": 10000,
                "accessible_upper_bound": 0,
                "window_limited": False,
                "total_is_exact": True,
            },
            False,
        ),
    ],
)
def test_a_page_says_whether_there_is_another(envelope: dict[str, Any], goes_on: bool, service: FishAudio) -> None:
    flow = service.list_voices(VoiceFilters())
    answers = [page(*ids(1, 100), **envelope), page(*ids(101, 101), **{**envelope, "has_more": False})]
    voices, sent = drive(flow, *answers[: 1 + goes_on])
    assert [request.params["page_number"] for request in sent] == ["1", "2"][: 1 + goes_on]
    assert len(voices) == 100 + goes_on


def test_the_second_page_is_asked_for_like_the_first(service: FishAudio) -> None:
    flow = service.list_voices(VoiceFilters(own=False, tags=("a",)))
    _, [first, second] = drive(flow, page(*ids(1, 100), has_more=True), page(has_more=True))
    assert dict(second.params) == {**first.params, "page_number": "2"}


def test_an_empty_page_ends_the_listing_whatever_it_says(service: FishAudio) -> None:
    flow = service.list_voices(VoiceFilters(own=False))
    voices, _ = drive(flow, page(*ids(1, 100), has_more=True, total=1000), page(has_more=True, total=1000))
    assert len(voices) == 100


def test_a_voice_that_moves_to_the_next_page_meanwhile_is_listed_once(service: FishAudio) -> None:
    pages = [page(*ids(1, 100), has_more=True), page(*ids(100, 120), has_more=False)]
    voices, _ = drive(service.list_voices(VoiceFilters()), *pages)
    assert [voice.id for voice in voices] == ids(1, 120)


def test_a_voice_that_finishes_training_between_two_pages_is_trained(service: FishAudio) -> None:
    first = answer({"total": 101, "items": [VOICE | {"_id": "voice-1", "state": "training"}]})
    voices, _ = drive(service.list_voices(VoiceFilters()), first, page("voice-1", total=101))
    assert [(voice.id, voice.state) for voice in voices] == [("voice-1", "trained")]


@pytest.mark.parametrize(
    ("limit", "pages", "found"), [(1, 1, 1), (100, 1, 100), (101, 2, 101), (150, 2, 150), (300, 2, 200), (None, 2, 200)]
)
def test_a_limit_ends_the_listing(limit: int | None, pages: int, found: int, service: FishAudio) -> None:
    answers = [page(*ids(1, 100), has_more=True), page(*ids(101, 200), has_more=False)][:pages]
    voices, _ = drive(service.list_voices(VoiceFilters(limit=limit)), *answers)
    assert len(voices) == found


def test_a_limit_counts_voices_and_not_lines(service: FishAudio) -> None:
    pages = [page("voice-1", "voice-1", has_more=True), page("voice-2", has_more=True)]
    voices, _ = drive(service.list_voices(VoiceFilters(limit=2)), *pages)
    assert [voice.id for voice in voices] == ["voice-1", "voice-2"]


@pytest.mark.parametrize(
    ("ahead", "ages", "pages"),
    [
        (0, (10, 3000), 1),
        (0, (10, 1000), 2),  # older than the moment, but not by more than dates may differ
        (0, (3000, 10), 2),  # not in order
        (0, (10, None), 2),
        (7200, (10, 3000), 1),  # a service whose clock is two hours ahead
        (-7200, (10, 3000), 1),
        (7200, (10, 1000), 2),
        (None, (10, 3000), 2),  # a service that does not tell its time
    ],
)
def test_what_is_older_than_was_asked_for_ends_the_listing(
    ahead: int | None, ages: tuple[int | None, ...], pages: int, service: FishAudio
) -> None:
    now = time.time()

    def listed(numbers: list[str], has_more: bool) -> Any:
        made = [age and datetime.fromtimestamp(now + (ahead or 0) - age, UTC).isoformat() for age in ages]
        items = [VOICE | {"_id": number, "created_at": at} for number, at in zip(numbers, made, strict=True)]
        date = {} if ahead is None else {"date": format_datetime(datetime.fromtimestamp(now + ahead, UTC), usegmt=True)}
        return answer({"total": 4, "items": items, "has_more": has_more}, **date)

    answers = [listed(ids(1, 2), has_more=True), listed(ids(3, 4), has_more=False)][:pages]
    voices, _ = drive(service.list_voices(VoiceFilters(since=now - 1000)), *answers)
    assert [voice.id for voice in voices] == ids(1, 2 * pages)


def test_a_list_that_never_ends_is_given_up_on(service: FishAudio) -> None:
    flow = service.list_voices(VoiceFilters())
    pages = [page(*ids(number, number), has_more=True) for number in range(1, 1000)]
    voices, sent = drive(flow, *pages)
    assert len(voices) == len(sent) == 999


@pytest.mark.parametrize("body", [PAGE, [], [VOICE], {}, None, {"items": None}, {"items": {}}, {"total": 1}, "[broken"])
def test_a_page_instead_of_a_list_is_no_list(body: Any, service: FishAudio) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"something else than a list of voices\. Check the conn"):
        drive(service.list_voices(VoiceFilters()), answer(body))


@pytest.mark.parametrize("item", [{}, "voice", None, {"title": "Ada"}, []])
def test_a_list_with_something_that_is_no_voice_is_no_list(item: Any, service: FishAudio) -> None:
    with pytest.raises(ServiceUnavailableError, match="voice that has no id"):
        drive(service.list_voices(VoiceFilters()), answer({"total": 1, "items": [item]}))


# cloning


def clone(**values: Any) -> FishClone:
    return parse(FishClone, values, "Fish Audio")


def test_a_clone_is_ordered_once_with_time_to_answer(service: FishAudio) -> None:
    body = Body()
    voice, [request] = drive(service.clone_voice("Ada", [body], clone()), answer(VOICE, 201))
    assert (voice.id, voice.name, voice.state) == (ID, "Ada", "trained")
    assert (request.method, request.url, request.json, request.body) == ("POST", "/model", None, None)
    assert request.form == [
        ("type", "tts"),
        ("title", "Ada"),
        ("train_mode", "fast"),
        ("visibility", "private"),
        ("enhance_audio_quality", "true"),
    ]
    assert request.files == [("voices", body)]
    assert "content-type" not in request.headers  # the transport knows the boundary
    assert not request.may_repeat
    assert request.timeout is not None
    assert request.timeout >= 120


def test_a_clone_is_sent_with_everything_that_was_said_about_it_in_order(service: FishAudio) -> None:
    first, second, cover = Body(b"1"), Body(b"2"), Body(b"c", "c.png", "image/png")
    options = clone(
        texts=["First, said.", "Second."],
        tags=["calm", "a,b"],
        description="",
        visibility="unlist",
        enhance_audio_quality=False,
        generate_sample=True,
    )
    _, [request] = drive(service.clone_voice(" Ada ü ", [first, second], options, cover), answer(VOICE, 201))
    assert request.form == [
        ("type", "tts"),
        ("title", " Ada ü "),
        ("train_mode", "fast"),
        ("visibility", "unlist"),
        ("enhance_audio_quality", "false"),
        ("texts", "First, said."),
        ("texts", "Second."),
        ("tags", "calm"),
        ("tags", "a,b"),
        ("description", ""),
        ("generate_sample", "true"),
    ]
    assert request.files == [("voices", first), ("voices", second), ("cover_image", cover)]


@pytest.mark.parametrize("visibility", ["private", "unlist", "public"])
def test_who_may_hear_a_voice_is_always_said_and_read_back(visibility: str, service: FishAudio) -> None:
    flow = service.clone_voice("Ada", [Body()], clone(visibility=visibility))
    voice, [request] = drive(flow, answer(VOICE | {"visibility": "private"}, 201))
    assert dict(request.form)["visibility"] == visibility
    assert voice.visibility == "private"


@pytest.mark.parametrize("state", ["created", "training", "trained", "failed"])
def test_a_clone_may_be_in_any_state_when_the_answer_is_there(state: str, service: FishAudio) -> None:
    voice, _ = drive(service.clone_voice("Ada", [Body()], clone()), answer(VOICE | {"state": state}, 201))
    assert voice.status == state


@pytest.mark.parametrize("sample", [Input(url="https://files/a.wav"), Input(asset_id="A-1")])
def test_a_sample_that_is_no_file_is_refused_before_anything_is_sent(sample: Input, service: FishAudio) -> None:
    with pytest.raises(
        InvalidInputError, match=r"clones from files, not from '(https://files/a\.wav|A-1)': pass storage"
    ):
        next(service.clone_voice("Ada", [Body(), sample], clone()))


# changing


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "New"},
        {"visibility": "public"},
        {"tags": ["a", "b"]},
        {"tags": []},
        {"title": None, "description": None},
        {"title": "New", "description": "", "tags": ["ü"], "visibility": "unlist"},
    ],
)
@pytest.mark.parametrize("body", [None, "", {"status": "ok"}, VOICE, PAGE])
def test_only_what_is_given_is_changed(changes: dict[str, Any], body: Any, service: FishAudio) -> None:
    result, [request] = drive(service.update_voice(ID, changes), answer(body))
    assert result is None
    assert (request.method, request.url, request.may_repeat) == ("PATCH", f"/model/{ID}", True)
    assert (request.json, request.form, request.files) == (changes, (), ())


def test_a_picture_goes_along_with_what_a_form_can_say(service: FishAudio) -> None:
    cover = Body(b"c", "c.png", "image/png")
    changes = {"title": "New", "tags": ("a", "b"), "description": "", "visibility": "public"}
    _, [request] = drive(service.update_voice(ID, changes, cover), answer(""))
    assert (request.method, request.url, request.json) == ("PATCH", f"/model/{ID}", None)
    assert request.form == [
        ("title", "New"), ("tags", "a"), ("tags", "b"), ("description", ""), ("visibility", "public"),
    ]  # fmt: skip
    assert request.files == [("cover_image", cover)]


@pytest.mark.parametrize("nothing", [{"tags": []}, {"tags": ()}, {"description": None}, {"tags": [], "title": None}])
def test_what_a_form_cannot_say_is_said_beside_the_picture(nothing: dict[str, Any], service: FishAudio) -> None:
    cover = Body(b"c", "c.png", "image/png")
    _, [plain, picture] = drive(
        service.update_voice(ID, {**nothing, "visibility": "unlist"}, cover), answer(""), answer("")
    )
    assert (plain.method, plain.json, plain.files) == ("PATCH", nothing, ())
    assert (picture.form, picture.files) == ([("visibility", "unlist")], [("cover_image", cover)])


def test_a_picture_alone_is_a_change(service: FishAudio) -> None:
    cover = Body(b"c", "c.png", "image/png")
    _, [request] = drive(service.update_voice(ID, {}, cover), answer(""))
    assert (request.form, request.files) == ([], [("cover_image", cover)])


# speech

SAID = {"audio": "/a.wav", "text": "What is said."}


def speech(**values: Any) -> FishSpeech:
    return parse(FishSpeech, {"text": "Hello.", "voice_id": ID, **values}, "Fish Audio")


def spoken(flow: Any) -> Request:
    job, [request] = drive(flow, answer("", **SPOKEN))
    assert job.state is JobState.SUCCEEDED
    assert isinstance(request, Request)
    return request


def test_speech_is_sent_as_the_contract_says(service: FishAudio) -> None:
    sink = Sink()
    request = spoken(service.speak(speech(), [], sink))
    assert (request.method, request.url, request.public, request.sink) == ("POST", "/v1/tts", False, sink)
    assert request.json == {"text": "Hello.", "reference_id": ID, "format": "mp3"}
    assert (request.body, request.files, request.form) == (None, (), ())
    assert request.headers == {"model": "s2.1-pro"}
    assert request.timeout is not None
    assert request.timeout >= 120


def test_every_option_is_sent_under_the_services_name(service: FishAudio) -> None:
    values = {
        "format": "opus", "sample_rate": "48000", "opus_bitrate": 32000, "latency": "normal", "chunk_length": 200,
        "min_chunk_length": 0, "normalize": False, "temperature": "0.5", "top_p": 0, "repetition_penalty": 1.1,
        "max_new_tokens": 2048, "condition_on_previous_chunks": False, "early_stop_threshold": 0.9,
        "features": ["quality-guard"],
    }  # fmt: skip
    dictionary = [{"items": [{"key": "Airflow", "value": "air flow"}]}]
    request = spoken(service.speak(speech(**values, pronunciation_dictionary=dictionary), [], Sink()))
    assert request.json == {
        "text": "Hello.",
        "reference_id": ID,
        **values,
        "sample_rate": 48000,
        "temperature": 0.5,
        "pronunciation_dictionary": [
            {"items": [{"key": "Airflow", "value": "air flow", "case_sensitive": False}]},
        ],
    }


@pytest.mark.parametrize(
    ("values", "prosody"),
    [
        ({}, None),
        ({"speed": "1.2"}, {"speed": 1.2}),
        ({"volume": 0}, {"volume": 0.0}),
        ({"normalize_loudness": False}, {"normalize_loudness": False}),
        ({"prosody": {"speed": 2, "volume": -20}}, {"speed": 2.0, "volume": -20.0}),
    ],
)
def test_speed_and_volume_are_one_field_and_only_when_given(
    values: dict[str, Any], prosody: dict[str, Any] | None, service: FishAudio
) -> None:
    body = spoken(service.speak(speech(**values), [], Sink())).json
    assert body.get("prosody") == prosody
    assert {"speed", "volume", "normalize_loudness"}.isdisjoint(body)


@pytest.mark.parametrize(
    ("voice_id", "sent"), [(ID, ID), ([ID, OTHER], [ID, OTHER]), ([ID], ID), ((OTHER, ID), [OTHER, ID])]
)
def test_a_voice_is_a_reference_and_several_keep_their_order(voice_id: Any, sent: Any, service: FishAudio) -> None:
    assert spoken(service.speak(speech(voice_id=voice_id), [], Sink())).json["reference_id"] == sent


@pytest.mark.parametrize(
    ("of_connection", "of_task", "engine"),
    [
        (None, None, "s2.1-pro"),
        ("", None, "s2.1-pro"),
        ("s2.1-pro-free", None, "s2.1-pro-free"),
        ("s2.1-pro-free", "s2-pro", "s2-pro"),
        (None, "s2.1-pro-free", "s2.1-pro-free"),
        (None, "a-model-of-next-year", "a-model-of-next-year"),
    ],
)
@pytest.mark.parametrize("references", [0, 1])
def test_the_model_is_always_said_because_another_would_be_billed(
    of_connection: str | None, of_task: str | None, engine: str, references: int
) -> None:
    service = FishAudio({"speech_model": of_connection})
    options = speech(model=of_task, voice_id=None if references else ID, references=[SAID] * references)
    job, [request] = drive(service.speak(options, [Body()] * references, Sink()), answer("", **SPOKEN))
    assert request.headers["model"] == job.model == engine
    body = decoded(request) if references else request.json
    assert "model" not in body
    free = engine == "s2.1-pro-free"
    assert service.is_free(options) is request.may_repeat is free


def decoded(request: Request) -> Any:
    assert request.body is not None
    data = b"".join(request.body.chunks())
    assert len(data) == request.body.size
    return msgpack.unpackb(data)


def test_recordings_go_along_as_messagepack(service: FishAudio) -> None:
    sink = Sink()
    options = speech(voice_id=None, references=[SAID, SAID | {"text": "Two."}], speed=1.5, text="Grüße, 世界!")
    request = spoken(service.speak(options, [Body(b"\0one\xff"), Body(b"two")], sink))
    assert (request.method, request.url, request.json, request.sink) == ("POST", "/v1/tts", None, sink)
    assert request.headers == {"model": "s2.1-pro", "content-type": "application/msgpack"}
    assert decoded(request) == {
        "text": "Grüße, 世界!",
        "format": "mp3",
        "prosody": {"speed": 1.5},
        "references": [{"audio": b"\0one\xff", "text": "What is said."}, {"audio": b"two", "text": "Two."}],
    }


def test_recordings_of_several_speakers_are_a_list_each_with_a_label_for_each(service: FishAudio) -> None:
    one, two = SAID | {"text": "One."}, SAID | {"text": "Two."}
    options = speech(voice_id=None, references=[[one, two], [SAID]], text="<|speaker:0|>Hi.<|speaker:1|>Ho.")
    body = decoded(spoken(service.speak(options, [Body(b"1"), Body(b"2"), Body(b"3")], Sink())))
    assert body["references"] == [
        [{"audio": b"1", "text": "One."}, {"audio": b"2", "text": "Two."}],
        [{"audio": b"3", "text": "What is said."}],
    ]
    assert len(body["reference_id"]) == len(set(body["reference_id"])) == 2


@pytest.mark.parametrize("references", [[SAID], [[SAID]]])
@pytest.mark.parametrize("voice_id", [None, []])
def test_one_speaker_has_no_label(references: Any, voice_id: Any, service: FishAudio) -> None:
    body = decoded(spoken(service.speak(speech(voice_id=voice_id, references=references), [Body()], Sink())))
    assert body["references"] == [{"audio": b"sound", "text": "What is said."}]
    assert "reference_id" not in body


@pytest.mark.parametrize(
    "kind",
    [
        "audio/mpeg",
        "audio/wav",
        "audio/x-wav",
        "Audio/OPUS",
        "audio/pcm; rate=44100",
        "application/octet-stream",
        "application/ogg",
        None,
    ],
)
def test_sound_is_an_answer(kind: str | None, service: FishAudio) -> None:
    headers = {"content_type": kind} if kind else {}
    job, _ = drive(service.speak(speech(), [], Sink()), answer("", x_fish_trace_id="t-1", **headers))
    assert (job.kind, job.id, job.state, job.model, job.engine) == (
        "speech", "t-1", JobState.SUCCEEDED, "s2.1-pro", None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "text/event-stream", "video/mp4"])
def test_something_else_than_sound_is_no_answer(kind: str, service: FishAudio) -> None:
    request = next(service.speak(speech(), [], Sink()))
    assert not request.expects(Response(status=200, headers={"content-type": kind}))
    assert request.expects(Response(status=200, headers={"content-type": "audio/mpeg"}))


def test_speech_without_a_trace_has_an_id_nevertheless(service: FishAudio) -> None:
    job, _ = drive(service.speak(speech(), [], Sink()), answer("", content_type="audio/mpeg"))
    assert job.id


# a voice that is refused

REFUSED = NotFoundError("POST /v1/tts: Fish Audio answered 400: Reference not found.", status=400)


def test_a_voice_in_training_is_said_to_be_so(service: FishAudio) -> None:
    for state in ("created", "training", "queued"):
        with pytest.raises(VoiceNotReadyError, match=f"{ID} is still '{state}' .*nothing was paid.*VoiceTrainedSensor"):
            drive(service.speak(speech(), [], Sink()), REFUSED, answer(VOICE | {"state": state}))


def test_a_voice_whose_training_failed_is_said_to_be_so(service: FishAudio) -> None:
    with pytest.raises(InvalidInputError, match=f"training of voice {ID} has failed: it cannot speak. Clone it again"):
        drive(service.speak(speech(), [], Sink()), REFUSED, answer(VOICE | {"state": "failed"}))


def test_a_voice_that_is_not_there_is_said_to_be_so(service: FishAudio) -> None:
    gone = NotFoundError(f"GET /model/{ID}: Fish Audio answered 404: Model not found.", status=404)
    with pytest.raises(NotFoundError, match="Model not found"):
        drive(service.speak(speech(), [], Sink()), REFUSED, gone)


def test_a_voice_that_is_fine_and_was_refused_is_still_refused(service: FishAudio) -> None:
    with pytest.raises(NotFoundError) as caught:
        drive(service.speak(speech(), [], Sink()), REFUSED, answer(VOICE))
    assert caught.value is REFUSED


def test_of_several_voices_the_one_that_is_not_ready_is_named(service: FishAudio) -> None:
    flow = service.speak(speech(voice_id=[ID, OTHER]), [], Sink())
    with pytest.raises(VoiceNotReadyError, match=f"Voice {OTHER} is still 'training'"):
        drive(flow, REFUSED, answer(VOICE), answer(VOICE | {"_id": OTHER, "state": "training"}))


def test_the_voices_are_asked_after_one_by_one(service: FishAudio) -> None:
    flow = service.speak(speech(voice_id=[ID, OTHER]), [], Sink())
    next(flow)
    asked = [flow.throw(REFUSED), flow.send(answer(VOICE))]
    assert [(request.method, request.url) for request in asked] == [("GET", f"/model/{ID}"), ("GET", f"/model/{OTHER}")]


@pytest.mark.parametrize(
    "trouble",
    [
        ServiceUnavailableError("503", sent=False),
        ServiceUnavailableError("no complete answer", sent=True),
        RateLimitedError("429"),
        answer(PAGE),
        answer({}),
    ],
)
def test_speech_stays_refused_whatever_becomes_of_the_question_why(trouble: Any, service: FishAudio) -> None:
    """Else a lost answer to the question would look like lost speech, which may have been paid."""
    with pytest.raises(NotFoundError) as caught:
        drive(service.speak(speech(), [], Sink()), REFUSED, trouble)
    assert caught.value is REFUSED


def test_an_instant_clone_that_is_refused_has_no_voice_to_ask_after(service: FishAudio) -> None:
    with pytest.raises(NotFoundError):
        drive(service.speak(speech(voice_id=None, references=[SAID]), [Body()], Sink()), REFUSED)


@pytest.mark.parametrize("error", [QuotaError("402"), RateLimitedError("429"), ServiceUnavailableError("504")])
def test_another_refusal_is_not_looked_into(error: VoiceError, service: FishAudio) -> None:
    with pytest.raises(type(error)) as caught:
        drive(service.speak(speech(), [], Sink()), error)
    assert caught.value is error


# transcripts

HEARD = {
    "text": "Hello there.", "duration": 12.34, "language_code": "en", "language": "English", "request_id": "r",
    "segments": [{"text": "Hello", "start": 0, "end": 0.42}, {"text": "there.", "start": 0.42, "end": 12, "x": 1}],
}  # fmt: skip


def test_a_recording_is_sent_to_be_written_down_once_with_time_to_answer(service: FishAudio) -> None:
    body = Body()
    found, [request] = drive(service.transcribe(body, FishTranscription()), answer(HEARD | {"segments": []}))
    assert (request.method, request.url, request.json, request.body) == ("POST", "/v1/asr", None, None)
    assert (request.form, request.files) == ([("ignore_timestamps", "true")], [("audio", body)])
    assert request.headers == {"model": "transcribe-1-pro"}
    assert not request.may_repeat
    assert request.timeout is not None
    assert request.timeout >= 600
    assert found.dump() == {
        "service": "fish_audio", "text": "Hello there.", "seconds": 12.34, "language": "en", "segments": [],
        "words": [], "turns": [], "model": "transcribe-1-pro", "request_id": "r",
    }  # fmt: skip


def test_language_model_and_times_are_asked_for(service: FishAudio) -> None:
    flow = service.transcribe(Body(), FishTranscription(language="de", segments=True, model="transcribe-1"))
    found, [request] = drive(flow, answer(HEARD))
    assert request.form == [("ignore_timestamps", "false"), ("language", "de")]
    assert request.headers == {"model": "transcribe-1"}
    assert [(part.text, part.start, part.end) for part in found.segments] == [
        ("Hello", 0.0, 0.42), ("there.", 0.42, 12.0),
    ]  # fmt: skip


def test_speakers_and_sounds_are_asked_for(service: FishAudio) -> None:
    asked = FishTranscription(diarize=True, num_speakers=2, tag_audio_events=False)
    _, [request] = drive(service.transcribe(Body(), asked), answer(HEARD))
    assert request.form == [
        ("ignore_timestamps", "true"), ("diarize", "true"), ("num_speakers", "2"), ("tag_audio_events", "false"),
    ]  # fmt: skip


TWO = {
    "text": "<|speaker:0|>Is it on? [laughter] <|speaker:1|>Yes.", "duration": 2.5, "language_code": "en",
    "segments": [
        {"text": "Is", "start": 0, "end": 0.2}, {"text": "it", "start": 0.2, "end": 0.4},
        {"text": "on?", "start": 0.4, "end": 0.9}, {"text": "[laughter]", "start": 1, "end": 1.5},
        {"text": "Yes.", "start": 2, "end": 2.5},
    ],
    "speaker_turns": [
        {"speaker": "speaker:0", "text": "Is it on? [laughter]", "start": 0.0, "end": 1.5},
        {"speaker": "speaker:1", "text": "Yes.", "start": 2, "end": 2.5}, {"speaker": 7},
    ],
}  # fmt: skip


def test_the_plain_text_is_without_marks_because_it_is_given_back(service: FishAudio) -> None:
    """Marks in the transcript of a sample, or in a script, would be taken for directions."""
    found, _ = drive(service.transcribe(Body(), FishTranscription(segments=True)), answer(TWO, x_request_id="r-9"))
    assert (found.text, found.marked_text) == ("Is it on? Yes.", TWO["text"])
    assert [word.text for word in found.words] == ["Is", "it", "on?", "Yes."]
    assert [(turn.speaker, turn.text) for turn in found.turns] == [("speaker:0", "Is it on?"), ("speaker:1", "Yes.")]
    assert (found.model, found.request_id) == ("transcribe-1-pro", "r-9")


def test_phrases_are_no_words(service: FishAudio) -> None:
    phrases = {"segments": [{"text": "Hello there.", "start": 0, "end": 1}]}
    found, _ = drive(service.transcribe(Body(), FishTranscription(segments=True)), answer(HEARD | phrases))
    assert (len(found.segments), found.words, found.marked_text) == (1, (), None)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"segments": None}, {"segments": ()}),
        ({"segments": {"0": "x"}}, {"segments": ()}),
        ({"duration": None}, {"seconds": None}),
        ({"duration": "long"}, {"seconds": None}),
        ({"duration": 3}, {"seconds": 3.0}),
        ({"language_code": None}, {"language": None}),
        ({"text": ""}, {"text": ""}),
    ],
)
def test_a_transcript_with_missing_or_odd_details_is_still_a_transcript(
    more: dict[str, Any], expected: dict[str, Any], service: FishAudio
) -> None:
    flow = service.transcribe(Body(), FishTranscription(segments=True))
    found, _ = drive(flow, answer(HEARD | more))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("odd", [{"text": "x", "start": None, "end": 1}, {"text": "x"}, "x", None, {"start": "soon"}])
def test_one_odd_part_does_not_lose_a_transcript_that_is_paid(odd: Any, service: FishAudio) -> None:
    flow = service.transcribe(Body(), FishTranscription(segments=True))
    found, _ = drive(flow, answer(HEARD | {"segments": [odd, *HEARD["segments"]]}))  # type: ignore[misc]
    assert found.text == "Hello there."
    assert [part.text for part in found.segments] == ["Hello", "there."]


def test_a_length_that_is_no_number_is_unknown(service: FishAudio) -> None:
    flow = service.transcribe(Body(), FishTranscription(segments=True))
    found, _ = drive(flow, answer('{"text": "x", "duration": NaN}'))
    assert found.seconds is None


@pytest.mark.parametrize("body", [PAGE, {}, [], None, {"text": None}, {"text": ["x"]}, "Hello there."])
def test_something_else_than_a_transcript_is_no_answer(body: Any, service: FishAudio) -> None:
    with pytest.raises(ServiceUnavailableError, match="something else than a transcript") as caught:
        drive(service.transcribe(Body(), FishTranscription()), answer(body))
    assert caught.value.sent
