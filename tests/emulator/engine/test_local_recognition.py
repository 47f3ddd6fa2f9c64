"""Recognition of speech by the local engine: rough, but of real words."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("hibari")

from voice_provider.emulator.engine import Engine, EngineError
from voice_provider.emulator.engine.media import encode_speech, read_audio
from voice_provider.emulator.engine.recognition import align

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


def test_known_words_are_found_where_they_were_put(local: Engine, monkeypatch):
    """Words that were spoken one by one, with silence between them, as long as it takes."""
    pytest.importorskip("pocketsphinx")
    text, rate, at, parts, placed = "Bicycles, boats and thunder!", 24_000, 0.0, [], []
    for word, pause in zip(text.split(), (0.3, 0.7, 0.2, 0.5), strict=True):
        [sound, _] = [piece.audio for piece in local.stream([("base", word)], form="pcm", rate=rate)]
        samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32_768
        loud = np.nonzero(np.abs(samples) > 0.02 * np.abs(samples).max())[0]
        samples = samples[loud[0] : loud[-1]]
        parts += [np.zeros(int(pause * rate), np.float32), samples]
        placed.append((at + pause, at + pause + samples.size / rate))
        at += pause + samples.size / rate
    whole = np.concatenate([*parts, np.zeros(rate // 2, np.float32)])
    found = align(text, whole, rate)
    assert found is not None
    assert [word.text for word in found] == text.split()
    for word, (start, end) in zip(found, placed, strict=True):
        assert word.start == pytest.approx(start, abs=0.08)
        assert word.end == pytest.approx(end, abs=0.1)  # the last sound of a word dies away
    for unknown in ("Bicycles Zvyagintsev", "In 2026", "boats " * 400):
        assert align(unknown, whole, rate) is None
    monkeypatch.setattr("voice_provider.emulator.engine.recognition.find_spec", lambda name: None)
    assert align(text, whole, rate) is None


def test_after_known_words_unknown_ones_are_recognised_as_before(local: Engine, tmp_path: Path):
    pytest.importorskip("pocketsphinx")
    line = tmp_path / "line.mp3"
    local.speak("Please send the report to the office.", line)
    before = list(local.transcribe(line))
    align("thunder", read_audio(line, 16_000), 16_000)
    assert list(local.transcribe(line)) == before != []


def test_timed_speech_says_where_its_words_are(local: Engine):
    pytest.importorskip("pocketsphinx")
    text = "Every morning the old ferry carries bicycles across the wide river."
    for timed in (True, False):
        pieces = list(local.stream([("base", text)], form="pcm", timed=timed))
        words = [word for piece in pieces for word in piece.words]
        assert [word.text for word in words] == text.split()
        moments = [moment for word in words for moment in (word.start, word.end)]
        assert moments == sorted(moments)
        assert 0 <= moments[0] < moments[-1] <= sum(piece.seconds for piece in pieces)
