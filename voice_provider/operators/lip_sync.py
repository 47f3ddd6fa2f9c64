"""Lip sync: a video re-voiced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.jobs.orders import LipSyncOrder
from voice_provider.models import Capability
from voice_provider.operators.arguments import as_text
from voice_provider.operators.result import ResultOperator
from voice_provider.operators.speech import made_from, speakers_of
from voice_provider.services.options import parse
from voice_provider.trust.origin import consents_in, lip_sync_origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.services.lip_sync import LipSyncOptions
    from voice_provider.services.options import Media, PathObject

# Those of ``LipSyncOptions``, which is read only when the task runs.
_OPTIONS = (
    "model",
    "video",
    "image",
    "audio",
    "text",
    "segments",
    "dub_language",
    "dub_source_language",
    "sync_mode",
    "temperature",
    "model_mode",
    "prompt",
    "active_speaker",
    "occlusion_detection",
    "reasoning_enabled",
    "output_file_name",
    "project_id",
)
_OF_TEXT = ("voice_id", "stability", "similarity_boost")


class LipSyncOperator(ResultOperator):
    """Make the lips of a video (or a picture) follow speech, and keep the new video.

    Exactly one of ``video`` and ``image``, and something to say: ``audio``, or ``text`` with ``voice_id``, or
    ``dub_language``; several inputs only with ``segments`` that say when each speaks. All of it is checked before
    anything is uploaded or paid. Files from storage are uploaded on the way and deleted from the service when the
    result is kept.

    Returns the manifest of the kept file (see ``TTSOperator``), with ``model``.

    :param video: the video: storage location, asset id, URL, or a manifest (templated, like all media and texts here)
    :param image: a picture instead of a video; ``sync-3`` only
    :param audio: the recording, in the same forms; or several, as ``[{"ref_id": "a", "media": ...}, ...]``
    :param text: a script that the service speaks itself in ``voice_id``; or several, as
        ``[{"ref_id": "a", "text": ..., "voice_id": ...}, ...]`` (or ``text_uri`` in place of ``text``)
    :param text_uri: storage location of a UTF-8 file with the script, instead of ``text``
    :param voice_id: id of the voice for ``text``, or what ``CloneVoiceOperator`` returned
    :param stability: 0 to 1, for ``text``; default: the service's (0.5)
    :param similarity_boost: 0 to 1, for ``text``; default: the service's (0.75)
    :param segments: ``[{"start_time": s, "end_time": s, "audio_input": {"ref_id": ..., "start_time": s, "end_time":
        s}}]`` (seconds)
    :param dub_language: translate the video's own speech into this language
    :param dub_source_language: language of the video's own speech; default: ``auto``
    :param model: default: ``lipsync-2``
    :param sync_mode: when audio and video differ in length: ``bounce``, ``loop``, ``cut_off``, ``silence`` or
        ``remap``; default: the service's (``bounce``)
    :param temperature: 0 to 1, how expressive; ``lipsync-2`` models; default: the service's (0.5)
    :param model_mode: ``lips``, ``face`` or ``head``; ``react-1``
    :param prompt: emotion; ``react-1``
    :param active_speaker: who speaks, as the service's ``active_speaker_detection``: True to let it find out, or a dict
        with ``auto_detect`` (and ``use_v2``, ``v3``), ``face_image``, ``frame_number`` with ``coordinates`` [x, y] in
        pixels, or ``bounding_boxes``
    :param occlusion_detection: handle things in front of the face; default: the service's
    :param reasoning_enabled: the service's option of that name, which has a price of its own (``VoiceHook.estimate``);
        default: the service's
    :param output_file_name: the service's own name of the result
    :param project_id: project at the service
    :param output: where the video is kept; see ``ResultOperator``
    :raises InvalidInputError: the request is not whole, or an input cannot be read or is of another kind than its
        argument; nothing was uploaded or paid
    :raises CapabilityError: the service has no lip sync
    """

    template_fields: Sequence[str] = (
        *ResultOperator.template_fields,
        *_OPTIONS,
        "text_uri",
        "voice_id",
        "stability",
        "similarity_boost",
    )
    reads = ("video", "image", "audio", "text_uri")

    def __init__(
        self,
        *,
        video: Media | PathObject | XComArg | None = None,
        image: Media | PathObject | XComArg | None = None,
        audio: Media | list[dict[str, Any]] | XComArg | None = None,
        text: str | list[dict[str, Any]] | XComArg | None = None,
        text_uri: str | PathObject | None = None,
        voice_id: str | dict[str, Any] | XComArg | None = None,
        stability: float | str | None = None,
        similarity_boost: float | str | None = None,
        segments: list[dict[str, Any]] | None = None,
        dub_language: str | None = None,
        dub_source_language: str | None = None,
        model: str | None = None,
        sync_mode: str | None = None,
        temperature: float | str | None = None,
        model_mode: str | None = None,
        prompt: str | None = None,
        active_speaker: dict[str, Any] | bool | str | None = None,
        occlusion_detection: bool | str | None = None,
        reasoning_enabled: bool | str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video = video
        self.image = image
        self.audio = audio
        self.text = text
        self.text_uri = text_uri
        self.voice_id = voice_id
        self.stability = stability
        self.similarity_boost = similarity_boost
        self.segments = segments
        self.dub_language = dub_language
        self.dub_source_language = dub_source_language
        self.model = model
        self.sync_mode = sync_mode
        self.temperature = temperature
        self.model_mode = model_mode
        self.prompt = prompt
        self.active_speaker = active_speaker
        self.occlusion_detection = occlusion_detection
        self.reasoning_enabled = reasoning_enabled
        self.output_file_name = output_file_name
        self.project_id = project_id

    def read_from(self) -> Iterable[Any]:
        """Add the scripts of several texts; one alone is no location, whatever it looks like."""
        return (*super().read_from(), self.text if isinstance(self.text, list) else None)

    def order(self, context: Context) -> LipSyncOrder:
        """Check the whole request, then its files."""
        service = self.hook.service
        service.require(Capability.LIP_SYNC)
        options = self._options()
        for warning in service.check_lip_sync(options):
            self.log.warning("%s", warning)
        self.check_place(context, service.makes["lip_sync"])
        sources = tuple(self.hook.resolve(media, argument) for argument, media in options.named_media)
        origin = lip_sync_origin(options, sources, speakers_of(self.voice_id), consents_in(self.voice_id))
        return LipSyncOrder(options, sources, made_from(self.voice_id), origin=origin.dump())

    def _options(self) -> LipSyncOptions:
        from voice_provider.services.lip_sync import LipSyncOptions  # noqa: PLC0415  # not when a DAG is parsed

        values = {name: getattr(self, name) for name in _OPTIONS}
        values = {name: value for name, value in values.items() if value not in (None, "", "None", [], ())}
        audio, text = values.get("audio"), values.get("text")
        if isinstance(audio, list):
            values["audio"] = [item if isinstance(item, dict) else {"media": item} for item in audio]
        elif audio is not None:
            values["audio"] = [{"media": audio}]
        if (text is not None and not isinstance(text, list)) or self.text_uri:
            voice = self.voice_id.get("voice_id") if isinstance(self.voice_id, dict) else self.voice_id
            said = {
                "text": text,
                "text_uri": self.text_uri,
                "voice_id": voice,
                "stability": self.stability,
                "similarity_boost": self.similarity_boost,
            }
            values["text"] = [{name: value for name, value in said.items() if value is not None}]
        if "text" in values:
            values["text"] = [self._with_script(item) for item in values["text"]]
        elif given := [name for name in _OF_TEXT if as_text(getattr(self, name)) is not None]:
            self.log.warning("%s: for text, and there is none: ignored.", ", ".join(given))
        return parse(LipSyncOptions, values)

    def _with_script(self, item: Any) -> Any:
        """Replace ``text_uri`` of a text input by the script that is there."""
        if not isinstance(item, dict):
            raise InvalidInputError(
                f"text holds a {type(item).__name__}; of several, each is a dict with text (or text_uri), voice_id and "
                "ref_id. Nothing was uploaded or paid."
            )
        text = item.get("text", item.get("script"))
        rest = {name: value for name, value in item.items() if name not in ("text", "script", "text_uri")}
        return {**rest, "text": self.read_script(text, item.get("text_uri"))}
