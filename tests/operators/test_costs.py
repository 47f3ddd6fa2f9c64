"""What tasks say they cost is what the service bills, and a limit holds before anything is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task
from voice_provider.cli import main
from voice_provider.exceptions import BudgetError, InvalidInputError, ServiceUnavailableError
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators import LipSyncOperator, TTSOperator
from voice_provider.sensors import LipSyncCompleteSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
PRICES = {"speech": {"characters": 0.0002}}  # what the emulator asks for speech that nobody has published a price of


def spent(emulator: EmulatorHandle) -> float:
    return sum(row["usd"] for row in emulator.ledger())


def sent(emulator: EmulatorHandle) -> list[str]:
    """Return what was asked of the service that is more than a question."""
    posts = [entry for entry in emulator.requests() if entry["method"] not in ("GET", "HEAD")]
    return [entry["path"] for entry in posts if not entry["path"].endswith("/estimate")]


def test_the_bill_is_what_the_manifests_say(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    video: Path,
    sample: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [voice] = emulator.seed_models(["Anybody"])
    video_and = {"video": str(video), "output": f"{tmp_path}/out/"}
    speech = {"output": f"{tmp_path}/out/", "voice_id": BUILT_IN}
    cases: list[tuple[str, dict[str, Any], str, Any]] = [
        ("fish_audio", {}, "computed", TTSOperator(task_id="a", text="Grüße!", **speech | {"voice_id": voice["id"]})),
        ("sync_labs", {}, "unknown", TTSOperator(task_id="b", text="Hello there.", **speech)),
        ("sync_labs", {"prices": PRICES}, "computed", TTSOperator(task_id="c", text="Hello there.", **speech)),
        ("sync_labs", {}, "computed", LipSyncOperator(task_id="d", audio=str(sample), **video_and)),
        (
            "sync_labs",
            {"prices": json.dumps(PRICES)},
            "computed",
            LipSyncOperator(task_id="e", text="Hello there.", voice_id=BUILT_IN, **video_and),
        ),
        (
            "sync_labs",
            {"prices": {"lip_sync/lipsync-2": {"frames": 0.05 / 25}}},
            "computed",
            LipSyncOperator(task_id="f", audio=str(sample), temperature=0.1, **video_and),
        ),
    ]
    known = 0.0
    for service, extra, basis, operator in cases:
        set_connection(service=service, **extra)
        before, task = spent(emulator), Task()
        task.ti.task_id = operator.task_id
        cost = task.run(operator)["cost"]
        assert cost["basis"] == basis, operator.task_id
        if basis == "unknown":
            assert cost == {"usd": None, "basis": "unknown", "units": {"bytes": 12, "characters": 12}}
        else:
            assert cost["usd"] == pytest.approx(spent(emulator) - before, abs=1e-5), operator.task_id
            known += cost["usd"]
    capsys.readouterr()
    (tmp_path / "out" / "copy").mkdir()
    for path in (tmp_path / "out").glob("a-*"):
        (tmp_path / "out" / "copy" / path.name).write_bytes(path.read_bytes())
    assert main(["costs", f"{tmp_path}/out", "--by", "voice", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["total"]["results"], told["total"]["unknown"], told["unread"]) == (6, 1, 0)
    assert told["total"]["usd"] == pytest.approx(known, abs=1e-5)
    assert {row["name"] for row in told["rows"]} >= {voice["id"], BUILT_IN}
    (tmp_path / "out" / "broken.mp3.provenance.json").write_text("{")
    assert main(["costs", f"{tmp_path}/out"]) == 1
    shown = capsys.readouterr()
    assert f"{known:.4f}" in shown.out
    assert "1 records" in shown.err
    assert main(["costs", f"{tmp_path}/out", "--since", "2999-01-01", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rows"] == []
    assert main(["costs", f"{tmp_path}/nowhere"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_above_the_limit_nothing_is_sent_and_below_it_is(
    emulator: EmulatorHandle, set_connection: Callable[..., None], video: Path, sample: Path, tmp_path: Path
) -> None:
    [voice] = emulator.seed_models(["Anybody"])
    lip_sync = {"video": str(video), "audio": str(sample), "output": f"{tmp_path}/out/"}
    speech = {"text": "Hello there.", "output": f"{tmp_path}/out/"}
    refused: list[tuple[str, dict[str, Any], Any, str]] = [
        (
            "fish_audio",
            {},
            TTSOperator(task_id="t", voice_id=voice["id"], max_cost=0.0001, **speech),
            "The speech would",
        ),
        (
            "sync_labs",
            {},
            TTSOperator(task_id="t", voice_id=BUILT_IN, max_cost=9, **speech),
            "not known what the speech",
        ),
        ("sync_labs", {}, LipSyncOperator(task_id="t", max_cost="0.01", **lip_sync), r"about \$0\.06.*are \$0\.01"),
        ("sync_labs", {}, LipSyncOperator(task_id="t", max_cost=9, model="new", **lip_sync), "not known what the lip"),
    ]
    before = len(sent(emulator))
    for service, extra, operator, why in refused:
        set_connection(service=service, **extra)
        with pytest.raises(BudgetError, match=why):
            Task().run(operator)
        assert sent(emulator)[before:] == [], why
    assert emulator.ledger() == []
    set_connection(prices=PRICES)
    assert Task().run(TTSOperator(task_id="t", voice_id=BUILT_IN, max_cost=0.0024, **speech))["cost"]["usd"] == 0.0024
    with pytest.raises(InvalidInputError, match="max_cost is 'a lot'"):
        Task().run(TTSOperator(task_id="t", voice_id=BUILT_IN, max_cost="a lot", **speech))


def test_a_service_that_cannot_estimate_for_a_moment_is_no_unknown_price(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    def lip_sync(**more: Any) -> LipSyncOperator:
        return LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=f"{tmp_path}/out/", **more)

    emulator.fault("status", path="/v2/generations/estimate", method="POST", status=503, times=9)
    with pytest.raises(ServiceUnavailableError):
        task.run(lip_sync(max_cost=5))
    assert emulator.ledger() == []
    emulator.clear_faults()
    emulator.fault("status", path="/v2/generations/estimate", method="POST", status=503, times=1)
    unlimited = Task()
    told = unlimited.run(lip_sync())
    assert told["cost"]["basis"] == "unknown", "nobody asked for a limit: the work goes on"
    assert len(emulator.ledger("lip_sync")) == 1


def test_a_job_that_is_paid_is_collected_whatever_the_limit_and_the_record_knows_its_price(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    def lip_sync(**more: Any) -> LipSyncOperator:
        return LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=f"{tmp_path}/out/", **more)

    emulator.settings(job_seconds=30)
    ticket = task.run(lip_sync(wait_for_completion=False, max_cost=5))
    assert ticket["costs"] == [{"usd": 0.06, "basis": "estimated", "units": {"frames": 30}}]
    task.store["voice_job"] = json.dumps({**task.record, "finished": False})  # as if it was killed just before
    emulator.settings(job_seconds=0)
    emulator.advance(60)
    emulator.fault("status", path="/v2/generations/estimate", method="POST", status=503, times=9)
    told = task.run(lip_sync(max_cost=0.00001))
    assert told["cost"]["usd"] == pytest.approx(spent(emulator))
    sensed = Task().run(LipSyncCompleteSensor(task_id="s", job=ticket, output=f"{tmp_path}/other/"))
    assert sensed["cost"] == told["cost"]
    assert len(emulator.ledger("lip_sync")) == 1


def test_an_order_that_may_be_paid_is_gone_on_with_whatever_the_limit(
    emulator: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    def lip_sync(limit: float) -> LipSyncOperator:
        media = {"video": str(video), "audio": str(sample)}
        return LipSyncOperator(task_id="t", **media, output=f"{tmp_path}/out/", max_cost=limit)

    emulator.fault("drop_after", path="/v2/generate", method="POST", times=99)
    with pytest.raises(ServiceUnavailableError):
        task.run(lip_sync(5))
    emulator.clear_faults()
    assert task.run(lip_sync(0.00001))["cost"]["usd"] == pytest.approx(spent(emulator))
    assert len(emulator.ledger("lip_sync")) == 1


def test_prices_of_a_connection_are_checked_with_it(
    emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(prices='{"speech": {"letters": 1}}')
    with pytest.raises(InvalidInputError, match="Connection 'voice_default': its prices cannot be read: 'speech' is c"):
        VoiceHook.for_connection("voice_default").list_voices()


def test_a_transcript_says_what_it_cost(
    emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
) -> None:
    for service, usd in (("fish_audio", 3 * 0.36 / 3600), ("sync_labs", 0.0)):
        set_connection(service=service)
        heard = VoiceHook.for_connection("voice_default").transcribe(str(sample))
        assert heard.cost is not None
        assert (heard.cost.basis, heard.cost.usd) == ("computed", pytest.approx(usd))
    assert spent(emulator) == pytest.approx(3 * 0.36 / 3600, abs=1e-6)
