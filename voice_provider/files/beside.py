"""Small files that stand beside a result: its record, its captions."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from urllib.parse import urlsplit

import tenacity

from voice_provider.files.locations import LASTING, local_path, open_path
from voice_provider.files.transfer import UPLOADS, create


@tenacity.retry(
    stop=tenacity.stop_after_attempt(UPLOADS),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    retry=tenacity.retry_if_exception(lambda error: isinstance(error, Exception) and not isinstance(error, LASTING)),
    reraise=True,
)
def put(place: str, data: bytes, writer: str) -> None:
    """Put a file in its place, whole or not at all.

    :param place: path or URI
    :param writer: names the temporary file, so that a try after a kill replaces it, and two tasks do not meet
    """
    if urlsplit(place).scheme not in ("", "file"):
        path = open_path(place)
        path.fs.pipe_file(path.path, data)
        return
    target = local_path(place)
    part = target.with_name(f".{hashlib.sha256(f'{place}{writer}'.encode()).hexdigest()[:16]}.part")
    try:
        with create(part) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            with suppress(OSError):
                os.fchmod(file.fileno(), 0o640)  # as the result beside it
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
