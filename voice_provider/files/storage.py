"""Files of any size from and to any ``ObjectStoragePath``: streamed, checked, and kept whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

import tenacity

from voice_provider.exceptions import InvalidInputError, ResultError, UnusableSpeechError
from voice_provider.files.locations import LASTING, check_allowed, explained, local_path, open_path, reading
from voice_provider.files.media import HEAD, WAV, Format, MediaInfo, NotWholeError, inspect, repair_wav, sniff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = 8 * 1024 * 1024  # bytes of one part of an object; s3fs would hold 50 MB of every open file in memory
CHUNK = 256 * 1024  # bytes read and sent at a time: memory stays flat whatever the size of the file
UPLOADS = 3  # tries to put one result into an object store
MAX_LENGTH_ERROR = 1.0  # seconds that a result may be shorter than the service said


_ODD_CHARACTERS = re.compile(r"[^\w.-]+")


_ALSO = {
    "mp4": ("m4v", "m4a"),
    "m4a": ("m4b", "mp4"),
    "jpg": ("jpeg",),
    "ogg": ("oga",),
    "opus": ("ogg", "oga"),
    "mkv": ("mka",),
}


class StoredFile:
    """A media file to send, from any storage; a ``services.base.Body``.

    :param location: path or URI
    :param allowed: the connection's allowed input prefixes
    :raises InvalidInputError: missing, empty, unreadable, or not media; before anything is sent
    """

    def __init__(self, location: str, allowed: Sequence[str] = ()) -> None:
        check_allowed(location, allowed, "input")
        self.location = location
        self._digest: str | None = None
        with reading(location):
            self._path = open_path(location)
            self.size = int(self._path.stat().st_size)
            if not self.size:
                if self._path.fs.isdir(self._path.path):
                    raise IsADirectoryError("it is a folder")
                raise InvalidInputError(f"The input {location} is empty (0 bytes). Was it written completely?")
            with self._open() as file:
                head = file.read(HEAD)
        found = sniff(head)
        if found is None:
            raise InvalidInputError(
                f"The input {location} is no audio, video or image, whatever its name says. Convert it, for example to "
                "mp4, wav or mp3."
            )
        self.format: Format = found

    def _open(self) -> BinaryIO:
        if self._path.protocol in ("", "file"):
            return Path(self._path.path).open("rb", buffering=0)
        return cast("BinaryIO", self._path.open("rb", block_size=BLOCK))

    @property
    def media_type(self) -> str:
        """Content type, from the bytes."""
        return self.format.media_type

    @cached_property
    def name(self) -> str:
        """File name, with an extension that fits the bytes."""
        name = _ODD_CHARACTERS.sub("_", self._path.name)[-100:]
        extension = self.format.extension
        if name.rpartition(".")[2].lower() in (extension, *_ALSO.get(extension, ())):
            return str(name)
        return f"{name}.{extension}"

    @property
    def kind(self) -> str:
        """``audio``, ``video`` or ``image``."""
        return self.format.kind

    def chunks(self) -> Iterator[bytes]:
        """Open the file anew and yield it piece by piece; a whole pass also gives the hash."""
        digest, sent = hashlib.sha256(), 0
        with reading(self.location), self._open() as file:
            while (piece := file.read(CHUNK)) and (sent := sent + len(piece)) <= self.size:
                digest.update(piece)
                yield piece
        if sent != self.size or self._digest not in (None, digest.hexdigest()):
            raise InvalidInputError(
                f"The input {self.location} changed while it was read (it had {self.size:,} bytes at first). Is it "
                "still being written?"
            )
        self._digest = digest.hexdigest()

    def sha256(self) -> str:
        """Return the hash of the bytes; reads the file unless it was just sent."""
        if self._digest is None:
            for _ in self.chunks():
                pass
        return cast("str", self._digest)

    def describe(self) -> dict[str, Any]:
        """Return what later tasks need: ``uri``, ``name``, ``sha256``, ``bytes``, ``media_type``, and ``seconds``."""
        known = {"uri": self.location, "name": self.name, "sha256": self.sha256(), "bytes": self.size}
        seconds = self.seconds()
        return {**known, "media_type": self.media_type, **({"seconds": seconds} if seconds else {})}

    def seconds(self) -> float | None:
        """Return the length, where it can be read without decoding."""
        with reading(self.location), self._open() as file:
            try:
                return inspect(file, self.size).seconds
            except NotWholeError as error:
                raise InvalidInputError(f"The input {self.location}: {error}. Was it written completely?") from None


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that was checked, and its place."""

    uri: str
    sha256: str
    bytes: int
    info: MediaInfo


