"""What the user asked for, checked before anything is started."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from voice_provider.emulator.engine import LOCAL_PACKAGES, EngineError, english
from voice_provider.files.media import probe
from voice_provider.files.whole import NotWholeError

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.demo.scenarios import Scenario
    from voice_provider.files.formats import MediaInfo

MAX_SCRIPT = 5000  # characters, as the DAG's form has it
INSTALL = "python -m pip install 'airflow-provider-voice[local]' (in a checkout: python -m pip install -e '.[local]')"


class UsageError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


@dataclass(frozen=True)
class Order:
    """What the demo is to do.

    :param scenario: what it shows
    :param script: the line to speak; None: the scenario's own text
    :param sample: recording to clone the voice from; default: a clip drawn and voiced here
    :param video: video to re-voice; default: such a clip
    :param output: folder that gets the results
    :param keep: leave the work folder (Airflow home, emulator's data, logs) where it is
    :param ui: open the Airflow UI instead of running the DAG once
    :param engine: ``local``, or ``tone`` for placeholders
    """

    scenario: Scenario
    script: str | None
    sample: Path | None
    video: Path | None
    output: Path
    keep: bool = False
    ui: bool = False
    engine: Literal["local", "tone"] = "local"

    @property
    def given(self) -> dict[str, Path | None]:
        """The files, by the DAG's parameter for each."""
        return {"sample": self.sample, "video": self.video}

    @property
    def drawn(self) -> tuple[str, ...]:
        """The clips that have to be drawn."""
        found = [self.scenario.clips[param] for param, path in self.given.items() if path is None]
        return tuple(dict.fromkeys(found))

    def check(self) -> None:
        """Find out what cannot work.

        :raises UsageError: in one sentence or two, for the person at the terminal
        """
        if self.script is not None:
            self._check_script(self.script)
        if self.sample is not None:
            check_media(self.sample, "--sample", ("audio", "video"))
        if self.video is not None:
            check_media(self.video, "--video", ("video",))
        if self.engine == "local":
            check_extra()
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.output):
                pass
        except OSError as error:
            raise UsageError(f"The output folder {self.output} cannot be written: {error.strerror}.") from None

    def _check_script(self, script: str) -> None:
        if self.scenario.script is None:
            raise UsageError("This demo speaks subtitles of its own. Leave --script out.")
        if not script.strip():
            raise UsageError("The script is empty. Give the line to speak after --script.")
        if len(script) > MAX_SCRIPT:
            raise UsageError(f"The script has {len(script):,} characters; at most {MAX_SCRIPT:,} are allowed.")
        if self.engine == "local":
            try:
                english.words(script)
            except EngineError as error:
                raise UsageError(f"The script cannot be spoken here: {error}") from None


def missing_packages() -> list[str]:
    """Name the packages that speak and draw, and are not installed."""
    return [package for package in LOCAL_PACKAGES if find_spec(package) is None]


def check_extra() -> None:
    """Refuse to start without the packages that speak and draw.

    :raises UsageError: says what to install
    """
    if missing := missing_packages():
        raise UsageError(
            f"The demo speaks and draws with packages that are not installed ({', '.join(missing)}). "
            f"Install the 'local' extra: {INSTALL}."
        )


def check_media(path: Path, option: str, kinds: tuple[str, ...]) -> MediaInfo:
    """Return what a file is.

    :param option: the option it was given with, for the message
    :param kinds: what it may be: ``audio``, ``video``
    :raises UsageError: missing, empty, cut short, or something else
    """
    wanted = " or ".join(kinds)
    try:
        with path.open("rb") as file:
            info = probe(file, path.stat().st_size)
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    except NotWholeError as error:
        raise UsageError(f"{option} {path} is unusable: {error}. Give {wanted}.") from None
    if info.format.kind not in kinds:
        raise UsageError(f"{option} {path} is {info.format.kind} ({info.format.extension}). Give {wanted}.")
    return info
