"""The two ways in which a service speaks a line: the speech is its paid answer, or a job that is asked after.

A way takes one step with a line at a time, in a thread of its own: it returns the take, or a job that is to be asked
after later. Which step it is follows from what was written down of the line, so that a try after a kill goes on there.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_provider.exceptions import (
    KeyConflictError,
    NotFoundError,
    NotPublishedError,
    PermanentVoiceError,
    ResultError,
    ServiceUnavailableError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.hooks.transport import CONNECTIONS
from voice_provider.hooks.waiting import describe, succeeded
from voice_provider.jobs.record import new_nonce
from voice_provider.lines.journal import Held, Sent
from voice_provider.lines.takes import order_key
from voice_provider.models import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voice_provider.files.storage import Output
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.models import Job, Manifest

CONFIRM_AFTER = 2.0  # seconds until a refusal to say how a job is doing is believed: edges and deployments hiccup


@dataclass(frozen=True, slots=True)
class Wanted:
    """A take that is to be spoken.

    :param key: its name
    :param orders: by such names
    """

    key: str
    orders: Mapping[str, SpeechOrder]

    @property
    def order(self) -> SpeechOrder:
        """What is ordered."""
        return self.orders[self.key]


class UnknownOutcome(Exception):  # noqa: N818  # it is told as a line's outcome, and never leaves this room
    """A line may have been accepted and paid, and there is no take of it."""


class Way(ABC):
    """How a service speaks a line.

    :param hook: of the connection
    :param place: returns where a take goes
    """

    def __init__(self, hook: VoiceHook, place: Callable[[str], Output]) -> None:
        self._hook, self._place = hook, place

    @abstractmethod
    def threads(self, most: int) -> int:
        """Return how many steps are taken at a time, where so many lines are in flight."""

    @abstractmethod
    def new(self) -> Sent:
        """Return what is written down of a line before it is ordered."""

    @abstractmethod
    def goes_on(self, sent: Sent) -> bool:
        """Whether a line that an earlier try has sent can be gone on with: nothing is ordered a second time."""

    @abstractmethod
    def step(self, wanted: Wanted, sent: Sent) -> Manifest | Job:
        """Order a line, or ask after it; return its take as soon as it is in its place, else the job.

        :raises UnknownOutcome: it may be paid, and there is nothing to ask after
        :raises Unplaced: it is paid, and here, and cannot be put in its place
        :raises VoiceError: as the hook
        """


class Unplaced(Exception):  # noqa: N818  # it carries the error that is raised in the end
    """A paid take that could not be put in its place.

    :param held: where it is
    """

    def __init__(self, held: Held, error: NotPublishedError) -> None:
        super().__init__(str(error))
        self.held, self.error = held, error


class Answer(Way):
    """The speech is the paid answer itself.

    It is received like any other: room for it is taken before it is paid, it is checked, held from its last byte on,
    and put in its place whole.
    """

    def threads(self, most: int) -> int:
        """Each holds a connection of its own for as long as it takes."""
        return most

    def new(self) -> Sent:
        """There is nothing to know it by."""
        return Sent()

    def goes_on(self, sent: Sent) -> bool:  # noqa: ARG002
        """What has not come, cannot be asked for."""
        return False

    def step(self, wanted: Wanted, sent: Sent) -> Manifest:  # noqa: ARG002
        """Have it spoken."""
        order = wanted.order
        with self._place(wanted.key).receive(order.likely_bytes()) as sink:
            try:
                job, kept = self._hook.speak(order.options, (), sink, attempts=1)
            except VoiceError as error:
                lost = isinstance(error, ServiceUnavailableError) and error.sent
                answered = sink.begun or isinstance(error, ResultError)
                known = isinstance(error, UnusableSpeechError) or order.is_free(self._hook.service)
                if (lost or answered) and not known:
                    raise UnknownOutcome(f"It may be paid, and nothing came: {error}") from error
                raise
            manifest = self._hook.describe_speech(order.options, job, kept)
            sink.note(manifest.dump())
            try:
                sink.publish(kept)
            except NotPublishedError as error:
                held = Held(uri=kept.uri, sha256=kept.sha256, bytes=kept.bytes, at=error.held)
                raise Unplaced(held, error) from error
        return manifest


class AsJob(Way):
    """The speech is a job: it is ordered, under a key where the service takes one, asked after, and fetched.

    What a job has made can be fetched again, so that nothing of it has to be held.
    """

    def threads(self, most: int) -> int:
        """As many as there are connections; without a key each order has one of its own, and may be answered late."""
        return min(most, CONNECTIONS) if self._hook.service.is_keyed("speech") else most

    def new(self) -> Sent:
        """Have its key written down, in the form of what it follows from."""
        keyed = self._hook.service.is_keyed("speech")
        return Sent(nonce=new_nonce() if keyed else None, account=self._hook.settings.account)

    def goes_on(self, sent: Sent) -> bool:
        """Whether its job is known, or is given back under its key."""
        keyed = sent.nonce is not None and self._hook.service.is_keyed("speech")
        return sent.account == self._hook.settings.account and (sent.job is not None or keyed)

    def step(self, wanted: Wanted, sent: Sent) -> Manifest | Job:
        """Order it, or ask after its job, and fetch what that has made."""
        if sent.job is None:
            return _lasting(self._order(wanted, sent))
        job = self._ask(sent.job)
        if not job.state.is_final:
            return _lasting(job)
        voice = ", ".join(wanted.order.options.voice_ids) or None
        cost = self._hook.speech_cost(wanted.order.options)
        try:
            return self._hook.keep(succeeded(job), self._place(wanted.key), [cost], voice_id=voice)
        except ServiceUnavailableError as error:
            if sent.job.url is None or error.status is None or error.status >= 500:
                raise
            raise UnknownOutcome(f"{describe(job)} is paid, and the only link to its speech has expired") from error

    def _order(self, wanted: Wanted, sent: Sent) -> Job:
        """Send it once: how soon it is sent again is for the pace of all lines to say."""
        settings, key = self._hook.settings, None
        if sent.nonce is not None:
            key = order_key(settings.namespace, wanted.key, sent.nonce)
        try:
            return self._hook.submit("speech", self._hook.service.start_speech(wanted.order.options, key), attempts=1)
        except KeyConflictError as error:
            raise UnknownOutcome(str(error)) from error
        except ServiceUnavailableError as error:
            if key is None and error.sent:
                raise UnknownOutcome(f"It may be paid, and nothing came: {error}") from error
            raise

    def _ask(self, job: Job) -> Job:
        if job.url is not None:
            return job  # see _lasting
        try:
            return self._get(job)
        except PermanentVoiceError:
            time.sleep(CONFIRM_AFTER)
        try:
            return self._get(job)
        except NotFoundError as error:
            raise UnknownOutcome(f"{describe(job)} is not known to the service any more: {error}") from error

    def _get(self, job: Job) -> Job:
        return self._hook.transport.run(self._hook.service.get_job(job.kind, job.id, path=job.path), attempts=1)


def _lasting(job: Job) -> Job:
    """Return what is to be remembered of a job: its link only where it cannot be asked for again.

    That is speech that was answered at once; other links are dead when they are needed.
    """
    return job if job.url is not None and not job.status else job.model_copy(update={"url": None})


def way_of(hook: VoiceHook, place: Callable[[str], Output]) -> Way:
    """Return the way in which the connection's service speaks; see ``Way``."""
    return (AsJob if Capability.ASYNC_SPEECH in hook.service.capabilities else Answer)(hook, place)
