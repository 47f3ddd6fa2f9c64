"""What the ending of a file's name says, and what is done where it would be wrong."""

from __future__ import annotations

import pytest

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.endings import check_ending, format_for, named
from voice_provider.files.locations import output_of
from voice_provider.files.storage import Output


@pytest.mark.parametrize(
    ("location", "extension", "kept"),
    [
        ("/out/line.mp3", "mp3", "/out/line.mp3"),
        ("/out/LINE.MP3", "mp3", "/out/LINE.MP3"),
        ("/out/line.wav", "mp3", "/out/line.mp3"),
        ("s3://studio/line.flac", "opus", "s3://studio/line.opus"),
        ("/out/line.ogg", "opus", "/out/line.ogg"),
        ("/out/film.m4v", "mp4", "/out/film.m4v"),
        ("/out/film.mov", "mp4", "/out/film.mp4"),
        ("/out/line.txt", "mp3", "/out/line.mp3"),
        ("/out/line", "mp3", "/out/line"),
        ("/out/take.v2", "mp3", "/out/take.v2"),
        ("/out/version.1/line", "mp3", "/out/version.1/line"),
        ("/out.wav/line", "mp3", "/out.wav/line"),
    ],
)
def test_no_result_is_kept_under_an_ending_that_says_something_else(location: str, extension: str, kept: str) -> None:
    assert named(location, extension) == kept
    assert Output(location, "name").uri(extension) == kept


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("/x.opus", "opus"), ("/x.OGG", "opus"), ("/x.wave", "wav"), ("/x.raw", "pcm"), ("/x.mp3", "mp3"),
        ("/x.flac", None), ("/x", None), ("/x/", None),
    ],
)  # fmt: skip
def test_an_ending_asks_for_a_format(location: str, wanted: str | None) -> None:
    assert format_for(location, ("wav", "pcm", "mp3", "opus")) == wanted


def test_an_ending_that_is_not_made_is_refused_with_those_that_are() -> None:
    for location in ("/x.mp3", "/x.wav", "/x", "/x/", "/x.take2", "s3://b/x.MP3"):
        check_ending(location, ("mp3", "wav"), "The studio")
    check_ending("/x.anything", (), "The studio")  # which does not say what it makes
    for location, ending in (("/x.flac", "flac"), ("s3://b/x.MOV", "mov"), ("/x.json", "json"), ("/x.png", "png")):
        with pytest.raises(
            InvalidInputError,
            match=rf"output ends in \.{ending}, but The studio makes mp3 or wav.* End it in \.mp3 or \.wav, or in '/'",
        ):
            check_ending(location, ("mp3", "wav"), "The studio")


def test_a_path_object_without_an_ending_is_a_folder() -> None:
    from pathlib import Path

    from airflow.sdk import ObjectStoragePath

    for value, text in (
        (Path("/out/lines"), "/out/lines/"),
        (Path("/out/{{ ds }}"), "/out/{{ ds }}/"),
        (Path("/out/{{ ti.task_id }}"), "/out/{{ ti.task_id }}/"),
        (Path("/out/line.mp3"), "/out/line.mp3"),
        (ObjectStoragePath("s3://studio/lines/"), "s3://studio/lines/"),
        (ObjectStoragePath("s3://studio/lines", conn_id="aws"), "s3://aws@studio/lines/"),
        (ObjectStoragePath("file:///out/line.mp3"), "file:///out/line.mp3"),
        (" /out/line ", "/out/line"),
        ("/out/lines/", "/out/lines/"),
    ):
        assert output_of(value) == text
