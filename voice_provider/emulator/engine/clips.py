"""The demo's two videos, drawn and voiced by code: one presenter who talks, and one who listens."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from voice_provider.emulator.engine import voice
from voice_provider.emulator.engine.media import AAC_RATE, Samples, VideoWriter, encode_speech, read_audio, writing
from voice_provider.emulator.engine.mouth import openings
from voice_provider.emulator.engine.pitch import RATE
from voice_provider.emulator.engine.presenter import PRESENTERS, background, draw_frame
from voice_provider.emulator.engine.profile import VoiceProfile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZE = (1280, 720)
FPS = 25
TARGET_SECONDS = 7.0
SPEAKER = {"pitch": 164.0, "spread": 0.17, "warp": 0.90, "tilt": -0.35}  # clearly another one than the base voice
SAMPLE_TEXT = (
    "Hello, and welcome to the studio. I have been reading the evening news here for eleven years. "
    "Some stories are long, some are short, and a few of them are even good news. "
    "Tonight I would like to tell you about a small bakery, a very patient dog, and the longest queue in town."
)


def make_demo_clips(folder: Path, names: Sequence[str] = ("sample", "target")) -> tuple[Path, ...]:
    """Draw clips; the same bytes every time.

    :param folder: where ``sample.mp4`` (a presenter who talks, with sound) and ``target.mp4`` (another presenter, mouth
        closed, in a quiet room) are written
    :param names: which of them
    :return: the files
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(CLIPS[name](folder / f"{name}.mp4") for name in names)


def _sample(path: Path) -> Path:
    line = path.with_name(".line.wav")
    speaker = voice.calibrated(VoiceProfile.shaped(**SPEAKER), float(np.log(SPEAKER["pitch"])))
    try:
        encode_speech(voice.speak(SAMPLE_TEXT, speaker), RATE, line, "wav")
        sound = read_audio(line, AAC_RATE)
    finally:
        line.unlink(missing_ok=True)
    opening, _ = openings(sound, AAC_RATE, FPS, round(sound.size / AAC_RATE * FPS))
    return _draw(path, "B", sound, opening)


def _target(path: Path) -> Path:
    quiet = np.random.default_rng(1).normal(0, 0.0006, round(TARGET_SECONDS * AAC_RATE)).astype(np.float32)
    return _draw(path, "A", quiet, np.zeros(round(TARGET_SECONDS * FPS)))


CLIPS = {"sample": _sample, "target": _target}


def _draw(path: Path, name: str, sound: Samples, opening: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Path:
    who = PRESENTERS[name]
    wall = background(who, *SIZE)
    with writing(path):
        writer = VideoWriter(path, Fraction(FPS), SIZE)
        for number, share in enumerate(opening):
            writer.picture(draw_frame(who, number / FPS, wall, float(share)))
        writer.finish(sound)
    return path
