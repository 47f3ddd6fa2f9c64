"""Files from and to storage: only from where it is allowed, only whole, and never half a result in its place."""

from __future__ import annotations

import errno
import gc
import hashlib
import io
import os
import struct
import threading
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from tests.files.corpus import encode, id3, snapshot
from voice_provider.exceptions import (
    InvalidInputError,
    NotAllowedError,
    ResultError,
    StorageError,
    UnusableSpeechError,
)
from voice_provider.files import transfer
from voice_provider.files.locations import check_allowed, is_location, read_text
from voice_provider.files.storage import UPLOADS, Download, Output, StoredFile, is_kept
from voice_provider.files.transfer import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024


def sound(size: int = 2000) -> bytes:
    """A WAV with so many bytes of sound."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(range(1, 251)) * (size // 250))
    return file.getvalue()


def piped(size: int = 2000) -> bytes:
    """The same WAV as a service streams it: with sizes that were never filled in."""
    data = sound(size)
    return data[:4] + struct.pack("<I", 4294967076) + data[8:40] + struct.pack("<I", 4294967040) + data[44:]


def fill(download: Download, data: bytes) -> None:
    for at in range(0, len(data), 256 * 1024):
        download.write(data[at : at + 256 * 1024])


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class Stop(BaseException):
    """What ends a process from outside: an interrupt, a task timeout."""


def pending_uploads(s3: Any) -> list[Any]:
    return s3.call_s3("list_multipart_uploads", Bucket="studio").get("Uploads", [])


def objects(s3: Any) -> list[str]:
    s3.invalidate_cache()
    return s3.find("studio")


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder in each kind of storage, with a slash at its end."""
    if request.param == "local":
        return f"{tmp_path}/out/"
    request.getfixturevalue("s3")
    return "s3://studio/out/"


def put(location: str, data: bytes) -> str:
    """Write a file to any storage."""
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(location)
    path.fs.makedirs(path.fs._parent(path.path), exist_ok=True)
    path.fs.pipe_file(path.path, data)
    return location


