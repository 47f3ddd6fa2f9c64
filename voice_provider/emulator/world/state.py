"""What the services remember, in SQLite. It knows no HTTP.

One thread, the event loop's, reads and writes; a method that checks and then writes does so without awaiting,
so twenty requests at once see twenty states in a row. WAL without a sync per commit survives `kill -9` whole
(the pages are the kernel's by then); only a crash of the machine may take the last moments with it.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import uuid
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from voice_provider.emulator import API_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (api_key TEXT PRIMARY KEY, org TEXT NOT NULL, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS voices (
    id TEXT PRIMARY KEY, service TEXT NOT NULL, org TEXT NOT NULL, name TEXT NOT NULL, provider_id TEXT NOT NULL,
    profile TEXT, ready INTEGER NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS voices_of ON voices (service, org, name);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, org TEXT NOT NULL, file_name TEXT NOT NULL, content_type TEXT NOT NULL, size INTEGER,
    asset_id TEXT, created_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS assets (
    id TEXT PRIMARY KEY, org TEXT NOT NULL, owner TEXT NOT NULL, upload_id TEXT, url TEXT, name TEXT,
    type TEXT NOT NULL, visibility TEXT NOT NULL, input_type TEXT NOT NULL, project_id TEXT, size INTEGER, format TEXT,
    seconds REAL, width INTEGER, height INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS assets_of ON assets (org, created_at);
CREATE TABLE IF NOT EXISTS projects (
    id TEXT PRIMARY KEY, org TEXT NOT NULL, data TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, service TEXT NOT NULL, kind TEXT NOT NULL,
    org TEXT NOT NULL, status TEXT NOT NULL, request TEXT NOT NULL, work TEXT NOT NULL, result TEXT NOT NULL,
    error_code TEXT, error TEXT, source TEXT, project_id TEXT, created_at REAL NOT NULL, started_at REAL,
    finished_at REAL);
CREATE INDEX IF NOT EXISTS jobs_of ON jobs (service, kind, org, status);
CREATE INDEX IF NOT EXISTS jobs_by_age ON jobs (service, kind, org, seq);
CREATE TABLE IF NOT EXISTS keys (
    org TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL, sha256 TEXT NOT NULL, job_id TEXT NOT NULL,
    PRIMARY KEY (org, scope, key));
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, kind TEXT NOT NULL, org TEXT NOT NULL,
    job_id TEXT NOT NULL, idempotency_key TEXT, units REAL NOT NULL, unit TEXT NOT NULL, usd REAL NOT NULL,
    at REAL NOT NULL, request_sha256 TEXT NOT NULL, settled INTEGER NOT NULL, refunded INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_of ON ledger (job_id);
CREATE TABLE IF NOT EXISTS leaks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    header TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS faults (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, rule TEXT NOT NULL, seen INTEGER NOT NULL,
    fired INTEGER NOT NULL);
"""

TABLES = (
    "accounts",
    "voices",
    "uploads",
    "assets",
    "projects",
    "jobs",
    "keys",
    "ledger",
    "leaks",
    "faults",
)
KEPT_META = ("api_port", "storage_port", "signing_key")
ACTIVE = ("PENDING", "PROCESSING")


class Row:
    """A typed row; `JSON` names the columns that hold JSON, `SCHEMA` makes the table of a row that a half brings."""

    TABLE: ClassVar[str]
    JSON: ClassVar[frozenset[str]] = frozenset()
    SCHEMA: ClassVar[str] = ""

    @classmethod
    def read(cls, row: sqlite3.Row) -> Self:
        values = dict(row)
        for key in cls.JSON:
            values[key] = json.loads(values[key])
        return cls(**values)

    def values(self) -> dict[str, Any]:
        columns = {column.name: getattr(self, column.name) for column in fields(self)}  # type: ignore[arg-type]
        return {key: json.dumps(value) if key in self.JSON else value for key, value in columns.items()}


R = TypeVar("R", bound=Row)


@dataclass
class Voice(Row):
    TABLE = "voices"
    id: str
    service: str
    org: str
    name: str
    provider_id: str
    profile: str | None
    ready: int
    created_at: float


