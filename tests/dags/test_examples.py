"""The examples with Fish Audio in them, run by a real Airflow in this process, over real HTTP to the emulator."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.conftest import ROOT, write_mp4, write_wav

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def run(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    for name in ("speaker.wav", "brand-1.wav"):
        write_wav(tmp_path / "inbox" / name, seconds=11)
    write_wav(tmp_path / "inbox" / "brand-2.wav", seconds=12)
    write_mp4(tmp_path / "inbox" / "target.mp4")
    monkeypatch.setenv("AIRFLOW_VAR_VOICE_ROOT", str(tmp_path))
    set_connection("voice_default", service="fish_audio")
    set_connection("fish_audio_default", service="fish_audio")
    set_connection("sync_labs_default", service="sync_labs")

    def run(name: str, **params: Any) -> Any:
        bag = DagBag(str(ROOT / "example_dags" / f"{name}.py"))
        assert not bag.import_errors
        return bag.dags[name].test(run_conf=params)

    return run


def states(dag_run: Any) -> Counter[str]:
    return Counter(f"{ti.task_id}: {ti.state}" for ti in dag_run.get_task_instances())


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "results").rglob("*") if path.is_file())


def paid(emulator: EmulatorHandle) -> Counter[str]:
    return Counter(f"{row['service']} {row['kind']}" for row in emulator.ledger())


def left(emulator: EmulatorHandle) -> tuple[int, int, int]:
    state = emulator.state()
    return state["models"].get("main", 0), state["assets"], state["key_leaks"]


def test_an_announcement_needs_no_voice_to_manage(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    dag_run = run("instant_clone_announcement", speed=1.2)
    assert states(dag_run) == {"check_recording: success": 1, "announce: success": 1}
    assert results(tmp_path) == ["announcement.mp3"]
    assert paid(emulator) == {"fish_audio speech": 1}
    assert left(emulator) == (0, 0, 0)


def test_one_voice_speaks_many_languages_night_after_night(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    emulator.settings(fish_training_seconds=1)
    first = run("brand_voice_localized")
    assert set(states(first).values()) == {1, 3}
    assert all(state.endswith(": success") for state in states(first))
    assert results(tmp_path) == ["de.mp3", "en.mp3", "fr.mp3"]
    run("brand_voice_localized", messages={"en": "Another night, another message."})
    assert paid(emulator) == {"fish_audio clone": 1, "fish_audio speech": 4}
    assert left(emulator) == (1, 0, 0)


def test_two_services_make_one_video(run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path) -> None:
    dag_run = run("cross_service_lip_sync")
    assert set(states(dag_run)) == {
        f"{task}: success" for task in ("clone_voice", "wait_until_trained", "speak", "lip_sync", "delete_voice")
    }
    assert results(tmp_path) == ["line.mp3", "lip_sync.mp4"]
    assert paid(emulator) == {"fish_audio clone": 1, "fish_audio speech": 1, "sync_labs lip_sync": 1}
    assert left(emulator) == (0, 0, 0)


def test_the_voice_goes_also_when_it_could_not_speak(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    emulator.fault("status", path="/v1/tts", method="POST", status=402, times=9)
    dag_run = run("cross_service_lip_sync")
    assert str(dag_run.state) == "failed"
    assert {"speak: failed", "lip_sync: upstream_failed", "delete_voice: success"} <= set(states(dag_run))
    assert paid(emulator) == {"fish_audio clone": 1}
    assert results(tmp_path) == []
    assert left(emulator) == (0, 0, 0)
