"""The placeholder engine, which the fast tests of everything else stand on."""

from __future__ import annotations

import subprocess
import sys
import wave
from typing import TYPE_CHECKING

import pytest

from tests.conftest import length_of
from voice_provider.emulator.engine import Engine, EngineError, Segment, load
from voice_provider.emulator.engine.tone import ToneEngine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def engine() -> Engine:
    return load("tone")


@pytest.fixture
def speech(engine, tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    engine.speak("a" * 45, path)
    return path


@pytest.fixture
def video(engine, speech: Path, tmp_path: Path) -> Path:
    """A readable MP4 of 3 s; the engine itself can make one out of a picture."""
    (tmp_path / "card.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8) + (640).to_bytes(4) + (360).to_bytes(4))
    engine.lip_sync(tmp_path / "card.png", tmp_path / "video.mp4", audio=speech)
    return tmp_path / "video.mp4"


def test_importing_the_engines_loads_no_heavy_package():
    code = (
        "import sys, voice_provider.emulator.engine as e; e.load('tone');"
        "print([m for m in ('numpy', 'av', 'cv2', 'hibari', 'onnxruntime') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_auto_falls_back_to_tone_where_a_package_is_missing(monkeypatch):
    monkeypatch.setattr("voice_provider.emulator.engine.find_spec", lambda name: None)
    assert load().name == "tone"
    with pytest.raises(ModuleNotFoundError, match=r"airflow-provider-voice\[local\]"):
        load("local")


def test_speech_is_as_long_as_the_text_and_voices_differ(engine, tmp_path: Path):
    seconds = engine.speak("x" * 150, tmp_path / "a.wav")
    engine.speak("x" * 150, tmp_path / "b.wav", voice="low")
    assert seconds == pytest.approx(10)
    assert length_of(tmp_path / "a.wav") == pytest.approx(10)
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()
    assert engine.speak("x", tmp_path / "c.wav") == pytest.approx(0.3)


@pytest.mark.parametrize("text", ["", " \n", "?!"])
def test_a_text_without_a_word_is_refused(engine, text: str, tmp_path: Path):
    with pytest.raises(EngineError) as caught:
        engine.speak(text, tmp_path / "a.wav")
    assert caught.value.code == "text_unspeakable"


def test_an_unknown_voice_is_refused(engine, tmp_path: Path):
    for voice in ("nobody", tmp_path / "missing.json"):
        with pytest.raises(EngineError) as caught:
            engine.speak("hello", tmp_path / "a.wav", voice=voice)
        assert caught.value.code == "bad_input"


def test_a_learnt_voice_has_a_pitch_of_its_own(engine, speech: Path, video: Path, tmp_path: Path):
    engine.learn_voice([speech], tmp_path / "one.json")
    engine.learn_voice([video], tmp_path / "two.json")
    for name in ("one", "two"):
        engine.speak("hello there", tmp_path / f"{name}.wav", voice=tmp_path / f"{name}.json")
    assert (tmp_path / "one.wav").read_bytes() != (tmp_path / "two.wav").read_bytes()


def test_samples_that_cannot_be_learnt_from(engine, tmp_path: Path):
    (tmp_path / "notes.mp4").write_text("not a video at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "card.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    engine.speak("short", tmp_path / "short.wav")
    for name, code in {
        "notes.mp4": "not_media",
        "empty.wav": "not_media",
        "card.png": "no_audio",
        "short.wav": "sample_too_short",
    }.items():
        with pytest.raises(EngineError) as caught:
            engine.learn_voice([tmp_path / name], tmp_path / "voice.json")
        assert caught.value.code == code
    with pytest.raises(EngineError, match="No sample"):
        engine.learn_voice([], tmp_path / "voice.json")
    engine.learn_voice([tmp_path / "short.wav"] * 5, tmp_path / "voice.json")  # together they are long enough


@pytest.mark.parametrize(
    ("mode", "seconds"), [("bounce", 9), ("loop", 9), ("cut_off", 3), ("silence", 9), ("remap", 9)]
)
def test_lip_sync_is_as_long_as_the_mode_says(engine, video: Path, tmp_path: Path, mode: str, seconds: float):
    engine.speak("x" * 135, tmp_path / "long.wav")
    done: list[float] = []
    result = engine.lip_sync(
        video, tmp_path / "out.mp4", audio=tmp_path / "long.wav", sync_mode=mode, progress=done.append
    )
    assert result.seconds == pytest.approx(seconds)
    assert length_of(tmp_path / "out.mp4") == pytest.approx(seconds, abs=0.01)
    assert (tmp_path / "out.mp4").read_bytes()[4:8] == b"ftyp"
    assert done[-1] == 1


def test_lip_sync_with_segments_keeps_the_length_of_the_video(engine, speech: Path, video: Path, tmp_path: Path):
    result = engine.lip_sync(video, tmp_path / "out.mp4", segments=[Segment(1, 2, speech)])
    assert result.seconds == pytest.approx(3, abs=0.01)
    for bad in ([Segment(2, 9, speech)], [Segment(0, 2, speech), Segment(1, 3, speech)], [Segment(1, 1, speech)]):
        with pytest.raises(EngineError) as caught:
            engine.lip_sync(video, tmp_path / "out.mp4", segments=bad)
        assert caught.value.code == "bad_segments"


def test_lip_sync_wants_one_picture_and_one_driver(engine, speech: Path, video: Path, tmp_path: Path):
    for arguments in (
        {"audio": speech, "segments": [Segment(0, 1, speech)]},
        {},
        {"audio": speech, "sync_mode": "backwards"},
    ):
        with pytest.raises(EngineError) as caught:
            engine.lip_sync(video, tmp_path / "out.mp4", **arguments)
        assert caught.value.code == "bad_input"
    with pytest.raises(EngineError):
        engine.lip_sync(speech, tmp_path / "out.mp4", audio=speech)


def test_probe_goes_by_the_bytes(engine, speech: Path, video: Path, tmp_path: Path):
    (speech.parent / "speech.mp3").write_bytes(speech.read_bytes())
    info = engine.probe(speech.parent / "speech.mp3")
    assert (info.kind, info.format, info.has_audio) == ("audio", "wav", True)
    assert info.seconds == pytest.approx(3)
    info = engine.probe(video)
    assert (info.kind, info.format, info.has_audio, info.width, info.height) == ("video", "mp4", True, 320, 180)


def test_probe_forgives_a_tiny_mp4_that_nothing_could_play(tmp_path: Path):
    (tmp_path / "tiny.mp4").write_bytes(b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00")
    info = ToneEngine().probe(tmp_path / "tiny.mp4")
    assert (info.kind, info.seconds) == ("video", None)


@pytest.mark.parametrize(
    ("head", "kind", "name"),
    [
        (b"ID3\x04", "audio", "mp3"),
        (b"\xff\xfb\x90\x64", "audio", "mp3"),
        (b"\xff\xf1\x50\x80", "audio", "aac"),
        (b"fLaC", "audio", "flac"),
        (b"OggS" + bytes(24) + b"OpusHead", "audio", "opus"),
        (b"OggS" + bytes(24) + b"\x01vorbis", "audio", "ogg"),
        (b"\x1aE\xdf\xa3" + bytes(20) + b"webm", "video", "webm"),
        (b"\x00\x00\x00\x14ftypqt  ", "video", "mov"),
        (b"\x00\x00\x00\x14ftypM4A ", "audio", "m4a"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image", "webp"),
        (b"\xff\xd8\xff\xe0", "image", "jpeg"),
    ],
)
def test_probe_knows_the_usual_formats(engine, head: bytes, kind: str, name: str, tmp_path: Path):
    (tmp_path / "file").write_bytes(head + bytes(64))
    info = engine.probe(tmp_path / "file")
    assert (info.kind, info.format) == (kind, name)


@pytest.mark.parametrize("head", [b"", b"hello", b"\xff\xfeh\x00i\x00", b"<html>", b"\xff\xff\xff\xff"])
def test_probe_refuses_what_is_not_media(engine, head: bytes, tmp_path: Path):
    (tmp_path / "file.mp4").write_bytes(head)
    with pytest.raises(EngineError) as caught:
        engine.probe(tmp_path / "file.mp4")
    assert caught.value.code == "not_media"


def test_the_wave_file_is_plain_pcm(speech: Path):
    with wave.open(str(speech)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
