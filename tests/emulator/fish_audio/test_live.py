"""Live speech of Fish Audio over a WebSocket (its contract, section 7)."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from voice_provider.emulator.process import EmulatorHandle

SENTENCES = ("Hello there, friend. ", "How are you today? ", "I am fine.")
TEXT = "".join(SENTENCES)
# What the official SDK sends, nulls and all.
REQUEST = {
    "text": "",
    "references": [],
    "reference_id": None,
    "format": "pcm",
    "sample_rate": None,
    "mp3_bitrate": 128,
    "opus_bitrate": 32,
    "normalize": True,
    "chunk_length": 200,
    "latency": "balanced",
    "prosody": None,
}


class Socket:
    """Speaks in events."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, event: str, **fields: Any) -> None:
        self.connection.send(msgpack.packb({"event": event} | fields))

    def start(self, **fields: Any) -> None:
        self.send("start", request=REQUEST | fields)

    def receive(self, seconds: float = 10) -> dict[str, Any]:
        frame = self.connection.recv(seconds)
        assert isinstance(frame, bytes)
        return msgpack.unpackb(frame)

    def rest(self) -> list[dict[str, Any]]:
        """Every event until the server closes."""
        found = []
        while True:
            try:
                found.append(self.receive())
            except ConnectionClosed:
                return found


@pytest.fixture
def live(voice_emulator: EmulatorHandle) -> Callable[..., Any]:
    @contextmanager
    def opened(path: str = "", key: str = API_KEY, **headers: str) -> Iterator[Socket]:
        url = f"ws{voice_emulator.url.removeprefix('http')}/v1/tts/live{path}"
        with connect(url, additional_headers={"Authorization": f"Bearer {key}"} | headers, proxy=None) as connection:
            yield Socket(connection)

    return opened


def audio_of(events: list[dict[str, Any]]) -> bytes:
    return b"".join(event["audio"] for event in events if event["event"] == "audio")


def test_text_goes_in_word_by_word_and_sentences_come_out(live, fish, voice_emulator):
    with live(model="s2-pro") as socket:
        assert socket.connection.response.headers["x-emulator-model"] == "s2-pro"
        socket.start()
        for word in TEXT.split(" "):
            socket.send("text", text=f"{word} ")
        socket.send("stop")
        events = socket.rest()
    *audio, finish = events
    assert [event["event"] for event in audio] == ["audio"] * 3
    assert (finish["event"], finish["reason"]) == ("finish", "stop")
    assert audio_of(audio) == fish.post("/v1/tts", json={"text": f"{TEXT} ", "format": "pcm"}).content
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    bills = voice_emulator.ledger("speech")
    assert [bill["units"] for bill in bills] == [len(TEXT) + 1] * 2


@pytest.mark.parametrize(("form", "magic"), [("mp3", (b"ID3", b"\xff\xfb")), ("wav", (b"RIFF",)), ("opus", (b"OggS",))])
def test_the_audio_of_all_events_is_one_file(live, form, magic):
    with live() as socket:
        socket.start(format=form, opus_bitrate=32_000)
        socket.send("text", text=TEXT)
        socket.send("stop")
        audio = audio_of(socket.rest())
    assert audio.startswith(magic)
    assert audio.count(b"RIFF") + audio.count(b"OpusHead") + audio.count(b"ID3") <= 1


def test_a_sentence_is_said_when_it_is_complete_and_a_flush_does_not_wait(live):
    with live() as socket:
        socket.start(text="Hello there. ")
        socket.send("text", text="How ")
        assert len(socket.receive()["audio"]) == pytest.approx(len("Hello there. ") / 15 * 88_200, abs=4)
        socket.send("text", text="are you")
        with pytest.raises(TimeoutError):
            socket.receive(0.3)
        socket.send("flush")
        assert len(socket.receive()["audio"]) == pytest.approx(len("How are you") / 15 * 88_200, abs=4)
        socket.send("flush")
        socket.send("unheard_of")
        socket.send("stop")
        assert [event["event"] for event in socket.rest()] == ["finish"]


def test_without_text_there_is_nothing_but_the_end(live, voice_emulator):
    with live() as socket:
        socket.start()
        socket.send("stop")
        (finish,) = socket.rest()
    assert (finish["event"], finish["reason"]) == ("finish", "stop")
    assert voice_emulator.ledger() == []


def test_speakers_and_directions_may_span_events(live, fish, sample, recording):
    voices = [fish.model(sample)["_id"], fish.model(recording(4))["_id"]]
    text = "<|speaker:1|>One sentence. [laugh] Another one. <|speaker:0|>A third one."
    with live() as socket:
        socket.start(reference_id=voices)
        for part in text.split("sentence"):
            socket.send("text", text=part if part.startswith("<|speaker:1") else f"sentence{part}")
        socket.send("stop")
        audio = audio_of(socket.rest())
    parts = [("One sentence. ", voices[1]), (" Another one. ", voices[1]), ("A third one.", voices[0])]
    alone = [
        fish.post("/v1/tts", json={"text": said, "reference_id": voice, "format": "pcm"}).content
        for said, voice in parts
    ]
    assert audio == b"".join(alone)


