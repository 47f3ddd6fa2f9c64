"""Dates and ages: UTC to the second, wherever the worker stands, through month ends, leap days and clock changes."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
import time_machine
from airflow.sdk import DAG
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Task, know_runs
from voice_provider.exceptions import InvalidInputError
from voice_provider.jobs.inventory import ManagedVoice, Rules, judge
from voice_provider.jobs.names import ManagedName
from voice_provider.models import Voice
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.times import begin_of, end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

DAY = 86_400
NOW = pendulum.datetime(2026, 3, 31, 12)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata"]


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """A worker that stands elsewhere."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    pendulum.set_local_timezone(pendulum.timezone(request.param))  # it looks once, and remembers
    yield request.param
    pendulum.set_local_timezone()
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


# what authors write


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-12-31", "2027-01-01T00:00:00Z"),
        (" 20261231 ", "2027-01-01T00:00:00Z"),
        (date(2028, 2, 29), "2028-03-01T00:00:00Z"),
        (pendulum.date(2028, 2, 28), "2028-02-29T00:00:00Z"),
        ("2026-12-31T18:00:00", "2026-12-31T18:00:00Z"),
        ("2026-12-31 18:00", "2026-12-31T18:00:00Z"),
        ("2026-12-31T18:00:00+02:00", "2026-12-31T16:00:00Z"),
        ("2026-12-31T18:00:00Z", "2026-12-31T18:00:00Z"),
        (datetime(2026, 12, 31, 18), "2026-12-31T18:00:00Z"),  # noqa: DTZ001 - an author may well
        (datetime(2026, 12, 31, 18, tzinfo=timezone(timedelta(hours=-5))), "2026-12-31T23:00:00Z"),
        (pendulum.datetime(2026, 7, 1, tz="Europe/Berlin"), "2026-06-30T22:00:00Z"),
        (timedelta(hours=2), "2026-03-31T14:00:00Z"),
        (pendulum.duration(months=1), "2026-04-30T12:00:00Z"),
    ],
)
def test_when_something_ends(value: Any, moment: str, zone: str) -> None:
    found = end_of(value, "expires", NOW)
    assert found.isoformat() == pendulum.parse(moment).isoformat()
    assert found.timezone_name == "UTC"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "2026",
        "2026-12",
        "2026-W50",
        "2026-366",
        "202612311",
        "2026-1231",
        "2026-13-01",
        "2026-02-29",
        "12:00",
        "now",
        "P1D",
        "2026-12-31/P1D",
        "2026-12-30/2026-12-31",
        "9999-12-31",
        date.max,
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        timedelta.max,
        timedelta.min,
        True,
        30,
        20261231,
        1.5,
        None,
        [],
        {},
        b"2026-12-31",
    ],
)
def test_what_is_no_end_is_told_with_what_was_given(value: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        end_of(value, "expires", NOW)
    assert f"expires is {value!r}; give a date" in str(refused.value)


@pytest.mark.parametrize(
    ("age", "moment"),
    [
        (30, "2026-03-01T12:00:00Z"),
        ("30", "2026-03-01T12:00:00Z"),
        (" 1.5 ", "2026-03-30T00:00:00Z"),
        (0, "2026-03-31T12:00:00Z"),
        (timedelta(days=30), "2026-03-01T12:00:00Z"),
        (pendulum.duration(days=30), "2026-03-01T12:00:00Z"),
        (pendulum.duration(months=1), "2026-02-28T12:00:00Z"),
        (pendulum.duration(months=1, days=1), "2026-02-27T12:00:00Z"),
        (pendulum.duration(years=1), "2025-03-31T12:00:00Z"),
    ],
)
def test_before_when_something_was_made(age: Any, moment: str, zone: str) -> None:
    assert begin_of(age, "older_than", NOW).isoformat() == pendulum.parse(moment).isoformat()


@pytest.mark.parametrize(
    "age",
    [
        "",
        "a month",
        "30 days",
        "-1",
        -1,
        -0.001,
        True,
        False,
        float("nan"),
        "nan",
        float("inf"),
        "-inf",
        10**12,
        10**400,
        "1e400",
        timedelta(days=-1),
        timedelta.max,
        pendulum.duration(months=-1),
        pendulum.duration(years=10**6),
        None,
        [],
        date(2026, 1, 1),
    ],
)
def test_what_is_no_age_is_told_with_what_was_given(age: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        begin_of(age, "older_than", NOW)
    assert f"older_than is {age!r}; give a timedelta" in str(refused.value)


@given(st.text() | st.text("0123456789-:T/PWZ+. ", max_size=25) | st.timedeltas() | st.datetimes() | st.dates())
def test_an_end_is_in_utc_or_refused(value: Any) -> None:
    try:
        assert end_of(value, "expires", NOW).utcoffset() == timedelta(0)
    except InvalidInputError:
        assert not isinstance(value, date) or value.year == 9999


@given(st.text() | st.floats() | st.integers() | st.timedeltas())
def test_a_beginning_is_in_the_past_or_refused(age: Any) -> None:
    try:
        assert begin_of(age, "older_than", NOW) <= NOW
    except InvalidInputError:
        assert not (isinstance(age, timedelta) and timedelta(0) <= age < timedelta(days=2000 * 365))


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ("2026-03-31", "2026-02-28"),
        ("2028-03-31", "2028-02-29"),
        ("2028-02-29", "2028-01-29"),
        ("2026-01-31", "2025-12-31"),
        ("2026-05-01", "2026-04-01"),
        ("2026-12-31", "2026-11-30"),
    ],
)
def test_a_month_is_a_calendar_month(now: str, before: str, zone: str) -> None:
    with time_machine.travel(f"{now}T12:00:00Z", tick=False):
        cutoff = CleanupVoicesOperator(task_id="c", older_than=pendulum.duration(months=1))._rules().cutoff
    assert cutoff == datetime.fromisoformat(f"{before}T12:00:00Z").timestamp()


