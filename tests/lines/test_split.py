"""Long texts are cut where a reader would pause, and nothing of them is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_provider.lines.split import Piece, sentences, split


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
        ("", 0),
    ],
)
def test_sentences(paragraph: str, count: int) -> None:
    found = sentences(paragraph)
    assert len(found) == count, found
    assert "".join("".join(found).split()) == "".join(paragraph.split())


def test_a_paragraph_is_a_line_and_a_chapter_has_its_title() -> None:
    text = "Before.\n\n# One\nFirst.\nStill first.\n\nSecond.\n\nChapter II: The Sea\n\nThird.\n"
    assert split(text, 100) == [
        Piece("Before.", 0, "", "chapter"),
        Piece("One", 1, "One"),
        Piece("First.\nStill first.", 1, "One"),
        Piece("Second.", 1, "One", "chapter"),
        Piece("Chapter II: The Sea", 2, "Chapter II: The Sea"),
        Piece("Third.", 2, "Chapter II: The Sea", "chapter"),
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
        ("One two, three four five six", 16, ["One two,", "three four five", "six"], "clause"),
        ("one two three", 7, ["one two", "three"], "clause"),
        ("abcdefgh", 3, ["abc", "def", "gh"], "clause"),
        ("一二三。四五六。", 5, ["一二三。", "四五六。"], "sentence"),
        ("一二三四五六", 4, ["一二三四", "五六"], "clause"),
        ("e\u0301e\u0301e\u0301", 3, ["e\u0301", "e\u0301", "e\u0301"], "clause"),
    ],
)
def test_what_is_too_long_is_cut_at_the_best_place(text: str, limit: int, pieces: list[str], ends: str) -> None:
    found = split(text, limit)
    assert [piece.text for piece in found] == pieces
    assert found[0].ends == ends
    assert found[-1].ends == "chapter"


def test_a_limit_may_count_bytes() -> None:
    found = split("一二三四五六七八", 10, lambda text: len(text.encode()))
    assert [piece.text for piece in found] == ["一二三", "四五六", "七八"]


def test_a_changed_word_costs_one_paragraph() -> None:
    paragraphs = [f"Paragraph {number}. " + "It goes on. " * (number % 7) for number in range(50)]
    before = {piece.text for piece in split("\n\n".join(paragraphs), 60)}
    paragraphs[10] = "A new one that is longer than the one before was."
    paragraphs.insert(0, "And one in front.")
    new = {piece.text for piece in split("\n\n".join(paragraphs), 60)} - before
    assert new == {"A new one that is longer than the one before was.", "And one in front."}


def test_no_limit_is_too_small_to_end() -> None:
    with pytest.raises(ValueError, match="less than one character"):
        split("一", 1, lambda text: len(text.encode()))


@given(st.text(st.sampled_from("ab.,!? \n。、一3D\u0301"), max_size=200), st.integers(1, 40))
def test_nothing_is_lost_and_every_piece_fits(text: str, limit: int) -> None:
    found = split(text, limit)
    assert "".join("".join(piece.text for piece in found).split()) == "".join(text.split())
    assert all(0 < len(piece.text) <= limit and piece.text.strip() for piece in found)
