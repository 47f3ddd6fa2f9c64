"""What the operators of scripts take in the same way: the script, a folder, how many lines at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.locations import bare, is_location, output_of, read_bytes
from voice_provider.operators.arguments import as_text, number_of
from voice_provider.services.options import plain

if TYPE_CHECKING:
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.lines.script import Line

USUAL = 5  # lines at a time, where neither the author nor the service says how many
MOST = 64  # threads of one task


def lines_of(hook: VoiceHook, given: Any, *, voices: set[str] | None = None, options: bool = True) -> list[Line]:
    """Read the script that an author gave as ``lines``.

    :param given: location of a script, or its rows
    :param voices: names that its column ``voice`` may have; default: any, or ids
    :param options: columns may be the service's speech options
    :raises InvalidInputError: it is neither, or says what is wrong in which line
    """
    # Here, and not when a DAG is parsed: it reads subtitles, and has models of its own.
    from voice_provider.lines.script import MAX_BYTES, read_lines  # noqa: PLC0415

    given = plain(given)
    known = hook.service.speech_options.model_fields.keys() - {"voice_id", "references", "text"} if options else ()
    if isinstance(given, list | tuple):
        return read_lines(given, "lines", options=known, voices=voices)
    location = as_text(given) or ""
    if not isinstance(given, str) or not is_location(location):
        raise InvalidInputError(
            f"lines is '{bare(location)[:60]}': give the location of a script, or a list of dicts with 'text'."
        )
    script = read_bytes(location, hook.settings.allowed_inputs, MAX_BYTES)
    name, longest = location.rpartition("/")[2], hook.service.max_script
    return read_lines(script, name, options=known, voices=voices, longest=longest)


def script_at(given: Any) -> str | None:
    """Return where the script that an author gave as ``lines`` is kept; None: it was given as rows."""
    given = plain(given)
    return as_text(given) if isinstance(given, str) else None


def folder_of(output: Any) -> str:
    """Return an output folder, ending in ``/``.

    :raises InvalidInputError: it is no location
    """
    folder = output_of(output)
    if not is_location(folder):
        raise InvalidInputError(f"output is '{bare(folder)}': give a folder, such as /data/news/ or s3://bucket/a/.")
    return folder if folder.endswith("/") else f"{folder}/"


def at_a_time(hook: VoiceHook, concurrency: Any) -> int:
    """Return how many lines go at a time: as the author says, else the connection, else the service."""
    asked = number_of(concurrency, "concurrency") or hook.settings.concurrency
    return min(max(asked or hook.room().limit or USUAL, 1), MOST)
