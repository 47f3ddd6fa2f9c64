"""Answers that could hurt: too long, packed to burst, drop by drop, leading inside, saying what they should not."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from itertools import count, repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.hooks.test_transport import Memory, ask, to
from voice_provider.exceptions import InvalidInputError, NotFoundError, ServiceUnavailableError, VoiceError
from voice_provider.hooks import heads, reading, targets, transport
from voice_provider.hooks.addresses import is_allowed, is_internal
from voice_provider.hooks.reading import Pace
from voice_provider.models import Job, JobState
from voice_provider.services.base import download
from voice_provider.services.options import VoiceFilters
from voice_provider.services.sync_labs.dialect import SyncLabs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.hooks.conftest import Stranger

SYNC = SyncLabs({})
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)


def bomb(mib: int, head: bytes = b"[") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(head) + b"".join(packer.compress(b" " * MIB) for _ in range(mib)) + packer.flush()


def voices(url: str, **extra: Any) -> Any:
    return to(url, **extra).run(SYNC.list_voices(VoiceFilters()), 1)


def on_the_triggerer(url: str, **extra: Any) -> Any:
    return asyncio.run(to(url, **extra).arun(SYNC.list_voices(VoiceFilters())))


BOTH = pytest.mark.parametrize("ask", [voices, on_the_triggerer])


# how much


@BOTH
@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_answer_that_bursts_is_given_up_before_it_does(
    ask: Callable[..., Any], status: int, stranger: Stranger
) -> None:
    packed = bomb(100)
    stranger.answer = lambda _: (status, {"content-type": "application/json", "content-encoding": "gzip"}, packed)
    tracemalloc.start()
    try:
        with pytest.raises(ServiceUnavailableError, match="longer than 16 MiB"):
            ask(stranger.url)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * MIB


@BOTH
def test_a_packed_answer_of_a_common_size_is_read(ask: Callable[..., Any], stranger: Stranger) -> None:
    body = b'[{"id": "v1", "name": "Ada"}]'
    for packed, encoding in ((gzip.compress(body), "gzip"), (zlib.compress(body), "deflate"), (body, "identity")):
        content, name = packed, encoding
        stranger.answer = lambda _, c=content, n=name: (  # type: ignore[misc]
            200,
            {"content-type": "application/json", "content-encoding": n},
            c,
        )
        assert [voice.name for voice in ask(stranger.url)] == ["Ada"]


@BOTH
@pytest.mark.parametrize(
    ("encoding", "content"), [("br", b"x"), ("zstd", b"x"), ("gzip", b"no gzip"), ("gzip, gzip", b"x")]
)
def test_what_cannot_be_unpacked_is_no_answer(
    ask: Callable[..., Any], encoding: str, content: bytes, stranger: Stranger
) -> None:
    stranger.answer = lambda _: (200, {"content-type": "application/json", "content-encoding": encoding}, content)
    with pytest.raises(ServiceUnavailableError):
        ask(stranger.url)


@BOTH
def test_depth_does_no_harm(ask: Callable[..., Any], stranger: Stranger) -> None:
    stranger.answer = lambda _: (200, {"content-type": "application/json"}, b"[" * 1_000_000)
    with pytest.raises(ServiceUnavailableError):
        ask(stranger.url)


def test_a_file_that_bursts_or_never_ends_stops_where_the_connection_says(stranger: Stranger) -> None:
    packed = bomb(30, b"RIFF")
    stranger.answer = lambda _: (200, {"content-encoding": "gzip"}, packed)
    sink = Memory()
    with pytest.raises(ServiceUnavailableError, match=r"longer than 5 MiB.*set max_download_mb in connection 'voice'"):
        to(stranger.url, max_download_mb=5).run(download(f"{stranger.url}/x", sink), 1)
    assert sink.position <= 5 * MIB

    with endless(b"x" * 65536, every=0) as url, pytest.raises(ServiceUnavailableError, match="longer than 5 MiB"):
        to(url, max_download_mb=5).run(download(f"{url}/x", Memory()), 1)


# how long


@contextmanager
def answering(
    head: bytes, pieces: bytes | list[bytes], every: float, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A host that begins an answer and goes on without an end.

    :param pieces: what it sends one after the other, with so many seconds between, or always the same
    """
    server = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                client, _ = server.accept()
                with tls.wrap_socket(client, server_side=True) if tls else client as client:
                    client.recv(65536)
                    client.sendall(head)
                    for piece in repeat(pieces) if isinstance(pieces, bytes) else pieces:
                        if stop.wait(every):
                            break
                        client.sendall(piece)
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        server.close()