# what may be read and written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/a.wav", True),
        ("s3://bucket/a.wav", True),
        ("file:///data/a.wav", True),
        ("https://example.com/a.wav", False),
        ("http://example.com/a.wav", False),
        ("a.wav", False),
        ("s3://studio\uff0fin", True),
        ("s3://[studio", True),
        ("HTTPS://[example.com/a.wav", False),
        ("6533643b-aceb-4c40-967e-d9ba9baac39e", False),
        ("", False),
    ],
)
def test_a_location_is_told_from_ids_and_web_addresses(text: str, expected: bool) -> None:
    assert is_location(text) is expected


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("/data/in/a.wav", "/data/in"),
        ("/data/in/a.wav", "/data/in/"),
        ("/data/in/a.wav", "file:///data/in"),
        ("file:///data/in/a.wav", "/data/in"),
        ("/data/in/../in/a.wav", "/data/in"),
        ("/data/in/b/../a.wav", "/data/in"),
        ("/data/in", "/data/in/"),
        ("/data/in/", "/data/in"),
        ("/anything", "/"),
        ("/data/in/a b ü #?%20.wav", "/data/in"),
        ("s3://studio/in/a.wav", "s3://studio/in/"),
        ("s3://studio/in/a.wav", "s3://studio"),
        ("s3://account@studio/in/a.wav", "s3://account@studio/in"),
        ("s3://studio/in//a.wav", "s3://studio/in"),
        ("s3://studio/in/a..wav", "s3://studio/in"),
        ("s3://studio/in/.../a.wav", "s3://studio/in"),
        ("s3://studio/in/100%25 a.wav ", "s3://studio/in"),
        ("s3://studio/in/a.wav?versionId=1", "s3://studio/in"),
        ("s3://studio/in/take #2.wav", "s3://studio/in"),
        ("s3://studio/in/~/a\\b*.wav", "s3://studio/in"),
        ("/data/in/~/a.wav", "/data/in"),
        ("/data/in//a.wav", "/data/in"),
        ("/data/in/./a.wav", "/data/in"),
        ("/data/in/%2e%2e/a.wav", "/data/in"),  # a name like others, on a disk
        ("file:///data/in/take #2?.wav", "/data/in"),
    ],
)
def test_a_location_inside_an_allowed_prefix_is_taken(location: str, allowed: str) -> None:
    check_allowed(location, ["s3://nowhere/", allowed], "input")
    check_allowed(location, [], "input")


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("/data/inside/a.wav", "/data/in"),
        ("/data/in/../secret/a.wav", "/data/in"),
        ("file:///data/in/../../etc/passwd", "/data/in"),
        ("/data/other/a.wav", "/data/in"),
        ("/data", "/data/in"),
        ("s3://studio/inside/a.wav", "s3://studio/in"),
        ("s3://studio//in/a.wav", "s3://studio/in"),
        ("s3://studio/IN/a.wav", "s3://studio/in"),
        ("s3://studio/%69n/a.wav", "s3://studio/in"),
        ("s3://account@studio/in/a.wav", "s3://studio/in"),  # another account's bucket, perhaps at another endpoint
        ("s3://studio/in/a.wav", "s3://account@studio/in"),
        ("s3://other@studio/in/a.wav", "s3://account@studio/in"),
        ("s3://studio-2/in/a.wav", "s3://studio"),
        ("s3://studio@evil/in/a.wav", "s3://studio"),
        ("gs://studio/in/a.wav", "s3://studio/in"),
        ("s3a://studio/in/a.wav", "s3://studio/in"),
        ("s3://data/in/a.wav", "/data/in"),
        ("/studio/in/a.wav", "s3://studio/in"),
        ("memory://data/in/a.wav", "/data/in"),
        ("s3://STUDIO/in/a.wav", "s3://studio/in"),
        ("s3://studio./in/a.wav", "s3://studio/in"),
        ("s3://studio/in./a.wav", "s3://studio/in"),
        ("s3://studio/in /a.wav", "s3://studio/in"),
        ("s3://studio/in\u200b/a.wav", "s3://studio/in"),  # a space without width
        ("s3://studio\\in\\a.wav", "s3://studio/in"),
        ("s3://studio?x/in/a.wav", "s3://studio/in"),
        ("s3://studio#/in/a.wav", "s3://studio/in"),
        ("s3://stu\u0501io/in/a.wav", "s3://studio/in"),  # a letter of another script
        ("s3://studio\uff0fin/a.wav", "s3://studio/in"),  # a wide slash
        ("s3://[studio/in/a.wav", "s3://studio/in"),
        ("s3://studio:443/in/a.wav", "s3://studio/in"),
        ("s3://@studio/in/a.wav", "s3://studio/in"),
        ("s3://user:word@studio/in/a.wav", "s3://studio/in"),
        ("s3:///studio/in/a.wav", "s3://studio/in"),
        ("s3n://studio/in/a.wav", "s3://studio/in"),
        ("localfs:///data/in/a.wav", "/data/in"),
        ("/data/in /a.wav", "/data/in"),
        ("/data/in./a.wav", "/data/in"),
        ("/data/in\\..\\secret", "/data/in"),
        ("/data/in?/a.wav", "/data/in"),
        ("/data/in/..", "/data/in"),
        ("file:///data/in/../a.wav", "/data/in"),
    ],
)
def test_a_location_outside_the_allowed_prefixes_is_refused(location: str, allowed: str) -> None:
    with pytest.raises(
        NotAllowedError, match=r"input location .* outside .*Use one of .*, or add it to allowed_inputs"
    ):
        check_allowed(location, [allowed], "input")


