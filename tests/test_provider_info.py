"""What Airflow learns of the provider without importing its code is true."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import jsonschema
import pytest
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

import voice_provider
from voice_provider.get_provider_info import get_provider_info
from voice_provider.hooks.fish_audio import FishAudioHook
from voice_provider.hooks.sync_labs import SyncLabsHook

if TYPE_CHECKING:
    from voice_provider.hooks.voice import VoiceHook

INFO = get_provider_info()
CONNECTIONS = {item["connection-type"]: item for item in INFO["connection-types"]}
HOOKS: dict[str, type[VoiceHook]] = {"sync_labs": SyncLabsHook, "fish_audio": FishAudioHook}
COMMON = {
    "namespace",
    "timeout",
    "allowed_inputs",
    "allowed_outputs",
    "require_consent",
    "clone_slots",
    "concurrency",
    "state_location",
    "allowed_hosts",
    "plain_http",
    "max_download_mb",
    "spool_location",
    "prices",
}
OWN = {"sync_labs": {"tts_mode"}, "fish_audio": {"speech_model"}}


def load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def modules(room: str) -> list[str]:
    return [f"voice_provider.{room}.{module.name}" for module in pkgutil.iter_modules(_room(room))]


def _room(room: str) -> list[str]:
    return [str(Path(voice_provider.__path__[0]) / room)]


def defines(module: str, base: type) -> bool:
    """Whether a module has a class that people use."""
    found = vars(importlib.import_module(module)).values()
    return any(
        inspect.isclass(item) and issubclass(item, base) and item.__module__ == module and not inspect.isabstract(item)
        for item in found
    )


def test_it_fits_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_airflow_finds_it_under_the_name_of_the_package() -> None:
    [entry] = [
        item for item in entry_points(group="apache_airflow_provider") if item.value.startswith("voice_provider.")
    ]
    assert entry.load() is get_provider_info
    assert distribution(INFO["package-name"]).metadata["Name"] == INFO["package-name"]


@pytest.mark.parametrize(
    ("room", "base"),
    [("operators", BaseOperator), ("sensors", BaseSensorOperator), ("triggers", BaseTrigger), ("hooks", BaseHook)],
)
def test_every_module_with_something_to_use_is_named_and_imports(room: str, base: type) -> None:
    named = {module for group in INFO[room] for module in group["python-modules"]}
    for module in named:
        importlib.import_module(module)
    assert named <= set(modules(room))
    assert {module for module in modules(room) if defines(module, base)} - {f"voice_provider.{room}.base"} <= named


def test_every_integration_is_described() -> None:
    described = {item["integration-name"] for item in INFO["integrations"]}
    used = {group["integration-name"] for room in ("operators", "sensors", "triggers", "hooks") for group in INFO[room]}
    assert used == described


def test_there_is_a_connection_type_for_every_service() -> None:
    assert CONNECTIONS.keys() == HOOKS.keys() == OWN.keys()
    assert {hook.service_class.form.connection_type for hook in HOOKS.values()} == HOOKS.keys()


@pytest.mark.parametrize("name", HOOKS)
def test_the_hook_is_that_of_the_connection_type(name: str) -> None:
    hook, described = HOOKS[name], CONNECTIONS[name]
    assert load(described["hook-class-name"]) is hook
    assert (hook.conn_type, hook.hook_name) == (name, described["hook-name"])
    assert hook.hook_name == hook.service_class.form.label
    assert described["ui-field-behaviour"]["placeholders"]["host"] == hook.service_class.form.url


def test_every_link_of_an_operator_is_registered() -> None:
    registered = {load(path) for path in INFO["extra-links"]}
    assert all(issubclass(link, BaseOperatorLink) for link in registered)
    used = {
        type(link)
        for room in ("operators", "sensors")
        for module in modules(room)
        for item in vars(importlib.import_module(module)).values()
        if inspect.isclass(item)
        for link in getattr(item, "operator_extra_links", ())
        if not isinstance(link, property)
    }
    assert {link for link in used if link.__module__.startswith("voice_provider")} <= registered


@pytest.mark.parametrize("name", HOOKS)
def test_airflow_serves_the_form_with_the_key_hidden(name: str) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    [form] = [item for item in HookMetaService.hook_meta_data() if item.connection_type == name]
    standard = form.standard_fields
    assert standard is not None
    assert standard.password is not None
    assert standard.host is not None
    assert (standard.password.title, standard.host.title) == ("API key", "Base URL")
    assert standard.host.placeholder == HOOKS[name].service_class.form.url
    assert not standard.password.hidden
    assert set(form.extra_fields or {}) == COMMON | OWN[name]


@pytest.mark.parametrize("name", HOOKS)
def test_airflow_knows_the_hook_as_one_that_can_be_tested(name: str) -> None:
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    hook = ProvidersManagerTaskRuntime().hooks[name]
    assert hook is not None
    assert hook.connection_testable
    assert hook.connection_id_attribute_name == "voice_conn_id"
    assert hook.package_name == INFO["package-name"]


@pytest.mark.parametrize(
    ("connection", "name"),
    [(connection, name) for connection in HOOKS for name in CONNECTIONS[connection]["conn-fields"]],
)
def test_every_field_may_be_left_empty_and_says_its_default(connection: str, name: str) -> None:
    field = CONNECTIONS[connection]["conn-fields"][name]
    jsonschema.validate(None, field["schema"])
    assert field["label"]
    assert "Default: " in field["description"] or "Empty: " in field["description"]


@pytest.mark.parametrize("name", HOOKS)
def test_every_field_but_those_of_the_service_is_asked_for_everywhere(name: str) -> None:
    assert CONNECTIONS[name]["conn-fields"].keys() == COMMON | OWN[name]


@pytest.mark.parametrize(
    ("service", "name", "value", "fits"),
    [
        ("sync_labs", "tts_mode", "direct", True),
        ("sync_labs", "tts_mode", "jobs", True),
        ("sync_labs", "tts_mode", "both", False),
        ("fish_audio", "speech_model", "s2.1-pro-free", True),
        ("fish_audio", "speech_model", "a-model-of-next-year", True),
        *((service, "timeout", 600, True) for service in HOOKS),
        *((service, "timeout", 601, False) for service in HOOKS),
        *((service, "timeout", 0, False) for service in HOOKS),
        *((service, "require_consent", True, True) for service in HOOKS),
        *((service, "require_consent", "yes", False) for service in HOOKS),
        *((service, "clone_slots", 0, True) for service in HOOKS),
        *((service, "clone_slots", 100001, False) for service in HOOKS),
        *((service, "clone_slots", -1, False) for service in HOOKS),
        *((service, "concurrency", 64, True) for service in HOOKS),
        *((service, "concurrency", 100001, False) for service in HOOKS),
        *((service, "state_location", "s3://bucket/voice-state/", True) for service in HOOKS),
        *((service, "state_location", "voice-state", False) for service in HOOKS),
    ],
)
def test_the_form_takes_what_the_hook_takes(service: str, name: str, value: Any, fits: bool) -> None:
    from airflow.sdk import Connection

    from voice_provider.exceptions import InvalidInputError

    try:
        jsonschema.validate(value, CONNECTIONS[service]["conn-fields"][name]["schema"])
    except jsonschema.ValidationError:
        assert not fits
    else:
        assert fits
    hook = HOOKS[service]("form")
    connection = Connection(conn_id="form", conn_type=service, password="sk-0123456789")
    if fits:
        hook.connect(connection, {name: value})
    elif value:
        with pytest.raises(InvalidInputError):
            hook.connect(connection, {name: value})
