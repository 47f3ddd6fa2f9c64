"""A service, a disk, a store and a clock that outlive the tries of a task, which die after any of their effects.

An effect is what outlives a process: a record that is written, a request that is no mere question, a piece of a file,
a file that is moved or deleted. Between two effects nothing changes that a later try could see, so to die before an
effect is to die after the one before it: dying after each effect is dying at every line.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import socket
import time
from collections import Counter
from contextlib import contextmanager
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
    VoiceError,
)
from voice_provider.files import beside, room, transfer
from voice_provider.files.captions import place_of
from voice_provider.files.storage import Download, Output
from voice_provider.hooks import base as hooks_base
from voice_provider.hooks import waiting
from voice_provider.hooks.base import ServiceHook
from voice_provider.hooks.transport import Transport
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs import following, lifecycle
from voice_provider.jobs.names import ManagedName
from voice_provider.jobs.record import RECORD_KEY
from voice_provider.operators import base as operators_base
from voice_provider.operators.base import VoiceOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.sensors import base as sensors_base
from voice_provider.sensors import job as sensors_job
from voice_provider.sensors.job import KEPT_KEY, JobSensor
from voice_provider.trust import provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from voice_provider.emulator.process import EmulatorHandle

LINE = "Hello there."
OTHER = ("another-key", "other")  # a second account: its key and its organization
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
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
        if what != "tell" and self.count == self.dies_after:
            self.dead = True
            raise Killed

    @property
    def count(self) -> int:
        """Effects; how many lines of progress there are depends on the second, and no try reads them."""
        return len(self.effects) - self.effects.count("tell")

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
        if self._world.store_skips:
            self._world.store_skips -= 1
        elif self._world.store_fails:
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
    captions: str | None = None

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
            values.setdefault("output", f"{world.out}/")
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
                return TTSOperator(text=text, voice_id=world.voice, captions=self.captions, **values)


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
    Buy("speech with captions", "fish_audio", "/v1/tts/stream/with-timestamp", "speech", captions="srt"),
)


class World:
    """A service, a disk and a store that outlive the processes of a task.

    Between two tries something may go wrong until ``repair``: ``store_fails`` writes into the store fail after
    ``store_skips`` that do not; ``refuses`` attempts to put a result in its place fail (None: all); the disk is
    ``full``.
    """

    store_skips: int
    store_fails: int
    refuses: int | None
    full: bool

    def __init__(
        self,
        emulator: EmulatorHandle,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
    ) -> None:
        self.emulator, self._monkeypatch = emulator, monkeypatch
        self.out, self.spool, self._folder, self.machine = folder / "out", folder / "spool", folder, "here"
        self.sample = write_wav(folder / "in" / "sample.wav", seconds=1.2, width=1)
        self.clip = write_wav(folder / "in" / "clip.wav", seconds=1.1, width=1)
        self.video = write_mp4(folder / "in" / "video.mp4", seconds=0.3)
        self.life, self.clock = Life(), Clock()
        self.voice = BUILT_IN
        self.repair()
        for module in (
            hooks_base,
            following,
            lifecycle,
            operators_base,
            sensors_base,
            sensors_job,
            tenacity.nap,
            transfer,
            waiting,
        ):
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

    def watch(self, owner: Any, method: str, what: str) -> None:
        """Let a call be an effect, unless it says that it has done nothing."""
        real = getattr(owner, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.life.go_on()
            value = real(*args, **kwargs)
            if value is not False:
                self.life.happened(what)
            return value

        self._monkeypatch.setattr(owner, method, watched)

    def _watch_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(owner: Any, name: str, error: int, breaks: Callable[[], bool]) -> None:
            real = getattr(owner, name)

            def tried(*args: Any) -> Any:
                if breaks():
                    raise OSError(error, "so the history wants it")
                return real(*args)

            monkeypatch.setattr(owner, name, tried)

        def refused() -> bool:
            refuses, self.refuses = self.refuses, self.refuses and self.refuses - 1
            return refuses != 0

        broken(room, "_fill", errno.ENOSPC, lambda: self.full)
        broken(Download, "_move", errno.EACCES, refused)
        monkeypatch.setattr(socket, "gethostname", lambda: self.machine)
        self.watch(Download, "__init__", "open")
        self.watch(Download, "write", "write")
        self.watch(Download, "publish", "move")
        self.watch(Output, "recover", "move")
        self.watch(beside, "put", "beside")
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
        self.life, self.clock.ahead, self.machine = Life(), 0.0, "here"
        self.repair()
        for folder in (self.out, self.spool, *self._folder.glob("disk of *")):
            shutil.rmtree(folder, ignore_errors=True)
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

    def repair(self) -> None:
        """Let the store, the place of results and the disk be as they should."""
        self.store_skips = self.store_fails = self.refuses = 0
        self.full = False

    def go_to(self, machine: str) -> None:
        """Let the next try run on another machine, with a disk of its own."""
        self.out.rename(self._folder / f"disk of {self.machine}")
        self.machine = machine
        disk = self._folder / f"disk of {machine}"
        disk.mkdir(exist_ok=True)
        disk.rename(self.out)

    def connect(self, buy: Buy, key: str | None = None, **extra: str) -> None:
        """Write the connection: with the emulator's own key, unless it is told otherwise."""
        connection = self.emulator.connection(buy.service, api_key=key, **dict(buy.extra) | extra)
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
        """Name what lies in the folder of results, without the records and captions that stand beside their results."""
        names = without_records(path.name for path in self.out.iterdir())
        return [name for name in names if not (name.endswith(".srt") and name.replace(".srt", ".wav") in names)]

    def check_result(self, buy: Buy, result: dict[str, Any]) -> None:
        """A file is kept whole, and a voice is there once."""
        if buy.kind == "clone":
            assert result["voice_id"] in self.voice_ids(buy)
            assert self.voices(buy)[result["name"]] == 1
            return
        content = Path(result["uri"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (result["bytes"], result["sha256"])
        assert Path(result["uri"]).name in self.files()
        if buy.captions:
            said = Path(result["captions"]["uri"]).read_bytes()
            assert hashlib.sha256(said).hexdigest() == result["captions"]["sha256"]
            assert result["captions"]["uri"] == place_of(result["uri"], buy.captions)
        record, problem = provenance.verify(result["uri"])
        assert record is not None
        assert problem is None


def _short(path: str) -> str:
    """Leave ids out of a path."""
    parts = ["*" if len(part) > 15 or part.count("-") == 4 else part for part in path.split("/")]
    return "file" if path.startswith("/uploads") else "/".join(parts)
