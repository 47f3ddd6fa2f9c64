"""Which change of a line makes another take, and which does not."""

from __future__ import annotations

from typing import Any

import pytest

from voice_provider.jobs.orders import SpeechOrder
from voice_provider.lines.takes import take_key
from voice_provider.services.fish_audio.options import FishSpeech

LINE: dict[str, Any] = {"text": "Good evening.", "voice_id": "a1", "model": "s1", "format": "mp3"}


def key(take: str | None = None, made_from: dict[str, str] | None = None, **changes: Any) -> str:
    options = FishSpeech.model_validate(LINE | changes)
    return take_key("service", SpeechOrder(options, made_from=made_from or {}).describe(), take)


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Good evening!"},
        {"voice_id": "b2"},
        {"model": "s2-pro"},
        {"format": "wav"},
        {"sample_rate": 32000},
        {"speed": 1.1},
        {"volume": -3},
        {"temperature": 0.2},
        {"features": ("x",)},
        {"take": "b"},
        {"made_from": {"a1": "clone Ann 0123"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_heard_makes_another_take(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_what_is_not_heard_makes_none() -> None:
    same = {
        "as text, from CSV": (key(speed="1.1", volume="-3"), key(speed=1.1, volume=-3.0)),
        "as the service spells it": (key(sampleRate=32000), key(sample_rate=32000)),
        "cloned anew from the same": (
            key(voice_id="new", made_from={"new": "clone Ann 0123"}),
            key(made_from={"a1": "clone Ann 0123"}),
        ),
        "not given": (key(speed=None), key()),
    }
    assert [what for what, (one, other) in same.items() if one != other] == []


def test_a_take_stays_known_to_later_versions() -> None:
    # Whoever changes this number makes people pay for all their lines again.
    assert take_key("service", {"text": "Grüße", "voice_id": "a"}) == (
        "59a02f37d74f8bda94bac7c385052b0032db4adac608e93673a2761ae3dc6e26"
    )


def test_another_service_speaks_another_take() -> None:
    assert take_key("one", {"text": "Hi"}) != take_key("other", {"text": "Hi"})
