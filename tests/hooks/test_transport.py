"""What is sent again and what never is; transfers that break, and stay whole."""

from __future__ import annotations

import asyncio
import email
import gc
import json
import logging
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgpack
import pytest
import respx
from airflow.sdk import Connection

from tests.conftest import write_wav
from voice_provider.exceptions import (
    ConcurrencyLimitError,
    InvalidInputError,
    QuotaError,
    RateLimitedError,
    ResultError,
    ServiceUnavailableError,
)
from voice_provider.hooks.attempts import ATTEMPTS
from voice_provider.hooks.settings import read_settings
from voice_provider.hooks.transport import Transport
from voice_provider.services.base import Request, download
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.options import FishClone, FishSpeech, FishTranscription
from voice_provider.services.options import VoiceFilters, parse
from voice_provider.services.sync_labs.dialect import SyncLabs
from voice_provider.services.sync_labs.options import SyncLabsSpeech

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.hooks.conftest import Received, Stranger
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.services.base import Flow, Response

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
LINE = parse(SyncLabsSpeech, {"text": "Hello.", "voice_id": BUILT_IN})


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


def to(url: str, **extra: Any) -> Transport:
    """A transport to any service; ``extra`` as in the connection."""
    connection = Connection(conn_id="voice", conn_type="sync_labs", host=url, password="sk-0123456789")
    return Transport(read_settings(connection, extra, url), SyncLabs(extra), logging.getLogger("test"))  # type: ignore[arg-type]


def ask(**values: Any) -> Flow[Response]:
    return (yield Request(**{"method": "GET", "url": "/v2/models", **values}))


def sent(emulator: EmulatorHandle, path: str) -> list[int | None]:
    return [request["status"] for request in emulator.requests(path)]


def test_many_at_a_time_share_one_client(hook: VoiceHook, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = [], Transport._new_client
    together = threading.Barrier(4)

    def slowly() -> httpx.Client:
        time.sleep(0.01)
        made.append(real())
        return made[-1]

    def question(_: int) -> None:
        together.wait()
        hook.run(ask())

    monkeypatch.setattr(Transport, "_new_client", staticmethod(slowly))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(question, range(4)))
    assert len(made) == 1


