"""``VoiceHook``: a connection to a voice service, for the operators and for people who write ``@task`` functions.

::

    from airflow.sdk import BaseHook, task

    @task
    def voices() -> list[str]:
        return [voice.name for voice in BaseHook.get_hook("voice_default").list_voices()]
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from voice_provider.exceptions import (
    InvalidInputError,
    JobTimeoutError,
    NotFoundError,
    StorageError,
)
from voice_provider.files.locations import output_of, read_text
from voice_provider.files.storage import Output, StoredFile
from voice_provider.hooks import metrics
from voice_provider.hooks.base import ServiceHook
from voice_provider.hooks.costs import lip_sync_costs
from voice_provider.hooks.hearing import TRANSCRIPTION_TIMEOUT, captioned, discard, transcript_of
from voice_provider.hooks.inputs import COVERS
from voice_provider.hooks.visibility import settled
from voice_provider.models import (
    Asset,
    Capability,
    ConsentRef,
    Estimate,
    Job,
    LipSyncModel,
    Manifest,
    Room,
    Transcript,
    Voice,
    Wallet,
)
from voice_provider.services.base import Input, present
from voice_provider.services.options import VoiceChanges, VoiceFilters, parse, plain
from voice_provider.services.texts import checked
from voice_provider.trust.origin import digest_of, lip_sync_origin, recordings, speech_origin
from voice_provider.trust.provenance import carry, current_run, keep

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from voice_provider.files.captions import CaptionFormat
    from voice_provider.models import JobKind
    from voice_provider.services.base import Body
    from voice_provider.services.options import CloneOptions, Media, PathObject
    from voice_provider.trust.origin import Origin


class VoiceHook(ServiceHook):
    """A connection to a voice service, and all that can be asked of it.

    Get one with ``BaseHook.get_hook(conn_id)``, which chooses the subclass by the connection's type.

    :param voice_conn_id: id of the connection
    """

    # voices

    def list_voices(self, **filters: Any) -> list[Voice]:
        """List the voices of the account: clones, and built-in ones where the service does not tell them apart.

        :param filters: the fields of ``VoiceFilters``: ``title`` (part of the name), ``limit``, and at Fish Audio
            ``own=False`` (its library), ``tags``, ``languages``, ``title_languages``, ``author``, ``licensed`` and
            ``sort_by``
        """
        return self.run(self.service.list_voices(parse(VoiceFilters, filters)))

    def get_voice(self, voice_id: str) -> Voice:
        """Read one voice.

        :raises NotFoundError: no such voice on this account
        """
        return self.run(self.service.get_voice(voice_id))

    def clone_voice(
        self,
        name: str,
        samples: Media | PathObject | Sequence[Media | PathObject],
        *,
        consent: Any = None,
        **options: Any,
    ) -> Voice:
        """Clone a voice under exactly this name; takes a clone slot of the plan, where it counts them.

        Where the service hosts files, a sample from storage is uploaded first and deleted afterwards; else it is sent
        along. This call is not managed: for clones that survive retries, use ``CloneVoiceOperator``.

        :param name: label at the service; unique in the account at sync. labs
        :param samples: one or several: storage location, asset id, hosted URL, or what ``UploadAssetOperator`` returned
        :param consent: of the person whose voice it is; see ``check_consent``
        :param options: of the service; at Fish Audio ``texts``, ``visibility`` (default ``private``),
            ``enhance_audio_quality`` (default True), ``description``, ``tags``, ``cover_image``, ``generate_sample``
        :return: the voice; at Fish Audio it may still be in training (``state``)
        :raises SlotLimitError: the plan's clone slots are in use
        :raises NameTakenError: a voice of this name exists
        :raises ConsentError: the connection requires a consent, and this one does not cover the samples
        """
        name = checked(name, "name")
        self.service.check_voice_name(name)
        wanted = parse(self.service.clone_options, options, self.service.label)
        told: Any = plain(samples)
        given: Sequence[Media] = [told] if isinstance(told, str | dict) else told
        sources = [self.resolve(sample, "sample") for sample in given]
        self.check_clone(wanted, sources)
        self.check_consent(consent, given, sources)
        cover = self.cover(wanted)
        uploads: list[str] = []
        try:
            inputs: list[Input | Body] = []
            for source in sources:
                if isinstance(source, StoredFile) and Capability.HOSTS_ASSETS in self.service.capabilities:
                    uploads.append(self.upload_file(source).id)
                    inputs.append(Input(asset_id=uploads[-1]))
                else:
                    inputs.append(self.as_sent(source) if isinstance(source, StoredFile) else source)
            voice = self.submit("clone", self.service.clone_voice(name, inputs, wanted, cover))
        finally:
            discard(self, uploads)
        return self.settle_visibility(voice, getattr(wanted, "visibility", None))

    def check_clone(self, options: CloneOptions, sources: Sequence[Input | StoredFile]) -> None:
        """Check a clone before anything is sent; log what is only doubtful.

        :raises InvalidInputError: the service will not take it
        """
        for warning in self.service.check_clone(options, [self.facts(source) for source in sources]):
            self.log.warning("%s", warning)

    def check_consent(
        self, consent: Any, sources: Sequence[Media], files: Sequence[Input | StoredFile]
    ) -> ConsentRef | None:
        """Check, before anything is sent, that a person has agreed to what is made of their voice.

        The evidence is not fetched: that it is real is for people to see.

        :param consent: a dict with ``who``, ``when``, ``evidence`` and optionally ``expires``, ``samples`` (sha256) and
            ``id``; or the storage location of a JSON file with it; None where the connection does not require one
        :param sources: the recordings as the author gave them; a picture needs none
        :param files: what ``resolve`` made of them
        :return: what results carry of it, which is not the person; None where there is no recording
        :raises ConsentError: missing though the connection requires it, dated in the future, expired, or for others
        """
        given = zip(sources, files, strict=True)
        heard = [(media, file) for media, file in given if not isinstance(file, StoredFile) or file.kind != "image"]
        if not heard:
            return None
        from voice_provider.trust.consent import check, read_consent  # noqa: PLC0415  # not when a DAG is parsed

        found = read_consent(plain(consent), lambda location: read_text(location, self.settings.allowed_inputs))
        hashes = [digest_of(*one) for one in heard] if found is not None and found.samples else []
        check(found, self.settings.require_consent, hashes, datetime.now(UTC))
        if found is None:
            return None
        self.log.info("The consent '%s' holds (sha256 %s…).", found.id, found.sha256[:12])
        return found.ref

    def look_at(self, recording: str | PathObject, consent: Any = None) -> dict[str, Any]:
        """Check a recording, and a person's consent to what is made of it, without sending anything.

        :param recording: storage location
        :param consent: see ``check_consent``
        :return: ``uri``, ``name``, ``sha256``, ``bytes``, ``media_type`` and, where they are known, ``seconds`` and
            ``consent``
        :raises InvalidInputError: missing, empty, unreadable, or no media
        :raises ConsentError: there is none where the connection requires one, or it does not hold for this file
        """
        consent = plain(consent)
        file = StoredFile(plain(recording), self.settings.allowed_inputs)
        agreed = self.check_consent(consent, [file.location], [file])
        uri = consent if isinstance(consent, str) else consent.get("uri") if isinstance(consent, dict) else None
        # For a task that reads it again; no result has it.
        return file.describe() | present(consent=agreed.dump() | present(uri=uri) if agreed else None)

    def cover(self, options: CloneOptions | Mapping[str, Any]) -> StoredFile | None:
        """Open the cover image of a voice, where there is one."""
        image = options.get("cover_image") if isinstance(options, dict) else getattr(options, "cover_image", None)
        if image is None:
            return None
        file = self.resolve(image)
        if not isinstance(file, StoredFile) or file.media_type not in COVERS:
            raise InvalidInputError("cover_image is no picture in a storage location. Give a .jpg or .png file.")
        return file

    def settle_visibility(self, voice: Voice, wanted: str | None, *, is_ours: bool = True) -> Voice:
        """Compare what others can see of a voice with what was asked for, and set it right.

        :param is_ours: this provider has made the voice; one that a person made is never deleted
        :return: the voice as it is now; less open than asked for is logged
        :raises PermanentVoiceError: it stays more open than asked for; ours is deleted, because a voice is a person's
        """
        return settled(self, voice, wanted, is_ours=is_ours)

    def update_voice(self, voice_id: str, **changes: Any) -> Voice:
        """Change a voice's description for people; only what is given.

        :param changes: ``title``, ``description``, ``tags`` (a list replaces all), ``visibility``, ``cover_image``
        :return: the voice as it is afterwards
        :raises CapabilityError: the service cannot change a voice
        """
        self.service.require(Capability.UPDATE_VOICE)
        wanted = parse(VoiceChanges, changes, self.service.label)
        told = wanted.model_dump(mode="json", exclude_unset=True, exclude={"cover_image"})
        cover = self.cover({"cover_image": wanted.cover_image})
        if not told and cover is None:
            raise InvalidInputError("Nothing to change: give title, description, tags, visibility or cover_image.")
        self.run(self.service.update_voice(voice_id, told, cover))
        return self.get_voice(voice_id)

    def wallet(self) -> Wallet:
        """Ask what the account can spend."""
        self.service.require(Capability.WALLET)
        return self.run(self.service.wallet())

    def transcribe(
        self,
        recording: Media | PathObject,
        *,
        language: str | None = None,
        segments: bool = False,
        model: str | None = None,
        diarize: bool | None = None,
        num_speakers: int | None = None,
        tag_audio_events: bool | None = None,
        timeout: float = TRANSCRIPTION_TIMEOUT,
    ) -> Transcript:
        """Write down what is said in a recording.

        Fish Audio bills it by the second. At sync. labs it costs nothing and has no options; the recording is uploaded
        first and deleted afterwards.

        :param recording: storage location, or what an operator returned
        :param language: two-letter code, a hint; default: recognised
        :param segments: also say when each part is spoken, and by whom
        :param model: default: the service's (at Fish Audio ``transcribe-1-pro``)
        :param diarize: tell speakers apart; default: where there are several; Fish Audio
        :param num_speakers: how many speak; default: found out; Fish Audio
        :param tag_audio_events: mark in ``marked_text`` what is heard besides speech, such as laughter; default: True;
            Fish Audio
        :param timeout: seconds to wait, where it is a job
        :return: the transcript; its ``text`` is without marks, so that it may be given back as ``texts=`` or spoken
        :raises InvalidInputError: an option that the service does not have, or outside its range; nothing was sent
        :raises JobTimeoutError: the job still runs
        """
        self.service.require(Capability.TRANSCRIPTION)
        return transcript_of(
            self,
            self.resolve(recording, "recording"),
            timeout,
            language=language,
            segments=segments,
            model=model,
            diarize=diarize,
            num_speakers=num_speakers,
            tag_audio_events=tag_audio_events,
        )

    def check_captions(self, form: Any) -> CaptionFormat | None:
        """Check, before anything is paid, that speech can have captions.

        :param form: ``srt`` or ``vtt``; None: none are wanted
        :raises InvalidInputError: another format
        :raises CapabilityError: the service neither says where the words of its speech are, nor transcribes
        """
        if form is None:
            return None
        from voice_provider.files.captions import CAPTION_FORMATS  # noqa: PLC0415  # not when a DAG is parsed

        if form not in CAPTION_FORMATS:
            raise InvalidInputError(f"captions is {form!r}; use {' or '.join(map(repr, CAPTION_FORMATS))}.")
        if not self.service.times_speech:
            self.service.require(Capability.TRANSCRIPTION)
        return cast("CaptionFormat", form)

    def caption(self, manifest: Manifest, form: CaptionFormat) -> Manifest:
        """See to it that captions stand beside kept speech; what is there already is used.

        Else the speech is transcribed, which Fish Audio bills by the second, and sync. labs does not.

        :param manifest: of kept speech
        :param form: ``srt`` or ``vtt``
        :return: the manifest, with ``captions``; without, where nothing was understood in the speech
        :raises StorageError: they cannot be written
        """
        return captioned(self, manifest, form)

    def delete_voice(self, voice_id: str) -> None:
        """Delete a clone; its slot is free at once.

        :raises NotFoundError: no such clone
        """
        self.run(self.service.delete_voice(voice_id))

    def slots(self) -> Room:
        """Count the account's clones by asking only: ``active`` of ``limit``, as far as either is known.

        Neither service tells how many the plan holds; ``limit`` is what the connection says (``clone_slots``).
        """
        room = self.run(self.service.slots())
        if room.active is not None:
            metrics.level("slots_in_use", room.active, service=self.service.name, connection=self.voice_conn_id)
        return room.model_copy(update={"limit": self.settings.clone_slots})

    # assets

    def upload_asset(self, location: str | PathObject, name: str | None = None, *, consent: Any = None) -> Asset:
        """Upload a file of any size from any storage and register it at the service.

        :param location: path or URI
        :param name: display name at the service; default: the file's name
        :param consent: of the person who is heard in it; see ``check_consent``
        """
        file = StoredFile(plain(location), self.settings.allowed_inputs)
        self.check_consent(consent, [file.location], [file])
        return self.upload_file(file, name)

    def upload_file(self, file: StoredFile, name: str | None = None) -> Asset:
        """Upload a file that is open already; no consent is checked: for files that no voice is made of."""
        self.service.require(Capability.HOSTS_ASSETS)
        return self.run(self.service.upload_asset(file, checked(name or file.name, "name")))

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

    def delete_leftovers(self, name: str, known: Collection[str] = ()) -> list[str]:
        """Delete the assets of one exact name that nobody knows of and no job is at work on; return their ids.

        For what was uploaded by a try that was killed before the answer came: its name is known all the same.

        :param known: ids of those that stay
        """
        found = [asset.id for asset in self.list_assets(search=name) if asset.name == name and asset.id not in known]
        in_use = self.run(self.service.assets_in_use()) if found else frozenset()
        gone = [asset_id for asset_id in found if asset_id not in in_use]
        for asset_id in gone:
            with suppress(NotFoundError):
                self.delete_asset(asset_id)
        return gone

    def download_asset(self, asset_id: str, output: str | PathObject) -> Manifest:
        """Fetch an asset into storage.

        :param output: file or, with a ``/`` at its end, folder
        """
        place = Output(output_of(output), asset_id, self.settings.allowed_outputs)
        place.check_writable()
        with place.receive() as sink:
            self.run(self.service.download_asset(asset_id, sink))
            kept = sink.keep()
        return Manifest(service=self.service.name, kind="file", **kept.facts)

    # jobs

    def get_jobs(self, kind: JobKind, job_ids: Sequence[str]) -> dict[str, Job]:
        """Ask after many jobs in one request, at most 100; those that are not known are missing.

        :raises CapabilityError: the service cannot answer for many jobs of this kind
        """
        answer = self.run(self.service.get_jobs(kind, job_ids))
        return {job_id: job for job_id in job_ids if (job := answer.read(job_id)) is not None}

    def room(self) -> Room:
        """Ask how many jobs the account has at work, and how many it may have; what is not known is None."""
        return self.run(self.service.room())

    def list_jobs(self, limit: int = 100) -> list[Job]:
        """List the newest lip syncs."""
        return self.run(self.service.list_jobs(limit=limit))

    def list_models(self) -> list[LipSyncModel]:
        """List the service's lip sync models."""
        self.service.require(Capability.LIP_SYNC)
        return self.run(self.service.list_models())

    def estimate(
        self, model: str, seconds: float, fps: float = 30, *, reasoning_enabled: bool | None = None
    ) -> Estimate:
        """Ask what a lip sync would cost.

        :param seconds: length of the result
        :param fps: frames a second
        :param reasoning_enabled: as of ``LipSyncOperator``; it has a price; default: the service's
        """
        self.service.require(Capability.ESTIMATE)
        return self.run(self.service.estimate(model, seconds, fps, reasoning_enabled=reasoning_enabled))

    def synthesize(
        self,
        text: str,
        voice_id: str | list[str] | None,
        output: str | PathObject,
        *,
        timeout: float = 600,
        consent: Any = None,
        **options: Any,
    ) -> Manifest:
        """Speak a line and keep it; waits here. Managed, restartable speech is ``TTSOperator``.

        :param voice_id: the voice; at Fish Audio a list for several speakers, or None with ``references``
        :param output: file or, with a ``/`` at its end, folder
        :param timeout: seconds to wait, where speech is a job
        :param consent: of the person whose voice is in ``references``; see ``check_consent``
        :param options: of the service: see ``TTSOperator``
        :raises UnusableSpeechError: the speech was answered, and may be billed, but is no good
        """
        output = output_of(output)
        if options.get("references"):
            self.service.require(Capability.INSTANT_CLONE)
        order = self.speech_order({"text": text, "voice_id": voice_id, **options}, output)
        references = self.references(order)
        self.check_speech(order, references)
        agreed = self.check_consent(consent, recordings(order), references)
        origin = speech_origin(order, references, consents=(agreed,))
        self.check_output(output, self.speech_formats(order))
        if Capability.ASYNC_SPEECH in self.service.capabilities:
            job = self.wait_for(self.submit("speech", self.service.start_speech(order, uuid4().hex)), timeout)
            place = Output(output, job.id, self.settings.allowed_outputs)
            manifest = self.keep(job, place, [self.speech_cost(order)], voice_id=", ".join(order.voice_ids) or None)
            return self._recorded(manifest, origin)
        with Output(output, f"speech-{uuid4().hex[:12]}", self.settings.allowed_outputs).receive() as sink:
            job, kept = self.speak(order, references, sink)
            sink.publish(kept)
        return self._recorded(self.describe_speech(order, job, kept), origin)

    def lip_sync(self, output: str | PathObject, *, timeout: float = 3600, **options: Any) -> Manifest:
        """Lip sync a video and keep it; waits here. Managed, restartable lip sync is ``LipSyncOperator``.

        :param output: file or, with a ``/`` at its end, folder
        :param timeout: seconds to wait
        :param options: the fields of ``LipSyncOptions``
        """
        self.service.require(Capability.LIP_SYNC)
        from voice_provider.services.lip_sync import LipSyncOptions  # noqa: PLC0415  # not when a DAG is parsed

        order = parse(LipSyncOptions, options)
        for warning in self.service.check_lip_sync(order):
            self.log.warning("%s", warning)
        output = output_of(output)
        self.check_output(output, self.service.makes["lip_sync"])
        sources = [self.resolve(media, argument) for argument, media in order.named_media]
        origin = lip_sync_origin(order, sources)
        costs = lip_sync_costs(self, order, sources)
        uploads: list[str] = []
        try:
            inputs = []
            for source in sources:
                if isinstance(source, StoredFile):
                    uploads.append(self.upload_file(source).id)
                inputs.append(Input(asset_id=uploads[-1]) if isinstance(source, StoredFile) else source)
            flow = self.service.start_lip_sync(order, inputs, uuid4().hex)
            job = self.wait_for(self.submit("lip_sync", flow), timeout)
            manifest = self.keep(job, Output(output, job.id, self.settings.allowed_outputs), costs)
            return self._recorded(manifest, origin)
        except JobTimeoutError:
            self.log.warning("The job goes on and needs its files; delete them when it has ended: %s.", uploads)
            uploads = []
            raise
        finally:
            discard(self, uploads)

    def _recorded(self, manifest: Manifest, origin: Origin) -> Manifest:
        """Write the record beside a result; called again, this hook would pay again, so it is no reason to fail."""
        try:
            return keep(manifest, origin, current_run())
        except StorageError as error:
            self.log.warning("%s", error)
            return carry(manifest, origin)
