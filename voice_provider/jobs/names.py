"""The names under which this provider makes things at a service, so that it knows them again.

A voice is called what its author called it plus a suffix: ``Narrator [vp:prod:k5gq…:c2d4]``. The suffix holds the
connection's namespace and the full fingerprint of samples and settings; an ephemeral voice adds run and time. sync.
labs stores nothing about a voice but its name, so the name is all there is.

A voice is adopted only if namespace and full fingerprint match; and the check at the end covers the whole name, so
that a name that a person typed or edited is never taken for ours: the wrong adoption speaks in the wrong person's
voice.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

MAX_NAME = 100  # characters; sync. labs' limit
_PART = r"[a-z0-9-]+"
_MANAGED = re.compile(
    rf"(?P<label>.*\S) \[vp:(?P<namespace>{_PART}):(?P<fingerprint>[a-z2-7]{{26}})"
    r"(?::(?P<run>[a-z2-7]{8}):(?P<made>[0-9a-z]{1,8}))?:(?P<check>[a-z2-7]{4})\]",
    re.DOTALL,
)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def short_hash(text: str, length: int = 26) -> str:
    """Return a hash in small letters and digits; 26 of them hold 130 bits."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


@dataclass(frozen=True, slots=True)
class ManagedName:
    """A name that this provider gave.

    :param label: what the author called it; cut where the whole would be too long for the service
    :param namespace: of the connection
    :param fingerprint: of samples and settings, from ``short_hash``
    :param run: of an ephemeral voice: hash of the DAG run and task that made it
    :param made: of an ephemeral voice: when, in seconds since 1970
    """

    label: str
    namespace: str
    fingerprint: str
    run: str | None = None
    made: int | None = None

    @property
    def is_ephemeral(self) -> bool:
        """Whether the voice belongs to one run."""
        return self.run is not None

    def __str__(self) -> str:
        life = f":{self.run}:{_base36(self.made or 0)}" if self.run else ""
        middle = f" [vp:{self.namespace}:{self.fingerprint}{life}:"
        label = " ".join(self.label.split())[: MAX_NAME - len(middle) - 5].rstrip() or "voice"
        return f"{label}{middle}{short_hash(label + middle, 4)}]"

    @classmethod
    def parse(cls, name: str) -> ManagedName | None:
        """Read a name; ``None`` for every name that this provider did not give."""
        match = _MANAGED.fullmatch(name)
        if match is None:
            return None
        made = match["made"]
        found = cls(
            label=match["label"],
            namespace=match["namespace"],
            fingerprint=match["fingerprint"],
            run=match["run"],
            made=int(made, 36) if made else None,
        )
        return found if str(found) == name else None

    def is_same_voice(self, other: ManagedName | None) -> bool:
        """Whether the other names a voice made of the same samples, with the same settings, for the same use."""
        return (
            other is not None
            and (self.namespace, self.fingerprint, self.run) == (other.namespace, other.fingerprint, other.run)
            and self.made == other.made
        )


def asset_name(file_name: str, namespace: str, run: str) -> str:
    """Return the display name of an uploaded file, by which it is known as ours should a kill leave it behind."""
    return f"{file_name} [vp:{namespace}:{run}]"


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
