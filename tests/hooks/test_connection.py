"""The connection as Airflow sees it: which hook it gives, and what its test says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from voice_provider.exceptions import CapabilityError
from voice_provider.hooks import transport
from voice_provider.hooks.sync_labs import SyncLabsHook
from voice_provider.hooks.voice import VoiceHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hooks.conftest import Stranger
    from voice_provider.emulator.process import EmulatorHandle


def either_way(conn_id: str) -> list[Any]:
    """Get the hook as the worker does, and as the triggerer does; errors are returned."""
    found: list[Any] = []
    for get in (
        lambda: VoiceHook.for_connection(conn_id),
        lambda: asyncio.run(VoiceHook.afor_connection(conn_id)),
    ):
        try:
            found.append(get())
        except Exception as error:  # noqa: BLE001
            found.append(error)
    return found


def test_a_connection_gives_the_hook_of_its_service(emulator: EmulatorHandle) -> None:
    hook = BaseHook.get_hook("voice_default")
    assert type(hook) is SyncLabsHook
    assert hook.voice_conn_id == "voice_default"
    for found in either_way("voice_default"):
        assert type(found) is SyncLabsHook
        assert found.settings.base_url == emulator.url


def test_the_spelling_of_a_uri_is_the_same_type(emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    address = emulator.url.removeprefix("http://")
    monkeypatch.setenv("AIRFLOW_CONN_STUDIO", f"sync-labs://:{emulator.api_key}@{address}/http?namespace=prod")
    for found in either_way("studio"):
        assert found.settings.namespace == "prod"
    assert VoiceHook.for_connection("studio").list_voices()


@pytest.mark.parametrize("conn_type", ["smtp", "http", "fs", "generic", "no_such_type"])
def test_a_connection_to_something_else_is_refused(conn_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps({"conn_type": conn_type, "host": "mail.example"}))
    for error in either_way("mail"):
        assert type(error) is CapabilityError
        assert "Connection 'mail' is of" in str(error)
        assert "no voice service. Use a connection of type sync_labs or fish_audio." in str(error)


def test_a_connection_that_is_not_there_is_airflows_own_error() -> None:
    for error in either_way("nowhere"):
        assert isinstance(error, AirflowNotFoundException)


def test_nothing_is_read_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHook, "get_connection", lambda *_: pytest.fail("the connection was read"))
    SyncLabsHook("nowhere")


def test_a_connection_that_works_says_to_what(hook: VoiceHook) -> None:
    works, said = hook.test_connection()
    assert works
    assert said.startswith("Connected to sync. labs: ")
    assert said.endswith("lip sync models, text-to-speech mode 'direct'.")


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"password": "sk-wrong-key"}, "GET /v2/models: sync. labs answered 401: Unauthorized. Check the API key"),
        ({"password": ""}, "Connection 'voice_default' has no API key"),
        ({"host": "http://127.0.0.1:9"}, "sync. labs (http://127.0.0.1:9) could not be reached (ConnectError)."),
        ({"host": "https://api..sync.so"}, "could not be reached (UnicodeError). Check the network and the base URL"),
        ({"host": "http://api.sync.so"}, "would send the API key unencrypted"),
        ({"host": "ftp://api.sync.so"}, "has to look like https://api.sync.so"),
        ({"host": "EMULATOR/wrong/path"}, "404"),
        ({"namespace": "Not One"}, "namespace 'Not One' has to be"),
        ({"tts_mode": "both"}, "use 'direct' or 'jobs'"),
        ({"timeout": "long"}, "timeout 'long' has to be a number"),
    ],
)
def test_a_connection_that_does_not_work_says_why_in_a_line(
    connection: dict[str, Any],
    message: str,
    hook: VoiceHook,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
) -> None:
    if "host" in connection:
        connection = {"host": connection["host"].replace("EMULATOR", emulator.url)}
    set_connection(**connection)
    works, said = hook.test_connection()
    assert not works
    assert message in said
    assert len(said) < 250
    assert "\n" not in said


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (
            200,
            b"<!DOCTYPE html><title>Welcome to nginx!</title>",
            "a page or with something else than a list. Check the",
        ),
        (404, b"<title>404 Not Found</title>", "page '404 Not Found' instead of an answer. Nothing answers there as"),
        (403, b"<title>Attention Required!</title>", "the edge in front of sync. labs refused with 403"),
        (503, b"<title>Down for maintenance</title>", "503 with a page 'Down for maintenance' instead of an answer"),
        (302, b"", "was redirected to login.example"),
    ],
)
def test_an_address_where_something_else_answers_says_what(
    status: int,
    content: bytes,
    message: str,
    hook: VoiceHook,
    set_connection: Callable[..., None],
    stranger: Stranger,
) -> None:
    headers = {"location": "https://login.example/"} if status == 302 else {}
    stranger.answer = lambda _: (status, headers, content)
    set_connection(host=stranger.url)
    works, said = hook.test_connection()
    assert not works
    assert message in said


def test_a_person_who_tests_a_connection_does_not_wait_for_all_attempts(
    hook: VoiceHook, emulator: EmulatorHandle
) -> None:
    emulator.fault("status", path="/v2/models", status=503, times=None)
    works, _ = hook.test_connection()
    assert not works
    assert len(emulator.requests("/v2/models")) == 2 < transport.ATTEMPTS
