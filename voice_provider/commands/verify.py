"""``voice-provider verify``: whether a file is still what was kept, and where it comes from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voice_provider.commands import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from voice_provider.trust.sidecar import Sidecar

SHOWN = 20  # inputs in the table: a track may have thousands of takes
_HELP = "check a result against the record that is kept beside it"
_MORE = (
    "Reads FILE.provenance.json beside FILE, and compares the hash. The record says what was made, in which voice, "
    "with which settings, by which DAG run and under which consent. It is a record, not a signature: who can change "
    "the file can change the record. Exit code: 0 the file is what was kept; 1 it is not, or nothing can be said of it."
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    command = commands.add_parser("verify", help=_HELP, description=f"{_HELP.capitalize()}. {_MORE}")
    command.add_argument("file", metavar="FILE", help="path or URI of the result, such as s3://campaign/out/talk.mp4")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the file, print what is known of it, and return the exit code."""
    from voice_provider.exceptions import VoiceError  # noqa: PLC0415 - loads Airflow
    from voice_provider.trust.provenance import ENDING, verify  # noqa: PLC0415

    given = str(options.file).removesuffix(ENDING)
    location = given if "://" in given else str(Path(given).absolute())
    try:
        sidecar, problem = verify(location)
    except VoiceError as error:
        sidecar, problem = None, str(error)
    if options.json:
        found = sidecar.dump() if sidecar is not None else None
        answer = {"file": location, "matches": problem is None, "problem": problem, "provenance": found}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        _show(location, sidecar, problem)
    return 0 if problem is None else 1


def _show(location: str, sidecar: Sidecar | None, problem: str | None) -> None:
    from rich.console import Console  # noqa: PLC0415 - only where a table is drawn
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    if sidecar is not None:
        table = Table(show_header=False, show_edge=False)
        for label, value in _rows(sidecar):
            table.add_row(Text(label, "bold"), Text(plain(value), overflow="fold"))
        console.print(table)
    if problem is None:
        verdict = f"Matches: {location} is what was kept."
    else:
        verdict = f"{'Does not match' if sidecar is not None else 'Nothing is known of it'}: {problem}"
    console.print(Text(plain(verdict), "bold green" if problem is None else "bold red"), soft_wrap=True)


def _rows(sidecar: Sidecar) -> Iterator[tuple[str, str]]:
    """Say what, when, by which run, whose voice, with which consent and settings."""
    file, made, run = sidecar.file, sidecar.made, sidecar.run
    length = f", {file.seconds:.1f} s" if file.seconds else ""
    yield "Made", f"{made.kind.replace('_', ' ')} by {_joined(made.service, made.model)} (engine {made.engine or '?'})"
    yield "File", f"{file.name}, {file.media_type}, {file.bytes:,} bytes{length}, sha256 {file.sha256}"
    yield "Ordered", f"{made.submitted_at or 'unknown'}, job {made.job_id or 'unknown'}, {made.outcome or 'once'}"
    yield "Kept", f"{sidecar.kept_at} by {sidecar.generator.name} {sidecar.generator.version}"
    if run is not None:
        mapped = f" [{run.map_index}]" if run.map_index >= 0 else ""
        yield "Run", f"DAG {run.dag_id}, run {run.run_id}, task {run.task_id}{mapped}"
    for voice in _several(sidecar.voice):
        known = f"fingerprint {voice.fingerprint}" if voice.fingerprint else None
        yield "Voice", _joined(voice.name, voice.id and f"id {voice.id}", known) or "of the recordings"
        for digest in voice.samples:
            yield "Recording", f"sha256 {digest}"
    for item in sidecar.inputs[:SHOWN]:
        yield "Input", ", ".join(f"{name} {value}" for name, value in sorted(item.items()))
    if (rest := len(sidecar.inputs) - SHOWN) > 0:
        yield "Input", f"and {rest:,} more: --json names all"
    for consent in _several(sidecar.consent):
        yield "Consent", f"{consent.id}, sha256 {consent.sha256}"
    if sidecar.consent is None:
        yield "Consent", "none"
    for name, value in sorted(made.settings.items()):
        yield f"  {name}", value if isinstance(value, str) else json.dumps(value)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)
