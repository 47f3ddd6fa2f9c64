"""Workers, the triggerer and the service are killed with SIGKILL at the worst moments; each job is paid once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import GENERATE, until

if TYPE_CHECKING:
    from tests.system.conftest import Studio

pytestmark = pytest.mark.system
OUTAGE = 20.0  # seconds that the triggerer is away


def test_task_killed_while_it_waits_on_the_worker(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("on_worker")
    studio.until_asked()
    run.kill_task()
    run.until_state("running", try_number=2)
    studio.until_asked()
    studio.finish_jobs()
    run.success()
    assert run.tries() == {"lip_sync": 2}
    assert len(studio.orders()) == 1, "the same job is collected"
    run.check_result()
    studio.check_books(lip_sync=1)


def test_scheduler_killed_with_its_workers_and_their_tasks(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("on_worker")
    studio.until_asked()
    assert studio.airflow.kill_component("scheduler") > 3, "a scheduler, its workers, a supervisor and a task"
    studio.airflow.start_component("scheduler")
    run.until_state("running", try_number=2)
    studio.until_asked()
    studio.finish_jobs()
    run.success()
    assert run.tries() == {"lip_sync": 2}
    assert len(studio.orders()) == 1
    run.check_result()
    studio.check_books(lip_sync=1)


def test_task_killed_before_it_hears_that_its_lip_sync_was_accepted(studio: Studio) -> None:
    studio.emulator.fault("slow", path=GENERATE, method="POST", seconds=30)
    run = studio.start("on_worker")
    until(lambda: studio.emulator.ledger("lip_sync"), what="the job at the service")
    assert run.task()["state"] == "running"
    run.kill_task()
    run.success()
    assert run.tries() == {"lip_sync": 2}
    keys = [order["idempotency_key"] for order in studio.orders()]
    assert len(keys) == 2
    assert len(set(keys)) == 1, "sent again under the same key"
    run.check_result()
    studio.check_books(lip_sync=1)


def test_task_killed_before_it_hears_that_its_voice_is_there(studio: Studio) -> None:
    studio.emulator.fault("slow", path="/v2/voices", method="POST", seconds=30)
    run = studio.start("clone")
    until(studio.emulator.voices, what="the voice at the service")
    assert run.task("clone")["state"] == "running"
    run.kill_task("clone")
    run.success()
    assert run.tries() == {"clone": 2, "delete": 1}
    posts = [request for request in studio.emulator.requests("/v2/voices") if request["method"] == "POST"]
    assert len(posts) == 1, "found by its name"
    studio.check_books(clone=1)


def test_triggerer_killed_and_away_while_a_job_ends(studio: Studio) -> None:
    studio.hold_jobs()
    run = studio.start("deferred")
    run.until_state("deferred")
    studio.until_asked()
    assert studio.airflow.kill_component("triggerer") > 0
    studio.finish_jobs()
    asked = len(studio.emulator.requests())
    back = time.monotonic() + OUTAGE
    while time.monotonic() < back:
        assert run.task()["state"] == "deferred"
        assert len(studio.emulator.requests()) == asked, "nobody is there to ask"
        time.sleep(1)
    studio.airflow.start_component("triggerer")
    run.success()
    assert run.tries() == {"lip_sync": 1}
    assert len(studio.orders()) == 1
    run.check_result()
    studio.check_books(lip_sync=1)


def test_triggerer_killed_while_the_jobs_of_a_script_run(studio: Studio) -> None:
    studio.emulator.settings(tts_mode="seed-async")  # no line has a key: what runs is known by the journal alone
    studio.hold_jobs()
    run = studio.start("lines")
    run.until_state("deferred", "speak")
    asked = len(studio.emulator.requests("/v2/tts/"))
    until(lambda: len(studio.emulator.requests("/v2/tts/")) >= asked + 8, what="the triggerer to ask after each job")
    assert studio.airflow.kill_component("triggerer") > 0
    studio.finish_jobs()
    studio.airflow.start_component("triggerer")
    until(lambda: len(studio.emulator.ledger("speech")) == 6, what="the last two lines at the service")
    studio.finish_jobs()
    run.success()
    assert run.tries() == {"speak": 1}
    assert len(list(studio.results.rglob("takes/*.mp3"))) == 6
    studio.check_books(speech=6)


def test_service_killed_and_started_again_while_tasks_wait_for_it(studio: Studio) -> None:
    studio.hold_jobs()
    runs = [studio.start("deferred"), studio.start("on_worker")]
    runs[0].until_state("deferred")
    studio.until_asked(jobs=2)
    studio.emulator.kill()
    for run in runs:
        run.until_logged("did not succeed; asking again")
    assert [run.task()["state"] for run in runs] == ["deferred", "running"]
    studio.emulator.start()
    studio.until_asked(jobs=2)
    studio.finish_jobs()
    for run in runs:
        run.success()
        assert run.tries() == {"lip_sync": 1}
        run.check_result()
    assert studio.orders() == [], "nothing is ordered of the one that came back"
    studio.check_books(lip_sync=2)
