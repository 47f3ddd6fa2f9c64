"""The nightly sweep: what goes, what stays, what it says, and what stops it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task, know_runs
from voice_provider.exceptions import AuthError, InvalidInputError, NotFoundError, ServiceUnavailableError
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs.names import AssetName, ManagedName, owner_of, run_key, short_hash
from voice_provider.operators import cleanup
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.voice import DeleteVoiceOperator
from voice_provider.services.base import Input
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

RUNS = {"ended": "failed", "running": "running", "queued": "queued"}
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


def voice(
    label: str = "Ann",
    run: str | None = "ended",
    *,
    age: float = 100,
    namespace: str = "default",
    dag: str = "news",
    expires: int | None = None,
) -> str:
    """Return the name of a voice of a DAG's run, or of one for all runs."""
    values: dict[str, Any] = {}
    if run is not None:
        values = {"owner": owner_of(dag), "run": run_key(dag, run) + "aaaaaaa", "made": int(time.time() - age)}
    return str(ManagedName(label, namespace, short_hash(f"{label}{run}{age}"), expires=expires, **values))


def sweep(**arguments: Any) -> CleanupVoicesOperator:
    return CleanupVoicesOperator(task_id="cleanup", **arguments)


@pytest.fixture
def task() -> Task:
    """A task in an Airflow that knows these runs of the DAG ``news``."""
    task = Task()
    task.ti.pushed = {}
    know_runs(task.ti, {"news": RUNS})
    task.ti.xcom_push = lambda key, value: task.ti.pushed.update({key: value})
    return task


