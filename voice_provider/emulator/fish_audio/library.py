"""The Voice Library of Fish Audio: voices that everybody may use without cloning one.

They are the engine's built-in voices, owned by an account that nobody has a key of, and there from the first second.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from voice_provider.emulator.fish_audio.state import FishModel

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator

ORG = "fish-audio-library"
PUBLISHED_AT = 1_735_689_600.0  # 2025-01-01
VOICES: tuple[tuple[str, str, int], ...] = (  # id, title, how often it was used
    ("8a1c5e0f2b7d4c39a6e81f3d5b9c7024", "Rachel", 48_211),
    ("3f6d9b2e7a514c8db0e5c4f1a2879d63", "Adam", 30_954),
    ("c27e04b8d6f14a5e93bb1d0f8e6a4c51", "Charlotte", 12_087),
)


def entity_data(title: str, **more: Any) -> dict[str, Any]:
    """What a customer may write about a model, with the defaults of what they left out (section 3.6)."""
    return {
        "title": title,
        "description": "",
        "cover_image": "",
        "tags": [],
        "default_text": "",
        "source": None,
        "licensed": False,
        "task_count": 0,
    } | more


def training(end: str = "trained", *, polls: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    return {"polls": polls, "seconds": seconds, "polled": 0, "end": end}


def person_id(owner: str) -> str:
    """An account's id in the service's form, always the same for one owner."""
    return uuid.uuid5(uuid.NAMESPACE_OID, owner).hex


def stamp(moment: float) -> str:
    """A date as Fish Audio writes it: microseconds and `Z`."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def library(emulator: Emulator) -> dict[str, FishModel]:
    """The public voices by id."""
    return {
        model_id: FishModel(
            id=model_id,
            org=ORG,
            owner=ORG,
            visibility="public",
            data=entity_data(title, tags=["narration"], licensed=True, task_count=uses),
            profile=None,
            builtin=builtin,
            training=training(),
            created_at=PUBLISHED_AT,
            updated_at=PUBLISHED_AT,
        )
        for (model_id, title, uses), builtin in zip(VOICES, emulator.engine.builtin_voices, strict=False)
    }
