"""The wait before an order that was refused for want of room, a place among the jobs or a clone slot; unpaid."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from voice_provider.exceptions import PermanentVoiceError, RateLimitedError
from voice_provider.hooks.attempts import LAST_QUESTION
from voice_provider.triggers.job import CONFIRMATIONS, SHORTEST, seconds_left
from voice_provider.triggers.poller import poller
from voice_provider.triggers.turns import turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voice_provider.triggers.turns import Countable

DEADLINE = {"status": "deadline", "message": "the deadline has come"}


class TurnTrigger(BaseTrigger):
    """Waits until the account has room for one more job or clone, by asking and never by ordering; sends one event.

    The event is ``{"status": "turn" | "deadline" | "refused", "message": ...}``; the worker then orders, with the
    same idempotency key as before, and may be refused again.

    :param voice_conn_id: id of the connection
    :param limit: how many the account may have at a time, if that is known
    :param poll_interval: seconds between two questions
    :param deadline: wall-clock time (seconds since 1970) at which the wait ends
    :param not_before: wall-clock time before which nothing is asked
    :param of: what there is to be room for: ``jobs`` or ``clones``
    :param learned: the limit is what was counted when the service refused: it is higher if more are counted from now on
    :param at_most: seconds that the wait lasts at most, whatever the clock of the triggerer says; None: by the clock
    """

    def __init__(
        self,
        voice_conn_id: str,
        limit: int | None,
        poll_interval: float,
        deadline: float,
        not_before: float,
        of: Countable = "jobs",
        learned: bool = False,
        at_most: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no annotations
        self.voice_conn_id = voice_conn_id
        self.limit = limit
        self.poll_interval = max(poll_interval, SHORTEST)
        self.deadline = deadline
        self.not_before = not_before
        self.of = of
        self.learned = learned
        self.at_most = at_most

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and plain JSON arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "voice_conn_id": self.voice_conn_id,
                "limit": self.limit,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "not_before": self.not_before,
                "of": self.of,
                "learned": self.learned,
                "at_most": self.at_most,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        yield TriggerEvent(await self._wait())

    async def _wait(self) -> dict[str, Any]:
        learned_at = time.monotonic() if self.learned else None  # the refusal was just before
        seconds = seconds_left(self.deadline, self.at_most)
        until = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds + LAST_QUESTION):
                await asyncio.sleep(max(0.0, min(self.not_before - time.time(), seconds)))
                return await self._ask_until_there_is_room(learned_at, until)
        except TimeoutError:
            return dict(DEADLINE)

    async def _ask_until_there_is_room(self, learned_at: float | None, until: float) -> dict[str, Any]:
        shared, refusals = poller(self.voice_conn_id), 0
        while time.monotonic() < until:
            pause = self.poll_interval
            try:
                if await turns(await shared.hook(), self.of).may_go(shared, self.limit, learned_at=learned_at):
                    return {"status": "turn", "message": f"there is room in the account's {self.of}"}
                refusals = 0
            except PermanentVoiceError as error:
                refusals = refusals + 1
                if refusals >= CONFIRMATIONS:
                    return {"status": "refused", "message": str(error)}
            except Exception as error:  # noqa: BLE001  # only its turn or the deadline ends the wait
                self.log.info("Asking for room did not succeed; asking again. %s", error)
                if isinstance(error, RateLimitedError) and error.retry_after:
                    pause = 0.0  # the poller holds back as long as was asked
            jittered = pause * random.uniform(1.0, 1.2)  # noqa: S311  # spreads the questions of many waits
            await asyncio.sleep(max(0.0, min(jittered, until - time.monotonic())))
        return dict(DEADLINE)

    async def on_kill(self) -> None:
        """Say that there is nothing to give back."""
        self.log.info("The task was stopped before its order was accepted; nothing was paid.")
