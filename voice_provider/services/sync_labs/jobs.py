"""Jobs at sync. labs: speech and lip syncs, what they would cost, and how they are asked after."""

from __future__ import annotations

from contextlib import suppress
from sys import intern
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from voice_provider.exceptions import InvalidInputError, ServiceUnavailableError, VoiceError
from voice_provider.models import Capability, Estimate, Job, JobState, LipSyncModel, Room
from voice_provider.services.base import Flow, Input, Request, Response, Service, path_segment, present
from voice_provider.services.lip_sync import LipSyncOptions, check_lip_sync_shape
from voice_provider.services.sync_labs.answers import (
    NAME,
    is_estimate,
    is_job,
    is_list,
    items_of,
    noun,
    priced,
    read_job,
)
from voice_provider.services.sync_labs.options import SyncLabsSpeech
from voice_provider.services.sync_labs.prices import result_seconds
from voice_provider.services.sync_labs.requests import (
    AT_WORK,
    MARKUP,
    MAX_LISTED,
    PROVIDER,
    TRANSCRIPTIONS,
    check_model,
    check_script,
    generation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voice_provider.models import JobKind
    from voice_provider.services.options import SampleFacts, SpeechOptions
    from voice_provider.services.texts import Markup

MAX_LONG_POLL = 10  # seconds


class Generations:
    """An answer about many generations."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._items = {str(item.get("id")): item for item in items_of(response)}

    def glance(self, job_id: str) -> tuple[str, Any] | None:
        """Return state and progress, which are the news of a generation until it has ended."""
        item = self._items.get(job_id)
        return (intern(str(item.get("status"))), item.get("progress_percent")) if item else None

    def read(self, job_id: str) -> Job | None:
        """Return one of them; one that cannot be read does not hide the others."""
        with suppress(ServiceUnavailableError, KeyError):
            return read_job("lip_sync", self._response, body=self._items[job_id])
        return None


class Jobs(Service):
    """The flows that order work and ask after it.

    :param extra: connection extras; ``tts_mode`` is this room's
    """

    def __init__(self, extra: Mapping[str, Any]) -> None:
        super().__init__(extra)
        self.tts_mode = extra.get("tts_mode") or "direct"
        if self.tts_mode not in ("direct", "jobs"):
            raise InvalidInputError(f"tts_mode of the connection is '{self.tts_mode}'; use 'direct' or 'jobs'.")

    @property
    def _speech_path(self) -> str:
        return "/v2/tts" if self.tts_mode == "direct" else "/v2/tts/jobs"

    def is_keyed(self, kind: JobKind) -> bool:
        """Lip syncs always, speech in ``jobs`` mode, clones never."""
        return kind == "lip_sync" or (kind == "speech" and self.tts_mode == "jobs")

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
            response = yield Request(method="POST", url=self._speech_path, json=body, expects=is_job)
        else:
            headers = {"idempotency-key": key} if key else {}
            response = yield Request(
                method="POST",
                url=self._speech_path,
                json=body,
                headers=headers,
                repeatable=key is not None,
                expects=is_job,
            )
        location, asked = response.headers.get("location"), self._speech_path
        path = urlsplit(urljoin(asked, location)).path if location else f"{asked}/{response.object().get('id')}"
        return read_job("speech", response, path=path)

    # lip sync

    def check_lip_sync(self, options: LipSyncOptions) -> list[str]:
        """Check the request's shape, its scripts, and what of it the model takes."""
        check_lip_sync_shape(options)
        return check_model(options) + [warning for item in options.text for warning in check_script(item.text)]

    def lip_sync_seconds(self, options: LipSyncOptions, seen: float | None, said: float | None) -> float | None:
        """Return how long the result will be."""
        return result_seconds(options, seen, said)

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
                expects=is_job,
            )
        except ServiceUnavailableError as error:
            if not error.job_id:
                raise
            try:
                return (yield from self.get_job("lip_sync", error.job_id))  # the service only lost the answer
            except VoiceError:
                raise error from None  # a question that is refused is no refusal of the order
        return read_job("lip_sync", response)

    def get_job(self, kind: JobKind, job_id: str, *, path: str | None = None, wait: float = 0) -> Flow[Job]:
        """Ask after a job; generations can be asked to answer when they end (at most 10 s)."""
        if kind == "clone":
            voice = yield from self.get_voice(job_id)
            return Job(service=NAME, kind=kind, id=voice.id, state=JobState.SUCCEEDED, status="trained")
        params = {}
        if kind == "lip_sync":
            path = f"/v2/generate/{path_segment(job_id, self.label)}"
            if wait >= 1:
                params = {"wait": "true", "timeout": str(int(min(wait, MAX_LONG_POLL)))}
            else:
                params = {"include": "progress"}
        elif kind == "transcription":
            path = f"{TRANSCRIPTIONS}/{path_segment(job_id, self.label)}"
        elif not path:
            path = f"{self._speech_path}/{path_segment(job_id, self.label)}"
        response = yield Request(method="GET", url=path, params=params, expects=is_job)
        return read_job(kind, response, path=path)

    def get_jobs(self, kind: JobKind, job_ids: Sequence[str]) -> Flow[Generations]:
        """Ask after many generations at once; the service has no such question for speech and voices."""
        if kind != "lip_sync":
            raise self.lacks(Capability.ASKS_FOR_MANY)
        params: dict[str, str | list[str]] = {"ids": list(job_ids), "limit": str(MAX_LISTED)}
        response = yield Request(method="GET", url="/v2/generations", params=params, expects=is_list)
        return Generations(response)

    def room(self) -> Flow[Room]:
        """Count the generations that wait or run; the limit is only said with a refusal."""
        response = yield Request(method="GET", url="/v2/generations", params=AT_WORK, expects=is_list)
        return Room(active=len(items_of(response)))

    def list_jobs(self, *, limit: int = 100) -> Flow[list[Job]]:
        """List the newest generations."""
        params: dict[str, str | list[str]] = {"limit": str(min(limit, MAX_LISTED))}
        response = yield Request(method="GET", url="/v2/generations", params=params, expects=is_list)
        return [read_job("lip_sync", response, body=item) for item in items_of(response)]

    def list_models(self) -> Flow[list[LipSyncModel]]:
        """List the lip sync models that are not deprecated."""
        response = yield Request(method="GET", url="/v2/models", expects=is_list)
        return [
            noun(LipSyncModel, service=NAME, id=str(item["id"]), name=item.get("name"), type=item.get("type"))
            for item in items_of(response)
            if item.get("id")
        ]

    def estimate(
        self, model: str, seconds: float, fps: float, *, reasoning_enabled: bool | None = None
    ) -> Flow[Estimate]:
        """Ask what a generation of this length would cost."""
        question = {"model": model, "duration": seconds, "fps": fps, **present(reasoningEnabled=reasoning_enabled)}
        response = yield Request(
            method="POST", url="/v2/generations/estimate", json=question, repeatable=True, expects=is_estimate
        )
        answer = priced(response)
        return noun(
            Estimate,
            service=NAME,
            frames=answer.get("estimatedFrameCount"),
            usd=answer.get("estimatedGenerationCost"),
            credits=answer.get("estimatedCredits"),
        )
