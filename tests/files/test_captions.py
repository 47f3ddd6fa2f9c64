"""Captions: a transcript with times in, cues out that people can read along."""

from __future__ import annotations

import io
import unicodedata
from itertools import zip_longest
from typing import Any

import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from voice_provider.exceptions import NotAllowedError
from voice_provider.files.captions import LINE, Cue, describe_captions, keep_captions, place_of, plan, render
from voice_provider.models import Segment, Transcript


def said(
    text: str, *, pace: float = 0.3, words: list[str] | None = None, pauses: dict[int, float] | None = None
) -> Any:
    """A transcript whose words follow each other at a pace; a pause stands before the word of its number."""
    parts, now = [], 0.0
    for number, word in enumerate(words or text.split()):
        now += (pauses or {}).get(number, 0.0)
        parts.append(Segment(text=word, start=round(now, 3), end=round(now + pace, 3)))
        now += pace
    return Transcript(service="x", text=text, words=tuple(parts))


def lines(transcript: Any) -> list[tuple[str, ...]]:
    return [cue.lines for cue in plan(transcript)]


CHINESE = "欢迎收听今天的新闻，天气很好，我们去公园散步吧。"
PLANS: dict[str, tuple[Any, list[tuple[str, ...]]]] = {
    "nothing": (said(""), []),
    "one word": (said("Hello."), [("Hello.",)]),
    "a sentence a cue": (said("Here is the news. It rains in the whole country."), [
        ("Here is the news.",), ("It rains in the whole country.",),
    ]),
    "a short sentence is read with the next": (said("Yes. It rains here."), [("Yes. It rains here.",)]),
    "two lines, where the clause ends": (said("When the ferry came in, nobody on the shore had seen it.", pace=0.2), [
        ("When the ferry came in,", "nobody on the shore had seen it."),
    ]),
    "two cues of a long sentence": (
        said(
            "Every morning the old ferry carries eleven bicycles, two goats and a box of fresh bread across the river.",
            pace=0.25,
        ),
        [
            ("Every morning the old ferry", "carries eleven bicycles,"),
            ("two goats and a box of fresh", "bread across the river."),
        ],
    ),
    "a pause begins anew": (said("and then it was gone", pauses={3: 0.9}), [("and then it",), ("was gone",)]),
    "no cue is longer than seven seconds": (said("one two three four", pace=2.5), [("one two",), ("three four",)]),
    "punctuation comes from the text": (
        said("“Well,” she said — no: never!", words=["Well", "she", "said", "no", "never"]),
        [("“Well,” she said — no: never!",)],
    ),
    "Chinese has no spaces": (
        said(CHINESE, words=[sign for sign in CHINESE if sign.isalnum()], pace=0.15),
        [("欢迎收听今天的新闻，", "天气很好，我们去公园散步吧。")],
    ),
    "what opens belongs to what follows": (
        said("他说「你好」。", words=list("他说你好")), [("他说「你好」。",)],
    ),
    "words that the text does not have": (said("Other text.", words=["Hello", "there"]), [("Hello there",)]),
    "marks that are no words": (said("Hi ... there", words=["Hi", "there"]), [("Hi ... there",)]),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANS)
def test_what_is_said_is_cut_so_that_it_can_be_read(case: str) -> None:
    transcript, expected = PLANS[case]
    assert lines(transcript) == expected


def test_a_phrase_shares_its_time_among_its_words() -> None:
    """Where only segments are told; with the same rules as words."""
    text = "The weather was unusual for August, with thunder and bright beams of light and a strange blue haze."
    [first, second] = plan(Transcript(service="x", text=text, segments=(Segment(text=text, start=1.0, end=7.0),)))
    assert (first.start, second.end) == (1.0, pytest.approx(7.0))
    assert first.end == second.start == pytest.approx(1 + 6 * len(" ".join(first.lines)) / len(text), abs=0.25)
    chinese = "天气很好" * 15
    cues = plan(Transcript(service="x", text=chinese, segments=(Segment(text=chinese, start=0, end=6),)))
    assert "".join(line for cue in cues for line in cue.lines) == chinese


