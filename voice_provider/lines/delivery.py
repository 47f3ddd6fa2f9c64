"""Copies of takes under the names that a script wants them by (its column ``file``), beside the takes.

A name says nothing of what is in a file, so a copy is never another take than the manifest says. Invariants:

- The manifest names a copy only while it is that row's take: before a copy is replaced, a manifest without it is
  written.
- A line that has no take has no copy, whatever an earlier run has left under its name.
"""

from __future__ import annotations

import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from voice_provider.exceptions import StorageError, VoiceError
from voice_provider.files.endings import ending_of, named
from voice_provider.files.locations import explained, open_path
from voice_provider.files.storage import Output
from voice_provider.files.transfer import exists, names_in, remove
from voice_provider.lines import journal, takes
from voice_provider.trust.provenance import ENDING, copy_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voice_provider.lines.manifest import Row

AT_ONCE = 8  # copies
LONGEST = 200  # bytes of a part of a name: the record beside it has a longer one
_RESERVED = (takes.FOLDER, journal.FOLDER)
_ODD = re.compile(r'[\x00-\x1f\x7f\\:?#*%|<>"]')  # what means something in a location, at a shell or on another system


def problem_of(file: str) -> str | None:
    """Say what is wrong with a name that comes from a script; None: nothing.

    :param file: path below the output folder
    """
    parts = file.split("/")
    if _ODD.search(file) or not all(map(_is_name, parts)) or any(map(ending_of, parts[:-1])):
        return f"{file[:60]!a} is no name of a file below output: letters, digits, '-', '_' and '.', between slashes"
    if f"{parts[0].casefold()}/" in _RESERVED:
        return f"{file[:60]!a} leads into a folder that is kept for other files"
    return None


def _is_name(part: str) -> bool:
    return bool(part.strip(" .")) and not part.startswith((".", " ")) and len(part.encode()) <= LONGEST


def same_file(file: str) -> str:
    """Return by what a name is known on a disk that does not tell capitals, nor how an accent is written."""
    return unicodedata.normalize("NFC", file).casefold()


class Delivery:
    """Keeps the copies of one folder.

    :param folder: output, which ends in ``/``
    :param check: raises StaleTryError where the folder is another run's by now
    :param allowed: the connection's allowed output prefixes
    """

    def __init__(self, folder: str, check: Callable[[], None], allowed: Sequence[str] = ()) -> None:
        self._folder, self._check, self._allowed = folder, check, allowed
        self._before: dict[str, str | None] = {}
        self._names: dict[str, set[str]] = {}  # what was there at first, by folder
        self._trouble: VoiceError | None = None

    def remember(self, row: Row) -> None:
        """Take notice of what the manifest before tells of a copy."""
        if row.copy is not None:
            self._before[row.copy] = row.sha256

    def standing(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows, with those copies that are there, and are the row's take."""
        return [replace(row, copy=copy) if (copy := self._standing(row)) else row for row in rows]

    def deliver(self, rows: Sequence[Row]) -> tuple[list[Row], VoiceError | None]:
        """Copy what is missing or another take, and delete what has no take any more.

        :param rows: as ``standing`` returned them, and the manifest says
        :return: the rows with their copies, and what went wrong; then some are missing
        :raises StaleTryError: the folder is another run's by now
        """
        found = list(rows)
        due = [number for number, row in enumerate(rows) if row.file is not None and row.copy is None]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="deliver-lines") as pool:
            for first in range(0, len(due), AT_ONCE * 8):
                self._check()
                some = due[first : first + AT_ONCE * 8]
                for number, row in zip(some, pool.map(self._put, [rows[number] for number in some]), strict=True):
                    found[number] = row
        return found, self._trouble

    def _standing(self, row: Row) -> str | None:
        if row.file is None or row.uri is None:
            return None
        copy = named(f"{self._folder}{row.file}", ending_of(row.uri))
        is_it = self._before.get(copy, "") == row.sha256 and self._is_there(copy) and self._is_there(copy + ENDING)
        return copy if is_it else None

    def _put(self, row: Row) -> Row:
        """Put one copy in its place, or take it away; after the first error nothing more is done."""
        if self._trouble is not None:
            return row
        try:
            if row.uri is not None:
                return replace(row, copy=self._copy(row, row.uri))
            self._remove(f"{self._folder}{row.file}")
        except VoiceError as error:
            self._trouble = error
        return row

    def _copy(self, row: Row, take: str) -> str:
        with explained(f"The take {take} cannot be read", "Check the worker's permissions."):
            size = int(open_path(take).stat().st_size)
        place = Output(f"{self._folder}{row.file}", str(row.file).rpartition("/")[2], self._allowed)
        copy = place.copy(take, ending_of(take), str(row.sha256), size)
        copy_record(take, copy, self._allowed)
        return copy

    def _remove(self, copy: str) -> None:
        for location in (copy, copy + ENDING):
            if self._is_there(location):
                remove(location, self._allowed)
                if exists(location):
                    raise StorageError(
                        f"{location} is not its line's take, and cannot be deleted. Check the permissions."
                    )

    def _is_there(self, location: str) -> bool:
        folder, _, name = location.rpartition("/")
        if folder not in self._names:
            with explained(f"The copies in {folder}/ cannot be listed", "Check the worker's permissions."):
                self._names[folder] = set(names_in(f"{folder}/"))
        return name in self._names[folder]
