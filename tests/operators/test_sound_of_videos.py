"""A video as a sample where the service takes sound only: its sound is taken out and sent, and the log says so."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Task
from tests.files.corpus import encode
from voice_provider.exceptions import InvalidInputError
from voice_provider.files.media import inspect
from voice_provider.files.sound import SoundOf
from voice_provider.files.storage import StoredFile
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.speech import TTSOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from voice_provider.emulator.process import EmulatorHandle


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "talk.mp4"
    path.parent.mkdir()
    path.write_bytes(encode("mp4", "aac", "mpeg4", seconds=12))
    return path


@pytest.mark.parametrize(
    ("container", "pictures", "sound", "expected", "codec"),
    [
        ("mp4", "mpeg4", "aac", ("talk.m4a", "audio/mp4"), "aac"),
        ("mpegts", "mpeg2video", "aac", ("talk.m4a", "audio/mp4"), "aac"),
        ("avi", "mpeg4", "libmp3lame", ("talk.mp3", "audio/mpeg"), "mp3"),
        ("webm", "libvpx", "libopus", ("talk.opus", "audio/ogg"), "opus"),
        ("matroska", "ffv1", "flac", ("talk.wav", "audio/wav"), "pcm_s16le"),
        ("mov", "mjpeg", "pcm_s16le", ("talk.wav", "audio/wav"), "pcm_s16le"),
        ("webm", "libvpx", "vorbis", ("talk.wav", "audio/wav"), "pcm_s16le"),
    ],
)
def test_the_sound_is_whole_and_what_it_says_it_is(
    container: str, pictures: str, sound: str, expected: tuple[str, str], codec: str, tmp_path: Path
) -> None:
    path = tmp_path / {"matroska": "talk.mkv", "mpegts": "talk.ts"}.get(container, f"talk.{container}")
    path.write_bytes(encode(container, sound, pictures, seconds=2.3))
    body = SoundOf(StoredFile(str(path)))
    assert (body.name, body.media_type) == expected
    for _ in range(2):  # for every attempt
        data = b"".join(body.chunks())
        assert len(data) == body.size
        info = inspect(io.BytesIO(data), len(data))
        assert (info.format.extension, info.format.media_type) == (expected[0][5:], expected[1])
        assert info.sound == codec
        assert info.seconds == pytest.approx(2.3, abs=0.1)


def test_swapping_the_connection_is_all_that_has_to_be_done(
    emulator: EmulatorHandle, set_connection: Callable[..., None], talk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = {}
    for service in ("sync_labs", "fish_audio"):
        set_connection(service=service)
        results[service] = Task().run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(talk)))
    one, other = results.values()
    assert one["samples"] == other["samples"] == [StoredFile(str(talk)).sha256()], "it is made of what the author gave"
    assert len(emulator.models()) == 1
    told = "".join(capfd.readouterr())
    line = f"Fish Audio takes recordings: of the video {talk} only the sound is sent, as talk.m4a (audio/mp4)"
    assert told.count(line) == 1, told
    set_connection(service="fish_audio")
    again = Task().run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(talk)))
    assert again["voice_id"] == other["voice_id"]


def test_a_reference_may_be_a_video_too(
    emulator: EmulatorHandle, set_connection: Callable[..., None], talk: Path, tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    references: list[dict[str, Any]] = [{"audio": str(talk), "text": "What is said in it."}]
    result = Task().run(TTSOperator(task_id="t", text="Hello.", references=references, output=f"{tmp_path}/out/"))
    assert result["seconds"] > 0
    assert len(emulator.ledger("speech")) == 1


def test_sound_that_cannot_be_taken_out_is_refused_and_nothing_is_sent(
    emulator: EmulatorHandle, set_connection: Callable[..., None], talk: Path
) -> None:
    set_connection(service="fish_audio")
    data = talk.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    talk.write_bytes(data[:start] + b"\xff" * (end - start) + data[end:])  # its index is whole, its sound is not
    with pytest.raises(
        InvalidInputError, match=r"The sound of the video .*talk\.mp4 cannot be taken out: .*Save it as"
    ):
        Task().run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(talk)))
    assert [entry for entry in emulator.requests("/model") if entry["method"] == "POST"] == []
    assert emulator.models() == []