@pytest.mark.parametrize(
    "location",
    [
        "simplecache::s3://studio/in/a.wav",
        "/data/in/a.wav::s3://evil/b",
        "/data/in/a\x00.wav",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "file://host/etc/passwd",
        "file:////etc/passwd",
        "//host/etc/passwd",
        "local:///etc/passwd",
        "relative/a.wav",
        "../a.wav",
        "~/a.wav",
        "s3://",
        "s3:/studio/a.wav",
        "a b://studio",
        "s3://studio/public/../in/a.wav",
        "s3://studio/in/../out/a.wav",
        "s3://studio/in/./a.wav",
        "s3://studio/in/..",
        "s3://studio/in/.",
        "s3://studio/in/.. /out/a.wav",
        "s3://studio/in/%2e%2E/out/a.wav",
        "s3://studio/in/..%2fout/a.wav",
        "s3://studio/in/..%5Cout/a.wav",
        "s3://studio/in/..\\out\\a.wav",
        "s3://studio/in/\uff0e\uff0e/a.wav",  # wide dots
        "s3://studio/in/\u2025/a.wav",  # two dots in one
        "s3://../in/a.wav",
        "s3://studio/in/a.wav\n",
        "s3://studio/in/\x1b[2J.wav",
        "s3://studio/in/a\x7f.wav",
        "s3://studio/in/a\x85.wav",
        "/data/in/a\r\nb.wav",
        "S3://studio/in/a.wav",
        " s3://studio/in/a.wav",
        "file:data/in/a.wav",
        "file://~/in/a.wav",
        "File:///data/in/a.wav",
        "~root/in/a.wav",
        "///data/in/a.wav",
        "C:\\data\\in\\a.wav",
        "\\\\host\\data\\a.wav",
        "zip://a.wav::s3://studio/in/a.zip",
        "",
    ],
)
def test_a_spelling_that_could_be_read_in_two_ways_is_refused(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for allowed in ([], [str(tmp_path)]):
        with pytest.raises(InvalidInputError, match=r"location|names a host"):
            check_allowed(location, allowed, "input")


def test_a_link_does_not_lead_out_of_the_allowed_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.wav").write_bytes(sound())
    (inside / "a.wav").symlink_to(outside / "a.wav")
    (inside / "folder").symlink_to(outside)
    for way in (inside / "a.wav", inside / "folder" / "a.wav"):
        with pytest.raises(NotAllowedError):
            StoredFile(str(way), [str(inside)])
        with pytest.raises(NotAllowedError):
            Output(str(way), "name", [str(inside)])
        with pytest.raises(NotAllowedError):
            read_text(str(way), [str(inside)])
    assert StoredFile(str(inside / "a.wav"), [str(outside)]).size


def test_an_allowed_prefix_that_cannot_be_used_is_named() -> None:
    with pytest.raises(NotAllowedError, match=r"allowed_outputs of the connection cannot be used: 'data/out'"):
        check_allowed("/data/out/a.mp4", ["data/out"], "output")


def test_a_name_that_the_service_chose_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    place = Output(f"{tmp_path}/out/", "../../escaped/name")
    with place.receive() as download:
        fill(download, sound())
        kept = download.keep()
    assert Path(kept.uri).parent == tmp_path / "out"
    assert left_in(tmp_path) == [Path(kept.uri).name]


# reading


def test_a_file_is_sent_as_it_is_from_any_storage(folder: str) -> None:
    data = sound(3 * MIB)
    file = StoredFile(put(f"{folder}talk.wav", data), [folder])
    assert (file.size, file.name, file.media_type, file.kind) == (len(data), "talk.wav", "audio/wav", "audio")
    for _ in range(2):  # a body is opened anew for each attempt
        assert b"".join(file.chunks()) == data
    assert file.sha256() == hashlib.sha256(data).hexdigest()
    assert file.seconds() == pytest.approx(len(data) / 16000, abs=0.01)


def test_the_hash_is_there_without_sending(folder: str) -> None:
    data = sound()
    assert StoredFile(put(f"{folder}a.wav", data)).sha256() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["grüße aus köln.wav", "a#b?c%20d.wav", "[1] *.wav", "新しい.wav", "a'b\"c.wav"])
def test_any_file_name_can_be_read(name: str, folder: str) -> None:
    if folder.startswith("s3") and "?" in name:
        pytest.skip("s3fs reads ?versionId= off a key")
    file = StoredFile(put(folder + name, sound()))
    assert b"".join(file.chunks()) == sound()
    assert set(file.name).isdisjoint(" #?%[]*'\"/")
    assert file.name.endswith(".wav")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("talk.wav", "talk.wav"),
        ("talk.WAV", "talk.WAV"),
        ("talk", "talk.wav"),
        ("talk.mp4", "talk.mp4.wav"),
        ("talk.v2", "talk.v2.wav"),
        ("x" * 200 + ".wav", "x" * 96 + ".wav"),
    ],
)
def test_the_name_that_is_sent_fits_the_bytes(name: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(sound())
    assert StoredFile(str(tmp_path / name)).name == expected


@pytest.mark.parametrize("name", ["photo.jpg", "photo.jpeg", "photo.JPEG"])
def test_a_photo_keeps_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(snapshot("mjpeg", "yuvj420p"))
    file = StoredFile(str(tmp_path / name))
    assert (file.name, file.media_type, file.seconds()) == (name, "image/jpeg", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.mp4 cannot be read: it does not exist\. Check the location"),
        (b"", r"a\.mp4 is empty \(0 bytes\)\. Was it written completely"),
        (b"words", r"a\.mp4 is no audio, video or image, whatever its name says\. Convert it"),
        ("Unicode".encode("utf-16"), r"no audio, video or image"),
        (b"<html>", r"no audio, video or image"),
    ],
)
def test_a_file_that_cannot_be_sent_says_why(content: bytes | None, message: str, folder: str) -> None:
    if content is not None:
        put(f"{folder}a.mp4", content)
    with pytest.raises(InvalidInputError, match=message):
        StoredFile(f"{folder}a.mp4")


def test_a_folder_is_no_file(folder: str) -> None:
    put(f"{folder}in/a.wav", sound())
    with pytest.raises(InvalidInputError, match=r"cannot be read: .*(folder|[Ii]s a directory)"):
        StoredFile(f"{folder}in")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="is empty"):
        StoredFile(str(tmp_path / "pipe"))


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(sound())
    monkeypatch.setattr(Path, "open", refuse(PermissionError(errno.EACCES, "Permission denied", "a.wav")))
    with pytest.raises(InvalidInputError, match=r"a\.wav cannot be read: .*Permission denied.*worker's permissions"):
        StoredFile(str(tmp_path / "a.wav"))


