"""Words and their places in time: those of speech that is being made, and those of recordings that are known here.

What this emulator spoke, or was given with a transcript, is recognised by its bytes; of a WAV file, by its samples,
because the header that comes with a stream is often put right later.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from voice_provider.emulator.engine import Phrase, Spoken
from voice_provider.emulator.engine.sentences import words_in
from voice_provider.emulator.world.emulator import Emulator

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
        segments, words = ([Phrase(**part) for part in raw[name]] for name in ("segments", "words"))
        return cls(raw["text"], raw["seconds"], segments, words)


def placed(words: Iterable[Phrase], start: float) -> list[Phrase]:
    """Words of a piece that begins at ``start``, to the millisecond."""
    return [Phrase(word.text, round(start + word.start, 3), round(start + word.end, 3)) for word in words]


def remember(emulator: Emulator, sha256: str, transcript: Transcript) -> None:
    _place(emulator, sha256).write_text(json.dumps(asdict(transcript)))


def remember_file(emulator: Emulator, path: Path, text: str) -> None:
    """Keep what a recording says, as its owner wrote it down (in a worker thread)."""
    transcript = Transcript()
    seconds = emulator.engine.probe(path).seconds or 0.0
    transcript.add(text, seconds, words_in(text, seconds))
    remember(emulator, fingerprint(path), transcript)


def recall(emulator: Emulator, path: Path) -> Transcript | None:
    known = _place(emulator, fingerprint(path))
    return Transcript.read(known) if known.exists() else None


def _place(emulator: Emulator, sha256: str) -> Path:
    return emulator.files.path("speech", f"{sha256}.heard")


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


class Listener:
    """Follows a stream and, at its end, remembers what it said."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._digest = hashlib.sha256()
        self._transcript = Transcript()

    def hear(self, piece: Spoken) -> None:
        self._digest.update(piece.audio)
        self._transcript.add(piece.text, piece.seconds, piece.words)

    def end(self) -> None:
        remember(self._emulator, self._digest.hexdigest(), self._transcript)


class Alignment:
    """Says of each piece of a stream where its words are: a snapshot of its chunk, growing until the next (section 6).

    :param length: characters that a chunk has at most, if its sentences allow
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._seq, self._offset, self._content = 0, 0.0, ""
        self._seconds = 0.0  # of this chunk
        self._segments: list[dict[str, Any]] = []

    def add(self, piece: Spoken) -> dict[str, Any]:
        if self._content and piece.text and len(self._content) + len(piece.text) > self._length:
            self._seq, self._offset, self._content = self._seq + 1, self._offset + self._seconds, ""
            self._seconds, self._segments = 0.0, []
        self._content += piece.text
        self._segments += [vars(word) for word in placed(piece.words, self._seconds)]
        self._seconds += piece.seconds
        snapshot = {"audio_duration": round(self._seconds, 3), "segments": list(self._segments)}
        return {
            "content": self._content.strip(),
            "chunk_seq": self._seq,
            "chunk_audio_offset_sec": round(self._offset, 3),
            "alignment": snapshot if piece.text else None,
        }
