"""The kind of each file is checked against its argument, before anything is uploaded or paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, write_mp4, write_wav
from tests.files.corpus import encode, snapshot
from voice_provider.exceptions import InvalidInputError
from voice_provider.operators.asset import UploadAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, str]:
    """A file of each kind; a phone's recording is an MP4, and a browser's a WebM, without pictures."""
    folder = tmp_path / "in"
    made = {"recording": write_wav(folder / "talk.wav"), "silent": write_mp4(folder / "silent.mp4")}
    for name, file, data in (
        ("picture", "face.png", snapshot("png", "rgb24")),
        ("gif", "face.gif", encode("gif", None, "gif", seconds=0.5)),
        ("video", "talk.mp4", encode("mp4", "aac", "mpeg4")),
        ("memo", "memo.mp4", encode("mp4", "aac")),
        ("recorder", "recorder.webm", encode("webm", "libopus", piped=True)),
    ):
        made[name] = folder / file
        made[name].write_bytes(data)
    return {name: str(path) for name, path in made.items()}


def sent(emulator: EmulatorHandle) -> list[str]:
    """Return what was more than asked."""
    return [entry["path"] for entry in emulator.requests() if entry["method"] != "GET"]


LIP_SYNC = [
    ({"video": "picture", "audio": "recording"}, r"video= is a picture \(image/png\): .*a picture goes into image="),
    ({"video": "gif", "audio": "recording"}, r"video= is a picture \(image/gif\)"),
    ({"video": "recording", "audio": "recording"}, r"video= is a recording without pictures \(audio/wav\)"),
    ({"video": "memo", "audio": "recording"}, r"video= is a recording without pictures \(audio/mp4\)"),
    ({"video": "recorder", "audio": "memo"}, r"video= is a recording without pictures \(audio/webm\)"),
    ({"image": "video", "audio": "recording"}, r"image= is a video \(video/mp4\): .*a video goes into video="),
    ({"image": "recording", "audio": "recording"}, r"image= is a recording"),
    ({"video": "video", "audio": "picture"}, r"audio= is a picture \(image/png\): .*Give a recording"),
    ({"video": "video", "audio": "video"}, r"audio= is a video \(video/mp4\): .*Give a recording"),
]


def test_a_lip_sync_takes_each_file_for_what_it_is(
    emulator: EmulatorHandle, inputs: dict[str, str], tmp_path: Path
) -> None:
    for given, message in LIP_SYNC:
        operator = LipSyncOperator(
            task_id="t",
            output=f"{tmp_path}/out/",
            model="sync-3",
            **{name: inputs[what] for name, what in given.items()},
        )
        with pytest.raises(InvalidInputError, match=message) as caught:
            Task().run(operator)
        assert str(caught.value).endswith("Nothing was sent.")
        assert sent(emulator) == []
    assert emulator.ledger() == []


def test_the_hook_checks_the_same(
    hook: VoiceHook, emulator: EmulatorHandle, inputs: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="video= is a picture"):
        hook.lip_sync(f"{tmp_path}/out/", video=inputs["picture"], audio=[{"media": inputs["recording"]}])
    with pytest.raises(InvalidInputError, match="sample= is a picture"):
        hook.clone_voice("Ann", inputs["picture"])
    with pytest.raises(InvalidInputError, match="sample= has no sound"):
        hook.clone_voice("Ann", inputs["silent"])
    assert sent(emulator) == []


def test_what_the_task_before_has_told_of_an_asset_is_enough(
    task: Task, emulator: EmulatorHandle, inputs: dict[str, str], tmp_path: Path
) -> None:
    uploaded = {}
    for name in ("picture", "memo", "recorder"):
        uploaded[name] = Task().run(UploadAssetOperator(task_id=name, file=inputs[name]))
    assert [asset["media_type"] for asset in uploaded.values()] == ["image/png", "audio/mp4", "audio/webm"]
    before = sent(emulator)
    for given in ({"video": uploaded["memo"]}, {"video": uploaded["picture"]}, {"image": uploaded["recorder"]}):
        model = "sync-3" if "image" in given else None
        values = {"audio": inputs["recording"], "output": f"{tmp_path}/out/", "model": model, **given}
        with pytest.raises(InvalidInputError, match=rf"{next(iter(given))}= is a .*\): [0-9a-f-]{{36}}\. Give a"):
            task.run(LipSyncOperator(task_id="t", **values))
    with pytest.raises(InvalidInputError, match="sample= is a picture"):
        task.run(CloneVoiceOperator(task_id="t", name="Ann", sample=uploaded["picture"]))
    assert sent(emulator) == before
    for number, name in enumerate(("memo", "recorder")):
        for audio in (uploaded[name], inputs[name]):
            result = Task().run(
                LipSyncOperator(task_id="t", video=inputs["video"], audio=audio, output=f"{tmp_path}/out/{number}.mp4")
            )
            assert result["media_type"] == "video/mp4"


def test_a_sample_and_a_reference_need_sound(
    emulator: EmulatorHandle, set_connection: Callable[..., None], inputs: dict[str, str], tmp_path: Path
) -> None:
    for service in ("sync_labs", "fish_audio"):
        set_connection(service=service)
        for what, why in (("picture", "is a picture"), ("silent", "has no sound")):
            with pytest.raises(InvalidInputError, match=rf"sample= {why} .*Give audio, or video with sound"):
                Task().run(CloneVoiceOperator(task_id="t", name="Ann", sample=inputs[what]))
    for what, why in (("picture", "is a picture"), ("silent", "has no sound")):
        references = [{"audio": inputs[what], "text": "x"}]
        with pytest.raises(InvalidInputError, match=rf"reference= {why} "):
            Task().run(TTSOperator(task_id="t", text="Hello.", references=references, output=f"{tmp_path}/out/"))
    assert sent(emulator) == []


@pytest.mark.parametrize("name", ["gif", "video"])
def test_a_cover_is_a_png_or_a_jpeg(
    name: str, emulator: EmulatorHandle, set_connection: Callable[..., None], inputs: dict[str, str]
) -> None:
    set_connection(service="fish_audio")
    values: dict[str, Any] = {"sample": inputs["recording"], "cover_image": inputs[name]}
    with pytest.raises(InvalidInputError, match=r"cover_image is no picture .*Give a \.jpg or \.png"):
        Task().run(CloneVoiceOperator(task_id="t", name="Ann", **values))
    assert sent(emulator) == []
