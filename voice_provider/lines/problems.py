"""What is wrong with a script, all of it in one error, before anything is paid."""

from __future__ import annotations

from voice_provider.exceptions import InvalidInputError

SHOWN = 10


class Problems:
    """Collects what is wrong, each with its place.

    :param name: of the script, for the message
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, where: str, what: str) -> None:
        """Note one.

        :param where: ``line 12, column 3 'voice'``
        """
        self.found.append(f"{where}: {what}")

    def check(self) -> None:
        """Go on only where nothing is wrong.

        :raises InvalidInputError: names the first ten, and how many there are
        """
        if not self.found:
            return
        rest = len(self.found) - SHOWN
        more = f"; and {rest} more" if rest > 0 else ""
        count = f"{len(self.found)} problems" if len(self.found) > 1 else "a problem"
        raise InvalidInputError(f"{self.name} has {count}; nothing was paid. {'; '.join(self.found[:SHOWN])}{more}.")
