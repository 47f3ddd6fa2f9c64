"""The names under which this provider makes things at a service, so that it knows them again.

A voice is called what its author called it plus a suffix with the connection's namespace and the fingerprint of
samples and settings; sync. labs stores nothing about a voice but its name, so the name is all there is::

    Brand [vp:prod:k5gq…26…:c2d4]                                       for all runs: the same samples, the same name
    Brand [vp:prod:k5gq…26…#mhnfu1p3w3xa2mz5qab+t3k9zs:c2d4]            made anew although there is one
    Brand [vp:prod:k5gq@nightly_news#mhnfu1p3w3xa2mz5qab+t3k9zs:c2d4]   ephemeral: belongs to one run of a DAG

``@`` stands before the DAG that owns it, ``#`` before run and task, ``+`` before the time at which it was made and
``/`` before the time at which it expires (seconds since 1970, base 36). A label that is too long ends in ``~`` and a
hash of the whole.

A voice is adopted only if namespace and fingerprint match; and the check at the end covers the whole name, so that a
name that a person typed or edited is never taken for ours: the wrong adoption speaks in the wrong person's voice.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

MAX_NAME = 100  # characters; sync. labs' limit
MAX_OWNER = 24  # characters of a DAG's id that are written out; longer ones end in a hash
FULL = 26  # characters of a whole fingerprint: 130 bits
SHORT = 4  # of an ephemeral voice's: run, task and time tell it apart as well
RUN = 11  # characters for a run
TASK = 7  # characters for a task of it
TAKE = 10  # characters for an order, in the name of its file
MAX_PART = 48  # bytes of a task's id, and of a line's label, in the name of a file
_KINDS = {"scheduled": "s", "manual": "m", "backfill": "b", "asset_triggered": "a"}  # by which Airflow names its runs
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_HASH = "[a-z2-7]"
_NAMESPACE = "(?P<namespace>[a-z0-9-]+)"
_OWNER = rf"(?P<owner>[\w.~-]{{1,{MAX_OWNER}}})"
_RUN = rf"(?P<run>[0-9a-z]{{{RUN + TASK}}})"
_VOICE = re.compile(
    rf"(?P<label>.*\S) \[vp:{_NAMESPACE}:(?P<fingerprint>{_HASH}+)"
    rf"(?:@{_OWNER})?(?:#{_RUN}\+(?P<made>[0-9a-z]{{1,8}}))?(?:/(?P<expires>[0-9a-z]{{1,8}}))?:{_HASH}{{4}}\]",
    re.DOTALL | re.ASCII,
)
_ASSET = re.compile(rf"(?P<label>.*\S) \[vp:{_NAMESPACE}@{_OWNER}#{_RUN}:{_HASH}{{4}}\]", re.DOTALL | re.ASCII)


def short_hash(text: str, length: int = FULL) -> str:
    """Return a hash in small letters and digits; 26 of them hold 130 bits."""
    return base64.b32encode(hashlib.sha256(text.encode(errors="surrogatepass")).digest()).decode().lower()[:length]


def owner_of(dag_id: str) -> str:
    """Return how a DAG is named as an owner: as itself where that is short enough."""
    if re.fullmatch(rf"[\w.-]{{1,{MAX_OWNER}}}", dag_id, re.ASCII):
        return dag_id
    start = re.sub(r"[^\w.-]", "_", dag_id, flags=re.ASCII)[: MAX_OWNER - 7]
    return f"{start}~{short_hash(dag_id, 6)}"


def run_key(dag_id: str, run_id: str) -> str:
    """Return how a run is named: by kind and time, where its id says no more than that, so that it can be asked after.

    Any other id is hashed.
    """
    kind, _, stamp = run_id.partition("__")
    try:
        moment = datetime.fromisoformat(stamp)
        key = _KINDS[kind] + _base36((moment - _EPOCH) // _MICROSECOND).rjust(RUN - 1, "0")
    except (KeyError, TypeError, ValueError):  # TypeError: it names no time zone
        key = ""
    return key if run_id_of(key) == run_id else "x" + short_hash(f"{dag_id}\0{run_id}", RUN - 1)


def run_id_of(key: str) -> str | None:
    """Return the id of the run that a key names; ``None`` for a hashed one."""
    kind = next((kind for kind, letter in _KINDS.items() if key[:1] == letter), None)
    if kind is None or len(key) != RUN:
        return None
    try:
        return f"{kind}__{(_EPOCH + int(key[1:], 36) * _MICROSECOND).isoformat()}"
    except (OverflowError, ValueError):
        return None


def task_key(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Return how a task instance is named: by the key of its run, and a hash of its own."""
    return run_key(dag_id, run_id) + short_hash(f"{task_id}\0{map_index}", TASK)


