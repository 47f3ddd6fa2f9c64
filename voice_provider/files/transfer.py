"""Bytes on their way into a place: piece by piece, whole or not at all, and tried again."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import tenacity

from voice_provider.files.locations import LASTING, check_opened, explained, is_local, local_path, open_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    # Opens the folder of a file, as one that may be written to; see ``opened``.
    Folder: TypeAlias = Callable[[Path], AbstractContextManager[int]]

BLOCK = 8 * 1024 * 1024  # bytes of one part of an object; s3fs would hold 50 MB of every open file in memory
CHUNK = 1024 * 1024  # bytes read and sent at a time: memory stays flat, and hashing beside it costs few hand-overs
SHARED = 0o640  # of a result and its record: its group may read them
UPLOADS = 3  # tries at least to put one result into its place
LASTING_FOR = 60.0  # seconds that an error is tried again which lies in the request: a right or a folder may come back
PAUSE = tenacity.wait_random_exponential(multiplier=0.5, max=30)


class SupersededError(OSError):
    """A later try of the same task receives into the same file."""


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file from its beginning, piece by piece."""
    file.seek(0)
    while piece := file.read(CHUNK):
        yield piece


@contextmanager
def opened(folder: Path, name: str = "", allowed: Sequence[str] = ()) -> Iterator[int]:
    """Open a folder to work in: names in it lead nowhere else, whatever its path is swapped for meanwhile.

    :param name: of the file in it that is meant
    :param allowed: the connection's allowed output prefixes
    :return: its handle, for ``create`` and ``rename``
    :raises NotAllowedError: it is not, or no longer, inside the allowed prefixes
    """
    handle = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)  # macOS has no O_PATH
    try:
        check_opened(handle, folder, allowed, "output", name)
        yield handle
    finally:
        os.close(handle)


def create(path: Path, folder: int | None = None) -> BinaryIO:
    """Create a file that only this user can read, in place of what a killed try left; no link is followed.

    :param folder: handle of the folder that it is in; default: where the path leads
    """
    name = path if folder is None else path.name
    unlink(path, folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return cast("BinaryIO", os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "rb+"))


def unlink(path: Path, folder: int | None = None) -> None:
    """Delete a file, or the link that has its name; see ``create``."""
    with suppress(FileNotFoundError):
        os.unlink(path if folder is None else path.name, dir_fd=folder)


def rename(part: Path, target: Path, folder: int) -> None:
    """Give a file its name in the same folder, in place of the file or the link that has it."""
    os.replace(part.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)


def reopen(path: Path) -> BinaryIO:
    """Open a file that ``create`` made; no link is followed."""
    return cast("BinaryIO", os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "rb+"))


def sync_folder(folder: Path) -> None:
    """Let a name in a folder outlive a crash of the machine, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def persist(action: Callable[[], None], until: float = 0.0) -> None:
    """Try until it succeeds or a time has come, three times at least.

    It is tried again, because what is in hand may have been paid for, and cannot be had a second time.

    :param until: wall-clock time, seconds since 1970; what lies in the request itself ends after a minute
    :raises Exception: the last error, as the storage raised it
    """
    began = time.time()

    def end(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        return min(until, began + LASTING_FOR) if isinstance(error, LASTING) else until

    tenacity.Retrying(
        stop=lambda state: state.attempt_number >= UPLOADS and time.time() >= end(state),
        wait=lambda state: min(PAUSE(state), max(end(state) - time.time(), 5)),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, Exception) and not isinstance(error, SupersededError)
        ),
        reraise=True,
    )(action)


def put(file: BinaryIO, location: str, folder: Folder = opened, mode: int = 0o600) -> None:
    """Write a copy of an open file to any storage, whole or not at all; folders are made.

    :param folder: opens the folder of a file on this machine
    :param mode: who may do what with a file on this machine; default: only this user
    """
    if not is_local(location):
        _upload(file, location)
        return
    target = local_path(location)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with folder(target.parent) as handle:
        try:
            with create(part, handle) as copy:
                for piece in pieces(file):
                    copy.write(piece)
                copy.flush()
                os.fsync(copy.fileno())
                share(copy, mode)
            rename(part, target, handle)
        finally:
            unlink(part, handle)
    sync_folder(target.parent)


def share(file: BinaryIO, mode: int = SHARED) -> None:
    """Let others read a file, where the file system knows of others."""
    with suppress(OSError):
        os.fchmod(file.fileno(), mode)


def _upload(file: BinaryIO, uri: str) -> None:
    """Write one object; fsspec would publish a half-written one on close, so on any error it is discarded."""
    path = open_path(uri)
    stream: Any = path.fs.open(path.path, "wb", block_size=BLOCK)
    try:
        for piece in pieces(file):
            stream.write(piece)
        stream.close()
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            stream.discard()
        stream.closed = True  # else the finalizer would close it, and close publishes
        raise


def exists(location: str) -> bool:
    """Whether there is something in a place."""
    path = open_path(location)
    return bool(path.fs.exists(path.path))  # path.exists() would not use Airflow's connection


def names_in(folder: str) -> list[str]:
    """Return the names of what is in a folder; none where there is no folder."""
    if is_local(folder):  # fsspec would look at each file, and hold what it saw
        with suppress(FileNotFoundError):
            return [path.name for path in local_path(folder).iterdir()]
        return []
    path = open_path(folder)
    path.fs.invalidate_cache()
    found = path.fs.ls(path.path, detail=False) if exists(folder) else []
    return [name.rstrip("/").rpartition("/")[2] for name in found]


def remove(location: str, allowed: Sequence[str] = ()) -> None:
    """Delete a file that is needed no more; what cannot be deleted, or not from there, stays.

    :param allowed: the connection's allowed output prefixes
    """
    with suppress(Exception):
        if is_local(location):
            file = local_path(location)
            with opened(file.parent, file.name, allowed) as folder:
                unlink(file, folder)
        else:
            path = open_path(location)
            path.fs.rm_file(path.path)


def is_kept(uri: str, sha256: str, size: int) -> bool:
    """Whether a result is still where it was kept, byte for byte."""
    digest = hashlib.sha256()
    with explained(f"The result kept at {uri} cannot be checked", "Check the worker's permissions."):
        try:
            path = open_path(uri)
            if path.stat().st_size != size:
                return False
            with path.open("rb", block_size=BLOCK) as file:
                while piece := file.read(CHUNK):
                    digest.update(piece)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return digest.hexdigest() == sha256
