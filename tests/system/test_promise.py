"""The promise, in a real Airflow that is killed piece by piece: paid once, kept, given back.

One run buys everything at once, in every way (``dags/promise.py``), at a service that fails in every way, while tasks,
each component and the service itself are killed and tasks are cleared. Then the faults end, the run ends, one sweep
runs, and the service's bill is compared with what was asked for. What may be paid twice or stay unknown is README's
table, "What a retry and a clear do". ``VOICE_TASKS=300`` is the long form; ``VOICE_SEED`` chooses the faults and kills.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.conftest import without_records, write_mp4, write_wav
from tests.system.components import AirflowComponents, patiently
from tests.system.conftest import DAGS, SOONER, Run, Studio
from tests.system.dags.promise import (
    ANSWERED,
    DIRECT,
    KEYED,
    LINES,
    PORTIONS,
    PROMISE,
    RESUBMIT,
    SWEEP,
    Line,
    sample_seconds,
)
from tests.system.faults import EDGES, SERVICE, inflict
from voice_provider.demo.airflow_home import FINAL_RUN_STATES, AirflowHome
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
SEED = int(os.environ.get("VOICE_SEED", "20261128"))
SHARE = 0.1  # of all requests meet a fault
# How often each thing happens, for every 30 task instances; all of them happen once at least.
HAPPENS = {"task": 3.0, "clear": 1.0, "service": 0.4, **dict.fromkeys(AirflowComponents.NAMES, 0.3)}
SECONDS = 300 + 120 * PORTIONS  # in which it has to end
STALLED = 10.0  # seconds until the next thing happens, where nothing ends
JOB_SECONDS = (0, 2, 6)
ENDED = {"success", "failed", "upstream_failed", "skipped", "removed"}
CLEARED = {"running", "deferred", "up_for_retry", "success", "failed"}  # in other states nothing has happened yet
UNKNOWN = ("OutcomeUnknownError", "UnusableSpeechError")  # a person has to decide: what the policy is called "fail" for


class Task(NamedTuple):
    """A task instance as Airflow's database has it."""

    state: str | None
    try_number: int
    pid: int | None


@dataclass
class Asked:
    """How often a line may be, and has to be, paid: once, and once more for each clear that is a new order."""

    least: int = 1
    most: int = 1


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("promise")
    root = folder / "voice"
    write_wav(root / "inbox" / "line.wav")
    write_mp4(root / "inbox" / "talk.mp4")
    for number in range(2 * PORTIONS):
        write_wav(root / "inbox" / f"sample-{number}.wav", sample_seconds(number))
    home = AirflowHome(folder / "airflow")
    home.add_dag(DAGS / "promise.py")
    # Plenty of everything: limits have tests of their own.
    plan = {"concurrency": None, "clone_slots": None, "fish_concurrency": None, "rate_limits": False}
    with EmulatorProcess(folder / "emulator", engine="tone", settings=plan) as emulator:
        limits: dict[str, Any] = {"allowed_inputs": [str(root)], "allowed_outputs": [str(root)]}
        remembering = {"state_location": str(folder / "state")}  # one as an addition, or on 3.2 all of them
        connections = {
            KEYED: emulator.connection(tts_mode="jobs", **limits),
            DIRECT: emulator.connection(**limits),
            ANSWERED: emulator.connection("fish_audio", **limits, **remembering),
        }
        environment = {
            "AIRFLOW_VAR_VOICE_ROOT": str(root),
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # it does not change, and takes CPU
            "VOICE_INLINE_WAIT": "1",
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()},
            **SOONER,
        }
        with AirflowComponents(home, environment=environment) as airflow:
            for dag in (PROMISE, SWEEP):
                airflow.wait_for_dag(dag)
            yield Studio(airflow, emulator, root)


def read(database: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Read what a server has written; its API may be away, and takes its time for hundreds of rows."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", 20, uri=True)) as found:
        return found.execute(query, values).fetchall()


