"""A script of many lines: what every service and every kind of file has in common."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.lines.delivery import problem_of, same_file
from voice_provider.lines.problems import Problems
from voice_provider.lines.rows import MAX_CELL, from_csv, from_dicts, from_jsonl, from_text
from voice_provider.lines.split import LONGEST
from voice_provider.lines.subtitles import from_subtitles, seconds
from voice_provider.services.texts import script_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from voice_provider.lines.rows import Row

MAX_BYTES = 64 * 1024 * 1024  # of a script: a million lines
COLUMNS = ("id", "text", "voice", "language", "start", "end", "file", "take")
FORMATS = ("csv", "jsonl", "srt", "vtt", "txt", "md")
NOTHING = "it is empty: there is nothing to say"
WAY = "A text of its own, as .txt or .md, is cut into lines"  # for what is too long for one
NEAR = 0.8  # of difflib: one letter wrong in five


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is to be spoken.

    :param id: by which a person knows it: the script's, else the number of its row; unique in the script
    :param text: what is spoken
    :param voice: a name of ``voices=``, or an id at the service; None: that of the task
    :param language: code, where the script says it
    :param start: seconds from the beginning, where the line has a time
    :param end: seconds; never before ``start``
    :param file: name below the output folder of a copy of the take, where one is wanted
    :param take: lines of equal text share one recording unless this differs
    :param options: speech options of this line alone
    :param notes: columns that mean nothing here; they are carried into the manifest
    :param where: how a person finds it in the script
    """

    id: str
    text: str
    voice: str | None = None
    language: str | None = None
    start: float | None = None
    end: float | None = None
    file: str | None = None
    take: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    where: str = ""


def read_lines(
    script: bytes | Iterable[Any],
    name: str,
    *,
    options: Collection[str] = (),
    voices: Collection[str] | None = None,
    check: Callable[[str], Any] | None = None,
    longest: int | None = None,
) -> list[Line]:
    """Read a script, and find out all that is wrong with it before anything is paid.

    :param script: the bytes of a CSV, JSONL, SRT or VTT file, or of a text (``.txt``, ``.md``) that is cut into lines,
        in UTF-8; or rows as dicts
    :param name: what it is called in messages; of a file, it tells the kind by its ending
    :param options: names of columns that are speech options of the service
    :param voices: the names that a line's voice may have; None: any, they are ids at the service
    :param check: raises InvalidInputError for a text that the service would not speak
    :param longest: characters that the service takes at most; a text is cut into lines of 1,000 at most in any case
    :return: the lines, in their order
    :raises InvalidInputError: names each line and column that is wrong; nothing was sent
    """
    problems = Problems(name)
    reader = _Reader(problems, frozenset(options) - {"text"}, voices, check)
    rows = _rows(script, name, problems, min(longest or LONGEST, LONGEST))
    lines = [line for row in rows if (line := reader.line(row))]
    if not lines and not problems:
        problems.add("line 1", "there is no line in it")
    problems.check()
    return lines


def _rows(script: bytes | Iterable[Any], name: str, problems: Problems, longest: int) -> Iterator[Row]:
    if not isinstance(script, bytes):
        return from_dicts(script, problems)
    kind = PurePosixPath(name).suffix[1:].lower()
    if kind not in FORMATS:
        raise InvalidInputError(f"'{name}' is no script that can be read: give {', '.join(FORMATS[:-1])} or md.")
    if len(script) > MAX_BYTES:
        raise InvalidInputError(f"{name} has {len(script):,} bytes; a script has at most {MAX_BYTES:,}. Cut it up.")
    text = _decode(script, name)
    if kind == "csv":
        return from_csv(text, problems)
    if kind == "jsonl":
        return from_jsonl(text, problems)
    if kind in ("txt", "md"):
        return from_text(text, longest)
    return from_subtitles(text, kind, problems)


