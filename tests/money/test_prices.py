"""Prices and budgets, as tables: nothing is asked."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from voice_provider.exceptions import BudgetError, InvalidInputError
from voice_provider.models import Cost, Manifest
from voice_provider.money.budget import check_budget, dollars, limit_of
from voice_provider.money.prices import Price, PriceList, cost_of, read_prices, settled, total
from voice_provider.money.spent import Spent, grouped

PUBLISHED = PriceList({"speech/a": Price(0.001, "bytes"), "transcription": Price(0.1, "seconds", whole=True)})


def test_a_price_is_looked_for_in_the_connection_first_and_is_never_guessed() -> None:
    own = read_prices('{"speech": {"characters": 0.01}, "speech/b": {"bytes": 0.5}}')
    amounts = {"bytes": 4.0, "characters": 3.0}
    cases: list[tuple[tuple[PriceList, ...], str, float | None, dict[str, float]]] = [
        ((PUBLISHED,), "a", 0.004, {"bytes": 4}),
        ((PUBLISHED,), "other", None, amounts),
        ((own, PUBLISHED), "a", 0.03, {"characters": 3}),
        ((own, PUBLISHED), "b", 2.0, {"bytes": 4}),
        ((PriceList(),), "a", None, amounts),
    ]
    for lists, model, usd, units in cases:
        cost = cost_of(lists, "speech", model, amounts)
        assert (cost.usd, cost.units) == (pytest.approx(usd) if usd is not None else None, units)
        assert cost.basis == ("unknown" if usd is None else "computed")
    assert cost_of([PUBLISHED], "transcription", None, {"seconds": 2.01}).units == {"seconds": 3}
    assert cost_of([PUBLISHED], "transcription", None, {}).basis == "unknown"


def test_a_sum_is_known_as_well_as_its_least_known_part() -> None:
    computed = Cost(usd=0.1, basis="computed", units={"bytes": 10})
    estimated = Cost(usd=2, basis="estimated", units={"frames": 100})
    unknown = Cost(basis="unknown", units={"bytes": 5})
    assert total([]) == Cost(usd=0, basis="computed")
    assert total([computed, estimated]).dump() == {
        "usd": 2.1,
        "basis": "estimated",
        "units": {"bytes": 10, "frames": 100},
    }
    assert total([computed, unknown, estimated]).dump() == {
        "usd": None,
        "basis": "unknown",
        "units": {"bytes": 15, "frames": 100},
    }
    assert settled([computed, estimated], {"frames": 125, "seconds": 5}).dump()["usd"] == pytest.approx(2.6)
    assert settled([computed, estimated], {"frames": 125}).basis == "computed"
    assert settled([estimated], {"seconds": 5}) == total([estimated]), "what cannot be settled stays an estimate"
    assert settled([unknown], {"frames": 125}).basis == "unknown"


def test_an_unknown_cost_says_so_in_what_a_task_returns() -> None:
    told = Manifest(
        service="s", kind="speech", uri="/x", sha256="0", bytes=1, format="mp3", media_type="audio/mpeg"
    ).model_copy(update={"cost": Cost(basis="unknown")})
    assert told.dump()["cost"] == {"usd": None, "basis": "unknown", "units": {}}
    assert Manifest.model_validate(json.loads(json.dumps(told.dump()))) == told
    assert [str(Cost(usd=0.00117, basis="computed", units={"bytes": 78})), str(Cost(basis="unknown"))] == [
        "$0.00117, computed, 78 bytes",
        "not known",
    ]


def test_prices_of_a_connection_are_refused_by_name() -> None:
    assert read_prices(None) == read_prices("") == read_prices(" ") == PriceList()
    wrong: dict[Any, str] = {
        "{": "Expecting",
        "[1]": "no JSON object",
        '{"talk": {"bytes": 1}}': "'talk' is no kind of work; use speech, transcription, lip_sync",
        '{"speech/": {"bytes": 1}}': "is no kind of work",
        '{"speech": 1}': "one unit with its price",
        '{"speech": {"bytes": 1, "characters": 1}}': "one unit",
        '{"speech": {"frames": 1}}': "counted in bytes or characters, not in 'frames'",
        '{"speech": {"bytes": "15"}}': "give dollars a unit",
        '{"speech": {"bytes": true}}': "give dollars a unit",
        '{"speech": {"bytes": -1}}': "0 or more",
        '{"speech": {"bytes": NaN}}': "0 or more",
    }
    for given, why in wrong.items():
        with pytest.raises(ValueError, match=why):
            read_prices(given)


def test_a_limit_is_dollars_and_an_unknown_price_is_above_each() -> None:
    assert [limit_of(given, "max_cost") for given in (None, "", "None", 0, "2.50", "$3", 1)] == [
        *([None] * 3),
        *(0, 2.5, 3, 1),
    ]
    for given in (True, "nan", "much", -1, "inf", [1]):
        with pytest.raises(InvalidInputError, match="max_cost is"):
            limit_of(given, "max_cost")
    check_budget(Cost(basis="unknown"), None, "The speech")
    check_budget(Cost(usd=math.fsum([0.1] * 3), basis="computed"), 0.3, "The speech")
    with pytest.raises(
        BudgetError, match=r"^The lip sync would cost about \$4\.20, allowed are \$1\.00 \(max_cost\); no"
    ):
        check_budget(Cost(usd=4.2, basis="estimated"), 1, "The lip sync")
    with pytest.raises(
        BudgetError, match=r"not known what the speech would cost, and limit allows \$1\.00; nothing was"
    ):
        check_budget(Cost(basis="unknown"), 1, "The speech", "limit")
    assert [dollars(usd) for usd in (0, 1234.5, 0.5, 0.00063)] == ["$0.00", "$1,234.50", "$0.50", "$0.00063"]


def test_each_paid_result_is_counted_once() -> None:
    def spent(job: str, at: str, dag: str, usd: float | None) -> Spent:
        basis: Any = "unknown" if usd is None else "computed"
        return Spent((job,), at, dag, "Ann", Cost(usd=usd, basis=basis))

    results = [
        spent("1", "2026-11-02T10:00", "a", 1),
        spent("1", "2026-11-02T10:00", "a", 1),
        spent("2", "2026-11-01T10:00", "b", 3),
        spent("3", "2026-11-02T11:00", "a", None),
    ]
    by_dag = [(group.name, group.results, group.cost.usd, group.unknown) for group in grouped(results, "dag")]
    assert by_dag == [("b", 1, 3, 0), ("a", 2, 1, 1)]
    assert [group.name for group in grouped(results, "day")] == ["2026-11-01", "2026-11-02"]
    assert [(group.results, group.cost.usd) for group in grouped(results, "voice")] == [(3, 4)]
