"""Many lines spoken at a time, at the pace that the service allows.

What is sent was written into the journal before. How a line is spoken, as an answer or as a job, is for its ``Way`` to
say; here is in which order, how many at a time, and what becomes of what went wrong.
"""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_provider.exceptions import (
    AuthError,
    JobFailedError,
    JobTimeoutError,
    KeyInUseError,
    PermanentVoiceError,
    QuotaError,
    RateLimitedError,
    ServiceUnavailableError,
    StorageError,
    VoiceError,
)
from voice_provider.lines.takes import Take
from voice_provider.lines.ways import UnknownOutcome, Unplaced
from voice_provider.models import Job, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk.types import Logger

    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.lines.journal import Journal, Sent
    from voice_provider.lines.pace import Pace
    from voice_provider.lines.ways import Wanted, Way

WINDOW = 4  # times as many lines as go at a time are written down at once
TRIES = 5  # of a line that nobody has received
LOOKS = 10  # at a job in a row without an answer, or without its result: some minutes
FIRST_PAUSE = 0.5  # seconds, where the service does not say how long; doubled each time
QUIET = 2.0  # seconds without news after which the jobs that are known are written down
STOPS = (AuthError, QuotaError, StorageError)  # what every other line would meet, too


@dataclass(frozen=True)
class Rest:
    """Jobs that are waited for elsewhere.

    :param jobs: that run
    :param enough: how many of them have to end until it is worth to come back
    :param silent: seconds since there was news
    """

    jobs: Sequence[Job]
    enough: int
    silent: float


@dataclass
class _Running:
    """A job that is asked after.

    :param since: when it was accepted, or found; monotonic time, like all here
    :param due: when it is asked after next
    """

    one: Wanted
    since: float
    due: float