def _decode(script: bytes, name: str) -> str:
    """Return a text of UTF-8, with a mark of it in front or without.

    :raises InvalidInputError: it is something else; names the place of the first byte that tells
    """
    if script.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInputError(f"{name}, line 1: it is UTF-16; save it as UTF-8. Nothing was paid.")
    try:
        return script.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = script[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace").removeprefix("\ufeff")) + 1
        likely = script[error.start : error.start + 1].decode("cp1252", "replace")
        raise InvalidInputError(
            f"{name}, line {line}, column {column}: the byte 0x{script[error.start]:02X} is no UTF-8"
            + (f" (in Windows-1252 it is '{likely}')" if likely.isprintable() and likely != "\ufffd" else "")
            + "; save the file as UTF-8. Nothing was paid."
        ) from None


class _Reader:
    """Makes lines of rows, and notes what is wrong with each."""

    def __init__(
        self,
        problems: Problems,
        options: frozenset[str],
        voices: Collection[str] | None,
        check: Callable[[str], Any] | None,
    ) -> None:
        self._problems, self._options, self._voices, self._check = problems, options, voices, check
        self._known = (*COLUMNS, *sorted(options - set(COLUMNS)))
        self._ids: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._judged: set[str] = set()

    def line(self, row: Row) -> Line | None:
        """Return what a row means; None where that was not to be found out."""
        cells = dict(row.cells)
        before = len(self._problems.found)
        self._look_at_names(row)
        for name, cell in cells.items():
            if isinstance(cell, str) and len(cell) > MAX_CELL:
                self._wrong(row, name, f"it has {len(cell):,} characters; at most {MAX_CELL:,} are one line. {WAY}")
        if len(self._problems.found) > before:
            return None
        texts = {name: self._text(row, name, cells.get(name)) for name in COLUMNS if name not in ("start", "end")}
        times = {name: self._time(row, name, cells.get(name)) for name in ("start", "end")}
        texts["id"] = texts["id"] or str(row.number)
        self._look_at(row, texts, times)
        if len(self._problems.found) > before:
            return None
        others = {name: cell for name, cell in cells.items() if name not in COLUMNS}
        return Line(
            **texts,  # type: ignore[arg-type]  # the text is there, else it was a problem
            **times,  # type: ignore[arg-type]
            options={name: cell for name, cell in others.items() if name in self._options},
            notes={name: cell for name, cell in others.items() if name not in self._options},
            where=row.where,
        )

    def _look_at_names(self, row: Row) -> None:
        """An unknown column is carried along, but one that nearly is a known one was meant as that."""
        for name in row.columns or row.cells:
            if name in self._known or name in self._judged:
                continue
            self._judged.add(name)  # once is enough
            if near := difflib.get_close_matches(name.lower(), self._known, 1, NEAR):
                self._wrong(row, name, f"did you mean '{near[0]}'? Else give it another name")

    def _look_at(self, row: Row, texts: dict[str, str | None], times: dict[str, float | None]) -> None:
        """Check what spans cells, and other lines."""
        if not texts["text"] and "text" not in row.cells:
            self._wrong(row, "text", NOTHING)
        if (voice := texts["voice"]) and self._voices is not None and voice not in self._voices:
            known = ", ".join(sorted(self._voices)[:10]) or "none"
            self._wrong(row, "voice", f"'{voice[:60]}' is not in voices= ({known})")
        start, end = times["start"], times["end"]
        if start is not None and end is not None and end < start:
            self._wrong(row, "end", f"it ends at {end:g} s, before it starts at {start:g} s")
        self._only_once(row, "id", texts["id"] or "", texts["id"] or "", self._ids)
        if file := texts["file"]:
            if problem := problem_of(file):
                self._wrong(row, "file", problem)
            self._only_once(row, "file", file, same_file(file), self._files)

    def _only_once(self, row: Row, name: str, value: str, key: str, seen: dict[str, str]) -> None:
        if (other := seen.setdefault(key, row.where)) != row.where:
            self._wrong(row, name, f"'{value[:60]}' stands in {other}, too")

    def _text(self, row: Row, name: str, value: Any) -> str | None:
        if value is None:
            return None
        try:
            if name != "text":
                return text_of(value).strip() or None
            if text := script_of(value).strip():
                if self._check is not None:
                    self._check(text)
            else:
                self._wrong(row, name, NOTHING)
        except (ValueError, InvalidInputError) as error:
            self._wrong(row, name, str(error).rstrip("."))
            return None
        return text or None

    def _time(self, row: Row, name: str, value: Any) -> float | None:
        if value is None:
            return None
        try:
            return seconds(text_of(value))
        except ValueError as error:
            self._wrong(row, name, f"{error}: give seconds, or 00:01:02.500")
            return None

    def _wrong(self, row: Row, name: str, what: str) -> None:
        self._problems.add(row.at(name), what)
