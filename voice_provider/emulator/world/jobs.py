"""Work that takes time: speech and lip sync in the background, each a row from its first second on.

A job's life is an asyncio task: queue, engine (in a thread), hold, end. All of it can be done again from the row,
so after a kill every unfinished job simply starts anew. The engine writes to a temporary file; the rename and the
row come last. Failures carry neutral codes (the engine's, and those of `WorkError`); each service words them itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from voice_provider.emulator.world import work
from voice_provider.emulator.world.state import ACTIVE, Charge, Job, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from voice_provider.emulator.engine import Engine
    from voice_provider.emulator.world.clock import Clock
    from voice_provider.emulator.world.files import Files
    from voice_provider.emulator.world.settings import House
    from voice_provider.emulator.world.state import State

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_THREADS = 64


@dataclass
class _Running:
    task: asyncio.Task[None]
    ended: asyncio.Event
    progress: float = 0.0


class Jobs:
    """The jobs that live now; `prices` says by service what one costs in dollars, given how much work it was."""

    def __init__(
        self,
        state: State,
        files: Files,
        clock: Clock,
        engine: Engine,
        house: Callable[[], House],
        prices: Mapping[str, Callable[[Job, float], float]],
    ) -> None:
        self._state, self._files, self._clock, self._engine = state, files, clock, engine
        self._house, self._prices = house, prices
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="engine")
        self._free = asyncio.Semaphore(house().workers)
        self._running: dict[str, _Running] = {}
        self._afterwards: list[Callable[[Job], None]] = []

    def on_end(self, call: Callable[[Job], None]) -> None:
        self._afterwards.append(call)

    def resize(self) -> None:
        """Let as many jobs as there are workers run at one time from now on; those that run already are not counted."""
        self._free = asyncio.Semaphore(self._house().workers)

    def order(self, job: Job, charge: Charge | None, *, scope: str) -> None:
        """Accept work and begin it."""
        self._state.accept(job, charge, scope=scope)
        self.start(job)

    def resume(self) -> None:
        for job in self._state.find(Job, f"status IN {ACTIVE}"):
            self.start(job)

    def start(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self._live(job), name=f"job {job.id}")
        self._running[job.id] = _Running(task, asyncio.Event())
        task.add_done_callback(lambda _: self._forget(job.id))

    def abandon(self) -> None:
        for running in list(self._running.values()):
            running.task.cancel()

    def _forget(self, job_id: str) -> None:
        if running := self._running.pop(job_id, None):
            running.ended.set()

    def delete(self, where: str, *args: Any) -> None:
        """Forget jobs with their files; what they cost stays on the bill."""
        for job in self._state.find(Job, where, *args):
            if running := self._running.get(job.id):
                running.task.cancel()
            kept: list[tuple[str, str]] = [
                (folder, job.result[folder]) for folder in ("speech", "results") if folder in job.result
            ]
            for upload in self._state.find(
                Upload, "id IN (SELECT value FROM json_each(?))", json.dumps(job.work.get("files", []))
            ):
                kept.append(("uploads", upload.id))
                self._state.delete(upload)
            for folder, name in kept:
                self._files.path(folder, name).unlink(missing_ok=True)
            self._state.delete(job)

    async def wait(self, job_id: str, seconds: float) -> None:
        """Return when the job has ended or the seconds (of the real clock) are over."""
        running = self._running.get(job_id)
        if running is None:
            return
        try:
            async with asyncio.timeout(seconds):
                await running.ended.wait()
        except TimeoutError:
            return

    def file(self, job: Job, folder: str) -> Path | None:
        name = job.result.get(folder)
        return self._files.path(folder, name) if name else None

    def percent(self, job: Job) -> int:
        if not job.active:
            return 100
        running = self._running.get(job.id)
        done = running.progress if running else 0.0
        if job.started_at and (hold := self._house().job_seconds):
            done = min(done, (self._clock.now() - job.started_at) / hold)
        return min(99, int(100 * done))

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Do engine work for a request that waits for it, sharing the workers with the jobs."""
        async with self._free:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _live(self, job: Job) -> None:
        try:
            await self._clock.reach(lambda: job.created_at + self._house().queue_seconds)
            async with self._free:
                job.status, job.started_at = "PROCESSING", job.started_at or self._clock.now()
                self._state.update(job)
                if forced := job.work.get("outcome"):
                    raise work.WorkError(forced["code"], forced["message"])  # noqa: TRY301
                made = await asyncio.get_running_loop().run_in_executor(self._threads, self._make, job)
            await self._hold(job)
            for folder, (temporary, name) in made.files.items():
                temporary.rename(self._files.path(folder, name))
            job.result = made.result | {folder: name for folder, (_, name) in made.files.items()}
            usd = self._prices[job.service](job, made.units)
            await self._end(job, "COMPLETED", units=made.units, usd=usd)
        except work.WorkError as error:
            await self._hold(job)
            status = job.work.get("outcome", {}).get("status", "FAILED")
            await self._end(job, status, code=error.code, message=error.message)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("Job %s broke", job.id)
            await self._end(job, "FAILED", code="pipeline_failed", message="The engine broke; see the emulator's log.")

    async def _hold(self, job: Job) -> None:
        await self._clock.reach(lambda: (job.started_at or 0.0) + self._house().job_seconds)

    def _make(self, job: Job) -> work.Made:
        running = self._running.get(job.id)

        def progress(share: float) -> None:
            if running:
                running.progress = share

        return work.make(self._engine, self._files, job, progress)

    async def _end(self, job: Job, status: str, **outcome: Any) -> None:
        job.status, job.finished_at = status, self._clock.now()
        job.error_code, job.error = outcome.get("code"), outcome.get("message")
        if self._state.finish(job, units=outcome.get("units"), usd=outcome.get("usd")):
            for call in self._afterwards:
                call(job)
