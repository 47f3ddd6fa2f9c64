"""What was checked is what is opened: a folder or file that is swapped for a link meanwhile leads nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from tests.files.test_storage import fill, left_in, sound
from voice_provider.exceptions import NotAllowedError, NotPublishedError
from voice_provider.files import receiving, transfer
from voice_provider.files.locations import read_text
from voice_provider.files.storage import Output, StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable


class Swap:
    """A path inside what is allowed, and something outside that takes its place by a link, and gives it back."""

    def __init__(self, path: Path, outside: Path) -> None:
        self.path, self.outside, self._aside = path, outside, path.with_name("aside")

    def __call__(self) -> None:
        self.path.rename(self._aside)
        self.path.symlink_to(self.outside)

    def back(self) -> None:
        self.path.unlink()
        self._aside.rename(self.path)

    def while_opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a way to open that finds the link, where whoever looks before and after finds none."""

        def opens(*args: Any, **options: Any) -> Any:
            self()
            try:
                return real(*args, **options)
            finally:
                self.back()

        return opens


@pytest.fixture
def swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Swap:
    """A folder for results, and another one."""
    monkeypatch.setattr(transfer, "PAUSE", tenacity.wait_none())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("worker")))
    (tmp_path / "allowed" / "out").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    return Swap(tmp_path / "allowed" / "out", tmp_path / "victim")


def output(swap: Swap, name: str = "") -> Output:
    return Output(f"{swap.path}/{name}", "x", [f"{swap.path.parent}/"])


@pytest.mark.parametrize("name", ["", "speech.wav"])
def test_nothing_is_received_into_a_folder_that_was_swapped(
    name: str, swap: Swap, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = output(swap, name)
    swap()
    with pytest.raises(NotAllowedError, match="outside the storage that the connection allows"), place.receive():
        pytest.fail("it would have been paid")
    swap.back()
    real = os.open

    def opens(path: Any, flags: int, *args: Any, **options: Any) -> int:
        way = swap.while_opening(real) if flags & os.O_DIRECTORY else real
        return int(way(path, flags, *args, **options))

    monkeypatch.setattr(os, "open", opens)
    with pytest.raises(NotAllowedError, match=r"leads elsewhere since it was checked"), place.receive():
        pytest.fail("it would have been paid")
    assert left_in(swap.outside) == left_in(swap.path) == []


def test_a_result_is_not_put_into_a_folder_that_was_swapped_and_is_not_lost(swap: Swap) -> None:
    (swap.outside / "y.wav").write_bytes(b"somebody's")
    with output(swap).receive() as download:
        fill(download, sound())
        kept = download.check()
        swap()
        with pytest.raises(NotPublishedError, match="outside the storage that the connection allows") as caught:
            download.publish(kept)
    assert Path(str(caught.value.held).partition(":")[2]).read_bytes() == sound()
    assert [path.read_bytes() for path in swap.outside.iterdir()] == [b"somebody's"]
    swap.back()
    held = [str(caught.value.held)]
    assert output(swap).recover(kept.uri, kept.sha256, kept.bytes, held)
    assert Path(kept.uri).read_bytes() == sound()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_folder_that_is_swapped_at_the_last_moment_gets_nothing(
    elsewhere: bool, swap: Swap, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = transfer.rename

    def late(*args: Any) -> None:
        swap()
        real(*args)
        swap.back()

    monkeypatch.setattr(receiving, "rename", late)
    monkeypatch.setattr(transfer, "rename", late)
    place = output(swap)
    if elsewhere:  # where a copy is made
        place = Output(f"{swap.path.parent}/other/", "x", [f"{swap.path.parent}/"])
    with place.receive() as download:
        fill(download, sound())
        kept = download.check()
        download.publish_at(f"{swap.path}/x.wav")
    assert left_in(swap.outside) == []
    assert (swap.path / "x.wav").read_bytes() == sound()
    assert (swap.path / "x.wav").stat().st_mode & 0o777 == 0o640
    assert kept.bytes == len(sound())


def test_a_link_with_the_name_of_a_result_is_replaced_and_not_followed(swap: Swap) -> None:
    secret = swap.outside / "secret"
    secret.write_bytes(b"somebody's")
    for _ in range(2):  # the second result replaces the first
        with output(swap, "x.wav").receive() as download:
            fill(download, sound())
            (swap.path / "x.wav").unlink(missing_ok=True)
            (swap.path / "x.wav").symlink_to(secret)
            download.publish(download.check())
        assert (swap.path / "x.wav").read_bytes() == sound()
        assert not (swap.path / "x.wav").is_symlink()
    assert secret.read_bytes() == b"somebody's"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_input_that_was_swapped_is_not_read(
    what: str, swap: Swap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, secret = swap.path / "a.wav", swap.outside / "a.wav"
    file.write_bytes(sound())
    shutil.copy(file, secret)
    allowed = [str(swap.path.parent)]
    swap = swap if what == "folder" else Swap(file, secret)
    stored = StoredFile(str(file), allowed)
    assert b"".join(stored.chunks()) == sound()
    swap()
    with pytest.raises(NotAllowedError, match="outside the storage that the connection allows"):
        list(stored.chunks())
    swap.back()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", swap.while_opening(Path.open))
        for read in (lambda: list(stored.chunks()), lambda: StoredFile(str(file), allowed)):
            with pytest.raises(NotAllowedError, match="leads elsewhere since it was checked"):
                read()
        with pytest.raises(NotAllowedError, match="leads elsewhere since it was checked"):
            read_text(str(file), allowed)
    link = tmp_path / "allowed" / "latest.wav"
    link.symlink_to(file)
    assert b"".join(StoredFile(str(link), allowed).chunks()) == sound()  # a link that stays inside is as good
