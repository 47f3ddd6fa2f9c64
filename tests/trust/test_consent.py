"""Consent: nothing is uploaded without one where it is required, and nobody's name goes further than the check."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

from tests.conftest import write_wav
from tests.files.corpus import snapshot
from voice_provider.exceptions import ConsentError, InvalidInputError, NotAllowedError
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.asset import UploadAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.trust.consent import Consent, check, read_consent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

WHO = "the person who speaks"
GIVEN = {"who": WHO, "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
OURS, OTHER = "a" * 64, "b" * 64


def read(value: Any) -> Consent:
    found = read_consent(value, lambda location: pytest.fail(f"{location} was read"))
    assert found is not None
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sent(emulator: EmulatorHandle) -> list[str]:
    """What was asked of the service that is more than a question."""
    return [request["path"] for request in emulator.requests() if request["method"] in ("POST", "PUT")]


# reading


@pytest.mark.parametrize("value", [None, "", " ", "None"])
def test_nothing_is_no_consent(value: Any) -> None:
    assert read_consent(value, lambda _: "{}") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-31", date(2026, 3, 31)),
        (" 20260331 ", date(2026, 3, 31)),
        (date(2026, 3, 31), date(2026, 3, 31)),
        ("2026-03-31T10:00:00+02:00", datetime(2026, 3, 31, 8, tzinfo=UTC)),
        ("2026-03-31T00:00:00Z", datetime(2026, 3, 31, tzinfo=UTC)),
        (datetime(2026, 3, 31, 8), datetime(2026, 3, 31, 8, tzinfo=UTC)),  # noqa: DTZ001 - that is the point
    ],
)
def test_a_day_or_a_time_is_read_in_every_form(value: Any, expected: date) -> None:
    found = read({**GIVEN, "when": value})
    assert (type(found.when), found.when) == (type(expected), expected)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"who": " "}, "who: "),
        ({"who": None}, "who: "),
        ({"when": "31 March"}, "when: give a date or a time in ISO 8601"),
        ({"when": 20260331}, "when: give a date or a time in ISO 8601"),
        ({"evidence": ""}, "evidence: "),
        ({"expires": True}, "expires: give a date"),
        ({"samples": OURS}, "samples: "),
        ({"samples": ["abc"]}, "samples: give the sha256"),
        ({"id": ""}, "id: "),
        ({f"of {WHO}": "x"}, "there is a field that a consent does not have"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_person_is_not(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"consent cannot be read: {field}") as caught:
        read({**GIVEN, **changes})
    assert WHO not in str(caught.value)
    assert "31 March" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (str(GIVEN), "a template has turned into text"),
        (json.dumps([GIVEN]), "a template has turned into text"),
        ("Ada", "no storage location of a .json file"),
        ("/releases/7.pdf", "no storage location of a .json file"),
        ("https://example.com/7.json", "no storage location of a .json file"),
        (7, "holds a int"),
        ([GIVEN], "holds a list"),
    ],
)
def test_what_is_no_consent_at_all_says_what_to_pass(value: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        read(value)
    assert WHO not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", json.dumps([GIVEN]), json.dumps(WHO)])
def test_a_file_that_holds_no_consent_is_named(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"s3://r/7\.json (is no JSON|holds a)") as caught:
        read_consent("s3://r/7.json", lambda _: text)
    assert WHO not in str(caught.value)


def test_what_goes_on_is_an_id_and_a_hash() -> None:
    found = read({**GIVEN, "expires": "2026-12-31", "samples": [OURS.upper()]})
    assert found.samples == (OURS,)
    assert found.ref.dump() == {"id": found.id, "sha256": found.sha256, "expires": "2027-01-01T00:00:00+00:00"}
    shown = repr(found) + str(found) + repr(found.ref) + json.dumps(found.ref.dump())
    assert WHO not in shown
    assert "releases" not in shown


def test_the_hash_is_that_of_every_field_and_not_of_its_spelling() -> None:
    found = read(GIVEN)
    same = [{**GIVEN, "when": "20260331"}, {**GIVEN, "who": f" {WHO} "}, {**GIVEN, "id": found.id}]
    assert {read(value).sha256 for value in same} == {found.sha256}
    others = [{"who": "X"}, {"when": "2026-03-30"}, {"evidence": "x"}, {"expires": "2027-01-01"}, {"samples": [OURS]}]
    changed = [read({**GIVEN, **change}) for change in [*others, {"id": "release-7"}]]
    assert len({found.sha256, *(one.sha256 for one in changed)}) == 7
    assert len({found.id, *(one.id for one in changed)}) == 7


@pytest.mark.parametrize(
    "change", [{"who": "X"}, {"when": "2026-03-30"}, {"evidence": "x"}, {"expires": "2027-01-01"}, {"samples": [OURS]}]
)
def test_a_consent_with_an_id_of_its_own_has_the_hash_of_every_field_too(change: dict[str, Any]) -> None:
    before, after = read({**GIVEN, "id": "release-7"}), read({**GIVEN, "id": "release-7", **change})
    assert before.id == after.id
    assert before.sha256 != after.sha256


# checking


@pytest.mark.parametrize(
    ("when", "is_future"),
    [
        ("2026-06-01", False),
        ("2026-06-02", False),  # it is that day already in the Pacific
        ("2026-06-03", True),
        ("2026-06-01T12:00:00Z", False),
        ("2026-06-01T12:00:01Z", True),
        ("2026-06-01T13:30:00+02:00", False),
    ],
)
def test_a_consent_of_the_future_does_not_hold(when: str, is_future: bool) -> None:
    consent = read({**GIVEN, "when": when})
    if not is_future:
        check(consent, True, [OURS], NOW)
        return
    with pytest.raises(ConsentError, match="in the future"):
        check(consent, False, [OURS], NOW)


@pytest.mark.parametrize(
    ("expires", "now", "holds"),
    [
        ("2026-06-01", datetime(2026, 6, 1, 23, 59, 59, tzinfo=UTC), True),
        ("2026-06-01", datetime(2026, 6, 2, tzinfo=UTC), False),
        ("2026-06-01T12:00:00Z", datetime(2026, 6, 1, 11, 59, tzinfo=UTC), True),
        ("2026-06-01T12:00:00Z", NOW, False),
    ],
)
def test_a_consent_holds_to_the_end_of_its_last_day(expires: str, now: datetime, holds: bool) -> None:
    consent = read({**GIVEN, "expires": expires})
    if holds:
        check(consent, True, [OURS], now)
        return
    with pytest.raises(ConsentError, match=r"has expired \(2026-06-01.*Ask the person for a new one") as caught:
        check(consent, False, [OURS], now)
    assert WHO not in str(caught.value)


def test_a_consent_is_for_its_samples_only() -> None:
    named = read({**GIVEN, "samples": [OURS]})
    check(named, True, [OURS], NOW)
    check(read(GIVEN), True, [None, OTHER], NOW)
    with pytest.raises(ConsentError, match="bbbbbbbbbbbb…"):
        check(named, True, [OURS, OTHER], NOW)
    with pytest.raises(ConsentError, match="Pass what UploadAssetOperator returned"):
        check(named, False, [None], NOW)


def test_none_is_enough_where_none_is_required() -> None:
    check(None, False, [None], NOW)
    with pytest.raises(ConsentError, match="requires a consent, and there is none"):
        check(None, True, [OURS], NOW)


# before anything is sent


@pytest.fixture(params=["missing", "expired", "future", "another sample"])
def bad(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """A consent that does not hold, and why."""
    return {
        "missing": (None, "there is none"),
        "expired": ({**GIVEN, "expires": "2026-05-31"}, "has expired"),
        "future": ({**GIVEN, "when": "2026-06-03"}, "in the future"),
        "another sample": ({**GIVEN, "samples": [OTHER]}, "for other recordings"),
    }[request.param]


@pytest.fixture
def strict(emulator: EmulatorHandle, set_connection: Callable[..., None]) -> EmulatorHandle:
    """A connection to sync. labs that requires consent."""
    set_connection(require_consent=True)
    return emulator


@pytest.fixture
def strict_fish(emulator: EmulatorHandle, set_connection: Callable[..., None]) -> EmulatorHandle:
    set_connection(service="fish_audio", require_consent="true")
    return emulator


@pytest.fixture
def references(tmp_path: Path) -> list[dict[str, Any]]:
    return [{"audio": str(write_wav(tmp_path / "in" / "clip.wav", seconds=11)), "text": "What is said in it."}]


@time_machine.travel(NOW, tick=True)
def test_no_upload_without_a_consent_that_holds(
    strict: EmulatorHandle, task: Task, sample: Path, bad: tuple[Any, str]
) -> None:
    consent, why = bad
    with pytest.raises(ConsentError, match=why) as caught:
        task.run(UploadAssetOperator(task_id="t", file=str(sample), consent=consent))
    with pytest.raises(ConsentError, match=why):
        VoiceHook.for_connection("voice_default").upload_asset(str(sample), consent=consent)
    assert WHO not in str(caught.value)
    assert sent(strict) == []


@time_machine.travel(NOW, tick=True)
def test_no_clone_without_a_consent_that_holds(strict: EmulatorHandle, sample: Path, bad: tuple[Any, str]) -> None:
    consent, why = bad
    with pytest.raises(ConsentError, match=why):
        VoiceHook.for_connection("voice_default").clone_voice("Ada", str(sample), consent=consent)
    assert sent(strict) == []


@time_machine.travel(NOW, tick=True)
def test_no_instant_clone_without_a_consent_that_holds(
    strict_fish: EmulatorHandle, task: Task, references: list[Any], tmp_path: Path, bad: tuple[Any, str]
) -> None:
    consent, why = bad
    out = f"{tmp_path}/out/"
    with pytest.raises(ConsentError, match=why):
        task.run(TTSOperator(task_id="t", text="Hello.", references=references, consent=consent, output=out))
    with pytest.raises(ConsentError, match=why):
        VoiceHook.for_connection("voice_default").synthesize(
            "Hello.", None, out, references=references, consent=consent
        )
    assert sent(strict_fish) == []
    assert strict_fish.ledger() == []


def test_an_id_does_not_tell_its_hash_and_what_the_upload_returned_does(
    strict: EmulatorHandle, task: Task, sample: Path
) -> None:
    consent = {**GIVEN, "samples": [digest(sample)]}
    uploaded = task.run(UploadAssetOperator(task_id="t", file=str(sample), consent=consent))
    hook = VoiceHook.for_connection("voice_default")
    before = len(sent(strict))
    with pytest.raises(ConsentError, match="Pass what UploadAssetOperator returned"):
        hook.clone_voice("Ada", uploaded["asset_id"], consent=consent)
    assert len(sent(strict)) == before
    assert hook.clone_voice("Ada", uploaded, consent=consent).id


def test_a_consent_that_holds_lets_everything_through_and_goes_on_without_the_person(
    strict: EmulatorHandle,
    task: Task,
    sample: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = task.run(UploadAssetOperator(task_id="t", file=str(sample), consent=GIVEN))
    expected = read(GIVEN)
    assert result["consent"] == {"id": expected.id, "sha256": expected.sha256}
    assert VoiceHook.for_connection("voice_default").clone_voice("Ada", str(sample), consent=GIVEN).id
    told = "".join(capfd.readouterr()) + caplog.text
    assert expected.id in told
    assert WHO not in told + json.dumps(result) + json.dumps(dict(task.store))


def test_a_picture_and_the_inputs_of_a_lip_sync_need_none(
    strict: EmulatorHandle, task: Task, video: Path, sample: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "face.png"
    picture.write_bytes(snapshot("png", "rgb24"))
    assert "consent" not in task.run(UploadAssetOperator(task_id="t", file=str(picture)))
    hook = VoiceHook.for_connection("voice_default")
    assert hook.lip_sync(f"{tmp_path}/o.mp4", video=str(video), audio=[{"media": str(sample)}]).bytes


def test_a_voice_that_is_there_already_speaks_without_one(strict_fish: EmulatorHandle, tmp_path: Path) -> None:
    [voice] = strict_fish.seed_models(["Anybody"])
    assert VoiceHook.for_connection("voice_default").synthesize("Hello.", voice["id"], f"{tmp_path}/out/").bytes


def test_a_connection_that_does_not_require_it_still_checks_what_it_is_given(
    emulator: EmulatorHandle, task: Task, sample: Path
) -> None:
    assert "consent" not in task.run(UploadAssetOperator(task_id="t", file=str(sample)))
    before = len(sent(emulator))
    with pytest.raises(ConsentError, match="has expired"):
        task.run(UploadAssetOperator(task_id="t", file=str(sample), consent={**GIVEN, "expires": "2026-04-01"}))
    assert len(sent(emulator)) == before


# a file in storage


def test_a_file_in_storage_keeps_the_person_out_of_the_task(
    strict: EmulatorHandle, task: Task, sample: Path, s3: Any
) -> None:
    s3.pipe("studio/releases/7.json", json.dumps(GIVEN).encode())
    operator = UploadAssetOperator(task_id="t", file=str(sample), consent="s3://studio/releases/7.json")
    assert task.run(operator)["consent"]["id"] == read(GIVEN).id
    assert "consent" in operator.template_fields


@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        (None, InvalidInputError, "does not exist"),
        (b"not JSON", InvalidInputError, "is no JSON"),
        (b"\xff\xfe\x00", InvalidInputError, "not UTF-8"),
        (json.dumps({"who": WHO}).encode(), InvalidInputError, "when: Field required"),
    ],
)
def test_a_file_that_is_no_good_stops_it(
    strict: EmulatorHandle, task: Task, sample: Path, tmp_path: Path, content: bytes | None, kind: Any, told: str
) -> None:
    file = tmp_path / "consent.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(kind, match=told) as caught:
        task.run(UploadAssetOperator(task_id="t", file=str(sample), consent=str(file)))
    assert WHO not in str(caught.value)
    assert sent(strict) == []


def test_a_file_outside_the_allowed_storage_is_not_read(
    emulator: EmulatorHandle, task: Task, sample: Path, tmp_path: Path, set_connection: Callable[..., None]
) -> None:
    set_connection(require_consent=True, allowed_inputs=[str(sample.parent)])
    (tmp_path / "consent.json").write_text(json.dumps(GIVEN))
    with pytest.raises(NotAllowedError, match="outside the storage"):
        task.run(UploadAssetOperator(task_id="t", file=str(sample), consent=str(tmp_path / "consent.json")))
    assert sent(emulator) == []


@pytest.mark.parametrize(
    "change",
    [{"who": "somebody else"}, {"evidence": "s3://releases/8.pdf"}, {"expires": "2099-12-31"}, {"id": "release-8"}],
)
def test_a_consent_that_was_changed_after_it_was_looked_at_does_not_hold(
    emulator: EmulatorHandle, hook: VoiceHook, task: Task, sample: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    file = tmp_path / "release-7.json"
    file.write_text(json.dumps({**GIVEN, "id": "release-7"}))
    looked = hook.look_at(str(sample), str(file))["consent"]
    file.write_text(json.dumps({**GIVEN, "id": "release-7", **change}))
    for operator in (
        UploadAssetOperator(task_id="t", file=str(sample), consent=looked),
        CloneVoiceOperator(task_id="t", name="Ada", sample=str(sample), consent=looked),
    ):
        with pytest.raises(ConsentError, match=r"release-7\.json is not the one that was looked at.*Look again"):
            task.run(operator)
    with pytest.raises(ConsentError, match="Look again"):
        hook.look_at(str(sample), looked)
    assert sent(emulator) == []
    file.write_text(json.dumps({"id": "release-7", **GIVEN}))  # it may be written anew, if it says the same
    assert task.run(UploadAssetOperator(task_id="t", file=str(sample), consent=looked))["consent"]["id"] == "release-7"