# the clock

MOMENTS = [
    "2026-03-31T23:59:59Z",  # month ends
    "2026-12-31T23:59:59Z",
    "2027-01-01T00:00:00Z",
    "2028-02-29T12:00:00Z",  # leap day, and 30 days after it
    "2028-03-30T12:00:00Z",
    "2028-03-31T12:00:00Z",
    "2026-03-29T01:00:00Z",  # clock changes in Berlin, and 30 days after them
    "2026-04-28T00:30:00Z",
    "2026-10-25T01:00:00Z",
    "2026-11-24T00:30:00Z",
    "2026-03-08T07:00:00Z",  # in New York
    "2026-04-07T06:30:00Z",
    "2026-11-01T06:00:00Z",
    "2026-12-01T05:30:00Z",
    "2026-04-04T14:00:00Z",  # in Auckland
    "2026-05-04T13:30:00Z",
    "2026-09-26T14:00:00Z",
    "2026-10-26T13:30:00Z",
]


def voice(made: float | None = None, expires: int | None = None) -> ManagedVoice:
    """A voice for all runs, dated by the service."""
    name = ManagedName("Brand", "default", "f" * 26, expires=expires)
    created_at = datetime.fromtimestamp(made, UTC).isoformat() if made is not None else None
    return ManagedVoice(Voice(service="fish_audio", id="v", name=str(name), created_at=created_at), name)


def in_a_dag_of(timezone: str, **arguments: Any) -> CleanupVoicesOperator:
    with DAG(
        f"sweep_{timezone.replace('/', '_')}", schedule="@daily", start_date=pendulum.datetime(2026, 1, 1, tz=timezone)
    ):
        return CleanupVoicesOperator(task_id="sweep", **arguments)


