"""The gate before money is spent: it sums a plan, and passes, fails or asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowSkipException

from tests.conftest import Task
from voice_provider.compat import SINCE_3_3
from voice_provider.exceptions import BudgetError, InvalidInputError
from voice_provider.operators import CostGateOperator
from voice_provider.operators.gate import ASKED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle


def gate(**arguments: Any) -> CostGateOperator:
    return CostGateOperator(task_id="gate", **{"limit": 1, **arguments})


def test_a_plan_is_summed_and_nothing_is_ordered(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path
) -> None:
    script = tmp_path / "script.csv"
    script.write_text("id,text,model\n1,Hello.,\n2,Hello.,\n3,Hello.,drama-3\n")
    (tmp_path / "line.txt").write_text("Hi.")
    lip_syncs = [{"seconds": 10, "fps": 25}, {"kind": "speech", "model": "s2-pro", "seconds": 2.0}]
    cases: list[tuple[str, dict[str, Any], float, str]] = [
        ("fish_audio", {"texts": "Grüße"}, 7 * 15e-6, "computed"),
        ("fish_audio", {"texts": ["Hi.", {"text": "Hi.", "model": "s2.1-pro-free"}]}, 3 * 15e-6, "computed"),
        ("fish_audio", {"texts": {"text_uri": f"{tmp_path}/line.txt"}, "model": "drama-3"}, 3 * 10e-6, "computed"),
        ("fish_audio", {"lines": str(script)}, 6 * 15e-6 + 6 * 10e-6, "computed"),
        ("fish_audio", {"lines": [{"text": "Hello."}], "texts": ("Hi.",)}, 9 * 15e-6, "computed"),
        ("sync_labs", {"lip_syncs": lip_syncs}, (250 + 60) * 0.05 / 25, "estimated"),
    ]
    for service, plan, usd, basis in cases:
        set_connection(service=service)
        found = Task().run(gate(**plan))
        assert (found["usd"], found["basis"]) == (pytest.approx(usd, abs=1e-6), basis), plan
    assert emulator.ledger() == []
    assert {entry["path"] for entry in emulator.requests()} == {"/v2/generations/estimate"}


def test_above_the_limit_it_fails_and_what_cannot_be_read_is_named(
    emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(service="fish_audio")
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"texts": "Hello.", "limit": "0.00001"}, BudgetError, r"The plan would cost about \$0\.00009.*\(limit\)"),
        ({"texts": "Hello.", "model": "next"}, BudgetError, "not known what the plan would cost"),
        ({"texts": "Hello.", "limit": ""}, InvalidInputError, "limit is empty"),
        ({}, InvalidInputError, "The plan is empty"),
        ({"texts": "None", "lines": ""}, InvalidInputError, "The plan is empty"),
        ({"texts": 7}, InvalidInputError, "texts is a int"),
        ({"lines": "script.csv"}, InvalidInputError, "give the location of a script"),
        ({"lip_syncs": [{"model": "lipsync-2"}]}, InvalidInputError, "each is a dict with 'seconds'"),
    ]
    for plan, kind, why in wrong:
        with pytest.raises(kind, match=why):
            Task().run(gate(**plan))
    with pytest.raises(ValueError, match="use 'fail' or 'ask'"):
        gate(texts="x", on_exceed="shout")


def test_a_person_is_asked_with_the_sum_and_what_they_say_holds_for_it(
    emulator: EmulatorHandle, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(service="fish_audio")
    questions: list[dict[str, Any]] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **told: questions.append(told))  # Airflow's API server
    if SINCE_3_3:
        from airflow.sdk.exceptions import TaskAwaitingInput as Waits
    else:
        from airflow.sdk.exceptions import TaskDeferred as Waits

    task, pushed = Task(), {}
    task.ti.xcom_push = lambda key, value: pushed.update({key: value})
    task.ti.xcom_pull = lambda key, **_: pushed.get(key)
    context: Any = {**task.context, "task_instance": task.ti}
    with pytest.raises(Waits) as waits:
        gate(texts="Hello there." * 1000, limit=0.1, on_exceed="ask").execute(context)
    assert waits.value.method_name == "execute_complete"
    [question] = questions
    assert question["subject"] == "May this cost about $0.18? Up to $0.10 nobody is asked."
    assert "- Planned: 1 part, 12,000 bytes.\n- The price: by the price list" in question["body"]
    assert question["options"] == ["Approve", "Reject"]
    with pytest.raises(Waits):
        gate(texts="Hello.", model="next", limit=0.1, on_exceed="ask").execute(context)
    assert questions[1]["subject"].startswith("May this cost an unknown amount?")
    assert "no known price: give one in the connection's 'prices'" in questions[1]["body"]
    assert not any("Raise the limit" in told["body"] for told in questions), "that is for who wrote the DAG"
    pushed[ASKED] = 0.18
    yes = {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "Kim"}}
    found = gate(texts="Hello there." * 1000, on_exceed="ask").execute_complete(context, yes)
    assert found == {"usd": 0.18, "basis": "computed", "units": {"bytes": 12_000}}
    with pytest.raises(BudgetError, match=r"changed since it was approved, would cost about \$0\.36"):
        gate(texts="Hello there." * 2000, on_exceed="ask").execute_complete(context, yes)
    with pytest.raises(AirflowSkipException, match="rejected"):
        gate(texts="Hello.", on_exceed="ask").execute_complete(context, yes | {"chosen_options": ["Reject"]})
    with pytest.raises(BudgetError, match="Nobody has approved the plan"):
        gate(texts="Hello.", on_exceed="ask").execute_complete(context, {"error": "timeout", "error_type": "timeout"})
    assert emulator.requests() == []
