"""Dates and ages that authors write, as moments: in UTC, where a day has 24 hours whatever the clocks do."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

import pendulum

from voice_provider.exceptions import InvalidInputError

_WITH_DAY = re.compile(r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}(?![0-9])")


def end_of(value: Any, name: str, now: pendulum.DateTime) -> pendulum.DateTime:
    """Return the moment at which something ends.

    :param value: a time, a date (it ends with that day), a timedelta from now on, or one of the first two as text in
        ISO 8601; what names no time zone is UTC
    :param name: of the argument, for the message
    :raises InvalidInputError: nothing of these
    """
    with suppress(ValueError, OverflowError, TypeError):  # pendulum raises all of them for text that it cannot read
        if isinstance(value, timedelta):
            return now + value
        # A year or a month alone would be its first day, and the voice would go long before its author means it to.
        is_text = isinstance(value, str) and _WITH_DAY.match(value.strip())
        found = pendulum.parse(value.strip(), exact=True) if is_text else value
        if isinstance(found, datetime):
            return pendulum.instance(found, tz="UTC").in_timezone("UTC")
        if isinstance(found, date):
            return pendulum.datetime(found.year, found.month, found.day).add(days=1)
    raise InvalidInputError(f"{name} is {value!r}; give a date such as 2026-12-31, a time in ISO 8601, or a timedelta.")


def begin_of(age: Any, name: str, now: pendulum.DateTime) -> pendulum.DateTime:
    """Return the moment before which something was made that is older than an age.

    :param age: a timedelta or ``pendulum.duration`` (a month is a calendar month), or a number of days, also as text
    :param name: of the argument, for the message
    :raises InvalidInputError: nothing of these, or less than nothing
    """
    with suppress(ValueError, OverflowError):
        is_number = isinstance(age, str | int | float) and not isinstance(age, bool)
        span = timedelta(days=float(age)) if is_number else age
        if isinstance(span, timedelta) and (found := now - span) <= now:
            return found
    raise InvalidInputError(f"{name} is {age!r}; give a timedelta, a pendulum.duration or a number of days.")
