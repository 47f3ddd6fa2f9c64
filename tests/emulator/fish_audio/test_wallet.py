"""The wallets of Fish Audio (its contract, section 9)."""

from __future__ import annotations

import sqlite3
import time

import pytest

from tests.emulator.fish_audio.customer import FishCustomer


def credit(fish: FishCustomer, **query: object) -> dict:
    answer = fish.get("/wallet/self/api-credit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_credit_is_told_in_decimal_strings(fish, voice_emulator):
    wallet = credit(fish)
    assert wallet.keys() == {
        "_id", "user_id", "credit", "cumulative_top_up", "created_at", "updated_at", "has_phone_sha256",
        "has_free_credit",
    }  # fmt: skip
    assert (wallet["credit"], wallet["cumulative_top_up"], wallet["has_free_credit"]) == ("10.000000", "10", None)
    assert credit(fish, check_free_credit=True, team_id="t")["has_free_credit"] is False
    voice_emulator.settings(fish_credit_usd=-0.5)
    assert credit(fish)["credit"] == "-0.500000"


def test_a_wallet_is_found_by_its_owners_id_too_and_by_nobody_else(fish, fish_stranger):
    mine = credit(fish)["user_id"]
    assert fish.get(f"/wallet/{mine}/api-credit").json()["user_id"] == mine
    assert fish_stranger.get(f"/wallet/{mine}/api-credit").status_code == 403
    assert credit(fish_stranger)["user_id"] != mine


def test_debits_of_the_ledger_show_after_a_while_and_only_ones_own(fish, voice_emulator):
    now = time.time()
    row = "INSERT INTO ledger VALUES (NULL, ?, 'speech', ?, 'x', NULL, 78, 'bytes', ?, ?, '', 1, 0)"
    with sqlite3.connect(voice_emulator.data_dir / "state.sqlite") as state:
        state.execute(row, ("fish_audio", "main", 0.00117, now))
        state.execute(row, ("sync_labs", "main", 5, now))
        state.execute(row, ("fish_audio", "elsewhere", 5, now))
    assert credit(fish)["credit"] == "9.998830"
    voice_emulator.settings(fish_debit_seconds=60)
    assert credit(fish)["credit"] == "10.000000"
    voice_emulator.advance(61)
    assert credit(fish)["credit"] == "9.998830"


def test_the_package_has_no_id(fish):
    package = fish.get("/wallet/self/package").json()
    assert fish.get(f"/wallet/{package['user_id']}/package").json().keys() == package.keys()
    assert fish.get("/wallet/somebody/package").status_code == 403
    assert package.keys() >= {"user_id", "type", "total", "balance", "created_at", "updated_at", "finished_at"}
    assert "_id" not in package


@pytest.mark.parametrize("path", ["/wallet/self/api-credit", "/wallet/self/package"])
@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_bad_key_is_an_invalid_token(voice_emulator, path, key):
    with FishCustomer(voice_emulator.url, key) as fish:
        answer = fish.get(path)
    assert (answer.status_code, answer.json()) == (401, {"status": 401, "message": "Invalid Token"})


def test_a_bad_query_is_a_422(fish):
    answer = fish.get("/wallet/self/api-credit", params={"check_free_credit": "perhaps"})
    assert (answer.status_code, answer.json()[0]["loc"]) == (422, ["check_free_credit"])
