"""What work costs at the service of a connection, before it is ordered and after.

The prices are the connection's own, then the service's published ones; of a lip sync the service itself is asked
(the estimate). What nobody tells is unknown.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from voice_provider.exceptions import InvalidInputError, VoiceError
from voice_provider.files.storage import StoredFile
from voice_provider.models import Capability, Cost
from voice_provider.services.base import present
from voice_provider.services.texts import SPOKEN_A_SECOND, spoken_characters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voice_provider.hooks.base import ServiceHook
    from voice_provider.services.base import Input
    from voice_provider.services.lip_sync import LipSyncOptions
    from voice_provider.services.options import Media

FPS = 30.0  # where a video does not tell; the estimate's own default
PATIENCE = 10.0  # seconds for an estimate that only has to be told


def transcription_cost(hook: ServiceHook, model: str | None, seconds: float | None) -> Cost:
    """Return what it costs to write down a recording.

    :param model: that listens; None: the service's
    :param seconds: length of the recording; None: not known
    """
    return hook.price("transcription", model or hook.service.transcription_model, present(seconds=seconds))


def lip_sync_costs(
    hook: ServiceHook, options: LipSyncOptions, sources: Sequence[Input | StoredFile], *, surely: bool = False
) -> tuple[Cost, ...]:
    """Return what a lip sync would cost: the video, and each text that is spoken for it.

    :param sources: of its media, in their order
    :param surely: a service that does not answer for a moment is an error, and no unknown price
    """
    seen = _seconds(hook, options.media[0], sources[0])
    heard = [_seconds(hook, media, source) for media, source in zip(options.media[1:], sources[1:], strict=True)]
    heard += [spoken_characters(item.text) / SPOKEN_A_SECOND for item in options.text]
    said = None if not heard or None in heard else math.fsum(filter(None, heard))
    seconds = hook.service.lip_sync_seconds(options, seen, said)
    fps = sources[0].info.fps if isinstance(sources[0], StoredFile) else None
    parts = [video_cost(hook, options.model, seconds, fps, reasoning=options.reasoning_enabled, surely=surely)]
    parts += [hook.text_cost(item.text) for item in options.text]
    if options.dub_language:
        parts.append(Cost(basis="unknown"))  # what a translation costs is not published
    return tuple(parts)


def video_cost(
    hook: ServiceHook,
    model: str,
    seconds: float | None,
    fps: float | None = None,
    *,
    reasoning: bool | None = None,
    surely: bool = False,
) -> Cost:
    """Return what a lip sync of a length would cost.

    :param model: that does it
    :param seconds: length of the result; None: not known
    :param fps: its frames a second; default: 30
    :param reasoning: as ``reasoning_enabled`` of ``LipSyncOperator``
    :param surely: a service that does not answer for a moment is an error, and no unknown price
    """
    fps = fps or FPS
    amounts = {} if seconds is None else {"seconds": seconds, "frames": float(round(seconds * fps))}
    own = hook.settings.prices.find("lip_sync", model) is not None
    if own or seconds is None or Capability.ESTIMATE not in hook.service.capabilities:
        return hook.price("lip_sync", model, amounts, "estimated")
    flow = hook.service.estimate(model, seconds, fps, reasoning_enabled=reasoning)
    try:
        told = hook.run(flow) if surely else hook.transport.run(flow, 1, time.monotonic() + PATIENCE)
    except VoiceError as error:
        if surely and not isinstance(error, InvalidInputError):
            raise
        hook.log.info("%s did not say what this would cost: %s", hook.service.label, error)
        return Cost(basis="unknown", units=amounts)
    if told.usd is None or not 0 <= told.usd < math.inf:
        return Cost(basis="unknown", units=amounts)
    units: Mapping[str, float] = {"frames": told.frames} if told.frames else {"seconds": seconds}
    return Cost(usd=told.usd, basis="estimated", units=dict(units))


def _seconds(hook: ServiceHook, media: Media, source: Input | StoredFile) -> float | None:
    """Return how long an input is, as far as it can be known without fetching it."""
    if isinstance(source, StoredFile):
        return source.seconds()
    told = media.get("seconds") if isinstance(media, dict) else None
    if isinstance(told, int | float):
        return float(told)
    if source.asset_id:
        with suppress(VoiceError):
            return hook.run(hook.service.get_asset(source.asset_id)).seconds
    return None
