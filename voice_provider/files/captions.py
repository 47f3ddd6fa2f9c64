"""Captions beside a recording: what is said in it, cut so that people can read along.

The plan is pure: words with their times in, cues out. Its measures are those that broadcasters and streaming services
have in common: two lines of about 42 characters, of wide signs (Chinese, Japanese, Korean) half as many, and no more
than seven seconds. A cue begins and ends with its words; no time is made up.
"""

from __future__ import annotations

import hashlib
import html
import io
import unicodedata
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from voice_provider.files import beside
from voice_provider.files.endings import ending_of
from voice_provider.files.locations import check_allowed, open_path, reading
from voice_provider.models import Captions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from voice_provider.models import Segment, Transcript

CaptionFormat: TypeAlias = Literal["srt", "vtt"]
CAPTION_FORMATS: tuple[str, ...] = get_args(CaptionFormat)
LINE = 42  # columns
LONGEST = 7.0  # seconds
SHORTEST = 1.0  # seconds; a shorter sentence is read together with the next
PAUSE = 0.8  # seconds of silence after which something new begins
CLAUSE = 12  # columns by which two parts may be more uneven where a clause ends between them
_SENTENCE_ENDS, _CLAUSE_ENDS = ".!?…。！？", ",;:–—，、；："
OPENING = ("Ps", "Pi")  # of Unicode's categories
_CLOSING = "\"'”’»)]）」』】"


@dataclass(frozen=True)
class Cue:
    """What is shown at a time, in seconds; one line or two."""

    start: float
    end: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Word:
    """What is never cut; ``glued``: no space before it."""

    text: str
    start: float
    end: float
    speaker: str | None = None
    glued: bool = False

    @property
    def columns(self) -> int:
        return _columns(self.text) + (not self.glued)

    def ends(self, signs: str) -> bool:
        return self.text.rstrip(_CLOSING)[-1:] in tuple(signs)


def plan(transcript: Transcript) -> list[Cue]:
    """Cut a transcript into cues.

    :param transcript: with the times of its words, else of its segments; without either there are no cues
    """
    return [_cue(part) for group in _groups(_words(transcript)) for part in _parts(group)]


def render(cues: Sequence[Cue], form: CaptionFormat) -> bytes:
    """Write cues as a file of captions, UTF-8."""
    from webvtt import Caption, WebVTT  # noqa: PLC0415  # a DAG that is parsed needs none

    # Text of a cue is markup in WebVTT, and is no markup in SRT, which the library takes out of what it is.
    shown = [
        Caption(_stamp(cue.start), _stamp(cue.end), html.escape("\n".join(cue.lines), quote=False)) for cue in cues
    ]
    file = io.StringIO()
    WebVTT(captions=shown).write(file, format=form)
    text = file.getvalue()
    return f"{html.unescape(text) if form == 'srt' else text}\n".encode()


def place_of(uri: str, form: str) -> str:
    """Return where the captions of a recording stand: beside it, under its name.

    :param uri: path or URI of the recording
    """
    return f"{uri.rpartition('.')[0] if ending_of(uri) else uri}.{form}"


