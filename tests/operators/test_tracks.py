"""Spoken lines become one track: joined, or fitted into subtitles; every take is heard once, and no other."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import wave
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.conftest import Task
from voice_provider.exceptions import InvalidInputError
from voice_provider.files.filters import RATE, loudness, samples, silences
from voice_provider.lines.script import read_lines
from voice_provider.operators.tracks import FitLinesOperator, JoinLinesOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def take(folder: Path, name: str, seconds: float, *, loud: float = 0.2, pause: tuple[float, float] = (0, 0)) -> Any:
    """Write a take at another rate than the track's; return what a task would tell of it."""
    rate = 24_000
    sound = array("h", [round(loud * 32767 * math.sin(number / 8)) for number in range(round(seconds * rate))])
    for number in range(round(pause[0] * rate), round(pause[1] * rate)):
        sound[number] = 0
    path = folder / f"{name}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(sound.tobytes())
    return {"id": name, "uri": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "seconds": seconds}


def run(operator: Any) -> dict[str, Any]:
    result: dict[str, Any] = Task().run(operator)
    return result


def sound_in(uri: str) -> list[tuple[float, float]]:
    """Return from when to when something is heard."""
    with open(uri, "rb") as file:  # noqa: PTH123
        seconds, quiet = silences(samples(file))
    edges = [0.0, *(edge for span in quiet for edge in span), seconds]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start > 0.01]


@pytest.fixture(autouse=True)
def _connection(set_connection: Callable[..., None]) -> None:
    set_connection()


def join(lines: Any, output: Path, **options: Any) -> dict[str, Any]:
    return run(JoinLinesOperator(task_id="t", lines=lines, output=str(output), **options))


def test_lines_are_joined_with_chapters_and_a_cue_sheet(tmp_path: Path) -> None:
    lines = [{**take(tmp_path, name, 1.0), "chapter": name[0]} for name in ("a1", "a2", "b1")]
    made = join(lines, tmp_path / "out" / "book.m4a", loudness="audiobook")
    cues = json.loads((tmp_path / "out" / "book.cues.json").read_text())
    assert made["cues"] == str(tmp_path / "out" / "book.cues.json")
    assert made["cost"] == {"usd": 0.0, "basis": "computed", "units": {}}, "its takes were paid when they were spoken"
    assert [(cue["id"], cue["start"], cue["end"]) for cue in cues] == [("a1", 0, 1), ("a2", 1.4, 2.4), ("b1", 3.9, 4.9)]
    assert [cue["sha256"] for cue in cues] == [line["sha256"] for line in lines]
    with av.open(made["uri"]) as file:
        chapters = [(one["metadata"]["title"], one["start"] / 1000, one["end"] / 1000) for one in file.chapters()]
    assert chapters == [("a", 0, 3.9), ("b", 3.9, 4.9)]
    for (start, end), cue in zip(sound_in(made["uri"]), cues, strict=True):
        assert start == pytest.approx(cue["start"], abs=0.05)
        assert end == pytest.approx(cue["end"], abs=0.05)
    record = json.loads((tmp_path / "out" / "book.m4a.provenance.json").read_text())
    assert [(one["id"], one["sha256"]) for one in record["inputs"]] == [(line["id"], line["sha256"]) for line in lines]
    assert record["made"]["settings"] == {"loudness": "audiobook", "gap": 0.4, "chapter_gap": 1.5}


@pytest.mark.parametrize(
    ("form", "preset", "level", "peak"),
    [
        ("flac", "podcast", -16, -1.5),
        ("m4a", "podcast", -16, -1.5),
        ("mp3", "broadcast", -23, -1),
        ("ogg", "audiobook", -19, -3),
        ("wav", "audiobook", -19, -3),
    ],
)
def test_a_track_is_as_loud_as_its_preset(tmp_path: Path, form: str, preset: str, level: float, peak: float) -> None:
    lines = [take(tmp_path, "quiet", 1.0, loud=0.02), take(tmp_path, "loud", 1.0, loud=0.9)]
    made = join(lines, tmp_path / f"out.{form}", loudness=preset)
    with open(made["uri"], "rb") as file:  # noqa: PTH123
        heard = loudness(samples(file))
    assert heard.integrated == pytest.approx(level, abs=0.5)
    assert heard.true_peak <= peak
    assert made["loudness"] == {"integrated": round(heard.integrated, 1), "true_peak": round(heard.true_peak, 1)}