def test_timestamps_come_along_and_another_start_may_follow(live):
    with live("/with-timestamp") as socket:
        for _ in range(2):
            socket.start()
            socket.send("text", text=TEXT)
            socket.send("stop")
            events = []
            while not events or events[-1]["event"] != "finish":
                events.append(socket.receive())
            said = [event for event in events[:-1] if event["alignment"]]
            assert said[-1]["content"] == TEXT
            assert " ".join(word["text"] for word in said[-1]["alignment"]["segments"]) == TEXT
            assert said[-1]["alignment"]["audio_duration"] == pytest.approx(len(TEXT) / 15, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference_id": "0" * 32}, "Reference not found"),
        ({"format": "flac"}, "unknown variant `flac`"),
        ({"text": None}, "text"),
    ],
)
def test_a_bad_start_ends_in_an_error(live, fields, message, voice_emulator):
    with live() as socket:
        socket.start(**fields)
        (error,) = socket.rest()
    assert error.keys() == {"event", "error"}
    assert error["event"] == "error"
    assert message in error["error"]
    assert voice_emulator.ledger() == []


@pytest.mark.parametrize("frame", [b"\xc1", b"\x01", "text", msgpack.packb({"event": "text", "text": "too early"})])
def test_a_frame_that_makes_no_sense_ends_in_an_error(live, frame):
    with live() as socket:
        socket.connection.send(frame)
        (error,) = socket.rest()
    assert error["event"] == "error"


def test_a_speech_that_goes_wrong_finishes_in_an_error(live):
    with live() as socket:
        socket.start()
        socket.connection.send(b"\xc1")
        (finish,) = socket.rest()
    assert (finish["event"], finish["reason"]) == ("finish", "error")
    assert "MessagePack" in finish["message"]


def refused(opening: Any) -> tuple[int, dict[str, Any], Any]:
    with pytest.raises(InvalidStatus) as caught, opening:
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body), response.headers


def test_a_handshake_is_refused_in_plain_http(live, voice_emulator):
    status, body, headers = refused(live(key="wrong"))
    assert (status, body) == (401, {"status": 401, "message": "Invalid Token"})
    assert len(headers["x-fish-trace-id"]) == 32
    voice_emulator.settings(fish_credit_usd=0)
    status, body, headers = refused(live())
    assert (status, headers["x-fish-error-code"]) == (402, "insufficient_balance")
    with live(model="s2.1-pro-free") as socket:
        socket.start(text=TEXT)
        socket.send("stop")
        assert audio_of(socket.rest())


def test_a_live_socket_holds_a_slot(live, fish, voice_emulator):
    voice_emulator.settings(fish_concurrency=1)
    with live() as socket:
        socket.start()
        assert fish.post("/v1/tts", json={"text": TEXT}).status_code == 429
        with live() as second:
            (error,) = second.rest()
        assert error == {"event": "error", "error": "Concurrency limit exceeded", "max_concurrency": 1}
    deadline = time.monotonic() + 10
    while fish.post("/v1/tts", json={"text": TEXT}).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_goes_away_pays_for_what_was_said(live, fish, voice_emulator):
    with live() as socket:
        socket.start(text="Hello there. How ")
        socket.receive()
    deadline = time.monotonic() + 10
    while not (bills := voice_emulator.ledger()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert bills[0]["units"] == len("Hello there. ")
    assert fish.get("/model").headers["ratelimit-current-concurrency"] == "0"


def test_the_first_audio_and_the_end_can_take_their_time(live, voice_emulator):
    voice_emulator.settings(fish_tts_first_byte_seconds=0.4, fish_speech_seconds=0.8)
    with live() as socket:
        started = time.monotonic()
        socket.start(text=TEXT)
        socket.receive()
        assert time.monotonic() - started >= 0.4
        socket.send("stop")
        socket.rest()
        assert time.monotonic() - started >= 0.8


def test_neither_text_nor_key_is_in_the_log(fish, voice_emulator, logged):
    url = f"ws{voice_emulator.url.removeprefix('http')}/v1/tts/live"
    with connect(url, additional_headers={"Authorization": f"Bearer {API_KEY}"}, proxy=None) as connection:
        socket = Socket(connection)
        socket.start(text="a very secret sentence")
        socket.send("stop")
        assert socket.rest()
    fish.post("/v1/tts", json={"text": "another secret"})
    log = logged()
    assert "Speech of 22 bytes" in log
    assert "secret" not in log
    assert API_KEY not in log
