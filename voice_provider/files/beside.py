"""Small files that stand beside a result: its record, its captions."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import tenacity

from voice_provider.files.locations import LASTING, is_local, local_path, open_path
from voice_provider.files.transfer import UPLOADS, create, opened, rename, share, unlink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.models import Manifest


@tenacity.retry(
    stop=tenacity.stop_after_attempt(UPLOADS),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    retry=tenacity.retry_if_exception(lambda error: isinstance(error, Exception) and not isinstance(error, LASTING)),
    reraise=True,
)
def put(place: str, data: bytes, writer: str, *, result: Manifest | None = None, allowed: Sequence[str] = ()) -> None:
    """Put a file in its place, whole or not at all.

    :param place: path or URI
    :param writer: names the temporary file, so that a try after a kill replaces it, and two tasks do not meet
    :param result: what it stands beside, where that is there already; a folder without it has been swapped for another
    :param allowed: the connection's allowed output prefixes
    """
    if not is_local(place):
        path = open_path(place)
        path.fs.pipe_file(path.path, data)
        return
    target = local_path(place)
    part = target.with_name(f".{hashlib.sha256(f'{place}{writer}'.encode()).hexdigest()[:16]}.part")
    with opened(target.parent, target.name, allowed) as folder:
        if result is not None:
            there = os.stat(local_path(result.uri).name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(there.st_mode) or there.st_size != result.bytes:
                raise FileNotFoundError(f"{result.uri} is not the result that was kept there")
        try:
            with create(part, folder) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                share(file)
            rename(part, target, folder)
        finally:
            unlink(part, folder)
