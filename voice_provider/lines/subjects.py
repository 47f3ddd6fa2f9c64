"""Which take is to say which words: what was spoken, beside the script that it was spoken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voice_provider.lines.problems import Problems
from voice_provider.lines.spoken import FAILED, read_spoken
from voice_provider.lines.takes import text_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from voice_provider.lines.script import Line


@dataclass(frozen=True)
class Subject:
    """A line, and where its take is.

    :param text: without marks
    :param sha256: of the take; empty where there is none
    :param voice: at the service, else as the script names it, with the language: whose takes are alike
    :param language: code, where the script says it
    :param speed: at which the script has it spoken
    """

    id: str
    text: str
    uri: str | None = None
    sha256: str = ""
    voice: str = ""
    language: str | None = None
    speed: float = 1.0


def subjects_of(
    rows: Iterable[dict[str, Any]], lines: Sequence[Line], name: str, spoken: Callable[[str], str]
) -> list[Subject]:
    """Put each take beside the words that it is to say.

    :param rows: what was spoken: rows of a manifest of lines, or results of speech tasks
    :param lines: of the script
    :param name: of the rows, for messages
    :param spoken: returns a text without the marks that are not spoken
    :return: all lines of the script, in its order; those without a take, too
    :raises InvalidInputError: they are not the same lines, or a text has changed since it was spoken
    """
    rows = list(rows)
    missing = {str(row.get("id")) for row in rows if row.get("outcome") in FAILED and not row.get("uri")}
    there = [row for row in rows if str(row.get("id")) not in missing]
    takes = {take.id: take for take in read_spoken(there, name)} if there else {}
    problems = Problems(name)
    known = {line.id for line in lines}
    for line_id in takes.keys() - known:
        problems.add(f"line '{line_id[:60]}'", "the script does not have it; give lines= what it was spoken from")
    subjects = []
    for line in lines:
        take = takes.get(line.id)
        if take is None:
            if line.id not in missing:
                problems.add(f"line '{line.id[:60]}'", "it was not spoken; give lines= what was")
            subjects.append(Subject(line.id, line.text))
            continue
        more = take.model_extra or {}
        if more.get("text_sha256", text_hash(line.text)) != text_hash(line.text):
            problems.add(f"line '{line.id[:60]}'", "its text has changed since it was spoken; speak it first")
        subjects.append(
            Subject(
                id=line.id,
                text=spoken(line.text),
                uri=take.uri,
                sha256=take.sha256,
                voice=f"{more.get('voice_id') or line.voice or ''}/{line.language or ''}",
                language=line.language,
                speed=_speed(line.options.get("speed", line.notes.get("speed"))),
            )
        )
    problems.check()
    return subjects


def _speed(value: Any) -> float:
    """Return the speed that a script asks for; what is none was refused when it was spoken."""
    try:
        return max(float(value), 0.1)
    except (TypeError, ValueError):
        return 1.0
