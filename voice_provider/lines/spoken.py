"""What was spoken, line by line, as another task tells it: a manifest of lines, or the results of mapped tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.lines.problems import Problems

if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED = ("failed", "unknown", "missing")  # outcomes of lines that have no sound


class SpokenLine(BaseModel):
    """A line and the recording of it; what else its row says stays in the manifest.

    :param id: the line's; default: its number
    :param uri: where the recording is
    :param sha256: of its bytes
    :param seconds: its length, as far as it was written down
    :param chapter: title of the chapter that begins or goes on with it
    """

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    id: str
    uri: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    seconds: float | None = None
    chapter: str | None = None


def read_spoken(rows: str | Iterable[Any], name: str) -> list[SpokenLine]:
    """Read what was spoken.

    :param rows: text of a manifest, a JSON object in each line; or the objects
    :param name: what it is called in messages
    :return: the lines, in their order
    :raises InvalidInputError: names each line that has no recording, or is no such thing
    """
    problems = Problems(name)
    found: list[SpokenLine] = []
    for number, (where, row) in enumerate(_rows(rows, problems), 1):
        if not isinstance(row, dict):
            problems.add(where, f"it is a {type(row).__name__}, not what a task tells of a kept recording")
            continue
        notes: Any = row.get("notes")
        if row.get("outcome") in FAILED and not row.get("uri"):
            problems.add(where, f"line '{str(row.get('id') or number)[:60]}' was not spoken")
            continue
        try:
            found.append(
                SpokenLine.model_validate({"id": str(number), **(notes if isinstance(notes, dict) else {}), **row})
            )
        except ValidationError as error:
            fields = ", ".join(dict.fromkeys(str(item["loc"][0]) for item in error.errors() if item["loc"]))
            problems.add(where, f"{fields} cannot be read; pass what the task has returned, unchanged")
    seen: dict[str, int] = {}
    for number, line in enumerate(found, 1):
        if seen.setdefault(line.id, number) != number:
            problems.add(f"line {number}", f"the id '{line.id[:60]}' stands in line {seen[line.id]}, too")
    if not found and not problems:
        problems.add("line 1", "there is no line in it")
    problems.check()
    return found


def _rows(rows: str | Iterable[Any], problems: Problems) -> list[tuple[str, Any]]:
    if not isinstance(rows, str):
        return [(f"item {number}", row) for number, row in enumerate(rows, 1)]
    found: list[tuple[str, Any]] = []
    for number, written in enumerate(rows.split("\n"), 1):
        if not written.strip():
            continue
        try:
            found.append((f"line {number}", json.loads(written)))
        except (ValueError, RecursionError):
            problems.add(f"line {number}", "it is no JSON: was the manifest cut short?")
    return found