def test_peaks_are_limited_where_a_gain_alone_would_clip(tmp_path: Path) -> None:
    line = take(tmp_path, "peaky", 3.0, loud=0.05)
    path = tmp_path / "peaky.wav"
    data = bytearray(path.read_bytes())
    for at in range(44, len(data), 4800):
        data[at : at + 2] = (32000).to_bytes(2, "little")
    path.write_bytes(bytes(data))
    line["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    made = join([line], tmp_path / "out.wav", loudness="podcast")
    assert made["loudness"]["integrated"] == pytest.approx(-16, abs=0.5)
    assert made["loudness"]["true_peak"] <= -1.5


def test_silence_stays_silent(tmp_path: Path) -> None:
    made = join([take(tmp_path, "a", 1.0, loud=0)], tmp_path / "out.wav", loudness="podcast")
    assert made["loudness"]["integrated"] == -70


def test_a_joint_without_a_gap_does_not_click(tmp_path: Path) -> None:
    made = join([take(tmp_path, "a", 1.0), take(tmp_path, "b", 1.0)], tmp_path / "out.wav", gap=0)
    assert made["seconds"] == pytest.approx(1.99)
    with open(made["uri"], "rb") as file:  # noqa: PTH123
        sound = array("h", b"".join(samples(file)))
    steps = [abs(after - before) for before, after in itertools.pairwise(sound)]
    assert max(steps) <= 0.2 * 32767 * 24_000 / 8 / RATE * 1.5  # no steeper than the tone itself
    assert abs(sound[0]) + abs(sound[-1]) < 10


def test_results_of_mapped_tasks_come_as_a_sequence_that_is_no_list(tmp_path: Path) -> None:
    class Lazy(Sequence[Any]):
        def __init__(self, *rows: Any) -> None:
            self._rows = rows

        def __len__(self) -> int:
            return len(self._rows)

        def __getitem__(self, index: Any) -> Any:
            return self._rows[index]

    rows = [{name: value for name, value in take(tmp_path, one, 0.5).items() if name != "id"} for one in ("a", "b")]
    join(Lazy(*rows), tmp_path / "out.wav")
    assert [cue["id"] for cue in json.loads((tmp_path / "out.cues.json").read_text())] == ["1", "2"]


def test_a_manifest_of_lines_is_a_file_too(tmp_path: Path) -> None:
    lines = [take(tmp_path, name, 0.5) for name in ("a", "b")]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps({**line, "outcome": "spoken", "notes": {}}) + "\n" for line in lines))
    assert join(str(manifest), tmp_path / "one.wav")["lines"] == 2
    assert join({"manifest": str(manifest), "counts": {"spoken": 2}}, tmp_path / "two.wav")["lines"] == 2


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ('{"id": "a", "outcome": "failed", "error": "x"}\n', "line 1: line 'a' was not spoken"),
        ('{"id": "a"', "line 1: it is no JSON: was the manifest cut short?"),
        ('{"id": "a", "uri": "/a.wav"}\n', "line 1: sha256 cannot be read"),
        ("[1]\n", "line 1: it is a list"),
        ("", "line 1: there is no line in it"),
    ],
)
def test_a_line_without_a_recording_is_named(tmp_path: Path, rows: str, problem: str) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(rows or "\n")
    with pytest.raises(InvalidInputError) as caught:
        join(str(manifest), tmp_path / "out.wav")
    assert problem in str(caught.value)
    assert not (tmp_path / "out.wav").exists()


