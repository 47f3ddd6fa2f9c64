"""What this provider made at a service: whose it is, how old, how long it may stay, and what may go first.

Nothing in here asks anybody: voices, files, the time and what is known of runs are handed in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import pendulum

from voice_provider.exceptions import InvalidInputError
from voice_provider.jobs.names import MAX_NAME, AssetName, ManagedName, short_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voice_provider.models import Asset, Voice

RunState = Literal["active", "ended", "unknown", "unnamed"]  # unnamed: of a DAG that cannot be asked after
StateOf = Callable[[str, str], RunState]
GRACE = 86_400  # seconds for which a voice stays that nobody here can know to be needed: it may be another Airflow's


@dataclass(frozen=True, slots=True)
class ManagedVoice:
    """A voice that this provider made."""

    voice: Voice
    name: ManagedName

    @property
    def made(self) -> float | None:
        """When it was made, in seconds since 1970; sync. labs keeps no dates, so there only some names tell."""
        if self.name.made is not None:
            return float(self.name.made)
        return timestamp_of(self.voice.created_at)

    def is_expired(self, now: float) -> bool:
        """Whether it has to be deleted."""
        return self.name.expires is not None and self.name.expires <= now

    def matches(self, pattern: str) -> bool:
        """Whether a pattern that spares may fit what the author called it, or fits its whole name or its id."""
        return may_fit(self.name, pattern) or fits(self.voice.name, pattern) or fits(self.voice.id, pattern)

    def run_state(self, state_of: StateOf, now: float) -> RunState | None:
        """Return whether its run still needs it; ``None`` for one that belongs to no run."""
        return _run_state(self.name, self.made, state_of, now)


def fits(text: str, pattern: str) -> bool:
    """Whether a pattern fits; only ``*`` and ``?`` are special, because every name of ours has brackets in it."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def may_fit(name: ManagedName | AssetName, pattern: str) -> bool:
    """Whether a pattern can fit what the author called something: enough to spare it, never to delete it.

    Of a label that was cut, what is kept has to be a possible beginning of a text that fits; the rest is not known. A
    pattern without ``*`` and ``?`` is one text, and the hash of the label tells whether it is this one.
    """
    pattern, kept = " ".join(pattern.split()), _kept(name)
    if kept is None:
        return fits(name.label, pattern)
    if re.search("[*?]", pattern) is None:
        return name.label in (pattern, f"{kept}~{short_hash(pattern, 4)}")
    return fits(name.label, pattern) or any(fits(kept, pattern[:end]) for end in range(len(pattern) + 1))


def must_fit(name: ManagedName | AssetName, pattern: str) -> bool:
    """Whether a pattern fits what the author called something, whatever was cut off; its hash is no word of theirs."""
    kept = _kept(name)
    if kept is None:
        return fits(name.label, pattern)
    return pattern == name.label or (pattern.endswith("*") and fits(kept, pattern))


def _kept(name: ManagedName | AssetName) -> str | None:
    """Return what is left of a label that was too long for the service; ``None`` for a whole one."""
    cut = re.fullmatch("(.+)~[a-z2-7]{4}", name.label, re.DOTALL) if len(str(name)) >= MAX_NAME else None
    return cut[1] if cut else None


def managed(voices: Iterable[Voice]) -> list[ManagedVoice]:
    """Return the voices that this provider made, of whatever namespace."""
    return [ManagedVoice(voice, name) for voice in voices if (name := ManagedName.parse(voice.name)) is not None]


def to_evict(
    voices: Sequence[ManagedVoice], protect: Sequence[str], state_of: StateOf, now: float
) -> list[ManagedVoice]:
    """Return the voices of one namespace that may go for another, first the one that is missed least.

    Expired ones, then the oldest of those whose age is known: of a run that has ended, or for all runs and a day old at
    least, because who has been handed one is not known.
    """

    def rank(found: ManagedVoice) -> tuple[bool, float]:
        return (not found.is_expired(now), found.made or 0)

    free = [
        found
        for found in voices
        if not any(map(found.matches, protect))
        and (found.is_expired(now) or found.run_state(state_of, now) == "ended" or _is_old(found, now))
    ]
    return sorted(free, key=rank)


def _is_old(found: ManagedVoice, now: float) -> bool:
    return not found.name.is_ephemeral and found.made is not None and found.made < now - GRACE


@dataclass(frozen=True)
class Rules:
    """Which voices are deleted: what fits ``pattern`` and ``owners``, is not protected, and has a reason to go.

    A reason is: expired; older than ``cutoff``; its run has ended. Where neither of the last two is asked for, to fit
    is the reason, if there is anything to fit. ``keep_last`` only spares.

    :param pattern: with ``*`` and ``?``, for what the author called the voice
    :param owners: the DAGs to whose runs it belongs, from ``owner_of``; ``None``: of any or none
    :param cutoff: made before this time, in seconds since 1970
    :param orphaned: its run has ended, or is not known
    :param keep_last: of each name, so many of the newest stay, not counting those that have expired
    :param protect: patterns of voices that stay
    """

    pattern: str | None = None
    owners: frozenset[str] | None = None
    cutoff: float | None = None
    orphaned: bool = False
    keep_last: int = 0
    protect: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.keep_last < 0:
            raise InvalidInputError(f"keep_last is {self.keep_last}; it cannot be less than 0.")

    @property
    def fits_everything(self) -> bool:
        """Whether the pattern has nothing in it that a name could lack."""
        return self.pattern is not None and not re.sub(r"\[[^]]*\]|[*?\s]", "", self.pattern)


