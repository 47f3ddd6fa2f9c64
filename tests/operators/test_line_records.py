"""The record beside each take of a script: what it says, and that none is left out by a kill."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Task
from tests.operators.test_lines import Killed, Lines, dies, lines
from voice_provider.commands.verify import run as verify_command
from voice_provider.exceptions import StorageError
from voice_provider.jobs.names import ManagedName, short_hash
from voice_provider.lines import records
from voice_provider.lines.records import Records
from voice_provider.operators import JoinLinesOperator
from voice_provider.trust.provenance import ENDING
from voice_provider.trust.sidecar import Sidecar

__all__ = ["lines"]  # a fixture

CONSENT = {"id": "release-7", "sha256": "c" * 64}
SAMPLE = "5" * 64


def record_of(uri: str) -> Sidecar:
    return Sidecar.model_validate_json(Path(f"{uri}{ENDING}").read_bytes())


def test_a_take_has_the_record_of_every_kept_result_and_a_track_carries_it_on(
    lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ManagedName("Ann", "default", made := short_hash("Ann"))
    ann = {"voice_id": lines.voice, "name": str(name), "consent": CONSENT, "samples": [SAMPLE]}
    script = [{"id": "a", "text": "Good evening.", "voice": "Ann"}, {"id": "b", "text": "Good night.", "speed": 1.1}]
    result = lines.run(script, voices={"Ann": ann})
    rows = lines.rows()
    record = record_of(str(rows["a"].uri)).dump()
    assert record["file"]["sha256"] == rows["a"].sha256
    assert record["voice"] == {"id": lines.voice, "name": str(name), "fingerprint": made, "samples": [SAMPLE]}
    assert record["consent"] == CONSENT
    assert record["run"] == {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}
    making, told = record["made"], record["made"]["settings"]
    assert (making["kind"], making["service"], making["engine"], making["outcome"]) == (
        "speech",
        "fish_audio",
        "tone",
        None,
    )
    assert (making["model"], told["format"]) == ("s2.1-pro", "wav")
    assert told["text"] == {"characters": 13, "sha256": hashlib.sha256(b"Good evening.").hexdigest()}
    assert rows["a"].text_sha256 == told["text"]["sha256"]
    other = record_of(str(rows["b"].uri)).dump()
    assert (other["voice"]["fingerprint"], other["made"]["settings"]["speed"]) == (made, 1.1)
    assert "Good" not in json.dumps(record)

    class Options:
        file, json = str(rows["a"].uri), False

    assert verify_command(Options()) == 0  # type: ignore[arg-type]  # what argparse returns
    assert "Matches" in capsys.readouterr().out
    join = JoinLinesOperator(task_id="j", lines=result, output=f"{tmp_path}/track.wav")
    track = record_of(Task().run(join)["uri"]).dump()
    assert [item["sha256"] for item in track["inputs"]] == [rows["a"].sha256, rows["b"].sha256]
    assert track["consent"] == CONSENT
    assert (track["voice"]["id"], track["voice"]["samples"]) == (lines.voice, [SAMPLE])


def test_a_record_that_a_kill_has_prevented_is_written_by_the_next_try(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("wav", "pcm"):
        with dies(monkeypatch, Records, "keep"), pytest.raises(Killed):
            lines.run(concurrency=1, format=form)
        [take] = [path for path in (lines.folder / "takes").glob(f"*.{form}") if not record_exists(path)]
        lines.run(concurrency=1, format=form, on_unknown_outcome="resubmit")
        record = record_of(str(take)).dump()
        assert record["made"]["outcome"] == "recovered"
        assert record["run"]["task_id"] == "task"
        assert record["file"]["sha256"] == hashlib.sha256(take.read_bytes()).hexdigest()
        assert record["file"]["seconds"] > 0.1
    for path in (lines.folder / "takes").glob(f"*{ENDING}"):
        path.unlink()
    lines.run(task=lines.a_task(run_id="tomorrow"))  # of these it is not known who has made them
    left = [record_of(str(row.uri)) for row in lines.rows().values()]
    assert [(record.run, record.made.outcome) for record in left] == [(None, None)] * 6


def record_exists(take: Path) -> bool:
    return Path(f"{take}{ENDING}").exists()


def test_a_record_that_cannot_be_written_costs_no_second_take(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise StorageError("The record cannot be written.")

    with monkeypatch.context() as patch:
        patch.setattr(records, "keep", away)
        with pytest.raises(StorageError, match="record cannot be written"):
            lines.run(concurrency=1)
    assert lines.paid() == 1
    assert lines.run()["counts"] == {"reused": 1, "spoken": 5}
    assert lines.paid() == 5
    lines.rows()


def test_what_is_bought_again_leaves_no_record_of_the_take_before(lines: Lines) -> None:
    lines.run()
    before = {row.id: row.sha256 for row in lines.rows().values()}
    lines.emulator.fault("status", "/v1/tts", status=422, times=1)
    lines.run(redo=["b"], max_failed=1)
    assert before.keys() == lines.rows().keys()
    assert len(list((lines.folder / "takes").iterdir())) == 2 * 5
