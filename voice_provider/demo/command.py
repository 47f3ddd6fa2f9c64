"""From the options on the command line to an exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from voice_provider.demo import summary, ui
from voice_provider.demo.inputs import INSTALL, Order, UsageError, missing_packages
from voice_provider.demo.run import new_story, run
from voice_provider.demo.scenarios import DUB, NEW_LINE
from voice_provider.demo.screen import open_screen
from voice_provider.demo.workplace import DemoError, Stopped, TaskError, Workplace, stoppable
from voice_provider.emulator.process import EmulatorError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DONE, FAILED, USAGE = 0, 1, 2
LOG_LINES = 15


def demo(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Run the demo.

    :param options: the parsed command line
    :param given: the same as it was typed
    """
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    scenario = DUB if options.dub else NEW_LINE
    order = Order(
        scenario=scenario,
        script=scenario.script if options.script is None else options.script,
        sample=options.sample,
        video=options.video,
        output=options.output,
        keep=options.keep,
        ui=options.ui,
        engine=options.engine,
    )
    if scenario.placeholders and order.engine == "local" and (missing := missing_packages()):
        order = replace(order, engine="tone")
        told = f"Without {', '.join(missing)} there will be tones and a grey card. For speech and lips: {INSTALL}."
        _say(errors, told, "yellow")
    try:
        order.check()
    except UsageError as error:
        _say(errors, str(error))
        return USAGE
    try:
        with stoppable(), Workplace(order) as place:
            try:
                if order.ui:
                    ui.serve(place, new_story(order), console)
                return _play(place, console, given)
            except (DemoError, EmulatorError, OSError) as error:
                _explain(errors, error, place)
                return FAILED
            except Stopped:
                if order.ui:
                    _say(errors, "Stopping Airflow; this takes a few seconds.", "dim")
                raise
            finally:
                if order.keep:
                    _say(console, f"Airflow home, emulator data and logs are kept in {place.folder}", "dim")
    except Stopped as stopped:
        _say(errors, "Stopped; everything that was started is gone.", "dim")
        return stopped.exit_code


def _play(place: Workplace, console: Console, given: Sequence[str]) -> int:
    story = new_story(place.order)
    _say(console, f"{place.order.scenario.introduction}\n")
    with open_screen(console, story) as screen:
        try:
            result = run(place, story, screen)
        except (DemoError, EmulatorError, OSError):
            story.fail()
            raise
    summary.show(console, story, result, place.emulator.engine, place.order.scenario.note, given)
    return DONE if result.is_clean else FAILED


def _explain(errors: Console, error: Exception, place: Workplace) -> None:
    _say(errors, f"\nThe demo failed.\n{error}", "bold red")
    logs = place.save_logs()
    if logs:
        if not isinstance(error, TaskError):
            _say(errors, "\n".join(logs[0].read_text(errors="replace").splitlines()[-LOG_LINES:]), "dim")
        _say(errors, "The whole logs: " + ", ".join(summary.shown(path) for path in logs))


def _say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is; broken into lines for a person only, at the spaces."""
    console.print(Text(text, style), soft_wrap=not console.is_terminal)