# what is sent again


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "drop_before"}, {"kind": "drop_after"}])
def test_a_question_is_asked_again(fault: dict[str, Any], hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault(path="/v2/voices", times=2, **fault)
    assert hook.list_voices()
    assert len(sent(emulator, "/v2/voices")) == 3


def test_it_is_not_asked_for_ever(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/voices", status=500, times=None)
    with pytest.raises(ServiceUnavailableError, match=r"sync. labs answered 500"):
        hook.list_voices()
    assert sent(emulator, "/v2/voices") == [500] * ATTEMPTS


def test_attempts_are_reported_with_what_went_wrong(
    hook: VoiceHook, emulator: EmulatorHandle, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("status", path="/v2/voices", status=503)
    with caplog.at_level("INFO"):
        Transport(hook.settings, hook.service, logging.getLogger("test")).run(hook.service.list_voices(VoiceFilters()))  # type: ignore[arg-type]
    [line] = [record.getMessage() for record in caplog.records if "did not succeed" in record.getMessage()]
    assert "GET /v2/voices did not succeed (try 1 of 5), again in 0." in line
    assert "sync. labs answered 503" in line


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422, 418])
def test_a_refusal_is_not_argued_with(status: int, hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/voices", status=status, times=None)
    with pytest.raises(Exception, match=str(status)):
        hook.list_voices()
    assert sent(emulator, "/v2/voices") == [status]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_speech_that_may_have_been_ordered_is_never_ordered_again(
    fault: str, hook: VoiceHook, emulator: EmulatorHandle
) -> None:
    emulator.fault(fault, path="/v2/tts")
    with pytest.raises(ServiceUnavailableError, match=r"no complete answer to POST /v2/tts") as caught:
        hook.run(hook.service.start_speech(LINE, None))
    assert caught.value.sent
    assert len(sent(emulator, "/v2/tts")) == 1
    assert len(emulator.ledger("speech")) == (fault == "drop_after")


def test_speech_that_failed_at_the_service_is_not_ordered_again(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/tts", status=503)
    with pytest.raises(ServiceUnavailableError, match="503"):
        hook.run(hook.service.start_speech(LINE, None))
    assert sent(emulator, "/v2/tts") == [503]


def test_a_clone_that_may_have_been_made_is_never_made_again(
    hook: VoiceHook, emulator: EmulatorHandle, sample: Path
) -> None:
    asset = hook.upload_asset(str(sample))
    emulator.fault("drop_after", path="/v2/voices", method="POST")
    with pytest.raises(ServiceUnavailableError):
        hook.clone_voice("Ada", {"asset_id": asset.id})
    assert len(sent(emulator, "/v2/voices")) == 1
    assert emulator.state()["voices"]["main"] == 1


@pytest.mark.parametrize("fault", [{"kind": "drop_after"}, {"kind": "drop_before"}, {"kind": "status", "status": 502}])
def test_a_keyed_order_is_repeated_and_paid_once(
    fault: dict[str, Any], emulator: EmulatorHandle, set_connection: Callable[..., None], hook: VoiceHook
) -> None:
    set_connection(tts_mode="jobs")
    emulator.fault(path="/v2/tts/jobs", times=2, **fault)
    job = hook.run(hook.service.start_speech(LINE, "key-1"))
    assert job.id
    assert [request["idempotency_key"] for request in emulator.requests("/v2/tts/jobs")] == ["key-1"] * 3
    assert len(emulator.ledger("speech")) == 1


def test_a_lip_sync_whose_answer_is_lost_is_paid_once(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.fault("drop_after", path="/v2/generate", method="POST")
    hook.lip_sync(f"{tmp_path}/out.mp4", video=str(video), audio=[{"media": str(sample)}])
    assert len(emulator.ledger("lip_sync")) == 1


def test_an_outcome_that_the_service_has_lost_is_asked_after_by_its_id(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    first = hook.lip_sync(f"{tmp_path}/a.mp4", video=str(video), audio=[{"media": str(sample)}])
    body = {"message": "?", "errorCode": "IDEMPOTENCY_OUTCOME_UNKNOWN", "generationId": first.job_id, "statusCode": 503}
    emulator.fault("status", path="/v2/generate", method="POST", status=503, body=body)
    second = hook.lip_sync(f"{tmp_path}/b.mp4", video=str(video), audio=[{"media": str(sample)}])
    assert second.job_id == first.job_id
    assert len(emulator.ledger("lip_sync")) == 1


# waiting


def test_a_rate_limit_is_waited_for_even_by_what_is_paid(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/tts", status=429, headers={"Retry-After": "0.3"})
    began = time.monotonic()
    hook.run(hook.service.start_speech(LINE, None))
    assert time.monotonic() - began >= 0.3
    assert sent(emulator, "/v2/tts") == [429, 200]
    assert len(emulator.ledger("speech")) == 1


def test_those_who_were_told_to_wait_do_not_come_back_at_the_same_moment(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr("voice_provider.hooks.attempts.FIRST_WAIT", 0.5)
    for _ in range(6):
        emulator.fault("status", path="/v2/voices", status=429, headers={"Retry-After": "3"}, times=2)
        assert hook.list_voices()
    assert len(naps) == 12
    assert all(3 <= nap <= 4 for nap in naps), "never earlier than the service has asked, and soon after"
    assert len({round(nap, 6) for nap in naps}) > 6


def test_a_rate_limit_without_a_time_is_waited_for_a_little(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/voices", status=429, times=2)
    assert hook.list_voices()
    assert sent(emulator, "/v2/voices") == [429, 429, 200]


def test_a_long_wait_is_left_to_the_tasks_own_retry(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/voices", status=429, headers={"Retry-After": "31"})
    with pytest.raises(RateLimitedError, match="asks to wait 31 s") as caught:
        hook.list_voices()
    assert caught.value.retry_after == 31
    assert sent(emulator, "/v2/voices") == [429]


def test_a_long_outage_is_left_to_the_tasks_own_retry(
    hook: VoiceHook, emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    emulator.fault("status", path="/v2/voices", status=503, headers={"Retry-After": "31"})
    with pytest.raises(ServiceUnavailableError) as caught:
        hook.list_voices()
    assert caught.value.retry_after == 31
    assert sent(emulator, "/v2/voices") == [503]


def test_a_full_plan_is_not_hammered(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.settings(concurrency=0)
    with pytest.raises(ConcurrencyLimitError, match="the new one was not accepted"):
        hook.lip_sync(f"{tmp_path}/out.mp4", video=str(video), audio=[{"media": str(sample)}])
    assert sent(emulator, "/v2/generate") == [429]
    assert emulator.ledger() == []
    assert emulator.state()["assets"] == 0


def test_a_service_that_stays_silent_is_not_waited_for_longer_than_the_connection_says(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(timeout=0.2)
    emulator.fault("slow", path="/v2/voices", seconds=5)
    began = time.monotonic()
    assert hook.list_voices()  # the second time
    assert time.monotonic() - began < 2


def test_a_clone_is_given_more_time_than_the_connection_says(
    hook: VoiceHook, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
) -> None:
    set_connection(timeout=0.2)
    emulator.fault("slow", path="/v2/voices", method="POST", seconds=0.5)
    assert hook.clone_voice("Ada", str(sample)).id


def test_a_service_that_cannot_be_reached_says_where_and_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    with pytest.raises(
        ServiceUnavailableError,
        match=r"sync\. labs \(http://127\.0\.0\.1:9\) could not be reached .*base URL of connection 'voice'",
    ) as caught:
        to("http://127.0.0.1:9").run(ask(method="POST"))
    assert not caught.value.sent


def test_an_unreachable_service_is_tried_again_also_for_what_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    with respx.mock:
        route = respx.post("https://api.sync.so/v2/tts").mock(
            side_effect=[
                httpx.ConnectError("no route"),
                httpx.ConnectTimeout("slow"),
                httpx.Response(200, json={"id": 1}),
            ]
        )
        to("https://api.sync.so").run(ask(method="POST", url="/v2/tts"))
    assert route.call_count == 3


def test_a_connection_that_the_service_has_closed_meanwhile_is_no_error(stranger: Stranger) -> None:
    stranger.answer = lambda _: (200, {}, b"[]")
    stranger.closes = True
    ours = to(stranger.url)
    for _ in range(3):
        ours.run(ask())
        time.sleep(0.02)  # the close has to arrive
    assert len(stranger.received) == 3
    ours.close()


def test_what_is_paid_never_travels_on_a_connection_that_was_idle(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = to(stranger.url)
    ours.run(ask())
    assert ours._client is not None
    monkeypatch.setattr(ours._client, "send", lambda *_, **__: pytest.fail("the pooled client was used"))
    ours.run(ask(method="POST", url="/v2/tts"))
    assert [request.method for request in stranger.received] == ["GET", "POST"]
    ours.close()
    ours.close()
    assert ours._client is None


def test_the_triggerer_asks_once_because_its_wait_asks_again(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    emulator.fault("status", path="/v2/voices", status=503)
    with pytest.raises(ServiceUnavailableError):
        asyncio.run(hook.arun(hook.service.list_voices(VoiceFilters())))
    assert sent(emulator, "/v2/voices") == [503]
    emulator.fault("drop_before", path="/v2/voices")
    with pytest.raises(ServiceUnavailableError, match="no complete answer"):
        asyncio.run(hook.arun(hook.service.list_voices(VoiceFilters())))
    assert asyncio.run(hook.arun(hook.service.list_voices(VoiceFilters())))


def test_a_flow_may_catch_an_error_also_on_the_triggerer(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    def flow() -> Flow[str]:
        try:
            yield Request(method="GET", url="/v2/voices/nobody")
        except Exception as error:  # noqa: BLE001
            yield Request(method="GET", url="/v2/models")
            return type(error).__name__
        return "found"

    assert asyncio.run(hook.arun(flow())) == hook.run(flow()) == "NotFoundError"


# uploads


def test_a_large_upload_is_neither_chunked_nor_held_in_memory(
    hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, path = 64 * 1024**2, write_wav(tmp_path / "long.wav", seconds=0.01)
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(40)
        file.write((size - 44).to_bytes(4, "little"))
    heads: list[httpx.Headers] = []
    original = httpx.Client.send

    def watched(self: httpx.Client, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        heads.append(request.headers)
        return original(self, request, **kwargs)

    monkeypatch.setattr(httpx.Client, "send", watched)
    hook.list_models()
    tracemalloc.start()
    try:
        asset = hook.upload_asset(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert asset.size == size
    assert peak < 8 * 1024**2
    put = heads[2]
    assert put["content-length"] == str(size)
    assert "transfer-encoding" not in put


def test_an_upload_that_breaks_is_sent_again_from_its_beginning(
    hook: VoiceHook, emulator: EmulatorHandle, sample: Path
) -> None:
    emulator.fault("drop_before", path="/uploads/*", method="PUT", bytes=1000)
    asset = hook.upload_asset(str(sample))
    assert asset.size == sample.stat().st_size
    assert sent(emulator, "/uploads") == [None, 200]
    assert len(sent(emulator, "/v2/assets/upload")) == 1


def test_a_registration_whose_answer_is_lost_is_found(hook: VoiceHook, emulator: EmulatorHandle, sample: Path) -> None:
    emulator.fault("drop_after", path="/v2/assets", method="POST")
    asset = hook.upload_asset(str(sample))
    assert [item.id for item in hook.list_assets()] == [asset.id]


def test_a_file_that_grows_while_it_is_sent_is_named(hook: VoiceHook, sample: Path) -> None:
    class Growing:
        name, size, media_type = "a.wav", 100, "audio/wav"

        def chunks(self) -> Iterator[bytes]:
            raise InvalidInputError("The input changed while it was read.")

    with pytest.raises(InvalidInputError, match="changed while it was read"):
        hook.run(hook.service.upload_asset(Growing(), "a"))


# forms with files


@dataclass
class Recording:
    """A file to send; it counts how often it is opened, and is made piece by piece, never held."""

    content: bytes = b"sound"
    times: int = 1
    name: str = "speaker.wav"
    media_type: str = "audio/wav"
    opened: int = 0

    @property
    def size(self) -> int:
        return len(self.content) * self.times

    def chunks(self) -> Iterator[bytes]:
        self.opened += 1
        for _ in range(self.times):
            yield self.content


def to_fish_audio(url: str, **extra: Any) -> Transport:
    connection = Connection(conn_id="fish", conn_type="fish_audio", host=url, password="0123456789abcdef")
    return Transport(read_settings(connection, extra, url), FishAudio(extra), logging.getLogger("test"))  # type: ignore[arg-type]


def parts(request: Received) -> list[tuple[str, str | None, str | None, bytes]]:
    """The parts of a form as they came: name, file name, content type, content."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    form = email.message_from_bytes(head + request.body)
    assert form.is_multipart()
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part["content-type"],
            bytes(part.get_payload(decode=True)),  # type: ignore[arg-type]
        )
        for part in form.get_payload()  # type: ignore[union-attr]
    ]


def test_a_form_arrives_with_its_fields_in_order_and_its_files_whole(stranger: Stranger) -> None:
    stranger.answer = lambda _: (201, {}, b'{"_id": "V", "state": "trained"}')
    first, second = Recording(b"\0\r\n--one\xff"), Recording(b"two" * 1000, 300, "b.m4a", "audio/mp4")
    cover = Recording(b"\xff\xd8", name='ä "c".jpg', media_type="image/jpeg")
    options = parse(FishClone, {"texts": ["Grüße, 世界.", "Two, said."], "tags": ["a,b", "c"]})
    service = FishAudio({})
    voice = to_fish_audio(stranger.url).run(service.clone_voice("Ada ü", [first, second], options, cover))
    assert voice.id == "V"
    [request] = stranger.received
    assert (request.method, request.path) == ("POST", "/model")
    assert request.headers["authorization"] == "Bearer 0123456789abcdef"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    sent = parts(request)
    assert [(name, content.decode()) for name, file, _, content in sent if file is None] == [
        ("type", "tts"),
        ("title", "Ada ü"),
        ("train_mode", "fast"),
        ("visibility", "private"),
        ("enhance_audio_quality", "true"),
        ("texts", "Grüße, 世界."),
        ("texts", "Two, said."),
        ("tags", "a,b"),
        ("tags", "c"),
    ]
    assert [(name, kind, content) for name, file, kind, content in sent if file is not None] == [
        ("voices", "audio/wav", b"\0\r\n--one\xff"),
        ("voices", "audio/mp4", b"two" * 300_000),
        ("cover_image", "image/jpeg", b"\xff\xd8"),
    ]


def test_a_form_is_opened_anew_for_every_attempt_and_is_never_chunked(stranger: Stranger) -> None:
    stranger.answer = lambda _: (503 if len(stranger.received) < 3 else 200, {}, b"{}")
    body = Recording(b"sound" * 5000, 20)
    to(stranger.url).run(ask(method="PATCH", url="/model/V", form=[("title", "x")], files=[("cover_image", body)]))
    assert len(stranger.received) == 3
    for request in stranger.received:
        assert int(request.headers["content-length"]) == len(request.body) > body.size
        assert "transfer-encoding" not in request.headers
        assert [(name, content) for name, _, _, content in parts(request)] == [
            ("title", b"x"),
            ("cover_image", b"sound" * 100_000),
        ]


def test_a_clone_that_was_not_accepted_is_sent_again_whole(stranger: Stranger) -> None:
    answers = [(429, {}, FULL), (201, {}, b'{"_id": "V", "state": "trained"}')]
    stranger.answer = lambda _: answers[len(stranger.received) - 1]
    body = Recording(b"sound" * 1000)
    to_fish_audio(stranger.url).run(FishAudio({}).clone_voice("Ada", [body], FishClone()))
    assert [parts(request)[-1][3] for request in stranger.received] == [b"sound" * 1000] * 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_clone_that_failed_at_the_service_is_not_sent_again(status: int, stranger: Stranger) -> None:
    stranger.answer = lambda _: (status, {}, json.dumps({"status": status, "message": "Oops"}).encode())
    with pytest.raises(ServiceUnavailableError, match=f"POST /model: Fish Audio answered {status}") as caught:
        to_fish_audio(stranger.url).run(FishAudio({}).clone_voice("Ada", [Recording()], FishClone()))
    assert caught.value.sent is (status in (502, 504))
    assert len(stranger.received) == 1


class Drain(httpx.BaseTransport):
    """A host that takes everything and remembers only how much it was."""

    def __init__(self) -> None:
        self.received: list[tuple[int, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.received.append((int(request.headers["content-length"]), sum(map(len, request.stream))))
        answer = httpx.ByteStream(b'{"_id": "V", "text": ""}')
        return httpx.Response(200, stream=answer, headers={"content-type": "audio/mpeg"})


@pytest.mark.parametrize("what", ["clone", "transcript", "speech"])
def test_files_of_any_size_are_streamed_and_announced_with_their_length(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, service = Drain(), FishAudio({})
    monkeypatch.setattr(Transport, "_new_client", lambda _: httpx.Client(transport=drain))
    body = Recording(bytes(256 * 1024), 256)
    line = parse(FishSpeech, {"text": "Hello.", "references": [{"audio": "/a.wav", "text": "x"}]})
    flow: Any = {
        "clone": lambda: service.clone_voice("Ada", [body], FishClone()),
        "transcript": lambda: service.transcribe(body, FishTranscription()),
        "speech": lambda: service.speak(line, [body], Memory()),
    }[what]()
    tracemalloc.start()
    try:
        to_fish_audio("http://127.0.0.1:9").run(flow)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    [(announced, received)] = drain.received
    assert announced == received > 64 * 1024**2
    assert peak < 8 * 1024**2


def test_a_sample_that_changes_while_it_is_sent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Growing(Recording):
        def chunks(self) -> Iterator[bytes]:
            yield b"so"
            raise InvalidInputError("The input changed while it was read.")

    drain = Drain()
    monkeypatch.setattr(Transport, "_new_client", lambda _: httpx.Client(transport=drain))
    with pytest.raises(InvalidInputError, match="changed while it was read"):
        to_fish_audio("http://127.0.0.1:9").run(FishAudio({}).clone_voice("Ada", [Growing()], FishClone()))
    assert drain.received == []


# speech that is the answer itself

FULL = b'{"status": 429, "message": "You have exceeded your current concurrency limit"}'
AUDIO = b"ID3\4" + bytes(range(256)) * 400


def speaking(stranger: Stranger, sink: Memory, **values: Any) -> Any:
    line = parse(FishSpeech, {"text": "Hello.", "voice_id": "V", **values})
    references = [Recording(b"sound" * 100)] * sum(map(len, line.speakers))
    return to_fish_audio(stranger.url).run(FishAudio({}).speak(line, references, sink))


def breaks(first: bytes) -> Callable[[Received], tuple[int, dict[str, str], bytes]]:
    """Answer the first request only half, and the others whole."""
    answers = iter([({"content-length": str(len(first) + 5000)}, first)])
    return lambda _: (200, *next(answers, ({"content-type": "audio/mpeg"}, AUDIO)))


def test_speech_is_received_with_its_answer(stranger: Stranger) -> None:
    stranger.answer = lambda _: (200, {"content-type": "audio/mpeg", "x-fish-trace-id": "t-1"}, AUDIO)
    sink = Memory()
    job = speaking(stranger, sink)
    assert (job.id, sink.data) == ("t-1", AUDIO)
    [request] = stranger.received
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["model"] == "s2.1-pro"
    assert json.loads(request.body) == {"text": "Hello.", "reference_id": "V", "format": "mp3"}


def test_paid_speech_that_breaks_midway_is_neither_resumed_nor_made_again(stranger: Stranger) -> None:
    stranger.closes, stranger.answer = True, breaks(AUDIO[:3000])
    sink = Memory()
    with pytest.raises(ServiceUnavailableError, match="no complete answer to POST /v1/tts") as caught:
        speaking(stranger, sink)
    assert caught.value.sent
    assert len(stranger.received) == 1
    assert sink.data == AUDIO[:3000]  # it is known that something came


def test_free_speech_that_breaks_midway_is_made_anew_because_it_would_not_fit(stranger: Stranger) -> None:
    stranger.closes, stranger.answer = True, breaks(b"another try at the same line" * 100)
    sink = Memory()
    speaking(stranger, sink, model="s2.1-pro-free")
    assert sink.data == AUDIO
    assert len(stranger.received) == 2
    assert all("range" not in request.headers for request in stranger.received)
    assert stranger.received[0].body == stranger.received[1].body


def test_a_post_never_asks_for_the_rest_of_what_is_in_the_sink(stranger: Stranger) -> None:
    stranger.answer = lambda _: (200, {}, AUDIO)
    sink = Memory()
    sink.write(b"from before")
    to(stranger.url).run(ask(method="POST", url="/v1/tts", json={}, sink=sink))
    assert sink.data == AUDIO
    assert "range" not in stranger.received[0].headers


def test_speech_that_is_redirected_is_not_ordered_elsewhere(stranger: Stranger) -> None:
    stranger.answer = lambda _: (307, {"location": "/elsewhere"}, b"")
    with pytest.raises(ServiceUnavailableError, match="was redirected"):
        speaking(stranger, Memory())
    assert len(stranger.received) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (402, b'{"status": 402, "message": "Insufficient API credit"}', QuotaError),
        (422, b'{"status": 422, "message": "not audio"}', InvalidInputError),
        (422, b"not audio", ServiceUnavailableError),
        (502, b"<html>Bad gateway</html>", ServiceUnavailableError),
    ],
)
def test_a_refusal_of_speech_is_not_taken_for_sound(
    status: int, body: bytes, error: type[Exception], stranger: Stranger
) -> None:
    stranger.answer = lambda _: (status, {"content-type": "audio/mpeg"}, body)
    sink = Memory()
    with pytest.raises(error, match=str(status)):
        speaking(stranger, sink)
    assert sink.data == b""
    assert len(stranger.received) == 1


@pytest.mark.parametrize("references", [0, 2])
def test_speech_that_was_not_accepted_is_asked_for_again_with_the_same_body(
    references: int, stranger: Stranger
) -> None:
    stranger.answer = lambda _: (200, {}, AUDIO) if len(stranger.received) > 2 else (429, {}, FULL)
    values = {"voice_id": None, "references": [{"audio": "/a.wav", "text": "x"}] * references} if references else {}
    sink = Memory()
    speaking(stranger, sink, **values)
    assert sink.data == AUDIO
    first, second, third = (request.body for request in stranger.received)
    assert first == second == third
    if references:
        assert {request.headers["content-type"] for request in stranger.received} == {"application/msgpack"}
        assert [item["audio"] for item in msgpack.unpackb(third)["references"]] == [b"sound" * 100] * 2
    assert all(int(request.headers["content-length"]) == len(request.body) for request in stranger.received)


# downloads


@pytest.fixture
def long_asset(hook: VoiceHook, tmp_path: Path) -> str:
    """The id of an asset of a megabyte."""
    return hook.upload_asset(str(write_wav(tmp_path / "long.wav", seconds=65))).id


def test_a_transfer_that_breaks_goes_on_where_it_stopped(
    long_asset: str, hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path
) -> None:
    emulator.fault("truncate", path="/uploads/*", method="GET", bytes=700_000)
    kept = hook.download_asset(long_asset, f"{tmp_path}/kept/")
    assert sent(emulator, "/uploads")[1:] == [200, 206]
    assert (tmp_path / "kept" / f"{long_asset}.wav").read_bytes() == (tmp_path / "long.wav").read_bytes()
    assert kept.seconds == pytest.approx(65, abs=0.1)


@pytest.mark.parametrize("fault", ["truncate_clean", "empty", "corrupt"])
def test_a_transfer_that_looks_fine_and_is_not_is_not_kept(
    fault: str, long_asset: str, hook: VoiceHook, emulator: EmulatorHandle, tmp_path: Path
) -> None:
    emulator.fault(fault, path="/uploads/*", method="GET")
    with pytest.raises(ResultError, match="The result that came is unusable: it"):
        hook.download_asset(long_asset, f"{tmp_path}/kept/")
    assert list((tmp_path / "kept").iterdir()) == []


DATA = bytes(range(256)) * 4096


def part(request: Received) -> bytes:
    return DATA[int(request.headers.get("range", "bytes=0-")[6:-1]) :]


def fetch(stranger: Stranger, first: bytes = b"") -> bytes:
    sink = Memory()
    sink.write(first)
    to(stranger.url).run(download(f"{stranger.url}/result.mp4?sig=1", sink))
    return sink.data


def test_a_host_that_can_sends_only_the_rest(stranger: Stranger) -> None:
    stranger.answer = lambda request: (206, {"content-range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"}, part(request))
    assert fetch(stranger, DATA[:5]) == DATA
    assert stranger.received[0].headers["range"] == "bytes=5-"


def test_a_host_that_cannot_sends_the_file_anew(stranger: Stranger) -> None:
    stranger.answer = lambda _: (200, {}, DATA)
    assert fetch(stranger, DATA[:5]) == DATA


def test_a_part_that_was_not_asked_for_is_not_appended(stranger: Stranger) -> None:
    wrong = (206, {"content-range": f"bytes 0-9/{len(DATA)}"}, DATA[:10])
    stranger.answer = lambda request: wrong if "range" in request.headers else (200, {}, DATA)
    assert fetch(stranger, DATA[:5]) == DATA


def test_a_result_that_became_shorter_is_fetched_anew(stranger: Stranger) -> None:
    stranger.answer = lambda request: (416, {}, b"") if "range" in request.headers else (200, {}, DATA)
    assert fetch(stranger, DATA + b"more") == DATA


def test_a_host_that_refuses_every_part_is_given_up_on(stranger: Stranger) -> None:
    stranger.answer = lambda _: (416, {}, b"")
    with pytest.raises(ServiceUnavailableError, match="answers in circles; nothing was kept"):
        fetch(stranger)


def test_a_result_is_asked_for_as_it_is(stranger: Stranger) -> None:
    stranger.answer = lambda _: (200, {}, DATA)
    fetch(stranger)
    assert stranger.received[0].headers["accept-encoding"] == "identity"


def test_a_result_that_moved_is_followed(stranger: Stranger) -> None:
    stranger.answer = lambda request: (
        (200, {}, DATA) if request.path == "/moved" else (302, {"location": "/moved"}, b"")
    )
    assert fetch(stranger) == DATA
    assert [request.path for request in stranger.received] == ["/result.mp4?sig=1", "/moved"]


def test_a_result_that_moves_for_ever_is_not_followed_for_ever(stranger: Stranger) -> None:
    stranger.answer = lambda _: (302, {"location": "/again"}, b"")
    with pytest.raises(ServiceUnavailableError, match="answers in circles; nothing was kept"):
        fetch(stranger)


@pytest.mark.parametrize("location", [None, "http://[broken", "http://127.0.0.1:99999/x"])
def test_a_result_that_moved_nowhere_is_an_answer_that_is_none(
    location: str | None, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    stranger.answer = lambda _: (302, {"location": location} if location else {}, b"")
    with pytest.raises(ServiceUnavailableError):
        fetch(stranger)


@pytest.mark.parametrize("status", [300, 304])
def test_an_answer_that_is_neither_yes_nor_no_is_none(
    status: int, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    stranger.answer = lambda _: (status, {}, b"")
    with pytest.raises(ServiceUnavailableError, match=f"{status} came with an empty body, which is no answer"):
        to(stranger.url).run(ask())


def test_a_redirect_of_a_call_says_where_it_would_have_gone(stranger: Stranger) -> None:
    stranger.answer = lambda _: (301, {"location": "https://www.sync.so/login?token=s3cret"}, b"")
    with pytest.raises(
        ServiceUnavailableError, match=r"GET /v2/models was redirected to www\.sync\.so.*Check the base URL"
    ) as caught:
        to(stranger.url).run(ask())
    assert caught.value.sent, "whoever sends it elsewhere does not say that nothing was done"
    assert len(stranger.received) == 1
    assert "s3cret" not in str(caught.value)


def test_parameters_bodies_and_headers_arrive_as_the_flow_says(stranger: Stranger) -> None:
    to(stranger.url).run(ask(method="PATCH", url="/v2/x", params={"a": "b c"}, json={"ü": 1}, headers={"x-one": "1"}))
    [request] = stranger.received
    assert (request.path, json.loads(request.body)) == ("/v2/x?a=b+c", {"ü": 1})
    assert request.headers["x-one"] == "1"
    assert request.headers["user-agent"].startswith("airflow-provider-voice/")


def test_what_the_triggerer_asks_leaves_nothing_to_pythons_collector(hook: VoiceHook) -> None:
    def answers() -> list[httpx.Response]:
        return [thing for thing in gc.get_objects() if isinstance(thing, httpx.Response)]

    async def ask() -> int:
        gc.disable()
        try:
            for _ in range(5):
                await hook.arun(hook.service.list_voices(VoiceFilters()))
            return sum(all(answer is not one for one in before) for answer in answers())
        finally:
            gc.enable()

    gc.collect()
    before = answers()  # an earlier test's error may hold one
    assert asyncio.run(ask()) == 0, "forty objects a question, which stop the loop of ten thousand waits"
