"""The head of an answer in bounded time, on the worker.

httpx' timeout is for each single read. A host that sends its headers letter by letter would keep a worker for days: it
has one body to say, and so many bytes of headers before it. On the triggerer an attempt is cancelled as a whole; here
each read waits for no longer than what is left.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

_limits: ContextVar[tuple[float, float] | None] = ContextVar("voice_provider_head_limits", default=None)


@contextmanager
def head_within(seconds: float, until: float) -> Iterator[None]:
    """Let what is sent in here have its head answered in time.

    :param seconds: that it may take after the last byte was sent
    :param until: monotonic time by which it has to be there, however long the sending took
    :raises httpx.ReadTimeout: the head had not come whole by then
    """
    before = _limits.set((seconds, until))
    try:
        yield
    finally:
        _limits.reset(before)


def bounded(client: httpx.Client) -> httpx.Client:
    """Make a client heed ``head_within``, also where it goes through a proxy."""
    # httpx has no door for it; a test with dripping headers tells when these names change.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001
    return client


class _Backend:
    """httpcore's own way to the network, whose connections are watched."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def connect_tcp(self, *args: Any, **options: Any) -> _Connection:
        return _Connection(self._real.connect_tcp(*args, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Connection:
    def __init__(self, real: Any) -> None:
        self._real = real
        self._until: float | None = None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._until = None
        self._real.write(buffer, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limits = _limits.get()
        if limits is not None:
            seconds, latest = limits
            now = time.monotonic()
            self._until = self._until or min(now + seconds, latest)
            if now >= self._until:
                raise httpx.ReadTimeout(f"The head of the answer had not come after {seconds:g} s.")
            timeout = min(self._until - now, seconds if timeout is None else timeout)
        data: bytes = self._real.read(max_bytes, timeout)
        return data

    def start_tls(self, *args: Any, **options: Any) -> _Connection:
        return _Connection(self._real.start_tls(*args, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
