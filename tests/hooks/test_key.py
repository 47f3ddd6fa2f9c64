"""The key goes to the connection's origin and nowhere else: no other host, no log, no error, no repr."""

from __future__ import annotations

import asyncio
import logging
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from airflow.sdk import Connection

from tests.hooks.test_transport import LINE, Memory, ask, to
from voice_provider.exceptions import InvalidInputError, ServiceUnavailableError, VoiceError
from voice_provider.hooks import targets
from voice_provider.hooks.settings import read_settings
from voice_provider.hooks.transport import Transport
from voice_provider.services.base import Request, download
from voice_provider.services.options import VoiceFilters
from voice_provider.services.sync_labs.dialect import SyncLabs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hooks.conftest import Stranger
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

KEY = "sk-0123456789"
HOME = "https://api.sync.so"
PUBLIC = "93.184.215.14"
SIGNED = "https://files.example/result.mp4?X-Amz-Signature=s1gn4ture"


def test_every_call_carries_the_key_and_no_transfer_does(
    hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    hook.clone_voice("Ada", str(sample))
    speech = hook.synthesize("Hello.", hook.list_voices()[0].id, f"{tmp_path}/speech/")
    hook.lip_sync(f"{tmp_path}/out.mp4", video=str(video), audio=[{"media": speech.dump()}])
    requests = emulator.requests()
    assert {request["origin"] for request in requests} == {"api", "storage"}
    for request in requests:
        assert request["has_key"] is (request["origin"] == "api"), request
    assert emulator.state()["key_leaks"] == 0


def test_a_call_that_is_redirected_to_another_host_takes_no_key_there(
    hook: VoiceHook, emulator: EmulatorHandle, stranger: Stranger
) -> None:
    emulator.fault("redirect", path="/v2/*", location=f"{stranger.url}/steal", times=None)
    for flow in (lambda: hook.service.list_voices(VoiceFilters()), lambda: hook.service.start_speech(LINE, None)):
        with pytest.raises(ServiceUnavailableError, match=r"was redirected to 127\.0\.0\.1.*the key stays with"):
            hook.run(flow())
        with pytest.raises(ServiceUnavailableError, match="was redirected"):
            asyncio.run(hook.arun(flow()))
    assert stranger.received == []


def test_a_transfer_that_is_redirected_to_another_host_carries_no_key(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    stranger: Stranger,
    sample: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    everything(caplog)
    asset = hook.upload_asset(str(sample))
    stranger.answer = lambda _: (200, {}, sample.read_bytes())
    emulator.fault("redirect", path="/uploads/*", method="GET", location=f"{stranger.url}/copy.wav?s1gn4ture")
    assert hook.download_asset(asset.id, f"{tmp_path}/out/").bytes == sample.stat().st_size
    [request] = stranger.received
    assert request.path == "/copy.wav?s1gn4ture"
    assert "s1gn4ture" not in caplog.text
    assert emulator.api_key not in str(request.headers)


@respx.mock
def test_a_file_at_the_services_own_address_gets_no_key_either() -> None:
    route = respx.get(f"{HOME}/files/1").respond(content=b"x")
    to(HOME).run(download(f"{HOME}/files/1", Memory()))
    assert "x-api-key" not in route.calls.last.request.headers


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No name is looked up on the network; all are one public address."""
    names: list[str] = []

    def look_up(host: str, _: int) -> list[Any]:
        names.append(host)
        return [ip_address(PUBLIC)]

    monkeypatch.setattr(targets, "look_up", look_up)
    return names


@respx.mock
def test_a_file_at_another_address_gets_no_key(looked_up: list[str]) -> None:
    files = respx.route(host=PUBLIC).respond(content=b"x")
    to(HOME).run(download(SIGNED, Memory()))
    assert looked_up == ["files.example"]
    sent = files.calls.last.request
    assert KEY not in str(sent.headers.raw)
    assert sent.headers["host"] == "files.example"
    assert sent.extensions["sni_hostname"] == "files.example", "its certificate is the one that is checked"


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/x",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2852039166/",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
        "http://127.0.0.1/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://127.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "file:///etc/passwd",
        "ftp://files.example/x",
        "//files.example/x",
        "/etc/passwd",
        "https:///x",
        "x",
        "",
    ],
)
def test_a_service_cannot_make_the_worker_fetch_from_inside(url: str) -> None:
    with respx.mock(assert_all_called=False) as wire:
        anything = wire.route().respond(content=b"x")
        with pytest.raises(InvalidInputError, match=r"The service named a file at .* which is not fetched: only https"):
            to(HOME).run(download(url, Memory()))
        with pytest.raises(InvalidInputError, match="which is not fetched"):
            to(HOME).run(_put(url))
        assert not anything.called


def _put(url: str) -> Any:
    yield Request(method="PUT", url=url, public=True)


def test_a_redirect_cannot_lead_inside_either(looked_up: list[str]) -> None:
    with respx.mock(assert_all_called=False) as wire:
        wire.get(host=PUBLIC).respond(302, headers={"location": "http://169.254.169.254/latest/"})
        inside = wire.route(host="169.254.169.254").respond(content=b"secret")
        with pytest.raises(InvalidInputError, match=r"http://169\.254\.169\.254, which is not fetched"):
            to(HOME).run(download(SIGNED, Memory()))
        assert not inside.called
        assert looked_up == ["files.example"]


@pytest.mark.parametrize(
    "url", ["https://[broken", "https://files.example:99999/x", "https://files.example/\x00", "https://a..b/"]
)
def test_an_address_that_is_none_is_the_services_fault(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    with pytest.raises(ServiceUnavailableError, match=r"an address that cannot be used|could not be reached"):
        to(HOME).run(download(url, Memory()))


@pytest.mark.parametrize("path", [".evil.example/x", "@evil.example/x", "evil", ""])
def test_a_path_cannot_change_the_host(path: str) -> None:
    with respx.mock(assert_all_called=False) as wire:
        anything = wire.route().respond(json={})
        with pytest.raises(ServiceUnavailableError, match="an address that cannot be used: it is no path"):
            to(HOME).run(ask(url=path, method="POST"))
        assert not anything.called


def test_on_this_machine_a_proxy_is_never_asked(
    emulator: EmulatorHandle, hook: VoiceHook, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, stranger.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert hook.list_voices()
    assert asyncio.run(hook.arun(hook.service.list_voices(VoiceFilters())))
    assert stranger.received == []


def test_nothing_that_is_printed_shows_the_key(hook: VoiceHook, emulator: EmulatorHandle) -> None:
    hook.list_voices()
    request = Request(method="GET", url="/x", headers=hook.service.key_headers(emulator.api_key))
    for thing in (hook, hook.transport, hook.settings, hook.service, hook.get_conn(), request):
        assert emulator.api_key not in repr(thing)
        assert emulator.api_key not in str(thing)


def everything(caplog: pytest.LogCaptureFixture) -> None:
    """Log at the finest level, also what Airflow silences."""
    for name in (None, "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        caplog.set_level(logging.DEBUG, logger=name)


def test_neither_key_nor_signature_nor_script_is_logged(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    video: Path,
    sample: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    emulator.add_account("sk-very-secret", "main")
    emulator.settings(speech_urls="signed")
    set_connection(password="sk-very-secret")
    emulator.fault("status", path="/v2/voices", method="GET", status=503)
    emulator.fault("drop_before", path="/uploads/*", method="PUT")
    emulator.fault("truncate", path="/results/*")
    everything(caplog)
    with caplog.at_level(logging.DEBUG):
        hook.clone_voice("Ada", str(sample))
        speech = hook.synthesize("A most confidential sentence.", hook.list_voices()[0].id, f"{tmp_path}/speech/")
        job_id = hook.lip_sync(f"{tmp_path}/out.mp4", video=str(video), audio=[{"media": speech.uri}]).job_id
        asyncio.run(hook.arun(hook.service.list_voices(VoiceFilters())))
        assert "X-Amz-Signature" in str(hook.get_job("lip_sync", str(job_id)).url)
    log = caplog.text + "".join(capfd.readouterr())
    assert "did not succeed" in log
    for secret in ("sk-very-secret", "confidential", "X-Amz-Signature"):
        assert secret not in log


FAILURES: list[Any] = [
    httpx.ConnectError(f"cannot connect with {KEY}"),
    httpx.ReadTimeout("x"),
    httpx.RemoteProtocolError("x"),
    httpx.Response(401, json={"message": "Unauthorized", "statusCode": 401}),
    httpx.Response(403, text="<html>"),
    httpx.Response(500, text="oops"),
    httpx.Response(302, headers={"location": SIGNED}),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize("flow", [ask, lambda: download(SIGNED, Memory()), lambda: _put(SIGNED)])
@pytest.mark.usefixtures("looked_up")
def test_no_error_shows_key_or_signature(
    failure: Any, flow: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)
    everything(caplog)
    with respx.mock:
        kind = "side_effect" if isinstance(failure, Exception) else "return_value"
        respx.route().mock(**{kind: failure})
        with pytest.raises(VoiceError) as caught:
            to(HOME).run(flow())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for text in (str(caught.value), repr(caught.value), caplog.text):
        assert KEY not in text
        assert "s1gn4ture" not in text


def test_other_users_of_httpx_keep_their_log(stranger: Stranger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="httpx"):
        to(stranger.url).run(ask())
        assert "HTTP Request" not in caplog.text
        httpx.get(f"{stranger.url}/theirs")
    assert "/theirs" in caplog.text


def test_a_wait_of_the_service_is_not_a_way_to_hold_a_worker(stranger: Stranger) -> None:
    stranger.answer = lambda _: (429, {"retry-after": "inf"}, b'{"message": "Slow down", "statusCode": 429}')
    began = time.monotonic()
    with pytest.raises(VoiceError, match="too many requests"):
        to(stranger.url).run(ask())
    assert time.monotonic() - began < 1


VOICES = "http://voices:8080"
PRIVATE = ("10.0.0.7", "172.31.255.1", "192.168.1.1", "100.64.0.1", "fd00::7")


def plain(url: str) -> Transport:
    """A transport of a connection with ``plain_http``."""
    extra = {"plain_http": True}
    connection = Connection(conn_id="voice", conn_type="sync_labs", host=url, password=KEY)
    return Transport(read_settings(connection, {**extra}, HOME), SyncLabs(extra), logging.getLogger("test"))  # type: ignore[arg-type]


@pytest.mark.parametrize("address", PRIVATE)
def test_plain_http_goes_to_the_private_address_that_was_looked_up(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    found = [ip_address(address)]
    monkeypatch.setattr(targets, "look_up", lambda *_: found)
    with respx.mock:
        calls = respx.route(host=address, port=8080).respond(json=[])
        plain(VOICES).run(ask())
    sent = calls.calls.last.request
    assert (sent.headers["host"], sent.headers["x-api-key"]) == ("voices:8080", KEY)


@pytest.mark.parametrize(
    "others", [(PUBLIC,), ("10.0.0.7", PUBLIC), ("127.0.0.1",), ("169.254.169.254",), ("fe80::1",), ("172.32.0.1",), ()]
)
def test_plain_http_goes_nowhere_where_one_address_is_not_private(
    monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    monkeypatch.setattr(targets, "look_up", lambda *_: [ip_address(one) for one in others])
    with respx.mock(assert_all_called=False) as wire:
        with pytest.raises(InvalidInputError, match=r"no private address .* and is not asked over http://"):
            plain(VOICES).run(ask())
        assert not wire.calls


def test_plain_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    with pytest.raises(InvalidInputError, match="Put voices into NO_PROXY"):
        plain(VOICES).run(ask())


def test_a_file_over_plain_http_is_fetched_from_the_services_own_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "look_up", lambda *_: [ip_address("10.0.0.7")])
    with respx.mock as wire:
        files = wire.route(host="10.0.0.7", port=8081).respond(content=b"x")
        plain(VOICES).run(download("http://voices:8081/x", Memory()))
        assert "x-api-key" not in files.calls.last.request.headers
        for home, file in ((VOICES, "http://files/x"), ("https://voices", "http://voices/x")):
            with pytest.raises(InvalidInputError, match="which is not fetched"):
                plain(home).run(download(file, Memory()))
