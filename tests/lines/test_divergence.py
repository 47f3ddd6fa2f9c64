"""How far what was heard is from the text: tables."""

from __future__ import annotations

from voice_provider.lines.divergence import compare, words_of


def test_spelling_is_no_difference() -> None:
    for text, heard in [
        ("Don't shout, Zoë!", "dont SHOUT zoe"),
        ("The F.B.I. called.", "the FBI called"),
        ("The U S A, I think.", "the usa i think"),
        ("A well-known e-mail list", "a well known email list"),
        ("Ice cream", "icecream"),
        ("He paid $1,000 in 1998.", "he paid one thousand dollars in nineteen ninety eight"),
        ("twenty five people", "25 people"),
        ("Pi is 3.14", "pi is three point one four"),
        ("Straße", "STRASSE"),
        ("안녕하세요 여러분", "안녕 하세요 여러분"),
        ("今日は、いい天気です。", "今日はいい天気です"),
        ("ﬁne ①", "fine 1"),
    ]:
        assert compare(text, heard)[1:] == (0, 0, 0), (text, words_of(text), words_of(heard))


def test_other_words_are_counted_and_so_is_the_longest_row_of_them() -> None:
    garbage = "x1a x1b x1c the x1d x1e x1f x1g x1h"
    cases = [
        ("one two three", "one two three", (3, 0, 0, 0)),
        ("one two three", "", (3, 3, 3, 3)),
        ("", "hello", (0, 1, 1, 0)),
        ("one two three four", "one four", (4, 2, 2, 0)),
        ("one two three four", "one two", (4, 2, 2, 2)),
        ("one two three four", "zero one two three four five", (4, 2, 1, 0)),
        ("one two three four", "one too three for", (4, 2, 2, 0)),  # one word that is the same does not end a row
        ("one two three four five", "one too three four fife", (5, 2, 1, 0)),  # two of them do
        ("a quick brown fox", f"a quick {garbage.replace('x1', 'zy')} brown fox", (4, 9, 9, 0)),
        ("in 1998 we met", "in 1989 we met", (4, 1, 1, 0)),
        ("in 1998 we met", "in we met", (4, 1, 1, 0)),
        ("he hid 3 silver coins", "he hid a wooden box", (5, 2, 2, 0)),  # a number excuses no words beside it
        ("Call 911", "call nine one one and then we all went home", (2, 2, 2, 0)),
        ("The F B I man", "the FBI men", (3, 1, 1, 0)),
        ("今日はいい天気です", "今日はいい天気でした", (9, 2, 2, 0)),
    ]
    for text, heard, expected in cases:
        assert compare(text, heard) == expected, (text, heard)
    assert compare("one two three four", "one two").rate == 0.5
    assert compare("", "hello").rate == 1.0
