"""Whether a media input is of the kind that its argument takes: found out before anything is uploaded or paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.storage import StoredFile

if TYPE_CHECKING:
    from collections.abc import Collection

    from voice_provider.services.base import Input
    from voice_provider.services.options import Media

_CALLED = {"audio": "a recording without pictures", "video": "a video", "image": "a picture"}
COVERS = ("image/png", "image/jpeg", "image/webp")


class _Argument(NamedTuple):
    """What an argument takes.

    :param kinds: ``audio``, ``video``, ``image``
    :param give: what to do about another kind
    """

    kinds: Collection[str]
    give: str


_ARGUMENTS = {
    "video": _Argument(("video",), "Give a video; a picture goes into image=, a recording into audio="),
    "image": _Argument(("image",), "Give a picture; a video goes into video=, a recording into audio="),
    "audio": _Argument(("audio",), "Give a recording; the sound of a video can be saved as m4a or wav"),
    "sample": _Argument(("audio", "video"), "Give audio, or video with sound"),
    "recording": _Argument(("audio", "video"), "Give audio, or video with sound"),
    "reference": _Argument(("audio", "video"), "Give audio, or video with sound"),
}


def check_kind(argument: str, media: Media, source: Input | StoredFile) -> None:
    """Refuse a file of another kind than its argument takes, or without the sound that is needed.

    What a service hosts already is known only as far as the task before has told.

    :param argument: ``video``, ``image``, ``audio``, ``sample``, ``recording`` or ``reference``
    :param media: the input as the author gave it
    :param source: what ``resolve`` made of it
    :raises InvalidInputError: naming the argument
    """
    takes = _ARGUMENTS[argument]
    if isinstance(source, StoredFile):
        found, where = source.media_type, source.location
    else:
        found = str(media.get("media_type") or "") if isinstance(media, dict) else ""
        where = source.asset_id or (source.url or "").partition("?")[0]
    kind = found.partition("/")[0]
    if kind in _CALLED and kind not in takes.kinds:
        raise InvalidInputError(f"{argument}= is {_CALLED[kind]} ({found}): {where}. {takes.give}. Nothing was sent.")
    if isinstance(source, StoredFile) and "audio" in takes.kinds and source.info.sound is None:
        raise InvalidInputError(f"{argument}= has no sound ({found}): {where}. {takes.give}. Nothing was sent.")
