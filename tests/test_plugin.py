"""The plugin: Airflow finds it, every component can afford it, and the wheel holds the page."""

from __future__ import annotations

import ast
import tomllib

from tests.conftest import ROOT
from voice_provider.plugin import PAGE, VoicePlugin


def test_its_import_loads_nothing_of_a_web_app() -> None:
    tree = ast.parse((ROOT / "voice_provider" / "plugin.py").read_text())
    loaded = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    # Airflow has imported its own by then; the rest is the standard library's, and loaded by any Airflow.
    assert loaded == {
        "__future__",
        "asyncio",
        "typing",
        "urllib.parse",
        "airflow.configuration",
        "airflow.plugins_manager",
    }


def test_airflow_finds_it_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["airflow.plugins"] == {"voice_provider": "voice_provider.plugin:VoicePlugin"}


def test_the_page_stands_where_the_plugin_says() -> None:
    VoicePlugin.validate()
    [page], [served] = VoicePlugin.react_apps, VoicePlugin.fastapi_apps
    # From the host's root on: a relative one is no address to Airflow 3.2.
    root, found, name = page["bundle_url"].partition(served["url_prefix"] + "/static/")
    assert (root, bool(found)) == ("", True)
    module = (ROOT / "voice_provider" / "ui" / "static" / name).read_text()
    assert f"globalThis.{PAGE} = " in module
