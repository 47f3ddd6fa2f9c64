"""What Fish Audio heard, read into our words.

``transcribe-1-pro`` writes marks into its text: ``<|speaker:0|>`` where another voice begins, ``[laughter]`` where
something else is heard (docs.fish.audio, models and pricing, migrate from transcribe-1). Given back as a transcript of
a clone's sample, or spoken, they would be taken for directions: so the plain text is without them.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from voice_provider.models import Segment, Transcript
from voice_provider.services.fish_audio.options import BRACKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.services.base import Response


def read_transcript(service: str, model: str, response: Response) -> Transcript:
    """Read an answer that holds a text; of the rest what can be read, because it is paid.

    :param service: connection type
    :param model: that was asked for
    """
    answer = response.object()
    text = answer["text"]
    segments = tuple(_segments(answer.get("segments")))
    # One word each is what the live service was seen to send; where it sends phrases they are no words.
    in_words = bool(segments) and not any(len(part.text.split()) > 1 for part in segments)
    return Transcript(
        service=service,
        text=plain(text),
        marked_text=text if text != plain(text) else None,
        seconds=_number(answer.get("duration")),
        language=_text(answer.get("language_code")),
        segments=segments,
        words=segments if in_words else (),
        turns=tuple(_segments(answer.get("speaker_turns"))),
        model=model,
        request_id=_text(answer.get("request_id")) or response.headers.get("x-request-id"),
    )


def plain(text: str) -> str:
    """Return a text without the service's marks."""
    return " ".join(BRACKETS.marks.sub(" ", text).split()) if BRACKETS.marks.search(text) else text


def _segments(heard: Any) -> Iterator[Segment]:
    """Read what can be read: one odd part does not make the rest worthless; what is only a mark is no word."""
    for item in heard if isinstance(heard, list) else ():
        with suppress(ValidationError):
            part = Segment.model_validate(item)
            if said := plain(part.text):
                yield part.model_copy(update={"text": said})


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
