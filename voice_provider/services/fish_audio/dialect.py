"""The dialect of Fish Audio: https://api.fish.audio, voices under ``/model``, inference under ``/v1``.

Speech is the answer itself: there is no job to ask after, no key that would make a second request free, and no way to
fetch it again. A voice's id is what the service calls ``reference_id``.
"""

from __future__ import annotations

import math
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from voice_provider.exceptions import (
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    ServiceUnavailableError,
    VoiceNotReadyError,
)
from voice_provider.models import Capability, Job, JobState, Room, Transcript, Voice, Wallet
from voice_provider.services.base import Body, Flow, Input, Request, Response, Service, Sink, path_segment, present
from voice_provider.services.fish_audio import options as of_fish_audio
from voice_provider.services.fish_audio.errors import read_error, speaks
from voice_provider.services.fish_audio.events import Events
from voice_provider.services.fish_audio.form import FORM
from voice_provider.services.fish_audio.options import (
    DEFAULT_MODEL,
    FREE_MODELS,
    HEARS,
    FishClone,
    FishSpeech,
    FishTranscription,
)
from voice_provider.services.fish_audio.packed import PackedBody
from voice_provider.services.fish_audio.prices import PRICES
from voice_provider.services.fish_audio.transcripts import read_transcript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voice_provider.exceptions import VoiceError
    from voice_provider.models import JobKind
    from voice_provider.money.prices import PriceList
    from voice_provider.services.options import (
        CloneOptions,
        SampleFacts,
        SpeechOptions,
        TranscriptionOptions,
        VoiceFilters,
    )
    from voice_provider.services.texts import Markup

PAGE = 100  # voices; the largest page that is answered
CLOCKS = 300.0  # seconds by which what the service dates may be older than it was
MAX_TITLE = 100  # characters; the service names no limit, this is what the managed name fits into
SPEECH_TIMEOUT = 240.0  # seconds of silence; what the service's own clients use
CLONE_TIMEOUT = 240.0
TRANSCRIPTION_TIMEOUT = 900.0

_SOUND_TOO = ("application/octet-stream", "application/ogg")  # besides audio/*
_PROSODY = {"speed", "volume", "normalize_loudness"}
_ELSEWHERE = {"voice_id", "references", "model", *_PROSODY}  # not fields of the body under these names
_STATES = {"trained": "trained", "failed": "failed"}  # every other word, also an unknown one, is "not yet"