@dataclass
class Output:
    """Where a result is to be kept; a location that ends in ``/`` is a folder.

    :param location: path or URI
    :param name: file name without extension for a folder
    :param allowed: the connection's allowed output prefixes
    :param task: which task instance receives it; with ``name`` it names the temporary file, so that an attempt after a
        kill finds and replaces what the killed one left, and two tasks do not meet
    """

    location: str
    name: str
    allowed: Sequence[str] = field(default=())
    task: str = ""

    def __post_init__(self) -> None:
        check_allowed(self.location, self.allowed, "output")
        self.name = _ODD_CHARACTERS.sub("_", self.name)  # may be an id that the service chose

    @property
    def _is_local(self) -> bool:
        return urlsplit(self.location).scheme in ("", "file")

    def check_writable(self) -> None:
        """Find out before anything is paid whether the result can be kept.

        :raises InvalidInputError: naming the location and the reason
        """
        with explained(f"The output location {self.location} cannot be written", "Nothing was paid; correct it."):
            if self._is_local:
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._folder):
                    pass
                if not self.location.endswith("/") and local_path(self.location).is_dir():
                    raise IsADirectoryError("it is a folder; end the location with '/' to keep files in it")
            else:
                path = open_path(self.location)
                if not path.fs.exists(path.bucket or path.path):
                    raise FileNotFoundError(f"the bucket '{path.bucket}' does not exist or may not be listed")

    @property
    def _folder(self) -> Path:
        return local_path(self.location) if self.location.endswith("/") else local_path(self.location).parent

    def uri(self, extension: str) -> str:
        """Return where a result of this format goes."""
        return f"{self.location}{self.name}.{extension}" if self.location.endswith("/") else self.location

    def recover(self, uri: str, sha256: str, size: int) -> bool:
        """Put in place what a killed attempt had received and checked, but not yet moved.

        :param uri: where it goes, as ``check`` said
        :return: whether it was there, byte for byte; only a file on this machine can be
        """
        if not self._is_local or not is_kept(str(self._temporary), sha256, size):
            return False
        with explained(f"The result cannot be kept at {uri}", "Correct it and clear the task."):
            self._temporary.replace(local_path(uri))
        return True

    @property
    def _temporary(self) -> Path:
        return self._folder / f".{self.name}{self.task and '.'}{self.task}.part"

    @contextmanager
    def receive(self) -> Iterator[Download]:
        """Open a download; what is not ``keep``-ed leaves nothing behind."""
        if not self._is_local:
            with tempfile.TemporaryFile() as file:  # has no name: a kill leaves nothing
                yield Download(self, cast("BinaryIO", file))
            return
        part = self._temporary
        with explained(f"The output location {self.location} cannot be written", "Correct it and clear the task."):
            self._folder.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            file = part.open("xb+")
        with file:
            download = Download(self, file, part)
            try:
                yield download
            finally:
                if download.owns(part):
                    part.unlink(missing_ok=True)


