"""What the tests of the official SDKs share: asynchronous clients used like synchronous ones, and lists of calls."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class Awaiting:
    """Stands in front of an asynchronous client, waits for each of its calls and gathers each of its streams.

    So a test of the synchronous client is one of the asynchronous client, too. A list as a positional argument is text
    that is written by and by.
    """

    def __init__(self, client: Any, runner: asyncio.Runner) -> None:
        self._client, self._runner = client, runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return Awaiting(found, self._runner)
        found = getattr(found, "awaitable", found)  # the name of the asynchronous form in Fish Audio's older package

        def call(*args: Any, **kwargs: Any) -> Any:
            args = tuple(by_and_by(given) if isinstance(given, list) else given for given in args)
            return self._runner.run(_settled(found(*args, **kwargs)))

        return call


async def by_and_by(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _settled(outcome: Any) -> Any:
    if inspect.isawaitable(outcome):
        outcome = await outcome
    return [piece async for piece in outcome] if hasattr(outcome, "__aiter__") else outcome


@contextmanager
def clients(client: Callable[[str], Any], *, asynchronous: bool) -> Iterator[Callable[..., Any]]:
    """Give a function that makes clients with a key; they are closed at the end."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def connect(api_key: str = API_KEY) -> Any:
            made = client(api_key)
            sdk = Awaiting(made, runner) if asynchronous else made
            if hasattr(made, "close"):
                stack.callback(sdk.close)
            return sdk

        yield connect


def calls(client: Any, package: str, prefix: str = "") -> Iterator[str]:
    """Every public call of a client and of the resources that it leads to, such as `voices.list`."""
    for name in dir(client):
        if name.startswith("_"):
            continue
        found = getattr(client, name)
        if callable(found):
            yield prefix + name
        elif type(found).__module__.partition(".")[0] == package:
            yield from calls(found, package, f"{prefix}{name}.")


def assert_covered(client: Any, package: str, covered: dict[str, Callable[..., Any]]) -> None:
    """Compare what there is to call with a table of the tests that do it, and look whether they really do."""
    assert set(calls(client, package)) == covered.keys()
    for call, test in covered.items():
        assert f".{call}(" in inspect.getsource(test), f"{test.__name__} does not call {call}"
