"""Rough recognition of English speech with PocketSphinx, whose model is inside its package; and where known words are.

About one word in eight of this engine's own voices is wrong, and one in four of a stranger's. Only what was recorded
without a transcript comes here.
"""

from __future__ import annotations

import re
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
        found = [_recognise(_loaded(), sound[start:end], start / RATE) for start, end in _cuts(sound)]
    return [phrase for phrase in found if phrase is not None]


def align(text: str, sound: Samples, rate: int) -> tuple[Phrase, ...] | None:
    """Say where each word of a known text is, to about 30 ms; None where it cannot be told.

    That is so of words which are not in the recogniser's dictionary, such as names and numbers.

    :param text: what is said
    :param sound: in which it is said, and nothing else
    :param rate: of the samples in Hz
    """
    words = text.split()
    known = [re.sub("[^a-z']", "", word.lower()).strip("'") for word in words]
    if not find_spec("pocketsphinx") or not all(known):
        return None
    wanted = np.interp(np.arange(0, sound.size, rate / RATE), np.arange(sound.size), sound)
    with _lock:
        decoder = _loaded()
        if not all(decoder.lookup_word(word) for word in known):
            return None
        try:
            decoder.set_align_text(" ".join(known))
            found = _decoded(decoder, wanted)
        except RuntimeError:  # it finds no way through
            return None
        finally:
            decoder.activate_search()  # the one that knows no text
    if len(found) != len(words):
        return None
    return tuple(Phrase(word, start, end) for word, (_, start, end) in zip(words, found, strict=True))


def _loaded() -> Any:
    if not _decoder:
        _decoder.append(import_module("pocketsphinx").Decoder(samprate=RATE, loglevel="FATAL"))
    return _decoder[0]


def _decoded(decoder: Any, sound: Samples) -> list[tuple[str, float, float]]:
    """Return words with their start and end in seconds."""
    decoder.start_utt()
    decoder.process_raw((np.clip(sound, -1, 1) * 32_767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    return [
        (part.word.partition("(")[0], part.start_frame / FRAMES, (part.end_frame + 1) / FRAMES)
        for part in decoder.seg() or ()
        if part.word[0] not in "<[+"  # silence, noise
    ]


def _recognise(decoder: Any, sound: Samples, offset: float) -> Phrase | None:
    if not sound.size or np.sqrt(np.mean(sound**2)) < QUIET:  # the decoder finds words in silence
        return None
    words = _decoded(decoder, sound)
    if not words:
        return None
    text = " ".join(word for word, _, _ in words)
    return Phrase(text, round(offset + words[0][1], 2), round(offset + words[-1][2], 2))


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
