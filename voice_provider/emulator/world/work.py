"""What a job asks of the engine: from a row to files. Runs in a worker thread and touches no state.

A work order is plain JSON, so it survives a restart:
`source`: {"file": path under the files folder} or {"url": address on loopback};
`driver`: a source under "source", or "text" with "profile" | "builtin", "stability", "similarity"; plus "ref",
and "fault" where it is to say something else.
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voice_provider.emulator.engine import EngineError, Segment, stream
from voice_provider.emulator.world.heard import Transcript, fingerprint, hear, recall, remember
from voice_provider.emulator.world.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.engine import Engine
    from voice_provider.emulator.world.files import Files
    from voice_provider.emulator.world.state import Job

FETCH_SECONDS = 60.0
SPEECH_FORMAT = "mp3"


class WorkError(Exception):
    """Why work failed: a neutral code and a sentence for the customer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Made:
    """Results by folder: (temporary file, final name); facts for the row; how much work it was."""

    result: dict[str, Any]
    files: dict[str, tuple[Path, str]] = field(default_factory=dict)
    units: float = 0.0


def make(engine: Engine, files: Files, job: Job, progress: Callable[[float], None]) -> Made:
    try:
        if job.kind == "speech":
            return _speech(engine, files, job)
        if job.kind == "transcription":
            return _transcription(engine, files, job)
        return _lip_sync(engine, files, job, progress)
    except EngineError as error:
        raise WorkError(error.code, error.message) from error


def speak(engine: Engine, files: Files, driver: dict[str, Any], job_id: str) -> Made:
    """Say a driver's text, and remember where its words are; raises `EngineError`."""
    profile = files.path("voices", driver["profile"]) if driver.get("profile") else None
    output = files.temporary(f".{SPEECH_FORMAT}")
    said = Transcript()
    pieces = stream(
        engine,
        driver.get("fault"),
        [(profile or driver["builtin"], driver["text"])],
        form=SPEECH_FORMAT,
        stability=driver["stability"],
        similarity=driver["similarity"],
        seed=zlib.crc32(driver["text"].encode()),
    )
    try:
        with output.open("wb") as file:
            for piece in pieces:
                file.write(piece.audio)
                said.add(piece.text, piece.seconds, piece.words)
    except BaseException:
        output.unlink(missing_ok=True)
        raise
    remember(files, fingerprint(output), said)
    facts = {"seconds": round(said.seconds, 3), "format": SPEECH_FORMAT, "engine": engine.name}
    return Made(facts, {"speech": (output, f"{job_id}.{SPEECH_FORMAT}")})


def _speech(engine: Engine, files: Files, job: Job) -> Made:
    made = speak(engine, files, job.work["driver"], job.id)
    made.units = len(job.work["driver"]["text"])
    return made


def _transcription(engine: Engine, files: Files, job: Job) -> Made:
    """Write down what a stored recording says: by heart, what is known here; by ear, what the engine understands."""
    path = files.root / job.work["source"]["file"]
    if not path.exists():
        raise WorkError("source_inaccessible", "The recording is not in storage any more.")
    media = engine.probe(path)
    if not media.has_audio:
        raise WorkError("no_audio", "The recording has no sound.")
    heard = hear(engine, files, path)
    said = [
        [vars(word) for word in heard.words if phrase.start <= word.start < phrase.end] for phrase in heard.segments
    ]
    return Made({"said": said, "one_speaker": recall(files, path) is not None}, units=heard.seconds)


def _lip_sync(engine: Engine, files: Files, job: Job, progress: Callable[[float], None]) -> Made:
    order = job.work
    output = files.temporary(".mp4")
    with contextlib.ExitStack() as cleanup:
        visual = _fetch(engine, files, order["visual"], order["visual_kind"], cleanup)
        audio, lines = _audio(engine, files, job, cleanup)
        segments = [
            Segment(s["start"], s["end"], audio[s["ref"]], s["audio_start"], s["audio_end"]) for s in order["segments"]
        ]
        synced = engine.lip_sync(
            visual,
            output,
            audio=None if segments else next(iter(audio.values())),
            segments=segments,
            sync_mode=order["sync_mode"],
            temperature=order["temperature"],
            speaker=tuple(order["speaker"]) if order["speaker"] else None,
            speaker_frame=order["speaker_frame"],
            progress=progress,
        )
        if not segments and (said := recall(files, next(iter(audio.values())))):
            remember(files, fingerprint(output), said)  # the video says the same
        made = _kept_line(files, lines)
    made.files["results"] = (output, f"{job.id}.mp4")
    made.result |= {
        "output_seconds": round(synced.seconds, 3),
        "width": synced.width,
        "height": synced.height,
        "fps": synced.fps,
        "frames": synced.frames,
        "engine": engine.name,
    }
    made.units = synced.frames
    return made


def _audio(engine: Engine, files: Files, job: Job, cleanup: contextlib.ExitStack) -> tuple[dict[str, Path], list[Made]]:
    """The sound of each driver by its ref, and what was spoken for it."""
    audio: dict[str, Path] = {}
    lines: list[Made] = []
    for driver in job.work["drivers"]:
        if "text" in driver:
            line = speak(engine, files, driver, job.id)
            audio[driver["ref"]] = line.files["speech"][0]
            cleanup.callback(audio[driver["ref"]].unlink, missing_ok=True)
            lines.append(line)
        else:
            audio[driver["ref"]] = _fetch(engine, files, driver["source"], "audio", cleanup)
    return audio, lines


def _kept_line(files: Files, lines: list[Made]) -> Made:
    """The first spoken line, set aside from the cleanup: it can be had beside the video."""
    if not lines:
        return Made({})
    temporary, name = lines[0].files["speech"]
    kept = temporary.rename(files.temporary(temporary.suffix))
    return Made(dict(lines[0].result), {"speech": (kept, name)})


def _fetch(engine: Engine, files: Files, source: dict[str, str], kind: str, cleanup: contextlib.ExitStack) -> Path:
    """The local file of a source, checked to be the kind of media it is taken for."""
    if "file" in source:
        path = files.root / source["file"]
        if not path.exists():
            raise WorkError(f"{kind}_inaccessible", f"The {kind} is not in storage any more.")
    else:
        path = files.temporary()
        cleanup.callback(path.unlink, missing_ok=True)
        _download(source["url"], path, kind)
    try:
        media = engine.probe(path)
    except EngineError as error:
        raise WorkError(f"{kind}_invalid", f"The {kind} cannot be decoded: {error.message}") from error
    if media.kind != kind and not (kind == "audio" and media.has_audio):
        raise WorkError(f"{kind}_invalid", f"The input given as {kind} is {media.kind} without what is needed.")
    return path


def _download(url: str, path: Path, kind: str) -> None:
    if not is_loopback(url):
        raise WorkError(
            f"{kind}_inaccessible", f"The {kind} lies on another machine; the emulator fetches from loopback only."
        )
    import httpx  # noqa: PLC0415 - few emulators fetch anything, and it is a tenth of what their start imports

    try:
        with path.open("wb") as file, httpx.stream("GET", url, timeout=FETCH_SECONDS, trust_env=False) as response:
            response.raise_for_status()
            for piece in response.iter_bytes():
                file.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise WorkError(f"{kind}_inaccessible", f"The {kind} could not be fetched: {type(error).__name__}.") from error
