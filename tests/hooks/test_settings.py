"""What a connection says, in every form that people write it in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection

from voice_provider.exceptions import AuthError, InvalidInputError
from voice_provider.hooks.addresses import is_internal, is_loopback, origin
from voice_provider.hooks.settings import Settings, read_settings

DEFAULT = "https://api.sync.so"
KEY = "sk-0123456789"


def read(extra: dict[str, Any] | None = None, **fields: Any) -> Settings:
    connection = Connection(conn_id="voice", conn_type="sync_labs", **{"password": KEY, **fields})
    return read_settings(connection, extra or {}, DEFAULT)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, DEFAULT),
        ({"host": ""}, DEFAULT),
        ({"host": "  "}, DEFAULT),
        ({"host": "api.sync.so"}, "https://api.sync.so"),
        ({"host": "https://api.sync.so/"}, "https://api.sync.so"),
        ({"host": "HTTPS://API.sync.so//"}, "https://api.sync.so"),
        ({"host": "https://proxy.example/sync/"}, "https://proxy.example/sync"),
        ({"host": "proxy.example/sync"}, "https://proxy.example/sync"),
        ({"host": "https://dev-api.sync.so:8443"}, "https://dev-api.sync.so:8443"),
        ({"host": "dev-api.sync.so", "port": 8443}, "https://dev-api.sync.so:8443"),
        ({"host": "https://dev-api.sync.so:8443", "port": 9}, "https://dev-api.sync.so:8443"),
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080"),
        ({"host": "127.0.0.1", "port": 8080, "schema": "http"}, "http://127.0.0.1:8080"),
        ({"host": "localhost", "port": 8080, "schema": "http"}, "http://localhost:8080"),
        ({"host": "127.0.0.1", "schema": "sync"}, "https://127.0.0.1"),
        ({"host": "http://[::1]:8080/"}, "http://[::1]:8080"),
        ({"host": "[::1]:8080", "schema": "http"}, "http://[::1]:8080"),
        ({"host": "::1", "port": 8080, "schema": "http"}, "http://[::1]:8080"),
    ],
)
def test_a_base_url_is_read_in_every_form(fields: dict[str, Any], expected: str) -> None:
    assert read(**fields).base_url == expected


@pytest.mark.parametrize(
    "host",
    [
        "ftp://api.sync.so",
        "https://",
        "https://api.sync.so:99999",
        "https://api.sync.so:port",
        "https://[::1",
        "https://[not an address]",
        "https://api.sync.so?key=1",
        "https://api.sync.so#v2",
        f"https://{KEY}@api.sync.so",
        f"https://user:{KEY}@api.sync.so",
        f"user:{KEY}@api.sync.so",
        "file:///etc/passwd",
    ],
)
def test_a_base_url_that_cannot_be_one_is_refused_without_telling_a_key(host: str) -> None:
    with pytest.raises(
        InvalidInputError, match=r"Connection 'voice': the base URL .* has to look like https://api.sync.so"
    ):
        read(host=host)
    with pytest.raises(InvalidInputError) as caught:
        read(host=host)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["http://api.sync.so", "http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example", "http://0.0.0.0"],
)
def test_a_key_is_not_sent_unencrypted_to_another_machine(host: str) -> None:
    with pytest.raises(InvalidInputError, match=r"would send the API key unencrypted. Use https://"):
        read(host=host)


def test_plain_http_is_for_other_hosts_than_the_service_itself() -> None:
    assert read(host="http://voices:8080", extra={"plain_http": True}).base_url == "http://voices:8080"
    assert read(host="voices", schema="http", port=8080, extra={"plain_http": "true"}).plain_http
    for host in ("http://api.sync.so", "http://API.sync.so.", "http://eu.sync.so", "http://sync.so"):
        with pytest.raises(InvalidInputError, match="would send the API key unencrypted"):
            read(host=host, extra={"plain_http": True})


@pytest.mark.parametrize("password", [None, "", "  ", "\n"])
def test_a_connection_without_a_key_says_where_to_put_it(password: str | None) -> None:
    with pytest.raises(AuthError, match=r"Connection 'voice' has no API key\. Put it into the password field"):
        read(password=password)


@pytest.mark.parametrize("password", [f"{KEY}\n", f"  {KEY} "])
def test_a_key_that_was_pasted_with_its_line_break_is_taken(password: str) -> None:
    assert read(password=password).key == KEY


@pytest.mark.parametrize("password", [f"{KEY}\r\nx-evil: 1", "key with spaces", "kéy-0123456789", "\x00" * 5])
def test_a_key_that_no_header_can_carry_is_refused_without_telling_it(password: str) -> None:
    with pytest.raises(AuthError, match=r"the API key has characters that no key has.*Paste it again") as caught:
        read(password=password)
    assert password not in str(caught.value)


@pytest.mark.parametrize("namespace", ["a", "prod", "team-7", "0", "x" * 16])
def test_a_namespace(namespace: str) -> None:
    assert read({"namespace": namespace}).namespace == namespace


@pytest.mark.parametrize("namespace", ["Prod", "-a", "x" * 17, "a b", "a:b", "ü", "a\n"])
def test_a_namespace_that_cannot_be_part_of_a_name_is_refused(namespace: str) -> None:
    with pytest.raises(
        InvalidInputError, match=r"Connection 'voice': namespace (?s:.*) 1 to 16 small letters, digits and '-'"
    ):
        read({"namespace": namespace})


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, 60), ("", 60), (5, 5), ("5", 5), (" 2.5 ", 2.5), (600, 600), (0, 60)]
)
def test_a_timeout(timeout: Any, seconds: float) -> None:
    assert read({"timeout": timeout}).timeout == seconds


@pytest.mark.parametrize("timeout", ["a minute", -1, 601, "nan", "inf", [5], {}, {"seconds": 5}])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    if timeout == {}:
        assert read({"timeout": timeout}).timeout == 60
        return
    with pytest.raises(InvalidInputError, match=r"Connection 'voice': timeout .* number of seconds up to 600"):
        read({"timeout": timeout})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("", ()),
        (" \n , ", ()),
        ([], ()),
        ("s3://a/", ("s3://a/",)),
        ("s3://a/, /data/in", ("s3://a/", "/data/in")),
        ("s3://a/\n/data/in\r\n", ("s3://a/", "/data/in")),
        (["s3://a/", " /data/in "], ("s3://a/", "/data/in")),
        (["/data/a,b"], ("/data/a,b",)),
    ],
)
def test_allowed_storage_is_read_as_a_list_as_lines_and_between_commas(value: Any, expected: tuple[str, ...]) -> None:
    settings = read({"allowed_inputs": value, "allowed_outputs": value})
    assert settings.allowed_inputs == expected
    assert settings.allowed_outputs == expected


@pytest.mark.parametrize("extra", ["{broken", "[1]", '"text"', "7"])
def test_limits_that_cannot_be_read_are_not_taken_for_none(extra: str) -> None:
    connection = Connection(conn_id="voice", conn_type="sync_labs", password=KEY, extra=extra)
    with pytest.raises(InvalidInputError, match="Connection 'voice': its extra field is no JSON object"):
        read_settings(connection, connection.extra_dejson, DEFAULT)


@pytest.mark.parametrize("extra", [None, "", "{}", " {} "])
def test_a_connection_without_extras_has_the_defaults(extra: str | None) -> None:
    connection = Connection(conn_id="voice", conn_type="sync_labs", password=KEY, extra=extra)
    settings = read_settings(connection, connection.extra_dejson, DEFAULT)
    assert (settings.namespace, settings.timeout, settings.allowed_inputs) == ("default", 60.0, ())


@pytest.mark.parametrize(
    ("uri", "base_url", "namespace"),
    [
        (f"sync-labs://:{KEY}@127.0.0.1:8080/http?namespace=prod", "http://127.0.0.1:8080", "prod"),
        (f"sync-labs://:{KEY}@localhost:8080/http", "http://localhost:8080", "default"),
        (f"sync-labs://:{KEY}@[::1]:8080/http", "http://[::1]:8080", "default"),
        (f"sync-labs://:{KEY}@api.sync.so", "https://api.sync.so", "default"),
        (f"sync-labs://:{KEY}@/?namespace=dev", DEFAULT, "dev"),
        (f"sync-labs://https://:{KEY}@api.sync.so", "https://api.sync.so", "default"),
    ],
)
def test_the_uri_form_of_a_connection(uri: str, base_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VOICE", uri)
    settings = read_settings(*_from_airflow())
    assert (settings.base_url, settings.namespace, settings.key) == (base_url, namespace, KEY)


def test_the_json_form_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"namespace": "prod", "timeout": 5, "allowed_inputs": ["/in"], "allowed_outputs": "/out"}
    value = {"conn_type": "sync_labs", "host": "https://api.sync.so", "password": KEY, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_VOICE", json.dumps(value))
    settings = read_settings(*_from_airflow())
    assert settings == Settings(
        conn_id="voice",
        base_url="https://api.sync.so",
        key=KEY,
        timeout=5.0,
        namespace="prod",
        allowed_inputs=("/in",),
        allowed_outputs=("/out",),
    )


def _from_airflow() -> tuple[Connection, dict[str, Any], str]:
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection("voice")
    return connection, connection.extra_dejson, DEFAULT


def test_an_account_is_known_by_its_key_and_place_and_does_not_tell_the_key() -> None:
    ours = read()
    assert ours.account == read(host="https://api.sync.so/").account == read({"namespace": "other"}).account
    assert ours.account != read(password=f"{KEY}0").account
    assert ours.account != read(host="https://dev-api.sync.so").account
    assert KEY not in repr(ours) + str(ours) + ours.account


@pytest.mark.parametrize(
    ("value", "required"),
    [(None, False), ("", False), (False, False), ("false", False), (True, True), ("true", True), (" True ", True)],
)
def test_a_consent_is_required_where_the_connection_says_so(value: Any, required: bool) -> None:
    assert read({"require_consent": value}).require_consent is required
    assert read().require_consent is False


@pytest.mark.parametrize("value", ["yes", "on", "1", 1, 0, "ture", [True], {"on": True}])
def test_a_protection_that_is_misspelt_is_not_taken_for_off(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"Connection 'voice': require_consent .* has to be true or false"):
        read({"require_consent": value})


@pytest.mark.parametrize(
    ("value", "slots"), [(None, None), ("", None), (0, 0), ("0", 0), (" 25 ", 25), (25, 25), (100_000, 100_000)]
)
def test_how_many_clones_the_plan_holds(value: Any, slots: int | None) -> None:
    assert read({"clone_slots": value}).clone_slots == slots
    assert read().clone_slots is None
    assert read({"concurrency": value}).concurrency == (slots or None)  # none at a time is no limit that is meant


@pytest.mark.parametrize("value", [-1, 100_001, 1.5, "many", "٣", True, [3], {}])
def test_slots_that_are_no_number_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"Connection 'voice': clone_slots .* whole number from 0 to 100000"):
        read({"clone_slots": value})


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "127.1"]
)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert is_internal(host)


@pytest.mark.parametrize("host", ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "2852039166", "0xa9fea9fe"])
def test_what_only_this_machine_can_reach(host: str) -> None:
    assert is_internal(host)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["api.sync.so", "8.8.8.8", "localhost.example", "2606:4700::1111"])
def test_other_machines(host: str) -> None:
    assert not is_internal(host)
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a", "https://a:443/x", True),
        ("http://a", "http://A:80", True),
        ("https://a", "http://a", False),
        ("https://a", "https://a.b", False),
        ("https://a", "https://a:444", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert (origin(one) == origin(other)) is same