class Download:
    """A result on its way; a ``services.base.Sink``. Create it with ``Output.receive``."""

    def __init__(self, output: Output, file: BinaryIO, part: Path | None = None) -> None:
        self._output, self._file, self._part = output, file, part
        self.restart()

    @property
    def position(self) -> int:
        """Bytes received so far."""
        return self._size

    def owns(self, part: Path) -> bool:
        """Whether the temporary file is still this one, and not that of a later attempt."""
        try:
            return part.stat().st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        with explained("The result cannot be written to this worker's disk", "Make room and clear the task."):
            self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def restart(self) -> None:
        """Forget what was received."""
        self._file.seek(0)
        self._file.truncate()
        self._digest, self._size = hashlib.sha256(), 0

    def keep(self, expected_seconds: float | None = None) -> Kept:
        """Check a result that can be fetched again, and put it in its place, whole; see ``check`` and ``publish``."""
        try:
            kept = self.check(expected_seconds)
        except ResultError as error:
            raise ResultError(f"{error} It is fetched again by a retry.") from None
        self.publish(kept)
        return kept

    def check(
        self, expected_seconds: float | None = None, *, pcm_rate: int | None = None, least_seconds: float = 0
    ) -> Kept:
        """Check the result, and say what it is and where it is to go.

        :param expected_seconds: what the service said; a result that is more than a second and 5 % shorter is cut short
        :param pcm_rate: Hz of raw samples, where they were asked for
        :param least_seconds: what is shorter is put aside, next to its place, and not used
        :raises ResultError: empty, not media, or cut short; nothing is kept
        :raises UnusableSpeechError: whole, but shorter than the text can be
        """
        self._file.flush()
        try:
            info = inspect(self._file, self._size, pcm_rate)
            if info.format == WAV and repair_wav(self._file, self._size):
                self._hash_again()
        except NotWholeError as error:
            raise ResultError(f"The result that came is unusable: {error}.") from None
        short = (expected_seconds or 0) - (info.seconds or 0)
        if expected_seconds and info.seconds and short > max(MAX_LENGTH_ERROR, 0.05 * expected_seconds):
            raise ResultError(
                f"The result that came is cut short: {info.seconds:.1f} s of the {expected_seconds:.1f} s that the "
                "service announced."
            )
        uri = self._output.uri(info.format.extension)
        kept = Kept(uri=uri, sha256=self._digest.hexdigest(), bytes=self._size, info=info)
        if info.seconds is not None and info.seconds < least_seconds:
            aside = replace(kept, uri=_aside(uri))
            self.publish(aside)
            raise UnusableSpeechError(
                f"The speech is {info.seconds:.2f} s long, but its text takes at least {least_seconds:.1f} s: a "
                f"part of it is missing. It was put aside as {aside.uri}; listen to it."
            )
        return kept

    def publish(self, kept: Kept) -> None:
        """Put a checked result in its place, whole or not at all.

        :raises InvalidInputError: the place cannot be written
        :raises StorageError: the storage fails, also when it is asked again
        """
        with explained(f"The result cannot be kept at {kept.uri}", "Correct it and clear the task."):
            if self._part is not None:
                os.fsync(self._file.fileno())
                if not self.owns(self._part):
                    raise OSError("another attempt of this task is writing it at the same time")
                self._part.replace(local_path(kept.uri))
            else:
                self._upload(kept.uri)

    def _hash_again(self) -> None:
        self._file.seek(0)
        self._digest = hashlib.sha256()
        while piece := self._file.read(CHUNK):
            self._digest.update(piece)

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(UPLOADS),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, Exception) and not isinstance(error, LASTING)
        ),
        reraise=True,
    )
    def _upload(self, uri: str) -> None:
        """Write one object; fsspec would publish a half-written one on close, so on any error it is discarded.

        It is tried again, because what is in hand may have been paid for, and cannot be had a second time.
        """
        path = open_path(uri)
        stream: Any = path.fs.open(path.path, "wb", block_size=BLOCK)
        try:
            self._file.seek(0)
            while piece := self._file.read(CHUNK):
                stream.write(piece)
            stream.close()
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                stream.discard()
            stream.closed = True  # else the finalizer would close it, and close publishes
            raise


def _aside(uri: str) -> str:
    """Return where a result goes that must not be taken for a good one."""
    stem, dot, extension = uri.rpartition(".")
    return f"{stem}.unusable.{extension}" if dot and "/" not in extension else f"{uri}.unusable"


def is_kept(uri: str, sha256: str, size: int) -> bool:
    """Whether a result is still where it was kept, byte for byte."""
    digest = hashlib.sha256()
    with explained(f"The result kept at {uri} cannot be checked", "Check the worker's permissions."):
        try:
            path = open_path(uri)
            if path.stat().st_size != size:
                return False
            with path.open("rb", block_size=BLOCK) as file:
                while piece := file.read(CHUNK):
                    digest.update(piece)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return digest.hexdigest() == sha256
