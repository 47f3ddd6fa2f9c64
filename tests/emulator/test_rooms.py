"""The emulator's rooms: who may know whom, and that a service comes in through the door that there is for it."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from tests.import_graph import circles, graph, modules
from voice_provider.emulator import engine
from voice_provider.emulator.app import Gate, build, defaults
from voice_provider.emulator.halves import HALVES
from voice_provider.emulator.process import EmulatorError, EmulatorHandle
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.half import Half
from voice_provider.emulator.world.refusals import Refusal
from voice_provider.emulator.world.settings import Section
from voice_provider.emulator.world.state import Row

EMULATOR = "voice_provider.emulator"
WORLD, ENGINE = f"{EMULATOR}.world", f"{EMULATOR}.engine"
SERVICES = [half.service for half in HALVES]
VENDORS = re.compile(r"fish|sync[_. ]{0,2}labs|elevenlabs", re.IGNORECASE)


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    """What each module of the emulator imports of the package, for type checkers too."""
    return {name: imported for name, imported in graph().items() if within(name, EMULATOR)}


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def strangers(edges: dict[str, set[str]], room: str, *known: str) -> set[tuple[str, str]]:
    """Who in a room imports what is neither in it nor in the rooms that it knows."""
    inside = {name for name in edges if within(name, room)}
    assert len(inside) > 5, f"{room} is not where it was"
    return {
        (name, target)
        for name in inside
        for target in edges[name]
        if not any(within(target, it) for it in (room, *known))
    }


def lines_that_name_a_vendor(name: str, path: Path) -> list[str]:
    return [line.strip() for line in [name, *path.read_text().splitlines()] if VENDORS.search(line)]


def test_nobody_imports_in_a_circle(edges):
    assert circles(edges) == []


def test_the_emulator_shares_no_code_with_the_client(edges):
    assert strangers(edges, EMULATOR) == set()


def test_the_engine_knows_itself_alone(edges):
    assert strangers(edges, ENGINE) == set()


def test_the_world_knows_no_half_and_of_the_engine_only_what_it_offers(edges):
    assert {target for _, target in strangers(edges, WORLD)} <= {EMULATOR, ENGINE}


@pytest.mark.parametrize("service", SERVICES)
def test_a_half_knows_the_world_and_the_engine_but_no_other_half(edges, service):
    assert strangers(edges, f"{EMULATOR}.{service}", WORLD, ENGINE) == set()


def test_halves_are_known_only_where_they_are_listed(edges):
    halves = [f"{EMULATOR}.{service}" for service in SERVICES]
    outside = {name for name in edges if not any(within(name, half) for half in halves)}
    knowing = {name for name in outside for target in edges[name] if any(within(target, half) for half in halves)}
    assert knowing == {f"{EMULATOR}.halves"}


def test_a_vendors_name_is_in_its_folder_in_the_list_and_in_what_names_a_connection():
    named = {
        name: lines
        for name, path in modules().items()
        if within(name, EMULATOR) and not any(within(name, f"{EMULATOR}.{service}") for service in SERVICES)
        if (lines := lines_that_name_a_vendor(name, path))
    }
    assert named.keys() == {f"{EMULATOR}.halves", f"{EMULATOR}.process"}
    default, documented = named[f"{EMULATOR}.process"]
    assert default.startswith("def connection(")
    assert documented.startswith(":param service: the connection type")


# A service that nobody has heard of


class ParrotSettings(Section):
    parrot_word: str = "hello"


class Silence(Refusal):
    def response(self) -> Response:
        return PlainTextResponse("...", 418)


@dataclass
class Saying(Row):
    TABLE = "parrot_sayings"
    SCHEMA = "CREATE TABLE IF NOT EXISTS parrot_sayings (id TEXT PRIMARY KEY);"
    id: str


router, control = APIRouter(), APIRouter()


def word(request: Request) -> str:
    return request.app.state.emulator.settings.of(ParrotSettings).parrot_word


@router.post("/parrot/say/{saying}")
async def say(saying: str, request: Request) -> JSONResponse:
    if saying == "nothing":
        raise Silence
    if saying == "bug":
        raise ZeroDivisionError
    request.app.state.emulator.state.insert(Saying(saying))
    return JSONResponse(f"{saying}, {word(request)}")


@control.get("/parrot")
async def look(request: Request) -> JSONResponse:
    return JSONResponse([saying.id for saying in request.app.state.emulator.state.find(Saying)])


def feathered(send: Any, _emulator: Emulator, _scope: Any) -> Any:
    async def marked(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-feather", b"green")]
        await send(message)

    return marked


PARROT = Half(
    service="parrot",
    paths=("/parrot/",),
    router=router,
    refuse=lambda request, status, detail: PlainTextResponse(f"krah {status} {request.method} {detail}", status),
    ordered=lambda path, status, code: PlainTextResponse(f"krah on order {status} {path} {code}", status),
    settings=ParrotSettings,
    rows=(Saying,),
    mark=feathered,
    control=control,
    summary=lambda emulator: {"sayings": emulator.state.count(Saying)},
)


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[EmulatorHandle]:
    """The emulator with a third half, served in this process."""
    joined: list[Emulator] = []
    halves = (*HALVES, replace(PARROT, join=joined.append))
    emulator = build(tmp_path, engine.load("tone"), defaults(halves), halves)
    assert joined == [emulator]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(Gate(emulator, 0, halves), lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield EmulatorHandle(f"http://127.0.0.1:{listening.getsockname()[1]}", "", "", "tone")
        server.should_exit = True
        thread.join(10)
    emulator.close()


def test_a_third_half_is_routed_refused_set_counted_and_reset(zoo):
    with httpx.Client(base_url=zoo.url, verify=False) as customer:
        answer = customer.post("/parrot/say/Ada")
        assert (answer.json(), answer.headers["x-feather"]) == ("Ada, hello", "green")
        assert zoo.settings(parrot_word="krah")["parrot_word"] == "krah"
        with pytest.raises(EmulatorError, match="parrot_word"):
            zoo.settings(parrot_word=7)
        assert customer.post("/parrot/say/Bob").json() == "Bob, krah"
        assert (zoo.state()["sayings"], zoo.call("GET", "parrot")) == (2, ["Ada", "Bob"])

        refused = customer.post("/parrot/say/nothing")
        assert (refused.status_code, refused.text) == (418, "...")
        assert customer.get("/parrot/fly").text == "krah 404 GET Not Found"
        assert customer.get("/parrot/say/x").text == "krah 405 GET Method Not Allowed"
        assert customer.post("/parrot/say/bug").text == "krah 500 POST "
        zoo.fault("status", "/parrot/*", status=429, code="tired")
        assert customer.post("/parrot/say/x").text == "krah on order 429 /parrot/say/x tired"

        assert "x-feather" not in customer.get("/v2/models").headers
        assert customer.get("/fly").json()["message"] == "Cannot GET /fly"
        zoo.reset()
        assert (zoo.state()["sayings"], zoo.settings()["parrot_word"]) == (0, "hello")


def test_two_halves_cannot_have_a_setting_of_one_name():
    class Clash(Section):
        clone_slots: int = 0

    with pytest.raises(ValueError, match="clone_slots"):
        defaults((*HALVES, Half("clash", (), router, PARROT.refuse, PARROT.ordered, settings=Clash)))
