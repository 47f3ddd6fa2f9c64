"""Sensors for jobs that another task has ordered; they buy nothing, so a retry is free.

All of them take Airflow's own ``poke_interval`` (seconds; default here 5), ``timeout`` (seconds; default:
Airflow's), ``mode`` and ``soft_fail``, and ``deferrable``, which waits on the triggerer instead of on a worker.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import PokeReturnValue

from voice_provider.compat import task_state_store
from voice_provider.exceptions import (
    InvalidInputError,
    NotFoundError,
    ResultError,
    StorageError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.files.locations import output_of
from voice_provider.files.storage import Output, is_kept
from voice_provider.hooks.waiting import FIRST_PAUSE, Progress, succeeded
from voice_provider.links import JobLink, ResultLink
from voice_provider.models import Cost, Job, JobKind, JobState, Manifest
from voice_provider.operators import base
from voice_provider.operators.arguments import as_text
from voice_provider.operators.asset import ids_of
from voice_provider.sensors.base import VoiceSensor
from voice_provider.services.options import is_path
from voice_provider.triggers.job import JobTrigger
from voice_provider.trust.origin import Origin, Run
from voice_provider.trust.provenance import check_name, keep

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow.sdk import Context, XComArg
    from airflow.sdk.bases.operatorlink import BaseOperatorLink

    from voice_provider.services.options import PathObject

KEPT_KEY = "voice_kept"  # manifest of what a try of this task has kept already


class JobSensor(VoiceSensor):
    """Base of the sensors for a job.

    :param poke_interval: seconds between two questions; default: 5
    """

    operator_extra_links: Collection[BaseOperatorLink] = (ResultLink(), JobLink())
    kind: ClassVar[JobKind]

    def __init__(self, *, poke_interval: float = 5, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.result_location: str | None = None
        self.job_page: str | None = None
        self._progress = Progress()
        self._told_to_wait = 0.0  # seconds from the last answer on

    def ask(self, context: Context) -> dict[str, Any] | Job:
        """Return the result if it is there, else the job as it is now."""
        raise NotImplementedError

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once; a blip is "not yet"."""
        try:
            found = self.ask(context)
        except (ResultError, StorageError):
            raise  # it is there and could not be kept: that is for Airflow's retries, not for the next question
        except TransientVoiceError as error:
            self.log.warning("%s", error)
            self._told_to_wait = getattr(error, "retry_after", None) or 0.0
            return PokeReturnValue(is_done=False)
        if isinstance(found, dict):
            return PokeReturnValue(is_done=True, xcom_value=found)
        self._told_to_wait = found.retry_after or 0.0
        if (line := self._progress.told(found)) is not None:
            self.log.info("%s", line)
        return PokeReturnValue(is_done=False, xcom_value=found)

    def over(self, seconds: float) -> str:
        """Say that the job goes on."""
        return f"The {self.kind.replace('_', ' ')} was not there within {seconds:g} s; its job goes on."

    def look(self, context: Context, deadline: float) -> PokeReturnValue:
        """Ask until the result is there, for a few seconds: a short job is not worth the way to the triggerer."""
        inline, pause = min(deadline, time.time() + base.INLINE_WAIT), FIRST_PAUSE
        while True:
            answer = self.poke(context)
            pause = max(min(pause * 1.5, self.poke_interval), self._told_to_wait)
            if answer.is_done or time.time() + pause > inline:
                return answer
            time.sleep(pause)

    def trigger(self, answer: PokeReturnValue, deadline: float) -> JobTrigger:
        """Return the wait for the job."""
        job: Job | None = answer.xcom_value
        job_id, path = (job.id, job.path) if job is not None else self.job_reference()
        return JobTrigger(
            voice_conn_id=self.voice_conn_id,
            kind=self.kind,
            job_id=job_id,
            path=path,
            poll_interval=self.poke_interval,
            deadline=deadline,
            at_most=deadline - time.time(),
            first_poll=time.time() + max(base.DEFER_GRACE, self._told_to_wait),
        )

    def job_reference(self) -> tuple[str, str | None]:
        """Return the job's id and where to ask after it."""
        raise NotImplementedError


