"""One try at a script: what is there is used, what is missing is spoken, and what became of each line is written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import (
    InvalidInputError,
    JobTimeoutError,
    OutcomeUnknownError,
    PermanentVoiceError,
    TransientVoiceError,
    UnusableSpeechError,
    VoiceError,
)
from voice_provider.files.locations import explained
from voice_provider.files.storage import Output
from voice_provider.files.transfer import exists, names_in, remove
from voice_provider.lines.delivery import Delivery
from voice_provider.lines.manifest import NAME, Row, counts_of, iter_manifest, write_manifest
from voice_provider.lines.speaking import Speaking
from voice_provider.lines.takes import FOLDER, Take, text_hash
from voice_provider.lines.ways import Wanted, way_of
from voice_provider.models import Cost, Manifest
from voice_provider.money.budget import check_budget
from voice_provider.money.prices import NOTHING, total
from voice_provider.trust.provenance import ENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow.sdk.types import Logger

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.lines.journal import Journal
    from voice_provider.lines.orders import Orders
    from voice_provider.lines.pace import Pace
    from voice_provider.lines.records import Records
    from voice_provider.lines.script import Line
    from voice_provider.lines.speaking import Rest

NAMED = 10  # lines that a message names
STEPS = 20  # log lines of a whole script: one each 5 %
UNKNOWN = (
    "it may be paid, and there is no take of it: an earlier try ended while it was on its way. Look at the account, "
    "then name the line in redo=, or set on_unknown_outcome='resubmit' to buy it once more"
)
ORDERED = "it was ordered, and is not there yet; a retry, or clearing this task, collects it and pays nothing again"


class ScriptRun:
    """One try at a script.

    :param hook: of the connection
    :param folder: output, which ends in ``/``
    :param journal: the claim on it
    :param lines: of the script
    :param orders: what each line asks for
    :param records: writes what stands beside each take
    :param show: takes the line of progress for people
    """

    def __init__(
        self,
        hook: VoiceHook,
        folder: str,
        journal: Journal,
        lines: Sequence[Line],
        orders: Orders,
        records: Records,
        show: Callable[[str], None],
        log: Logger,
    ) -> None:
        self._hook, self._folder, self._journal, self._lines = hook, folder, journal, lines
        self._orders, self._records, self._show, self._log = orders, records, show, log
        self._keys = orders.keys_of_lines
        self._known: dict[str, Take] = {}  # what is known of takes that are there
        self._ours: set[str] = set()  # of those, spoken by this very try, before it waited on a triggerer
        self._there: dict[str, str] = {}  # location of a take by its key
        self._bare: set[str] = set()  # of those, without a record: a try was killed before it had written it
        self._received: dict[str, Manifest] = {}  # what a try before has noted of takes that it could not put in place
        self._errors: dict[str, VoiceError] = {}
        self._way = way_of(hook, self._place)
        self._delivery = Delivery(folder, journal.check, hook.settings.allowed_outputs)
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
        ours = entries.owner == owner
        if not ours:
            entries.owner, entries.failed, entries.redone = owner, {}, set()
        self._there = self._takes()
        again = {key for key, line in zip(self._keys, self._lines, strict=True) if line.id in redo} - entries.redone
        if again:  # before a paid take is deleted; what an earlier try has received is not looked for yet
            self._check_budget(key for key in self._orders if key in again or key not in self._there)
        self._forget(again)
        entries.again -= again | self._there.keys()
        for key in again:
            for remembered in (entries.open, entries.failed, entries.held):
                remembered.pop(key, None)
        entries.redone |= again
        for key in [key for key in entries.open if self._is_there(key)]:
            del entries.open[key]
            self._place(key).tidy()  # it may have been killed just then
        lost = {key for key, sent in entries.open.items() if not self._way.goes_on(sent)}
        entries.unknown = lost | {key for key in entries.unknown - again if not self._is_there(key)}
        for key in lost:
            del entries.open[key]
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
        self._mend_records(ours=ours)

    def _mend_records(self, *, ours: bool) -> None:
        """Write the records of takes that a kill has left without one."""
        for key in self._bare & self._there.keys() & self._orders.keys():
            take = self._received.pop(key, None) or self._records.describe(self._orders[key], self._there[key])
            self._known[key] = Take(take.uri, take.sha256, take.seconds)
            if take.cost is None:
                take = take.model_copy(update={"cost": self._hook.speech_cost(self._orders[key].options)})
            self._records.mend(self._orders[key], take, ours=ours)

    def speak(self, pace: Callable[[], Pace], *, stop_on_error: bool, **waits: Any) -> Rest | None:
        """Speak what is missing.

        :param pace: how many at a time; asked only where something is missing
        :param waits: ``patience`` and the other times of ``Speaking``, in seconds
        :return: jobs that are to be waited for elsewhere, after ``leave``; None: all is done
        """
        wanted = [
            Wanted(key, self._orders) for key in self._orders if key not in self._there and key not in self._errors
        ]
        self._log.info(
            "%s lines are %s takes: %s are there, %s are to be spoken.",
            *(f"{count:,}" for count in (len(self._lines), len(self._orders), len(self._there_of_it), len(wanted))),
        )
        if not wanted or (stop_on_error and self._errors):
            return None
        self._check_budget(one.key for one in wanted)
        self._speaking = Speaking(
            self._way,
            self._journal,
            pace(),
            stop_on_error=stop_on_error,
            record=self._records.keep,
            tell=self._tell,
            log=self._log,
            **waits,
        )
        return self._speaking.run(wanted)

    def leave(self, until: float) -> None:
        """Write down how far it is, and keep the folder while jobs are waited for elsewhere.

        :param until: wall-clock time, seconds since 1970
        """
        self._write_rows()
        self._journal.leave(until)

    def end(self) -> dict[str, Any]:
        """Write the manifest, deliver copies and give the folder back; return what the task returns.

        :raises StaleTryError: another run has taken over; what is there is its business
        :raises VoiceError: a copy cannot be delivered; the manifest tells which are
        """
        self._journal.write()
        try:
            self._write_rows()
            rows, trouble = self._delivery.deliver(self.rows)
            if rows != self.rows:
                self.rows = rows
                self._write_manifest(rows)
            if trouble is not None:
                raise trouble
        finally:
            self._journal.close()
        cost = total(cost for key in self._orders if (cost := self._cost(key)) is not None)
        self._log.info("Cost of this try: %s.", cost)
        seconds = {row.take: row.seconds or 0.0 for row in self.rows}
        return {
            "service": self._hook.service.name,
            "voice_conn_id": self._hook.voice_conn_id,
            "manifest": f"{self._folder}{NAME}",
            "counts": counts_of(self.rows),
            "seconds": round(sum(seconds.values()), 3),
            "cost": cost.dump(),
        }

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
        """Hold what would be ordered against the limit; what an earlier try has sent may be paid already."""
        sent = self._journal.entries.open
        missing = [self._hook.speech_cost(self._orders[key].options) for key in keys if key not in sent]
        check_budget(total(missing), self._max_cost, f"The {len(missing):,} takes that are missing")

    def _cost(self, key: str) -> Cost | None:
        """Return what a take has cost in this try, or may have; None: it was not ordered, or was refused."""
        failure = self._speaking.failures.get(key) if self._speaking else None
        if self._is_spoken(key):
            return self._hook.speech_cost(self._orders[key].options)
        if key in self._there:
            return NOTHING
        if isinstance(failure, UnusableSpeechError) or (failure is not None and self._is_in_doubt(key)):
            return Cost(basis="unknown", units=self._hook.speech_cost(self._orders[key].options).units)
        return None

    def _is_spoken(self, key: str) -> bool:
        return key in self._ours or (self._speaking is not None and key in self._speaking.takes)

    def _is_in_doubt(self, key: str) -> bool:
        return key in self._journal.entries.unknown or key in self._journal.entries.held

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
            found = names_in(location)
        endings = self._hook.service.makes["speech"]
        parts = ((name, *name.partition(".")) for name in found)
        there = {stem: f"{location}{name}" for name, stem, _, ending in parts if stem and ending in endings}
        recorded = {name.partition(".")[0] for name in found if name.endswith(ENDING)}
        self._bare = there.keys() - recorded
        return there

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
            self._received[key] = Manifest.model_validate(receipt.facts)
        else:
            return False
        if found:
            self._there[key] = uri
            self._bare.add(key)
            self._log.info("Take %s… was received by an earlier try; it is kept.", key[:12])
        return found

    def _forget(self, again: set[str]) -> None:
        """Delete takes that are bought again; the manifest never tells of a take that is not there."""
        location = f"{self._folder}{NAME}"
        if exists(location):
            gone = False
            for row in iter_manifest(location):
                if row.uri is None:
                    continue
                if not self._stays(row, again):
                    gone = True
                    continue
                self._known[row.take] = Take(row.uri, row.sha256, row.seconds)
                self._delivery.remember(row)
                if self._journal.away_until is not None and row.outcome == "spoken":
                    self._ours.add(row.take)
            if gone:
                self._write_manifest(row for row in iter_manifest(location) if self._stays(row, again))
        for key in again & self._there.keys():
            take = self._there[key]
            for file in (take, f"{take}{ENDING}"):
                self._journal.check()  # what another run has paid since is not ours to delete
                remove(file)
            if exists(take):
                self._journal.check()
                raise InvalidInputError(f"redo: {take} cannot be deleted. Check the worker's permissions.")
            del self._there[key]

    def _stays(self, row: Row, again: set[str]) -> bool:
        """Whether a row of the manifest before still tells the truth."""
        return row.uri is None or (row.take in self._there and row.take not in again)

    def _take(self, key: str) -> Take:
        """Return what is known of a take that was there; reads it, where nothing else tells."""
        known, uri = self._known.get(key), self._there[key]
        if known is None or known.uri != uri:
            take = self._records.describe(self._orders[key], uri)
            known = self._known[key] = Take(uri, take.sha256, take.seconds)
        return known

    # what became of them

    def _write_rows(self) -> None:
        seen: set[str] = set()
        costs: dict[str, dict[str, Any]] = {}  # what costs the same is told by the same dict: ten thousand take room
        rows = []
        for key, line in zip(self._keys, self._lines, strict=True):
            cost = self._cost(key)
            told = cost if cost is None or key not in seen else NOTHING  # equal lines share a take
            dumped = told.dump() if told is not None else None
            rows.append(replace(self._row(key, line), cost=dumped and costs.setdefault(repr(dumped), dumped)))
            seen.add(key)
        self.rows = self._delivery.standing(rows)
        self._write_manifest(self.rows)

    def _write_manifest(self, rows: Iterable[Row]) -> None:
        self._journal.check()  # after a while in which takes were read or copied: a later run's is not replaced
        write_manifest(f"{self._folder}{NAME}", rows)

    def _error(self, key: str) -> VoiceError | None:
        return self._errors.get(key) or (self._speaking.failures.get(key) if self._speaking else None)

    def _row(self, key: str, line: Line) -> Row:
        take = self._speaking.takes.get(key) if self._speaking else None
        error, outcome = self._error(key), "missing"
        if take is not None:
            outcome = "spoken"
        elif key in self._there:
            outcome, take = "spoken" if key in self._ours else "reused", self._take(key)
        elif error is not None:
            outcome = "unknown" if self._is_in_doubt(key) else "failed"
        elif key in self._journal.entries.open:
            error = JobTimeoutError(ORDERED)
        return Row(
            id=line.id,
            text_sha256=text_hash(line.text),
            take=key,
            outcome=outcome,  # type: ignore[arg-type]  # one of those above
            uri=take and take.uri,
            sha256=take and take.sha256,
            seconds=take and take.seconds,
            error=str(error) if error is not None else None,
            voice=line.voice,
            **self._records.told(self._orders[key]),
            start=line.start,
            end=line.end,
            file=line.file,
            notes={**line.notes, "language": line.language} if line.language else line.notes,
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
            reused = there - len(self._ours & self._orders.keys())
            line = f"{done:,} of {total:,} takes, {reused:,} reused, {failed:,} failed"
            self._log.info("%s", line)
            self._show(line)
