"""What is printed at the end: where everything is, what it took, what it would have cost, and what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
WORK = {"clone": "Clone", "speech": "Speech", "lip_sync": "Lip sync"}


def show(console: Console, story: Story, result: Result, engine: str, options: Sequence[str]) -> None:
    """Print the whole summary.

    :param options: what the demo was called with, to be shown as part of the command for the UI
    """
    console.print()
    if not console.is_terminal:  # there the live table is still to be seen
        _steps(console, story)
    _bill(console, result)
    _left(console, result)
    _files(console, result, engine)
    console.print("\nThe same in the Airflow UI, to click through:", style="bold")
    console.print(f"  {ui_command(options)}", soft_wrap=True, highlight=False, markup=False)


def _files(console: Console, result: Result, engine: str) -> None:
    files = result.files
    console.print(f"\nDone in {result.seconds:.0f} s. Play the video:", style="bold")
    rows = (
        ("Video", files.lip_sync),
        ("Speech", files.speech),
        ("Voice taken from", files.sample),
        ("Lips moved in", files.target),
    )
    for label, path in rows:
        line = Text(f"  {label:<17}")
        line.append(shown(path), Style(color="cyan", link=path.resolve().as_uri()))
        line.append(f"  {_facts(path)}", "dim")
        console.print(line, soft_wrap=True)
    console.print(f"  Made by the {ENGINES[engine]}.", style="dim")


def shown(path: Path) -> str:
    """Return a path that can be pasted into the shell: relative where that is shorter to read."""
    path = path.resolve()
    relative = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(relative))


def _facts(path: Path) -> str:
    with path.open("rb") as file:
        size = path.stat().st_size
        seconds = probe(file, size).seconds
    length = f"{seconds:.1f} s, " if seconds else ""
    return length + (f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB")


def _steps(console: Console, story: Story) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("Step")
    table.add_column("Task", style="dim")
    table.add_column("Seconds", justify="right")
    for step in story:
        table.add_row(step.label, step.task_id, "" if step.seconds is None else f"{step.seconds:.1f}")
    console.print(table)
    console.print()


def _bill(console: Console, result: Result) -> None:
    console.print("What a real service would have billed", style="bold")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    for row in result.ledger:
        table.add_row(f"  {WORK[row['kind']]}", f"{row['units']:,.0f} {row['unit']}", f"${row['usd']:.4f}")
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