class FishAudio(Service):
    """Fish Audio.

    :param extra: connection extras; ``speech_model`` speaks where a task names no model (default ``s2.1-pro``)
    """

    form = FORM
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.UPDATE_VOICE,
            Capability.VOICE_LIBRARY,
            Capability.SEVERAL_SAMPLES,
            Capability.INSTANT_CLONE,
            Capability.TRANSCRIPTION,
            Capability.WALLET,
        }
    )
    instead: ClassVar[Mapping[Capability, str]] = {
        Capability.HOSTS_ASSETS: "It hosts no files: pass storage locations, which are streamed from where they are.",
        Capability.LIP_SYNC: "Use a sync_labs connection for the lip sync; speech made at Fish Audio can drive it "
        "(LipSyncOperator(audio=speak.output, voice_conn_id=...)).",
        Capability.ASYNC_SPEECH: "Its speech is the answer itself and is kept by TTSOperator: nothing is asked after.",
        Capability.ESTIMATE: f"Speech costs ${1e6 * PRICES.prices[f'speech/{DEFAULT_MODEL}'].usd:g} for a million "
        f"UTF-8 bytes of text; with drama-3, as far as is known, ${1e6 * PRICES.prices['speech/drama-3'].usd:g}.",
        Capability.ASKS_FOR_MANY: "Each voice in training is asked after on its own.",
        Capability.CANCEL: "Speech that was begun is billed.",
    }
    makes: ClassVar[Mapping[JobKind, tuple[str, ...]]] = {"speech": tuple(of_fish_audio.RATES)}
    speech_options: ClassVar[type[SpeechOptions]] = FishSpeech
    clone_options: ClassVar[type[CloneOptions]] = FishClone
    transcription_options: ClassVar[type[TranscriptionOptions]] = FishTranscription
    free_clones: ClassVar[bool] = True
    transcription_model: ClassVar[str | None] = HEARS
    price_list: ClassVar[PriceList] = PRICES
    takes_sound_only: ClassVar[bool] = True
    times_speech: ClassVar[bool] = True

    def __init__(self, extra: Mapping[str, Any]) -> None:
        super().__init__(extra)
        self.speech_model: str = str(extra.get("speech_model") or DEFAULT_MODEL)

    def key_headers(self, key: str) -> dict[str, str]:
        """Return the header that carries the key."""
        return {"authorization": f"Bearer {key}"}

    def speaks(self, request: Request, response: Response) -> bool:
        """Whether an answer that is no success is in this service's own shape."""
        return speaks(request, response)

    def error(self, request: Request, response: Response) -> VoiceError:
        """Map an answer that is no success to the one tree of errors."""
        return read_error(request, response)

    def check_account(self) -> Flow[str]:
        """Read the wallet: it tells a bad key (refused) from an empty wallet."""
        wallet = yield from self._credit()
        if wallet.usd > 0:
            return f"Connected to {self.label}: ${wallet.usd:,.2f} of API credit, model '{self.speech_model}'."
        free = self.speech_model in FREE_MODELS
        rest = "its speech is free." if free else "its speech will be refused until credit is added."
        return (
            f"Connected to {self.label}, but the API credit is ${wallet.usd:,.2f}: model '{self.speech_model}', {rest}"
        )

    def wallet(self) -> Flow[Wallet]:
        """Read the API credit and the plan; an account without a plan has none."""
        wallet = yield from self._credit()
        try:
            package = (yield Request(method="GET", url="/wallet/self/package")).object()
        except (NotFoundError, InvalidInputError):
            return wallet
        return wallet.model_copy(
            update={"plan": _text(package.get("type")), "plan_credits": _whole_number(package.get("balance"))}
        )

    def _credit(self) -> Flow[Wallet]:
        body = (yield Request(method="GET", url="/wallet/self/api-credit", expects=_is_wallet)).object()
        try:
            return Wallet(service=self.name, usd=body.get("credit"), topped_up_usd=body.get("cumulative_top_up"))
        except ValidationError:
            raise ServiceUnavailableError(
                f"{self.label} answered with something else than a wallet. Check the base URL of the connection."
            ) from None

    def is_keyed(self, kind: JobKind) -> bool:  # noqa: ARG002
        """Never: the service knows no idempotency keys."""
        return False

    # voices

    def list_voices(self, filters: VoiceFilters) -> Flow[list[Voice]]:
        """List voices page by page: those of the account, or with ``own=False`` the library."""
        params: dict[str, str | list[str]] = {"self": "true" if filters.own else "false", "page_size": str(PAGE)}
        params |= present(
            title=filters.title,
            tag=list(filters.tags) or None,
            language=list(filters.languages) or None,
            title_language=list(filters.title_languages) or None,
            author_id=filters.author,
            licensed=None if filters.licensed is None else str(filters.licensed).lower(),
            sort_by=filters.sort_by or ("created_at" if filters.own else None),
        )
        found: dict[str, Voice] = {}  # by id: a voice that is made meanwhile moves others to the next page
        for number in range(1, 1_000):
            asked = {**params, "page_number": str(number)}
            answer = yield Request(method="GET", url="/model", params=asked, expects=_has_items)
            page = answer.object()
            if not isinstance(items := page.get("items"), list):
                raise ServiceUnavailableError(
                    f"{self.label} answered with something else than a list of voices. Check the connection's base URL."
                )
            voices = [self._voice(item) for item in items]
            found |= {voice.id: voice for voice in voices}
            seen_all = number * PAGE >= (_whole_number(page.get("total")) or 0)
            if not items or page.get("has_more") is False or (page.get("has_more") is None and seen_all):
                break
            if filters.limit and len(found) >= filters.limit:
                break
            if filters.since is not None and _ends_before(filters.since, voices, answer):
                break
        return list(found.values())[: filters.limit]

    def get_voice(self, voice_id: str) -> Flow[Voice]:
        """Read one voice."""
        url = f"/model/{path_segment(voice_id, self.label)}"
        return self._voice((yield Request(method="GET", url=url, expects=_is_voice)).object())

    def check_voice_name(self, name: str) -> None:
        """Titles are not empty."""
        if not 1 <= len(name.strip()) <= MAX_TITLE:
            raise InvalidInputError(f"A voice's name has 1 to {MAX_TITLE} characters, not {len(name.strip())}.")

    def check_clone(self, options: CloneOptions, samples: Sequence[SampleFacts | None]) -> list[str]:
        """Number, kind and length of the samples, and their transcripts."""
        return of_fish_audio.check_clone(_clone(options), list(samples))

    def clone_voice(
        self, name: str, samples: Sequence[Input | Body], options: CloneOptions, cover: Body | None = None
    ) -> Flow[Voice]:
        """Create a voice from samples that are streamed along; it may still be in training when the answer is here."""
        chosen = _clone(options)
        form = [("type", "tts"), ("title", name), ("train_mode", "fast"), ("visibility", chosen.visibility)]
        form += [("enhance_audio_quality", str(chosen.enhance_audio_quality).lower())]
        form += [("texts", text) for text in chosen.texts]
        form += [("tags", tag) for tag in chosen.tags]
        form += [("description", chosen.description)] if chosen.description is not None else []
        form += [("generate_sample", str(chosen.generate_sample).lower())] if chosen.generate_sample is not None else []
        files = [("voices", _file(sample)) for sample in samples]
        files += [("cover_image", cover)] if cover is not None else []
        response = yield Request(
            method="POST", url="/model", form=form, files=files, expects=_is_voice, timeout=CLONE_TIMEOUT
        )
        return self._voice(response.object())

    def update_voice(self, voice_id: str, changes: Mapping[str, Any], cover: Body | None = None) -> Flow[None]:
        """Change only what is given; the answer has no documented body."""
        url = f"/model/{path_segment(voice_id, self.label)}"
        # A form cannot say "nothing" or "no tags", and JSON cannot hold a picture.
        plain = {name: value for name, value in changes.items() if cover is None or value in (None, [], ())}
        if plain:
            yield Request(method="PATCH", url=url, json=plain)
        if cover is None:
            return
        form = [
            (name, str(item))
            for name, value in changes.items()
            if name not in plain
            for item in (value if isinstance(value, list | tuple) else [value])
        ]
        yield Request(method="PATCH", url=url, form=form, files=[("cover_image", cover)])

    def delete_voice(self, voice_id: str) -> Flow[None]:
        """Delete a voice."""
        yield Request(method="DELETE", url=f"/model/{path_segment(voice_id, self.label)}")

    def slots(self) -> Flow[Room]:
        """Count the account's voices, without listing them."""
        params: dict[str, str | list[str]] = {"self": "true", "page_size": "1"}
        page = (yield Request(method="GET", url="/model", params=params, expects=_has_items)).object()
        return Room(active=_whole_number(page.get("total")))

    # speech

    def check_speech(self, options: SpeechOptions, references: Sequence[SampleFacts] = ()) -> list[str]:
        """Voices, references, format and rate against each other."""
        chosen = _speech(options)
        return of_fish_audio.check_speech(chosen, list(references), self._engine(chosen))

    def markup(self, options: SpeechOptions) -> Markup:
        """Return what the model makes of marks."""
        return of_fish_audio.markup_of(self._engine(_speech(options)))

    def is_free(self, options: SpeechOptions) -> bool:
        """Whether the model costs nothing."""
        return self._engine(_speech(options)) in FREE_MODELS

    def speak(
        self, options: SpeechOptions, references: Sequence[Body], sink: Sink, *, timed: bool = False
    ) -> Flow[Job]:
        """Speak into a sink; MessagePack where recordings go along, because JSON cannot hold them.

        :param timed: as events that also say where the words are; it costs the same
        """
        chosen = _speech(options)
        engine = self._engine(chosen)
        body = self._speech_body(chosen, references)
        events = Events(sink) if timed else None
        request = Request(
            method="POST",
            url="/v1/tts/stream/with-timestamp" if events else "/v1/tts",
            json=None if references else body,
            body=PackedBody(body) if references else None,
            headers={"model": engine, **({"content-type": PackedBody.media_type} if references else {})},
            sink=events or sink,
            repeatable=engine in FREE_MODELS,
            expects=_is_events if events else _is_sound,
            timeout=SPEECH_TIMEOUT,
        )
        try:
            response = yield request
        except NotFoundError as refusal:
            for voice_id in chosen.voice_ids:
                try:
                    yield from self._check_ready(voice_id)
                except (RateLimitedError, ServiceUnavailableError):
                    raise refusal from None  # speech was refused, whatever became of the question why
            raise
        return Job(
            service=self.name,
            kind="speech",
            id=response.headers.get("x-fish-trace-id") or "untraced",
            state=JobState.SUCCEEDED,
            engine=response.headers.get("x-emulator-engine"),
            model=engine,
            said=events.end(self.name, self.markup(chosen)) if events else None,
        )

    def _check_ready(self, voice_id: str) -> Flow[None]:
        """Find out why a voice was refused; "Reference not found" is said of voices in training too."""
        voice = yield from self.get_voice(voice_id)
        if voice.state == "training":
            raise VoiceNotReadyError(
                f"Voice {voice_id} is still '{voice.status}' and cannot speak yet; nothing was paid. Put a "
                "VoiceTrainedSensor before this task."
            )
        if voice.state == "failed":
            raise InvalidInputError(f"The training of voice {voice_id} has failed: it cannot speak. Clone it again.")

    def _engine(self, options: FishSpeech) -> str:
        return options.model or self.speech_model

    @staticmethod
    def _speech_body(options: FishSpeech, references: Sequence[Body]) -> dict[str, Any]:
        body = options.model_dump(mode="json", exclude_none=True, exclude=_ELSEWHERE)
        body = {name: value for name, value in body.items() if value != []}
        prosody = options.model_dump(exclude_none=True, include=_PROSODY)
        body |= {"prosody": prosody} if prosody else {}
        if options.voice_ids:
            body["reference_id"] = options.voice_ids[0] if len(options.voice_ids) == 1 else options.voice_ids
        if references:
            files = iter(references)
            spoken = [[{"audio": next(files), "text": item.text} for item in speaker] for speaker in options.speakers]
            body["references"] = spoken if len(spoken) > 1 else spoken[0]
            body |= {"reference_id": [f"speaker-{n}" for n in range(len(spoken))]} if len(spoken) > 1 else {}
        return body

    def check_transcription(self, options: TranscriptionOptions) -> list[str]:
        """Model and options against each other."""
        return of_fish_audio.check_transcription(_transcription(options))

    def transcribe(self, body: Body, options: TranscriptionOptions) -> Flow[Transcript]:
        """Write down what is said; billed by the second, so a lost answer is not asked for again."""
        asked = _transcription(options)
        model = asked.model or HEARS
        response = yield Request(
            method="POST",
            url="/v1/asr",
            form=asked.fields,
            files=[("audio", body)],
            headers={"model": model},
            expects=_is_transcript,
            timeout=TRANSCRIPTION_TIMEOUT,
        )
        if not isinstance(response.object().get("text"), str):
            raise ServiceUnavailableError(f"{self.label} answered with something else than a transcript.")
        return read_transcript(self.name, model, response)

    def room(self) -> Flow[Room]:
        """Read the headers that every answer carries: requests in flight of the account, and its limit."""
        headers = (yield Request(method="GET", url="/wallet/self/api-credit", expects=_is_wallet)).headers
        counts = [headers.get(f"ratelimit-{name}-concurrency", "") for name in ("current", "limit")]
        active, limit = (int(count) if count.isdecimal() else None for count in counts)
        return Room(active=active, limit=limit)

    def get_job(self, kind: JobKind, job_id: str, *, path: str | None = None, wait: float = 0) -> Flow[Job]:  # noqa: ARG002
        """Ask after the training of a voice; nothing else is a job here."""
        if kind != "clone":
            raise self.lacks(Capability.LIP_SYNC if kind == "lip_sync" else Capability.ASYNC_SPEECH)
        voice = yield from self.get_voice(job_id)
        states = {"training": JobState.RUNNING, "trained": JobState.SUCCEEDED, "failed": JobState.FAILED}
        return Job(service=self.name, kind=kind, id=voice.id, state=states[voice.state], status=voice.status)

    # reading

    def _voice(self, body: Mapping[str, Any]) -> Voice:
        if not isinstance(body, dict) or not body.get("_id"):
            raise ServiceUnavailableError(f"{self.label} answered with a voice that has no id.")
        samples = body.get("samples")
        audio = (
            str(samples[0].get("audio") or "")
            if isinstance(samples, list) and samples and isinstance(samples[0], dict)
            else ""
        )
        return Voice(
            service=self.name,
            id=str(body["_id"]),
            name=_text(body.get("title")) or "",
            state=_STATES.get(str(body.get("state")), "training"),
            status=str(body.get("state") or ""),
            preview_url=audio if audio.startswith("https://") else None,
            restricted=bool(body.get("dmca_taken_down")),
            visibility=_text(body.get("visibility")),
            description=_text(body.get("description")),
            tags=_texts(body.get("tags")),
            languages=_texts(body.get("languages")),
            created_at=_text(body.get("created_at")),
        )


