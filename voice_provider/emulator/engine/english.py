"""What the local engine can say, told without loading it."""

from __future__ import annotations

import unicodedata

from voice_provider.emulator.engine import EngineError


def words(text: str) -> list[str]:
    """Return what can be said of a text, word by word.

    :raises EngineError: ``text_unspeakable``
    """
    found = [word for word in text.split(" ") if not any(_is_foreign(letter) for letter in word)]
    if not any(letter.isalnum() for word in found for letter in word):
        foreign = any(letter.isalpha() for letter in text)
        reason = "The local engine speaks English only" if foreign else "There is nothing to say in the text"
        raise EngineError("text_unspeakable", f"{reason}. Write at least one English word or number.")
    return found


def _is_foreign(letter: str) -> bool:
    return letter.isalpha() and ord(letter) > 0x24F and not unicodedata.name(letter, "").startswith("LATIN")
