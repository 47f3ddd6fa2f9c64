"""What was received is kept: from its last byte on nothing deletes it before it is in its place."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from tests.files.test_storage import MIB, Stop, fill, left_in, objects, piped, refuse, sound
from voice_provider.exceptions import (
    InvalidInputError,
    NotAllowedError,
    NotPublishedError,
    ResultError,
    StorageError,
    UnusableSpeechError,
)
from voice_provider.files import receiving, transfer
from voice_provider.files.receiving import Receipt
from voice_provider.files.storage import UPLOADS, Held, Kept, Output, is_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAUSE = transfer.PAUSE
FACTS = {"order": "abc", "model": "s1", "seconds": 0.25}
HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(transfer, "PAUSE", tenacity.wait_none())


@pytest.fixture
def worker(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The worker's temporary folder."""
    folder = tmp_path_factory.mktemp("worker")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, worker: Path) -> Callable[..., Output]:
    """Return a maker of the same output in each kind of storage, with a spool."""
    folder = f"{tmp_path}/out/"
    if request.param == "s3":
        request.getfixturevalue("s3")
        tempfile.tempdir = str(worker)
        folder = "s3://studio/out/"
    spool = f"{tmp_path}/spool/task"

    def make(name: str = "x", task: str = "run1", spool: str | None = spool) -> Output:
        return Output(folder, name, [folder], task, spool)

    return make


def hidden(*folders: Path) -> list[str]:
    """What lies about, besides results."""
    return [name for folder in folders for name in left_in(folder) if name.startswith(".")]


def spoken(output: Output, data: bytes = b"", facts: dict[str, Any] | None = FACTS) -> tuple[Kept, Held]:
    """Receive and check, and leave without having published."""
    with output.receive() as download:
        fill(download, data or piped())
        kept = download.check()
        if facts is not None:
            assert download.note(facts)
        return kept, download.place


def refused(
    output: Output, data: bytes = b"", before: Callable[[], object] = lambda: None
) -> tuple[Kept, NotPublishedError]:
    """Receive and check what cannot be published then.

    :param before: what happens between the two
    """
    with output.receive() as download:
        fill(download, data or piped())
        kept = download.check()
        download.note(FACTS)
        before()
        with pytest.raises(NotPublishedError) as caught:
            download.publish(kept)
    return kept, caught.value


@contextmanager
def store_away(monkeypatch: pytest.MonkeyPatch, times: int = 99, error: Exception | None = None) -> Iterator[list[str]]:
    """Let writes into the place fail so many times, by rename as by upload; the spool works."""
    real_rename, real_upload, made = transfer.rename, transfer._upload, []

    def fail(what: str) -> None:
        made.append(what)
        if len(made) <= times:
            raise error or ConnectionResetError("the storage went away")

    def rename(part: Path, target: Path, folder: int) -> None:
        if target.parent.name == "out" and not target.name.startswith("."):
            fail(str(target))
        real_rename(part, target, folder)

    def upload(file: Any, uri: str) -> None:
        if uri.startswith("s3://studio/out/"):
            fail(uri)
        real_upload(file, uri)

    with monkeypatch.context() as patch:
        for room in (receiving, transfer):
            patch.setattr(room, "rename", rename)
        patch.setattr(transfer, "_upload", upload)
        yield made


# room is taken before anything is paid


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False).returncode:
        pytest.skip("this user may not mount anything")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_without_room_is_found_out_before_paying(small_disk: Path) -> None:
    output = Output(f"{small_disk}/out/", "x")
    with (
        pytest.raises(
            StorageError, match=r"no room for 100,000 bytes at .*disk/out: No space left.*; nothing was paid"
        ),
        output.receive(100_000),
    ):
        pytest.fail("it would have been paid")
    assert left_in(small_disk) == []
    with output.receive(40_000) as download:
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "other").write_bytes(bytes(60_000))  # the room is taken, whoever else writes
        (small_disk / "other").unlink()
        fill(download, sound(39_000))
        download.publish(download.check())
    assert (small_disk / "out" / "x.wav").read_bytes() == sound(39_000)


def test_a_full_disk_is_no_place_to_write_to(small_disk: Path) -> None:
    output = Output(f"{small_disk}/x.wav", "x")
    output.check_writable()
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(70_000))
    with pytest.raises(StorageError, match=r"cannot be written: .*No space left.*Nothing was paid"):
        output.check_writable()


