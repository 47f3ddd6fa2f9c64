"""Cloning where things cross: another task is faster, the request changes between two tries, a sweep was there."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from tests.conftest import know_runs, write_wav
from tests.dags.test_groups import run, speak
from tests.operators.test_clone import SERVICES, clone, names, new_task, posts
from voice_provider.exceptions import (
    ConsentError,
    JobFailedError,
    JobTimeoutError,
    NameTakenError,
    PermanentVoiceError,
    ServiceUnavailableError,
    SlotLimitError,
    TransientVoiceError,
)
from voice_provider.groups import ephemeral_voice
from voice_provider.hooks.attempts import ATTEMPTS
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs.clones import SETTLINGS, CloneOrder
from voice_provider.jobs.lifecycle import Lifecycle
from voice_provider.jobs.names import ManagedName, short_hash, task_key
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.sync_labs.dialect import SyncLabs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.jobs.record import Record
    from voice_provider.models import Job
    from voice_provider.services.base import Service


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[Any]]:
    """Let another task clone after the first has looked, and before it orders."""

    def arrange(other: Callable[[], Any]) -> list[Any]:
        look, done = CloneOrder.look, []

        def look_and_wait(self: CloneOrder, service: Service, record: Record) -> Iterator[Any]:
            found: Job | None = yield from look(self, service, record)
            if not done:
                done.append(None)
                done[0] = other()
            return found

        monkeypatch.setattr(CloneOrder, "look", look_and_wait)
        return done

    return arrange


def cut_down(emulator: EmulatorHandle, operator: Any, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a task whose worker dies after the voice was accepted."""

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lifecycle, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            task.run(operator)
    assert names(emulator)


