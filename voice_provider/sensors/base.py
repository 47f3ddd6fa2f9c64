"""What the sensors share: a wait that goes on through the triggerer, and ends when its time has come."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout, TaskDeferralError

from voice_provider.compat import task_state_store
from voice_provider.exceptions import VoiceError
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.base import MAX_REDEFERS, TakesPaths, default_deferrable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, PokeReturnValue
    from airflow.triggers.base import BaseTrigger

WAIT_KEY = "voice_wait"  # until when a deferred try waits, and how often its trigger has failed


def limit_of(sensor: BaseSensorOperator) -> tuple[float, type[BaseException]]:
    """Return how many seconds a sensor may wait in one try, and what it raises then.

    Airflow does not time a task while it is deferred. ``timeout`` ends a sensor for good, ``execution_timeout`` a try.
    """
    limit = sensor.execution_timeout.total_seconds() if sensor.execution_timeout is not None else sensor.timeout
    return (limit, AirflowTaskTimeout) if limit < sensor.timeout else (sensor.timeout, AirflowSensorTimeout)


class VoiceSensor(TakesPaths, BaseSensorOperator):
    """Base of the sensors.

    :param voice_conn_id: id of the connection (templated)
    :param deferrable: wait on the triggerer; default: Airflow's ``[operators] default_deferrable``
    """

    template_fields: Sequence[str] = ("voice_conn_id",)
    ui_color: str = "#e8e4f3"

    def __init__(
        self, *, voice_conn_id: str = VoiceHook.default_conn_name, deferrable: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.voice_conn_id = voice_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._hook: VoiceHook | None = None

    @property
    def hook(self) -> VoiceHook:
        """The hook of the connection; made when the task runs."""
        if self._hook is None:
            self._hook = VoiceHook.for_connection(self.voice_conn_id)
        return self._hook

    # what a leaf says

    @abstractmethod
    def look(self, context: Context, deadline: float) -> PokeReturnValue:
        """Ask, once or for a few seconds, before the task defers."""

    @abstractmethod
    def trigger(self, answer: PokeReturnValue, deadline: float) -> BaseTrigger:
        """Return what waits on the triggerer."""

    @abstractmethod
    def over(self, seconds: float) -> str:
        """Return what is said when the time has come."""

    # the one way

    def execute(self, context: Context) -> Any:
        """Wait here, or on the triggerer."""
        if not self.deferrable:
            self.hook.ask_until(self._began(context) + limit_of(self)[0])
            found = super().execute(context)
            self.spare_outputs(context, found)
            self.tell_assets(context, found)
            return found
        return self._look_or_defer(context, deadline=time.time() + limit_of(self)[0])

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, waited: dict[str, Any] | None = None
    ) -> Any:
        """Look again after the trigger, and wait on where it is not yet."""
        if event and event.get("message"):
            self.log.info("Back from waiting: %s.", event["message"])
        return self._look_or_defer(context, **self._waited(context, waited))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the trigger, also when the trigger itself failed: it may have ended well all the same."""
        try:
            # Not the sensor's own method: it would skip a soft_fail sensor before anything was asked after.
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        except TaskDeferralError as error:
            if task_state_store(context) is None:
                raise  # 3.2 remembers nothing: the wait would begin anew, again and again
            self.log.warning("Waiting on the triggerer failed (%s); looking from here.", error)
            waited = self._waited(context)
            return self._look_or_defer(context, waited["deadline"], waited["redefers"] + 1)

    def _waited(self, context: Context, told: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return how long this try waits; Airflow drops a deferred task's own arguments when its trigger fails."""
        store = task_state_store(context)
        stored = store.get(WAIT_KEY) if told is None and store is not None else told
        return stored if isinstance(stored, dict) else {"deadline": time.time() + limit_of(self)[0], "redefers": 0}

    def _began(self, context: Context) -> float:
        """Return when the wait began, seconds since 1970; in ``mode="reschedule"`` with the first look of many."""
        first = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
        return first.timestamp() if first is not None else time.time()

    def _look_or_defer(self, context: Context, deadline: float, redefers: int = 0) -> Any:
        self.hook.ask_until(deadline)
        try:
            answer = self.look(context, deadline)
        except VoiceError as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from None
            raise
        if answer.is_done:
            self.spare_outputs(context, answer.xcom_value)
            self.tell_assets(context, answer.xcom_value)
            return answer.xcom_value
        if time.time() >= deadline or redefers > MAX_REDEFERS:
            self._end()
        waited = {"deadline": deadline, "redefers": redefers}
        if (store := task_state_store(context)) is not None:
            store.set(WAIT_KEY, waited)
        trigger = self.trigger(answer, deadline)
        return self.defer(trigger=trigger, method_name="execute_complete", kwargs={"waited": waited})

    def _end(self) -> NoReturn:
        seconds, kind = limit_of(self)
        message = self.over(seconds)
        raise AirflowSkipException(message) if self.soft_fail else kind(message)
