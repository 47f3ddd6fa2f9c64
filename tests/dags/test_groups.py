"""A voice for a while: the group that clones it, lends it to the tasks inside, and gives its slot back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.sdk import DAG, task_group
from airflow.sdk.exceptions import DuplicateTaskIdFound

from tests.conftest import write_wav
from voice_provider.groups import checked_lines, ephemeral_voice
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.speech import TTSOperator

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

pytestmark = pytest.mark.usefixtures("airflow_db")
CLONE, SPEAK, DELETE = "ephemeral_voice.clone_voice", "ephemeral_voice.speak", "ephemeral_voice.delete_voice"


def run(dag: DAG) -> Any:
    """Run a DAG of this file as ``dag.test`` does one of the DAGs folder."""
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    return dag.test()


def states(dag_run: Any) -> dict[str, str]:
    return {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
        for ti in dag_run.get_task_instances()
    }


def speak(voice: Any, folder: Path, task_id: str = "speak", **more: Any) -> TTSOperator:
    return TTSOperator(task_id=task_id, text="A line.", voice_id=voice, output=f"{folder}/out/{task_id}/", **more)


def nothing_is_left(emulator: EmulatorHandle) -> bool:
    state = emulator.state()
    return (state["voices"].get("main", 0), state["assets"], state["key_leaks"]) == (0, 0, 0)


def test_the_clone_is_a_setup_and_its_deletion_the_teardown(tmp_path: Path) -> None:
    with DAG("structure", schedule=None) as dag, ephemeral_voice("Ann", "/in/a.wav", on_slot_limit="wait") as voice:
        first, second = speak(voice, tmp_path, "first"), speak(voice["voice_id"], tmp_path, "second")
    assert {t.task_id: (t.is_setup, t.is_teardown) for t in dag.tasks} == {
        CLONE: (True, False),
        "ephemeral_voice.first": (False, False),
        "ephemeral_voice.second": (False, False),
        DELETE: (False, True),
    }
    assert dag.get_task(CLONE).downstream_task_ids == {first.task_id, second.task_id, DELETE}
    assert dag.get_task(DELETE).upstream_task_ids == {CLONE, first.task_id, second.task_id}
    clone = dag.get_task(CLONE)
    assert isinstance(clone, CloneVoiceOperator)
    assert clone.ephemeral


def test_a_task_after_the_group_does_not_wait_for_the_deletion(tmp_path: Path) -> None:
    with DAG("after", schedule=None) as dag:
        with ephemeral_voice("Ann", "/in/a.wav") as voice:
            spoken = speak(voice, tmp_path)
        after = speak("a-voice", tmp_path, "after")
        dag.task_group.get_child_by_label("ephemeral_voice") >> after
    assert after.upstream_task_ids == {spoken.task_id}


def test_the_voice_speaks_and_its_slot_comes_back(emulator: EmulatorHandle, sample: Path, tmp_path: Path) -> None:
    with DAG("speaks", schedule=None) as dag, ephemeral_voice("Ann", str(sample)) as voice:
        speak(voice, tmp_path, "whole")
        speak(voice["voice_id"], tmp_path, "id_alone")
    dag_run = run(dag)
    assert set(states(dag_run).values()) == {"success"}
    assert str(dag_run.state) == "success"
    assert [row["kind"] for row in emulator.ledger()] == ["clone", "speech", "speech"]
    assert nothing_is_left(emulator)


def test_a_task_inside_that_fails_gives_the_slot_back_and_fails_the_run(
    emulator: EmulatorHandle, sample: Path, tmp_path: Path
) -> None:
    with DAG("fails", schedule=None) as dag, ephemeral_voice("Ann", str(sample)) as voice:
        speak(voice, tmp_path, stability=7.0)
    dag_run = run(dag)
    assert states(dag_run) == {CLONE: "success", SPEAK: "failed", DELETE: "success"}
    assert str(dag_run.state) == "failed"
    assert len(emulator.ledger("clone")) == 1
    assert nothing_is_left(emulator)


def test_a_clone_that_fails_fails_the_run_and_nothing_has_to_be_deleted(
    emulator: EmulatorHandle, tmp_path: Path
) -> None:
    short = str(write_wav(tmp_path / "short.wav", 0.2))
    with DAG("no_clone", schedule=None) as dag, ephemeral_voice("Ann", short) as voice:
        speak(voice, tmp_path)
    dag_run = run(dag)
    assert states(dag_run) == {CLONE: "failed", SPEAK: "upstream_failed", DELETE: "upstream_failed"}
    assert str(dag_run.state) == "failed"
    assert nothing_is_left(emulator)


def test_to_clear_a_task_inside_is_to_make_its_voice_anew(tmp_path: Path) -> None:
    with DAG("cleared", schedule=None) as dag, ephemeral_voice("Ann", "/in/a.wav") as voice:
        spoken = speak(voice, tmp_path)
        speak(voice, tmp_path, "other")
    partial = dag.partial_subset(spoken.task_id, include_downstream=False, include_upstream=False)
    assert set(partial.task_dict) == {CLONE, SPEAK, DELETE}


def test_several_in_one_dag_need_a_group_id_each(emulator: EmulatorHandle, sample: Path, tmp_path: Path) -> None:
    with DAG("several", schedule=None) as dag:
        with ephemeral_voice("Ann", str(sample), group_id="ann") as ann:
            line = speak(ann, tmp_path)
        with ephemeral_voice("Bob", str(sample), group_id="bob") as bob:
            answer = speak(bob, tmp_path)
        line >> answer
    dag_run = run(dag)
    assert set(states(dag_run)) == {
        f"{who}.{what}" for who in ("ann", "bob") for what in ("clone_voice", "speak", "delete_voice")
    }
    assert set(states(dag_run).values()) == {"success"}
    assert len(emulator.ledger("clone")) == 2
    assert nothing_is_left(emulator)


def test_without_a_group_id_the_second_is_refused_when_the_dag_is_parsed() -> None:
    with DAG("twice", schedule=None):
        with ephemeral_voice("Ann", "/in/a.wav"):
            pass
        with pytest.raises(DuplicateTaskIdFound, match="ephemeral_voice"), ephemeral_voice("Bob", "/in/b.wav"):
            pass


def test_a_mapped_task_group_makes_a_voice_for_each(emulator: EmulatorHandle, tmp_path: Path) -> None:
    samples = [str(write_wav(tmp_path / f"{name}.wav", 2.0 + number)) for number, name in enumerate("ab")]
    with DAG("mapped", schedule=None) as dag:

        @task_group
        def line(sample: str) -> None:
            with ephemeral_voice("Ann", sample) as voice:
                speak(voice, tmp_path)

        line.expand(sample=samples)
    dag_run = run(dag)
    assert states(dag_run) == {
        f"line.{name}[{index}]": "success" for name in (CLONE, SPEAK, DELETE) for index in range(2)
    }
    assert [row["kind"] for row in emulator.ledger()].count("clone") == 2
    assert nothing_is_left(emulator)


def test_lines_are_checked_and_spoken_again_in_as_many_rounds_as_were_asked_for() -> None:
    def tasks(**options: Any) -> dict[str, Any]:
        with DAG("d", schedule=None) as dag:
            checked_lines("/l.csv", "/o/", voice_id="v", check={"voice_conn_id": "ears"}, **options)
        return {name.removeprefix("checked_lines."): task for name, task in dag.task_dict.items()}

    assert list(tasks(rounds=0)) == ["speak", "check"]
    found = tasks(rounds=1, redo=["7"], max_bad=3)
    assert list(found) == ["speak", "check", "speak_again_1", "check_again_1"]
    assert [task.voice_conn_id for task in found.values()] == ["voice_default", "ears"] * 2
    assert [found[name].max_bad for name in ("check", "check_again_1")] == [None, 3]
    assert found["speak"].redo == ["7"]
    assert (found["speak_again_1"].redo.operator, found["speak_again_1"].redo.key) == (found["check"], "bad")
    assert found["speak_again_1"].upstream_task_ids == {"checked_lines.check"}
    with pytest.raises(ValueError, match="rounds"):
        tasks(rounds=-1)