class VoiceTrainedSensor(JobSensor):
    """Wait until a cloned voice can speak.

    Passes at once where cloning ends only when the voice is ready (sync. labs). Returns what it was given about the
    voice, with ``voice_id`` and ``state``.

    :param voice: id, or what ``CloneVoiceOperator`` returned (templated)
    :raises NotFoundError: no such voice
    :raises JobFailedError: the training failed
    """

    kind = "clone"
    template_fields: Sequence[str] = (*JobSensor.template_fields, "voice")

    def __init__(self, *, voice: str | dict[str, Any] | XComArg, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.voice = voice

    def job_reference(self) -> tuple[str, str | None]:
        """Return the voice's id."""
        found = ids_of(self.voice, "voice_id")
        if len(found) != 1:
            raise InvalidInputError(f"voice names {len(found) or 'no'} voices; one is needed.")
        return found[0], None

    def ask(self, context: Context) -> dict[str, Any] | Job:  # noqa: ARG002
        """Ask after the voice."""
        voice_id, _ = self.job_reference()
        job = succeeded(self.hook.get_job("clone", voice_id))
        if not job.state.is_final:
            return job
        known = self.voice if isinstance(self.voice, dict) else {}
        return {**known, "service": job.service, "voice_id": voice_id, "state": "trained"}


class CompletionSensor(JobSensor):
    """Base of the sensors that keep a result.

    :param job: the ticket that the operator returned with ``wait_for_completion=False``, or a job's id; a manifest (the
        service had answered at once) is passed through (templated)
    :param output: where the result is kept; default: where the operator was told to keep it (templated as
        ``output_location``)
    """

    template_fields: Sequence[str] = (*JobSensor.template_fields, "job", "output_location")

    def __init__(
        self,
        *,
        job: str | dict[str, Any] | XComArg,
        output: str | PathObject | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.output_location: Any = output_of(output) if is_path(output) else output

    def job_reference(self) -> tuple[str, str | None]:
        """Return the job's id and where to ask after it."""
        if isinstance(self.job, dict) and self.job.get("job_id"):
            return str(self.job["job_id"]), self.job.get("path")
        if isinstance(self.job, str) and self.job.strip() not in ("", "None"):
            return self.job.strip(), None
        raise InvalidInputError("job is empty: pass what the operator returned (job=speak.output). Did it succeed?")

    def ask(self, context: Context) -> dict[str, Any] | Job:
        """Ask after the job; keep its result when it is there."""
        ticket = self.job if isinstance(self.job, dict) else {}
        if ticket.get("uri") and ticket.get("sha256"):
            self.log.info("The result was kept already by the task that ordered it: %s.", ticket["uri"])
            self.result_location = ticket["uri"]
            return ticket
        job_id, path = self.job_reference()
        location = as_text(output_of(self.output_location)) or ticket.get("output")
        if not location:
            raise InvalidInputError("output is missing: say where the result is to be kept.")
        check_name(location)
        self.result_location = location
        name = ticket.get("name") or job_id
        kept = self._kept_before(context, job_id, location, name)
        if kept is not None:
            self._discard(ticket.get("assets") or [])  # the try that kept it may have died before it did
            return kept
        try:
            job = self.hook.get_job(self.kind, job_id, path=path)
        except NotFoundError as error:
            raise InvalidInputError(f"The job {job_id} is not known to {self.hook.service.label}: {error}") from None
        self.job_page = job.page_url
        if not job.state.is_final:
            return job
        if job.state is JobState.FAILED:
            self._discard(ticket.get("assets") or [])
        succeeded(job)
        place = Output(location, name, self.hook.settings.allowed_outputs, base.scope_of(context).run)
        details = {"submitted_at": ticket.get("submitted_at"), **(ticket.get("details") or {})}
        costs = [Cost.model_validate(cost) for cost in ticket.get("costs") or ()]
        manifest = self.hook.keep(job, place, costs, **details)
        manifest = self._described(context, self._noted(context, manifest))
        self._discard(ticket.get("assets") or [])
        self.result_location = manifest.uri
        self.log.info("Kept %s: %s, %s bytes.", manifest.uri, manifest.format, f"{manifest.bytes:,}")
        self.log.info("Cost of %s: %s.", manifest.uri, manifest.cost)
        return manifest.dump()

    def _kept_before(self, context: Context, job_id: str, location: str, name: str) -> dict[str, Any] | None:
        """Return what an earlier try has kept, if it is still there whole, and where it is wanted now."""
        store = task_state_store(context)
        stored = store.get(KEPT_KEY) if store is not None else None
        if not isinstance(stored, dict) or stored.get("job_id") != job_id:
            return None
        manifest = Manifest.model_validate(stored)
        wanted = Output(location, name, self.hook.settings.allowed_outputs).uri(manifest.format)
        if manifest.uri != wanted or not is_kept(manifest.uri, manifest.sha256, manifest.bytes):
            return None
        self.log.info("The result is kept already: %s.", manifest.uri)
        self.result_location = manifest.uri
        return self._described(context, manifest).dump()

    @staticmethod
    def _noted(context: Context, manifest: Manifest) -> Manifest:
        if (store := task_state_store(context)) is not None:
            store.set(KEPT_KEY, manifest.dump())
        return manifest

    def _described(self, context: Context, manifest: Manifest) -> Manifest:
        """Write the record beside the result, also where a try before was killed between the two."""
        ticket = self.job if isinstance(self.job, dict) else {}
        if form := self.hook.check_captions(ticket.get("captions")):
            captioned = self.hook.caption(manifest, form)
            manifest = captioned if captioned == manifest else self._noted(context, captioned)
        return keep(manifest, Origin.load(ticket.get("origin")), Run.of(context["ti"]))

    def _discard(self, assets: Sequence[str]) -> None:
        """Delete what the operator uploaded for this job."""
        for asset_id in assets:
            try:
                self.hook.delete_asset(asset_id)
            except NotFoundError:
                continue
            except VoiceError as error:
                self.log.warning("Asset %s, uploaded for this job, could not be deleted: %s", asset_id, error)


class TTSCompleteSensor(CompletionSensor):
    """Wait for speech that ``TTSOperator(wait_for_completion=False)`` has ordered, and keep it.

    Returns the manifest of the kept file.
    """

    kind = "speech"


class LipSyncCompleteSensor(CompletionSensor):
    """Wait for a lip sync that ``LipSyncOperator(wait_for_completion=False)`` has ordered, and keep it.

    Returns the manifest of the kept file.
    """

    kind = "lip_sync"
