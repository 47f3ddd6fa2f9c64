"""What the takes of a script ask for, by their names; each order is made when it is looked at.

Ten thousand orders would take more memory than all the rest of a script.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from voice_provider.lines.takes import take_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from voice_provider.jobs.orders import SpeechOrder
    from voice_provider.lines.script import Line


class Orders(Mapping[str, "SpeechOrder"]):
    """Orders by the names of their takes, in the order of the lines.

    :param service: whose voices these are
    :param lines: of the script
    :param make: returns what a line asks for, always the same
    """

    def __init__(self, service: str, lines: Sequence[Line], make: Callable[[Line], SpeechOrder]) -> None:
        self._make = make
        self.keys_of_lines = [take_key(service, make(line).describe(), line.take) for line in lines]
        self._lines = dict(zip(self.keys_of_lines, lines, strict=True))

    def __getitem__(self, key: str) -> SpeechOrder:
        """Make the order of a take."""
        return self._make(self._lines[key])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._lines)

    def __len__(self) -> int:
        """Return how many takes there are."""
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        """Whether a take is one of these; makes no order."""
        return key in self._lines
