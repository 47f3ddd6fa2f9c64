"""Scripts of many lines through the operator: each line is paid once, whatever ends a try, and all of them are told."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, without_records
from voice_provider.exceptions import (
    InvalidInputError,
    JobTimeoutError,
    NotPublishedError,
    OutcomeUnknownError,
    PermanentVoiceError,
    QuotaError,
    StaleTryError,
    TransientVoiceError,
)
from voice_provider.files import transfer
from voice_provider.files.media import probe
from voice_provider.files.receiving import Download
from voice_provider.files.storage import Output
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs.store import Attempt, LocalFolder
from voice_provider.lines import journal as lines_journal
from voice_provider.lines import run, speaking
from voice_provider.lines.journal import Journal
from voice_provider.lines.manifest import Row, read_manifest
from voice_provider.lines.run import ScriptRun
from voice_provider.lines.speaking import Speaking
from voice_provider.operators import SpeakLinesOperator
from voice_provider.trust.provenance import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from voice_provider.emulator.process import EmulatorHandle

SCRIPT = [{"id": name, "text": f"Line {name}."} for name in ("a", "b", "c", "d", "e", "f")]


class Killed(BaseException):
    """What ends a try without a word."""


class Lines:
    """Runs scripts into one folder, as tries of a task instance, and counts what was paid."""

    def __init__(self, emulator: EmulatorHandle, folder: Path, voice: str) -> None:
        self.emulator, self.folder, self.voice = emulator, folder, voice
        self.task, self.tries, self.bill = self.a_task(), 0, 0

    def a_task(self, **ids: Any) -> Task:
        task = Task()
        vars(task.ti).update(ids)
        return task

    def run(self, lines: Any = SCRIPT, task: Task | None = None, **changes: Any) -> dict[str, Any]:
        task = task or self.task
        self.tries += 1
        task.ti.try_number, task.ti.id = self.tries, f"01990{self.tries:03d}-0000-7000-8000-000000000000"
        values = {"voice_id": self.voice, "output": f"{self.folder}/", "concurrency": 2, "format": "wav"} | changes
        result: dict[str, Any] = task.run(SpeakLinesOperator(task_id="t", lines=lines, **values))
        return result

    def paid(self) -> int:
        """Return how many lines were paid since it was asked last."""
        total = len(self.emulator.ledger("speech"))
        new, self.bill = total - self.bill, total
        return new

    def spent(self) -> float:
        """Return what the service has put on the bill, in dollars."""
        return sum(row["usd"] for row in self.emulator.ledger())

    def rows(self) -> dict[str, Row]:
        """Read the manifest, and check that each take it names is whole and the one it says; so says its record."""
        rows = {row.id: row for row in read_manifest(f"{self.folder}/manifest.jsonl")}
        for row in rows.values():
            if row.uri is not None:
                with Path(row.uri).open("rb") as file:
                    info = probe(file, Path(row.uri).stat().st_size)
                assert row.seconds == pytest.approx(info.seconds)
                record, problem = verify(row.uri)
                assert (problem, record and record.file.sha256) == (None, row.sha256)
        return rows

    def outcomes(self) -> dict[str, str]:
        return {row.id: row.outcome for row in self.rows().values()}


@pytest.fixture
def lines(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Lines:
    set_connection(service="fish_audio")
    monkeypatch.setattr(speaking, "FIRST_PAUSE", 0.01)
    [voice] = emulator.seed_models(["Anybody"])
    return Lines(emulator, tmp_path / "out", voice["id"])


@contextmanager
def dies(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, at: int = 1, *, after: bool = False) -> Iterator[None]:
    """Let the next try die at a call, before it or after it was carried out; then nothing is written any more."""
    real, calls = getattr(where, name), []

    def call(*args: Any, **values: Any) -> Any:
        calls.append(1)
        if len(calls) < at:
            return real(*args, **values)
        if after and len(calls) == at:
            real(*args, **values)
        raise Killed

    def end(_: ScriptRun) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ScriptRun, "end", end)
        patch.setattr(where, name, call)
        yield


def test_a_script_is_spoken_once_and_what_changes_costs_what_it_changes(lines: Lines) -> None:
    result = lines.run()
    assert result == {
        "service": "fish_audio",
        "voice_conn_id": "voice_default",
        "manifest": f"{lines.folder}/manifest.jsonl",
        "counts": {"spoken": 6},
        "seconds": pytest.approx(sum(row.seconds or 0 for row in lines.rows().values()), abs=0.01),
        "cost": {"usd": 0.00063, "basis": "computed", "units": {"bytes": 42}},
    }
    assert lines.paid() == 6
    other = lines.a_task(run_id="tomorrow")
    cases: list[tuple[str, Any, dict[str, Any], int]] = [
        ("nothing", SCRIPT, {}, 0),
        ("order and ids", [{**line, "id": line["id"] * 2} for line in reversed(SCRIPT)], {}, 0),
        (
            "notes and times",
            [{**line, "mood": "sad", "start": 1, "file": f"{line['id']}.wav"} for line in SCRIPT],
            {},
            0,
        ),
        ("a word", [{"id": "a", "text": "Line one."}, *SCRIPT[1:]], {}, 1),
        ("equal lines", [{"text": "Twice."}, {"text": " Twice. "}], {}, 1),
        ("equal lines, two takes", [{"text": "Twice.", "take": "1"}, {"text": "Twice.", "take": "2"}], {}, 2),
        ("an option of one line", [{**SCRIPT[0], "speed": 1.2}, *SCRIPT[1:]], {}, 1),
        ("an option of all", SCRIPT[:2], {"volume": -3}, 2),
    ]
    paid = {}
    for name, script, changes, _ in cases:
        bill = lines.spent()
        told = lines.run(script, other, **changes)
        counts = told["counts"]
        paid[name] = lines.paid()
        assert told["cost"]["usd"] == pytest.approx(lines.spent() - bill), name
        assert sum(row.cost["usd"] for row in lines.rows().values() if row.cost) == pytest.approx(
            lines.spent() - bill
        ), name
        assert sum(counts.values()) == len(script), name
        assert lines.rows().keys() == {line.get("id", str(n)) for n, line in enumerate(script, 1)}, name
    assert paid == {name: count for name, *_, count in cases}
    left = without_records(path.name for path in lines.folder.iterdir())
    assert left == [*(f"{line['id']}.wav" for line in SCRIPT), "journal", "manifest.jsonl", "takes"]
    assert len(list((lines.folder / "journal").iterdir())) == 1
    takes = without_records(path.name for path in (lines.folder / "takes").iterdir())
    assert not [name for name in takes if not name.endswith(".wav")]
    assert "Line" not in "".join(path.read_text() for path in (lines.folder / "journal").iterdir())


def test_a_script_from_storage_and_voices_by_name(lines: Lines, tmp_path: Path) -> None:
    [other] = lines.emulator.seed_models(["Other"])
    script = tmp_path / "script.csv"
    script.write_text("id,text,voice,speed\n1,Hello.,Ann,\n2,Hello.,Bob,1.1\n3,Hello.,,\n")
    clone = {"voice_id": other["id"], "name": "Bob"}
    assert lines.run(str(script), voices={"Ann": lines.voice, "Bob": clone})["counts"] == {"spoken": 3}
    assert lines.paid() == 2  # the first and the third are one take
    rows = lines.rows()
    assert rows["1"].uri == rows["3"].uri != rows["2"].uri


def test_only_what_is_missing_has_to_be_within_the_budget(lines: Lines) -> None:
    two = [{"text": "One."}, {"text": "Two."}]
    lines.run(two)
    three = [*two, {"text": "Three three three."}]
    takes = sorted(path.name for path in (lines.folder / "takes").iterdir())
    refused: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
        (three, {"max_cost": 0.0001}, r"1 takes that are missing would cost about \$0.00027, allowed are \$0.0001"),
        (two, {"max_cost": "0.00001", "redo": ["2"]}, "nothing was uploaded or paid"),
        (three, {"max_cost": 1, "model": "of-next-year"}, "not known what the 3 takes that are missing would cost"),
        (three, {"max_cost": "much"}, "max_cost is 'much'"),
    ]
    for script, changes, why in refused:
        with pytest.raises(PermanentVoiceError, match=why):
            lines.run(script, **changes)
    assert lines.paid() == 2
    assert sorted(path.name for path in (lines.folder / "takes").iterdir()) == takes
    assert lines.run(three, max_cost=0.0003)["counts"] == {"reused": 2, "spoken": 1}
    assert lines.run(three, max_cost=0)["cost"] == {"usd": 0, "basis": "computed", "units": {}}


def test_what_is_wrong_costs_nothing(lines: Lines) -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([{"text": "Hi"}, {"text": " "}], {}, "item 2, column 'text': it is empty"),
        ([{"text": "Hi", "speed": 9}], {}, "item 1: .*speed"),
        ([{"text": "Hi", "voice": "Zoe"}], {"voices": {"Ann": "a"}}, "'Zoe' is not in voices="),
        ([{"text": "Hi"}], {"voice_id": None}, "item 1: it has no voices"),
        ([{"text": "Hi"}], {"redo": ["7"]}, "redo names lines that the script does not have: 7"),
        ([{"text": "Hi"}], {"output": "here"}, "output is 'here'"),
        ("script.csv", {}, "give the location of a script"),
        ("/nowhere/script.csv", {}, "does not exist"),
        ([{"text": "Hi"}], {"voices": "Ann"}, "voices is no dict"),
    ]
    for script, changes, message in cases:
        with pytest.raises(InvalidInputError, match=message):
            lines.run(script, **changes)
    assert lines.emulator.requests("/v1/tts") == []
    for argument in ({"on_line_error": "go"}, {"on_unknown_outcome": "no"}, {"timeout": 0}):
        with pytest.raises(ValueError, match=next(iter(argument))):
            lines.run(**argument)


# where a try dies, how many were paid then, and what the next one makes of each line
KILLS: list[tuple[str, Any, str, int, bool, int, str]] = [
    ("before the window is written", Journal, "write", 3, False, 0, "ssssss"),
    ("after the window is written", Journal, "write", 3, True, 0, "uuuuss"),
    ("between the answer and its receipt", Download, "note", 3, False, 3, "rruuss"),
    ("between the receipt and the take", Download, "publish", 3, False, 3, "rrruss"),
    ("between a take and the next line", Download, "publish", 3, True, 3, "rrruss"),
    ("between the takes and the manifest", ScriptRun, "end", 1, False, 6, "rrrrrr"),
]


@pytest.mark.parametrize("case", KILLS, ids=[case[0] for case in KILLS])
def test_after_a_kill_only_lines_of_the_open_window_without_a_take_are_in_doubt(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, case: tuple[str, Any, str, int, bool, int, str]
) -> None:
    _, where, name, at, after, paid, then = case
    with dies(monkeypatch, where, name, at, after=after), pytest.raises(Killed):
        lines.run(concurrency=1)
    assert lines.paid() == paid
    doubtful = [line["id"] for line, outcome in zip(SCRIPT, then, strict=True) if outcome == "u"]
    if doubtful:
        for outcomes in (then, then.replace("s", "r")):  # one more retry changes nothing
            with pytest.raises(OutcomeUnknownError, match=f"{len(doubtful)} of them may be paid: {doubtful[0]}"):
                lines.run()
            assert "".join(outcome[0] for outcome in lines.outcomes().values()) == outcomes
            assert lines.paid() == outcomes.count("s")
        assert lines.run(on_unknown_outcome="resubmit")["counts"]["spoken"] == len(doubtful) == lines.paid()
    else:  # the window had not been opened, or all of it was there
        lines.run()
        assert "".join(outcome[0] for outcome in lines.outcomes().values()) == then
    assert lines.run()["counts"] == {"reused": 6}
    assert not [path.name for path in (lines.folder / "takes").iterdir() if path.name.startswith(".")]


def test_an_answer_that_is_lost_is_bought_once_more_at_most(lines: Lines) -> None:
    lines.emulator.fault("drop_after", "/v1/tts", after=1, times=1)
    with pytest.raises(OutcomeUnknownError, match="1 of them may be paid: b"):
        lines.run(concurrency=1)
    assert lines.outcomes() | {"b": "unknown"} == dict.fromkeys("acdef", "spoken") | {"b": "unknown"}
    assert lines.paid() == 6
    lines.emulator.fault("drop_after", "/v1/tts", times=1)
    for _ in range(3):
        with pytest.raises(OutcomeUnknownError):
            lines.run(on_unknown_outcome="resubmit")
    assert lines.paid() == 1
    assert lines.run(redo=["b"])["counts"] == {"reused": 5, "spoken": 1}  # a person has decided
    assert lines.paid() == 1


def test_redo_buys_again_once_and_once_more_after_a_clear(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    lines.run()
    lines.paid()
    with dies(monkeypatch, ScriptRun, "end"), pytest.raises(Killed):
        lines.run(redo=["b", "c"])
    assert lines.paid() == 2
    assert lines.run(redo=["b", "c"])["counts"] == {"reused": 6}
    assert lines.paid() == 0
    lines.rows()  # tells of the takes that are there, not of those before
    lines.task.clear()
    assert lines.run(redo="b")["counts"] == {"reused": 5, "spoken": 1}


def test_too_many_at_a_time_is_no_failed_line(lines: Lines) -> None:
    lines.emulator.fault("status", "/v1/tts", status=429, times=5)
    assert lines.run(concurrency=4)["counts"] == {"spoken": 6}
    assert lines.paid() == 6


def test_as_many_go_at_a_time_as_are_allowed(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, set_connection: Callable[..., None]
) -> None:
    paces: list[int] = []
    real = Speaking.run

    def run(self: Speaking, wanted: Any) -> None:
        paces.append(self._pace.most)
        real(self, wanted)

    monkeypatch.setattr(Speaking, "run", run)
    limit = VoiceHook.for_connection("voice_default").room().limit
    lines.run(SCRIPT[:1], concurrency=None)
    lines.run(SCRIPT[1:2], concurrency=3)
    set_connection(service="fish_audio", concurrency=2)
    lines.run(SCRIPT[2:3], concurrency=None)
    lines.run(SCRIPT[3:4], concurrency=7)
    assert limit not in (2, 3, 7)
    assert paces == [limit, 3, 2, 7]


def test_nobody_answers_for_too_long(lines: Lines) -> None:
    lines.emulator.fault("status", "/v1/tts", status=429, times=None)
    with pytest.raises(JobTimeoutError, match="No line was accepted"):
        lines.run(timeout=0.3)
    assert set(lines.outcomes().values()) == {"missing"}
    lines.emulator.clear_faults()
    assert lines.run()["counts"] == {"spoken": 6}


def test_a_line_that_fails_lets_the_others_be_spoken_or_stops_them(lines: Lines) -> None:
    lines.emulator.fault("status", "/v1/tts", status=422, times=1)
    with pytest.raises(PermanentVoiceError, match="1 of 6 lines have no take"):
        lines.run(concurrency=1)
    assert "".join(outcome[0] for outcome in lines.outcomes().values()) == "fsssss"
    assert lines.run(max_failed=1)["counts"] == {"failed": 1, "reused": 5}  # a retry does not ask again for what fails
    lines.task.clear()
    assert lines.run()["counts"] == {"reused": 5, "spoken": 1}
    other = [{"id": str(n), "text": f"Number {n}."} for n in range(4)]
    lines.emulator.fault("status", "/v1/tts", status=422, times=1, after=1)
    with pytest.raises(PermanentVoiceError):
        lines.run(other, concurrency=1, on_line_error="stop")
    assert "".join(outcome[0] for outcome in lines.outcomes().values()) == "sfmm"


def test_what_every_line_would_meet_stops_at_once(lines: Lines) -> None:
    lines.emulator.fault("status", "/v1/tts", status=402, times=None)
    with pytest.raises(QuotaError):
        lines.run(concurrency=1)
    assert len(lines.emulator.requests("/v1/tts")) == 1
    assert "".join(outcome[0] for outcome in lines.outcomes().values()) == "fmmmmm"
    lines.emulator.clear_faults()
    assert lines.run()["counts"] == {"spoken": 6}


def test_a_take_that_cannot_be_put_in_its_place_is_not_paid_again(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OSError("the storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "PAUSE", lambda _: 0.01)
        patch.setattr(Download, "_move", away)
        with pytest.raises(NotPublishedError):
            lines.run(concurrency=1)
    assert lines.paid() == 1
    assert lines.run()["counts"] == {"reused": 1, "spoken": 5}
    assert lines.paid() == 5


def test_two_runs_do_not_speak_into_one_folder(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    other = lines.a_task(run_id="tomorrow")
    with dies(monkeypatch, ScriptRun, "end"), pytest.raises(Killed):
        lines.run(SCRIPT[:3])
    with pytest.raises(TransientVoiceError, match=r'"run".* speaks into .*A retry goes on'):
        lines.run(task=other)
    assert lines.paid() == 3
    monkeypatch.setattr(lines_journal, "EXPIRES", 0.0)  # it was killed, and time has gone by
    assert lines.run(task=other)["counts"] == {"reused": 3, "spoken": 3}


def test_a_run_that_was_taken_for_dead_sends_nothing_more(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Journal(f"{lines.folder}/", "one", Attempt("a", 1))
    with pytest.raises(TransientVoiceError):
        Journal(f"{lines.folder}/", "other", Attempt("b", 1))
    monkeypatch.setattr(lines_journal, "EXPIRES", 0.0)
    second = Journal(f"{lines.folder}/", "other", Attempt("b", 1))
    third = Journal(f"{lines.folder}/", "other", Attempt("c", 2))  # a retry takes over at once
    for stale in (first, second):
        with pytest.raises(StaleTryError):
            stale.write()
    with pytest.raises(StaleTryError):
        Journal(f"{lines.folder}/", "other", Attempt("b", 1))
    third.close()
    monkeypatch.undo()
    Journal(f"{lines.folder}/", "one", Attempt("a", 1))


# A call of a try, after which it stands still; meanwhile the next try speaks the line anew, and copies it.
STANDS: list[tuple[str, Any, str, int]] = [
    ("it has deleted the take that is spoken anew", run, "remove", 1),
    ("it has deleted the record of that, too", run, "remove", 2),
    ("it has claimed the folder", LocalFolder, "create", 1),
    ("it has copied a take", Output, "copy", 1),
]


def test_a_run_that_stood_still_leaves_in_peace_what_another_has_made_since(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer, again = [{**line, "file": f"{line['id']}.wav"} for line in SCRIPT[:3]], {"redo": ["a"], "concurrency": 1}
    script = longer[:2]
    for number, (name, owner, method, at) in enumerate(STANDS):
        lines.folder, lines.task = lines.folder.parent / str(number), lines.a_task(run_id=str(number))
        lines.run(script)
        for copy in lines.folder.glob("*.wav"):
            copy.unlink()
        lines.paid()
        real, calls = getattr(owner, method), []

        def stands(*args: Any, real: Any = real, calls: list[int] = calls, at: int = at, **values: Any) -> Any:
            value = real(*args, **values)
            calls.append(1)
            if len(calls) == at:
                lines.task.clear()
                assert lines.run(longer, **again)["counts"] == {"reused": 1, "spoken": 2}
            return value

        with monkeypatch.context() as patch:
            patch.setattr(owner, method, stands)
            with pytest.raises(StaleTryError):
                lines.run(script, **again)
        rows = lines.rows()  # whole, and with their records
        assert "".join(rows) == "abc", f"{name}: the manifest is not the other's"
        assert all(Path(str(row.copy)).exists() for row in rows.values()), name
        assert lines.paid() <= 3, name


def test_an_object_store_serves_as_well(lines: Lines, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"output": "s3://studio/night/", "concurrency": 1}
    with dies(monkeypatch, Download, "publish", 2), pytest.raises(Killed):
        lines.run(SCRIPT[:2], **place)
    script = [{**SCRIPT[0], "file": "ann/a.wav"}, *SCRIPT[1:3]]
    assert lines.run(script, **place)["counts"] == {"reused": 2, "spoken": 1}  # the second lay on this worker
    assert verify("s3://studio/night/ann/a.wav")[1] is None
    assert lines.paid() == 3
    rows = read_manifest("s3://studio/night/manifest.jsonl")
    s3.invalidate_cache()
    takes = [f"s3://{name}" for name in without_records(s3.ls("studio/night/takes"))]
    assert [verify(take)[1] for take in takes] == [None] * 3
    assert sorted(str(row.uri) for row in rows) == takes
    assert [row.seconds is not None and row.seconds > 0 for row in rows] == [True] * 3
    assert len(s3.ls("studio/night/journal")) == 1
