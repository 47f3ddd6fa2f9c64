"""How many lines go at a time, as a table of what happens and what follows."""

from __future__ import annotations

from voice_provider.lines.pace import Pace


def test_a_burst_of_refusals_halves_once_and_quiet_lets_it_creep_up() -> None:
    pace = Pace(8)
    for sent in (1.0, 1.1, 1.2):
        pace.refused(sent, now=2.0, retry_after=3.0)
    assert (pace.allowed, pace.pause(2.0), pace.pause(5.0)) == (4, 3.0, 0.0)
    pace.refused(2.5, now=3.0, retry_after=0.5)
    assert (pace.allowed, pace.pause(3.0)) == (2, 2.0)  # what was asked for first is kept
    for _ in range(3):
        pace.spoken()
    assert pace.allowed == 3
    for _ in range(100):
        pace.spoken()
    assert pace.allowed == 8


def test_one_line_always_goes() -> None:
    pace = Pace(1)
    pace.refused(1.0, now=2.0, retry_after=0)
    assert pace.allowed == 1
