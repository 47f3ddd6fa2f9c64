"""Speech that is the paid answer itself: there is no job to ask after, and it cannot be had a second time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import (
    NotPublishedError,
    ResultError,
    ServiceUnavailableError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.hooks import metrics
from voice_provider.jobs.notes import now
from voice_provider.models import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk.types import Logger

    from voice_provider.files.storage import Output
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.notes import Notes
    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.jobs.record import Record, Scope
    from voice_provider.models import Job


CAPTIONS = "captions_text"  # in the receipt of what was received


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
                timed = order.captions is not None
                job, kept = self.hook.speak(order.options, order.references, sink, timed=timed)
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
                manifest, captions = self._captioned(manifest, order, job)
                sink.note(manifest.dump() | captions)
                record = self.notes.keep(record, manifest=manifest, held=[str(sink.place)])
                self._put_captions(manifest, captions)
                try:
                    sink.publish(kept, deadline)
                except NotPublishedError as error:
                    self.notes.keep(record, held=[*record.held, error.held])
                    raise
                what, seconds = job.model or job.service, manifest.seconds or 0
                self.log.info("%s spoke; kept %s: %.1f s, %s bytes.", what, kept.uri, seconds, f"{kept.bytes:,}")
                return record  # a try after a kill finds it in its place
        # Where it is known what came, a clear of the task is a new order; a mere retry never is.
        raise NoAnswerError(self.notes.save(record, finished=answered), failure)

    def find(self, order: SpeechOrder, record: Record) -> Record | None:
        """Return the record of what a try before had received, put in its place now; None if it is not here."""
        output, kept = self._output(order, record), record.manifest
        if kept is not None and record.finished:
            return None  # nothing is held any more
        receipt = output.received()
        if kept is None:
            if receipt is None:
                return None
            kept = Manifest.model_validate(receipt.facts)
        if receipt is not None and receipt.sha256 == kept.sha256:
            self._put_captions(kept, receipt.facts)
        if not output.recover(kept.uri, kept.sha256, kept.bytes, record.held):
            return None
        self.log.info("The try before had received the speech; it is kept: %s.", kept.uri)
        metrics.count("orders", service=kept.service, kind="speech", outcome="recovered")
        manifest = kept.model_copy(update={"outcome": "recovered"})
        return self.notes.save(record, manifest=manifest, collected=True, held=[])

    def _captioned(self, manifest: Manifest, order: SpeechOrder, job: Job) -> tuple[Manifest, dict[str, str]]:
        """Return the manifest with the captions that go beside, and what is noted of them: the words come only once."""
        if order.captions is None or job.said is None:
            return manifest, {}
        from voice_provider.files.captions import describe_captions, place_of, plan, render  # noqa: PLC0415  # not when a DAG is parsed

        try:
            text = render(plan(job.said), order.captions) if job.said.words else b""
        except Exception as error:  # noqa: BLE001  # the speech is paid: nothing that is told of its words loses it
            self.log.warning("No captions can be made of what came with the speech: %s", error)
            text = b""
        if not text:
            return manifest, {}
        captions = describe_captions(text, place_of(manifest.uri, order.captions))
        return manifest.model_copy(update={"captions": captions}), {CAPTIONS: text.decode()}

    def _put_captions(self, manifest: Manifest, noted: Mapping[str, Any]) -> None:
        """Put captions beside where speech goes; a storage that refuses them is no reason to hold the speech back."""
        captions, text = manifest.captions, noted.get(CAPTIONS)
        if captions is None or text is None:
            return
        from voice_provider.files.captions import keep_captions  # noqa: PLC0415  # not when a DAG is parsed

        try:
            keep_captions(text.encode(), captions, self.hook.settings.allowed_outputs)
        except Exception as error:  # noqa: BLE001  # every backend has an exception tree of its own
            self.log.warning("The captions cannot be kept at %s: %s", captions.uri, error)

    def _output(self, order: SpeechOrder, record: Record) -> Output:
        assert order.place is not None  # noqa: S101  # the operator gave it
        return order.place(record.file_name, self.scope.run)
