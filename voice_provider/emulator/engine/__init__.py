"""What the emulator needs from a media engine, and the one door to the two engines there are.

``local`` speaks, matches voices and moves mouths on this machine (the ``local`` extra). ``tone`` answers at once with a
tone of the right length; it is what runs where the extra is not installed.
Importing this package imports neither: NumPy, PyAV, OpenCV and hibari load with ``load("local")`` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    EngineFactory = Callable[[], "Engine"]

ErrorCode = Literal[
    "sample_too_short",
    "sample_has_no_voice",
    "not_media",
    "no_audio",
    "no_face",
    "text_unspeakable",
    "bad_segments",
    "bad_input",
]
MIN_SAMPLE_SECONDS = 1.0
PAUSE_SECONDS = 0.1  # what a stream without a word lasts
LOCAL_PACKAGES = ("cv2", "hibari", "numpy")


class EngineError(Exception):
    """The engine refuses an input.

    :param code: what is wrong, for a program
    :param message: the same for a person: the thing, the cause and the next step
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code: ErrorCode = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class MediaInfo:
    """What the bytes of a file say about it; ``None`` where they do not say."""

    kind: Literal["audio", "video", "image"]
    format: str
    seconds: float | None
    has_audio: bool
    width: int | None
    height: int | None
    fps: float | None


@dataclass(frozen=True)
class Segment:
    """A part of the video (``start`` to ``end``, seconds) that says ``audio``, or a part of that audio, instead."""

    start: float
    end: float
    audio: Path
    audio_start: float | None = None
    audio_end: float | None = None


@dataclass(frozen=True)
class LipSyncResult:
    """What was written: length in seconds, size in pixels, frames per second and their number."""

    seconds: float
    width: int
    height: int
    fps: float
    frames: int


@dataclass(frozen=True)
class Phrase:
    """Words of a recording, and from which second to which they are said."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Spoken:
    """A piece of a stream: bytes to send on, the text that it says, and how long that takes.

    :param words: where in it each word is said, from its beginning on
    """

    audio: bytes
    text: str
    seconds: float
    words: tuple[Phrase, ...] = ()


class Engine(Protocol):
    """Speech, voice match and lip sync; every method may be called from several threads at once."""

    name: str
    builtin_voices: Sequence[str]
    speech_format: str

    def probe(self, path: Path) -> MediaInfo:
        """Say what a file is, by its bytes and not by its name.

        :param path: the file
        :raises EngineError: ``not_media``
        """
        ...

    def learn_voice(self, samples: Sequence[Path], profile: Path, *, max_seconds: float = 120.0) -> None:
        """Learn a voice and keep what was learnt.

        :param samples: audio or video files of one speaker, pooled
        :param profile: the file that ``speak`` takes as ``voice`` later
        :param max_seconds: how much of each sample is listened to
        :raises EngineError: ``not_media``, ``no_audio``, ``sample_too_short``, ``sample_has_no_voice``, ``bad_input``
        """
        ...

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
        """Speak a text into a file of the engine's ``speech_format``; the same arguments give the same bytes.

        :param text: what to say
        :param output: the file to write
        :param voice: a name from ``builtin_voices``, or the path of a profile from ``learn_voice``
        :param stability: 0 lively, 1 even
        :param similarity: 0 the base voice, from 0.75 on the whole way to the learnt one
        :param seed: another seed gives another reading of the same text
        :return: seconds of speech
        :raises EngineError: ``text_unspeakable``, ``bad_input``
        """
        ...

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
        """Speak sentence by sentence; memory does not grow with the text. The bytes of all pieces are the file.

        :param parts: who says what: a ``voice`` as for ``speak``, and a text. An iterator is asked for more as they
            are said; for None, which is nothing yet, an empty piece comes. Without any, it is a moment of silence
        :param form: ``mp3``, ``opus`` (in Ogg) or ``pcm`` (16 bits, little-endian), always mono
        :param rate: of the samples in Hz: 44100 or 32000 for ``mp3``, 48000 for ``opus``, 44100, 8000, 16000, 24000 or
            32000 for ``pcm``; default is the first
        :param bit_rate: bits a second of what is compressed
        :param speed: 2 says it in half the time, in the same pitch
        :param volume: decibels louder or, below 0, quieter
        :param stability: as for ``speak``
        :param similarity: as for ``speak``
        :param seed: as for ``speak``
        :param timed: look where each word is in the sound; else that is estimated
        :raises EngineError: ``bad_input``; ``text_unspeakable``, if there is no word in any part
        """
        ...

    def transcribe(self, path: Path) -> Sequence[Phrase]:
        """Return what a recording says, as far as the engine understands it; nothing, if it cannot.

        :param path: audio or video
        :raises EngineError: ``not_media``, ``no_audio``
        """
        ...

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
        speaker_frame: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> LipSyncResult:
        """Write an MP4 in which the speaker of ``visual`` says something else.

        :param visual: a video or a still image
        :param output: the file to write; nothing is left there after an error
        :param audio: what is said; exactly one of ``audio`` and ``segments`` is given
        :param segments: parts of the video with an audio of their own; the rest keeps picture and sound
        :param sync_mode: what to do when video and audio differ in length (``timeline.output_seconds``); segments
            keep the video's length whatever the mode
        :param temperature: 0 a reserved mouth, 1 a lively one
        :param speaker: pixel whose nearest face speaks; default the largest face
        :param speaker_frame: the frame in which ``speaker`` was pointed at; default the first
        :param progress: called with the share that is done, 0 to 1
        :raises EngineError: ``not_media``, ``no_audio``, ``no_face``, ``bad_segments``, ``bad_input``
        """
        ...


def words_in(text: str, seconds: float, weights: Sequence[float] | None = None, start: float = 0.0) -> Iterator[Phrase]:
    """Share the time of a text among its words.

    :param weights: how much of it each word takes; default: by its letters and the space behind it
    :param start: second in which the first one begins
    """
    words = text.split()
    shares = weights or [len(word) + 1 for word in words]
    for word, share in zip(words, shares, strict=True):
        end = start + seconds * share / sum(shares)
        yield Phrase(word, start, end)
        start = end


def stream(engine: Engine, fault: Mapping[str, Any] | None, parts: Any, **wanted: Any) -> Iterator[Spoken]:
    """Speak as ``Engine.stream`` does; with a fault, something else than is asked for.

    :param fault: ``kind``: ``speech_swapped``, ``speech_cut``, ``speech_silenced`` or ``speech_other_voice``; for the
        first ``body``: what is said instead; for the next two ``share``: from where on, 0 to 1
    """
    if fault is None:
        return engine.stream(parts, **wanted)
    wrong: Iterator[Spoken] = import_module(f"{__name__}.wrong_takes").stream(engine, fault, parts, **wanted)
    return wrong


def load(name: Literal["auto", "local", "tone"] = "auto") -> Engine:
    """Return an engine.

    :param name: ``local`` for real media, ``tone`` for placeholders, ``auto`` for the best that is installed
    :raises ModuleNotFoundError: ``local`` was asked for and its packages are not installed
    """
    missing = [package for package in LOCAL_PACKAGES if find_spec(package) is None]
    if name == "local" and missing:
        raise ModuleNotFoundError(
            f"The local engine needs {', '.join(missing)}: install airflow-provider-voice[local] or load tone."
        )
    chosen = "tone" if name == "tone" or missing else "local"
    module = import_module(f"{__name__}.{chosen}")  # by name, so that the unchosen engine is never imported
    return cast("EngineFactory", module.create)()
