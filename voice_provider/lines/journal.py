"""Who speaks into a folder, and what is in flight: one small object a run in ``<output>/journal/``.

Lines are written down in windows before they are sent, so that after a kill only those of the open window are in doubt
whose take is not there. A line that is a job at the service, or has a key, is not in doubt: it is gone on with.
Invariants:

- Each try claims the folder by creating an object of its own, exclusively, numbered one higher than the newest. It
  takes over what that one holds, and writes into its own only.
- A claim that is not over belongs to a run that works, or was killed: one that has not written for ``EXPIRES`` seconds
  is taken over, and that of the same task instance at once. One that waits on a triggerer says until when.
- After each write it looks whether a later claim is there, and stops before anything is sent where one is.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voice_provider.exceptions import (
    InvalidInputError,
    PermanentVoiceError,
    StaleTryError,
    StorageError,
    TransientVoiceError,
)
from voice_provider.files.locations import LASTING, reason_of
from voice_provider.files.transfer import remove
from voice_provider.jobs.store import Attempt, folder_of
from voice_provider.models import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "journal/"
BEAT = 60.0  # seconds after which a run that has nothing to write writes all the same
EXPIRES = 300.0  # seconds without a word after which a run is taken for dead; workers' clocks differ by less
CLAIMS = 20  # runs that may claim at the very same time
_NAME = re.compile(r"([0-9]{6})\.json")


class Held(BaseModel):
    """A paid take that could not be put in its place."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    sha256: str
    bytes: int
    at: str


