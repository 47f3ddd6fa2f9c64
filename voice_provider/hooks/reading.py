"""Answers of any size, packing and speed, taken in bounded pieces and in bounded time."""

from __future__ import annotations

import math
import time
import zlib
from typing import TYPE_CHECKING

import httpx

from voice_provider.exceptions import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = "gzip, deflate"  # what is undone here
MAX_ANSWER = 16 * 1024 * 1024  # bytes of an answer that is no file, unpacked
PIECE = 256 * 1024


class Unpacker:
    """Undoes what an answer was packed with, in pieces of bounded size.

    :param encoding: the header ``Content-Encoding``
    :raises ServiceUnavailableError: it is packed in a way that was not asked for
    """

    def __init__(self, encoding: str) -> None:
        packed = encoding.strip().lower()
        if packed not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ServiceUnavailableError(f"The answer is packed as '{packed[:20]}', which was not asked for.")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed not in ("", "identity") else None

    def pieces(self, raw: bytes) -> Iterator[bytes]:
        """Yield what some bytes of the wire are.

        :raises httpx.DecodingError: they are broken
        """
        if self._inflate is None:
            yield raw
            return
        while raw and not self._inflate.eof:
            try:
                piece = self._inflate.decompress(raw, PIECE)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from None
            raw = self._inflate.unconsumed_tail
            if piece:
                yield piece


class Pace:
    """How fast a file comes, whose whole time nobody knows: in each while it has to move on.

    :param least: bytes a second
    :param seconds: a while
    """

    def __init__(self, least: int, seconds: float) -> None:
        self._least, self._seconds = least, seconds
        self._begun, self._come = time.monotonic(), 0

    def add(self, size: int) -> None:
        """Count the next bytes of the wire.

        :raises ServiceUnavailableError: too few have come in the last while
        """
        now = time.monotonic()
        self._come += size
        if now - self._begun < self._seconds:
            return
        if self._come < self._least * self._seconds:
            raise ServiceUnavailableError(
                f"Of the file {self._come:,} bytes came in {now - self._begun:.0f} s: it comes drop by drop. Check the "
                "network; a retry goes on where it can."
            )
        self._begun, self._come = now, 0


class Whole:
    """An answer that is read whole, up to ``MAX_ANSWER`` bytes and for a number of seconds.

    :param answer: its head
    :param seconds: that it may take from now on
    :param until: monotonic time by which it has to be there in any case
    """

    def __init__(self, answer: httpx.Response, seconds: float, until: float = math.inf) -> None:
        self._unpacker = Unpacker(answer.headers.get("content-encoding", ""))
        self._seconds, self._until = seconds, min(time.monotonic() + seconds, until)
        self._content = bytearray()

    def add(self, raw: bytes) -> None:
        """Take the next bytes of the wire.

        :raises ServiceUnavailableError: the answer is too long, or comes too slowly
        """
        for piece in self._unpacker.pieces(raw):
            self._content += piece
            if len(self._content) > MAX_ANSWER:
                raise ServiceUnavailableError(
                    f"The answer is longer than {MAX_ANSWER // 1024**2} MiB, which no answer of the service is."
                )
        if time.monotonic() > self._until:
            raise ServiceUnavailableError(
                f"The answer had not come whole after {self._seconds:g} s; it comes drop by drop. Check the network."
            )

    def content(self, key: str) -> bytes:
        """Return what came, without the key, wherever the service repeats it."""
        return bytes(self._content).replace(key.encode(), b"***")


def let_go(answer: httpx.Response) -> None:
    """Forget the stream of an answer that is closed.

    In httpx each holds the other, and forty objects with them: on a triggerer they would pile up until Python's
    collector stops the loop to walk through all of them.
    """
    answer.stream = httpx.ByteStream(b"")
