"""Verdicts on takes: what each thing that can be wrong amounts to, in tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voice_provider.files.measures import Measures
from voice_provider.lines.verdicts import UNKNOWN, Finding, Take, Voice, findings_of, verdict_of, voices_of

TEXT = "The old captain found a wooden box before the storm began."  # 47 letters
GOOD = Measures(seconds=3.4, sound=3.0, silence=0.3, end=-60.0, clipped=0.0, pitch=200.0, colour=1800.0)
OTHERS = [
    Take(TEXT, "v", replace(GOOD, sound=3.0 * share, pitch=200 * share**0.3, colour=1800 / share))
    for share in (0.9, 0.95, 0.97, 1.0, 1.03, 1.05, 1.1)
]
VOICE = voices_of(OTHERS)["v"]


def judged(take: Take, voice: Voice = VOICE) -> tuple[str, str]:
    found = findings_of(take, voice, longest_silence=2.0)
    return verdict_of(found), "; ".join(one.what for one in found)


def test_what_is_measured_is_held_against_what_is_usual() -> None:
    cases = [
        ({}, "ok", ""),
        ({"sound": 0.05}, "drift", "nothing is heard in its 3.4 s"),
        ({"silence": 2.5}, "drift", "2.5 s of silence in it (longest_silence=2)"),
        ({"clipped": 0.02}, "drift", "2.0% of it is clipped"),
        ({"sound": 2.0}, "inconclusive", "it is 0.67 times as long as this voice's lines are"),
        ({"sound": 1.5}, "drift", "it is 0.50 times"),
        ({"sound": 5.0}, "inconclusive", "it is 1.67 times"),
        ({"sound": 7.0}, "drift", "it is 2.33 times"),
        ({"end": -20.0}, "inconclusive", "its sound stops at -20 dB, and this voice's lines usually at -60 dB"),
        ({"end": -5.0}, "drift", "its sound stops at -5 dB"),
        ({"pitch": 270.0}, "inconclusive", "it sounds like another voice: pitch 270 Hz, usually 200"),
        ({"pitch": 110.0}, "drift", "it sounds like another voice"),
        ({"pitch": 225.0, "colour": 2600.0}, "inconclusive", "colour 2600 Hz, usually 1800"),
        ({"pitch": None, "colour": None, "end": None}, "ok", ""),
    ]
    for change, verdict, told in cases:
        found = judged(Take(TEXT, "v", replace(GOOD, **change)))
        assert found[0] == verdict, (change, found)
        assert told in found[1]
    assert judged(Take(TEXT, "v", replace(GOOD, sound=1.5), speed=2.0))[0] == "ok", "it was ordered twice as fast"
    assert judged(Take("In 1998: 4711.", "v", replace(GOOD, sound=2.2)))[0] == "ok", "numbers are long"


def test_what_a_voice_always_does_speaks_against_no_take() -> None:
    loud = [Take(TEXT, "v", replace(GOOD, end=-1.0, clipped=0.02)) for _ in range(6)]
    voice = voices_of(loud)["v"]
    assert judged(loud[0], voice) == ("inconclusive", "2.0% of it is clipped")
    assert voices_of(OTHERS[:4]) == {}, "four takes are too few to know a voice"
    assert judged(Take(TEXT, "v", replace(GOOD, pitch=110.0, end=-5.0)), UNKNOWN)[0] == "ok"
    for sound in (0.5, 20.0):
        assert judged(Take(TEXT, "v", replace(GOOD, sound=sound)), UNKNOWN)[0] == "inconclusive"


@pytest.mark.parametrize("measures", [GOOD, replace(GOOD, sound=2.0)])
def test_words_that_are_heard_decide(measures: Measures) -> None:
    first, short = TEXT.rstrip(".").split(), measures.sound < GOOD.sound
    cases = [
        (TEXT, "ok", ""),
        (TEXT.replace("wooden", "woollen"), "ok", ""),  # 9 %
        (TEXT.replace("wooden box", "woollen sock"), "drift", "2 errors in 11 words"),
        (" ".join(first[:-1]), "drift" if short else "ok", "its last word is missing" if short else ""),
        (" ".join(first[:-2]), "drift" if short else "inconclusive", "its last 2 words are missing"),
        (" ".join(first[:-3]), "drift", "its last 3 words are missing"),
        ("", "drift", "11 words in a row are not those of the text"),
        (f"{TEXT} And this is what nobody has ever asked it to say", "drift", "11 words in a row"),
    ]
    for heard, verdict, told in cases:
        found = judged(Take(TEXT, "v", measures, heard=heard))
        assert found[0] == verdict, (heard, found)
        assert told in found[1]
    long = " ".join(f"word{number}" for number in range(130))
    garbage = long.replace("word60", "then nine words that nobody asked for came here")
    assert judged(Take(long, "v", replace(GOOD, sound=97.0), heard=garbage)) == (
        "drift",
        "9 words in a row are not those of the text",
    ), "which are 7 % of it"


def test_of_a_short_line_a_misheard_word_is_no_proof() -> None:
    for heard, verdict in [
        ("Come in, Anna", "ok"),
        ("Come in, Hannah", "ok"),
        ("Come in hand", "ok"),
        ("Calm in hand", "inconclusive"),
        ("We saw her", "drift"),
    ]:
        measures = replace(GOOD, sound=1.0)
        assert judged(Take("Come in, Anna.", "v", measures, heard=heard), UNKNOWN)[0] == verdict, heard
    five = Take("Come in, dear old Anna.", "v", replace(GOOD, sound=1.2), heard="Run out of here Anna")
    assert judged(five, UNKNOWN) == ("drift", "4 errors in 5 words")


def test_one_sure_finding_is_enough() -> None:
    assert verdict_of([]) == "ok"
    assert verdict_of([Finding(False, "a"), Finding(False, "b")]) == "inconclusive"
    assert verdict_of([Finding(False, "a"), Finding(True, "b")]) == "drift"
