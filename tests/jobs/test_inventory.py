"""What goes and what stays: as tables of single cases, and as promises about every account there can be."""

from __future__ import annotations

from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_provider.exceptions import InvalidInputError
from voice_provider.jobs.inventory import (
    GRACE,
    ManagedVoice,
    Rules,
    RunState,
    fits,
    judge,
    judge_asset,
    managed,
    may_fit,
    must_fit,
    timestamp_of,
    to_evict,
)
from voice_provider.jobs.names import RUN as RUN_LENGTH
from voice_provider.jobs.names import TASK, AssetName, ManagedName
from voice_provider.models import Asset, Voice

DAY = 86_400
NOW = 1_800_000_000  # 2027-01-15 08:00 UTC
RUN = "r" * 18
MONTH_AGO = NOW - 30 * DAY


def state_of(owner: str, run: str) -> RunState:
    """Runs whose DAG is called as their state is."""
    assert run == RUN
    return {"active": "active", "ended": "ended"}.get(owner, "unnamed" if "~" in owner else "unknown")  # type: ignore[return-value]


def iso(seconds: float) -> str:
    return pendulum.from_timestamp(seconds).isoformat()


def voice(
    label: str = "Brand",
    *,
    key: str = "v",
    owner: str | None = None,
    made: int | None = None,
    expires: int | None = None,
    created_at: str | None = None,
) -> ManagedVoice:
    """A voice of a run, one that was made anew (``made`` without ``owner``), or one for all runs."""
    run = RUN if made is not None else None
    name = ManagedName(label, "prod", "f" * 26, owner, run, made, expires)
    return ManagedVoice(Voice(service="fish_audio", id=key, name=str(name), created_at=created_at), name)


# single cases

OLD, NEW, PAST = NOW - 40 * DAY, NOW - DAY // 2, NOW - 1
ALL_RUNS = voice()


