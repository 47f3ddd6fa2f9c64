"""Managed names: they round-trip, they fit, and no name that a person chose or edited is taken for one."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from voice_provider.jobs import names
from voice_provider.jobs.names import (
    MAX_NAME,
    MAX_OWNER,
    AssetName,
    ManagedName,
    owner_of,
    run_id_of,
    run_key,
    short_hash,
    task_key,
)

HASH = "abcdefghijklmnopqrstuvwxyz234567"
LABELS = st.text(min_size=1, max_size=150).filter(lambda text: text.strip())
NAMESPACES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True)
FINGERPRINTS = st.text(HASH, min_size=26, max_size=26)
OWNERS = st.text(min_size=1, max_size=60).map(owner_of) | st.from_regex(r"[\w.-]{1,24}", fullmatch=True).map(owner_of)
RUNS = st.text(HASH, min_size=18, max_size=18)
TIMES = st.integers(0, 36**8 - 1)
NO = st.none()

SHAPES = {
    "for all runs": (NO, NO, NO, NO),
    "for all runs, with expiry": (NO, NO, NO, TIMES),
    "made anew": (NO, RUNS, TIMES, NO | TIMES),
    "ephemeral": (OWNERS, RUNS, TIMES, NO),
    "ephemeral, with expiry": (OWNERS, RUNS, TIMES, TIMES),
}
# The check has 20 bits: one edit in a million passes it. So these try the same texts every time.
FIXED = settings(derandomize=True, max_examples=300)


def names_of(shape: str) -> st.SearchStrategy[ManagedName]:
    return st.builds(ManagedName, LABELS, NAMESPACES, FINGERPRINTS, *SHAPES[shape])


ANY = st.one_of(*map(names_of, SHAPES))
ASSETS = st.builds(AssetName, LABELS, NAMESPACES, OWNERS, RUNS)


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """Change a name a little, as a person does who sees it in a list."""
    at = draw(st.integers(0, len(text) - 1))
    letter = draw(st.sampled_from(string.ascii_letters + string.digits + " []:@#+/~._-"))
    other = draw(st.integers(0, len(text) - 1))
    low, high = min(at, other), max(at, other)
    return draw(
        st.sampled_from(
            [
                text[:at] + letter + text[at + 1 :],
                text[:at] + letter + text[at:],
                text + letter,
                text[:at] + text[at + 1 :],
                text[:low] + text[high] + text[low + 1 : high] + text[low] + text[high + 1 :] if low < high else text,
                text[:at] + text[at].swapcase() + text[at + 1 :],
                text.upper(),
                text.replace(" [vp:", "  [vp:"),
                f" {text}",
                f"{text}\n",
                f"Copy of {text}",
                text[:at],
                text[at:],
            ]
        )
    )


# reading and writing


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_a_name_reads_back_as_what_was_written(shape: str, data: st.DataObject) -> None:
    name = data.draw(names_of(shape))
    text = str(name)
    assert len(text) <= MAX_NAME
    parsed = ManagedName.parse(text)
    assert parsed is not None
    assert str(parsed) == text
    assert replace(parsed, label=name.label) == name
    assert parsed.label
    assert parsed.is_called(name.label)
    assert not parsed.is_called(f"{name.label}x")
    assert parsed.accepts(name)
    assert name.accepts(parsed)
    assert parsed.is_ephemeral == shape.startswith("ephemeral")


@given(ASSETS)
def test_the_name_of_an_upload_reads_back_as_what_was_written(name: AssetName) -> None:
    text = str(name)
    assert len(text) <= 2 * MAX_NAME
    parsed = AssetName.parse(text)
    assert parsed is not None
    assert str(parsed) == text
    assert replace(parsed, label=name.label) == name
    whole = " ".join(name.label.split())
    assert parsed.label == whole or whole.startswith(parsed.label.rpartition("~")[0])
    assert ManagedName.parse(text) is None


def test_the_longest_name_keeps_some_letters_of_the_label() -> None:
    most = {"owner": "d" * MAX_OWNER, "run": "r" * 18, "made": 36**6 - 1, "expires": 36**6 - 1}
    parsed = ManagedName.parse(str(ManagedName("Narrators of the news", "n" * 16, "f" * 26, **most)))
    assert parsed is not None
    assert parsed.label == f"Narra~{short_hash('Narrators of the news', 4)}"
    assert parsed.is_called("Narrators  of the news")


@pytest.mark.parametrize("namespace", ["p", "n" * 16])
@pytest.mark.parametrize("label", ["Ann", "Narrators of the news", "a" * 70, "Ann ~ of all", "~", "two words " * 9])
def test_what_is_searched_for_is_in_every_name_of_the_label(label: str, namespace: str) -> None:
    made = {"run": "r" * 18, "made": 1_800_000_000}
    names = [
        str(ManagedName(label, namespace, "f" * 26, **own, expires=expires))  # type: ignore[arg-type]
        for own in ({}, made)
        for expires in (None, 1_800_000_000)
    ]
    for name in map(ManagedName.parse, names):
        assert name is not None
        stem = name.stem or ""
        assert all(stem in other for other in names)
        assert stem or label.startswith("~")
    if label == "Ann":
        assert stem == "Ann"


@pytest.mark.parametrize("expires", [None, 1_800_000_000])
def test_two_long_labels_with_the_same_beginning_are_two_names(expires: int | None) -> None:
    labels = [f"The presenter of the campaign of the spring for the market of {land}" for land in ("France", "Spain")]
    found = [ManagedName.parse(str(ManagedName(label, "prod", "f" * 26, expires=expires))) for label in labels]
    for name in found:
        assert name is not None
        assert [name.is_called(label) for label in labels] == [name is found[0], name is found[1]]


def test_a_name_is_readable_and_begins_with_what_the_author_called_it() -> None:
    name = ManagedName("Narrator  of the\nnews", "prod", short_hash("samples"))
    assert str(name).startswith(f"Narrator of the news [vp:prod:{short_hash('samples')}:")
    ephemeral = replace(name, owner="nightly_news", run="mhnfu1p3w3xa2mz5ab", made=1_795_000_000, expires=1_800_000_000)
    start = f"Narrator of the news [vp:prod:{short_hash('samples', 4)}@nightly_news#mhnfu1p3w3xa2mz5ab+top2v4/tro8w0:"
    assert str(ephemeral).startswith(start)


@pytest.mark.parametrize(
    "values",
    [{"run": "r" * 18}, {"made": 5}, {"owner": "dag"}, {"owner": "dag", "run": "r" * 18}, {"owner": "dag", "made": 5}],
)
def test_half_a_run_is_no_name(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has run and time"):
        ManagedName("A", "prod", "a" * 26, **values)


# what people write


@given(st.text(max_size=120))
def test_a_name_that_a_person_chose_is_never_taken(name: str) -> None:
    assert ManagedName.parse(name) is None
    assert AssetName.parse(name) is None


@FIXED
@given(st.text("vp:[]@#+/ ~-_abz279", max_size=60).map(lambda text: f"Brand [vp:prod:{text}]"))
def test_a_name_of_our_letters_is_never_taken(name: str) -> None:
    assert ManagedName.parse(name) is None
    assert AssetName.parse(name) is None


@FIXED
@given(st.from_regex(names._VOICE, fullmatch=True), st.from_regex(names._ASSET, fullmatch=True))
def test_a_name_of_our_form_with_a_made_up_check_is_never_taken(voice: str, asset: str) -> None:
    assert ManagedName.parse(voice) is None
    assert AssetName.parse(asset) is None


@FIXED
@given(st.data())
def test_an_edited_name_is_never_taken(data: st.DataObject) -> None:
    text = str(data.draw(ANY))
    found = data.draw(edited(text))
    assume(found != text)
    assert ManagedName.parse(found) is None


@FIXED
@given(st.data())
def test_an_edited_name_of_an_upload_is_never_taken(data: st.DataObject) -> None:
    text = str(data.draw(ASSETS))
    found = data.draw(edited(text))
    assume(found != text)
    assert AssetName.parse(found) is None


def test_parts_of_two_names_make_none() -> None:
    one, two = (str(ManagedName(label, "prod", short_hash(label))) for label in ("Ann", "Bob"))
    assert ManagedName.parse(one.replace("Ann", "Bob")) is None
    assert ManagedName.parse(f"{one} {two.partition(' ')[2]}") is None
    assert ManagedName.parse(one.replace("prod", "dev")) is None


def test_a_name_that_no_text_can_be_does_not_break_the_list() -> None:
    assert ManagedName.parse("\ud800 [vp:prod:aaaa:bbbb]") is None


# which voice serves as which

ALL_RUNS = ManagedName("A", "prod", "a" * 26)
ANEW = replace(ALL_RUNS, run="r" * 18, made=5)
EPHEMERAL = replace(ANEW, owner="dag")


@pytest.mark.parametrize(
    ("wanted", "other", "accepted"),
    [
        (ALL_RUNS, ALL_RUNS, True),
        (ALL_RUNS, replace(ALL_RUNS, label="cut"), True),
        (ALL_RUNS, replace(ALL_RUNS, expires=9), True),
        (replace(ALL_RUNS, expires=9), replace(ALL_RUNS, expires=9), True),
        (replace(ALL_RUNS, expires=9), replace(ALL_RUNS, expires=8), True),
        (replace(ALL_RUNS, expires=9), replace(ALL_RUNS, expires=10), False),
        (replace(ALL_RUNS, expires=9), ALL_RUNS, False),
        (ALL_RUNS, ANEW, True),
        (ALL_RUNS, EPHEMERAL, False),
        (replace(ALL_RUNS, fingerprint=EPHEMERAL.fingerprint), EPHEMERAL, False),
        (ALL_RUNS, replace(ALL_RUNS, namespace="dev"), False),
        (ALL_RUNS, replace(ALL_RUNS, fingerprint="b" * 26), False),
        (ALL_RUNS, None, False),
        (ANEW, ANEW, True),
        (ANEW, ALL_RUNS, False),
        (ANEW, replace(ANEW, run="s" * 18), False),
        (ANEW, replace(ANEW, made=6), False),
        (ANEW, EPHEMERAL, False),
        (EPHEMERAL, EPHEMERAL, True),
        (EPHEMERAL, replace(EPHEMERAL, expires=9), True),
        (EPHEMERAL, ALL_RUNS, False),
        (EPHEMERAL, ANEW, False),
        (EPHEMERAL, replace(EPHEMERAL, owner="other"), False),
        (EPHEMERAL, replace(EPHEMERAL, run="s" * 18), False),
        (EPHEMERAL, replace(EPHEMERAL, made=6), False),
        (EPHEMERAL, replace(EPHEMERAL, namespace="dev"), False),
        (EPHEMERAL, replace(EPHEMERAL, fingerprint="b" * 26), False),
    ],
)
def test_which_voice_serves_as_which(wanted: ManagedName, other: ManagedName | None, accepted: bool) -> None:
    assert wanted.accepts(other) is accepted


@given(ANY, ANY)
def test_what_has_a_run_serves_for_nothing_else(wanted: ManagedName, other: ManagedName) -> None:
    other = replace(other, namespace=wanted.namespace, fingerprint=wanted.fingerprint)
    assume((other.owner, other.run, other.made) != (wanted.owner, wanted.run, wanted.made))
    ends = wanted.expires is None or (other.expires is not None and other.expires <= wanted.expires)
    assert wanted.accepts(other) == (wanted.run is None and not other.is_ephemeral and ends)


# owners and runs


@given(st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=MAX_OWNER))
def test_a_short_dag_id_stands_as_it_is(dag_id: str) -> None:
    assert owner_of(dag_id) == dag_id


@given(st.text(min_size=1, max_size=260))
def test_every_owner_fits_and_reads_back(dag_id: str) -> None:
    owner = owner_of(dag_id)
    assert len(owner) <= MAX_OWNER
    parsed = ManagedName.parse(str(replace(EPHEMERAL, owner=owner)))
    assert parsed is not None
    assert parsed.owner == owner


@pytest.mark.parametrize(
    ("dag_id", "owner"),
    [
        ("nightly_news", "nightly_news"),
        ("a" * 24, "a" * 24),
        ("a" * 25, f"{'a' * 17}~{short_hash('a' * 25, 6)}"),
        ("größe", f"gr__e~{short_hash('größe', 6)}"),
        ("two words", f"two_words~{short_hash('two words', 6)}"),
        ("line\n", f"line_~{short_hash('line' + chr(10), 6)}"),
    ],
)
def test_a_dag_id_that_does_not_fit_ends_in_a_hash(dag_id: str, owner: str) -> None:
    assert owner_of(dag_id) == owner


def test_two_long_dag_ids_with_the_same_beginning_are_two_owners() -> None:
    assert owner_of("campaign_of_the_year_2026_north") != owner_of("campaign_of_the_year_2026_south")


def test_tasks_of_one_run_share_its_hash_and_those_of_two_runs_do_not() -> None:
    hashes = [task_key("dag", "run", task, index) for task, index in (("a", -1), ("b", -1), ("a", 0), ("a", 1))]
    assert {found[:11] for found in hashes} == {run_key("dag", "run")}
    assert len(set(hashes)) == 4
    others = {run_key("dag", "run2"), run_key("dag2", "run"), run_key("da", "grun")}
    assert run_key("dag", "run") not in others
    assert len(others) == 3


@given(
    st.sampled_from(["scheduled", "manual", "backfill", "asset_triggered"]),
    st.datetimes(datetime(1980, 1, 1), datetime(2080, 1, 1)),  # noqa: DTZ001
)
def test_the_id_that_airflow_gives_a_run_reads_back(kind: str, moment: datetime) -> None:
    run_id = f"{kind}__{moment.replace(tzinfo=UTC).isoformat()}"
    key = run_key("dag", run_id)
    assert len(key) == 11
    assert run_id_of(key) == run_id


@pytest.mark.parametrize(
    "run_id",
    [
        "mine",
        "manual__2026-11-21T11:51:38.044615+00:00_Xy12AbCd",
        "manual__2026-11-21T11:51:38.044615+01:00",
        "manual__2026-11-21T11:51:38.044615",
        "manual__2026-11-21",
        "scheduled__",
        "manual__1960-01-01T00:00:00+00:00",
        "other__2026-11-21T11:51:38+00:00",
        "",
    ],
)
def test_any_other_id_of_a_run_is_hashed(run_id: str) -> None:
    key = run_key("dag", run_id)
    assert re.fullmatch("x[a-z2-7]{10}", key)
    assert run_id_of(key) is None
    assert key != run_key("other_dag", run_id)


@given(st.text("0123456789abcdefghijklmnopqrstuvwxyz", max_size=12))
def test_what_is_no_key_names_no_run(text: str) -> None:
    run_id = run_id_of(text)
    assert run_id is None or run_key("dag", run_id) == text
