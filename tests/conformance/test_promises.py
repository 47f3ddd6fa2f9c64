"""What the provider promises, at every service: paid once, kept whole, errors that name the next step."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import without_records
from voice_provider.exceptions import (
    AuthError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentVoiceError,
    QuotaError,
    ResultError,
    ServiceUnavailableError,
    UnusableSpeechError,
)
from voice_provider.models import Capability
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import DeleteVoiceOperator

if TYPE_CHECKING:
    from tests.conformance.conftest import World

LINE = "Good evening, and welcome to the news of this hour."
PATHS = {"sync_labs": ("/v2/voices", "/v2/tts"), "fish_audio": ("/model", "/v1/tts")}


@pytest.fixture
def clone_path(world: World) -> str:
    return PATHS[world.service][0]


@pytest.fixture
def speech_path(world: World) -> str:
    return PATHS[world.service][1]


def voices(world: World) -> list[str]:
    """The clones that exist at the service."""
    return [voice.id for voice in world.hook.list_voices() if " [vp:" in voice.name]


def speaking(world: World, **options: Any) -> TTSOperator:
    world.folder.mkdir(exist_ok=True)
    return TTSOperator(task_id="t", text=LINE, voice_id=world.voice_id(), output=f"{world.folder}/", **options)


def cloning(world: World, **options: Any) -> CloneVoiceOperator:
    return CloneVoiceOperator(task_id="t", name="Ann", sample=str(world.sample), **options)


def test_speech_is_kept_whole_and_paid_once(world: World) -> None:
    result = world.task.run(speaking(world))
    kept = Path(result["uri"])
    assert without_records(path.name for path in world.folder.iterdir()) == [kept.name]
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == result["sha256"]
    again = world.task.run(speaking(world))
    assert (again["uri"], again["sha256"]) == (result["uri"], result["sha256"])
    assert len(world.emulator.ledger("speech")) == 1


def test_clearing_a_finished_speech_is_a_new_order(world: World) -> None:
    world.task.run(speaking(world))
    world.task.clear()
    world.task.run(speaking(world))
    assert len(world.emulator.ledger("speech")) == 2


def test_a_lost_answer_to_a_clone_makes_one_voice(world: World, clone_path: str) -> None:
    world.emulator.fault("drop_after", path=clone_path, method="POST", times=1)
    voice = world.task.run(cloning(world))
    assert voices(world) == [voice["voice_id"]]


def test_a_clone_that_is_asked_for_again_is_the_same_voice(world: World) -> None:
    first = world.task.run(cloning(world))
    world.task.clear()
    assert world.task.run(cloning(world))["voice_id"] == first["voice_id"]
    world.task.store.clear()  # another task, another run
    world.task.ti.run_id = "another"
    assert world.task.run(cloning(world))["voice_id"] == first["voice_id"]
    assert len(voices(world)) == 1


def test_a_voice_that_a_person_named_is_never_adopted(world: World) -> None:
    world.hook.clone_voice("Ann", str(world.sample))
    managed = world.task.run(cloning(world))
    assert len(voices(world)) == 1
    assert managed["name"].startswith("Ann [vp:default:")


def test_a_lost_answer_to_speech_is_not_paid_a_second_time(world: World, speech_path: str) -> None:
    world.emulator.fault("drop_after", path=speech_path, method="POST", times=1)
    with pytest.raises(OutcomeUnknownError, match="on_unknown_outcome='resubmit'"):
        world.task.run(speaking(world))
    with pytest.raises(OutcomeUnknownError):
        world.task.run(speaking(world))
    assert len(world.emulator.ledger("speech")) == 1
    assert list(world.folder.iterdir()) == []


def test_a_lost_answer_is_bought_again_where_the_author_says_so(world: World, speech_path: str) -> None:
    world.emulator.fault("drop_after", path=speech_path, method="POST", times=1)
    assert world.task.run(speaking(world, on_unknown_outcome="resubmit"))["bytes"] > 0
    assert len(world.emulator.ledger("speech")) == 2


def test_an_order_is_bought_at_most_twice(world: World, speech_path: str) -> None:
    world.emulator.fault("drop_after", path=speech_path, method="POST", times=9)
    for _ in range(3):  # in all the tries of an order
        with pytest.raises(OutcomeUnknownError, match="ordered a second time already"):
            world.task.run(speaking(world, on_unknown_outcome="resubmit"))
    assert len(world.emulator.ledger("speech")) == 2


@pytest.mark.parametrize("kind", ["drop_before", "status"])
def test_an_outage_of_a_moment_is_not_noticed(world: World, clone_path: str, kind: str) -> None:
    settings = {"status": 503} if kind == "status" else {}
    world.hook.clone_voice("Ann", str(world.sample))
    before = world.hook.list_voices()
    world.emulator.fault(kind, path=clone_path, method="GET", times=2, **settings)
    assert world.hook.list_voices() == before != []
    assert [fault["fired"] for fault in world.emulator.faults()] == [2]


def test_a_page_instead_of_an_answer_is_an_outage(world: World, clone_path: str) -> None:
    world.emulator.fault("html", path=clone_path, method="GET", status=503, times=9)
    with pytest.raises(ServiceUnavailableError) as error:
        world.hook.list_voices()
    assert "<html" not in str(error.value).lower()


def test_a_wrong_key_is_said_so(world: World, set_connection: Any) -> None:
    operators = (speaking(world), cloning(world))
    set_connection(service=world.service, password="not-the-key-of-anybody")
    for operator in operators:
        with pytest.raises(AuthError, match="Check the API key"):
            operator.execute(world.task.context)
    assert world.emulator.ledger() == []


def test_an_empty_wallet_is_said_so(world: World) -> None:
    operator = speaking(world)
    world.emulator.settings(credit_usd=0, fish_credit_usd=0)
    with pytest.raises(QuotaError, match="credit"):
        world.task.run(operator)
    assert world.emulator.ledger() == []
    assert list(world.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text": "  "}, "empty"),
        ({"text": LINE, "options": {"no_such_option": 1}}, "no_such_option is no option of"),
        ({"text": LINE, "output": "relative/path.mp3"}, "absolute path"),
    ],
)
def test_a_bad_order_is_refused_before_anything_is_sent(world: World, options: dict[str, Any], expected: str) -> None:
    world.folder.mkdir()
    values = {"task_id": "t", "voice_id": world.voice_id(), "output": f"{world.folder}/", **options}
    before = world.changes
    with pytest.raises(InvalidInputError, match=expected):
        world.task.run(TTSOperator(**values))
    assert world.changes == before


@pytest.mark.parametrize("name", ["not-media.wav", "empty.wav", "missing.wav"])
def test_a_bad_sample_is_refused_before_anything_is_sent(world: World, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "missing.wav":
        path.write_bytes(b"" if "empty" in name else b"Only text, whatever the name says.")
    with pytest.raises(InvalidInputError, match=name):
        world.task.run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(path)))
    assert world.changes == []


def test_an_unknown_voice_is_named(world: World) -> None:
    world.folder.mkdir()
    operator = TTSOperator(task_id="t", text=LINE, voice_id="0" * 32, output=f"{world.folder}/")
    with pytest.raises(PermanentVoiceError, match=r"(?i)voice"):
        world.task.run(operator)
    with pytest.raises(NotFoundError):
        world.hook.get_voice("0" * 32)
    assert world.emulator.ledger("speech") == []
    assert list(world.folder.iterdir()) == []


def test_deleting_a_voice_twice_is_a_success(world: World) -> None:
    voice = world.run(cloning(world))
    assert world.run(DeleteVoiceOperator(task_id="t", voice=voice)) == {"deleted": [voice["voice_id"]]}
    assert world.run(DeleteVoiceOperator(task_id="t", voice=voice)) == {"deleted": []}
    assert world.run(DeleteVoiceOperator(task_id="t", voice=None)) == {"deleted": []}


@pytest.mark.parametrize("fault", ["truncate", "empty", "html"])
def test_nothing_that_is_not_whole_is_ever_kept(world: World, speech_path: str, fault: str) -> None:
    """Where the file is fetched for nothing it is fetched again; where it is the paid answer itself, it is not."""
    operator = speaking(world)
    fetched = Capability.ASYNC_SPEECH in world.hook.service.capabilities
    where = {"path": "/speech/*"} if fetched else {"path": speech_path, "method": "POST"}
    world.emulator.fault(fault, times=1, **where, **({"status": 200} if fault == "html" else {}))
    if not fetched:
        lost = OutcomeUnknownError if fault == "html" else UnusableSpeechError  # a page is nobody's word
        with pytest.raises(lost, match="may be billed"):
            world.task.run(operator)
    elif fault != "truncate":  # what breaks off is gone on with at once
        with pytest.raises(ResultError, match="fetched again by a retry"):
            world.task.run(operator)
    if fault != "truncate" or not fetched:
        assert list(world.folder.iterdir()) == []
    if fetched:
        result = world.task.run(operator)
        assert without_records(path.name for path in world.folder.iterdir()) == [Path(result["uri"]).name]
        assert Path(result["uri"]).stat().st_size == result["bytes"]
    assert [rule["fired"] for rule in world.emulator.faults()] == [1]
    assert len(world.emulator.ledger("speech")) == (fault != "html" or fetched)