def refuse(error: BaseException) -> Callable[..., Any]:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    return raising


def test_a_bucket_that_is_not_there(s3: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"s3://nowhere/a\.wav cannot be read"):
        StoredFile("s3://nowhere/a.wav")


def test_a_storage_without_its_provider_says_what_to_install() -> None:
    with pytest.raises(InvalidInputError, match=r"scheme gs\. Install this storage's Airflow provider"):
        StoredFile("gs://studio/a.wav")


def test_a_storage_that_does_not_answer_may_be_asked_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StoredFile(put("s3://studio/a.wav", sound()))
    monkeypatch.setattr(type(s3), "open", refuse(ConnectionResetError("the storage went away")))
    with pytest.raises(StorageError, match=r"s3://studio/a\.wav cannot be read: the storage went away"):
        StoredFile("s3://studio/a.wav")
    with pytest.raises(StorageError, match="went away"):
        list(file.chunks())


@pytest.mark.parametrize("change", ["grows", "shrinks", "differs"])
def test_a_file_that_changes_while_it_is_read_is_noticed(change: str, tmp_path: Path) -> None:
    path, data = tmp_path / "a.wav", sound(MIB)
    path.write_bytes(data)
    file = StoredFile(str(path))
    file.sha256()
    path.write_bytes({"grows": data + b"more", "shrinks": data[:-4], "differs": data[:-4] + b"diff"}[change])
    sent: list[bytes] = []
    with pytest.raises(InvalidInputError, match=r"a\.wav changed while it was read .*still being written"):
        sent.extend(file.chunks())
    assert sum(map(len, sent)) <= file.size


@pytest.mark.parametrize("cut", [1, 500])
def test_a_recording_that_is_cut_short_is_noticed(cut: int, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound()[:-cut])
    with pytest.raises(InvalidInputError, match=r"a\.wav: it is cut short.*Was it written completely"):
        StoredFile(str(tmp_path / "a.wav")).seconds()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Hello.", "Hello."),
        (b"\xef\xbb\xbfHello.", "Hello."),
        ("  Grüße, 世界!\r\n\n".encode(), "Grüße, 世界!"),
        (b"", ""),
        (b" \n", ""),
    ],
)
def test_a_script_is_read_from_any_storage(content: bytes, expected: str, folder: str) -> None:
    assert read_text(put(f"{folder}script.txt", content), [folder]) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"script\.txt cannot be read: it does not exist"),
        ("Grüße".encode("latin-1"), r"script\.txt is not UTF-8 text\. Save it as UTF-8"),
        ("Hello".encode("utf-16"), r"not UTF-8"),
        (b"x" * (MIB + 1), r"script\.txt is larger than 1 MiB: is it the right file"),
    ],
)
def test_a_script_that_cannot_be_read_says_why(content: bytes | None, message: str, folder: str) -> None:
    if content is not None:
        put(f"{folder}script.txt", content)
    with pytest.raises(InvalidInputError, match=message):
        read_text(f"{folder}script.txt")


# keeping


def test_a_pass_hashes_beside_the_sending_and_leaves_no_thread_behind(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(data := sound(4 * CHUNK))
    file = StoredFile(f"{tmp_path}/a.wav")
    for _ in range(2):  # a sending that breaks off, and the one that follows it
        broken = file.chunks()
        assert next(broken) == data[:CHUNK]
        assert any(thread.name.startswith("voice-hash") for thread in threading.enumerate())
        broken.close()
        assert not any(thread.name.startswith("voice-hash") for thread in threading.enumerate())
    assert b"".join(file.chunks()) == data
    assert file.sha256() == hashlib.sha256(data).hexdigest()
    assert not any(thread.name.startswith("voice-hash") for thread in threading.enumerate())


def test_a_result_is_kept_whole_under_the_name_of_its_format(folder: str) -> None:
    data = sound()
    with Output(folder, "fingerprint", [folder]).receive() as download:
        fill(download, data)
        assert download.position == len(data)
        kept = download.keep(expected_seconds=len(data) / 16000)
    assert kept.uri == f"{folder}fingerprint.wav"
    assert (kept.sha256, kept.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert b"".join(StoredFile(kept.uri).chunks()) == data
    assert is_kept(kept.uri, kept.sha256, kept.bytes)


def test_a_result_replaces_what_was_there(folder: str) -> None:
    put(f"{folder}speech.wav", b"an old result")
    with Output(f"{folder}speech.wav", "x").receive() as download:
        fill(download, sound())
        assert download.keep().uri == f"{folder}speech.wav"
    assert b"".join(StoredFile(f"{folder}speech.wav").chunks()) == sound()


def test_starting_again_forgets_what_was_received(folder: str) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, b"the wrong half")
        download.restart()
        assert download.position == 0
        fill(download, sound())
        assert download.keep().sha256 == hashlib.sha256(sound()).hexdigest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"unusable: it is empty \(0 bytes\)"),
        (b"<html>Access denied</html>", "unusable: its 26 bytes are a text or HTML page"),
        (sound()[:-100], "unusable: it is cut short"),
    ],
)
def test_a_result_that_is_not_whole_is_not_kept(data: bytes, message: str, folder: str, tmp_path: Path) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, data)
        with pytest.raises(ResultError, match=message):
            download.keep()
    with pytest.raises(InvalidInputError, match="does not exist"):
        StoredFile(f"{folder}x.wav")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("expected", "whole"),
    [(None, True), (0.0, True), (0.1, True), (1.0, True), (1.09, True), (1.11, False), (60.0, False)],
)
def test_a_result_may_be_a_tenth_of_a_second_shorter_than_announced_not_more(
    expected: float | None, whole: bool, tmp_path: Path
) -> None:
    with Output(f"{tmp_path}/", "x").receive() as download:
        fill(download, sound(16000))  # one second
        if whole:
            assert download.keep(expected).info.seconds == pytest.approx(1, abs=0.02)
        else:
            with pytest.raises(ResultError, match=r"cut short: 1\.00 s of the .* s that the service announced"):
                download.keep(expected)


