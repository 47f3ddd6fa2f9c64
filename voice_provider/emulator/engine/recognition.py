"""Rough recognition of English speech with PocketSphinx, whose model is inside its package.

About one word in eight of this engine's own voices is wrong, and one in four of a stranger's. Only what was recorded
without a transcript comes here.
"""

from __future__ import annotations

import threading
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from voice_provider.emulator.engine import Phrase
from voice_provider.emulator.engine.media import read_audio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from voice_provider.emulator.engine.media import Samples

RATE = 16_000
FRAMES = 100  # a second
SHORTEST, LONGEST = 6 * RATE, 14 * RATE  # samples recognised at once; its memory grows with them
QUIET = 1e-3  # root mean square
WINDOW = RATE // 5  # of a pause

_lock = threading.Lock()  # the decoder keeps state
_decoder: list[Any] = []


def transcribe(path: Path) -> list[Phrase]:
    """Return the words of a recording, cut at its pauses; none, if the recogniser is not installed."""
    sound = read_audio(path, RATE)
    if not find_spec("pocketsphinx"):
        return []
    with _lock:
        if not _decoder:
            _decoder.append(import_module("pocketsphinx").Decoder(samprate=RATE, loglevel="FATAL"))
        found = [_recognise(_decoder[0], sound[start:end], start / RATE) for start, end in _cuts(sound)]
    return [phrase for phrase in found if phrase is not None]


def _recognise(decoder: Any, sound: Samples, offset: float) -> Phrase | None:
    if not sound.size or np.sqrt(np.mean(sound**2)) < QUIET:  # the decoder finds words in silence
        return None
    decoder.start_utt()
    decoder.process_raw((np.clip(sound, -1, 1) * 32_767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    words = [part for part in decoder.seg() or () if part.word[0] not in "<[+"]  # silence, noise
    if not words:
        return None
    text = " ".join(part.word.partition("(")[0] for part in words)
    start, end = words[0].start_frame / FRAMES, (words[-1].end_frame + 1) / FRAMES
    return Phrase(text, round(offset + start, 2), round(offset + end, 2))


def _cuts(sound: Samples) -> Iterator[tuple[int, int]]:
    """Yield pieces that end in the quietest moment within reach."""
    start = 0
    while sound.size - start > LONGEST:
        reach = sound[start + SHORTEST : start + LONGEST].astype(np.float64) ** 2
        total = np.cumsum(reach)
        power = total[WINDOW:] - total[:-WINDOW]
        end = start + SHORTEST + int(np.argmin(power)) + WINDOW // 2
        yield start, end
        start = end
    if sound.size > start:
        yield start, sound.size
