"""When a failed task is tried again: ``voice_retry_policy()``, for a task's ``retry_policy`` or ``default_args``."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from voice_provider.compat import SINCE_3_3, RetryDecision, RetryPolicy
from voice_provider.exceptions import JobTimeoutError, PermanentVoiceError, RateLimitedError, TransientVoiceError

if TYPE_CHECKING:
    from airflow.sdk import Context

AT_ONCE = timedelta(seconds=1)


class VoiceRetryPolicy(RetryPolicy):
    """Waits as long as an error asks for; see ``voice_retry_policy``."""

    def __init__(self, first: timedelta, longest: timedelta) -> None:
        self.first = first
        self.longest = longest

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002  # Airflow's signature
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the kind of error; what is not this provider's is left to the task's own settings."""
        kind = type(exception).__name__
        if isinstance(exception, PermanentVoiceError):
            return RetryDecision.fail(reason=f"{kind}: another try would fail the same way")
        if isinstance(exception, JobTimeoutError):
            return RetryDecision.retry(AT_ONCE, reason="the job goes on; the next try waits for it")
        if isinstance(exception, RateLimitedError) and exception.retry_after is not None:
            spread = random.uniform(0, 1 + exception.retry_after / 10)  # noqa: S311  # not all at the same moment
            wait = timedelta(seconds=exception.retry_after + spread)
            return RetryDecision.retry(wait, reason=f"{kind}: the service asked to wait {exception.retry_after:g} s")
        if isinstance(exception, TransientVoiceError):
            longer = self.first * 2 ** min(max(try_number - 1, 0), 20)
            wait = min(longer, self.longest) * random.uniform(0.8, 1.2)  # noqa: S311
            return RetryDecision.retry(wait, reason=f"{kind}: waiting longer with each try")
        return RetryDecision.default()


def voice_retry_policy(
    *, first: timedelta = timedelta(seconds=30), longest: timedelta = timedelta(minutes=15)
) -> VoiceRetryPolicy:
    """Return the retry policy for tasks of this provider; ``retries`` still says how often.

    Auth, quota, invalid input: the task fails at once (it does so without the policy, too). Rate limits: as long as
    the service asked. Outages, and results that did not arrive whole: longer each time. A timeout: at once, because
    the job goes on and waiting is free.

    :param first: wait before the second try after an outage; default: 30 s
    :param longest: longest wait after an outage; default: 15 minutes
    :raises RuntimeError: this Airflow has no retry policies (they came with 3.3)
    """
    if not SINCE_3_3:
        raise RuntimeError(
            "voice_retry_policy() needs Airflow 3.3. Before, use retries=3, retry_delay=timedelta(seconds=30) and "
            "retry_exponential_backoff=True; what cannot get better fails at once all the same."
        )
    return VoiceRetryPolicy(first, longest)
