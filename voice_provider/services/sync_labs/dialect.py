"""The dialect of sync. labs: https://api.sync.so, paths under ``/v2``.

It reads as liberally as the service writes: ids under two names, error codes under two names, statuses that are not
listed anywhere, text-to-speech that answers at once or has to be asked after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from voice_provider.models import Capability
from voice_provider.services.options import CloneOptions, SpeechOptions
from voice_provider.services.sync_labs.answers import UUID
from voice_provider.services.sync_labs.assets import Assets
from voice_provider.services.sync_labs.errors import read_error, speaks
from voice_provider.services.sync_labs.form import FORM
from voice_provider.services.sync_labs.jobs import Jobs
from voice_provider.services.sync_labs.options import SyncLabsSpeech
from voice_provider.services.sync_labs.prices import PRICES
from voice_provider.services.sync_labs.requests import MAX_SCRIPT
from voice_provider.services.sync_labs.transcription import Transcription
from voice_provider.services.sync_labs.voices import Voices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voice_provider.exceptions import VoiceError
    from voice_provider.models import JobKind
    from voice_provider.money.prices import PriceList
    from voice_provider.services.base import Flow, Request, Response


class SyncLabs(Voices, Assets, Jobs, Transcription):
    """sync. labs.

    :param extra: connection extras; ``tts_mode`` is ``direct`` (``POST /v2/tts``, default) or ``jobs``
        (``POST /v2/tts/jobs``, keyed)
    """

    form = FORM
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.HOSTS_ASSETS,
            Capability.ASYNC_SPEECH,
            Capability.LIP_SYNC,
            Capability.ESTIMATE,
            Capability.ASKS_FOR_MANY,
            Capability.TRANSCRIPTION,
        }
    )
    # Speech has no option for it: the documentation shows an mp3, and promises nothing.
    makes: ClassVar[Mapping[JobKind, tuple[str, ...]]] = {"speech": ("mp3", "wav"), "lip_sync": ("mp4",)}
    speech_options: ClassVar[type[SpeechOptions]] = SyncLabsSpeech
    clone_options: ClassVar[type[CloneOptions]] = CloneOptions
    max_script: ClassVar[int | None] = MAX_SCRIPT
    unique_voice_names: ClassVar[bool] = True
    price_list: ClassVar[PriceList] = PRICES
    speech_hint: ClassVar[str] = "tts_mode 'jobs' on the connection avoids this."
    instead: ClassVar[Mapping[Capability, str]] = {
        Capability.CANCEL: "A job that was accepted runs to its end and is billed.",
        Capability.UPDATE_VOICE: "Delete the voice and clone it again under the new name.",
        Capability.VOICE_LIBRARY: "It lists all its voices at once; title and limit are the only filters.",
        Capability.SEVERAL_SAMPLES: "Join the recordings to one file, or clone with a fish_audio connection.",
        Capability.INSTANT_CLONE: "Clone the voice first (CloneVoiceOperator), or speak with a fish_audio connection.",
        Capability.WALLET: "It has no call for it: look at https://sync.so.",
    }

    def key_headers(self, key: str) -> dict[str, str]:
        """Return the header that carries the key."""
        return {"x-api-key": key}

    def speaks(self, request: Request, response: Response) -> bool:  # noqa: ARG002
        """Whether an answer that is no success is in this service's own shape."""
        return speaks(response)

    def error(self, request: Request, response: Response) -> VoiceError:
        """Map an answer that is no success to the one tree of errors."""
        return read_error(request, response)

    def check_account(self) -> Flow[str]:
        """List the models: the cheapest call that needs the key."""
        models = yield from self.list_models()
        return f"Connected to {self.label}: {len(models)} lip sync models, text-to-speech mode '{self.tts_mode}'."

    def is_asset_id(self, text: str) -> bool:
        """Asset ids are UUIDs."""
        return UUID.fullmatch(text) is not None
