"""Samples and recordings of people, uploaded for one job: written down before they are made, and not left behind."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_provider.exceptions import NotFoundError, VoiceError
from voice_provider.models import Capability
from voice_provider.services.base import Input

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from voice_provider.files.storage import StoredFile
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.notes import Notes
    from voice_provider.jobs.record import Record, Scope
    from voice_provider.services.base import Body


@dataclass
class Uploads:
    """The uploads that a record names."""

    hook: VoiceHook
    scope: Scope
    notes: Notes
    log: Logger

    def provide(self, source: Input | StoredFile, record: Record) -> tuple[Record, Input | Body]:
        """Return the record, and what an order has to name: an upload, where the service takes none but such."""
        if isinstance(source, Input):
            return record, source
        if Capability.HOSTS_ASSETS not in self.hook.service.capabilities:
            return record, self.hook.as_sent(source)
        digest = source.sha256()
        asset_id = record.uploads.get(digest)
        if asset_id is not None:
            with suppress(NotFoundError):
                self.hook.get_asset(asset_id)
                return record, Input(asset_id=asset_id)
        name = self.scope.asset_name(source.name, self.hook.settings.namespace)
        if name in record.uploading:
            self.hook.delete_leftovers(name, record.known_uploads)  # of a try that was killed before it knew the id
        else:
            record = self.notes.save(record, uploading=[*record.uploading, name])
        asset = self.hook.upload_file(source, name)
        self.log.info("Uploaded %s (%s bytes) as asset %s.", source.location, f"{source.size:,}", asset.id)
        uploads, names = {**record.uploads, digest: asset.id}, [other for other in record.uploading if other != name]
        return self.notes.keep(record, uploads=uploads, uploading=names), Input(asset_id=asset.id)

    def discard(self, record: Record) -> Record:
        """Delete what was uploaded for this job, and return the record without it; what cannot be deleted is told."""
        left, names = dict(record.uploads), list(record.uploading)
        # By jobs before this one that may still run; what a voice was made from is not needed when it is there.
        needed = {asset for old in record.earlier if old.kind != "clone" for asset in old.uploads.values()}
        for digest, asset_id in record.uploads.items():
            if asset_id in needed or self._deleted(asset_id):
                del left[digest]
        for name in record.uploading:
            if self._deleted(name, leftovers_of=record):
                names.remove(name)
        if (left, names) == (record.uploads, record.uploading):
            return record
        return self.notes.save(record, uploads=left, uploading=names)

    def _deleted(self, what: str, leftovers_of: Record | None = None) -> bool:
        """Delete an upload, or what a try has left that was killed before it knew the id; a failure is told."""
        try:
            if leftovers_of is not None:
                self.hook.delete_leftovers(what, leftovers_of.known_uploads)
            else:
                with suppress(NotFoundError):
                    self.hook.delete_asset(what)
        except VoiceError as error:
            self.log.warning("Asset %s, uploaded for this task, could not be deleted: %s", what, error)
            return False
        return True