@pytest.fixture(params=["sync_labs", "fish_audio"])
def service(
    request: pytest.FixtureRequest, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> EmulatorHandle:
    set_connection(service=request.param)
    return emulator


def seed(emulator: EmulatorHandle, *names: str, **more: Any) -> None:
    emulator.seed_voices(names, **more)
    emulator.seed_models(names, **more)


def labels(emulator: EmulatorHandle) -> set[str]:
    """Return what there is at the service of the connection."""
    hook = VoiceHook.for_connection("voice_default")
    ids = {voice["id"] for voice in emulator.voices()} | {model["_id"] for model in emulator.models()}
    return {found.name.partition(" [")[0] for found in hook.list_voices() if found.id in ids}


class TestRules:
    def test_nothing_is_asked_for_and_only_expired_voices_go(self, service: EmulatorHandle, task: Task) -> None:
        past, future = int(time.time()) - 1, int(time.time()) + 1000
        seed(service, voice("Old"), voice("Over", None, expires=past), voice("Not yet", None, expires=future))
        report = task.run(sweep())
        assert labels(service) == {"Old", "Not yet"}
        assert len(report["deleted"]) == 1
        assert "Over" in report["deleted"][0]
        assert "expired on " in report["deleted"][0]
        assert report["kept"] == {"no rule applies": 2}

    def test_orphans_go_and_what_a_run_needs_stays(self, service: EmulatorHandle, task: Task) -> None:
        seed(
            service,
            "by hand",
            voice("Ended"),
            voice("Running", "running"),
            voice("Queued", "queued"),
            voice("Lost", "never seen", age=90_000),
            voice("Perhaps elsewhere", "never seen", age=80_000),
            voice("For all", None),
            voice("Other", namespace="dev"),
        )
        report = task.run(sweep(orphaned=True))
        assert labels(service) == {"by hand", "Running", "Queued", "Perhaps elsewhere", "For all", "Other"}
        assert report["others"]["other_namespaces"] == 1
        assert report["others"]["not_ours"] >= 1
        assert report["kept"] == {"its run is active": 2, "its run is not known": 1, "no rule applies": 1}
        assert report["slots_in_use"] == 6

    def test_age_counts_where_it_is_known(self, emulator: EmulatorHandle, task: Task) -> None:
        seed(emulator, voice("Old", age=7200), voice("Young", age=60), voice("Undated", None))
        report = task.run(sweep(older_than=timedelta(hours=1)))
        assert labels(emulator) == {"Young", "Undated"}
        assert report["kept"]["its age is not known"] == 1

    def test_fish_audio_dates_its_voices(
        self, emulator: EmulatorHandle, set_connection: Callable[..., None], task: Task
    ) -> None:
        set_connection(service="fish_audio")
        emulator.seed_models([voice("Old", None)], age_seconds=40 * 86_400)
        emulator.seed_models([voice("Young", None)], age_seconds=20 * 86_400)
        task.run(sweep(older_than="30"))
        assert labels(emulator) == {"Young"}

    def test_pattern_and_dag_narrow_and_are_a_reason_themselves(self, service: EmulatorHandle, task: Task) -> None:
        know_runs(task.ti, {"news": RUNS, "weather": {"ended": "success"}})
        names = [voice("Brand A", None), voice("Brand B", None), voice("Ann"), voice("Bob", dag="weather")]
        seed(service, *names, voice("Cid", "never seen", dag="weather"))
        task.run(sweep(pattern="Brand*", protect=["Brand B"]))
        assert labels(service) == {"Brand B", "Ann", "Bob", "Cid"}
        task.run(sweep(dag_ids=["weather"]))
        assert labels(service) == {"Brand B", "Ann", "Cid"}
        task.run(sweep(orphaned=True, dag_ids=["weather"]))
        assert labels(service) == {"Brand B", "Ann", "Cid"}

    def test_no_dag_is_not_every_dag(self, service: EmulatorHandle, task: Task) -> None:
        seed(service, voice("Ann"), voice("Over", expires=5))
        for arguments in ({"orphaned": True}, {}):
            report = task.run(sweep(dag_ids=[], **arguments))
            assert report["kept"] == {"is not of these DAGs": 2}
        assert labels(service) == {"Ann", "Over"}

    def test_a_name_that_was_cut_is_protected_by_what_it_was_called(self, service: EmulatorHandle, task: Task) -> None:
        dag = "nightly_news_and_weather"
        know_runs(task.ti, {dag: RUNS})
        called = ["German narrator of the autumn campaign", "French narrator of the autumn campaign"]
        seed(service, *[voice(label, dag=dag) for label in called])
        assert not labels(service) & set(called)
        report = task.run(sweep(orphaned=True, protect=["German narrator of the autumn*"]))
        assert report["kept"] == {"protected": 1}
        assert "French" in report["deleted"][0]

    def test_the_last_of_each_name_stay(self, service: EmulatorHandle, task: Task) -> None:
        names = [voice("Ann", age=age) for age in (400, 300, 200)] + [voice("Bob", age=500)]
        seed(service, *names)
        report = task.run(sweep(orphaned=True, keep_last=2))
        assert len(report["deleted"]) == 1
        left = {found.name for found in VoiceHook.for_connection("voice_default").list_voices()}
        assert set(names[1:]) <= left

    def test_a_dry_run_says_what_would_go_and_deletes_nothing(self, service: EmulatorHandle, task: Task) -> None:
        seed(service, voice("Ann"), voice("Bob"))
        report = task.run(sweep(orphaned="True", dry_run="True"))
        assert labels(service) == {"Ann", "Bob"}
        assert len(report["would_delete"]) == 2
        assert report["deleted"] == []
        assert not [entry for entry in service.requests("/") if entry["method"] == "DELETE"]

    def test_so_many_at_most_and_the_oldest_first(self, service: EmulatorHandle, task: Task) -> None:
        seed(service, voice("New", age=100), voice("Old", age=300), voice("Over", None, expires=5))
        report = task.run(sweep(orphaned=True, max_deletions="2"))
        assert [line.split("'")[1] for line in report["deleted"]] == ["Over", "Old"]
        assert report["left"] == 1
        assert labels(service) == {"New"}

    def test_a_dag_with_a_long_id_has_to_be_named(self, service: EmulatorHandle, task: Task) -> None:
        dag = "the_news_of_the_day_in_every_language"
        know_runs(task.ti, {dag: {"ended": "success"}})
        seed(service, voice("Ann", dag=dag, age=200_000))
        assert task.run(sweep(orphaned=True))["kept"] == {"its run is not known": 1}
        task.run(sweep(orphaned=True, dag_ids=[dag]))
        assert labels(service) == set()

    @pytest.mark.parametrize(
        "arguments",
        [
            {"pattern": "*"},
            {"pattern": "**"},
            {"pattern": "?*"},
            {"pattern": "*", "orphaned": True},
            {"older_than": "a while"},
            {"older_than": timedelta(days=-1)},
            {"orphaned": "perhaps"},
            {"max_deletions": "-1"},
            {"keep_last": "some"},
            {"dag_ids": "news"},
            {"dag_ids": "[]"},
            {"dag_ids": ""},
            {"dag_ids": "None"},
            {"assets": "perhaps"},
            {"protect": "Ann"},
        ],
    )
    def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
        self, emulator: EmulatorHandle, task: Task, arguments: dict[str, Any]
    ) -> None:
        seed(emulator, voice("Ann"))
        before = len(emulator.requests("/v2"))
        with pytest.raises(InvalidInputError):
            task.run(sweep(**arguments))
        assert len(emulator.requests("/v2")) == before

    @pytest.mark.parametrize("arguments", [{"dry_run": True}, {"max_deletions": 1}])
    def test_a_pattern_that_fits_everything_is_fine_with_a_limit(
        self, emulator: EmulatorHandle, task: Task, arguments: dict[str, Any]
    ) -> None:
        seed(emulator, voice("Ann"), voice("Bob"))
        report = task.run(sweep(pattern="*", **arguments))
        assert len(report["deleted"]) == 2 - len(labels(emulator)) == (0 if "dry_run" in arguments else 1)


