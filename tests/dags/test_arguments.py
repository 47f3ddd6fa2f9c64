"""Arguments as Airflow users write them, through a real Airflow: paths, templates, native rendering, mapped lines."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.xcom import XComModel
from airflow.sdk import DAG, ObjectStoragePath, task
from airflow.utils.session import create_session
from sqlalchemy import select

from tests.conftest import without_records, write_wav
from tests.dags.bill import told as costs_of
from voice_provider.operators.asset import UploadAssetOperator
from voice_provider.operators.speech import TTSOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

pytestmark = pytest.mark.usefixtures("airflow_db")


def test_path_objects_templates_and_mapped_lines_meet(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"], visibility="public")
    write_wav(tmp_path / "in" / "night" / "sample.wav", seconds=11)
    folder = tmp_path / "in"
    line: dict[str, Any] = {"voice_id": voice["id"], "retries": 0}
    with DAG("arguments", schedule=None, render_template_as_native_obj=True, params={"show": "night"}) as dag:

        @task
        def found(show: str) -> ObjectStoragePath:
            return ObjectStoragePath(f"file://{folder}") / show / "sample.wav"

        @task
        def lines() -> list[str]:
            return ["Yes.", "Yes.", "No."]

        UploadAssetOperator(task_id="by_path", file=folder / "{{ params.show }}" / "sample.wav")
        UploadAssetOperator(
            task_id="by_object", file=ObjectStoragePath(f"file://{folder}/{{{{ params.show }}}}/sample.wav")
        )
        UploadAssetOperator(task_id="by_xcom", file=found("{{ params.show }}"))
        UploadAssetOperator.partial(task_id="mapped").expand(file=[str(folder / "night" / "sample.wav")])
        say = TTSOperator.partial(
            task_id="say",
            output=tmp_path / "out" / "{{ params.show }}",
            map_index_template="{{ task.text }}",
            **line,
        ).expand(text=lines())

        @task
        def told(places: list[str], manifests: list[dict[str, Any]]) -> None:
            assert [manifest["uri"] for manifest in manifests] == list(places)
            assert all(Path(place).exists() for place in places)

        told(say.output["uri"], say.output)
        TTSOperator.partial(task_id="say_all", output=f"{tmp_path}/out/all/", multiple_outputs=True, **line).expand(
            text=["Yes."]
        )

        @task
        def place() -> ObjectStoragePath:
            return ObjectStoragePath(f"file://{tmp_path}/out") / "xcom"

        UploadAssetOperator.partial(task_id="mapped_paths").expand(file=[folder / "night" / "sample.wav"])
        TTSOperator.partial(task_id="within", output=f"{tmp_path}/out/within/", max_cost="{{ 0.0001 }}", **line).expand(
            text=["Hello.", "Good night, and sleep well."]
        )
        TTSOperator(task_id="by_xcom_too", text="Yes.", output=place(), **line)
        TTSOperator(task_id="number", text="{{ 1200 }}", output=tmp_path / "out" / "number.mp3", **line)
        TTSOperator(task_id="tuple", text="{{ '1,200' }}", output=tmp_path / "out" / "tuple.mp3", **line)
        TTSOperator(task_id="truth", text="{{ 1 == 1 }}", output=tmp_path / "out" / "truth.mp3", **line)
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    run = dag.test()
    states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}
    failed = {name.removesuffix("[-1]") for name, state in states.items() if state != "success"}
    assert failed == {"tuple", "truth", "within[1]"}, "each mapped task has the limit for itself"
    assert len(states) == 19
    names = without_records(path.name for path in (tmp_path / "out" / "night").iterdir())
    assert [re.sub(r"-[a-z2-7]{10}\.mp3$", "", name) for name in names] == ["say-No", "say-Yes", "say-Yes"]
    [kept] = without_records(path.name for path in (tmp_path / "out" / "xcom").iterdir())
    assert re.fullmatch(r"by_xcom_too-[a-z2-7]{10}\.mp3", kept)
    assert len(emulator.ledger("speech")) == 7
    assert sum(cost["usd"] for cost in costs_of(run)) == pytest.approx(sum(row["usd"] for row in emulator.ledger()))
    with create_session() as session:
        found = session.execute(
            select(XComModel.task_id, XComModel.key).where(XComModel.run_id == run.run_id, XComModel.map_index == 0)
        ).all()
    keys = {
        name: {key for of, key in found if of == name and not key.startswith("_link_")}
        for name in ("say", "say_all", "mapped")
    }
    assert keys["say"] == {"return_value", "uri", "voice_id"}, "of a mapped line, what leads to the rest"
    assert keys["say_all"] > {"return_value", "uri", "sha256", "seconds", "job_id"}, "and all where that is asked for"
    assert keys["mapped"] == {"return_value", "uri", "asset_id"}
