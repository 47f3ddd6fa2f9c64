"""What is remembered beside Airflow, on a folder and on S3: nothing is lost, and a try that is over is stopped."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from voice_provider.exceptions import InvalidInputError, StaleTryError, StorageError
from voice_provider.jobs import store as stores
from voice_provider.jobs.record import Scope
from voice_provider.jobs.store import Attempt, ObjectStore, folder_of, path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCOPE = Scope(dag_id="nightly", task_id="speak", run_id="scheduled__2026-11-27T00:00:00+00:00")
FIRST, SECOND, THIRD = (Attempt(f"0199000{n}-0000-7000-8000-000000000000", n) for n in (1, 2, 3))


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "state")
    request.getfixturevalue("s3")
    return "s3://studio/state/"


@pytest.fixture
def opened(location: str) -> Callable[..., ObjectStore]:
    def open_store(attempt: Attempt, scope: Scope = SCOPE, namespace: str = "prod", **more: Any) -> ObjectStore:
        return ObjectStore(location, namespace, scope, attempt, **more)

    return open_store


def test_what_was_written_is_there_for_the_next_try(opened: Any) -> None:
    first = opened(FIRST)
    first.set("voice_job", {"key": "vp-1", "ö": [1, None]})
    first.set("voice_origin", {"a": 1})
    second = opened(SECOND)
    assert second.get("voice_job") == {"key": "vp-1", "ö": [1, None]}
    assert second.get("voice_origin") == {"a": 1}
    assert second.get("nothing") is None


def test_a_try_that_deferred_comes_back_as_the_same(opened: Any) -> None:
    opened(FIRST).set("voice_job", 1)
    again = opened(FIRST)
    assert again.get("voice_job") == 1
    again.set("voice_job", 2)
    assert opened(SECOND).get("voice_job") == 2


def test_a_try_that_wakes_after_the_next_has_begun_is_stopped_before_it_sends(opened: Any) -> None:
    first = opened(FIRST)
    first.set("voice_job", "intent")
    opened(SECOND).set("voice_job", "finished")
    with pytest.raises(StaleTryError, match="later try"):
        first.set("voice_job", "intent again")
    with pytest.raises(StaleTryError, match=r"Try 2 of this task has begun after this one .try 1."):
        opened(FIRST)
    assert opened(THIRD).get("voice_job") == "finished"


def test_what_an_old_try_wrote_while_the_next_one_claimed_is_read_or_the_old_one_is_stopped(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(FIRST)
    first.set("voice_job", "before")
    create = ObjectStore._create

    def between(self: ObjectStore, number: int) -> None:
        first.set("voice_job", "written in the last moment")  # it has looked: there was no later one yet
        create(self, number)

    monkeypatch.setattr(ObjectStore, "_create", between)
    assert opened(SECOND).get("voice_job") == "written in the last moment"

    def after(self: ObjectStore, number: int) -> None:
        create(self, number)
        with pytest.raises(StaleTryError):
            second.set("voice_job", "too late")

    second = opened(SECOND)
    monkeypatch.setattr(ObjectStore, "_create", after)
    assert opened(THIRD).get("voice_job") in ("written in the last moment", "too late")


def test_a_try_looks_after_it_has_written(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(FIRST)
    write = first._folder.write

    def late(name: str, data: bytes) -> None:
        opened(SECOND)  # it reads what is there, before this is
        write(name, data)

    monkeypatch.setattr(first._folder, "write", late)
    with pytest.raises(StaleTryError):
        first.set("voice_job", "intent")


def test_what_a_try_wrote_when_it_was_stopped_is_not_believed(opened: Any) -> None:
    first = opened(FIRST)
    first.set("voice_job", "before")
    opened(SECOND)  # dies before it writes anything of its own
    with pytest.raises(StaleTryError):
        first.set("voice_job", "sent, as it thinks")
    assert opened(THIRD).get("voice_job") == "before"


def test_no_cached_listing_is_believed(s3: Any) -> None:
    folder = folder_of("s3://studio/state/task/")
    folder.write("000001.json", b"{}")
    assert folder.names() == ["000001.json"]
    another_worker = type(s3)(**s3.storage_options, skip_instance_cache=True)
    another_worker.pipe_file("studio/state/task/000002.json", b"{}")
    assert folder.names() == ["000001.json", "000002.json"]
    another_worker.pipe_file("studio/state/task/000003.json", b"{}")
    assert folder.has("000003.json")


def test_a_try_that_died_while_it_claimed_loses_nothing(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(FIRST).set("voice_job", "paid")
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "_inherited", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            opened(SECOND)
    assert opened(THIRD).get("voice_job") == "paid"
    with pytest.raises(StaleTryError):
        opened(SECOND)


def test_a_run_that_was_made_again_begins_at_one_and_is_not_taken_for_a_stale_try(opened: Any) -> None:
    opened(THIRD).set("voice_job", "of the run before")
    again = Attempt("01990009-0000-7000-8000-000000000000", 1)
    store = opened(again)
    assert store.get("voice_job") is None
    assert store.former == [{"voice_job": "of the run before"}]
    store.set("voice_job", "of this run")
    second = Attempt("0199000a-0000-7000-8000-000000000000", 2)
    assert opened(second).get("voice_job") == "of this run"
    assert opened(second).former == [{"voice_job": "of the run before"}]


def test_a_run_that_was_made_again_and_died_while_it_claimed_is_still_a_new_one(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(THIRD).set("voice_job", "of the run before")
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "_inherited", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            opened(Attempt("01990009-0000-7000-8000-000000000000", 1))
    second = opened(Attempt("0199000a-0000-7000-8000-000000000000", 2))
    assert second.get("voice_job") is None
    assert second.former == [{"voice_job": "of the run before"}]


def test_a_clock_that_was_set_back_stops_no_try(opened: Any) -> None:
    opened(FIRST).set("voice_job", "paid")
    back = Attempt("01980000-0000-7000-8000-000000000000", 2)
    assert opened(back).get("voice_job") == "paid"


def test_task_instances_and_namespaces_do_not_meet(opened: Any) -> None:
    scopes = [
        SCOPE,
        SCOPE.model_copy(update={"map_index": 0}),
        SCOPE.model_copy(update={"map_index": 1}),
        SCOPE.model_copy(update={"task_id": "sp/eak"}),
        SCOPE.model_copy(update={"task_id": "sp_eak"}),
        SCOPE.model_copy(update={"run_id": "manual/../../../x"}),
        SCOPE.model_copy(update={"dag_id": "n" * 250, "task_id": "t" * 250, "run_id": "r" * 250}),
        SCOPE.model_copy(update={"dag_id": "n" * 250, "task_id": "t" * 250, "run_id": "r" * 249 + "s"}),
    ]
    for number, scope in enumerate(scopes):
        opened(FIRST, scope).set("voice_job", number)
    opened(FIRST, namespace="dev").set("voice_job", "dev")
    assert [opened(SECOND, scope).get("voice_job") for scope in scopes] == list(range(len(scopes)))
    assert ".." not in path_of(scopes[5]).split("/")


def test_of_tries_that_claim_at_once_each_has_an_object_of_its_own(location: str) -> None:
    # From the second on: another first one would be that of a run that is made again.
    tries = [Attempt(f"01990{n:03d}-0000-7000-8000-000000000000", n) for n in range(2, 10)]
    ObjectStore(location, "prod", SCOPE, Attempt("01980000-0000-7000-8000-000000000000", 1)).set("voice_job", "paid")
    barrier, won, stale = threading.Barrier(len(tries)), [], []

    def claim(attempt: Attempt) -> None:
        barrier.wait()
        try:
            store = ObjectStore(location, "prod", SCOPE, attempt)
            store.set("voice_job", store.get("voice_job"))
        except StaleTryError:
            stale.append(attempt)
        else:
            won.append((store._number, attempt))

    threads = [threading.Thread(target=claim, args=(attempt,)) for attempt in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) + len(stale) == len(tries)
    assert won
    assert len({number for number, _ in won}) == len(won)
    last = ObjectStore(location, "prod", SCOPE, Attempt("01999000-0000-7000-8000-000000000000", 99))
    assert last.get("voice_job") == "paid"


def test_what_airflow_remembered_before_is_taken_over(opened: Any) -> None:
    airflow = {"voice_job": {"key": "vp-old"}}
    store = opened(FIRST, before=airflow)
    assert store.get("voice_job") == {"key": "vp-old"}
    store.set("voice_job", {"key": "vp-new"})
    assert opened(SECOND, before=airflow).get("voice_job") == {"key": "vp-new"}


def test_an_object_that_is_none_of_ours_is_not_overwritten(opened: Any, location: str) -> None:
    opened(FIRST).set("voice_job", "paid")
    folder = folder_of(f"{location.rstrip('/')}/prod/{path_of(SCOPE)}")
    for broken in (b"", b"{", b"[]", b'{"attempt": "x"}'):
        folder.write("000001.json", broken)
        with pytest.raises(InvalidInputError, match="It may stand for a paid job"):
            opened(SECOND)
        assert folder.read("000001.json") == broken


def test_people_can_read_what_is_kept(opened: Any, location: str) -> None:
    opened(FIRST).set("voice_job", "paid")
    content = json.loads(folder_of(f"{location.rstrip('/')}/prod/{path_of(SCOPE)}").read("000001.json"))
    assert content == {
        "v": 1,
        "namespace": "prod",
        "dag_id": "nightly",
        "task_id": "speak",
        "run_id": SCOPE.run_id,
        "map_index": -1,
        "try_number": 1,
        "attempt": FIRST.id,
        "values": {"voice_job": "paid"},
    }


def test_a_folder_is_left_tidy(tmp_path: Path) -> None:
    ObjectStore(str(tmp_path), "prod", SCOPE, FIRST).set("voice_job", "paid")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["000001.json"]


class TestWhatCannotBeUsed:
    """One sentence that names the location, before anything is sent."""

    @pytest.mark.parametrize(
        "location", ["memory://state/", "http://host/state/", "ftp://host/x", "s3://", "file://h/x"]
    )
    def test_a_storage_that_cannot_create_exclusively(self, location: str) -> None:
        with pytest.raises(InvalidInputError, match="cannot create an object exclusively"):
            ObjectStore(location, "prod", SCOPE, FIRST)

    def test_a_store_that_says_it_can_and_does_not(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def careless(self: Any, name: str, data: bytes) -> None:
            self.write(name, data)

        monkeypatch.setattr(stores.RemoteFolder, "create", careless)
        with pytest.raises(InvalidInputError, match="it cannot stop a try that is over"):
            ObjectStore("s3://studio/state", "prod", SCOPE, FIRST)

    def test_a_file_system_without_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(stores.os, "link", refused)
        with pytest.raises(InvalidInputError, match=r"cannot create a file exclusively .Operation not permitted."):
            ObjectStore(str(tmp_path), "prod", SCOPE, FIRST)

    def test_a_bucket_that_is_not_there(self, s3: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"state_location 's3://elsewhere/state' .* cannot be used: "):
            ObjectStore("s3://elsewhere/state", "prod", SCOPE, FIRST)

    def test_a_folder_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InvalidInputError, match="cannot be used"):
            ObjectStore(str(tmp_path / "file" / "state"), "prod", SCOPE, FIRST)

    def test_a_storage_that_does_not_answer_is_tried_again_by_airflow(
        self, opened: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = opened(FIRST)

        def away(*_: Any) -> None:
            raise TimeoutError("timed out")

        monkeypatch.setattr(type(store._folder), "write", away)
        with pytest.raises(StorageError, match="cannot be used: timed out"):
            store.set("voice_job", 1)
