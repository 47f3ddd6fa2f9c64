"""What operations can count, through Airflow's own metrics: StatsD, Datadog or OpenTelemetry, as ``[metrics]`` says.

=========================  =======  ==========================  =====================================================
metric                     type     tags                        what it tells
=========================  =======  ==========================  =====================================================
``voice.orders``           counter  service, kind, outcome      what became of an order, see below
``voice.results``          counter  service, kind, outcome      ``kept``, or ``failed``: a job that ended without one
``voice.wait_duration``    timer    service, kind               from the order to its end, as the task sees it
``voice.receipt_duration`` timer    service, kind               fetching a job's result, checking it, putting it away
``voice.cost_microusd``    counter  service, kind               what results cost: 1,000,000 is a dollar
``voice.rate_limited``     counter  service, limit              answers with 429: too many ``requests``, or ``jobs``
``voice.slots_in_use``     gauge    service, connection         clones of the account, whenever they are counted
=========================  =======  ==========================  =====================================================

``kind`` is ``speech``, ``lip_sync``, ``clone`` or ``transcription``. An order that was sent is one of: ``accepted``;
``refused``, for good; ``postponed``, nothing was accepted, and another try may be; ``unknown``, it may be accepted and
paid; ``unusable``, it was answered, and what came is no good. Nothing was sent where it is ``found``, after a lost
answer, ``reused``, because it was there, or ``recovered``, from what a killed try had received.

Speech and lip syncs that were accepted and have neither been kept nor failed are at work, or wait to be collected; a
clone is kept where its task waits for it. Lines of a script have no timers. Costs that nobody knows are not counted,
and a result that has to be fetched again is counted again: the records in storage are the bill (``voice-provider
costs``). Timers have the unit of the backend, milliseconds in StatsD. No tag has a value that grows: no ids of jobs,
voices, runs or tasks.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import (
    ConcurrencyLimitError,
    PermanentVoiceError,
    RateLimitedError,
    ResultError,
    ServiceUnavailableError,
    StorageError,
    UnusableSpeechError,
    VoiceError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.models import Cost, Job

log = logging.getLogger(__name__)


def count(name: str, by: int = 1, **tags: str) -> None:
    """Count something.

    :param name: of the counter, without ``voice.``
    :param by: how many; default: 1
    """
    _tell("incr", name, by, tags)


def took(name: str, seconds: float, **tags: str) -> None:
    """Tell how long something took.

    :param name: of the timer, without ``voice.``
    """
    _tell("timing", name, timedelta(seconds=max(0.0, seconds)), tags)


def level(name: str, value: float, **tags: str) -> None:
    """Tell how much there is of something now.

    :param name: of the gauge, without ``voice.``
    """
    _tell("gauge", name, value, tags)


def result(job: Job, ordered_at: str | None, ended: float) -> None:
    """Count a result that is there, and tell how long it was waited for.

    :param ordered_at: ISO 8601; None: not known, or nothing was ordered
    :param ended: when the wait was over, wall-clock time, seconds since 1970
    """
    count("results", service=job.service, kind=job.kind, outcome="kept")
    if ordered_at is not None:
        waited = ended - datetime.fromisoformat(ordered_at).timestamp()
        took("wait_duration", waited, service=job.service, kind=job.kind)


def paid(cost: Cost | None, **tags: str) -> None:
    """Count what something has cost, where that is known."""
    if cost is not None and cost.usd:
        count("cost_microusd", round(cost.usd * 1_000_000), **tags)


def limits(error: VoiceError, service: str) -> VoiceError:
    """Count an answer that says that it is too much; return it, to be raised: a name would hold it and its frames."""
    if isinstance(error, RateLimitedError):
        jobs = isinstance(error, ConcurrencyLimitError) and not error.brief
        count("rate_limited", service=service, limit="jobs" if jobs else "requests")
    return error


@contextmanager
def ordered(service: str, kind: str) -> Iterator[None]:
    """Count what becomes of an order that is sent within."""
    try:
        yield
    except VoiceError as error:
        count("orders", service=service, kind=kind, outcome=_outcome(error))
        raise
    count("orders", service=service, kind=kind, outcome="accepted")


def _outcome(error: VoiceError) -> str:
    if isinstance(error, UnusableSpeechError | ResultError | StorageError):
        return "unusable"
    if isinstance(error, ServiceUnavailableError) and error.sent:
        return "unknown"
    return "refused" if isinstance(error, PermanentVoiceError) else "postponed"


def _tell(how: str, name: str, value: Any, tags: dict[str, str]) -> None:
    """Hand it to Airflow; neither its way there nor a backend is a reason to lose what was paid."""
    try:
        from airflow.sdk.observability.stats import Stats  # noqa: PLC0415  # not when a DAG is parsed

        getattr(Stats, how)(f"voice.{name}", value, tags=tags)
    except Exception as error:  # noqa: BLE001  # it may be another Airflow, and each backend has errors of its own
        log.debug("voice.%s was not counted: %s", name, error)
