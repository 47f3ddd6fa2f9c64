"""Reading and writing media with PyAV: what a file is, its sound, its pictures, and new files.

Every failure of a decoder comes out as an ``EngineError`` that names the file and what to do.
"""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from voice_provider.emulator.engine import EngineError, MediaInfo
from voice_provider.emulator.engine.encoder import Encoder
from voice_provider.emulator.engine.sniff import missing_bytes, sniff, wav_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Samples = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]  # height x width x 3, RGB
COMMENT = "engine: local, approximate voice match"
STILL_FPS = Fraction(25)
MAX_FPS = 60
AAC_RATE = 44_100
COVER_ART = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC
PACKET = 1024  # samples handed to an encoder at once


@contextmanager
def decoding(path: Path) -> Iterator[Any]:
    """Open a file; a decoder's error becomes ``not_media``, and so does a file that ends too early."""
    if missing := missing_bytes(path):
        raise EngineError("not_media", f"{path.name} is cut off: {missing} bytes are missing. Transfer it again.")
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, ValueError, IndexError) as error:
        message = f"{path.name} cannot be decoded ({error}). Convert it to MP4, WAV or MP3."
        raise EngineError("not_media", message) from error


def probe(path: Path) -> MediaInfo:
    """Say what a file is by decoding its header.

    :raises EngineError: ``not_media``
    """
    kind, name = sniff(path)
    if kind == "image":
        picture = read_picture(path)
        return MediaInfo(
            "image", name, None, has_audio=False, width=picture.shape[1], height=picture.shape[0], fps=None
        )
    with decoding(path) as container:
        said = container.duration / av.time_base if container.duration else None
        seconds = wav_seconds(path) if name == "wav" else said
        heard = bool(container.streams.audio)
        stream = pictures_in(container)
        if stream is None:
            if not heard:
                raise EngineError("not_media", f"{path.name} holds neither sound nor pictures.")
            return MediaInfo("audio", name, seconds, has_audio=True, width=None, height=None, fps=None)
        first = next(container.decode(stream), None)
        size = (stream.width, stream.height)
        width, height = size[::-1] if first is not None and _turns(first) % 2 else size
        fps = float(frame_rate(stream))
        return MediaInfo("video", name, seconds, has_audio=heard, width=width, height=height, fps=fps)


def pictures_in(container: Any) -> Any:
    """Return the first video stream, or ``None``; the cover of a song is not one."""
    return next((stream for stream in container.streams.video if not stream.disposition & COVER_ART), None)


def frame_rate(stream: Any) -> Fraction:
    """Return the rate that a constant-rate copy of a video gets."""
    rate = Fraction(stream.average_rate or stream.guessed_rate or STILL_FPS)
    return rate if 1 <= rate <= MAX_FPS else Fraction(min(MAX_FPS, max(1, round(rate))))


def read_audio(path: Path, rate: int, *, max_seconds: float | None = None) -> Samples:
    """Decode the first audio stream to mono.

    :param rate: samples a second
    :param max_seconds: where to stop
    :raises EngineError: ``no_audio``, ``not_media``
    """
    sniff(path)
    pieces: list[Samples] = []
    count, limit = 0, None if max_seconds is None else int(max_seconds * rate)
    with decoding(path) as container:
        if not container.streams.audio:
            raise EngineError("no_audio", f"{path.name} has no sound. Give a file with speech.")
        # FFmpeg's own step from two channels to one makes a voice in the middle 3 dB louder, and clips it.
        layout = "mono" if container.streams.audio[0].channels == 1 else "stereo"
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for frame in container.decode(audio=0):
            fresh = [out.to_ndarray().mean(0) for out in resampler.resample(frame)]
            pieces += fresh
            count += sum(piece.size for piece in fresh)
            if limit is not None and count >= limit:
                break
        else:
            pieces += [out.to_ndarray().mean(0) for out in resampler.resample(None)]
    sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return np.asarray(sound[:limit], np.float32)


def read_picture(path: Path) -> Picture:
    """Decode a still image.

    :raises EngineError: ``not_media``
    """
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise EngineError("not_media", f"{path.name} cannot be decoded. Convert it to PNG or JPEG.")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def upright(frame: Any) -> Picture:
    """Return a decoded frame as a picture, turned as its metadata says."""
    # One thread: to hand a small picture to several takes longer than to convert it.
    picture = np.asarray(frame.to_ndarray(format="rgb24", threads=1), np.uint8)
    turns = _turns(frame)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _turns(frame: Any) -> int:
    """Return the quarter turns, counterclockwise as FFmpeg and NumPy count them, that bring a frame upright."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def encode_speech(
    pieces: Iterable[Samples], rate: int, path: Path, form: str = "mp3", out_rate: int | None = None
) -> float:
    """Write speech as it comes; memory does not grow with its length.

    :param pieces: mono samples
    :param rate: their rate in Hz
    :param path: the file; nothing is left there after an error
    :param form: a name from ``encoder.ENCODINGS``
    :param out_rate: rate of the file; default: the format's first
    :return: seconds
    :raises EngineError: ``bad_input``, for a format or rate that does not exist
    """
    with writing(path), Encoder(form, out_rate, (rate, "flt"), path, comment=COMMENT) as encoder:
        for piece in pieces:
            encoder.write(piece.astype(np.float32).tobytes())
        encoder.finish()
    return encoder.written / rate


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Remove a file that was begun and not finished."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class VideoWriter:
    """Writes an MP4 with one H.264 video and one AAC audio stream, ready to be streamed.

    :param path: the file
    :param rate: frames a second
    :param size: width and height in pixels; odd ones lose a row or column, because the codec needs even ones
    """

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int]) -> None:
        self.width, self.height = (max(2, side // 2 * 2) for side in size)
        self._rate, self._count = rate, 0
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._container.metadata["comment"] = COMMENT
        options = {"preset": "veryfast", "crf": "19"}
        self._video: Any = self._container.add_stream("libx264", rate=rate, options=options)
        self._video.width, self._video.height, self._video.pix_fmt = self.width, self.height, "yuv420p"
        self._audio: Any = self._container.add_stream("aac", rate=AAC_RATE, layout="mono")

    def picture(self, picture: Picture) -> None:
        """Append a frame; one of another size, which some cameras write when they are turned, is scaled."""
        if picture.shape[0] // 2 * 2 != self.height or picture.shape[1] // 2 * 2 != self.width:
            picture = np.asarray(cv2.resize(picture, (self.width, self.height)), np.uint8)
        cut = np.ascontiguousarray(picture[: self.height, : self.width])
        frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
        frame.pts, frame.time_base = self._count, 1 / self._rate
        self._container.mux(self._video.encode(frame))
        self._count += 1

    def finish(self, sound: Samples) -> None:
        """Append the sound (mono, ``AAC_RATE``) and close the file."""
        self._container.mux(self._video.encode(None))
        for start in range(0, sound.size, PACKET):
            part = np.ascontiguousarray(sound[None, start : start + PACKET], np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = AAC_RATE, start, Fraction(1, AAC_RATE)
            self._container.mux(self._audio.encode(frame))
        self._container.mux(self._audio.encode(None))
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()
