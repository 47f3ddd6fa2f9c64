"""Files of any size from and to any ``ObjectStoragePath``: streamed, checked, and kept whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from voice_provider.exceptions import InvalidInputError, NotPublishedError, StorageError, VoiceError
from voice_provider.files.endings import ALSO, named
from voice_provider.files.locations import (
    check_allowed,
    explained,
    is_local,
    local_path,
    open_local,
    open_path,
    reading,
)
from voice_provider.files.media import probe
from voice_provider.files.receiving import (
    Download,
    Held,
    Kept,
    Receipt,
    aside_of,
    discard,
    spooled,
)
from voice_provider.files.room import private_folder, reserve
from voice_provider.files.transfer import BLOCK, CHUNK, UPLOADS, create, is_kept, opened, remove, reopen
from voice_provider.files.whole import NotMediaError, NotWholeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from voice_provider.files.formats import Format, MediaInfo

__all__ = ["UPLOADS", "Download", "Held", "Kept", "Output", "Receipt", "StoredFile", "is_kept"]

PROBED = 1024 * 1024  # bytes that are fetched at a time, from an object store, to see what a file is
SYNCED = 4096  # bytes that are written to find out whether a disk is full

_ODD_CHARACTERS = re.compile(r"[^\w.-]+")


class StoredFile:
    """A media file to send, from any storage; a ``services.base.Body``.

    :param location: path or URI
    :param allowed: the connection's allowed input prefixes
    :raises InvalidInputError: missing, empty, unreadable, no media, or cut short; before anything is sent
    """

    def __init__(self, location: str, allowed: Sequence[str] = ()) -> None:
        check_allowed(location, allowed, "input")
        self.location, self._allowed = location, allowed
        self._digest: str | None = None
        with reading(location):
            self._path = open_path(location)
            self.size = int(self._path.stat().st_size)
            if not self.size:
                if self._path.fs.isdir(self._path.path):
                    raise IsADirectoryError("it is a folder")
                raise InvalidInputError(f"The input {location} is empty (0 bytes). Was it written completely?")
            with self.open(PROBED) as file:
                self.info = self._probe(file)

    def _probe(self, file: BinaryIO) -> MediaInfo:
        try:
            return probe(file, self.size)
        except NotMediaError:
            raise InvalidInputError(
                f"The input {self.location} is no audio, video or image, whatever its name says. Convert it, for "
                "example to mp4, wav or mp3."
            ) from None
        except NotWholeError as error:
            raise InvalidInputError(f"The input {self.location}: {error}. Was it written completely?") from None

    def open(self, block: int = BLOCK) -> BinaryIO:
        """Open it for reading.

        :param block: bytes that are fetched at a time from an object store; default: 8 MiB
        """
        if self._path.protocol in ("", "file"):
            return open_local(Path(self._path.path), self._allowed)
        return cast("BinaryIO", self._path.open("rb", block_size=block))

    @property
    def format(self) -> Format:
        """What it really is."""
        return self.info.format

    @property
    def media_type(self) -> str:
        """Content type, from the bytes."""
        return self.format.media_type

    @cached_property
    def name(self) -> str:
        """File name, with an extension that fits the bytes."""
        name = _ODD_CHARACTERS.sub("_", self._path.name)[-100:]
        extension = self.format.extension
        if name.rpartition(".")[2].lower() in (extension, *ALSO.get(extension, ())):
            return str(name)
        return f"{name}.{extension}"

    @property
    def kind(self) -> str:
        """``audio``, ``video`` or ``image``."""
        return self.format.kind

    def chunks(self) -> Iterator[bytes]:
        """Open the file anew and yield it piece by piece; a whole pass also gives the hash.

        A thread of its own hashes a piece while it is sent and the next one is read; it is never more than one behind.
        The last piece needs none, and so does a file of one piece.
        """
        digest, sent = hashlib.sha256(), 0
        hashed: Future[None] | None = None
        with reading(self.location), self.open() as file, ThreadPoolExecutor(1, "voice-hash") as hasher:
            while (piece := file.read(CHUNK)) and (sent := sent + len(piece)) <= self.size:
                if hashed is not None:
                    hashed.result()
                if sent < self.size:
                    hashed = hasher.submit(digest.update, piece)
                else:
                    digest.update(piece)
                yield piece
            if hashed is not None:
                hashed.result()
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
        """Return the length; None for a picture."""
        return self.info.seconds


@dataclass
class Output:
    """Where a result is to be kept; a location that ends in ``/`` is a folder.

    :param location: path or URI
    :param name: file name without extension for a folder
    :param allowed: the connection's allowed output prefixes
    :param task: which task instance receives it; with ``name`` it names the temporary file, so that an attempt after a
        kill finds and replaces what the killed one left, and two tasks do not meet
    :param spool: where a result goes as long as it cannot be in its place: a folder of this task instance, path or URI;
        None: it stays on the worker
    """

    location: str
    name: str
    allowed: Sequence[str] = field(default=())
    task: str = ""
    spool: str | None = None

    def __post_init__(self) -> None:
        check_allowed(self.location, self.allowed, "output")
        self.name = _ODD_CHARACTERS.sub("_", self.name)  # may be an id that the service chose

    def check_writable(self) -> None:
        """Find out before anything is paid whether the result can be kept.

        :raises InvalidInputError: naming the location and the reason
        :raises StorageError: the disk is full, or the storage fails
        """
        with explained(f"The output location {self.location} cannot be written", "Nothing was paid; correct it."):
            if is_local(self.location):
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                    file.write(bytes(SYNCED))
                    os.fsync(file.fileno())
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
        """Return where a result of this format goes: never under an ending that says something else."""
        if self.location.endswith("/"):
            return f"{self.location}{self.name}.{extension}"
        return named(self.location, extension)

    @property
    def _part(self) -> Path:
        """What it is received into: beside its place, so that a rename suffices, or in this worker's own folder."""
        folder, name = self._folder, self.name
        if not is_local(self.location):
            folder, name = private_folder(), f"{name}.{hashlib.sha256(self.location.encode()).hexdigest()[:8]}"
        return folder / f".{name}{self.task and '.'}{self.task}.part"

    @contextmanager
    def receive(self, expected: int = 0) -> Iterator[Download]:
        """Open a download. It leaves nothing behind, unless it was checked and is not in its place yet.

        :param expected: bytes that it will have, as far as that is known; the room for them is taken at once
        :raises StorageError: there is no room; nothing was paid
        :raises InvalidInputError: the place cannot be written
        """
        with self._explained():
            part = self._part
            part.parent.mkdir(parents=True, exist_ok=True)
            self._make_way(part)
            with self._opened(part.parent) as folder:
                file = create(part, folder)
        download = self._download(file, part)
        try:
            with self._explained():
                reserve(file, expected, part)
            yield download
        finally:
            download.close()

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"The output location {self.location} cannot be written", "Correct it, then try again.")

    def _download(self, file: BinaryIO, part: Path) -> Download:
        return Download(file, part, name=self.name, uri=self.uri, folder=self._opened, spool=self.spool)

    def _opened(self, folder: Path) -> AbstractContextManager[int]:
        """Open a folder that results go to; the worker's own, from where they are uploaded, is judged by nobody."""
        allowed = self.allowed if is_local(self.location) else ()
        is_file = folder == self._folder and not self.location.endswith("/")
        return opened(folder, local_path(self.location).name if is_file else "", allowed)

    def _make_way(self, part: Path) -> None:
        """Delete what a killed try left; what it had received whole may be paid, and makes way for another order."""
        found = self.received()
        if found is not None:
            aside = aside_of(part, found.sha256)
            part.replace(aside)
            Receipt.path(part).replace(Receipt.path(aside))
        discard(part)

    def received(self) -> Receipt | None:
        """Return what a try before had received on this host, whole, under this name, and did not put in its place.

        :raises InvalidInputError: it may not be read
        :raises StorageError: it cannot be read
        """
        with explained(f"What was received for {self.location} cannot be read", "Check the worker's permissions."):
            receipt = Receipt.read(self._part)
            if receipt is None or receipt.name != self.name:
                return None
            return receipt if _holds(str(self._part), receipt.sha256, receipt.bytes) else None

    def recover(self, uri: str, sha256: str, size: int, held: Sequence[str] = (), until: float = 0.0) -> bool:
        """Put in place what an attempt had received and checked, but not yet moved; nothing else is left of it then.

        It is looked for where this host receives it, in the spool, and in ``held``.

        :param uri: where it goes, as ``check`` said
        :param size: bytes
        :param held: more places: what ``NotPublishedError.held`` or ``Download.place`` said
        :param until: see ``Download.publish``
        :return: whether it was there, byte for byte
        :raises NotAllowedError: the connection does not allow ``uri``
        :raises NotPublishedError: it is there, and cannot be put in its place yet
        :raises StorageError: a place where it may be cannot be looked at
        """
        check_allowed(uri, self.allowed, "output")
        trouble: VoiceError | None = None
        places = self._places(sha256, held)
        for place in places:
            try:
                if not _holds(place, sha256, size):
                    continue
                with self._take(place, sha256, size) as download:
                    if (download.sha256, download.position) != (sha256, size):
                        continue  # it has changed since
                    download.hold()
                    download.publish_at(uri, until)
            except NotPublishedError:
                raise
            except VoiceError as error:
                trouble = error
                continue
            self._forget([other for other in places if local_path(other) != local_path(uri)], sha256, size)
            return True
        if trouble is not None:
            raise trouble
        return False

    def copy(self, source: str, extension: str, sha256: str, size: int) -> str:
        """Put a copy of what is kept elsewhere in place, whole or not at all; return where it is.

        :param source: path or URI of a kept result
        :raises StorageError: it is not what was kept, or cannot be read or written
        """
        uri = self.uri(extension)
        with self.receive(size) as download:
            self._read_into(download, source)
            if (download.sha256, download.position) != (sha256, size):
                raise StorageError(f"What is kept at {source} has changed: it is not copied to {uri}.")
            download.publish_at(uri)
        return uri

    def _places(self, sha256: str, held: Sequence[str]) -> list[str]:
        """Return where bytes may be held, as paths and URIs: what is on this host first."""
        host = f"{socket.gethostname()}:/"
        here = ["/" + place.removeprefix(host) for place in held if place.startswith(host)]
        there = [place for place in held if place.startswith("/") or "://" in place]
        part = self._part
        spool = [spooled(self.spool, part, sha256)] if self.spool else []
        return list(dict.fromkeys([str(part), str(aside_of(part, sha256)), *here, *spool, *there]))

    @contextmanager
    def _take(self, place: str, sha256: str, size: int) -> Iterator[Download]:
        """Open what is held as a download: the part itself, or a copy of what is elsewhere."""
        own = Path(place)
        if own in (self._part, aside_of(self._part, sha256)):
            with self._explained():
                download = self._download(reopen(own), own)
            try:
                download.adopt()
                yield download
            finally:
                download.close()
            return
        with self.receive(size) as download:
            self._read_into(download, place)
            yield download

    @staticmethod
    def _read_into(download: Download, place: str) -> None:
        with (
            explained(f"What is held at {place} cannot be read", "Check the worker's permissions."),
            open_path(place).open("rb", block_size=BLOCK) as file,
        ):
            while piece := file.read(CHUNK):
                download.write(piece)

    def _forget(self, places: Sequence[str], sha256: str, size: int) -> None:
        """Delete what is in its place now from where it was held."""
        for place in places:
            with suppress(OSError, VoiceError):
                if _holds(place, sha256, size):
                    remove(place)
                    if is_local(place):
                        discard(local_path(place))
        if self.spool and is_local(self.spool):
            with suppress(OSError):
                local_path(self.spool).rmdir()

    def tidy(self) -> None:
        """Delete what killed tries of this task instance left beside the result; when the task has finished.

        What is held with a receipt for another name stays, all of other tasks, and what cannot be deleted.
        """
        with suppress(OSError, StorageError):
            part = self._part
            end = f".{self.task}.part" if self.task else part.name
            for path in part.parent.glob(f"{'.*' if self.task else ''}{glob.escape(end)}*"):
                receipt = Receipt.read(path.with_name(path.name.partition(end)[0] + end))
                if receipt is None or receipt.name == self.name:
                    path.unlink(missing_ok=True)


def _holds(place: str, sha256: str, size: int) -> bool:
    """Whether a place holds these bytes, in a file of its own."""
    return not (is_local(place) and local_path(place).is_symlink()) and is_kept(place, sha256, size)
