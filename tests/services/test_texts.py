"""Text is text: what is cleaned, what is refused and with which words, and what each service makes of marks."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.options import BRACKETS, ROUND_BRACKETS, FishClone, FishSpeech
from voice_provider.services.lip_sync import LipSyncOptions
from voice_provider.services.options import VoiceChanges, parse
from voice_provider.services.sync_labs.dialect import SyncLabs
from voice_provider.services.sync_labs.options import SyncLabsSpeech
from voice_provider.services.sync_labs.requests import MARKUP
from voice_provider.services.texts import checked, clean, script_of, text_of

ID = "d5d21261512b4852b9ccd709facf93f3"
HALF = "Great news \ud83d"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Grüße, 你好 👋🏽!\r\n\tA second line.\u0085", "Grüße, 你好 👋🏽!\r\n\tA second line.\u0085"),
        ("a family: 👨\u200d👩\u200d👧, क्\u200dष", "a family: 👨\u200d👩\u200d👧, क्\u200dष"),
        ("Great news \ud83d\ude00!", "Great news 😀!"),  # two halves, as JSON writes them
        ("Hel\x00lo\x07 there\x7f\x9b", "Hello there"),
        ("page\x0cpage\x1fpage", "page page page"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("", ""),
    ],
)
def test_a_text_is_cleaned_of_what_no_service_can_take(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    cleaned.encode()


@pytest.mark.parametrize(("text", "position"), [(HALF, 12), ("\ude00 news", 1), ("\U0001f600\ud83d", 3)])
def test_half_a_character_is_refused_with_its_place(text: str, position: int) -> None:
    with pytest.raises(ValueError, match=rf"half a character at position {position} .*Cut the text elsewhere"):
        clean(text)


@pytest.mark.parametrize(("value", "text"), [("Hi", "Hi"), (2026, "2026"), (-1.5, "-1.5")])
def test_a_number_that_a_template_made_is_the_text_it_was_made_of(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"en": "Hello"}, "it is a dict, not text; .*render_template_as_native_obj"),
        (["Hello"], "it is a list"),
        ((1, 234), "it is a tuple"),
        ({"Hello"}, "it is a set"),
        (b"Hello", "it is a bytes"),
        (bytearray(b"Hello"), "it is a bytearray"),
        (True, "it is a bool"),
        (None, "it is a NoneType"),
        (object(), "it is a object"),
        (float("nan"), "it is nan, which is no text"),
        (float("inf"), "it is inf"),
    ],
)
def test_what_is_no_text_is_refused_by_its_name(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        text_of(value)
    with pytest.raises(InvalidInputError, match=rf"^text: {said}.*\. Nothing was uploaded or paid\.$"):
        checked(value, "text")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1\n00:00:00,140 --> 00:00:02,720\nHello there.\n", r"subtitles \(SRT\)"),
        ("\ufeff1\r\n00:00:00,140 --> 00:00:02,720\r\nHello there.\r\n", r"subtitles \(SRT\)"),
        ("WEBVTT\n\n00:00.000 --> 00:02.000\nHello", r"subtitles \(WebVTT\)"),
        ("WEBVTT - a title", "WebVTT"),
        ("0:00:00.599,0:00:04.160\nHello", r"subtitles \(SBV\)"),
        ("[Script Info]\nTitle: x", r"subtitles \(ASS\)"),
        ("[00:12.00]Hello\n[00:15.00]there", r"lyrics file \(LRC\)"),
        ("{\\rtf1\\ansi Hello there\\par}", r"rich text \(RTF\)"),
        ("<!DOCTYPE html><p>Hello</p>", r"a page \(HTML\)"),
        ("\n<html lang=de>", "HTML"),
        ("Hello <div>there</div>", "HTML"),
        ('<?xml version="1.0"?><tt><p>Hello</p></tt>', "XML"),
        ("%PDF-1.7 Hello", "a PDF"),
        ('{"en": "Hello"}', "a dict that was turned into text"),
        ('["Hello", null, true]', "a list that was turned"),
        ("{'en': 'Hello there', 'de': 'Hallo'}", "a dict that was turned"),
        (" ('Hello', 'there')\n", "a tuple that was turned"),
        ("b'Hello'", "a bytes that was turned"),
    ],
)
def test_a_script_in_another_format_is_named(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"it is .*{kind}"):
        script_of(text)
    assert text_of(text) == text  # a description may be anything


@pytest.mark.parametrize(
    "text",
    [
        "[laughs] Hello.",
        "(break) Hello.",
        "[1] Hello.",
        "{name} said hello.",
        "(5)",
        '"Hello," she said.',
        "but (this) is prose",
        "b",
        "At 10:30, 5 --> 6 means more.",
        "The score was 2:10,500 in all.",
        '<speak>Hello <break time="1s"/> there</speak>',
        '<?xml version="1.0"?>\n<speak>Hello</speak>',
        "<p>Hello</p>",
        "a < b and b > c",
        "[00:12",
        "C:\\data {\\rtf",
        "",
    ],
)
def test_prose_marks_and_ssml_are_scripts(text: str) -> None:
    assert script_of(text) == text


def test_a_mebibyte_of_anything_is_read_at_once() -> None:
    began = time.process_time()
    for piece in ("[", "(", "<", "{", "<|", "\n", " ", "[1,", "<break ", "00:00", "\x1b[", "\ud83d\ude00", "a(b)"):
        text = piece * (1024 * 1024 // len(piece))
        for markup in (BRACKETS, ROUND_BRACKETS, MARKUP):
            markup.spoken(text[:200_000])
        with suppress(ValueError):
            script_of(text)
    assert time.process_time() - began < 8


@pytest.mark.parametrize(
    "text", ["... !?", "-----", "😀🎉", "…", "* * *", "\u200b\u200d", "[laughs]", "<|speaker:0|> !", "<break/>"]
)
def test_marks_alone_are_nothing_to_say(text: str) -> None:
    for markup in (BRACKETS, MARKUP):
        with pytest.raises(
            InvalidInputError, match=r"nothing that can be spoken: its \d+ characters .*Nothing was paid"
        ):
            markup.check(text)
    with pytest.raises(InvalidInputError, match="The script is empty"):
        BRACKETS.check(" \n")


@pytest.mark.parametrize("text", ["No!", "7", "½", "你", "ไทย", "[laughs] a", "é", "1️⃣"])
def test_a_letter_or_a_number_is_something_to_say(text: str) -> None:
    for markup in (BRACKETS, ROUND_BRACKETS, MARKUP):
        assert not [said for said in markup.check(text) if "SSML" in said]


def test_round_brackets_are_marks_of_one_model_only() -> None:
    with pytest.raises(InvalidInputError, match="nothing that can be spoken"):
        ROUND_BRACKETS.check("(in a hurry tone)（大声）!")
    assert BRACKETS.check("(in a hurry tone)!") == []
    assert ROUND_BRACKETS.spoken("(in a hurry tone)(shouting) No!").split() == ["No!"]


PAUSE = '<break time="1s"/>'


@pytest.mark.parametrize(
    ("text", "at_fish", "at_s1", "at_sync"),
    [
        ("Hello.", [], [], []),
        (f"Hello {PAUSE} you.", ["documents no SSML"], ["documents no SSML"], ["makes a pause of up to 3 s"]),
        (
            "<speak>Hello</speak>",
            ["such as <speak>"],
            ["such as <speak>"],
            ["such as <speak>: the service documents no"],
        ),
        ("Hello (break) you.", ["a mark of model s1"], [], ["marks in brackets: the service documents none"]),
        ("Hello [break] you.", [], ["has [square brackets]"], ["marks in brackets"]),
        (f"<speak>[sigh]{PAUSE}Hi</speak>", ["SSML"], ["SSML", "may read these out"], ["pause", "<speak>", "marks"]),
        ("a < b, 5 > 4", [], [], []),
    ],
)
def test_a_script_with_tags_or_marks_is_told_what_the_service_does_with_them(
    text: str, at_fish: list[str], at_s1: list[str], at_sync: list[str]
) -> None:
    fish, sync = FishAudio({}), SyncLabs({})
    line = parse(SyncLabsSpeech, {"text": text, "voice_id": ID})
    film = parse(LipSyncOptions, {"video": "/v.mp4", "text": [{"text": text, "voice_id": ID}]})
    for expected, said in (
        (at_fish, fish.check_speech(parse(FishSpeech, {"text": text, "voice_id": ID}))),
        (
            [*at_s1, "ends on 2026-12-31"],
            fish.check_speech(parse(FishSpeech, {"text": text, "voice_id": ID, "model": "s1"})),
        ),
        (at_sync, sync.check_speech(line)),
        (at_sync, sync.check_lip_sync(film)),
    ):
        assert len(said) == len(expected), said
        assert all(part in warning for part, warning in zip(expected, said, strict=True)), said


def test_a_warning_does_not_repeat_what_is_written_in_a_mark() -> None:
    text = 'Hi <sub alias="s3cret">x</sub> [s3cret] (s3cret) <break time="s3cret"/> <|s3cret|>'
    for markup in (BRACKETS, ROUND_BRACKETS, MARKUP):
        assert markup.check(text)
        assert not [said for said in markup.check(text) if "s3cret" in said]


def test_tags_and_marks_are_no_speech_when_length_is_judged() -> None:
    fish = FishAudio({"speech_model": "s1"})
    text = f"(in a hurry tone)(shouting) {PAUSE}No!"
    for options, seconds in (
        (parse(FishSpeech, {"text": text, "voice_id": ID}), 2 / 26),  # the model is the connection's
        (parse(FishSpeech, {"text": text, "voice_id": ID, "model": "s2.1-pro"}), (2 + 12 + 8) / 26),
    ):
        assert options.least_seconds(fish.markup(options)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (FishSpeech, {"text": {"a": 1}, "voice_id": ID}, "text: it is a dict"),
        (FishSpeech, {"text": b"Hello", "voice_id": ID}, "text: it is a bytes"),
        (
            FishSpeech,
            {"text": Path("/script.txt"), "voice_id": ID},
            "text: it is a PosixPath, not text.*location of a file",
        ),
        (
            FishSpeech,
            {"text": "x", "references": [{"audio": "/a.wav", "text": HALF}]},
            r"^references\.0\.text: it has half",
        ),
        (FishSpeech, {"text": "x", "voice_id": 7}, "^voice_id: "),
        (
            FishSpeech,
            {"text": "x", "references": [{"audio": ["/a.wav"], "text": "y"}]},
            r"^references\.0\.audio: it is a list",
        ),
        (FishSpeech, {"text": "x", "features": [HALF]}, r"features\.0: it has half"),
        (FishClone, {"texts": ["fine", ["Hello"]]}, r"texts\.1: it is a list"),
        (FishClone, {"texts": ["WEBVTT"]}, r"texts\.0: it is subtitles"),
        (FishClone, {"description": {"a": 1}}, "description: it is a dict"),
        (FishClone, {"tags": ["a", HALF]}, r"tags\.1: it has half"),
        (VoiceChanges, {"title": HALF}, "title: it has half"),
        (VoiceChanges, {"description": True}, "description: it is a bool"),
        (SyncLabsSpeech, {"text": "x", "voice_id": HALF}, "voice_id: it has half"),
        (LipSyncOptions, {"text": [{"script": HALF, "voiceId": "x"}]}, r"text\.0\.text: it has half"),
        (
            LipSyncOptions,
            {"text": [{"text": "x", "voiceId": "x", "similarityBoost": 2}]},
            r"text\.0\.similarity_boost: ",
        ),
        (LipSyncOptions, {"project_id": HALF}, "project_id: it has half"),
        (LipSyncOptions, {"video": ["/v.mp4"]}, "video: it is a list; give a storage location"),
    ],
)
def test_every_text_of_a_request_is_checked_under_our_name_of_it(kind: Any, values: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInputError, match=where):
        parse(kind, values)


def test_a_description_is_cleaned_like_a_script() -> None:
    changes = parse(VoiceChanges, {"title": "A\x00nn", "description": "\ud83d\ude00", "tags": ["a\x07", 2026]})
    assert (changes.title, changes.description, changes.tags) == ("Ann", "😀", ("a", "2026"))
