"""Where what is remembered about a task instance is kept, besides Airflow's own store: JSON objects in object storage.

Airflow's store refuses a try that is over; a bucket does not. So each try claims the task instance by creating an
object of its own, exclusively, numbered one higher than the newest; it takes over what that one holds, and it writes
into its own object only. After each write it looks whether a later try has claimed, and stops where one has. The order
matters: a try that claims reads *after* it has claimed, and one that writes looks *after* it has written. So of two
tries at once either the later one reads what the earlier has written, or the earlier one sees that it is over before
it sends anything.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from voice_provider.exceptions import InvalidInputError, PermanentVoiceError, StaleTryError, StorageError
from voice_provider.files.locations import LASTING, open_path
from voice_provider.jobs.names import short_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from voice_provider.jobs.record import Scope, Store

# Filesystems of fsspec whose ``mode="create"`` is one atomic request: S3 and GCS by a condition, Azure by its own flag.
EXCLUSIVE = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
CLAIMS = 20  # tries of one task instance that may claim at the very same time
_NAME = re.compile(r"([0-9]{6})\.json")
_ODD = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Attempt:
    """Which try of a task instance this process is; one that deferred and came back is the same.

    :param id: Airflow's id of the task instance, which is a new one for every try (a UUID 7, so it grows)
    :param number: Airflow's number of the try; a run that was deleted and made again begins at 1 anew
    """

    id: str
    number: int

    def is_over(self, other: Attempt) -> bool:
        """Whether another try has begun after this one: by both, so that neither a wrong clock nor a new run deceives.

        Of a run that was made again the number is lower, and the id higher; after a scheduler's clock was set back
        the id is lower, and the number higher. Only a try that was left behind is lower in both.
        """
        return other.id != self.id and other.number >= self.number and other.id > self.id

    def is_of_a_new_run(self, before: Attempt) -> bool:
        """Whether the try before was of a run that was deleted since: within one run the number grows with the id."""
        return before.id < self.id and before.number >= self.number


class Folder(Protocol):
    """What of a filesystem is needed."""

    def names(self) -> list[str]:
        """List the objects; none where there is no folder yet."""
        ...

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Create an object, whole, or raise ``FileExistsError``."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace an object, whole."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such an object now."""
        ...


class LocalFolder:
    """A folder that all workers share."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """List the objects; none where there is no folder yet."""
        with suppress(FileNotFoundError):
            return [entry.name for entry in self._path.iterdir()]
        return []

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        return (self._path / name).read_bytes()

    def create(self, name: str, data: bytes) -> None:
        """Create an object: a link to a whole file, which fails where the name is taken."""
        with self._whole(data) as part:
            try:
                os.link(part, self._path / name)
            except FileExistsError:
                raise
            except OSError as error:  # the file could be written, so it is the link that is not to be had
                raise InvalidInputError(
                    f"state_location: the file system of {self._path} cannot create a file exclusively "
                    f"({error.strerror}). Use another folder that all workers share, or S3."
                ) from None

    def write(self, name: str, data: bytes) -> None:
        """Replace an object, whole."""
        with self._whole(data) as part:
            part.replace(self._path / name)

    def has(self, name: str) -> bool:
        """Whether there is such an object now."""
        return (self._path / name).exists()

    @contextmanager
    def _whole(self, data: bytes) -> Iterator[Path]:
        self._path.mkdir(parents=True, exist_ok=True, mode=0o750)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


class RemoteFolder:
    """A prefix in an object store; never what a cached listing says."""

    def __init__(self, location: str) -> None:
        path = open_path(location)
        self._fs, self._path = path.fs, path.path.rstrip("/")

    def names(self) -> list[str]:
        """List the objects; none where there is no folder yet."""
        self._fs.invalidate_cache()
        with suppress(FileNotFoundError):
            return [name.rpartition("/")[2] for name in self._fs.ls(self._path, detail=False)]
        return []

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        return bytes(self._fs.cat_file(f"{self._path}/{name}"))

    def create(self, name: str, data: bytes) -> None:
        """Create an object, on the condition that there is none."""
        self._fs.pipe_file(f"{self._path}/{name}", data, mode="create")

    def write(self, name: str, data: bytes) -> None:
        """Replace an object, whole."""
        self._fs.pipe_file(f"{self._path}/{name}", data)

    def has(self, name: str) -> bool:
        """Whether there is such an object now."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(f"{self._path}/{name}"))


