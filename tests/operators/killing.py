"""Kills a script's task at random, as ``kill -9`` does, and judges what is there in the end.

Each try is a process of its own, forked from one that has loaded Airflow: it shares nothing with the try before but
the folder and the service.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import Task
from voice_provider.emulator.world.emulator import FILES
from voice_provider.emulator.world.heard import Transcript, fingerprint
from voice_provider.exceptions import OutcomeUnknownError
from voice_provider.lines.manifest import Row, read_manifest
from voice_provider.lines.takes import text_hash
from voice_provider.operators import SpeakLinesOperator
from voice_provider.trust.provenance import ENDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.emulator.process import EmulatorProcess

SHAPES, SHORTEST = 50, 5  # lengths of a line, and the shortest one in characters
LOOK_EVERY = 0.002  # seconds
LATER = 0.05  # seconds from the chosen take to the kill, at most: it hits any line of any step
GIVE_UP = 300.0  # seconds that a try may take
DONE, IN_DOUBT, BROKEN = 0, 3, 1


@dataclass
class Script:
    """A script of so many short lines, and the task that speaks it.

    :param voices: ids of voices, each of another pitch, one for ``SHAPES`` lines
    :param seed: of the moments at which it is killed
    :param values: more arguments of the operator
    """

    emulator: EmulatorProcess
    folder: Path
    voices: Sequence[str]
    count: int
    seed: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    kills: int = 0

    def __post_init__(self) -> None:
        # The tone engine knows length and pitch only: no two of these sound the same.
        self.texts = {str(n): f"{n}".ljust(SHORTEST + n % SHAPES, "a") for n in range(self.count)}
        self._random = random.Random(self.seed)

    @property
    def takes(self) -> int:
        """Takes that are in their place."""
        found = self._takes.glob("[!.]*") if self._takes.exists() else ()
        return sum(not path.name.endswith(ENDING) for path in found)

    @property
    def _takes(self) -> Path:
        return self.folder / "takes"

    def kill_often(self, kills: int) -> None:
        """Let so many tries die, each after some more takes; a try that ends before its time is said to be no kill."""
        for number in range(kills):
            share = 1.5 * (self.count - self.takes) / (kills - number + 1)
            self.attempt(dies_at=self.takes + self._random.randint(0, int(share)))

    def attempt(self, dies_at: int | None = None, **values: Any) -> int | None:
        """Speak in a process of its own; return how it ended, None where it was killed.

        :param dies_at: takes that are there when it is killed, a moment later
        """
        self.tries += 1
        pid = os.fork()
        if pid == 0:
            os._exit(self._speak(values))
        until, moment = time.monotonic() + GIVE_UP, self._random.uniform(0, LATER)
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if (dies_at is not None and self.takes >= dies_at) or time.monotonic() > until:
                time.sleep(moment)
                os.kill(pid, signal.SIGKILL)
                ended = os.waitpid(pid, 0)
                break
            time.sleep(LOOK_EVERY)
        if os.WIFSIGNALED(ended[1]):
            self.kills += 1
            return None
        return os.waitstatus_to_exitcode(ended[1])

    def _speak(self, values: dict[str, Any]) -> int:
        log = os.open(f"{self.folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        task = Task()
        task.ti.try_number, task.ti.id = self.tries, f"01990{self.tries:03d}-0000-7000-8000-000000000000"
        lines = [
            {"id": name, "text": text, "voice": self.voices[int(name) // SHAPES]} for name, text in self.texts.items()
        ]
        given = {"output": f"{self.folder}/", **self.values, **values}
        try:
            task.run(SpeakLinesOperator(task_id="t", lines=lines, **given))
        except OutcomeUnknownError:
            return IN_DOUBT
        except BaseException:  # noqa: BLE001  # the process ends here, whatever it is
            os.write(log, traceback.format_exc().encode())
            return BROKEN
        return DONE

    def judge(self) -> Counter[str]:
        """Count the lines by their outcome, after a look at each: the file is whole, and says the line's text."""
        rows = read_manifest(f"{self.folder}/manifest.jsonl")
        assert [row.id for row in rows] == list(self.texts)
        for row in rows:
            assert row.text_sha256 == text_hash(self.texts[row.id])
            if row.uri is not None:
                assert row.sha256 == hashlib.sha256(Path(row.uri).read_bytes()).hexdigest(), row.id
                assert self._said(row) == self.texts[row.id], f"line {row.id} says: {self._said(row)}"
        named = {row.uri for row in rows if row.uri is not None}
        assert len(named) == self.takes
        if len(named) == len(rows):  # else there is what had come of a line when its task was killed
            wanted = {name for uri in named for name in (Path(uri).name, Path(f"{uri}{ENDING}").name)}
            found = {path.name for path in self._takes.iterdir()}
            assert found == wanted, f"left in the folder, or without a record: {sorted(found ^ wanted)}"
        return Counter(row.outcome for row in rows)

    def _said(self, row: Row) -> str:
        """Return what the emulator has said in this recording; it knows it by its samples."""
        heard = self.emulator.data_dir / FILES / "speech" / f"{fingerprint(Path(str(row.uri)))}.heard"
        return Transcript.read(heard).text

    def paid(self) -> Counter[str]:
        """Return how often each line was paid, by what was ordered."""
        return Counter(charge["request_sha256"] for charge in self.emulator.ledger("speech"))
