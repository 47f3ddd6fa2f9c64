"""Cloning where there is something already: voices that are used again, slots that are full, consent and expiry."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.conftest import Task, know_runs, write_wav
from tests.files.corpus import snapshot
from voice_provider.exceptions import (
    InvalidInputError,
    NameTakenError,
    NotFoundError,
    PermanentVoiceError,
    SlotLimitError,
    TransientVoiceError,
)
from voice_provider.jobs.names import ManagedName, run_key, short_hash
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.triggers.turn import TurnTrigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

SERVICES = ["sync_labs", "fish_audio"]


def clone(sample: Any, **arguments: Any) -> CloneVoiceOperator:
    arguments = {"task_id": "clone", "name": "Ann", "sample": str(sample), **arguments}
    return CloneVoiceOperator(**arguments)


def names(emulator: EmulatorHandle) -> list[str]:
    return [voice["name"] for voice in emulator.voices()] + [model["title"] for model in emulator.models()]


def posts(emulator: EmulatorHandle, path: str) -> int:
    return sum(request["method"] in ("POST", "PUT") for request in emulator.requests(path))


def new_task(run: str, dag: str = "dag") -> Task:
    task = Task()
    task.ti.run_id, task.ti.dag_id = run, dag
    return task


@pytest.fixture(params=SERVICES)
def service(
    request: pytest.FixtureRequest, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> EmulatorHandle:
    """The emulator behind ``voice_default``, once as each service."""
    set_connection(service=request.param)
    return emulator


class TestWhatIsThereAlready:
    def test_the_same_samples_give_the_same_voice_to_every_run_and_nothing_is_sent(
        self, service: EmulatorHandle, sample: Path, tmp_path: Path
    ) -> None:
        first = new_task("1").run(clone(sample))
        sent = posts(service, "/")
        copy = tmp_path / "elsewhere" / "copy.wav"
        copy.parent.mkdir()
        copy.write_bytes(sample.read_bytes())  # the bytes count, and not where they lie
        again = new_task("2", "other_dag").run(clone(copy))
        assert again["voice_id"] == first["voice_id"]
        assert again["outcome"] == "reused"
        assert again["name"] == first["name"]
        assert again["samples"] == first["samples"]
        assert "outcome" not in first
        assert posts(service, "/") == sent
        assert len(names(service)) == 1

    @pytest.mark.parametrize("other", ["samples", "name"])
    def test_other_samples_or_another_name_make_another_voice(
        self, service: EmulatorHandle, sample: Path, tmp_path: Path, other: str
    ) -> None:
        first = new_task("1").run(clone(sample))
        changed = clone(write_wav(tmp_path / "other.wav", 4.0)) if other == "samples" else clone(sample, name="Bob")
        assert new_task("2").run(changed)["voice_id"] != first["voice_id"]
        assert len(names(service)) == 2

    def test_other_settings_make_another_voice(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(service="fish_audio")
        first = new_task("1").run(clone(sample))
        assert new_task("2").run(clone(sample, enhance_audio_quality=False))["voice_id"] != first["voice_id"]

    def test_another_namespace_has_a_voice_of_its_own(
        self, service: EmulatorHandle, set_connection: Callable[..., None], sample: Path, request: Any
    ) -> None:
        first = new_task("1").run(clone(sample))
        set_connection(service=request.node.callspec.params["service"], namespace="dev")
        assert new_task("2").run(clone(sample))["voice_id"] != first["voice_id"]

    def test_replace_deletes_what_had_the_name_whatever_its_samples(
        self, service: EmulatorHandle, sample: Path, tmp_path: Path
    ) -> None:
        made_by_hand = service.seed_voices(["Ann"]), service.seed_models(["Ann"])
        old = [new_task("1").run(clone(path)) for path in (sample, write_wav(tmp_path / "o.wav", 4.0))]
        run_of_its_own = new_task("2").run(clone(sample, ephemeral=True))
        other = new_task("3").run(clone(sample, name="Bob"))
        new = new_task("4").run(clone(sample, if_exists="replace"))
        assert new["voice_id"] not in {voice["voice_id"] for voice in old}
        assert sorted(names(service)) == sorted(["Ann", "Ann", new["name"], run_of_its_own["name"], other["name"]])
        assert made_by_hand

    @pytest.mark.parametrize("theirs", ["another namespace", "a run that is going on"])
    @pytest.mark.parametrize("if_exists", ["replace", "fail"])
    def test_what_is_not_this_namespaces_for_all_runs_neither_goes_nor_is_in_the_way(
        self, service: EmulatorHandle, sample: Path, theirs: str, if_exists: str
    ) -> None:
        voices = {
            "another namespace": str(ManagedName("Ann", "prod", short_hash("x"))),
            "a run that is going on": other_voice("Ann"),
        }
        service.seed_voices([voices[theirs]])
        service.seed_models([voices[theirs]])
        made = new_task("1").run(clone(sample, if_exists=if_exists))
        assert set(names(service)) == {voices[theirs], made["name"]}
        assert names(service).count(voices[theirs]) == 2, "one at each service"

    def test_new_makes_another_one_each_time_and_reuse_takes_the_oldest(
        self, service: EmulatorHandle, sample: Path
    ) -> None:
        made = [new_task(str(run)).run(clone(sample, if_exists="new"))["voice_id"] for run in range(3)]
        assert len(set(made)) == 3
        assert new_task("4").run(clone(sample))["voice_id"] in made

    def test_a_retry_of_new_finds_its_own(self, emulator: EmulatorHandle, sample: Path) -> None:
        task = new_task("1")
        emulator.fault("drop_after", path="/v2/voices", method="POST")
        assert task.run(clone(sample, if_exists="new"))["outcome"] == "found"
        assert len(names(emulator)) == 1

    def test_fail_says_so_before_anything_is_sent(self, service: EmulatorHandle, sample: Path, tmp_path: Path) -> None:
        first = new_task("1").run(clone(sample, if_exists="fail"))
        sent = posts(service, "/")
        with pytest.raises(NameTakenError, match=first["voice_id"]):
            new_task("2").run(clone(write_wav(tmp_path / "o.wav", 4.0), if_exists="fail"))
        assert posts(service, "/") == sent

    def test_an_expired_voice_is_not_used_again(self, service: EmulatorHandle, sample: Path) -> None:
        first = new_task("1").run(clone(sample))
        parsed = ManagedName.parse(first["name"])
        assert parsed is not None
        service.reset()
        service.settings(rate_voices=0)
        expired = str(ManagedName("Ann", parsed.namespace, parsed.fingerprint, expires=int(time.time()) - 1))
        service.seed_voices([expired])
        service.seed_models([expired])
        assert "outcome" not in new_task("2").run(clone(sample))

    def test_a_name_that_only_looks_the_same_is_not_adopted(self, service: EmulatorHandle, sample: Path) -> None:
        first = new_task("1").run(clone(sample))
        service.reset()
        typed = first["name"].replace("Ann", "ann")
        service.seed_voices([typed])
        service.seed_models([typed])
        assert new_task("2").run(clone(sample))["name"] == first["name"]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"if_exists": "maybe"},
            {"ephemeral": True, "if_exists": "reuse"},
            {"ephemeral": True, "if_exists": "replace"},
            {"on_slot_limit": "hope"},
            {"expires": timedelta(days=1)},
        ],
    )
    def test_what_makes_no_sense_is_refused_when_the_dag_is_parsed(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"if_exists|on_slot_limit|expires"):
            clone("/in/a.wav", **arguments)


class TestAtOnce:
    @pytest.mark.parametrize("limited", [False, True])
    def test_twenty_clones_of_the_same_samples_end_with_one_voice(
        self, service: EmulatorHandle, sample: Path, *, limited: bool
    ) -> None:
        if not limited:
            service.settings(rate_voices=0, fish_concurrency=None)
        start = threading.Barrier(20)

        def run(number: int) -> dict[str, Any]:
            start.wait(30)
            result: dict[str, Any] = new_task(str(number)).run(clone(sample))
            return result

        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(run, range(20)))
        assert len({result["voice_id"] for result in results}) == 1
        assert len(names(service)) == 1
        assert service.state()["assets"] == 0
        if not limited:
            assert sum("outcome" not in result for result in results) == 1, "who made the voice that is left"
            assert {result["outcome"] for result in results if "outcome" in result} <= {"found", "reused"}


def other_voice(label: str = "Old", *, age: float = 3600, namespace: str = "default", **more: Any) -> str:
    """Return the name of an ephemeral voice of this DAG's run ``ended``."""
    made = int(time.time() - age)
    values = {"owner": "dag", "run": run_key("dag", "ended") + "aaaaaaa", "made": made, **more}
    return str(ManagedName(label, namespace, short_hash(f"{label}{age}"), **values))


