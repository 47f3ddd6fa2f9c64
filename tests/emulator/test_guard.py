"""A page of another site in a developer's browser gets nothing from the emulator; programs and people do."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from starlette.datastructures import Headers

from tests.emulator.customer import Customer, web
from voice_provider.emulator import API_KEY
from voice_provider.emulator.guard import Guard
from voice_provider.emulator.process import EmulatorProcess

if TYPE_CHECKING:
    from pathlib import Path

JSON = {"Content-Type": "application/json"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
def own(voice_emulator):
    """The emulator's own host and port."""
    return voice_emulator.url.removeprefix("http://")


def test_the_control_plane_takes_no_word_from_a_foreign_page(voice_emulator, own):
    voice_emulator.seed_voices(["Ada"])
    rebound, of_a_page = "The emulator listens on 127.0.0.1 and is not", "may not speak to the emulator's control plane"
    cases = [
        ({"Host": "evil.example"}, 403, rebound),
        ({"Host": f"evil.example:{own.partition(':')[2]}"}, 403, rebound),
        ({"Host": "127.0.0.1.evil.example"}, 403, rebound),
        ({"Host": "x.localhost"}, 403, rebound),  # some resolvers ask the network for it
        ({"Host": "10.0.0.1"}, 403, rebound),
        ({"Host": "evil@127.0.0.1"}, 403, rebound),
        ({"Host": "[::1"}, 403, rebound),
        ({"Host": ""}, 403, rebound),
        ({"Origin": "https://evil.example"}, 403, of_a_page),
        ({"Origin": "null"}, 403, of_a_page),
        ({"Origin": "http://127.0.0.1:3000"}, 403, of_a_page),  # another program's page on this machine
        ({"Origin": "http://localhost"}, 403, of_a_page),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403, of_a_page),
        ({"Sec-Fetch-Site": "same-site"}, 403, of_a_page),
        ({**LINK, "Sec-Fetch-Dest": "iframe"}, 403, of_a_page),
        ({"Content-Type": "text/plain"}, 415, "JSON only"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "JSON only"),
        ({"Content-Type": "text/plain; application/json"}, 415, "JSON only"),
        ({"Content-Type": ""}, 415, "JSON only"),
    ]
    for wrong, status, words in cases:
        orders = [("POST", "reset"), ("DELETE", "faults"), ("PATCH", "settings"), ("POST", "voices")]
        for method, path in orders if status == 415 else [*orders, ("GET", "ledger")]:
            answer = web.request(method, f"{voice_emulator.url}/_emulator/{path}", content=b"{}", headers=JSON | wrong)
            assert (answer.status_code, wrong) == (status, wrong)
            assert words in answer.json()["message"]
            assert "access-control-allow-origin" not in answer.headers
    link = web.post(f"{voice_emulator.url}/_emulator/reset", content=b"{}", headers=JSON | LINK)
    asked = web.options(f"{voice_emulator.url}/_emulator/reset", headers=JSON | {"Origin": "https://evil.example"})
    assert (link.status_code, asked.status_code) == (403, 403)
    assert voice_emulator.state()["voices"] == {"main": 1}


def test_the_control_plane_takes_programs_its_own_pages_and_links_to_them(voice_emulator, own):
    port = own.partition(":")[2]
    for headers in (
        {},
        {"Host": f"localhost:{port}"},
        {"Host": "LOCALHOST."},
        {"Host": "127.9.9.9"},
        {"Host": f"[::1]:{port}"},
        {"Host": "127.0.0.1:9999"},  # a port that was passed on
        {"Origin": voice_emulator.url, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},  # somebody typed it
        {"Content-Type": "application/json; charset=utf-8"},
    ):
        answer = web.post(f"{voice_emulator.url}/_emulator/clock", content=b"{}", headers=JSON | headers)
        assert (answer.status_code, headers) == (200, headers)
    assert web.get(f"{voice_emulator.url}/_emulator/state", headers=LINK).status_code == 200


def test_a_service_is_found_under_any_name_but_one_that_a_stranger_can_own(voice_emulator):
    voice_emulator.fault("status", "/v2/models", status=500)
    for path, headers in (("/v2/models", {"x-api-key": API_KEY}), ("/model", {"authorization": f"Bearer {API_KEY}"})):
        refused = web.get(voice_emulator.url + path, headers={**headers, "Host": "evil.example"})
        assert (refused.status_code, refused.json()["message"][:40]) == (
            403,
            "The emulator listens on 127.0.0.1 and is",
        )
    assert [(rule["seen"], rule["fired"]) for rule in voice_emulator.faults()] == [(0, 0)]  # nor does it use faults up
    assert voice_emulator.requests() == []
    voice_emulator.clear_faults()
    for host in ("localhost", "emulator:8080", "voice.localhost", "host.docker.internal:8080", "sync.test", "[::1]"):
        found = web.get(f"{voice_emulator.url}/v2/models", headers={"x-api-key": API_KEY, "Host": host})
        assert (found.status_code, host) == (200, host)
    assert web.get(f"{voice_emulator.storage_url}/x", headers={"Host": "evil.example"}).status_code == 403
    assert web.get(f"{voice_emulator.storage_url}/x", headers={"Host": "emulator"}).status_code == 404


def test_listening_elsewhere_it_has_other_names():
    def controls(told: str, host: str) -> bool:
        return Guard(told).of_control("GET", Headers({"host": host})) is None

    def serves(told: str, host: str) -> bool:
        return Guard(told).of_services(Headers({"host": host})) is None

    assert controls("0.0.0.0", "192.168.1.7:8080")
    assert controls("::", "[fd00::7]:8080")
    assert not controls("0.0.0.0", "voice.studio.example")
    assert controls("voice.studio.example", "Voice.studio.example:8080")
    assert not controls("voice.studio.example", "other.studio.example")
    assert controls("10.0.0.7", "10.0.0.7")
    assert not controls("10.0.0.7", "10.0.0.8")
    assert not controls("::1", "evil.example")
    assert serves("0.0.0.0", "voice.studio.example")
    assert not serves("::1", "voice.studio.example")
    assert not serves("localhost", "voice.studio.example")


def test_what_it_keeps_is_for_its_user_alone(tmp_path: Path, sample):
    outer = os.umask(0)
    try:
        with EmulatorProcess(tmp_path / "data", engine="tone") as emulator:
            with Customer(emulator.url) as customer:
                customer.clone(customer.upload(sample))
            emulator.kill()  # the database's journal stays
            found = [emulator.data_dir, *emulator.data_dir.rglob("*")]
            assert {path.name for path in found} > {"data", "state.sqlite", "state.sqlite-wal", "lock", "emulator.log"}
            assert open_to_others(found) == []
            former = [path for path in found if path.name.startswith(("state", "files"))]
            for path in former:
                path.chmod(0o755 if path.is_dir() else 0o644)
            emulator.start()
            assert open_to_others(former) == []
    finally:
        os.umask(outer)


def open_to_others(paths: list[Path]) -> list[Path]:
    return [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]
