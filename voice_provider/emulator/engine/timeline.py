"""How long a lip-synced video is, and which moments of the source it shows.

The meaning of each mode is the service's (contract, section 6.1, and the service's page on sync modes):

========== =============================== ============================== ===============
mode       audio longer than video         video longer than audio        result is as long as
========== =============================== ============================== ===============
bounce     plays forwards and backwards    video is trimmed               the audio
loop       starts again                    video is trimmed               the audio
cut_off    audio is cut                    video is trimmed               the shorter one
silence    last frame is held              audio is padded with silence   the longer one
remap      video is slowed down            video is sped up               the audio
========== =============================== ============================== ===============
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from voice_provider.emulator.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.emulator.engine import Segment

SYNC_MODES = ("bounce", "loop", "cut_off", "silence", "remap")
SLACK = 0.25  # seconds a segment may end after the video: containers round their lengths


def check_sync_mode(mode: str) -> None:
    """Refuse an unknown mode.

    :raises EngineError: ``bad_input``
    """
    if mode not in SYNC_MODES:
        raise EngineError("bad_input", f"Unknown sync_mode {mode!r}. Use one of {', '.join(SYNC_MODES)}.")


def output_seconds(video: float, audio: float, mode: str) -> float:
    """Return the length of the result.

    :param video: seconds of video
    :param audio: seconds of audio
    :param mode: one of ``SYNC_MODES``
    :raises EngineError: ``bad_input``, for an unknown mode
    """
    check_sync_mode(mode)
    if mode == "cut_off":
        return min(video, audio)
    return max(video, audio) if mode == "silence" else audio


def source_time(time: float, video: float, output: float, mode: str) -> float:
    """Return the moment of the source, in seconds, that the result shows at ``time``."""
    if mode == "remap":
        return time * video / output
    if mode == "loop":
        return time % video
    if mode == "bounce":
        turn, position = divmod(time, video)
        return position if turn % 2 == 0 else video - position
    return min(time, video)


def check_segments(segments: Sequence[Segment], video: float) -> list[Segment]:
    """Return the segments in their order in time.

    :param segments: as they were asked for
    :param video: seconds of video
    :raises EngineError: ``bad_segments``, with the segment and what is wrong with it
    """
    ordered = sorted(segments, key=lambda segment: segment.start)
    for segment in ordered:
        where = f"Segment {segment.start:g}-{segment.end:g} s"
        if not 0 <= segment.start < segment.end:
            raise EngineError("bad_segments", f"{where} has no length. Let it start at 0 or later and end after that.")
        if segment.end > video + SLACK:
            raise EngineError("bad_segments", f"{where} ends after the video ({video:.2f} s). Let it end before.")
        start, end = segment.audio_start or 0.0, segment.audio_end
        if start < 0 or (end is not None and end <= start):
            raise EngineError("bad_segments", f"{where} takes no part of its audio. Let the part end after its start.")
    for first, second in pairwise(ordered):
        if second.start < first.end:
            raise EngineError(
                "bad_segments",
                f"Segments {first.start:g}-{first.end:g} s and {second.start:g}-{second.end:g} s overlap. "
                "Only one voice can drive the mouth at a time.",
            )
    return ordered
