"""What Fish Audio costs, as it was published; dated, because prices change."""

from __future__ import annotations

from voice_provider.money.prices import Price, PriceList

_MODEL = Price(15 / 1_000_000, "bytes")
_DRAMA = Price(10 / 1_000_000, "bytes")  # what two resellers say; the service's own page was not read
_HEARD = Price(0.36 / 3600, "seconds", whole=True)  # "per second rounded up"

PRICES = PriceList(
    {
        "speech/s2.1-pro": _MODEL,
        "speech/s2.1-pro-free": Price(0.0, "bytes"),
        "speech/s2-pro": _MODEL,
        "speech/s1": _MODEL,
        "speech/drama-3": _DRAMA,
        "speech/drama-3-preview": _DRAMA,
        "transcription/transcribe-1": _HEARD,
        "transcription/transcribe-1-pro": _HEARD,
    },
    as_of="2026-11-27",
    source="https://docs.fish.audio, models and pricing",
)
