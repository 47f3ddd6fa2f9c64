"""The rows of a script: of CSV, of JSONL, of a list of dicts, or cut out of a long text; each knows where it stands.

A file is read to its end, and all that is wrong with it is told at once: who corrects ten thousand lines does not want
to be told ten times.
"""

from __future__ import annotations

import csv
import io
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from voice_provider.lines.split import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from voice_provider.lines.problems import Problems

MAX_CELL = 100_000  # characters; no service speaks as much in one request
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_limit = Lock()  # the csv module's limit of a cell is that of the process


@dataclass(frozen=True)
class Row:
    """One row of a script.

    :param number: of the row, from 1, as it is counted in the file or list
    :param where: how a person finds it: ``line 12``
    :param cells: by their column; what is empty is left out
    :param columns: number of each column, from 1, where the file has columns
    """

    number: int
    where: str
    cells: dict[str, Any]
    columns: dict[str, int] = field(default_factory=dict)

    def at(self, column: str) -> str:
        """Say where a cell is: ``line 12, column 3 'voice'``."""
        number = f" {self.columns[column]}" if column in self.columns else ""
        return f"{self.where}, column{number} '{column[:60]}'"


def from_csv(text: str, problems: Problems) -> Iterator[Row]:
    """Read comma-separated values with a header in their first row (RFC 4180)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    number, began = 0, 1
    with _cells_of_any_length():
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # A quote that is not closed swallows the rest of the file: where it begins is what helps.
                problems.add(f"line {began}", f"{_plain(error)}; nothing behind it could be read")
                return
            where, began = f"line {began}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [name.strip() for name in cells]
                if not _is_header(header, where, problems):
                    return
                continue
            number += 1
            if len(cells) != len(header):
                problems.add(where, f"it has {len(cells)} cells, and the header has {len(header)} columns")
                continue
            filled = {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}
            yield Row(number, where, filled, {name: place for place, name in enumerate(header, 1)})


def from_jsonl(text: str, problems: Problems) -> Iterator[Row]:
    """Read JSON Lines: an object in each line."""
    number = 0
    for place, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        number += 1
        try:
            value = json.loads(written, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            problems.add(f"line {place}, column {error.colno}", f"it is no JSON: {error.msg}")
            continue
        except (ValueError, RecursionError) as error:
            problems.add(f"line {place}", f"it is no JSON that can be read: {str(error)[:100]}")
            continue
        yield from _row(number, f"line {place}", value, problems)


def from_text(text: str, longest: int) -> Iterator[Row]:
    """Cut a long text into rows; ``chapter`` is the title of their chapter.

    :param longest: characters of a row
    """
    for number, piece in enumerate(split(text, longest), 1):
        yield Row(
            number, f"line {piece.line}", {"text": piece.text} | ({"chapter": piece.title} if piece.title else {})
        )


def from_dicts(values: Iterable[Any], problems: Problems) -> Iterator[Row]:
    """Take rows that a DAG or another task has made."""
    for number, value in enumerate(values, 1):
        yield from _row(number, f"item {number}", value, problems)


def _row(number: int, where: str, value: Any, problems: Problems) -> Iterator[Row]:
    if not isinstance(value, dict):
        problems.add(where, f"it is a {type(value).__name__}, not an object with columns")
        return
    if odd := next((name for name in value if not isinstance(name, str) or not name.strip()), None):
        problems.add(where, f"{odd!r:.60} is no name of a column")
        return
    filled = {name: cell for name, cell in value.items() if cell is not None and cell != ""}
    yield Row(number, where, filled)


def _is_header(names: list[str], where: str, problems: Problems) -> bool:
    """Whether a first row names columns; what is wrong with it makes all the others unreadable."""
    if "text" not in names:
        written = names[0] if len(names) == 1 else ""
        other = next((kind for sign, kind in OTHER_DELIMITERS.items() if sign in written), None)
        problems.add(
            where,
            f"the columns are separated by {other}; save the file with commas"
            if other
            else "there is no column 'text': the first row has to name the columns (id, text, voice ...)",
        )
        return False
    for place, name in enumerate(names, 1):
        if not name:
            problems.add(f"{where}, column {place}", "it has no name")
        elif name in names[: place - 1]:
            problems.add(f"{where}, column {place}", f"'{name[:60]}' is named twice")
    return not problems


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Let a long cell be read, so that it can be told where it is; the file itself is bounded."""
    with _limit:
        before = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _plain(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quotation mark that is opened here is not closed"
    return f"it is no CSV: {error}"
