"""Which runs of a DAG are active, asked of Airflow: a voice of a run that is over is nobody's any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from voice_provider.jobs.names import owner_of, run_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from voice_provider.jobs.inventory import RunState

ACTIVE = ("queued", "running")


class Runs:
    """The runs of this Airflow, as far as they are asked after; asked once for each DAG.

    :param context: of the task that asks
    :param dag_ids: DAGs whose ids are too long to be written out in the names of their voices
    """

    def __init__(self, context: Context, dag_ids: Iterable[str] = (), log: Logger | None = None) -> None:
        self._ti: Any = context["ti"]
        self._dags = {owner_of(dag_id): dag_id for dag_id in (self._ti.dag_id, *dag_ids)}
        self._log = log or logging.getLogger(__name__)
        self._runs: dict[str, dict[str, list[str]]] = {}
        self._states: dict[tuple[str, str], bool] = {}

    def state_of(self, owner: str, run: str) -> RunState:
        """Return whether a run is active, has ended, or is not known to this Airflow; ``unnamed`` without a DAG to ask.

        :param owner: from ``owner_of``
        :param run: from ``task_hash``, which begins with the run's own hash
        """
        dag_id = self._dags.get(owner) or (owner if "~" not in owner else None)
        if dag_id is None:
            return "unnamed"
        try:
            named = self._runs_of(dag_id).get(run[:6], [])
            if any(self._is_active(dag_id, run_id) for run_id in named):
                return "active"
        except Exception as error:  # noqa: BLE001  # what Airflow does not tell is not known, and nothing is deleted
            self._log.warning("The runs of DAG %s could not be asked after: %s", dag_id, error)
            return "active"
        return "ended" if named else "unknown"

    def _runs_of(self, dag_id: str) -> dict[str, list[str]]:
        if dag_id not in self._runs:
            found: dict[str, list[str]] = {}
            for run_id in self._ti.get_task_states(dag_id):
                found.setdefault(run_hash(dag_id, run_id), []).append(run_id)
            self._runs[dag_id] = found
        return self._runs[dag_id]

    def _is_active(self, dag_id: str, run_id: str) -> bool:
        key = (dag_id, run_id)
        if key not in self._states:
            self._states[key] = self._ti.get_dagrun_state(dag_id, run_id) in ACTIVE
        return self._states[key]
