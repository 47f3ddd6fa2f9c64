"""What may be spent: a limit in dollars, held against what is about to be ordered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import BudgetError, InvalidInputError

if TYPE_CHECKING:
    from voice_provider.models import Cost


def dollars(usd: float) -> str:
    """Write an amount for people: cents, or as many digits as a small one needs to be seen."""
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.6f}".rstrip("0").ljust(5, "0")


def limit_of(value: Any, name: str) -> float | None:
    """Read a limit that may have come through a template.

    :param value: dollars; None, or nothing rendered: no limit
    :param name: of the argument
    :raises InvalidInputError: no amount of dollars
    """
    text = "" if value is None else str(value).strip()
    if text in ("", "None"):
        return None
    try:
        limit = float(text.removeprefix("$"))
    except ValueError:
        limit = math.nan
    if isinstance(value, bool) or not 0 <= limit < math.inf:
        raise InvalidInputError(f"{name} is {value!r}; give dollars, such as 2.50, 0 or more. Nothing was ordered.")
    return limit


def check_budget(cost: Cost, limit: float | None, what: str, argument: str = "max_cost") -> None:
    """Go on only where an order costs no more than it may.

    :param cost: of what is about to be ordered
    :param limit: dollars; None: it may cost anything
    :param what: is ordered, for the message: ``The speech``
    :param argument: that says the limit
    :raises BudgetError: it costs more, or it is not known what it costs
    """
    if limit is None or (cost.usd is not None and cost.usd <= limit + 1e-9):
        return
    if cost.usd is None:
        raise BudgetError(
            f"It is not known what {what[0].lower()}{what[1:]} would cost, and {argument} allows {dollars(limit)}; "
            "nothing was uploaded or paid. Give a price in the connection's 'prices', or leave the limit out."
        )
    raise BudgetError(
        f"{what} would cost about {dollars(cost.usd)}, allowed are {dollars(limit)} ({argument}); nothing was uploaded "
        "or paid. Raise the limit, or order less."
    )