class TestAnotherTask:
    def test_what_another_made_at_the_same_time_stays_as_private_as_it_is(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        meanwhile: Callable[[Callable[[], Any]], list[Any]],
    ) -> None:
        set_connection(service="fish_audio")
        first = meanwhile(lambda: new_task("1").run(clone(sample, visibility="private")))
        second = new_task("2").run(clone(sample, visibility="public"))
        assert second["voice_id"] == first[0]["voice_id"]
        assert second["outcome"] == "reused"
        assert [model["visibility"] for model in emulator.models()] == ["private"]

    def test_a_voice_whose_deletion_was_asked_for_is_not_handed_on(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        meanwhile: Callable[[Callable[[], Any]], list[Any]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        set_connection(service="fish_audio")
        first = meanwhile(lambda: new_task("1").run(clone(sample)))
        delete = FishAudio.delete_voice

        def delete_and_lose_the_answer(self: FishAudio, voice_id: str) -> Iterator[Any]:
            yield from delete(self, voice_id)
            raise ServiceUnavailableError("The answer was lost, again and again.")

        monkeypatch.setattr(FishAudio, "delete_voice", delete_and_lose_the_answer)
        second = new_task("2").run(clone(sample))
        assert second["voice_id"] == first[0]["voice_id"]
        assert names(emulator) == [second["name"]]

    def test_what_another_made_stays_as_private_as_it_is_also_where_the_own_answer_was_lost(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        meanwhile: Callable[[Callable[[], Any]], list[Any]],
    ) -> None:
        set_connection(service="fish_audio")
        first = meanwhile(lambda: new_task("1").run(clone(sample, visibility="private")))
        emulator.fault("drop_before", path="/model", method="POST", after=1)
        second = new_task("2").run(clone(sample, visibility="public"))
        assert (second["voice_id"], second["outcome"]) == (first[0]["voice_id"], "found")
        assert second["visibility"] == "private"
        assert [model["visibility"] for model in emulator.models()] == ["private"]

    @pytest.mark.parametrize("stale", [1, 2])
    def test_a_voice_does_not_give_way_to_one_that_is_gone(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, stale: int
    ) -> None:
        set_connection(service="fish_audio")
        name = new_task("1").run(clone(sample))["name"]
        emulator.reset()
        gone = [
            {"_id": f"{number:032}", "title": name, "state": "trained", "created_at": f"2020-01-0{number}T00:00:00Z"}
            for number in range(1, stale + 1)
        ]
        listed = {"items": gone, "total": stale}  # as the service still lists them when the new one is made
        emulator.fault("status", path="/model", method="GET", status=200, body=listed, after=2)
        made = new_task("2").run(clone(sample))
        assert "outcome" not in made
        assert [model["_id"] for model in emulator.models()] == [made["voice_id"]]

    def test_a_voice_gives_way_to_the_next_where_the_first_is_gone(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(service="fish_audio")
        first = new_task("1").run(clone(sample))
        gone, there = (
            {"_id": voice_id, "title": first["name"], "state": "trained", "created_at": created}
            for voice_id, created in (("0" * 32, "2020-01-01T00:00:00Z"), (first["voice_id"], "2020-01-02T00:00:00Z"))
        )
        nothing, both = {"items": [], "total": 0}, {"items": [gone, there], "total": 2}
        emulator.fault("status", path="/model", method="GET", status=200, body=nothing, times=2)
        emulator.fault("status", path="/model", method="GET", status=200, body=both)
        second = new_task("2").run(clone(sample))
        assert second["voice_id"] == first["voice_id"]
        assert [model["_id"] for model in emulator.models()] == [first["voice_id"]]

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/model"), ("GET", "/model/*"), ("DELETE", "/model/*")],
        ids=["the list", "the voice that stays", "its own deletion"],
    )
    def test_two_voices_are_settled_also_where_the_service_does_not_answer_for_a_while(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        meanwhile: Callable[[Callable[[], Any]], list[Any]],
        method: str,
        path: str,
    ) -> None:
        set_connection(service="fish_audio")

        def another_and_then_an_outage() -> dict[str, Any]:
            made: dict[str, Any] = new_task("1").run(clone(sample))
            emulator.fault("status", path=path, method=method, status=503, times=ATTEMPTS + 1)
            return made

        first = meanwhile(another_and_then_an_outage)
        second = new_task("2").run(clone(sample))
        assert [fault["fired"] for fault in emulator.faults()] == [ATTEMPTS + 1]
        assert second["voice_id"] == first[0]["voice_id"]
        assert [model["_id"] for model in emulator.models()] == [second["voice_id"]]

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_what_was_made_is_not_lost_where_it_cannot_be_settled(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        meanwhile: Callable[[Callable[[], Any]], list[Any]],
        method: str,
    ) -> None:
        set_connection(service="fish_audio")

        def another_and_then_an_outage() -> dict[str, Any]:
            made: dict[str, Any] = new_task("1").run(clone(sample))
            emulator.fault("status", path="/model/*", method=method, status=503, times=ATTEMPTS * SETTLINGS)
            return made

        first = meanwhile(another_and_then_an_outage)
        second = new_task("2").run(clone(sample))
        assert [fault["fired"] for fault in emulator.faults()] == [ATTEMPTS * SETTLINGS], "it is not asked for ever"
        assert (second["voice_id"] == first[0]["voice_id"]) is (method == "DELETE")
        assert len(emulator.models()) == 2

    @pytest.mark.parametrize("service", SERVICES)
    def test_of_two_that_must_be_the_first_one_fails(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        service: str,
        meanwhile: Callable[[Callable[[], Any]], list[Any]],
    ) -> None:
        set_connection(service=service)
        first = meanwhile(lambda: new_task("1").run(clone(sample, if_exists="fail")))
        with pytest.raises(NameTakenError):
            new_task("2").run(clone(sample, if_exists="fail"))
        assert names(emulator) == [first[0]["name"]]
        assert emulator.state()["assets"] == 0

    def test_mapped_tasks_of_one_run_never_take_each_other_for_their_own_past(self) -> None:
        keys = {task_key("dag", "run", "clone", index) for index in range(20_000)}
        assert len(keys) == 20_000

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_voice_that_stays_is_taken_before_one_that_ends(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, service: str
    ) -> None:
        set_connection(service=service)
        stays = new_task("1").run(clone(sample))
        name = ManagedName.parse(stays["name"])
        assert name is not None
        ends = [str(replace(name, expires=int(time.time()) + days * 86_400)) for days in (2, 5)]
        emulator.seed_voices(ends) if service == "sync_labs" else emulator.seed_models(ends, age_seconds=1000)
        assert new_task("2").run(clone(sample))["voice_id"] == stays["voice_id"]
        VoiceHook.for_connection("voice_default").delete_voice(stays["voice_id"])
        assert new_task("3").run(clone(sample))["name"] == ends[1]

    def test_voices_that_are_to_live_for_hours_are_reused_too(self, emulator: EmulatorHandle, sample: Path) -> None:
        for hour in range(6):  # an hourly DAG: each run asks for six hours from then
            ends = _iso(time.time() + (6 + hour) * 3600)
            new_task(str(hour)).run(clone(sample, expires=ends))
        assert len(names(emulator)) == 1
        new_task("long").run(clone(sample, expires=_iso(time.time() + 13 * 3600)))
        assert len(names(emulator)) == 2

    def test_a_voice_that_ends_within_a_day_is_for_those_who_asked_for_that(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        soon = int(time.time()) + 3600
        first = new_task("1").run(clone(sample, expires=str(_iso(soon))))
        assert new_task("2").run(clone(sample, expires=str(_iso(soon))))["voice_id"] == first["voice_id"]
        assert new_task("3").run(clone(sample))["voice_id"] != first["voice_id"]
        assert len(names(emulator)) == 2


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class TestAnotherTry:
    def test_the_voice_of_one_person_is_not_handed_on_as_anothers(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, tmp_path: Path
    ) -> None:
        set_connection(service="fish_audio", require_consent=True)
        emulator.settings(fish_training_polls=4)
        agreed = {"who": "Ann", "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}
        task = new_task("1")
        task.ti.max_tries = 3
        with pytest.raises(JobTimeoutError):
            task.run(clone(sample, consent=agreed, timeout=0.1))
        with pytest.raises(ConsentError):
            task.run(clone(write_wav(tmp_path / "bob.wav", 4.0), name="Bob", poll_interval=0.1))
        with pytest.raises(ConsentError, match="has expired"):
            task.run(clone(sample, consent={**agreed, "expires": "2026-04-01"}, poll_interval=0.1))

    @pytest.mark.parametrize("how", [{}, {"if_exists": "replace"}])
    def test_nor_after_a_wait_on_the_triggerer(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        tmp_path: Path,
        how: dict[str, Any],
    ) -> None:
        set_connection(service="fish_audio", require_consent=True)
        agreed = {"who": "Ann", "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}
        other = write_wav(tmp_path / "bob.wav", 4.0)
        bob = new_task("0").run(clone(other, name="Bob", consent=agreed))
        emulator.settings(fish_training_seconds=600)
        task = new_task("1")
        with pytest.raises(TaskDeferred):
            task.run(clone(sample, consent=agreed, deferrable=True, **how))
        emulator.advance(601)
        changed = clone(other, name="Bob", deferrable=True, **how)
        with pytest.raises(ConsentError):
            changed.execute_complete(task.context, {"status": "success"})
        assert bob["name"] in names(emulator)

    def test_its_own_voice_is_made_as_open_as_asked_for_also_where_the_answer_was_lost(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(service="fish_audio")
        emulator.settings(fish_downgrade_public=True)
        task = new_task("1")
        task.ti.max_tries = 3
        emulator.fault("drop_after", path="/model", method="POST")
        emulator.fault("status", path="/model", method="GET", status=503, times=5)
        with pytest.raises(TransientVoiceError):
            task.run(clone(sample, if_exists="new", visibility="public"))
        emulator.clear_faults()
        emulator.settings(fish_downgrade_public=False)
        assert task.run(clone(sample, if_exists="new", visibility="public"))["visibility"] == "public"

    @pytest.mark.parametrize("how", [{"ephemeral": True}, {"if_exists": "new"}, {}])
    @pytest.mark.parametrize("service", SERVICES)
    def test_a_voice_that_was_swept_is_cloned_again(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        monkeypatch: pytest.MonkeyPatch,
        how: dict[str, Any],
        service: str,
    ) -> None:
        set_connection(service=service)
        task, sweeper = new_task("r"), new_task("s", "sweep")
        cut_down(emulator, clone(sample, **how), task, monkeypatch)
        know_runs(sweeper.ti, {"dag": {"r": "failed"}, "sweep": {"s": "running"}})
        if "ephemeral" in how:
            CleanupVoicesOperator(task_id="c", orphaned=True).execute(sweeper.context)
        else:
            hook = VoiceHook.for_connection("voice_default")
            for voice in hook.list_voices():
                if ManagedName.parse(voice.name):
                    hook.delete_voice(voice.id)
        assert names(emulator) == []
        task.clear()
        assert [task.run(clone(sample, **how))["name"]] == names(emulator)

    def test_its_own_voice_in_the_last_slot_is_no_reason_to_evict(
        self, emulator: EmulatorHandle, sample: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = int(time.time()) - 1000
        other = str(ManagedName("Old", "default", short_hash("x"), "dag", task_key("dag", "ended", "t", -1), made))
        [old] = emulator.seed_voices([other])
        task = new_task("1")
        task.ti.max_tries = 5
        know_runs(task.ti, {"dag": {"ended": "success", "1": "running"}})
        operator = clone(sample, ephemeral=True, on_slot_limit="evict")
        emulator.fault("drop_after", path="/v2/voices", method="POST")
        emulator.fault("status", path="/v2/voices", method="GET", status=503, times=5, after=1)
        with pytest.raises(TransientVoiceError):
            task.run(operator)
        emulator.clear_faults()
        monkeypatch.setattr("voice_provider.jobs.lifecycle.LOOK_EVERY", 0.1)
        listed = json.dumps([{"id": old["id"], "name": other}])  # its own is not listed for a while
        emulator.fault("status", path="/v2/voices", method="GET", status=200, body=listed, times=3)
        emulator.fault("status", path="/v2/voices", method="POST", status=403, code="voice_clone_limit_reached")
        result = task.run(operator)
        assert result["outcome"] == "found"
        assert result["evicted"] == []
        assert sorted(names(emulator)) == sorted([other, result["name"]])

    def test_a_clear_that_fails_at_its_first_look_gives_back_what_was_there_before(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        task = new_task("1")
        task.run(clone(sample, ephemeral=True))
        task.clear()
        task.ti.try_number = 2
        time.sleep(1.1)  # a name made now is another
        emulator.fault("status", path="/v2/voices", method="GET", status=503, times=5)
        with pytest.raises(TransientVoiceError):
            task.run(clone(sample, ephemeral=True))
        assert names(emulator) == []

    @pytest.mark.parametrize("gone", [0, 1])
    def test_one_that_is_gone_already_does_not_keep_the_others_in_their_slots(
        self, emulator: EmulatorHandle, sample: Path, gone: int
    ) -> None:
        task = new_task("1")
        first = task.run(clone(sample, ephemeral=True))
        name = ManagedName.parse(first["name"])
        assert name is not None
        assert name.made is not None
        [second] = emulator.seed_voices([str(replace(name, made=name.made - 100))])
        stale = [first["voice_id"], second["id"]][gone]
        emulator.fault("status", path=f"/v2/voices/{stale}", method="DELETE", status=404, times=None)
        task.clear()
        task.ti.try_number = 2
        emulator.fault("status", path="/v2/voices", method="GET", status=503, times=5)
        with pytest.raises(TransientVoiceError):
            task.run(clone(sample, ephemeral=True))
        assert [voice["id"] for voice in emulator.voices()] == [stale]

    @pytest.mark.parametrize("how", [{"ephemeral": True}, {"if_exists": "new"}, {}])
    def test_a_voice_whose_training_failed_after_a_while_gives_its_slot_back(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, how: dict[str, Any]
    ) -> None:
        set_connection(service="fish_audio")
        emulator.settings(fish_training_fails=True, fish_training_polls=3)
        task = new_task("1")
        task.ti.max_tries = 5
        with pytest.raises(JobFailedError):
            task.run(clone(sample, poll_interval=0.1, **how))
        assert names(emulator) == []

    def test_a_last_try_whose_time_is_over_gives_the_slot_back_also_where_the_service_hiccups(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(service="fish_audio")
        emulator.settings(fish_training_seconds=600)
        emulator.fault("status", path="/model", method="GET", status=503, after=2)
        with pytest.raises(JobTimeoutError):
            new_task("1").run(clone(sample, ephemeral=True, timeout=0.3))
        statuses = [r["status"] for r in emulator.requests("/model") if (r["method"], r["path"]) == ("GET", "/model")]
        assert statuses == [200, 200, 503, 200], "it looks, settles, and looks again at the end"
        assert names(emulator) == []

    @pytest.mark.usefixtures("airflow_db")
    def test_a_last_try_that_runs_into_its_execution_timeout_gives_the_slot_back(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, tmp_path: Path
    ) -> None:
        set_connection(service="fish_audio")
        emulator.settings(fish_training_seconds=600)
        with (
            DAG("timeouts", schedule=None) as dag,
            ephemeral_voice("Ann", str(sample), execution_timeout=timedelta(seconds=2), retries=0) as voice,
        ):
            speak(voice, tmp_path)
        run(dag)
        assert emulator.requests("/model")
        assert names(emulator) == []


class TestReplace:
    def test_the_one_before_stays_where_nobody_may_have_the_new_one(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        set_connection(service="fish_audio")
        old = new_task("1").run(clone(sample))
        read = FishAudio._voice
        monkeypatch.setattr(FishAudio, "_voice", lambda self, body: read(self, {**body, "visibility": "public"}))
        with pytest.raises(PermanentVoiceError, match="'public' and not 'private'"):
            new_task("2").run(clone(sample, if_exists="replace"))
        assert names(emulator) == [old["name"]]

    def test_a_visibility_that_nobody_knows_is_taken_for_an_open_one(
        self,
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        sample: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        set_connection(service="fish_audio")
        read = FishAudio._voice
        monkeypatch.setattr(FishAudio, "_voice", lambda self, body: read(self, {**body, "visibility": "friends"}))
        with pytest.raises(PermanentVoiceError, match=r"'friends' and not 'private'.*The voice was deleted"):
            new_task("1").run(clone(sample))
        assert names(emulator) == []

    def test_it_has_to_wait_for_the_new_one(self, sample: Path) -> None:
        with pytest.raises(ValueError, match="wait for it"):
            clone(sample, if_exists="replace", wait_for_completion=False)

    @pytest.mark.parametrize("limit", ["fail", "evict"])
    def test_a_voice_that_another_task_deletes_frees_its_slot_all_the_same(
        self, emulator: EmulatorHandle, sample: Path, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        made = int(time.time()) - 1000
        other = str(ManagedName("Old", "default", short_hash("x"), "dag", task_key("dag", "ended", "t", -1), made))
        emulator.seed_voices([other])
        emulator.settings(clone_slots=2)
        first = new_task("1").run(clone(sample))
        delete = SyncLabs.delete_voice

        def find_it_gone(self: SyncLabs, voice_id: str) -> Iterator[Any]:
            yield from delete(self, voice_id)
            if voice_id == first["voice_id"]:
                yield from delete(self, voice_id)

        monkeypatch.setattr(SyncLabs, "delete_voice", find_it_gone)
        task = new_task("2")
        know_runs(task.ti, {"dag": {"ended": "success", "2": "running"}})
        result = task.run(clone(sample, if_exists="replace", on_slot_limit=limit))
        assert result["evicted"] == []
        assert sorted(names(emulator)) == sorted([other, result["name"]])

    def test_a_list_that_is_behind_is_no_reason_to_order_again_and_again(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        emulator.settings(clone_slots=1)
        emulator.seed_voices(["by hand"])
        gone = str(ManagedName("Ann", "default", short_hash("x")))
        listed = json.dumps([{"id": "1e08e7af-a59f-4e68-a311-e8bb16fbda7e", "name": gone}])
        emulator.fault("status", path="/v2/voices", method="GET", status=200, body=listed, times=12)
        with pytest.raises(SlotLimitError):
            new_task("2").run(clone(sample, if_exists="replace"))
        assert posts(emulator, "/v2/voices") == 2


def test_what_was_looked_at_twice_can_be_read_again(
    emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    consent = tmp_path / "release-7.json"
    consent.write_text(json.dumps({"who": "Ann", "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}))
    hook = VoiceHook.for_connection("voice_default")
    looked = hook.look_at(str(sample), hook.look_at(str(sample), str(consent))["consent"])
    assert new_task("1").run(clone(sample, consent=looked["consent"]))["name"] in names(emulator)


def test_results_do_not_say_where_the_consent_lies(
    emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    consent = tmp_path / "somebody.json"
    consent.write_text(json.dumps({"who": "Ann", "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}))
    voice = new_task("1").run(clone(sample, consent=str(consent)))
    speech = new_task("2").run(TTSOperator(task_id="s", text="A line.", voice_id=voice, output=f"{tmp_path}/out/"))
    assert speech["consent"]["id"] == voice["consent"]["id"]
    assert "somebody" not in json.dumps([voice, speech])
    assert emulator.ledger("speech")


def test_a_large_account_is_not_listed(
    emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    emulator.seed_models(count=1_100, age_seconds=86_400)  # more are as many requests, and take longer
    before = Counted(emulator)
    first = new_task("1").run(clone(sample))
    assert before.requests() <= 7
    assert new_task("2").run(clone(sample))["voice_id"] == first["voice_id"], "it is found, whatever its age"
    assert before.requests() <= 3
    ways: list[dict[str, Any]] = [{"if_exists": "replace"}, {"if_exists": "new"}, {"ephemeral": True}]
    for number, how in enumerate(ways):
        task = new_task(f"how{number}")
        if "ephemeral" in how:
            task.run_after = datetime.now(UTC)
        task.run(clone(sample, **how))
        assert before.requests() <= 6, how
    emulator.fault("drop_after", path="/model", method="POST")
    emulator.fault("status", path="/model", method="GET", status=503, times=ATTEMPTS, after=3)
    task, other = new_task("lost"), clone(write_wav(tmp_path / "other.wav", 4.0))
    with pytest.raises(TransientVoiceError):
        task.run(other)
    made = names(emulator)
    again = task.run(other)
    assert before.requests() <= 12, "of both tries, five of them refused"
    assert again["outcome"] == "found"
    assert names(emulator) == made, "not made twice"


class Counted:
    """Requests for voices since the last time that somebody asked."""

    def __init__(self, emulator: EmulatorHandle) -> None:
        self._emulator = emulator
        self._seen = 0
        self.requests()

    def requests(self) -> int:
        seen = self._seen
        found = self._emulator.requests("/model")
        self._seen = len(found)
        return self._seen - seen
