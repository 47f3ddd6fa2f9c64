"""Media files of many kinds, small, made by FFmpeg: containers x codecs x tags x odd lengths, and what they are."""

from __future__ import annotations

import io
import math
import os
import struct
import tempfile
from array import array
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
from av.stream import Disposition

if TYPE_CHECKING:
    from collections.abc import Iterator

CUT = 0.6  # what is left of a file that is cut short


class Made(NamedTuple):
    """A file of the corpus.

    :param name: what it is made of
    :param data: its bytes
    :param extension: what it is to be called
    :param media_type: what it is to be taken for
    :param has_end: whether anything in it shows that its end is missing; a stream's WAV may end anywhere
    """

    name: str
    data: bytes
    extension: str
    media_type: str
    has_end: bool = True

    @property
    def cut(self) -> bytes:
        return self.data[: int(len(self.data) * CUT)]


ISO, EBML = "audio/mp4", "audio/webm"
SOUNDS = (  # container, codec, rate, extension, media type
    ("wav", "pcm_s16le", 16000, "wav", "audio/wav"),
    ("wav", "pcm_s24le", 44100, "wav", "audio/wav"),
    ("wav", "pcm_f32le", 48000, "wav", "audio/wav"),
    ("wav", "pcm_mulaw", 8000, "wav", "audio/wav"),
    ("wav", "adpcm_ima_wav", 22050, "wav", "audio/wav"),
    ("wav", "libmp3lame", 44100, "wav", "audio/wav"),
    ("w64", "pcm_s16le", 16000, "w64", "audio/x-w64"),
    ("aiff", "pcm_s16be", 44100, "aiff", "audio/aiff"),
    ("caf", "pcm_s16le", 44100, "caf", "audio/x-caf"),
    ("mp3", "libmp3lame", 44100, "mp3", "audio/mpeg"),
    ("mp3", "libmp3lame", 22050, "mp3", "audio/mpeg"),
    ("mp3", "libmp3lame", 8000, "mp3", "audio/mpeg"),
    ("mp2", "mp2", 44100, "mp3", "audio/mpeg"),
    ("adts", "aac", 44100, "aac", "audio/aac"),
    ("adts", "aac", 16000, "aac", "audio/aac"),
    ("flac", "flac", 44100, "flac", "audio/flac"),
    ("flac", "flac", 16000, "flac", "audio/flac"),
    ("ogg", "libopus", 48000, "opus", "audio/ogg"),
    ("ogg", "libopus", 16000, "opus", "audio/ogg"),
    ("ogg", "vorbis", 44100, "ogg", "audio/ogg"),
    ("ogg", "flac", 44100, "ogg", "audio/ogg"),
    ("mp4", "aac", 44100, "m4a", ISO),
    ("ipod", "aac", 48000, "m4a", ISO),
    ("ipod", "alac", 44100, "m4a", ISO),
    ("mp4", "libopus", 48000, "m4a", ISO),
    ("mp4", "flac", 44100, "m4a", ISO),
    ("mov", "pcm_s16le", 48000, "mov", "audio/quicktime"),
    ("3gp", "libopencore_amrnb", 8000, "3gp", "audio/3gpp"),
    ("amr", "libopencore_amrnb", 8000, "amr", "audio/amr"),
    ("webm", "libopus", 48000, "webm", EBML),
    ("webm", "vorbis", 44100, "webm", EBML),
    ("matroska", "aac", 44100, "mka", "audio/x-matroska"),
    ("matroska", "pcm_s16le", 16000, "mka", "audio/x-matroska"),
    ("avi", "pcm_s16le", 16000, "avi", "audio/x-msvideo"),
    ("mpegts", "aac", 44100, "ts", "audio/mp2t"),
)
VIDEOS = (  # container, codec of the pictures and of the sound, extension, media type
    ("mp4", "libx264", "aac", "mp4", "video/mp4"),
    ("mp4", "libx264", None, "mp4", "video/mp4"),
    ("mp4", "mpeg4", "libmp3lame", "mp4", "video/mp4"),
    ("mov", "libx264", "pcm_s16le", "mov", "video/quicktime"),
    ("mov", "mjpeg", None, "mov", "video/quicktime"),
    ("mov", "prores", "aac", "mov", "video/quicktime"),
    ("3gp", "h263", "libopencore_amrnb", "3gp", "video/3gpp"),
    ("matroska", "libx264", "aac", "mkv", "video/x-matroska"),
    ("matroska", "ffv1", "flac", "mkv", "video/x-matroska"),
    ("webm", "libvpx", "libopus", "webm", "video/webm"),
    ("webm", "libvpx-vp9", "vorbis", "webm", "video/webm"),
    ("avi", "mpeg4", "libmp3lame", "avi", "video/x-msvideo"),
    ("avi", "mjpeg", "pcm_s16le", "avi", "video/x-msvideo"),
    ("mpegts", "libx264", "aac", "ts", "video/mp2t"),
    ("mpegts", "mpeg2video", "mp2", "ts", "video/mp2t"),
)
PICTURES = (  # codec, pixels, extension; a GIF has a muxer of its own
    ("png", "rgb24", "png"),
    ("mjpeg", "yuvj420p", "jpg"),
    ("bmp", "bgr24", "bmp"),
    ("libwebp", "yuv420p", "webp"),
)
PIXELS = {"mjpeg": "yuvj420p", "prores": "yuv422p10le", "gif": "rgb8"}
OPTIONS = {"libvpx": {"deadline": "realtime", "cpu-used": "8"}, "vorbis": {"strict": "-2"}}
OPTIONS["libvpx-vp9"] = OPTIONS["libvpx"]
TAGS = {"title": "Guten Tag, Köln", "artist": "新しい", "comment": "x" * 3000}


