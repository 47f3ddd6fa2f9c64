"""Many lines spoken at a time, where the speech is the paid answer itself.

What is sent was written into the journal before. Each take is received like any other result: room for it is taken
before it is paid, it is checked, held from its last byte on, and put in its place whole.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_provider.exceptions import (
    AuthError,
    JobTimeoutError,
    NotPublishedError,
    PermanentVoiceError,
    QuotaError,
    RateLimitedError,
    ResultError,
    ServiceUnavailableError,
    StorageError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.lines.journal import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk.types import Logger

    from voice_provider.files.storage import Output
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.lines.journal import Journal
    from voice_provider.lines.pace import Pace
    from voice_provider.models import Manifest

WINDOW = 4  # times as many lines as go at a time are written down at once
TRIES = 5  # of a line that nobody has received
FIRST_PAUSE = 0.5  # seconds, where the service does not say how long; doubled each time
STOPS = (AuthError, QuotaError, StorageError)  # what every other line would meet, too


@dataclass(frozen=True)
class Wanted:
    """A take that is to be spoken."""

    key: str
    order: SpeechOrder


class UnknownOutcome(Exception):  # noqa: N818  # it is told as a line's outcome, and never leaves this module
    """A line may have been accepted and paid, and there is no take of it."""


class Speaking:
    """Speaks takes, as many at a time as the pace allows.

    :param hook: of the connection
    :param place: returns where a take goes
    :param journal: of the folder
    :param pace: how many at a time
    :param patience: seconds that go by without an accepted line before it gives up
    :param stop_on_error: send nothing more after the first line that fails
    :param keep: writes the record of a take that is in its place
    :param tell: is called after each take, and each failure
    """

    def __init__(
        self,
        hook: VoiceHook,
        place: Callable[[str], Output],
        journal: Journal,
        pace: Pace,
        *,
        patience: float,
        stop_on_error: bool,
        keep: Callable[[SpeechOrder, Manifest], Manifest],
        tell: Callable[[], None],
        log: Logger,
    ) -> None:
        self._hook, self._place, self._journal, self._pace, self._keep = hook, place, journal, pace, keep
        self._patience, self._stop_on_error, self._tell, self._log = patience, stop_on_error, tell, log
        self.takes: dict[str, Manifest] = {}
        self.failures: dict[str, VoiceError] = {}
        self._tries: dict[str, int] = {}
        self._held: dict[str, Held] = {}
        self._stop: VoiceError | None = None

    def run(self, wanted: Sequence[Wanted]) -> None:
        """Speak; ``takes`` and ``failures`` tell what became of them, and what is in neither was not sent.

        :raises VoiceError: what every line would meet: a key or wallet that is refused, a storage that is away
        """
        waiting, written = deque(wanted), deque[Wanted]()
        flying: dict[Future[Manifest], tuple[Wanted, float]] = {}
        accepted = time.monotonic()
        with ThreadPoolExecutor(self._pace.most, thread_name_prefix="speak-lines") as pool:
            try:
                while flying or ((waiting or written) and not self._stopped):
                    while not self._stopped and len(flying) < self._pace.allowed and (waiting or written):
                        if self._pace.pause(time.monotonic()):
                            break
                        if not written:
                            self._open(waiting, written)
                        one = written.popleft()
                        flying[pool.submit(self._speak, one)] = one, time.monotonic()
                    self._journal.beat()
                    pause = self._pace.pause(time.monotonic())
                    if not flying:
                        time.sleep(min(pause, 1.0))
                    for done in wait(flying, pause or 1.0, FIRST_COMPLETED).done if flying else ():
                        one, sent = flying.pop(done)
                        if self._take_notice(one, sent, done):
                            accepted = time.monotonic()
                        elif one.key not in self.failures:
                            written.appendleft(one)  # it was not accepted, so it still waits
                    if not flying and time.monotonic() - accepted > self._patience:
                        raise JobTimeoutError(
                            f"No line was accepted for {self._patience:g} s. What was spoken is kept; a retry goes on."
                        )
            finally:
                self._settle(flying)
        if self._stop is not None:
            raise self._stop

    @property
    def _stopped(self) -> bool:
        return self._stop is not None or (self._stop_on_error and bool(self.failures))

    def _open(self, waiting: deque[Wanted], written: deque[Wanted]) -> None:
        """Write the next window down; what came to an end of the one before is closed by the same write."""
        for _ in range(min(WINDOW * self._pace.most, len(waiting))):
            written.append(waiting.popleft())
        self._journal.entries.open |= {one.key for one in written}
        self._journal.write()

    def _settle(self, flying: dict[Future[Manifest], tuple[Wanted, float]]) -> None:
        """Wait for what is on its way, whatever ends the task; then only what is in doubt stays written down."""
        for done, (one, sent) in flying.items():
            wait([done])
            self._take_notice(one, sent, done)
        self._journal.entries.open.clear()

    def _speak(self, wanted: Wanted) -> Manifest:
        order = wanted.order
        with self._place(wanted.key).receive(order.likely_bytes()) as sink:
            try:
                job, kept = self._hook.speak(order.options, (), sink, attempts=1)
            except VoiceError as error:
                lost = isinstance(error, ServiceUnavailableError) and error.sent
                answered = sink.begun or isinstance(error, ResultError)
                known = isinstance(error, UnusableSpeechError) or order.is_free(self._hook.service)
                if (lost or answered) and not known:
                    raise UnknownOutcome(str(error)) from error
                raise
            manifest = self._hook.describe_speech(order.options, job, kept)
            sink.note(manifest.dump())
            try:
                sink.publish(kept)
            except NotPublishedError as error:
                # The journal's own belongs to the thread that writes it.
                self._held[wanted.key] = Held(uri=kept.uri, sha256=kept.sha256, bytes=kept.bytes, at=error.held)
                raise
        return self._keep(order, manifest)

    def _take_notice(self, one: Wanted, sent: float, done: Future[Manifest]) -> bool:
        """Note what became of a line; return whether the service took it."""
        entries, now = self._journal.entries, time.monotonic()
        try:
            self.takes[one.key] = done.result()
        except RateLimitedError as error:
            self._pace.refused(sent, now, error.retry_after or self._pause(one))
            return False
        except UnknownOutcome as error:
            entries.unknown.add(one.key)
            self._fail(one, PermanentVoiceError(f"It may be paid, and nothing came: {error}"))
        except STOPS as error:
            self._stop = self._stop or error
            if one.key in self._held:
                entries.held[one.key] = self._held.pop(one.key)
            self._fail(one, error)
            return False
        except ServiceUnavailableError as error:
            if self._tries.get(one.key, 0) >= TRIES:
                self._fail(one, error)
            else:
                self._pace.refused(sent, now, self._pause(one))
            return False
        except VoiceError as error:
            if isinstance(error, PermanentVoiceError):
                entries.failed[one.key] = str(error)
            self._fail(one, error)
        else:
            entries.open.discard(one.key)
            self._pace.spoken()
            self._tell()
        return True

    def _fail(self, one: Wanted, error: VoiceError) -> None:
        self.failures[one.key] = error
        self._journal.entries.open.discard(one.key)
        self._log.warning("Take %s… was not spoken: %s", one.key[:12], error)
        self._tell()

    def _pause(self, one: Wanted) -> float:
        tries = self._tries[one.key] = self._tries.get(one.key, 0) + 1
        return float(FIRST_PAUSE * 2 ** min(tries - 1, 6))