def _ends_before(since: float, voices: Sequence[Voice], answer: Response) -> bool:
    """Whether a page is in order, youngest first, and its last voice was made before a moment: no later page is needed.

    The moment is on our clock and the voices' dates are on the service's; the answer's own date tells them apart. Where
    anything cannot be read, the listing goes on: a request more costs less than a voice that is not found.
    """
    try:
        ahead = parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
        made = [datetime.fromisoformat(voice.created_at or "") for voice in voices]
        in_order = all(younger >= older for younger, older in pairwise(made))
        return in_order and made[-1].timestamp() < since + ahead - CLOCKS
    except (KeyError, ValueError, TypeError, OverflowError):  # TypeError: some name a time zone, and others do not
        return False


def _speech(options: SpeechOptions) -> FishSpeech:
    assert isinstance(options, FishSpeech)  # noqa: S101  # made with this service's speech_options
    return options


def _clone(options: CloneOptions) -> FishClone:
    assert isinstance(options, FishClone)  # noqa: S101  # made with this service's clone_options
    return options


def _transcription(options: TranscriptionOptions) -> FishTranscription:
    assert isinstance(options, FishTranscription)  # noqa: S101  # made with this service's transcription_options
    return options


def _file(sample: Input | Body) -> Body:
    if isinstance(sample, Input):
        raise InvalidInputError(
            f"Fish Audio clones from files, not from '{sample.url or sample.asset_id}': pass storage locations."
        )
    return sample


# What a success has to hold to be the service's.


def _is_voice(response: Response) -> bool:
    return not response.is_page and bool(response.object().get("_id"))


def _has_items(response: Response) -> bool:
    return not response.is_page and isinstance(response.object().get("items"), list)


def _is_wallet(response: Response) -> bool:
    return not response.is_page and "credit" in response.object()


def _is_sound(response: Response) -> bool:
    kind = response.media_type
    return not kind or kind.startswith("audio/") or kind in _SOUND_TOO


def _is_events(response: Response) -> bool:
    return response.media_type == "text/event-stream"


def _is_transcript(response: Response) -> bool:
    return not response.is_page and isinstance(response.object().get("text"), str)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _whole_number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None