def endless(piece: bytes, every: float) -> AbstractContextManager[str]:
    """A host whose body has no end."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return answering(head, b"%x\r\n%s\r\n" % (len(piece), piece), every)


@BOTH
def test_an_answer_that_comes_drop_by_drop_is_given_up(ask: Callable[..., Any]) -> None:
    began = time.monotonic()
    with endless(b" ", every=0.05) as url, pytest.raises(ServiceUnavailableError, match="drop by drop"):
        ask(url, timeout=0.5)
    assert time.monotonic() - began < 5


LETTERS = (b"HTTP/1.1 200 OK\r\nx-long: ", b"x", 0.05)


def given_up_soon(send: Callable[[], Any], words: str) -> None:
    began = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match=words):
        send()
    assert time.monotonic() - began < 2


def test_headers_that_come_letter_by_letter_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_answer = "gave no complete answer to .*ReadTimeout"
    with answering(*LETTERS) as url:
        given_up_soon(lambda: voices(url, timeout=0.3), no_answer)
        given_up_soon(lambda: to(url, timeout=0.3).run(download(f"{url}/x", Memory()), 1), no_answer)
    with answering(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05) as url:
        given_up_soon(lambda: voices(url, timeout=0.3), no_answer)
    monkeypatch.setattr(transport, "_ssl_context", lambda: httpx.create_ssl_context(verify=False))
    with answering(*LETTERS, tls=self_signed(tmp_path)) as url:
        given_up_soon(lambda: voices(url, timeout=0.5), no_answer)
    with answering(*LETTERS) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("NO_PROXY", "")
        given_up_soon(lambda: voices("https://api.sync.so", timeout=0.3), no_answer)


def test_head_and_body_have_one_time_where_somebody_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts.LAST_QUESTION", 0.5)
    pieces = [b"x"] * 15 + [b"\r\ntransfer-encoding: chunked\r\n\r\n"] + [b"1\r\n \r\n"] * 100
    began = time.monotonic()
    with answering(LETTERS[0], pieces, 0.05) as url, pytest.raises(ServiceUnavailableError, match="drop by drop"):
        to(url).run(SYNC.list_voices(VoiceFilters()), 1, until=time.monotonic() + 0.5)
    assert time.monotonic() - began < 1.6


def self_signed(folder: Path) -> ssl.SSLContext:
    """What a TLS server needs that nobody checks."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "tls.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.sign(key, hashes.SHA256()).public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


def test_the_next_answer_on_a_connection_has_all_its_time(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "time", SimpleNamespace(monotonic=count(1, 1000).__next__))
    stranger.answer = lambda _: (200, {"content-type": "application/json"}, b"[]")
    service = to(stranger.url)
    for _ in range(3):
        service.run(SYNC.list_voices(VoiceFilters()), 1)


def test_a_file_that_comes_drop_by_drop_is_given_up() -> None:
    with endless(b"x", every=0.1) as url:
        for method in ("GET", "POST"):
            sink = Memory()
            asked = ask(method=method, url=f"{url}/x", sink=sink, public=True)
            given_up_soon(partial(to(url, timeout=0.3).run, asked, 1), "bytes came in .* drop by drop")
            assert sink.position


