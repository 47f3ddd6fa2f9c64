"""``voice-provider jobs``: what was ordered, may be paid and was not collected; and how to collect it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from voice_provider.commands import connection, plain
from voice_provider.commands.connection import DONE, FAILED, LEAST, MORE, fail, print_json, print_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.table import Table

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.left import LeftOrder
    from voice_provider.models import Manifest

_HELP = "list and collect what tasks have ordered and not collected"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    group = commands.add_parser("jobs", help=_HELP, description=f"{_HELP.capitalize()}. {MORE}")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    says = (
        "list what may be paid and was not collected, from the connection's state_location; without one, the newest "
        "jobs that the service itself lists"
    )
    _action(actions, "list", says)
    command = _action(actions, "collect", "fetch the result of a job, and keep it with the record of where it is from")
    command.add_argument("id", metavar="ID")
    command.add_argument("--output", required=True, metavar="LOCATION", help="file or, with a '/' at its end, folder")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, says: str
) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=says, description=f"{says.capitalize()}.")
    command.add_argument("--conn-id", default="voice_default", help="id of the connection (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON, and nothing else, to stdout")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace) -> int:
    """Do what was asked, and return the exit code."""
    return connection.run(options, {"list": _list, "collect": _collect})


def _list(hook: VoiceHook, options: argparse.Namespace, out: TextIO) -> int:
    from voice_provider.jobs.left import left_of, row_of_job  # noqa: PLC0415 - loads storage

    if hook.settings.state_location is None:
        rows = [row_of_job(job) for job in hook.list_jobs()]
        source = (
            f"the newest jobs that {hook.service.label} lists, collected or not: the connection has no state_location"
        )
    else:
        rows = [order.row() for order in left_of(hook.settings)]
        source = f"not collected, from {hook.settings.state_location}"
    if options.json:
        return print_json(rows, out)
    if rows:
        print_table(_table(rows), out, LEAST)
    out.write(f"{len(rows)} order{'s' * (len(rows) != 1)}: {plain(source)}.\n")
    return DONE


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table  # noqa: PLC0415 - only where a table is drawn
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "kind", "task", "run", "ordered", "state"):
        table.add_column(title, no_wrap=title == "id", overflow="fold")
    for row in rows:
        shown = (row["id"], row["kind"].replace("_", " "), row["task"], row["run"], row["ordered_at"], row["state"])
        table.add_row(*(Text(plain(str(value or "-"))) for value in shown))
    return table


def _collect(hook: VoiceHook, options: argparse.Namespace, out: TextIO) -> int:
    from voice_provider.jobs.left import left_of  # noqa: PLC0415 - loads storage

    found = next((order for order in left_of(hook.settings) if order.id == options.id), None)
    if found is not None and found.record.kind == "clone":
        return fail(
            f"{options.id} is a voice, and no file. Use it by its id; or see: voice-provider voices list.", FAILED
        )
    if found is not None and found.record.job is None and found.record.manifest is None:
        return fail(
            f"It is unknown what became of the order of {found.record.posted_at}: there is no job to ask after, and "
            "nothing was received. Look at the account.",
            FAILED,
        )
    manifest = _kept(hook, found, options.id, options.output)
    if manifest is None:
        return FAILED
    if found is not None:
        found.note_collected()
    if options.json:
        return print_json(manifest.dump(), out)
    out.write(f"Kept {plain(manifest.uri)}: {manifest.format}, {manifest.bytes:,} bytes.\n")
    return DONE


def _kept(hook: VoiceHook, found: LeftOrder | None, job_id: str, location: str) -> Manifest | None:
    """Keep the result at a location; say why, and return nothing, where there is none yet."""
    from voice_provider.files.storage import Output, is_kept  # noqa: PLC0415 - loads storage
    from voice_provider.hooks.waiting import succeeded  # noqa: PLC0415
    from voice_provider.trust.origin import Origin, Run  # noqa: PLC0415
    from voice_provider.trust.provenance import check_name, keep  # noqa: PLC0415

    check_name(location)
    place = Output(location, job_id, hook.settings.allowed_outputs)
    place.check_writable()
    record = found.record if found is not None else None
    origin, run = Origin.load(record.origin if record is not None else None), None
    if found is not None:
        run = Run(dag_id=found.dag_id, run_id=found.run_id, task_id=found.task_id, map_index=found.map_index)
    if found is not None and (received := found.record.manifest) is not None:
        uri = place.uri(received.format)
        if is_kept(received.uri, received.sha256, received.bytes):
            place.copy(received.uri, received.format, received.sha256, received.bytes)
        elif not place.recover(uri, received.sha256, received.bytes, found.record.held):
            where = " or ".join([*found.record.held, received.uri])
            fail(f"What was received is at {where}, and cannot be read from this machine.", FAILED)
            return None
        return keep(received.model_copy(update={"uri": uri, "outcome": "recovered"}), origin, run)
    kind = record.kind if record is not None else "lip_sync"
    job = hook.get_job(kind, job_id, path=record.job.path if record is not None and record.job is not None else None)
    if not job.state.is_final:
        fail(
            f"The job {job_id} is still {job.status or job.state}; collect it later. Nothing is paid for asking.",
            FAILED,
        )
        return None
    details = {"submitted_at": record.posted_at if record is not None else None, "outcome": "recovered"}
    costs = record.costs if record is not None else ()
    return keep(hook.keep(succeeded(job), place, costs, **details), origin, run)
