"""Managed names: they round-trip, they fit, and no name that a person chose is taken for one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_provider.jobs.names import MAX_NAME, ManagedName, short_hash

LABELS = st.text(min_size=1, max_size=150).filter(lambda text: text.strip())
NAMESPACES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True)
FINGERPRINTS = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26)
RUNS = st.none() | st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=8, max_size=8)
TIMES = st.integers(0, 2**36)


@given(LABELS, NAMESPACES, FINGERPRINTS, RUNS, TIMES)
def test_a_managed_name_reads_back_as_what_was_written(
    label: str, namespace: str, fingerprint: str, run: str | None, made: int
) -> None:
    name = ManagedName(label, namespace, fingerprint, run, made if run else None)
    text = str(name)
    assert len(text) <= MAX_NAME
    parsed = ManagedName.parse(text)
    assert parsed is not None
    assert str(parsed) == text
    assert parsed.is_same_voice(name)
    assert parsed.is_ephemeral == (run is not None)


@given(st.text(max_size=120))
def test_a_name_that_a_person_chose_is_never_taken(name: str) -> None:
    assert ManagedName.parse(name) is None


@given(
    LABELS, NAMESPACES, FINGERPRINTS, st.integers(0, 99), st.sampled_from(string.ascii_letters + string.digits + "] :")
)
def test_an_edited_managed_name_is_never_taken(
    label: str, namespace: str, fingerprint: str, at: int, letter: str
) -> None:
    text = str(ManagedName(label, namespace, fingerprint))
    at %= len(text)
    edited = text[:at] + letter + text[at + 1 :]
    found = ManagedName.parse(edited)
    assert found is None or edited == text


def test_a_name_is_readable_and_begins_with_what_the_author_called_it() -> None:
    name = str(ManagedName("Narrator  of the\nnews", "prod", short_hash("samples")))
    assert name.startswith("Narrator of the news [vp:prod:")


@pytest.mark.parametrize(
    "other",
    [
        ManagedName("A", "dev", "a" * 26),
        ManagedName("A", "prod", "b" * 26),
        ManagedName("A", "prod", "a" * 26, "c" * 8, 5),
        None,
    ],
)
def test_another_namespace_sample_or_run_is_another_voice(other: ManagedName | None) -> None:
    assert not ManagedName("A", "prod", "a" * 26).is_same_voice(other)


def test_the_label_does_not_decide_whether_it_is_the_same_voice() -> None:
    assert ManagedName("A", "prod", "a" * 26).is_same_voice(ManagedName("cut", "prod", "a" * 26))
