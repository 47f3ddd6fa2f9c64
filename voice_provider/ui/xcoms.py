"""What tasks have returned, of the DAGs that the user may read.

Read by plain columns of Airflow's model, which are the same from 3.2 to 3.4. A value is whatever a DAG's author wrote:
nothing in it is believed, and no class is made of it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import Depends
from sqlalchemy import select, tuple_
from sqlalchemy.orm import aliased

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

MAY_READ_RESULTS = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))
RETURN = "return_value"
Run = tuple[str, str]  # DAG, run
Instance = tuple[str, str, str, int]  # DAG, run, task, map index


@dataclass(frozen=True)
class Returned:
    """What a task instance has returned, and when."""

    instance: Instance
    value: dict[str, Any]
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


def returned(
    dags: Iterable[str],
    *,
    marks: Sequence[str] = (),
    whole_dags: bool = False,
    since: datetime | None = None,
    of: Sequence[Instance | Run] | None = None,
    limit: int,
    offset: int = 0,
) -> list[Returned]:
    """Return what tasks have returned, the newest first; an empty dict for what is none.

    :param dags: whose; from ``readable``
    :param marks: only of task instances that have pushed one of these keys; default: of all. Of a mapped task only few
        keys are pushed besides what it returns (``operators.base``)
    :param whole_dags: of all tasks of a DAG that has pushed one of them
    :param since: not before this time; default: whenever
    :param of: only of these task instances, or in these runs; default: of any
    """
    place = (XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index)
    dags = list(dags)
    query = select(*place, XComModel.value, XComModel.timestamp)
    query = query.where(XComModel.key == RETURN, XComModel.dag_id.in_(dags))
    if since is not None:
        query = query.where(XComModel.timestamp >= since)
    if of is not None:
        query = query.where(tuple_(*place[: len(of[0])] if of else place).in_(of))
    if marks:
        mark = aliased(XComModel)
        marked = (mark.dag_id, mark.run_id, mark.task_id, mark.map_index)
        count = 1 if whole_dags else len(place)
        inner = select(*marked[:count]).where(mark.key.in_(marks), mark.dag_id.in_(dags))
        query = query.where(tuple_(*place[:count]).in_(inner))
    order = (XComModel.timestamp.desc(), *place)
    with create_session(scoped=False) as session:
        rows = session.execute(query.order_by(*order).limit(limit).offset(offset)).all()
    return [Returned(tuple(place), _dict(value), at) for *place, value, at in rows]


def _dict(value: Any) -> dict[str, Any]:
    """Return the value: what was written through Airflow's API may be JSON within JSON."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    return value if isinstance(value, dict) else {}
