"""A long text as lines: its chapters and paragraphs, and the sentences of what is too long for one request.

A paragraph is a line of its own, however short: a changed word then costs one paragraph, because no text moves from
one line into the next. What is longer than a service takes is cut between sentences, then clauses, then words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What ends in a full stop and goes on. Those of one letter and those with a stop inside are known by their form.
_ABBREVIATIONS = (
    "al approx av bd bzw ca capt cf col corp dept dr dra ed eds est etc evtl fig figs gen ggf gov hon hr inc jr lt ltd "
    "max mgr min misc mlle mme mr mrs ms mt nr op pag pp prof pt rep rev sen sgt sig sr sra st str tel usw vgl vol vs "
    "zzgl"
)
_GO_ON = frozenset(_ABBREVIATIONS.split())
_NUMBERED = frozenset({"no", "art", "abs", "chap", "kap", "nos", "par", "sec", "ziff"})  # go on where a number follows

_CLOSING = "\"'”’»«›)\\]"
_END = re.compile(rf"[.!?…]+[{_CLOSING}]*(?=\s)|[。！？｡][」』”’）]*|[।؟۔]")
_CLAUSE = re.compile(r"[,;:—–](?=\s)|[、，；：]")
_SPACE = re.compile(r"(?=\s)")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_WORD_BEFORE = re.compile(r"([^\s(\[\"'“„«]+)\.$")
_NUMBER = r"(?:\d+|[ivxlc]+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_HEADING = re.compile(
    r"#{1,6}[ \t]+\S.*"
    # A sentence may begin with such a word, too: a number alone, or a sign behind it, makes it a heading.
    r"|(?:chapter|part|kapitel|teil|chapitre|partie|cap[ií]tulo|parte|capitolo)[ \t]+"
    + _NUMBER
    + r"(?:[ \t]*[.:—–-].{0,80})?"
    r"|第[\d一二三四五六七八九十百零〇]+[章回部節节].{0,40}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Piece:
    """A part of a long text that is spoken in one request.

    :param text: of it, as it was written
    :param chapter: number of its chapter, from 1; 0 before the first heading
    :param title: of its chapter
    :param ends: what ends here: ``chapter``, ``paragraph``, ``sentence``, or ``clause`` where a sentence goes on
    """

    text: str
    chapter: int = 0
    title: str = ""
    ends: str = "paragraph"


def split(text: str, limit: int, size: Callable[[str], int] = len) -> list[Piece]:
    """Cut a text into pieces that a service takes; nothing but spaces is lost, and the order stays.

    :param limit: of one piece, in what ``size`` counts
    :param size: characters by default; a service may count bytes
    :raises ValueError: the limit is too small for a single character
    """
    pieces: list[Piece] = []
    chapter, title = 0, ""
    for paragraph in _paragraphs(text):
        spoken = paragraph
        if _HEADING.fullmatch(paragraph):
            spoken = paragraph.lstrip("#").strip()
            chapter, title = chapter + 1, " ".join(spoken.split())
            pieces[-1:] = [replace(piece, ends="chapter") for piece in pieces[-1:]]
        pieces += [Piece(part, chapter, title, ends) for part, ends in _parts(spoken, limit, size)]
    pieces[-1:] = [replace(piece, ends="chapter") for piece in pieces[-1:]]
    return pieces


def sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph, in any script that marks their end."""
    found, start = [], 0
    for end in _sentence_ends(paragraph):
        found.append(paragraph[start:end].strip())
        start = end
    return [sentence for sentence in [*found, paragraph[start:].strip()] if sentence]


def _paragraphs(text: str) -> Iterator[str]:
    """Return paragraphs, which empty lines part; a heading is one without them, too."""
    for block in _PARAGRAPHS.split(text.replace("\r\n", "\n")):
        lines: list[str] = []
        for line in block.split("\n"):
            if not _HEADING.fullmatch(line.strip()):
                lines.append(line)
                continue
            yield from _joined(lines)
            lines = []
            yield line.strip()
        yield from _joined(lines)


def _joined(lines: list[str]) -> Iterator[str]:
    if whole := "\n".join(lines).strip():
        yield whole


def _parts(paragraph: str, limit: int, size: Callable[[str], int]) -> Iterator[tuple[str, str]]:
    """Cut a paragraph as seldom as possible, each time at the best place that the limit leaves."""
    rest = paragraph
    while size(rest) > limit:
        room = _longest(rest, limit, size)
        cut, ends = _best_cut(rest, room)
        yield rest[:cut].strip(), ends
        rest = rest[cut:].strip()
    if rest:
        yield rest, "paragraph"


def _longest(text: str, limit: int, size: Callable[[str], int]) -> int:
    """Return how many characters from the beginning fit, by halving."""
    low, high = 0, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(text[:middle]) <= limit else (low, middle - 1)
    if low == 0:
        raise ValueError(f"a limit of {limit} is less than one character")
    return low


def _best_cut(text: str, room: int) -> tuple[int, str]:
    window = text[: room + 1]  # a mark at its very end is seen with the space behind it
    last = max((end for end in _sentence_ends(window) if end <= room), default=0)
    if last:
        return last, "sentence"
    for pattern, at_least in ((_CLAUSE, room // 4), (_SPACE, 0)):
        last = max((found.end() for found in pattern.finditer(window) if at_least < found.end() <= room), default=0)
        if last and text[:last].strip():
            return last, "clause"
    while room > 1 and _belongs_to_the_one_before(text[room]):
        room -= 1
    return room, "clause"


def _belongs_to_the_one_before(character: str) -> bool:
    """Whether it is a mark of a letter, or the second half of a joined sign."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me") or character in "\u200d\ufe0f"


def _sentence_ends(text: str) -> Iterator[int]:
    for found in _END.finditer(text):
        if not _goes_on(text[: found.end()].rstrip("\"'”’»«›)]"), text[found.end() :].lstrip()):
            yield found.end()


def _goes_on(before: str, behind: str) -> bool:
    """Whether a full stop is that of an abbreviation, an initial or a number, and no end of a sentence."""
    if before.endswith(("...", "…")):
        return behind[:1].islower()
    word = _WORD_BEFORE.search(before)
    if word is None:
        return False
    name = word[1].lower()
    if name.isdigit():
        return len(name) < 3  # the 3. of May, and a list's 1.; a year ends a sentence
    if name in _NUMBERED:
        return behind[:1].isdigit()
    is_initial = len(name) == 1 and name.isalpha() and word[1] != "I"
    return name in _GO_ON or is_initial or ("." in name and behind[:1].islower()) or behind[:1].islower()
