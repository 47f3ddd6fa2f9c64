"""The page's app as Airflow mounts it, and users of Airflow's simple auth manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from fastapi import FastAPI
from fastapi.testclient import TestClient

from voice_provider.plugin import PREFIX, LazyApp
from voice_provider.ui import jobs, voices
from voice_provider.ui.app import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def airflow(airflow_db: None) -> FastAPI:
    """Stands for Airflow's own app, which does no more for a mounted one."""
    create_auth_manager()
    server = FastAPI()
    server.mount(PREFIX, LazyApp())
    return server


@pytest.fixture
def be(airflow: FastAPI) -> Iterator[Callable[[str | None], None]]:
    """A function that logs in somebody of a role of the simple auth manager; one of no role may do nothing."""

    def log_in(role: str | None) -> None:
        user = SimpleAuthManagerUser(username=f"a {role}", role=role)
        app().dependency_overrides[get_user] = lambda: user

    yield log_in
    app().dependency_overrides.clear()


@pytest.fixture
def stranger(airflow: FastAPI) -> TestClient:
    """A browser that nobody has logged in with; nothing is known from an earlier test."""
    for recent in (voices._recent, jobs._recent):
        recent._found.clear()
    return TestClient(airflow, base_url=f"http://airflow{PREFIX}/")


@pytest.fixture
def admin(stranger: TestClient, be: Callable[[str | None], None]) -> TestClient:
    be("ADMIN")
    return stranger


def answered(client: TestClient, path: str, **params: Any) -> Any:
    """Return what a route answers, which has to be a success."""
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()
