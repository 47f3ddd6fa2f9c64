"""Registers the page in Airflow's UI and the small web app behind it; Airflow finds it by its entry point.

Every component of Airflow imports this module, workers too: so it imports nothing that they have not, and the app is
only made where, and when, it is first asked for something.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/voice"
# Airflow may stand behind a path of its own, by which it goes as well; 3.2 does not resolve an address without it.
ROOT = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
PAGE = "Voice"  # in the menu; the page's module stands under this name, too (ui/static/voice.js)


class LazyApp:
    """The web app below ``/voice``, made when the first request comes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as ASGI asks for it; the import takes half a second, which the server's loop does not wait for."""
        await (await asyncio.to_thread(_app))(scope, receive, send)


def _app() -> Any:
    from voice_provider.ui.app import app  # noqa: PLC0415 - see above

    return app()


class VoicePlugin(AirflowPlugin):
    """What Airflow's plugins manager reads."""

    name = "airflow_provider_voice"  # of an earlier plugin of the same name, Airflow before 3.4 drops all that follow
    fastapi_apps: list[Any] = [{"app": LazyApp(), "url_prefix": PREFIX, "name": PAGE}]  # noqa: RUF012 - as the base class has it
    react_apps: list[Any] = [  # noqa: RUF012
        {
            "name": PAGE,
            "bundle_url": f"{ROOT}{PREFIX}/static/voice.js",
            "destination": "nav",
            "category": "browse",
            "url_route": "voice",
        }
    ]
