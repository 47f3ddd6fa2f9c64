"""The command line: ``voice-provider demo``, ``voice-provider emulator``, and what is in ``commands``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from voice_provider import __version__
from voice_provider.commands import costs, jobs, verify, voices

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="voice-provider", description="Voice cloning, text-to-speech and lip sync on Apache Airflow."
    )
    top.add_argument("--version", action="version", version=f"airflow-provider-voice {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    says = "clone a voice and lip sync a video with it, on this machine and without a key"
    _add_demo(commands.add_parser("demo", help=says, description=f"{says.capitalize()}."))
    commands.add_parser("emulator", help="run the voice services on this machine", add_help=False)
    verify.add(commands)
    voices.add(commands)
    jobs.add(commands)
    costs.add(commands)
    return top


def _add_demo(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--dub", action="store_true", help="dub a video instead: four subtitles in German, spoken, fitted, lip synced")
    add("--script", metavar="TEXT", help="the line to speak, in English; at most 5,000 characters")
    add("--sample", metavar="FILE", type=Path, help="audio or video whose voice is cloned (default: one is made)")
    add("--video", metavar="FILE", type=Path, help="video whose lips are moved (default: one is made)")
    add(
        "--output",
        metavar="DIR",
        type=_folder,
        default=Path("voice-demo"),
        help="folder for the video, the speech and the clips; an earlier demo's are replaced (default: %(default)s)",
    )
    add("--keep", action="store_true", help="keep the Airflow home, the emulator's data and the logs")
    add("--ui", action="store_true", help="open the same DAG in an Airflow UI instead, until Ctrl-C")
    add("--engine", choices=("local", "tone"), default="local", help=argparse.SUPPRESS)


def _folder(given: str) -> Path:
    if not given.strip():  # Path("") would be the current folder, which nobody has named
        raise argparse.ArgumentTypeError("is empty; name a folder, or leave it out")
    return Path(given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 used wrongly, 130 stopped with Ctrl-C."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options, rest = parser().parse_known_args(given)
    if options.command == "emulator":
        from voice_provider.emulator.__main__ import main as emulator  # noqa: PLC0415 - loads a web server

        emulator(rest)
        return 0
    if rest:
        command = options.command
        parser().error(f"{command} has no argument '{rest[0]}'; 'voice-provider {command} --help' shows those it has")
    if hasattr(options, "run"):
        return int(options.run(options))
    from voice_provider.demo.command import demo  # noqa: PLC0415 - loads what only the demo needs

    return demo(options, given[1:])


if __name__ == "__main__":
    sys.exit(main())
