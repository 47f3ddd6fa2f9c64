"""Only the service is believed: over real HTTP, every answer that something in between may give in its place."""

from __future__ import annotations

import json
import logging
import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from airflow.sdk import Connection

from voice_provider.exceptions import (
    AuthError,
    InvalidInputError,
    NotFoundError,
    QuotaError,
    RateLimitedError,
    ServiceUnavailableError,
    VoiceError,
)
from voice_provider.hooks import waiting
from voice_provider.hooks.attempts import ATTEMPTS
from voice_provider.hooks.settings import read_settings
from voice_provider.hooks.transport import Transport
from voice_provider.models import Asset
from voice_provider.services.base import Input
from voice_provider.services.fish_audio import dialect as fish_audio
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.options import FishClone, FishSpeech, FishTranscription
from voice_provider.services.options import CloneOptions, VoiceFilters, parse
from voice_provider.services.sync_labs import voices as sync_labs
from voice_provider.services.sync_labs.dialect import SyncLabs
from voice_provider.services.sync_labs.options import SyncLabsSpeech

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hooks.conftest import Stranger
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.services.base import Service

UUID = "6533643b-aceb-4c40-967e-d9ba9baac39e"
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
SYNC_LINE = parse(SyncLabsSpeech, {"text": "Hello.", "voice_id": BUILT_IN})
FISH_LINE = parse(FishSpeech, {"text": "Hello.", "voice_id": "V"})
FREE_LINE = parse(FishSpeech, {"text": "Hello.", "voice_id": "V", "model": "s2.1-pro-free"})
PAGE = "<html><head><title>404 Not Found</title></head><body>s3cret</body></html>"
HTML, TEXT, JSON = "text/html", "text/plain", "application/json"


class Memory:
    """A sink in memory."""

    def __init__(self) -> None:
        self.data = b""

    @property
    def position(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> None:
        self.data += data

    def restart(self) -> None:
        self.data = b""


@dataclass
class Recording:
    """A file to send."""

    name: str = "speaker.wav"
    size: int = 5
    media_type: str = "audio/wav"

    def chunks(self) -> Iterator[bytes]:
        yield b"sound"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)


def to(url: str, service: Service, **extra: Any) -> Transport:
    connection = Connection(conn_id="voice", conn_type=service.name, host=url, password="sk-0123456789")
    return Transport(read_settings(connection, extra, url), service, logging.getLogger("test"))  # type: ignore[arg-type]


HOSTED = Asset(service="sync_labs", id="A", type="AUDIO", url="https://assets.sync.so/a.wav")
SYNC, JOBS, FISH = SyncLabs({}), SyncLabs({"tts_mode": "jobs"}), FishAudio({})
# What pays or makes, and has no key.
MAKES: dict[str, tuple[Service, Callable[[], Any]]] = {
    "sync speech": (SYNC, lambda: SYNC.start_speech(SYNC_LINE, None)),
    "sync job without a key": (JOBS, lambda: JOBS.start_speech(SYNC_LINE, None)),
    "sync clone": (SYNC, lambda: SYNC.clone_voice("Ada", [Input(asset_id=UUID)], CloneOptions())),
    "Fish speech": (FISH, lambda: FISH.speak(FISH_LINE, [], Memory())),
    "Fish clone": (FISH, lambda: FISH.clone_voice("Ada", [Recording()], FishClone())),
    "Fish transcript": (FISH, lambda: FISH.transcribe(Recording(), FishTranscription())),
}
# What asks, changes or deletes, and may be sent again; with a key, also what pays.
REPEATS: dict[str, tuple[Service, Callable[[], Any]]] = {
    "sync list": (SYNC, lambda: SYNC.list_voices(VoiceFilters())),
    "sync voice": (SYNC, lambda: SYNC.get_voice("V")),
    "sync deletion": (SYNC, lambda: SYNC.delete_voice("V")),
    "sync assets": (SYNC, SYNC.list_assets),
    "sync asset": (SYNC, lambda: SYNC.get_asset("A")),
    "sync change": (SYNC, lambda: SYNC.update_asset("A", {"name": "x"})),
    "sync deletion of a file": (SYNC, lambda: SYNC.delete_asset("A")),
    "sync download": (SYNC, lambda: SYNC.download_asset("A", Memory())),
    "sync job": (SYNC, lambda: SYNC.get_job("lip_sync", "G")),
    "sync jobs": (SYNC, lambda: SYNC.get_jobs("lip_sync", ["G"])),
    "sync room": (SYNC, SYNC.room),
    "sync files in use": (SYNC, SYNC.assets_in_use),
    "sync estimate": (SYNC, lambda: SYNC.estimate("sync-3", 1, 30)),
    "sync transcript": (SYNC, lambda: SYNC.start_transcription(HOSTED)),
    "sync transcript that is there": (SYNC, lambda: SYNC.get_transcript("T")),
    "sync order with a key": (JOBS, lambda: JOBS.start_speech(SYNC_LINE, "key")),
    "Fish list": (FISH, lambda: FISH.list_voices(VoiceFilters())),
    "Fish voice": (FISH, lambda: FISH.get_voice("V")),
    "Fish deletion": (FISH, lambda: FISH.delete_voice("V")),
    "Fish change": (FISH, lambda: FISH.update_voice("V", {"title": "x"})),
    "Fish wallet": (FISH, FISH.check_account),
    "Fish room": (FISH, FISH.room),
    "Fish slots": (FISH, FISH.slots),
    "Fish free speech": (FISH, lambda: FISH.speak(FREE_LINE, [], Memory())),
}
CALLS = MAKES | REPEATS
FOREIGN = [
    (HTML, PAGE),
    (HTML, '{"message": "No voice", "statusCode": STATUS, "errorCode": "voice_not_found"}'),
    (HTML, '{"status": STATUS, "message": "Model not found"}'),
    (JSON, '{"message": "Forbidden"}'),
    (JSON, '{"error": "Not Found", "path": "/v2"}'),
    (TEXT, "404 page not found"),
    (TEXT, "upstream connect error or disconnect/reset before headers"),
    ("", ""),
]
REFUSALS = [400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 425, 429, 451]
FAILURES = [500, 501, 502, 503, 504, 520, 524, 529]


