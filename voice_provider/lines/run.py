"""One try at a script: what is there is used, what is missing is spoken, and what became of each line is written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import (
    InvalidInputError,
    OutcomeUnknownError,
    PermanentVoiceError,
    TransientVoiceError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.files.locations import explained, open_path, reading
from voice_provider.files.storage import Output, StoredFile
from voice_provider.files.transfer import exists, remove
from voice_provider.lines.manifest import NAME, Row, counts_of, read_manifest, write_manifest
from voice_provider.lines.speaking import Speaking, Wanted
from voice_provider.lines.takes import FOLDER, take_key, text_hash
from voice_provider.models import Cost
from voice_provider.money.budget import check_budget
from voice_provider.money.prices import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow.sdk.types import Logger

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.lines.journal import Journal
    from voice_provider.lines.pace import Pace
    from voice_provider.lines.script import Line
    from voice_provider.models import Manifest

NAMED = 10  # lines that a message names
NOTHING = Cost(usd=0.0, basis="computed")
STEPS = 20  # log lines of a whole script: one each 5 %
UNKNOWN = (
    "it may be paid, and there is no take of it: an earlier try ended while it was on its way. Look at the account, "
    "then name the line in redo=, or set on_unknown_outcome='resubmit' to buy it once more"
)


class ScriptRun:
    """One try at a script.

    :param hook: of the connection
    :param folder: output, which ends in ``/``
    :param journal: the claim on it
    :param lines: of the script
    :param orders: what each line asks for
    :param show: takes the line of progress for people
    """

    def __init__(
        self,
        hook: VoiceHook,
        folder: str,
        journal: Journal,
        lines: Sequence[Line],
        orders: Sequence[SpeechOrder],
        show: Callable[[str], None],
        log: Logger,
    ) -> None:
        self._hook, self._folder, self._journal, self._lines = hook, folder, journal, lines
        self._show, self._log = show, log
        name = hook.service.name
        self._keys = [take_key(name, order.describe(), line.take) for line, order in zip(lines, orders, strict=True)]
        self._orders = dict(zip(self._keys, orders, strict=True))
        self._known: dict[str, Row] = {}  # what the manifest before tells of takes that are there
        self._there: dict[str, str] = {}  # location of a take by its key
        self._errors: dict[str, VoiceError] = {}
        self._speaking: Speaking | None = None
        self._told = 0
        self._max_cost: float | None = None
        self.rows: list[Row] = []

    def begin(self, owner: str, redo: set[str], *, resubmit: bool, max_cost: float | None = None) -> None:
        """Find out what is there, what is in doubt, and what is to be bought again.

        :param owner: task instance and clear, for which a refusal and a ``redo`` hold
        :param redo: ids of lines
        :param resubmit: buy once more what is in doubt
        :param max_cost: dollars that what is missing may cost; None: any
        :raises BudgetError: it would cost more; no take is deleted for ``redo``
        """
        self._max_cost = max_cost
        entries = self._journal.entries
        if entries.owner != owner:
            entries.owner, entries.failed, entries.redone = owner, {}, set()
        self._there = self._takes()
        again = {key for key, line in zip(self._keys, self._lines, strict=True) if line.id in redo} - entries.redone
        if again:  # before a paid take is deleted; what an earlier try has received is not looked for yet
            self._check_budget(key for key in self._orders if key in again or key not in self._there)
        self._forget(again)
        entries.open, entries.unknown = entries.open - again, entries.unknown - again
        entries.again -= again | self._there.keys()
        for key in again:
            entries.failed.pop(key, None)
            entries.held.pop(key, None)
        entries.redone |= again
        entries.unknown = {key for key in entries.open | entries.unknown if not self._is_there(key)}
        entries.open = set()
        for key in list(entries.held):
            if self._is_there(key):
                del entries.held[key]
        for key in self._orders.keys() & (entries.unknown | entries.held.keys()):
            if self._orders[key].is_free(self._hook.service) or (resubmit and key not in entries.again):
                entries.again.add(key)
                entries.unknown.discard(key)
                entries.held.pop(key, None)
            else:
                held = entries.held.get(key)
                what = f"it is paid, and kept at {held.at}, which cannot be reached from here" if held else UNKNOWN
                self._errors[key] = OutcomeUnknownError(what)
        for key in self._orders.keys() & entries.failed.keys():
            if key not in self._there:
                self._errors.setdefault(key, PermanentVoiceError(entries.failed[key]))
        self._journal.write()

    def speak(self, pace: Callable[[], Pace], *, patience: float, stop_on_error: bool) -> None:
        """Speak what is missing.

        :param pace: how many at a time; asked only where something is missing
        :param patience: seconds without an accepted line
        """
        wanted = [
            Wanted(key, order)
            for key, order in self._orders.items()
            if key not in self._there and key not in self._errors
        ]
        self._log.info(
            "%s lines are %s takes: %s are there, %s are to be spoken.",
            *(f"{count:,}" for count in (len(self._lines), len(self._orders), len(self._there_of_it), len(wanted))),
        )
        if not wanted or (stop_on_error and self._errors):
            return
        self._check_budget(one.key for one in wanted)
        self._speaking = Speaking(
            self._hook,
            self._place,
            self._journal,
            pace(),
            patience=patience,
            stop_on_error=stop_on_error,
            tell=self._tell,
            log=self._log,
        )
        self._speaking.run(wanted)

    def end(self) -> dict[str, Any]:
        """Write the manifest and give the folder back; return what the task returns.

        :raises StaleTryError: another run has taken over; what is there is its business
        """
        self._journal.write()
        try:
            facts = {key: self._facts(key) for key in self._there_of_it}
            costs = self._costs()
            self.rows = [self._row(key, line, facts) for key, line in zip(self._keys, self._lines, strict=True)]
            self.rows = [replace(row, cost=cost) for row, cost in zip(self.rows, costs, strict=True)]
            write_manifest(f"{self._folder}{NAME}", self.rows)
        finally:
            self._journal.close()
        self._log.info("Cost of this try: %s.", self.cost)
        seconds = {row.take: row.seconds or 0.0 for row in self.rows}
        return {
            "manifest": f"{self._folder}{NAME}",
            "counts": counts_of(self.rows),
            "seconds": round(sum(seconds.values()), 3),
            "cost": self.cost.dump(),
        }

    @property
    def cost(self) -> Cost:
        """What this try has cost, or may have cost."""
        return total(row.cost for row in self.rows if row.cost is not None)

    def judge(self, max_failed: int) -> None:
        """Fail where more lines than that have no take.

        :raises OutcomeUnknownError: some of them may be paid
        :raises PermanentVoiceError: they would fail again
        :raises TransientVoiceError: some may succeed when they are tried again
        """
        bad = [row for row in self.rows if row.outcome not in ("spoken", "reused")]
        if len(bad) <= max_failed:
            return
        unknown = [row for row in bad if row.outcome == "unknown"]
        named = unknown or [row for row in bad if row.error] or bad
        ids = ", ".join(row.id[:60] for row in named[:NAMED])
        failed = [error for key in {row.take for row in bad} if (error := self._error(key)) is not None]
        kind: type[VoiceError] = TransientVoiceError
        if unknown:
            kind = OutcomeUnknownError
        elif failed and all(isinstance(error, PermanentVoiceError) for error in failed):
            kind = PermanentVoiceError
        raise kind(
            f"{len(bad):,} of {len(self.rows):,} lines have no take (max_failed={max_failed})"
            + (f", and {len(unknown):,} of them may be paid" if unknown else "")
            + f": {ids}{' ...' if len(named) > NAMED else ''}. What was spoken is kept; {self._folder}{NAME} tells of "
            f"each line. Of '{named[0].id[:60]}': {(named[0].error or 'it was not tried').rstrip('.')}."
        )

    # what it costs

    def _check_budget(self, keys: Iterable[str]) -> None:
        missing = [self._hook.speech_cost(self._orders[key].options) for key in keys]
        check_budget(total(missing), self._max_cost, f"The {len(missing):,} takes that are missing")

    def _costs(self) -> list[Cost | None]:
        """Return what each line has cost in this try: of lines that share a take, the first."""
        once = {key: self._cost(key) for key in self._orders}
        left = dict(once)
        return [left.pop(key, once[key] and NOTHING) for key in self._keys]

    def _cost(self, key: str) -> Cost | None:
        if (take := self._spoken(key)) is not None:
            return take.cost
        if key in self._there:
            return NOTHING
        failure = self._speaking.failures.get(key) if self._speaking else None
        if isinstance(failure, UnusableSpeechError) or (failure is not None and key in self._in_doubt):
            return Cost(basis="unknown", units=self._hook.speech_cost(self._orders[key].options).units)
        return None

    def _spoken(self, key: str) -> Manifest | None:
        return self._speaking.takes.get(key) if self._speaking else None

    @property
    def _in_doubt(self) -> set[str]:
        entries = self._journal.entries
        return entries.unknown | entries.held.keys()

    # takes

    @property
    def _there_of_it(self) -> list[str]:
        return [key for key in self._orders if key in self._there]

    def _place(self, key: str) -> Output:
        return Output(f"{self._folder}{FOLDER}", key, self._hook.settings.allowed_outputs, spool=self._spool)

    @property
    def _spool(self) -> str | None:
        settings = self._hook.settings
        if settings.spool_location is None:
            return None
        folder = hashlib.sha256(self._folder.encode()).hexdigest()[:16]
        return f"{settings.spool_location.rstrip('/')}/{settings.namespace}/lines-{folder}/"

    def _takes(self) -> dict[str, str]:
        location = f"{self._folder}{FOLDER}"
        with explained(f"The takes in {location} cannot be listed", "Check the worker's permissions."):
            path = open_path(location)
            path.fs.invalidate_cache()
            names = path.fs.ls(path.path, detail=False) if exists(location) else []
        found = (name.rstrip("/").rpartition("/")[2] for name in names)
        endings = self._hook.service.makes["speech"]
        parts = ((name, *name.partition(".")) for name in found)
        return {stem: f"{location}{name}" for name, stem, _, ending in parts if stem and ending in endings}

    def _is_there(self, key: str) -> bool:
        """Whether there is a take; one that was received before a kill, or could not be put in its place, is now."""
        if key in self._there:
            return True
        place, held = self._place(key), self._journal.entries.held.get(key)
        if held is not None:
            uri, found = held.uri, place.recover(held.uri, held.sha256, held.bytes, [held.at])
        elif (receipt := place.received()) is not None:
            uri = str(receipt.facts["uri"])
            found = place.recover(uri, receipt.sha256, receipt.bytes)
        else:
            return False
        if found:
            self._there[key] = uri
            self._log.info("Take %s… was received by an earlier try; it is kept.", key[:12])
        return found

    def _forget(self, again: set[str]) -> None:
        """Delete takes that are bought again; the manifest never tells of a take that is not there."""
        location = f"{self._folder}{NAME}"
        before = read_manifest(location) if exists(location) else []
        rows = [row for row in before if row.uri is None or (row.take in self._there and row.take not in again)]
        if len(rows) < len(before):
            write_manifest(location, rows)
        self._known = {row.take: row for row in rows if row.uri is not None}
        for key in again & self._there.keys():
            remove(self._there[key])
            if exists(self._there[key]):
                raise InvalidInputError(f"redo: {self._there[key]} cannot be deleted. Check the worker's permissions.")
            del self._there[key]

    def _facts(self, key: str) -> tuple[str | None, float | None]:
        """Return hash and length of a take that was there."""
        if (row := self._known.get(key)) is not None and row.uri == self._there[key]:
            return row.sha256, row.seconds
        uri, rate = self._there[key], self._orders[key].options.pcm_rate
        if rate is None:
            file = StoredFile(uri)
            return file.sha256(), file.seconds()
        with reading(uri), open_path(uri).open("rb") as samples:  # they are no file of media
            data = bytes(samples.read())
        return hashlib.sha256(data).hexdigest(), len(data) / 2 / rate

    # what became of them

    def _error(self, key: str) -> VoiceError | None:
        return self._errors.get(key) or (self._speaking.failures.get(key) if self._speaking else None)

    def _row(self, key: str, line: Line, facts: dict[str, tuple[str | None, float | None]]) -> Row:
        take = self._spoken(key)
        error, outcome = self._error(key), "missing"
        uri, sha256, seconds = None, None, None
        if take is not None:
            outcome, uri, sha256, seconds = "spoken", take.uri, take.sha256, take.seconds
        elif key in self._there:
            outcome, uri, (sha256, seconds) = "reused", self._there[key], facts[key]
        elif error is not None:
            outcome = "unknown" if key in self._in_doubt else "failed"
        return Row(
            id=line.id,
            text_sha256=text_hash(line.text),
            take=key,
            outcome=outcome,  # type: ignore[arg-type]  # one of those above
            uri=uri,
            sha256=sha256,
            seconds=seconds,
            error=str(error) if error is not None else None,
            voice=line.voice,
            start=line.start,
            end=line.end,
            file=line.file,
            notes={**line.notes, **({"language": line.language} if line.language else {})},
        )

    def _tell(self) -> None:
        """Show how far it is, each twentieth of the way."""
        assert self._speaking is not None  # noqa: S101  # it calls this
        there, total = len(self._there_of_it), len(self._orders)
        failed = len(self._speaking.failures) + len(self._errors)
        done = len(self._speaking.takes) + there + failed
        step = done * STEPS // total
        if step > self._told:
            self._told = step
            line = f"{done:,} of {total:,} takes, {there:,} reused, {failed:,} failed"
            self._log.info("%s", line)
            self._show(line)
