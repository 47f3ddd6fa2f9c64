"""Streams of the placeholder engine."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from voice_provider.emulator.engine import Engine, EngineError, load
from voice_provider.emulator.engine.sentences import sentences
from voice_provider.emulator.engine.tone import STREAMED

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "The harbour is quiet tonight. Dr. Smith saw a boat, too: 3.5 tons of fish!"
FORMS = [
    *(("mp3", rate) for rate in (44_100, 32_000)),
    ("opus", 48_000),
    *(("pcm", rate) for rate in (44_100, 8_000, 16_000, 24_000, 32_000)),
]
BIT_RATES = {"mp3": (64_000, 128_000, 192_000), "opus": (None, 24_000, 64_000), "pcm": (None,)}


@pytest.fixture
def engine() -> Engine:
    return load("tone")


def audio_of(engine: Engine, text: str = TEXT, **how) -> bytes:
    return b"".join(piece.audio for piece in engine.stream([("base", text)], **how))


@pytest.mark.parametrize(("form", "rate"), FORMS)
def test_every_format_decodes_to_the_right_length(engine, form: str, rate: int):
    from tests.emulator.engine.hearing import heard

    for bit_rate in BIT_RATES[form]:
        sound = heard(audio_of(engine, form=form, rate=rate, bit_rate=bit_rate), form, rate)
        assert (sound.rate, sound.channels) == (rate, 1)
        assert sound.seconds == pytest.approx(len(TEXT) / 15, abs=0.08)
        assert abs(sound.samples).max() > 0.1


def test_streams_need_no_heavy_package():
    code = (
        "import sys\n"
        "for name in ('numpy', 'cv2', 'hibari'): sys.modules[name] = None\n"
        "import voice_provider.emulator.engine as e\n"
        "for form in ('mp3', 'opus', 'pcm'):\n"
        "    print(len(b''.join(p.audio for p in e.load('tone').stream([('base', 'Hello there.')], form=form))) > 100)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True"] * 3


def test_speed_and_volume(engine):
    plain = audio_of(engine, form="pcm")
    assert len(audio_of(engine, form="pcm", speed=2.0)) == pytest.approx(len(plain) / 2, rel=0.01)
    quiet = audio_of(engine, form="pcm", volume=-20.0)
    assert len(quiet) == len(plain)
    assert max(memoryview(quiet).cast("h")) == pytest.approx(max(memoryview(plain).cast("h")) / 10, abs=2)


def test_each_part_has_its_voice_and_pieces_are_the_text(engine):
    parts = [("low", "One sentence. And another one."), ("bright", "A third.")]
    pieces = list(engine.stream(parts, form="pcm"))
    assert "".join(piece.text for piece in pieces) == "".join(text for _, text in parts)
    assert [piece.text for piece in pieces] == ["One sentence. ", "And another one.", "A third.", ""]
    assert sum(piece.seconds for piece in pieces) == pytest.approx(sum(len(piece.audio) for piece in pieces) / 88_200)


def test_an_iterator_may_have_nothing_to_say_yet(engine):
    said = iter([("base", "First."), None, ("base", "Second."), None])
    pieces = list(engine.stream(said, form="pcm"))
    assert [piece.text for piece in pieces] == ["First.", "", "Second.", "", ""]
    assert [bool(piece.audio) for piece in pieces] == [True, False, True, False, False]


def test_without_parts_there_is_a_moment_of_silence(engine):
    for form in STREAMED:
        assert b"".join(piece.audio for piece in engine.stream([], form=form))
    assert audio_of(engine, "", form="pcm") == bytes(8820)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"form": "midi"}, "bad_input"),
        ({"form": "mp3", "rate": 22_050}, "bad_input"),
        ({"form": "pcm", "text": "?!"}, "text_unspeakable"),
    ],
)
def test_what_cannot_be_streamed_is_refused(engine, how: dict, code: str):
    with pytest.raises(EngineError) as caught:
        audio_of(engine, **how)
    assert caught.value.code == code


def test_an_unknown_voice_is_refused(engine, tmp_path: Path):
    with pytest.raises(EngineError):
        list(engine.stream([(tmp_path / "missing", "Hello.")], form="pcm"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Hello", 1),
        ("Hello. Is it you? Yes!", 3),
        ("Mr. Smith met Dr. J. Jones at St. Ives. Then he left.", 2),
        ("It costs 3.50 dollars, i.e. too much.", 1),
        ("One\n\nTwo\nThree", 3),
        ("你好。再见！", 2),
        ("word " * 200, 4),
        ("x" * 700, 3),
    ],
)
def test_sentences_are_the_text_again(text: str, count: int):
    pieces = list(sentences(text))
    assert "".join(pieces) == text
    assert len(pieces) == count
    assert all(len(piece) <= 300 for piece in pieces)
