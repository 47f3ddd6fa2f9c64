"""Scripts of many lines: what is read, and every way in which one is wrong, with its line and column."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import Any

import pytest

from voice_provider.exceptions import InvalidInputError
from voice_provider.lines.script import MAX_BYTES, Line, read_lines

OPTIONS = {"speed", "temperature"}
CSV, JSONL, SRT, VTT = "script.csv", "script.jsonl", "script.srt", "script.vtt"


def read(script: Any, name: str = CSV, **known: Any) -> list[Line]:
    return read_lines(script, name, options=OPTIONS, **known)


def only(script: Any, name: str = CSV, **known: Any) -> dict[str, Any]:
    """Return what the one line of a script says, without what it does not say."""
    (line,) = read(script, name, **known)
    return {name: value for name, value in asdict(line).items() if value not in (None, {}) and name != "where"}


READ: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("numbered where there is no id", b"text\nHello", CSV, {"id": "1", "text": "Hello"}),
    ("a mark of UTF-8 in front", b"\xef\xbb\xbftext\nHi", CSV, {"id": "1", "text": "Hi"}),
    ("Windows' ends of lines", b"id,text\r\na,Hi\r\n", CSV, {"id": "a", "text": "Hi"}),
    ("commas, quotes and line breaks", b'text\n"a, ""b""\nc"', CSV, {"id": "1", "text": 'a, "b"\nc'}),
    ("spaces around", b" id , text \n a , Hi ", CSV, {"id": "a", "text": "Hi"}),
    ("a script that is not Latin", "text\n你好。".encode(), CSV, {"id": "1", "text": "你好。"}),
    ("options", b"text,speed\nHi,1.1", CSV, {"id": "1", "text": "Hi", "options": {"speed": "1.1"}}),
    ("what means nothing here", b"text,mood\nHi,sad", CSV, {"id": "1", "text": "Hi", "notes": {"mood": "sad"}}),
    ("empty cells say nothing", b"id,text,voice,speed\n,Hi, ,", CSV, {"id": "1", "text": "Hi"}),
    ("empty rows", b"text\n\n \nHi\n\n", CSV, {"id": "1", "text": "Hi"}),
    ("times", b"text,start,end\nHi,1.5,00:01:02.500", CSV, {"id": "1", "text": "Hi", "start": 1.5, "end": 62.5}),
    ("a slot of no length", b"text,start,end\nHi,1,1", CSV, {"id": "1", "text": "Hi", "start": 1.0, "end": 1.0}),
    ("take and file", b"text,take,file\nHi,b,hi.mp3", CSV, {"id": "1", "text": "Hi", "take": "b", "file": "hi.mp3"}),
    ("JSON", b'\n{"text": "Hi", "speed": 1.1}\n', JSONL, {"id": "1", "text": "Hi", "options": {"speed": 1.1}}),
    ("JSON's null", b'{"text": "Hi", "voice": null}', JSONL, {"id": "1", "text": "Hi"}),
    ("a separator of lines in JSON", '{"text": "a\u2028b"}'.encode(), JSONL, {"id": "1", "text": "a\u2028b"}),
    ("dicts", [{"id": 7, "text": "Hi", "start": 2}], "lines", {"id": "7", "text": "Hi", "start": 2.0}),
    (
        "SubRip",
        b"12\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i> {\\an8}a &amp; b\nagain\n",
        SRT,
        {"id": "1", "text": "Hello a & b again", "start": 1.0, "end": 2.5},
    ),
    (
        "WebVTT",
        b"WEBVTT\n\nNOTE to the editor\n\nopening\n00:01.000 --> 01:00:02.000 align:start\n<v Ann Lee>Hi <b>you</b>\n",
        VTT,
        {"id": "opening", "text": "Hi you", "start": 1.0, "end": 3602.0, "voice": "Ann Lee"},
    ),
]


@pytest.mark.parametrize(("script", "name", "line"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_a_line_is_read(script: Any, name: str, line: dict[str, Any]) -> None:
    assert only(script, name) == line


def test_a_text_is_cut_into_lines_with_their_chapters() -> None:
    text = "One.\r\n\r\n# The Sea\r\n" + "It is deep. " * 200 + "\r\n\r\n* * *\r\n\r\nThe end.\r\n"
    for name, longest in (("book.txt", None), ("book.MD", 100)):
        found = read(b"\xef\xbb\xbf" + text.encode(), name, longest=longest)
        assert [line.id for line in found] == [str(number) for number in range(1, len(found) + 1)]
        assert max(len(line.text) for line in found) <= (longest or 1000) < len(text) / 2
        assert "".join("".join(line.text for line in found).split()) == "".join(
            text.replace("*", "").replace("#", "").split()
        )
        assert {line.notes.get("chapter") for line in found} == {None, "The Sea"}
        assert (found[0].notes, found[1].text, found[-1].where) == ({}, "The Sea", "line 8")


def test_a_file_is_named_below_the_output_folder_and_nowhere_else() -> None:
    for file in ("a.mp3", "ann/scene 1/a-b_c.mp3", "Grüße/你好.mp3", "a..b.mp3"):
        assert only([{"text": "Hi", "file": file}], "lines")["file"] == file
    for file in (
        *(
            "/a.mp3",
            "a/../b.mp3",
            "a/./b.mp3",
            "a//b.mp3",
            "../a.mp3",
            ".a.mp3",
            "a/.b/c.mp3",
            "~/../a.mp3",
            "a\\b.mp3",
        ),
        *(
            "s3://other/a.mp3",
            "C:a.mp3",
            "a\nb.mp3",
            "a.mp3?x",
            "a*.mp3",
            "a.mp3/b.mp3",
            f"{'ü' * 101}.mp3",
            "a/ /b.mp3",
        ),
        *("takes/a.mp3", "TAKES/a.mp3", "journal/a.mp3"),
    ):
        with pytest.raises(InvalidInputError, match="column 'file'"):
            read([{"text": "Hi", "file": file}], "lines")


WRONG: list[tuple[str, Any, str, str]] = [
    ("semicolons", b"id;text\n1;Hi", CSV, "line 1: the columns are separated by semicolons"),
    ("tabs", b"id\ttext\n1\tHi", CSV, "line 1: the columns are separated by tabs"),
    ("no header", b"1,Hi\n2,Ho", CSV, "line 1: there is no column 'text'"),
    ("a column twice", b"text,voice,voice\nHi,a,b", CSV, "line 1, column 3: 'voice' is named twice"),
    ("a column without a name", b"text,,voice\nHi,a,b", CSV, "line 1, column 2: it has no name"),
    ("a cell of 3 MB", b"id,text\n1,Hi\n2," + b"x" * 3_000_000, CSV, "line 3, column 2 'text': it has 3,000,000 char"),
    ("a text for one line", [{"text": "x" * 100_001}], "lines", "are one line. A text of its own, as .txt or .md"),
    ("no text", b" \n\n* * *\n", "book.txt", "line 1: there is no line in it"),
    ("a text of Windows", b"Hi\n\nna\xefve", "book.txt", "line 3, column 3: the byte 0xEF is no UTF-8"),
    (
        "times in a text",
        b"Hi.\n\n1\n00:00:01,000 --> 00:00:02,000\nHo",
        "book.txt",
        "line 3, column 'text': it is sub",
    ),
    ("the same id", b"id,text\n1,Hi\n1,Ho", CSV, "line 3, column 1 'id': '1' stands in line 2, too"),
    ("the same id by number", b"id,text\n2,Hi\n,Ho", CSV, "line 3, column 1 'id': '2' stands in line 2, too"),
    ("the same file", b"file,text\na.mp3,Hi\na.mp3,Ho", CSV, "line 3, column 1 'file': 'a.mp3' stands in line 2, too"),
    ("a file elsewhere", b"text,file\nHi,../a.mp3", CSV, "line 2, column 2 'file': '../a.mp3' is no name of a file"),
    (
        "a file of takes",
        b"text,file\nHi,Takes/a.mp3",
        CSV,
        "line 2, column 2 'file': 'Takes/a.mp3' leads into a",
    ),
    (
        "the same file to some disks",
        b"file,text\nA.mp3,Hi\na.mp3,Ho",
        CSV,
        "line 3, column 1 'file': 'a.mp3' stands in",
    ),
    ("an unknown voice", b"text,voice\nHi,Bob", CSV, "line 2, column 2 'voice': 'Bob' is not in voices= (Ann, Eve)"),
    ("nothing to say", b"id,text\n1,", CSV, "line 2, column 2 'text': it is empty: there is nothing to say"),
    ("spaces to say", [{"text": "  "}], "lines", "item 1, column 'text': it is empty: there is nothing to say"),
    ("the end first", b"text,start,end\nHi,2,1", CSV, "line 2, column 3 'end': it ends at 1 s, before it starts at 2"),
    ("a time that is none", b"text,start\nHi,soon", CSV, "line 2, column 2 'start': 'soon' is no time"),
    ("before the beginning", b"text,start\nHi,-1", CSV, "line 2, column 2 'start': '-1' is no time"),
    ("Windows-1252", "id,text\n1,Hi\n2,caf\xe9".encode("cp1252"), CSV, "line 3, column 6: the byte 0xE9 is no UTF-8"),
    ("Windows-1252 behind a letter", "text\né".encode() + b"\x93", CSV, "line 2, column 2: the byte 0x93 is no UTF-8"),
    ("UTF-16", "text\nHi".encode("utf-16"), CSV, "line 1: it is UTF-16"),
    ("an open quote", b'text\n"Hi\nHo\n', CSV, "line 2: a quotation mark that is opened here is not closed"),
    ("a cell too many", b"id,text\n1,Hi, you", CSV, "line 2: it has 3 cells, and the header has 2 columns"),
    ("a misspelt column", b"text,voise\nHi,a", CSV, "line 2, column 2 'voise': did you mean 'voice'?"),
    ("a column in capitals", b"text,Voice\nHi,a", CSV, "line 2, column 2 'Voice': did you mean 'voice'?"),
    ("a misspelt option", [{"text": "Hi", "temprature": 1}], "lines", "item 1, column 'temprature': did you mean 'tem"),
    ("a list as text", [{"text": ["Hi"]}], "lines", "item 1, column 'text': it is a list, not text"),
    ("what is no row", ["Hi"], "lines", "item 1: it is a str, not an object"),
    ("a name that is none", [{"text": "Hi", 3: 4}], "lines", "item 1: 3 is no name of a column"),
    ("broken JSON", b'{"text": "Hi"}\n{"text": }', JSONL, "line 2, column 10: it is no JSON"),
    ("a name twice in JSON", b'{"text": "Hi", "text": "Ho"}', JSONL, "line 1: it is no JSON that can be read: a name"),
    ("a list in JSON", b"[1]", JSONL, "line 1: it is a list, not an object"),
    ("no line", b"id,text\n", CSV, "line 1: there is no line in it"),
    ("nothing", b"", CSV, "line 1: there is no line in it"),
    ("no subtitles", b"Hello", SRT, "line 1: these are no SRT subtitles"),
    ("no WebVTT", b"1\n00:01.000 --> 00:02.000\nHi\n", VTT, "line 1: these are no VTT subtitles"),
    ("a subtitle without text", b"1\n00:00:01,000 --> 00:00:02,000\n\n", SRT, "line 2: this subtitle has no text"),
    (
        "a time that the library drops",
        b"1\n00:00:01,000 --> 00:00:02,000\nHi\n\n2\n00:00:0x,000 --> 00:00:04,000\nHo\n",
        SRT,
        "line 6: its times cannot be read",
    ),
    (
        "a number that is missing, which the library drops",
        b"1\n00:00:01,000 --> 00:00:02,000\nHi\n\n00:00:03,000 --> 00:00:04,000\nHo\n",
        SRT,
        "line 5: this subtitle has no number",
    ),
    (
        "two speakers, of whom the library names the first",
        b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hi\n<v Eve>Ho\n",
        VTT,
        "line 3: two speakers share this subtitle",
    ),
    (
        "a speaker of nobody",
        b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v Bob>Hi\n",
        VTT,
        "line 3, column 'voice': 'Bob' is not in voices= (Ann, Eve)",
    ),
]


@pytest.mark.parametrize(("script", "name", "problem"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_told_with_its_place(script: Any, name: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(script, name, voices={"Ann", "Eve"})
    assert problem in str(caught.value)
    assert name in str(caught.value)
    assert "othing was paid" in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    rows = [{"id": "same", "text": f"line {number}"} for number in range(30)]
    with pytest.raises(InvalidInputError, match=r"lines has 29 problems; nothing was paid\. .* and 19 more"):
        read(rows, "lines")


def test_a_text_that_the_service_would_refuse_is_found_with_its_place() -> None:
    def check(text: str) -> None:
        if "<break" in text:
            raise InvalidInputError("SSML would be spoken.")

    with pytest.raises(InvalidInputError, match=r"line 3, column 1 'text': SSML would be spoken"):
        read(b"text\nHi\n<break/>", check=check)


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"'script\.docx' is no script that can be read"):
        read(b"Hi", "script.docx")


def test_a_script_is_bounded() -> None:
    with pytest.raises(InvalidInputError, match="a script has at most"):
        read(b"x" * (MAX_BYTES + 1))


def test_a_long_cell_leaves_the_csv_module_as_it_was() -> None:
    before = csv.field_size_limit()
    with pytest.raises(InvalidInputError):
        read(b"text\n" + b"x" * 3_000_000)
    assert csv.field_size_limit() == before


def test_kinds_of_files_mean_the_same() -> None:
    rows = [
        {"id": "a", "text": "Hi", "start": 1.0, "end": 2.0},
        {"id": "b", "text": "Ho, ho", "start": 2.0, "end": 3.5},
    ]
    told = [
        read(b'id,text,start,end\na,Hi,1,2\nb,"Ho, ho",2,3.5'),
        read("\n".join(json.dumps(row) for row in rows).encode(), JSONL),
        read(rows, "lines"),
        read(b"WEBVTT\n\na\n00:01.000 --> 00:02.000\nHi\n\nb\n00:02.000 --> 00:03.500\nHo, ho\n", VTT),
    ]
    plain = [[(line.id, line.text, line.start, line.end) for line in lines] for lines in told]
    assert all(lines == plain[0] for lines in plain)
