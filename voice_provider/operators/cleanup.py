"""The nightly sweep: voices and uploaded files that nobody needs any more give their places back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import pendulum

from voice_provider.exceptions import (
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    TransientVoiceError,
    VoiceError,
)
from voice_provider.jobs.inventory import ManagedVoice, Rules, judge, judge_asset, managed
from voice_provider.jobs.names import AssetName, owner_of
from voice_provider.models import Capability, Room
from voice_provider.operators.arguments import as_text, flag_of, number_of, patterns_of
from voice_provider.operators.base import VoiceOperator, panel
from voice_provider.operators.runs import Runs
from voice_provider.operators.times import begin_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from airflow.sdk import Context

T = TypeVar("T")

PAUSE = 30.0  # seconds to wait on a rate limit that names no time
PATIENCE = 20  # rate limits in a row until a voice is given up
LONGEST = 7200.0  # seconds that a sweep waits for rate limits in all; a retry goes on
LOSSES = 5  # failures in a row until the rest is left: the service is down, or the key is gone
SPARE = 100  # tries beyond max_deletions: what cannot be deleted is not to keep the rest from it, night after night
TOLD_EVERY = 5.0  # seconds between two lines of progress


class CleanupVoicesOperator(VoiceOperator):
    """Delete the voices of the connection's namespace that have a reason to go, and uploads that no run needs.

    Touches only what this provider has made: its names carry a check, so a voice that a person named is left alone,
    and so is another namespace's. An expired voice always has a reason; the others are given here. Where several are
    given, one is enough; ``pattern`` and ``dag_ids`` narrow all of them down, and are a reason themselves where neither
    ``older_than`` nor ``orphaned`` is given. A voice of a run that is still active only goes when it has expired.
    Expired voices go first, then the oldest. Safe to run twice at once, and to be killed: a retry does the rest.

    Returns ``deleted`` (a line for each: id, name and why), ``would_delete`` (the same of a dry run), ``failed``,
    ``assets`` (uploaded files, the same way), ``left`` (how many more voices have a reason to go and were not tried),
    ``kept`` (how many voices of ours stay, by reason), ``others`` (how many voices are another namespace's, or none of
    this provider's), ``slots_in_use``, ``slot_limit`` (``None`` where not known) and ``dry_run``. Where something
    failed, the task fails and the same is its XCom ``report``.

    :param older_than: made longer ago than this: timedelta, ``pendulum.duration`` (a month is a calendar month) or
        days; counted in UTC, where a day has 24 hours. sync. labs keeps no dates: only the age of voices that belong
        to one run is known there, and others stay (templated)
    :param orphaned: also delete ephemeral voices and uploads whose run has ended: a killed task or ``dagrun_timeout``
        skips a teardown; default: False (templated)
    :param pattern: only voices whose author's name fits, with ``*`` and ``?`` (templated)
    :param dag_ids: only ephemeral voices and uploads of these DAGs; default: of all, and voices of none. An empty list
        is no DAG, so nothing goes; a text is refused, an empty one too, because not given would be all. DAGs whose id
        has more than 24 characters have to be named here for their orphans to be known (templated)
    :param keep_last: of each name, so many of the newest stay unless they have expired; no reason to delete the others;
        default: 0 (templated)
    :param protect: names, ids or patterns of voices that always stay; of a name that was cut for the service the rest
        is not known, and what may fit stays (templated)
    :param assets: also delete uploaded files of runs that have ended, by the same rules; those that were given a name
        of their own are left alone; default: True (templated)
    :param dry_run: only say what would be deleted; default: False (templated)
    :param max_deletions: delete so many voices at most, and so many files; what cannot be deleted does not count, but
        no more than 100 are tried beyond it; default: no limit (templated)
    :raises InvalidInputError: a pattern that fits everything, without ``dry_run`` or ``max_deletions``
    :raises VoiceError: the first thing that the service refused after the voices were listed; the rest was done
    """

    template_fields: Sequence[str] = (
        *VoiceOperator.template_fields,
        "older_than",
        "orphaned",
        "pattern",
        "dag_ids",
        "keep_last",
        "protect",
        "assets",
        "dry_run",
        "max_deletions",
    )

    def __init__(
        self,
        *,
        older_than: timedelta | float | str | None = None,
        orphaned: bool | str = False,
        pattern: str | None = None,
        dag_ids: Sequence[str] | None = None,
        keep_last: int | str = 0,
        protect: Sequence[str] = (),
        assets: bool | str = True,
        dry_run: bool | str = False,
        max_deletions: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.older_than = older_than
        self.orphaned = orphaned
        self.pattern = pattern
        self.dag_ids = dag_ids
        self.keep_last = keep_last
        self.protect = protect
        self.assets = assets
        self.dry_run: Any = dry_run  # BaseOperator has a method of this name, which nothing in Airflow 3 calls
        self.max_deletions = max_deletions

    def execute(self, context: Context) -> dict[str, Any]:
        """Look, judge, delete, and report."""
        rules = self._rules()
        dry = flag_of(self.dry_run, "dry_run")
        most = number_of(self.max_deletions, "max_deletions")
        with_files = flag_of(self.assets, "assets")
        if rules.fits_everything and not dry and most is None:
            raise InvalidInputError(
                f"pattern '{rules.pattern}' fits every voice. Nothing was deleted. Leave it out, or set max_deletions "
                "or dry_run if that is what you want."
            )
        runs = Runs(context, self.dag_ids or (), self.log)
        voices = self.hook.list_voices()
        ours = managed(voices)
        own = [found for found in ours if found.name.namespace == self.hook.settings.namespace]
        runs.ask((found.name.owner, found.name.run) for found in own if found.name.owner and found.name.run)
        verdict = judge(own, rules, runs.state_of, time.time())
        self._tell_what_stays(len(voices), len(own), verdict.stays)

        sweep = Sweep(self, context, dry=dry, most=most)
        goes = [(found.voice.id, _shown(found), why) for found, why in verdict.goes]
        lines, left = sweep.all(goes, self.hook.delete_voice, "Voice")
        files: list[str] = []
        if with_files and Capability.HOSTS_ASSETS in self.hook.service.capabilities:
            unused = sweep.ask(lambda: self._files(rules, runs), "The uploaded files could not be looked through")
            files, _ = sweep.all(unused or [], self.hook.delete_asset, "Asset")
        room = sweep.ask(self.hook.slots, "The clone slots could not be counted") or Room()
        report = {
            "dry_run": dry,
            "deleted": [] if dry else lines,
            "would_delete": lines if dry else [],
            "assets": files,
            "failed": sweep.failed,
            "left": left,
            "kept": dict(verdict.stays),
            "others": {"other_namespaces": len(ours) - len(own), "not_ours": len(voices) - len(ours)},
            "slots_in_use": room.active,
            "slot_limit": room.limit,
        }
        self.log.info(
            "%s %d voices and %d files; %d failed, %d left over. Clone slots in use: %s.",
            "Would delete" if dry else "Deleted",
            len(lines),
            len(files),
            len(sweep.failed),
            left,
            room,
        )
        if sweep.error is not None:
            context["ti"].xcom_push(key="report", value=report)  # what is raised leaves no return value
            raise sweep.error
        return report

    def _rules(self) -> Rules:
        now = pendulum.now("UTC")
        dag_ids = patterns_of(self.dag_ids, "dag_ids")
        age = self.older_than if not isinstance(self.older_than, str) else as_text(self.older_than)
        return Rules(
            pattern=as_text(self.pattern),
            owners=frozenset(map(owner_of, dag_ids)) if self.dag_ids is not None else None,
            cutoff=begin_of(age, "older_than", now).timestamp() if age is not None else None,
            orphaned=flag_of(self.orphaned, "orphaned"),
            keep_last=number_of(self.keep_last, "keep_last") or 0,
            protect=patterns_of(self.protect, "protect"),
        )

    def _files(self, rules: Rules, runs: Runs) -> list[tuple[str, str, str]]:
        """Name the uploads of ours that no run and no running job needs."""
        namespace = self.hook.settings.namespace
        found = []
        named = [
            (asset, AssetName.parse(asset.name or "")) for asset in self.hook.list_assets(search=f"[vp:{namespace}@")
        ]
        runs.ask((name.owner, name.run) for _, name in named if name is not None)
        for asset, name in named:
            if name is None or name.namespace != namespace:
                continue
            why = judge_asset(asset, name, rules, runs.state_of, time.time())
            if why is not None:
                found.append((asset, why))
        used = self.hook.run(self.hook.service.assets_in_use()) if found else frozenset()
        return [(asset.id, asset.name or "", why) for asset, why in found if not {asset.id, asset.url} & used]

    def _tell_what_stays(self, listed: int, own: int, stays: Counter[str]) -> None:
        self.log.info(
            "%d voices at %s, %d of them of ours in namespace '%s'.",
            listed,
            self.hook.service.label,
            own,
            self.hook.settings.namespace,
        )
        for reason, number in stays.most_common():
            self.log.info("%d stay: %s.", number, reason)


class Sweep:
    """Deletes one thing after the other; one that fails does not stop the rest.

    :param dry: only say what would be deleted
    :param most: so many deletions of a kind
    """

    def __init__(self, operator: VoiceOperator, context: Context, *, dry: bool, most: int | None) -> None:
        self.failed: list[str] = []
        self.error: VoiceError | None = None
        self._log, self._show, self._dry = operator.log, panel(context), dry
        self._most = most
        self._losses, self._waited, self._told = 0, 0.0, time.monotonic()

    def ask(self, ask: Callable[[], T], what: str) -> T | None:
        """Ask the service something; where it does not answer, what was deleted has to be told all the same."""
        try:
            return ask()
        except VoiceError as error:
            self._fail(what, error)
            return None

    def all(
        self, found: Sequence[tuple[str, str, str]], delete: Callable[[str], None], what: str
    ) -> tuple[list[str], int]:
        """Delete what was found, as (id, name, why); return a line for each that is gone, and how many are untried."""
        lines: list[str] = []
        left = len(found)
        for identifier, name, why in found[: None if self._most is None else self._most + SPARE]:
            if len(lines) == self._most:
                break
            left -= 1
            line = f"{identifier} {name}: {why}"
            if self._dry or self._delete(identifier, line, delete):
                self._log.info("%s %s %s", what, "would go:" if self._dry else "deleted:", line)
                lines.append(line)
            if self._losses >= LOSSES:
                self._log.error("%d deletions have failed in a row; the rest is left for another time.", LOSSES)
                self.failed.append(f"{left} more: not tried after {LOSSES} failures in a row")
                break
            if time.monotonic() - self._told > TOLD_EVERY:
                self._told = time.monotonic()
                self._show(f"{what}s: {len(found) - left:,} of {len(found):,} looked at.")
        return lines, left

    def _delete(self, identifier: str, line: str, delete: Callable[[str], None]) -> bool:
        for waited in range(PATIENCE + 1):
            try:
                delete(identifier)
            except NotFoundError:
                self._log.info("Gone already: %s", line)
                break
            except VoiceError as error:
                told = getattr(error, "retry_after", None)
                asked = PAUSE if told is None else float(told)
                if isinstance(error, RateLimitedError) and waited < PATIENCE and self._waited + asked <= LONGEST:
                    self._waited += asked
                    self._log.info("Waiting %g s, as the service asks. %s", asked, error)
                    time.sleep(asked)
                    continue
                self._fail(line, error)
                # What is refused for good is about this one alone, and the service is there to say so.
                lost = isinstance(error, TransientVoiceError) or error.status == 401
                self._losses = self._losses + 1 if lost else 0
                return False
            else:
                self._losses = 0
                return True
        self._losses = 0
        return False

    def _fail(self, what: str, error: VoiceError) -> None:
        self._log.warning("Not done: %s. %s", what, error)
        self.failed.append(f"{what}: {error}")
        self.error = self.error or error


def _shown(found: ManagedVoice) -> str:
    return f"'{found.name.label}'" + (f" of {found.name.owner}" if found.name.owner else "")
