"""Streams of the local engine: formats, pace, voices, and memory that does not grow."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

pytest.importorskip("hibari")

from tests.emulator.engine.hearing import SPEECH_RATE, heard
from voice_provider.emulator.engine import Engine, EngineError
from voice_provider.emulator.engine.pitch import track_pitch

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "The harbour is quiet tonight. A single boat came home before the rain."
BIT_RATES = [("mp3", rate) for rate in (64_000, 128_000, 192_000)] + [
    ("opus", rate) for rate in (24_000, 32_000, 64_000)
]


def audio_of(engine: Engine, text: str = TEXT, voice: str | Path = "base", **how) -> bytes:
    return b"".join(piece.audio for piece in engine.stream([(voice, text)], **how))


def pitch(audio: bytes, form: str = "pcm", rate: int = SPEECH_RATE) -> float:
    found = track_pitch(heard(audio, form, rate).samples)
    return float(np.median(found[found > 0]))


@pytest.mark.parametrize(
    ("form", "rate"),
    [
        *(("pcm", rate) for rate in (8_000, 16_000, 24_000, 32_000, 44_100)),
        ("mp3", 32_000),
        ("mp3", 44_100),
        ("opus", 48_000),
    ],
)
def test_every_format_is_as_long_as_its_pieces_say(local: Engine, form: str, rate: int):
    pieces = list(local.stream([("base", TEXT)], form=form, rate=rate))
    sound = heard(b"".join(piece.audio for piece in pieces), form, rate)
    assert (sound.rate, sound.channels) == (rate, 1)
    assert sound.seconds == pytest.approx(sum(piece.seconds for piece in pieces), abs=0.08)
    assert pieces[0].audio
    assert "".join(piece.text for piece in pieces) == TEXT


@pytest.mark.parametrize(("form", "bit_rate"), BIT_RATES)
def test_a_bit_rate_is_kept(local: Engine, form: str, bit_rate: int):
    audio = audio_of(local, TEXT * 2, form=form, bit_rate=bit_rate)
    assert 8 * len(audio) / heard(audio, form).seconds == pytest.approx(bit_rate, rel=0.15)


def test_speed_keeps_the_pitch(local: Engine):
    seconds, pitches = [], []
    for speed in (0.5, 1.0, 2.0):
        audio = audio_of(local, form="pcm", rate=SPEECH_RATE, speed=speed)
        seconds.append(len(audio) / 2 / SPEECH_RATE)
        pitches.append(pitch(audio))
    assert seconds[0] == pytest.approx(2 * seconds[1], rel=0.15)
    assert seconds[2] == pytest.approx(seconds[1] / 2, rel=0.15)
    assert pitches == pytest.approx([pitches[1]] * 3, rel=0.08)


def test_volume_is_in_decibels(local: Engine):
    levels = []
    for volume in (-10.0, 0.0, 6.0):
        sound = heard(audio_of(local, form="pcm", rate=SPEECH_RATE, volume=volume), "pcm", SPEECH_RATE).samples
        levels.append(20 * np.log10(np.sqrt(np.mean(sound**2))))
    assert levels[1] - levels[0] == pytest.approx(10, abs=0.2)
    assert levels[2] - levels[1] == pytest.approx(6, abs=0.3)


def test_speakers_take_turns(local: Engine, learnt: Path):
    pieces = list(local.stream([("bright", TEXT), (learnt, TEXT), ("low", TEXT)], form="pcm", rate=SPEECH_RATE))
    by_speaker = [b"".join(piece.audio for piece in pieces[start : start + 2]) for start in (0, 2, 4)]
    assert all(higher > 1.1 * lower for higher, lower in pairwise(pitch(audio) for audio in by_speaker))


def test_what_cannot_be_said_is_left_out_if_there_is_something_else(local: Engine):
    pieces = list(local.stream([("base", "你好。Hello there.")], form="pcm"))
    assert [piece.text for piece in pieces] == ["Hello there.", ""]
    with pytest.raises(EngineError) as caught:
        audio_of(local, "你好。再见！", form="pcm")
    assert caught.value.code == "text_unspeakable"


def test_a_long_narration_streams_in_little_memory(local: Engine):
    text = "The bakery opens at six. And then they walked on along the river, past the mill. " * 344
    assert len(text) > 27_000
    process, size = psutil.Process(), 0
    stream = local.stream([("base", text)], form="mp3")
    next(stream)
    before = process.memory_info().rss
    for piece in stream:
        size += len(piece.audio)
        if size > 16_000 * 240:  # four minutes of speech, 23 MB of samples: enough to see it grow
            break
    assert size > 16_000 * 240
    assert process.memory_info().rss - before < 20 * 2**20
