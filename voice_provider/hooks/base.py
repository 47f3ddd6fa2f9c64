"""What ``VoiceHook`` stands on: the connection, the media inputs, the jobs and their results."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from voice_provider.exceptions import (
    AuthError,
    CapabilityError,
    InvalidInputError,
    JobTimeoutError,
    ServiceUnavailableError,
    VoiceError,
)
from voice_provider.files.endings import check_ending, format_for
from voice_provider.files.locations import bare, is_location
from voice_provider.files.sound import SoundOf
from voice_provider.files.storage import Download, Kept, Output, StoredFile
from voice_provider.hooks import metrics
from voice_provider.hooks.attempts import ATTEMPTS
from voice_provider.hooks.inputs import check_kind
from voice_provider.hooks.settings import Settings, read_settings
from voice_provider.hooks.transport import Transport
from voice_provider.hooks.waiting import describe, succeeded, watch
from voice_provider.models import Capability, Cost, Job, Manifest
from voice_provider.money.prices import cost_of, settled
from voice_provider.services.base import Input, download, present
from voice_provider.services.form import COMMON_FIELDS
from voice_provider.services.forms import FORMS
from voice_provider.services.options import SampleFacts, parse, plain
from voice_provider.trust.provenance import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Connection

    from voice_provider.models import Basis, JobKind
    from voice_provider.services.base import Body, Flow, Service
    from voice_provider.services.options import Media, PathObject, SpeechOptions

T = TypeVar("T")

ORDERED = {"speech": "audio", "lip_sync": "video"}  # what the result of a job has to be


class ServiceHook(BaseHook):
    """Holds a connection, runs the flows of its service, and follows its jobs; people use ``VoiceHook``."""

    conn_name_attr = "voice_conn_id"
    default_conn_name = "voice_default"
    service_class: ClassVar[type[Service]]

    def __init__(self, voice_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.voice_conn_id = voice_conn_id
        self._transport: Transport | None = None
        self._service: Service | None = None

    @classmethod
    def for_connection(cls, conn_id: str) -> Self:
        """Return the hook of a connection, chosen by its type through Airflow's registry.

        :raises CapabilityError: the connection belongs to something else than a voice service
        """
        try:
            hook = BaseHook.get_hook(conn_id)
        except (AirflowException, AttributeError) as error:
            if not _says_no_hook(error):
                raise
            hook = None
        return cls._checked(conn_id, hook)

    @classmethod
    async def afor_connection(cls, conn_id: str) -> Self:
        """``for_connection`` on the triggerer; the connection is read here, so nothing blocks later."""
        connection = await BaseHook.aget_connection(conn_id)
        try:
            found = connection.get_hook()  # as BaseHook.aget_hook does, which 3.2 lacks and which would read it twice
        except (AirflowException, AttributeError) as error:
            if not _says_no_hook(error):
                raise
            found = None
        hook = cls._checked(conn_id, found)
        hook.connect(connection, _extra_of(connection))
        return hook

    @classmethod
    def _checked(cls, conn_id: str, hook: Any) -> Self:
        if isinstance(hook, cls):
            return hook
        kind = f"of type '{hook.conn_type}'" if hasattr(hook, "conn_type") else "of a type without a hook"
        raise CapabilityError(
            f"Connection '{conn_id}' is {kind}, which is no voice service. Use a connection of type "
            f"{' or '.join(form.connection_type for form in FORMS)}."
        )

    # the connection

    def connect(self, connection: Connection, extra: dict[str, Any]) -> Transport:
        """Take the connection that was read, check it, and make the transport."""
        form = self.service_class.form
        settings = read_settings(connection, extra, form.url, {**form.fields, **COMMON_FIELDS})
        if settings.unknown is not None:
            self.log.warning("%s", settings.unknown)
        self._service = self.service_class(extra)
        self._transport = Transport(settings, self._service, self.log)
        return self._transport

    @property
    def transport(self) -> Transport:
        """The connection's transport; reads the connection when first used."""
        if self._transport is None:
            connection = self.get_connection(self.voice_conn_id)
            return self.connect(connection, connection.extra_dejson)
        return self._transport

    @property
    def settings(self) -> Settings:
        """The checked connection."""
        return self.transport.settings

    @property
    def service(self) -> Service:
        """The dialect of the connection's service."""
        _ = self.transport
        assert self._service is not None  # noqa: S101  # set together with the transport
        return self._service

    def get_conn(self) -> Transport:
        """Return the transport, as Airflow's hooks do."""
        return self.transport

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow of the service on the worker."""
        return self.transport.run(flow)

    def submit(self, kind: JobKind, flow: Flow[T], attempts: int | None = None) -> T:
        """Drive a flow that sends an order, and count what becomes of it.

        :param attempts: how often a request is sent at most; default: as ``run``
        """
        with metrics.ordered(self.service.name, kind):
            return self.transport.run(flow, attempts)

    def ask_until(self, deadline: float) -> None:
        """Let no question outlive a wait: each is given up soon after its end; those after it are asked once, briefly.

        :param deadline: end of the wait, wall-clock time, seconds since 1970
        """
        self.transport.until = _monotonic(deadline)

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow of the service on the triggerer."""
        return await self.transport.arun(flow)

    def test_connection(self) -> tuple[bool, str]:
        """Make the cheapest call that needs the key; return whether it worked, and one sentence."""
        try:
            if self.settings.unknown is not None:
                return False, self.settings.unknown
            return True, self.transport.run(self.service.check_account(), attempts=2)  # a person waits
        except VoiceError as error:
            url = self._transport.settings.base_url if self._transport and not isinstance(error, AuthError) else ""
            version = re.search(r"/v\d+$", url)
            hint = f" The base URL ends in {version[0]}: leave the version out." if version else ""
            return False, f"{error}{hint}"

    # media inputs

    def resolve(self, media: Media | PathObject, argument: str | None = None) -> Input | StoredFile:
        """Tell what a media argument is: hosted by the service already, or a file that has to be uploaded.

        :param media: asset id, URL, storage location, or a dict with ``asset_id``, ``uri`` or ``url`` (what operators
            return); an ``asset_id`` counts only at the service that it belongs to
        :param argument: whose kind of media it has to be: ``video``, ``image``, ``audio``, ``sample``,
            ``recording`` or ``reference``; default: any kind
        :raises InvalidInputError: nothing of these, or of another kind
        """
        given = plain(media)
        source = self._found(given)
        if argument is not None:
            check_kind(argument, given, source)
        return source

    def _found(self, media: Media) -> Input | StoredFile:
        if isinstance(media, dict):
            at_home = media.get("service") in (None, self.service.name)
            if media.get("asset_id") and at_home:
                return Input(asset_id=str(media["asset_id"]))
            media = str(media.get("uri") or media.get("url") or "")
        if not isinstance(media, str) or not media.strip():
            raise InvalidInputError(
                "A media input is empty. Pass a storage location, an asset id, a URL or a manifest."
            )
        media = media.strip()
        if self.service.is_asset_id(media):
            return Input(asset_id=media)
        if media.startswith(("http://", "https://")):
            if Capability.HOSTS_ASSETS not in self.service.capabilities:
                raise InvalidInputError(
                    f"{self.service.label} takes files from a storage location, not from an address: {bare(media)}"
                )
            return Input(url=media)
        if is_location(media):
            return StoredFile(media, self.settings.allowed_inputs)
        raise InvalidInputError(
            f"The media input '{media[:200]}' is no storage location (absolute path or URI), no URL and no asset id of "
            f"{self.service.label}."
        )

    def as_sent(self, source: StoredFile) -> Body:
        """Return what is sent of a recording: the sound of a video, where the service takes sound only.

        It is taken out when the service is told how long it is, or when it is sent.

        :param source: a clone sample or a reference, with sound
        """
        return SoundOf(source) if source.kind == "video" and self.service.takes_sound_only else source

    def facts(self, source: Input | StoredFile) -> SampleFacts | None:
        """Return what is known of a recording before it is sent."""
        if not isinstance(source, StoredFile):
            return None
        body = self.as_sent(source)
        if body is not source:
            self.log.info(
                "%s takes recordings: of the video %s only the sound is sent, as %s (%s).",
                self.service.label,
                source.location,
                body.name,
                body.media_type,
            )
        return SampleFacts(body.name, body.media_type, source.seconds())

    # jobs and their results

    def check_output(self, output: str, formats: Sequence[str]) -> None:
        """Find out before anything is paid whether a result can be kept at a location, under the name it has there.

        :param formats: that the result can have
        """
        check_name(output)
        check_ending(output, formats, self.service.label)
        Output(output, "result", self.settings.allowed_outputs).check_writable()

    def get_job(
        self, kind: JobKind, job_id: str, *, path: str | None = None, wait: float = 0, until: float | None = None
    ) -> Job:
        """Ask after a job.

        :param wait: seconds that the service may take until the job has ended, where it can
        :param until: wall-clock time, seconds since 1970, after which nobody waits for the answer: it is asked once,
            and no longer than until then and ``LAST_QUESTION``
        """
        flow = self.service.get_job(kind, job_id, path=path, wait=wait)
        if until is None:
            return self.run(flow)
        return self.transport.run(flow, 1, _monotonic(until))

    def wait_for(self, job: Job, timeout: float, poll_interval: float = 3) -> Job:
        """Wait here until a job has succeeded.

        :param timeout: seconds
        :param poll_interval: seconds between two questions, where the service says nothing else
        :raises JobFailedError: the job failed; carries the service's reason
        :raises JobTimeoutError: it still runs
        """
        job = self.watch(job, time.time() + timeout, poll_interval)
        if not job.state.is_final:
            raise JobTimeoutError(f"{describe(job)} still {job.status or job.state} after {timeout:g} s; it goes on.")
        return succeeded(job)

    def watch(self, job: Job, until: float, poll_interval: float, tell: Callable[[str], None] = lambda _: None) -> Job:
        """Ask after a job until it has ended or a time has come; a question that fails does not end the wait.

        :param until: wall-clock time, seconds since 1970
        :param poll_interval: seconds between two questions; the first come sooner, and the service may ask for more
        :param tell: gets a line whenever there is progress
        :raises PermanentVoiceError: the service itself has refused to say, twice in a row
        """

        def ask(job: Job, wait: float) -> Job:
            return self.get_job(job.kind, job.id, path=job.path, wait=wait, until=until)

        return watch(job, ask, until, poll_interval, tell, self.log)

    def keep(self, job: Job, output: Output, costs: Sequence[Cost] = (), **details: Any) -> Manifest:
        """Fetch a succeeded job's result, check it, and put it in its place.

        :param costs: what it was expected to cost, part by part; default: not known
        :param details: more fields of the manifest
        :raises ResultError: cut short, empty, not media, or not what was ordered; nothing is kept
        """
        if job.kind in ("clone", "transcription") or not job.url:
            raise ServiceUnavailableError(f"{describe(job)} succeeded, but the service names no result.")
        began = time.time()
        with output.receive() as sink:
            self.run(download(job.url, sink))
            kept = sink.keep(job.seconds, kind=ORDERED[job.kind])
        metrics.took("receipt_duration", time.time() - began, service=job.service, kind=job.kind)
        if not kept.uri.startswith(output.location):
            self.log.warning("The service has sent %s, so it is kept as %s.", kept.info.format.media_type, kept.uri)
        came = present(frames=kept.info.frames, seconds=kept.info.seconds)
        cost = settled(costs, came) if costs else Cost(basis="unknown", units=came)
        return self._manifest(job, kept, began, cost=cost, **details)

    def _manifest(self, job: Job, kept: Kept, ended: float, **details: Any) -> Manifest:
        """Describe a result that is here, and count it.

        :param ended: when the wait for it was over, wall-clock time, seconds since 1970
        """
        if job.kind not in ("speech", "lip_sync"):
            raise ValueError(f"A {job.kind} has no file.")
        manifest = Manifest(
            service=job.service,
            voice_conn_id=self.voice_conn_id,
            kind=job.kind,
            **{**kept.facts, "seconds": kept.info.seconds or job.seconds},
            job_id=job.id,
            model=job.model,
            engine=job.engine,
            **details,
        )
        metrics.result(job, manifest.submitted_at, ended)
        metrics.paid(manifest.cost, service=job.service, kind=job.kind)
        return manifest

    # what it costs

    def price(self, kind: JobKind, model: str | None, amounts: Mapping[str, float], basis: Basis = "computed") -> Cost:
        """Return what work costs by the connection's own prices, else by those that the service publishes.

        :param model: that does it
        :param amounts: how much it is, by unit
        :param basis: how the amounts are known
        """
        return cost_of((self.settings.prices, self.service.price_list), kind, model, amounts, basis)

    def text_cost(self, text: str, model: str | None = None) -> Cost:
        """Return what a text costs when it is spoken: it is billed by its length, so this is known before.

        :param model: that speaks; default: the connection's, else the service's
        """
        amounts = {"bytes": float(len(text.encode())), "characters": float(len(text))}
        return self.price("speech", model or self.service.speech_model, amounts)

    def speech_cost(self, order: SpeechOptions) -> Cost:
        """Return what speech costs."""
        return self.text_cost(order.text, getattr(order, "model", None))

    # speech

    def speech_order(self, values: Mapping[str, Any], output: str) -> SpeechOptions:
        """Read what is to be spoken as this service's options; the output's ending chooses a format it has."""
        given = {name: value for name, value in values.items() if value is not None}
        ending = format_for(output, self.service.makes["speech"])
        if ending is not None and "format" in self.service.speech_options.model_fields:
            given.setdefault("format", ending)
        return parse(self.service.speech_options, given, self.service.label)

    def speech_formats(self, order: SpeechOptions) -> Sequence[str]:
        """Return the formats in which this speech may come: the one that was asked for, where one can be."""
        chosen = getattr(order, "format", None)
        return (chosen,) if chosen else self.service.makes["speech"]

    def references(self, order: SpeechOptions) -> list[StoredFile]:
        """Open the recordings of an instant clone, those of all speakers one after another."""
        found = [self.resolve(item.audio, "reference") for speaker in order.speakers for item in speaker]
        if not all(isinstance(file, StoredFile) for file in found):
            raise InvalidInputError("A reference's audio is no storage location: give a path, a URI or a manifest.")
        return [file for file in found if isinstance(file, StoredFile)]

    def check_speech(self, order: SpeechOptions, references: Sequence[StoredFile]) -> None:
        """Check speech before anything is sent; log what is only doubtful."""
        for warning in self.service.check_speech(order, [facts for file in references if (facts := self.facts(file))]):
            self.log.warning("%s", warning)

    def speak(
        self,
        order: SpeechOptions,
        references: Sequence[StoredFile],
        sink: Download,
        *,
        timed: bool = False,
        attempts: int = ATTEMPTS,
    ) -> tuple[Job, Kept]:
        """Speak into a download and check what came, where speech is the answer itself.

        :param timed: also say where the words are (``Job.said``), where the service can
        :param attempts: how often a request is sent at most, where it may be repeated
        :raises ResultError: cut short, empty or no audio
        :raises UnusableSpeechError: far too short for its text, or no speech; it is put aside
        """
        timed = timed and self.service.times_speech
        flow = self.service.speak(order, [self.as_sent(file) for file in references], sink, timed=timed)
        least = order.least_seconds(self.service.markup(order))
        with metrics.ordered(self.service.name, "speech"):
            job = self.transport.run(flow, attempts)
            return job, sink.check("audio", pcm_rate=order.pcm_rate, least_seconds=least)

    def describe_speech(self, order: SpeechOptions, job: Job, kept: Kept, **details: Any) -> Manifest:
        """Return the manifest of speech that was the answer itself."""
        voice_id = ", ".join(order.voice_ids) or None
        return self._manifest(job, kept, time.time(), voice_id=voice_id, cost=self.speech_cost(order), **details)


def _monotonic(wall_clock: float) -> float:
    return time.monotonic() + wall_clock - time.time()


def _extra_of(connection: Connection) -> dict[str, Any]:
    """Read the extra fields as they are: none is a secret, and Airflow's masking of them blocks the event loop."""
    # Connection.aextra_dejson does not, but Airflow 3.3.0 has none.
    with suppress(ValueError):
        found = json.loads(connection.extra or "{}")
        return found if isinstance(found, dict) else {}
    return {}  # ``read_settings`` tells it from one that is empty


def _says_no_hook(error: Exception) -> bool:
    """Airflow has no word of its own for it: not registered, or (generic, fs ...) registered without a class."""
    return isinstance(error, AttributeError) or str(error).startswith("Unknown hook type")
