"""Answers other than 2xx, raised where they are found out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response


def phrase(status: int) -> str:
    """A status in words; those that only some gateways know have none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class Refusal(Exception, ABC):  # noqa: N818 - it is an answer
    """What a request is refused with, in the shape of whoever refuses it."""

    @abstractmethod
    def response(self) -> Response: ...
