"""The page's app as Airflow mounts it, and users of Airflow's simple auth manager."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.utils.session import create_session
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


def run(dag: DAG) -> Any:
    """Run a DAG as ``dag.test`` does one of the DAGs folder."""
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    return dag.test()


def forging(dag_id: str, told: dict[str, dict[str, Any]]) -> str:
    """Let a DAG's author return what he likes, a task each; return the run's id."""
    with DAG(dag_id, schedule=None) as dag:
        for name in told:
            EmptyOperator(task_id=name)  # Airflow starts no process for it: what it would return is written down below
    run_id = str(run(dag).run_id)
    for name, value in told.items():
        push(dag_id, run_id, name, value)
    return run_id


def push(dag_id: str, run_id: str, task_id: str, value: dict[str, Any]) -> None:
    """Write down what a task returns, with no more keys of their own than those of a mapped one."""
    keys = ("uri", "voice_id", "asset_id")
    with create_session(scoped=False) as session:
        for key, part in [*((key, value[key]) for key in keys if key in value), ("return_value", value)]:
            place = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "session": session}
            XComModel.set(key, part, **place, serialize=False)
