"""``voice-provider voices``: whose voices are in the clone slots of an account; look at one, delete some by hand."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from voice_provider.commands import connection, plain
from voice_provider.commands.connection import DONE, FAILED, LEAST, MORE, USAGE, fail, print_json, print_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from voice_provider.hooks.voice import VoiceHook

_HELP = "list, show and delete the voices of a connection"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    group = commands.add_parser("voices", help=_HELP, description=f"{_HELP.capitalize()}. {MORE}")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    says = "list the clones that take a slot: ours, other namespaces' and hand-made ones; expired first, then oldest"
    command = _action(actions, "list", says)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--ours", action="store_true", help="only those of this provider in the connection's namespace")
    which.add_argument("--all", action="store_true", help="also built-in voices, which take no slot")

    command = _action(actions, "show", "show everything that is known of one voice")
    command.add_argument("id", metavar="ID")

    command = _action(actions, "delete", "delete voices; their slots are free at once")
    command.add_argument("ids", metavar="ID", nargs="+")
    command.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    command.add_argument(
        "--force",
        action="store_true",
        help="also voices that this provider did not make in the connection's namespace",
    )


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
    return connection.run(options, {"list": _list, "show": _show, "delete": _delete})


def _list(hook: VoiceHook, options: argparse.Namespace, out: TextIO) -> int:
    from voice_provider.jobs.account import Account  # noqa: PLC0415 - loads pendulum

    account = Account.look(hook)
    rows = account.rows()
    own = sum(row["ours"] for row in rows)
    rows = [row for row in rows if options.all or (row["ours"] if options.ours else row["takes_slot"])]
    if options.json:
        return print_json(rows, out)
    if rows:
        print_table(_table(rows), out, LEAST)
    out.write(
        f"{len(rows)} voice{'s' * (len(rows) != 1)}, {own} of ours in namespace '{account.namespace}'; "
        f"clone slots in use: {account.room}.\n"
    )
    return DONE


def _show(hook: VoiceHook, options: argparse.Namespace, out: TextIO) -> int:
    from voice_provider.jobs.account import Account  # noqa: PLC0415 - loads pendulum

    voice = hook.get_voice(options.id)
    found = Account.look(hook).facts(voice)
    if options.json:
        return print_json(found, out)
    from rich.table import Table  # noqa: PLC0415 - only where a table is drawn
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    for field, value in found.items():
        shown = _shown(value)
        if shown:
            table.add_row(Text(field.replace("_", " "), "bold"), Text(plain(shown), overflow="fold"))
    print_table(table, out)
    return DONE


def _delete(hook: VoiceHook, options: argparse.Namespace, out: TextIO) -> int:
    """Delete what may be deleted; one that fails does not stop the rest."""
    from voice_provider.exceptions import NotFoundError, VoiceError  # noqa: PLC0415
    from voice_provider.jobs.account import Account, objection  # noqa: PLC0415 - loads pendulum

    if not options.yes and not sys.stdin.isatty():
        return fail(
            "There is no terminal to ask on, so nothing was deleted. Say --yes to delete without asking.", USAGE
        )
    account = Account.look(hook)
    report: dict[str, list[Any]] = {"deleted": [], "gone": [], "failed": []}
    goes: list[dict[str, Any]] = []
    for voice_id in dict.fromkeys(options.ids):
        try:
            found = account.facts(account.voices.get(voice_id) or hook.get_voice(voice_id))
        except NotFoundError:
            report["gone"].append(voice_id)
            continue
        except VoiceError as error:
            report["failed"].append({"id": voice_id, "error": str(error)})
            continue
        why = objection(found, account.namespace, force=options.force)
        if why is None:
            goes.append(found)
        else:
            more = " Say --force to delete it anyway." if found["takes_slot"] else ""
            report["failed"].append({"id": voice_id, "error": f"{why}{more}"})
    if goes and not options.yes and not _agreed(goes):
        report["failed"] += [{"id": found["id"], "error": "Not deleted, as answered."} for found in goes]
        goes = []
    for found in goes:
        try:
            hook.delete_voice(found["id"])
        except NotFoundError:
            report["gone"].append(found["id"])
        except VoiceError as error:
            report["failed"].append({"id": found["id"], "error": str(error)})
        else:
            report["deleted"].append(found["id"])
    if options.json:
        print_json(report, out)
    else:
        names = {found["id"]: f" '{plain(found['name'])}'" for found in goes}
        for word, label in (("deleted", "Deleted"), ("gone", "Gone already")):
            out.writelines(f"{label}: {voice_id}{names.get(voice_id, '')}\n" for voice_id in report[word])
        for failure in report["failed"]:
            fail(f"{failure['id']}: {failure['error']}", FAILED)
    return FAILED if report["failed"] else DONE


def _agreed(goes: Sequence[dict[str, Any]]) -> bool:
    print_table(_table(goes), sys.stderr, LEAST)
    try:
        answer = input(f"Delete {'this voice' if len(goes) == 1 else f'these {len(goes)} voices'}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")


# drawing


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table  # noqa: PLC0415 - only where a table is drawn

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "id", "namespace", "owner", "age", "state", "expires"):
        table.add_column(title, no_wrap=title in ("id", "expires"), overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415

    expires = row["expires_at"]
    restricted = ", restricted" if row["restricted"] else ""
    return [
        Text(plain(row["name"])),
        Text(plain(row["id"])),
        Text(row["namespace"] or "-"),
        Text(row["owner"] or ("all runs" if row["made_by_this_provider"] else "-")),
        Text(_age(row["made_at"])),
        Text(f"{row['state']}{restricted}" if row["takes_slot"] else "built-in", "red" if restricted else ""),
        Text("expired", "red") if row["expired"] else Text(_last_day(expires) if expires else "-"),
    ]


def _last_day(expires_at: str) -> str:
    """Say up to which day it stays: what ends at midnight stays the day before."""
    return str((datetime.fromisoformat(expires_at) - timedelta(seconds=1)).date())


def _age(made_at: str | None) -> str:
    """Say how old, in days where there is one: retention is counted in days."""
    if made_at is None:
        return "?"
    seconds = time.time() - datetime.fromisoformat(made_at).timestamp()
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if (number := int(seconds // size)) > 0:
            return f"{number} {unit}{'s' * (number != 1)}"
    return "just now"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value or "")
