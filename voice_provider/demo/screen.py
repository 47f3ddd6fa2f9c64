"""What is shown while the demo runs: one live table in a terminal, one line per change anywhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

    from voice_provider.demo.steps import Step, Story

REFRESHES = 8  # a second
BAR_WIDTH = 14
STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "retrying": "yellow",
    "done": "green",
    "skipped": "dim",
    "failed": "bold red",
}
SYMBOLS = {"waiting": "·", "retrying": "↻", "done": "✓", "skipped": "–", "failed": "✗"}
ASCII_SYMBOLS = {"waiting": ".", "retrying": "~", "done": "+", "skipped": "-", "failed": "x"}


def open_screen(console: Console, story: Story) -> TableScreen | LineScreen:
    """Return the screen that fits where stdout goes."""
    if console.is_terminal and not console.is_dumb_terminal:
        return TableScreen(console, story)
    return LineScreen(console, story)


class LineScreen:
    """A line for every change, without control codes: for pipes, files and CI."""

    def __init__(self, console: Console, story: Story) -> None:
        self._console = console
        self._story = story
        self._shown: dict[str, str] = {}
        self._began = time.monotonic()

    def update(self) -> None:
        """Print what has changed."""
        for step in self._story:
            if self._shown.get(step.label, "waiting") == step.state:
                continue
            self._shown[step.label] = step.state
            name = f"{step.label} ({step.task_id})" if step.task_id else step.label
            took = f" after {step.seconds:.1f} s" if step.seconds is not None else ""
            line = f"{time.monotonic() - self._began:5.1f} s  {name}: {step.state}{took}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.update()


class TableScreen:
    """All steps in one table that changes in place."""

    def __init__(self, console: Console, story: Story) -> None:
        self._story = story
        utf8 = console.encoding.lower().startswith("utf")
        self._symbols = SYMBOLS if utf8 else ASCII_SYMBOLS
        self._spinner = Spinner("dots" if utf8 else "line", style="cyan")
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=REFRESHES)

    def update(self) -> None:
        """Nothing to do: the table draws itself."""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(width=BAR_WIDTH, no_wrap=True)
        table.add_column(justify="right", width=7, no_wrap=True)
        for step in self._story.preparations:
            self._row(table, step)
        table.add_row()
        for step in self._story.tasks.values():
            self._row(table, step)
        return table

    def _row(self, table: Table, step: Step) -> None:
        style = STYLES[step.state]
        running = step.state == "running"
        symbol: RenderableType = self._spinner if running else Text(self._symbols[step.state], style)
        state: RenderableType = Text(step.state, style)
        if running and step.share is not None:
            bar = ProgressBar(total=1.0, completed=step.share, width=BAR_WIDTH - 5)
            state = Table.grid()
            state.add_row(bar, Text(f" {step.share:4.0%}", style))
        seconds = "" if step.elapsed is None else f"{step.elapsed:.1f} s"
        label = Text(step.label, "dim" if step.state in ("waiting", "skipped") else "")
        table.add_row(symbol, label, step.task_id, state, Text(seconds, style))
