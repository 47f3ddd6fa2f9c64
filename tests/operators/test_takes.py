"""One take, one file: what is kept in a folder is found by a person, and never overwritten by another's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, without_records, write_wav
from voice_provider.exceptions import InvalidInputError, JobTimeoutError
from voice_provider.jobs.names import TAKE, take_name
from voice_provider.jobs.record import Record
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors.job import TTSCompleteSensor
from voice_provider.trust.provenance import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hooks.conftest import Stranger
    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


@pytest.fixture
def say(emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Speak a line into a folder as a task instance; what is given is of the task instance."""
    set_connection("fish", service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"], visibility="public")

    def run(task: Task | None = None, conn_id: str = "fish", text: str = "Yes.", **ids: Any) -> dict[str, Any]:
        task = task or Task()
        vars(task.ti).update(ids)
        voice_id = voice["id"] if conn_id == "fish" else BUILT_IN
        line: dict[str, Any] = {"text": text, "voice_id": voice_id, "voice_conn_id": conn_id}
        return task.run(TTSOperator(task_id="t", output=f"{tmp_path}/lines/", **line))

    return run


def test_takes_of_one_folder_never_overwrite_each_other(say: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    for conn_id in ("fish", "voice_default"):
        cleared = Task()
        takes = [
            say(cleared, conn_id),
            say(conn_id=conn_id, task_id="intro"),  # another task
            say(conn_id=conn_id, map_index=0),  # mapped lines with the same words
            say(conn_id=conn_id, map_index=1),
            say(conn_id=conn_id, map_index=1, run_id="tuesday"),  # another run
            say(conn_id=conn_id, map_index=1, dag_id="other"),
            say(conn_id=conn_id, map_index=2, rendered_map_index="Anna: «Yes, indeed»"),
        ]
        again = say(cleared, conn_id)  # a retry
        assert again["uri"] == takes[0]["uri"]
        cleared.clear()
        takes.append(say(cleared, conn_id))  # another order
        takes.append(say(cleared, conn_id, text="Yes, again."))
        names = [Path(take["uri"]).name for take in takes]
        assert len(set(names)) == len(takes)
        starts = [name[: -len(f"-{'x' * TAKE}.mp3")] for name in names]
        assert starts == [
            "task",
            "intro",
            "task-0",
            "task-1",
            "task-1",
            "task-1",
            "task-Anna_Yes_indeed",
            "task",
            "task",
        ]
        for take in takes:
            record, problem = verify(take["uri"])
            assert problem is None
            assert record is not None
            assert record.file.sha256 == take["sha256"]
    assert len(without_records(path.name for path in (tmp_path / "lines").iterdir())) == 18


def test_a_file_in_a_folder_is_named_by_task_line_and_hash() -> None:
    for task, line, start in (
        ("say", "", "say"),
        ("group.say", "7", "group.say-7"),
        ("say", "../../etc/passwd\n", "say-etc_passwd"),
        ("..", "...", ""),
        ("say", "Grüße an 你好", "say-Grüße_an_你好"),
        ("s" * 300, "你" * 300, f"{'s' * 48}-{'你' * 16}"),
    ):
        name = take_name(task, line, "vp-key")
        assert re.fullmatch(rf"{re.escape(start)}{'-' if start else ''}[a-z2-7]{{10}}", name), name
        assert len(name.encode()) < 120
    assert take_name("say", "1", "vp-a") != take_name("say", "1", "vp-b")


def test_a_try_lands_on_the_name_that_was_remembered_at_the_order(
    emulator: EmulatorHandle, tmp_path: Path, task: Task
) -> None:
    emulator.settings(tts_mode="seed-async", job_seconds=60)

    def speak(timeout: float) -> TTSOperator:
        return TTSOperator(task_id="t", text="Yes.", voice_id=BUILT_IN, output=f"{tmp_path}/out/", timeout=timeout)

    task.ti.map_index, task.ti.rendered_map_index = 3, "Anna"
    with pytest.raises(JobTimeoutError):
        task.run(speak(0))
    emulator.advance(61)
    task.ti.rendered_map_index = "Another label, rendered when the task had run"
    kept = task.run(speak(60))
    assert Path(kept["uri"]).stem == task.record["take"]
    assert task.record["take"].startswith("task-Anna-")


def test_what_a_sensor_collects_has_the_name_of_the_task_that_ordered(
    emulator: EmulatorHandle, tmp_path: Path, task: Task
) -> None:
    emulator.settings(tts_mode="seed-async", job_seconds=60)
    line: dict[str, Any] = {"text": "Yes.", "voice_id": BUILT_IN, "output": tmp_path / "out"}
    ticket = task.run(TTSOperator(task_id="t", wait_for_completion=False, **line))
    emulator.advance(61)
    kept = TTSCompleteSensor(task_id="s", job=ticket).execute(Task().context)
    assert re.fullmatch(rf"{tmp_path}/out/task-[a-z2-7]{{10}}\.mp3", kept["uri"])
    elsewhere = TTSCompleteSensor(task_id="s", job=ticket, output=tmp_path / "elsewhere").execute(Task().context)
    assert Path(elsewhere["uri"]) == tmp_path / "elsewhere" / Path(kept["uri"]).name


def test_a_record_of_the_version_before_keeps_its_name() -> None:
    values = {"kind": "speech", "fingerprint": "f" * 64, "key": "vp-1", "max_tries": 0, "conn_id": "c", "account": "a"}
    assert Record.model_validate({**values, "created_at": "now"}).file_name == "f" * 16
    assert Record.model_validate({**values, "created_at": "now", "take": "say-1-abc"}).file_name == "say-1-abc"


def test_an_order_that_is_kept_as_a_stub_keeps_the_name_of_its_file() -> None:
    values = {"kind": "speech", "key": "vp-1", "max_tries": 0, "conn_id": "c", "account": "a", "created_at": "now"}
    newest = None
    for number in range(80):
        order = Record.model_validate(
            {
                **values,
                "fingerprint": f"{number:064}",
                "take": f"say-{number}",
                "posted_at": "now",
                "details": {"x": "y" * 1000},
            }
        )
        newest = newest.followed_by(order) if newest is not None else order
    assert newest is not None
    read = Record.load(newest.dump())
    assert read is not None
    assert not read.earlier[0].details
    assert [old.file_name for old in read.earlier] == [f"say-{number}" for number in range(79)]


def test_an_ending_that_is_not_made_is_refused_before_it_is_paid(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path, video: Path, sample: Path
) -> None:
    from voice_provider.hooks.voice import VoiceHook

    set_connection("fish", service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"], visibility="public")
    line: dict[str, Any] = {"text": "Hello.", "task_id": "t"}
    at_sync, at_fish = {**line, "voice_id": BUILT_IN}, {**line, "voice_id": voice["id"], "voice_conn_id": "fish"}
    film: dict[str, Any] = {"video": str(video), "audio": str(sample)}
    posts = len([request for request in emulator.requests() if request["method"] == "POST"])
    for operator, message in (
        (TTSOperator(**at_sync, output=f"{tmp_path}/x.flac"), r"ends in \.flac, but sync\. labs makes mp3 or wav here"),
        (TTSOperator(**at_sync, output=tmp_path / "x.opus"), r"ends in \.opus"),
        (TTSOperator(**at_fish, output=f"{tmp_path}/x.flac"), r"ends in \.flac, but Fish Audio makes mp3 here.*End it"),
        (TTSOperator(**at_fish, output=f"{tmp_path}/x.m4a"), r"ends in \.m4a"),
        (TTSOperator(**at_fish, output=f"{tmp_path}/x.wav", format="mp3"), r"ends in \.wav, but Fish Audio makes mp3"),
        (LipSyncOperator(task_id="t", **film, output=f"{tmp_path}/x.mov"), r"ends in \.mov, but sync\. labs makes mp4"),
        (LipSyncOperator(task_id="t", **film, output=f"{tmp_path}/x.mp3"), r"ends in \.mp3, but sync\. labs makes mp4"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            Task().run(operator)
    fish, sync = VoiceHook.for_connection("fish"), VoiceHook.for_connection("voice_default")
    for call in (
        lambda: fish.synthesize("Hello.", voice["id"], f"{tmp_path}/x.flac"),
        lambda: sync.synthesize("Hello.", BUILT_IN, f"{tmp_path}/x.m4a"),
        lambda: sync.lip_sync(f"{tmp_path}/x.webm", video=str(video), audio=[{"media": str(sample)}]),
    ):
        with pytest.raises(InvalidInputError, match="output ends in"):
            call()
    assert len([request for request in emulator.requests() if request["method"] == "POST"]) == posts
    assert emulator.ledger() == []
    for ending, form in (("ogg", "opus"), ("WAV", "wav"), ("raw", "pcm"), ("take1", "mp3")):
        kept = Task().run(TTSOperator(**at_fish, output=f"{tmp_path}/x.{ending}"))
        assert (kept["format"], kept["uri"]) == (form, f"{tmp_path}/x.{ending}")


def test_what_comes_in_another_format_is_kept_under_its_own_ending(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    hook: VoiceHook,
    stranger: Stranger,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody says before what sync. labs makes: here MP3 at the emulator, and then WAV."""
    for _ in range(2):  # the second is a retry
        kept = task.run(TTSOperator(task_id="t", text="Hello.", voice_id=BUILT_IN, output=f"{tmp_path}/x.wav"))
        assert (kept["uri"], kept["format"]) == (f"{tmp_path}/x.mp3", "mp3")
    assert len(emulator.ledger("speech")) == 1
    said = capsys.readouterr()
    assert f"has sent audio/mpeg, so it is kept as {tmp_path}/x.mp3" in said.out + said.err
    assert hook.synthesize("Hello.", BUILT_IN, tmp_path / "y.wav").uri == f"{tmp_path}/y.mp3"
    sound = write_wav(tmp_path / "in" / "speech", seconds=2).read_bytes()
    job = {"id": "j1", "url": f"{stranger.url}/speech", "duration": 2.0}
    stranger.answer = lambda request: (
        (200, {"content-type": "audio/wav"}, sound)
        if request.path == "/speech"
        else (200, {"content-type": "application/json"}, json.dumps(job).encode())
    )
    set_connection(host=stranger.url)
    kept = Task().run(TTSOperator(task_id="t", text="Hello.", voice_id=BUILT_IN, output=f"{tmp_path}/z.mp3"))
    assert (kept["uri"], kept["format"]) == (f"{tmp_path}/z.wav", "wav")
    assert sorted(without_records(path.name for path in tmp_path.glob("*.*"))) == ["x.mp3", "y.mp3", "z.wav"]