@contextmanager
def case(stranger: Stranger, what: object) -> Iterator[None]:
    """One of many in a test, which a server of its own each would make slow; a failure names it."""
    stranger.received.clear()
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {what}")
        raise


def answering(stranger: Stranger, status: int, kind: str, body: str) -> None:
    content = body.replace("STATUS", str(status)).encode()
    stranger.answer = lambda _: (status, {"content-type": kind} if kind else {}, content)


def run(stranger: Stranger, call: str, attempts: int = ATTEMPTS) -> Any:
    service, flow = CALLS[call]
    return to(stranger.url, service).run(flow(), attempts)


@pytest.mark.parametrize("call", MAKES)
def test_what_pays_or_makes_is_sent_once_and_its_outcome_is_unknown(call: str, stranger: Stranger) -> None:
    for status in REFUSALS + FAILURES:
        for kind, body in FOREIGN:
            stranger.received.clear()
            answering(stranger, status, kind, body)
            with pytest.raises(ServiceUnavailableError) as caught:
                run(stranger, call)
            assert (caught.value.sent, caught.value.foreign, caught.value.status) == (True, True, status)
            assert len(stranger.received) == 1, f"{status} {body}"
            text = str(caught.value)
            assert "got the request is unknown. Something in between" in text
            assert "s3cret" not in text
            assert "deleted" not in text


@pytest.mark.parametrize("call", REPEATS)
def test_what_may_be_sent_again_has_met_an_outage(call: str, stranger: Stranger) -> None:
    for status in (401, 402, 403, 404, 409, 422, 429, 500, 503):
        for kind, body in FOREIGN[:6]:
            stranger.received.clear()
            answering(stranger, status, kind, body)
            with pytest.raises(ServiceUnavailableError) as caught:
                run(stranger, call, attempts=2)
            assert caught.value.foreign
            assert len(stranger.received) == 2, f"{status} {body}"
            assert "is unknown" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "body"), [(HTML, PAGE), (TEXT, "OK"), ("", "<html>"), (HTML, "true"), (HTML, '{"id": "V", "_id": "V"}')]
)
def test_a_success_that_is_a_page_or_bare_text_is_none(kind: str, body: str, stranger: Stranger) -> None:
    answering(stranger, 200, kind, body)
    for call in CALLS:
        if "speech" in call and call.startswith("Fish") and not kind:
            continue  # sound that is not said to be sound; what it is is seen in its bytes
        with case(stranger, call):
            with pytest.raises(ServiceUnavailableError) as caught:
                run(stranger, call)
            assert (caught.value.foreign, caught.value.sent) == (True, True)
            assert len(stranger.received) == (1 if call in MAKES else ATTEMPTS)


