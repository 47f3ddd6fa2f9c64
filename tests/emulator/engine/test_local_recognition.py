"""Recognition of speech by the local engine: rough, but of real words."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("hibari")

from voice_provider.emulator.engine import Engine, EngineError
from voice_provider.emulator.engine.media import encode_speech, read_audio

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (
    "Hello, and welcome to the studio. I have been reading the evening news here for eleven years. "
    "Please send the report to the office before noon on Friday. "
    "Some stories are long, some are short, and a few of them are even good news."
)


def words_of(text: str) -> list[str]:
    return "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split()


def test_most_words_are_right_and_where_they_were_said(local: Engine, tmp_path: Path):
    pytest.importorskip("pocketsphinx")
    seconds = local.speak(TEXT, tmp_path / "speech.mp3")
    phrases = local.transcribe(tmp_path / "speech.mp3")
    heard = " ".join(phrase.text for phrase in phrases)
    assert SequenceMatcher(None, words_of(TEXT), words_of(heard)).ratio() > 0.75
    moments = [moment for phrase in phrases for moment in (phrase.start, phrase.end)]
    assert moments == sorted(moments)
    assert moments[-1] == pytest.approx(seconds, abs=1)
    assert len(phrases) >= seconds / 14  # long recordings are cut, at their pauses


def test_silence_says_nothing(local: Engine, tmp_path: Path):
    encode_speech([np.zeros(48_000, np.float32)], 24_000, tmp_path / "silence.wav", "wav")
    assert list(local.transcribe(tmp_path / "silence.wav")) == []


def test_without_the_recogniser_it_is_honestly_nothing(local: Engine, line: Path, monkeypatch):
    monkeypatch.setattr("voice_provider.emulator.engine.recognition.find_spec", lambda name: None)
    assert list(local.transcribe(line)) == []


def test_what_is_no_sound_is_refused(local: Engine, tmp_path: Path):
    (tmp_path / "notes.wav").write_text("not a recording at all")
    with pytest.raises(EngineError):
        local.transcribe(tmp_path / "notes.wav")


def test_a_wav_file_with_a_placeholder_for_its_size_can_be_read(local: Engine, tmp_path: Path):
    path = tmp_path / "stream.wav"
    encode_speech([np.full(48_000, 0.1, np.float32)], 24_000, path, "wav", 24_000)
    whole = path.read_bytes()
    size = whole.index(b"data") + 4
    path.write_bytes(
        whole[:4]
        + (4_294_967_076).to_bytes(4, "little")
        + whole[8:size]
        + (4_294_967_040).to_bytes(4, "little")
        + whole[size + 4 :]
    )
    assert local.probe(path).seconds == pytest.approx(2, abs=0.01)
    assert read_audio(path, 24_000).size == pytest.approx(48_000, abs=100)
