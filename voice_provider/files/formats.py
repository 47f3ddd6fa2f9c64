"""What a media file can be: its format, its length, its sound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """A media format: the extension without a dot, and the media type."""

    extension: str
    media_type: str

    @property
    def kind(self) -> str:
        """``audio``, ``video`` or ``image``."""
        return self.media_type.partition("/")[0]


PCM = Format("pcm", "audio/pcm")  # 16-bit mono samples and nothing else: nothing shows what they are
WAV = Format("wav", "audio/wav")


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A media file.

    :param format: by what is in it: a container without pictures is audio
    :param seconds: length; None for pictures
    :param sound: codec of its first sound, as FFmpeg names it; None: it has none
    :param fps: frames a second, as its header tells them; None: it has no moving pictures, or does not tell
    :param frames: pictures that were counted; None: it was not read through, or has none
    """

    format: Format
    seconds: float | None
    sound: str | None = None
    fps: float | None = None
    frames: int | None = None
