"""Locations as Airflow users write them: texts, ``pathlib.Path`` and ``ObjectStoragePath``, everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import ObjectStoragePath

from tests.conftest import Task, write_mp4, write_wav
from tests.files.corpus import snapshot
from voice_provider.exceptions import InvalidInputError
from voice_provider.operators.asset import UploadAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import UpdateVoiceOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


def of_airflow(path: Path) -> Any:
    return ObjectStoragePath(f"file://{path}")


@pytest.fixture
def files(emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path) -> Path:
    """A folder with one of each, and a connection of each service."""
    set_connection("fish", service="fish_audio")
    folder = tmp_path / "in"
    write_wav(folder / "s.wav", seconds=11)
    write_mp4(folder / "v.mp4")
    (folder / "line.txt").write_text("Hello there.")
    (folder / "cover.png").write_bytes(snapshot("png", "rgb24"))
    consent = {"who": "Ann", "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}
    (folder / "consent.json").write_text(json.dumps(consent))
    return folder


@pytest.mark.parametrize("kind", [str, Path, of_airflow])
def test_a_location_may_be_a_path_object_wherever_one_goes(
    kind: Callable[[Path], Any], emulator: EmulatorHandle, files: Path, tmp_path: Path
) -> None:
    sample, video, consent = kind(files / "s.wav"), kind(files / "v.mp4"), kind(files / "consent.json")
    at_fish: dict[str, Any] = {"voice_conn_id": "fish"}
    asset = Task().run(UploadAssetOperator(task_id="t", file=sample, consent=consent))
    assert asset["consent"]["id"].startswith("consent-")
    assert Task().run(UploadAssetOperator(task_id="t", file={"uri": sample}))["sha256"] == asset["sha256"]
    voice = Task().run(CloneVoiceOperator(task_id="t", name="A", samples=[sample], cover_image=None, **at_fish))
    cover = kind(files / "cover.png")
    another = CloneVoiceOperator(task_id="t", name="B", sample=sample, cover_image=cover, consent=consent, **at_fish)
    assert Task().run(another)["consent"]["id"] == asset["consent"]["id"]
    assert Task().run(CloneVoiceOperator(task_id="t", name="C", sample=sample))["voice_id"]
    assert Task().run(UpdateVoiceOperator(task_id="t", voice=voice, cover_image=cover, **at_fish))["voice_id"]
    script = kind(files / "line.txt")
    out = kind(tmp_path / "out" / "x.mp3")
    line = TTSOperator(task_id="t", text_uri=script, voice_id=voice, output=out, **at_fish)
    assert Task().run(line)["uri"].endswith("/out/x.mp3")
    references = [{"audio": sample, "text_uri": script}]
    instant = TTSOperator(task_id="t", text="Hi.", references=references, output=out, **at_fish)
    assert Task().run(instant)["bytes"] > 0
    film = LipSyncOperator(task_id="t", video=video, audio=[sample], output=kind(tmp_path / "out" / "x.mp4"))
    assert Task().run(film)["uri"].endswith("/out/x.mp4")
    several = [{"ref_id": "a", "media": sample}]
    times = [{"start_time": 0, "end_time": 1, "audio_input": {"ref_id": "a"}}]
    out = kind(tmp_path / "out" / "y.mp4")
    film = LipSyncOperator(task_id="t", video={"uri": video}, audio=several, segments=times, output=out)
    assert Task().run(film)["uri"].endswith("/out/y.mp4")


def test_a_path_object_and_its_text_are_the_same_request(emulator: EmulatorHandle, files: Path, tmp_path: Path) -> None:
    for make in (
        lambda p, out: TTSOperator(task_id="t", text_uri=p / "line.txt", voice_id=BUILT_IN, output=out),
        lambda p, out: LipSyncOperator(task_id="t", video=p / "v.mp4", audio=p / "s.wav", output=out),
        lambda p, _: CloneVoiceOperator(task_id="t", name="A", sample=p / "s.wav"),
    ):
        fingerprints = set()
        for folder in (files, of_airflow(files)):
            operator = make(folder, tmp_path / "out")
            fingerprints.add(operator.order(Task().context).fingerprint())
        for name in ("text_uri", "video", "audio", "sample"):
            if getattr(operator, name, None) is not None:
                setattr(operator, name, str(getattr(operator, name)).removeprefix("file://"))
        fingerprints.add(operator.order(Task().context).fingerprint())
        assert len(fingerprints) == 1


def test_the_hook_takes_path_objects_too(
    emulator: EmulatorHandle, files: Path, tmp_path: Path, hook: VoiceHook
) -> None:
    for kind in (Path, of_airflow):
        sample, consent = kind(files / "s.wav"), kind(files / "consent.json")
        assert hook.look_at(sample, consent)["consent"]["uri"] == str(consent)
        asset = hook.upload_asset(sample, consent=consent)
        copy = hook.download_asset(asset.id, kind(tmp_path / "copies"))
        assert copy.uri.endswith(f"/copies/{asset.id}.wav")
        voice = hook.clone_voice(f"By {kind.__name__}", sample)
        assert hook.synthesize("Hi.", voice.id, kind(tmp_path / "spoken")).bytes > 0
        film = hook.lip_sync(kind(tmp_path / "x.mp4"), video=kind(files / "v.mp4"), audio=[{"media": sample}])
        assert film.uri.endswith("/x.mp4")


def test_an_address_where_a_location_belongs_says_what_to_do(
    emulator: EmulatorHandle, hook: VoiceHook, tmp_path: Path
) -> None:
    address = "https://example.com/talk.wav?X-Amz-Signature=s3cret"
    for operator in (
        UploadAssetOperator(task_id="t", file=address),
        TTSOperator(task_id="t", text_uri=address, voice_id=BUILT_IN, output=f"{tmp_path}/out/"),
    ):
        with pytest.raises(InvalidInputError, match=r"is an address in the web.*give its location there") as caught:
            Task().run(operator)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(InvalidInputError, match="is an address in the web"):
        hook.upload_asset(address.upper())
    assert emulator.requests() == []
