"""What sync. labs costs, as far as it is published; dated, because prices change.

A lip sync costs by the frame of its result, at a price that depends on the plan: the service is asked for it (the
estimate). No price of speech is published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.money.prices import Price, PriceList

if TYPE_CHECKING:
    from voice_provider.services.lip_sync import LipSyncOptions

PRICES = PriceList(
    {"transcription": Price(0.0, "seconds")},  # "not billed": documentation of POST /v2/transcriptions
    as_of="2026-11-27",
    source="https://sync.so/docs",
)


def result_seconds(options: LipSyncOptions, seen: float | None, said: float | None) -> float | None:
    """Return how long a lip sync will be (documentation of ``sync_mode``); None where it cannot be known.

    :param seen: seconds of the video; None: not known, or a picture
    :param said: seconds of what is said in it; None: not known
    """
    if options.segments or options.dub_language:
        return seen
    mode = options.sync_mode or "bounce"
    if options.image is not None or mode not in ("cut_off", "silence"):
        return said
    if seen is None or said is None:
        return None
    return min(seen, said) if mode == "cut_off" else max(seen, said)
