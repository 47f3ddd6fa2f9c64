"""The record of one task instance, written where it survives the worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pendulum
import tenacity

from voice_provider.exceptions import PermanentVoiceError
from voice_provider.jobs.record import RECORD_KEY, Record

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from voice_provider.jobs.record import Store

KEEP_FOR = 60.0  # seconds for which what came is written down again, where the store does not take it


@dataclass
class Notes:
    """Reads and writes the record; nobody else writes it while this try is the newest, so it is read once.

    :param store: where it is kept
    """

    store: Store
    log: Logger
    _record: Record | None = field(default=None, init=False)
    _is_known: bool = field(default=False, init=False)

    def load(self) -> Record | None:
        """Return what is remembered."""
        if not self._is_known:
            self._record, self._is_known = Record.load(self.store.get(RECORD_KEY)), True
        return self._record

    def save(self, record: Record, **changes: object) -> Record:
        """Write the record with changes, and return it."""
        record = record.model_copy(update=changes)
        self._is_known = False  # a write that fails may have arrived
        self.store.set(RECORD_KEY, record.dump())
        self._record, self._is_known = record, True
        return record

    def keep(self, record: Record, **changes: object) -> Record:
        """Write down what cannot be had a second time: a store that does not answer for a moment is asked again."""
        patiently = tenacity.Retrying(
            stop=tenacity.stop_after_delay(KEEP_FOR),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, Exception) and not isinstance(error, PermanentVoiceError)
            ),
            before_sleep=lambda state: self.log.warning(
                "What came could not be written down, again in %.1f s: %s", state.upcoming_sleep, state.outcome
            ),
            reraise=True,
        )
        return patiently(self.save, record, **changes)


def now() -> str:
    """Return the time as records have it."""
    return pendulum.now("UTC").isoformat(timespec="milliseconds")