def test_another_take_than_the_one_that_was_kept_is_not_used(tmp_path: Path) -> None:
    line = take(tmp_path, "a", 0.5)
    take(tmp_path, "a", 0.6)
    with pytest.raises(InvalidInputError, match=r"The recording of line 'a', .*a\.wav, is not what was kept"):
        join([line], tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("output", "problem"), [("out.txt", "ends in .flac"), ("folder/", "ends in .flac"), ("out.mp4", "ends in .flac")]
)
def test_a_track_has_a_format_of_sound(tmp_path: Path, output: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        run(JoinLinesOperator(task_id="t", lines=[take(tmp_path, "a", 0.5)], output=f"{tmp_path}/{output}"))


def test_the_connection_says_what_may_be_read_and_written(set_connection: Callable[..., None], tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "else"
    inside.mkdir()
    outside.mkdir()
    set_connection(allowed_inputs=[f"{inside}/"], allowed_outputs=[f"{inside}/"])
    with pytest.raises(InvalidInputError, match="input"):
        join([take(outside, "a", 0.5)], inside / "out.wav")
    with pytest.raises(InvalidInputError, match="output"):
        join([take(inside, "a", 0.5)], outside / "out.wav")
    assert join([take(inside, "a", 0.5)], inside / "out.wav")["lines"] == 1


SRT = """1
00:00:01,000 --> 00:00:03,000
One.

2
00:00:03,500 --> 00:00:04,500
Two.

3
00:00:05,000 --> 00:00:06,000
Three.
"""


def fitted(folder: Path, lines: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    (folder / "s.srt").write_text(SRT)
    where = {"subtitles": str(folder / "s.srt"), "output": str(folder / "o.wav")}
    return run(FitLinesOperator(task_id="t", lines=lines, **where, **options))


def test_lines_are_fitted_into_subtitles(tmp_path: Path) -> None:
    second = take(tmp_path, "2", 1.58, pause=(0.5, 0.9))  # 0.4 s of silence, of which it can do without 0.28
    made = fitted(tmp_path, [take(tmp_path, "1", 2.0), second, take(tmp_path, "3", 1.0)], gap=0.2)
    assert made["overflow"] == made["late"] == []
    heard = [edge for span in sound_in(made["uri"]) for edge in span]
    assert heard == pytest.approx([1.0, 3.0, 3.5, 4.0, 4.12, 4.8, 5.0, 6.0], abs=0.04)
    cues = read_lines((tmp_path / "o.fitted.srt").read_bytes(), "o.srt")
    assert made["subtitles"] == str(tmp_path / "o.fitted.srt")
    assert [(cue.text, cue.start, cue.end) for cue in cues] == [
        ("One.", 1.0, 3.0),
        ("Two.", 3.5, 4.8),
        ("Three.", 5.0, 6.0),
    ]
    sheet = json.loads((tmp_path / "o.cues.json").read_text())
    assert made["cues"] == str(tmp_path / "o.cues.json")
    assert [(cue["id"], cue["start"], cue["end"], cue["tempo"], cue["removed"]) for cue in sheet] == [
        ("1", 1.0, 3.0, 1.0, 0.0),
        ("2", 3.5, 4.8, 1.0, 0.28),
        ("3", 5.0, 6.0, 1.0, 0.0),
    ]
    assert sheet[1]["sha256"] == second["sha256"]


def test_what_does_not_fit_is_told_and_nothing_is_cut(tmp_path: Path) -> None:
    lines = [take(tmp_path, "1", 3.6), take(tmp_path, "2", 0.7), take(tmp_path, "3", 1.0)]
    made = fitted(tmp_path, lines, gap=0.2)
    assert made["overflow"] == [{"id": "1", "seconds": 0.7}]
    assert made["late"] == [{"id": "2", "seconds": 0.7}]
    first, *_ = json.loads((tmp_path / "o.cues.json").read_text())
    assert (first["tempo"], first["overflow"]) == (1.2, 0.7)
    heard = [edge for span in sound_in(made["uri"]) for edge in span]
    assert heard == pytest.approx([1.0, 4.0, 4.2, 4.8, 5.0, 6.0], abs=0.04)


def test_the_same_takes_and_times_have_the_same_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "b.srt").write_text(SRT.replace("05,000", "05,100"))
    lines = [take(tmp_path, name, 0.9) for name in ("1", "2", "3")]

    def fingerprint(subtitles: str, **options: Any) -> str:
        output = str(tmp_path / "o.wav")
        found = run(FitLinesOperator(task_id="t", lines=lines, subtitles=subtitles, output=output, **options))
        return str(found["fingerprint"])

    first = fingerprint(f"{tmp_path}/a.srt")
    assert fingerprint(f"{tmp_path}/a.srt") == first
    assert len({first, fingerprint(f"{tmp_path}/b.srt"), fingerprint(f"{tmp_path}/a.srt", fastest=1.1)}) == 3


@pytest.mark.parametrize(
    ("names", "problem"),
    [("12", "1 of 3 lines have no recording: '3'"), ("1234", "1 of 4 lines have no subtitle: '4'")],
)
def test_lines_and_subtitles_name_the_same_ids(tmp_path: Path, names: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        fitted(tmp_path, [take(tmp_path, name, 0.5) for name in names])
    assert not (tmp_path / "o.wav").exists()


def test_a_dub_is_as_long_as_its_video(tmp_path: Path) -> None:
    video = take(tmp_path, "video", 8.0)  # what counts is its length
    made = fitted(tmp_path, [take(tmp_path, name, 0.9) for name in ("1", "2", "3")], video=video["uri"])
    assert made["seconds"] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        (JoinLinesOperator, {"loudness": "loud"}),
        (JoinLinesOperator, {"gap": -1}),
        (FitLinesOperator, {"subtitles": "/s.srt", "fastest": 3}),
        (FitLinesOperator, {"subtitles": "/s.srt", "slowest": 1.1}),
    ],
)
def test_options_are_checked_when_the_dag_is_parsed(operator: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(options))):
        operator(task_id="t", lines=[], output="/o.wav", **options)
