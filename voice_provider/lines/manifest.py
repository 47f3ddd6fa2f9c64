"""What became of each line of a script: a JSON object a line in ``manifest.jsonl``, written when the task ends."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.locations import check_allowed, explained, open_path, reading
from voice_provider.files.transfer import persist, put
from voice_provider.models import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME = "manifest.jsonl"
Outcome = Literal["spoken", "reused", "failed", "unknown", "missing"]


@dataclass(frozen=True)
class Row:
    """One line of a script, and its take.

    :param id: of the line
    :param text_sha256: of its text, which does not stand here
    :param take: by which its take is known, see ``takes.take_key``
    :param outcome: ``spoken`` in this run, ``reused`` from an earlier one, ``failed`` (see ``error``), ``unknown``: it
        may have been paid, and nothing came; or ``missing``: the task ended before its turn
    :param uri: of the take; None where there is none
    :param sha256: of the take
    :param seconds: its length
    :param cost: what it cost in the last try: nothing where its take was there, or is that of a line before; None: it
        was not ordered, or was refused
    :param error: why there is no take
    :param voice: as the script names it
    :param start: seconds, where the script has times
    :param end: seconds
    :param file: as the script names it
    :param notes: the script's own columns
    """

    id: str
    text_sha256: str
    take: str
    outcome: Outcome
    uri: str | None = None
    sha256: str | None = None
    seconds: float | None = None
    cost: Cost | None = None
    error: str | None = None
    voice: str | None = None
    start: float | None = None
    end: float | None = None
    file: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def write_manifest(location: str, rows: Iterable[Row]) -> None:
    """Write it, whole or not at all; a storage that fails is tried again.

    :param location: path or URI
    :raises StorageError: the storage does not take it
    """
    text = "".join(f"{json.dumps(_plain(row), ensure_ascii=False)}\n" for row in rows)
    with explained(f"The manifest {location} cannot be written", "The takes are kept; a retry writes it."):
        persist(lambda: put(io.BytesIO(text.encode()), location))


def read_manifest(location: str, allowed: Sequence[str] = ()) -> list[Row]:
    """Read what ``write_manifest`` wrote.

    :param location: path or URI
    :param allowed: the connection's allowed input prefixes
    :raises InvalidInputError: there is none, or it is no manifest; names the line
    """
    check_allowed(location, allowed, "input")
    with reading(location), open_path(location).open("rb") as file:
        data = bytes(file.read())
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(_row(json.loads(line)))
            except (ValueError, TypeError):
                raise InvalidInputError(
                    f"{location}, line {number}, is no line of a manifest. Delete the file: the takes beside it are "
                    "kept, and the next run writes it anew."
                ) from None
    return rows


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), "cost": row.cost.dump() if row.cost is not None else None}


def _row(told: dict[str, Any]) -> Row:
    row = Row(**told)
    return row if row.cost is None else replace(row, cost=Cost.model_validate(row.cost))


def counts_of(rows: Iterable[Row]) -> dict[str, int]:
    """Count the lines by their outcome; only outcomes that there are."""
    return dict(sorted(Counter(row.outcome for row in rows).items()))
