"""A customer with an HTTP client, and media that the tone engine takes for real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.customer import PNG, Customer
from voice_provider.emulator import engine
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from voice_provider.emulator.process import EmulatorHandle

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Measure no coverage of these: they are not about the client, and would take half as long again."""
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker("no_cover")


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], bytes]:
    """WAV bytes of so many seconds."""
    folder = tmp_path_factory.mktemp("media")

    def make(seconds: float) -> bytes:
        path = folder / f"{seconds}.wav"
        if not path.exists():
            engine.load("tone").speak("a" * round(seconds * 15), path)
        return path.read_bytes()

    return make


@pytest.fixture(scope="session")
def sample(recording: Callable[[float], bytes]) -> bytes:
    return recording(3)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, sample: bytes) -> bytes:
    """MP4 bytes, 3 s; the engine makes them out of a picture."""
    folder = tmp_path_factory.mktemp("video")
    (folder / "card.png").write_bytes(PNG)
    (folder / "voice.wav").write_bytes(sample)
    engine.load("tone").lip_sync(folder / "card.png", folder / "video.mp4", audio=folder / "voice.wav")
    return (folder / "video.mp4").read_bytes()


@pytest.fixture
def customer(voice_emulator: EmulatorHandle) -> Iterator[Customer]:
    with Customer(voice_emulator.url) as client:
        yield client


@pytest.fixture
def stranger(voice_emulator: EmulatorHandle) -> Iterator[Customer]:
    """Someone of another organization."""
    voice_emulator.add_account("stranger", "elsewhere")
    with Customer(voice_emulator.url, "stranger") as client:
        yield client


@pytest.fixture
def order(customer: Customer, video: bytes, sample: bytes) -> dict[str, Any]:
    """The body of a plain lip sync: one video, one audio."""
    return {
        "model": "lipsync-2",
        "input": [
            {"type": "video", "url": customer.upload(video, "video.mp4", "video/mp4")},
            {"type": "audio", "url": customer.upload(sample)},
        ],
    }


@pytest.fixture
def logged(voice_emulator: EmulatorProcess) -> Callable[[], str]:
    """What the emulator has logged since the test began."""
    before = voice_emulator.log.stat().st_size

    def read() -> str:
        return voice_emulator.log.read_bytes()[before:].decode()

    return read


@pytest.fixture
def own_emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    """An emulator that a test may kill, on a folder of its own."""
    with EmulatorProcess(tmp_path / "emulator", engine="tone") as process:
        yield process
