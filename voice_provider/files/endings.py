"""What the ending of a file's name says of its format: no result is kept under one that says something else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from voice_provider.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALSO = {  # other endings that are as right for what is usually called otherwise
    "3gp": ("3gpp", "3g2"),
    "aiff": ("aif", "aifc"),
    "heic": ("heif",),
    "jpg": ("jpeg",),
    "m4a": ("m4b", "mp4", "aac"),
    "mka": ("mkv",),
    "mov": ("qt",),
    "mp3": ("mp2", "mpga"),
    "mp4": ("m4v",),
    "ogg": ("oga",),
    "opus": ("ogg", "oga"),
    "pcm": ("raw",),
    "ts": ("mts", "m2ts"),
    "wav": ("wave",),
    "webm": ("weba",),
}
# What people know by its ending; Python's own table reads files of the machine.
_AUDIO = "3gp aac ac3 aif aifc aiff alac amr ape au caf flac m4a m4b mka mp2 mp3 oga ogg opus pcm ra raw wav wave wma"
_VIDEO = "avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
_OTHER = "avif bmp csv doc docx gif heic htm html jpeg jpg json md pdf png rtf srt tif tiff txt vtt webp xml yaml zip"
_KNOWN = frozenset(f"{_AUDIO} {_VIDEO} {_OTHER}".split()).union(*ALSO.values())
_ENDING = re.compile(r"\.([A-Za-z0-9]{1,11})$")


def ending_of(location: str) -> str:
    """Return the ending of a file's name in small letters, without the dot; empty where it has none that says a format.

    :param location: path or URI; one that ends in ``/`` is a folder and has none
    """
    found = _ENDING.search(location)
    ending = found[1].lower() if found else ""
    return ending if ending in _KNOWN else ""


def fits(location: str, extension: str) -> bool:
    """Whether what has this format may be called so: its name ends accordingly, or says nothing."""
    return ending_of(location) in ("", extension, *ALSO.get(extension, ()))


def named(location: str, extension: str) -> str:
    """Return where what has this format goes: a location whose ending says something else gets the right one."""
    return location if fits(location, extension) else f"{location.rpartition('.')[0]}.{extension}"


def format_for(location: str, formats: Sequence[str]) -> str | None:
    """Return which of some formats a file's name asks for; None where it asks for none of them."""
    ending = ending_of(location)
    also = (name for name in formats if ending in ALSO.get(name, ()))
    return ending if ending in formats else next(also, None)


def check_ending(location: str, formats: Sequence[str], label: str) -> None:
    """Find out before anything is paid whether the result will be what its name says.

    :param location: where it is to be kept
    :param formats: that it can have
    :param label: of the service
    :raises InvalidInputError: naming the endings that are right
    """
    if not formats or any(fits(location, name) for name in formats):
        return
    raise InvalidInputError(
        f"output ends in .{ending_of(location)}, but {label} makes {' or '.join(formats)} here, and a file is not kept "
        f"under a false name. End it in {' or '.join(f'.{name}' for name in formats)}, or in '/' (a folder), and "
        "convert the result in a task of its own. Nothing was paid."
    )
