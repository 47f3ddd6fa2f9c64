"""The wait for a clone slot, for those who want to see it in the graph."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue

from voice_provider.exceptions import InvalidInputError, TransientVoiceError
from voice_provider.operators import base
from voice_provider.operators.arguments import number_of
from voice_provider.sensors.base import VoiceSensor
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from voice_provider.hooks.voice import VoiceHook


class VoiceSlotSensor(VoiceSensor):
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

    template_fields: Sequence[str] = (*VoiceSensor.template_fields, "slots", "needed")

    def __init__(
        self,
        *,
        slots: int | str | None = None,
        needed: int | str = 1,
        poke_interval: float = 30,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.slots = slots
        self.needed = needed

    def _limit(self, hook: VoiceHook) -> int:
        limit = number_of(self.slots, "slots") or hook.settings.clone_slots
        needed = number_of(self.needed, "needed") or 1
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
        hook = self.hook
        below = self._limit(hook)
        try:
            room = hook.slots()
        except TransientVoiceError as error:
            self.log.warning("%s", error)
            return PokeReturnValue(is_done=False)
        limit = number_of(self.slots, "slots") or hook.settings.clone_slots or 0
        in_use = room.active or 0
        self.log.info("Clone slots in use: %d of %d.", in_use, limit)
        found = {"slots_in_use": in_use, "slot_limit": limit, "free": max(limit - in_use, 0)}
        return PokeReturnValue(is_done=in_use < below, xcom_value=found)

    def look(self, context: Context, deadline: float) -> PokeReturnValue:  # noqa: ARG002
        """Count once: a slot is rarely free within seconds."""
        return self.poke(context)

    def trigger(self, answer: PokeReturnValue, deadline: float) -> TurnTrigger:  # noqa: ARG002
        """Return the wait for a slot."""
        return TurnTrigger(
            voice_conn_id=self.voice_conn_id,
            limit=self._limit(self.hook),
            poll_interval=self.poke_interval,
            deadline=deadline,
            at_most=deadline - time.time(),
            not_before=time.time() + base.DEFER_GRACE,
            of="clones",
        )

    def over(self, seconds: float) -> str:
        """Say what was waited for."""
        return f"No clone slot became free within {seconds:g} s."
