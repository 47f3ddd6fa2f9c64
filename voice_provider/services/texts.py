"""Text is text: scripts, transcripts, names and descriptions are cleaned or refused here, for every service.

What is spoken is paid by its length, so what no person wrote as a script is found before: the Python spelling of a
dict, the times of subtitles, half a character, marks alone. What a service does with marks is data of its dialect: a
``Markup``.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from voice_provider.exceptions import InvalidInputError

_CONTROLS = re.compile("\x1b\\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")  # a terminal's, too
_SPACES = "\x0b\x0c\x1c\x1d\x1e\x1f"  # controls that part words
_NATIVE = (
    "a DAG with render_template_as_native_obj=True makes numbers, lists and dicts of texts that look like them: give "
    "the text itself, or the location of a file with it"
)

# W3C SSML 1.1 and the elements that some services add.
_ELEMENTS = (
    "speak|break|prosody|emphasis|phoneme|say-as|sub|voice|audio|p|s|mark|bookmark|lang|lexicon|lookup|token|w|desc|meta"
    r"|metadata|par|seq|media|(?:amazon|mstts|google):[\w-]+"
)
SSML = re.compile(rf"</?(?:{_ELEMENTS})(?:\s[^<>]*)?/?>|<\?xml[^<>]*\?>", re.IGNORECASE)

_TIMES = r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = (  # that tell themselves
    ("subtitles (WebVTT)", re.compile(r"\A\s*WEBVTT\b")),
    ("subtitles (SRT)", re.compile(rf"^[ \t]*{_TIMES}[ \t]*-->", re.MULTILINE)),
    ("subtitles (SBV)", re.compile(rf"^{_TIMES},{_TIMES}[ \t\r]*$", re.MULTILINE)),
    ("subtitles (ASS)", re.compile(r"\A\s*\[Script Info\]", re.IGNORECASE)),
    ("a lyrics file (LRC)", re.compile(r"\A\s*\[\d+:\d{2}(?:[.:]\d+)?\]")),
    ("rich text (RTF)", re.compile(r"\A\s*\{\\rtf")),
    ("a PDF", re.compile(r"\A\s*%PDF-")),
    (
        "a page (HTML)",
        re.compile(r"\A\s*<(?:!doctype|html|head|body)\b|</(?:html|body|div|span|table)>", re.IGNORECASE),
    ),
    ("XML", re.compile(r"\A\s*<\?xml[^<>]*\?>\s*<(?!speak\b)", re.IGNORECASE)),
)


def clean(text: str) -> str:
    """Return a text as it can be sent: halves of one character joined, control characters gone.

    :raises ValueError: half a character is left alone: the text was cut in the middle of it
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"it has half a character at position {error.start // 2 + 1} (a lone surrogate, as of an emoji that "
                "was cut in two). Cut the text elsewhere"
            ) from None
    return _CONTROLS.sub(lambda found: " " if found[0] in _SPACES else "", text)


def text_of(value: Any) -> str:
    """Return what is meant as text: a text, or a number that a template has made of one.

    :raises ValueError: anything else, whose Python spelling nobody wants to hear; says what it is
    """
    if isinstance(value, str):
        return clean(str.__str__(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"it is a {type(value).__name__}, not text; {_NATIVE}")  # noqa: TRY004  # pydantic reads it
    if not math.isfinite(value):
        raise ValueError(f"it is {value}, which is no text")
    return str(value)


def script_of(value: Any) -> str:
    """Return what is meant to be spoken, or was; see ``text_of``.

    :raises ValueError: it is data, or a file in some other format than plain text
    """
    text = text_of(value)
    kind = next((kind for kind, pattern in _FORMATS if pattern.search(text)), None)
    if kind is not None:
        raise ValueError(f"it is {kind}, whose times and tags would be spoken. Give the words alone, as plain text")
    if text.lstrip().startswith(("{", "[", "(", "b'", 'b"')) and (kind := _data(text.strip())) is not None:
        raise ValueError(f"it is a {kind} that was turned into text; pass what in it is to be spoken")
    return text


def _data(text: str) -> str | None:
    """Return the type of what a text spells, in JSON or in Python, where that is no text or number."""
    found: Any = None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in what is no Python
            try:
                found = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return None
    return type(found).__name__ if isinstance(found, dict | list | tuple | set | bytes) else None


def checked(value: Any, name: str, read: Any = text_of) -> str:
    """Return an argument as text.

    :param name: of the argument, for the message
    :param read: ``text_of`` or ``script_of``
    :raises InvalidInputError: it is none
    """
    try:
        return str(read(value))
    except ValueError as error:
        raise InvalidInputError(f"{name}: {error}. Nothing was uploaded or paid.") from None


Text = Annotated[str, BeforeValidator(text_of)]
Script = Annotated[str, BeforeValidator(script_of)]


@dataclass(frozen=True)
class Markup:
    """What a service makes of the marks in a script.

    :param marks: those that it reads and does not speak
    :param others: what to say of those that it may speak, or does something else with: pattern and warning; ``{tag}``
        stands for the first tag, without what is written in it
    """

    marks: re.Pattern[str]
    others: tuple[tuple[re.Pattern[str], str], ...] = ()

    def spoken(self, text: str) -> str:
        """Return the text without marks and tags."""
        return SSML.sub(" ", self.marks.sub(" ", text))

    def check(self, script: str) -> list[str]:
        """Find out before it is paid whether there is anything to say; return warnings.

        :raises InvalidInputError: the script is empty, or has nothing that can be spoken
        """
        if not script.strip():
            raise InvalidInputError("The script is empty: there is nothing to say. Nothing was paid.")
        if not spoken_characters(self.spoken(script)):
            raise InvalidInputError(
                f"The script has nothing that can be spoken: its {len(script)} characters are punctuation, symbols or "
                "marks. Nothing was paid."
            )
        found = [(pattern.search(script), told) for pattern, told in self.others]
        return [told.format(tag=f"{match[0].split()[0].rstrip('/>')}>") for match, told in found if match is not None]


SPOKEN_A_SECOND = 13  # letters and digits; people speak about 185 words a minute


def spoken_characters(text: str) -> int:
    """Count letters and digits; a Chinese or Korean sign counts as two letters."""
    return sum(2 if unicodedata.east_asian_width(sign) == "W" else 1 for sign in text if sign.isalnum())
