"""Where a kept result comes from: a small JSON file beside it, ``talk.mp4.provenance.json``.

It says what was made, in which voice and from which recordings, by which service, model and settings, in which DAG run,
under which consent, and the hash of the file. So that it can be passed on with the file it holds hashes where there
are texts, media and people: no script, no address that grants access, no name of the person who consented. It is a
record, not a signature: who can change the file can change the record.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from airflow.sdk import get_current_context
from pydantic import ValidationError

from voice_provider.exceptions import InvalidInputError, StorageError
from voice_provider.files import beside
from voice_provider.files.locations import explained, open_path
from voice_provider.files.storage import is_kept
from voice_provider.trust.origin import Origin, Run, Speaker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import ObjectStoragePath

    from voice_provider.models import Manifest
    from voice_provider.trust.sidecar import Sidecar

ENDING = ".provenance.json"
MAX_NAME = 255  # bytes of a file's name
MAX_RECORD = 4 * 1024 * 1024  # bytes; that of a track names each of its takes in 150
AT_ONCE = 100  # records that are asked for together, where the storage can

T = TypeVar("T")


def current_run() -> Run | None:
    """Return the run of the task that this code is part of, if it is part of one."""
    try:
        return Run.of(get_current_context()["ti"])
    except RuntimeError:
        return None


def check_name(location: str) -> None:
    """Find out before anything is paid whether the record can stand beside a result.

    :raises InvalidInputError: the name of the result is too long
    """
    longest = MAX_NAME - len(ENDING)
    if len(os.fsencode(location.rpartition("/")[2])) > longest:
        raise InvalidInputError(
            f"The output's file name is too long: at most {longest} bytes, because a record is kept beside it under "
            f"the same name and '{ENDING}'. Shorten it."
        )


def carry(manifest: Manifest, origin: Origin) -> Manifest:
    """Return a manifest with what the next task needs for its record."""
    return manifest.model_copy(update={"consent": _one_or_all(origin.consents), "samples": origin.samples or None})


def keep(manifest: Manifest, origin: Origin, run: Run | None) -> Manifest:
    """Write the record of a result that is in its place, and return its manifest with what the next task needs.

    :raises StorageError: it cannot be written; the result is there all the same
    """
    from voice_provider.trust import sidecar as parts  # noqa: PLC0415  # not when a DAG is parsed

    speakers = origin.speakers or ((Speaker(id=manifest.voice_id),) if manifest.voice_id else ())
    facts, captions = manifest.model_dump(), manifest.captions
    sidecar = parts.Sidecar(
        file=parts.File(**{**facts, "name": _name(manifest.uri)}),
        made=parts.Making(**facts, settings=origin.settings),
        voice=_one_or_all(speakers),
        inputs=origin.inputs,
        consent=_one_or_all([parts.ConsentPart(id=one.id, sha256=one.sha256) for one in origin.consents]),
        captions=parts.CaptionsPart(name=_name(captions.uri), sha256=captions.sha256) if captions else None,
        run=run,
        kept_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    place = manifest.uri + ENDING
    try:
        beside.put(place, sidecar.text().encode(), str(run), result=manifest)
    except Exception as error:  # noqa: BLE001  # every backend has an exception tree of its own
        raise StorageError(
            f"The record {place} cannot be written: {str(error).rstrip('.') or type(error).__name__}. The result "
            "itself is kept, and a retry of an operator writes the record and does not pay again."
        ) from None
    return carry(manifest, origin)


def copy_record(source: str, copy: str, allowed: Sequence[str] = ()) -> None:
    """Write the record of a kept result beside a copy of it.

    :param source: of the result, path or URI
    :param copy: path or URI
    :param allowed: the connection's allowed output prefixes
    :raises VoiceError: there is no record, or it cannot be written
    """
    with explained(f"The record of {source} cannot be copied to {copy}{ENDING}", "Check the worker's permissions."):
        with open_path(source + ENDING).open("rb") as stream:
            record = json.loads(stream.read(MAX_RECORD))
        record["file"]["name"] = _name(copy)
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        beside.put(copy + ENDING, text.encode(), "copy", allowed=allowed)


def _name(location: str) -> str:
    return location.rpartition("/")[2]


def _one_or_all(values: Sequence[T]) -> T | tuple[T, ...] | None:
    return tuple(values) if len(values) > 1 else values[0] if values else None


def verify(location: str) -> tuple[Sidecar | None, str | None]:
    """Check a file against the record beside it.

    :param location: of the file, path or URI
    :return: the record, as far as there is one that can be read; and what is wrong, or None where the file is what was
        kept
    :raises VoiceError: the storage does not answer
    """
    place = location + ENDING
    with explained(f"{location} cannot be checked", "Check the location and your permissions."):
        if not _is_file(open_path(location)):
            return None, f"There is no file at {location}. Check the location."
        path = open_path(place)
        if not _is_file(path):
            return None, (
                f"There is no record beside it ({place}). It was not kept by a task of this package, or the record was "
                "not copied along with it."
            )
        with path.open("rb") as stream:
            data = stream.read(MAX_RECORD + 1)
    try:
        sidecar = _parsed(data)
    except ValidationError as error:
        fields = ", ".join(dict.fromkeys(str(item["loc"][0]) for item in error.errors() if item["loc"]))
        return None, (
            f"The record {place} cannot be read ({fields or 'no JSON'}). Fetch it anew from where the result was kept, "
            "or use a newer version of this package."
        )
    if is_kept(location, sidecar.file.sha256, sidecar.file.bytes):
        return sidecar, None
    return sidecar, (
        f"{location} is not the file that was kept ({sidecar.file.bytes:,} bytes, sha256 {sidecar.file.sha256}): it "
        "has been changed, cut short or replaced. Fetch it anew from where the result was kept."
    )


def records_below(location: str) -> Iterator[Sidecar | None]:
    """Read every record below a folder; None for each that cannot be read.

    :param location: path or URI
    :raises InvalidInputError: there is no such folder
    :raises StorageError: the storage does not answer
    """
    with explained(f"{location} cannot be read", "Check the location and your permissions."):
        folder = open_path(location)
        if not folder.fs.exists(folder.path):
            raise FileNotFoundError("there is nothing there")
        names = sorted(name for name in folder.fs.find(folder.path) if name.endswith(ENDING))
        for start in range(0, len(names), AT_ONCE):
            for found in folder.fs.cat_ranges(names[start : start + AT_ONCE], 0, MAX_RECORD + 1, on_error="raise"):
                yield _read(found)


def _read(data: bytes) -> Sidecar | None:
    try:
        return _parsed(data)
    except ValidationError:
        return None


def _parsed(data: bytes) -> Sidecar:
    from voice_provider.trust.sidecar import Sidecar  # noqa: PLC0415  # as in keep

    return Sidecar.model_validate_json(data if len(data) <= MAX_RECORD else b"")


def _is_file(path: ObjectStoragePath) -> bool:
    try:
        return bool(path.fs.info(path.path)["type"] == "file")  # path.is_file() would not use Airflow's connection
    except (FileNotFoundError, NotADirectoryError):
        return False
