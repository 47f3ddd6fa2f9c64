"""Decode speech in any format from its bytes; shares nothing with the engines."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

SPEECH_RATE = 24_000


@dataclass(frozen=True)
class Heard:
    codec: str
    rate: int
    channels: int
    seconds: float
    samples: Any  # mono, 24 kHz


def heard(audio: bytes, form: str, rate: int = 44_100) -> Heard:
    """Decode; `rate` is that of `pcm`, which does not say it."""
    options = {"sample_rate": str(rate), "ch_layout": "mono"} if form == "pcm" else {}
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE)
    with av.open(io.BytesIO(audio), format="s16le" if form == "pcm" else None, options=options) as container:
        stream = container.streams.audio[0]
        parts, count = [], 0
        for frame in container.decode(audio=0):
            count += frame.samples
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
        parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
        codec = stream.codec_context
        return Heard(codec.name, stream.rate, codec.channels, count / stream.rate, np.concatenate(parts))