@pytest.mark.parametrize(
    ("found", "rules", "why"),
    [
        (ALL_RUNS, {}, "stays: no rule applies"),
        (voice(expires=PAST), {}, "expired on 2027-01-15 07:59 UTC"),
        (voice(expires=NOW), {}, "expired on 2027-01-15 08:00 UTC"),
        (voice(expires=NOW + 1), {}, "stays: no rule applies"),
        (voice(owner="active", made=OLD, expires=PAST), {}, "expired on 2027-01-15 07:59 UTC"),
        (voice(expires=PAST), {"protect": ("Brand",)}, "stays: protected"),
        (voice(expires=PAST), {"protect": ("v",)}, "stays: protected"),
        (voice(expires=PAST), {"pattern": "Anna"}, "stays: does not fit the pattern"),
        (voice(expires=PAST), {"owners": frozenset({"ended"})}, "stays: is not of these DAGs"),
        # age
        (
            voice(created_at=iso(OLD)),
            {"cutoff": MONTH_AGO},
            "made on 2026-12-06 08:00 UTC, before 2026-12-16 08:00 UTC",
        ),
        (voice(created_at=iso(NEW)), {"cutoff": MONTH_AGO}, "stays: no rule applies"),
        (voice(created_at=iso(MONTH_AGO)), {"cutoff": MONTH_AGO}, "stays: no rule applies"),
        (ALL_RUNS, {"cutoff": MONTH_AGO}, "stays: its age is not known"),
        (voice(created_at="soon"), {"cutoff": MONTH_AGO}, "stays: its age is not known"),
        (voice(made=OLD, created_at=iso(NEW)), {"cutoff": MONTH_AGO}, "made on 2026-12-06"),
        (voice(owner="active", made=OLD), {"cutoff": MONTH_AGO}, "stays: its run is active"),
        (voice(owner="else", made=OLD), {"cutoff": MONTH_AGO}, "made on 2026-12-06"),
        # orphans
        (voice(owner="ended", made=NEW), {"orphaned": True}, "its run has ended"),
        (voice(owner="active", made=OLD), {"orphaned": True}, "stays: its run is active"),
        (voice(owner="else", made=NOW - GRACE), {"orphaned": True}, "stays: its run is not known"),
        (voice(owner="else", made=NOW - GRACE - 1), {"orphaned": True}, "its run has ended"),
        (voice(owner="a_long~hashed", made=OLD), {"orphaned": True}, "stays: its run is not known"),
        (voice(made=OLD), {"orphaned": True}, "stays: no rule applies"),
        (voice(created_at=iso(OLD)), {"orphaned": True}, "stays: no rule applies"),
        (voice(owner="ended", made=NEW), {"orphaned": True, "cutoff": MONTH_AGO}, "its run has ended"),
        # to fit is a reason where there is no other
        (ALL_RUNS, {"pattern": "Br?nd"}, "fits the pattern or DAG, and is not spared"),
        (ALL_RUNS, {"pattern": "brand"}, "stays: does not fit the pattern"),
        (ALL_RUNS, {"pattern": "Brand", "cutoff": MONTH_AGO}, "stays: its age is not known"),
        (ALL_RUNS, {"pattern": "Brand", "orphaned": True}, "stays: no rule applies"),
        (voice(owner="active", made=OLD), {"pattern": "Brand"}, "stays: its run is active"),
        (voice(owner="ended", made=NEW), {"pattern": "Brand"}, "fits the pattern or DAG, and is not spared"),
        (voice(owner="else", made=NEW), {"pattern": "Brand"}, "stays: its run is not known"),
        (voice(owner="a_long~hashed", made=OLD), {"pattern": "Brand"}, "stays: its run is not known"),
        (voice(owner="else", made=NEW), {"owners": frozenset({"else"})}, "stays: its run is not known"),
        (
            voice(owner="ended", made=NEW),
            {"owners": frozenset({"ended"})},
            "fits the pattern or DAG, and is not spared",
        ),
        (ALL_RUNS, {"owners": frozenset({"ended"})}, "stays: is not of these DAGs"),
        (voice(owner="ended", made=OLD), {"owners": frozenset(), "orphaned": True}, "stays: is not of these DAGs"),
        (voice(expires=PAST), {"owners": frozenset()}, "stays: is not of these DAGs"),
        # to spare some is no reason for the rest to go
        (ALL_RUNS, {"keep_last": 1}, "stays: no rule applies"),
        (voice(expires=PAST), {"keep_last": 1}, "expired on 2027-01-15 07:59 UTC"),
    ],
)
def test_one_voice_under_one_rule(found: ManagedVoice, rules: dict[str, Any], why: str) -> None:
    verdict = judge([found], Rules(**rules), state_of, NOW)
    told = [reason for _, reason in verdict.goes] + [f"stays: {reason}" for reason in verdict.stays]
    assert len(told) == 1
    assert told[0] == why or told[0].startswith(f"{why} ")


def ids(found: list[ManagedVoice]) -> str:
    return " ".join(one.voice.id for one in found)


@pytest.mark.parametrize(
    ("keep", "goes"),
    [(0, "x over older old new"), (1, "x over older old"), (2, "x over older"), (3, "x over"), (9, "x over")],
)
def test_the_last_of_each_name_stay_and_an_expired_one_is_none_of_them(keep: int, goes: str) -> None:
    voices = [
        voice(key="new", made=NOW - 1),
        voice(key="old", made=NOW - 20),
        voice(key="older", made=NOW - 10 * DAY),
        voice(key="over", made=NOW, expires=PAST),
        voice("Anna", key="undated"),
        voice("Anna", key="x", owner="ended", made=NOW - 9, expires=PAST),
    ]
    verdict = judge(voices, Rules(keep_last=keep, cutoff=NOW), state_of, NOW)
    assert ids([found for found, _ in verdict.goes]) == goes


