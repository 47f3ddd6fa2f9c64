"""Random histories of scripts: tries that die or stand still, faults, lines that change, clears, other runs.

The steps of lines are in flight together, and end in any order; still a history is the same each time, because they
are taken one by one, by whoever waits for them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk.exceptions import TaskDeferred

from tests.jobs.world import BUYS, Killed, Life, Try, World
from voice_provider.emulator.world.emulator import FILES
from voice_provider.emulator.world.heard import Transcript, fingerprint
from voice_provider.exceptions import (
    InvalidInputError,
    OutcomeUnknownError,
    PermanentVoiceError,
    StaleTryError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.hooks.transport import Transport
from voice_provider.jobs.store import LocalFolder
from voice_provider.lines import delivery, journal, manifest, run, speaking, ways
from voice_provider.lines.manifest import Row, read_manifest
from voice_provider.lines.speaking import Speaking
from voice_provider.lines.takes import text_hash
from voice_provider.operators import SpeakLinesOperator
from voice_provider.operators import lines as operators_lines
from voice_provider.trust.provenance import ENDING, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import pytest

    from tests.conftest import Task
    from tests.jobs.in_process import EmulatorHere
    from tests.jobs.world import Buy

WAYS = [buy for buy in BUYS if buy.name in ("Fish speech", "speech", "speech job")]
NO_TAKE = "lines have no take"  # what a try that has told of all its lines says when it fails


class Hands:
    """Stands for the threads: what they are given waits until somebody waits for it."""

    def __init__(self, world: ScriptWorld) -> None:
        self._world = world

    def __call__(self, *_: Any, **__: Any) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """A thread that is not waited for has nothing to do."""

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._world.in_flight[future] = lambda: call(*args)
        return future

    def map(self, call: Callable[..., Any], values: Collection[Any]) -> list[Any]:
        return [call(value) for value in values]


class ScriptWorld(World):
    """As ``World``, for the many lines of a script.

    :param paid: rows of the ledger by the text that they were paid for
    :param texts: that were to be spoken, by the names of their takes

    Until ``repair`` so many writes of the journal fail (``journal_fails``) after some that do not (``journal_skips``).
    """

    journal_skips: int
    journal_fails: int

    def __init__(self, emulator: EmulatorHere, monkeypatch: pytest.MonkeyPatch, folder: Path, data: Path) -> None:
        self.paid: dict[str, set[int]] = {}
        self.texts: dict[str, str] = {}
        self.in_flight: dict[Future[Any], Callable[[], Any]] = {}
        self.dice = random.Random(0)
        self._data, self._speaks, self._counted = data, "", set[int]()
        self._watch_payments(monkeypatch)
        super().__init__(emulator, monkeypatch, folder)
        for module in (speaking, ways, journal, operators_lines):
            monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(speaking, "ThreadPoolExecutor", Hands(self))
        monkeypatch.setattr(delivery, "ThreadPoolExecutor", Hands(self))
        monkeypatch.setattr(speaking, "wait", self.wait)
        for owner, method in (
            (LocalFolder, "create"),
            (LocalFolder, "write"),
            (manifest, "put"),
            (run, "remove"),
            (delivery, "remove"),
        ):
            self.watch(owner, method, method)
        self._watch_steps(monkeypatch)
        self._may_refuse(monkeypatch, "create")
        self._may_refuse(monkeypatch, "write")

    def _may_refuse(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        real = getattr(LocalFolder, method)

        def tried(*args: Any) -> Any:
            if self.journal_skips:
                self.journal_skips -= 1
            elif self.journal_fails:
                self.journal_fails -= 1
                raise OSError(errno.EIO, "so the history wants it")
            return real(*args)

        monkeypatch.setattr(LocalFolder, method, tried)

    def repair(self) -> None:
        super().repair()
        self.journal_skips = self.journal_fails = 0

    def _watch_payments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        send = Transport._send_with

        def counting(transport: Transport, client: Any, request: Any) -> Any:
            try:
                return send(transport, client, request)
            finally:
                if request.method != "GET":
                    self.count_payments()

        monkeypatch.setattr(Transport, "_send_with", counting)

    def count_payments(self) -> None:
        """Take notice of what was paid since, for the line whose step is taken."""
        new = {row["seq"] for row in self.emulator.ledger("speech")} - self._counted
        self._counted |= new
        self.paid.setdefault(self._speaks, set()).update(new)

    def _watch_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        step = Speaking._step

        def watched(speaking: Speaking, one: Any, sent: Any) -> Any:
            before, self._speaks = self._speaks, one.order.options.text
            self.texts[one.key] = self._speaks
            try:
                return step(speaking, one, sent)
            finally:
                self._speaks = before

        monkeypatch.setattr(Speaking, "_step", watched)

    # threads

    def wait(self, futures: Collection[Future[Any]], timeout: float | None = None, return_when: str = "") -> Any:
        """Stand for ``concurrent.futures.wait``: let one step come to its end, or all that are waited for."""
        self.life.go_on()
        if return_when == FIRST_COMPLETED and timeout and self.dice.random() < 0.3:
            self.clock.sleep(timeout)
            return SimpleNamespace(done=set())
        chosen = [self.dice.choice(list(futures))] if return_when == FIRST_COMPLETED else list(futures)
        for future in chosen:
            try:
                future.set_result(self.in_flight.pop(future)())
            except Exception as error:  # noqa: BLE001  # whoever has asked for it raises it
                future.set_exception(error)
        return SimpleNamespace(done=set(chosen))

    def die(self) -> None:
        """Let the steps that were on their way get somewhat further before the kill, each on its own."""
        life = self.life
        for step in list(self.in_flight.values()):
            if self.dice.random() < 0.5:
                life.dead, life.dies_after = False, life.count + self.dice.randint(1, 4)
                with suppress(Killed, Exception):  # nobody hears of it any more
                    step()
                life.dead = True
        self.in_flight.clear()

    # a history

    def begin(self, buy: Buy) -> Task:
        """Forget everything."""
        self.paid, self.texts, self._counted, self._speaks = {}, {}, set(), ""
        self.in_flight.clear()
        return super().begin(buy)

    def attempt(self, task: Task, operator: SpeakLinesOperator, life: Life) -> Try:
        """Run one try to its end; where it waits on the triggerer, it comes back when its jobs have ended."""
        before, self.life = (self.life, self.in_flight), life
        self.in_flight = {}
        done = Try(life)
        context = {**task.context, "task": operator}
        try:
            try:
                done.result = operator.execute(context)
            except TaskDeferred:
                life.effects.append("deferred")
                done.result = self._come_back(operator, context)
        except Killed:
            assert life.dead
            self.die()
        except Exception as error:  # noqa: BLE001  # which error may come is for the history to say
            done.error = error
        self.life, self.in_flight = before
        return done

    def _come_back(self, operator: SpeakLinesOperator, context: Any) -> dict[str, Any]:
        for _ in range(20):
            self.emulator.advance(100)
            self.clock.ahead += 100
            with suppress(TaskDeferred):
                event = {"status": "ended", "message": "all of them", "at": self.clock.time()}
                return operator.execute_complete(context, event)
        raise AssertionError("it waits for ever")

    def said(self, row: Row) -> str:
        """Return what the emulator has said in a recording; it knows it by its samples."""
        return Transcript.read(self._data / FILES / "speech" / f"{fingerprint(Path(str(row.uri)))}.heard").text


@dataclass
class ScriptLife(Life):
    """A process that may stand still after one of its effects, while other things happen.

    :param stands_at: after how many effects; None: never
    """

    stands_at: int | None = None
    meanwhile: Callable[[], None] = field(default=lambda: None)

    def happened(self, what: str) -> None:
        super().happened(what)
        if self.count == self.stands_at:
            self.stands_at = None
            self.meanwhile()


class ScriptHistory:
    """A random history of one folder.

    :param seed: the same seed is the same history
    """

    def __init__(self, world: ScriptWorld, seed: int) -> None:
        self.world, self.seed, self.dice = world, seed, random.Random(seed)
        world.dice = self.dice
        self.buy = self.dice.choice(WAYS)
        self.mode = self.dice.choice(("sync", "seed-async"))
        self.resubmits, self.defers = self.dice.random() < 0.5, self.dice.random() < 0.3
        self.width = self.dice.randint(1, 4)
        self.texts = [f"Line {'a' * n}." for n in range(self.dice.randint(1, 9))]
        self.fresh = len(self.texts)
        self.files = self.dice.random() < 0.3
        self.redo: set[str] = set()
        self.told: list[str] = []
        self.owner: Any = None
        self.redone: set[str] = set()
        self.orders: Counter[str] = Counter()  # of a text, besides the first
        self.useless: set[str] = set()  # texts whose take was paid and is no good, or whose job has failed
        self.spoiled: set[str] = set()
        self.is_faulty = self.held = False

    def __str__(self) -> str:
        policy = "resubmit" if self.resubmits else "fail"
        mode = f" ({self.mode})" if self.buy.name == "speech" else ""
        head = (
            f"Script {self.seed} (VOICE_SCRIPT={self.seed} repeats it alone): {self.buy}{mode}, {policy}, "
            f"{self.width} at a time{', deferrable' if self.defers else ''}"
        )
        return "\n  ".join([head, *self.told])

    # the script

    @property
    def lines(self) -> list[dict[str, Any]]:
        ending = "wav" if self.buy.is_answer else "mp3"
        names = {text: f"{text.count('a')}" for text in self.texts}
        return [
            {"id": f"l{name}", "text": text} | ({"file": f"copies/{name}.{ending}"} if self.files else {})
            for text, name in names.items()
        ]

    def _operator(self, **changes: Any) -> SpeakLinesOperator:
        values: dict[str, Any] = {
            "task_id": "t",
            "lines": self.lines,
            "voice_id": self.world.voice,
            "output": f"{self.world.out}/",
            "concurrency": self.width,
            "on_unknown_outcome": "resubmit" if self.resubmits else "fail",
            "redo": sorted(self.redo),
            "deferrable": self.defers,
            "poll_interval": 0.5,
            "timeout": 1000 if self.defers else 1 if self.held else 60,
        }
        if self.buy.is_answer:
            values["format"] = "wav"  # an mp3 takes the emulator as long as all the rest
        return SpeakLinesOperator(**values | changes)

    # what happens

    def live(self) -> None:
        """Live it through, and check all along."""
        self.task = self.world.begin(self.buy)
        self.other = self.world.task()
        self.other.ti.run_id = "another"
        self.world.emulator.settings(tts_retry_after=0, tts_mode=self.mode if self.buy.name == "speech" else "sync")
        for _ in range(self.dice.randint(1, 5)):
            self._something_happens()
            dies_after = self.dice.randint(1, 12 + 6 * len(self.texts)) if self.dice.random() < 0.6 else None
            self._try(dies_after=dies_after)
        self._settle()

    def _chance(self, probability: float, what: str) -> bool:
        if self.dice.random() >= probability:
            return False
        self.told.append(what)
        return True

    def _something_happens(self) -> None:
        world = self.world
        if self._chance(0.2, "cleared"):
            self.task.clear()
        if self._chance(0.25, "the script changes"):
            self._change()
        if self.texts and self._chance(0.15, "a line is to be spoken anew"):
            self.redo = {self.dice.choice(self.lines)["id"]}
        elif self._chance(0.3, "nothing is to be spoken anew"):
            self.redo = set()
        if self._chance(0.1, "time passes"):
            world.emulator.advance(self.dice.randint(1, 4000))
            world.clock.ahead += self.dice.randint(1, 4000)
        if self._chance(0.1, "a take is deleted"):
            self._spoil()
        if self._chance(0.15, "another run"):
            self._another_run()
        for _ in range(self.dice.choice((0, 0, 1, 1, 2))):
            self._fault()
        if self._chance(0.08, "the place of results refuses"):
            world.refuses = self.dice.choice((1, None))
        if self._chance(0.1, "the journal cannot be written"):
            world.journal_skips, world.journal_fails = self.dice.randint(0, 6), self.dice.randint(1, 3)
        world.full = self._chance(0.05, "the disk is full")
        if self.buy.keyed and self._chance(0.2, "jobs take their time"):
            self._hold(60)
        else:
            self._hold(0)

    def _hold(self, seconds: int) -> None:
        if bool(seconds) != self.held:
            self.held = bool(seconds)
            self.world.emulator.settings(job_seconds=seconds)
            self.world.emulator.advance(0 if seconds else 61)

    def _change(self) -> None:
        what = self.dice.choice(("add", "drop", "change", "move"))
        if what in ("drop", "change") and len(self.texts) > 1:
            self.texts.pop(self.dice.randrange(len(self.texts)))
        if what in ("add", "change"):
            self.texts.append(f"Line {'a' * self.fresh}.")
            self.fresh += 1
        if what == "move":
            self.dice.shuffle(self.texts)
        self.redo &= {line["id"] for line in self.lines}

    def _spoil(self) -> None:
        takes = sorted(path for path in (self.world.out / "takes").glob("[!.]*") if not path.name.endswith(ENDING))
        if takes:
            take = self.dice.choice(takes)
            take.unlink()
            self.orders[self.world.texts[take.stem]] += 1
            self.spoiled.add(take.stem)

    def _fault(self) -> None:
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("drop_after", {}),
            ("drop_before", {}),
            ("status", {"status": 503}),
            ("status", {"status": 429, "headers": {"Retry-After": "3"}}),
            ("status", {"status": 402}),  # which every other line would meet, too
            ("html", {"status": 503}),
            ("truncate", {}),
            ("edge_before", {"status": 502, "form": "html"}),
            ("edge_after", {"status": 502, "form": "html"}),
            ("edge_after", {"status": 404, "form": "json"}),
        ]
        kind, rule = self.dice.choice(kinds)
        method, path = self.dice.choice([("POST", self.buy.pays)] * 3 + [("GET", "*")])
        if self.buy.keyed and self.dice.random() < 0.2:
            kind, rule, method, path = "job_failed", {}, "POST", self.buy.pays
        times = self.dice.choice((1, 1, 2, 3, None))
        self.told.append(f"fault {kind} {rule or ''} at {method} {path}, {times or 'all'} times")
        self.world.emulator.fault(kind, path=path, method=method, times=times, **rule)
        self.is_faulty = True

    def _another_run(self) -> None:
        """Another run of the DAG speaks into the same folder; it finds what is there, or that somebody is at work."""
        self.world.clock.ahead += self.dice.choice((0, 0, 400))
        self._try(task=self.other)

    # tries

    def _try(self, *, dies_after: int | None = None, task: Task | None = None) -> Try:
        task = task or self.task
        life = ScriptLife(self.buy.pays, dies_after)
        if dies_after is not None and self.dice.random() < 0.25:
            life.dies_after, life.stands_at = None, dies_after
            life.meanwhile = self._meanwhile
        self._begins(task)
        task.ti.try_number += 1
        task.ti.id = f"01990{task.ti.try_number:03d}-0000-7000-8000-{int(task is self.other):012d}"
        number = len(self.told)
        done = self.world.attempt(task, self._operator(), life)
        self.told.insert(number, f"{task.ti.run_id} {task.ti.try_number}: {done}")
        if self.is_faulty:
            self.world.emulator.clear_faults()
            self.is_faulty = False
        assert not (self.world.full and self.buy.is_answer and life.posts), "paid without room for it"
        self.world.repair()
        if isinstance(done.error, InvalidInputError) or not isinstance(done.error, VoiceError | None):
            raise done.error
        self._saw(done)
        return done

    def _meanwhile(self) -> None:
        """The worker stands still for so long that Airflow begins another try, or another run takes over."""
        self.world.count_payments()  # what is on its way is its own
        life, self.world.life = self.world.life, Life()
        self.told.append("(it stands still, and meanwhile:")
        if self.dice.random() < 0.5:
            self._try()
        else:
            later = self.dice.choice((0, 400))
            self.world.clock.ahead += later
            claim = json.loads(max((self.world.out / "journal").glob("0*.json")).read_text())
            silent = self.world.clock.time() - claim["beat"]
            done = self._try(task=self.other)
            if not claim["over"] and silent < journal.EXPIRES - 10:
                assert isinstance(done.error, TransientVoiceError), str(done)
                assert not done.life.posts, str(done)
        self.told.append("and it goes on)")
        self.world.life = life

    def _begins(self, task: Task) -> None:
        """A try asks for what it redoes once in each clear, and a refusal holds as long."""
        owner = (task.ti.run_id, task.clears)
        if owner != self.owner:
            self.owner = owner
            self.redone = set()
            for text in self.useless:
                self.orders[text] += 1
        for text in {line["text"] for line in self.lines if line["id"] in self.redo} - self.redone:
            self.redone.add(text)
            self.orders[text] += 1

    def _saw(self, done: Try) -> None:
        counted = {row["seq"]: row for row in self.world.emulator.ledger("speech") if not row["refunded"]}
        told = done.result is not None or (done.error is not None and NO_TAKE in str(done.error))
        self._check_files()
        rows = read_manifest(f"{self.world.out}/manifest.jsonl") if told else []
        for row in rows:
            if row.outcome == "failed":
                self.useless.add(next(text for text in self.texts if text_hash(text) == row.text_sha256))
        self._check_payments(counted)
        if told:
            self._check_rows(rows)
        if told and not isinstance(done.error, OutcomeUnknownError):
            assert not [row for row in rows if row.outcome == "unknown"] or self.buy.unkeyed_speech

    def _check_payments(self, counted: Mapping[int, Any]) -> None:
        for text, rows in self.world.paid.items():
            times = len(rows & counted.keys())
            allowed = (1 + self.orders[text]) * (1 + (self.resubmits and self.buy.unkeyed_speech))
            assert times <= allowed, f"'{text}' is paid {times} times, {allowed} allowed"

    def _check_files(self) -> None:
        """Whoever wrote the manifest last, and whatever came after: each take that it tells of is there."""
        found = self.world.out / "manifest.jsonl"
        for row in read_manifest(str(found)) if found.exists() else ():
            if row.uri is not None and row.take not in self.spoiled:
                assert row.sha256 == hashlib.sha256(Path(row.uri).read_bytes()).hexdigest(), row

    def _check_rows(self, rows: list[Row]) -> None:
        assert [row.id for row in rows] == [line["id"] for line in self.lines]
        for row, text in zip(rows, self.texts, strict=True):
            assert row.text_sha256 == text_hash(text)
            assert (row.uri is not None) == (row.outcome in ("spoken", "reused")), row
            if row.uri is None:
                silent = row.outcome == "missing" and row.error is None
                assert not (silent and self.world.paid.get(text) and not self.orders[text]), f"hidden: {row}"
                continue
            assert row.sha256 == hashlib.sha256(Path(row.uri).read_bytes()).hexdigest(), row
            assert self.world.said(row) == text, row
            record, problem = verify(row.uri)
            assert (problem, record and record.file.sha256) == (None, row.sha256), row

    def _settle(self) -> None:
        """Let the world be good again, and the task retried; a person decides where one has to."""
        self._hold(0)
        self.told.append("all is well again")
        for _ in range(8):
            done = self._try()
            if done.result is not None:
                break
            assert not isinstance(done.error, StaleTryError), "no other try has begun"
            if isinstance(done.error, OutcomeUnknownError):
                assert self.buy.unkeyed_speech, "what has a key is never in doubt"
                self.redo = {row.id for row in read_manifest(f"{self.world.out}/manifest.jsonl") if row.uri is None}
                self.task.clear()
                self.told.append(f"a person looks at the account, and has {', '.join(sorted(self.redo))} spoken anew")
            elif isinstance(done.error, PermanentVoiceError):
                assert self.useless, str(done)
                self.task.clear()
                self.told.append("cleared")
            else:
                assert isinstance(done.error, TransientVoiceError), str(done)
                self.world.clock.ahead += 1400  # another run may have been killed, or waits on its triggerer
        else:
            raise AssertionError("it does not end")
        self._check_end()

    def _check_end(self) -> None:
        rows = read_manifest(f"{self.world.out}/manifest.jsonl")
        assert {row.outcome for row in rows} <= {"spoken", "reused"}
        if self.files:
            for row in rows:
                assert hashlib.sha256(Path(str(row.copy)).read_bytes()).hexdigest() == row.sha256
        takes = [path.name for path in (self.world.out / "takes").iterdir()]
        assert {Path(str(row.uri)).name for row in rows} <= set(takes)
        assert [path.name for path in (self.world.out / "journal").iterdir() if path.suffix == ".part"] == []
        assert len(list((self.world.out / "journal").iterdir())) == 1
        self.redo = set()
        paid = len(self.world.emulator.ledger("speech"))
        again = self._try()
        assert again.result is not None, str(again)
        assert again.result["counts"] == {"reused": len(rows)}
        assert again.result["cost"]["usd"] == 0
        assert len(self.world.emulator.ledger("speech")) == paid, "nothing has changed, and something is paid"
