"""Bad input: each error names the thing, the cause and the next step, and comes before anything is paid."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import write_wav
from voice_provider.exceptions import (
    AuthError,
    InvalidInputError,
    NameTakenError,
    NotAllowedError,
    NotFoundError,
    QuotaError,
    ResultError,
    ServiceUnavailableError,
    SlotLimitError,
    VoiceError,
)
from voice_provider.operators.asset import DeleteAssetOperator, UploadAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import DeleteVoiceOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
NOBODY = "11111111-2222-4333-8444-555555555555"


def refused(task: Task, emulator: EmulatorHandle, operator: Any, kind: type[VoiceError], message: str) -> None:
    """Run the operator: it has to fail with this error, and nothing may be paid or left behind."""
    before = len(emulator.ledger())
    assets = emulator.state()["assets"]
    with pytest.raises(kind, match=message):
        task.run(operator)
    assert len(emulator.ledger()) == before
    assert emulator.state()["assets"] == assets


@pytest.fixture
def speak(tmp_path: Path) -> Callable[..., TTSOperator]:
    def make(**changes: Any) -> TTSOperator:
        values = {"text": "Hello.", "voice_id": BUILT_IN, "output": str(tmp_path / "speech.wav")}
        return TTSOperator(task_id="t", **(values | changes))

    return make


@pytest.fixture
def lip_sync(tmp_path: Path, video: Path, sample: Path) -> Callable[..., LipSyncOperator]:
    def make(**changes: Any) -> LipSyncOperator:
        values = {"video": str(video), "audio": str(sample), "output": str(tmp_path / "out.mp4")}
        return LipSyncOperator(task_id="t", **(values | changes))

    return make


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, r"script is empty.*Nothing was paid"),
        ({"text": "  \n "}, "script is empty"),
        ({"text": "x" * 5001}, r"5,001 characters.*at most 5,000.*SpeakLinesOperator"),
        ({"text": None}, "exactly one of text and text_uri"),
        ({"text_uri": "/nowhere/script.txt"}, "exactly one of text and text_uri"),
        ({"text": None, "text_uri": "/nowhere/script.txt"}, "/nowhere/script.txt.*does not exist"),
        ({"stability": 1.5}, "stability: .*less than or equal to 1.*Nothing was uploaded or paid"),
        ({"similarity_boost": "loud"}, "similarity_boost: .*valid number"),
        ({"voice_id": ""}, "no voices.*Did the task that makes the voice succeed"),
        ({"voice_id": None}, "no voices"),
        ({"voice_id": {"id": 1}}, "no 'voice_id'"),
        ({"output": "speech.wav"}, "output is 'speech.wav'.*absolute path or a URI"),
        ({"output": ""}, "absolute path or a URI"),
        ({"output": "/proc/nowhere/speech.wav"}, "/proc/nowhere/speech.wav cannot be written.*Nothing was paid"),
    ],
)
def test_speech_that_cannot_be_ordered(
    changes: dict[str, Any], message: str, task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]
) -> None:
    refused(task, emulator, speak(**changes), InvalidInputError, message)


def test_an_unknown_voice(task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]) -> None:
    refused(task, emulator, speak(voice_id=NOBODY), NotFoundError, "Check the id|voice")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": None}, "exactly one of video and image"),
        ({"image": "/x.png"}, "exactly one of video and image"),
        ({"audio": None}, "Nothing to say: give audio, text with voice_id, or dub_language"),
        ({"text": "Hi", "voice_id": BUILT_IN}, "2 audio and text inputs, but no segments"),
        ({"dub_language": "de"}, "leave audio and text out"),
        ({"dub_language": "de", "audio": None, "video": None, "image": "/i.png"}, "image says nothing: give video"),
        ({"audio": None, "text": "Hi"}, r"text\.0\.voice_id: "),
        ({"video": None, "image": "/nowhere/i.png"}, "image is taken by model sync-3 only, not by lipsync-2"),
        ({"model": "react-1", "prompt": "glad"}, "prompt is 'glad'; react-1 takes one of happy"),
        ({"temperature": 2}, "temperature: .*less than or equal to 1"),
        ({"sync_mode": "dance"}, "sync_mode: .*bounce"),
        ({"output_file_name": "../x"}, "output_file_name: "),
        (
            {"segments": [{"start_time": 0, "end_time": 1, "audio_input": {"ref_id": "b"}}]},
            "needs a ref_id of its own",
        ),
        (
            {
                "audio": [{"ref_id": "a", "media": "/x.wav"}],
                "segments": [{"start_time": 0, "end_time": 1, "audio_input": {"ref_id": "b"}}],
            },
            "Segment 1 uses ref_id 'b', which no input has. Inputs: a",
        ),
        (
            {
                "audio": [{"ref_id": "a", "media": "/x.wav"}],
                "segments": [{"start_time": 2, "end_time": 1, "audio_input": {"ref_id": "a"}}],
            },
            "ends .*before it starts",
        ),
        ({"audio": [{"ref": "a"}]}, "audio"),
        ({"audio": [7]}, r"audio\.0\.media: it is a int; give a storage location"),
        ({"audio": None, "text": ["Hi"], "voice_id": "x"}, "text holds a str; of several, each is a dict with text"),
        ({"video": "/nowhere/video.mp4"}, "/nowhere/video.mp4 cannot be read: it does not exist"),
        ({"video": "video.mp4"}, "'video.mp4' is no storage location"),
        ({"audio": {"state": "trained"}}, "media input is empty"),
    ],
)
def test_a_lip_sync_that_cannot_be_ordered(
    changes: dict[str, Any], message: str, task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., Any]
) -> None:
    refused(task, emulator, lip_sync(**changes), InvalidInputError, message)
    assert not [request for request in emulator.requests() if request["method"] != "GET"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"Dear diary, this is not a video.", "no audio, video or image, whatever its name says"),
        (b"<html><title>Not found</title></html>", "no audio, video or image"),
    ],
)
def test_a_file_that_is_not_what_it_is_called(
    content: bytes, message: str, task: Task, emulator: EmulatorHandle, tmp_path: Path, lip_sync: Callable[..., Any]
) -> None:
    file = tmp_path / "holiday.mp4"
    file.write_bytes(content)
    refused(task, emulator, UploadAssetOperator(task_id="t", file=str(file)), InvalidInputError, message)
    refused(task, emulator, lip_sync(video=str(file)), InvalidInputError, message)
    refused(task, emulator, CloneVoiceOperator(task_id="t", name="A", sample=str(file)), InvalidInputError, message)


def test_a_folder_instead_of_a_file(task: Task, emulator: EmulatorHandle, tmp_path: Path) -> None:
    operator = UploadAssetOperator(task_id="t", file=str(tmp_path))
    refused(task, emulator, operator, InvalidInputError, f"{tmp_path} cannot be read: .*[Ii]s a directory")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("https://example.com/someone.mp4", "own storage: pass a storage location"),
        ("", "media input is empty"),
        ({"asset_id": NOBODY}, "voice_sample|asset|Check"),
    ],
)
def test_a_sample_that_cannot_be_cloned(sample: Any, message: str, task: Task, emulator: EmulatorHandle) -> None:
    refused(task, emulator, CloneVoiceOperator(task_id="t", name="A", sample=sample), VoiceError, message)


def test_a_sample_that_is_too_short(task: Task, emulator: EmulatorHandle, tmp_path: Path) -> None:
    short = write_wav(tmp_path / "short.wav", seconds=0.3)
    operator = CloneVoiceOperator(task_id="t", name="A", sample=str(short))
    refused(task, emulator, operator, InvalidInputError, "30 s to 2 minutes")


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "A [vp:default:aaaaaaaaaaaaaaaaaaaaaaaaaa:lxtm]"])
def test_a_name_that_no_voice_can_have(
    name: str, task: Task, emulator: EmulatorHandle, sample: Path, request: pytest.FixtureRequest
) -> None:
    if name.startswith("A"):
        name = task.run(CloneVoiceOperator(task_id="t", name="A", sample=str(sample)))["name"]
    operator = CloneVoiceOperator(task_id=request.node.name[:10], name=name, sample=str(sample))
    refused(task, emulator, operator, InvalidInputError, "1 to 100 characters|author's own name")


def test_every_clone_slot_is_in_use(task: Task, emulator: EmulatorHandle, sample: Path) -> None:
    emulator.settings(clone_slots=2)
    emulator.seed_voices(count=2)
    operator = CloneVoiceOperator(task_id="t", name="A", sample=str(sample))
    refused(task, emulator, operator, SlotLimitError, r"clone limit of the plan is reached.*DeleteVoiceOperator")


def test_the_same_voice_twice_is_one_voice(task: Task, emulator: EmulatorHandle, sample: Path) -> None:
    first = task.run(CloneVoiceOperator(task_id="t", name="A", sample=str(sample)))
    task.store.clear()
    again = task.run(CloneVoiceOperator(task_id="t", name="A", sample=str(sample)))
    assert again["voice_id"] == first["voice_id"]
    assert emulator.state()["voices"]["main"] == 1


def test_a_name_that_somebody_else_has_taken(hook: Any, emulator: EmulatorHandle, sample: Path) -> None:
    emulator.seed_voices(["Ann"])
    with pytest.raises(NameTakenError, match="Choose another name, or delete"):
        hook.clone_voice("Ann", str(sample))
    assert emulator.state()["assets"] == 0


@pytest.mark.parametrize(("password", "message"), [("wrong-key", "401.*Check the API key"), ("", "has no API key")])
def test_a_wrong_key(
    password: str,
    message: str,
    task: Task,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    speak: Callable[..., Any],
) -> None:
    set_connection(password=password)
    refused(task, emulator, speak(), AuthError, message)


def test_the_other_401_body(task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]) -> None:
    emulator.fault(
        "status",
        path="/v2/tts",
        status=401,
        body={
            "message": "Either Cookie or x-api-key header must be provided",
            "error": "Unauthorized",
            "statusCode": 401,
        },
    )
    refused(task, emulator, speak(), AuthError, "x-api-key header must be provided.*Check the API key")


def test_no_credit(task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]) -> None:
    emulator.settings(credit_usd=0)
    refused(task, emulator, speak(), QuotaError, "402.*Add credit")


@pytest.mark.parametrize("status", [403, 404, 503])
def test_an_html_page_instead_of_an_answer(
    status: int, task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., Any]
) -> None:
    emulator.fault("html", path="/v2/generate", status=status, times=None)
    with pytest.raises(ServiceUnavailableError, match=f"{status} came with a page .*is no answer of sync. labs"):
        task.run(lip_sync())
    assert emulator.ledger() == []


def test_a_presigned_link_that_has_expired(task: Task, emulator: EmulatorHandle, sample: Path) -> None:
    emulator.fault(
        "status", path="/uploads/*", method="PUT", status=403, body="<Error><Code>AccessDenied</Code></Error>"
    )
    operator = UploadAssetOperator(task_id="t", file=str(sample))
    refused(
        task, emulator, operator, ServiceUnavailableError, r"refused \(403\).*expired.*next try asks for a new link"
    )
    assert task.run(operator)["asset_id"]


@pytest.mark.parametrize("fault", ["truncate_clean", "empty", "corrupt"])
def test_a_result_that_is_cut_short_empty_or_not_media_is_never_kept(
    fault: str, task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., Any], tmp_path: Path
) -> None:
    emulator.fault(fault, path="/results/*")
    with pytest.raises(ResultError, match=r"came is unusable: .*fetched again by a retry"):
        task.run(lip_sync())
    assert not [path for path in tmp_path.iterdir() if "out" in path.name or path.name.startswith(".")]
    assert task.run(lip_sync())["bytes"] > 0
    assert len(emulator.ledger("lip_sync")) == 1


def test_a_result_whose_transfer_breaks_is_gone_on_with(
    task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., Any]
) -> None:
    emulator.fault("truncate", path="/results/*", bytes=300)
    assert task.run(lip_sync())["bytes"] > 300
    assert len(emulator.ledger("lip_sync")) == 1


@pytest.mark.parametrize("where", ["input", "output"])
def test_a_location_that_the_connection_does_not_allow(
    where: str,
    task: Task,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    lip_sync: Callable[..., Any],
    tmp_path: Path,
) -> None:
    set_connection(**{f"allowed_{where}s": [str(tmp_path / "elsewhere")]})
    refused(
        task, emulator, lip_sync(), NotAllowedError, rf"{where} location .* is outside .*add it to allowed_{where}s"
    )


@pytest.mark.parametrize("nothing", [None, "", "None", [], [None]])
def test_a_teardown_without_anything_to_tear_down_sends_nothing(
    nothing: Any, task: Task, emulator: EmulatorHandle
) -> None:
    assert task.run(DeleteVoiceOperator(task_id="t", voice=nothing)) == {"deleted": []}
    assert task.run(DeleteAssetOperator(task_id="t", asset=nothing)) == {"deleted": []}
    assert emulator.requests() == []


def test_deleting_twice_is_a_success_that_says_so(task: Task, emulator: EmulatorHandle, sample: Path) -> None:
    voice = task.run(CloneVoiceOperator(task_id="t", name="A", sample=str(sample)))
    assert task.run(DeleteVoiceOperator(task_id="t", voice=voice)) == {"deleted": [voice["voice_id"]]}
    assert task.run(DeleteVoiceOperator(task_id="t", voice=voice)) == {"deleted": []}
    assert emulator.state()["voices"].get("main", 0) == 0


def test_an_id_that_would_change_the_path_is_refused(task: Task, emulator: EmulatorHandle) -> None:
    refused(task, emulator, DeleteVoiceOperator(task_id="t", voice="../assets/1"), InvalidInputError, "not an id")
    assert emulator.requests() == []


@pytest.mark.parametrize("rendered", ["{'service': 'sync_labs', 'voice_id': 'x'}", "['x']"])
def test_a_teardown_is_no_success_when_a_template_turned_its_ids_into_text(
    rendered: str, task: Task, emulator: EmulatorHandle
) -> None:
    operator = DeleteVoiceOperator(task_id="t", voice=rendered)
    refused(task, emulator, operator, InvalidInputError, r"turned into text\. Pass the other task's \.output")


def test_an_interval_may_be_written_in_every_form_of_airflow() -> None:
    for value in (5, 5.0, "5", timedelta(seconds=5)):
        assert TTSOperator(task_id="t", text="x", voice_id="y", output="/z", poll_interval=value).poll_interval == 5


@pytest.mark.parametrize("value", ["5s", 0, -1, float("nan")])
def test_an_interval_that_cannot_be_waited_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    with pytest.raises(ValueError, match=r"poll_interval|could not convert"):
        TTSOperator(task_id="t", text="x", voice_id="y", output="/z", poll_interval=value)


def test_what_nothing_was_rendered_to_is_not_spoken(
    task: Task, emulator: EmulatorHandle, speak: Callable[..., Any], lip_sync: Callable[..., Any]
) -> None:
    refused(task, emulator, speak(text="None"), InvalidInputError, "script is empty")
    refused(task, emulator, lip_sync(audio="None"), InvalidInputError, "Nothing to say")
    refused(task, emulator, UploadAssetOperator(task_id="t", file=None), InvalidInputError, "file is empty")


def test_native_types_from_templates_are_texts(task: Task, emulator: EmulatorHandle, speak: Callable[..., Any]) -> None:
    assert task.run(speak(text=2026))["bytes"] > 0
    assert emulator.ledger("speech")[0]["units"] == 4


def test_options_that_a_model_ignores_are_warned_of(
    emulator: EmulatorHandle, task: Task, lip_sync: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    operator = lip_sync(model="sync-3", temperature=0.9, prompt="happy")
    order = operator.order(task.context)
    warnings = operator.hook.service.check_lip_sync(order.options)
    assert [text.split()[0] for text in warnings] == ["temperature", "prompt"]
    assert emulator.ledger() == []


@pytest.mark.parametrize("cut", ["video", "audio"])
def test_a_lip_sync_of_a_file_that_is_cut_short_is_refused_before_it_is_uploaded(
    task: Task, emulator: EmulatorHandle, lip_sync: Callable[..., LipSyncOperator], tmp_path: Path, cut: str
) -> None:
    operator = lip_sync()
    whole = Path(getattr(operator, cut))
    short = tmp_path / f"cut{whole.suffix}"
    short.write_bytes(whole.read_bytes()[:-400])
    refused(task, emulator, lip_sync(**{cut: str(short)}), InvalidInputError, "cut short.*Was it written completely")
    assert [request for request in emulator.requests() if request["method"] != "GET"] == []
