"""What a take is known by: all that is heard, and nothing of where the line stands.

So a line that moves costs nothing, a changed word costs one line, and what an older text left is never taken for it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1  # of what is hashed; another one makes all takes anew, and that is paid
FOLDER = "takes/"


class Take(NamedTuple):
    """What a manifest says of a take; there may be ten thousand of them in memory."""

    uri: str
    sha256: str | None
    seconds: float | None


def take_key(service: str, heard: Mapping[str, Any], take: str | None = None) -> str:
    """Return the name of a take without its ending: SHA-256 of canonical JSON.

    :param service: whose voices these are
    :param heard: text, voice, model, format and all other options that change the sound; a cloned voice by what it was
        made from, as ``SpeechOrder.describe`` has it
    :param take: tells lines apart that would share a take
    """
    what = {"version": VERSION, "service": service, "heard": heard, "take": take}
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def order_key(namespace: str, take: str, nonce: str) -> str:
    """Return the idempotency key of a line: the same for every try of an order, and another one for each new order.

    :param namespace: of the connection
    :param take: its name, from ``take_key``
    :param nonce: of the order, which is written down before it is sent
    """
    return "vp-" + hashlib.sha256(json.dumps((namespace, take, nonce)).encode()).hexdigest()[:40]


def text_hash(text: str) -> str:
    """Return by what a text is known where it must not be shown."""
    return hashlib.sha256(text.encode()).hexdigest()
