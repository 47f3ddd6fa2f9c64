"""Scripts whose task is killed at random: every line of the manifest is right, and none is paid twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.operators.killing import DONE, IN_DOUBT, Script
from voice_provider.lines import speaking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorProcess

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
LINES, KILLS, AT_A_TIME = 30, 2, 4
SERVICES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # the connection, the emulator's settings, the operator's arguments
    ("sync_labs", {"tts_mode": "jobs"}, {"rate_limits": False, "tts_retry_after": 0, "job_seconds": 0.15}, {}),
    ("fish_audio", {}, {"fish_speech_seconds": 0.15}, {"format": "wav"}),
]


@pytest.mark.parametrize(("service", "extra", "settings", "values"), SERVICES, ids=[case[0] for case in SERVICES])
def test_a_script_that_is_killed_at_random_is_whole_in_the_end(
    voice_emulator_process: EmulatorProcess,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    extra: dict[str, Any],
    settings: dict[str, Any],
    values: dict[str, Any],
) -> None:
    emulator = voice_emulator_process
    set_connection(service=service, **extra)
    emulator.settings(**settings)
    monkeypatch.setattr(speaking, "FIRST_PAUSE", 0.05)
    voice = BUILT_IN if extra else emulator.seed_models(["Anybody"])[0]["id"]
    script = Script(emulator, tmp_path / "out", [voice], LINES, values={"concurrency": AT_A_TIME, **values})
    script.kill_often(KILLS)
    assert script.kills, "a machine that is very busy may miss one, and not both"
    end = script.attempt()
    counts, paid = script.judge(), script.paid()
    assert set(paid.values()) == {1}, "an order is sent once, or under its key"
    if extra:
        assert (end, counts["unknown"], len(paid)) == (DONE, 0, LINES)
    else:
        assert end == (IN_DOUBT if counts["unknown"] else DONE)
        assert counts["unknown"] <= script.kills * 5 * AT_A_TIME
        assert LINES - counts["unknown"] <= len(paid) <= LINES
        assert script.attempt(on_unknown_outcome="resubmit") == DONE
        assert script.judge()["unknown"] == 0
