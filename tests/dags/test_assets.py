"""What a task keeps is told with the event of its asset, so that the DAG which it starts knows what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.models.asset import AssetEvent
from airflow.sdk import DAG, Asset
from airflow.utils.session import create_session

from tests.dags.test_groups import run
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors.job import TTSCompleteSensor

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

pytestmark = pytest.mark.usefixtures("airflow_db")


def test_the_event_of_an_asset_tells_what_was_kept(emulator: EmulatorHandle, tmp_path: Path) -> None:
    emulator.settings(tts_mode="seed-async", job_seconds=0.1)

    def speak(name: str, **more: Any) -> TTSOperator:
        return TTSOperator(
            task_id=name, text=f"{name}.", voice_id="EXAVITQu4vr4xnSDxMaL", output=f"{tmp_path}/{name}.mp3", **more
        )

    def noted(context: Any, _: Any) -> None:
        context["outlet_events"][Asset("voice_news")].extra["desk"] = "sports"

    with DAG("assets", schedule=None) as dag:
        speak("news", outlets=[Asset("voice_news")], post_execute=noted)
        ordered = speak("ordered", wait_for_completion=False, outlets=[Asset("voice_ordered")])
        TTSCompleteSensor(task_id="wait", job=ordered.output, poke_interval=0.1, outlets=[Asset("voice_kept")])
    done = run(dag)
    assert done.state == "success"
    with create_session() as session:
        events = {
            event.asset.name: event.extra for event in session.query(AssetEvent) if event.source_dag_id == "assets"
        }
    results = {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in done.get_task_instances()}
    assert events["voice_news"] == {**results["news"], "desk": "sports"}
    assert events["voice_kept"]["uri"] == results["wait"]["uri"]
    assert events["voice_ordered"] == {}, "an order is nothing that is kept"