def test_keep_last_alone_is_no_reason_and_an_undated_voice_counts_as_new() -> None:
    voices = [voice(key="a", made=NOW - 2), voice(key="b", made=NOW - 1), voice(key="undated")]
    assert judge(voices, Rules(keep_last=1), state_of, NOW).goes == []
    verdict = judge(voices, Rules(keep_last=1, pattern="Brand"), state_of, NOW)
    assert ids([found for found, _ in verdict.goes]) == "a"
    assert verdict.stays == {"among the last 1 of its name": 2}


def test_keep_last_below_zero_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="keep_last is -1"):
        Rules(keep_last=-1)


@pytest.mark.parametrize("pattern", ["*", "**", "?*", "*?", "[a-z]*", "*[!x]*", "* *", " ", "***?"])
def test_a_pattern_that_fits_everything_is_known(pattern: str) -> None:
    assert Rules(pattern=pattern).fits_everything


@pytest.mark.parametrize("pattern", ["Brand*", "*a*", "?-*", None, "Brand", "*.*"])
def test_a_pattern_that_fits_some_is_no_such(pattern: str | None) -> None:
    assert not Rules(pattern=pattern).fits_everything


@pytest.mark.parametrize(
    ("text", "pattern", "is_fitting"),
    [
        ("Brand", "Brand", True),
        ("Brand", "B*", True),
        ("Brand", "Bran?", True),
        ("Brand", "brand", False),
        ("Brand", "[A-Z]rand", False),
        ("Brand [UK]", "Brand [UK]", True),
        ("Brand [UK]", "Brand [*]", True),
        ("Brand U", "Brand [UK]", False),
        ("Line\none", "Line*", True),
    ],
)
def test_only_star_and_question_mark_are_special(text: str, pattern: str, is_fitting: bool) -> None:
    assert fits(text, pattern) is is_fitting


def test_a_voice_can_be_protected_by_the_name_that_the_clone_task_returned() -> None:
    found = voice(expires=PAST)
    assert judge([found], Rules(protect=(found.voice.name,)), state_of, NOW).goes == []
    assert to_evict([found], [found.voice.name], state_of, NOW) == []


# names that were cut


def cut(label: str) -> ManagedVoice:
    """A voice as it is read from the service, which keeps 100 characters of its name, and whose run has ended."""
    name = ManagedName(label, "prod", "f" * 26, "ended", "r" * (RUN_LENGTH + TASK), NOW - DAY)
    (found,) = managed([Voice(service="sync_labs", id="v", name=str(name))])
    return found


LONG = "Narrator for the German spring and autumn campaigns, corrected, final"
KEPT = cut(LONG).name.label  # Narrator for the German spring and autumn~ and four letters


@pytest.mark.parametrize(
    ("pattern", "may", "must"),
    [
        ("Narrator*", True, True),
        ("*German*", True, True),
        ("*", True, True),
        (LONG, True, False),  # judge asks is_called() for a whole name
        ("Narrator*final", True, False),
        ("*final", True, False),
        ("*corrected*", True, False),
        (f"{LONG[:-10]}*", True, False),
        (f"{LONG[:-10]}*".replace(" ", "  "), True, False),
        (LONG.replace("for", "???"), True, False),
        (KEPT, True, True),
        (f"*{KEPT[-1]}", True, False),  # it ends in that as it is kept, not as it was called
        (f"{LONG} 2", False, False),
        ("Narrator for the French*", False, False),
        ("Anna*", False, False),
        ("Narrator ?or the Germans*", False, False),
        ("Narrator", False, False),
    ],
)
def test_of_a_name_that_was_cut_what_may_fit_is_spared_and_what_must_fit_goes(
    pattern: str, may: bool, must: bool
) -> None:
    found = cut(LONG)
    assert found.name.label != LONG
    assert (may_fit(found.name, pattern), must_fit(found.name, pattern)) == (may, must)
    verdict = judge([found], Rules(orphaned=True, protect=(pattern,)), lambda *_: "ended", NOW)
    assert bool(verdict.stays["protected"]) is may
    assert (to_evict([found], [pattern], lambda *_: "ended", NOW) == []) is may
    goes = judge([found], Rules(pattern=pattern), lambda *_: "ended", NOW).goes
    assert bool(goes) is (must or pattern == LONG)


