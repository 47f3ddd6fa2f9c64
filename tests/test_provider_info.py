"""What Airflow learns of the provider without importing its code is true."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

import voice_provider
from voice_provider.get_provider_info import get_provider_info
from voice_provider.hooks.sync_labs import SyncLabsHook

INFO = get_provider_info()
[CONNECTION] = INFO["connection-types"]


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


def test_the_hook_is_that_of_the_connection_type() -> None:
    assert load(CONNECTION["hook-class-name"]) is SyncLabsHook
    assert (SyncLabsHook.conn_type, SyncLabsHook.hook_name) == (CONNECTION["connection-type"], CONNECTION["hook-name"])


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


def test_airflow_serves_the_form_with_the_key_hidden() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    [form] = [item for item in HookMetaService.hook_meta_data() if item.connection_type == "sync_labs"]
    standard = form.standard_fields
    assert standard is not None
    assert standard.password is not None
    assert standard.host is not None
    assert (standard.password.title, standard.host.title) == ("API key", "Base URL")
    assert standard.host.placeholder == SyncLabsHook.service_class.default_url
    assert not standard.password.hidden
    assert set(form.extra_fields or {}) == {"tts_mode", "namespace", "timeout", "allowed_inputs", "allowed_outputs"}


def test_airflow_knows_the_hook_as_one_that_can_be_tested() -> None:
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    hook = ProvidersManagerTaskRuntime().hooks["sync_labs"]
    assert hook is not None
    assert hook.connection_testable
    assert hook.connection_id_attribute_name == "voice_conn_id"
    assert hook.package_name == INFO["package-name"]


@pytest.mark.parametrize("name", list(CONNECTION["conn-fields"]))
def test_every_field_may_be_left_empty_and_says_its_default(name: str) -> None:
    field = CONNECTION["conn-fields"][name]
    jsonschema.validate(None, field["schema"])
    assert field["label"]
    assert "Default: " in field["description"] or "Empty: " in field["description"]


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("tts_mode", "direct", True),
        ("tts_mode", "jobs", True),
        ("tts_mode", "both", False),
        ("timeout", 600, True),
        ("timeout", 601, False),
        ("timeout", 0, False),
    ],
)
def test_the_form_takes_what_the_hook_takes(name: str, value: Any, fits: bool) -> None:
    from airflow.sdk import Connection

    from voice_provider.exceptions import InvalidInputError

    try:
        jsonschema.validate(value, CONNECTION["conn-fields"][name]["schema"])
    except jsonschema.ValidationError:
        assert not fits
    else:
        assert fits
    hook = SyncLabsHook("form")
    connection = Connection(conn_id="form", conn_type="sync_labs", password="sk-0123456789")
    if fits:
        hook.connect(connection, {name: value})
    elif value:
        with pytest.raises(InvalidInputError):
            hook.connect(connection, {name: value})
