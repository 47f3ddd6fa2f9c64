"""The manifest of many lines: written whole, read back, and told apart from other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voice_provider.exceptions import InvalidInputError, NotAllowedError
from voice_provider.lines.manifest import Row, counts_of, read_manifest, write_manifest

ROWS = [
    Row("1", "a" * 64, "b" * 64, "spoken", uri="/x/y.mp3", sha256="c" * 64, seconds=1.5, notes={"mood": "süß\u2028"}),
    Row("2", "a" * 64, "d" * 64, "failed", error="refused", start=1.0, end=2.0, voice="Ann"),
]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    location = f"{tmp_path}/new/manifest.jsonl"
    write_manifest(location, ROWS)
    assert read_manifest(location) == ROWS
    assert [json.loads(line)["id"] for line in Path(location).read_bytes().decode().strip().split("\n")] == ["1", "2"]
    assert counts_of(ROWS) == {"failed": 1, "spoken": 1}
    write_manifest(location, ROWS[:1])
    assert read_manifest(location) == ROWS[:1]
    assert [path.name for path in Path(location).parent.iterdir()] == ["manifest.jsonl"]


def test_what_is_no_manifest_is_named(tmp_path: Path) -> None:
    place = tmp_path / "manifest.jsonl"
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_manifest(str(place))
    for line in ('{"id": "1"}', "[1]", "{"):
        write_manifest(str(place), ROWS[:1])
        place.write_text(place.read_text() + line)
        with pytest.raises(InvalidInputError, match="line 2, is no line of a manifest"):
            read_manifest(str(place))
    with pytest.raises(NotAllowedError):
        read_manifest(str(place), ["/elsewhere/"])
