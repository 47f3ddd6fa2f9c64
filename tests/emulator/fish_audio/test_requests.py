"""How Fish Audio refuses: shapes, headers, encodings, sizes, ordered faults (its contract, sections 1, 2, 12)."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgpack
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.emulator.customer import LINE, Customer, web
from tests.emulator.fish_audio.customer import FIELDS, FishCustomer
from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    from voice_provider.emulator.process import EmulatorHandle

MIB = 1024 * 1024


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": API_KEY}])
def test_a_bad_key_is_plain_text_on_the_platform_or_json_by_setting(voice_emulator, headers):
    def refused() -> httpx.Response:
        answer = web.get(f"{voice_emulator.url}/model/any", headers=headers)
        assert answer.status_code == 401
        return answer

    assert refused().text == "No permission -- see authorization schemes"
    assert refused().headers["content-type"].startswith("text/plain")
    voice_emulator.settings(fish_platform_401="json")
    assert refused().json() == {"status": 401, "message": "Invalid Token"}
    assert refused().headers["x-fish-error-code"] == "invalid_api_key"


def test_one_key_opens_both_services_each_in_its_own_way(voice_emulator, fish):
    assert fish.get("/model").status_code == 200
    assert fish.get("/v2/voices").status_code == 401
    with Customer(voice_emulator.url) as customer:
        assert customer.get("/v2/voices").status_code == 200
        assert customer.get("/model/any").status_code == 401
    connection = voice_emulator.connection(service="fish_audio", namespace="test")
    assert (connection["conn_type"], connection["password"]) == ("fish_audio", API_KEY)
    assert connection["extra"] == {"namespace": "test"}
    assert voice_emulator.connection()["conn_type"] == "sync_labs"
    assert [entry["has_key"] for entry in voice_emulator.requests("/model")] == [True, True]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/model/a/b", 404, "Nothing matches the given URI"),
        ("PUT", "/model", 405, "Specified method is invalid for this resource"),
        ("GET", "/wallet/nothing", 404, "Nothing matches the given URI"),
        ("GET", "/v1/nothing", 404, {"status": 404, "message": "Not Found"}),
        ("GET", "/v2/nothing", 404, {"message": "Cannot GET /v2/nothing", "statusCode": 404, "error": "Not Found"}),
        ("GET", "/models", 404, {"message": "Cannot GET /models", "statusCode": 404, "error": "Not Found"}),
    ],
)
def test_what_no_route_answers_is_answered_by_the_service_it_belongs_to(fish, method, path, status, body):
    answer = fish.request(method, path)
    assert answer.status_code == status
    assert (answer.text if isinstance(body, str) else answer.json()) == body


def test_every_answer_is_traced_and_tells_the_limit(fish, voice_emulator):
    voice_emulator.fault("html", "/model", status=502)
    answers = [fish.get(path) for path in ("/model", "/model", "/model/unknown", "/wallet/self/api-credit", "/v1/x")]
    assert [answer.status_code for answer in answers] == [502, 200, 404, 200, 404]
    assert all(re.fullmatch("[0-9a-f]{32}", answer.headers["x-fish-trace-id"]) for answer in answers)
    assert len({answer.headers["x-fish-trace-id"] for answer in answers}) == 5
    assert {answer.headers["ratelimit-limit-concurrency"] for answer in answers} == {"5"}
    assert {answer.headers["ratelimit-current-concurrency"] for answer in answers} == {"0"}
    assert "x-fish-trace-id" not in fish.get("/v2/errors").headers


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/msgpack", b"\xc1"),
        ("application/msgpack", msgpack.packb(FIELDS)[:-3]),
        ("application/msgpack", msgpack.packb([1])),
        ("application/msgpack", b""),
        ("application/x-www-form-urlencoded", b"\xff"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=x", b"no boundary at all"),
    ],
)
def test_a_body_that_cannot_be_parsed_is_told_in_plain_text(fish, kind, body):
    answer = fish.post("/model", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert answer.text.startswith("Failed to parse the request body")


@pytest.mark.parametrize("kind", ["text/plain", "audio/wav", ""])
def test_another_encoding_is_refused(fish, kind):
    answer = fish.post("/model", content=b"x", headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == 415


def test_json_cannot_carry_a_file(fish):
    for value in ("UklGRg==", {"path": "/etc/passwd", "size": 1, "head": "x"}):
        answer = fish.post("/model", json=FIELDS | {"voices": value})
        assert (answer.status_code, answer.json()[0]["loc"]) == (422, ["voices", "0"])


def test_too_large_a_body_is_refused_and_leaves_nothing(own_emulator, sample):
    own_emulator.settings(fish_max_upload_bytes=MIB)
    with FishCustomer(own_emulator.url) as fish:
        for packed in (False, True):
            if packed:
                body = msgpack.packb(FIELDS | {"voices": [bytes(3 * MIB)]})
                answer = fish.post("/model", content=body, headers={"Content-Type": "application/msgpack"})
            else:
                answer = fish.create(bytes(3 * MIB))
            assert answer.status_code == 413, packed
            assert fish.create(sample).status_code == 201
            assert list((own_emulator.data_dir / "files" / "tmp").iterdir()) == []


def test_a_large_upload_does_not_fill_the_memory(own_emulator, tmp_path):
    seconds, size = 3600, 3600 * 16_000
    clip = tmp_path / "long.wav"
    with clip.open("wb") as file:
        fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16_000, 2, 16)
        file.write(struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + fmt + struct.pack("<4sI", b"data", size))
        file.truncate(44 + size)
    own_emulator.settings(fish_max_total_seconds=2 * seconds)
    with FishCustomer(own_emulator.url) as fish:
        before = _peak(own_emulator.pid)
        with clip.open("rb") as file:
            answer = fish.post("/model", data=FIELDS, files={"voices": ("upload", file, "application/octet-stream")})
    assert answer.status_code == 201, answer.text
    assert _peak(own_emulator.pid) - before < 16 * MIB
    assert own_emulator.ledger()[0]["units"] == pytest.approx(seconds)


def _peak(pid: int) -> int:
    """The largest resident size so far, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