@dataclass
class Upload(Row):
    """A presigned PUT; `size` stays None until the file has really arrived."""

    TABLE = "uploads"
    id: str
    org: str
    file_name: str
    content_type: str
    size: int | None
    asset_id: str | None
    created_at: float


@dataclass
class Asset(Row):
    TABLE = "assets"
    id: str
    org: str
    owner: str
    upload_id: str | None
    url: str | None
    name: str | None
    type: str
    visibility: str
    input_type: str
    project_id: str | None
    size: int | None
    format: str | None
    seconds: float | None
    width: int | None
    height: int | None
    created_at: float
    updated_at: float


@dataclass
class Project(Row):
    TABLE = "projects"
    JSON = frozenset({"data"})
    id: str
    org: str
    data: dict[str, Any]
    created_at: float
    updated_at: float


@dataclass
class Job(Row):
    """Work with an id: `request` as the client sent it, `work` as the engine needs it, `result` when it is done."""

    TABLE = "jobs"
    JSON = frozenset({"request", "work", "result"})
    seq: int | None
    id: str
    service: str
    kind: str
    org: str
    status: str
    request: dict[str, Any]
    work: dict[str, Any]
    result: dict[str, Any]
    error_code: str | None
    error: str | None
    source: str | None
    project_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


@dataclass
class Charge(Row):
    """A line of the bill: written when work is accepted, settled when it is done, refunded when it failed."""

    TABLE = "ledger"
    seq: int | None
    service: str
    kind: str
    org: str
    job_id: str
    idempotency_key: str | None
    units: float
    unit: str
    usd: float
    at: float
    request_sha256: str
    settled: int
    refunded: int