class _Pipe:
    """Where nothing can be filled in afterwards."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, piece: bytes) -> int:
        self.data += piece
        return len(piece)


@cache
def tone(rate: int, seconds: float) -> array[int]:
    return array("h", (int(9000 * math.sin(at * 0.3) * math.sin(at * 0.001)) for at in range(round(rate * seconds))))


def encode(
    container: str,
    sound: str | None = None,
    pictures: str | None = None,
    *,
    rate: int = 48000,
    seconds: float = 2.0,
    piped: bool = False,
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> bytes:
    """Make a file with FFmpeg.

    :param piped: write it to a pipe: no size is filled in
    :param options: of the container
    """
    handle, name = tempfile.mkstemp()
    os.close(handle)
    path, pipe = Path(name), _Pipe()
    try:
        target: Any = pipe if piped else name
        with av.open(target, "w", format=container, options=options or {}) as file:
            file.metadata.update(tags or {})
            tracks: list[Any] = [_pictures(file, pictures), _sound(file, sound, rate)]
            for track, write in zip(tracks, (_write_pictures, _write_sound), strict=True):
                if track is not None:
                    write(file, track, seconds)
                    file.mux(track.encode(None))
        return bytes(pipe.data) if piped else path.read_bytes()
    finally:
        path.unlink()


def _pictures(file: Any, codec: str | None) -> Any:
    if codec is None:
        return None
    track = file.add_stream(codec, rate=25 if codec in ("h263", "mpeg2video") else 10)
    track.width, track.height = (176, 144) if codec == "h263" else (64, 48)
    track.pix_fmt, track.options = PIXELS.get(codec, "yuv420p"), OPTIONS.get(codec, {})
    return track


def _sound(file: Any, codec: str | None, rate: int) -> Any:
    if codec is None:
        return None
    track = file.add_stream(codec, rate=rate, layout="stereo" if codec == "vorbis" else "mono")
    track.options = OPTIONS.get(codec, {})
    if codec == "libopencore_amrnb":
        track.bit_rate = 12200
    return track


def _write_pictures(file: Any, track: Any, seconds: float) -> None:
    rate = track.codec_context.framerate
    for number in range(round(seconds * rate)):
        frame = picture(track.pix_fmt, 60 + number, (track.width, track.height))
        frame.pts, frame.time_base = number, 1 / rate
        file.mux(track.encode(frame))


def _write_sound(file: Any, track: Any, seconds: float) -> None:
    resampler = av.AudioResampler(format=track.format.name, layout=track.layout.name, rate=track.rate)
    samples = tone(track.rate, seconds)
    for at in range(0, len(samples), 1024):
        part = samples[at : at + 1024]
        frame = av.AudioFrame("s16", "mono", len(part))
        frame.planes[0].update(part.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = track.rate, at, Fraction(1, track.rate)
        for piece in resampler.resample(frame):
            file.mux(track.encode(piece))
    for piece in resampler.resample(None):
        file.mux(track.encode(piece))


def picture(pixels: str, shade: int = 90, size: tuple[int, int] = (64, 48)) -> Any:
    frame = av.VideoFrame(*size, pixels)
    for plane in frame.planes:
        plane.update(bytes([shade % 256]) * plane.buffer_size)
    return frame


def snapshot(codec: str, pixels: str, size: tuple[int, int] = (64, 48)) -> bytes:
    """Make a picture."""
    encoder: Any = av.CodecContext.create(codec, "w")
    (encoder.width, encoder.height), encoder.pix_fmt, encoder.time_base = size, pixels, Fraction(1, 25)
    frame = picture(pixels, size=size)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def id3(*frames: bytes) -> bytes:
    body = b"".join(frames) or b"TIT2" + struct.pack(">I", 6) + b"\0\0\0Title"
    return b"ID3\3\0\0" + bytes([0, 0, len(body) >> 7, len(body) & 127]) + body


ID3V1 = b"TAG" + b"Some title".ljust(125, b"\0")
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 64, 1, 0xA0000000) + bytes(8) + struct.pack("<II", 17, 0) + b"Title\0"
APE += b"Somebody's talk.."


def corpus() -> Iterator[Made]:
    """Make all of it."""
    for container, sound, rate, extension, media_type in SOUNDS:
        if sound not in av.codecs_available:  # the wheel of PyAV 19 brings no encoder for AMR
            continue
        for seconds, tags in ((0.731, {}), (3.017, TAGS)):
            data = encode(container, sound, rate=rate, seconds=seconds, tags=tags)
            yield Made(f"{container} {sound} {rate} {seconds}", data, extension, media_type)
    for container, pictures, sound, extension, media_type in VIDEOS:
        if sound and sound not in av.codecs_available:
            continue
        rate = 8000 if sound == "libopencore_amrnb" else 48000
        data = encode(container, sound, pictures, rate=rate, seconds=2.3)
        yield Made(f"{container} {pictures} {sound}", data, extension, media_type)
    for codec, pixels, extension in PICTURES:
        yield Made(f"still {codec}", snapshot(codec, pixels), extension, f"image/{extension.replace('jpg', 'jpeg')}")
    yield Made("still gif", encode("gif", None, "gif", seconds=0.5), "gif", "image/gif")
    avif = encode("avif", None, "libsvtav1", seconds=0.1)
    yield Made("still avif", avif, "avif", "image/avif")
    yield Made("a picture that calls itself HEIC", avif.replace(b"avif", b"heic"), "heic", "image/heic")
    yield from _odd()


def _odd() -> Iterator[Made]:
    """What phones, browsers, meeting tools and taggers make."""
    mp4, m4a = ("mp4", "video/mp4"), ("m4a", ISO)
    for flags in ("faststart", "frag_keyframe+empty_moov", "frag_every_frame+empty_moov+default_base_moof"):
        yield Made(f"{flags} video", encode("mp4", "aac", "mpeg4", options={"movflags": flags}), *mp4)
        yield Made(f"{flags} sound", encode("mp4", "aac", options={"movflags": flags}), *m4a)
    live = {"live": "1"}
    yield Made("piped webm", encode("webm", "libopus", "libvpx", piped=True), "webm", "video/webm")
    yield Made("live webm", encode("webm", "libopus", piped=True, options=live), "webm", EBML)
    yield Made("piped mka", encode("matroska", "aac", piped=True), "mka", "audio/x-matroska")
    yield Made("piped wav", encode("wav", "pcm_s16le", piped=True), "wav", "audio/wav", has_end=False)
    yield Made("piped float wav", encode("wav", "pcm_f32le", piped=True), "wav", "audio/wav", has_end=False)
    yield Made("piped mp3", encode("mp3", "libmp3lame", piped=True, seconds=2.17), "mp3", "audio/mpeg")
    yield Made("piped flac", encode("flac", "flac", piped=True), "flac", "audio/flac")
    yield Made("piped opus", encode("ogg", "libopus", piped=True), "opus", "audio/ogg")
    rf64 = encode("wav", "pcm_s16le", options={"rf64": "always"})
    yield Made("rf64", rf64, "wav", "audio/wav")
    yield Made("bw64", rf64.replace(b"RF64", b"BW64", 1), "wav", "audio/wav")
    yield Made("m4a with a cover", _covered(), *m4a)
    for container, sound, extension, media_type in (("flac", "flac", "flac", "audio/flac"), ("mp4", "aac", *m4a)):
        tagged = encode(container, sound, tags={"title": "QQQQ"}).replace(b"QQQQ", b"\xff\xfe\xe9Q")
        yield Made(f"{container}, tags that are no UTF-8", tagged, extension, media_type)
    plain = encode("mp3", "libmp3lame", seconds=2.17, options={"write_xing": "0", "id3v2_version": "0"})
    xing = encode("mp3", "libmp3lame", seconds=2.17)
    for name, data in {
        "plain mp3": plain,
        "joined mp3": xing + xing + xing,
        "mp3, changing bit rate": plain + _louder(),
        "mp3, changing bit rate, loud first": _louder() + plain,
        "mp3, id3 behind": plain + ID3V1,
        "mp3, ape behind": xing + APE + ID3V1,
        "mp3, zeros behind": xing + bytes(1000),
        "mp3, a picture in front": id3(_cover()) + plain,
    }.items():
        yield Made(name, data, "mp3", "audio/mpeg", has_end=name != "mp3, zeros behind")
    flac, aac, opus = encode("flac", "flac"), encode("adts", "aac"), encode("ogg", "libopus")
    yield Made("id3 and flac", id3() + flac, "flac", "audio/flac")
    yield Made("flac, id3 behind", flac + ID3V1, "flac", "audio/flac")
    yield Made("id3 and aac", id3() + aac, "aac", "audio/aac")
    yield Made("joined aac", aac + aac, "aac", "audio/aac")
    yield Made("chained opus", opus + opus, "opus", "audio/ogg")
    video = encode("mp4", "aac", "mpeg4")
    yield Made("mp4, a camera's trailer", video + b"a camera's own trailer, behind the last box...", *mp4)
    yield Made("mp4, four zeros behind", video + bytes(4), *mp4)
    mov = encode("mov", "aac", "mpeg4")
    yield Made("mov without ftyp", mov[:4] + b"free" + mov[8:], "mov", "video/quicktime")
    wav = encode("wav", "pcm_s16le")
    yield Made("wav, bytes behind", wav + ID3V1, "wav", "audio/wav")
    png, jpeg = snapshot("png", "rgb24"), snapshot("mjpeg", "yuvj420p")
    thumb = b"\xff\xe1" + struct.pack(">H", len(jpeg) + 2) + jpeg
    yield Made("jpeg with a small one in it", jpeg[:2] + thumb + jpeg[2:], "jpg", "image/jpeg")
    yield Made("moving photo", snapshot("mjpeg", "yuvj420p", (1280, 960)) + video, "jpg", "image/jpeg", has_end=False)
    yield Made("png, bytes behind", png + bytes(100), "png", "image/png", has_end=False)


def _louder() -> bytes:
    """MP3 of 16 times the bit rate: a length by the first frames is far off."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as file:
        track = _sound(file, "libmp3lame", 48000)
        track.bit_rate = 320_000
        _write_sound(file, track, 2.17)
        file.mux(track.encode(None))
    return out.getvalue()


