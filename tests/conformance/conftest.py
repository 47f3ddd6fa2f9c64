"""The same tests for every service; what differs between them is written down in ``Service.capabilities`` only."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, write_wav
from voice_provider.exceptions import CapabilityError
from voice_provider.hooks.voice import VoiceHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.models import Capability

SERVICES = ("sync_labs", "fish_audio")


@dataclass
class World:
    """A service with nothing in it, and the means to use it."""

    service: str
    emulator: EmulatorHandle
    hook: VoiceHook
    task: Task
    sample: Path
    video: Path
    folder: Path
    made: str = ""

    def run(self, operator: Any) -> Any:
        """Run an operator as a task of its own."""
        self.task.store.clear()
        return self.task.run(operator)

    def voice_id(self) -> str:
        """Return a voice that can speak without cloning."""
        own = self.service == "sync_labs"  # which cannot tell its built-in voices from the account's
        return self.hook.list_voices(own=own, limit=1)[0].id

    @property
    def changes(self) -> list[str]:
        """What was sent that is no mere question."""
        return [f"{r['method']} {r['path']}" for r in self.emulator.requests() if r["method"] != "GET"]

    @contextmanager
    def needs(self, capability: Capability | None) -> Iterator[None]:
        """Expect what is inside to work where the service has the capability, and else to be refused unsent."""
        if capability is None or capability in self.hook.service.capabilities:
            yield
            return
        before = self.changes
        with pytest.raises(CapabilityError) as refusal:
            yield
        label = self.hook.service.label
        assert label in str(refusal.value)
        assert self.hook.service.instead[capability] in str(refusal.value)  # it names what to use instead
        assert self.changes == before


@pytest.fixture(params=SERVICES)
def world(
    request: pytest.FixtureRequest,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    task: Task,
    video: Path,
    tmp_path: Path,
) -> World:
    set_connection(service=request.param)
    return World(
        service=request.param,
        emulator=emulator,
        hook=VoiceHook.for_connection("voice_default"),
        task=task,
        sample=write_wav(tmp_path / "in" / "speaker.wav", seconds=12),
        video=video,
        folder=tmp_path / "out",
    )
