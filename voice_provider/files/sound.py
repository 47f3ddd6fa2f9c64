"""The sound of a video, for a service that takes recordings only: so swapping the connection swaps the service."""

from __future__ import annotations

import tempfile
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.formats import Format
from voice_provider.files.locations import reading
from voice_provider.files.media import open_media, write_media
from voice_provider.files.transfer import pieces
from voice_provider.files.whole import NotWholeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.files.storage import StoredFile


class _Target(NamedTuple):
    """Where sound goes: format, FFmpeg's name of the container, and a codec where it is not copied as it is."""

    format: Format
    container: str
    codec: str | None = None


_COPIED = {
    "aac": _Target(Format("m4a", "audio/mp4"), "ipod"),
    "mp3": _Target(Format("mp3", "audio/mpeg"), "mp3"),
    "opus": _Target(Format("opus", "audio/ogg"), "ogg"),
}
_DECODED = _Target(Format("wav", "audio/wav"), "wav", "pcm_s16le")


class SoundOf:
    """The sound of a video in storage; a ``services.base.Body``.

    AAC, MP3 and Opus are copied as they are, everything else becomes WAV. It is taken out when it is first asked for,
    into a file of this process that has no name.

    :param video: a file with sound
    """

    def __init__(self, video: StoredFile) -> None:
        self._video = video
        self._target = _COPIED.get(video.info.sound or "", _DECODED)

    @property
    def name(self) -> str:
        """The video's name, with the ending of the sound."""
        stem, _, _ = self._video.name.rpartition(".")
        return f"{stem}.{self._target.format.extension}"

    @property
    def media_type(self) -> str:
        """Content type of the sound."""
        return self._target.format.media_type

    @property
    def size(self) -> int:
        """Length in bytes.

        :raises InvalidInputError: the sound cannot be read
        """
        return self._file.seek(0, 2)

    def chunks(self) -> Iterator[bytes]:
        """Yield it from its beginning, piece by piece.

        :raises InvalidInputError: the sound cannot be read
        """
        yield from pieces(self._file)

    @cached_property
    def _file(self) -> BinaryIO:
        file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  # is closed with this object
        with reading(self._video.location), self._video.open() as source:
            try:
                _take_sound(source, file, self._target)
            except NotWholeError as error:
                raise InvalidInputError(
                    f"The sound of the video {self._video.location} cannot be taken out: {error}. Save it as wav, mp3 "
                    "or m4a, and give that."
                ) from None
        return file


def _take_sound(source: BinaryIO, target: BinaryIO, kind: _Target) -> None:
    """Copy or decode the first sound of a file into another.

    :raises NotWholeError: FFmpeg cannot read or write it
    """
    from av import AudioResampler  # noqa: PLC0415  # as in media.open_media

    with open_media(source) as video, write_media(target, kind.container) as made:
        sound: Any = video.streams.audio[0]
        if kind.codec is None:
            copy: Any = made.add_stream_from_template(sound)
            for packet in video.demux(sound):
                if packet.dts is not None:
                    packet.stream = copy
                    made.mux(packet)
            return
        stream: Any = made.add_stream(kind.codec, rate=sound.rate, layout="mono")
        resampler = AudioResampler(format="s16", layout="mono", rate=sound.rate)
        for frame in video.decode(sound):
            for piece in resampler.resample(frame):
                made.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            made.mux(stream.encode(piece))
        made.mux(stream.encode(None))