@pytest.mark.parametrize("moment", MOMENTS)
def test_thirty_days_are_thirty_times_24_hours(moment: str, zone: str) -> None:
    now = datetime.fromisoformat(moment).timestamp()
    with time_machine.travel(moment, tick=False):
        for older_than in (timedelta(days=30), 30, "30", pendulum.duration(days=30)):
            for dag_zone in ("UTC", "Europe/Berlin", "Pacific/Auckland"):
                rules = in_a_dag_of(dag_zone, older_than=older_than)._rules()
                assert rules.cutoff == now - 30 * DAY
    goes = [bool(judge([voice(now - 30 * DAY + off)], rules, lambda *_: "ended", now).goes) for off in (-1, 0, 1)]
    assert goes == [True, False, False]


@pytest.mark.parametrize("day", ["2026-03-31", "2026-12-31", "2028-02-29", "2026-03-29", "2026-10-25", "2026-09-26"])
def test_a_voice_stays_to_the_end_of_the_day_on_which_it_expires(day: str, zone: str) -> None:
    with time_machine.travel(f"{day}T00:00:00Z", tick=False):
        clone = CloneVoiceOperator(task_id="c", name="Brand", sample="s", expires=day)
        expires = clone._expiry(None)
    midnight = int(datetime.fromisoformat(f"{day}T00:00:00Z").timestamp()) + DAY
    assert expires == midnight
    assert judge([voice(expires=expires)], Rules(), lambda *_: "ended", midnight - 1).goes == []
    assert len(judge([voice(expires=expires)], Rules(), lambda *_: "ended", midnight).goes) == 1


# against the service


@pytest.fixture
def task() -> Task:
    """A task in an Airflow that remembers no runs."""
    task = Task()
    task.ti.get_task_states = lambda _: {}
    task.ti.get_dagrun_state = lambda *_: "success"
    return task


def clone(sample: Path, task: Task, **arguments: Any) -> None:
    task.run(CloneVoiceOperator(task_id="clone", sample=str(sample), **arguments))


@pytest.mark.parametrize("zone", ["Pacific/Auckland"], indirect=True)
@pytest.mark.parametrize("service", ["fish_audio", "sync_labs"])
def test_a_sweep_after_thirty_days_deletes_what_was_cloned_before(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    task: Task,
    sample: Path,
    service: str,
    zone: str,
) -> None:
    """Fish Audio dates its voices; at sync. labs the name of an ephemeral one does."""
    set_connection(service=service)
    know_runs(task.ti, {"dag": {"run": "success"}})
    clone(sample, task, name="Brand", ephemeral=service == "sync_labs")
    began = time.time()
    sweep = CleanupVoicesOperator(task_id="sweep", older_than=timedelta(days=30))
    emulator.advance(30 * DAY - 60)
    with time_machine.travel(began + 30 * DAY - 60, tick=True):
        assert task.run(sweep)["deleted"] == []
    emulator.advance(120)
    with time_machine.travel(began + 30 * DAY + 60, tick=True):
        (line,) = task.run(sweep)["deleted"]
    assert "'Brand'" in line
    state = emulator.state()
    assert not state["voices"]
    assert not state["models"]


@pytest.mark.parametrize("zone", ["America/New_York"], indirect=True)
@pytest.mark.parametrize("service", ["fish_audio", "sync_labs"])
def test_a_sweep_at_midnight_utc_deletes_what_expired_with_the_day(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    task: Task,
    sample: Path,
    service: str,
    zone: str,
) -> None:
    set_connection(service=service)
    last_day = datetime.now(UTC).date() + timedelta(days=30)
    clone(sample, task, name="Brand", expires=last_day.isoformat())
    midnight = datetime.fromisoformat(f"{last_day}T00:00:00Z").timestamp() + DAY
    with time_machine.travel(midnight - 60, tick=True):
        assert task.run(CleanupVoicesOperator(task_id="sweep"))["deleted"] == []
    with time_machine.travel(midnight, tick=True):
        (line,) = task.run(CleanupVoicesOperator(task_id="sweep"))["deleted"]
    assert line.endswith(f"'Brand': expired on {last_day + timedelta(days=1)} 00:00 UTC")
