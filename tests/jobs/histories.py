"""Histories: tries of one task that die after any of their effects, at a service that fails in every way.

An effect is what outlives a process: a record that is written, a request that is no mere question, a piece of a file,
a file that is moved or deleted. Between two effects nothing changes that a later try could see, so to die before an
effect is to die after the one before it: dying after each effect is dying at every line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import tenacity.nap

from tests.conftest import MemoryStore, Task, without_records, write_mp4, write_wav
from tests.jobs.in_process import EmulatorHere, Line
from voice_provider.exceptions import (
    JobFailedError,
    OutcomeUnknownError,
    PermanentVoiceError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.files.storage import Download, Output
from voice_provider.hooks import base as hooks_base
from voice_provider.hooks.base import ServiceHook
from voice_provider.hooks.transport import Transport
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs import lifecycle
from voice_provider.jobs.names import ManagedName
from voice_provider.jobs.record import RECORD_KEY
from voice_provider.operators import base as operators_base
from voice_provider.operators.base import VoiceOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors import base as sensors_base
from voice_provider.sensors import job as sensors_job
from voice_provider.sensors.job import KEPT_KEY, JobSensor, LipSyncCompleteSensor, TTSCompleteSensor
from voice_provider.trust import provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from voice_provider.emulator.process import EmulatorHandle

LINE = "Hello there."
OTHER = ("another-key", "other")  # a second account: its key and its organization
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
EDGES, EDGE_SAYS = ("edge_before", "edge_after"), ((404, "html"), (502, "json"), (403, "text"), (503, "text"))
RETRIES = 50  # more than any history needs, so that no try is the last one


class StoreDownError(Exception):
    """Airflow's API does not answer for a moment."""


class Killed(BaseException):
    """What a SIGKILL is to the code: no handler runs after it."""


@dataclass
class Post:
    """A request that may be paid.

    :param after: how many effects there were before it was sent
    :param answered: a whole answer came back
    """

    after: int
    answered: bool = False


@dataclass
class Life:
    """One process: it counts its effects, and dies after the n-th of them.

    :param pays: path of the requests that may be paid
    """

    pays: str = ""
    dies_after: int | None = None
    effects: list[str] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    dead: bool = False

    def go_on(self) -> None:
        if self.dead:
            raise Killed

    def happened(self, what: str) -> None:
        self.go_on()
        self.effects.append(what)
        # How many lines of progress there are depends on the second, and no try reads them.
        if what != "tell" and len(self.effects) - self.effects.count("tell") == self.dies_after:
            self.dead = True
            raise Killed

    def noted(self, post: Post) -> bool:
        """Whether what became of a request was written down before the end."""
        return post.answered and "set" in self.effects[post.after :]

    @property
    def lost(self) -> int:
        """How many paid requests have left nobody who knows what became of them."""
        return sum(not self.noted(post) for post in self.posts)


@dataclass
class Try:
    """How a try ended: with a result, with an error, or by a kill."""

    life: Life
    result: dict[str, Any] | None = None
    error: Exception | None = None

    @property
    def died(self) -> bool:
        return self.life.dead

    def __str__(self) -> str:
        end = f"{type(self.error).__name__}: {self.error}"[:300] if self.error else "killed" if self.died else "done"
        return f"{' > '.join(self.life.effects) or '-'} => {end}"


class MortalStore(MemoryStore):
    """A task state store that takes part in a life."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def set(self, key: str, value: Any, **_: Any) -> None:
        self._world.life.go_on()
        if self._world.store_fails:
            self._world.store_fails -= 1
            raise StoreDownError
        super().set(key, value)
        self._world.life.happened("set" if key in (RECORD_KEY, KEPT_KEY) else "tell")


class Clock:
    """The time as the code sees it: it jumps, and a pause is over at once."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        rest = min(seconds, 0.002)
        time.sleep(rest)
        self.ahead += seconds - rest