@pytest.mark.parametrize("body", ["{}", '{"status": "up"}', "7", "null", '{"items": {}}'])
def test_a_success_without_the_documented_body_is_none(body: str, stranger: Stranger) -> None:
    answering(stranger, 201, JSON, body)
    for call in CALLS:
        if "deletion" in call or call == "Fish change":
            continue
        with case(stranger, call):
            with pytest.raises(ServiceUnavailableError) as caught:
                run(stranger, call)
            assert (caught.value.foreign, caught.value.sent) == (True, True)
            assert len(stranger.received) == (1 if call in MAKES else ATTEMPTS)


@pytest.mark.parametrize("call", ["sync deletion", "sync deletion of a file", "Fish deletion"])
@pytest.mark.parametrize(("status", "body"), [(200, ""), (200, "true"), (200, '{"id": "V"}'), (204, ""), (202, "null")])
def test_a_deletion_is_confirmed_by_data_or_by_nothing(call: str, status: int, body: str, stranger: Stranger) -> None:
    answering(stranger, status, JSON if body else "", body)
    run(stranger, call)
    assert len(stranger.received) == 1


def own(service: Service, status: int, message: str, **more: Any) -> str:
    field = "status" if service is FISH else "statusCode"
    return json.dumps({"message": message, field: status, **more})


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, InvalidInputError), (401, AuthError), (402, QuotaError), (404, NotFoundError), (422, InvalidInputError)],
)
def test_its_own_refusal_is_believed_and_not_argued_with(
    status: int, error: type[VoiceError], stranger: Stranger
) -> None:
    for call, (service, _) in CALLS.items():
        answering(stranger, status, JSON, own(service, status, "No such voice"))
        with case(stranger, call):
            with pytest.raises(error) as caught:
                run(stranger, call)
            assert not caught.value.doubtful
            orders = [request for request in stranger.received if request.method == stranger.received[0].method]
            assert len(orders) == 1


def test_its_own_429_says_that_the_request_was_not_accepted(stranger: Stranger) -> None:
    for call, (service, _) in CALLS.items():
        answering(stranger, 429, JSON, own(service, 429, "Slow down"))
        with case(stranger, call):
            with pytest.raises(RateLimitedError):
                run(stranger, call)
            assert len(stranger.received) == ATTEMPTS


@pytest.mark.parametrize("status", FAILURES)
def test_its_own_failure_is_asked_again_only_where_that_is_safe(status: int, stranger: Stranger) -> None:
    for call, (service, _) in CALLS.items():
        answering(stranger, status, JSON, own(service, status, "Oops"))
        with case(stranger, call):
            with pytest.raises(ServiceUnavailableError) as caught:
                run(stranger, call)
            assert not caught.value.foreign
            assert caught.value.sent is not (service is FISH and status in (500, 503))
            assert len(stranger.received) == (1 if call in MAKES else ATTEMPTS)


@pytest.mark.parametrize(("asked", "times"), [("0.01", ATTEMPTS), ("31", 1), ("inf", 1), ("soon", 5)])
def test_what_something_in_between_asks_to_wait_is_waited_or_left_to_the_tasks_retry(
    asked: str, times: int, stranger: Stranger
) -> None:
    stranger.answer = lambda _: (503, {"content-type": HTML, "retry-after": asked}, PAGE.encode())
    with pytest.raises(ServiceUnavailableError) as caught:
        run(stranger, "sync list")
    assert caught.value.retry_after == (None if asked == "soon" else float(asked))
    assert len(stranger.received) == times


def test_what_is_shown_of_an_answer_is_short_and_repeats_nothing_that_was_sent(stranger: Stranger) -> None:
    for status, kind, body, shown in (
        (200, JSON, '{"data": "s3cret script", "message": "s3cret"}', "JSON of another form, which"),
        (200, TEXT, "s3cret script", "text/plain, which"),
        (403, JSON, '{"message": "Forb\\u001b[31midden\\n"}', "('Forb[31midden')"),
        (403, TEXT, "no " * 1000, "text/plain ('" + ("no " * 34)[:100].rstrip() + "')"),
        (403, "application/xhtml+xml", "<p>", "a page, which"),
    ):
        answering(stranger, status, kind, body)
        with pytest.raises(ServiceUnavailableError) as caught:
            run(stranger, "Fish clone")
        assert shown in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert len(str(caught.value)) < 450
        assert str(caught.value).isprintable()


