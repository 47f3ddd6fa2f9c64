"""How often a request is sent: again where nothing can be paid twice by it, and as long as somebody waits for it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import tenacity

from voice_provider.exceptions import ConcurrencyLimitError, RateLimitedError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.services.base import Request

ATTEMPTS = 5
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts; a longer Retry-After is left to Airflow's own retry
LAST_QUESTION = 5.0  # seconds beyond the end of a wait in which the last answer may come


def retrying(
    request: Request, attempts: int, until: float, report: Callable[[tenacity.RetryCallState], None]
) -> tenacity.Retrying:
    """Return what calls a function that sends a request, again and again where that is safe.

    :param attempts: how often at most
    :param until: monotonic time after which nobody waits for an answer
    :param report: called before each pause
    """

    def is_over(state: tenacity.RetryCallState) -> bool:
        too_late = _is_question(request) and time.monotonic() + state.upcoming_sleep > until
        return too_late or state.attempt_number >= attempts

    return tenacity.Retrying(
        stop=is_over,
        wait=_wait,
        retry=tenacity.retry_if_exception(lambda error: _may_repeat(request, error)),
        before_sleep=report,
        reraise=True,
    )


def in_time(request: Request, until: float) -> Request:
    """Return a question with the time that its answer may take; what orders is never given up for being late."""
    if until == math.inf or not _is_question(request):
        return request
    return replace(request, at_most=max(0.0, until - time.monotonic()) + LAST_QUESTION)


def _is_question(request: Request) -> bool:
    return request.method == "GET" and request.sink is None


def _may_repeat(request: Request, error: BaseException) -> bool:
    """Whether the same request may be sent again at once: nothing may be paid twice by it."""
    if isinstance(error, ConcurrencyLimitError) and not error.brief:
        return False  # a state that can last for minutes; the job's life cycle waits for it
    if isinstance(error, RateLimitedError):  # the service's own word: it did not accept the request
        return error.retry_after is None or error.retry_after <= LONGEST_WAIT
    if not isinstance(error, ServiceUnavailableError) or error.job_id:
        return False
    if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
        return False  # left to Airflow's own retry
    if not request.may_repeat:
        return error.status is None and not error.sent  # no connection came about, so nobody got it
    # A refusal of the service's own will not change within seconds; what is in between hiccups.
    return error.foreign or error.status is None or error.status >= httpx.codes.INTERNAL_SERVER_ERROR


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the service asked, else longer and longer with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    jittered = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=8, min=FIRST_WAIT / 2)(state)
    return float(asked) + min(jittered, 1.0) if asked is not None else float(jittered)
