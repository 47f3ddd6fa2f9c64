"""Speech that is not what was ordered, by faults: other words, another voice, cut in the middle, or silent.

It is good media, billed as ordered, and what is heard in it is what it really says: only who listens finds out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voice_provider.emulator.engine import Spoken
from voice_provider.emulator.engine.encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from voice_provider.emulator.engine import Engine

OTHER_LINE = "These are the words of another line, which nobody has ordered in this place."
RATE = 24_000  # Hz, of what is changed before it is written in its format
DEFAULT_RATE = 44_100  # Hz, of plain samples; see ``Engine.stream``
SHARES = {"speech_cut": 0.5, "speech_silenced": 0.0}  # from where on, unless the fault says
SAMPLE = 2  # bytes


def stream(
    engine: Engine,
    fault: dict[str, Any],
    parts: Iterable[tuple[str | Path, str] | None],
    *,
    form: str,
    rate: int | None = None,
    bit_rate: int | None = None,
    **manner: Any,
) -> Iterator[Spoken]:
    """Speak as ``Engine.stream`` does, with a fault; see ``engine.stream``."""
    kind, wanted = fault["kind"], {"form": form, "rate": rate, "bit_rate": bit_rate, **manner}
    if kind == "speech_swapped":
        voice = next((part[0] for part in parts if part), engine.builtin_voices[0])
        return engine.stream([(voice, str(fault.get("body") or OTHER_LINE))], **wanted)
    if kind == "speech_other_voice":
        others = engine.builtin_voices
        return engine.stream([part and (_another(part[0], others), part[1]) for part in parts], **wanted)
    share = fault.get("share")
    return _stopped(engine, parts, wanted, SHARES[kind] if share is None else share, silent=kind == "speech_silenced")


def _another(voice: str | Path, others: Iterable[str]) -> str:
    return next(other for other in others if other != voice)


def _stopped(
    engine: Engine, parts: Iterable[Any], wanted: dict[str, Any], share: float, *, silent: bool
) -> Iterator[Spoken]:
    """Say the first share of it; what follows is silence, or nothing."""
    form, rate, bit_rate = (wanted.pop(name) for name in ("form", "rate", "bit_rate"))
    spoken_at = (rate or DEFAULT_RATE) if form == "pcm" else RATE
    sound, words = bytearray(), []
    for piece in engine.stream(parts, form="pcm", rate=spoken_at, **wanted):
        start = len(sound) / SAMPLE / spoken_at
        words += [replace(word, start=start + word.start, end=start + word.end) for word in piece.words]
        sound += piece.audio
    edge = round(len(sound) / SAMPLE * share)
    said = tuple(word for word in words if word.end <= edge / spoken_at)
    made = bytes(sound[: edge * SAMPLE]) + bytes(len(sound) - edge * SAMPLE if silent else 0)
    seconds = len(made) / SAMPLE / spoken_at
    if form != "pcm":
        with Encoder(form, rate, (spoken_at, "s16"), bit_rate=bit_rate) as encoder:
            made = encoder.write(made) + encoder.finish()
    yield Spoken(made, " ".join(word.text for word in said), seconds, said)
