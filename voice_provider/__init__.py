"""Voice cloning, text-to-speech and lip sync as scheduled, restartable, affordable Airflow work."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voice_provider.groups import checked_lines, ephemeral_voice
    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.retries import voice_retry_policy

__version__ = "0.1.0"

__all__ = ["VoiceHook", "__version__", "checked_lines", "ephemeral_voice", "voice_retry_policy"]


def front_door(package: str, rooms: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__`` (PEP 562): each name is imported when it is first used, and no other.

    :param package: the package's ``__name__``
    :param rooms: the module, below the package, in which each name stands
    """

    def find(name: str) -> Any:
        if name not in rooms:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{rooms[name]}"), name)

    return find


__getattr__ = front_door(
    __name__,
    {
        "VoiceHook": "hooks.voice",
        "checked_lines": "groups",
        "ephemeral_voice": "groups",
        "voice_retry_policy": "retries",
    },
)


def __dir__() -> list[str]:
    return __all__