def folder_of(location: str) -> Folder:
    """Return the folder of a location.

    :raises InvalidInputError: a kind of storage that cannot create an object exclusively
    """
    scheme, _, rest = ("file", "", location) if location.startswith("/") else location.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return LocalFolder(Path(rest))
    if scheme in EXCLUSIVE and rest:
        return RemoteFolder(location)
    raise InvalidInputError(
        f"state_location '{location}' of the connection cannot be used: '{scheme}' storage cannot create an object "
        f"exclusively. Use a folder that all workers share (an absolute path), or one of {', '.join(EXCLUSIVE)}."
    )


class ObjectStore:
    """The values of one task instance below the connection's ``state_location``; a ``Store``.

    One object a try: ``<location>/<namespace>/<dag>/<run>/<task>-<hash>/000001.json``, so that they can be listed.

    :param before: Airflow's own store: what was written there before ``state_location`` was set is taken over
    :raises InvalidInputError: it cannot be used; nothing was sent
    :raises StaleTryError: a later try has begun
    """

    def __init__(
        self, location: str, namespace: str, scope: Scope, attempt: Attempt, before: Store | None = None
    ) -> None:
        self._location, self._scope, self._attempt, self._before = location.strip(), scope, attempt, before
        self._namespace = namespace
        self._number = 0
        self._values: dict[str, Any] = {}
        self._former: list[dict[str, Any]] = []
        with self._explained():
            self._folder = folder_of(f"{self._location.rstrip('/')}/{namespace}/{path_of(scope)}")
            self._claim()

    @property
    def former(self) -> list[dict[str, Any]]:
        """The values of runs that had this run's id before, were deleted and are made again: none of its business."""
        return self._former

    @property
    def attempt(self) -> Attempt:
        """The try that has claimed the task instance."""
        return self._attempt

    def get(self, key: str) -> Any:
        """Return the value or ``None``; nobody else writes it while this try is the newest."""
        if key not in self._values and self._before is not None:
            return self._before.get(key)
        return self._values.get(key)

    def set(self, key: str, value: Any) -> None:
        """Write the value.

        :raises StaleTryError: a later try has begun; the caller must send nothing any more
        """
        self._values[key] = json.loads(json.dumps(value))
        with self._explained():
            self._folder.write(_name(self._number), self._content(self._values))
            if self._folder.has(_name(self._number + 1)):
                raise StaleTryError(
                    "A later try of this task has begun while this one did not answer; this one stops, and sends "
                    "nothing."
                )

    def _claim(self) -> None:
        for _ in range(CLAIMS):
            numbers = sorted(int(found[1]) for name in self._folder.names() if (found := _NAME.fullmatch(name)))
            newest = numbers[-1] if numbers else 0
            if newest:
                other = self._attempt_of(newest)
                if other.id == self._attempt.id:
                    self._number = newest
                    break
                if self._attempt.is_over(other):
                    raise StaleTryError(
                        f"Try {other.number} of this task has begun after this one (try {self._attempt.number}), which "
                        "stops and sends nothing."
                    )
            try:
                self._create(newest + 1)
            except FileExistsError:
                continue  # another try was faster; which of the two is the later one?
            self._number = newest + 1
            break
        else:
            raise StorageError(f"{self._location} lists no object that is there.")
        self._values, self._former = self._inherited()
        self._folder.write(_name(self._number), self._content(self._values))

    def _create(self, number: int) -> None:
        """Create the object of this try, and make sure that it could not be created twice."""
        data = self._content(None)
        self._folder.create(_name(number), data)
        try:
            self._folder.create(_name(number), data)
        except FileExistsError:
            return
        raise InvalidInputError(
            f"state_location '{self._location}' of the connection cannot be used: the storage creates an object that "
            "is there already once more, so it cannot stop a try that is over. S3 can (conditional writes)."
        )

    def _inherited(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return what the newest try holds that has taken over those before it; a claim alone holds nothing.

        What a run of this id held that was deleted since is told apart: it is none of this run's business.
        """
        newer, of_a_new_run = self._attempt, False
        for number in range(self._number, 0, -1):
            with suppress(FileNotFoundError):
                found = self._read(number)
                attempt = Attempt(str(found["attempt"]), int(found["try_number"]))
                of_a_new_run = of_a_new_run or newer.is_of_a_new_run(attempt)
                newer = attempt
                if found["values"] is not None:
                    values, former = dict(found["values"]), list(found.get("former") or [])
                    return ({}, [*former, values]) if of_a_new_run else (values, former)
        return {}, []

    def _attempt_of(self, number: int) -> Attempt:
        found = self._read(number)
        return Attempt(str(found["attempt"]), int(found["try_number"]))

    def _read(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self._folder.read(_name(number)))
            if isinstance(found, dict) and {"attempt", "try_number", "values"} <= found.keys():
                return found
        except ValueError:
            pass
        raise InvalidInputError(
            f"{_name(number)} of this task below state_location '{self._location}' is not what was written there. It "
            "may stand for a paid job: look at it, then delete it to start anew."
        )

    def _content(self, values: dict[str, Any] | None) -> bytes:
        what = {
            "v": 1,
            "namespace": self._namespace,
            **self._scope.model_dump(exclude={"max_tries", "clears", "retries", "label"}),
            "try_number": self._attempt.number,
            "attempt": self._attempt.id,
            "values": values,
            **({"former": self._former} if self._former else {}),
        }
        return json.dumps(what, ensure_ascii=False).encode()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, PermanentVoiceError | StorageError):
                raise
            kind = InvalidInputError if isinstance(error, LASTING) else StorageError
            raise kind(
                f"state_location '{self._location}' of the connection cannot be used: "
                f"{str(error).rstrip('.') or type(error).__name__}."
            ) from None


def path_of(scope: Scope) -> str:
    """Return the folder of a task instance below the namespace's: for people to read, and no two the same."""
    exact = short_hash("\0".join((scope.dag_id, scope.run_id, scope.task_id, str(scope.map_index))), 12)
    index = f".{scope.map_index}" if scope.map_index >= 0 else ""
    dag, run, task = (_ODD.sub("_", part)[:80] for part in (scope.dag_id, scope.run_id, scope.task_id))
    return f"{dag}/{run}/{task}{index}-{exact}"


def attempt_of(ti: Any) -> Attempt:
    """Return which try a task instance is."""
    return Attempt(str(uuid.UUID(str(ti.id))), int(ti.try_number))


def _name(number: int) -> str:
    return f"{number:06d}.json"


def task_folders(location: str) -> Iterator[tuple[str, list[str]]]:
    """Find the folders of all task instances below a ``state_location``, each with the names of its objects."""
    location = location.rstrip("/")
    folder_of(location)  # raises for one that cannot be used
    if location.startswith(("/", "file://")):
        root = location.removeprefix("file://")
        found = [str(path) for path in Path(root).rglob("*.json")]
        prefix = ""
    else:
        path = open_path(location)
        path.fs.invalidate_cache()
        found = path.fs.find(path.path)
        prefix = f"{location.partition('://')[0]}://"
        root = path.path
    conn = location.partition("://")[2].partition("/")[0].rpartition("@")[0]
    folders: dict[str, list[str]] = {}
    for name in sorted(found):
        parent, _, last = name.rpartition("/")
        folders.setdefault(parent, []).append(last)
    for parent, names in folders.items():
        if any(_NAME.fullmatch(name) for name in names):
            yield (f"{prefix}{conn}@{parent}" if conn else f"{prefix}{parent}"), names


def newest_of(folder: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Read what the newest try of a task instance has written; ``None`` where it cannot be read."""
    place = folder_of(folder)
    for name in sorted((name for name in names if _NAME.fullmatch(name)), reverse=True):
        with suppress(ValueError, FileNotFoundError):
            found = json.loads(place.read(name))
            if isinstance(found, dict) and found.get("values") is not None:
                return found
    return None
