"""Cut a text where a speaker breathes, so that speech can leave piece by piece."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

V = TypeVar("V")
LONGEST = 300  # characters of one piece; a sentence beyond that is cut at a comma, or between words
END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*\s+(?=[^a-z\s])|[。！？]|\n\s*)")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|e\.g|i\.e|[A-Z])\.\s*$")


def pieces_of(parts: Iterable[tuple[V, str] | None]) -> Iterator[tuple[V, str] | None]:
    """Cut the text of each part of a stream; None stays None."""
    for part in parts:
        if part is None:
            yield None
        else:
            for text in sentences(part[1]):
                yield part[0], text


def sentences(text: str) -> Iterator[str]:
    """Yield the text in pieces that together are the text again."""
    start = 0
    for match in END.finditer(text):
        if not ABBREVIATION.search(text, start, match.end()):
            yield from _cut(text[start : match.end()])
            start = match.end()
    yield from _cut(text[start:])


def _cut(sentence: str) -> Iterator[str]:
    while len(sentence) > LONGEST:
        found = max(sentence.rfind(mark, LONGEST // 2, LONGEST) for mark in (", ", "; ", ": ", "，"))
        place = (found if found >= 0 else sentence.rfind(" ", 1, LONGEST)) + 1 or LONGEST
        yield sentence[:place]
        sentence = sentence[place:]
    if sentence:
        yield sentence
