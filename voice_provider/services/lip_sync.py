"""What can be asked of a lip sync, read only where one is: parsing a DAG needs none of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.options import Media, Options, Unit
from voice_provider.services.texts import Script, Text


class TextInput(Options):
    """A script that the service speaks itself before it moves the lips."""

    text: Script = Field(validation_alias=AliasChoices("text", "script"))
    voice_id: Text = Field(min_length=1)
    stability: Unit | None = None
    similarity_boost: Unit | None = None
    ref_id: Text | None = None


class AudioInput(Options):
    """A recording that the lips follow."""

    media: Media = Field(validation_alias=AliasChoices("media", "audio"))
    ref_id: Text | None = None


class SegmentAudio(Options):
    """Which input speaks in a segment, and which part of it (seconds)."""

    ref_id: Text
    start_time: float | None = Field(default=None, ge=0)
    end_time: float | None = Field(default=None, gt=0)


class Segment(Options):
    """A part of the video (seconds) with the input that speaks in it."""

    start_time: float = Field(ge=0)
    end_time: float = Field(gt=0)
    audio_input: SegmentAudio
    options_override: dict[str, Any] | None = None


class ActiveSpeaker(BaseModel):
    """Who speaks, when several faces are in the picture (the wire's ``active_speaker_detection``).

    Its fields are those of the service's own client of November 2026; others are passed on as they are.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    auto_detect: bool | None = None
    use_v2: bool | None = None
    v3: bool | None = None
    face_image: str | None = Field(default=None, description="the face that speaks, as the service takes it")
    frame_number: int | None = Field(default=None, ge=0)
    coordinates: tuple[float, float] | None = Field(default=None, description="x and y in pixels")
    bounding_boxes: list[Any] | None = None
    bounding_boxes_url: str | None = None


class LipSyncOptions(Options):
    """One video (or picture) and what it is to say."""

    model: Text = Field(default="lipsync-2", min_length=1)
    video: Media | None = None
    image: Media | None = None
    audio: tuple[AudioInput, ...] = ()
    text: tuple[TextInput, ...] = ()
    segments: tuple[Segment, ...] = ()
    dub_language: Text | None = None
    dub_source_language: Text = "auto"
    sync_mode: Literal["bounce", "loop", "cut_off", "silence", "remap"] | None = None
    temperature: Unit | None = None
    model_mode: Literal["lips", "face", "head"] | None = None
    prompt: Text | None = None
    active_speaker: ActiveSpeaker | bool | None = None
    occlusion_detection: bool | None = None
    reasoning_enabled: bool | None = None
    output_file_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,255}$")
    project_id: Text | None = None

    @property
    def media(self) -> list[Media]:
        """Every file of the request: the visual first, then the recordings."""
        return [media for _, media in self.named_media]

    @property
    def named_media(self) -> list[tuple[str, Media]]:
        """The same, each with the name of its argument."""
        visual = ("video", self.video) if self.video is not None else ("image", self.image or "")
        return [visual, *(("audio", item.media) for item in self.audio)]


def check_lip_sync_shape(options: LipSyncOptions) -> None:
    """Check what holds at every service: one visual, one driver, segments that name existing inputs in order.

    :raises InvalidInputError: naming the rule that is broken
    """
    refuse = InvalidInputError
    if (options.video is None) == (options.image is None):
        raise refuse("Give exactly one of video and image.")
    drivers = len(options.audio) + len(options.text)
    if options.dub_language:
        if options.image is not None:
            raise refuse("dub_language translates what is said in a video, and image says nothing: give video.")
        if drivers:
            raise refuse("dub_language translates the video's own speech: leave audio and text out, or leave it out.")
        return
    if not drivers:
        raise refuse("Nothing to say: give audio, text with voice_id, or dub_language.")
    if not options.segments:
        if drivers > 1:
            raise refuse(f"{drivers} audio and text inputs, but no segments that say when each speaks.")
        return
    names = [*(item.ref_id for item in options.audio), *(item.ref_id for item in options.text)]
    if None in names or len(set(names)) != len(names):
        raise refuse("With segments every audio and text input needs a ref_id of its own.")
    end = 0.0
    for number, segment in enumerate(options.segments, 1):
        if segment.audio_input.ref_id not in names:
            raise refuse(
                f"Segment {number} uses ref_id '{segment.audio_input.ref_id}', which no input has. "
                f"Inputs: {', '.join(str(name) for name in names)}."
            )
        if segment.end_time <= segment.start_time:
            raise refuse(f"Segment {number} ends ({segment.end_time} s) before it starts ({segment.start_time} s).")
        if segment.start_time < end:
            raise refuse(f"Segment {number} starts at {segment.start_time} s, inside the one before it (to {end} s).")
        end = segment.end_time
