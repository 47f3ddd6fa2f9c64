"""Prices, and what an amount of work costs by them.

A price list is data with a date: a service's own stands in its folder, and a connection may have one that goes before
it (extra field ``prices``), because a contract may say something else than the service's web site. What has no price
in either is not known; it is never guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from voice_provider.models import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from voice_provider.models import Basis

# By what each kind of work may be counted; `bytes` are those of the text in UTF-8.
UNITS = {"speech": ("bytes", "characters"), "transcription": ("seconds",), "lip_sync": ("frames", "seconds")}
BASES: tuple[Basis, ...] = ("service", "computed", "estimated", "unknown")  # the best known first
EXAMPLE = '{"speech": {"characters": 0.0002}, "lip_sync/MODEL": {"frames": 0.002}}'


class Price(NamedTuple):
    """What one unit costs.

    :param usd: dollars
    :param unit: ``bytes``, ``characters``, ``seconds`` or ``frames``
    :param whole: a unit that is begun counts as a whole one; default: no
    """

    usd: float
    unit: str
    whole: bool = False


class PriceList(NamedTuple):
    """Prices of one day.

    :param prices: by ``<kind>/<model>``, or by ``<kind>`` for every model
    :param as_of: the day on which they were read, ISO 8601; empty: not known
    :param source: where they were read
    """

    prices: Mapping[str, Price] = MappingProxyType({})
    as_of: str = ""
    source: str = ""

    def find(self, kind: str, model: str | None = None) -> Price | None:
        """Return the price of a kind of work by a model, if there is one."""
        return self.prices.get(f"{kind}/{model}") or self.prices.get(kind)


def cost_of(
    lists: Iterable[PriceList],
    kind: str,
    model: str | None,
    amounts: Mapping[str, float],
    basis: Basis = "computed",
) -> Cost:
    """Return what work costs by the first list that knows its price.

    :param kind: ``speech``, ``transcription`` or ``lip_sync``
    :param model: that does it
    :param amounts: how much it is, in every unit that is known of it
    :param basis: how the amounts are known; default: ``computed``
    :return: with the basis ``unknown``, and no dollars, where there is no price or the amount is not known
    """
    price = next((found for each in lists if (found := each.find(kind, model)) is not None), None)
    if price is None or price.unit not in amounts:
        return Cost(basis="unknown", units=dict(amounts))
    amount = amounts[price.unit]
    if price.whole:
        amount = math.ceil(amount)
    return Cost(usd=amount * price.usd, basis=basis, units={price.unit: amount})


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum, as well known as the least known of its parts; of nothing it is nothing.

    :return: without dollars where those of one part are not known: a sum that leaves one out is no sum
    """
    usd: float | None = 0.0
    worst: set[Basis] = set()
    units: dict[str, float] = {}
    for part in costs:
        usd = None if usd is None or part.usd is None else usd + part.usd
        worst.add(part.basis)
        for unit, amount in part.units.items():
            units[unit] = units.get(unit, 0) + amount
    return Cost(usd=usd, basis=max(worst, key=BASES.index, default="computed"), units=units)


NOTHING = total(())  # of what was there


def settled(parts: Sequence[Cost], amounts: Mapping[str, float]) -> Cost:
    """Return what work has cost, now that its amount is known.

    :param parts: what it was expected to cost; those with the basis ``estimated`` have one unit each
    :param amounts: what came of it, by unit
    """
    return total(_settled(part, amounts) for part in parts)


def _settled(part: Cost, amounts: Mapping[str, float]) -> Cost:
    unit, planned = next(iter(part.units.items()), ("", 0.0))
    if part.basis != "estimated" or part.usd is None or not planned or unit not in amounts:
        return part
    return Cost(usd=part.usd * amounts[unit] / planned, basis="computed", units={unit: amounts[unit]})


def read_prices(value: Any) -> PriceList:
    """Read the prices of a connection: dollars a unit, by kind of work or by kind and model.

    :param value: an object, or its JSON: ``{"speech": {"characters": 0.0002}}``
    :raises ValueError: it is none, or has a kind, a unit or a price that cannot be; says which, and what to write
    """
    given = (json.loads(value.strip() or "{}") if isinstance(value, str) else value) or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"it is no JSON object such as {EXAMPLE}")  # noqa: TRY004  # what cannot be read is one kind
    return PriceList({str(name): _price(str(name), each) for name, each in given.items()})


def _price(name: str, given: Any) -> Price:
    kind, slash, model = name.partition("/")
    if kind not in UNITS or (slash and not model):
        raise ValueError(f"'{name[:60]}' is no kind of work; use {', '.join(UNITS)}, or one of them, '/' and a model")
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ValueError(f"'{name}' needs one unit with its price in dollars, such as {EXAMPLE}")
    [(unit, usd)] = given.items()
    if unit not in UNITS[kind]:
        raise ValueError(f"'{name}' is counted in {' or '.join(UNITS[kind])}, not in '{str(unit)[:60]}'")
    is_number = isinstance(usd, int | float) and not isinstance(usd, bool)
    if not is_number or not 0 <= usd < math.inf:
        raise ValueError(f"the price of '{name}' is {str(usd)[:60]!r}; give dollars a unit, 0 or more")
    return Price(float(usd), unit, whole=kind == "transcription")
