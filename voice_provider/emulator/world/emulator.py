"""The world's parts, put together once and handed to whoever answers a request.

Each part is handed what lies below it; none is handed the whole.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from voice_provider.emulator.world.clock import Clock
from voice_provider.emulator.world.faults import Faults
from voice_provider.emulator.world.files import Files, Storage
from voice_provider.emulator.world.jobs import Jobs
from voice_provider.emulator.world.limits import InFlight, RateBuckets
from voice_provider.emulator.world.settings import House
from voice_provider.emulator.world.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from voice_provider.emulator.engine import Engine
    from voice_provider.emulator.world.settings import Settings
    from voice_provider.emulator.world.state import Job, Row

REQUESTS_KEPT = 5000
STATE, FILES = "state.sqlite", "files"  # in the data folder


class Emulator:
    """State, files, clock, limits, faults and the engine behind one pair of origins."""

    def __init__(
        self,
        data_dir: Path,
        engine: Engine,
        start_settings: Settings,
        prices: Mapping[str, Callable[[Job, float], float]],
        rows: Sequence[type[Row]] = (),
    ) -> None:
        self.data_dir = data_dir
        self.engine = engine
        self.state = State(data_dir / STATE, rows)
        if self.state.meta("signing_key") is None:
            self.state.set_meta("signing_key", secrets.token_hex(32))
        self.start_settings = start_settings
        self.settings = self._restored(start_settings)
        self.clock = Clock(self.state.meta("clock_offset", 0.0))
        self.files = Files(data_dir / FILES)
        self.storage = Storage(self.state, self.files, self.clock, lambda: self.house)
        self.faults = Faults(self.state)
        self.rates = RateBuckets(self.clock)
        self.in_flight = InFlight()
        self.jobs = Jobs(self.state, self.files, self.clock, engine, lambda: self.house, prices)
        self.requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)
        self.api_url = ""

    @property
    def house(self) -> House:
        return self.settings.of(House)

    def _restored(self, start_settings: Settings) -> Settings:
        try:
            return start_settings.changed(self.state.meta("settings", {}))
        except ValueError:  # written by another version
            return start_settings

    def change_settings(self, changes: dict[str, Any]) -> None:
        self.settings = self.settings.changed(changes)
        self.state.set_meta("settings", self.state.meta("settings", {}) | changes)
        self.jobs.resize()
        self.clock.wake()

    def move_clock(self, offset: float) -> None:
        self.state.set_meta("clock_offset", offset)
        self.clock.move_to(offset)

    def reset(self) -> None:
        """Back to the first second: no voices, assets, jobs, bills, faults; start settings; the real time."""
        self.jobs.abandon()
        self.state.reset()
        self.files.clear()
        self.faults.reload()
        self.rates.clear()
        self.in_flight.clear()
        self.requests.clear()
        self.settings = self.start_settings
        self.jobs.resize()
        self.clock.move_to(0.0)

    def close(self) -> None:
        self.jobs.abandon()
        self.state.close()
