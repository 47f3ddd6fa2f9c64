"""The connection as Airflow sees it: which hook it gives, and what its test says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from voice_provider.exceptions import CapabilityError
from voice_provider.hooks.attempts import ATTEMPTS
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
    ("extra", "said"),
    [
        ({"require_concent": True}, "its extra has 'require_concent' (is it 'require_consent'?), no setting of it"),
        ({"allowed_input": ["s3://studio/"]}, "'allowed_input' (is it 'allowed_inputs'?)"),
        ({"name_space": "prod"}, "'name_space' (is it 'namespace'?)"),
        ({"Require-Consent": "true"}, "'Require-Consent' (is it 'require_consent'?)"),
        ({"speech_model": "s1"}, "'speech_model'"),  # of the other service
        ({"zzz": 1, "timeoutt": 5}, "'timeoutt' (is it 'timeout'?), 'zzz', no setting of it"),
    ],
)
def test_a_field_that_no_setting_has_fails_the_test_and_is_warned_of_at_run_time(
    extra: dict[str, Any],
    said: str,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_connection(**extra)
    works, message = VoiceHook.for_connection("voice_default").test_connection()
    assert not works
    assert said in message
    assert len(message) < 250
    assert emulator.requests() == []
    for hook in either_way("voice_default"):
        capsys.readouterr()
        assert hook.connect(hook.get_connection("voice_default"), extra)
        logged = capsys.readouterr()
        assert said in logged.out + logged.err
        assert hook.list_voices()
    set_connection("fish", service="fish_audio", speech_model="s1")
    assert VoiceHook.for_connection("fish").test_connection()[0]


@pytest.mark.parametrize(
    ("service", "path"),
    [("sync_labs", "/v2"), ("sync_labs", "/v2/"), ("sync_labs", "/v1"), ("fish_audio", "/v1"), ("fish_audio", "/v2/")],
)
def test_the_version_at_the_end_of_a_base_url_is_no_part_of_it(
    service: str, path: str, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    set_connection(service=service)
    plain = VoiceHook.for_connection("voice_default").settings
    set_connection(service=service, host=emulator.url + path)
    hook = VoiceHook.for_connection("voice_default")
    assert hook.test_connection()[0]
    assert (hook.settings.base_url, hook.settings.account) == (plain.base_url, plain.account)


@pytest.mark.parametrize("service", ["sync_labs", "fish_audio"])
def test_a_version_behind_a_path_is_named(
    service: str, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    """What a gateway has there is its own business; but where it does not work, that is the first thing to look at."""
    set_connection(service=service, host=f"{emulator.url}/gateway/v1")
    works, said = VoiceHook.for_connection("voice_default").test_connection()
    assert not works
    assert said.endswith("The base URL ends in /v1: leave the version out.")
    assert "voice_id" not in said


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (
            200,
            b"<!DOCTYPE html><title>Welcome to nginx!</title>",
            "GET /v2/models: 200 came with a page 'Welcome to nginx!', which is no answer of sync. labs. Something in",
        ),
        (
            404,
            b"<title>404 Not Found</title>",
            "404 came with a page '404 Not Found', which is no answer of sync. labs",
        ),
        (
            403,
            b"<title>Attention Required!</title>",
            "network, and the base URL of connection 'voice_default'.",
        ),
        (
            503,
            b"<title>Down for maintenance</title>",
            "503 came with a page 'Down for maintenance', which is no answer",
        ),
        (200, b'{"status": "up"}', "200 came with JSON of another form, which is no answer"),
        (404, b'{"message": "no Route matched"}', "JSON of another form ('no Route matched'), which is no answer"),
        (404, b'{"message": "Cannot GET /v2/models", "statusCode": 404}', "It has no such route: the base URL of the"),
        (404, b"404 page not found", "404 came with text ('404 page not found'), which is no answer"),
        (502, b"", "502 came with an empty body, which is no answer"),
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
    assert len(emulator.requests("/v2/models")) == 2 < ATTEMPTS
