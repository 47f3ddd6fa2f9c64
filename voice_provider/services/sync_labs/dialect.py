"""The dialect of sync. labs: https://api.sync.so, paths under ``/v2``.

It reads as liberally as the service writes: ids under two names, error codes under two names, statuses that are not
listed anywhere, text-to-speech that answers at once or has to be asked after.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ValidationError

from voice_provider.exceptions import (
    InvalidInputError,
    ServiceUnavailableError,
    VoiceError,
)
from voice_provider.models import Asset, Capability, Estimate, Job, JobState, LipSyncModel, Room, Voice
from voice_provider.services.base import (
    Body,
    Flow,
    Input,
    Request,
    Response,
    Service,
    Sink,
    download,
    is_data,
    path_segment,
    present,
)
from voice_provider.services.options import (
    CloneOptions,
    LipSyncOptions,
    SpeechOptions,
    VoiceFilters,
    check_lip_sync_shape,
)
from voice_provider.services.sync_labs.errors import read_error, speaks
from voice_provider.services.sync_labs.form import FORM
from voice_provider.services.sync_labs.options import SyncLabsSpeech
from voice_provider.services.sync_labs.requests import (
    MARKUP,
    PROVIDER,
    check_model,
    check_script,
    generation,
    hosted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voice_provider.models import JobKind
    from voice_provider.services.options import SampleFacts
    from voice_provider.services.texts import Markup

MAX_UPLOAD = 5 * 1024**3  # bytes of one presigned upload
MAX_VOICE_NAME = 100  # characters
MAX_LISTED = 100  # generations in one answer
_AT_WORK: dict[str, str | list[str]] = {"status": ["PENDING", "PROCESSING"], "limit": str(MAX_LISTED)}
MAX_LONG_POLL = 10  # seconds
CLONE_TIMEOUT = 180.0  # cloning answers only when the voice is ready

NounT = TypeVar("NounT", bound=BaseModel)

_DONE = {"COMPLETED", "SUCCESS", "SUCCEEDED"}
_FAILED = {"FAILED", "REJECTED", "CANCELED", "CANCELLED", "TIMED_OUT"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class SyncLabs(Service):
    """sync. labs.

    :param extra: connection extras; ``tts_mode`` is ``direct`` (``POST /v2/tts``, default) or ``jobs``
        (``POST /v2/tts/jobs``, keyed)
    """

    form = FORM
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.HOSTS_ASSETS,
            Capability.ASYNC_SPEECH,
            Capability.LIP_SYNC,
            Capability.ESTIMATE,
            Capability.ASKS_FOR_MANY,
        }
    )
    # Speech has no option for it: the documentation shows an mp3, and promises nothing.
    makes: ClassVar[Mapping[JobKind, tuple[str, ...]]] = {"speech": ("mp3", "wav"), "lip_sync": ("mp4",)}
    speech_options: ClassVar[type[SpeechOptions]] = SyncLabsSpeech
    clone_options: ClassVar[type[CloneOptions]] = CloneOptions
    unique_voice_names: ClassVar[bool] = True
    speech_hint: ClassVar[str] = "tts_mode 'jobs' on the connection avoids this."
    instead: ClassVar[Mapping[Capability, str]] = {
        Capability.CANCEL: "A job that was accepted runs to its end and is billed.",
        Capability.UPDATE_VOICE: "Delete the voice and clone it again under the new name.",
        Capability.VOICE_LIBRARY: "It lists all its voices at once; title and limit are the only filters.",
        Capability.SEVERAL_SAMPLES: "Join the recordings to one file, or clone with a fish_audio connection.",
        Capability.INSTANT_CLONE: "Clone the voice first (CloneVoiceOperator), or speak with a fish_audio connection.",
        Capability.TRANSCRIPTION: "Use a fish_audio connection.",
        Capability.WALLET: "It has no call for it: look at https://sync.so.",
    }

    def __init__(self, extra: Mapping[str, Any]) -> None:
        super().__init__(extra)
        self.tts_mode = extra.get("tts_mode") or "direct"
        if self.tts_mode not in ("direct", "jobs"):
            raise InvalidInputError(f"tts_mode of the connection is '{self.tts_mode}'; use 'direct' or 'jobs'.")

    @property
    def _speech_path(self) -> str:
        return "/v2/tts" if self.tts_mode == "direct" else "/v2/tts/jobs"

    def key_headers(self, key: str) -> dict[str, str]:
        """Return the header that carries the key."""
        return {"x-api-key": key}

    def speaks(self, request: Request, response: Response) -> bool:  # noqa: ARG002
        """Whether an answer that is no success is in this service's own shape."""
        return speaks(response)

    def error(self, request: Request, response: Response) -> VoiceError:
        """Map an answer that is no success to the one tree of errors."""
        return read_error(request, response)

    def check_account(self) -> Flow[str]:
        """List the models: the cheapest call that needs the key."""
        models = yield from self.list_models()
        return f"Connected to {self.label}: {len(models)} lip sync models, text-to-speech mode '{self.tts_mode}'."

    def is_asset_id(self, text: str) -> bool:
        """Asset ids are UUIDs."""
        return _UUID.fullmatch(text) is not None

    def is_keyed(self, kind: JobKind) -> bool:
        """Lip syncs always, speech in ``jobs`` mode, clones never."""
        return kind == "lip_sync" or (kind == "speech" and self.tts_mode == "jobs")

    # voices

    def list_voices(self, filters: VoiceFilters) -> Flow[list[Voice]]:
        """List built-in voices and clones; the service answers with all of them at once and cannot tell them apart."""
        if filters.model_dump(exclude_defaults=True, exclude={"own", "title", "since", "limit"}):
            raise self.lacks(Capability.VOICE_LIBRARY)
        response = yield Request(method="GET", url="/v2/voices", expects=_is_list)
        voices = [self._voice(item) for item in _list(response)]
        title = (filters.title or "").lower()
        return [voice for voice in voices if title in voice.name.lower()][: filters.limit]

    def get_voice(self, voice_id: str) -> Flow[Voice]:
        """Read one voice."""
        url = f"/v2/voices/{path_segment(voice_id, self.label)}"
        response = yield Request(method="GET", url=url, expects=_is_voice)
        return self._voice(response.object())

    def check_voice_name(self, name: str) -> None:
        """Names have 1 to 100 characters."""
        if not 1 <= len(name.strip()) <= MAX_VOICE_NAME:
            raise InvalidInputError(f"A voice's name has 1 to {MAX_VOICE_NAME} characters, not {len(name.strip())}.")

    def check_clone(self, options: CloneOptions, samples: Sequence[SampleFacts | None]) -> list[str]:  # noqa: ARG002
        """One sample makes a voice."""
        if len(samples) > 1:
            self.require(Capability.SEVERAL_SAMPLES)
        return []

    def clone_voice(
        self,
        name: str,
        samples: Sequence[Input | Body],
        options: CloneOptions,  # noqa: ARG002
        cover: Body | None = None,  # noqa: ARG002
    ) -> Flow[Voice]:
        """Clone a voice from a hosted sample; it can speak as soon as the answer is here."""
        source = hosted(samples[0])
        response = yield Request(
            method="POST",
            url="/v2/voices",
            json={"name": name, "provider": PROVIDER, **source},
            expects=_is_voice,
            timeout=CLONE_TIMEOUT,
        )
        return self._voice({"name": name, **response.object()})

    def delete_voice(self, voice_id: str) -> Flow[None]:
        """Delete a clone; its slot is free at once."""
        yield Request(method="DELETE", url=f"/v2/voices/{path_segment(voice_id, self.label)}")

    def slots(self) -> Flow[Room]:
        """Count the clones: their ids are UUIDs, those of built-in voices are not."""
        voices = yield from self.list_voices(VoiceFilters())
        clones = frozenset(voice.id for voice in voices if _UUID.fullmatch(voice.id))
        return Room(active=len(clones), ids=clones)

    # assets

    def upload_asset(self, body: Body, name: str) -> Flow[Asset]:
        """Ask for a presigned URL, PUT the file there, register it as an asset."""
        if body.size > MAX_UPLOAD:
            raise InvalidInputError(f"{body.name} has {body.size:,} bytes; {self.label} takes at most 5 GiB a file.")
        declared = {"fileName": body.name, "contentType": body.media_type, "size": body.size}
        ask = Request(method="POST", url="/v2/assets/upload", json=declared, repeatable=True, expects=_is_grant)
        grant = (yield ask).object()
        upload_url, hosted_url = grant.get("uploadUrl"), grant.get("url")
        if not upload_url or not hosted_url:
            raise ServiceUnavailableError("The answer to POST /v2/assets/upload has no uploadUrl and url.")
        yield Request(method="PUT", url=upload_url, body=body, headers={"content-type": body.media_type}, public=True)
        kind = body.media_type.partition("/")[0].upper()
        registration = {"url": hosted_url, "type": kind, "name": name}
        register = Request(method="POST", url="/v2/assets", json=registration, expects=_has_id)
        try:
            response = yield register
        except ServiceUnavailableError as error:
            if not error.sent:
                raise
            for asset in (yield from self.list_assets(search=name, limit=10)):  # the answer may have been lost
                if asset.url == hosted_url:
                    return asset
            response = yield register
        except InvalidInputError as error:
            if error.error_code != "uploaded_file_not_found":
                raise
            # Something in between has answered for the storage: the file was sent, and another try may arrive.
            raise ServiceUnavailableError(str(error), sent=False, status=error.status) from None
        return self._asset(response.object())

    def list_assets(self, *, search: str | None = None, limit: int | None = None) -> Flow[list[Asset]]:
        """List assets newest first, page by page until ``limit`` or the end."""
        found: list[Asset] = []
        params = {"sortBy": "dateDesc", "limit": str(min(limit or 100, 100))}
        if search:
            params["searchQuery"] = search
        while True:
            page = (yield Request(method="GET", url="/v2/assets", params=params, expects=_has_items)).object()
            if not isinstance(items := page.get("items"), list):
                raise ServiceUnavailableError("The service answered with something else than a list of assets.")
            found += [self._asset(item) for item in items]
            cursor = page.get("nextCursor")
            if not cursor or cursor == params.get("cursor") or (limit and len(found) >= limit):
                return found[:limit]
            params = {**params, "cursor": str(cursor)}

    def get_asset(self, asset_id: str) -> Flow[Asset]:
        """Read one asset."""
        url = f"/v2/assets/{path_segment(asset_id, self.label)}"
        return self._asset((yield Request(method="GET", url=url, expects=_has_id)).object())

    def update_asset(self, asset_id: str, changes: Mapping[str, Any]) -> Flow[Asset]:
        """Change name, visibility or metadata."""
        url = f"/v2/assets/{path_segment(asset_id, self.label)}"
        response = yield Request(method="PATCH", url=url, json=dict(changes), expects=_has_id)
        return self._asset(response.object())

    def assets_in_use(self) -> Flow[frozenset[str]]:
        """List ids and addresses of the inputs of generations that wait or run."""
        named: set[str] = set()
        params = dict(_AT_WORK)
        while True:
            page = _list((yield Request(method="GET", url="/v2/generations", params=params, expects=_is_list)))
            inputs = [item for generation in page for item in generation.get("input") or [] if isinstance(item, dict)]
            named |= {str(item[field]) for item in inputs for field in ("assetId", "url") if item.get(field)}
            if len(page) < MAX_LISTED or params.get("cursor") == page[-1].get("id"):
                return frozenset(named)
            params["cursor"] = str(page[-1].get("id"))

    def delete_asset(self, asset_id: str) -> Flow[None]:
        """Delete an asset."""
        yield Request(method="DELETE", url=f"/v2/assets/{path_segment(asset_id, self.label)}")

    def download_asset(self, asset_id: str, sink: Sink) -> Flow[None]:
        """Ask where the file is (the answer is a bare URL) and fetch it without the key."""
        url = f"/v2/assets/{path_segment(asset_id, self.label)}/download"
        answer = yield Request(method="GET", url=url, expects=_is_address)
        yield from download(_address(answer), sink)

    # speech

    def check_speech(self, options: SpeechOptions, references: Sequence[SampleFacts] = ()) -> list[str]:  # noqa: ARG002
        """Scripts have 1 to 5,000 characters."""
        return check_script(options.text)

    def markup(self, options: SpeechOptions) -> Markup:  # noqa: ARG002
        """Return what is known of marks: nothing is documented."""
        return MARKUP

    def start_speech(self, options: SpeechOptions, key: str | None) -> Flow[Job]:
        """Order speech in the connection's mode; a 5xx never changes the mode."""
        assert isinstance(options, SyncLabsSpeech)  # noqa: S101  # made with this service's speech_options
        body: dict[str, Any] = {"script": options.text, "voiceId": options.voice_id, "provider": PROVIDER}
        body |= present(stability=options.stability, similarityBoost=options.similarity_boost)
        if self.tts_mode == "direct":
            response = yield Request(method="POST", url=self._speech_path, json=body, expects=_is_job)
        else:
            headers = {"idempotency-key": key} if key else {}
            response = yield Request(
                method="POST",
                url=self._speech_path,
                json=body,
                headers=headers,
                repeatable=key is not None,
                expects=_is_job,
            )
        location, asked = response.headers.get("location"), self._speech_path
        path = urlsplit(urljoin(asked, location)).path if location else f"{asked}/{response.object().get('id')}"
        return self._job("speech", response, path=path)

    # lip sync

    def check_lip_sync(self, options: LipSyncOptions) -> list[str]:
        """Check the request's shape, its scripts, and what of it the model takes."""
        check_lip_sync_shape(options)
        return check_model(options) + [warning for item in options.text for warning in check_script(item.text)]

    def start_lip_sync(self, options: LipSyncOptions, inputs: Sequence[Input], key: str | None) -> Flow[Job]:
        """Order a generation."""
        headers = {"idempotency-key": key} if key else {}
        body = generation(options, inputs)
        try:
            response = yield Request(
                method="POST",
                url="/v2/generate",
                json=body,
                headers=headers,
                repeatable=key is not None,
                expects=_is_job,
            )
        except ServiceUnavailableError as error:
            if not error.job_id:
                raise
            try:
                return (yield from self.get_job("lip_sync", error.job_id))  # the service only lost the answer
            except VoiceError:
                raise error from None  # a question that is refused is no refusal of the order
        return self._job("lip_sync", response)

    def get_job(self, kind: JobKind, job_id: str, *, path: str | None = None, wait: float = 0) -> Flow[Job]:
        """Ask after a job; generations can be asked to answer when they end (at most 10 s)."""
        if kind == "clone":
            voice = yield from self.get_voice(job_id)
            return Job(service=self.name, kind=kind, id=voice.id, state=JobState.SUCCEEDED, status="trained")
        params = {}
        if kind == "lip_sync":
            path = f"/v2/generate/{path_segment(job_id, self.label)}"
            if wait >= 1:
                params = {"wait": "true", "timeout": str(int(min(wait, MAX_LONG_POLL)))}
            else:
                params = {"include": "progress"}
        elif not path:
            path = f"{self._speech_path}/{path_segment(job_id, self.label)}"
        response = yield Request(method="GET", url=path, params=params, expects=_is_job)
        return self._job(kind, response, path=path)

    def get_jobs(self, kind: JobKind, job_ids: Sequence[str]) -> Flow[dict[str, Job]]:
        """Ask after many generations at once; the service has no such question for speech and voices."""
        if kind != "lip_sync":
            raise self.lacks(Capability.ASKS_FOR_MANY)
        params: dict[str, str | list[str]] = {"ids": list(job_ids), "limit": str(MAX_LISTED)}
        response = yield Request(method="GET", url="/v2/generations", params=params, expects=_is_list)
        jobs = {}
        for item in _list(response):
            with suppress(ServiceUnavailableError):  # one that cannot be read does not hide the others
                job = self._job(kind, response, body=item)
                jobs[job.id] = job
        return jobs

    def room(self) -> Flow[Room]:
        """Count the generations that wait or run; the limit is only said with a refusal."""
        response = yield Request(method="GET", url="/v2/generations", params=_AT_WORK, expects=_is_list)
        return Room(active=len(_list(response)))

    def list_jobs(self, *, limit: int = 100) -> Flow[list[Job]]:
        """List the newest generations."""
        params: dict[str, str | list[str]] = {"limit": str(min(limit, MAX_LISTED))}
        response = yield Request(method="GET", url="/v2/generations", params=params, expects=_is_list)
        return [self._job("lip_sync", response, body=item) for item in _list(response)]

    def list_models(self) -> Flow[list[LipSyncModel]]:
        """List the lip sync models that are not deprecated."""
        response = yield Request(method="GET", url="/v2/models", expects=_is_list)
        return [
            _noun(LipSyncModel, service=self.name, id=str(item["id"]), name=item.get("name"), type=item.get("type"))
            for item in _list(response)
            if item.get("id")
        ]

    def estimate(self, model: str, seconds: float, fps: float) -> Flow[Estimate]:
        """Ask what a generation of this length would cost."""
        question = {"model": model, "duration": seconds, "fps": fps}
        response = yield Request(
            method="POST", url="/v2/generations/estimate", json=question, repeatable=True, expects=_is_estimate
        )
        answer = _estimate(response)
        return _noun(
            Estimate,
            service=self.name,
            frames=answer.get("estimatedFrameCount"),
            usd=answer.get("estimatedGenerationCost"),
            credits=answer.get("estimatedCredits"),
        )

    # reading

    def _voice(self, body: Mapping[str, Any]) -> Voice:
        """A clone's id is ``id`` where present, else ``voiceId`` (the provider's own id in newer answers)."""
        voice_id = body.get("id") or body.get("voiceId")
        if not voice_id:
            raise ServiceUnavailableError("The service answered with a voice that has no id.")
        return _noun(
            Voice,
            service=self.name,
            id=str(voice_id),
            name=body.get("name") or "",
            preview_url=body.get("previewUrl"),
            restricted=bool(body.get("restriction")),
        )

    def _asset(self, body: Mapping[str, Any]) -> Asset:
        if not body.get("id"):
            raise ServiceUnavailableError("The service answered with an asset that has no id.")
        return _noun(
            Asset,
            service=self.name,
            id=str(body["id"]),
            type=body.get("type") or "",
            name=body.get("name"),
            url=body.get("url"),
            size=body.get("size"),
            seconds=body.get("durationSeconds"),
            created_at=body.get("createdAt"),
        )

    def _job(
        self, kind: JobKind, response: Response, *, path: str | None = None, body: Mapping[str, Any] | None = None
    ) -> Job:
        body = response.object() if body is None else body
        url = body.get("synthesizedAudioUrl") if kind == "speech" else None
        url = url or body.get("outputUrl") or body.get("url") or None
        status = str(body.get("status") or "").upper()
        if not body.get("id") or not (status or url):
            raise ServiceUnavailableError("The service answered with a job that has no id or no status.")
        failure = body.get("error")
        if isinstance(failure, dict):
            failure = failure.get("message") or failure.get("errorCode")
        progress = body.get("progress_percent")
        return _noun(
            Job,
            service=self.name,
            kind=kind,
            id=str(body["id"]),
            path=path,
            state=_state(status, has_result=url is not None),
            status=status,
            url=url,
            seconds=body.get("outputDuration") or body.get("duration"),
            error=str(failure) if failure else None,
            error_code=body.get("errorCode") or body.get("error_code"),
            progress=progress / 100 if isinstance(progress, int | float) else None,
            retry_after=response.retry_after,
            engine=body.get("engine"),
            page_url=body.get("pageUrl"),
            model=body.get("model"),
            created_at=body.get("createdAt"),
        )


