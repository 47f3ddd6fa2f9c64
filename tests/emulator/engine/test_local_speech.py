"""The local engine's voices: what can be learnt, how near the copy comes, and what can be said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("hibari")

from tests.emulator.engine.footage import footage
from tests.emulator.engine.measure import pitch_of, sound_of
from voice_provider.emulator.engine import Engine, EngineError, load, voice
from voice_provider.emulator.engine.encoder import ENCODINGS
from voice_provider.emulator.engine.media import encode_speech
from voice_provider.emulator.engine.pitch import RATE
from voice_provider.emulator.engine.profile import VoiceProfile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "The harbour is quiet tonight. A single boat came home before the rain."


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as caught:
        call()
    assert str(caught.value).endswith(".")
    return caught.value.code


def recording(path: Path, samples: np.ndarray) -> Path:
    encode_speech([samples.astype(np.float32)], RATE, path, "wav")
    return path


def test_looking_for_the_engine_loads_no_heavy_package():
    code = (
        "import sys, voice_provider.emulator.engine;"
        "print([m for m in ('numpy', 'av', 'cv2', 'hibari', 'onnxruntime') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_engine_leaves_no_id_of_its_telemetry(tmp_path: Path):
    # The file is made by what also looks its makers' host up; a trace of the network is in the system tests.
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    code = "from voice_provider.emulator.engine.voice import Hibari; Hibari(threads=1)"
    subprocess.check_call([sys.executable, "-c", code], env={**environment, "TMPDIR": str(tmp_path)})
    assert not list(tmp_path.iterdir())


def test_local_is_what_auto_finds_and_there_is_one_of_it(local: Engine):
    assert load() is load("local") is local
    assert (local.name, local.speech_format) == ("local", "mp3")
    assert set(local.builtin_voices) == {"base", "low", "bright"}


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("pitch", [118, 164, 225])
def test_a_copy_has_the_pitch_of_its_speaker(local: Engine, pitch: int, tmp_path: Path):
    speaker = voice.calibrated(VoiceProfile.shaped(pitch, 0.17, 0.8 + (pitch - 118) / 450, -0.3), float(np.log(pitch)))
    speaker.save(tmp_path / "speaker")
    said = f"{TEXT} Every morning we count the bicycles, and every evening one of them is gone."
    local.speak(said, tmp_path / "sample.mp3", voice=tmp_path / "speaker")
    local.learn_voice([tmp_path / "sample.mp3"], tmp_path / "copy")
    local.speak("Good evening, and welcome to the news.", tmp_path / "line.mp3", voice=tmp_path / "copy")
    assert pitch_of(tmp_path / "line.mp3") == pytest.approx(pitch_of(tmp_path / "sample.mp3"), rel=0.08)


def test_the_sound_of_a_video_is_a_sample(clips: tuple[Path, Path], line: Path):
    assert pitch_of(line) == pytest.approx(pitch_of(clips[0]), rel=0.08)


def test_samples_that_are_too_short_are_long_enough_together(local: Engine, line: Path, tmp_path: Path):
    spoken = sound_of(line)[4000:]
    parts = []
    for number in range(4):
        parts.append(tmp_path / f"{number}.wav")
        encode_speech([spoken[number * 12_000 : (number + 1) * 12_000]], 16_000, parts[-1], "wav", 16_000)
    assert refusal(lambda: local.learn_voice(parts[:1], tmp_path / "voice")) == "sample_too_short"
    assert not (tmp_path / "voice").exists()
    local.learn_voice(parts, tmp_path / "voice")
    local.speak("Hello.", tmp_path / "hello.mp3", voice=tmp_path / "voice")


def test_a_long_sample_is_listened_to_up_to_the_limit(local: Engine, line: Path, tmp_path: Path):
    assert refusal(lambda: local.learn_voice([line], tmp_path / "voice", max_seconds=0.5)) == "sample_too_short"


@pytest.mark.parametrize("level", [0.0, 1e-6, 0.1])
def test_silence_and_noise_are_no_voice(local: Engine, level: float, tmp_path: Path):
    sample = recording(tmp_path / "noise.wav", level * np.random.default_rng(0).normal(size=3 * RATE))
    assert refusal(lambda: local.learn_voice([sample], tmp_path / "voice")) == "sample_has_no_voice"


def test_what_has_no_sound_or_is_no_media_is_no_sample(local: Engine, tmp_path: Path):
    footage(tmp_path / "silent.mp4", frames=3)
    (tmp_path / "notes.mp4").write_text("not a video at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    assert refusal(lambda: local.learn_voice([tmp_path / "silent.mp4"], tmp_path / "voice")) == "no_audio"
    assert refusal(lambda: local.learn_voice([tmp_path / "notes.mp4"], tmp_path / "voice")) == "not_media"
    assert refusal(lambda: local.learn_voice([tmp_path / "empty.wav"], tmp_path / "voice")) == "not_media"
    assert refusal(lambda: local.learn_voice([], tmp_path / "voice")) == "bad_input"


def test_a_profile_that_is_missing_or_something_else_is_refused(
    local: Engine, learnt: Path, line: Path, tmp_path: Path
):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half").write_bytes(learnt.read_bytes()[:5000])
    for profile in (tmp_path / "missing", tmp_path / "empty", tmp_path / "half", line, "nobody"):
        assert refusal(lambda chosen=profile: local.speak("hello", tmp_path / "a.mp3", voice=chosen)) == "bad_input"
    assert not (tmp_path / "a.mp3").exists()


# ---------------------------------------------------------------- speaking


def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(
    local: Engine, learnt: Path, tmp_path: Path
):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        local.speak(TEXT, tmp_path / name, voice=learnt, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_similarity_goes_from_the_base_voice_to_the_copy(local: Engine, learnt: Path, tmp_path: Path):
    local.speak(TEXT, tmp_path / "base.mp3")
    pitches = []
    for similarity in (0.0, 0.4, 0.75, 1.0):
        local.speak(TEXT, tmp_path / f"{similarity}.mp3", voice=learnt, similarity=similarity)
        pitches.append(pitch_of(tmp_path / f"{similarity}.mp3"))
    assert pitches[0] == pytest.approx(pitch_of(tmp_path / "base.mp3"), rel=0.02)
    assert pitches[0] > pitches[1] > pitches[2]
    assert (tmp_path / "0.75.mp3").read_bytes() == (tmp_path / "1.0.mp3").read_bytes()


def test_the_built_in_voices_differ_and_are_equally_loud(local: Engine, tmp_path: Path):
    pitches, levels = [], []
    for name in ("low", "base", "bright"):
        local.speak(TEXT, tmp_path / name, voice=name)
        pitches.append(pitch_of(tmp_path / name))
        levels.append(float(np.sqrt(np.mean(sound_of(tmp_path / name) ** 2))))
    assert all(higher > 1.1 * lower for lower, higher in pairwise(pitches))
    assert max(levels) < 1.4 * min(levels)


@pytest.mark.parametrize("text", ["", " \n\t", "?!", "...", "—", "Привет, мир", "你好", "🙂"])
def test_a_text_without_an_english_word_is_refused(local: Engine, text: str, tmp_path: Path):
    assert refusal(lambda: local.speak(text, tmp_path / "a.mp3")) == "text_unspeakable"
    assert not (tmp_path / "a.mp3").exists()


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "7",
        "On 3.5.2026 we sold 1,234 loaves for $99.",
        "Zoë's naïve café",
        "Hello 你好 world",
        "x" * 1200,
        "\0hi\x07",
    ],
)
def test_odd_texts_are_spoken(local: Engine, text: str, tmp_path: Path):
    seconds = local.speak(text, tmp_path / "a.mp3")
    assert seconds > 0.1
    assert sound_of(tmp_path / "a.mp3").size / 16_000 == pytest.approx(seconds, abs=0.03)


def test_five_thousand_characters_need_little_memory_also_without_punctuation(
    local: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # To make an MP3 of it takes as long as all the rest, and the memory of that is not counted here.
    monkeypatch.setitem(ENCODINGS, "mp3", ENCODINGS["wav"])
    text = "The bakery opens at six. " * 60 + "and then they walked on " * 150
    assert len(text) > 5000
    local.speak("Hello.", tmp_path / "first.mp3")  # what the engine itself takes is not the text's
    started = time.monotonic()
    tracemalloc.start()
    try:
        seconds = local.speak(text, tmp_path / "long.mp3")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds > 200
    assert peak < 120 * 2**20
    assert time.monotonic() - started < 60