@dataclass
class Verdict:
    """What goes and why, in the order in which it goes; and how many stay, by reason."""

    goes: list[tuple[ManagedVoice, str]] = field(default_factory=list)
    stays: Counter[str] = field(default_factory=Counter)


def judge(voices: Sequence[ManagedVoice], rules: Rules, state_of: StateOf, now: float) -> Verdict:
    """Apply the rules to the voices of one namespace: expired ones first, then the oldest."""
    verdict = Verdict()
    newest = _newest([found for found in voices if not found.is_expired(now)], rules.keep_last)
    for found in sorted(voices, key=lambda found: (not found.is_expired(now), found.made or now, found.voice.id)):
        why, stays = _judge_one(found, rules, state_of, now)
        if why and found.voice.id in newest:
            why, stays = None, f"among the last {rules.keep_last} of its name"
        if why:
            verdict.goes.append((found, why))
        else:
            verdict.stays[stays] += 1
    return verdict


def _judge_one(found: ManagedVoice, rules: Rules, state_of: StateOf, now: float) -> tuple[str | None, str]:
    """Return why it goes, if it does, else why it stays."""
    if any(map(found.matches, rules.protect)):
        return None, "protected"
    if not (rules.pattern is None or found.name.is_called(rules.pattern) or must_fit(found.name, rules.pattern)):
        return None, "does not fit the pattern"
    if rules.owners is not None and found.name.owner not in rules.owners:
        return None, "is not of these DAGs"
    if found.is_expired(now):
        return f"expired on {_day(found.name.expires)}", ""
    state = found.run_state(state_of, now)
    if state == "active":
        return None, "its run is active"
    if state in ("unknown", "unnamed"):
        return None, "its run is not known"  # it may be active
    if rules.orphaned and state == "ended":
        return "its run has ended", ""
    if rules.cutoff is not None and found.made is not None and found.made < rules.cutoff:
        return f"made on {_day(found.made)}, before {_day(rules.cutoff)}", ""
    if rules.cutoff is not None and found.made is None:
        return None, "its age is not known"
    if rules.orphaned or rules.cutoff is not None:
        return None, "no rule applies"
    narrowed = rules.pattern is not None or rules.owners is not None
    return ("fits the pattern or DAG, and is not spared", "") if narrowed else (None, "no rule applies")


def _newest(voices: Sequence[ManagedVoice], keep_last: int) -> set[str]:
    """Return the ids of the newest of each name; one whose age is not known counts as new, because it may be."""
    by_label: dict[str, list[ManagedVoice]] = {}
    for found in voices:
        by_label.setdefault(found.name.label, []).append(found)
    newest: set[str] = set()
    for same in by_label.values():
        dated = sorted((found for found in same if found.made is not None), key=lambda found: -(found.made or 0))
        newest |= {found.voice.id for found in dated[:keep_last]}
        newest |= {found.voice.id for found in same if found.made is None and keep_last}
    return newest


def judge_asset(asset: Asset, name: AssetName, rules: Rules, state_of: StateOf, now: float) -> str | None:
    """Return why a file that a task of this provider has uploaded goes, if it does."""
    made = timestamp_of(asset.created_at)
    state = _run_state(name, made, state_of, now)
    if state != "ended" or (rules.owners is not None and name.owner not in rules.owners) or spared(name, rules):
        return None
    if rules.orphaned:
        return "its run has ended"
    if rules.cutoff is not None and made is not None and made < rules.cutoff:
        return f"uploaded on {_day(made)}, before {_day(rules.cutoff)}"
    return None


def spared(name: AssetName, rules: Rules) -> bool:
    """Whether a file is protected, or of no name that was asked for."""
    return any(may_fit(name, pattern) for pattern in rules.protect) or (
        rules.pattern is not None and not must_fit(name, rules.pattern)
    )


def _run_state(name: ManagedName | AssetName, made: float | None, state_of: StateOf, now: float) -> RunState | None:
    """Return the state of the run that something belongs to.

    A run that its DAG does not have may be that of another Airflow which shares the namespace: it counts as ended after
    a day. A DAG whose id is too long for the name cannot be asked after, unless the author names it.
    """
    if name.owner is None or name.run is None:
        return None
    state = state_of(name.owner, name.run)
    if state == "unknown" and made is not None and made < now - GRACE:
        return "ended"
    return state


def timestamp_of(text: str | None) -> float | None:
    """Return a service's date in seconds since 1970; ``None`` for none, and for what is no date."""
    if not text:
        return None
    try:
        parsed = pendulum.parse(text, tz="UTC")
    except (ValueError, TypeError):  # pendulum raises the latter for intervals that it cannot read
        return None
    return parsed.timestamp() if isinstance(parsed, pendulum.DateTime) else None


def _day(seconds: float | None) -> str:
    return pendulum.from_timestamp(seconds or 0).format("YYYY-MM-DD HH:mm [UTC]")
