"""All that differs between the versions of Airflow that are supported, 3.2 and newer.

What 3.2 lacks: a task state store (use the connection's ``state_location``), retry policies, both from 3.3 on, and a
trigger's ``on_kill``, which 3.2 never calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import __version__ as sdk_version

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.sdk import Context, RetryDecision, RetryPolicy

    NEVER_EXPIRE: timedelta | None
else:
    try:
        from airflow.sdk import NEVER_EXPIRE
    except ImportError:
        NEVER_EXPIRE = None

__all__ = ["CLEAR_FORGETS", "SINCE_3_3", "RetryDecision", "RetryPolicy", "TaskStateStore", "task_state_store"]

SINCE_3_3 = NEVER_EXPIRE is not None
CLEAR_FORGETS = tuple(map(int, sdk_version.split(".")[:2])) >= (1, 4)  # Airflow 3.4: a clear empties its store


def __getattr__(name: str) -> Any:
    """Import retry policies for those who use them only: it takes milliseconds."""
    if name not in ("RetryDecision", "RetryPolicy"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import airflow.sdk  # noqa: PLC0415

    return getattr(airflow.sdk, name, object)


class TaskStateStore:
    """Airflow's own store of a task instance: it refuses a stale try, and what is kept here never expires."""

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def get(self, key: str) -> Any:
        """Return the value or ``None``."""
        return self._accessor.get(key)

    def set(self, key: str, value: Any) -> None:
        """Write the value; without the retention, Airflow forgets it after 30 days, and what was paid with it."""
        self._accessor.set(key, value, retention=NEVER_EXPIRE)


def task_state_store(context: Context) -> TaskStateStore | None:
    """Return Airflow's store for the running task instance, which the state panel shows; ``None`` on 3.2."""
    accessor = context.get("task_state_store")
    return None if accessor is None else TaskStateStore(accessor)
