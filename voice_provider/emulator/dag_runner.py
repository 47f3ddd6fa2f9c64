"""Runs of DAGs in the process of a test: an Airflow with a metadata database of its own, never the one of the user.

Loaded by the pytest plugin when a test asks for it, because it loads Airflow.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

    from voice_provider.emulator.process import EmulatorHandle

BUNDLE = "tests"


def own_airflow(folder: Path) -> Iterator[None]:
    """Lead Airflow to an empty, migrated database in a folder, and back when the generator is closed.

    :param folder: is empty, and gets the database and the logs
    """
    dags = folder / "dags"  # stays empty: what is run is handed over
    dags.mkdir()
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": BUNDLE, "classpath": bundle, "kwargs": {"path": str(dags)}}]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{folder}/airflow.db",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        }.items():
            patch.setenv(name, value)
        patch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", raising=False)
        _connect()
        from airflow.utils import db  # noqa: PLC0415

        db.initdb()
        yield
    _connect()


def _connect() -> None:
    """Let Airflow, which may have been imported long before, read where its database is."""
    from airflow import settings  # noqa: PLC0415 - Airflow is loaded only where a DAG is run

    settings.configure_vars()
    settings.reconfigure_orm()


class DagRunner:
    """Runs a DAG as ``dag.test()`` does: all its tasks, one after another, in the process of the test."""

    def __init__(self, emulator: EmulatorHandle, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._emulator = emulator
        self._state = folder / "voice-state"
        self._patch = patch

    def __call__(
        self,
        dag: DAG | str | os.PathLike[str],
        *,
        connections: Mapping[str, str],
        conf: Mapping[str, Any] | None = None,
        dag_id: str | None = None,
    ) -> DagRun:
        """Run it once and return the run, whether it succeeded or not.

        :param dag: the DAG, or the path of the file it is in
        :param connections: connection type by connection id; they lead to the emulator, whatever the environment says
            of them. Others are as the environment, or the test, has them
        :param conf: the run's parameters; default: the DAG's own
        :param dag_id: which one, where the file holds several; default: the only one
        :return: Airflow's DAG run: ``run.state == "success"``, ``run.get_task_instances()``
        :raises ValueError: the file cannot be read as a DAG, holds none, or several and none is named
        """
        from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415 - as above
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: PLC0415

        for conn_id, conn_type in connections.items():
            # Airflow 3.2 remembers orders in such a folder only.
            value = self._emulator.connection(conn_type, state_location=str(self._state))
            self._patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))
        if isinstance(dag, str | os.PathLike):
            bag = DagBag(os.fspath(dag))
            dag = _chosen(bag, os.fspath(dag), dag_id)
        else:
            bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
            bag.bag_dag(dag)
        DagBundlesManager().sync_bundles_to_db()
        sync_bag_to_db(bag, BUNDLE, None)
        run: DagRun = dag.test(run_conf=dict(conf or {}))
        return run


def _chosen(bag: Any, path: str, dag_id: str | None) -> DAG:
    for error in bag.import_errors.values():
        raise ValueError(f"{path} cannot be read as a DAG: {error}")
    found = sorted(bag.dags)
    if dag_id is None and len(found) == 1:
        dag_id = found[0]
    if dag_id not in bag.dags:
        holds = (
            f"holds the DAGs {', '.join(found)}: name one of them in dag_id"
            if found
            else "is not there, or holds no DAG"
        )
        raise ValueError(f"{path} {holds}.")
    chosen: DAG = bag.dags[dag_id]
    return chosen
