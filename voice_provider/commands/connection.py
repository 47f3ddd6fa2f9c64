"""What the commands share that work with a connection: how it is opened, and how they print."""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

from voice_provider.commands import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from rich.table import Table

    from voice_provider.hooks.voice import VoiceHook

    Action = Callable[[VoiceHook, argparse.Namespace, TextIO], int]

DONE, FAILED, USAGE = 0, 1, 2
MORE = (
    "The connection is read as Airflow reads it: environment, secrets backends, metadata database. Exit code: 0 done; "
    "1 the service refused, or not everything was done; 2 used wrongly, or no such connection."
)
WIDE = 240  # columns where nobody looks: no line is wrapped
LEAST = 120  # columns of the list: a narrower terminal breaks its lines, which is easier to read than columns of words


def run(options: argparse.Namespace, actions: Mapping[str, Action]) -> int:
    """Do what was asked with the connection, and return the exit code."""
    out = sys.stdout
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"  # as `airflow connections` does, to read its database too
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "CRITICAL")  # what matters is told here
    with redirect_stdout(sys.stderr):  # Airflow logs to stdout
        from airflow.sdk.exceptions import AirflowException  # noqa: PLC0415 - loads Airflow

        from voice_provider.exceptions import VoiceError  # noqa: PLC0415

        try:
            hook = open_hook(options.conn_id)
        except AirflowException as error:
            return fail(error, USAGE)
        try:
            return actions[options.action](hook, options, out)
        except VoiceError as error:
            return fail(error, FAILED)
        except KeyboardInterrupt:
            return fail("Stopped.", 130)


def fail(why: object, code: int) -> int:
    """Say why, and return the exit code."""
    sys.stderr.write(f"{plain(str(why))}\n")
    return code


def open_hook(conn_id: str) -> VoiceHook:
    """Read and check the connection.

    :raises InvalidInputError: there is none of this id
    """
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415

    from voice_provider.exceptions import InvalidInputError  # noqa: PLC0415
    from voice_provider.hooks.voice import VoiceHook  # noqa: PLC0415

    try:
        hook = VoiceHook.for_connection(conn_id)
    except AirflowNotFoundException:
        raise InvalidInputError(
            f"Connection '{conn_id}' is not defined, or cannot be read: neither as AIRFLOW_CONN_{conn_id.upper()}, nor "
            "in a secrets backend or the database of this Airflow. Check --conn-id and AIRFLOW_HOME."
        ) from None
    _ = hook.settings  # raises for one that cannot be used
    return hook


def print_table(table: Table, out: TextIO, least: int = 0) -> None:
    """Draw a table, at least so many columns wide."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(file=out)
    console.width = max(console.width, least) if console.is_terminal else WIDE
    console.print(table)


def print_json(value: Any, out: TextIO) -> int:
    """Print JSON, and return the exit code for success."""
    out.write(json.dumps(value, indent=2) + "\n")
    return DONE