def _state(status: str, *, has_result: bool) -> JobState:
    """Unknown words mean "still running": the deadline, not a new word, ends the wait."""
    if status in _FAILED:
        return JobState.FAILED
    if status in _DONE or (not status and has_result):
        return JobState.SUCCEEDED
    return JobState.PENDING if status == "PENDING" else JobState.RUNNING


def _noun(noun: type[NounT], /, **values: Any) -> NounT:
    """Build a noun from an answer; a detail in a form that nobody expects is not worth losing a paid job for."""
    try:
        return noun(**values)
    except ValidationError as error:
        unreadable = {problem["loc"][0] for problem in error.errors()}
        return noun(**{name: value for name, value in values.items() if name not in unreadable})


# What a success has to hold to be the service's.


def _is_list(response: Response) -> bool:
    return not response.is_page and isinstance(response.json(), list)


def _is_voice(response: Response) -> bool:
    body = response.object()
    return not response.is_page and bool(body.get("id") or body.get("voiceId"))


def _has_id(response: Response) -> bool:
    return not response.is_page and bool(response.object().get("id"))


def _has_items(response: Response) -> bool:
    return not response.is_page and isinstance(response.object().get("items"), list)


def _is_grant(response: Response) -> bool:
    body = response.object()
    return not response.is_page and bool(body.get("uploadUrl") and body.get("url"))


def _is_job(response: Response) -> bool:
    body = response.object()
    tells = ("status", "synthesizedAudioUrl", "outputUrl", "url")
    return _has_id(response) and any(body.get(name) for name in tells)


def _is_address(response: Response) -> bool:
    return not response.is_page and _address(response).startswith(("https://", "http://"))


def _is_estimate(response: Response) -> bool:
    told = _estimate(response)
    return is_data(response) and any(name in told for name in ("estimatedFrameCount", "estimatedGenerationCost"))


def _address(response: Response) -> str:
    return response.text.strip().strip('"')


def _estimate(response: Response) -> dict[str, Any]:
    answer = response.json()
    answer = answer[0] if isinstance(answer, list) and answer else answer  # an older form answers with a list
    return answer if isinstance(answer, dict) else {}


def _list(response: Response) -> list[dict[str, Any]]:
    value = response.json()
    if not isinstance(value, list):
        raise ServiceUnavailableError(
            "sync. labs answered with a page or with something else than a list. Check the base URL of the connection."
        )
    return [item for item in value if isinstance(item, dict)]
