"""What a file really is, read by FFmpeg: format, streams, length, and whether it is whole.

A name proves nothing: a text file may be called ``.mp4``, and a result may be an error page or stop in the middle.
FFmpeg comes as PyAV, which is imported when a file is read: parsing a DAG loads none of it.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from voice_provider.files.formats import PCM, Format, MediaInfo
from voice_provider.files.wav import read_wav
from voice_provider.files.whole import (
    NotMediaError,
    NotWholeError,
    check_aiff,
    check_boxes,
    check_ebml,
    check_ogg,
    check_picture,
    check_riff,
    check_ts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av import AudioStream
    from av.container import InputContainer, OutputContainer

HEAD = 64  # bytes that tell the brand of an MP4
TOLERANCE = 0.1  # seconds that two lengths of the same file may differ
MAX_PIXELS = "10000000"  # of a picture that FFmpeg decodes to see what it is; more in a small file may be a trap
LONGEST = 10  # seconds: no packet of sound is longer, whatever a broken time stamp makes of it
_PICTURES = (
    b"heic",
    b"heix",
    b"hevc",
    b"mif1",
    b"msf1",
    b"avif",
    b"avis",
)  # brands: boxes as in MP4, but HEIC and AVIF
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
# The frame before the first packet of an MP3 may tell how many there are; without it FFmpeg only estimates.
_MP3_LENGTH = re.compile(
    rb"\xff[\xe2-\xff]..(?:(?:.{9}|.{11}|.{17}|.{19}|.{32}|.{34})(?:Xing|Info)|.{32}VBRI)", re.DOTALL
)
_MP3_FRAME = 4096  # bytes that the frame with it has at most, and more


class _Container(NamedTuple):
    """What is known of a container.

    :param extension: of a video or picture in it
    :param subtype: of the media type
    :param check: raises for what ends too early; returns whether the length in the header can be believed
    :param sound: extension where there are no pictures
    :param has_clock: its packets carry the time; else their lengths add up
    :param tells_length: the header of a whole file never tells more than there is
    """

    extension: str
    subtype: str
    check: Callable[[BinaryIO, int], bool] = lambda *_: False
    sound: str = ""
    has_clock: bool = False
    tells_length: bool = False


def _check_wav(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    return file.read(4) == b"RIFF" and read_wav(file, size).has_sizes


# By the name of FFmpeg's demuxer; nothing else is opened. Playlists and lists of files (concat, hls, dash) would open
# what they name.
_CONTAINERS = {
    "aac": _Container("aac", "aac"),
    "aiff": _Container("aiff", "aiff", check_aiff, tells_length=True),
    "amr": _Container("amr", "amr"),
    "apng": _Container("png", "png", check_picture),
    "avi": _Container("avi", "x-msvideo", check_riff, has_clock=True),
    "bmp_pipe": _Container("bmp", "bmp", check_picture),
    "caf": _Container("caf", "x-caf", tells_length=True),
    "flac": _Container("flac", "flac", tells_length=True),
    "gif": _Container("gif", "gif", check_picture),
    "jpeg_pipe": _Container("jpg", "jpeg", check_picture),
    "matroska": _Container("mkv", "x-matroska", check_ebml, sound="mka", has_clock=True),
    "mov": _Container("mp4", "mp4", check_boxes, sound="m4a", has_clock=True),
    "mp3": _Container("mp3", "mpeg"),
    "mpegts": _Container("ts", "mp2t", check_ts, has_clock=True),
    "ogg": _Container("ogv", "ogg", check_ogg, sound="ogg"),
    "png_pipe": _Container("png", "png", check_picture),
    "w64": _Container("w64", "x-w64", tells_length=True),
    "wav": _Container("wav", "wav", _check_wav, tells_length=True),
    "webp": _Container("webp", "webp", check_riff),
    "webp_pipe": _Container("webp", "webp", check_riff),
}
_IMAGES = {"apng", "bmp_pipe", "gif", "jpeg_pipe", "png_pipe", "webp", "webp_pipe"}
_FRAMED = {"aac", "amr", "flac", "mp3"}  # frames and nothing around them: no size tells where they end
_PARSED = {"aac", "mp1", "mp2", "mp3"}  # codecs whose frames tell their length


@contextmanager
def open_media(file: BinaryIO) -> Iterator[InputContainer]:
    """Open a file with FFmpeg: the one place where the client does so.

    Only the formats of the list above, and only this file: no format opens another one, by whatever protocol.

    :param file: open for reading and seeking; left at an unspecified position
    :raises NotWholeError: FFmpeg cannot read it
    """
    import av  # noqa: PLC0415  # 70 ms that DAG parsing need not pay

    file.seek(0)
    is_jpeg = file.read(3) == b"\xff\xd8\xff"  # a moving photo has a video behind it, which FFmpeg would take it for
    form = "jpeg_pipe" if is_jpeg else None
    options = {
        "format_whitelist": ",".join(_CONTAINERS),
        "protocol_whitelist": "none",
        "max_pixels": MAX_PIXELS,
        # FFmpeg looks whether the samples of a WAV are a coded stream in disguise. One packet shows it; it would look
        # at 32 of them, which takes longer than all the rest: 12 ms instead of 0.5 for ten seconds of sound.
        "max_probe_packets": "1",
    }
    # PyAV 18 raises for tags that are no UTF-8; 19 does not, and has no such argument any more.
    tags: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        with av.open(_Shared(file), format=form, options=options, **tags) as container:
            yield cast("InputContainer", container)
    except av.FFmpegError as error:
        raise NotWholeError(f"it is damaged: {error.strerror}") from None


@contextmanager
def write_media(file: BinaryIO, form: str) -> Iterator[OutputContainer]:
    """Write a file with FFmpeg.

    :param file: open for writing and seeking
    :param form: FFmpeg's name of the format
    """
    import av  # noqa: PLC0415  # as in open_media

    with av.open(file, "w", format=form) as container:
        yield container


def probe(file: BinaryIO, size: int) -> MediaInfo:
    """Read what an input is: from its header and index where they can be believed, else from all of it.

    :param file: open for reading and seeking; left at an unspecified position
    :param size: length of the file in bytes
    :raises NotWholeError: it is empty, is no media, holds no sound and no pictures, or is cut short
    """
    return _read(file, size, in_full=False)


def inspect(file: BinaryIO, size: int, pcm_rate: int | None = None) -> MediaInfo:
    """Read what a result is, from its first packet to its last.

    :param file: open for reading and seeking; left at an unspecified position
    :param size: length of the file in bytes
    :param pcm_rate: Hz of raw 16-bit mono samples, which nothing in the file shows; only where they were asked for
    :raises NotWholeError: it is empty, is no media, holds no sound and no pictures, or is cut short
    """
    if pcm_rate is None or not size:
        return _read(file, size, in_full=True)
    file.seek(0)
    if _is_text(file.read(HEAD)):
        raise NotWholeError(f"its {size:,} bytes are a text or HTML page")
    if size % 2:
        raise NotWholeError(f"it is cut short: its {size:,} bytes end within a sample")
    return MediaInfo(PCM, size / 2 / pcm_rate, "pcm_s16le")


def _is_text(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"<", b"{") and head.isascii() and b"\0" not in head  # quiet samples have zeros


def _read(file: BinaryIO, size: int, *, in_full: bool) -> MediaInfo:
    if not size:
        raise NotWholeError("it is empty (0 bytes)")
    file.seek(0)
    head = file.read(HEAD)
    is_opened = False
    try:
        with open_media(file) as container:
            is_opened = True
            return _Reading(file, size, head, container).info(in_full=in_full)
    except NotWholeError:
        if is_opened:
            raise
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        check_boxes(file, size)
        raise NotWholeError("it is damaged: its index (moov) cannot be read")
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        read_wav(file, size)
        raise NotWholeError("it holds no sound")
    kind = "a text or HTML page" if _is_text(head) else "no audio, video or image"
    raise NotMediaError(f"its {size:,} bytes are {kind}")


class _Reading:
    """A file that FFmpeg has opened."""

    def __init__(self, file: BinaryIO, size: int, head: bytes, container: InputContainer) -> None:
        from av.stream import Disposition  # noqa: PLC0415  # as in open_media

        self._file, self._size, self._head, self._opened = file, size, head, container
        self._missing: NotWholeError | None = None
        self._frames: int | None = None
        self._name = container.format.name.partition(",")[0]
        self._is = _CONTAINERS[self._name]
        covers = Disposition.attached_pic | Disposition.timed_thumbnails
        self._sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
        self._pictures = [stream for stream in container.streams.video if not stream.disposition & covers]

    def info(self, *, in_full: bool) -> MediaInfo:
        """Return what it is; of a result that is not whole, the error holds what there is."""
        is_believed = False
        try:
            is_believed = self._is.check(self._file, self._size)
        except NotWholeError as error:
            self._missing = error
        if not (self._sounds or self._pictures):
            raise self._missing or NotWholeError("it holds neither sound nor pictures")
        found = self._format()
        if self._missing and (found.kind == "image" or not in_full):
            raise self._missing
        if found.kind == "image":
            return MediaInfo(found, None)
        seconds, sounds = (self._opened.duration or 0) / 1_000_000, self._sounds
        if in_full or not (is_believed and seconds):
            seconds, sounds = self._walk(said=seconds)
        if not seconds:
            nothing = "it holds no sound" if found.kind == "audio" else "it holds no pictures"
            raise self._missing or NotWholeError(nothing)
        rate = self._pictures[0].average_rate if self._pictures else None
        info = MediaInfo(
            found,
            seconds,
            sounds[0].codec_context.codec.canonical_name if sounds else None,
            fps=float(rate) if rate else None,
            frames=self._frames,
        )
        if self._missing:
            self._missing.info = info
            raise self._missing
        return info

    def _miss(self, what: str) -> None:
        self._missing = self._missing or NotWholeError(what)

    def _format(self) -> Format:
        extension, subtype, sound = self._is.extension, self._is.subtype, self._is.sound
        if self._name == "mov":
            brand = self._head[8:12] if self._head[4:8] == b"ftyp" else b"qt  "
            if brand in _PICTURES:
                name = "avif" if b"avi" in self._head else "heic"
                return Format(name, f"image/{name}")
            if brand == b"qt  ":
                extension, subtype, sound = "mov", "quicktime", "mov"
            elif brand.startswith(b"3g"):
                extension, subtype, sound = "3gp", "3gpp", "3gp"
        elif self._name == "matroska" and b"webm" in self._head:
            extension, subtype, sound = "webm", "webm", "webm"
        elif self._name == "ogg" and self._sounds and self._sounds[0].codec_context.codec.canonical_name == "opus":
            sound = "opus"
        if self._name in _IMAGES:
            return Format(extension, f"image/{subtype}")
        if self._pictures:
            return Format(extension, f"video/{subtype}")
        return Format(sound or extension, f"audio/{subtype}")

    def _walk(self, said: float) -> tuple[float, list[AudioStream]]:
        """Go through all packets; return the length, and which sounds there are.

        :param said: length in the header, seconds
        """
        is_riff = self._head.startswith(b"RIFF")  # its sizes were checked; a stream's are open
        tracks = {stream.index: _Track(stream) for stream in (*self._sounds, *self._pictures)}
        first = packet = None
        for packet in self._packets():
            if packet.is_corrupt and not is_riff:
                self._miss(f"it is cut short or damaged at byte {packet.pos or self._size:,}")
            first = first or packet
            tracks[packet.stream_index].add(packet)
        heard = [track for track in tracks.values() if track.last is not None]
        self._frames = tracks[self._pictures[0].index].count if self._pictures else None
        if not heard:
            return 0, []
        if self._is.has_clock:
            seconds = max(track.end for track in heard) - max(0, min(track.start for track in heard))
        else:
            seconds = max(track.total for track in heard)
        self._check_end(seconds, said, first, heard[0])
        return float(seconds), [stream for stream in self._sounds if tracks[stream.index].last is not None]

    def _packets(self) -> Iterator[Any]:
        import av  # noqa: PLC0415  # as in open_media

        try:
            for packet in self._opened.demux(*self._sounds, *self._pictures):
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            if self._name not in _FRAMED:  # there it is what comes behind the last frame; the last one is looked at
                self._miss(f"it is damaged: {error.strerror}")

    def _check_end(self, seconds: float, said: float, first: Any, track: _Track) -> None:
        """Find out whether packets are missing, or a part of the last one."""
        tells = self._is.tells_length and not self._head.startswith(b"RIFF")
        if self._name == "mp3" and first.pos is not None:
            self._file.seek(max(0, first.pos - _MP3_FRAME))
            tells = bool(_MP3_LENGTH.search(self._file.read(min(first.pos, _MP3_FRAME))))
        if tells and said - seconds > TOLERANCE:
            self._miss(f"it is cut short: {seconds:.1f} s of the {said:.1f} s that its header tells are there")
        if self._name not in _FRAMED or self._has_tag():
            return
        self._file.seek((track.last.pos or 0) + track.last.size)
        rest = self._file.read(2)
        is_begun = self._name in ("mp3", "aac") and (rest == b"\xff" or _is_frame(rest))  # one more
        if is_begun or not track.ends_whole():
            self._miss(f"it is cut short within its last frame, at byte {self._size:,}")

    def _has_tag(self) -> bool:
        """Whether there is an ID3 tag of the first version behind the last frame."""
        self._file.seek(max(0, self._size - 128))
        return self._file.read(3) == b"TAG"


class _Track:
    """The packets of one stream: where it starts and ends, in seconds, and how long they are together."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._unit = stream, stream.time_base
        self._rate = stream.codec_context.sample_rate if stream.type == "audio" else 0
        self._start: int | None = None
        self._end = self._total = self._step = self._before = 0
        self._skipped = 0  # samples
        self.count = 0
        self.last: Any = None

    def add(self, packet: Any) -> None:
        """Take the next packet."""
        self.count += 1
        at = packet.dts if packet.dts is not None else packet.pts
        shown = packet.pts if packet.pts is not None else at
        duration = packet.duration or 0
        if self._rate and duration * self._unit > LONGEST:
            duration = self._step
        if at is not None and shown is not None:
            if self.last is not None and at > self._before:
                self._step = at - self._before
            self._before = at
            self._start = shown if self._start is None else min(self._start, shown)
            self._end = max(self._end, shown + (duration or self._step))
        self._total += duration
        if self._rate and packet.has_sidedata("skip_samples"):  # what an encoder put before and behind the sound
            self._skipped += sum(struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples"))))
        self.last = packet

    @property
    def start(self) -> float:
        return float((self._start or 0) * self._unit)

    @property
    def end(self) -> float:
        return float(self._end * self._unit)

    @property
    def total(self) -> float:
        return max(0.0, float(self._total * self._unit) - (self._skipped / self._rate if self._rate else 0))

    def ends_whole(self) -> bool:
        """Whether the last frame is all there: its parser finds its end, or it decodes without an error."""
        import av  # noqa: PLC0415  # as in open_media

        codec, data = self._stream.codec_context.codec, bytes(self.last or b"")
        context = av.CodecContext.create(codec.name, "r")
        if codec.canonical_name in _PARSED:
            return not _is_frame(data) or bool(context.parse(data))  # no frame: it is a tag behind the last one
        context.extradata, context.options = self._stream.codec_context.extradata, _STRICT
        try:
            return bool(context.decode(av.Packet(data)) or context.decode(None))
        except av.FFmpegError:
            return False


def _is_frame(data: bytes) -> bool:
    """Whether a frame of MPEG audio begins so."""
    return len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0


class _Shared:
    """A file that FFmpeg and the checks read in turns, each at a place of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            self._at = self._file.seek(offset, whence)
        else:
            self._at = offset + (self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def tell(self) -> int:
        return self._at
