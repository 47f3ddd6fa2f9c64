"""What tasks have returned, of the DAGs that the user may read.

Read by plain columns of Airflow's model, which are the same from 3.2 to 3.4. A value is whatever a DAG's author wrote:
nothing in it is believed, and no class is made of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import Depends
from sqlalchemy import select, tuple_

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

MAY_READ_RESULTS = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))
RETURN = "return_value"
Run = tuple[str, str]  # DAG, run
Instance = tuple[str, str, str, int]  # DAG, run, task, map index


@dataclass(frozen=True)
class Pushed:
    """One value that a task instance has pushed."""

    instance: Instance
    key: str
    value: Any
    at: datetime

    @property
    def where(self) -> dict[str, Any]:
        """Name the task instance, for a link."""
        return dict(zip(("dag_id", "run_id", "task_id", "map_index"), self.instance, strict=True))


def readable(user: BaseUser) -> set[str]:
    """Return the ids of the DAGs whose results a user may read."""
    manager = get_auth_manager()
    if not manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.XCOM, user=user):
        return set()
    return set(manager.get_authorized_dag_ids(user=user))


def newest(
    dags: Iterable[str],
    keys: Iterable[str],
    *,
    limit: int,
    offset: int = 0,
    since: datetime | None = None,
    of: Sequence[Instance | Run] | None = None,
) -> list[Pushed]:
    """Return what was pushed under some keys, the newest first.

    :param dags: whose; from ``readable``
    :param since: not before this time; default: whenever
    :param of: only by these task instances, or in these runs; default: by any
    """
    place = (XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index)
    query = select(*place, XComModel.key, XComModel.value, XComModel.timestamp)
    query = query.where(XComModel.key.in_(list(keys)), XComModel.dag_id.in_(list(dags)))
    if since is not None:
        query = query.where(XComModel.timestamp >= since)
    if of is not None:
        query = query.where(tuple_(*place[: len(of[0])] if of else place).in_(of))
    order = (XComModel.timestamp.desc(), *place)
    with create_session(scoped=False) as session:
        rows = session.execute(query.order_by(*order).limit(limit).offset(offset)).all()
    return [Pushed((dag, run, task, index), key, _plain(value), at) for dag, run, task, index, key, value, at in rows]


def _plain(value: Any) -> Any:
    """Return the value: what was written through Airflow's API may be JSON within JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
