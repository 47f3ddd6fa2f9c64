"""A long text as lines: its chapters and paragraphs, and the sentences of what is too long for one request.

A paragraph is a line of its own, however short: a changed word then costs one paragraph, because no text moves from
one line into the next. What is longer than a service takes is cut at the best pauses that are in it: between
sentences, else clauses, else words.

Which of equally good pauses is taken is decided by a hash of the words around it, not by how far it is from the
beginning. So where a text is changed only the pieces there are others than before: every cut that lies further away
than one piece is long was made for reasons that have not changed (the cuts are the upper nodes of a treap).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

LONGEST = 1000  # characters of a piece, a good minute: what one changed word costs at most, unless a service takes less
SHORT = 40  # characters: what is shorter is cut off alone only where there is nothing better
AROUND = 24  # characters on either side of a pause that tell it from others

# What ends in a full stop and goes on, before a capital letter, too. Those of one letter are known by their form.
_ABBREVIATIONS = (
    "al approx av bd bzw ca capt cf col corp dept d.h dr dra ed eds e.g est etc evtl fig figs gen ggf gov hon hr hrsg "
    "i.d.r i.e inc jr lt ltd max m.e mgr min mio misc mlle mme mr mrd mrs ms mt nr op pag pp prof pt rep rev sen sgt "
    "sig s.o sogen sr sra st str s.u tel tsd u.a usw v.a vgl vol vs z.b z.t zzgl"
)
_GO_ON = frozenset(_ABBREVIATIONS.split())
_BEFORE_NUMBERS = "no art abs chap kap nos par sec ziff jan feb mar apr jun jul aug sep sept oct okt nov dec dez"
_NUMBERED = frozenset(_BEFORE_NUMBERS.split())

_CLOSING = "\"'”’»«›)\\]"
_END = re.compile(rf"[.!?…]+[{_CLOSING}]*(?=\s)|[。！？｡][」』”’）]*|[।؟۔።။។։]")
_CLAUSE = re.compile(r"[,;:—–](?=\s)|[、，；：،؛]")
_SPACE = re.compile(r"(?<=\S)(?=\s)")
_HELD_TOGETHER = re.compile(r"\[[^\[\]]{1,200}\]|\([^()]{1,200}\)|<[^<>]{1,200}>")  # marks of a service among them
_WORD = re.compile(r"[^\W_]")
_WORD_BEFORE = re.compile(r"([^\s(\[\"'“„«]+)\.$")
_NUMBER = r"(?:\d+|[ivxlc]+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_HEADING = re.compile(
    r"#{1,6}[ \t]+\S.*"
    # A sentence may begin with such a word, too: a number alone, or a sign behind it, makes it a heading.
    r"|(?:chapter|part|kapitel|teil|chapitre|partie|cap[ií]tulo|parte|capitolo)[ \t]+"
    + _NUMBER
    + r"(?:[ \t]*[.:—–-].{0,80})?"
    r"|(?:prologue|epilogue|prolog|epilog|foreword|preface|vorwort|nachwort|prólogo|epílogo|épilogue|prologo|epilogo)"
    r"|第[\d一二三四五六七八九十百零〇]+[章回部節节].{0,40}",
    re.IGNORECASE,
)
_UNDERLINE = re.compile(r"={3,}|-{3,}")  # makes a heading of the line above it, in Markdown


@dataclass(frozen=True)
class Piece:
    """A part of a long text that is spoken in one request.

    :param text: of it, as it was written
    :param line: of the text in which it begins, from 1
    :param chapter: number of its chapter, from 1; 0 before the first heading
    :param title: of its chapter
    :param ends: what ends here: ``chapter``, ``paragraph``, ``sentence``, or ``clause`` where a sentence goes on
    """

    text: str
    line: int = 1
    chapter: int = 0
    title: str = ""
    ends: str = "paragraph"


def split(text: str, limit: int = LONGEST) -> list[Piece]:
    """Cut a text into pieces that a service takes, in their order; only spaces and what has no word in it are lost.

    :param limit: characters of one piece; default: 1,000
    """
    pieces: list[Piece] = []
    chapter, title = 0, ""
    for line, paragraph, is_heading in _paragraphs(text):
        if is_heading:
            chapter, title = chapter + 1, " ".join(paragraph.split())
            pieces[-1:] = [replace(piece, ends="chapter") for piece in pieces[-1:]]
        start = 0
        for end, ends in _cuts(paragraph, limit):
            if _WORD.search(part := paragraph[start:end]):  # asterisks between two scenes are not spoken
                begins = start + len(part) - len(part.lstrip())
                pieces.append(Piece(part.strip(), line + paragraph.count("\n", 0, begins), chapter, title, ends))
            start = end
    pieces[-1:] = [replace(piece, ends="chapter") for piece in pieces[-1:]]
    return pieces


def sentence_ends(paragraph: str) -> Iterator[int]:
    """Yield where sentences end, in any script that marks it."""
    has_capitals = any(map(str.isupper, paragraph))  # else a small letter says nothing of where a sentence begins
    for found in _END.finditer(paragraph):
        behind = paragraph[found.end() : found.end() + AROUND].lstrip()
        before = paragraph[max(found.start() - AROUND, 0) : found.end()].rstrip("\"'”’»«›)]")
        if not (has_capitals and behind[:1].islower()) and not _goes_on(before, behind):
            yield found.end()


def _paragraphs(text: str) -> Iterator[tuple[int, str, bool]]:
    """Return paragraphs with the line they begin in, and whether each is a heading; that needs no empty lines."""
    first, lines = 1, list[str]()
    for number, line in enumerate([*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""], 1):
        written = line.strip()
        is_heading, is_underline = _HEADING.fullmatch(written), _UNDERLINE.fullmatch(written)
        if written and not is_heading and not is_underline:
            first = first if lines else number
            lines.append(line)
            continue
        if lines:
            yield first, "\n".join(lines).strip(), bool(is_underline) and len(lines) == 1
            lines = []
        if is_heading:
            yield number, written.lstrip("#").strip(), True


def _cuts(text: str, limit: int) -> list[tuple[int, str]]:
    """Return where the pieces of a paragraph end, and what ends there."""
    found, ranges = [(len(text), "paragraph")], [(0, len(text))] if len(text) > limit else []
    pauses = _Pauses(text) if ranges else None
    while pauses and ranges:
        start, end = ranges.pop()
        if len(text[start:end].strip()) > limit:
            at, ends = pauses.best(start, end)
            found.append((at, ends))
            ranges += [(start, at), (at, end)]
    return sorted(found)


class _Pauses:
    """Where a paragraph may be cut: places of the same kind together, the best kind first."""

    def __init__(self, text: str) -> None:
        self._text = text
        held = {at for found in _HELD_TOGETHER.finditer(text) for at in range(found.start() + 1, found.end())}
        ends = [at for at in sentence_ends(text) if at not in held]
        clauses = [found.end() for found in _CLAUSE.finditer(text) if found.end() not in held]
        spaces = [found.end() for found in _SPACE.finditer(text) if found.end() not in held]
        self._kinds: tuple[tuple[Sequence[int], str], ...] = (
            (_alone(ends, ends, len(text)), "sentence"),
            (ends, "sentence"),
            (_alone(clauses, {*clauses, *ends}, len(text)), "clause"),
            (clauses, "clause"),
            (spaces, "clause"),
            ([at for at in range(1, len(text)) if not _belongs_to_the_one_before(text[at])], "clause"),
            (range(1, len(text)), "clause"),
        )

    def best(self, start: int, end: int) -> tuple[int, str]:
        """Return the best place between two others, and what ends there."""
        for places, ends in self._kinds:
            if inside := places[bisect_right(places, start) : bisect_left(places, end)]:
                return min(inside, key=lambda at: (self._weight(at), abs(start + end - 2 * at))), ends
        raise ValueError("a limit of less than one character")

    def _weight(self, at: int) -> int:
        return zlib.crc32(self._text[max(at - AROUND, 0) : at + AROUND].encode("utf-8", "surrogatepass"))


def _alone(places: Iterable[int], others: Collection[int], length: int) -> list[int]:
    """Return the places that no other, and no end of the paragraph, is close to."""
    known = sorted({0, *others, length})
    behind = ((at, bisect_left(known, at)) for at in places)
    return [at for at, i in behind if 0 < at < length and min(at - known[i - 1], known[i + 1] - at) >= SHORT]


def _belongs_to_the_one_before(character: str) -> bool:
    """Whether it is a mark of a letter, or the second half of a joined sign."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me") or character in "\u200d\ufe0f"


def _goes_on(before: str, behind: str) -> bool:
    """Whether a full stop is that of an abbreviation, an initial or a number, and no end of a sentence."""
    word = None if before.endswith(("..", "…")) else _WORD_BEFORE.search(before)
    if word is None:
        return False
    name = word[1].lower()
    if name.isdigit():
        return len(name) < 3  # the 3. of May, and a list's 1.; a year ends a sentence
    if name in _NUMBERED:
        return behind[:1].isdigit()
    is_initial = len(name) == 1 and name.isalpha() and word[1] != "I"
    return name in _GO_ON or is_initial
