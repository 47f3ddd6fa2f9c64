"""Words and their places in time: those of speech that is being made, and of recordings that came with a transcript."""

import hashlib
from pathlib import Path
from typing import Any

from voice_provider.emulator.engine import Spoken, words_in
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.heard import Transcript, fingerprint, placed, remember


def remember_file(emulator: Emulator, path: Path, text: str) -> None:
    """Keep what a recording says, as its owner wrote it down (in a worker thread)."""
    transcript = Transcript()
    seconds = emulator.engine.probe(path).seconds or 0.0
    transcript.add(text, seconds, words_in(text, seconds))
    remember(emulator.files, fingerprint(path), transcript)


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
        remember(self._emulator.files, self._digest.hexdigest(), self._transcript)


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
