"""When a task is tried again, decided by the kind of error."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from voice_provider import exceptions, retries
from voice_provider.compat import SINCE_3_3
from voice_provider.exceptions import VoiceError
from voice_provider.operators.voice import DeleteVoiceOperator
from voice_provider.retries import voice_retry_policy

if SINCE_3_3:
    from airflow.sdk import RetryAction
    from airflow.sdk.definitions.retry_policy import RetryPolicy

needs_policies = pytest.mark.skipif(not SINCE_3_3, reason="Airflow 3.2 has no retry policies")


def kinds(base: type) -> list[type]:
    return [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, base)]


def decide(error: BaseException, try_number: int = 1, **options: Any) -> Any:
    return voice_retry_policy(**options).evaluate(error, try_number, 3)


@needs_policies
@pytest.mark.parametrize("kind", kinds(exceptions.PermanentVoiceError))
def test_what_would_fail_again_fails_at_once(kind: type[VoiceError]) -> None:
    decision = decide(kind("no"))
    assert decision.action is RetryAction.FAIL
    assert kind.__name__ in decision.reason


@needs_policies
@pytest.mark.parametrize("kind", [exceptions.RateLimitedError, exceptions.ConcurrencyLimitError])
def test_a_limit_is_waited_for_as_it_says(kind: Any) -> None:
    decision = decide(kind("slowly", retry_after=600))
    assert decision.action is RetryAction.RETRY
    assert timedelta(seconds=600) <= decision.retry_delay <= timedelta(seconds=661)


@needs_policies
@pytest.mark.parametrize(
    "error",
    [
        exceptions.ServiceUnavailableError("x"),
        exceptions.RateLimitedError("x"),
        exceptions.VoiceNotReadyError("x"),
        exceptions.ResultError("x"),
        exceptions.StorageError("x"),
    ],
)
def test_an_outage_is_waited_for_longer_each_time(error: VoiceError) -> None:
    waits = [decide(error, number).retry_delay.total_seconds() for number in range(1, 12)]
    for wait, expected in zip(waits, [30, 60, 120, 240, 480, 900, 900, 900, 900, 900, 900], strict=True):
        assert wait == pytest.approx(expected, rel=0.21)
    short = decide(error, 9, first=timedelta(seconds=1), longest=timedelta(seconds=2)).retry_delay
    assert short <= timedelta(seconds=2.4)


@needs_policies
def test_a_wait_that_timed_out_goes_on_at_once() -> None:
    decision = decide(exceptions.JobTimeoutError("still running"))
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay <= timedelta(seconds=5)


@needs_policies
@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("x")])
def test_everything_else_is_left_to_the_task(error: BaseException) -> None:
    assert decide(error).action is RetryAction.DEFAULT


@needs_policies
def test_every_error_of_the_provider_is_decided_on() -> None:
    decisions = {kind.__name__: decide(kind("x")).action for kind in kinds(VoiceError) if kind is not VoiceError}
    permanent = {kind.__name__ for kind in kinds(exceptions.PermanentVoiceError)}
    assert len(permanent) > 10
    assert len(decisions) - len(permanent) > 5
    for name, action in decisions.items():
        assert action is (RetryAction.FAIL if name in permanent else RetryAction.RETRY), name


@needs_policies
def test_airflow_takes_it_in_a_dag() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("retries", schedule=None, default_args={"retries": 2, "retry_policy": voice_retry_policy()}) as dag:
        task = DeleteVoiceOperator(task_id="t", voice=None)
    assert isinstance(task.retry_policy, RetryPolicy)
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("t").task_id == "t"


def test_an_airflow_without_policies_says_what_to_use_when_the_dag_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "SINCE_3_3", False)
    with pytest.raises(RuntimeError, match=r"needs Airflow 3\.3.*retries=3.*retry_exponential_backoff=True"):
        voice_retry_policy()
