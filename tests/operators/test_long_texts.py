"""A text that is too long for one request: spoken in pieces, and a correction costs the piece that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.operators.test_lines import Lines, lines
from voice_provider.exceptions import InvalidInputError
from voice_provider.lines import script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["lines"]  # a fixture

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


def test_a_correction_of_a_long_text_costs_what_it_corrects(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "LONGEST", 80)  # else these were minutes of speech
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
    long = " ".join(f"On {day} it rained, and nobody left the house." for day in days)
    text = f"# The Rain\n\n{long}\n\n* * *\n\nThen the sun came out.\n"
    book = tmp_path / "book.md"
    spoken = []
    for written in (text, text.replace("Then the", "Then, at last, the"), text.replace("Friday", "Saturday")):
        book.write_text(written)
        counts = lines.run(str(book))["counts"]
        spoken.append(lines.paid())
        assert sum(counts.values()) == len(lines.rows())
    assert spoken[0] == len(lines.rows()) >= 5
    assert spoken[1:] == [1, 1]
    assert [row.notes["chapter"] for row in lines.rows().values()] == ["The Rain"] * spoken[0]


def test_a_line_that_is_too_long_is_told_what_to_do(lines: Lines, set_connection: Callable[..., None]) -> None:
    set_connection(service="sync_labs")
    with pytest.raises(
        InvalidInputError,
        match=r"item 2: The script has 5,001 characters; .* takes at most 5,000 .* SpeakLinesOperator cuts",
    ):
        lines.run([{"text": "Hi."}, {"text": "Hi. " * 1250 + "!"}], voice_id=BUILT_IN, format=None)
    assert lines.emulator.ledger() == []
