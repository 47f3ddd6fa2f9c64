"""The cues of a subtitle file, as rows of a script; none is dropped in silence.

The library reads what is well-formed and leaves out the rest without a word, and of two speakers in a cue it names the
first. So what it read is compared with the file's own lines of times.
"""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any

import webvtt

from voice_provider.files.captions import Cue, render
from voice_provider.lines.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from voice_provider.lines.problems import Problems

_ARROW = re.compile(r"^(?P<start>[\d:.,]+)[ \t]*-->[ \t]*(?P<end>[\d:.,]+)(?=\s|$)")
_TIME = re.compile(r"(?:(?:\d+:)?\d{1,2}:)?\d+(?:\.\d*)?")
_VOICE = re.compile(r"<v[.\s]")
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # of ASS, which players also take in SRT: {\an8}


def from_subtitles(text: str, kind: str, problems: Problems) -> Iterator[Row]:
    """Read SubRip or WebVTT.

    A cue's ``id`` is its identifier, where it has one; its ``voice`` is who its voice span names.

    :param kind: ``srt`` or ``vtt``
    """
    places = [number for number, line in enumerate(text.splitlines(), 1) if "-->" in line]
    try:
        cues = webvtt.from_buffer(io.StringIO(text), format=kind).captions
    except webvtt.errors.MalformedFileError:
        first = "begin with WEBVTT" if kind == "vtt" else "begin with a number and a line of times"
        problems.add("line 1", f"these are no {kind.upper()} subtitles: they have to {first}")
        return
    if not places:
        problems.add("line 1", "there is no subtitle in it")
    lines = text.splitlines()
    for number, place in enumerate(places, 1):
        times = _ARROW.match(lines[place - 1].strip())
        cue = cues[0] if cues else None
        read = times is not None and cue is not None and _same(cue, times["start"], times["end"])
        if times is None or cue is None or not read:
            problems.add(f"line {place}", _why(lines, place, kind, known=times is not None))
            continue
        del cues[0]
        yield from _row(number, place, cue, problems)


def _row(number: int, place: int, cue: Any, problems: Problems) -> Iterator[Row]:
    if len(_VOICE.findall(cue.raw_text)) > 1:
        problems.add(f"line {place}", "two speakers share this subtitle: give each one of their own")
        return
    spoken = " ".join(_OVERRIDE.sub("", html.unescape(cue.text)).split())
    cells = {
        "text": spoken,
        "start": seconds(cue.start),
        "end": seconds(cue.end),
        "voice": cue.voice,
        "id": cue.identifier,
    }
    yield Row(number, f"line {place}", {name: cell for name, cell in cells.items() if cell not in (None, "")})


def _same(cue: Any, start: str, end: str) -> bool:
    try:
        return (seconds(cue.start), seconds(cue.end)) == (seconds(start), seconds(end))
    except ValueError:
        return False


def _why(lines: list[str], place: int, kind: str, *, known: bool) -> str:
    """Say why a subtitle was not read, as far as its lines tell."""
    if not known:
        return "its times cannot be read: write 00:00:01,000 --> 00:00:02,500"
    if not (lines[place].strip() if place < len(lines) else ""):
        return "this subtitle has no text"
    if kind == "srt" and not (place > 1 and lines[place - 2].strip().isdigit()):
        return "this subtitle has no number in the line before its times"
    return "this subtitle cannot be read"


def seconds(time: str) -> float:
    """Return a time of a subtitle, or a number of seconds.

    :param time: ``01:02:03,500``, ``02:03.5``, ``3.5``
    :raises ValueError: it is none
    """
    if not _TIME.fullmatch(written := time.strip().replace(",", ".")):
        raise ValueError(f"'{time[:40]}' is no time")
    total = 0.0
    for part in written.split(":"):
        total = total * 60 + float(part)
    return round(total, 3)


def to_srt(cues: Iterable[tuple[float, float, str]]) -> str:
    """Write subtitles.

    :param cues: start and end in seconds, and text
    """
    shown = [Cue(start, end, tuple(text.split("\n"))) for start, end, text in cues]
    return render(shown, "srt").decode()
