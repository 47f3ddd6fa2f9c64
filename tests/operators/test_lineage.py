"""What tasks have read and kept, as OpenLineage is told after real runs: locations, and nothing that grants access."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from tests.conftest import Task, write_mp4, write_wav
from voice_provider.lines.manifest import read_manifest
from voice_provider.operators import (
    CheckLinesOperator,
    CloneVoiceOperator,
    DeleteVoiceOperator,
    JoinLinesOperator,
    LipSyncOperator,
    SpeakLinesOperator,
    TTSOperator,
    UploadAssetOperator,
    base,
)
from voice_provider.operators.lineage import MANY, inputs_of
from voice_provider.sensors import TTSCompleteSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


@pytest.fixture(autouse=True)
def _openlineage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for OpenLineage and its provider, which are not installed, by classes that take what theirs take."""

    def of(*names: str) -> Any:
        def make(*values: Any, **named: Any) -> SimpleNamespace:
            assert set(named) <= set(names), f"{named} is none of {names}"
            return SimpleNamespace(**dict(zip(names, values, strict=False)), **named)

        return make

    statistics = SimpleNamespace(OutputStatisticsOutputDatasetFacet=of("rowCount", "size", "fileCount"))
    for name, classes in {
        "airflow.providers.openlineage": {},
        "airflow.providers.openlineage.extractors": {"OperatorLineage": of("inputs", "outputs")},
        "openlineage": {},
        "openlineage.client": {},
        "openlineage.client.event_v2": {
            "InputDataset": of("namespace", "name"),
            "OutputDataset": of("namespace", "name", "outputFacets"),
        },
        "openlineage.client.facet_v2": {"output_statistics_output_dataset": statistics},
    }.items():
        module = ModuleType(name)
        vars(module).update(classes)
        monkeypatch.setitem(sys.modules, name, module)


