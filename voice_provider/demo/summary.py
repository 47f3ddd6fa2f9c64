"""What is printed at the end: where everything is, what it took, what it would have cost, and what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.table import Table
from rich.text import Text

from voice_provider.files.media import probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from voice_provider.demo.run import Result
    from voice_provider.demo.steps import Story

ENGINES = {
    "local": "local engine: approximate voice match, mouth follows loudness",
    "tone": "tone engine: placeholders, a tone and a grey card",
}
TEXT_WIDTH = 30  # letters of a line
SHOWN = 0.005  # seconds; what is less is not told
WORK = {"clone": "Clone", "speech": "Speech", "lip_sync": "Lip sync"}


def show(console: Console, story: Story, result: Result, engine: str, note: str, options: Sequence[str]) -> None:
    """Print the whole summary.

    :param note: what the local engine cannot do
    :param options: what the demo was called with, to be shown as part of the command for the UI
    """
    console.print()
    if not console.is_terminal:  # there the live table is still to be seen
        _steps(console, story)
    if result.lines:
        _lines(console, result)
    _bill(console, result)
    _left(console, result)
    _files(console, result, engine, note)
    console.print("\nThe same in the Airflow UI, to click through:", style="bold")
    console.print(f"  {ui_command(options)}", soft_wrap=True, highlight=False, markup=False)


def _files(console: Console, result: Result, engine: str, note: str) -> None:
    console.print(f"\nDone in {result.seconds:.0f} s. Play the video:", style="bold")
    for label, path in result.files:
        line = Text(f"  {label:<17}")
        line.append(shown(path), Style(color="cyan", link=path.resolve().as_uri()))
        line.append(f"  {_facts(path)}", "dim")
        console.print(line, soft_wrap=True)
    told = f"  Made by the {ENGINES[engine]}." + (f" {note}" if note and engine == "local" else "")
    console.print(told, style="dim", soft_wrap=True)


def shown(path: Path) -> str:
    """Return a path that can be pasted into the shell: relative where that is shorter to read."""
    path = path.resolve()
    relative = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(relative))


def _facts(path: Path) -> str:
    size, seconds = path.stat().st_size, None
    if path.suffix != ".srt":
        with path.open("rb") as file:
            seconds = probe(file, size).seconds
    length = f"{seconds:.1f} s, " if seconds else ""
    return length + (f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.{size < 1e4:d}f} kB")


def _steps(console: Console, story: Story) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("Step")
    table.add_column("Task", style="dim")
    table.add_column("Seconds", justify="right")
    for step in story:
        table.add_row(step.label, step.task_id, "" if step.seconds is None else f"{step.seconds:.1f}")
    console.print(table)
    console.print()


def _lines(console: Console, result: Result) -> None:
    console.print("The lines, in their times", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  Line", no_wrap=True)
    table.add_column("Slot", justify="right", no_wrap=True)
    table.add_column("Spoken", justify="right", no_wrap=True)
    table.add_column("Fitted")
    for line in result.lines:
        slot = "-".join(f"{second:.2f}" for second in line["slot"])
        text = f"  {line['id']}  {shorten(line['text'], TEXT_WIDTH, placeholder=' ...')}"
        table.add_row(text, f"{slot} s", f"{line['spoken']:.2f} s", fitted(line))
    console.print(table)
    console.print()


def fitted(cue: dict[str, Any]) -> str:
    """Say what was done to a line, of a track's cue sheet, to fit it into its time."""
    change = round((cue["tempo"] - 1) * 100)
    done = [
        f"{cue['removed']:.2f} s less silence" if cue["removed"] >= SHOWN else "",
        f"{abs(change)} % {'faster' if change > 0 else 'slower'}" if change else "",
        f"{cue['overflow']:.2f} s too long" if cue["overflow"] >= SHOWN else "",
        f"{cue['late']:.2f} s late" if cue["late"] >= SHOWN else "",
    ]
    return ", ".join(filter(None, done)) or "as spoken"


def _bill(console: Console, result: Result) -> None:
    console.print("What a real service would have billed", style="bold")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    for kind, unit in dict.fromkeys((row["kind"], row["unit"]) for row in result.ledger):
        rows = [row for row in result.ledger if (row["kind"], row["unit"]) == (kind, unit)]
        units, usd = (sum(row[name] for row in rows) for name in ("units", "usd"))
        table.add_row(f"  {WORK[kind]}", f"{units:,.0f} {unit}", f"${usd:.4f}")
    total = sum(row["usd"] for row in result.ledger)
    table.add_row("  Together", "", f"${total:.4f}")
    console.print(table)
    console.print("  Illustrative prices of the emulator; nothing was paid.\n", style="dim")


def _left(console: Console, result: Result) -> None:
    if result.is_clean:
        console.print("Left behind at the service: no voice and no uploaded file.", highlight=False)
        return
    console.print(
        f"LEFT BEHIND at the service: {result.left_voices} voices, {result.left_assets} uploaded files. "
        "The DAG's teardown should have deleted them; please report this.",
        style="bold red",
        highlight=False,
    )


def ui_command(options: Sequence[str]) -> str:
    """Return the command line that opens the same demo in the Airflow UI, as this one was called."""
    called = Path(sys.argv[0])
    found = shutil.which(called.name)
    if found and called.exists() and called.samefile(found):
        name = called.name
    elif called.name == "__main__.py":
        name = "voice-provider"
    else:
        name = shown(called.absolute())
    return shlex.join([*shlex.split(name), "demo", *options, "--ui"])