def test_another_speaker_begins_anew() -> None:
    parts = [("Is it on?", "a", 0.0), ("It is.", "b", 0.5)]
    segments = tuple(Segment(text=text, start=at, end=at + 0.5, speaker=who) for text, who, at in parts)
    assert [cue.lines for cue in plan(Transcript(service="x", text="Is it on? It is.", segments=segments))] == [
        ("Is it on?",), ("It is.",),
    ]  # fmt: skip


LETTERS = st.sampled_from([*"abcdefgz.,?!-「」。，", "天", "気", "한", "é", "e\u0301", "&", "<", "longerword" * 6])
WORDS = st.lists(st.lists(LETTERS, min_size=1, max_size=9).map("".join), max_size=60)


@given(WORDS, st.floats(0.05, 3), st.booleans())
def test_every_cue_fits_and_no_word_is_lost_or_moved(words: list[str], pace: float, in_phrases: bool) -> None:
    text = " ".join(words)
    transcript = said(text, words=words, pace=pace)
    if in_phrases:
        transcript = transcript.model_copy(update={"segments": transcript.words, "words": ()})
    cues = plan(transcript)
    shown = "".join("".join(cue.lines) for cue in cues)
    assert "".join(shown.split()) == "".join(text.split())
    for cue, after in zip_longest(cues, cues[1:]):
        assert 1 <= len(cue.lines) <= 2
        assert all(columns(line) <= LINE for line in cue.lines)
        assert cue.end > cue.start
        assert after is None or after.start >= cue.end - 1e-6
    if cues:
        assert (cues[0].start, cues[-1].end) == (0.0, pytest.approx(len(words) * pace, abs=0.01))


def columns(line: str) -> int:
    wide = {"W": 2, "F": 2}
    return sum(0 if unicodedata.combining(sign) else wide.get(unicodedata.east_asian_width(sign), 1) for sign in line)


ODD = [
    Cue(0.0, 1.5, ("Salt & pepper, 1 < 2", "a --> b")),
    Cue(3661.25, 3662.0, ("天气很好",)),
    Cue(3700.0, 3700.001, ("<b>not bold</b> &amp;",)),
]


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_a_file_says_what_was_planned(form: Any) -> None:
    data = render(ODD, form).decode()
    read = webvtt.from_buffer(io.StringIO(data), format=form)
    assert [(one.start_in_seconds, one.end_in_seconds) for one in read] == [(0, 1), (3661, 3662), (3700, 3700)]
    assert [(one.start, one.end) for one in read][1] == ("01:01:01.250", "01:01:02.000")
    assert data.startswith("WEBVTT\n" if form == "vtt" else "1\n00:00:00,000 --> 00:00:01,500\n")
    shown = data if form == "srt" else data.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    for cue in ODD:
        assert "\n".join(cue.lines) in shown
    assert data.count("-->") == (4 if form == "srt" else 3), "what is said is no time in WebVTT"
    assert not any(line.endswith(" ") for line in data.splitlines())


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("/out/talk.mp3", "/out/talk.srt"),
        ("s3://studio/a.b/talk.wav", "s3://studio/a.b/talk.srt"),
        ("/out/talk", "/out/talk.srt"),
        ("/out/v1.2", "/out/v1.2.srt"),
        ("/out.mp3/talk", "/out.mp3/talk.srt"),
    ],
)
def test_captions_stand_beside_under_the_same_name(uri: str, place: str) -> None:
    assert place_of(uri, "srt") == place


def test_captions_go_where_the_connection_allows_only(tmp_path: Any) -> None:
    captions = describe_captions(b"x", f"{tmp_path}/a.srt")
    with pytest.raises(NotAllowedError):
        keep_captions(b"x", captions, ["/elsewhere/"])
    keep_captions(b"x", captions, [f"{tmp_path}/"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.srt"]
