"""What is heard in a recording: transcripts, and the captions that are made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError, StorageError, VoiceError
from voice_provider.files.storage import StoredFile, is_kept
from voice_provider.hooks import metrics
from voice_provider.hooks.costs import transcription_cost
from voice_provider.models import Capability
from voice_provider.money.prices import total
from voice_provider.services.base import present
from voice_provider.services.options import parse

if TYPE_CHECKING:
    from voice_provider.files.captions import CaptionFormat
    from voice_provider.hooks.base import ServiceHook
    from voice_provider.models import Manifest, Transcript
    from voice_provider.services.base import Input

TRANSCRIPTION_TIMEOUT = 600.0  # seconds


def transcript_of(
    hook: ServiceHook, source: Input | StoredFile, timeout: float = TRANSCRIPTION_TIMEOUT, **asked: Any
) -> Transcript:
    """Write down what is said in a recording; see ``VoiceHook.transcribe``."""
    options = parse(hook.service.transcription_options, present(**asked), hook.service.label)
    for warning in hook.service.check_transcription(options):
        hook.log.warning("%s", warning)
    if Capability.HOSTS_ASSETS in hook.service.capabilities:
        return _of_hosted(hook, source, timeout)
    if not isinstance(source, StoredFile):
        raise InvalidInputError("The recording is no storage location: give a path, a URI or a manifest.")
    return _priced(hook, hook.submit("transcription", hook.service.transcribe(hook.as_sent(source), options)), source)


def _of_hosted(hook: ServiceHook, source: Input | StoredFile, timeout: float) -> Transcript:
    """Upload the recording unless the service has it, wait for its transcript, and take the upload back."""
    if not isinstance(source, StoredFile) and not source.asset_id:
        raise InvalidInputError("The recording is an address: give a storage location or the id of an asset.")
    uploads: list[str] = []
    try:
        if isinstance(source, StoredFile):
            asset = hook.run(hook.service.upload_asset(source, source.name))
            uploads.append(asset.id)
        else:
            asset = hook.run(hook.service.get_asset(source.asset_id or ""))
        job = hook.wait_for(hook.submit("transcription", hook.service.start_transcription(asset)), timeout)
        return _priced(hook, hook.run(hook.service.get_transcript(job.id)), source)
    finally:
        discard(hook, uploads)


def _priced(hook: ServiceHook, heard: Transcript, source: Input | StoredFile) -> Transcript:
    seconds = heard.seconds or (source.seconds() if isinstance(source, StoredFile) else None)
    cost = transcription_cost(hook, heard.model, seconds)
    metrics.count("results", service=heard.service, kind="transcription", outcome="kept")
    metrics.paid(cost, service=heard.service, kind="transcription")
    return heard.model_copy(update={"cost": cost})


def captioned(hook: ServiceHook, manifest: Manifest, form: CaptionFormat) -> Manifest:
    """See to it that captions stand beside kept speech; see ``VoiceHook.caption``."""
    from voice_provider.files.captions import (  # noqa: PLC0415  # not when a DAG is parsed
        describe_captions,
        keep_captions,
        place_of,
        plan,
        read_captions,
        render,
    )

    place, known = place_of(manifest.uri, form), manifest.captions
    if known is not None and known.uri.endswith(f".{form}") and is_kept(known.uri, known.sha256, known.bytes):
        if known.uri == place:
            return manifest
        data = read_captions(known)
    else:
        hook.service.require(Capability.TRANSCRIPTION)
        hook.log.info("%s is transcribed for its captions, which the service may bill by the second.", manifest.uri)
        heard = transcript_of(hook, StoredFile(manifest.uri), segments=True)
        manifest = manifest.model_copy(update={"cost": total(filter(None, (manifest.cost, heard.cost)))})
        cues = plan(heard)
        if not cues:
            hook.log.warning("Nothing was understood in %s: it has no captions.", manifest.uri)
            return manifest.model_copy(update={"captions": None})
        data = render(cues, form)
    captions = describe_captions(data, place)
    try:
        keep_captions(data, captions, hook.settings.allowed_outputs)
    except Exception as error:
        if isinstance(error, VoiceError):
            raise
        raise StorageError(
            f"The captions {place} cannot be written: {error}. The speech itself is kept, and a retry of an "
            "operator does not pay it again."
        ) from None
    hook.log.info("Kept the captions %s.", place)
    return manifest.model_copy(update={"captions": captions})


def discard(hook: ServiceHook, assets: list[str]) -> None:
    """Delete what was uploaded on the way; a file left behind is no reason to lose what was paid."""
    for asset_id in assets:
        try:
            hook.run(hook.service.delete_asset(asset_id))
        except VoiceError as error:
            hook.log.warning("Asset %s, uploaded on the way, could not be deleted: %s", asset_id, error)