class State:
    """The database; `more` are the kinds of rows that are not the world's own."""

    def __init__(self, path: Path, more: Sequence[type[Row]] = ()) -> None:
        self._tables = (*TABLES, *(row.TABLE for row in more))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise ValueError(f"{path} was written by another version of the emulator. Use an empty --data-dir.")
        schema = SCHEMA + "".join(row.SCHEMA for row in more)
        self._db.executescript(f"{schema} PRAGMA user_version={SCHEMA_VERSION};")
        self._seed()

    def _seed(self) -> None:
        self._db.execute("INSERT OR IGNORE INTO accounts VALUES (?, 'main', 'main')", (API_KEY,))
        # A clone whose making was cut short by a kill was never answered: it gives its slot back.
        self._db.execute("DELETE FROM voices WHERE NOT ready")

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def reset(self) -> None:
        """Forget everything but the ports and the key that signs URLs."""
        with self.transaction():
            for table in self._tables:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own constant
            marks = ",".join("?" * len(KEPT_META))
            self._db.execute(f"DELETE FROM meta WHERE key NOT IN ({marks})", KEPT_META)  # noqa: S608
            self._seed()

    # Any row

    def insert(self, row: Row) -> None:
        values = row.values()
        marks = ",".join(f":{key}" for key in values)
        self._db.execute(f"INSERT INTO {row.TABLE} ({','.join(values)}) VALUES ({marks})", values)  # noqa: S608

    def insert_many(self, rows: Sequence[Row]) -> None:
        with self.transaction():
            for row in rows:
                self.insert(row)

    def update(self, row: Row) -> bool:
        """Write a row back by its id; False if it is gone meanwhile (deleted, or everything was reset)."""
        values = row.values()
        sets = ",".join(f"{key}=:{key}" for key in values if key not in ("id", "seq"))
        return self._db.execute(f"UPDATE {row.TABLE} SET {sets} WHERE id=:id", values).rowcount > 0  # noqa: S608

    def delete(self, row: Row) -> None:
        self._db.execute(f"DELETE FROM {row.TABLE} WHERE id = ?", (row.values()["id"],))  # noqa: S608

    def find(self, kind: type[R], where: str = "1", *args: Any) -> list[R]:
        rows = self._db.execute(f"SELECT * FROM {kind.TABLE} WHERE {where}", args)  # noqa: S608 - callers' constants
        return [kind.read(row) for row in rows]

    def first(self, kind: type[R], where: str, *args: Any) -> R | None:
        found = self.find(kind, f"{where} LIMIT 1", *args)
        return found[0] if found else None

    def count(self, kind: type[Row], where: str = "1", *args: Any) -> int:
        return int(self._db.execute(f"SELECT COUNT(*) FROM {kind.TABLE} WHERE {where}", args).fetchone()[0])  # noqa: S608

    # Meta and accounts

    def meta(self, key: str, default: Any = None) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else default

    def set_meta(self, key: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def account(self, api_key: str) -> tuple[str, str] | None:
        """The organization and the person that a key belongs to."""
        row = self._db.execute("SELECT org, owner FROM accounts WHERE api_key = ?", (api_key,)).fetchone()
        return (row["org"], row["owner"]) if row else None

    def add_account(self, api_key: str, org: str, owner: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", (api_key, org, owner))

    # Idempotency

    def job_for_key(self, org: str, scope: str, key: str) -> tuple[str, str] | None:
        """The (body hash, job id) that a key stands for."""
        row = self._db.execute(
            "SELECT sha256, job_id FROM keys WHERE org = ? AND scope = ? AND key = ?", (org, scope, key)
        ).fetchone()
        return (row["sha256"], row["job_id"]) if row else None

    def accept(self, job: Job, charge: Charge | None, *, scope: str) -> None:
        """Take work on: the job, its line on the bill (unless it costs nothing) and its key, all or nothing."""
        with self.transaction():
            self.insert(job)
            if charge is None:
                return
            self.insert(charge)
            if charge.idempotency_key is not None:
                self._db.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                    (job.org, scope, charge.idempotency_key, charge.request_sha256, job.id),
                )

    def finish(self, job: Job, *, units: float | None = None, usd: float | None = None) -> bool:
        """Write a job's end and settle or refund its charge; False if the job is gone meanwhile."""
        with self.transaction():
            there = self.update(job)
            if job.status == "COMPLETED":
                self._db.execute(
                    "UPDATE ledger SET settled=1, units=COALESCE(?, units), usd=COALESCE(?, usd) WHERE job_id=?",
                    (units, usd, job.id),
                )
            else:
                self._db.execute("UPDATE ledger SET settled=1, refunded=1, usd=0 WHERE job_id=?", (job.id,))
        return there

    def spent(self, org: str, service: str, *, until: float = math.inf) -> float:
        query = "SELECT COALESCE(SUM(usd), 0) FROM ledger WHERE org = ? AND service = ? AND at <= ? AND NOT refunded"
        return float(self._db.execute(query, (org, service, until)).fetchone()[0])

    # For the control plane

    def tally(self, table: str, column: str, where: str = "1") -> dict[str, int]:
        rows = self._db.execute(f"SELECT {column}, COUNT(*) FROM {table} WHERE {where} GROUP BY {column}")  # noqa: S608
        return {str(row[0]): int(row[1]) for row in rows}

    def record_leak(self, at: float, method: str, path: str, header: str) -> None:
        self._db.execute("INSERT INTO leaks (at, method, path, header) VALUES (?, ?, ?, ?)", (at, method, path, header))

    def leaks(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute("SELECT at, method, path, header FROM leaks ORDER BY seq")]

    def fault_rows(self) -> list[tuple[str, str, int, int]]:
        return [tuple(row) for row in self._db.execute("SELECT id, rule, seen, fired FROM faults ORDER BY seq")]

    def add_fault(self, fault_id: str, rule: str) -> None:
        self._db.execute("INSERT INTO faults (id, rule, seen, fired) VALUES (?, ?, 0, 0)", (fault_id, rule))

    def count_fault(self, fault_id: str, seen: int, fired: int) -> None:
        self._db.execute("UPDATE faults SET seen = ?, fired = ? WHERE id = ?", (seen, fired, fault_id))

    def drop_faults(self, fault_id: str | None) -> None:
        self._db.execute("DELETE FROM faults WHERE ?1 IS NULL OR id = ?1", (fault_id,))


def new_id() -> str:
    return str(uuid.uuid4())
