"""The storage host: presigned PUTs, ranges, expiry, and keys that have no business there (contract section 5)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from tests.emulator.customer import LINE, Customer, web
from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    import httpx

MIB = 1024 * 1024


def put(url: str, data: bytes = b"data", content_type: str = "audio/wav", **headers: str) -> httpx.Response:
    return web.put(url, content=data, headers={"Content-Type": content_type, **headers})


def test_storage_is_another_origin_than_the_api(voice_emulator, customer):
    grant = customer.presign()
    assert grant["uploadUrl"].startswith(voice_emulator.storage_url)
    assert voice_emulator.storage_url != voice_emulator.url
    assert web.get(f"{voice_emulator.storage_url}/v2/models").status_code == 404
    assert customer.get(urlsplit(grant["url"]).path).status_code == 404


def test_what_was_put_can_be_got_whole_and_in_part(customer, sample):
    url = customer.upload(sample, "a sample (1).wav")
    whole = web.get(url)
    assert whole.content == sample
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["content-length"] == str(len(sample))
    part = web.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, sample[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(sample)}"
    assert part.headers["etag"] == whole.headers["etag"]
    assert web.head(url).headers["content-length"] == str(len(sample))
    assert web.get(url, headers={"Range": f"bytes={len(sample)}-"}).status_code == 416


def test_file_names_are_kept_whatever_is_in_them_but_never_lead_elsewhere(customer, sample):
    for name in ("Grüße & 100% #1?.wav", "../../etc/passwd", "..\\x.wav", "名前.wav"):
        url = customer.upload(sample, name)
        assert web.get(url).content == sample
    assert "etc" not in customer.upload(sample, "../../etc/passwd")


def test_a_put_needs_the_declared_content_type(customer):
    answer = put(customer.presign()["uploadUrl"], content_type="video/mp4")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/xml"
    assert "<Code>SignatureDoesNotMatch</Code>" in answer.text


def test_a_put_needs_a_signature_of_ours(customer):
    url = customer.presign()["uploadUrl"]
    assert "AccessDenied" in put(url.partition("?")[0]).text
    assert "SignatureDoesNotMatch" in put(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=9999")).text
    assert put(url.replace("/uploads/", "/elsewhere/")).status_code == 403


def test_a_put_expires_by_the_emulators_clock(customer, voice_emulator):
    voice_emulator.settings(upload_url_seconds=60)
    grant = customer.presign()
    assert grant["expiresIn"] == 60
    voice_emulator.advance(61)
    answer = put(grant["uploadUrl"])
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


def test_a_put_refuses_chunked_bodies_and_missing_lengths(customer):
    url = customer.presign()["uploadUrl"]
    chunked = web.put(url, content=iter([b"da", b"ta"]), headers={"Content-Type": "audio/wav"})
    assert (chunked.status_code, "NotImplemented" in chunked.text) == (501, True)
    parts = urlsplit(url)
    request = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as raw:
        raw.sendall(request.encode())
        assert b"411 Length Required" in raw.recv(4096)


def test_half_an_upload_is_no_upload(customer, sample, voice_emulator):
    grant = customer.presign(size=len(sample))
    parts = urlsplit(grant["uploadUrl"])
    head = (
        f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
        f"Content-Length: {len(sample)}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port)) as raw:
        raw.sendall(head.encode() + sample[:1000])
    assert web.get(grant["url"]).status_code == 404
    answer = customer.post("/v2/assets", json={"url": grant["url"], "type": "AUDIO"})
    assert answer.json()["errorCode"] == "uploaded_file_not_found"


def test_a_key_that_reaches_storage_is_a_leak_that_is_remembered(customer, voice_emulator):
    url = customer.presign()["uploadUrl"]
    assert put(url, **{"x-api-key": API_KEY}).status_code == 200
    web.get(url.partition("?")[0], headers={"Authorization": "Bearer secret"})
    state = voice_emulator.state()
    assert state["key_leaks"] == 2
    assert [leak["header"] for leak in state["key_leak_list"]] == ["x-api-key", "authorization"]
    assert "secret" not in str(state)


def test_result_urls_are_signed_and_expire_but_asset_urls_last(customer, order, voice_emulator):
    asset_url = order["input"][0]["url"]
    job = customer.post("/v2/generate", json=order).json()
    result = customer.job(f"/v2/generate/{job['id']}")["outputUrl"]
    assert web.get(result).status_code == 200
    assert web.get(result.partition("?")[0]).status_code == 403
    voice_emulator.advance(3601)
    expired = web.get(result)
    assert (expired.status_code, "Request has expired" in expired.text) == (403, True)
    assert web.get(asset_url).status_code == 200
    fresh = customer.get(f"/v2/generate/{job['id']}").json()["outputUrl"]
    assert web.get(fresh).status_code == 200


def test_speech_urls_are_stable_unless_told_otherwise(customer, voice_emulator):
    body = {"voiceId": customer.builtin(), "script": LINE}
    stable = customer.post("/v2/tts", json=body).json()["url"]
    voice_emulator.settings(speech_urls="signed")
    signed = customer.post("/v2/tts", json=body).json()["url"]
    assert web.get(signed).status_code == 200
    assert web.get(signed.partition("?")[0]).status_code == 403
    voice_emulator.settings(speech_urls="stable")
    voice_emulator.advance(86400)
    assert web.get(stable).status_code == 200


def test_a_large_upload_keeps_the_memory_flat(own_emulator):
    size = 256 * MIB
    process = psutil.Process(own_emulator.pid)
    with Customer(own_emulator.url) as customer:
        customer.get("/v2/models")
        grant = customer.presign("big.mp4", "video/mp4", size)
        before = process.memory_info().rss
        block = bytes(MIB)
        peak = 0

        def body():
            nonlocal peak
            for _ in range(size // MIB):
                yield block
                peak = max(peak, process.memory_info().rss)

        headers = {"Content-Type": "video/mp4", "Content-Length": str(size)}
        assert web.put(grant["uploadUrl"], content=body(), headers=headers).status_code == 200
    assert peak - before < 24 * MIB
    assert web.head(grant["url"]).headers["content-length"] == str(size)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_storage_knows_no_other_methods(voice_emulator, method):
    assert web.request(method, f"{voice_emulator.storage_url}/uploads/a/b").status_code == 405
