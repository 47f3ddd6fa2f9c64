"""What became of each line of a script: a JSON object a line in ``manifest.jsonl``, written when the task ends."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.locations import check_allowed, explained, open_path, reading
from voice_provider.files.transfer import persist, put

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NAME = "manifest.jsonl"
Outcome = Literal["spoken", "reused", "failed", "unknown", "missing"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a script, and its take.

    :param id: of the line
    :param text_sha256: of its text, which does not stand here
    :param take: by which its take is known, see ``takes.take_key``
    :param outcome: ``spoken`` in this run, ``reused`` from an earlier one, ``failed`` (see ``error``), ``unknown``: it
        may have been paid, and nothing came; or ``missing``: the task ended before its turn, or before
        its job did
    :param uri: of the take; None where there is none
    :param sha256: of the take
    :param seconds: its length
    :param cost: what it cost in the last try, as ``models.Cost`` has it: nothing where its take was there, or is that
        of a line before; None: it was not ordered, or was refused
    :param error: why there is no take
    :param voice: as the script names it
    :param voice_id: at the service
    :param samples: sha256 of what the voice was made of, if known
    :param consent: those of the person whose voice it is, as ``models.ConsentRef`` has them
    :param start: seconds, where the script has times
    :param end: seconds
    :param file: as the script names it
    :param copy: location of the copy of the take under that name; None: there is none
    :param notes: the script's own columns
    """

    id: str
    text_sha256: str
    take: str
    outcome: Outcome
    uri: str | None = None
    sha256: str | None = None
    seconds: float | None = None
    cost: dict[str, Any] | None = None
    error: str | None = None
    voice: str | None = None
    voice_id: str | None = None
    samples: list[str] | None = None
    consent: list[dict[str, Any]] | None = None
    start: float | None = None
    end: float | None = None
    file: str | None = None
    copy: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def write_manifest(location: str, rows: Iterable[Row]) -> None:
    """Write it, whole or not at all; a storage that fails is tried again.

    :param location: path or URI
    :raises StorageError: the storage does not take it
    """
    with (
        explained(f"The manifest {location} cannot be written", "The takes are kept; a retry writes it."),
        tempfile.TemporaryFile() as file,
    ):
        for row in rows:
            file.write(f"{json.dumps(asdict(row), ensure_ascii=False)}\n".encode())
        persist(lambda: put(cast("BinaryIO", file), location))


def read_manifest(location: str, allowed: Sequence[str] = ()) -> list[Row]:
    """Read what ``write_manifest`` wrote; see ``iter_manifest``."""
    return list(iter_manifest(location, allowed))


def iter_manifest(location: str, allowed: Sequence[str] = ()) -> Iterator[Row]:
    """Read what ``write_manifest`` wrote, a row at a time.

    :param location: path or URI
    :param allowed: the connection's allowed input prefixes
    :raises InvalidInputError: there is none, or it is no manifest; names the line
    """
    check_allowed(location, allowed, "input")
    with reading(location), open_path(location).open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _row(location, number, line)


def _row(location: str, number: int, line: bytes) -> Row:
    try:
        return Row(**json.loads(line))
    except (ValueError, TypeError):
        raise InvalidInputError(
            f"{location}, line {number}, is no line of a manifest. Delete the file: the takes beside it are kept, and "
            "the next run writes it anew."
        ) from None


def counts_of(rows: Iterable[Row]) -> dict[str, int]:
    """Count the lines by their outcome; only outcomes that there are."""
    return dict(sorted(Counter(row.outcome for row in rows).items()))
