"""A corpus of media: each file is what it is, has its length, and its end is missed when it is missing."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING

import pytest

from tests.conftest import made_once
from tests.files.corpus import Made, corpus, decoded
from voice_provider.files.media import TOLERANCE, inspect, probe
from voice_provider.files.whole import NotWholeError

if TYPE_CHECKING:
    from pathlib import Path

    from voice_provider.files.formats import MediaInfo


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    def make(folder: Path) -> None:
        (folder / "corpus").write_bytes(pickle.dumps([tuple(made) for made in corpus()]))

    data = (made_once(tmp_path_factory, "corpus", make) / "corpus").read_bytes()
    return [Made(*made) for made in pickle.loads(data)]


def read(data: bytes) -> tuple[MediaInfo, MediaInfo]:
    """Return what an input and a result with these bytes are."""
    return probe(io.BytesIO(data), len(data)), inspect(io.BytesIO(data), len(data))


def refused(data: bytes) -> list[str]:
    """Return why an input and a result with these bytes are refused."""
    told = []
    for look in (probe, inspect):
        try:
            look(io.BytesIO(data), len(data))
        except NotWholeError as error:
            told.append(str(error))
    return told


def test_each_file_is_what_it_is(files: list[Made]) -> None:
    assert len(files) >= 120
    assert len({made.name for made in files}) == len(files)
    wrong = []
    for made in files:
        for info in read(made.data):
            found = (info.format.extension, info.format.media_type)
            if found != (made.extension, made.media_type):
                wrong.append(f"{made.name}: {found}")
    assert wrong == []


def test_each_file_has_the_length_of_its_full_decode(files: list[Made]) -> None:
    wrong = []
    for made in files:
        sent, received = read(made.data)
        if made.media_type.startswith("image/"):
            assert (sent.seconds, received.seconds) == (None, None)
            continue
        seconds = decoded(made.data)
        wrong += [
            f"{made.name}: {info.seconds} s of {seconds:.3f} s"
            for info in (sent, received)
            if info.seconds is None or abs(info.seconds - seconds) > TOLERANCE
        ]
    assert wrong == []


def test_each_file_that_is_cut_short_is_refused(files: list[Made]) -> None:
    unnoticed = [made.name for made in files if made.has_end and len(refused(made.cut)) != 2]
    assert unnoticed == []
    # What has no end to miss is shorter, or there is nothing missing.
    for made in (made for made in files if not made.has_end and not made.media_type.startswith("image/")):
        assert refused(made.cut) or (read(made.cut)[1].seconds or 0) < (read(made.data)[1].seconds or 0)