def _covered() -> bytes:
    """A song with a cover: a video stream that is no video."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        sound, cover = _sound(file, "aac", 44100), _pictures(file, "mjpeg")
        cover.disposition = Disposition.attached_pic
        frame = picture(cover.pix_fmt)
        frame.pts = 0
        file.mux([*cover.encode(frame), *cover.encode(None)])
        _write_sound(file, sound, 2.0)
        file.mux(sound.encode(None))
    return out.getvalue()


def _cover() -> bytes:
    body = b"\0image/png\0\3\0" + snapshot("png", "rgb24")
    return b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body


def decoded(data: bytes) -> float:
    """Return the length by a full decode that skips errors: from the first stream's beginning to the last one's end."""
    starts, ends, heard = [], [], {}
    tags: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    with av.open(io.BytesIO(data), **tags) as file:
        for packet in file.demux():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if isinstance(frame, av.AudioFrame):
                    began, so_far = heard.get(packet.stream_index, (max(0.0, frame.time or 0.0), 0.0))
                    heard[packet.stream_index] = began, so_far + frame.samples / frame.sample_rate
                elif isinstance(frame, av.VideoFrame) and frame.time is not None:
                    starts.append(frame.time)
                    ends.append(frame.time + float((frame.duration or 0) * (frame.time_base or 0)))
    starts += [began for began, _ in heard.values()]
    ends += [began + so_far for began, so_far in heard.values()]
    return max(ends) - min(starts)
