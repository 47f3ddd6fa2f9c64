"""What is measured in a recording, held against how it was made."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import pytest

from voice_provider.files.filters import RATE
from voice_provider.files.measures import measure

if TYPE_CHECKING:
    from collections.abc import Iterable


def buzz(pitch: float, seconds: float, level: float = 0.2, harmonics: int = 3) -> bytes:
    """Make sound as a voice does: a pitch, and weaker multiples of it."""
    wave = [
        sum(math.sin(math.tau * pitch * number * at / RATE) / number for number in range(1, harmonics + 1))
        for at in range(round(seconds * RATE))
    ]
    return array("h", [round(max(-1.0, min(1.0, level * value)) * 32767) for value in wave]).tobytes()


def pieces(sound: bytes) -> Iterable[bytes]:
    return (sound[start : start + 5000] for start in range(0, len(sound), 5000))


def test_pitch_pauses_and_ends_are_measured() -> None:
    quiet = bytes(2 * RATE // 4)  # a quarter of a second
    for pitch in (90.0, 230.0):
        voice = buzz(pitch, 0.25)
        found = measure(pieces(4 * quiet + voice + 2 * quiet + voice))
        assert found.pitch == pytest.approx(pitch, rel=0.01)
        assert (found.seconds, found.clipped) == (2.0, 0.0)
        assert found.sound == pytest.approx(0.5, abs=0.03)
        assert found.silence == pytest.approx(0.5, abs=0.03), "silence before the first sound is no pause"
        assert found.end == pytest.approx(0, abs=1.5)
    after = measure(pieces(voice + quiet))
    assert (after.silence, after.end) == (pytest.approx(0.25, abs=0.03), pytest.approx(-72, abs=5))


def test_what_hisses_is_no_pitch() -> None:
    voice, hiss = (
        array("h", buzz(140, 0.3, level=0.1, harmonics=1)),
        array("h", buzz(1533, 0.3, level=0.3, harmonics=1)),
    )
    both = array("h", map(sum, zip(voice, hiss, strict=True))).tobytes()
    assert measure(pieces(both)).pitch == pytest.approx(140, rel=0.02)


def test_silence_has_neither_pitch_nor_end() -> None:
    found = measure(pieces(bytes(2 * RATE)))
    assert (found.seconds, found.pitch, found.colour, found.end) == (1.0, None, None, None)
    assert found.sound < 0.05
    assert measure([]).seconds == 0.0


def test_what_stands_at_full_scale_is_clipped_and_more_overtones_are_brighter() -> None:
    assert measure(pieces(buzz(140, 0.15, level=0.9))).clipped > 0.05
    dull, bright = (measure(pieces(buzz(140, 0.15, harmonics=count))).colour or 0 for count in (1, 8))
    assert bright > 1.5 * dull > 0
