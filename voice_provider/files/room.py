"""The room that a result needs on this worker, taken before it is paid, where nobody else can look."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from voice_provider.exceptions import StorageError
from voice_provider.files.transfer import CHUNK

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def private_folder() -> Path:
    """Return this worker's folder for what goes to an object store; nobody else can look or write into it.

    :raises StorageError: it belongs to somebody else, or is open to others
    """
    folder = Path(tempfile.gettempdir()) / f"voice-provider-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            f"{folder} is not a folder of this worker alone, so nothing is received into it; nothing was paid. Remove "
            "it, or set TMPDIR."
        )
    return folder


def reserve(file: BinaryIO, size: int, place: Path) -> None:
    """Take the room that a result needs, before it is paid.

    :param size: bytes; 0 takes none
    :param place: of the file, for the message
    :raises StorageError: there is no room for it
    """
    try:
        if size:
            _fill(file.fileno(), size)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StorageError(
            f"There is no room for {size:,} bytes at {place.parent}: {error.strerror}; nothing was paid. Make room; a "
            "retry asks again."
        ) from None


def _fill(handle: int, size: int) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) in _NO_ROOM:
            raise
        at = 0  # the file system, or the system, has none: zeros take the room as well
        while at < size:
            at += os.pwrite(handle, bytes(min(CHUNK, size - at)), at)
    os.fsync(handle)  # a network's file system says only now that it is full
