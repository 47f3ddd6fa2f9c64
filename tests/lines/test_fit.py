"""Lines are fitted into the times of subtitles: none is cut, none sounds over another."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_provider.lines.fit import EDGE, GAP, SHORTEST_PAUSE, Placed, Take, fit


@pytest.mark.parametrize(
    ("first", "following", "placed"),
    [
        pytest.param(Take("a", 1, 3, 2.0), 10.0, Placed("a", 1, 2.0), id="it fits as it is"),
        pytest.param(Take("a", 1, 3, 1.95), 10.0, Placed("a", 1, 1.95), id="a little short is not slowed"),
        pytest.param(Take("a", 1, 3, 1.8), 10.0, Placed("a", 1, 2.0, 0.9), id="short is slowed to its time"),
        pytest.param(Take("a", 1, 3, 0.85), 10.0, Placed("a", 1, 1.0, 0.85), id="but no further than people talk"),
        pytest.param(Take("a", 1, 3, 2.5), 10.0, Placed("a", 1, 2.5), id="long takes the silence behind it"),
        pytest.param(
            Take("a", 1, 3, 2.5, ((1.0, 1.62),)),
            3.05,
            Placed("a", 1, 2.0, 1.0, ((1.06, 1.56),)),
            id="then gives up a pause, and leaves a short one",
        ),
        pytest.param(
            Take("a", 1, 3, 2.2, ((1.0, 1.52),)),
            3.05,
            Placed("a", 1, 2.0, 1.0, ((1.16, 1.36),)),
            id="only as much of it as is needed",
        ),
        pytest.param(
            Take("a", 1, 3, 2.3, ((0.0, 0.17), (2.13, 2.3))),
            3.05,
            Placed("a", 1, 2.0, 1.0, ((0.0, 0.15), (2.15, 2.3))),
            id="silence before and behind the words nearly whole",
        ),
        pytest.param(Take("a", 1, 3, 2.2), 3.05, Placed("a", 1, 2.0, 1.1), id="then is spoken faster"),
        pytest.param(
            Take("a", 1, 3, 3.0), 3.05, Placed("a", 1, 2.5, 1.2, overflow=0.5), id="what does not fit is told"
        ),
        pytest.param(Take("a", 1, 1, 0.5), 10.0, Placed("a", 1, 0.5), id="no time of its own, and silence behind"),
        pytest.param(Take("a", 1, 1, 0.6), 1.0, Placed("a", 1, 0.5, 1.2, overflow=0.55), id="no time at all"),
    ],
)
def test_one_line(first: Take, following: float, placed: Placed) -> None:
    line, behind = fit([first, Take("b", following, following + 1, 1)])
    for name in ("at", "seconds", "tempo", "overflow", "late"):
        assert getattr(line, name) == pytest.approx(getattr(placed, name)), name
    assert [pytest.approx(cut) for cut in line.cuts] == list(placed.cuts)
    assert behind.at == pytest.approx(max(following, line.end + GAP))


def test_a_line_waits_for_the_one_before_and_the_rest_catches_up() -> None:
    lines = fit([Take("a", 0, 1, 3.0), Take("b", 1, 2, 1.0), Take("c", 4, 5, 0.9)])
    assert [round(line.late, 3) for line in lines] == [0, 1.55, 0]
    assert lines[0].overflow == pytest.approx(3.0 / 1.2 - 0.95)
    assert lines[1].overflow == 0


def test_the_last_line_ends_with_the_video() -> None:
    (line,) = fit([Take("a", 1, 3, 2.3)], until=3)
    assert line.tempo == pytest.approx(1.15)
    assert line.end == pytest.approx(3)


def test_lines_come_in_the_order_in_which_they_are_heard() -> None:
    assert [line.id for line in fit([Take("b", 5, 6, 1), Take("a", 1, 2, 1), Take("c", 5, 6, 1)])] == ["a", "b", "c"]


def test_nothing_is_slowed_where_that_is_not_wanted() -> None:
    assert fit([Take("a", 0, 9, 1.0)], slowest=1)[0].tempo == 1


@st.composite
def dubs(draw: st.DrawFn) -> list[Take]:
    """Short, long, overlapping and empty times, with pauses anywhere."""
    found, start = [], 0.0
    for number in range(draw(st.integers(1, 12))):
        start = max(0.0, start + draw(st.floats(-1, 4)))
        seconds = draw(st.floats(0.1, 8))
        marks = sorted(draw(st.lists(st.floats(0, seconds), max_size=6, unique=True)))
        pauses = tuple(zip(marks[::2], marks[1::2], strict=False))
        found.append(Take(str(number), start, start + draw(st.sampled_from((0.0, 0.2, 1.0, 5.0))), seconds, pauses))
    return found


@given(dubs(), st.sampled_from((math.inf, 20.0)))
def test_no_line_is_cut_and_none_sounds_over_another(takes: list[Take], until: float) -> None:
    lines = fit(takes, until=until)
    by_id = {take.id: take for take in takes}
    assert len(lines) == len(takes)
    for line, behind in itertools.pairwise(lines):
        assert behind.at >= line.end + GAP - 1e-9
    for line in lines:
        take = by_id[line.id]
        assert line.at == pytest.approx(take.start + line.late)
        assert line.late >= 0
        assert 0.85 - 1e-9 <= line.tempo <= 1.2 + 1e-9
        removed = 0.0
        for start, end in line.cuts:
            (pause,) = [p for p in take.pauses if p[0] - 1e-9 <= start <= end <= p[1] + 1e-9]
            edge = pause[0] <= 0 or pause[1] >= take.seconds
            assert end - start <= pause[1] - pause[0] - (EDGE if edge else SHORTEST_PAUSE) + 1e-9
            removed += end - start
        assert line.seconds == pytest.approx((take.seconds - removed) / line.tempo)
        if line.overflow:  # it has given all that it had
            assert line.tempo == pytest.approx(1.2)