@pytest.mark.parametrize("end", [Stop, KeyboardInterrupt, ValueError, None])
def test_a_download_that_ends_early_leaves_nothing(
    end: type[BaseException] | None, folder: str, tmp_path: Path
) -> None:
    put(f"{folder}x.wav", b"an old result")

    def receive() -> None:
        with Output(folder, "x").receive() as download:
            fill(download, sound()[:500])
            if end is not None:
                raise end

    if end is None:
        receive()
    else:
        with pytest.raises(end):
            receive()
    assert read_text(f"{folder}x.wav") == "an old result"
    assert left_in(tmp_path) == ([] if folder.startswith("s3") else ["x.wav"])


def test_what_a_killed_attempt_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(b"half of a result, from a process that was killed")
    with Output(f"{tmp_path}/", "x").receive() as download:
        assert download.position == 0
        fill(download, sound())
        download.keep()
    assert left_in(tmp_path) == ["x.wav"]


def test_of_two_attempts_at_once_the_later_one_keeps_its_result(tmp_path: Path) -> None:
    place, data = Output(f"{tmp_path}/", "x"), sound(4000)
    lost, retry = place.receive(), place.receive()  # a worker that lost its heartbeat goes on beside the retry
    earlier = lost.__enter__()
    fill(earlier, sound())
    later = retry.__enter__()
    fill(later, data)
    with pytest.raises(StorageError, match="another attempt of this task is writing it"):
        earlier.keep()
    lost.__exit__(None, None, None)
    kept = later.keep()
    retry.__exit__(None, None, None)
    assert is_kept(kept.uri, hashlib.sha256(data).hexdigest(), len(data))
    assert left_in(tmp_path) == ["x.wav"]


def test_a_full_disk_is_said_and_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Output(f"{tmp_path}/", "x").receive() as download:
        monkeypatch.setattr(download, "_file", _Full(download._file))
        with pytest.raises(StorageError, match=r"cannot be written to this worker's disk: .*No space left.*Make room"):
            download.write(b"data")


