"""Jobs of a connection: what may be paid and was not collected, and the newest that the service lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter

from voice_provider.exceptions import VoiceError
from voice_provider.jobs.left import left_of, row_of_job
from voice_provider.models import Capability
from voice_provider.ui.connections import MAY_READ, Recent, hook_of
from voice_provider.ui.xcoms import MAY_READ_RESULTS, readable, returned

if TYPE_CHECKING:
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.left import LeftOrder
    from voice_provider.models import Job

TOLD = 1000  # of the newest results, in which the service's jobs are looked for
NOBODYS = {"dag_id": None, "run_id": None, "task_id": None, "map_index": None}
router = APIRouter(prefix="/connections/{connection_id}/jobs")


@dataclass
class Look:
    """What one look has found.

    :param problem: why what is left cannot be told, if it cannot
    """

    left: list[LeftOrder]
    jobs: list[Job]
    lists: bool
    problem: str | None

    @classmethod
    def at(cls, hook: VoiceHook) -> Look:
        """Look at the service, and at what is remembered below ``state_location``."""
        lists = Capability.LIP_SYNC in hook.service.capabilities
        jobs = hook.list_jobs() if lists else []
        if hook.settings.state_location is None:
            return cls([], jobs, lists, "Of what was not collected only a task's own page tells: set state_location.")
        try:
            return cls(left_of(hook.settings), jobs, lists, None)
        except (VoiceError, OSError) as error:
            return cls([], jobs, lists, f"What was not collected cannot be read by the API server: {error}")


_recent: Recent[Look] = Recent()


@router.get("", dependencies=[MAY_READ, MAY_READ_RESULTS])
def list_jobs(connection_id: str, user: GetUserDep) -> dict[str, Any]:
    """Return what was not collected first, and the newest jobs of the service, each with its task if that is known.

    Tasks of DAGs that the user may not read are not named.
    """
    look = _recent.get(connection_id, lambda: Look.at(hook_of(connection_id)))
    dags = readable(user)
    results = returned(dags, marks=["uri"], limit=TOLD)
    tasks: dict[str, dict[str, Any]] = {str(one.value.get("job_id")): one.where for one in results}
    open_jobs = {job.id: job for job in look.jobs if not job.state.is_final}
    left = []
    for order in look.left:
        where = {name: getattr(order, name) for name in NOBODYS} if order.dag_id in dags else NOBODYS
        if order.id in open_jobs:
            tasks[order.id] = where
        else:
            left.append({**order.row(), **_hidden(where), **where, "what_to_do": what_to_do(order, connection_id)})
    jobs = [
        {**row_of_job(job), **tasks.get(job.id, NOBODYS), "ended": job.state.is_final, "error": job.error}
        for job in look.jobs
    ]
    jobs.sort(key=lambda job: job["ended"])  # else as the service lists them, the newest first
    return {"left": left, "jobs": jobs, "lists": look.lists, "problem": look.problem}


def _hidden(where: dict[str, Any]) -> dict[str, Any]:
    return {"task": None, "run": None} if where is NOBODYS else {}


def what_to_do(order: LeftOrder, conn_id: str) -> str:
    """Say how a person gets what was paid."""
    if order.record.kind == "clone":
        return "It is a voice: use it by its id, or delete it on the page of voices."
    if order.record.job is None and order.record.manifest is None:
        return "It is unknown whether it was accepted: look at the account, then clear the task."
    return (
        "If its task waits no more: clear the task, which collects it and pays nothing; or run "
        f"voice-provider jobs collect {order.id} --conn-id {conn_id} --output LOCATION"
    )
