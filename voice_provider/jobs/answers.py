"""Speech that is the paid answer itself: there is no job to ask after, and it cannot be had a second time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_provider.exceptions import (
    NotPublishedError,
    ResultError,
    ServiceUnavailableError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.jobs.notes import now
from voice_provider.models import Manifest

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from voice_provider.files.storage import Output
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.notes import Notes
    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.jobs.record import Record, Scope


class NoAnswerError(Exception):
    """The order was sent, and no usable speech came.

    :param record: as it is now
    :param error: what went wrong
    """

    def __init__(self, record: Record, error: VoiceError) -> None:
        super().__init__(str(error))
        self.record, self.error = record, error


@dataclass
class Answers:
    """Orders speech that comes at once, and finds again what came."""

    hook: VoiceHook
    scope: Scope
    notes: Notes
    log: Logger

    def order(self, order: SpeechOrder, record: Record, deadline: float) -> Record:
        """Have a line spoken, and put it in its place.

        Room is taken first. What came is noted beside it, then in the record, then put in its place: a try after a
        kill in between, or after a storage that refused, finds it.

        :param deadline: wall-clock time, seconds since 1970, until which it is tried to put it there
        :raises NoAnswerError: it was sent, and what became of it is unknown, or what came cannot be used
        :raises NotPublishedError: it came, and is kept elsewhere, as the record says
        """
        output = self._output(order, record)
        with output.receive(order.likely_bytes()) as sink:
            account = self.hook.settings.account
            record = self.notes.save(record, posted_at=now(), account=account, keyed=False)
            try:
                job, kept = self.hook.speak(order.options, order.references, sink)
            except VoiceError as error:
                answered = sink.begun or isinstance(error, ResultError)
                lost = isinstance(error, ServiceUnavailableError) and error.sent
                if not answered and not lost:
                    self.notes.save(record, posted_at=None)  # refused, or never sent: nothing was accepted
                    raise
                failure = error
                if sink.begun and not isinstance(error, ResultError | UnusableSpeechError):
                    failure = ResultError(f"The speech stopped after {sink.position:,} bytes. {error}")
            else:
                details = {"submitted_at": record.posted_at, "outcome": record.outcome}
                manifest = self.hook.describe_speech(order.options, job, kept, **details)
                sink.note(manifest.dump())
                record = self.notes.keep(record, manifest=manifest, held=[str(sink.place)])
                try:
                    sink.publish(kept, deadline)
                except NotPublishedError as error:
                    self.notes.keep(record, held=[*record.held, error.held])
                    raise
                what, seconds = job.model or job.service, manifest.seconds or 0
                self.log.info("%s spoke; kept %s: %.1f s, %s bytes.", what, kept.uri, seconds, f"{kept.bytes:,}")
                return self.notes.keep(record, collected=True, held=[])
        # Where it is known what came, a clear of the task is a new order; a mere retry never is.
        raise NoAnswerError(self.notes.save(record, finished=answered), failure)

    def find(self, order: SpeechOrder, record: Record) -> Record | None:
        """Return the record of what a try before had received, put in its place now; None if it is not here."""
        output, kept = self._output(order, record), record.manifest
        if kept is None:
            receipt = output.received()
            if receipt is None:
                return None
            kept = Manifest.model_validate(receipt.facts)
        elif record.finished:
            return None  # nothing is held any more
        if not output.recover(kept.uri, kept.sha256, kept.bytes, record.held):
            return None
        self.log.info("The try before had received the speech; it is kept: %s.", kept.uri)
        manifest = kept.model_copy(update={"outcome": "recovered"})
        return self.notes.save(record, manifest=manifest, collected=True, held=[])

    def _output(self, order: SpeechOrder, record: Record) -> Output:
        assert order.place is not None  # noqa: S101  # the operator gave it
        return order.place(record.file_name, self.scope.run)