def describe_captions(data: bytes, uri: str) -> Captions:
    """Return what a manifest says of captions."""
    return Captions(uri=uri, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def keep_captions(data: bytes, captions: Captions, allowed: Sequence[str]) -> None:
    """Put captions in their place, whole or not at all.

    :param allowed: the connection's allowed output prefixes
    :raises NotAllowedError: the place is not among them
    """
    check_allowed(captions.uri, allowed, "output")
    beside.put(captions.uri, data, captions.sha256, allowed=allowed)


def read_captions(captions: Captions) -> bytes:
    """Read captions that are in their place."""
    with reading(captions.uri), open_path(captions.uri).open("rb") as file:
        return bytes(file.read())


# ------------------------------------------------------------ words


def _words(transcript: Transcript) -> list[_Word]:
    """Return the words as they are written: with the punctuation and the spaces that the text has between them."""
    text, here, found = transcript.text, 0, list[_Word]()
    for part in sorted(transcript.words or transcript.segments, key=lambda part: part.start):
        said = part.text.strip()
        if not said:
            continue
        at = text.find(said, here)
        between = text[here:at] if at >= 0 else None
        if between is None or any(sign.isalnum() for sign in between):
            glued = bool(found) and _is_wide(found[-1].text[-1]) and _is_wide(said[0])
            found += _split(said, part, glued=glued)
            continue
        behind, space, before = _around(between) if found else ("", False, between.lstrip())
        if behind:
            found[-1] = replace(found[-1], text=found[-1].text + behind)
        found += _split(before + said, part, glued=bool(found) and not space)
        here = at + len(said)
    if found and here and not any(sign.isalnum() for sign in text[here:]):
        found[-1] = replace(found[-1], text=(found[-1].text + _around(text[here:] + " ")[0]).rstrip())
    return found


def _around(between: str) -> tuple[str, bool, str]:
    """Take apart what stands between two words: what belongs to the first, whether there is a space, and the rest."""
    if not any(sign.isspace() for sign in between):  # 他说「好」: what opens belongs to the word that follows
        opens = next((n for n, sign in enumerate(between) if unicodedata.category(sign) in OPENING), len(between))
        return between[:opens], False, between[opens:]
    parts = between.split()
    before = parts.pop() if parts and not between[-1].isspace() else ""
    alone = " " if parts and between[0].isspace() else ""
    return alone + " ".join(parts), True, before


def _split(said: str, part: Segment, *, glued: bool) -> Iterator[_Word]:
    """Cut a phrase into words, which share its time by their length."""
    units = [(unit, number > 0) for word in said.split() for number, unit in enumerate(_units(word))]
    ends = list(accumulate(_columns(unit) for unit, _ in units))
    seconds = max(0.0, part.end - part.start) / max(ends[-1], 1)
    for number, ((unit, inner), end) in enumerate(zip(units, ends, strict=True)):
        start = ends[number - 1] if number else 0
        yield _Word(
            unit,
            part.start + start * seconds,
            part.start + end * seconds,
            part.speaker,
            inner if number else glued,
        )


def _units(word: str) -> list[str]:
    """Cut where a line may end inside of what has no spaces: between wide signs, and in what fits into no line."""
    units = [""]
    for sign in word:
        last = units[-1]
        opened = bool(last) and unicodedata.category(last[-1]) in OPENING
        closes = unicodedata.category(sign)[0] == "P" and unicodedata.category(sign) not in OPENING
        may_break = (_is_wide(sign) or _is_wide(last[-1:])) and not opened and not closes
        if last and (may_break or _columns(last) >= LINE - 1):
            units.append("")
        units[-1] += sign
    return units


def _is_wide(sign: str) -> bool:
    return bool(sign) and unicodedata.east_asian_width(sign) in "WF"


def _columns(text: str) -> int:
    return sum(0 if unicodedata.combining(sign) else 2 if _is_wide(sign) else 1 for sign in text)


# ------------------------------------------------------------ cues


def _groups(words: Sequence[_Word]) -> Iterator[list[_Word]]:
    """Yield what belongs together: a sentence, or what is said between two pauses, or by one speaker."""
    group: list[_Word] = []
    for word in words:
        if group:
            last, seconds = group[-1], group[-1].end - group[0].start
            ended = last.ends(_SENTENCE_ENDS) and not word.text[:1].islower() and seconds >= SHORTEST
            if ended or word.speaker != last.speaker or word.start - last.end >= PAUSE:
                yield group
                group = []
        group.append(word)
    if group:
        yield group


def _parts(group: list[_Word]) -> Iterator[list[_Word]]:
    """Halve a group until each part can be shown at a time."""
    short = group[-1].end - group[0].start <= LONGEST
    if len(group) == 1 or (short and _lines(group) is not None):
        yield group
        return
    cut = _cut(group)
    yield from _parts(group[:cut])
    yield from _parts(group[cut:])


def _lines(words: list[_Word]) -> tuple[str, ...] | None:
    """Return a part as one line or two; None where it needs more."""
    lines = [_text(words)]
    if _columns(lines[0]) > LINE and len(words) > 1:
        cut = _cut(words, LINE)
        lines = [_text(words[:cut]), _text(words[cut:])]
    return tuple(lines) if all(_columns(line) <= LINE for line in lines) else None


def _cut(words: list[_Word], longest: int | None = None) -> int:
    """Return where to cut in two: where the parts are about even, and rather where a clause ends.

    :param longest: columns that no part may exceed, if that can be had
    """
    ends = list(accumulate(word.columns for word in words))

    def cost(cut: int) -> tuple[int, int]:
        left, right = ends[cut - 1], ends[-1] - ends[cut - 1]
        over = max(0, max(left, right) - 1 - longest) if longest is not None else 0
        return over, abs(left - right) - 2 * CLAUSE * words[cut - 1].ends(_SENTENCE_ENDS + _CLAUSE_ENDS)

    return min(range(1, len(words)), key=cost)


def _cue(words: list[_Word]) -> Cue:
    return Cue(words[0].start, max(words[-1].end, words[0].start + 0.001), _lines(words) or (_text(words),))


def _text(words: Sequence[_Word]) -> str:
    return "".join(f"{'' if word.glued else ' '}{word.text}" for word in words).strip()


def _stamp(seconds: float) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