@dataclass(frozen=True)
class Buy:
    """Something that can be ordered.

    :param pays: path of the request that may be paid
    :param fetched: path of the result's file, where it is fetched
    :param kind: of the ledger's rows
    """

    name: str
    service: str
    pays: str
    kind: str
    keyed: bool = False
    fetched: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    uploads: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def is_answer(self) -> bool:
        """Whether the result is the paid answer itself."""
        return self.kind == "speech" and self.fetched is None

    @property
    def unkeyed_speech(self) -> bool:
        return self.kind == "speech" and not self.keyed

    def operator(self, world: World, changed: int = 0, **options: Any) -> Any:
        """Make the operator anew, as every try does; ``changed`` counts how often the request has changed."""
        text = LINE * (1 + changed)
        values: dict[str, Any] = {"task_id": "t", "poll_interval": 0.5, **options}
        if self.kind != "clone":
            values["output"] = f"{world.out}/"
        if self.is_answer:
            values["format"] = "wav"  # an mp3 takes the emulator as long as all the rest
        match self.name:
            case "clone" | "ephemeral clone" | "replaced clone":
                values |= {"ephemeral clone": {"ephemeral": True}, "replaced clone": {"if_exists": "replace"}}.get(
                    self.name, {}
                )
                return CloneVoiceOperator(
                    name=f"Ann {changed}" if changed else "Ann", sample=str(world.sample), **values
                )
            case "Fish clone":
                name = f"Ann {changed}" if changed else "Ann"
                return CloneVoiceOperator(name=name, samples=[str(world.clip), str(world.sample)], **values)
            case "lip sync":
                return LipSyncOperator(
                    video=str(world.video), audio=str(world.sample), temperature=changed / 100, **values
                )
            case "instant clone":
                return TTSOperator(text=text, references=[{"audio": str(world.clip), "text": "x"}], **values)
            case _:
                return TTSOperator(text=text, voice_id=world.voice, **values)


SPEECH, LIP_SYNC = "/v2/tts", "/v2/generate"
BUYS = (
    Buy("clone", "sync_labs", "/v2/voices", "clone", uploads=True),
    Buy("ephemeral clone", "sync_labs", "/v2/voices", "clone", uploads=True),
    Buy("replaced clone", "sync_labs", "/v2/voices", "clone", uploads=True),
    Buy("speech", "sync_labs", "/v2/tts", "speech", fetched="/speech/*"),
    Buy(
        "speech job",
        "sync_labs",
        "/v2/tts/jobs",
        "speech",
        keyed=True,
        fetched="/speech/*",
        extra=(("tts_mode", "jobs"),),
    ),
    Buy("lip sync", "sync_labs", "/v2/generate", "lip_sync", keyed=True, fetched="/results/*", uploads=True),
    Buy("Fish clone", "fish_audio", "/model", "clone"),
    Buy("Fish speech", "fish_audio", "/v1/tts", "speech"),
    Buy("instant clone", "fish_audio", "/v1/tts", "speech"),
)


