"""Long texts are cut where a reader would pause, and nothing of them is lost."""

from __future__ import annotations

import random
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_provider.lines.split import LONGEST, Piece, sentence_ends, split


@pytest.mark.parametrize(
    ("paragraph", "count"),
    [
        ("One. Two! Three? Four…", 4),
        ("Dr. Miller met Mrs. Brown. They talked.", 2),
        ("He paid 3.50 dollars. She paid 2.", 2),
        ("It was J. R. Smith. I saw him.", 2),
        ("So did I. He left.", 2),
        ("She said: “Go!” Then she went.", 2),
        ("Am 3. Mai kam er. Sie blieb.", 2),
        ("Das gilt z.B. hier. Und dort usw. auch.", 2),
        ("It ended in 1999. Then it began.", 2),
        ("See no. 5 for more. The answer is no. That is all.", 3),
        ("Wait... what? Yes.", 2),
        ("U.S. troops left. They did, e.g. in May.", 2),
        ("Who?! Me.", 2),
        ("今天天气很好。我们去公园吧！好吗？", 3),
        ("彼は「行こう。」と言った。そして去った。", 3),
        ("यह एक है। यह दो है।", 2),
        ("no stop at all", 1),
        ("He came on 5 Nov. 2026. It rained in Nov. Nobody saw it.", 3),
        ("Das sind z.B. Hunde, d.h. Tiere. Es kostet 5 Mio. Euro.", 2),
        ("“Go!” she said. “Now?” he asked.", 2),
        ("He left at 5 p.m. Then it rained.", 2),
        ("all small. nobody minds. so what?", 3),
        ("ეს არის ერთი. ეს არის ორი.", 2),
        ("¿Qué? ¡Nada! Vale.", 3),
        ("هل هذا صحيح؟ نعم.", 2),
        ("One… two. Three… Four.", 3),
        ("See https://example.com/a.b?c=d. It is there.", 2),
    ],
)
def test_sentences(paragraph: str, count: int) -> None:
    ends = [end for end in sentence_ends(paragraph) if end < len(paragraph)]
    assert len(ends) + 1 == count, ends


def test_a_paragraph_is_a_line_and_a_chapter_has_its_title() -> None:
    text = "Before.\n\n# One\nFirst.\nStill first.\n\n* * *\n\nSecond.\n\nChapter II: The Sea\n\n3.\n\nEnd\n===\nOver"
    assert split(text, 100) == [
        Piece("Before.", 1, 0, "", "chapter"),
        Piece("One", 3, 1, "One"),
        Piece("First.\nStill first.", 4, 1, "One"),
        Piece("Second.", 9, 1, "One", "chapter"),
        Piece("Chapter II: The Sea", 11, 2, "Chapter II: The Sea"),
        Piece("3.", 13, 2, "Chapter II: The Sea", "chapter"),
        Piece("End", 15, 3, "End"),
        Piece("Over", 17, 3, "End", "chapter"),
    ]


@pytest.mark.parametrize(
    ("heading", "is_one"),
    [
        ("Chapter 3", True),
        ("KAPITEL 12. Am Meer", True),
        ("Teil IV - Die See", True),
        ("第十二章 海", True),
        ("## Two", True),
        ("Part of me wanted to stay.", False),
        ("Part I liked most was the end.", False),
        ("Chapter One", True),
        ("#tag", False),
        ("He read chapter 3", False),
    ],
)
def test_headings(heading: str, is_one: bool) -> None:
    assert (split(f"{heading}\n\nText.", 200)[-1].chapter == 1) is is_one


@pytest.mark.parametrize(
    ("text", "limit", "pieces", "ends"),
    [
        ("One two. Three four. Five six.", 20, ["One two. Three four.", "Five six."], "sentence"),
        ("One two, three four five six", 16, ["One two,", "three four", "five six"], "clause"),
        ("one two three", 7, ["one two", "three"], "clause"),
        ("abcdefgh", 3, ["ab", "cd", "ef", "gh"], "clause"),
        ("一二三。四五六。", 5, ["一二三。", "四五六。"], "sentence"),
        ("一二三四五六", 4, ["一二三", "四五六"], "clause"),
        ("One [two three four] five", 17, ["One", "[two three four]", "five"], "clause"),
        ("He said: one. — Two.", 14, ["He said: one.", "— Two."], "sentence"),
        ("e\u0301e\u0301e\u0301", 3, ["e\u0301", "e\u0301", "e\u0301"], "clause"),
    ],
)
def test_what_is_too_long_is_cut_at_the_best_place(text: str, limit: int, pieces: list[str], ends: str) -> None:
    found = split(text, limit)
    assert [piece.text for piece in found] == pieces
    assert found[0].ends == ends
    assert found[-1].ends == "chapter"


def test_a_changed_word_costs_one_paragraph() -> None:
    paragraphs = [f"Paragraph {number}. " + "It goes on. " * (number % 7) for number in range(50)]
    before = {piece.text for piece in split("\n\n".join(paragraphs), 60)}
    paragraphs[10] = "A new one that is longer than the one before was."
    paragraphs.insert(0, "And one in front.")
    new = {piece.text for piece in split("\n\n".join(paragraphs), 60)} - before
    assert new == {"A new one that is longer than the one before was.", "And one in front."}


def _sentence(chance: random.Random) -> str:
    words = " ".join("".join(chance.choices("abcdefgh", k=chance.randint(1, 9))) for _ in range(chance.randint(1, 20)))
    return words.replace(" a", ", a").capitalize() + "."


@given(st.integers(), st.integers(0, 59), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_a_changed_sentence_changes_only_the_pieces_around_it(seed: int, at: int, instead: int) -> None:
    """Also in a paragraph without an end: no cut moves that is further away than one piece is long."""
    chance = random.Random(seed)
    limit, marks = 250, 100  # characters of a piece, and of the words that tell a pause from others
    text = [_sentence(chance) for _ in range(60)]
    changed = [*text[:at], *(_sentence(chance) for _ in range(instead)), *text[at + 1 :]]
    old, new = (split(" ".join(lines), limit) for lines in (text, changed))
    for pieces, others, kept in ((old, new, text[:at]), (old[::-1], new[::-1], text[at + 1 :])):
        same = takewhile(lambda pair: pair[0].text == pair[1].text, zip(pieces, others, strict=False))
        assert sum(len(piece.text) + 1 for piece, _ in same) >= len(" ".join(kept)) - 2 * limit - marks


def test_pieces_of_a_long_paragraph_are_no_scraps() -> None:
    chance = random.Random(7)
    found = [len(piece.text) for piece in split(" ".join(_sentence(chance) for _ in range(400)))]
    assert sum(found) / len(found) > LONGEST / 3
    assert sum(length < 150 for length in found) < len(found) / 5


@given(st.text(st.sampled_from("ab.,!? \n。、一3D\u0301[]"), max_size=200), st.integers(1, 40))
def test_no_word_is_lost_and_every_piece_fits(text: str, limit: int) -> None:
    found = split(text, limit)
    assert _letters("".join(piece.text for piece in found)) == _letters(text)
    assert all(0 < len(piece.text) <= limit and _letters(piece.text) for piece in found)
    assert [piece.line for piece in found] == sorted(piece.line for piece in found)


def _letters(text: str) -> list[str]:
    return [character for character in text if character.isalnum()]
