"""Voices at sync. labs: built-in ones and clones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.exceptions import InvalidInputError
from voice_provider.models import Capability, Room, Voice
from voice_provider.services.base import Body, Flow, Input, Request, Service, path_segment
from voice_provider.services.options import CloneOptions, VoiceFilters
from voice_provider.services.sync_labs.answers import UUID, is_list, is_voice, items_of, read_voice
from voice_provider.services.sync_labs.requests import PROVIDER, hosted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.services.options import SampleFacts

MAX_VOICE_NAME = 100  # characters
CLONE_TIMEOUT = 180.0  # cloning answers only when the voice is ready


class Voices(Service):
    """The flows that are about voices."""

    def list_voices(self, filters: VoiceFilters) -> Flow[list[Voice]]:
        """List built-in voices and clones; the service answers with all of them at once and cannot tell them apart."""
        if filters.model_dump(exclude_defaults=True, exclude={"own", "title", "since", "limit"}):
            raise self.lacks(Capability.VOICE_LIBRARY)
        response = yield Request(method="GET", url="/v2/voices", expects=is_list)
        voices = [read_voice(item) for item in items_of(response)]
        title = (filters.title or "").lower()
        return [voice for voice in voices if title in voice.name.lower()][: filters.limit]

    def get_voice(self, voice_id: str) -> Flow[Voice]:
        """Read one voice."""
        url = f"/v2/voices/{path_segment(voice_id, self.label)}"
        response = yield Request(method="GET", url=url, expects=is_voice)
        return read_voice(response.object())

    def check_voice_name(self, name: str) -> None:
        """Names have 1 to 100 characters."""
        if not 1 <= len(name.strip()) <= MAX_VOICE_NAME:
            raise InvalidInputError(f"A voice's name has 1 to {MAX_VOICE_NAME} characters, not {len(name.strip())}.")

    def check_clone(self, options: CloneOptions, samples: Sequence[SampleFacts | None]) -> list[str]:  # noqa: ARG002
        """One sample makes a voice."""
        if len(samples) > 1:
            self.require(Capability.SEVERAL_SAMPLES)
        return []

    def clone_voice(
        self,
        name: str,
        samples: Sequence[Input | Body],
        options: CloneOptions,  # noqa: ARG002
        cover: Body | None = None,  # noqa: ARG002
    ) -> Flow[Voice]:
        """Clone a voice from a hosted sample; it can speak as soon as the answer is here."""
        source = hosted(samples[0])
        response = yield Request(
            method="POST",
            url="/v2/voices",
            json={"name": name, "provider": PROVIDER, **source},
            expects=is_voice,
            timeout=CLONE_TIMEOUT,
        )
        return read_voice({"name": name, **response.object()})

    def delete_voice(self, voice_id: str) -> Flow[None]:
        """Delete a clone; its slot is free at once."""
        yield Request(method="DELETE", url=f"/v2/voices/{path_segment(voice_id, self.label)}")

    def slots(self) -> Flow[Room]:
        """Count the clones: their ids are UUIDs, those of built-in voices are not."""
        voices = yield from self.list_voices(VoiceFilters())
        clones = frozenset(voice.id for voice in voices if UUID.fullmatch(voice.id))
        return Room(active=len(clones), ids=clones)
