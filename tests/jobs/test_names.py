"""Managed names: they round-trip, they fit, and no name that a person chose or edited is taken for one."""

from __future__ import annotations

import string
from dataclasses import replace
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
    run_hash,
    short_hash,
    task_hash,
)

HASH = "abcdefghijklmnopqrstuvwxyz234567"
LABELS = st.text(min_size=1, max_size=150).filter(lambda text: text.strip())
NAMESPACES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True)
FINGERPRINTS = st.text(HASH, min_size=26, max_size=26)
OWNERS = st.text(min_size=1, max_size=60).map(owner_of) | st.from_regex(r"[\w.-]{1,24}", fullmatch=True).map(owner_of)
RUNS = st.text(HASH, min_size=12, max_size=12)
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
    assert " ".join(name.label.split()).startswith(parsed.label)
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
    assert " ".join(name.label.split()).startswith(parsed.label)
    assert ManagedName.parse(text) is None


@pytest.mark.parametrize(("label", "kept"), [("Narrators of the news", "Narrator"), ("Newsman of the day", "Newsman")])
def test_the_longest_name_keeps_some_letters_of_the_label(label: str, kept: str) -> None:
    most = {"owner": "d" * MAX_OWNER, "run": "r" * 12, "made": 36**8 - 1, "expires": 36**8 - 1}
    parsed = ManagedName.parse(str(ManagedName(label, "n" * 16, "f" * 26, **most)))
    assert parsed is not None
    assert parsed.label == kept


def test_a_name_is_readable_and_begins_with_what_the_author_called_it() -> None:
    name = ManagedName("Narrator  of the\nnews", "prod", short_hash("samples"))
    assert str(name).startswith(f"Narrator of the news [vp:prod:{short_hash('samples')}:")
    ephemeral = replace(name, owner="nightly_news", run="3fhk7ab2mz5q", made=1_795_000_000, expires=1_800_000_000)
    start = f"Narrator of the news [vp:prod:{short_hash('samples', 8)}@nightly_news#3fhk7ab2mz5q+top2v4/tro8w0:"
    assert str(ephemeral).startswith(start)


@pytest.mark.parametrize(
    "values",
    [{"run": "r" * 12}, {"made": 5}, {"owner": "dag"}, {"owner": "dag", "run": "r" * 12}, {"owner": "dag", "made": 5}],
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
ANEW = replace(ALL_RUNS, run="r" * 12, made=5)
EPHEMERAL = replace(ANEW, owner="dag")


@pytest.mark.parametrize(
    ("wanted", "other", "accepted"),
    [
        (ALL_RUNS, ALL_RUNS, True),
        (ALL_RUNS, replace(ALL_RUNS, label="cut"), True),
        (ALL_RUNS, replace(ALL_RUNS, expires=9), True),
        (ALL_RUNS, ANEW, True),
        (ALL_RUNS, EPHEMERAL, False),
        (replace(ALL_RUNS, fingerprint=EPHEMERAL.fingerprint), EPHEMERAL, False),
        (ALL_RUNS, replace(ALL_RUNS, namespace="dev"), False),
        (ALL_RUNS, replace(ALL_RUNS, fingerprint="b" * 26), False),
        (ALL_RUNS, None, False),
        (ANEW, ANEW, True),
        (ANEW, ALL_RUNS, False),
        (ANEW, replace(ANEW, run="s" * 12), False),
        (ANEW, replace(ANEW, made=6), False),
        (ANEW, EPHEMERAL, False),
        (EPHEMERAL, EPHEMERAL, True),
        (EPHEMERAL, replace(EPHEMERAL, expires=9), True),
        (EPHEMERAL, ALL_RUNS, False),
        (EPHEMERAL, ANEW, False),
        (EPHEMERAL, replace(EPHEMERAL, owner="other"), False),
        (EPHEMERAL, replace(EPHEMERAL, run="s" * 12), False),
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
    assert wanted.accepts(other) == (wanted.run is None and not other.is_ephemeral)


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
    hashes = [task_hash("dag", "run", task, index) for task, index in (("a", -1), ("b", -1), ("a", 0), ("a", 1))]
    assert {found[:6] for found in hashes} == {run_hash("dag", "run")}
    assert len(set(hashes)) == 4
    others = {run_hash("dag", "run2"), run_hash("dag2", "run"), run_hash("da", "grun")}
    assert run_hash("dag", "run") not in others
    assert len(others) == 3
