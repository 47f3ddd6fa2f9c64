"""What all operators share: the connection, and the one way a job is ordered, waited for and collected."""

from __future__ import annotations

import hashlib
import os
import random
import time
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import TaskDeferralError
from airflow.sdk.serde import serialize

from voice_provider.compat import CLEAR_FORGETS, task_state_store
from voice_provider.exceptions import (
    ConcurrencyLimitError,
    InvalidInputError,
    JobTimeoutError,
    KeyInUseError,
    RateLimitedError,
)
from voice_provider.files.locations import read_text
from voice_provider.hooks.voice import VoiceHook
from voice_provider.hooks.waiting import describe
from voice_provider.links import JobLink, ResultLink
from voice_provider.models import JobState
from voice_provider.operators.arguments import argument_of, seconds_of
from voice_provider.operators.lineage import Lineage
from voice_provider.services.texts import checked, script_of
from voice_provider.triggers.job import JobTrigger
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import timedelta

    from airflow.sdk import Context
    from airflow.sdk.bases.operatorlink import BaseOperatorLink

    from voice_provider.jobs.lifecycle import Lifecycle
    from voice_provider.jobs.orders import Order
    from voice_provider.jobs.record import OnClear, OnUnknownOutcome, Record, Scope, Store
    from voice_provider.jobs.store import ObjectStore
    from voice_provider.models import Job, Manifest

LEADING = {"uri", "voice_id", "asset_id"}  # keys that people use most: task.output["uri"]
PROGRESS_KEY = "voice_progress"
INLINE_WAIT = 5.0  # seconds on the worker before a task defers: short jobs need no round trip
# Airflow 3.3 fails a task whose trigger fires before the worker's end was reported, up to 5 s after the task deferred.
DEFER_GRACE = 8.0  # seconds from deferring to the first question
MAX_REDEFERS = 5  # how often an attempt goes back to waiting after its trigger failed


def default_deferrable() -> bool:
    """Return Airflow's own setting, as all its providers do."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def tell_result(task: TakesPaths, context: Context, result: dict[str, Any]) -> None:
    """Push what a task returns, before it is written down that it is finished: Airflow does so only afterwards."""
    push = getattr(context["ti"], "xcom_push", None)  # there is none where an operator is run by hand
    if getattr(task, "do_xcom_push", False) and push is not None:
        push(key="return_value", value=result)
        task.spare_outputs(context, result)


def scope_of(context: Context) -> Scope:
    """Return which task instance this is."""
    from voice_provider.jobs.record import Scope  # noqa: PLC0415  # not when a DAG is parsed

    ti = context["ti"]
    return Scope(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index if ti.map_index is not None else -1,
        max_tries=ti.max_tries,
        clears=getattr(context.get("dag_run"), "clear_number", None) or 0,
        retries=getattr(context.get("task"), "retries", None),
        label=getattr(ti, "rendered_map_index", None) or "",
    )


def panel(context: Context) -> Callable[[str], None]:
    """Return what shows a line in the task's state panel, where there is one; that it cannot is no reason to fail."""
    store = task_state_store(context)

    def show(line: str) -> None:
        if store is not None:
            with suppress(Exception):
                store.set(PROGRESS_KEY, line)

    return show


