"""``VoiceHook``: a connection to a voice service, for the operators and for people who write ``@task`` functions.

::

    from airflow.sdk import BaseHook, task

    @task
    def voices() -> list[str]:
        return [voice.name for voice in BaseHook.get_hook("voice_default").list_voices()]
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from voice_provider.exceptions import (
    CapabilityError,
    InvalidInputError,
    JobFailedError,
    JobTimeoutError,
    ServiceUnavailableError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.hooks.settings import Settings, read_settings
from voice_provider.hooks.transport import Transport
from voice_provider.models import Asset, Capability, Estimate, Job, JobState, LipSyncModel, Manifest, Voice
from voice_provider.services.base import Input, download
from voice_provider.services.options import LipSyncOptions, SpeechOptions, parse
from voice_provider.storage import Output, StoredFile, is_location

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from voice_provider.models import JobKind
    from voice_provider.services.base import Flow, Service
    from voice_provider.services.options import Media

T = TypeVar("T")

FIRST_PAUSE = 0.5  # seconds after the first question; short jobs are common, and then it grows to the interval


class VoiceHook(BaseHook):
    """Holds a connection and runs the flows of its service.

    Get one with ``BaseHook.get_hook(conn_id)``, which chooses the subclass by the connection's type.

    :param voice_conn_id: id of the connection
    """

    conn_name_attr = "voice_conn_id"
    default_conn_name = "voice_default"
    service_class: ClassVar[type[Service]]

    def __init__(self, voice_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.voice_conn_id = voice_conn_id
        self._transport: Transport | None = None
        self._service: Service | None = None

    @classmethod
    def for_connection(cls, conn_id: str) -> VoiceHook:
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
    async def afor_connection(cls, conn_id: str) -> VoiceHook:
        """``for_connection`` on the triggerer; the connection is read here, so nothing blocks later."""
        try:
            found = await BaseHook.aget_hook(conn_id)
        except (AirflowException, AttributeError) as error:
            if not _says_no_hook(error):
                raise
            found = None
        hook = cls._checked(conn_id, found)
        connection = await BaseHook.aget_connection(conn_id)
        hook.connect(connection, await connection.aextra_dejson())
        return hook

    @staticmethod
    def _checked(conn_id: str, hook: Any) -> VoiceHook:
        if isinstance(hook, VoiceHook):
            return hook
        kind = f"of type '{hook.conn_type}'" if hasattr(hook, "conn_type") else "of a type without a hook"
        raise CapabilityError(
            f"Connection '{conn_id}' is {kind}, which is no voice service. Use a connection of type sync_labs."
        )

    # the connection

    def connect(self, connection: Connection, extra: dict[str, Any]) -> Transport:
        """Take the connection that was read, check it, and make the transport."""
        settings = read_settings(connection, extra, self.service_class.default_url)
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

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow of the service on the triggerer."""
        return await self.transport.arun(flow)

    def test_connection(self) -> tuple[bool, str]:
        """Make the cheapest call that needs the key; return whether it worked, and one sentence."""
        try:
            return True, self.transport.run(self.service.check_account(), attempts=2)  # a person waits
        except VoiceError as error:
            return False, str(error)

    # voices

    def list_voices(self) -> list[Voice]:
        """List the voices of the account: built-in ones and clones."""
        return self.run(self.service.list_voices())

    def get_voice(self, voice_id: str) -> Voice:
        """Read one voice.

        :raises NotFoundError: no such voice on this account
        """
        return self.run(self.service.get_voice(voice_id))

    def clone_voice(self, name: str, sample: Media) -> Voice:
        """Clone a voice under exactly this name; takes a clone slot of the plan.

        A sample from storage is uploaded first and deleted from the service afterwards. This call is not managed: for
        clones that survive retries, use ``CloneVoiceOperator``.

        :param name: label at the service, unique in the account
        :param sample: storage location, asset id, hosted URL, or what ``UploadAssetOperator`` returned
        :raises SlotLimitError: the plan's clone slots are in use
        :raises NameTakenError: a voice of this name exists
        """
        self.service.check_voice_name(name)
        source = self.resolve(sample)
        if isinstance(source, Input):
            return self.run(self.service.clone_voice(name, source))
        asset = self.upload_file(source)
        try:
            return self.run(self.service.clone_voice(name, Input(asset_id=asset.id)))
        finally:
            self._discard([asset.id])

    def delete_voice(self, voice_id: str) -> None:
        """Delete a clone; its slot is free at once.

        :raises NotFoundError: no such clone
        """
        self.run(self.service.delete_voice(voice_id))

    # assets

    def upload_asset(self, location: str, name: str | None = None) -> Asset:
        """Upload a file of any size from any storage and register it at the service.

        :param location: path or URI
        :param name: display name at the service; default: the file's name
        """
        return self.upload_file(StoredFile(location, self.settings.allowed_inputs), name)

    def upload_file(self, file: StoredFile, name: str | None = None) -> Asset:
        """Upload a file that is open already."""
        self.service.require(Capability.HOSTS_ASSETS)
        return self.run(self.service.upload_asset(file, name or file.name))

    def list_assets(self, search: str | None = None, limit: int | None = None) -> list[Asset]:
        """List the account's assets, newest first."""
        return self.run(self.service.list_assets(search=search, limit=limit))

    def get_asset(self, asset_id: str) -> Asset:
        """Read one asset."""
        return self.run(self.service.get_asset(asset_id))

    def update_asset(self, asset_id: str, **changes: Any) -> Asset:
        """Change an asset's name, visibility or metadata (the service's field names)."""
        return self.run(self.service.update_asset(asset_id, changes))

    def delete_asset(self, asset_id: str) -> None:
        """Delete an asset.

        :raises NotFoundError: no such asset
        """
        self.run(self.service.delete_asset(asset_id))

    def download_asset(self, asset_id: str, output: str) -> Manifest:
        """Fetch an asset into storage.

        :param output: file or, with a ``/`` at its end, folder
        """
        place = Output(output, asset_id, self.settings.allowed_outputs)
        place.check_writable()
        with place.receive() as sink:
            self.run(self.service.download_asset(asset_id, sink))
            kept = sink.keep()
        return Manifest(
            service=self.service.name,
            kind="file",
            uri=kept.uri,
            sha256=kept.sha256,
            bytes=kept.bytes,
            format=kept.info.format.extension,
            media_type=kept.info.format.media_type,
            seconds=kept.info.seconds,
        )

    def resolve(self, media: Media) -> Input | StoredFile:
        """Tell what a media argument is: hosted by the service already, or a file that has to be uploaded.

        :param media: asset id, URL, storage location, or a dict with ``asset_id``, ``uri`` or ``url`` (what operators
            return); an ``asset_id`` counts only at the service that it belongs to
        :raises InvalidInputError: nothing of these
        """
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
            return Input(url=media)
        if is_location(media):
            file = StoredFile(media, self.settings.allowed_inputs)
            file.seconds()  # raises for one that is cut short
            return file
        raise InvalidInputError(
            f"The media input '{media[:200]}' is no storage location (absolute path or URI), no URL and no asset id of "
            f"{self.service.label}."
        )

    # jobs

    def get_job(self, kind: JobKind, job_id: str, *, path: str | None = None, wait: float = 0) -> Job:
        """Ask after a job.

        :param wait: seconds that the service may take until the job has ended, where it can
        """
        return self.run(self.service.get_job(kind, job_id, path=path, wait=wait))

    def list_jobs(self, limit: int = 100) -> list[Job]:
        """List the newest lip syncs."""
        return self.run(self.service.list_jobs(limit=limit))

    def list_models(self) -> list[LipSyncModel]:
        """List the service's lip sync models."""
        self.service.require(Capability.LIP_SYNC)
        return self.run(self.service.list_models())

    def estimate(self, model: str, seconds: float, fps: float = 30) -> Estimate:
        """Ask what a lip sync would cost.

        :param seconds: length of the result
        :param fps: frames a second
        """
        self.service.require(Capability.ESTIMATE)
        return self.run(self.service.estimate(model, seconds, fps))

    def synthesize(self, text: str, voice_id: str, output: str, *, timeout: float = 600, **options: Any) -> Manifest:
        """Speak a line and keep it; waits here. Managed, restartable speech is ``TTSOperator``.

        :param output: file or, with a ``/`` at its end, folder
        :param timeout: seconds to wait
        :param options: ``stability``, ``similarity_boost`` (0 to 1)
        """
        order = parse(SpeechOptions, {"text": text, "voice_id": voice_id, **options})
        self.service.check_speech(order)
        place = Output(output, "speech", self.settings.allowed_outputs)
        place.check_writable()
        job = self.wait_for(self.run(self.service.start_speech(order, uuid4().hex)), timeout)
        return self.keep(job, Output(output, job.id, self.settings.allowed_outputs), voice_id=voice_id)

    def lip_sync(self, output: str, *, timeout: float = 3600, **options: Any) -> Manifest:
        """Lip sync a video and keep it; waits here. Managed, restartable lip sync is ``LipSyncOperator``.

        :param output: file or, with a ``/`` at its end, folder
        :param timeout: seconds to wait
        :param options: the fields of ``LipSyncOptions``
        """
        self.service.require(Capability.LIP_SYNC)
        order = parse(LipSyncOptions, options)
        for warning in self.service.check_lip_sync(order):
            self.log.warning("%s", warning)
        Output(output, "lip_sync", self.settings.allowed_outputs).check_writable()
        uploads: list[str] = []
        try:
            inputs = []
            for media in order.media:
                source = self.resolve(media)
                if isinstance(source, StoredFile):
                    uploads.append(self.upload_file(source).id)
                    source = Input(asset_id=uploads[-1])
                inputs.append(source)
            job = self.wait_for(self.run(self.service.start_lip_sync(order, inputs, uuid4().hex)), timeout)
            return self.keep(job, Output(output, job.id, self.settings.allowed_outputs))
        except JobTimeoutError:
            self.log.warning("The job goes on and needs its files; delete them when it has ended: %s.", uploads)
            uploads = []
            raise
        finally:
            self._discard(uploads)

    def _discard(self, assets: list[str]) -> None:
        """Delete what was uploaded on the way; a file left behind is no reason to lose what was paid."""
        for asset_id in assets:
            try:
                self.delete_asset(asset_id)
            except VoiceError as error:
                self.log.warning("Asset %s, uploaded on the way, could not be deleted: %s", asset_id, error)

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

    def watch(self, job: Job, until: float, poll_interval: float) -> Job:
        """Ask after a job until it has ended or a time has come; a question that fails does not end the wait.

        :param until: wall-clock time, seconds since 1970
        :param poll_interval: seconds between two questions; the first come sooner, and the service may ask for more
        """
        pause = min(FIRST_PAUSE, poll_interval)
        while not job.state.is_final and time.time() < until:
            began = time.monotonic()
            patience = max(0.0, min(poll_interval, until - time.time()))
            try:
                job = self.get_job(job.kind, job.id, path=job.path, wait=patience)
            except TransientVoiceError as error:
                self.log.warning("Asking after the job did not succeed; asking again. %s", error)
            if not job.state.is_final:
                rest = max(pause, job.retry_after or 0) - (time.monotonic() - began)
                time.sleep(max(0.0, min(rest, until - time.time())))
                pause = min(pause * 1.5, poll_interval)
        return job

    def keep(self, job: Job, output: Output, **details: Any) -> Manifest:
        """Fetch a succeeded job's result, check it, and put it in its place.

        :param details: more fields of the manifest
        :raises ResultError: cut short, empty or not media; nothing is kept
        """
        if job.kind == "clone" or not job.url:
            raise ServiceUnavailableError(f"{describe(job)} succeeded, but the service names no result.")
        with output.receive() as sink:
            self.run(download(job.url, sink))
            kept = sink.keep(job.seconds)
        if not kept.uri.lower().endswith(f".{kept.info.format.extension}"):
            self.log.warning("%s holds %s, whatever its name says.", kept.uri, kept.info.format.media_type)
        return Manifest(
            service=job.service,
            kind=job.kind,
            uri=kept.uri,
            sha256=kept.sha256,
            bytes=kept.bytes,
            format=kept.info.format.extension,
            media_type=kept.info.format.media_type,
            seconds=kept.info.seconds or job.seconds,
            job_id=job.id,
            model=job.model,
            engine=job.engine,
            **details,
        )


def _says_no_hook(error: Exception) -> bool:
    """Airflow has no word of its own for it: not registered, or (generic, fs ...) registered without a class."""
    return isinstance(error, AttributeError) or str(error).startswith("Unknown hook type")


def describe(job: Job) -> str:
    """Name a job in a message."""
    return f"The {job.kind.replace('_', ' ')} job {job.id}"


def succeeded(job: Job) -> Job:
    """Return a job that has succeeded; raise ``JobFailedError`` for one that has failed."""
    if job.state is JobState.FAILED:
        code = f" ({job.error_code})" if job.error_code else ""
        raise JobFailedError(
            f"{describe(job)} ended as {job.status or 'failed'}: {job.error or 'no reason given'}{code}. "
            f"Correct the input and clear the task; the service decides whether a failed job is billed.",
            error_code=job.error_code,
        )
    return job
