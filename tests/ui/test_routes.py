"""Who may ask for what: each route there is, as a stranger, as users who may not, and as one who may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.api_fastapi.core_api.security import get_user
from fastapi.routing import APIRoute

from tests.ui.conftest import answered
from voice_provider.ui.app import STATIC, app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi.dependencies.models import Dependant
    from fastapi.testclient import TestClient

    from voice_provider.emulator.process import EmulatorHandle

# What everybody who is logged in gets: code, and a list that leaves out what the user may not read.
OF_ALL_USERS = {"/connections", "/static/{name}"}
GIVEN = {"connection_id": "voice_default", "voice_id": "EXAVITQu4vr4xnSDxMaL", "dag_id": "dag", "name": "voice.js"}
QUERY = {"run_id": "run", "task_id": "task"}


def routes() -> Iterator[tuple[str, str, str]]:
    """Go through all: pattern, method, and an address."""
    for route in app().routes:
        assert isinstance(route, APIRoute), f"{route} has no dependencies, so nobody is checked"
        for method in sorted(route.methods):
            yield route.path, method, route.path.format(**GIVEN).lstrip("/")


def test_every_route_checks_its_user(
    stranger: TestClient, be: Callable[[str | None], None], emulator: EmulatorHandle
) -> None:
    found = list(routes())
    assert len(found) >= 11
    for path, method, address in found:
        assert stranger.request(method, address, params=QUERY).status_code == 401, (path, "stranger")
    be(None)
    for path, method, address in found:
        expected = 200 if path in OF_ALL_USERS else 403
        assert stranger.request(method, address, params=QUERY).status_code == expected, (path, "of no role")
    be("VIEWER")  # reads DAGs, and no connection
    for path, method, address in found:
        expected = 403 if "connection_id" in path else 200
        assert stranger.request(method, address, params=QUERY).status_code == expected, (path, "viewer")
    be("ADMIN")
    for path, method, address in found:
        status = stranger.request(method, address, params=QUERY).status_code
        # The run does not exist, and a built-in voice is not deleted; who may do it is told so.
        assert status == {"DELETE": 409}.get(method, 404 if "dag_id" in path else 200), (path, "admin")
    assert emulator.voices() == []


def test_every_route_knows_who_asks() -> None:
    def calls(dependant: Dependant) -> Iterator[object]:
        yield dependant.call
        for inner in dependant.dependencies:
            yield from calls(inner)

    for route in app().routes:
        assert isinstance(route, APIRoute)
        assert get_user in calls(route.dependant), route.path


def test_the_modules_of_the_page_are_served_as_what_they_are(admin: TestClient) -> None:
    for path in STATIC.iterdir():
        answer = admin.get(f"static/{path.name}")
        assert (answer.status_code, answer.text) == (200, path.read_text())
        assert answer.headers["content-type"].startswith("text/javascript")
    for name in ("..%2Fapp.py", "%2Fetc%2Fpasswd", "voice.css", "", "..%2f..%2fplugin.py"):
        assert admin.get(f"static/{name}").status_code == 404


def test_a_user_of_the_page_needs_no_more_than_its_connections(admin: TestClient, emulator: EmulatorHandle) -> None:
    assert [one["id"] for one in answered(admin, "connections")] == ["voice_default"]
    assert answered(admin, "connections/voice_default/wallet")["usd"] is None