# Faults


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/model/x", 404, "Model not found"),
        ("/v1/tts", 402, "Insufficient API credit. "),
        ("/v1/asr", 429, "You have exceeded your current concurrency limit"),
        ("/wallet/self/api-credit", 401, "Invalid Token"),
        ("/model", 503, "Service Unavailable"),
    ],
)
def test_ordered_errors_have_the_shape_of_the_service(fish, voice_emulator, path, status, message):
    voice_emulator.fault("status", path, status=status)
    answer = fish.get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.json()["message"].startswith(message)
    codes = {401: "invalid_api_key", 402: "insufficient_balance"}
    assert answer.headers.get("x-fish-error-code") == codes.get(status)


def test_an_ordered_body_is_sent_as_it_is(fish, voice_emulator):
    voice_emulator.fault("status", "/model", status=429, body={"message": "slow down"}, headers={"Retry-After": "7"})
    answer = fish.get("/model")
    assert (answer.json(), answer.headers["retry-after"]) == ({"message": "slow down"}, "7")
    voice_emulator.fault("status", "/model*", status=401)
    assert fish.get("/model").text == "No permission -- see authorization schemes"


def test_a_create_whose_answer_is_lost_is_a_create(fish, sample, voice_emulator):
    voice_emulator.fault("drop_after", "/model", method="POST")
    with pytest.raises(httpx.TransportError):
        fish.create(sample)
    assert len(fish.titles(self=True)) == len(voice_emulator.ledger("clone")) == 1


def test_a_stream_is_cut_with_an_error_or_without_a_word(fish, voice_emulator):
    def speak() -> httpx.Response:
        return fish.post("/v1/tts", json={"text": LINE * 3, "format": "pcm"})

    whole = speak()
    assert "content-length" not in whole.headers
    voice_emulator.fault("truncate_clean", "/v1/tts", bytes=1000)
    assert speak().content == whole.content[:1000]
    voice_emulator.fault("truncate_clean", "/v1/tts")
    first = speak()
    assert (first.status_code, whole.content.startswith(first.content)) == (200, True)
    assert first.content
    voice_emulator.fault("truncate", "/v1/tts", bytes=1000)
    with pytest.raises(httpx.RemoteProtocolError):
        speak()
    voice_emulator.fault("empty", "/v1/tts")
    assert (speak().status_code, speak().content) == (200, whole.content)
    voice_emulator.fault("corrupt", "/v1/tts")
    assert len(speak().content) == len(whole.content)
    assert len(voice_emulator.ledger("speech")) == 7


@pytest.mark.parametrize(
    ("kind", "more", "frames", "code"),
    [
        ("truncate", {}, 1, 1006),
        ("truncate", {"bytes": 10}, 0, 1006),
        ("truncate_clean", {}, 1, 1000),
        ("drop_after", {}, 0, 1006),
        ("empty", {}, 0, 1000),
    ],
)
def test_a_live_socket_is_cut_after_so_many_frames(voice_emulator, kind, more, frames, code):
    voice_emulator.fault(kind, "/v1/tts/live", **more)
    got = []
    with live(voice_emulator) as socket:
        socket.send(msgpack.packb({"event": "start", "request": {"text": "", "format": "mp3"}}))
        with contextlib.suppress(ConnectionClosed):  # it may be cut before the last of these is sent
            for frame in ({"event": "text", "text": f"{LINE} "}, {"event": "flush"}, {"event": "stop"}):
                socket.send(msgpack.packb(frame))
        with contextlib.suppress(ConnectionClosedError):
            got.extend(msgpack.unpackb(frame)["event"] for frame in socket)
    assert got == ["audio"] * frames
    assert socket.close_code == code
    (request,) = voice_emulator.requests("/v1/tts/live")
    assert (request["status"], request["fault"]) == (101, kind)


def test_a_live_sockets_frames_can_be_garbled_or_late(voice_emulator):
    voice_emulator.fault("corrupt", "/v1/tts/live")
    with live(voice_emulator) as socket:
        socket.send(msgpack.packb({"event": "start", "request": {"text": LINE}}))
        socket.send(msgpack.packb({"event": "stop"}))
        assert socket.recv(timeout=10).startswith(b"this is not media")
    voice_emulator.fault("slow", "/v1/tts/live", seconds=0.2)
    began = time.monotonic()
    with live(voice_emulator):
        assert 0.2 <= time.monotonic() - began < 2


def live(emulator: EmulatorHandle) -> ClientConnection:
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    return connect(emulator.url.replace("http", "ws") + "/v1/tts/live", additional_headers=headers, proxy=None)


def test_a_live_sockets_handshake_can_be_refused(voice_emulator):
    voice_emulator.fault("status", "/v1/tts/live", status=402)
    with pytest.raises(InvalidStatus) as refused:
        live(voice_emulator)
    answer = refused.value.response
    assert (answer.status_code, answer.headers["x-fish-error-code"]) == (402, "insufficient_balance")
    assert json.loads(answer.body)["status"] == 402
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-fish-trace-id"])
    voice_emulator.fault("drop_before", "/v1/tts/live")
    with pytest.raises((InvalidMessage, OSError)):
        live(voice_emulator)
    first, second = voice_emulator.requests("/v1/tts/live")
    assert (first["method"], first["status"], first["fault"], first["has_key"]) == ("GET", 402, "status", True)
    assert (second["status"], second["fault"]) == (None, "drop_before")
