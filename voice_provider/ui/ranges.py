"""Answers with a file or a part of it: players ask for parts, to seek (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO

from fastapi import status
from fastapi.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import Request

PIECE = 256 * 1024  # bytes


def ranged(request: Request, file: BinaryIO, size: int, media_type: str) -> Response:
    """Return what is asked for of an open file, which is closed at the end.

    A request for several parts gets the whole, as the standard allows.

    :param file: seekable
    :param size: bytes
    """
    first, last, code = 0, size - 1, status.HTTP_200_OK
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""), re.ASCII)
    if asked is not None and any(asked.groups()):
        begin, end = asked.groups()
        first = int(begin) if begin else max(0, size - int(end))
        last = min(int(end), size - 1) if begin and end else size - 1
        code = status.HTTP_206_PARTIAL_CONTENT
        if first > last:
            file.close()
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    # "identity": a part that is compressed on its way is no part of the file.
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1), "Content-Encoding": "identity"}
    if code == status.HTTP_206_PARTIAL_CONTENT:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(_pieces(file, first, last - first + 1), code, headers, media_type)


def _pieces(file: BinaryIO, first: int, left: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        while left > 0 and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