class Mapped(Sequence[Any]):
    """What mapped tasks have returned, as Airflow gives it: an item a request, and none when the task has ended."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        self.results, self.has_ended = results, False

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        assert not self.has_ended
        return self.results[index]


def told(operator: Any) -> tuple[list[str], dict[str, int | None]]:
    """Return what a task has read, and what it has kept with its length, all of it on this machine."""
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert {one.namespace for one in (*lineage.inputs, *lineage.outputs)} <= {"file"}
    kept = {one.name: getattr(one.outputFacets.get("outputStatistics"), "size", None) for one in lineage.outputs}
    return [one.name for one in lineage.inputs], kept


def test_what_a_task_reads_and_keeps_is_told_when_it_has_ended(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_connection(tts_mode="jobs")
    emulator.settings(tts_mode="seed-async", job_seconds=0.1)
    sample, video = write_wav(tmp_path / "in" / "sample.wav"), write_mp4(tmp_path / "in" / "video.mp4")
    said = tmp_path / "in" / "said.txt"
    said.write_text("Good morning.")

    def run(operator: Any) -> Any:
        assert told(operator)[1] == {}, "nothing is kept yet"
        return Task().run(operator)

    upload = UploadAssetOperator(task_id="t", file=f"file://{sample}")
    asset = run(upload)
    assert told(upload) == ([str(sample)], {}), "what is uploaded is kept at the service, not in storage"
    clone = CloneVoiceOperator(task_id="t", name="Ann", sample=asset)
    voice = run(clone)
    assert told(clone) == ([str(sample)], {})

    def speech(**more: Any) -> TTSOperator:
        return TTSOperator(task_id="t", text_uri=str(said), voice_id=voice, output=f"{tmp_path}/out/", **more)

    monkeypatch.setattr(base, "INLINE_WAIT", 0.0)
    emulator.settings(job_seconds=0.3)
    task, waits = Task(), speech(deferrable=True)
    with pytest.raises(TaskDeferred):
        task.run(waits)
    assert told(waits) == ([str(said)], {})
    resumed = speech(deferrable=True)  # on a worker that knows nothing but the arguments
    monkeypatch.setattr(base, "INLINE_WAIT", 5.0)
    spoken = resumed.execute_complete(task.context, {})
    assert told(resumed) == ([str(said)], {spoken["uri"]: spoken["bytes"]})

    ticket = run(speech(wait_for_completion=False))
    sensor = TTSCompleteSensor(task_id="t", job=ticket, poke_interval=0.05)
    kept = Task().run(sensor)
    assert told(sensor) == ([], {kept["uri"]: kept["bytes"]})

    synced = LipSyncOperator(
        task_id="t", video=video, audio=[{"media": spoken}], model="sync-3", output=f"{tmp_path}/out/talk.mp4"
    )
    result = run(synced)
    assert told(synced) == ([str(video), spoken["uri"]], {f"{tmp_path}/out/talk.mp4": result["bytes"]})
    synced.text = "/etc/passwd"  # a script is no location, whatever it looks like
    assert told(synced)[0] == [str(video), spoken["uri"]]
    synced.text = [{"text_uri": str(said), "text": "/etc/passwd"}]
    assert told(synced)[0] == [str(video), spoken["uri"], str(said)]

    delete = DeleteVoiceOperator(task_id="t", voice=voice)
    run(delete)
    assert told(delete) == ([], {})


def test_a_script_leads_to_its_lines_their_verdicts_and_their_track(
    emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path
) -> None:
    set_connection(service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"])
    rows = [{"id": name, "text": f"Line {name}.", "uri": f"s3://notes/{name}"} for name in "ab"]
    script = tmp_path / "script.jsonl"
    script.write_text("".join(json.dumps(row) + "\n" for row in rows))
    speak = SpeakLinesOperator(task_id="t", lines=script, voice_id=voice["id"], output=f"{tmp_path}/out/")
    spoken = Task().run(speak)
    assert told(speak) == ([str(script)], {f"{tmp_path}/out/manifest.jsonl": None})
    speak.lines = rows
    assert told(speak)[0] == [], "rows are no locations, whatever stands in their columns"

    check = CheckLinesOperator(task_id="t", spoken=spoken, lines=str(script))
    Task().run(check)
    assert told(check) == ([spoken["manifest"], str(script)], {f"{tmp_path}/out/verdicts.jsonl": None})

    join = JoinLinesOperator(task_id="t", lines=spoken["manifest"], output=f"{tmp_path}/out/track.wav")
    track = Task().run(join)
    assert told(join) == ([spoken["manifest"]], {track["uri"]: track["bytes"], track["cues"]: None})

    takes, clip = list(map(asdict, read_manifest(spoken["manifest"]))), write_wav(tmp_path / "in" / "clip.wav", 11)
    for results, make in (
        (takes, lambda lines: JoinLinesOperator(task_id="t", lines=lines, output=f"{tmp_path}/out/mapped.wav")),
        (takes, lambda lines: CheckLinesOperator(task_id="t", spoken=lines, lines=rows, output=f"{tmp_path}/out/")),
        ([{"uri": str(clip)}], lambda clips: CloneVoiceOperator(task_id="t", name="Ann", samples=clips)),
    ):
        mapped = Mapped(results)
        operator = make(mapped)
        Task().run(operator)
        mapped.has_ended = True
        assert told(operator)[0] == [one["uri"] for one in results]


def test_datasets_are_named_as_openlineage_names_them_and_grant_no_access() -> None:
    for given, named in {
        "s3://studio_conn@studio/in/a.wav": ("s3://studio", "in/a.wav"),
        "gs://studio/in/a.wav?token=x": ("gs://studio", "in/a.wav"),
        "sftp://me:secret@host/in/a.wav": ("sftp://host", "in/a.wav"),
        "s3://studio": ("s3://studio", "/"),
        "file:///in/a b.wav": ("file", "/in/a b.wav"),
        "/in/": ("file", "/in"),
    }.items():
        [one] = inputs_of([given])
        assert (one.namespace, one.name) == named
    for nothing in (
        None,
        "",
        "https://files.host/a.wav?sig=x",
        "8f1c0a52-1111-4222-8333-444455556666",
        {"url": "x"},
        7,
    ):
        assert inputs_of([nothing]) == []
    takes = [{"uri": f"s3://studio/takes/{number % 2}/{number}.mp3"} for number in range(MANY + 1)]
    assert len(inputs_of([takes[1:], takes[1]])) == MANY
    assert [one.name for one in inputs_of([takes])] == ["takes/0", "takes/1"], "of very many only the folders"