def test_whatever_answers_a_paid_order_it_is_sent_once_and_no_page_says_gone(stranger: Stranger) -> None:
    dice = random.Random(20261127)
    words = [PAGE, "OK", "gone", "", "null", "[]", '{"message": "Not Found"}', '{"detail": "deleted"}', "{", "\x00"]
    for _ in range(150):
        status = dice.choice([200, 201, 204, *range(300, 309), *REFUSALS, *FAILURES, dice.randrange(400, 600)])
        body, kind = dice.choice(words), dice.choice([HTML, TEXT, JSON, ""])
        if 200 <= status < 300 and (kind == "" or status == 204):
            continue  # nothing, not said to be anything, is how a deletion is confirmed
        content = b"" if status in (204, 304) else body.encode()
        headers = {"content-type": kind} if kind else {}
        if dice.random() < 0.2:
            headers["x-fish-trace-id"] = "t"
        if 300 <= status < 400 and dice.random() < 0.7:
            headers["location"] = "https://login.example/"
        stranger.answer = lambda _, answer=(status, headers, content): answer  # type: ignore[misc]
        stranger.received.clear()
        call = dice.choice(list(MAKES))
        with pytest.raises(ServiceUnavailableError) as caught:
            run(stranger, call)
        assert caught.value.sent, f"{call}: {status} {headers} {body}"
        assert len(stranger.received) == 1, f"{call}: {status} {headers} {body}"
        if 200 <= status < 300 and kind != HTML and body in ("", "null", "[]", *words[6:8]):
            continue  # data: a deletion may be confirmed so
        for call in ("sync deletion", "Fish deletion"):
            with pytest.raises(ServiceUnavailableError):
                run(stranger, call)


# an order that is repeated under its key


def order(stranger: Stranger, *answers: tuple[int, str] | None) -> VoiceError:
    """Order with a key; ``None`` is an answer that is cut short. Return the error."""
    each = iter(answers)

    def answer(_: Any) -> tuple[int, dict[str, str], bytes]:
        given = next(each)
        stranger.closes = given is None
        if given is None:
            return 200, {"content-length": "100"}, b"{"
        return given[0], {"content-type": JSON}, given[1].encode()

    stranger.answer = answer
    with pytest.raises(VoiceError) as caught:
        to(stranger.url, JOBS).run(JOBS.start_speech(SYNC_LINE, "key"))
    assert next(each, None) is None, "not all of it was asked for"
    return caught.value


UNKNOWN: list[tuple[int, str] | None] = [
    None,
    (502, PAGE),
    (404, PAGE),
    (402, '{"message": "Payment required"}'),
    (200, PAGE),
    (201, "{}"),
    (503, own(SYNC, 503, "Down")),
    (500, own(SYNC, 500, "Oops")),
]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
@pytest.mark.parametrize("before", UNKNOWN)
def test_a_refusal_after_an_unknown_outcome_is_doubtful(
    before: tuple[int, str] | None, status: int, stranger: Stranger
) -> None:
    refusal = status, own(SYNC, status, "No voice")
    error = order(stranger, before, refusal)
    assert error.doubtful
    assert error.status == status
    assert not any(claim in str(error) for claim in ("Nothing was", "nothing was", "new key"))
    assert not order(stranger, refusal).doubtful


def test_a_doubt_stays_to_the_end_of_the_call(stranger: Stranger) -> None:
    slow, full = (429, own(SYNC, 429, "Slow")), own(SYNC, 429, "Full", errorCode="concurrency_limit_reached")
    assert order(stranger, (502, PAGE), slow, slow, (402, own(SYNC, 402, "No"))).doubtful
    assert not order(stranger, slow, slow, (402, own(SYNC, 402, "No"))).doubtful
    assert order(stranger, (502, PAGE), (429, full)).doubtful
    assert order(stranger, (502, PAGE), (404, own(SYNC, 404, "Cannot POST /v2/tts/jobs"))).doubtful


def test_a_doubt_is_about_one_order_and_not_about_what_is_asked_besides(stranger: Stranger) -> None:
    answers = iter([(502, PAGE), (404, own(SYNC, 404, "No voice"))])

    def answer(_: Any) -> tuple[int, dict[str, str], bytes]:
        status, body = next(answers)
        return status, {}, body.encode()

    stranger.answer = answer
    with pytest.raises(NotFoundError) as caught:
        to(stranger.url, SYNC).run(SYNC.get_voice("V"))
    assert not caught.value.doubtful