class Speaking:
    """Speaks takes, as many at a time as the pace allows.

    :param way: how the service speaks
    :param journal: of the folder
    :param pace: how many at a time
    :param patience: seconds that go by without news before it gives up: a line that is accepted, or ends
    :param waited: seconds of them that are over
    :param inline: seconds without news after which jobs are waited for elsewhere; None: all of it is done here
    :param poll_interval: seconds between two questions after a job at most, where the service does not ask for more
    :param stop_on_error: send nothing more after the first line that fails
    :param record: writes the record of a take that is in its place
    :param tell: is called after each take, and each failure
    """

    def __init__(
        self,
        way: Way,
        journal: Journal,
        pace: Pace,
        *,
        patience: float,
        waited: float,
        inline: float | None,
        poll_interval: float,
        stop_on_error: bool,
        record: Callable[[SpeechOrder, Manifest], Manifest],
        tell: Callable[[], None],
        log: Logger,
    ) -> None:
        self._way, self._journal, self._pace, self._record = way, journal, pace, record
        self._patience, self._inline, self._poll_interval = patience, inline, poll_interval
        self._stop_on_error, self._tell, self._log = stop_on_error, tell, log
        self.takes: dict[str, Take] = {}
        self.failures: dict[str, VoiceError] = {}
        self._waiting: deque[Wanted] = deque()
        self._written: deque[Wanted] = deque()
        self._flying: dict[Future[Manifest | Job], tuple[Wanted, float]] = {}
        self._running: dict[str, _Running] = {}
        self._doubtful: set[str] = set()  # a sending of theirs has an unknown outcome, and the key settles it
        self._tries: dict[str, int] = {}
        self._began = time.monotonic()
        self._news = self._began - waited
        self._are_jobs_written = True
        self._stop: VoiceError | None = None

    def run(self, wanted: Sequence[Wanted]) -> Rest | None:
        """Speak; ``takes`` and ``failures`` tell what became of them, and what is in neither was not sent, or runs.

        :return: what is to be waited for elsewhere; None: nothing
        :raises JobTimeoutError: there was no news for too long
        :raises VoiceError: what every line would meet: a key or wallet that is refused, a storage that is away
        """
        opened, now = self._journal.entries.open, time.monotonic()
        for one in wanted:
            if (sent := opened.get(one.key)) is None:
                self._waiting.append(one)
            elif sent.job is None:
                self._written.append(one)
                self._doubtful.add(one.key)
            else:
                self._running[one.key] = _Running(one, now, now)
        with ThreadPoolExecutor(self._way.threads(self._pace.most), thread_name_prefix="speak-lines") as pool:
            try:
                while self._flying or self._goes_on:
                    self._write_down()  # before a step that may be the last: what is known then is gone on with
                    if (silent := time.monotonic() - self._news) <= self._patience:
                        self._send(pool)
                        self._look(pool)
                        if self._rests and not self._flying:
                            return self._rest()
                    elif self._goes_on and not self._flying:  # nothing more was asked, and what was has been answered
                        raise JobTimeoutError(
                            f"No line was accepted, and none ended, for {silent:.0f} s. What was spoken is kept, and "
                            "a job goes on; a retry collects it."
                        )
                    self._listen()
            finally:
                self._settle()
        if self._stop is not None:
            raise self._stop
        return None

    # what comes next

    @property
    def _is_stopped(self) -> bool:
        return self._stop is not None or (self._stop_on_error and bool(self.failures))

    @property
    def _is_to_send(self) -> bool:
        return bool(self._waiting or self._written) and not self._is_stopped

    @property
    def _goes_on(self) -> bool:
        return self._stop is None and (bool(self._running) or self._is_to_send)

    @property
    def _may_send(self) -> bool:
        ordering = sum(one.key not in self._running for one, _ in self._flying.values())
        free = len(self._running) + ordering < self._pace.allowed
        return self._is_to_send and free and not self._pace.pause(time.monotonic())

    @property
    def _rests(self) -> bool:
        """Whether all that may be in flight is, and nothing has come of it for a while."""
        if self._inline is None or not self._running or self._may_send:
            return False
        return time.monotonic() - max(self._news, self._began) >= self._inline

    def _send(self, pool: ThreadPoolExecutor) -> None:
        while self._may_send:
            if not self._written:
                self._open()
            self._fly(pool, self._written.popleft())

    def _open(self) -> None:
        """Write the next window down; what came to an end of the one before is closed by the same write."""
        for _ in range(min(WINDOW * self._pace.most, len(self._waiting))):
            one = self._waiting.popleft()
            self._written.append(one)
            self._journal.entries.open[one.key] = self._way.new()
        self._journal.write()
        self._are_jobs_written = True

    def _look(self, pool: ThreadPoolExecutor) -> None:
        """Ask after the jobs whose time has come."""
        if self._stop is not None or self._rests:
            return
        now = time.monotonic()
        for running in self._running.values():
            if running.due <= now:
                running.due = math.inf
                self._fly(pool, running.one)

    def _fly(self, pool: ThreadPoolExecutor, one: Wanted) -> None:
        sent = self._journal.entries.open[one.key]
        self._flying[pool.submit(self._step, one, sent)] = one, time.monotonic()

    def _step(self, one: Wanted, sent: Sent) -> Manifest | Job:
        """Take the line's next step, in a thread of its own; a take has its record before anybody hears of it."""
        came = self._way.step(one, sent)
        return came if isinstance(came, Job) else self._record(one.order, came)

    def _write_down(self) -> None:
        """Write down which jobs there are, once in a quiet time; without a key they are found by nothing else."""
        if not self._are_jobs_written and time.monotonic() - self._news >= QUIET:
            self._journal.write()
            self._are_jobs_written = True
        self._journal.beat()

    def _rest(self) -> Rest:
        """Say which jobs are waited for elsewhere.

        Half of them where more lines wait for their places: lines that were ordered together end together, so that the
        others end while the task comes back, which takes it seconds; and one that is slow keeps no place empty.
        """
        opened = self._journal.entries.open
        jobs = [job for key in self._running if (job := opened[key].job) is not None]
        enough = math.ceil(len(jobs) / 2) if self._is_to_send else len(jobs)
        return Rest(jobs, enough, time.monotonic() - self._news)

    def _listen(self) -> None:
        """Wait for what comes next, a second at most."""
        now = time.monotonic()
        rest = min([1.0, *(running.due - now for running in self._running.values())])
        if self._is_to_send and (pause := self._pace.pause(now)):
            rest = min(rest, pause)
        if not self._flying:
            time.sleep(max(0.0, rest))
            return
        for done in wait(self._flying, max(0.0, rest), FIRST_COMPLETED).done:
            one, sent = self._flying.pop(done)
            self._take_notice(one, sent, done)

    def _settle(self) -> None:
        """Wait for what is on its way, whatever ends the task; then only what may be paid stays written down."""
        while self._flying:
            done, (one, sent) = self._flying.popitem()
            wait([done])
            self._take_notice(one, sent, done)
        for one in self._written:
            if one.key not in self._doubtful:
                self._journal.entries.open.pop(one.key, None)

    # what became of a line

    def _take_notice(self, one: Wanted, sent: float, done: Future[Manifest | Job]) -> None:
        entries, key = self._journal.entries, one.key
        # What was refused is over; what has a job, or may have one under its key, is collected by another try.
        is_over = key not in self._running and key not in self._doubtful
        try:
            came = done.result()
        except RateLimitedError as error:
            self._again(one, sent, error.retry_after or self._pause(one))
        except UnknownOutcome as error:
            entries.unknown.add(key)
            self._news = time.monotonic()
            self._end(one, PermanentVoiceError(str(error)), is_over=True)
        except Unplaced as error:
            entries.held[key] = error.held
            self._stop = self._stop or error.error
            self._end(one, error.error, is_over=True)
        except STOPS as error:
            self._stop = self._stop or error
            self._end(one, error, is_over=is_over)
        except ServiceUnavailableError as error:
            if error.sent and key not in self._running and entries.open[key].nonce is not None:
                self._doubtful.add(key)
            most = LOOKS if key in self._running else TRIES
            if self._tries.get(key, 0) < most or isinstance(error, KeyInUseError):  # which is no outage: it is accepted
                self._again(one, sent, max(self._pause(one), error.retry_after or 0.0))
            else:
                self._end(one, error, is_over=key not in self._running and key not in self._doubtful)
        except VoiceError as error:
            if isinstance(error, PermanentVoiceError):
                entries.failed[key] = str(error)
            self._news = time.monotonic()
            self._end(one, error, is_over=is_over or isinstance(error, JobFailedError))
        else:
            self._tries.pop(key, None)
            if isinstance(came, Job):
                self._go_on(one, came)
            else:
                self._keep(one, came)

    def _pause(self, one: Wanted) -> float:
        tries = self._tries[one.key] = self._tries.get(one.key, 0) + 1
        return float(FIRST_PAUSE * 2 ** min(tries - 1, 6))

    def _again(self, one: Wanted, sent: float, pause: float) -> None:
        """Let a line wait: for its next question, or until the pace allows to send it once more."""
        now = time.monotonic()
        if one.key in self._running:
            self._running[one.key].due = now + pause
        else:
            self._pace.refused(sent, now, pause)
            self._written.appendleft(one)  # it was not accepted, so it still waits

    def _go_on(self, one: Wanted, job: Job) -> None:
        """Take notice that a job was accepted, or still runs: it is asked more rarely the longer it takes."""
        opened, now = self._journal.entries.open, time.monotonic()
        opened[one.key] = opened[one.key].model_copy(update={"job": job})
        running = self._running.get(one.key)
        if running is None:
            self._running[one.key] = _Running(one, now, now if job.state.is_final else now + FIRST_PAUSE)
            self._doubtful.discard(one.key)
            self._are_jobs_written = False
            self._accepted()
        else:
            pause = min(max(FIRST_PAUSE, (now - running.since) / 2), self._poll_interval)
            running.due = now + max(pause, job.retry_after or 0.0)

    def _keep(self, one: Wanted, take: Manifest) -> None:
        self.takes[one.key] = Take(take.uri, take.sha256, take.seconds)
        self._journal.entries.open.pop(one.key, None)
        if self._running.pop(one.key, None) is None:
            self._accepted()
        self._news = time.monotonic()
        self._tell()

    def _accepted(self) -> None:
        self._pace.spoken()
        self._news = time.monotonic()

    def _end(self, one: Wanted, error: VoiceError, *, is_over: bool) -> None:
        """Note that a line has no take; where it is over, a new order of it is another one."""
        self.failures[one.key] = error
        self._running.pop(one.key, None)
        if is_over:
            self._journal.entries.open.pop(one.key, None)
        self._log.warning("Take %s… was not spoken: %s", one.key[:12], error)
        self._tell()