class TestSlots:
    @pytest.fixture(autouse=True)
    def three(self, emulator: EmulatorHandle) -> None:
        emulator.settings(clone_slots=3, rate_voices=0)

    def task(self, states: dict[str, str] | None = None) -> Task:
        """A task in an Airflow that knows these runs of its DAG."""
        task = Task()
        know_runs(task.ti, {"dag": {"ended": "failed", "run": "running", **(states or {})}})
        return task

    def test_a_full_plan_says_who_is_in_it(self, emulator: EmulatorHandle, sample: Path) -> None:
        expired = other_voice(expires=int(time.time()) - 5)
        emulator.seed_voices(["by hand", expired, other_voice("Dev", namespace="dev")])
        with pytest.raises(
            SlotLimitError, match=r"In use: 3 of \?; 1 by .* 'default' \(1 of them expired\), 2 by others"
        ):
            self.task().run(clone(sample))
        assert emulator.state()["assets"] == 0
        assert len(emulator.voices()) == 3

    def test_the_connections_limit_saves_the_upload_and_the_order(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(clone_slots=2)
        emulator.seed_voices(["a", "b"])
        with pytest.raises(SlotLimitError, match="2 of 2 clone slots"):
            self.task().run(clone(sample))
        assert posts(emulator, "/v2") == 0

    def test_the_numbers_are_returned(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(clone_slots=3)
        emulator.seed_voices(["a"])
        result = self.task().run(clone(sample))
        assert (result["slots_in_use"], result["slot_limit"], result["evicted"]) == (2, 3, [])

    def test_evict_takes_expired_ones_first_then_the_oldest(self, emulator: EmulatorHandle, sample: Path) -> None:
        expired = other_voice("Expired", age=10, expires=int(time.time()) - 5)
        oldest, newer = other_voice("Oldest", age=9000), other_voice("Newer", age=100)
        emulator.seed_voices([newer, oldest, expired])
        for gone in (expired, oldest, newer):
            task = self.task()
            task.ti.task_id = f"clone {gone}"
            result = task.run(clone(sample, on_slot_limit="evict", if_exists="new"))
            assert result["evicted"] == [gone]
            assert gone not in names(emulator)

    def test_evict_takes_the_next_where_another_task_was_faster(self, emulator: EmulatorHandle, sample: Path) -> None:
        emulator.settings(clone_slots=2)
        oldest, newer = other_voice("Oldest", age=9000), other_voice("Newer", age=100)
        made = {voice["name"]: voice["id"] for voice in emulator.seed_voices([newer, oldest])}
        emulator.fault("status", path=f"/v2/voices/{made[oldest]}", method="DELETE", status=404, times=None)
        result = self.task().run(clone(sample, on_slot_limit="evict"))
        assert result["evicted"] == [newer]
        assert [fault["fired"] for fault in emulator.faults()] == [1]

    @pytest.mark.parametrize(
        ("stays", "arguments"),
        [
            (lambda: "by hand", {}),
            (lambda: other_voice("Dev", namespace="dev"), {}),
            (lambda: other_voice("Dear"), {"protect": ["Dear"]}),
            (lambda: other_voice("Dear"), {"protect": ["De*"]}),
            (lambda: other_voice("Busy", run=run_key("dag", "run") + "aaaaaaa"), {}),
            (lambda: other_voice("Elsewhere", run=run_key("dag", "unknown") + "aaaaaaa"), {}),
            (lambda: other_voice("Anew", owner=None), {}),
            (lambda: str(ManagedName("Undated", "default", short_hash("x"))), {}),
        ],
        ids=["by hand", "dev", "protected", "pattern", "busy", "elsewhere", "anew", "undated"],
    )
    def test_evict_leaves_alone_what_is_not_its_to_take(
        self, emulator: EmulatorHandle, sample: Path, stays: Callable[[], str], arguments: dict[str, Any]
    ) -> None:
        emulator.settings(clone_slots=1)
        name = stays()
        emulator.seed_voices([name])
        with pytest.raises(SlotLimitError, match="None may be evicted"):
            self.task().run(clone(sample, on_slot_limit="evict", **arguments))
        assert names(emulator) == [name]
        assert emulator.state()["assets"] == 0

    def test_what_airflow_does_not_tell_is_never_evicted(self, emulator: EmulatorHandle, sample: Path) -> None:
        emulator.settings(clone_slots=1)
        emulator.seed_voices([other_voice()])
        task = self.task()

        def silent(*_: Any, **__: Any) -> dict[str, Any]:
            raise ConnectionError("the API server is away")

        task.ti.get_task_states = silent
        with pytest.raises(SlotLimitError):
            task.run(clone(sample, on_slot_limit="evict"))
        assert len(names(emulator)) == 1

    def test_waiting_on_the_worker_counts_and_orders_when_there_is_room(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        seeded = emulator.seed_voices(["a", "b", "c"])
        timer = threading.Timer(1.0, lambda: self.delete(emulator, seeded[0]["id"]))
        timer.start()
        result = self.task().run(clone(sample, on_slot_limit="wait", poll_interval=0.1, deferrable=False))
        timer.join()
        assert result["slots_in_use"] == 3
        refused = [entry for entry in emulator.requests("/v2/voices") if entry["method"] == "POST"]
        assert [entry["status"] for entry in refused] == [403, 201]

    def delete(self, emulator: EmulatorHandle, voice_id: str) -> None:
        from voice_provider.hooks.voice import VoiceHook

        VoiceHook.for_connection("voice_default").delete_voice(voice_id)

    def test_a_wait_that_is_over_says_what_was_in_the_way(self, emulator: EmulatorHandle, sample: Path) -> None:
        emulator.seed_voices(["a", "b", "c"])
        operator = clone(sample, on_slot_limit="wait", poll_interval=0.1, timeout=0.5, deferrable=False)
        with pytest.raises(SlotLimitError, match=r"3 by others\. None became free within 0\.5 s"):
            self.task().run(operator)

    def test_a_deferred_wait_does_not_begin_anew_where_the_slot_was_taken_by_another(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        emulator.seed_voices(["a", "b", "c"])
        task = self.task()
        arguments: dict[str, Any] = {"on_slot_limit": "wait", "deferrable": True, "timeout": 100}
        with pytest.raises(TaskDeferred) as first:
            task.run(clone(sample, **arguments))
        with pytest.raises(TaskDeferred) as second:
            clone(sample, **arguments).execute_complete(task.context, {"status": "turn"})
        assert second.value.trigger.deadline == first.value.trigger.deadline

    def test_a_clone_in_the_making_takes_a_slot_though_it_is_not_listed_any_more(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        seeded = emulator.seed_voices(["a", "b", "c"])
        fewer = [{"id": voice["id"], "name": voice["name"]} for voice in seeded[:2]]
        emulator.fault("status", path="/v2/voices", method="GET", status=200, body=fewer, after=2, times=None)
        with pytest.raises(TaskDeferred) as deferred:
            self.task().run(clone(sample, on_slot_limit="wait", deferrable=True))
        assert deferred.value.trigger.limit == 3, "as many as were counted before the order was refused"

    @pytest.mark.parametrize("known", [False, True])
    def test_a_deferred_wait_counts_by_asking_and_goes_on_where_it_was(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path, *, known: bool
    ) -> None:
        import asyncio

        if known:
            set_connection(clone_slots=3)
        seeded = emulator.seed_voices(["a", "b", "c"])
        task = self.task()
        operator = clone(sample, on_slot_limit="wait", poll_interval=0.1, deferrable=True)
        with pytest.raises(TaskDeferred) as deferred:
            task.run(operator)
        trigger = deferred.value.trigger
        assert isinstance(trigger, TurnTrigger)
        assert (trigger.of, trigger.limit, trigger.learned) == ("clones", 3, not known)

        async def wait() -> dict[str, Any]:
            waiting = asyncio.ensure_future(anext(aiter(TurnTrigger(**trigger.serialize()[1]).run())))
            await asyncio.sleep(1.0)
            assert not waiting.done()
            await asyncio.to_thread(self.delete, emulator, seeded[0]["id"])
            return (await asyncio.wait_for(waiting, 10)).payload  # type: ignore[no-any-return]

        event = asyncio.run(wait())
        assert event["status"] == "turn"
        result = operator.execute_complete(task.context, event)
        assert result["slots_in_use"] == 3
        sent = [entry["status"] for entry in emulator.requests("/v2/voices") if entry["method"] == "POST"]
        assert sent == ([201] if known else [403, 201])


class TestExpiry:
    def test_a_voice_carries_when_it_has_to_go(self, service: EmulatorHandle, sample: Path) -> None:
        result = new_task("1").run(clone(sample, expires="2099-12-31"))
        assert result["expires_at"] == "2100-01-01T00:00:00+00:00"
        parsed = ManagedName.parse(result["name"])
        assert parsed is not None
        assert parsed.expires == 4102444800

    def test_a_voice_of_one_run_may_expire_after_a_while(self, emulator: EmulatorHandle, sample: Path) -> None:
        result = new_task("1").run(clone(sample, ephemeral=True, expires=timedelta(hours=2)))
        parsed = ManagedName.parse(result["name"])
        assert parsed is not None
        assert parsed.expires is not None
        assert parsed.made is not None
        assert 7190 <= parsed.expires - parsed.made <= 7210

    def test_a_voice_does_not_outlive_its_consent(self, emulator: EmulatorHandle, sample: Path) -> None:
        consent = {"who": "the speaker", "when": "2026-01-01", "evidence": "s3://r/1.pdf", "expires": "2098-12-31"}
        result = new_task("1").run(clone(sample, expires="2099-12-31", consent=consent))
        assert result["expires_at"] == "2099-01-01T00:00:00+00:00"
        assert result["consent"]["id"]
        assert "the speaker" not in str(result)

    @pytest.mark.parametrize("expires", ["2020-01-01", "soon", 12, "2026-13-01", True])
    def test_what_is_no_end_or_over_is_refused(self, emulator: EmulatorHandle, sample: Path, expires: Any) -> None:
        with pytest.raises(InvalidInputError, match="expires"):
            new_task("1").run(clone(sample, expires=expires))
        assert posts(emulator, "/") == 0


class TestWhatWasFound:
    """Defects that a review has found, each as it was shown."""

    @pytest.fixture(autouse=True)
    def _slots(self, emulator: EmulatorHandle) -> None:
        emulator.settings(rate_voices=0)

    def deleted(self, emulator: EmulatorHandle) -> int:
        return sum(request["method"] == "DELETE" for request in emulator.requests("/"))

    @pytest.mark.parametrize("protect", ["Brand", "['Brand']", 7, [1]])
    def test_a_protect_that_is_no_list_is_refused(self, emulator: EmulatorHandle, sample: Path, protect: Any) -> None:
        with pytest.raises(InvalidInputError, match="protect"):
            new_task("1").run(clone(sample, on_slot_limit="evict", protect=protect))
        assert posts(emulator, "/") == 0

    def test_a_task_does_not_evict_what_the_same_run_has_just_made(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        emulator.settings(clone_slots=1)
        made = new_task("run").run(clone(sample, if_exists="new"))
        task = new_task("run")
        task.ti.task_id = "another"
        know_runs(task.ti, {"dag": {"run": "running"}})
        with pytest.raises(SlotLimitError, match="None may be evicted"):
            task.run(clone(sample, if_exists="new", on_slot_limit="evict"))
        assert names(emulator) == [made["name"]]

    def test_replace_tells_long_names_apart(self, service: EmulatorHandle, sample: Path) -> None:
        lands = [
            f"The presenter of the campaign of the spring for the market of {land}" for land in ("France", "Spain")
        ]
        first = new_task("1").run(clone(sample, name=lands[0]))
        new_task("2").run(clone(sample, name=lands[1], if_exists="replace"))
        assert first["name"] in names(service)
        assert len(names(service)) == 2
        with pytest.raises(NameTakenError):
            new_task("3").run(clone(sample, name=lands[0], if_exists="fail", expires="2099-01-01"))

    def test_a_voice_that_others_use_keeps_its_visibility(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], sample: Path
    ) -> None:
        set_connection(service="fish_audio")
        shared = new_task("1").run(clone(sample, visibility="unlist"))
        again = new_task("2").run(clone(sample))
        assert (again["voice_id"], again["visibility"]) == (shared["voice_id"], "unlist")
        with pytest.raises(PermanentVoiceError, match="more open than 'private'"):
            new_task("3").run(clone(sample, visibility="private"))
        assert [model["visibility"] for model in emulator.models()] == ["unlist"]

    def test_a_voice_that_stays_longer_than_the_consent_is_not_reused(
        self, service: EmulatorHandle, sample: Path
    ) -> None:
        consent = {"who": "the speaker", "when": "2026-01-01", "evidence": "s3://r/1.pdf", "expires": "2098-12-31"}
        for_ever = new_task("1").run(clone(sample))
        until = new_task("2").run(clone(sample, consent=consent))
        assert until["voice_id"] != for_ever["voice_id"]
        assert until["expires_at"] == "2099-01-01T00:00:00+00:00"
        assert new_task("3").run(clone(sample, consent=consent))["voice_id"] == until["voice_id"]

    def test_replace_keeps_the_old_voice_where_the_new_one_is_refused(
        self, emulator: EmulatorHandle, sample: Path, tmp_path: Path
    ) -> None:
        old = new_task("1").run(clone(sample))
        with pytest.raises(InvalidInputError):
            new_task("2").run(clone(write_wav(tmp_path / "short.wav", 0.3), if_exists="replace"))
        assert names(emulator) == [old["name"]]

    def test_replace_makes_room_for_itself_where_there_is_none(self, emulator: EmulatorHandle, sample: Path) -> None:
        emulator.settings(clone_slots=1)
        old = new_task("1").run(clone(sample))
        new = new_task("2").run(clone(sample, if_exists="replace"))
        assert names(emulator) == [new["name"]] != [old["name"]]

    def test_of_those_that_replace_at_once_the_last_stays(self, service: EmulatorHandle, sample: Path) -> None:
        service.settings(fish_concurrency=None)
        new_task("0").run(clone(sample))

        def replace(run: int) -> dict[str, Any]:
            with suppress(NotFoundError):  # it was replaced itself, before it was done
                return dict(new_task(str(run)).run(clone(sample, if_exists="replace")))
            return {}

        with ThreadPoolExecutor(6) as pool:
            done = list(pool.map(replace, range(1, 7)))
        left = names(service)
        assert left
        assert set(left) <= {voice["name"] for voice in done if voice}

    def test_a_task_that_gave_its_voice_back_can_be_cleared(self, emulator: EmulatorHandle, sample: Path) -> None:
        task = new_task("1")
        emulator.fault("drop_after", path="/v2/voices", method="POST")
        emulator.fault("status", path="/v2/voices", method="GET", status=503, times=5, after=1)
        operator = clone(sample, ephemeral=True)
        with pytest.raises(TransientVoiceError):
            task.run(operator)
        assert names(emulator) == []
        task.clear()
        assert task.run(clone(sample, ephemeral=True))["voice_id"] in {voice["id"] for voice in emulator.voices()}

    def test_a_reused_voice_that_was_deleted_meanwhile_is_made_again(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        first = new_task("1").run(clone(sample))
        task = new_task("2")
        assert task.run(clone(sample))["voice_id"] == first["voice_id"]
        TestSlots().delete(emulator, first["voice_id"])
        task.store.set("voice_job", {**task.record, "finished": False})
        assert task.run(clone(sample))["voice_id"] != first["voice_id"]

    def test_a_cleared_task_does_not_wait_for_its_own_voice(
        self, service: EmulatorHandle, sample: Path, tmp_path: Path
    ) -> None:
        service.settings(clone_slots=1)
        task = new_task("1")
        first = task.run(clone(sample, ephemeral=True))
        task.clear()
        second = task.run(clone(sample, ephemeral=True, on_slot_limit="wait", timeout=1, poll_interval=0.1))
        assert second["voice_id"] != first["voice_id"]
        task.store.clear()  # as Airflow 3.4 does
        task.clear()
        changed = clone(write_wav(tmp_path / "o.wav", 4.0), ephemeral=True)
        third = task.run(changed)
        assert names(service) == [third["name"]]

    @pytest.mark.parametrize("arguments", [{"ephemeral": True}, {"if_exists": "new"}])
    def test_a_refusal_says_nothing_of_the_order_whose_answer_was_lost(
        self, emulator: EmulatorHandle, sample: Path, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("voice_provider.jobs.lifecycle.LOOK_FOR", 0)
        task = new_task("1")
        task.ti.max_tries = 5
        emulator.fault("drop_after", path="/v2/voices", method="POST")
        # The voice is still in the making: it is not listed, and takes the last slot.
        emulator.fault("status", path="/v2/voices", method="GET", status=200, body="[]", times=None)
        with pytest.raises(TransientVoiceError):
            task.run(clone(sample, **arguments))
        emulator.fault("status", path="/v2/voices", method="POST", status=403, code="voice_clone_limit_reached")
        with pytest.raises(SlotLimitError):
            task.run(clone(sample, **arguments))
        emulator.clear_faults()
        time.sleep(1.1)  # a name made now would be another
        result = task.run(clone(sample, **arguments))
        assert result["outcome"] == "found"
        assert names(emulator) == [result["name"]]
        assert len(emulator.ledger("clone")) == 1

    def test_what_is_made_anew_is_given_back_too_where_the_task_fails_for_good(
        self, emulator: EmulatorHandle, sample: Path
    ) -> None:
        emulator.fault("drop_after", path="/v2/voices", method="POST")
        emulator.fault("status", path="/v2/voices", method="GET", status=503, times=5)
        with pytest.raises(TransientVoiceError):
            new_task("1").run(clone(sample, if_exists="new"))
        assert names(emulator) == []

    def test_evictions_in_vain_are_told(self, emulator: EmulatorHandle, sample: Path) -> None:
        gone = [other_voice(f"Voice {number}", age=1000 + number) for number in range(7)]
        emulator.seed_voices(gone)
        emulator.settings(clone_slots=1)
        task = new_task("1")
        know_runs(task.ti, {"dag": {"ended": "success"}})
        with pytest.raises(SlotLimitError, match=r"5 were evicted, and others took their slots: 'Voice 6"):
            task.run(clone(sample, on_slot_limit="evict"))
        assert len(task.record["evicted"]) == 5

    def test_a_restricted_voice_is_not_handed_on(
        self, emulator: EmulatorHandle, sample: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from voice_provider.services.sync_labs import voices

        new_task("1").run(clone(sample))
        real = voices.read_voice
        monkeypatch.setattr(voices, "read_voice", lambda item: real(item).model_copy(update={"restricted": True}))
        with pytest.raises(PermanentVoiceError, match="cannot speak"):
            new_task("2").run(clone(sample))

    def test_a_picture_is_no_sample(self, emulator: EmulatorHandle, tmp_path: Path) -> None:
        picture = tmp_path / "face.jpg"
        picture.write_bytes(snapshot("mjpeg", "yuvj420p"))
        with pytest.raises(InvalidInputError, match=r"sample= is a picture \(image/jpeg\)"):
            new_task("1").run(clone(picture))
        assert posts(emulator, "/") == 0

    def test_an_expiry_after_a_while_counts_from_when_it_was_made(self, emulator: EmulatorHandle, sample: Path) -> None:
        emulator.settings(clone_slots=1)
        [by_hand] = emulator.seed_voices(["by hand"])
        task = new_task("1")
        operator = clone(sample, ephemeral=True, expires=timedelta(seconds=60), on_slot_limit="wait", deferrable=True)
        with pytest.raises(TaskDeferred):
            task.run(operator)
        before = ManagedName.parse(task.record["name"])
        TestSlots().delete(emulator, by_hand["id"])
        time.sleep(1.1)
        result = operator.execute_complete(task.context, {"status": "turn"})
        after = ManagedName.parse(result["name"])
        assert before is not None
        assert after is not None
        assert after.expires is not None
        assert after.expires > (before.expires or 0)
