"""How a service registers its half of the emulator. The world knows halves by this description alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.settings import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastapi import APIRouter
    from starlette.responses import Response
    from starlette.types import Scope, Send

    from voice_provider.emulator.world.state import Job, Row


@dataclass(frozen=True)
class Half:
    """What a service brings along.

    :param service: its name, which its jobs and its lines on the bill carry
    :param paths: which are its own: whole ones, and beginnings, which end in a slash
    :param router: its routes
    :param refuse: its answer where none of its endpoints made one, by status and reason: unknown paths, bugs ...
    :param ordered: its words for an injected fault, by path, status and the code that was ordered, if any
    :param settings: the knobs that are its own
    :param rows: the kinds of rows that are its own, each with its table
    :param price: what a finished job costs in dollars, by how much work it was; only for those who have jobs
    :param mark: a `send` that puts on every answer what all of them carry
    :param control: its own operations of the control plane
    :param summary: its part of what the control plane says of the state
    :param voices: the voices it keeps apart from the world's own, each with name and id
    :param join: called once, before the first request, for instance to hear of jobs that end
    """

    service: str
    paths: tuple[str, ...]
    router: APIRouter
    refuse: Callable[[Request, int, str], Response]
    ordered: Callable[[str, int, str | None], Response]
    settings: type[Section] = Section
    rows: tuple[type[Row], ...] = ()
    price: Callable[[Job, float], float] | None = None
    mark: Callable[[Send, Emulator, Scope], Send] | None = None
    control: APIRouter | None = None
    summary: Callable[[Emulator], dict[str, Any]] | None = None
    voices: Callable[[Emulator], list[tuple[str, str]]] | None = None
    join: Callable[[Emulator], None] | None = None

    def owns(self, path: str) -> bool:
        return any(path == own or (own.endswith("/") and path.startswith(own)) for own in self.paths)


def owner(halves: Iterable[Half], path: str) -> Half:
    """The half that a path belongs to; what is nobody's, such as the storage host's, is answered by the first."""
    first, *_ = halves
    return next((half for half in halves if half.owns(path)), first)


async def _emulator(request: Request) -> Emulator:
    emulator: Emulator = request.app.state.emulator
    return emulator


# What an endpoint of the control plane asks for.
Parts = Annotated[Emulator, Depends(_emulator)]
