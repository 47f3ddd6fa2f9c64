"""What Fish Audio remembers beyond what the world does: its voice models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voice_provider.emulator.world.state import Row

# The orders of lists, and of the indexes over them: a page then costs what the page costs.
AGE = "created_at DESC, id DESC"
USE = f"json_extract(data, '$.task_count') DESC, {AGE}"


@dataclass
class FishModel(Row):
    """A voice model: `data` is what its customers wrote and see; it speaks from `profile` or `builtin`.

    `training` holds how many polls and seconds it takes, how often it was polled, and the state it ends in.
    """

    TABLE = "fish_models"
    SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS fish_models (
        id TEXT PRIMARY KEY, org TEXT NOT NULL, owner TEXT NOT NULL, visibility TEXT NOT NULL, data TEXT NOT NULL,
        profile TEXT, builtin TEXT, training TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL);
    CREATE INDEX IF NOT EXISTS fish_models_own_age ON fish_models (org, {AGE});
    CREATE INDEX IF NOT EXISTS fish_models_own_use ON fish_models (org, {USE});
    CREATE INDEX IF NOT EXISTS fish_models_seen_age ON fish_models (visibility, {AGE});
    CREATE INDEX IF NOT EXISTS fish_models_seen_use ON fish_models (visibility, {USE});
    """
    JSON = frozenset({"data", "training"})
    id: str
    org: str
    owner: str
    visibility: str
    data: dict[str, Any]
    profile: str | None
    builtin: str | None
    training: dict[str, Any]
    created_at: float
    updated_at: float

    def state_now(self, now: float) -> str:
        training = self.training
        polled = training["polled"] / training["polls"] if training["polls"] else 1.0
        passed = (now - self.created_at) / training["seconds"] if training["seconds"] else 1.0
        done = min(polled, passed)
        if done >= 1:
            return str(training["end"])
        return "created" if done < 0.5 else "training"
