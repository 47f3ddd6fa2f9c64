"""Faults at random, the same for the same seed."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.emulator.process import EmulatorHandle

SEED = int(os.environ.get("VOICE_FAULTS_SEED", "20261121"))
SERVICE: list[dict[str, Any]] = [
    *({"kind": "status", "status": status} for status in (429, 500, 502, 503, 504)),
    {"kind": "html", "status": 503},
    {"kind": "html", "status": 200},
    {"kind": "html", "status": 403},
    {"kind": "redirect", "location": "https://elsewhere.example/"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "slow", "seconds": 0.5},
    {"kind": "truncate"},
    {"kind": "truncate_clean"},
    {"kind": "empty"},
    {"kind": "corrupt"},
]
# Something in between answers, for what was carried out and for what was not.
EDGES: list[dict[str, Any]] = [
    {"kind": kind, "status": status, "form": form}
    for kind in ("edge_before", "edge_after")
    for status, form in ((404, "html"), (502, "json"), (403, "text"), (503, "text"))
]


def inflict(emulator: EmulatorHandle, seed: int, share: float = 0.1, kinds: Sequence[dict[str, Any]] = SERVICE) -> None:
    """Let a share of all requests fail, each kind of fault as often as the others."""
    shuffled = list(kinds)
    random.Random(seed).shuffle(shuffled)
    left = 1.0
    for number, kind in enumerate(shuffled):
        each = share / len(shuffled) / left  # of the requests that no rule before has struck
        left -= share / len(shuffled)
        emulator.fault(**kind, probability=each, times=None, seed=seed * 100 + number)
