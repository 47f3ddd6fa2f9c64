"""Locations of files: a path or a URI of any ``ObjectStoragePath``, checked before anything is opened.

Locations come from outside (a form in the UI, a database), so they are never trusted: the connection's allowed
prefixes are compared after normalising, and nothing is read or written elsewhere.
"""

from __future__ import annotations

import os
import re
import unicodedata
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from voice_provider.exceptions import InvalidInputError, NotAllowedError, StorageError, VoiceError
from voice_provider.services.options import is_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import ObjectStoragePath

MAX_TEXT = 1024 * 1024  # bytes of a script that is read from storage

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEME = re.compile(r"(?!local$)[a-z][a-z0-9+.-]*")  # "local" would be a second name of "file", past the checks


def local_path(location: str) -> Path:
    """Return the path of a location on this machine."""
    return Path(location.removeprefix("file://"))


def is_local(location: str) -> bool:
    """Whether a location is on this machine."""
    return "://" not in location or location.startswith(("/", "file://"))


def bare(url: str) -> str:
    """Return an address without what may grant access: no user, query or fragment; other texts as they are."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def output_of(value: Any) -> str:
    """Return the location of an output as text: a path object without an ending is a folder, as none ends in "/"."""
    text = str(value).strip()
    is_folder = is_path(value) and not text.endswith("/") and re.search(r"\.[A-Za-z0-9]+$", text) is None
    return f"{text}/" if is_folder else text


def is_location(text: str) -> bool:
    """Tell a storage location (a path, or a URI of anything but the web) from ids and web addresses."""
    scheme, found, _ = text.strip().lower().partition("://")
    return text.startswith("/") or (bool(found) and scheme not in ("http", "https"))


def _normalise(location: str) -> str:
    """Return the location in one comparable form: links of this machine resolved, an object store's key as written.

    The connection's id belongs to it: it decides whose bucket is meant. The location itself is opened later, so a
    spelling that could be read in two ways is refused here.
    """
    if "::" in location or _CONTROL.search(location):
        raise NotAllowedError("A storage location must be one plain path or URI, without '::' or control characters.")
    scheme, _, rest = ("file", "", location) if location.startswith("/") else location.partition("://")
    if scheme.lower() in ("http", "https"):
        raise InvalidInputError(
            f"'{bare(location)}' is an address in the web, no storage location. Put the file into a folder or "
            "an object store first and give its location there; a service that fetches files itself takes an address "
            "as sample, video, image or audio."
        )
    if not rest or not _SCHEME.fullmatch(scheme):
        raise InvalidInputError(f"'{location}' is no location. Give an absolute path or a URI such as s3://bucket/key.")
    if scheme == "file":
        if not rest.startswith("/") or rest.startswith("//"):
            raise InvalidInputError(f"'{location}' names a host. Write /{rest.lstrip('/')} or file:///… instead.")
        return "file://" + os.path.realpath(rest) + ("/" if rest.endswith("/") and rest != "/" else "")
    # Stores, and what speaks for them, differ in whether %2e, a backslash or a look-alike is a dot or a slash.
    read_otherwise = unicodedata.normalize("NFKC", unquote(rest)).replace("\\", "/")
    if {".", ".."} & {segment.strip() for text in (rest, read_otherwise) for segment in text.split("/")}:
        raise NotAllowedError(
            f"The location '{location}' has dot segments, which object stores read in two ways: write it out."
        )
    return f"{scheme}://{rest}"


def check_allowed(location: str, allowed: Sequence[str], purpose: str, place: str | None = None) -> None:
    """Refuse a location outside the connection's allowed prefixes.

    :param allowed: prefixes; none means that everything is allowed
    :param purpose: ``input`` or ``output``, for the message
    :param place: the path without links where it really is; default: where its links lead now
    :raises NotAllowedError: naming the location and the setting that would allow it
    """
    place = _normalise(location) if place is None else f"file://{place}"
    try:
        prefixes = [_normalise(prefix).rstrip("/") + "/" for prefix in allowed]
    except InvalidInputError as error:
        raise NotAllowedError(f"allowed_{purpose}s of the connection cannot be used: {error}") from None
    if not prefixes or any((place + "/").startswith(prefix) for prefix in prefixes):
        return
    raise NotAllowedError(
        f"The {purpose} location {location} is outside the storage that the connection allows. Use one of "
        f"{', '.join(allowed)}, or add it to allowed_{purpose}s of the connection."
    )


def open_local(path: Path, allowed: Sequence[str] = ()) -> BinaryIO:
    """Open an input on this machine for reading, where its links lead and as far as that is allowed.

    The path may have been swapped for a link since it was checked, so what is open is judged: by its one name without
    links, which has to be that of the very same file.

    :raises NotAllowedError: it is not inside, or its path leads elsewhere now
    """
    file = path.open("rb", buffering=0)
    try:
        check_opened(file.fileno(), path, allowed, "input")
    except BaseException:
        file.close()
        raise
    return file


def check_opened(handle: int, path: Path, allowed: Sequence[str], purpose: str, name: str = "") -> None:
    """Refuse what was opened under a path and is not inside the allowed prefixes, or not what the path leads to.

    :param handle: of the open file or folder
    :param name: of the file in a folder that is meant
    :raises NotAllowedError: naming the path
    """
    if not allowed:
        return
    real = os.path.realpath(path)
    try:
        is_same = os.path.samestat(os.lstat(real), os.fstat(handle))
    except FileNotFoundError:
        is_same = False
    if not is_same:
        raise NotAllowedError(
            f"The {purpose} location {path} leads elsewhere since it was checked: somebody swaps files or links there. "
            "Nothing was read or written; find out who may write to its folders."
        )
    check_allowed(str(path), allowed, purpose, f"{real.rstrip('/')}/{name}" if name else real)


def open_path(location: str) -> ObjectStoragePath:
    """Open a location through Airflow, whose connections and filesystems it uses."""
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415  # loads fsspec's registry, which DAG parsing need not

    return ObjectStoragePath(location)


# What lies in the request itself: another try would fail the same way.
LASTING = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ValueError,
    ImportError,
)


def reason_of(error: Exception) -> str:
    """Return what a storage backend's error says, without a full stop."""
    reason = str(error)
    if isinstance(error, FileNotFoundError) and "does not exist" not in reason:
        reason = "it does not exist"
    if isinstance(error, FileExistsError):
        reason = f"{error.filename} is a file, not a folder"
    return reason.rstrip(".") or type(error).__name__