class Sent(BaseModel):
    """A line that may have been sent.

    :param nonce: of this order alone, from which its idempotency key follows; None: it was sent without one
    :param account: at which it was ordered
    :param job: that was accepted, as far as it was written down
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nonce: str | None = None
    account: str = ""
    job: Job | None = None


class Entries(BaseModel):
    """What is remembered of takes, by their keys.

    :param open: may have been sent, and nothing came of it yet
    :param unknown: were sent, may be paid, and no answer came
    :param again: were bought once more after that
    :param held: are paid, and wait for their place
    :param owner: task instance and clear to which the rest belongs: a clear asks anew
    :param failed: will fail again, and why
    :param redone: were asked for by ``redo``, and their former takes are gone
    """

    model_config = ConfigDict(extra="forbid")

    open: dict[str, Sent] = Field(default_factory=dict)
    unknown: set[str] = Field(default_factory=set)
    again: set[str] = Field(default_factory=set)
    held: dict[str, Held] = Field(default_factory=dict)
    owner: str = ""
    failed: dict[str, str] = Field(default_factory=dict)
    redone: set[str] = Field(default_factory=set)


class _Claim(BaseModel):
    model_config = ConfigDict(extra="forbid")

    v: int = 1
    task: str
    attempt: str
    try_number: int
    beat: float
    away_until: float = 0.0
    over: bool = False
    entries: Entries | None = None


class Journal:
    """The claim of one try on a folder.

    :param location: the output folder, which ends in ``/``
    :param task: which task instance: dag, run, task and map index
    :param attempt: which try of it
    :raises TransientVoiceError: another run speaks into the folder; a retry finds it free, or says so again
    :raises InvalidInputError: a storage that cannot create an object exclusively; nothing was sent
    :raises StaleTryError: a later try of this task has begun
    """

    def __init__(self, location: str, task: str, attempt: Attempt) -> None:
        self.location = f"{location}{FOLDER}"
        self._mine = _Claim(task=task, attempt=attempt.id, try_number=attempt.number, beat=time.time())
        self._attempt = attempt
        self._written = 0.0
        self.away_until: float | None = None  # this very try was here before, and has waited on a triggerer until then
        with self._explained():
            self._folder = folder_of(self.location.rstrip("/"))
            self._number = self._claim()
            self.entries = self._inherited()
            self.write()
            for number in self._numbers():
                if number < self._number:  # what it holds stands in this one now
                    remove(f"{self.location}{_name(number)}")

    def write(self) -> None:
        """Write down what is in flight, before it is sent.

        :raises StaleTryError: another run has taken over; the caller must send nothing any more
        """
        self._mine = self._mine.model_copy(update={"beat": time.time(), "entries": self.entries})
        with self._explained():
            self._folder.write(_name(self._number), self._mine.model_dump_json(exclude_none=True).encode())
            self._written = time.monotonic()
            self._check_newest(self._number)

    def check(self) -> None:
        """Make sure that the folder still is this run's, before anything in it is deleted or replaced.

        :raises StaleTryError: another run has taken over
        """
        with self._explained():
            self._check_newest(self._number)

    def beat(self) -> None:
        """Show that this run is alive, where nothing was written for a while."""
        if time.monotonic() - self._written >= BEAT:
            self.write()

    def leave(self, until: float) -> None:
        """Keep the folder while this try waits on a triggerer.

        :param until: wall-clock time, seconds since 1970
        """
        self._mine = self._mine.model_copy(update={"away_until": until})
        self.write()

    def close(self) -> None:
        """Give the folder back; what is still open stays written down."""
        self._mine = self._mine.model_copy(update={"over": True})
        self.write()

    def _claim(self) -> int:
        for _ in range(CLAIMS):
            newest = max(self._numbers(), default=0)
            try:
                if newest:
                    before = self._read(newest)
                    self._check(before)
                    if before.attempt == self._mine.attempt:
                        self.away_until = before.away_until or None
                self._create(newest + 1)
            except (FileExistsError, FileNotFoundError):
                continue  # another run was faster: is it the one that works now?
            return newest + 1
        raise StorageError(f"{self.location} lists no object that is there.")

    def _check(self, other: _Claim) -> None:
        """Go on only where no other run works."""
        if other.task == self._mine.task:
            if self._attempt.is_over(Attempt(other.attempt, other.try_number)):
                raise StaleTryError("A later try of this task has begun; this one stops, and sends nothing.")
            return
        now = time.time()
        away, silent = other.away_until - now, now - other.beat
        if not other.over and min(silent, -away) < EXPIRES:
            since = f"it waits for jobs, {away:.0f} s at most" if away > 0 else f"its last word was {silent:.0f} s ago"
            raise TransientVoiceError(
                f"{other.task} speaks into {self.location.removesuffix(FOLDER)} ({since}), so this run sends nothing. "
                "A retry goes on when it has ended; for runs at the same time give each an output of its own. A run "
                f"that was killed is taken over after {EXPIRES:.0f} s."
            )

    def _check_newest(self, number: int) -> None:
        if max(self._numbers(), default=0) > number:
            raise StaleTryError(
                f"Another run has taken over {self.location} while this one did not answer; this one stops, and sends "
                "nothing."
            )

    def _create(self, number: int) -> None:
        """Create the object of this try, and make sure that it could not be created twice."""
        data = self._mine.model_dump_json().encode()
        self._folder.create(_name(number), data)
        with suppress(FileExistsError):
            self._folder.create(_name(number), data)
            self._check_newest(number)  # who has taken over since has deleted the first one
            raise InvalidInputError(
                f"output '{self.location}' cannot be used: the storage creates an object that is there already once "
                "more, so two runs could pay for the same lines. S3 can (conditional writes)."
            )

    def _inherited(self) -> Entries:
        for number in sorted(self._numbers(), reverse=True):
            if number < self._number:
                with suppress(FileNotFoundError):
                    if (entries := self._read(number).entries) is not None:
                        return entries
        return Entries()

    def _numbers(self) -> list[int]:
        return [int(found[1]) for name in self._folder.names() if (found := _NAME.fullmatch(name))]

    def _read(self, number: int) -> _Claim:
        try:
            return _Claim.model_validate(json.loads(self._folder.read(_name(number))))
        except (ValueError, ValidationError):
            raise InvalidInputError(
                f"{self.location}{_name(number)} is not what was written there. It may stand for paid lines: look at "
                "it, then delete it."
            ) from None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, PermanentVoiceError | TransientVoiceError):
                raise
            kind = InvalidInputError if isinstance(error, LASTING) else StorageError
            raise kind(
                f"The journal {self.location} cannot be kept: {reason_of(error)}. Nothing more was sent."
            ) from None


def task_of(*parts: Any) -> str:
    """Name a task instance for people, and no two the same."""
    return json.dumps(parts, ensure_ascii=False)


def _name(number: int) -> str:
    return f"{number:06d}.json"
