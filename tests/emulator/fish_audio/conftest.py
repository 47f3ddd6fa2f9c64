"""A customer of Fish Audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.emulator.fish_audio.customer import FishCustomer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.emulator.process import EmulatorHandle


@pytest.fixture
def fish(voice_emulator: EmulatorHandle) -> Iterator[FishCustomer]:
    with FishCustomer(voice_emulator.url) as client:
        yield client


@pytest.fixture
def fish_stranger(voice_emulator: EmulatorHandle) -> Iterator[FishCustomer]:
    """Someone of another organization."""
    voice_emulator.add_account("stranger", "elsewhere")
    with FishCustomer(voice_emulator.url, "stranger") as client:
        yield client
