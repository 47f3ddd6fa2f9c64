"""A wrong take cannot pass: lines with faults through the operator, over real HTTP."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.exceptions import BudgetError, InvalidInputError, PermanentVoiceError, QuotaError
from voice_provider.lines import checks
from voice_provider.operators import CheckLinesOperator, SpeakLinesOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.emulator.process import EmulatorHandle

GOOD = [
    "The old captain found a wooden box before the storm began.",
    "My sister repaired the red bicycle in the early morning.",
    "Nobody in the village sold 3 silver coins for the first time in years.",
    "Come in.",
    "Doctor Hale noticed an empty bottle under the bridge, and laughed.",
    "A young reporter carried the broken clock without saying a word.",
]
OTHER = "We opened every window because the kitchen was full of smoke and steam."
# What is wrong with a line, and how that is told without transcription and with it.
WRONG: list[tuple[str, dict[str, Any], tuple[str, str], str]] = [
    ("silent", {"kind": "speech_silenced"}, ("drift", "drift"), "nothing is heard"),
    ("half silent", {"kind": "speech_silenced", "share": 0.45}, ("drift", "drift"), "times as long"),
    ("cut", {"kind": "speech_cut", "share": 0.62}, ("inconclusive", "drift"), "its last 5 words are missing"),
    ("swapped", {"kind": "speech_swapped", "body": OTHER}, ("ok", "drift"), "words in a row are not those"),
    ("another voice", {"kind": "speech_other_voice"}, ("drift", "drift"), "sounds like another voice"),
]
TEXTS = {name: f"Every second visitor painted {name} letters on the station wall." for name, *_ in WRONG}
SCRIPT = [{"id": f"good {number}", "text": text} for number, text in enumerate(GOOD)] + [
    {"id": name, "text": text} for name, text in TEXTS.items()
]


class Spoken:
    """A folder of spoken lines, some of them wrong; each test has a copy of its own."""

    def __init__(self, emulator: EmulatorHandle, folder: Path, voice: str) -> None:
        self.emulator, self.folder, self.voice = emulator, folder, voice

    def speak(self, **changes: Any) -> dict[str, Any]:
        where = {"voice_id": self.voice, "output": f"{self.folder}/", "concurrency": 1, "sample_rate": 8000}
        operator = SpeakLinesOperator(task_id="speak", lines=SCRIPT, format="wav", **where, **changes)
        task = Task()
        task.ti.run_id = f"run {changes}"
        return dict(task.run(operator))

    def check(self, **changes: Any) -> dict[str, Any]:
        given = {"spoken": f"{self.folder}/manifest.jsonl", "lines": SCRIPT} | changes
        return dict(Task().run(CheckLinesOperator(task_id="check", **given)))

    def rows(self) -> dict[str, Any]:
        lines = (self.folder / "verdicts.jsonl").read_text().splitlines()
        return {row["id"]: row for row in map(json.loads, lines)}

    def paid(self) -> int:
        return len(self.emulator.ledger("asr"))

    def spent(self) -> float:
        return sum(row["usd"] for row in self.emulator.ledger("asr"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    folder = tmp_path_factory.mktemp("checking")
    with EmulatorProcess(folder / "emulator", engine="tone") as emulator, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(emulator.connection("fish_audio")))
        [voice] = emulator.seed_models(["Narrator"])
        for _, fault, *_ in WRONG:
            emulator.fault(path="/v1/tts", after=len(GOOD), **fault)
        spoken = Spoken(emulator, folder / "out", voice["id"])
        assert spoken.speak()["counts"] == {"spoken": len(SCRIPT)}
        spoken.check()  # measured once, for all tests
        yield spoken


@pytest.fixture
def spoken(made: Spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoken:
    monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(made.emulator.connection("fish_audio")))
    made.emulator.clear_faults()
    copy = tmp_path / "out"
    shutil.copytree(made.folder, copy)
    manifest = copy / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(str(made.folder), str(copy)))
    return Spoken(made.emulator, copy, made.voice)


def test_wrong_takes_are_found_and_good_ones_pass(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    before, bill = spoken.paid(), spoken.spent()
    with pytest.raises(BudgetError, match=r"Listening to 8 takes would cost about \$0\.00.* allowed are \$0\.0001"):
        spoken.check(transcribe=True, max_cost="0.0001")
    monkeypatch.setattr(checks, "measure", None)  # what is known by its hash is not read again
    for transcribe in (False, True):
        result = spoken.check(transcribe=transcribe)
        rows = spoken.rows()
        assert list(rows) == [line["id"] for line in SCRIPT]
        assert {row["verdict"] for name, row in rows.items() if name.startswith("good")} == {"ok"}
        for name, _, expected, told in WRONG:
            assert rows[name]["verdict"] == expected[transcribe], rows[name]
            assert not transcribe or told in "; ".join(rows[name]["reasons"])
        bad = [name for name, _, expected, _ in WRONG if expected[transcribe] == "drift"]
        assert result["bad"] == bad
        assert result["counts"]["drift"] == len(bad)
        assert result["verdicts"] == f"{spoken.folder}/verdicts.jsonl"
        assert (spoken.folder / "verdicts.jsonl").stat().st_mode & 0o777 == 0o640
        assert spoken.paid() - before == result["transcribed"] == (8 if transcribe else 0)
        assert "captain" not in (spoken.folder / "verdicts.jsonl").read_text(), "no words but in transcripts"

    assert result["cost"]["usd"] == pytest.approx(spoken.spent() - bill, abs=1e-5)
    nothing = {"usd": 0, "basis": "computed", "units": {}}
    assert spoken.check(transcribe=True, max_cost=0) == {**result, "transcribed": 0, "cost": nothing}
    assert spoken.paid() - before == 8


def test_what_is_bad_is_spoken_again_and_only_that_is_listened_to(spoken: Spoken) -> None:
    first, before = spoken.check(transcribe=True), spoken.paid()
    again = spoken.speak(redo=first["bad"])
    assert again["counts"] == {"reused": len(GOOD), "spoken": len(WRONG)}
    second = spoken.check(transcribe=True, max_bad=0)
    assert (second["counts"], second["bad"]) == ({"ok": len(SCRIPT)}, [])
    assert spoken.paid() - before == second["transcribed"] == len(WRONG)


def test_more_bad_lines_than_are_allowed_fail_the_task_and_are_named(spoken: Spoken) -> None:
    with pytest.raises(PermanentVoiceError, match=r"3 of 11 lines .*\(max_bad=2\): silent, half silent, another voice"):
        spoken.check(max_bad="2")
    assert spoken.rows()["silent"]["verdict"] == "drift"
    assert len(spoken.check(max_bad=3)["bad"]) == 3


def test_a_sample_is_the_same_each_time_and_what_may_be_wrong_is_heard_besides(spoken: Spoken) -> None:
    doubtful = 1  # the line that was cut
    before = spoken.paid()
    assert spoken.check(transcribe=True, sample="0")["transcribed"] == doubtful
    assert spoken.check(transcribe=True, sample=3)["transcribed"] == 3
    assert spoken.check(transcribe=True, sample="3")["transcribed"] == 0, "they are known"
    some = spoken.check(transcribe=True, sample=0.6)["transcribed"]
    assert 0 <= some < 8 - 4
    assert spoken.check(transcribe=True, sample=1.0)["transcribed"] == 8 - 4 - some
    assert spoken.paid() - before == 8
    for sample in ("-1", "1.5", "many", "nan"):
        with pytest.raises(InvalidInputError, match="sample is"):
            spoken.check(transcribe=True, sample=sample)


def test_transcripts_outlive_what_ends_a_try(spoken: Spoken) -> None:
    before = spoken.paid()
    spoken.emulator.fault("status", "/v1/asr", status=402, after=3, times=None)
    with pytest.raises(QuotaError):
        spoken.check(transcribe=True, concurrency=1)
    assert spoken.paid() - before == 3
    spoken.emulator.clear_faults()
    assert spoken.check(transcribe=True)["transcribed"] == 5
    assert spoken.paid() - before == 8


def test_a_take_that_the_service_does_not_understand_is_no_proof(spoken: Spoken) -> None:
    spoken.emulator.fault("status", "/v1/asr", status=400)
    counts = spoken.check(transcribe=True, concurrency=1)["counts"]
    assert counts["inconclusive"] == 1
    assert any("it was not understood" in "".join(row["reasons"]) for row in spoken.rows().values())


def test_the_other_service_listens_for_nothing(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(spoken.emulator.connection("sync_labs")))
    before = len(spoken.emulator.ledger())
    assert spoken.check(transcribe=True, sample=2)["transcribed"] == 3
    assert len(spoken.emulator.ledger()) == before
    assert spoken.emulator.state()["assets"] == 0


def test_what_is_on_the_disk_counts(spoken: Spoken) -> None:
    (spoken.folder / "verdicts.jsonl").write_text("not what was written there\n")
    manifest = spoken.folder / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    Path(rows[0]["uri"]).unlink()
    with Path(rows[1]["uri"]).open("ab") as file:
        file.write(b"more")
    rows[2] |= {name: rows[4][name] for name in ("uri", "sha256", "seconds")}  # the take of another line
    rows[3] |= {"uri": None, "sha256": None, "outcome": "failed", "error": "it was refused"}
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert spoken.check(transcribe=True)["bad"][:3] == ["good 0", "good 1", "good 2"]
    told = spoken.rows()
    assert "does not exist" in told["good 0"]["reasons"][0]
    assert "its hash is another one" in told["good 1"]["reasons"][0]
    assert "words in a row are not those" in told["good 2"]["reasons"][0]
    assert (told["good 3"]["verdict"], told["good 3"]["reasons"]) == ("inconclusive", ["there is no take of it"])
    assert told["good 4"]["verdict"] == "ok", "the same take is right for its own line"


def test_it_has_to_be_the_script_that_was_spoken(spoken: Spoken) -> None:
    before = (spoken.folder / "verdicts.jsonl").read_text()
    changed = [{**SCRIPT[0], "text": "Something else."}, *SCRIPT[1:]]
    for lines, problem in [
        (changed, "line 'good 0': its text has changed since it was spoken"),
        (SCRIPT[1:], "line 'good 0': the script does not have it"),
        ([*SCRIPT, {"id": "new", "text": "Hello."}], "line 'new': it was not spoken"),
        ("nothing", "lines is 'nothing'"),
    ]:
        with pytest.raises(InvalidInputError, match=problem):
            spoken.check(lines=lines)
    with pytest.raises(InvalidInputError, match="spoken is 'manifest'"):
        spoken.check(spoken="manifest")
    assert (spoken.folder / "verdicts.jsonl").read_text() == before


def test_the_connection_says_what_may_be_read_and_written(
    spoken: Spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = spoken.paid()
    for setting in ("allowed_inputs", "allowed_outputs"):
        elsewhere = spoken.emulator.connection("fish_audio", **{setting: [f"{tmp_path}/elsewhere/"]})
        monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(elsewhere))
        with pytest.raises(InvalidInputError, match=setting):
            spoken.check(transcribe=True)
    assert spoken.paid() == before


def test_results_of_mapped_tasks_are_checked_into_a_folder(spoken: Spoken, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (spoken.folder / "manifest.jsonl").read_text().splitlines()[:2]]
    results = [{"uri": row["uri"], "sha256": row["sha256"]} for row in rows]
    results.append({"uri": f"{tmp_path}/a.pcm", "sha256": "0" * 64})
    lines = [{"text": text} for text in GOOD[:3]]
    with pytest.raises(InvalidInputError, match="output is ''"):
        spoken.check(spoken=results, lines=lines)
    assert spoken.check(spoken=results, lines=lines, output=tmp_path / "v")["counts"] == {"inconclusive": 1, "ok": 2}
    assert "raw samples" in (tmp_path / "v" / "verdicts.jsonl").read_text()


def test_options_are_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="longest_silence"):
        CheckLinesOperator(task_id="t", spoken="/m.jsonl", lines="/l.csv", longest_silence=0)