def test_a_wav_that_finds_no_room_for_its_repair_is_kept_as_it_came(small_disk: Path) -> None:
    with Output(f"{small_disk}/", "x").receive(50_044) as download:
        fill(download, piped(50_000))
        kept = download.check()
        download.publish(kept)
    assert is_kept(kept.uri, hashlib.sha256(piped(50_000)).hexdigest(), 50_044)
    assert left_in(small_disk) == ["x.wav"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_no_room_is_said_and_leaves_nothing(
    place: Callable[..., Output],
    code: int,
    call: str,
    tmp_path: Path,
    worker: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse(OSError(errno.EOPNOTSUPP, "Operation not supported")))
    monkeypatch.setattr(os, call, refuse(OSError(code, os.strerror(code))))
    expected = f"no room for 5,000 bytes at .*{os.strerror(code)}; nothing was paid"
    with pytest.raises(StorageError, match=expected), place().receive(5000):
        pytest.fail("it would have been paid")
    assert left_in(tmp_path) + left_in(worker) == []


@pytest.mark.parametrize("has_fallocate", [True, False, None])
@pytest.mark.parametrize("expected", [100, MIB, 3 * MIB])
def test_the_room_that_was_taken_does_not_show(
    has_fallocate: bool | None, expected: int, place: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_fallocate is None:
        monkeypatch.delattr(os, "posix_fallocate")
    elif not has_fallocate:
        monkeypatch.setattr(os, "posix_fallocate", refuse(OSError(errno.EOPNOTSUPP, "Operation not supported")))
    with place().receive(expected) as download:
        assert Path(download.place.path).stat().st_size == expected
        fill(download, b"the wrong half")
        download.restart()
        assert (Path(download.place.path).stat().st_size, download.position) == (expected, 0)
        fill(download, sound(MIB))
        kept = download.check()
        download.publish(kept)
    assert is_kept(kept.uri, hashlib.sha256(sound(MIB)).hexdigest(), len(sound(MIB)))


def test_an_answer_that_could_not_be_taken_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Output(f"{tmp_path}/", "x").receive() as download:
        assert not download.begun
        download.write(b"")
        assert not download.begun
        real = download._file
        monkeypatch.setattr(download, "_file", Refusing(real))
        with pytest.raises(StorageError, match="No space left"):
            download.write(b"the first piece")
        assert (download.begun, download.position) == (True, 0)
        download.restart()
        assert download.begun
    assert left_in(tmp_path) == []


class Refusing:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self._real = file

    def write(self, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


# the file it is received into


def test_only_this_user_can_read_what_is_received(place: Callable[..., Output], worker: Path) -> None:
    with place().receive() as download:
        part = Path(download.place.path)
        assert part.stat().st_mode & 0o777 == 0o600
        if part.is_relative_to(worker):
            assert part.parent == worker / f"voice-provider-{os.getuid()}"
            assert part.parent.stat().st_mode & 0o777 == 0o700
        fill(download, sound())
        kept = download.check()
        download.note(FACTS)
        assert Receipt.path(part).stat().st_mode & 0o777 == 0o600
        download.publish(kept)
    if kept.uri.startswith("/"):
        assert Path(kept.uri).stat().st_mode & 0o777 == 0o640


def test_a_link_that_was_planted_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    out = tmp_path / "out"
    out.mkdir()
    for name in (".x.run1.part", ".x.run1.part.json", ".x.run1.part.json.new", ".x.run1.part.new", "x.wav"):
        (out / name).symlink_to(secret)
    output = Output(f"{out}/", "x", task="run1")
    assert output.received() is None
    assert not output.recover(f"{out}/y.wav", hashlib.sha256(b"secret").hexdigest(), 6)
    with output.receive() as download:
        fill(download, piped())
        kept = download.check()
        download.note(FACTS)
        download.publish(kept)
    assert secret.read_bytes() == b"secret"
    assert not (out / "x.wav").is_symlink()
    output.tidy()
    assert hidden(out) == []


@pytest.mark.parametrize("kind", ["open", "link", "file", "of another"])
def test_a_folder_of_the_worker_that_is_not_its_own_is_not_used(
    kind: str, s3: Any, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tempfile.tempdir = str(worker)
    folder = worker / f"voice-provider-{os.getuid()}"
    if kind == "file":
        folder.write_bytes(b"")
    elif kind == "link":
        folder.symlink_to(worker)
    else:
        folder.mkdir(mode=0o700)
        folder.chmod(0o777 if kind == "open" else 0o700)
    if kind == "of another":
        monkeypatch.setattr(os, "getuid", lambda: 4321)
        folder.rename(worker / f"voice-provider-{os.getuid()}")
    with (
        pytest.raises((StorageError, InvalidInputError), match=r"nothing was paid|not a folder"),
        Output("s3://studio/out/", "x").receive(),
    ):
        pytest.fail("it would have been paid")


def test_the_next_try_on_this_host_receives_into_the_same_file_and_others_do_not(place: Callable[..., Output]) -> None:
    def part(output: Output) -> str:
        with output.receive() as download:
            return str(download.place)

    assert part(place()) == part(place())
    assert len({part(place()), part(place("y")), part(place(task="run2"))}) == 3


# held from the check on


@pytest.mark.parametrize("end", [Stop, KeyboardInterrupt, ValueError, ResultError, None])
def test_what_is_checked_stays_whatever_ends_the_try(end: Any, place: Callable[..., Output]) -> None:
    held: list[Held] = []

    def run() -> None:
        with place().receive() as download:
            fill(download, sound())
            download.check()
            held.append(download.place)
            if end is not None:
                raise end("the end")

    if end is None:
        run()
    else:
        with pytest.raises(end):
            run()
    assert (held[0].host, Path(held[0].path).read_bytes()) == (HOST, sound())
    assert str(held[0]) == f"{HOST}:{held[0].path}"


def test_a_repair_does_not_work_on_the_only_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(file: Any, size: int) -> bool:
        file.write(b"half a repair")
        raise Stop

    monkeypatch.setattr(receiving, "repair_wav", die)
    with pytest.raises(Stop):
        spoken(Output(f"{tmp_path}/", "x"))
    assert left_in(tmp_path) == [".x.part"]
    assert (tmp_path / ".x.part").read_bytes() == piped()


def test_a_receipt_says_what_was_received(place: Callable[..., Output]) -> None:
    assert place().received() is None
    kept, held = spoken(place())
    assert place().received() == Receipt(FACTS, kept.sha256, kept.bytes, "x")
    assert place("y").received() is None
    assert place(task="run2").received() is None
    with Path(held.path).open("ab") as file:
        file.write(b"more")
    assert place().received() is None
    assert Path(held.path).exists()


@pytest.mark.parametrize("receipt", [None, b"", b"{}", b"[1]", b"\xff\xfe", b'{"facts": {}, "sha256": "0"', b"null"])
def test_a_part_without_a_receipt_that_fits_is_no_result(receipt: bytes | None, place: Callable[..., Output]) -> None:
    kept, held = spoken(place(), facts=None)
    path = Receipt.path(Path(held.path))
    if receipt is not None:
        path.write_bytes(receipt)
    assert place().received() is None
    with place().receive() as download:
        fill(download, sound(4000))
        download.publish(download.check())
    assert not Path(held.path).exists()
    assert not path.exists()
    assert not is_kept(kept.uri, kept.sha256, kept.bytes)


def test_a_receipt_that_cannot_be_written_is_no_reason_to_lose_the_result(
    place: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    with place().receive() as download:
        fill(download, sound())
        kept = download.check()
        with monkeypatch.context() as patch:
            patch.setattr(receiving, "create", refuse(PermissionError(errno.EACCES, "Permission denied")))
            assert not download.note(FACTS)
        download.publish(kept)
    assert is_kept(kept.uri, kept.sha256, kept.bytes)


def test_a_receipt_that_may_not_be_read_is_not_taken_for_none(
    place: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken(place())
    monkeypatch.setattr(receiving, "reopen", refuse(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(StorageError, match=r"What was received for .* cannot be read: .*Input/output error"):
        place().received()


def test_what_was_received_whole_makes_way_for_another_order_and_is_not_lost(
    place: Callable[..., Output], tmp_path: Path, worker: Path
) -> None:
    kept, _ = spoken(place())
    other, _ = spoken(place(), sound(4000))
    assert place().received() == Receipt(FACTS, other.sha256, other.bytes, "x")
    assert place().recover(f"{kept.uri}.first.wav", kept.sha256, kept.bytes)
    assert place().received() == Receipt(FACTS, other.sha256, other.bytes, "x")
    assert place().recover(other.uri, other.sha256, other.bytes)
    assert is_kept(f"{kept.uri}.first.wav", kept.sha256, kept.bytes)
    assert hidden(tmp_path, worker) == []


# publishing


def test_a_result_in_its_place_is_all_that_is_left(place: Callable[..., Output], tmp_path: Path, worker: Path) -> None:
    with place().receive(len(piped())) as download:
        fill(download, piped())
        kept = download.check()
        assert download.note(FACTS)
        download.publish(kept)
    assert is_kept(kept.uri, hashlib.sha256(sound()).hexdigest(), len(sound()))
    assert left_in(tmp_path) + left_in(worker) in ([], ["x.wav"])


@pytest.mark.parametrize("error", [ConnectionResetError("away"), PermissionError("denied"), RuntimeError("odd")])
def test_a_place_that_comes_back_is_waited_for(
    error: Exception, place: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place().receive() as download:
        fill(download, sound())
        kept = download.check()
        with store_away(monkeypatch, 20, error) as made:
            download.publish(kept, until=time.time() + 30)
    assert len(made) == 21
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(
    ("error", "until", "least", "most"),
    [
        (ConnectionResetError("away"), 0, 0, 1),
        (PermissionError("denied"), 0, 0, 1),
        (ConnectionResetError("away"), 600, 600, 606),
        (PermissionError("denied"), 600, 60, 66),
        (PermissionError("denied"), 20, 20, 26),
    ],
)
def test_no_place_is_waited_for_without_end(
    error: Exception, until: float, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(transfer.time, "time", lambda: now[0])
    monkeypatch.setattr(transfer, "PAUSE", tenacity.wait_fixed(4))
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    tries: list[float] = []

    def fail() -> None:
        tries.append(now[0])
        raise error

    with pytest.raises(type(error)):
        transfer.persist(fail, now[0] + until if until else 0.0)
    assert len(tries) >= UPLOADS
    waited = tries[-1] - tries[0]
    assert least <= waited <= most or (not until and len(tries) == UPLOADS)


def test_pauses_grow_and_differ() -> None:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    pauses = []
    for state.attempt_number in (1, 4, 9):
        found = [PAUSE(state) for _ in range(50)]
        assert len(set(found)) > 1
        pauses.append(max(found))
    assert 0 < pauses[0] < pauses[1] < pauses[2] <= 30


def test_a_place_that_stays_away_leaves_it_in_the_spool_and_another_worker_finds_it(
    place: Callable[..., Output], tmp_path: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store_away(monkeypatch):
        kept, error = refused(place())
    assert isinstance(error, StorageError)
    assert error.held.startswith(f"{tmp_path}/spool/task/")
    assert str(error) == (
        f"The result cannot be kept at {kept.uri}: the storage went away. It is kept at {error.held}: the next try "
        "looks there first and pays nothing."
    )
    assert hidden(tmp_path, worker) == []
    assert Path(error.held).read_bytes() == sound()
    shutil.rmtree(worker)
    worker.mkdir()
    assert place().received() is None
    assert place().recover(kept.uri, kept.sha256, kept.bytes)
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert left_in(tmp_path / "spool") == []
    assert hidden(tmp_path, worker) == []
    assert not place().recover(kept.uri, kept.sha256, kept.bytes)


def test_a_spool_in_an_object_store(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(f"{tmp_path}/out/", "x", task="run1", spool="s3://studio/spool/task/")
    with store_away(monkeypatch):
        kept, error = refused(output, sound(9 * MIB))
    assert objects(s3) == [error.held.removeprefix("s3://")]
    elsewhere = Output(f"{tmp_path}/out/", "x", task="run1")  # the connection has no spool any more
    assert elsewhere.recover(kept.uri, kept.sha256, kept.bytes, [error.held])
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert objects(s3) == []
    assert left_in(tmp_path) == ["x.wav"]


@pytest.mark.parametrize("spool", ["none", "refuses", "lies"])
def test_without_a_spool_it_stays_on_the_worker(
    spool: str, place: Callable[..., Output], tmp_path: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    output = place(spool=None if spool == "none" else f"{tmp_path}/file/spool")
    if spool == "lies":
        real, output = receiving.put, place(spool=f"{tmp_path}/spool")
        monkeypatch.setattr(
            receiving, "put", lambda file, to: None if to.startswith(f"{tmp_path}/sp") else real(file, to)
        )
    with store_away(monkeypatch):
        kept, error = refused(output)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(worker))
    assert error.held.startswith(f"{HOST}:/")
    assert output.received() is not None
    assert output.recover(kept.uri, kept.sha256, kept.bytes, [error.held])
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert hidden(tmp_path, worker) == []


def test_what_another_host_holds_is_not_looked_for_here(place: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "held").write_bytes(sound())
    digest = hashlib.sha256(sound()).hexdigest()
    uri = place().uri("wav")
    assert not place().recover(uri, digest, len(sound()), [f"elsewhere:{tmp_path}/held", "", "nonsense"])
    assert place().recover(uri, digest, len(sound()), [f"{HOST}:{tmp_path}/held"])
    assert is_kept(uri, digest, len(sound()))
    assert not (tmp_path / "held").exists()


def test_what_is_held_is_put_only_where_the_connection_allows_it(place: Callable[..., Output], tmp_path: Path) -> None:
    kept, held = spoken(place())
    with pytest.raises(NotAllowedError):
        place().recover(f"{tmp_path}/elsewhere/x.wav", kept.sha256, kept.bytes)
    assert Path(held.path).exists()


def test_a_place_that_is_its_own_source_is_not_deleted(tmp_path: Path) -> None:
    output = Output(f"{tmp_path}/", "x")
    (tmp_path / "x.wav").write_bytes(sound())
    digest = hashlib.sha256(sound()).hexdigest()
    assert output.recover(f"{tmp_path}/x.wav", digest, len(sound()), [f"file://{tmp_path}/x.wav"])
    assert left_in(tmp_path) == ["x.wav"]


def test_a_spool_that_cannot_be_looked_at_is_not_taken_for_empty(
    place: Callable[..., Output], s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = place(spool="s3://studio/spool")
    monkeypatch.setattr(s3, "info", refuse(ConnectionResetError("the storage went away")))
    with pytest.raises(StorageError, match="went away"):
        output.recover(output.uri("wav"), "0" * 64, 100)


def test_a_recovery_that_finds_no_place_keeps_what_it_has(
    place: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = spoken(place())
    for _ in range(2):
        with store_away(monkeypatch), pytest.raises(NotPublishedError, match="pays nothing"):
            place().recover(kept.uri, kept.sha256, kept.bytes)
    assert place().recover(kept.uri, kept.sha256, kept.bytes)
    assert is_kept(kept.uri, kept.sha256, kept.bytes)


def test_what_is_held_can_go_to_another_folder(place: Callable[..., Output], tmp_path: Path, worker: Path) -> None:
    kept, _ = spoken(place())
    output = place()
    output.allowed = ()
    assert output.recover(f"{tmp_path}/else/where/x.wav", kept.sha256, kept.bytes)
    assert is_kept(f"{tmp_path}/else/where/x.wav", kept.sha256, kept.bytes)
    assert (tmp_path / "else" / "where" / "x.wav").stat().st_mode & 0o777 == 0o640
    assert hidden(tmp_path, worker) == []


@pytest.mark.parametrize("spooled", [True, False])
def test_a_recovery_from_elsewhere_that_finds_no_place_says_where_it_is_now(
    spooled: bool, place: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "held").write_bytes(sound())
    uri, digest, size = place().uri("wav"), hashlib.sha256(sound()).hexdigest(), len(sound())
    output = place() if spooled else place(spool=None)
    with store_away(monkeypatch), pytest.raises(NotPublishedError) as caught:
        output.recover(uri, digest, size, [f"{HOST}:{tmp_path}/held"])
    (tmp_path / "held").unlink()
    assert Path(caught.value.held.removeprefix(f"{HOST}:")).read_bytes() == sound()
    assert output.recover(uri, digest, size, [caught.value.held])
    assert is_kept(uri, digest, size)


# the folder is not what it was


@pytest.mark.parametrize("when", ["while it comes", "after the check"])
@pytest.mark.parametrize("again", [True, False])
def test_a_folder_that_was_removed_is_made_again(when: str, again: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def removed() -> None:
        shutil.rmtree(out)
        if again:
            out.mkdir()  # by another task

    with Output(f"{out}/", "x", task="run1").receive() as download:
        fill(download, piped(9000))
        if when == "while it comes":
            removed()
        kept = download.check()
        if when == "after the check":
            removed()
        download.publish(kept)
    assert is_kept(kept.uri, hashlib.sha256(sound(9000)).hexdigest(), len(sound(9000)))
    assert left_in(tmp_path) == ["x.wav"]


def test_a_folder_that_cannot_be_made_again_is_no_reason_to_lose_it(tmp_path: Path, worker: Path) -> None:
    out = tmp_path / "out"
    output = Output(f"{out}/", "x", task="run1")

    def replaced() -> None:
        shutil.rmtree(out)
        out.write_bytes(b"a file")

    kept, error = refused(output, sound(), replaced)
    assert "out is a file, not a folder" in str(error)
    assert error.held.startswith(f"{HOST}:{worker}/")
    out.unlink()
    out.mkdir()
    assert output.recover(kept.uri, kept.sha256, kept.bytes, [error.held])
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert hidden(worker, tmp_path) == []


def test_a_place_that_became_a_folder(tmp_path: Path) -> None:
    output = Output(f"{tmp_path}/x.wav", "x", task="run1")
    kept, error = refused(output, sound(), (tmp_path / "x.wav").mkdir)
    assert "Is a directory" in str(error)
    assert error.held == f"{HOST}:{tmp_path}/.x.run1.part"
    (tmp_path / "x.wav").rmdir()
    assert output.recover(kept.uri, kept.sha256, kept.bytes)
    assert left_in(tmp_path) == ["x.wav"]


def test_what_has_changed_is_not_copied(place: Callable[..., Output], tmp_path: Path, worker: Path) -> None:
    source = tmp_path / "kept.wav"
    source.write_bytes(sound())
    with pytest.raises(StorageError, match="has changed: it is not copied"):
        place().copy(str(source), "wav", hashlib.sha256(sound(4000)).hexdigest(), len(sound()))
    assert hidden(tmp_path, worker) == []
    copied = place().copy(str(source), "wav", hashlib.sha256(sound()).hexdigest(), len(sound()))
    assert is_kept(copied, hashlib.sha256(sound()).hexdigest(), len(sound()))


# two tries of one task at the same time


def test_the_earlier_of_two_tries_is_held_and_does_not_replace_the_later_ones_result(
    place: Callable[..., Output], tmp_path: Path, worker: Path
) -> None:
    output = place(spool=None)
    lost, retry = output.receive(), output.receive()
    earlier = lost.__enter__()
    fill(earlier, piped())
    later = retry.__enter__()
    fill(later, sound(4000)[:1000])
    first = earlier.check()
    assert not earlier.note(FACTS)
    with pytest.raises(NotPublishedError, match="another attempt of this task is writing it") as caught:
        earlier.publish(first)
    lost.__exit__(None, None, None)
    fill(later, sound(4000)[1000:])
    second = later.check()
    later.publish(second)
    retry.__exit__(None, None, None)
    assert is_kept(second.uri, hashlib.sha256(sound(4000)).hexdigest(), len(sound(4000)))
    assert Path(caught.value.held.partition(":")[2]).read_bytes() == piped()
    output.tidy()
    assert hidden(tmp_path, worker) == []


def test_the_earlier_of_two_tries_takes_nothing_away_from_the_later_one(
    place: Callable[..., Output], tmp_path: Path, worker: Path
) -> None:
    lost, retry = place().receive(), place().receive()
    lost.__enter__()
    later = retry.__enter__()
    fill(later, sound())
    kept = later.check()
    assert later.note(FACTS)
    lost.__exit__(None, None, None)  # with nothing in its hand
    assert place().received() is not None
    later.publish(kept)
    retry.__exit__(None, None, None)
    assert hidden(tmp_path, worker) == []


def test_the_receipt_of_a_later_try_stays(place: Callable[..., Output], tmp_path: Path, worker: Path) -> None:
    lost, retry = place().receive(), place().receive()
    earlier = lost.__enter__()
    fill(earlier, sound())
    first = earlier.check()
    later = retry.__enter__()
    fill(later, sound(4000))
    second = later.check()
    assert later.note(FACTS)
    transfer.put(io.BytesIO(sound()), first.uri)  # a try in between has found it, and put it there
    earlier.publish(first)
    assert place().received() is not None
    later.publish(second)
    for receiving_ in (lost, retry):
        receiving_.__exit__(None, None, None)
    assert hidden(tmp_path, worker) == []


def test_a_try_that_is_over_does_not_try_on() -> None:
    tries: list[None] = []

    def move() -> None:
        tries.append(None)
        raise transfer.SupersededError

    with pytest.raises(transfer.SupersededError):
        transfer.persist(move)
    assert len(tries) == 1


def test_no_planted_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "part").symlink_to(tmp_path / "secret")
    with transfer.create(tmp_path / "part") as file:
        file.write(b"audio")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert (tmp_path / "part").read_bytes() == b"audio"


def test_a_receipt_of_another_name_is_none(place: Callable[..., Output]) -> None:
    with place().receive() as download:
        fill(download, sound())
        kept = download.check()
        Receipt(FACTS, download.sha256, download.position, "other").write(Path(download.place.path))
        assert place().received() is None
        download.note(FACTS)
        assert place().received() is not None
        download.publish(kept)


def test_what_a_later_try_has_put_in_its_place_is_in_its_place(
    place: Callable[..., Output], tmp_path: Path, worker: Path
) -> None:
    with place().receive() as download:
        fill(download, sound())
        kept = download.check()
        download.note(FACTS)
        assert place().recover(kept.uri, kept.sha256, kept.bytes)
        download.publish(kept)
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert hidden(tmp_path, worker) == []


def test_of_two_tries_the_later_one_that_is_done_is_not_replaced(place: Callable[..., Output]) -> None:
    found: list[Kept] = []

    def later() -> None:
        with place().receive() as download:
            fill(download, sound(4000))
            found.append(download.check())
            download.publish(found[0])

    _, error = refused(place(), sound(), later)
    assert "another attempt of this task" in str(error)
    assert is_kept(found[0].uri, found[0].sha256, found[0].bytes)


# a kill at every point


def happenings(patch: pytest.MonkeyPatch, dies_at: int, die: Callable[[], None]) -> list[int]:
    """Die before or after the n-th thing that changes a disk or a store; return a counter of them."""
    count = [0]

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            for step in ("before", "after"):
                if step == "after":
                    value = real(*args, **kwargs)
                count[0] += 1
                if count[0] == dies_at:
                    die()
            return value

        patch.setattr(owner, name, watched)

    watch(os, "fsync")
    watch(os, "replace")
    watch(os, "unlink")
    watch(os, "fchmod")
    watch(transfer, "_upload")
    return count


def live(output: Output, told: Path) -> None:
    """A whole try; what the task's record would know is written to a file."""
    with output.receive(3000) as download:
        fill(download, piped())
        kept = download.check()
        told.write_text(json.dumps([kept.uri, kept.sha256, kept.bytes, False]))
        download.note(FACTS)
        told.write_text(json.dumps([kept.uri, kept.sha256, kept.bytes, True]))
        download.publish(kept)


def nothing_is_lost(output: Output, told: Path, *folders: Path) -> None:
    if not told.exists():
        return
    uri, sha256, size, noted = json.loads(told.read_text())
    told.unlink()
    if not is_kept(uri, sha256, size):
        if noted:
            assert output.received() == Receipt(FACTS, sha256, size, "x")
        assert output.recover(uri, sha256, size)
    assert is_kept(uri, sha256, size)
    output.tidy()
    assert hidden(*folders) == []


@pytest.mark.parametrize("kill", ["process", "exception"])
def test_a_kill_at_any_point_loses_nothing(
    kill: str, place: Callable[..., Output], tmp_path: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    if kill == "process" and place().location.startswith("s3"):
        pytest.skip("s3fs does not outlive a fork")
    for dies_at in range(1, 200):
        if kill == "process":
            pid = os.fork()
            if not pid:
                with monkeypatch.context() as patch:
                    happenings(patch, dies_at, lambda: os._exit(9))
                    live(place(), told)
                    os._exit(0)
            done = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            done = True
            with monkeypatch.context() as patch:
                happenings(patch, dies_at, refuse(Stop()))
                try:
                    live(place(), told)
                except Stop:
                    done = False
        uri = place().uri("wav")
        nothing_is_lost(place(), told, tmp_path, worker)
        if done:
            break
        if not uri.startswith("s3"):
            Path(uri).unlink(missing_ok=True)
    assert 20 < dies_at < 199


@pytest.mark.parametrize("dies_at", range(1, 40))
def test_a_kill_on_the_way_to_the_spool_loses_nothing(
    dies_at: int, tmp_path: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output(f"{tmp_path}/out/", "x", task="run1", spool=f"{tmp_path}/spool/task")
    told = tmp_path / "told"
    with store_away(monkeypatch), monkeypatch.context() as patch:
        happenings(patch, dies_at, refuse(Stop()))
        with pytest.raises((Stop, NotPublishedError)):
            live(output, told)
    nothing_is_lost(output, told, tmp_path, worker)
    assert not (tmp_path / "spool").exists() or left_in(tmp_path / "spool") == []


# tidying


def test_tidying_deletes_what_killed_tries_left_and_nothing_else(
    place: Callable[..., Output], worker: Path, tmp_path: Path
) -> None:
    _, mine = spoken(place())
    _, other_name = spoken(place("y"))
    _, half = spoken(place("z"), facts=None)
    _, other_task = spoken(place(task="run2"), facts=None)
    folder = Path(mine.path).parent
    (folder / f"{Path(mine.path).name}.new").write_bytes(b"half a repair")
    (folder / "result.wav").write_bytes(sound())
    place().tidy()
    left = {path.name for path in folder.iterdir()}
    assert left == {
        Path(other_name.path).name,
        Receipt.path(Path(other_name.path)).name,
        Path(other_task.path).name,
        "result.wav",
    }
    assert Path(half.path).name not in left
    assert place("y").received() is not None


def test_without_a_task_only_its_own_part_is_tidied(tmp_path: Path) -> None:
    spoken(Output(f"{tmp_path}/", "x"))
    _, other = spoken(Output(f"{tmp_path}/", "y"), facts=None)
    Output(f"{tmp_path}/", "x").tidy()
    assert left_in(tmp_path) == [Path(other.path).name]


def test_tidying_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Output(f"{tmp_path}/nowhere/", "x", task="run1").tidy()
    spoken(Output(f"{tmp_path}/", "x", task="run1"))
    monkeypatch.setattr(Path, "unlink", refuse(PermissionError("denied")))
    Output(f"{tmp_path}/", "x", task="run1").tidy()


# what can be fetched again, and what is no good


def test_what_can_be_fetched_again_is_not_held(
    place: Callable[..., Output], tmp_path: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store_away(monkeypatch), place().receive() as download:
        fill(download, piped())
        with pytest.raises(StorageError) as caught:
            download.keep()
    assert not isinstance(caught.value, NotPublishedError)
    assert left_in(tmp_path) + left_in(worker) == []


def test_what_is_unusable_and_cannot_be_put_aside_is_held(
    place: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = place(spool=None)
    with store_away(monkeypatch), output.receive() as download:
        fill(download, sound())
        held = str(download.place)
        with pytest.raises(UnusableSpeechError, match="could not be put aside") as caught:
            download.check(least_seconds=60)
    assert f"it is at {held}; listen to it." in str(caught.value)
    assert output.received() is None  # nobody takes it for a good one


def test_memory_stays_flat(place: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    size, piece = 64 * MIB, bytes(range(256)) * 1024
    if place().location.startswith("s3"):
        pytest.skip("moto holds the object in this process")
    tracemalloc.start()
    try:
        with store_away(monkeypatch), place().receive(size) as download:
            download.write(piped(MIB))
            for _ in range(size // len(piece)):
                download.write(piece)
            kept = download.check()
            with pytest.raises(NotPublishedError):
                download.publish(kept)
        assert place().recover(kept.uri, kept.sha256, kept.bytes)
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()