@given(st.text("ab2~ ", min_size=1, max_size=70), st.data())
def test_what_fits_is_spared_and_what_goes_fits_whatever_was_cut(text: str, data: st.DataObject) -> None:
    label = " ".join(f"Brand {text}".split())
    begin, end = sorted([data.draw(st.integers(0, len(label))), data.draw(st.integers(0, len(label)))])
    ending = data.draw(st.sampled_from([label[end:], "", "a", "2"]))
    pattern = label[:begin].replace("a", "?") + data.draw(st.sampled_from(["*", "?", ""])) + ending
    name = cut(label).name
    assert may_fit(name, pattern) or not fits(label, pattern)
    assert fits(label, pattern) or not must_fit(name, pattern) or pattern == name.label


@pytest.mark.parametrize(
    ("rules", "goes"),
    [
        ({}, True),
        ({"protect": ["*final.wav"]}, False),
        ({"protect": ["Anna*"]}, True),
        ({"protect": [f"{'take ' * 60}final.wav"]}, False),
        ({"protect": [f"{'take ' * 60}other.wav"]}, True),
        ({"pattern": "take*"}, True),
        ({"pattern": "*final.wav"}, False),
    ],
)
def test_an_upload_whose_name_was_cut_is_spared_if_it_may_fit(rules: dict[str, Any], goes: bool) -> None:
    uploaded = AssetName(f"{'take ' * 60}final.wav", "prod", "ended", "r" * (RUN_LENGTH + TASK))
    name = AssetName.parse(str(uploaded))
    assert name is not None
    asset = Asset(service="sync_labs", id="a")
    why = judge_asset(asset, name, Rules(orphaned=True, **rules), lambda *_: "ended", NOW)
    assert why == ("its run has ended" if goes else None)


# eviction


@pytest.mark.parametrize(
    ("found", "may_go"),
    [
        (ALL_RUNS, False),
        (voice(expires=PAST), True),
        (voice(expires=NOW + 1), False),
        (voice(created_at=iso(OLD)), True),
        (voice(made=NEW), False),
        (voice(made=NOW - GRACE - 1), True),
        (voice(owner="ended", made=NEW), True),
        (voice(owner="active", made=OLD), False),
        (voice(owner="active", made=OLD, expires=PAST), True),
        (voice(owner="else", made=NEW), False),
        (voice(owner="else", made=NOW - GRACE - 1), True),
        (voice(owner="a_long~hashed", made=OLD), False),
    ],
)
def test_which_voice_may_go_for_another(found: ManagedVoice, may_go: bool) -> None:
    assert to_evict([found], (), state_of, NOW) == ([found] if may_go else [])
    assert to_evict([found], ("Bra*",), state_of, NOW) == []


# uploads


@pytest.mark.parametrize(
    ("owner", "created_at", "rules", "why"),
    [
        ("ended", iso(OLD), {}, None),
        ("ended", iso(NEW), {"orphaned": True}, "its run has ended"),
        ("ended", None, {"orphaned": True}, "its run has ended"),
        ("active", iso(OLD), {"orphaned": True, "cutoff": MONTH_AGO}, None),
        ("else", iso(NOW - GRACE), {"orphaned": True}, None),
        ("else", iso(NOW - GRACE - 1), {"orphaned": True}, "its run has ended"),
        ("else", None, {"orphaned": True}, None),
        ("a_long~hashed", iso(OLD), {"orphaned": True}, None),
        ("else", iso(OLD), {"cutoff": MONTH_AGO}, "uploaded on 2026-12-06 08:00 UTC, before 2026-12-16 08:00 UTC"),
        ("else", iso(NEW), {"cutoff": MONTH_AGO}, None),
        ("else", None, {"cutoff": MONTH_AGO}, None),
        ("ended", iso(OLD), {"cutoff": MONTH_AGO, "orphaned": True, "owners": frozenset({"else"})}, None),
        ("ended", iso(OLD), {"orphaned": True, "owners": frozenset({"ended"})}, "its run has ended"),
    ],
)
def test_which_upload_goes(owner: str, created_at: str | None, rules: dict[str, Any], why: str | None) -> None:
    asset = Asset(service="sync_labs", id="a", created_at=created_at)
    name = AssetName("sample.wav", "prod", owner, RUN)
    assert judge_asset(asset, name, Rules(**rules), state_of, NOW) == why


