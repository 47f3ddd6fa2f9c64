"""Drive a flow by hand: what it sends is recorded, and the test writes the answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from voice_provider.services.base import Response

if TYPE_CHECKING:
    from voice_provider.exceptions import VoiceError
    from voice_provider.services.base import Flow, Request

T = TypeVar("T")


def answer(body: Any = None, status: int = 200, **headers: str) -> Response:
    """An answer with a JSON body, or with text as it is; header names with ``_`` for ``-``."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, content=content
    )


def drive(flow: Flow[T], *answers: Response | VoiceError) -> tuple[T, list[Request]]:
    """Send the answers (errors are thrown in, as the driver does); return the result and the requests."""
    sent: list[Request] = []
    try:
        sent.append(next(flow))
        for item in answers:
            request = flow.throw(item) if isinstance(item, Exception) else flow.send(item)
            sent.append(request)
    except StopIteration as stop:
        assert len(sent) == len(answers), f"{len(answers)} answers for {sent}"
        result: T = stop.value
        return result, sent
    finally:
        flow.close()
    raise AssertionError(f"The flow asks for more than was answered: {sent}")
