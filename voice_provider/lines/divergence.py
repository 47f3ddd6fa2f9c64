"""How far what was heard is from what was to be said, in words; pure.

Spelling is not speech: case, punctuation, accents, "e-mail" or "email", "F.B.I." or "FBI" are the same here, and a
number in digits is taken for the words that somebody else wrote for it, because no list of numbers knows all languages.
Scripts that write no spaces are compared by character. Alignment is that of the standard library's ``difflib``; it may
find a few differences more than the fewest that there can be, and never less.
"""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Thai, Lao, Burmese, Khmer, kana, Han, Hangul (whose spaces people set as they like).
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
)
_WORD = re.compile(f"[{_DENSE}]|[^\\W_{_DENSE}]+")
_SILENT = re.compile("['’ʼ`´]|(?<=\\d)[.,](?=\\d)")  # don't, 1,000
_WORDS_OF_A_DIGIT = 2  # at most, and one more for a unit: "nineteen hundred and ninety eight dollars" for "$1998"


class Divergence(NamedTuple):
    """What is different.

    :param words: of the text
    :param errors: words that are missing, other ones, or too many
    :param run: the longest stretch of them; a single word that happens to be the same does not end it
    :param end: words that are missing at the end, with nothing in their place
    """

    words: int
    errors: int
    run: int
    end: int = 0

    @property
    def rate(self) -> float:
        """Word error rate: errors for each word of the text; 1 and more is possible."""
        return self.errors / self.words if self.words else float(self.errors > 0)


def words_of(text: str) -> list[str]:
    """Return the words of a text as they are compared."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    bare = unicodedata.normalize("NFC", "".join(sign for sign in bare if unicodedata.category(sign)[0] != "M"))
    words: list[str] = []
    letters = False  # the last one is single letters, or several of them together
    for word in _WORD.findall(_SILENT.sub("", bare)):
        single = len(word) == 1 and word.isalpha() and not re.match(f"[{_DENSE}]", word)
        if single and letters:
            words[-1] += word
        else:
            words.append(word)
        letters = single
    return words


def compare(text: str, heard: str) -> Divergence:
    """Compare what was to be said with what was heard."""
    wanted, found = words_of(text), words_of(heard)
    errors = run = longest = end = 0
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, wanted, found, autojunk=False).get_opcodes():
        if tag == "equal":
            run = run if i2 - i1 == 1 else 0
            continue
        missed = _errors(wanted[i1:i2], found[j1:j2])
        errors, run = errors + missed, run + missed
        longest = max(longest, run)
        end = i2 - i1 if tag == "delete" and i2 == len(wanted) else 0
    return Divergence(len(wanted), errors, longest, end)


def _errors(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Count the words that differ in a place where the two do."""
    if "".join(wanted) == "".join(found):
        return 0  # written in one word, or in two
    digits, others = _digits(wanted), _digits(found)
    if bool(digits) == bool(others) or not wanted or not found:
        return max(len(wanted), len(found))
    numbers, words = (wanted, found) if digits else (found, wanted)
    beside = sum(not _is_number(word) for word in numbers)
    return max(beside, len(words) - _WORDS_OF_A_DIGIT * (digits + others) - 1, 0)


def _digits(words: Sequence[str]) -> int:
    return sum(sign.isdigit() for word in words if _is_number(word) for sign in word)


def _is_number(word: str) -> bool:
    return word[0].isdigit()