# no answer at all


@pytest.mark.parametrize(
    ("failure", "sent"),
    [
        (httpx.ConnectError, False),
        (httpx.ConnectTimeout, False),
        (httpx.PoolTimeout, False),
        (httpx.ProxyError, False),
        (httpx.ReadTimeout, True),
        (httpx.WriteTimeout, True),
        (httpx.ReadError, True),
        (httpx.WriteError, True),
        (httpx.CloseError, True),
        (httpx.RemoteProtocolError, True),
        (httpx.LocalProtocolError, True),
        (httpx.DecodingError, True),
    ],
)
@pytest.mark.parametrize("call", MAKES)
def test_only_what_never_had_a_connection_was_not_sent(
    call: str, failure: type[httpx.HTTPError], sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(request: httpx.Request) -> httpx.Response:
        tried.append(1)
        raise failure("failed", request=request)  # type: ignore[call-arg]

    monkeypatch.setattr(Transport, "_new_client", lambda _: httpx.Client(transport=httpx.MockTransport(fail)))
    service, flow = MAKES[call]
    with pytest.raises(ServiceUnavailableError) as caught:
        to("http://127.0.0.1:9", service).run(flow())
    assert caught.value.sent is sent
    assert len(tried) == (1 if sent else ATTEMPTS)


@pytest.mark.parametrize("conn_type", ["sync_labs", "fish_audio"])
@pytest.mark.parametrize("what", ["speech", "clone"])
def test_an_answer_that_comes_too_late_leaves_the_outcome_unknown(
    what: str, conn_type: str, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fish_audio, "SPEECH_TIMEOUT", 0.3)
    monkeypatch.setattr(fish_audio, "CLONE_TIMEOUT", 0.3)
    monkeypatch.setattr(sync_labs, "CLONE_TIMEOUT", 0.3)
    connection = emulator.connection(conn_type)
    service: Service = {"sync_labs": SYNC, "fish_audio": FISH}[conn_type]
    settings = read_settings(Connection(conn_id="voice", **connection), {"timeout": 0.3}, "")
    ours = Transport(settings, service, logging.getLogger("test"))  # type: ignore[arg-type]
    line = parse(FishSpeech, {"text": "Hello."})
    flow: Any = {
        ("sync_labs", "speech"): lambda: SYNC.start_speech(SYNC_LINE, None),
        ("sync_labs", "clone"): lambda: SYNC.clone_voice("Ada", [Input(asset_id=UUID)], CloneOptions()),
        ("fish_audio", "speech"): lambda: FISH.speak(line, [], Memory()),
        ("fish_audio", "clone"): lambda: FISH.clone_voice("Ada", [Recording()], FishClone()),
    }[conn_type, what]()
    emulator.fault("slow", method="POST", seconds=1.5)
    with pytest.raises(ServiceUnavailableError, match=r"gave no complete answer to POST .* \(ReadTimeout\)") as caught:
        ours.run(flow)
    assert (caught.value.sent, caught.value.doubtful) == (True, False)
    assert len([entry for entry in emulator.requests() if entry["method"] == "POST"]) == 1


# waits


def a_wait(hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(waiting, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(hook.service, "tts_mode", "jobs")
    emulator.settings(job_seconds=0)
    job = hook.run(hook.service.start_speech(SYNC_LINE, "key"))
    emulator.wait_idle()
    return job.model_copy(update={"retry_after": None})  # it asks for seconds


@pytest.mark.parametrize("form", ["html", "json", "text"])
@pytest.mark.parametrize("status", [200, 401, 403, 404, 410, 422])
def test_nothing_in_between_ends_a_wait(
    status: int, form: str, hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_wait(hook, emulator, monkeypatch)
    emulator.fault("edge_before", path="/v2/tts/jobs/*", status=status, form=form, times=2 * ATTEMPTS + 1)
    assert hook.wait_for(job, timeout=30, poll_interval=0.05).state == "succeeded"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_its_own_refusal_ends_a_wait_when_it_comes_twice(
    status: int, hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_wait(hook, emulator, monkeypatch)
    emulator.fault("status", path="/v2/tts/jobs/*", status=status, times=1)
    assert hook.wait_for(job, timeout=30, poll_interval=0.05).state == "succeeded"
    emulator.fault("status", path="/v2/tts/jobs/*", status=status, times=2)
    with pytest.raises((AuthError, NotFoundError)):
        hook.wait_for(job, timeout=30, poll_interval=0.05)
