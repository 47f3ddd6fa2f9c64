"""Random histories: tries that die, faults, clears, changes of mind; and the author who counts by the README."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.jobs.world import BUYS, OTHER, Buy, StoreDownError, Try, World
from voice_provider.exceptions import (
    JobFailedError,
    OutcomeUnknownError,
    PermanentVoiceError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.sensors.job import LipSyncCompleteSensor, TTSCompleteSensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EDGES, EDGE_SAYS = ("edge_before", "edge_after"), ((404, "html"), (502, "json"), (403, "text"), (503, "text"))


def batches(count: str, usual: int, *, one: str, at_a_time: int) -> list[range]:
    """Return the seeds of the random histories, so many in a test, from ``VOICE_FIRST_SEED`` on.

    :param count: variable with how many there are; default: ``usual``
    :param one: variable with the seed of a history that is to be repeated alone
    """
    if seed := os.environ.get(one):
        return [range(int(seed), int(seed) + 1)]
    first = int(os.environ.get("VOICE_FIRST_SEED", "0"))
    end = first + int(os.environ.get(count, str(usual)))
    return [range(n, min(n + at_a_time, end)) for n in range(first, end, at_a_time)]


@contextmanager
def told(history: Callable[[], str]) -> Iterator[None]:
    """Add the history to whatever fails in it."""
    try:
        yield
    except Exception as error:
        with suppress(Exception):
            error.add_note(history())
        raise


@dataclass
class Order:
    """What the author has ordered once.

    :param rows: of the ledger, by their number
    :param allowed: how often it may be paid: once, and once more for every time that the author was told so
    :param received: the machine on which it came whole, and that was written down: there it can be had
    """

    rows: set[int] = field(default_factory=set)
    allowed: int = 1
    told: int = 0
    received: str = ""


class Author:
    """Counts by the README what was ordered: the model that the provider is compared with."""

    def __init__(self, buy: Buy, *, resubmits: bool, clears_anew: bool) -> None:
        self.buy, self.resubmits, self.clears_anew = buy, resubmits, clears_anew
        self.order = Order()
        self.known_rows: set[int] = set()
        self.wanted = 0
        self.cleared = self.finished = self.perhaps_finished = self.failed = False
        self.away = self.moved = self.unheard = False
        self.left: dict[int, Order] = {}  # what was asked for before, and was not collected

    def wants(self, number: int) -> None:
        """Something else is asked for: a new order, or one of before that was not collected."""
        if number == self.wanted:
            return
        if not self.finished and not self.failed:
            self.order.allowed += self.perhaps_finished
            self.order.told += self.perhaps_finished
            self.order.received = "" if self.perhaps_finished else self.order.received  # it is closed
            self.left[self.wanted] = self.order
        self.wanted = number
        self._place(self.left.pop(number, None) or Order())

    def clear(self) -> None:
        self.cleared = True

    def moves(self) -> None:
        """The connection leads to another account: a job at the other cannot be asked after."""
        self.away, self.moved = not self.away, True
        for order in (self.order, *self.left.values()):
            order.allowed += self.resubmits
            order.told += self.resubmits

    def loses_the_disk(self) -> None:
        """What was received is not where the next try looks; a task that orders again may do so once more."""
        for order in (self.order, *self.left.values()):
            order.allowed += self.resubmits and self.buy.is_answer
            order.told += self.resubmits and self.buy.is_answer
            order.received = "" if self.resubmits else order.received

    def others_paid(self, rows: list[dict[str, Any]]) -> None:
        """Somebody else has bought something."""
        self.known_rows |= {row["seq"] for row in rows}

    def tries(self) -> None:
        """Another try begins."""
        if self.failed or (self.cleared and (self.finished or self.clears_anew)):
            self._place(Order())
        elif self.cleared and self.perhaps_finished:
            self.order.allowed += 1  # its end was written down, and nobody heard of it
            self.order.told += 1 + self.resubmits  # as a new order it may be lost, and sent once more
            self.order.received = ""
        self.cleared = False

    def _place(self, order: Order) -> None:
        self.order = order
        self.cleared = self.finished = self.perhaps_finished = self.failed = False

    def saw(self, done: Try, rows: list[dict[str, Any]], record: dict[str, Any] | None, machine: str) -> None:
        """Take note of how a try ended.

        :param rows: the ledger's
        :param machine: where it ran
        """
        self.order.rows |= {row["seq"] for row in rows} - self.known_rows
        self.known_rows |= self.order.rows
        self.finished = done.result is not None or isinstance(done.error, UnusableSpeechError)
        self.perhaps_finished = bool(record and record.get("finished"))
        self.failed = isinstance(done.error, JobFailedError)
        if done.result is not None or any(done.life.noted(post) for post in done.life.posts):
            self.order.received = machine  # what another machine had received was put in its place here
        if self.resubmits and self.buy.unkeyed_speech:
            self.order.allowed += done.life.lost
        if self.buy.kind != "clone":
            paid = [row for row in rows if row["seq"] in self.order.rows and not row["refunded"]]
            allowed = min(self.order.allowed, 2 + self.order.told)  # a lost order is sent once more, in all its tries
            assert len(paid) <= allowed, f"{len(paid)} are paid, {allowed} allowed"
            ordered = self.order.rows or done.result is None or self.unheard
            assert ordered, "a result of something that was not ordered now"
        # A request that could not be written down leaves no trace: who goes back to the one before goes on with that.
        unwritten = isinstance(done.error, StoreDownError) and "set" not in done.life.effects
        self.unheard = (self.unheard or unwritten) and not done.life.posts

    @property
    def may_be_stuck(self) -> bool:
        """Whether it may be right that a person has to decide."""
        return self.moved or (self.buy.unkeyed_speech and not (self.buy.is_answer and self.order.received))


class History:
    """A random history: tries that die, faults, clears, changes of mind, of the account, of files and of the time.

    :param seed: the same seed is the same history
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.seed, self.dice = world, seed, random.Random(seed)
        self.buy = self.dice.choice(BUYS)
        self.resubmits, self.clears_anew = self.dice.random() < 0.5, self.dice.random() < 0.2
        self.hands_over = self.buy.keyed and self.dice.random() < 0.3
        self.extra = {"spool_location": str(world.spool)} if self.dice.random() < 0.3 else {}
        self.author = Author(self.buy, resubmits=self.resubmits, clears_anew=self.clears_anew)
        self.told: list[str] = []
        self.held = 0
        self.faulty = self.met = False
        self.result: dict[str, Any] | None = None

    def __str__(self) -> str:
        policy = (
            f"{'resubmit' if self.resubmits else 'fail'}, on_clear {'resubmit' if self.clears_anew else 'reattach'}"
        )
        spool = ", with a spool" if self.extra else ""
        head = f"History {self.seed} (VOICE_HISTORY={self.seed} repeats it alone): {self.buy}, {policy}{spool}"
        return "\n  ".join([head, *self.told])

    def live(self) -> None:
        """Live it through, and check all along."""
        self.task = self.world.begin(self.buy)
        self._connect()
        if self.buy.name == "Fish clone":
            self.world.emulator.settings(fish_training_polls=self.dice.choice((0, 0, 2)))
        for _ in range(self.dice.randint(2, 5)):
            timeout = self._something_happens()
            self._try(timeout, self.dice.randint(1, 16) if self.dice.random() < 0.6 else None)
        self._settle()
        self._check_end()

    def _connect(self, key: str | None = None) -> None:
        self.world.connect(self.buy, key, **self.extra)

    def _chance(self, probability: float, what: str) -> bool:
        if self.dice.random() >= probability:
            return False
        self.told.append(what)
        return True

    def _something_happens(self) -> float:
        """Let the world and the author do what they like between two tries; return how long the next one waits."""
        emulator, author = self.world.emulator, self.author
        if self._chance(0.2, "cleared"):
            self.task.clear()
            author.clear()
            self.world.clock.ahead += 60
        if self._chance(0.2, "another task of the run is cleared"):
            self.task.others_cleared += 1
        if self._chance(0.15, "another request"):
            author.wants(self.dice.choice((author.wanted + 1, 0)))
        if self._chance(0.08, "another account"):
            author.moves()
            emulator.add_account(*OTHER)
            self._connect(OTHER[0] if author.away else None)
        if self._chance(0.1, "time passes"):
            emulator.advance(self.dice.randint(1, 5000))
            self.world.clock.ahead += self.dice.randint(1, 5000)
        if self.result and "uri" in self.result and self._chance(0.3, "the file is spoiled"):
            self._spoil(Path(self.result["uri"]))
        if not author.away and not (self.held or self.met) and self._chance(0.08, "the same in another Airflow"):
            self._another_airflow()
            self.met = True
        if self.dice.random() < 0.6:
            self._fault()
        if self._chance(0.06, "another machine"):
            self._go_to("there" if self.world.machine == "here" else "here")
        if self._chance(0.1, "the store is away for a moment"):
            self.world.store_skips, self.world.store_fails = self.dice.choice((0, 0, 1, 2, 4)), self.dice.randint(1, 4)
        if self._chance(0.1, "the place of results refuses"):
            self.world.refuses = self.dice.choice((1, None))
        self.world.full = self._chance(0.04, "the disk is full")
        if self.buy.keyed and self._chance(0.2, "the job takes its time"):
            self._hold(60)
            return 1
        self._hold(0)
        if self.buy.name == "Fish clone":
            emulator.settings(fish_training_fails=self._chance(0.1, "trainings fail"))
        return 20

    def _go_to(self, machine: str) -> None:
        self.world.go_to(machine)
        self.author.loses_the_disk()

    def _another_airflow(self) -> None:
        """The same DAG, task and run elsewhere, on the same account: neither gets what the other has bought."""
        world, emulator = self.world, self.world.emulator
        if self.buy.name == "Fish clone":
            emulator.settings(fish_training_fails=False)
        world.connect(self.buy, namespace="elsewhere")
        before, voices = len(world.rows(self.buy)), world.voice_ids(self.buy)
        place = {} if self.buy.kind == "clone" else {"output": f"{world.out.parent}/elsewhere/"}
        done = world.run(world.task(), self.buy, self.buy.operator(world, self.author.wanted, **place))
        assert done.result, str(done)
        assert len(world.rows(self.buy)) == before + 1, str(done)
        assert self.buy.kind != "clone" or done.result["voice_id"] not in voices
        self.author.others_paid(emulator.ledger(self.buy.kind))
        self._connect()

    def _hold(self, seconds: int) -> None:
        """Let jobs take so long, and end those that were held."""
        if seconds != self.held:
            self.held = seconds
            self.world.emulator.settings(job_seconds=seconds)
            self.world.emulator.advance(0 if seconds else 61)

    def _spoil(self, path: Path) -> None:
        if self.dice.random() < 0.5:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(b"something else")
        self.author.loses_the_disk()
        self.author.order.received = ""

    def _fault(self) -> None:
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("drop_after", {}),
            ("drop_before", {}),
            ("status", {"status": 503}),
            ("html", {"status": 503}),
            ("truncate", {}),
            # Something in between answers, for what was carried out and for what was not.
            *((kind, {"status": status, "form": form}) for kind in EDGES for status, form in EDGE_SAYS),
        ]
        kind, rule = self.dice.choice(kinds)
        method, path = self.dice.choice([("POST", self.buy.pays)] * 4 + [("GET", "*"), ("POST", "*"), ("PUT", "*")])
        if self.buy.keyed and self.dice.random() < 0.15:
            kind, rule, method, path = "job_failed", {}, "POST", self.buy.pays
        times = self.dice.choice((1, 1, 2, None))
        if self.buy.fetched and self.dice.random() < 0.15:
            method, path = "GET", self.buy.fetched
        self.told.append(f"fault {kind} at {method} {path}, {times or 'all'} times")
        self.world.emulator.fault(kind, path=path, method=method, times=times, **rule)
        self.faulty = True

    def _try(self, timeout: float = 3600, dies_after: int | None = None) -> Try:
        self.author.tries()
        operator = self.buy.operator(
            self.world,
            self.author.wanted,
            timeout=timeout,
            on_unknown_outcome="resubmit" if self.resubmits else "fail",
            on_clear="resubmit" if self.clears_anew else "reattach",
            wait_for_completion=not self.hands_over,
        )
        done = self.world.run(self.task, self.buy, operator, dies_after)
        self.told.append(str(done))
        if self.faulty:
            self.world.emulator.clear_faults()
            self.faulty = False
        assert not (self.world.full and self.buy.is_answer and done.life.posts), "paid without room for it"
        self.world.repair()
        if done.error is not None and not isinstance(done.error, VoiceError | StoreDownError):
            raise done.error
        self.result = done.result or self.result
        self.author.saw(done, self.world.emulator.ledger(self.buy.kind), self.task.record, self.world.machine)
        if done.result is not None and not self.author.away and "path" not in done.result:
            self.world.check_result(self.buy, done.result)
        return done

    def _settle(self) -> None:
        """Let the world be good again, and the task retried until it ends."""
        emulator = self.world.emulator
        if self.author.away:
            self.author.moves()
            self._connect()
            self.told.append("back at the first account")
        if (machine := self.author.order.received or "here") != self.world.machine:
            self._go_to(machine)
            self.told.append("back at the machine that has received it")
        self._hold(0)
        if self.buy.name == "Fish clone":
            emulator.settings(fish_training_fails=False)
        for _ in range(6):
            done = self._try()
            if done.result is not None:
                break
            if isinstance(done.error, PermanentVoiceError) and not isinstance(done.error, JobFailedError):
                assert self.author.may_be_stuck
                assert not self.resubmits or self.author.moved or self.task.record["outcome"] == "ordered_again"
                assert isinstance(done.error, OutcomeUnknownError | UnusableSpeechError)
                return
        else:
            raise AssertionError("it does not end")
        if "path" in done.result:
            sensor = LipSyncCompleteSensor if self.buy.kind == "lip_sync" else TTSCompleteSensor
            rows = len(self.world.emulator.ledger(self.buy.kind))
            waiting = self.world.task()
            for dies_after in (self.dice.randint(1, 6), None, None):
                end = self.world.run(
                    waiting, self.buy, sensor(task_id="s", job=done.result, poke_interval=0.02), dies_after
                )
                self.told.append(f"sensor: {end}")
                if isinstance(end.error, JobFailedError):
                    return
            assert end.result
            self.world.check_result(self.buy, end.result)
            assert len(self.world.emulator.ledger(self.buy.kind)) == rows, "the sensor has bought something"

    def _check_end(self) -> None:
        if self.buy.kind == "clone":
            assert max(self.world.voices(self.buy).values(), default=0) <= 1
        if not self.author.moved:
            left, record = self.world.assets(self.buy), self.task.record or {}
            known = [asset for one in (record, *record.get("earlier", ())) for asset in one.get("uploads", {}).values()]
            assert len(left) <= len(set(known)), f"left behind: {left}"
            assert all(" [vp:default@dag#" in name for name in left)
