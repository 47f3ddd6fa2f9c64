"""What can be asked of sync. labs only."""

from __future__ import annotations

from pydantic import Field

from voice_provider.services.options import SpeechOptions, Unit
from voice_provider.services.texts import Text  # noqa: TC001  # pydantic reads it


class SyncLabsSpeech(SpeechOptions):
    """Speech at sync. labs."""

    voice_id: Text = Field(min_length=1)
    stability: Unit | None = None
    similarity_boost: Unit | None = None
