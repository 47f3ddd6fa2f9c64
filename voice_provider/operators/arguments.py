"""What an author gives as an argument, read: through templates and other tasks, nothing is ever quite what it was."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.texts import checked, text_of

if TYPE_CHECKING:
    from collections.abc import Callable


def as_text(value: Any) -> str | None:
    """Read a text that a template or another task gave: nothing rendered is "None", and native types are no strings."""
    text = "" if value is None else str(value).strip()
    return None if text in ("", "None") else text


def argument_of(value: Any, name: str, read: Callable[[Any], str] = text_of) -> str | None:
    """Read an argument that is sent as text: what ``as_text`` finds nothing in is None, and what is no text is refused.

    :param read: ``text_of`` or ``script_of``
    :raises InvalidInputError: naming the argument
    """
    return None if as_text(value) is None else checked(value, name, read).strip()


def flag_of(value: Any, name: str) -> bool:
    """Read a switch that may have come through a template."""
    text = str(value).strip().lower()
    if text not in ("true", "false", "none", ""):
        raise InvalidInputError(f"{name} is {value!r}; give True or False.")
    return text == "true"


def patterns_of(value: Any, name: str) -> tuple[str, ...]:
    """Read a list of names or patterns; a text would be taken letter by letter, and spare nothing."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise InvalidInputError(
            f"{name} is {value!r}; give a list of texts. A template gives one with render_template_as_native_obj=True "
            "on the DAG."
        )
    return tuple(value)


def number_of(value: Any, name: str) -> int | None:
    """Read a number that may have come through a template."""
    text = as_text(value)
    if text is None:
        return None
    if not text.isdecimal():
        raise InvalidInputError(f"{name} is {value!r}; give a whole number, 0 or more.")
    return int(text)


def seconds_of(value: float | timedelta, name: str, *, allow_zero: bool = False) -> float:
    """Read a duration when the DAG is parsed: after the job is paid would be too late.

    :raises ValueError: no number of seconds, or none that can be waited
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not (seconds > 0 or (allow_zero and seconds == 0)):
        raise ValueError(f"{name} is {value!r}; give seconds or a timedelta{'' if allow_zero else ', more than 0'}.")
    return seconds
