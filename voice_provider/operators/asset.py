"""Files at the service: upload and delete."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from voice_provider.compat import task_state_store
from voice_provider.exceptions import InvalidInputError, NotFoundError, VoiceError
from voice_provider.files.storage import StoredFile
from voice_provider.models import Capability
from voice_provider.operators.arguments import argument_of, as_text
from voice_provider.operators.base import VoiceOperator, scope_of, tell_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.models import Asset
    from voice_provider.services.options import PathObject

UPLOAD_KEY = "voice_upload"  # what a try of this task has uploaded


class UploadAssetOperator(VoiceOperator):
    """Upload an audio, video or image of any size from any storage, and register it at the service.

    Streams: memory stays flat, also for a file of 5 GiB. Pass the whole return value on (``sample=upload.output``):
    it holds the hash of the bytes, by which a voice or job made from it is known again. A service that hosts no files
    (Fish Audio) gets nothing yet: the file is checked, and the next task streams it from where it is.

    Returns ``asset_id`` (None where nothing is hosted), ``service``, ``uri``, ``name``, ``sha256``, ``bytes``,
    ``media_type`` and, where it can be read, ``seconds``; ``consent`` (``id``, ``sha256``, ``expires``) where there
    was one.

    :param file: path or URI of the file, as text or path object, or what another task returned (templated)
    :param name: display name at the service; default: the file's name and a mark by which it is known as ours
        (templated)
    :param consent: of the person who is heard: a dict with ``who``, ``when`` (day or time of the signature),
        ``evidence`` (URI or reference of the signed release; it is not fetched) and optionally ``expires``,
        ``samples`` (sha256 of the recordings that it is for; default: any) and ``id``. Airflow shows arguments in its
        UI: the storage location of a JSON file with it (``s3://…/consent.json``) keeps the person out of there.
        Pictures need none; default: None, which a connection with ``require_consent`` refuses (templated)
    :raises InvalidInputError: missing, empty, unreadable, or no media; nothing was sent
    :raises ConsentError: no consent where the connection requires one, or it does not hold for this file; nothing was
        sent
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "file", "name", "consent")
    reads = ("file",)
    keeps = ()  # what it returns is where the file came from

    def __init__(
        self,
        *,
        file: str | PathObject | XComArg,
        name: str | None = None,
        consent: dict[str, Any] | str | PathObject | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.file: Any = file
        self.name = name
        self.consent = consent

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload the file, and return what is needed to use it."""
        given = self.file.get("uri") if isinstance(self.file, dict) else self.file
        if (location := as_text(given)) is None:
            raise InvalidInputError("file is empty: pass a path or URI. Did the task that names it succeed?")
        file = StoredFile(location, self.hook.settings.allowed_inputs)
        seconds = file.seconds()
        length = f", {seconds:.1f} s" if seconds else ""
        self.log.info("%s: %s, %s bytes%s.", file.location, file.media_type, f"{file.size:,}", length)
        agreed = self.hook.check_consent(self.consent, [location], [file])
        service = self.hook.service
        told: dict[str, Any] = {"consent": agreed.dump()} if agreed else {}
        if Capability.HOSTS_ASSETS not in service.capabilities:
            self.log.info("%s hosts no files: the next task streams it from %s.", service.label, file.location)
            result = {"service": service.name, "asset_id": None, **file.describe(), **told}
            return self._finished(context, result)
        asset = self._uploaded(context, file)
        result = {"service": service.name, "asset_id": asset.id, **file.describe(), "name": asset.name, **told}
        return self._finished(context, result)

    def _finished(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        tell_result(self, context, result)
        self.tell_assets(context, result)
        return result

    def _uploaded(self, context: Context, file: StoredFile) -> Asset:
        """Upload the file, unless a try before has; what one has left that was killed meanwhile goes first.

        What is made is known by its name, which is the same for every try; a name of the author's own may be another's.
        """
        own = scope_of(context).asset_name(file.name, self.hook.settings.namespace)
        name, store = argument_of(self.name, "name") or own, task_state_store(context)
        before = store.get(UPLOAD_KEY) if store is not None else None
        known = before if isinstance(before, dict) else {}
        if known.get("asset_id") and (known["sha256"], known["name"]) == (file.sha256(), name):
            with suppress(NotFoundError):
                asset = self.hook.get_asset(known["asset_id"])
                self.log.info("The try before has uploaded it as asset %s.", asset.id)
                return asset
        if name == own and (known or context["ti"].try_number > 1):
            for asset_id in self.hook.delete_leftovers(name):
                self.log.info("Deleted asset %s, which a try before has left.", asset_id)
        if store is not None:
            store.set(UPLOAD_KEY, {"name": name, "sha256": file.sha256()})
        asset = self.hook.upload_file(file, name)
        self.log.info("Uploaded as asset %s.", asset.id)
        if store is not None:
            store.set(UPLOAD_KEY, {"name": name, "sha256": file.sha256(), "asset_id": asset.id})
        return asset if asset.name else asset.model_copy(update={"name": name})


class DeleteAssetOperator(VoiceOperator):
    """Delete uploaded files; samples of voices are biometric data and need not outlive the clone.

    Made for teardowns: nothing to delete, or deleted already, is a success.

    Returns ``deleted``: the ids that were deleted.

    :param asset: id, or what ``UploadAssetOperator`` returned, or a list of them; nothing is nothing to do (templated)
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "asset")

    def __init__(self, *, asset: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asset = asset

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Delete what there is to delete; one that cannot be deleted does not stop the rest."""
        deleted: list[str] = []
        failed: VoiceError | None = None
        for asset_id in ids_of(self.asset, "asset_id"):
            try:
                self.hook.delete_asset(asset_id)
            except NotFoundError:
                self.log.info("Asset %s is gone already.", asset_id)
            except VoiceError as error:
                self.log.warning("Asset %s could not be deleted: %s", asset_id, error)
                failed = failed or error
            else:
                self.log.info("Deleted asset %s.", asset_id)
                deleted.append(asset_id)
        if failed is not None:
            raise failed
        if not deleted:
            self.log.info("Nothing had to be deleted.")
        return {"deleted": deleted}


def ids_of(value: Any, field: str) -> list[str]:
    """Read ids from what a template or an XCom gave: an id, a dict with it, a list, or nothing.

    :raises InvalidInputError: something that holds no id
    """
    if isinstance(value, str | int | None):
        text = as_text(value)
        if text is not None and text[0] in "[{(":
            raise InvalidInputError(
                f"'{text[:60]}' is a dict or a list that a template has turned into text. Pass the other task's "
                ".output, or set render_template_as_native_obj=True on the DAG."
            )
        return [] if text is None else [text]
    if isinstance(value, dict):
        if field in value and value[field] is None:
            return []  # a file that its service does not host
        if not value.get(field):
            raise InvalidInputError(
                f"There is no '{field}' in what was passed (keys: {', '.join(map(str, value)) or 'none'})."
            )
        return [str(value[field])]
    return [found for item in value for found in ids_of(item, field)]