class World:
    """A service, a disk and a store that outlive the processes of a task."""

    def __init__(
        self,
        emulator: EmulatorHandle,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
    ) -> None:
        self.emulator, self._monkeypatch = emulator, monkeypatch
        self.out = folder / "out"
        self.sample = write_wav(folder / "in" / "sample.wav", seconds=1.2)
        self.clip = write_wav(folder / "in" / "clip.wav", seconds=1.1)
        self.video = write_mp4(folder / "in" / "video.mp4", seconds=0.3)
        self.life, self.clock, self.store_fails = Life(), Clock(), 0
        self.voice = BUILT_IN
        for module in (hooks_base, lifecycle, operators_base, sensors_base, sensors_job, tenacity.nap):
            monkeypatch.setattr(module, "time", self.clock)
        quiet = logging.getLogger("histories")
        quiet.disabled = True  # thousands of tries would log for seconds
        for owner in (VoiceOperator, JobSensor, ServiceHook):
            monkeypatch.setattr(owner, "log", property(lambda _: quiet))
        if isinstance(emulator, EmulatorHere):
            client = partial(httpx.Client, transport=Line(emulator))
            monkeypatch.setattr(Transport, "_new_client", staticmethod(client))
        self._watch_requests(monkeypatch)
        self._watch_files(monkeypatch)

    def _watch_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Transport._send_with

        def send(transport: Transport, client: Any, request: Any) -> Any:
            life = self.life
            life.go_on()
            path = urlsplit(request.url).path
            post = Post(len(life.effects)) if (request.method, path) == ("POST", life.pays) else None
            if post:
                life.posts.append(post)
            try:
                answer = real(transport, client, request)
            except VoiceError:
                if request.method != "GET":
                    life.happened(f"{request.method} {_short(path)} in vain")
                raise
            if post:
                post.answered = True
            if request.method != "GET":
                life.happened(f"{request.method} {_short(path)}")
            return answer

        monkeypatch.setattr(Transport, "_send_with", send)

    def _watch_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def after(owner: Any, method: str, what: str) -> None:
            real = getattr(owner, method)

            def watched(*args: Any, **kwargs: Any) -> Any:
                self.life.go_on()
                value = real(*args, **kwargs)
                if value is not False:
                    self.life.happened(what)
                return value

            monkeypatch.setattr(owner, method, watched)

        after(Download, "__init__", "open")
        after(Download, "write", "write")
        after(Download, "publish", "move")
        after(Output, "recover", "move")
        after(provenance, "_put", "record")
        owns, receive = Download.owns, Output.receive
        # A killed process deletes nothing.
        monkeypatch.setattr(Download, "owns", lambda self_, part: not self.life.dead and owns(self_, part))

        @contextmanager
        def received(output: Output, expected: int = 0) -> Iterator[Download]:
            moved = self.life.effects.count("move")
            try:
                with receive(output, expected) as download:
                    yield download
            finally:
                if not self.life.dead and self.life.effects.count("move") == moved:
                    self.life.happened("delete")

        monkeypatch.setattr(Output, "receive", received)

    # a history

    def begin(self, buy: Buy) -> Task:
        """Forget everything, and return a task that has never run."""
        self.emulator.reset()
        self.emulator.settings(rate_limits=False, clone_slots=None)
        self.life, self.clock.ahead, self.store_fails = Life(), 0.0, 0
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        self.connect(buy)
        if buy.service == "fish_audio":
            self.voice = self.emulator.seed_models(["Anybody"], visibility="public")[0]["id"]
        else:
            self.voice = BUILT_IN
        return self.task()

    def task(self) -> Task:
        task = Task()
        task.store, task.ti.max_tries, task.ti.try_number = MortalStore(self), RETRIES, 0
        return task

    def connect(self, buy: Buy, key: str | None = None) -> None:
        """Write the connection: with the emulator's own key, unless it is told otherwise."""
        connection = self.emulator.connection(buy.service, api_key=key, **dict(buy.extra))
        self._monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(connection))

    def run(self, task: Task, buy: Buy, operator: Any, dies_after: int | None = None) -> Try:
        """Run one try, in a process of its own."""
        self.life = life = Life(buy.pays, dies_after)
        task.ti.try_number += 1
        done = Try(life)
        try:
            done.result = task.run(operator)
        except Killed:
            assert life.dead
        except Exception as error:  # noqa: BLE001  # which error may come is for the history to say
            done.error = error
        self.life = Life()
        return done

    # what is true

    def rows(self, buy: Buy) -> list[dict[str, Any]]:
        """What was bought and is to be paid."""
        return [row for row in self.emulator.ledger(buy.kind) if not row["refunded"]]

    def voices(self, buy: Buy) -> Counter[str]:
        """How many voices there are of every managed name."""
        if buy.service == "fish_audio":
            names = [model["title"] for model in self.emulator.models()]
        else:
            names = [voice["name"] for voice in self.emulator.voices()]
        return Counter(name for name in names if ManagedName.parse(name))

    def voice_ids(self, buy: Buy) -> set[str]:
        if buy.service == "fish_audio":
            return {model["_id"] for model in self.emulator.models()}
        return {voice["id"] for voice in self.emulator.voices()}

    def assets(self, buy: Buy) -> list[str]:
        """The names of what was uploaded and is still there."""
        if not buy.uploads or not self.emulator.state()["assets_by_org"].get("main"):
            return []
        return [asset.name or "" for asset in VoiceHook.for_connection("voice_default").list_assets()]

    def files(self) -> list[str]:
        """Name what lies in the folder of results, without the records that stand beside their results."""
        return without_records(path.name for path in self.out.iterdir())

    def check_result(self, buy: Buy, result: dict[str, Any]) -> None:
        """A file is kept whole, and a voice is there once."""
        if buy.kind == "clone":
            assert result["voice_id"] in self.voice_ids(buy)
            assert self.voices(buy)[result["name"]] == 1
            return
        content = Path(result["uri"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (result["bytes"], result["sha256"])
        assert Path(result["uri"]).name in self.files()
        record, problem = provenance.verify(result["uri"])
        assert record is not None
        assert problem is None


def _short(path: str) -> str:
    """Leave ids out of a path."""
    parts = ["*" if len(part) > 15 or part.count("-") == 4 else part for part in path.split("/")]
    return "file" if path.startswith("/uploads") else "/".join(parts)


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
    """

    rows: set[int] = field(default_factory=set)
    allowed: int = 1
    told: int = 0


class Author:
    """Counts by the README what was ordered: the model that the provider is compared with."""

    def __init__(self, buy: Buy, *, resubmits: bool, clears_anew: bool) -> None:
        self.buy, self.resubmits, self.clears_anew = buy, resubmits, clears_anew
        self.order = Order()
        self.known_rows: set[int] = set()
        self.wanted = 0
        self.cleared = self.finished = self.perhaps_finished = self.failed = False
        self.away = self.moved = False
        self.left: dict[int, Order] = {}  # what was asked for before, and was not collected

    def wants(self, number: int) -> None:
        """Something else is asked for: a new order, or one of before that was not collected."""
        if number == self.wanted:
            return
        if not self.finished and not self.failed:
            self.order.allowed += self.perhaps_finished
            self.order.told += self.perhaps_finished
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

    def tries(self) -> None:
        """Another try begins."""
        if self.failed or (self.cleared and (self.finished or self.clears_anew)):
            self._place(Order())
        elif self.cleared and self.perhaps_finished:
            self.order.allowed += 1  # its end was written down, and nobody heard of it
            self.order.told += 1
        self.cleared = False

    def _place(self, order: Order) -> None:
        self.order = order
        self.cleared = self.finished = self.perhaps_finished = self.failed = False

    def saw(self, done: Try, rows: list[dict[str, Any]], record: dict[str, Any] | None) -> None:
        """Take note of how a try ended.

        :param rows: the ledger's
        """
        self.order.rows |= {row["seq"] for row in rows} - self.known_rows
        self.known_rows |= self.order.rows
        self.finished = done.result is not None or isinstance(done.error, UnusableSpeechError)
        self.perhaps_finished = bool(record and record.get("finished"))
        self.failed = isinstance(done.error, JobFailedError)
        if self.resubmits and self.buy.unkeyed_speech:
            self.order.allowed += done.life.lost
        if self.buy.kind != "clone":
            paid = [row for row in rows if row["seq"] in self.order.rows and not row["refunded"]]
            allowed = min(self.order.allowed, 2 + self.order.told)  # a lost order is sent once more, in all its tries
            assert len(paid) <= allowed, f"{len(paid)} are paid, {allowed} allowed"
            assert self.order.rows or done.result is None, "a result of something that was not ordered now"

    @property
    def may_be_stuck(self) -> bool:
        """Whether it may be right that a person has to decide."""
        return self.moved or self.buy.unkeyed_speech


class History:
    """A random history: tries that die, faults, clears, changes of mind, of the account, of files and of the time.

    :param seed: the same seed is the same history
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.seed, self.dice = world, seed, random.Random(seed)
        self.buy = self.dice.choice(BUYS)
        self.resubmits, self.clears_anew = self.dice.random() < 0.5, self.dice.random() < 0.2
        self.hands_over = self.buy.keyed and self.dice.random() < 0.3
        self.author = Author(self.buy, resubmits=self.resubmits, clears_anew=self.clears_anew)
        self.told: list[str] = []
        self.held = 0
        self.faulty = False
        self.result: dict[str, Any] | None = None

    def __str__(self) -> str:
        policy = (
            f"{'resubmit' if self.resubmits else 'fail'}, on_clear {'resubmit' if self.clears_anew else 'reattach'}"
        )
        head = f"History {self.seed} (VOICE_HISTORY={self.seed} repeats it alone): {self.buy}, {policy}"
        return "\n  ".join([head, *self.told])

    def live(self) -> None:
        """Live it through, and check all along."""
        self.task = self.world.begin(self.buy)
        if self.buy.name == "Fish clone":
            self.world.emulator.settings(fish_training_polls=self.dice.choice((0, 0, 2)))
        for _ in range(self.dice.randint(2, 5)):
            timeout = self._something_happens()
            self._try(timeout, self.dice.randint(1, 16) if self.dice.random() < 0.6 else None)
        self._settle()
        self._check_end()

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
        if self._chance(0.15, "another request"):
            author.wants(self.dice.choice((author.wanted + 1, 0)))
        if self._chance(0.08, "another account"):
            author.moves()
            emulator.add_account(*OTHER)
            self.world.connect(self.buy, OTHER[0] if author.away else None)
        if self._chance(0.1, "time passes"):
            emulator.advance(self.dice.randint(1, 5000))
            self.world.clock.ahead += self.dice.randint(1, 5000)
        if self.result and "uri" in self.result and self._chance(0.3, "the file is spoiled"):
            self._spoil(Path(self.result["uri"]))
        if self.dice.random() < 0.6:
            self._fault()
        if self._chance(0.1, "the store is away for a moment"):
            self.world.store_fails = self.dice.randint(1, 4)
        if self.buy.keyed and self._chance(0.2, "the job takes its time"):
            self._hold(60)
            return 1
        self._hold(0)
        if self.buy.name == "Fish clone":
            emulator.settings(fish_training_fails=self._chance(0.1, "trainings fail"))
        return 20

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
        self.author.order.allowed += self.resubmits and self.buy.is_answer
        self.author.order.told += self.resubmits and self.buy.is_answer

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
        self.world.store_fails = 0
        if done.error is not None and not isinstance(done.error, VoiceError | StoreDownError):
            raise done.error
        self.result = done.result or self.result
        self.author.saw(done, self.world.emulator.ledger(self.buy.kind), self.task.record)
        if done.result is not None and not self.author.away and "path" not in done.result:
            self.world.check_result(self.buy, done.result)
        return done

    def _settle(self) -> None:
        """Let the world be good again, and the task retried until it ends."""
        emulator = self.world.emulator
        if self.author.away:
            self.author.moves()
            self.world.connect(self.buy)
            self.told.append("back at the first account")
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