@dataclass
class Fate:
    """What happens to a run, in an order that the seed gives: the next thing whenever some more tasks have ended."""

    studio: Studio
    run: Run
    dice: random.Random
    happened: list[str] = field(default_factory=list)
    asked: dict[Line, Asked] = field(default_factory=lambda: {line: Asked() for line in LINES})

    def __post_init__(self) -> None:
        self.coming = [what for what, often in HAPPENS.items() for _ in range(math.ceil(often * PORTIONS))]
        self.dice.shuffle(self.coming)
        self._count = len(self.coming)
        self._began = self._last = time.monotonic()

    def tasks(self) -> dict[tuple[str, int], Task]:
        """Return the task instances by task and map index."""
        query = "SELECT task_id, map_index, state, try_number, pid FROM task_instance WHERE run_id = ?"
        rows = read(self.studio.airflow.home.database, query, self.run.id)
        return {(task, index): Task(*rest) for task, index, *rest in rows}

    def go_on(self) -> bool:
        """Let the next thing happen if it is time; return whether more is to come."""
        found = self.tasks()
        ended = sum(task.state in ENDED for task in found.values()) / len(found)
        due = (len(self.happened) + 1) / (self._count + 2)
        if ended >= due or time.monotonic() > self._last + STALLED:
            self.studio.emulator.settings(job_seconds=self.dice.choice(JOB_SECONDS))
            if self._happens(self.coming[0], found):
                self._last = time.monotonic()
                print(f"{self._last - self._began:.0f} s, {ended:.0%} have ended: {self.coming[0]}")
                self.happened.append(self.coming.pop(0))
        return bool(self.coming) and ended < 1

    def _happens(self, what: str, tasks: dict[tuple[str, int], Task]) -> bool:
        """Let it happen; return whether it could."""
        if what == "task":
            return self._kill_one(tasks)
        if what == "clear":
            return self._clear(tasks)
        if what == "service":
            self.studio.emulator.restart()
        else:
            self.studio.airflow.kill_component(what)
            self.studio.airflow.start_component(what)
        return True

    def _kill_one(self, tasks: dict[tuple[str, int], Task]) -> bool:
        running = [pid for _, (state, _, pid) in sorted(tasks.items()) if state == "running" and pid is not None]
        try:
            self.studio.airflow.kill_process(self.dice.choice(running))
        except (IndexError, ProcessLookupError):
            return False  # none runs, or it has just ended
        return True

    def _clear(self, tasks: dict[tuple[str, int], Task]) -> bool:
        """Clear a line in a state that the dice choose, and note what may be ordered anew by that."""
        states = {str(tasks[line.task, line.index].state) for line in LINES} & CLEARED
        if not states:
            return False
        state = self.dice.choice(sorted(states))
        line = self.dice.choice([line for line in LINES if tasks[line.task, line.index].state == state])
        body: dict[str, Any] = {
            "dry_run": False,
            "dag_run_id": self.run.id,
            "task_ids": [line.task if line.index < 0 else [line.task, line.index]],
            "include_downstream": line.clears,
            "only_failed": False,
        }
        answer = patiently(lambda: self.studio.airflow.call("POST", f"dags/{PROMISE}/clearTaskInstances", body))
        cleared = {(found["task_id"], found["map_index"]) for found in answer["task_instances"]}
        for other in LINES:
            if (other.task, other.index) in cleared | {(line.task, line.index)}:
                self._ask_again(other, tasks[other.task, other.index])
        print(f"{line.task}[{line.index}] was {state}, and is cleared")
        return True

    def _ask_again(self, line: Line, before: Task) -> None:
        asked = self.asked[line]
        asked.least += before.state == "success"
        # Others may have told their result before Airflow has heard of it, but for those that wait for it.
        asked.most += before.state not in (None, "deferred")