class TakesPaths(Lineage):
    """What operators and sensors have in common.

    Renders templates in ``pathlib.Path`` arguments, too; Airflow leaves them as they are. Of a mapped task, only what
    leads to the rest has an XCom of its own: ten thousand lines would have a hundred and fifty thousand.
    """

    def __init__(self, *, multiple_outputs: bool | None = None, **kwargs: Any) -> None:
        self._unrolls = multiple_outputs is True  # who asks for them gets them, mapped or not
        # So that task.output["voice_id"] works.
        super().__init__(multiple_outputs=multiple_outputs is not False, **kwargs)  # type: ignore[call-arg]

    def spare_outputs(self, context: Context, result: Any) -> None:
        """Push a mapped task's ``uri``, ``voice_id`` or ``asset_id``, and no row for each of the other keys."""
        ti = context["ti"]
        if ti.map_index in (None, -1) or self._unrolls or not isinstance(result, dict):
            return
        self.multiple_outputs = False  # Airflow looks when the task has ended
        if push := getattr(ti, "xcom_push", None):  # there is none where an operator is run by hand
            for key in LEADING.intersection(result):
                push(key=key, value=result[key])

    def tell_assets(self, context: Context, result: Any) -> None:
        """Give the events of the task's assets (``outlets``) what it returns, for the DAGs that they start.

        What the author has put into an event's ``extra`` stays there.
        """
        self._result = result
        for outlet in getattr(self, "outlets", ()):
            if isinstance(outlet, Asset) and isinstance(result, dict):
                extra = context["outlet_events"][outlet].extra
                extra.update({**result, **extra})

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a template field, or a part of one."""
        text = os.fspath(content) if isinstance(content, os.PathLike) else content
        return super().render_template(text, *args, **kwargs)  # type: ignore[misc]


class VoiceOperator(TakesPaths, BaseOperator):
    """Base of all operators of this provider.

    :param voice_conn_id: id of the connection; its type chooses the service (templated)
    """

    template_fields: Sequence[str] = ("voice_conn_id",)
    ui_color: str = "#e8e4f3"

    def __init__(self, *, voice_conn_id: str = VoiceHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.voice_conn_id = voice_conn_id
        self._hook: VoiceHook | None = None

    @property
    def hook(self) -> VoiceHook:
        """The hook of the connection; made when the task runs."""
        if self._hook is None:
            self._hook = VoiceHook.for_connection(self.voice_conn_id)
        return self._hook

    def read_script(self, text: Any, text_uri: Any) -> str:
        """Return the script, from the argument or from storage; log its length and hash only.

        The two are separate arguments, so that a script typed into a form is never taken for a path and read.
        """
        if (text is None) == (text_uri is None):
            raise InvalidInputError("Give exactly one of text and text_uri.")
        if text_uri is not None:
            script = checked(read_text(str(text_uri).strip(), self.hook.settings.allowed_inputs), "text_uri", script_of)
        else:
            script = argument_of(text, "text", script_of) or ""
        digest = hashlib.sha256(script.encode()).hexdigest()[:12]
        self.log.info("The script has %d characters (sha256 %s…).", len(script), digest)
        return script


class JobOperator(VoiceOperator):
    """Base of the operators that are paid for: order once, wait, collect; through retries, kills and outages.

    :param deferrable: wait on the triggerer instead of on a worker; default: Airflow's ``[operators]
        default_deferrable``
    :param wait_for_completion: wait for the result; else return a ticket for the completion sensor; default: True
    :param poll_interval: seconds between two questions, where the service says nothing else; default: 5
    :param timeout: seconds to wait in one attempt, by the wall clock; the job goes on afterwards, and a retry
        collects it; default: 3600
    :param on_unknown_outcome: what to do when an order without an idempotency key may have been accepted and cannot be
        found: ``fail`` (default) or ``resubmit`` (it may be paid twice)
    :param on_clear: what clearing a task means whose job still runs: ``reattach`` (default) or ``resubmit`` (the
        running job is paid too); clearing a finished task is always a new order
    """

    operator_extra_links: Collection[BaseOperatorLink] = (ResultLink(), JobLink())

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = 5,
        timeout: float | timedelta = 3600,
        on_unknown_outcome: OnUnknownOutcome = "fail",
        on_clear: OnClear = "reattach",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_unknown_outcome not in ("fail", "resubmit"):
            raise ValueError(f"on_unknown_outcome is '{on_unknown_outcome}'; use 'fail' or 'resubmit'.")
        if on_clear not in ("reattach", "resubmit"):
            raise ValueError(f"on_clear is '{on_clear}'; use 'reattach' or 'resubmit'.")
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.wait_for_completion = wait_for_completion
        self.poll_interval = seconds_of(poll_interval, "poll_interval")
        self.timeout = seconds_of(timeout, "timeout", allow_zero=True)
        self.on_unknown_outcome = on_unknown_outcome
        self.on_clear = on_clear
        self.result_location: str | None = None  # for the links
        self.job_page: str | None = None
        self._job: Job | None = None
        self._came_back = False
        self._state: ObjectStore | None = None

    # what a leaf says

    @abstractmethod
    def order(self, context: Context) -> Order:
        """Check the arguments and return what is ordered; raises before anything is sent."""

    @abstractmethod
    def deliver(self, lifecycle: Lifecycle, record: Record, job: Job, context: Context) -> dict[str, Any]:
        """Collect a succeeded job and return what the task returns."""

    def spending_limit(self) -> float | None:
        """Return how many dollars the order may cost; None: any, or it costs none."""
        return None

    def ticket(self, record: Record, job: Job) -> dict[str, Any]:
        """Return what the completion sensor needs."""
        return {
            "service": job.service,
            "kind": job.kind,
            "job_id": job.id,
            "path": job.path,
            "submitted_at": record.posted_at,
            "assets": list(record.uploads.values()),
        }

    # the one way

    collects_blindly = True  # a running job, also where the request cannot be read any more: it is paid

    def execute(self, context: Context) -> dict[str, Any]:
        """Order, unless it was ordered before; then wait and collect."""
        limits = [self.timeout]
        if self.execution_timeout is not None:
            limits.append(self.execution_timeout.total_seconds())
        deadline = time.time() + min(limits)
        lifecycle = self._lifecycle(context)
        record = lifecycle.load()
        if record is not None and record.redefers:
            lifecycle.wait_until(record, deadline)  # triggers that failed in the try before are not this one's
        return self._order_and_follow(context, lifecycle, deadline)

    def _order_and_follow(self, context: Context, lifecycle: Lifecycle, deadline: float) -> dict[str, Any]:
        lifecycle.ends_at(deadline)
        try:
            order = self.order(context)
            lifecycle.max_cost = self.spending_limit()
        except InvalidInputError as error:
            record = lifecycle.load()
            if not self.collects_blindly or record is None or not lifecycle.is_running(record):
                raise
            self.log.warning("%s What was ordered before is collected all the same.", error)
        else:
            record = self._begin(lifecycle, order, deadline)
        if record.manifest is None:
            record = lifecycle.wait_until(record, deadline, record.redefers)
        return self._follow(context, lifecycle, record)

    def _begin(self, lifecycle: Lifecycle, order: Order, deadline: float) -> Record:
        """Order; an order that is refused because too many are at work is no failure, but has to wait its turn."""
        while True:
            try:
                return lifecycle.begin(order)
            except KeyInUseError as error:
                if time.time() + self.poll_interval >= deadline:
                    raise
                self.log.info("%s", error)
                time.sleep(self.poll_interval)
            except RateLimitedError as error:
                now, asked = time.time(), error.retry_after or 0.0
                counted = isinstance(error, ConcurrencyLimitError)
                if now + asked >= deadline or not (counted or (self.deferrable and asked)):
                    raise  # how fast to ask is left to Airflow's retries and to voice_retry_policy()
                lifecycle.tell(f"Not accepted yet: {error}")
                self.log.info("Not accepted yet, and nothing paid; waiting for its turn. %s", error)
                if self.deferrable:
                    record = lifecycle.load()
                    assert record is not None  # noqa: S101  # it was written before the order was sent
                    lifecycle.wait_until(record, deadline, record.redefers)
                    self._wait_for_turn(getattr(error, "limit", None), deadline, asked)
                pause = max(asked, self.poll_interval) * random.uniform(1.0, 1.2)  # noqa: S311  # never less than asked
                time.sleep(min(pause, deadline - now))

    def _wait_for_turn(self, limit: int | None, deadline: float, asked: float = 0, **more: Any) -> None:
        trigger = TurnTrigger(
            voice_conn_id=self.voice_conn_id,
            limit=limit,
            poll_interval=self.poll_interval,
            deadline=deadline,
            at_most=deadline - time.time(),
            not_before=time.time() + max(DEFER_GRACE, asked),
            **more,
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger: ask after the job again, whatever the event says, and collect it or wait on."""
        if event and event.get("message"):
            self.log.info("Back from waiting: %s.", event["message"])
        return self._resume(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the trigger, also when the trigger itself failed: a broken wait is no reason to burn a retry."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError as error:
            self.log.warning("Waiting on the triggerer failed (%s); asking after the job from here.", error)
            return self._resume(context, failed=True)

    def _resume(self, context: Context, *, failed: bool = False) -> dict[str, Any]:
        """Go on with what is remembered; the arguments were checked and the files hashed before.

        Where it waited for its turn to order, or may not collect what is not asked for now, they are once more.
        """
        self._came_back = True
        lifecycle = self._lifecycle(context)
        record = lifecycle.load()
        if record is None or not record.deadline:
            return self.execute(context)
        if failed:
            record = lifecycle.wait_until(record, record.deadline, record.redefers + 1)
        if record.job is None or not self.collects_blindly:
            if record.job is None and record.redefers > MAX_REDEFERS:
                raise JobTimeoutError("Waiting on the triggerer failed again and again; nothing was ordered or paid.")
            return self._order_and_follow(context, lifecycle, record.deadline)
        lifecycle.ends_at(record.deadline)
        return self._follow(context, lifecycle, record)

    def _follow(self, context: Context, lifecycle: Lifecycle, record: Record) -> dict[str, Any]:
        deadline = lifecycle.deadline
        if record.manifest is not None:
            return self._finished(context, lifecycle, self._return_kept(record.manifest, lifecycle))
        job = self._job = lifecycle.refresh(record)
        self.job_page = job.page_url
        hands_over = not self.wait_for_completion and not job.state.is_final
        # Who watches it tells more; and what is there at once, in the first try, needs no line.
        if hands_over or (job.state.is_final and (self._came_back or context["ti"].try_number > 1)):
            lifecycle.tell(f"{describe(job)}: {job.status or job.state.value}.")
        if hands_over:
            ticket = self.ticket(record, job)
            tell_result(self, context, ticket)
            lifecycle.hand_over(record)
            return ticket
        inline = min(deadline, time.time() + INLINE_WAIT) if self.deferrable else deadline
        if not job.state.is_final:
            job = self._job = lifecycle.watch(record, job, inline, self.poll_interval)
        if not job.state.is_final:
            if self.deferrable and time.time() < deadline and record.redefers <= MAX_REDEFERS:
                self._wait_elsewhere(job, deadline)
            raise JobTimeoutError(
                f"{describe(job)} is still {job.status or job.state} at the end of this attempt's wait. It "
                f"goes on at {job.service}; a retry, or clearing this task, collects it without paying again."
            )
        if job.state is JobState.FAILED:
            lifecycle.fail(record, job)
        return self._finished(context, lifecycle, self.deliver(lifecycle, record, job, context))

    def _finished(self, context: Context, lifecycle: Lifecycle, result: dict[str, Any]) -> dict[str, Any]:
        """Tell the result, and write down last that the task is finished: what fails before is collected by a clear."""
        tell_result(self, context, result)
        self.tell_assets(context, result)
        lifecycle.finish()
        return result

    def _wait_elsewhere(self, job: Job, deadline: float) -> None:
        trigger = JobTrigger(
            voice_conn_id=self.voice_conn_id,
            kind=job.kind,
            job_id=job.id,
            path=job.path,
            poll_interval=self.poll_interval,
            deadline=deadline,
            at_most=deadline - time.time(),
            first_poll=time.time() + max(DEFER_GRACE, job.retry_after or 0),
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def _return_kept(self, manifest: Manifest, lifecycle: Lifecycle) -> dict[str, Any]:  # noqa: ARG002
        self.result_location = manifest.uri
        return manifest.dump()

    def _lifecycle(self, context: Context) -> Lifecycle:
        from voice_provider.jobs.lifecycle import Lifecycle  # noqa: PLC0415  # not when a DAG is parsed

        # A trigger argument that cannot be serialized would raise after the job was paid: find out before.
        serialize({"voice_conn_id": self.voice_conn_id, "poll_interval": self.poll_interval, "timeout": self.timeout})
        return Lifecycle(
            hook=self.hook,
            store=self.state(context),
            show=panel(context),
            forgets=CLEAR_FORGETS and self.hook.settings.state_location is None,
            scope=scope_of(context),
            log=self.log,
            on_unknown_outcome=self.on_unknown_outcome,
            on_clear=self.on_clear,
        )

    def state(self, context: Context) -> Store:
        """Return where it is kept what was ordered: the connection's ``state_location``, else Airflow's own store.

        :raises InvalidInputError: neither is there, or the location cannot be used
        :raises StaleTryError: a later try has begun
        """
        from voice_provider.jobs.store import ObjectStore, attempt_of  # noqa: PLC0415  # not when a DAG is parsed

        airflow, settings = task_state_store(context), self.hook.settings
        if settings.state_location is not None:
            attempt = attempt_of(context["ti"])
            if self._state is None or self._state.attempt != attempt:
                self._state = ObjectStore(
                    settings.state_location, settings.namespace, scope_of(context), attempt, before=airflow
                )
            return self._state
        if airflow is None:
            raise InvalidInputError(
                f"Connection '{settings.conn_id}' needs a state_location, because this Airflow does not remember what "
                "a task has ordered: a folder that all workers share, or s3://bucket/path/. Nothing was sent."
            )
        return airflow

    def on_kill(self) -> None:
        """Say what happens to the job; a service that can cancel is not among the two there are."""
        if self._job is not None and not self._job.state.is_final:
            self.log.warning(
                "%s runs on at %s and will be billed: the service cannot cancel it. A retry, or clearing this task, "
                "collects its result.",
                describe(self._job),
                self._job.service,
            )
