"""A result on its way: received into a file that has a name, checked, and held until it is in its place.

Speech may be the paid answer itself, which cannot be fetched again. So from its last byte on it is never deleted before
it is in its place: neither by an error, nor by a kill, nor by a storage that is away. Invariants:

- What is received lies in one file of this worker, the *part*; whoever else has written it since is not overwritten.
- A part that passed the check is *held*. A receipt beside it says what it is, for a try after a kill.
- Nothing works on the only copy.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from voice_provider.exceptions import (
    NotAllowedError,
    NotPublishedError,
    ResultError,
    StorageError,
    UnusableSpeechError,
)
from voice_provider.files.formats import WAV, MediaInfo
from voice_provider.files.locations import explained, is_local, local_path, reason_of
from voice_provider.files.media import TOLERANCE, inspect
from voice_provider.files.room import private_folder
from voice_provider.files.transfer import (
    SHARED,
    SupersededError,
    create,
    exists,
    is_kept,
    opened,
    persist,
    pieces,
    put,
    rename,
    reopen,
    share,
    sync_folder,
)
from voice_provider.files.wav import read_wav, repair_wav
from voice_provider.files.whole import NotWholeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from voice_provider.files.transfer import Folder

MUCH_LONGER = 1.0  # seconds: what codecs and pictures add to the length that was announced is less
MAX_RECEIPT = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that was checked, and its place."""

    uri: str
    sha256: str
    bytes: int
    info: MediaInfo

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says of the file itself."""
        known = {"uri": self.uri, "sha256": self.sha256, "bytes": self.bytes, "seconds": self.info.seconds}
        return {**known, "format": self.info.format.extension, "media_type": self.info.format.media_type}


@dataclass(frozen=True, slots=True)
class Held:
    """Where received bytes are before they are in their place; as text ``host:/path``."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}:{self.path}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a try before had received, as it wrote it down.

    :param facts: what was given to ``Download.note``
    :param name: of the result, as in ``Output``
    """

    facts: dict[str, Any]
    sha256: str
    bytes: int
    name: str

    @staticmethod
    def path(part: Path) -> Path:
        """Return where the receipt of a part is."""
        return part.with_name(f"{part.name}.json")

    @classmethod
    def read(cls, part: Path) -> Receipt | None:
        """Return the receipt beside a part, as far as there is one that can be read."""
        try:
            with reopen(cls.path(part)) as file:
                return cls(**json.loads(file.read(MAX_RECEIPT)))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link that somebody planted
                return None
            raise

    def write(self, part: Path) -> None:
        """Write it beside the part, whole or not at all."""
        facts = {"facts": self.facts, "sha256": self.sha256, "bytes": self.bytes, "name": self.name}
        new = part.with_name(f"{part.name}.new")
        try:
            with create(new) as file:
                file.write(json.dumps(facts).encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path(part))
        finally:
            new.unlink(missing_ok=True)
        sync_folder(part.parent)


def aside_of(part: Path, sha256: str) -> Path:
    """Return where a part goes that has to make way for another one; known by its bytes."""
    return part.with_name(f".{sha256[:16]}{part.name}")


def spooled(spool: str, part: Path, sha256: str) -> str:
    """Return where the bytes of a part are in the spool."""
    return f"{spool.rstrip('/')}/{sha256[:16]}{part.name}"


def discard(part: Path) -> None:
    """Delete a part and its receipt."""
    for path in (part, Receipt.path(part)):
        path.unlink(missing_ok=True)


class Download:
    """A result on its way; a ``services.base.Sink``. Create it with ``Output.receive``.

    :param file: the part, open for reading and writing
    :param part: where it is
    :param name: of the result, as in ``Output``
    :param uri: tells where a result with this extension goes
    :param folder: opens a folder that results go to
    :param spool: where it goes as long as it cannot be in its place; None: it stays where it is
    """

    def __init__(
        self,
        file: BinaryIO,
        part: Path,
        *,
        name: str,
        uri: Callable[[str], str],
        folder: Folder = opened,
        spool: str | None = None,
    ) -> None:
        self._file, self._part = file, part
        self._name, self._uri, self._folder, self._spool = name, uri, folder, spool
        self._begun = False
        self.restart()

    @property
    def position(self) -> int:
        """Bytes received so far."""
        return self._size

    @property
    def begun(self) -> bool:
        """Whether an answer came: it had to take at least one byte, although perhaps it could not."""
        return self._begun

    @property
    def sha256(self) -> str:
        """Hash of what was received."""
        return self._digest.hexdigest()

    @property
    def place(self) -> Held:
        """Where the received bytes are now."""
        return Held(socket.gethostname(), str(self._part))

    def owns(self, part: Path) -> bool:
        """Whether the temporary file is still this one, and not that of a later attempt."""
        try:
            return os.path.samestat(part.lstat(), os.fstat(self._file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return False

    @property
    def _is_superseded(self) -> bool:
        """Whether another attempt receives into the same file; where there is none, its folder was removed."""
        return os.path.lexists(self._part) and not self.owns(self._part)

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        self._begun = self._begun or bool(data)
        with _on_disk():
            self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def restart(self) -> None:
        """Forget what was received; the room that was taken stays."""
        self._file.seek(0)
        self._digest, self._size, self._held = hashlib.sha256(), 0, False

    def adopt(self) -> None:
        """Take what is in the file already for what was received, and hold it."""
        self._hash_again()
        self.hold()

    def hold(self) -> None:
        """Let it stay, whatever ends the try; only ``publish`` takes it away."""
        self._held = True
        with _on_disk():
            self._file.flush()
            self._file.truncate(self._size)
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Leave nothing behind but what is held."""
        if not self._held and self.owns(self._part):
            discard(self._part)
        with suppress(OSError):  # what a full disk did not take is tried once more here
            self._file.close()

    def keep(self, expected_seconds: float | None = None, *, kind: str | None = None) -> Kept:
        """Check a result that can be fetched again, and put it in its place, whole; see ``check`` and ``publish``.

        :raises ResultError: empty, not media, cut short, or not what was ordered; nothing is kept
        :raises InvalidInputError: the place cannot be written; nothing is kept
        :raises StorageError: the storage fails, also when it is asked again; nothing is kept
        """
        try:
            kept = self._examine(None)
            wrong = _wrong(kept.info, kind, expected_seconds)
        except NotWholeError as error:
            wrong = str(error)
        finally:
            self._held = False
        if wrong:
            raise ResultError(f"The result that came is unusable: {wrong}. It is fetched again by a retry.")
        with explained(f"The result cannot be kept at {kept.uri}", "Correct it, then try again."):
            persist(lambda: self._move(kept.uri))
        return kept

    def check(self, kind: str | None = None, *, pcm_rate: int | None = None, least_seconds: float = 0) -> Kept:
        """Check a result that may be paid, and say what it is and where it is to go. From here on it is held.

        Every packet of it is read: what cannot be known of a file is no reason to take it for good.

        :param kind: ``audio``, or ``video`` with sound, where one was ordered
        :param pcm_rate: Hz of raw samples, where they were asked for
        :param least_seconds: what is shorter is not used
        :raises ResultError: empty, not media, or without sound; nothing is kept
        :raises UnusableSpeechError: shorter than the text can be, cut short, or something else than was ordered; it is
            put aside, next to its place
        :raises StorageError: the disk did not take its end; nothing is kept
        """
        try:
            kept = self._examine(pcm_rate)
            wrong = _wrong(kept.info, kind)
        except NotWholeError as error:
            if error.info is None:
                self._held = False
                raise ResultError(f"The result that came is unusable: {error}.") from None
            kept, wrong = self._kept(error.info), str(error)
        except StorageError:
            self._held = False
            raise
        if kept.info.seconds is not None and kept.info.seconds < least_seconds:
            raise UnusableSpeechError(
                f"The speech is {kept.info.seconds:.2f} s long, but its text takes at least {least_seconds:.1f} s: a "
                f"part of it is missing. {self._put_aside(kept)}; listen to it."
            )
        if wrong:
            raise UnusableSpeechError(f"The speech that came is unusable: {wrong}. {self._put_aside(kept)}.")
        return kept

    def _examine(self, pcm_rate: int | None) -> Kept:
        self.hold()
        info = inspect(self._file, self._size, pcm_rate)
        if info.format == WAV:
            self._repair()
        return self._kept(info)

    def _kept(self, info: MediaInfo) -> Kept:
        return Kept(uri=self._uri(info.format.extension), sha256=self.sha256, bytes=self._size, info=info)

    def _repair(self) -> None:
        """Fill in the sizes of a WAV, in a copy. Where there is no room for one it is kept as it came."""
        if self._is_superseded or read_wav(self._file, self._size).has_sizes:
            return
        repaired = self._part.with_name(f"{self._part.name}.new")
        with suppress(OSError):
            try:
                put(self._file, str(repaired))
                copy = reopen(repaired)
                repair_wav(copy, self._size)
                copy.flush()
                os.fsync(copy.fileno())
                repaired.replace(self._part)
            finally:
                repaired.unlink(missing_ok=True)
            self._take(copy)
            self._hash_again()

    def _take(self, file: BinaryIO) -> None:
        self._file.close()
        self._file = file

    def _hash_again(self) -> None:
        self._digest, self._size = hashlib.sha256(), 0
        for piece in pieces(self._file):
            self._digest.update(piece)
            self._size += len(piece)

    def _put_aside(self, kept: Kept) -> str:
        """Put what must not be taken for a good result next to its place, and say where it is."""
        aside = _unusable(kept.uri)
        try:
            self.publish(replace(kept, uri=aside))
        except NotPublishedError as error:
            return f"It could not be put aside as {aside} ({error.reason}); it is at {error.held or 'no place'}"
        return f"It was put aside as {aside}"

    def note(self, facts: Mapping[str, Any]) -> bool:
        """Write beside the part what it is, for a try after a kill; after ``check``.

        :param facts: what ``Output.received`` is to return; JSON
        :return: whether it could be written; where not, only the task's record knows of the part
        """
        if self._is_superseded:
            return False
        try:
            Receipt(dict(facts), self.sha256, self._size, self._name).write(self._part)
        except OSError:
            return False
        return True

    def publish(self, kept: Kept, until: float = 0.0) -> None:
        """Put a checked result in its place, whole or not at all; then nothing else is left of it.

        :param kept: what ``check`` said
        :param until: wall-clock time, seconds since 1970, until which every error is tried again, three times at least;
            one that lies in the request, such as a missing right, for a minute at most
        :raises NotPublishedError: that did not succeed; the bytes are in the spool, or where they were received
        """
        self.publish_at(kept.uri, until)

    def publish_at(self, uri: str, until: float = 0.0) -> None:
        """Put what is held in a place; see ``publish``."""
        try:
            persist(lambda: self._move(uri), until)
        except Exception as error:  # noqa: BLE001  # every backend has an exception tree of its own
            held = self._spool_it() or self._stay()
            where = f"It is kept at {held}: the next try looks there first and pays nothing"
            raise NotPublishedError(
                f"The result cannot be kept at {uri}: {reason_of(error)}. "
                f"{where if held else 'No other place takes it either: it is lost'}.",
                held=held,
                reason=reason_of(error),
            ) from None
        self._held = False
        with suppress(OSError):
            if self.owns(self._part):  # it was uploaded
                self._part.unlink()
            if not os.path.lexists(self._part):  # else it is that of a later try
                Receipt.path(self._part).unlink(missing_ok=True)

    def _move(self, uri: str) -> None:
        """Put the bytes in their place: on this machine by a rename, else by one upload."""
        if not self.owns(self._part):
            if is_kept(uri, self.sha256, self._size):
                return  # another try has found it, and put it there
            if self._is_superseded or exists(uri):
                raise SupersededError("another attempt of this task is writing it at the same time")
            if is_local(uri):
                self._restore(self._part, self._folder)  # its folder was removed; the open file is all there is
        if not is_local(uri):
            put(self._file, uri)
            return
        target = local_path(uri)
        if target.parent == self._part.parent:
            share(self._file)
            with self._folder(target.parent) as folder:
                rename(self._part, target, folder)
            sync_folder(target.parent)
        else:  # what a try received whose output was elsewhere; a rename may not reach that far
            put(self._file, uri, self._folder, SHARED)

    def _restore(self, part: Path, folder: Folder = opened) -> None:
        """Give the bytes a name again that have lost theirs."""
        put(self._file, str(part), folder)
        self._take(reopen(part))
        self._part = part

    def _spool_it(self) -> str:
        """Move the bytes into the spool, and return where they are; empty where that fails, or there is none."""
        if not self._spool:
            return ""
        place = spooled(self._spool, self._part, self.sha256)
        try:
            if not is_kept(place, self.sha256, self._size):
                persist(lambda: put(self._file, place))
                if not is_kept(place, self.sha256, self._size):
                    return ""
        except Exception:  # noqa: BLE001  # the error of the place itself is the one to tell
            return ""
        if self.owns(self._part):
            with suppress(OSError):
                discard(self._part)
        return place

    def _stay(self) -> str:
        """Leave the bytes where they are, under a name, and return it."""
        folders: tuple[tuple[Callable[[], Path], Folder], ...] = (
            (lambda: self._part.parent, self._folder),
            (private_folder, opened),
        )
        for folder, opener in folders:
            if self.owns(self._part):
                return str(self.place)
            with suppress(OSError, StorageError, NotAllowedError):
                self._restore(folder() / aside_of(self._part, self.sha256).name, opener)
        return str(self.place) if self.owns(self._part) else ""


def _wrong(info: MediaInfo, kind: str | None, seconds: float | None = None) -> str:
    """Say in which way a file is not what was ordered; empty where it is.

    :param kind: ``audio``, or ``video`` with sound; None where any file will do
    :param seconds: what the service said
    """
    found = info.format
    if kind is not None and found.kind != kind:
        return f"it is {found.kind} ({found.extension}), not {kind}"
    if kind is not None and info.sound is None:
        return "it has no sound"
    longer = (info.seconds or 0) - (seconds or 0)
    if seconds and not -TOLERANCE <= longer <= MUCH_LONGER:
        lengths = f"{info.seconds or 0:.2f} s of the {seconds:.2f} s that the service announced"
        return f"it is cut short: {lengths}" if longer < 0 else f"it is too long: {lengths}"
    return ""


def _on_disk() -> AbstractContextManager[None]:
    return explained("The result cannot be written to this worker's disk", "Make room, then try again.")


def _unusable(uri: str) -> str:
    """Return where a result goes that must not be taken for a good one."""
    stem, dot, extension = uri.rpartition(".")
    return f"{stem}.unusable.{extension}" if dot and "/" not in extension else f"{uri}.unusable"