def bill(studio: Studio) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the lines of the bill by kind and by what was ordered, as ``dags/promise.py`` marks it."""
    rows = read(studio.emulator.data_dir / "state.sqlite", "SELECT id, request FROM jobs")
    requests = {job: json.loads(request) for job, request in rows}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in studio.emulator.ledger():
        request = requests.get(row["job_id"], {})
        mark = request.get("outputFileName") or request.get("script") or row["request_sha256"]
        if row["kind"] == "clone":
            mark = f"{row['units']:.1f} s"
        found.setdefault((row["kind"], mark), []).append(row)
    return found


def judge(fate: Fate, line: Line, tasks: dict[tuple[str, int], Task], rows: list[dict[str, Any]]) -> str | None:
    """Return what is wrong with a line, by README's tables; nothing if it was paid as often as it may be, and kept."""
    told = f"{line.task}[{line.index}] ({line.unkeyed or 'keyed'}), paid {len(rows)} times"
    asked, keeps = fate.asked[line], tasks[line.keeps or line.task, line.index]
    most = asked.most * (2 if line.unkeyed == RESUBMIT else 1)
    done = tasks[line.task, line.index].state == keeps.state == "success"
    least = asked.least if not line.unkeyed else int(done)  # nobody knows of one that failed whether it was paid
    if len(rows) > 1:
        print(f"{told}; {asked}")
    if not least <= len(rows) <= most:
        return f"{told}, not {least} to {most}"
    if not all(row["settled"] and not row["refunded"] for row in rows):
        return f"{told}, but not settled"
    log = fate.run.log(line.task, line.index)
    if len(rows) > asked.most and "Ordering again." not in log:
        return f"{told}, and not told so"
    if not done:
        return None if line.unkeyed and any(name in log for name in UNKNOWN) else f"{told}, and not kept: {keeps}"
    if line.keeps is not None:
        fate.run.check_kept(line.keeps, line.index)
    return None


def test_each_order_is_paid_once_kept_and_given_back(studio: Studio) -> None:
    emulator, airflow = studio.emulator, studio.airflow
    dice = random.Random(SEED)
    inflict(emulator, SEED, SHARE, [*SERVICE, *EDGES])
    began, run = time.monotonic(), studio.start(PROMISE)
    fate = Fate(studio, run, dice)
    while not fate.tasks():
        time.sleep(0.2)
    struck: Counter[str] = Counter()
    while fate.go_on():
        assert time.monotonic() < began + SECONDS, f"{fate.coming} are still to come"
        time.sleep(0.3)
    for rule in emulator.faults():
        struck[rule["kind"]] += rule["fired"]
    emulator.clear_faults()
    emulator.settings(job_seconds=0)
    while patiently(lambda: airflow.call("GET", run.path))["state"] not in FINAL_RUN_STATES:
        states = Counter(task.state for task in fate.tasks().values())
        assert time.monotonic() < began + SECONDS, f"VOICE_SEED={SEED}: {states}"
        time.sleep(1)
    took = time.monotonic() - began

    assert set(fate.happened) == set(HAPPENS), f"VOICE_SEED={SEED}: it ended before {fate.coming}"
    tasks, paid = fate.tasks(), bill(studio)
    left = f"{len(emulator.voices()) + len(emulator.models())} voices, {emulator.state()['assets']} uploads"
    patiently(lambda: studio.start(SWEEP)).success()
    states, tries = Counter(task.state for task in tasks.values()), sum(task.try_number for task in tasks.values())
    print(f"\nVOICE_SEED={SEED}: {len(tasks)} task instances in {took:.0f} s, {tries} tries; {dict(states)}")
    print(f"faults: {dict(struck)}; paid {sum(map(len, paid.values()))} times; left to the sweep: {left}")
    wrong = [problem for line in LINES if (problem := judge(fate, line, tasks, paid.pop((line.kind, line.mark), [])))]
    assert not wrong, "\n".join([f"VOICE_SEED={SEED}", *wrong])
    assert not paid, "what nobody has asked for"
    assert states.keys() <= {"success", "failed"}
    assert (emulator.voices(), emulator.models(), emulator.state()["assets"]) == ([], [], 0)
    assert emulator.state()["key_leaks"] == 0
    kept = without_records(path.name for path in studio.results.rglob("*") if path.is_file())
    assert [name for name in kept if ".part" in name] == [], "what was received is in its place, or is given up"
    assert +struck, "faults have struck"
