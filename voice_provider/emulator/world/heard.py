"""What recordings say that are known here: speech that this emulator made, and what came with a transcript.

They are recognised by their bytes; of a WAV file, by its samples, because the header that comes with a stream is often
put right later.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Self

from voice_provider.emulator.engine import Phrase, words_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from voice_provider.emulator.engine import Engine
    from voice_provider.emulator.world.files import Files

READ_SIZE = 1 << 20
DATA_START = 44  # of the samples in a plain WAV file


@dataclass
class Transcript:
    """What a recording says."""

    text: str = ""
    seconds: float = 0.0
    segments: list[Phrase] = field(default_factory=list)
    words: list[Phrase] = field(default_factory=list)

    def add(self, text: str, seconds: float, words: Iterable[Phrase] = ()) -> None:
        if said := text.strip():
            self.text = f"{self.text} {said}".lstrip()
            self.segments.append(Phrase(said, round(self.seconds, 3), round(self.seconds + seconds, 3)))
            self.words += placed(words, self.seconds)
        self.seconds += seconds

    @classmethod
    def read(cls, path: Path) -> Self:
        raw = json.loads(path.read_text())
        segments, words = ([Phrase(**part) for part in raw.get(name, ())] for name in ("segments", "words"))
        return cls(raw["text"], raw["seconds"], segments, words)


def placed(words: Iterable[Phrase], start: float) -> list[Phrase]:
    """Words of a piece that begins at ``start``, to the millisecond."""
    return [Phrase(word.text, round(start + word.start, 3), round(start + word.end, 3)) for word in words]


def remember(files: Files, sha256: str, transcript: Transcript) -> None:
    place = _place(files, sha256)
    part = place.with_name(f"{place.name}.{get_ident()}")  # jobs that speak the same line meet here
    part.write_text(json.dumps(asdict(transcript)))
    part.replace(place)


def recall(files: Files, path: Path) -> Transcript | None:
    known = _place(files, fingerprint(path))
    return Transcript.read(known) if known.exists() else None


def _place(files: Files, sha256: str) -> Path:
    return files.path("speech", f"{sha256}.heard")


def fingerprint(path: Path) -> str:
    """SHA-256 of a recording, without the header of a WAV file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(DATA_START)
        if not (head[:4] == b"RIFF" and head[36:40] == b"data"):
            digest.update(head)
        while piece := file.read(READ_SIZE):
            digest.update(piece)
    return digest.hexdigest()


def hear(engine: Engine, files: Files, path: Path) -> Transcript:
    """What a recording says, in a worker thread: by heart, if it is known; by ear, what the engine understands."""
    if known := recall(files, path):
        return known
    seconds = engine.probe(path).seconds or 0.0
    phrases = list(engine.transcribe(path))
    words = [word for part in phrases for word in words_in(part.text, part.end - part.start, start=part.start)]
    return Transcript(" ".join(phrase.text for phrase in phrases), seconds, phrases, placed(words, 0.0))
