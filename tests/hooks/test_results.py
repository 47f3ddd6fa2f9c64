"""Where a result can be: at the storage host, or at the API's own, which redirects; the key goes to no hop of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook


@pytest.mark.parametrize("where", ["storage", "302", "307", "200"])
def test_a_result_is_fetched_without_the_key_wherever_it_is(
    where: str, hook: VoiceHook, emulator: EmulatorHandle, video: Path, sample: Path, tmp_path: Path
) -> None:
    emulator.settings(result_host=where)
    kept = hook.lip_sync(f"{tmp_path}/o.mp4", video=str(video), audio=[{"media": str(sample)}])
    assert (tmp_path / "o.mp4").stat().st_size == kept.bytes > 0
    fetched = [request for request in emulator.requests() if "result" in request["path"]]
    hops = {"storage": ["storage"], "302": ["api", "storage"], "307": ["api", "storage"], "200": ["api"]}[where]
    assert [request["origin"] for request in fetched] == hops
    assert not any(request["has_key"] for request in fetched)
    assert emulator.state()["key_leaks"] == 0
    assert "token=" not in repr(kept) + str(kept.dump())