def test_a_file_that_moves_on_has_all_the_time_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=count(0, 10).__next__))
    pace = Pace(1024, 60)
    for size in [11 * 1024] * 17 * 6 + [1024] * 5:  # in pieces of 10 s, six a while
        pace.add(size)
    with pytest.raises(ServiceUnavailableError, match="6,144 bytes came in 60 s"):
        pace.add(1024)


# what it says


@BOTH
def test_a_key_that_the_service_repeats_is_not_told(ask: Callable[..., Any], stranger: Stranger) -> None:
    body = b'{"message": "no voice for key sk-0123456789", "statusCode": 404}'
    for status, error in ((404, NotFoundError), (503, VoiceError)):
        stranger.answer = lambda _, s=status: (s, {"content-type": "application/json"}, body)  # type: ignore[misc]
        with pytest.raises(error) as caught:
            ask(stranger.url)
        assert "sk-0123456789" not in str(caught.value)


@BOTH
def test_what_a_service_says_is_one_short_line_of_letters(ask: Callable[..., Any], stranger: Stranger) -> None:
    said = "\\u001b[31mred\\r\\nINFO a line of its own\\u0000\\u202e" + "x" * 50_000
    body = f'{{"message": "{said}", "statusCode": 400}}'.encode()
    stranger.answer = lambda _: (400, {"content-type": "application/json"}, body)
    with pytest.raises(VoiceError) as caught:
        ask(stranger.url)
    text = str(caught.value)
    assert "red" in text
    assert text.isprintable()
    assert len(text) < 2500


def test_a_status_is_a_short_line_too() -> None:
    job = Job(service="s", kind="speech", id="J", state=JobState.RUNNING, status="\x1b[2J" + "x" * 9000, error="a\nb")
    assert job.status.isprintable()
    assert len(job.status) <= 500
    assert job.error == "a b"


# where it leads

INSIDE = (
    "localhost localhost. LOCALHOST x.localhost 127.0.0.1 127.9.9.9 127.1 127.0.1 2130706433 0x7f000001 017700000001 "
    "::1 ::ffff:127.0.0.1 0.0.0.0 :: 10.0.0.1 10.255.1.2 172.16.0.1 172.31.9.9 192.168.1.1 169.254.169.254 2852039166 "
    "0xa9fea9fe 100.64.0.1 198.18.0.1 240.0.0.1 255.255.255.255 224.0.0.1 fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 "
    "64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2002:a00:1:: ::ffff:10.0.0.1 ff02::1 2001:db8::1 "
    "127。0。0。1 １２７.0.0.1 127．0．0．1 metadata intranet ⓛⓞⓒⓐⓛⓗⓞⓢⓣ 127.0.0.1. localhost.. 127｡0｡0｡1 ①②⑦.0.0.1 "
    "0177.0.0.1 0x7f.1 0x0a000001 0251.254.169.254 167772161 0 ::127.0.0.1 ::ffff:0:127.0.0.1 ::ffff:7f00:1 "
    "2001:0:7f00:1:: fec0::1 100::1 2002:c0a8:101:: 127%2e0.0.1 %31%30.0.0.1 localhost.localdomain printer.local "
    "metadata.google.internal host.docker.internal. gateway.home.arpa METADATA.GOOGLE.INTERNAL fe80::1%25eth0"
)
OUTSIDE = (
    "api.sync.so 8.8.8.8 1.1.1.1 1.1 134744072 2606:4700:4700::1111 ::ffff:8.8.8.8 localhost.example files.example. "
    "2002:808:808:: a.b xn--strae-oqa.example straße.example files.mylocal internal.example 127.0.0.1.example"
)
# An address as a service may name it, and the host that is asked; None: it is not fetched.
ADDRESSES = [
    ("https://files.example/x", "files.example"),
    ("HTTPS://files.example/x", "files.example"),
    ("https://files.example:8443/x", "files.example"),
    ("https://FILES.example./x", "files.example."),
    ("https://user:word@files.example/x", "files.example"),
    ("https://10.0.0.1@files.example/x", "files.example"),
    ("https://[::1]@files.example/x", "files.example"),
    ("https://files.example#@10.0.0.1/x", "files.example"),
    ("https://files.example/@10.0.0.1", "files.example"),
    ("https://10.0.0.1\\@files.example/x", "files.example"),
    ("https://straße.example/x", "xn--strae-oqa.example"),
    ("https://api.sync.so@10.0.0.1/x", None),
    ("https://files.example:443@10.0.0.1/x", None),
    ("https://files.example\\@10.0.0.1/x", None),
    ("https://10.0.0.1#@files.example/x", None),
    ("https://10.0.0.1?@files.example/x", None),
    ("https://10.0.0.1\t/x", None),
    ("https://10.0.0.1:443/x", None),
    ("https://files.example:99999/x", None),
    ("https://[::1/x", None),
    ("https://[::1]/x", None),
    ("https://[::ffff:7f00:1]/x", None),
    ("https://[fe80::1%25eth0]/x", None),
    ("https://0x7f000001/x", None),
    ("https://017700000001/x", None),
    ("https://2130706433/x", None),
    ("https://127。0。0。1/x", None),
    ("https://ＬＯＣＡＬＨＯＳＴ/x", None),
    ("https://local\u00adhost/x", None),  # a soft hyphen
    ("https://loc%61lhost/x", None),
    ("https://%31%30.0.0.1/x", None),
    ("https://.localhost/x", None),
    ("https:\\\\10.0.0.1/x", None),
    ("https:/10.0.0.1/x", None),
    ("https:10.0.0.1/x", None),
    ("https:///10.0.0.1/x", None),
    ("//10.0.0.1/x", None),
    ("http://files.example/x", None),
    ("http://127.0.0.1/x", None),
    ("ftp://files.example/x", None),
    ("file:///etc/passwd", None),
    ("", None),
]


