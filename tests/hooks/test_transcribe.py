"""``VoiceHook.transcribe`` where a transcript is a job about a hosted file, over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from voice_provider.exceptions import (
    InvalidInputError,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
LINE = "One two three. Four five."
PATH = "/v2/transcriptions"


@pytest.fixture
def spoken(hook: VoiceHook, tmp_path: Path) -> str:
    """The line as a file."""
    return hook.synthesize(LINE, BUILT_IN, tmp_path / "line.mp3").uri


def orders(emulator: EmulatorHandle) -> list[dict[str, Any]]:
    return [request for request in emulator.requests() if (request["method"], request["path"]) == ("POST", PATH)]


def test_speech_is_written_down_word_by_word_and_nothing_is_left(
    hook: VoiceHook, emulator: EmulatorHandle, spoken: str
) -> None:
    billed = emulator.ledger()
    heard = hook.transcribe(spoken)
    assert (heard.service, heard.text) == ("sync_labs", LINE)
    assert [word.text for word in heard.words] == LINE.split()
    assert [part.text for part in heard.segments] == ["One two three.", "Four five."]
    assert [(turn.text, turn.speaker) for turn in heard.turns] == [(LINE, "speaker_0")]
    # The emulator's tone says 15 characters a second.
    starts = [sum(len(word) + 1 for word in LINE.split()[:number]) / 15 for number in range(5)]
    assert [word.start for word in heard.words] == pytest.approx(starts, abs=0.08)
    assert emulator.state()["assets"] == 0
    assert emulator.ledger() == billed


def test_a_file_that_the_service_has_is_neither_uploaded_nor_deleted(
    hook: VoiceHook, emulator: EmulatorHandle, spoken: str
) -> None:
    asset = hook.upload_asset(spoken)
    assert hook.transcribe(asset.id).text == LINE
    assert emulator.state()["assets"] == 1
    with pytest.raises(NotFoundError):
        hook.transcribe("11111111-2222-4333-8444-555555555555")


def test_a_lip_synced_video_can_be_checked_for_what_it_says(hook: VoiceHook, video: Path, tmp_path: Path) -> None:
    line = {"text": LINE, "voice_id": BUILT_IN}
    made = hook.lip_sync(f"{tmp_path}/o.mp4", video=str(video), text=[line])
    assert hook.transcribe(made.uri).text == LINE


@pytest.mark.parametrize("kind", ["drop_after", "edge_after"])
def test_an_answer_that_is_lost_is_asked_for_again(
    hook: VoiceHook, emulator: EmulatorHandle, spoken: str, kind: str
) -> None:
    emulator.fault(kind, method="POST", path=PATH)
    assert hook.transcribe(spoken).text == LINE
    assert len(orders(emulator)) == 2
    assert emulator.state()["jobs_by_kind"]["transcription"] == 1
    assert emulator.state()["assets"] == 0


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (lambda e: e.fault("job_failed", path=PATH, code="SOURCE_TOO_LONG"), (JobFailedError, "SOURCE_TOO_LONG")),
        (
            lambda e: e.fault("status", path=PATH, status=422, code="file_not_in_org_storage"),
            (InvalidInputError, "422"),
        ),
        (lambda e: e.fault("status", path=PATH, status=503, times=None), (ServiceUnavailableError, "503")),
        (lambda e: e.settings(job_seconds=3600), (JobTimeoutError, r"transcription job .* after 0\.2 s")),
    ],
    ids=["failed", "refused", "down", "too long"],
)
def test_the_upload_is_taken_back_whatever_happens(
    hook: VoiceHook,
    emulator: EmulatorHandle,
    spoken: str,
    break_it: Callable[[EmulatorHandle], Any],
    error: tuple[type[Exception], str],
) -> None:
    break_it(emulator)
    with pytest.raises(error[0], match=error[1]):
        hook.transcribe(spoken, timeout=0.2)
    assert emulator.state()["assets"] == 0


def test_what_it_cannot_do_is_said_before_anything_is_sent(
    hook: VoiceHook, emulator: EmulatorHandle, spoken: str
) -> None:
    sent = len(emulator.requests())
    for option in ({"language": "de"}, {"model": "m"}, {"diarize": True}, {"num_speakers": 2}):
        with pytest.raises(InvalidInputError, match=rf"{next(iter(option))} is no option of sync\. labs"):
            hook.transcribe(spoken, **option)
    with pytest.raises(InvalidInputError, match="is an address: give a storage location or the id of an asset"):
        hook.transcribe("https://example.org/a.mp3")
    assert len(emulator.requests()) == sent