@contextmanager
def explained(what: str, next_step: str) -> Iterator[None]:
    """Turn a storage backend's error into ours: what lies in the request fails at once, the rest may be retried."""
    try:
        yield
    except VoiceError:
        raise
    except Exception as error:  # noqa: BLE001  # every backend has an exception tree of its own
        reason = reason_of(error)
        if reason.startswith("No filesystem registered"):
            next_step = "Install this storage's Airflow provider, such as apache-airflow-providers-amazon[s3fs]."
        kind = InvalidInputError if isinstance(error, LASTING) else StorageError
        raise kind(f"{what}: {reason}. {next_step}") from None


def reading(location: str) -> AbstractContextManager[None]:
    """Explain what goes wrong while an input is read."""
    return explained(f"The input {location} cannot be read", "Check the location and the worker's permissions.")


def read_bytes(location: str, allowed: Sequence[str] = (), most: int = MAX_TEXT) -> bytes:
    """Read a file that is no media from storage.

    :param most: bytes
    :raises InvalidInputError: missing, or larger
    """
    check_allowed(location, allowed, "input")
    with reading(location):
        path = open_path(location)
        if path.stat().st_size > most:
            raise InvalidInputError(
                f"The script {location} is larger than {most / 1024**2:g} MiB: is it the right file?"
            )
        # path.read_bytes() would not use Airflow's connection
        with open_local(Path(path.path), allowed) if is_local(location) else path.open("rb") as file:
            return bytes(file.read())


def read_text(location: str, allowed: Sequence[str] = ()) -> str:
    """Read a script from storage (UTF-8, at most 1 MiB).

    :raises InvalidInputError: missing, too long, or not text
    """
    try:
        text = read_bytes(location, allowed, MAX_TEXT).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidInputError(f"The script {location} is not UTF-8 text. Save it as UTF-8.") from None
    if "\0" in text:
        raise InvalidInputError(
            f"The script {location} has zeros in it: it is UTF-16, or no text at all. Save it as UTF-8."
        )
    return text
