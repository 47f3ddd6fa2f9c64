"""Which runs of a DAG are over, asked of Airflow: a voice of a run that is over is nobody's any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from voice_provider.jobs.names import RUN, owner_of, run_id_of, run_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from voice_provider.jobs.inventory import RunState

OVER = ["success", "failed"]
CHUNK = 100  # runs in one question
MOST_RUNS = 2000  # of a DAG that are looked through for a run whose name is hashed; Airflow loads all their tasks


class Runs:
    """The runs of this Airflow, as far as they are asked after; each once.

    :param context: of the task that asks
    :param dag_ids: DAGs whose ids are too long to be written out in the names of their voices
    """

    def __init__(self, context: Context, dag_ids: Iterable[str] = (), log: Logger | None = None) -> None:
        self._ti: Any = context["ti"]
        self._dags = {owner_of(dag_id): dag_id for dag_id in (self._ti.dag_id, *dag_ids)}
        self._log = log or logging.getLogger(__name__)
        self._states: dict[tuple[str, str], RunState] = {}

    def state_of(self, owner: str, run: str) -> RunState:
        """Return whether a run is active, has ended, or is not known to this Airflow; ``unnamed`` without a DAG to ask.

        :param owner: from ``owner_of``
        :param run: from ``task_key``, which begins with the run's own key
        """
        if (owner, run[:RUN]) not in self._states:
            self.ask([(owner, run)])
        return self._states[owner, run[:RUN]]

    def ask(self, found: Iterable[tuple[str, str]]) -> None:
        """Ask after many at once.

        :param found: pairs of owner and run, as for ``state_of``
        """
        wanted: dict[str, set[str]] = {}
        for owner, run in found:
            if (owner, run[:RUN]) not in self._states:
                wanted.setdefault(owner, set()).add(run[:RUN])
        for owner, keys in wanted.items():
            dag_id = self._dags.get(owner) or (owner if "~" not in owner else None)
            states: dict[str, RunState] = {}
            if dag_id is not None:
                try:
                    states = self._ask(dag_id, keys)
                except Exception as error:  # noqa: BLE001  # what Airflow does not tell is not deleted
                    self._log.warning("The runs of DAG %s could not be asked after: %s", dag_id, error)
                    states = dict.fromkeys(keys, "active")
            unknown: RunState = "unnamed" if dag_id is None else "unknown"
            self._states |= {(owner, key): states.get(key, unknown) for key in keys}

    def _ask(self, dag_id: str, keys: set[str]) -> dict[str, RunState]:
        states: dict[str, RunState] = {}
        ids = {run_id: key for key in keys if (run_id := run_id_of(key)) is not None}
        if hashed := keys - set(ids.values()):
            if self._ti.get_dr_count(dag_id) <= MOST_RUNS:
                every = {run_id: run_key(dag_id, run_id) for run_id in self._ti.get_task_states(dag_id)}
                ids |= {run_id: key for run_id, key in every.items() if key in hashed}
            else:
                states = dict.fromkeys(hashed, "unnamed")
        asked = list(ids)
        for chunk in (asked[at : at + CHUNK] for at in range(0, len(asked), CHUNK)):
            there, over = chunk, self._count_over(dag_id, chunk)
            if over < len(chunk):
                there = list(self._ti.get_task_states(dag_id, run_ids=chunk))
            ended = self._ended(dag_id, there, over)
            # Between two counts a run may have been cleared; a last one says that all of these are over at one moment.
            if 0 < len(ended) < len(chunk) and self._count_over(dag_id, ended) < len(ended):
                ended = []
            for run_id in there:
                # Two runs may share a hashed key: it is active if one of them is.
                is_over = run_id in ended and states.get(ids[run_id]) != "active"
                states[ids[run_id]] = "ended" if is_over else "active"
        return states

    def _count_over(self, dag_id: str, run_ids: list[str]) -> int:
        return int(self._ti.get_dr_count(dag_id, run_ids=run_ids, states=OVER))

    def _ended(self, dag_id: str, run_ids: list[str], over: int) -> list[str]:
        """Return those that are over, found by halves: Airflow counts runs, and does not list them.

        :param over: how many they are
        """
        if over <= 0 or over >= len(run_ids):
            return run_ids if over > 0 else []
        half = len(run_ids) // 2
        first = self._count_over(dag_id, run_ids[:half])
        return [
            *self._ended(dag_id, run_ids[:half], first),
            *self._ended(dag_id, run_ids[half:], over - first),
        ]
