"""The local engine's own: the demo's clips, a voice learnt from them, a line in it, and a video that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import made_once
from tests.emulator.engine.footage import footage
from tests.emulator.engine.measure import RATE, sound_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.engine import Engine

LINE = "Hello there. This line is spoken by a voice that was learned, only a moment ago."


@pytest.fixture(scope="session")
def local() -> Engine:
    pytest.importorskip("hibari")
    from voice_provider.emulator.engine import load

    return load("local")


@pytest.fixture(scope="session")
def clips(local: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from voice_provider.emulator.engine import clips

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as smaller:  # a quarter of the pixels to draw and to encode
            smaller.setattr(clips, "SIZE", (640, 360))
            clips.make_demo_clips(folder, ["target"])
            smaller.setattr(clips, "FPS", 5)  # only its sound is of interest
            clips.make_demo_clips(folder, ["sample"])

    folder = made_once(tmp_path_factory, "clips", make)
    return folder / "sample.mp4", folder / "target.mp4"


@pytest.fixture(scope="session")
def learnt(local: Engine, clips: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was learnt of the voice in the demo's sample."""

    def learn(folder: Path) -> None:
        local.learn_voice([clips[0]], folder / "profile")

    return made_once(tmp_path_factory, "voice", learn) / "profile"


@pytest.fixture(scope="session")
def line(local: Engine, learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def speak(folder: Path) -> None:
        local.speak(LINE, folder / "line.mp3", voice=learnt)

    return made_once(tmp_path_factory, "line", speak) / "line.mp3"


@pytest.fixture(scope="session")
def synced(local: Engine, clips: tuple[Path, Path], line: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def lip_sync(folder: Path) -> None:
        local.lip_sync(clips[1], folder / "synced.mp4", audio=line)

    return made_once(tmp_path_factory, "synced", lip_sync) / "synced.mp4"


@pytest.fixture(scope="session")
def say(line: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Make a recording of so many seconds of speech, without a pause at its beginning or end."""
    folder = tmp_path_factory.mktemp("said")

    def make(seconds: float) -> Path:
        from voice_provider.emulator.engine.media import encode_speech

        path = folder / f"{seconds:g}.wav"
        if path.exists():
            return path
        spoken = sound_of(line)
        spoken = spoken[np.abs(spoken) > 0.02]  # speech without its pauses
        encode_speech([np.resize(spoken, round(seconds * RATE)).astype(np.float32)], RATE, path, "wav", 16_000)
        return path

    return make


@pytest.fixture(scope="session")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a numbered, listening presenter, with a tone."""
    return footage(tmp_path_factory.mktemp("face") / "face.mp4", tone="mono")