# dates and names


@given(st.none() | st.text(max_size=30) | st.text("0123456789-:T/PWZ+. ", max_size=30))
def test_every_text_is_a_date_or_none(text: str | None) -> None:
    found = timestamp_of(text)
    assert found is None or isinstance(found, float)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T08:00:00.250Z", NOW + 0.25),
        ("2027-01-15T08:00:00", NOW),
        ("2027-01-15T09:30:00+01:30", NOW),
        ("", None),
        (None, None),
        ("P1D", None),
        ("2027-01-15/P1D", None),
        ("yesterday", None),
    ],
)
def test_dates_without_a_zone_are_utc(text: str | None, seconds: float | None) -> None:
    assert timestamp_of(text) == seconds


def test_only_names_of_this_provider_are_managed() -> None:
    ours = voice()
    by_hand = [Voice(service="s", id="1", name="Brand"), Voice(service="s", id="2", name=f"Copy of {ours.voice.name}")]
    assert managed([*by_hand, ours.voice]) == [ours]


# every account

PATTERNS = st.sampled_from(["Brand*", "A?na", "Anna", "*", "nobody"])
OWNERS = st.sampled_from(["active", "ended", "else", "a_long~hashed"])
SECONDS = st.integers(-60 * DAY, 60 * DAY).map(lambda offset: NOW + offset)
MADE = st.integers(0, 60 * DAY).map(lambda age: NOW - age)
LABELS = st.sampled_from(["Brand", "Brand UK", "Anna"])
SINGLE = st.one_of(
    st.builds(voice, LABELS, expires=st.none() | SECONDS, created_at=st.none() | MADE.map(iso)),
    st.builds(voice, LABELS, made=MADE, expires=st.none() | SECONDS, created_at=st.none() | MADE.map(iso)),
    st.builds(voice, LABELS, owner=OWNERS, made=MADE, expires=st.none() | SECONDS),
)


def numbered(voices: list[ManagedVoice]) -> list[ManagedVoice]:
    return [
        ManagedVoice(found.voice.model_copy(update={"id": f"id-{number}"}), found.name)
        for number, found in enumerate(voices)
    ]


ACCOUNTS = st.lists(SINGLE, max_size=12).map(numbered)
PROTECT = st.lists(PATTERNS | st.sampled_from(["id-0", "id-1"]), max_size=2).map(tuple)
RULES = st.builds(
    Rules,
    pattern=st.none() | PATTERNS,
    owners=st.none() | st.frozensets(OWNERS, min_size=1),
    cutoff=st.none() | MADE.map(float),
    orphaned=st.booleans(),
    keep_last=st.integers(0, 3),
    protect=PROTECT,
)


def is_active(found: ManagedVoice) -> bool:
    return found.name.owner == "active"


def order(found: ManagedVoice) -> tuple[bool, float]:
    return not found.is_expired(NOW), found.made or 0


@given(ACCOUNTS, RULES)
def test_every_voice_goes_or_stays_for_a_reason(voices: list[ManagedVoice], rules: Rules) -> None:
    verdict = judge(voices, rules, state_of, NOW)
    assert len(verdict.goes) + sum(verdict.stays.values()) == len(voices)
    assert len({found.voice.id for found, _ in verdict.goes}) == len(verdict.goes)
    assert all(why for _, why in verdict.goes)
    assert all(verdict.stays)


