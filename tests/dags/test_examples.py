"""The examples but the flagship, run by a real Airflow in this process, over real HTTP to the emulator."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models import dagrun
from airflow.models.asset import AssetEvent
from airflow.utils.types import DagRunType
from rich.console import Console
from sqlalchemy import select

from tests.conftest import ROOT, without_records, write_mp4, write_wav
from tests.dags.bill import PRICES, told
from voice_provider.demo import summary
from voice_provider.demo.inputs import Order
from voice_provider.demo.run import collect, new_story
from voice_provider.demo.scenarios import DUB, DUBBED_LINES, NEW_LINE
from voice_provider.files.media import probe
from voice_provider.jobs.names import ManagedName, short_hash
from voice_provider.lines.script import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def run(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    for name in ("speaker.wav", "brand-1.wav"):
        write_wav(tmp_path / "inbox" / name, seconds=11)
    write_wav(tmp_path / "inbox" / "brand-2.wav", seconds=12)
    write_mp4(tmp_path / "inbox" / "target.mp4")
    monkeypatch.setenv("AIRFLOW_VAR_VOICE_ROOT", str(tmp_path))
    set_connection("voice_default", service="fish_audio")
    set_connection("fish_audio_default", service="fish_audio")
    set_connection("sync_labs_default", service="sync_labs", prices=PRICES)

    def run(name: str, **params: Any) -> Any:
        bag = DagBag(str(ROOT / "example_dags" / f"{name}.py"))
        assert not bag.import_errors
        before = spent(emulator)
        dag_run = bag.dags[name].test(run_conf=params)
        check_bill(dag_run, spent(emulator) - before)
        return dag_run

    return run


def spent(emulator: EmulatorHandle) -> float:
    return sum(row["usd"] for row in emulator.ledger())


def check_bill(dag_run: Any, bill: float) -> None:
    """What the tasks of a run say that they have cost is what the service has put on the bill, to the cent."""
    costs = told(dag_run)
    assert {cost["basis"] for cost in costs} <= {"computed"}
    assert sum(cost["usd"] for cost in costs) == pytest.approx(bill, abs=0.00001)


def states(dag_run: Any) -> Counter[str]:
    return Counter(f"{ti.task_id}: {ti.state}" for ti in dag_run.get_task_instances())


def results(folder: Path) -> list[str]:
    return without_records(path.name for path in (folder / "results").rglob("*") if path.is_file())


def paid(emulator: EmulatorHandle) -> Counter[str]:
    return Counter(f"{row['service']} {row['kind']}" for row in emulator.ledger())


def rows(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in manifest.read_text().splitlines()]


def seconds_of(path: Path) -> float:
    with path.open("rb") as file:
        return round(probe(file, path.stat().st_size).seconds or 0, 1)


def left(emulator: EmulatorHandle) -> tuple[int, int, int]:
    state = emulator.state()
    return state["models"].get("main", 0), state["assets"], state["key_leaks"]


def test_an_announcement_needs_no_voice_to_manage(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    dag_run = run("instant_clone_announcement", speed=1.2)
    assert states(dag_run) == {"check_recording: success": 1, "announce: success": 1}
    assert results(tmp_path) == ["announcement.mp3"]
    assert paid(emulator) == {"fish_audio speech": 1}
    assert left(emulator) == (0, 0, 0)


def test_one_voice_speaks_many_languages_night_after_night(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    emulator.settings(fish_training_seconds=1)
    first = run("brand_voice_localized")
    assert set(states(first).values()) == {1, 3}
    assert all(state.endswith(": success") for state in states(first))
    assert results(tmp_path) == ["de.mp3", "en.mp3", "fr.mp3"]
    run("brand_voice_localized", messages={"en": "Another night, another message."})
    assert paid(emulator) == {"fish_audio clone": 1, "fish_audio speech": 4}
    assert left(emulator) == (1, 0, 0)


def test_only_lines_that_changed_are_spoken_night_after_night(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    [voice] = emulator.seed_models(["Narrator"], visibility="public")
    script = tmp_path / "inbox" / "script.csv"
    bills = []
    nights: list[tuple[str, list[str]]] = [
        ("1,Good night.\n2,Sleep well.\n", []),
        ("2,Sleep well.\n1,Good morning.\n", []),
        ("2,Sleep well.\n1,Good morning.\n", ["2"]),
    ]
    for text, redo in nights:
        script.write_text(f"id,text\n{text}")
        dag_run = run("nightly_lines", voice_id=voice["id"], redo=redo)
        assert states(dag_run) == {"speak: success": 1}
        bills.append(len(emulator.ledger("speech")))
    assert bills == [2, 3, 4]
    told = rows(tmp_path / "results/nightly_lines/manifest.jsonl")
    assert [(row["id"], row["outcome"]) for row in told] == [("2", "spoken"), ("1", "reused")]


def test_what_is_kept_becomes_a_track_by_the_event_of_its_asset(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [voice] = emulator.seed_models(["Narrator"], visibility="public")
    texts = {"one": "1,Good night.\n2,Sleep well.\n", "two": "1,Good morning.\n"}
    for name, text in texts.items():
        (tmp_path / "inbox" / f"{name}.csv").write_text(f"id,text\n{text}")
    of_runs = [run("narration", voice_id=voice["id"], script=f"{name}.csv").run_id for name in ("one", "two", "two")]
    assert states(run("narration_track")) == {"tracks_of: success": 1, "join: skipped": 1}, "nothing has started it"
    create = dagrun.get_or_create_dagrun

    def started(**more: Any) -> Any:  # as the scheduler does, which a test of a DAG has not got
        begun, session = create(**more), more["session"]
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id.in_(of_runs))).all()
        begun.consumed_asset_events.extend(found)
        session.commit()
        return begun

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", started)
    assert states(run("narration_track")) == {"tracks_of: success": 1, "join: success": 2}
    tracks = sorted((tmp_path / "results/narration").glob("*.mp3"))
    assert [track.name for track in tracks] == ["one.mp3", "two.mp3"]
    assert seconds_of(tracks[0]) > seconds_of(tracks[1]) > 0
    assert paid(emulator) == {"fish_audio speech": 3}


def test_subtitles_become_a_dubbed_video_in_each_language(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    video = write_mp4(tmp_path / "inbox" / "talk.mp4", seconds=17.6)
    [ann] = emulator.seed_models(["Ann"], visibility="public", org="another")
    (tmp_path / "inbox" / "subs").mkdir()
    texts = {"de": DUB.inbox["subs/de.srt"], "fr": "1\n00:00:01,000 --> 00:00:02,000\n<v Ann>Merci.\n"}
    for language, text in texts.items():
        (tmp_path / "inbox" / "subs" / f"{language}.srt").write_text(text)
    asked = {"languages": ["de", "fr"], "video": "talk.mp4", "sample": "speaker.wav", "voices": {"Ann": ann["id"]}}
    dag_run = run("dub_subtitles", **asked)
    assert states(dag_run) == {
        **{f"{task}: success": 1 for task in ("files_of", "clone_voice", "wait_until_trained", "delete_voice")},
        **{f"dub.{task}: success": 2 for task in ("speak", "fit", "lip_sync")},
    }
    [kept] = (tmp_path / "results").glob("dub_subtitles-*")
    made = [f"{language}.{ending}" for language in ("de", "fr") for ending in ("cues.json", "fitted.srt", "mp4", "wav")]
    assert without_records(path.name for path in kept.iterdir()) == sorted(made)
    assert {seconds_of(kept / name) for name in made if name.endswith(("mp4", "wav"))} == {17.6}
    assert [row["voice"] for row in rows(tmp_path / "results/dub_subtitles/fr/manifest.jsonl")] == ["Ann"]
    assert paid(emulator) == {"fish_audio clone": 1, "fish_audio speech": 5, "sync_labs lip_sync": 2}
    check_demo(emulator, tmp_path, video)


def check_demo(emulator: EmulatorHandle, folder: Path, video: Path) -> None:
    """What the demo brings home of a run, and tells of it."""
    (folder / "out").mkdir()
    order = Order(DUB, None, folder / "inbox" / "speaker.wav", video, folder / "out")
    place = SimpleNamespace(order=order, root=folder, inbox=folder / "inbox", emulator=emulator)
    result = collect(place, 12.0)  # type: ignore[arg-type]  # what it needs of one
    assert without_records(path.name for path in order.output.iterdir()) == ["dubbed.mp4", "dubbed.srt", "dubbed.wav"]
    assert (result.left_voices, result.left_assets) == (0, 0), "the other one's voice is not counted"
    cues = read_lines((order.output / "dubbed.srt").read_bytes(), "dubbed.srt")
    assert [cue.start for cue in cues] == [start for start, *_ in DUBBED_LINES]
    output = io.StringIO()
    summary.show(Console(file=output, width=80), new_story(order), result, "tone", DUB.note, [])
    told = re.findall(r"^  (\d)  .+ ([\d.]+)-([\d.]+) s +([\d.]+) s  (.+?) *$", output.getvalue(), re.MULTILINE)
    assert [line[0] for line in told] == ["1", "2", "3", "4"]
    for (_, start, end, spoken, how), cue in zip(told, cues, strict=True):
        assert (float(start), float(end)) == next((begin, to) for begin, to, _ in DUBBED_LINES if begin == cue.start)
        slowed = re.fullmatch(r"(\d+) % slower", how)  # a tone has no silence to give up
        tempo = 1 - int(slowed[1]) / 100 if slowed else 1.0
        assert (cue.end or 0) - (cue.start or 0) == pytest.approx(float(spoken) / tempo, rel=0.01)
    assert re.search(r"Speech +\d+ bytes", output.getvalue()), "one sum for all lines"
    assert "Dubbed from" in output.getvalue()


def test_the_demo_knows_the_tasks_and_the_form_of_what_it_shows() -> None:
    for scenario in (NEW_LINE, DUB):
        dag = DagBag(str(ROOT / "example_dags" / f"{scenario.dag}.py")).dags[scenario.dag]
        assert set(dag.task_ids) == set(scenario.tasks)
        assert scenario.lip_sync in scenario.tasks
        params = {name: dag.params.get_param(name) for name in (*scenario.form, *scenario.conf)}
        titles = {name: (params[name].schema["title"], params[name].value) for name in scenario.form}
        assert titles == scenario.form


def test_a_long_script_is_spoken_in_shards_and_told_as_one(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    [voice] = emulator.seed_models(["Narrator"], visibility="public")
    script = tmp_path / "inbox" / "script.csv"
    asked = {"voice_id": voice["id"], "lines_per_shard": 2}
    script.write_text("text,scene,speed\nOne.,a,\nTwo.,b,1.1\nThree.,c,\n,d,\n")
    assert states(run("sharded_lines", **asked))["shards_of: failed"] == 1
    assert paid(emulator) == {}, "no shard is paid for a script whose last line is wrong"
    script.write_text("text,scene,speed\nOne.,a,\nTwo.,b,1.1\nThree.,c,\n")
    dag_run = run("sharded_lines", **asked)
    assert states(dag_run) == {"shards_of: success": 1, "speak: success": 2, "merge: success": 1}
    told = rows(tmp_path / "results/sharded_lines/script.csv/manifest.jsonl")
    assert [(row["id"], row["notes"]["scene"]) for row in told] == [("1", "a"), ("2", "b"), ("3", "c")]
    assert paid(emulator) == {"fish_audio speech": 3}


def test_a_text_becomes_a_book_with_chapters(run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path) -> None:
    [voice] = emulator.seed_models(["Narrator"], visibility="public")
    text = "# The Sea\n\nIt is deep.\n\n* * *\n\nIt is cold.\n\nChapter 2\n\nThe end.\n"
    (tmp_path / "inbox" / "book.txt").write_text(text)
    dag_run = run("audiobook", voice_id=voice["id"], transcribe=False)
    tasks = [f"checked_lines.{task}" for task in ("speak", "check", "speak_again_1", "check_again_1")]
    assert states(dag_run) == {f"{task}: success": 1 for task in (*tasks, "join")}
    assert len(emulator.ledger("speech")) == 5
    with av.open(tmp_path / "results/audiobook/book.m4a") as track:
        assert [chapter["metadata"]["title"] for chapter in track.chapters()] == ["The Sea", "Chapter 2"]


def test_a_wrong_take_is_spoken_again_and_none_passes(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    [voice] = emulator.seed_models(["Narrator"], visibility="public")
    lines = ["Nobody in the village has ever seen so much snow.", "My sister repaired the red bicycle.", "Come in."]
    (tmp_path / "inbox" / "script.csv").write_text("text\n" + "\n".join(lines))
    emulator.fault("speech_swapped", "/v1/tts", after=2)
    emulator.fault("speech_silenced", "/v1/tts", times=2)
    dag_run = run("checked_lines", voice_id=voice["id"])
    # Two of three lines are wrong, and one of them once more; who makes what depends on which is asked for first.
    assert all(state.endswith(": success") for state in states(dag_run))
    assert len(states(dag_run)) == 7
    assert len(emulator.ledger("speech")) == 3 + 3
    rows = [json.loads(row) for row in (tmp_path / "results/checked_lines/verdicts.jsonl").read_text().splitlines()]
    assert [(row["id"], row["verdict"]) for row in rows] == [("1", "ok"), ("2", "ok"), ("3", "ok")]
    assert "checked_lines.mp3" in results(tmp_path)


def test_two_services_make_one_video(run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path) -> None:
    dag_run = run("cross_service_lip_sync")
    assert set(states(dag_run)) == {
        f"{task}: success" for task in ("clone_voice", "wait_until_trained", "speak", "lip_sync", "delete_voice")
    }
    assert results(tmp_path) == ["line.mp3", "lip_sync.mp4"]
    assert paid(emulator) == {"fish_audio clone": 1, "fish_audio speech": 1, "sync_labs lip_sync": 1}
    assert left(emulator) == (0, 0, 0)


def test_the_voice_goes_also_when_it_could_not_speak(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    emulator.fault("status", path="/v1/tts", method="POST", status=402, times=9)
    dag_run = run("cross_service_lip_sync")
    assert str(dag_run.state) == "failed"
    assert {"speak: failed", "lip_sync: upstream_failed", "delete_voice: success"} <= set(states(dag_run))
    assert paid(emulator) == {"fish_audio clone": 1}
    assert results(tmp_path) == []
    assert left(emulator) == (0, 0, 0)


def test_a_script_is_spoken_only_within_its_budget(
    run: Callable[..., Any], emulator: EmulatorHandle, tmp_path: Path
) -> None:
    [voice] = emulator.seed_models(["Narrator"], visibility="public")
    (tmp_path / "inbox" / "script.csv").write_text("id,text\n1,Good night.\n2,Sleep well.\n")
    for max_cost, state, lines in ((0.00001, "failed", 0), (1, "success", 2)):
        dag_run = run("approved_budget", voice_id=voice["id"], max_cost=max_cost)
        assert states(dag_run) == {"gate: success": 1, f"speak: {state}": 1}
        assert len(emulator.requests("/v1/tts")) == len(emulator.ledger("speech")) == lines


def orphan(label: str, **more: Any) -> str:
    return str(ManagedName(label, "default", short_hash(label), "gone", "a" * 18, 1_700_000_000, **more))


class TestCleanup:
    """The nightly sweep, as the form starts it and as the schedule does."""

    @pytest.fixture(autouse=True)
    def voices(self, emulator: EmulatorHandle) -> None:
        made = ["By hand", orphan("Ann"), orphan("Bob"), orphan("Brand A"), orphan("Over", expires=5)]
        emulator.seed_models(made)

    def labels(self, emulator: EmulatorHandle) -> set[str]:
        return {model["title"].partition(" [")[0] for model in emulator.models()}

    def test_the_form_only_says_what_would_go(self, run: Callable[..., Any], emulator: EmulatorHandle) -> None:
        dag_run = run("nightly_slot_cleanup")
        assert set(states(dag_run)) == {"clean_up: success", "tell: success"}
        assert len(self.labels(emulator)) == 5
        dag_run = run("nightly_slot_cleanup", dry_run=False, pattern="A*")
        assert self.labels(emulator) == {"By hand", "Bob", "Brand A", "Over"}

    @pytest.mark.parametrize(("run_type", "dry"), [("manual", True), ("scheduled", False), ("backfill", True)])
    def test_the_schedule_deletes_whatever_the_form_says(self, run_type: str, *, dry: bool) -> None:
        dag = DagBag(str(ROOT / "example_dags" / "nightly_slot_cleanup.py")).dags["nightly_slot_cleanup"]
        sweep = dag.get_task("clean_up")
        context = {"params": dag.params.dump(), "dag_run": SimpleNamespace(run_type=DagRunType(run_type)), "dag": dag}
        sweep.render_template_fields(context)
        assert sweep.dry_run is dry
        assert sweep.protect == ["Brand*"]
        assert sweep.older_than is None


class TestApproval:
    """A person is asked before a voice is cloned; what they say is Airflow's part, so it is taken as said here."""

    def run(self, **params: Any) -> Any:
        dag = DagBag(str(ROOT / "example_dags" / "approved_voice.py")).dags["approved_voice"]
        before = spent(self.emulator)
        dag_run = dag.test(run_conf=params, mark_success_pattern="ask")
        check_bill(dag_run, spent(self.emulator) - before)
        return dag_run

    @pytest.fixture(autouse=True)
    def consent(
        self,
        run: Callable[..., Any],
        emulator: EmulatorHandle,
        set_connection: Callable[..., None],
        tmp_path: Path,
    ) -> Path:
        self.emulator = emulator
        set_connection("voice_default", service="sync_labs", require_consent=True, prices=PRICES)
        (tmp_path / "consents").mkdir()
        return tmp_path / "consents" / "release-7.json"

    def test_with_consent_the_voice_is_made_and_its_results_say_so(
        self, emulator: EmulatorHandle, consent: Path, tmp_path: Path
    ) -> None:
        recording = tmp_path / "inbox" / "speaker.wav"
        told = {
            "id": "release-7",
            "who": "the speaker of this test",
            "when": "2026-03-31",
            "evidence": "s3://legal/releases/7.pdf",
            "samples": [hashlib.sha256(recording.read_bytes()).hexdigest()],
        }
        consent.write_text(json.dumps(told))
        assert set(states(self.run())) == {f"{task}: success" for task in ("look", "ask", "clone_voice", "listen")}
        [kept] = (tmp_path / "results").rglob("*.provenance.json")
        record = json.loads(kept.read_text())
        assert record["consent"]["id"] == "release-7"
        assert "the speaker of this test" not in kept.read_text()
        assert emulator.state()["assets"] == 0

    @pytest.mark.parametrize("samples", [None, ["0" * 64]])
    def test_without_it_nobody_is_asked_and_nothing_is_sent(
        self, emulator: EmulatorHandle, consent: Path, samples: list[str] | None
    ) -> None:
        if samples:
            consent.write_text(json.dumps({"who": "x", "when": "2026-03-31", "evidence": "y", "samples": samples}))
        found = set(states(self.run()))
        assert {"look: failed", "clone_voice: upstream_failed"} <= found or {"look: up_for_retry"} <= found
        assert not [entry for entry in emulator.requests("/v2") if entry["method"] != "GET"]