class TestFiles:
    def upload(self, path: Path, run: str, *, owner: str = "news", namespace: str = "default") -> str:
        name = AssetName(path.name, namespace, owner, run_key("news", run) + "bbbbbbb")
        return VoiceHook.for_connection("voice_default").upload_asset(str(path), str(name)).id

    def test_uploads_go_with_their_run(self, emulator: EmulatorHandle, task: Task, sample: Path) -> None:
        gone = self.upload(sample, "ended")
        stays = {self.upload(sample, "running"), self.upload(sample, "ended", namespace="dev")}
        stays.add(VoiceHook.for_connection("voice_default").upload_asset(str(sample), "kept by hand [vp:default").id)
        report = task.run(sweep(orphaned=True))
        assert [line.split()[0] for line in report["assets"]] == [gone]
        assert {asset.id for asset in VoiceHook.for_connection("voice_default").list_assets()} == stays

    def test_uploads_that_are_to_stay_do(self, emulator: EmulatorHandle, task: Task, sample: Path) -> None:
        self.upload(sample, "ended")
        assert task.run(sweep(orphaned=True, assets=False))["assets"] == []
        assert emulator.state()["assets"] == 1

    def test_what_a_running_job_needs_stays(
        self, emulator: EmulatorHandle, task: Task, sample: Path, video: Path
    ) -> None:
        hook = VoiceHook.for_connection("voice_default")
        used = [self.upload(video, "ended"), self.upload(sample, "ended")]
        spare = self.upload(sample, "ended")
        emulator.settings(job_seconds=60)
        options = LipSyncOptions(video=used[0], audio=[{"media": used[1]}])  # type: ignore[list-item]
        hook.run(hook.service.start_lip_sync(options, [Input(asset_id=item) for item in used], "key"))
        report = task.run(sweep(orphaned=True))
        assert [line.split()[0] for line in report["assets"]] == [spare]
        emulator.advance(100)
        emulator.wait_idle()
        assert len(task.run(sweep(orphaned=True))["assets"]) == 2

    @pytest.mark.parametrize(("status", "others"), [("PENDING", 0), ("PROCESSING", 0), ("PROCESSING", 100)])
    def test_so_does_what_a_job_in_the_queue_or_behind_a_hundred_others_needs(
        self, emulator: EmulatorHandle, task: Task, video: Path, status: str, others: int
    ) -> None:
        hook = VoiceHook.for_connection("voice_default")
        used, spare = self.upload(video, "ended"), self.upload(video, "ended")
        another = hook.upload_asset(str(video), "by hand").id
        emulator.settings(concurrency=None, job_seconds=3600, queue_seconds=3600 if status == "PENDING" else 0)
        for number, visual in enumerate([used, *[another] * others]):
            options = parse(LipSyncOptions, {"video": visual, "text": [{"text": "Hi.", "voice_id": BUILT_IN}]})
            hook.run(hook.service.start_lip_sync(options, [Input(asset_id=visual)], f"key-{number}"))
        jobs = hook.list_jobs()
        assert status in {job.status for job in jobs}
        report = task.run(sweep(orphaned=True))
        assert [line.split()[0] for line in report["assets"]] == [spare]