@dataclass(frozen=True, slots=True)
class ManagedName:
    """A voice's name that this provider gave.

    :param label: what the author called it; cut where the whole would be too long for the service
    :param namespace: of the connection
    :param fingerprint: of samples and settings, from ``short_hash``; an ephemeral voice has its beginning
    :param owner: of an ephemeral voice: the DAG whose run it belongs to, from ``owner_of``
    :param run: where it was made for one task instance: that, from ``task_key``
    :param made: with ``run``: when, in seconds since 1970
    :param expires: when it has to be deleted, in seconds since 1970
    """

    label: str
    namespace: str
    fingerprint: str
    owner: str | None = None
    run: str | None = None
    made: int | None = None
    expires: int | None = None

    def __post_init__(self) -> None:
        if (self.run is None) != (self.made is None) or (self.owner is not None and self.run is None):
            raise ValueError("A voice of a run has run and time; one with an owner is a voice of a run.")
        object.__setattr__(self, "fingerprint", self.fingerprint[: SHORT if self.owner is not None else FULL])

    @property
    def is_ephemeral(self) -> bool:
        """Whether the voice belongs to one run."""
        return self.owner is not None

    def __str__(self) -> str:
        life = f"@{self.owner}" if self.owner is not None else ""
        life += f"#{self.run}+{_base36(self.made or 0)}" if self.run is not None else ""
        life += f"/{_base36(self.expires)}" if self.expires is not None else ""
        return _checked(self.label or "voice", f" [vp:{self.namespace}:{self.fingerprint}{life}:", MAX_NAME)

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read a name; ``None`` for every name that this provider did not give."""
        match = _VOICE.fullmatch(name)
        if match is None:
            return None
        try:
            found = cls(
                label=match["label"],
                namespace=match["namespace"],
                fingerprint=match["fingerprint"],
                owner=match["owner"],
                run=match["run"],
                made=int(match["made"], 36) if match["made"] else None,
                expires=int(match["expires"], 36) if match["expires"] else None,
            )
        except ValueError:
            return None
        return found if str(found) == name else None

    def accepts(self, other: ManagedName | None) -> bool:
        """Whether the other names a voice that serves as this one: same namespace, samples, settings and use.

        One that is for all runs takes each voice that belongs to no run, and ends no later where this one has an end;
        one that was made for a run takes only itself.
        """
        if other is None or (self.namespace, self.fingerprint) != (other.namespace, other.fingerprint):
            return False
        if self.run is not None:
            return (self.owner, self.run, self.made) == (other.owner, other.run, other.made)
        ends = self.expires is None or (other.expires is not None and other.expires <= self.expires)
        return ends and not other.is_ephemeral

    def is_of_the_same_task(self, other: ManagedName | None) -> bool:
        """Whether the other names an ephemeral voice of the same task instance, also of other samples."""
        if other is None or self.owner is None:
            return False
        return (self.namespace, self.owner, self.run) == (other.namespace, other.owner, other.run)

    @property
    def stem(self) -> str | None:
        """What a service is asked for to find all voices of this label: whole words that no name of it has cut."""
        longest = replace(
            self, fingerprint="a" * FULL, owner=None, run="0" * (RUN + TASK), made=36**7 - 1, expires=36**7 - 1
        )
        shown = str(longest).rpartition(" [vp:")[0]
        stem, cut, _ = shown.partition("~")
        return (stem.rpartition(" ")[0] or stem if cut else stem) or None

    def is_called(self, label: str) -> bool:
        """Whether this is what the author called it, also where it had to be cut."""
        label = " ".join(label.split())
        start, _, check = self.label.rpartition("~")
        return self.label == label or (check == short_hash(label, 4) and bool(start) and label.startswith(start))


@dataclass(frozen=True, slots=True)
class AssetName:
    """The display name of a file that this provider uploaded, by which it is known should a kill leave it behind.

    :param label: the file's own name
    :param namespace: of the connection
    :param owner: the DAG whose run needs it
    :param run: the task instance that uploaded it, from ``task_key``
    """

    label: str
    namespace: str
    owner: str
    run: str

    def __str__(self) -> str:
        return _checked(self.label, f" [vp:{self.namespace}@{self.owner}#{self.run}:", 2 * MAX_NAME)

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read a name; ``None`` for every name that this provider did not give."""
        match = _ASSET.fullmatch(name)
        found = cls(match["label"], match["namespace"], match["owner"], match["run"]) if match else None
        return found if found is not None and str(found) == name else None


def take_name(task_id: str, line: str, key: str) -> str:
    """Return the name of a result's file in a folder, without its ending: a person finds the line, a retry the file.

    :param line: the label or the map index of a mapped task instance; empty where it is not mapped
    :param key: of the order, by which all of them differ
    """
    said = (re.sub(r"[^\w.-]+", "_", part).encode()[:MAX_PART].decode(errors="ignore") for part in (task_id, line))
    return "-".join([*filter(None, (part.strip("._-") for part in said)), short_hash(key, TAKE)])


def _checked(label: str, suffix: str, longest: int) -> str:
    """Join a label and its suffix, cut to what the service takes, and add the check over both."""
    label, room = " ".join(label.split()) or "voice", longest - len(suffix) - 5
    if len(label) > room:
        label = f"{label[: room - 5]}~{short_hash(label, 4)}"
    return f"{label}{suffix}{short_hash(label + suffix, 4)}]"


def _base36(number: int) -> str:
    if number < 0:
        raise ValueError("There is no time before 1970 here.")
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