@given(ACCOUNTS, RULES)
def test_what_is_protected_or_in_use_or_does_not_fit_never_goes(voices: list[ManagedVoice], rules: Rules) -> None:
    for found, _ in judge(voices, rules, state_of, NOW).goes:
        assert not any(found.matches(pattern) for pattern in rules.protect)
        assert not is_active(found) or found.is_expired(NOW)
        assert rules.pattern is None or fits(found.name.label, rules.pattern)
        assert found.is_expired(NOW) or rules != Rules(keep_last=rules.keep_last, protect=rules.protect)
        assert rules.owners is None or found.name.owner in rules.owners
        if rules.cutoff is not None and not rules.orphaned and not found.is_expired(NOW):
            assert found.made is not None
            assert found.made < rules.cutoff


@given(ACCOUNTS, RULES)
def test_what_has_expired_and_fits_always_goes(voices: list[ManagedVoice], rules: Rules) -> None:
    gone = {found.voice.id for found, _ in judge(voices, rules, state_of, NOW).goes}
    for found in voices:
        fitting = (rules.pattern is None or fits(found.name.label, rules.pattern)) and (
            rules.owners is None or found.name.owner in rules.owners
        )
        if found.is_expired(NOW) and fitting and not any(map(found.matches, rules.protect)):
            assert found.voice.id in gone


@given(ACCOUNTS, st.none() | PATTERNS, PROTECT)
def test_with_no_reason_given_only_what_has_expired_goes(
    voices: list[ManagedVoice], pattern: str | None, protect: tuple[str, ...]
) -> None:
    rules = Rules(protect=protect) if pattern is None else Rules(protect=protect, pattern=pattern, cutoff=0.0)
    assert all(found.is_expired(NOW) for found, _ in judge(voices, rules, state_of, NOW).goes)


@given(ACCOUNTS, RULES)
def test_expired_voices_go_first_and_then_the_oldest(voices: list[ManagedVoice], rules: Rules) -> None:
    goes = [found for found, _ in judge(voices, rules, state_of, NOW).goes]
    late = [(not found.is_expired(NOW), found.made or NOW) for found in goes]
    assert late == sorted(late)


@given(ACCOUNTS, RULES)
def test_of_each_name_the_last_stay(voices: list[ManagedVoice], rules: Rules) -> None:
    goes = [found for found, _ in judge(voices, rules, state_of, NOW).goes]
    stay = [found for found in voices if found not in goes and not found.is_expired(NOW)]
    for found in goes:
        if not found.is_expired(NOW):
            same = [other for other in stay if other.name.label == found.name.label]
            newer = [other for other in same if (other.made or 0) >= (found.made or 0)]
            assert len(newer) >= rules.keep_last


@given(ACCOUNTS, RULES)
def test_a_second_sweep_finds_nothing_more(voices: list[ManagedVoice], rules: Rules) -> None:
    gone = {found.voice.id for found, _ in judge(voices, rules, state_of, NOW).goes}
    rest = [found for found in voices if found.voice.id not in gone]
    assert judge(rest, rules, state_of, NOW).goes == []


@given(ACCOUNTS, PROTECT)
def test_what_is_evicted_is_missed_least(voices: list[ManagedVoice], protect: tuple[str, ...]) -> None:
    victims = to_evict(voices, protect, state_of, NOW)
    for found in victims:
        assert not any(found.matches(pattern) for pattern in protect)
        assert found.is_expired(NOW) or (found.made is not None and not is_active(found))
    assert [order(found) for found in victims] == sorted(order(found) for found in victims)
    spared = [found for found in voices if found not in victims and not any(map(found.matches, protect))]
    assert not any(found.is_expired(NOW) for found in spared)
