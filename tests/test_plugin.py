"""The plugin: Airflow finds it, every component can afford it, and the wheel holds the page."""

from __future__ import annotations

import tomllib

from tests.conftest import ROOT
from tests.test_imports import child
from voice_provider.plugin import PAGE, VoicePlugin

IMPORTS = """
import json, sys
import airflow.plugins_manager
before = set(sys.modules)
import voice_provider.plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_its_import_loads_nothing_of_a_web_app() -> None:
    assert {*child(IMPORTS), "voice_provider"} == {"voice_provider", "voice_provider.plugin"}


def test_airflow_finds_it_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["airflow.plugins"] == {"voice_provider": "voice_provider.plugin:VoicePlugin"}


def test_the_page_stands_where_the_plugin_says() -> None:
    VoicePlugin.validate()
    [page], [served] = VoicePlugin.react_apps, VoicePlugin.fastapi_apps
    name = page["bundle_url"].removeprefix(served["url_prefix"].lstrip("/") + "/static/")
    module = (ROOT / "voice_provider" / "ui" / "static" / name).read_text()
    assert f"globalThis.{PAGE} = " in module
