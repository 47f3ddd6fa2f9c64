"""Speech: a script spoken in a voice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.jobs.names import ManagedName
from voice_provider.jobs.orders import SpeechOrder
from voice_provider.models import Capability
from voice_provider.operators.arguments import as_text
from voice_provider.operators.asset import ids_of
from voice_provider.operators.result import ResultOperator
from voice_provider.trust.origin import Speaker, consents_in, recordings, speech_origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.files.captions import CaptionFormat
    from voice_provider.jobs.record import Record
    from voice_provider.models import Job, Manifest
    from voice_provider.services.options import PathObject

_OPTIONS = ("model", "format", "sample_rate", "speed", "volume", "stability", "similarity_boost")


class TTSOperator(ResultOperator):
    """Speak a script in a voice and keep the audio.

    With ``wait_for_completion=False`` it returns a ticket for ``TTSCompleteSensor``; where the service answers at
    once, it keeps the audio itself, returns the manifest, and the sensor passes it through.

    Returns the manifest of the kept file: ``uri``, ``sha256``, ``bytes``, ``seconds``, ``format``, ``media_type``,
    ``voice_id``, ``job_id``, ``service``, ``cost`` of one order (``usd``, ``basis``, ``units``) and, where the service
    says so, ``engine``; ``outcome`` where it was not simply ordered once: ``found`` after a lost answer, ``recovered``
    after a kill, or ``ordered_again`` (and perhaps paid twice); ``consent`` and ``samples`` (sha256), where they are
    known of the voice. Beside the file stands its record, ``<file>.provenance.json``.

    :param text: the script, plain text (templated); Airflow shows arguments in its UI
    :param text_uri: storage location of a UTF-8 file with the script, instead of ``text``: read when the task runs,
        and not shown (templated)
    :param voice_id: id of the voice, or what ``CloneVoiceOperator`` or ``VoiceTrainedSensor`` returned; at Fish Audio
        also a list of voices, for a script with ``<|speaker:0|>`` marks (templated)
    :param references: instant clone, Fish Audio: recordings whose voice is imitated in this call, instead of
        ``voice_id``: ``[{"audio": location, "text": transcript}, ...]`` (or ``text_uri``), at most 270 s together; a
        list of such lists for several speakers (templated)
    :param consent: of the person who is heard in ``references``; see ``UploadAssetOperator`` (templated)
    :param output: where the audio is kept; see ``ResultOperator``
    :param captions: ``srt`` or ``vtt``: captions are kept beside the audio, under its name (``talk.srt``), and the
        manifest says where (``captions``: ``uri``, ``sha256``, ``bytes``). At Fish Audio the times of the words
        come with the speech, at no price. A service that does not tell them, and captions that are first asked for or
        are lost when the speech is kept already, cost a transcription of the result, billed by the second; a kill just
        then may cost it once more. Default: none (templated)
    :param model: what speaks; default: the connection's ``speech_model``; Fish Audio (templated)
    :param format: ``mp3``, ``wav``, ``pcm`` or ``opus``; default: by the ending of ``output``, else mp3; Fish Audio
        (templated)
    :param sample_rate: Hz; default: the service's (44100, opus 48000); Fish Audio (templated)
    :param speed: 0.5 to 2; default: 1; Fish Audio (templated)
    :param volume: dB, -20 to 20; default: 0; Fish Audio (templated)
    :param stability: 0 to 1; default: the service's (0.5); sync. labs (templated)
    :param similarity_boost: 0 to 1; default: the service's (0.75); sync. labs (templated)
    :param options: the service's other options, under their own names: at Fish Audio ``mp3_bitrate`` (kbps),
        ``opus_bitrate`` (bps), ``latency``, ``temperature``, ``top_p``, ``chunk_length``, ``min_chunk_length``,
        ``normalize``, ``normalize_loudness``, ``repetition_penalty``, ``max_new_tokens``,
        ``condition_on_previous_chunks``, ``early_stop_threshold``, ``features``, ``pronunciation_dictionary``
        (templated)
    :raises InvalidInputError: empty or too long script (``SpeakLinesOperator`` cuts a long text into lines), an option
        outside its range or that the service does not have; nothing was paid
    :raises ConsentError: no consent where the connection requires one for ``references``, or it does not hold for them
    :raises NotFoundError: no such voice
    :raises VoiceNotReadyError: the voice is still in training
    :raises UnusableSpeechError: speech that was answered, and may be billed, but is cut short or no audio
    """

    template_fields: Sequence[str] = (
        *ResultOperator.template_fields,
        "text",
        "text_uri",
        "voice_id",
        "references",
        "consent",
        "captions",
        *_OPTIONS,
        "options",
    )
    reads = ("text_uri", "references")

    def __init__(
        self,
        *,
        text: str | XComArg | None = None,
        text_uri: str | PathObject | None = None,
        voice_id: str | dict[str, Any] | list[Any] | XComArg | None = None,
        references: list[Any] | XComArg | None = None,
        consent: dict[str, Any] | str | PathObject | XComArg | None = None,
        captions: CaptionFormat | str | None = None,
        model: str | None = None,
        format: str | None = None,  # noqa: A002  # the field's word for it
        sample_rate: int | str | None = None,
        speed: float | str | None = None,
        volume: float | str | None = None,
        stability: float | str | None = None,
        similarity_boost: float | str | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.text: Any = text  # what a template or another task gives is there when the task runs
        self.text_uri = text_uri
        self.voice_id = voice_id
        self.references: Any = references
        self.consent = consent
        self.captions = captions
        self.model = model
        self.format = format
        self.sample_rate = sample_rate
        self.speed = speed
        self.volume = volume
        self.stability = stability
        self.similarity_boost = similarity_boost
        self.options = options

    def order(self, context: Context) -> SpeechOrder:
        """Check script, voice, options and output."""
        captions = self.hook.check_captions(as_text(self.captions))
        values: dict[str, Any] = {
            name: value for name in _OPTIONS if (value := as_text(getattr(self, name))) is not None
        }
        values |= self.options or {}
        values |= {"text": self.read_script(self.text, self.text_uri)}
        if self.references:
            self.hook.service.require(Capability.INSTANT_CLONE)
            values |= {"references": [self._with_transcript(item) for item in self.references]}
        voices = self._voices()
        if voices or not self.references:
            values |= {"voice_id": voices[0] if len(voices) == 1 else voices}
        options = self.hook.speech_order(values, self._location)
        references = self.hook.references(options)
        self.hook.check_speech(options, references)
        agreed = self.hook.check_consent(self.consent, recordings(options), references)
        self.check_place(context, self.hook.speech_formats(options))
        consents = (*consents_in(self.voice_id), agreed)
        origin = speech_origin(options, references, speakers_of(self.voice_id), consents)
        made = made_from(self.voice_id)
        return SpeechOrder(options, tuple(references), made, self.place, captions, origin=origin.dump())

    def _with_transcript(self, item: Any) -> Any:
        """Replace ``text_uri`` of a reference by the transcript that is there."""
        if isinstance(item, list | tuple):
            return [self._with_transcript(inner) for inner in item]
        if not isinstance(item, dict) or item.get("text_uri") is None:
            return item
        rest = {name: value for name, value in item.items() if name not in ("text", "text_uri")}
        return {**rest, "text": self.read_script(item.get("text"), item["text_uri"])}

    def _voices(self) -> list[str]:
        found = ids_of(self.voice_id, "voice_id")
        if not found and not self.references:
            raise InvalidInputError("voice_id names no voices. Did the task that makes the voice succeed?")
        if len(found) > 1 and Capability.INSTANT_CLONE not in self.hook.service.capabilities:
            raise InvalidInputError(f"voice_id names {len(found)} voices; {self.hook.service.label} speaks with one.")
        return found

    def ticket(self, record: Record, job: Job) -> dict[str, Any]:
        """Add which captions are wanted."""
        return {**super().ticket(record, job), "captions": as_text(self.captions)}

    def complete(self, manifest: Manifest) -> Manifest:
        """See to the captions."""
        form = self.hook.check_captions(as_text(self.captions))
        return self.hook.caption(manifest, form) if form else manifest.model_copy(update={"captions": None})

    def details(self) -> dict[str, Any]:
        """Name the voice in the manifest."""
        return {"voice_id": ", ".join(self._voices()) or None}


def speakers_of(value: Any) -> list[Speaker]:
    """Read what another task has told of the voices besides their ids, for the record of the result."""
    if isinstance(value, list | tuple):
        return [found for item in value for found in speakers_of(item)]
    if not isinstance(value, dict):
        return []
    managed = ManagedName.parse(str(value.get("name") or ""))
    return [Speaker.of(value, managed.fingerprint if managed is not None else None)]


def made_from(value: Any) -> dict[str, str]:
    """Read what cloned voices were made from out of what another task has told, by their ids."""
    if isinstance(value, list | tuple):
        return {voice: made for item in value for voice, made in made_from(item).items()}
    if not isinstance(value, dict) or not value.get("voice_id"):
        return {}
    managed = ManagedName.parse(str(value.get("name") or ""))
    return {} if managed is None else {str(value["voice_id"]): f"clone {managed.label} {managed.fingerprint}"}
