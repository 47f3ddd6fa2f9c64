"""``voice-provider costs``: what was spent, from the records beside the results."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voice_provider.commands import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.money.spent import Group, Spent
    from voice_provider.trust.sidecar import Sidecar

_HELP = "what was spent, by DAG, day or voice"
_MORE = (
    "Reads every record (FILE.provenance.json) below LOCATION and sums what the results have cost, each paid result "
    "once, however many copies of it there are. Results whose cost nobody told are counted apart. Exit code: 0 done; 1 "
    "some records could not be read; 2 used wrongly, or no such location."
)
BY = ("dag", "day", "voice")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    command = commands.add_parser("costs", help=_HELP, description=f"{_HELP.capitalize()}. {_MORE}")
    command.add_argument("location", metavar="LOCATION", help="folder of results, such as s3://campaign/out/")
    command.add_argument("--since", metavar="DATE", type=_day, help="only what was ordered then or later, 2026-11-01")
    command.add_argument("--by", choices=BY, default="dag", help="what is summed up in a line (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=run)


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"is {given!r}; give a day such as 2026-11-01") from None


def run(options: argparse.Namespace) -> int:
    """Sum what was spent, print it, and return the exit code."""
    from voice_provider.exceptions import VoiceError  # noqa: PLC0415 - loads Airflow
    from voice_provider.money.spent import group_of, grouped  # noqa: PLC0415
    from voice_provider.trust.provenance import records_below  # noqa: PLC0415

    given = str(options.location)
    location = given if "://" in given else str(Path(given).absolute())
    found, unread = [], 0
    try:
        for sidecar in records_below(location):
            if sidecar is None:
                unread += 1
            elif options.since is None or _ordered_at(sidecar)[:10] >= options.since.isoformat():
                found.append(_spent(sidecar))
    except VoiceError as error:
        sys.stderr.write(f"{plain(str(error))}\n")
        return 2
    groups = grouped(found, options.by)
    once = {each.order: each.cost for each in found}
    everything = group_of("total", once.values())
    if options.json:
        rows = [_row(group) for group in groups]
        answer = {"by": options.by, "rows": rows, "total": _row(everything), "unread": unread}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        _show(options.by, groups, everything)
    if unread:
        sys.stderr.write(f"{unread:,} records below {plain(location)} could not be read, and are left out.\n")
    return 1 if unread else 0


def _ordered_at(sidecar: Sidecar) -> str:
    """Return the time of the order, else that of the record; ISO 8601 in UTC."""
    told = sidecar.made.submitted_at or sidecar.kept_at
    try:
        return datetime.fromisoformat(told).isoformat()
    except ValueError:
        return sidecar.kept_at


def _spent(sidecar: Sidecar) -> Spent:
    from voice_provider.models import Cost  # noqa: PLC0415 - as in run
    from voice_provider.money.spent import Spent  # noqa: PLC0415

    made, run = sidecar.made, sidecar.run
    speakers = sidecar.voice if isinstance(sidecar.voice, tuple) else (sidecar.voice,) if sidecar.voice else ()
    return Spent(
        order=(made.service, made.kind, made.job_id or "", made.submitted_at or "", sidecar.file.sha256),
        ordered_at=_ordered_at(sidecar),
        dag=run.dag_id if run is not None else "",
        voice=", ".join(speaker.name or speaker.id or "of a recording" for speaker in speakers),
        cost=made.cost or Cost(basis="unknown"),
    )


def _row(group: Group) -> dict[str, Any]:
    told = group.cost.dump()
    return {"name": group.name, "results": group.results, **told, "unknown": group.unknown}


def _show(by: str, groups: Sequence[Group], everything: Group) -> None:
    from rich.console import Console  # noqa: PLC0415 - only where a table is drawn
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    for title, footer, side in (
        (by, "total", "left"),
        ("results", f"{everything.results:,}", "right"),
        ("USD", _usd(everything), "right"),
        ("basis", everything.cost.basis, "left"),
        ("cost unknown", f"{everything.unknown:,}", "right"),
    ):
        table.add_column(title, footer, justify=side, overflow="fold")  # type: ignore[arg-type]  # left or right
    for group in groups:
        cells = (group.name or "-", f"{group.results:,}", _usd(group), group.cost.basis, f"{group.unknown:,}")
        table.add_row(*(Text(plain(cell)) for cell in cells))
    Console().print(table)


def _usd(group: Group) -> str:
    return "-" if group.cost.usd is None else f"{group.cost.usd:,.4f}"