def test_hosts_inside_are_known_however_they_are_written() -> None:
    inside = INSIDE.split()
    assert [host for host in inside if not is_internal(host)] == []
    assert [host for host in OUTSIDE.split() if is_internal(host)] == []


def test_an_address_leads_where_it_was_judged_to_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_host.decode())
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    new = httpx.Client
    monkeypatch.setattr(transport.Transport, "_new_client", lambda _: new(transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(targets, "has_proxy", lambda *_: True)  # which looks hosts up itself
    service = to("https://api.sync.so")
    for address, host in ADDRESSES:
        asked.clear()
        with nullcontext() if host else pytest.raises((InvalidInputError, ServiceUnavailableError)):
            service.run(download(address, Memory()), 1)
        assert (address, asked) == (address, [host] if host else [])


def test_a_host_that_the_connection_names_is_fetched_from() -> None:
    allowed = ["10.0.0.1", "Minio.corp", ".s3.private"]
    assert all(is_allowed(host, allowed) for host in ("10.0.0.1", "minio.corp.", "a.s3.private"))
    assert not any(is_allowed(host, allowed) for host in ("10.0.0.2", "xminio.corp", "s3.private", "a.s3.private.evil"))


@pytest.mark.parametrize("inside", ["10.1.2.3", "169.254.169.254", "127.0.0.1", "fd00::1", "64:ff9b::a00:1"])
def test_a_name_that_leads_inside_is_not_fetched(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [ip_address("93.184.215.14"), ip_address(inside)]
    monkeypatch.setattr(targets, "look_up", lambda *_: found)
    service = to("https://api.sync.so")
    with pytest.raises(InvalidInputError, match=r"is the private address .* allowed_hosts of connection 'voice'"):
        service.run(download("https://files.example/x", Memory()))


def test_a_private_host_that_was_named_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    monkeypatch.setattr(
        transport.Transport, "_new_client", lambda _: httpx.Client(transport=httpx.MockTransport(answer))
    )
    service = to("https://api.sync.so", allowed_hosts="10.0.0.7\n.corp")
    for host in ("10.0.0.7", "minio.corp"):
        service.run(download(f"https://{host}/x", Memory()))
    assert [request.url.host for request in asked] == ["10.0.0.7", "minio.corp"]
