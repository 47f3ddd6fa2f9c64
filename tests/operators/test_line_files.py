"""Takes under the names that a script wants them by: a copy is the take of its line, or is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.operators.test_lines import Killed, Lines, lines
from voice_provider.exceptions import InvalidInputError, NotPublishedError, PermanentVoiceError, VoiceError
from voice_provider.files import transfer
from voice_provider.files.storage import Output
from voice_provider.lines import run as lines_run
from voice_provider.operators import lines as operators_lines
from voice_provider.trust.provenance import ENDING, verify

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["lines"]  # a fixture


def script(**texts: str) -> list[dict[str, Any]]:
    files = {"a": "ann/a.wav", "b": "b.wav", "c": "c.wav"}
    return [{"id": name, "text": text, "file": files[name]} for name, text in texts.items()]


def delivered(lines: Lines) -> set[str]:
    """Return the names that there are, and check that each is the take that the manifest says, and has its record."""
    takes = lines.folder / "takes"
    found = {path for path in lines.folder.rglob("*.wav") if path.parent != takes}
    rows = [row for row in lines.rows().values() if row.copy is not None]
    assert {Path(str(row.copy)) for row in rows} == found
    for row in rows:
        assert Path(str(row.copy)).read_bytes() == Path(str(row.uri)).read_bytes()
        record, problem = verify(str(row.copy))
        assert (problem, record and record.file.name) == (None, Path(str(row.copy)).name)
    records = {path for path in lines.folder.rglob(f"*{ENDING}") if path.parent != takes}
    assert records == {Path(f"{path}{ENDING}") for path in found}
    return {str(path.relative_to(lines.folder)) for path in found}


def test_a_copy_follows_its_line_and_a_line_that_failed_has_none(lines: Lines) -> None:
    lines.run(script(a="One.", b="Two.", c="Two."))
    assert delivered(lines) == {"ann/a.wav", "b.wav", "c.wav"}
    assert lines.paid() == 2
    before = (lines.folder / "c.wav").stat()
    lines.emulator.fault("status", "/v1/tts", status=422, times=1)
    with pytest.raises(PermanentVoiceError):
        lines.run(script(b="Failing.", a="Changed.", c="Two."), concurrency=1)
    assert delivered(lines) == {"ann/a.wav", "c.wav"}
    now = (lines.folder / "c.wav").stat()
    assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # it was not written again
    lines.task.clear()
    lines.run(script(a="Two.", b="Changed.", c="One."))  # all of them are there
    assert delivered(lines) == {"ann/a.wav", "b.wav", "c.wav"}
    assert lines.paid() == 1
    lines.run(script(a="Two."))
    assert (lines.folder / "c.wav").exists()  # what no line names any more is left to people


def test_a_kill_leaves_no_copy_that_is_taken_for_another_take(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = script(a="Line one.", b="Line two."), script(a="Line three.", b="Line four.")
    lines.run(first)

    def killed(*_: Any) -> Any:
        raise Killed

    real = lines_run.write_manifest
    writes: list[int] = []

    def write_manifest(*args: Any) -> None:
        writes.append(1)
        if len(writes) > 1:
            raise Killed
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(lines_run, "write_manifest", write_manifest)
        with pytest.raises(Killed):
            lines.run(second)
    assert [row.copy for row in lines.rows().values()] == [None, None]
    lines.task.clear()
    lines.run(first)  # as before: the copies are of the second
    assert delivered(lines) == {"ann/a.wav", "b.wav"}
    with monkeypatch.context() as patch:
        patch.setattr(Output, "copy", killed)
        with pytest.raises(Killed):
            lines.run(second)
    lines.run(second)
    assert delivered(lines) == {"ann/a.wav", "b.wav"}


def test_a_copy_that_cannot_be_put_in_its_place_fails_the_task_and_costs_nothing_more(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE", lambda _: 0.01)
    (lines.folder / "b.wav").mkdir(parents=True)
    with pytest.raises(NotPublishedError, match=r"b\.wav"):
        lines.run(script(a="One.", b="Two."))
    rows = lines.rows()
    assert [(row.outcome, row.copy is None) for row in rows.values()] == [("spoken", False), ("spoken", True)]
    (lines.folder / "b.wav").rmdir()
    lines.run(script(a="One.", b="Two."))
    assert delivered(lines) == {"ann/a.wav", "b.wav"}
    assert lines.paid() == 2


def test_a_link_in_the_folder_leads_nowhere_else(
    lines: Lines, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = lines.folder.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "a.wav").write_bytes(b"of somebody else")
    lines.folder.mkdir()
    (lines.folder / "ann").symlink_to(elsewhere)
    set_connection(service="fish_audio", allowed_outputs=f"{lines.folder}/")
    with pytest.raises(InvalidInputError, match=r"item 1: .*ann"):
        lines.run(script(a="One."))
    assert lines.paid() == 0

    def swapped(*_: Any) -> None:
        """It was a folder when it was checked."""

    monkeypatch.setattr(operators_lines, "check_allowed", swapped)
    for times in (0, 1):  # it is neither overwritten nor deleted
        if times:
            lines.emulator.fault("status", "/v1/tts", status=422, times=times)
        with pytest.raises(VoiceError, match="ann"):
            lines.run(script(a=f"Line {times}."), max_failed=1)
        assert lines.outcomes() == {"a": "failed" if times else "spoken"}
    assert (elsewhere / "a.wav").read_bytes() == b"of somebody else"


def test_an_ending_chooses_the_format_or_has_to_fit_it(lines: Lines) -> None:
    line = {"text": "Hi.", "file": "hi.flac"}
    for form, message in (
        ("wav", r"item 1, column 'file': 'hi.flac' has to end in \.wav"),
        (None, r"has to end in \.mp3"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            lines.run([line], format=form)
    assert lines.paid() == 0
    lines.run([{"text": "Hi.", "file": "hi.opus"}, {"text": "Hi.", "file": "hi.mp3"}], format=None)
    assert [Path(str(row.uri)).suffix for row in lines.rows().values()] == [".opus", ".mp3"]
