"""The wait for a clone slot, for those who want to see it in the graph."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferralError

from voice_provider.exceptions import InvalidInputError, TransientVoiceError, VoiceError
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators import base
from voice_provider.sensors.job import WAIT_KEY, limit_of
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class VoiceSlotSensor(BaseSensorOperator):
    """Wait until the plan has room for another clone, by counting and never by cloning.

    A slot that is free now may be taken by another task before the next one uses it: where that matters, let the clone
    itself wait (``CloneVoiceOperator(on_slot_limit="wait")``), which this sensor does not replace.

    Returns ``slots_in_use``, ``slot_limit`` and ``free``.

    :param slots: how many clones the plan holds; default: the connection's ``clone_slots`` (templated)
    :param needed: how many have to be free; default: 1 (templated)
    :param voice_conn_id: id of the connection (templated)
    :param poke_interval: seconds between two counts; default: 30
    :param deferrable: wait on the triggerer; default: Airflow's ``[operators] default_deferrable``
    :raises InvalidInputError: it is not known how many clones the plan holds, or more are needed than that
    """

    template_fields: Sequence[str] = ("voice_conn_id", "slots", "needed")
    ui_color: str = "#e8e4f3"

    def __init__(
        self,
        *,
        slots: int | str | None = None,
        needed: int | str = 1,
        voice_conn_id: str = VoiceHook.default_conn_name,
        deferrable: bool | None = None,
        poke_interval: float = 30,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.slots = slots
        self.needed = needed
        self.voice_conn_id = voice_conn_id
        self.deferrable = base.default_deferrable() if deferrable is None else deferrable

    def _limit(self, hook: VoiceHook) -> int:
        limit = base.number_of(self.slots, "slots") or hook.settings.clone_slots
        needed = base.number_of(self.needed, "needed") or 1
        if limit is None:
            raise InvalidInputError(
                f"{hook.service.label} does not tell how many clones a plan holds. Set clone_slots in the connection's "
                "extra, or slots= here."
            )
        if needed > limit:
            raise InvalidInputError(f"{needed} free clone slots are needed, but the plan holds {limit}.")
        return limit - needed + 1  # so many in use are too many

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002
        """Count once; a blip is "not yet"."""
        hook = VoiceHook.for_connection(self.voice_conn_id)
        below = self._limit(hook)
        try:
            room = hook.slots()
        except TransientVoiceError as error:
            self.log.warning("%s", error)
            return PokeReturnValue(is_done=False)
        limit = base.number_of(self.slots, "slots") or hook.settings.clone_slots or 0
        in_use = room.active or 0
        self.log.info("Clone slots in use: %d of %d.", in_use, limit)
        found = {"slots_in_use": in_use, "slot_limit": limit, "free": max(limit - in_use, 0)}
        return PokeReturnValue(is_done=in_use < below, xcom_value=found)

    def execute(self, context: Context) -> Any:
        """Wait here, or on the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        return self._count_or_defer(context, time.time() + limit_of(self)[0])

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Count again after the trigger, and wait on where another task was faster."""
        if event and event.get("message"):
            self.log.info("Back from waiting: %s.", event["message"])
        return self._count_or_defer(context, **self._waited(context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Count again after the trigger, also when the trigger itself failed."""
        try:
            # Not the sensor's own method: it would skip a soft_fail sensor before the slots were counted.
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        except TaskDeferralError as error:
            self.log.warning("Waiting on the triggerer failed (%s); counting from here.", error)
            waited = self._waited(context)
            return self._count_or_defer(context, waited["deadline"], waited["redefers"] + 1)

    def _waited(self, context: Context) -> dict[str, Any]:
        """Read how long this try waits; Airflow drops a deferred task's own arguments when its trigger fails."""
        stored = context["task_state_store"].get(WAIT_KEY)
        return stored if isinstance(stored, dict) else {"deadline": time.time() + limit_of(self)[0], "redefers": 0}

    def _count_or_defer(self, context: Context, deadline: float, redefers: int = 0) -> Any:
        try:
            counted = self.poke(context)
        except VoiceError as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from None
            raise
        if counted.is_done:
            return counted.xcom_value
        if time.time() >= deadline or redefers > base.MAX_REDEFERS:
            seconds, over = limit_of(self)
            message = f"No clone slot became free within {seconds:g} s."
            raise AirflowSkipException(message) if self.soft_fail else over(message)
        trigger = TurnTrigger(
            voice_conn_id=self.voice_conn_id,
            limit=self._limit(VoiceHook.for_connection(self.voice_conn_id)),
            poll_interval=self.poke_interval,
            deadline=deadline,
            not_before=time.time() + base.DEFER_GRACE,
            of="clones",
        )
        context["task_state_store"].set(WAIT_KEY, {"deadline": deadline, "redefers": redefers})
        return self.defer(trigger=trigger, method_name="execute_complete")
