"""Connections to voice services that the user may read; and how a route opens one."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_connection
from airflow.models.connection import Connection
from airflow.sdk import BaseHook
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends
from sqlalchemy import select

from voice_provider.hooks.voice import VoiceHook
from voice_provider.services.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

ENVIRONMENT = "AIRFLOW_CONN_"
ATTEMPTS = 2  # of a request: a person waits
RECENT = 10.0  # seconds for which a list is shown again without asking
TYPES = {form.connection_type: form.label for form in FORMS}
router = APIRouter()
MAY_READ = Depends(requires_access_connection("GET"))
MAY_DELETE = Depends(requires_access_connection("DELETE"))


def hook_of(conn_id: str) -> VoiceHook:
    """Open a connection that the user may read.

    :raises AirflowNotFoundException: the API server cannot read it
    :raises VoiceError: it cannot be used
    """
    hook = VoiceHook.for_connection(conn_id)
    hook.transport.attempts = ATTEMPTS
    return hook


@router.get("/connections")
def list_connections(user: GetUserDep) -> list[dict[str, Any]]:
    """List those of the database and of the environment; one of a secrets backend is opened by its id."""
    with create_session(scoped=False) as session:
        rows = session.execute(select(Connection.conn_id, Connection.conn_type, Connection.team_name)).all()
    found = {conn_id: (kind, team) for conn_id, kind, team in rows if kind in TYPES}
    for name in os.environ:
        conn_id = name.removeprefix(ENVIRONMENT).lower()
        if name.startswith(ENVIRONMENT) and (kind := _type_of(conn_id)) in TYPES:
            found[conn_id] = (kind, None)
    manager = get_auth_manager()
    return [
        {"id": conn_id, "service": TYPES[kind]}
        for conn_id, (kind, team) in sorted(found.items())
        if manager.is_authorized_connection(
            method="GET", details=ConnectionDetails(conn_id=conn_id, team_name=team), user=user
        )
    ]


def _type_of(conn_id: str) -> str:
    try:
        return BaseHook.get_connection(conn_id).conn_type or ""
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the others are listed
        return ""


class Recent(Generic[T]):
    """What was asked lately, by connection: a page that is open everywhere is no load for a service.

    It is no state: each worker of the API server asks for itself.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, float, T]] = {}  # asked when, answered when, what
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, conn_id: str, ask: Callable[[], T], after: float = 0.0) -> T:
        """Return what is known, or ask: one at a time for a connection, so that the others find the answer.

        :param after: seconds since 1970 of the last change, which another worker may have made: what was asked
            earlier is not shown any more
        """
        with self._lock:
            lock = self._locks.setdefault(conn_id, threading.Lock())
        with lock:
            asked, answered, known = self._found.get(conn_id, (0.0, 0.0, None))
            began = time.time()
            if known is None or asked <= after or not 0 <= began - answered < RECENT:
                known = ask()
                with self._lock:
                    now = time.time()
                    fresh = {key: value for key, value in self._found.items() if now - value[1] < RECENT}
                    self._found = {**fresh, conn_id: (began, now, known)}
            return known

    def forget(self, conn_id: str) -> None:
        """Ask anew next time: something was changed."""
        with self._lock:
            self._found.pop(conn_id, None)
