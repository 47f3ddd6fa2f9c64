"""Speech as server-sent events: the sound is passed on as it comes, the words are kept."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from voice_provider.exceptions import ResultError
from voice_provider.services.fish_audio.events import MAX_EVENT, Events
from voice_provider.services.fish_audio.options import BRACKETS


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


def event(
    sound: bytes = b"", seq: int = 0, offset: float = 0.0, content: str = "", **words: tuple[float, float]
) -> bytes:
    segments = [{"text": word, "start": start, "end": end} for word, (start, end) in words.items()]
    alignment = {"audio_duration": 1.0, "segments": segments} if segments else None
    body = {
        "audio_base64": base64.b64encode(sound).decode(), "content": content, "chunk_seq": seq,
        "chunk_audio_offset_sec": offset, "alignment": alignment,
    }  # fmt: skip
    return f"data: {json.dumps(body)}\n\n".encode()


STREAM = (
    event(b"ab", content="Hi", Hi=(0, 0.5))
    + b": a comment\r\n\r\n"
    + event(b"cd", content="Hi [laugh] you.", Hi=(0, 0.4), **{"[laugh]": (0.4, 0.6), "you.": (0.6, 1.0)})
    + event(b"", content="Hi [laugh] you.")  # a snapshot of nothing new
    + event(b"ef", seq=1, offset=1.25, content="Bye.", **{"Bye.": (0.0, 0.5)})
)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_sound_is_passed_on_and_the_last_word_of_each_chunk_counts(size: int, ends: bytes) -> None:
    sink, stream = Memory(), STREAM.replace(b"\r\n", b"\n").replace(b"\n", ends)
    events = Events(sink)
    for start in range(0, len(stream), size):
        events.write(stream[start : start + size])
    assert (sink.data, events.position) == (b"abcdef", 6)
    found = events.end("fish_audio", BRACKETS)
    assert found.text == "Hi you. Bye."
    assert [(word.text, word.start, word.end) for word in found.words] == [
        ("Hi", 0.0, 0.4), ("you.", 0.6, 1.0), ("Bye.", 1.25, 1.75),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (STREAM[:-1], "within an event"),
        (STREAM[:-40], "within an event"),
        (b"data: {\n\n", "no JSON object"),
        (b"data: []\n\n", "no JSON object"),
        (b'data: {"audio_base64": "a"}\n\n', "no base64"),
        (b"x" * (MAX_EVENT + 1), "does not end"),
    ],
)
def test_a_stream_that_cannot_be_read_is_no_speech(stream: bytes, message: str) -> None:
    def read(events: Events) -> None:
        events.write(stream)
        events.end("fish_audio", BRACKETS)

    with pytest.raises(ResultError, match=message):
        read(Events(Memory()))


@pytest.mark.parametrize("odd", [None, 7, {"segments": 1}, {"segments": [{"text": "x"}]}])
def test_odd_words_do_not_lose_the_sound(odd: Any) -> None:
    sink = Memory()
    events = Events(sink)
    body = {"audio_base64": base64.b64encode(b"ab").decode(), "alignment": odd, "chunk_seq": "x"}
    events.write(f"data: {json.dumps(body)}\n\n".encode())
    assert sink.data == b"ab"
    assert events.end("fish_audio", BRACKETS).words == ()


def test_what_is_sent_again_from_the_beginning_is_received_once() -> None:
    sink = Memory()
    events = Events(sink)
    events.write(STREAM[:-30])
    events.restart()
    events.write(STREAM)
    assert sink.data == b"abcdef"
    assert len(events.end("fish_audio", BRACKETS).words) == 3