class _Full:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(transfer, "PAUSE", tenacity.wait_none())


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(("kind", "seen"), [(OSError, StorageError), (Stop, Stop)])
def test_an_upload_that_fails_half_way_publishes_nothing(
    kind: type[BaseException], seen: type[BaseException], s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Output("s3://studio/out/", "x").receive() as download:
        fill(download, sound(20 * MIB))

        def fail_late(position: int) -> None:
            if position > 12 * MIB:  # the first part is with the store
                assert len(pending_uploads(s3)) == 1
                raise kind("half-way")

        move = download._move

        def watched(uri: str) -> None:  # it is checked by then
            download._file = _Watched(file, fail_late)  # type: ignore[assignment]
            move(uri)

        file = download._file
        monkeypatch.setattr(download, "_move", watched)
        with pytest.raises(seen, match="half-way"):
            download.keep()
    gc.collect()  # a file that is forgotten would be closed, and closing publishes
    assert objects(s3) == []
    assert pending_uploads(s3) == []


class _Watched:
    """A file that tells how far it was read."""

    def __init__(self, file: Any, tell: Callable[[int], None]) -> None:
        self._file, self._tell = file, tell

    def read(self, size: int = -1) -> bytes:
        self._tell(self._file.tell())
        return bytes(self._file.read(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("call", ["upload_part", "complete_multipart_upload", "put_object"])
def test_a_store_that_refuses_to_take_the_result_publishes_nothing(
    call: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3File

    original = S3File._call_s3

    def refusing(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == call:
            raise PermissionError("Access denied")
        return original(self, method, *args, **kwargs)

    monkeypatch.setattr(S3File, "_call_s3", refusing)
    with Output("s3://studio/out/", "x").receive() as download:
        fill(download, sound(2000 if call == "put_object" else 20 * MIB))
        with pytest.raises(InvalidInputError, match=r"cannot be kept at s3://studio/out/x\.wav: Access denied"):
            download.keep()
    assert objects(s3) == []
    assert pending_uploads(s3) == []


def test_a_large_result_arrives_whole_in_parts(s3: Any) -> None:
    data = sound(20 * MIB)
    with Output("s3://studio/out/", "x").receive() as download:
        fill(download, data)
        kept = download.keep()
    assert is_kept(kept.uri, hashlib.sha256(data).hexdigest(), len(data))
    assert s3.info("studio/out/x.wav")["ETag"].strip('"').endswith("-3")  # of 8 MiB each


# an upload is tried again: what is in hand may have been paid for


def break_calls(monkeypatch: pytest.MonkeyPatch, method: str, times: int, error: BaseException) -> list[str]:
    """Let a call to the store fail so many times; return the list of those that were made."""
    from s3fs import S3File

    original, made = S3File._call_s3, []

    def failing(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == method:
            made.append(name)
            if len(made) <= times:
                raise error
        return original(self, name, *args, **kwargs)

    monkeypatch.setattr(S3File, "_call_s3", failing)
    return made


CALLS = ["upload_part", "complete_multipart_upload", "put_object"]


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("call", CALLS)
def test_an_upload_that_fails_at_first_is_tried_again_from_its_beginning(
    call: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = break_calls(monkeypatch, call, UPLOADS - 1, ConnectionResetError("the storage went away"))
    data = sound(2000 if call == "put_object" else 9 * MIB)
    with Output("s3://studio/out/", "x").receive() as download:
        fill(download, data)
        kept = download.keep()
    assert len(made) >= UPLOADS
    assert is_kept(kept.uri, hashlib.sha256(data).hexdigest(), len(data))
    assert objects(s3) == ["studio/out/x.wav"]
    assert pending_uploads(s3) == []


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("error", "seen", "tries"),
    [
        (ConnectionResetError("went away"), StorageError, UPLOADS),
        (RuntimeError("went away"), StorageError, UPLOADS),
        (PermissionError("went away"), InvalidInputError, UPLOADS),
        (Stop("went away"), Stop, 1),
        (KeyboardInterrupt("went away"), KeyboardInterrupt, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_upload_that_fails_for_good_publishes_nothing_and_a_kill_ends_it_at_once(
    error: BaseException, seen: type[BaseException], tries: int, call: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("s3://studio/out/x.wav", b"an old result")
    made = break_calls(monkeypatch, call, 99, error)
    with Output("s3://studio/out/", "x").receive() as download:
        fill(download, sound(2000 if call == "put_object" else 9 * MIB))
        with pytest.raises(seen, match="went away"):
            download.keep()
    assert len(made) == tries
    gc.collect()  # a file that is forgotten would be closed, and closing publishes
    assert read_text("s3://studio/out/x.wav") == "an old result"
    assert objects(s3) == ["studio/out/x.wav"]
    assert pending_uploads(s3) == []


# speech that comes with its answer: checked, then published


def test_a_result_is_checked_before_it_is_anywhere(folder: str, tmp_path: Path) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, sound())
        kept = download.check()
        assert not is_kept(kept.uri, kept.sha256, kept.bytes)
        download.publish(kept)
        assert is_kept(kept.uri, kept.sha256, kept.bytes)
    assert (kept.uri, kept.bytes, kept.info.seconds) == (f"{folder}x.wav", len(sound()), 2000 / 16000)
    assert left_in(tmp_path) in ([], ["x.wav"])


@pytest.mark.parametrize("size", [2000, 3 * MIB])
def test_a_wav_without_sizes_is_kept_with_them(size: int, folder: str) -> None:
    assert hashlib.sha256(piped(size)).hexdigest() != hashlib.sha256(sound(size)).hexdigest()
    with Output(folder, "x").receive() as download:
        fill(download, piped(size))
        kept = download.keep(expected_seconds=size / 16000)
    data = b"".join(StoredFile(kept.uri).chunks())
    assert data == sound(size)
    assert (kept.sha256, kept.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert kept.info.seconds == pytest.approx((len(data) - 44) / 16000)
    assert is_kept(kept.uri, kept.sha256, kept.bytes)
    with wave.open(io.BytesIO(data)) as file:
        assert file.getnframes() == (len(data) - 44) // 2


def test_raw_samples_are_kept_only_where_they_were_asked_for(folder: str) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, b"\1\2" * 8000)
        with pytest.raises(ResultError, match="no audio, video or image"):
            download.check()
        kept = download.check(pcm_rate=16000)
        download.publish(kept)
    assert (kept.uri, kept.info.format.media_type, kept.info.seconds) == (f"{folder}x.pcm", "audio/pcm", 0.5)
    assert is_kept(kept.uri, hashlib.sha256(b"\1\2" * 8000).hexdigest(), 16000)


def test_a_page_is_not_kept_as_raw_samples(folder: str) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, b'{"status": 503, "message": "High load"} ')
        with pytest.raises(ResultError, match="a text or HTML page"):
            download.check(pcm_rate=16000)


@pytest.mark.parametrize(
    ("name", "aside"),
    [
        ("", "x.unusable.wav"),
        ("speech.wav", "speech.unusable.wav"),
        ("speech.v2.mp3", "speech.v2.unusable.wav"),  # which it is
        ("speech", "speech.unusable"),
        ("v1.0/speech", "v1.0/speech.unusable"),
    ],
)
def test_speech_that_is_too_short_for_its_text_is_put_aside(name: str, aside: str, folder: str, tmp_path: Path) -> None:
    place = Output(f"{folder}{name}", "x")
    old = put(place.uri("wav"), b"an old result")
    for _ in range(2):  # a second one replaces the first
        with place.receive() as download:
            fill(download, piped(16000))
            with pytest.raises(UnusableSpeechError) as caught:
                download.check(least_seconds=1.5)
    assert str(caught.value) == (
        "The speech is 1.00 s long, but its text takes at least 1.5 s: a part of it is missing. It was put aside as "
        f"{folder}{aside}; listen to it."
    )
    assert b"".join(StoredFile(f"{folder}{aside}").chunks()) == sound(16000)
    assert read_text(old) == "an old result"
    assert [found for found in left_in(tmp_path) if found.endswith(".part")] == []


@pytest.mark.parametrize(
    ("data", "message", "aside"),
    [
        (snapshot("png", "rgb24"), r"it is image \(png\), not audio", "x.unusable.png"),
        (encode("mp4", "aac", "mpeg4"), r"it is video \(mp4\), not audio", "x.unusable.mp4"),
        (sound(16000)[:-1000], "it is cut short: 15,044 of at least 16,044 bytes", "x.unusable.wav"),
        (encode("mp3", "libmp3lame", piped=True)[:-50], "it is cut short within its last frame", "x.unusable.mp3"),
        (encode("ogg", "libopus")[:-50], "it is cut short: ", "x.unusable.opus"),
    ],
    ids=["picture", "video", "wav", "mp3", "opus"],
)
def test_speech_of_which_something_is_there_is_put_aside_and_never_deleted(
    data: bytes, message: str, aside: str, folder: str
) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, data)
        with pytest.raises(UnusableSpeechError, match=message) as caught:
            download.check("audio")
    assert f"It was put aside as {folder}{aside}" in str(caught.value)
    assert is_kept(f"{folder}{aside}", hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sound(0), "it holds no sound"),
        (id3(), "no audio, video or image"),
        (b"<html>Busy</html>", "a text or HTML page"),
        (encode("ogg", "libopus")[:300], "cut short|no audio|no sound"),
    ],
    ids=["a WAV's header", "a tag", "a page", "headers of Opus"],
)
def test_an_answer_without_any_sound_is_no_speech(data: bytes, message: str, folder: str, tmp_path: Path) -> None:
    with Output(folder, "x").receive() as download:
        fill(download, data)
        with pytest.raises(ResultError, match=message):
            download.check("audio")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(("least", "kept"), [(0, True), (0.5, True), (1.0, True), (1.01, False)])
def test_speech_that_is_long_enough_for_its_text_is_kept(least: float, kept: bool, tmp_path: Path) -> None:
    with Output(f"{tmp_path}/", "x").receive() as download:
        fill(download, sound(16000))
        if kept:
            download.publish(download.check(least_seconds=least))
        else:
            with pytest.raises(UnusableSpeechError):
                download.check(least_seconds=least)
    assert left_in(tmp_path) == ["x.wav" if kept else "x.unusable.wav"]


@pytest.mark.usefixtures("no_pause")
def test_speech_that_is_too_short_and_cannot_be_put_aside_says_where(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    break_calls(monkeypatch, "put_object", 99, PermissionError("Access denied"))
    with Output("s3://studio/out/", "x").receive() as download:
        fill(download, sound())
        with pytest.raises(
            UnusableSpeechError,
            match=r"not be put aside as s3://studio/out/x\.unusable\.wav \(Access denied\); it is at .*:/",
        ) as caught:
            download.check(least_seconds=60)
    assert objects(s3) == []
    assert Path(str(caught.value).rpartition(":")[2].partition(";")[0]).read_bytes() == sound()


# what a killed try had received


@pytest.mark.parametrize("uri", ["", "file://"])
def test_what_a_killed_try_had_checked_is_put_in_place_without_being_paid_again(uri: str, tmp_path: Path) -> None:
    place = Output(f"{uri}{tmp_path}/out/", "x")
    killed = place.receive()
    download = killed.__enter__()
    fill(download, piped(9000))
    kept = download.check()
    assert left_in(tmp_path) == [".x.part"]
    assert Output(f"{uri}{tmp_path}/out/", "x").recover(kept.uri, kept.sha256, kept.bytes)
    assert left_in(tmp_path) == ["x.wav"]
    assert is_kept(kept.uri, hashlib.sha256(sound(9000)).hexdigest(), len(sound(9000)))
    assert not place.recover(kept.uri, kept.sha256, kept.bytes)  # it is in its place already
    killed.__exit__(None, None, None)
    assert left_in(tmp_path) == ["x.wav"]


@pytest.mark.parametrize("change", ["cut", "other", "gone"])
def test_what_is_not_what_was_checked_is_not_put_in_place(change: str, tmp_path: Path) -> None:
    data = sound()
    part, digest = tmp_path / ".x.part", hashlib.sha256(data).hexdigest()
    if change != "gone":
        part.write_bytes({"cut": data[:-4], "other": data[:-4] + b"diff"}[change])
    assert not Output(f"{tmp_path}/", "x").recover(f"{tmp_path}/x.wav", digest, len(data))
    assert not (tmp_path / "x.wav").exists()


# is it writable, and is it still there


def test_a_place_that_can_be_written_is_found_out_without_a_trace(folder: str, tmp_path: Path) -> None:
    Output(folder, "x", [folder]).check_writable()
    Output(f"{folder}new/speech.wav", "x").check_writable()
    assert left_in(tmp_path) == []


def test_a_place_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    for location, message in (
        (f"{tmp_path}/file/speech.wav", "file is a file, not a folder"),
        (f"{tmp_path}/folder", "it is a folder; end the location with '/'"),
        ("/proc/nowhere/speech.wav", "it does not exist"),
    ):
        with pytest.raises(InvalidInputError, match=f"{location} cannot be written: .*({message}).*Nothing was paid"):
            Output(location, "x").check_writable()


def test_a_result_that_has_no_place_any_more_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(InvalidInputError, match=r"cannot be written: .*try again"),
        Output(f"{tmp_path}/file/x.wav", "x").receive(),
    ):
        pytest.fail("there is nothing to receive into")


def test_a_bucket_to_write_to_that_is_not_there(s3: Any) -> None:
    with pytest.raises(
        InvalidInputError, match=r"s3://nowhere/out/ cannot be written: the bucket 'nowhere' does not exist or may not"
    ):
        Output("s3://nowhere/out/", "x").check_writable()


def test_a_kept_result_is_known_by_its_bytes(folder: str) -> None:
    location, digest = put(f"{folder}x.wav", sound()), hashlib.sha256(sound()).hexdigest()
    assert is_kept(location, digest, len(sound()))
    assert not is_kept(location, digest, len(sound()) + 1)
    assert not is_kept(location, "0" * 64, len(sound()))
    assert not is_kept(f"{folder}y.wav", digest, len(sound()))


def test_a_kept_result_whose_folder_became_a_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert not is_kept(f"{tmp_path}/out/x.wav", "0" * 64, 1)


def test_a_kept_result_that_cannot_be_looked_at_is_not_taken_for_gone(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put("s3://studio/x.wav", sound())
    monkeypatch.setattr(s3, "info", refuse(ConnectionResetError("the storage went away")))
    with pytest.raises(StorageError, match=r"kept at s3://studio/x\.wav cannot be checked: the storage went away"):
        is_kept("s3://studio/x.wav", "0" * 64, len(sound()))


def test_the_folder_of_a_file_uri_and_of_a_path_are_the_same(tmp_path: Path) -> None:
    with Output(f"file://{tmp_path}/out/", "x").receive() as download:
        fill(download, sound())
        kept = download.keep()
    assert kept.uri == f"file://{tmp_path}/out/x.wav"
    assert left_in(tmp_path) == ["x.wav"]
    assert b"".join(StoredFile(f"{tmp_path}/out/x.wav").chunks()) == b"".join(StoredFile(kept.uri).chunks())