class TestTrouble:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cleanup, "PAUSE", 0.05)

    def test_one_that_fails_does_not_stop_the_rest(self, service: EmulatorHandle, task: Task) -> None:
        seed(service, *[voice("Ann", age=age) for age in range(100, 104)])
        path = {"sync_labs": "/v2/voices/*"}.get(VoiceHook.for_connection("voice_default").service.name, "/model/*")
        service.fault("status", path=path, method="DELETE", status=401, times=1)
        with pytest.raises(AuthError):
            task.run(sweep(orphaned=True))
        report = task.ti.pushed["report"]
        assert len(report["deleted"]) == 3
        assert len(report["failed"]) == 1
        assert len(task.run(sweep(orphaned=True))["deleted"]) == 1  # a retry does the rest

    def stuck(self, emulator: EmulatorHandle, number: int, status: int = 400) -> None:
        """Put voices there that are the first to go, and that the service does not delete."""
        for made in emulator.seed_voices([voice("Stuck", None, expires=5 + nth) for nth in range(number)]):
            emulator.fault("status", path=f"/v2/voices/{made['id']}", method="DELETE", status=status, times=None)

    @pytest.mark.parametrize(("status", "error"), [(400, InvalidInputError), (403, AuthError)])
    def test_what_is_refused_for_good_stops_nothing(
        self, emulator: EmulatorHandle, task: Task, status: int, error: type[Exception]
    ) -> None:
        self.stuck(emulator, cleanup.LOSSES + 1, status)
        seed(emulator, *[voice(f"Ann {age}", age=age) for age in range(100, 104)])
        with pytest.raises(error):
            task.run(sweep(orphaned=True, max_deletions=3))
        report = task.ti.pushed["report"]
        assert [line.split("'")[1] for line in report["deleted"]] == ["Ann 103", "Ann 102", "Ann 101"]
        assert len(report["failed"]) == cleanup.LOSSES + 1
        assert report["left"] == 1
        assert labels(emulator) == {"Stuck", "Ann 100"}

    def test_with_a_limit_not_everything_is_tried(
        self, emulator: EmulatorHandle, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cleanup, "SPARE", 2)
        self.stuck(emulator, 5)
        with pytest.raises(InvalidInputError):
            task.run(sweep(max_deletions=1))
        report = task.ti.pushed["report"]
        assert (len(report["failed"]), report["left"]) == (3, 2)
        assert len([entry for entry in emulator.requests("/v2/voices") if entry["method"] == "DELETE"]) == 3

    @pytest.mark.parametrize(
        ("path", "after", "what", "slots"),
        [
            ("/v2/assets", 0, "The uploaded files", 1),
            ("/v2/generations", 0, "The uploaded files", 1),
            ("/v2/voices", 1, "The clone slots", None),
        ],
    )
    def test_what_was_deleted_is_told_whatever_fails_later(
        self, emulator: EmulatorHandle, task: Task, sample: Path, path: str, after: int, what: str, slots: int | None
    ) -> None:
        seed(emulator, "by hand", voice("Ann"))
        TestFiles().upload(sample, "ended")
        emulator.fault("status", path=path, method="GET", status=503, times=None, after=after)
        with pytest.raises(ServiceUnavailableError):
            task.run(sweep(orphaned=True))
        report = task.ti.pushed["report"]
        assert len(report["deleted"]) == 1
        assert [line.startswith(what) for line in report["failed"]] == [True]
        assert report["slots_in_use"] == slots
        assert len(report["assets"]) == 1 - emulator.state()["assets"] == (1 if slots is None else 0)

    @pytest.mark.parametrize(("status", "error"), [(503, ServiceUnavailableError), (401, AuthError)])
    def test_a_service_that_is_down_or_a_lost_key_ends_it_soon(
        self, emulator: EmulatorHandle, task: Task, status: int, error: type[Exception]
    ) -> None:
        seed(emulator, *[voice("Ann", age=age) for age in range(100, 130)])
        emulator.fault("status", path="/v2/voices/*", method="DELETE", status=status, times=None)
        with pytest.raises(error):
            task.run(sweep(orphaned=True))
        report = task.ti.pushed["report"]
        assert report["failed"][-1].startswith("25 more")
        assert report["left"] == 25

    @pytest.mark.parametrize("between", ["deleted", "gone already", "refused for good"])
    def test_losses_that_are_not_in_a_row_end_nothing(self, emulator: EmulatorHandle, task: Task, between: str) -> None:
        few = cleanup.LOSSES - 1
        status = {"gone already": 404, "refused for good": 400}.get(between)
        made = emulator.seed_voices([voice("Ann", age=200 - number) for number in range(2 * few + 2)])  # oldest first
        for number, found in enumerate(made[:-1]):
            answer = status if number == few else 401
            if answer is not None:
                path = f"/v2/voices/{found['id']}"
                emulator.fault("status", path=path, method="DELETE", status=answer, times=None)
        with pytest.raises(AuthError):
            task.run(sweep(orphaned=True))
        report = task.ti.pushed["report"]
        assert report["left"] == 0
        assert len(report["failed"]) == 2 * few + (between == "refused for good")
        assert len(report["deleted"]) == 1 + (between == "deleted")

    def test_a_rate_limit_is_waited_out(self, emulator: EmulatorHandle, task: Task) -> None:
        seed(emulator, *[voice("Ann", age=age) for age in range(100, 104)])
        emulator.fault("status", path="/v2/voices/*", method="DELETE", status=429, times=12)
        assert len(task.run(sweep(orphaned=True))["deleted"]) == 4

    def test_it_waits_as_long_as_it_is_told(
        self, emulator: EmulatorHandle, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seed(emulator, *[voice("Ann", age=age) for age in range(100, 104)])
        limited = {"status": 429, "headers": {"Retry-After": "40"}}
        emulator.fault("status", path="/v2/voices/*", method="DELETE", times=3, after=1, **limited)
        slept: list[float] = []
        monkeypatch.setattr(
            cleanup, "time", SimpleNamespace(sleep=slept.append, time=time.time, monotonic=time.monotonic)
        )
        assert len(task.run(sweep(orphaned=True))["deleted"]) == 4
        assert slept == [40.0] * 3

    def test_two_at_once_do_the_work_once(self, service: EmulatorHandle, task: Task) -> None:
        seed(service, *[voice("Ann", age=age) for age in range(100, 160)])
        reports: list[dict[str, Any]] = []
        threads = [threading.Thread(target=lambda: reports.append(task.run(sweep(orphaned=True)))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(reports) == 2
        lines = [line for report in reports for line in report["deleted"]]
        assert len(lines) == len(set(lines)) == 60
        assert labels(service) == set()

    def test_deleting_twice_a_foreign_and_a_built_in_voice(self, emulator: EmulatorHandle, task: Task) -> None:
        mine = emulator.seed_voices(["Ann"])[0]["id"]
        foreign = emulator.seed_voices(["Bob"], org="another")[0]["id"]
        assert task.run(DeleteVoiceOperator(task_id="d", voice=mine)) == {"deleted": [mine]}
        assert task.run(DeleteVoiceOperator(task_id="d", voice=[mine, foreign, BUILT_IN])) == {"deleted": []}
        hook = VoiceHook.for_connection("voice_default")
        assert BUILT_IN in {found.id for found in hook.list_voices()}
        assert len(emulator.voices("another")) == 1
        with pytest.raises(NotFoundError):
            hook.delete_voice(foreign)
