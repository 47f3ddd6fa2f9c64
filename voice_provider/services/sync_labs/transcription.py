"""Transcripts at sync. labs: a job about a hosted recording.

It is not billed, and the same recording is answered with the job that there is already (documentation of
``POST /v2/transcriptions``, November 2026), so an answer that was lost is asked for again.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import ServiceUnavailableError
from voice_provider.models import Segment, Transcript
from voice_provider.services.base import Flow, Request, Service, path_segment
from voice_provider.services.sync_labs.answers import NAME, is_job, noun, read_job
from voice_provider.services.sync_labs.requests import TRANSCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from voice_provider.models import Asset, Job


class Transcription(Service):
    """The flows that write down what is said."""

    def start_transcription(self, recording: Asset) -> Flow[Job]:
        """Order the transcript of a hosted recording, from its beginning to its end."""
        if not recording.url:
            raise ServiceUnavailableError(f"The service names no address of asset {recording.id}: nothing was ordered.")
        source = "sourceVideoUrl" if recording.type.upper() == "VIDEO" else "sourceAudioUrl"
        order = Request(
            method="POST", url=TRANSCRIPTIONS, json={source: recording.url}, repeatable=True, expects=is_job
        )
        return read_job("transcription", (yield order))

    def get_transcript(self, job_id: str) -> Flow[Transcript]:
        """Read what a job that has succeeded wrote down."""
        response = yield Request(
            method="GET", url=f"{TRANSCRIPTIONS}/{path_segment(job_id, self.label)}", expects=is_job
        )
        return read_transcript(response.object())


def read_transcript(body: Mapping[str, Any]) -> Transcript:
    """Return the transcript of a finished job; times are milliseconds of the whole recording.

    A word whose place cannot be read is heard all the same, and is missing from what has times only.
    """
    told = body.get("transcript")
    if not isinstance(told, dict) or not isinstance(told.get("segments"), list):
        raise ServiceUnavailableError(f"{TRANSCRIPTIONS}: the job has ended, and its answer holds no transcript.")
    cut = [list(_dicts(segment.get("words"))) for segment in _dicts(told["segments"])]
    timed = [[word for item in words if (word := _word(item))] for words in cut]
    words = [word for phrase in timed for word in phrase]
    spoken = [list(run) for speaker, run in groupby(words, lambda word: word.speaker) if speaker is not None]
    end = body.get("sourceEndMs")
    return noun(
        Transcript,
        service=NAME,
        text=" ".join(text for items in cut for item in items if (text := str(item.get("text") or "").strip())),
        seconds=(end - body.get("sourceStartMs", 0)) / 1000 if isinstance(end, int | float) else None,
        segments=tuple(_joined(phrase) for phrase in timed if phrase),
        words=tuple(words),
        turns=tuple(_joined(run) for run in spoken),
    )


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what of an answer is an object, also where something else stands in its place."""
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _word(item: Mapping[str, Any]) -> Segment | None:
    start, end, speaker = item.get("startMs"), item.get("endMs"), item.get("speakerId")
    text = str(item.get("text") or "").strip()
    if not text or not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    return Segment(text=text, start=start / 1000, end=end / 1000, speaker=None if speaker is None else str(speaker))


def _joined(words: Iterable[Segment]) -> Segment:
    """Return words that follow each other as one; it has a speaker where all are one's."""
    heard = list(words)
    speakers = {word.speaker for word in heard}
    return Segment(
        text=" ".join(word.text for word in heard),
        start=heard[0].start,
        end=heard[-1].end,
        speaker=speakers.pop() if len(speakers) == 1 else None,
    )
