"""The engine that makes real media: English speech, an approximate voice match, a mouth that follows loudness."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np

from voice_provider.emulator.engine import (
    MIN_SAMPLE_SECONDS,
    PAUSE_SECONDS,
    EngineError,
    Spoken,
    media,
    recognition,
    voice,
)
from voice_provider.emulator.engine import lip_sync as lips
from voice_provider.emulator.engine.encoder import Encoder
from voice_provider.emulator.engine.pitch import RATE
from voice_provider.emulator.engine.profile import VoiceProfile
from voice_provider.emulator.engine.sentences import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from voice_provider.emulator.engine import LipSyncResult, MediaInfo, Phrase, Segment


class LocalEngine:
    """See ``Engine``."""

    name = "local"
    builtin_voices: Sequence[str] = ("base", *voice.BUILTIN)
    speech_format = "mp3"

    def probe(self, path: Path) -> MediaInfo:
        """Say what a file is by decoding its header."""
        return media.probe(path)

    def learn_voice(self, samples: Sequence[Path], profile: Path, *, max_seconds: float = 120.0) -> None:
        """Learn a voice from recordings, pooled; of a video, its sound."""
        if not samples:
            raise EngineError("bad_input", "No sample was given. Give at least one recording of the voice.")
        sound = np.concatenate([media.read_audio(sample, RATE, max_seconds=max_seconds) for sample in samples])
        if sound.size < MIN_SAMPLE_SECONDS * RATE:
            raise EngineError(
                "sample_too_short",
                f"The sample is {sound.size / RATE:.1f} s long and at least {MIN_SAMPLE_SECONDS:g} s are needed. "
                "Record more.",
            )
        voice.learn_profile(sound).save(profile)

    def speak(
        self,
        text: str,
        output: Path,
        *,
        voice: str | Path = "base",
        stability: float = 0.5,
        similarity: float = 0.75,
        seed: int = 0,
    ) -> float:
        """Speak into an MP3 file, sentence by sentence, so that memory does not grow with the text."""
        return _speak(text, output, voice, stability, similarity, seed)

    def stream(
        self,
        parts: Iterable[tuple[str | Path, str] | None],
        *,
        form: str,
        rate: int | None = None,
        bit_rate: int | None = None,
        speed: float = 1.0,
        volume: float = 0.0,
        stability: float = 0.5,
        similarity: float = 0.75,
        seed: int = 0,
        timed: bool = False,
    ) -> Iterator[Spoken]:
        """Speak as the encoder's bytes come; what cannot be said in between is left out."""
        profiles: dict[str | Path, VoiceProfile] = {}
        refused: EngineError | None = None
        with Encoder(form, rate, (RATE, "flt"), bit_rate=bit_rate, comment=media.COMMENT) as encoder:
            for number, piece in enumerate(pieces_of(parts)):
                if piece is None:
                    yield Spoken(b"", "", 0.0)
                    continue
                chosen, text = piece
                if chosen not in profiles:
                    profiles[chosen] = _profile(chosen)
                before = encoder.written
                manner = {"stability": stability, "similarity": similarity, "speed": speed, "volume": volume}
                try:
                    lines = [*voice.speak(text, profiles[chosen], seed=seed + number, **manner)]
                    audio = b"".join([encoder.write(sound.tobytes()) for sound in lines])
                except EngineError as error:
                    refused = refused or error
                    continue
                sound = np.concatenate(lines)
                words = (recognition.align(text, sound, RATE) if timed else None) or voice.words_in(text, sound)
                yield Spoken(audio, text, (encoder.written - before) / RATE, words)
            if refused and not encoder.written:
                raise refused
            pause = b"" if encoder.written else encoder.write(bytes(4 * round(PAUSE_SECONDS * RATE)))
            yield Spoken(pause + encoder.finish(), "", 0.0)

    def transcribe(self, path: Path) -> Sequence[Phrase]:
        """Recognise English, roughly, where the recogniser is installed."""
        return recognition.transcribe(path)

    def lip_sync(
        self,
        visual: Path,
        output: Path,
        *,
        audio: Path | None = None,
        segments: Sequence[Segment] = (),
        sync_mode: str = "bounce",
        temperature: float = 0.5,
        speaker: tuple[float, float] | None = None,
        speaker_frame: int | None = None,  # noqa: ARG002  # the place is looked for from the first frame on
        progress: Callable[[float], None] | None = None,
    ) -> LipSyncResult:
        """Write the video."""
        return lips.lip_sync(
            visual,
            output,
            audio=audio,
            segments=segments,
            sync_mode=sync_mode,
            temperature=temperature,
            speaker=speaker,
            progress=progress,
        )


def _speak(text: str, output: Path, chosen: str | Path, stability: float, similarity: float, seed: int) -> float:
    lines = voice.speak(text, _profile(chosen), stability=stability, similarity=similarity, seed=seed)
    return media.encode_speech(lines, RATE, output, "mp3")


def _profile(chosen: str | Path) -> VoiceProfile:
    return voice.builtin(chosen) if isinstance(chosen, str) else VoiceProfile.load(chosen)


_lock = threading.Lock()
_engine: list[LocalEngine] = []


def create() -> LocalEngine:
    """Return the engine; its models load with the first use, or ahead of it in the background."""
    with _lock:
        if not _engine:
            cv2.setNumThreads(2)
            _engine.append(LocalEngine())
        return _engine[0]
