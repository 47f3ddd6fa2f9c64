"""What was spent: the costs in the records beside kept results, each paid result once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_provider.models import Cost
from voice_provider.money.prices import total

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Spent:
    """One paid result.

    :param order: what tells it from all others, wherever a copy of it lies
    :param ordered_at: ISO 8601, UTC
    :param dag: that ordered it; empty: none, or not known
    :param voice: that speaks; empty: none, or not known
    :param cost: of it
    """

    order: tuple[str, ...]
    ordered_at: str
    dag: str
    voice: str
    cost: Cost

    @property
    def day(self) -> str:
        """The day on which it was ordered, UTC."""
        return self.ordered_at[:10]


@dataclass(frozen=True)
class Group:
    """What several results have cost together.

    :param name: what they have in common
    :param results: how many there are
    :param cost: of those whose cost is known
    :param unknown: how many there are whose cost is not
    """

    name: str
    results: int
    cost: Cost
    unknown: int


def grouped(spent: Iterable[Spent], by: str) -> list[Group]:
    """Sum by DAG, day or voice; the days in their order, else what is dearest first.

    :param by: ``dag``, ``day`` or ``voice``
    """
    once = {each.order: each for each in spent}
    groups: dict[str, list[Cost]] = {}
    for each in once.values():
        groups.setdefault(getattr(each, by), []).append(each.cost)
    found = [group_of(name, costs) for name, costs in groups.items()]
    return sorted(found, key=lambda group: group.name if by == "day" else (-(group.cost.usd or 0), group.name))


def group_of(name: str, costs: Iterable[Cost]) -> Group:
    """Sum what is known, and count what is not."""
    parts = list(costs)
    known = [cost for cost in parts if cost.usd is not None]
    cost = total(known) if known or not parts else Cost(basis="unknown")
    return Group(name, len(parts), cost, len(parts) - len(known))
