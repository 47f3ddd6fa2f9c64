"""The record beside each take, as it stands beside every kept result: ``takes/<hash>.mp3.provenance.json``.

It is written by the thread that has put the take in its place. A kill in between leaves a take without a record, which
the next try that uses the take writes, as far as the file and the order tell.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from voice_provider.files.formats import PCM
from voice_provider.files.locations import open_path, reading
from voice_provider.files.storage import StoredFile
from voice_provider.files.transfer import pieces
from voice_provider.models import ConsentRef, Manifest
from voice_provider.trust.origin import Speaker, speech_origin
from voice_provider.trust.provenance import keep

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.trust.origin import Run


class Records:
    """Writes records beside takes.

    :param service: that speaks
    :param voices: what other tasks have told of voices, and the consents that they passed on with them
    :param run: of this task instance; None: it is not known which one makes the takes
    """

    def __init__(
        self, service: str, voices: Iterable[tuple[Speaker, tuple[ConsentRef, ...]]] = (), run: Run | None = None
    ) -> None:
        self._service, self._run = service, run
        self._voices = {speaker.id: (speaker, consents) for speaker, consents in voices}

    def keep(self, order: SpeechOrder, take: Manifest) -> Manifest:
        """Write the record of a take that is in its place; return its manifest with what the next task needs.

        :raises StorageError: it cannot be written; the take is there all the same
        """
        return self._keep(order, take, self._run)

    def mend(self, order: SpeechOrder, take: Manifest, *, ours: bool) -> None:
        """Write the record that a killed try did not write.

        :param ours: whether that was a try of this task instance
        :raises StorageError: it cannot be written
        """
        if ours:
            take = take.model_copy(update={"outcome": "recovered"})
        self._keep(order, take, self._run if ours else None)

    def describe(self, order: SpeechOrder, uri: str) -> Manifest:
        """Say what is known of a take of which only the file is left; reads it.

        :raises InvalidInputError: it is no sound, or cannot be read
        """
        facts: dict[str, Any] = {
            "service": self._service,
            "kind": "speech",
            "uri": uri,
            "voice_id": ", ".join(order.options.voice_ids) or None,
            "model": getattr(order.options, "model", None),
        }
        if (rate := order.options.pcm_rate) is None:
            file = StoredFile(uri)
            told = {**file.describe(), "format": file.format.extension}
            return Manifest(**{**told, **facts})
        digest, size = hashlib.sha256(), 0
        with reading(uri), open_path(uri).open("rb") as samples:  # they are no file of media
            for piece in pieces(samples):
                digest.update(piece)
                size += len(piece)
        seconds = size / 2 / rate
        told = {"sha256": digest.hexdigest(), "bytes": size, "seconds": seconds}
        return Manifest(**facts, **told, format=PCM.extension, media_type=PCM.media_type)

    def told(self, order: SpeechOrder) -> dict[str, Any]:
        """Return what a row of the manifest says of the voice: ``voice_id``, ``samples`` and ``consent``."""
        known = [self._voices[voice] for voice in order.options.voice_ids if voice in self._voices]
        samples = dict.fromkeys(digest for speaker, _ in known for digest in speaker.samples)
        consents = dict.fromkeys(consent for _, passed_on in known for consent in passed_on)
        return {
            "voice_id": ", ".join(order.options.voice_ids) or None,
            "samples": list(samples) or None,
            "consent": [consent.model_dump(mode="json", exclude_none=True) for consent in consents] or None,
        }

    def _keep(self, order: SpeechOrder, take: Manifest, run: Run | None) -> Manifest:
        known = [self._voices[voice] for voice in order.options.voice_ids if voice in self._voices]
        consents = [consent for _, passed_on in known for consent in passed_on]
        return keep(take, speech_origin(order.options, (), [speaker for speaker, _ in known], consents), run)
