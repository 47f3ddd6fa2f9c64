"""What every service is: a set of flows.

A flow is a generator that yields requests, is sent responses, and returns a noun, as in httpx's ``Auth.auth_flow``. One
description serves the worker (``VoiceHook.run``) and the triggerer (``VoiceHook.arun``). Rules that keep it sound:

- A flow never sleeps, polls or touches a file. Bodies and sinks are objects that the driver opens.
- The driver throws the mapped error into the flow at its ``yield``, so that a flow can catch "name taken".
- An answer is the service's word only in the service's own shape: ``Service.speaks`` knows it of errors, and
  ``Request.expects`` of a success. Whatever else comes, of any status, is something in between, and says nothing.
- A path is asked at the service with the key; a ``public`` URL carries its own permission and never gets the key.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

from voice_provider.exceptions import CapabilityError, InvalidInputError
from voice_provider.models import Capability, Room
from voice_provider.money.prices import PriceList
from voice_provider.services.options import TranscriptionOptions

if TYPE_CHECKING:
    from voice_provider.exceptions import VoiceError
    from voice_provider.models import Asset, Estimate, Job, JobKind, LipSyncModel, Transcript, Voice, Wallet
    from voice_provider.services.form import Form
    from voice_provider.services.lip_sync import LipSyncOptions
    from voice_provider.services.options import (
        CloneOptions,
        SampleFacts,
        SpeechOptions,
        VoiceFilters,
    )
    from voice_provider.services.texts import Markup

T = TypeVar("T")


class Body(Protocol):
    """A file to send: reopened for every attempt, because a handle that was sent once is empty."""

    @property
    def name(self) -> str:
        """File name with its extension."""
        ...

    @property
    def size(self) -> int:
        """Length in bytes; presigned uploads refuse chunked bodies."""
        ...

    @property
    def media_type(self) -> str:
        """Content type, from the bytes rather than from the name."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Open the file anew and yield it piece by piece."""
        ...


class Sink(Protocol):
    """Where a download goes."""

    @property
    def position(self) -> int:
        """Bytes received so far; a repeated request goes on from here."""
        ...

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        ...

    def restart(self) -> None:
        """Forget what was received; the service sends the file from its beginning."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """The answer to a request, read whole; downloads are in their sink and have no content here."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    content: bytes = b""
    _parsed: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON, or ``None`` when it is something else."""
        if not self._parsed:
            try:
                self._parsed.append(json.loads(self.content))
            except (ValueError, RecursionError):
                self._parsed.append(None)
        return self._parsed[0]

    def object(self) -> dict[str, Any]:
        """Return the body as a JSON object; anything else is an empty one."""
        value = self.json()
        return value if isinstance(value, dict) else {}

    @property
    def media_type(self) -> str:
        """What the body is said to be, without its parameters; empty where nothing is said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_page(self) -> bool:
        """Whether it is for people to look at: no service answers its API with one."""
        return "html" in self.media_type

    @property
    def retry_after(self) -> float | None:
        """Seconds from the ``Retry-After`` header; dates are not used by these services."""
        try:
            return max(0.0, float(self.headers.get("retry-after", "")))
        except ValueError:
            return None


def is_data(response: Response) -> bool:
    """Whether a success can be the service's where no body is documented: JSON or nothing, no page and no bare text."""
    body = response.content.strip()
    return not response.is_page and (body in (b"", b"null") or response.json() is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One HTTP request of a flow.

    :param url: a path at the service, or with ``public`` an absolute URL
    :param form: fields of a multipart body, with ``files``; names may repeat
    :param files: files of a multipart body, streamed
    :param body: the whole body
    :param sink: where the answer's body goes, if the answer is a success
    :param public: the URL carries its own permission; the key is never sent with it
    :param repeatable: may be sent again although its outcome is unknown; default: by method, so a POST is not.
        A paid POST is repeatable only with an idempotency key.
    :param expects: whether a success is the documented one; of a download only status and headers are known. Files
        behind ``public`` URLs are no answers of the service, and are not asked
    :param timeout: seconds of silence that are allowed at least; the connection may allow more
    :param at_most: seconds after which whoever waits for the answer has given up, whatever is allowed
    """

    method: str
    url: str
    json: Any = None
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Sequence[tuple[str, str]] = ()
    files: Sequence[tuple[str, Body]] = ()
    body: Body | None = None
    sink: Sink | None = None
    public: bool = False
    repeatable: bool | None = None
    expects: Callable[[Response], bool] = is_data
    timeout: float | None = None
    at_most: float | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether a lost answer may be asked for again."""
        return self.method != "POST" if self.repeatable is None else self.repeatable

    def __repr__(self) -> str:
        """Name the request without its query, headers and body: they may hold signatures and scripts."""
        return f"<Request {self.method} {self.url.partition('?')[0]}>"


Flow: TypeAlias = Generator[Request, Response, T]


@dataclass(frozen=True, slots=True)
class Input:
    """A media input that the service hosts, as it is told about it: exactly one of the two."""

    asset_id: str | None = None
    url: str | None = None


class JobList(Protocol):
    """An answer about many jobs, of which a triggerer that waits for ten thousand reads only what is new."""

    def glance(self, job_id: str) -> Hashable | None:
        """Return what differs as soon as there is news of a job; None where the answer does not have it."""

    def read(self, job_id: str) -> Job | None:
        """Return what the answer says about a job; None where it says nothing."""


class Service(ABC):
    """One vendor's dialect.

    :param extra: the connection's extra fields; each service reads its own
    """

    form: ClassVar[Form]
    capabilities: ClassVar[frozenset[Capability]]
    instead: ClassVar[Mapping[Capability, str]] = {}
    makes: ClassVar[Mapping[JobKind, tuple[str, ...]]] = {}  # formats of results; file names may end in nothing else
    speech_options: ClassVar[type[SpeechOptions]]
    clone_options: ClassVar[type[CloneOptions]]
    transcription_options: ClassVar[type[TranscriptionOptions]] = TranscriptionOptions
    unique_voice_names: ClassVar[bool] = False
    free_clones: ClassVar[bool] = False
    takes_sound_only: ClassVar[bool] = False  # of samples and references: no videos
    speech_model: str | None = None  # what speaks where an order names none, for services that have several
    max_script: ClassVar[int | None] = None  # characters of one request; None: no limit is known
    times_speech: ClassVar[bool] = False  # ``speak`` can also say where the words are
    transcription_model: ClassVar[str | None] = None  # what listens where nobody names one, where there are several
    price_list: ClassVar[PriceList] = PriceList()  # what is published of its prices
    speech_hint: ClassVar[str] = ""  # how to avoid that it is unknown whether speech was accepted

    def __init__(self, extra: Mapping[str, Any]) -> None:
        self.extra = extra

    @property
    def name(self) -> str:
        """The connection type."""
        return self.form.connection_type

    @property
    def label(self) -> str:
        """What people call it."""
        return self.form.label

    def require(self, capability: Capability) -> None:
        """Raise ``CapabilityError`` unless this service can do it."""
        if capability not in self.capabilities:
            raise self.lacks(capability)

    def lacks(self, capability: Capability) -> CapabilityError:
        """Return the error for what this service cannot do; it names what to use instead."""
        what = capability.replace("_", " ")
        hint = self.instead.get(capability, "Use a connection of a service that can.")
        return CapabilityError(f"{self.label} cannot do this ({what}). {hint}")

    @abstractmethod
    def key_headers(self, key: str) -> dict[str, str]:
        """Return the headers that carry the key."""

    @abstractmethod
    def speaks(self, request: Request, response: Response) -> bool:
        """Whether an answer that is no success is in this service's own shape; else something in between gave it."""

    @abstractmethod
    def error(self, request: Request, response: Response) -> VoiceError:
        """Map an answer that is no success to the one tree of errors: one that it ``speaks``, or a file host's."""

    @abstractmethod
    def check_account(self) -> Flow[str]:
        """Make the cheapest call that needs the key; return a sentence about what was found."""

    def is_asset_id(self, text: str) -> bool:  # noqa: ARG002
        """Tell an asset id from a path."""
        return False

    def wallet(self) -> Flow[Wallet]:
        """Ask what the account can spend."""
        raise self.lacks(Capability.WALLET)

    @abstractmethod
    def is_keyed(self, kind: JobKind) -> bool:
        """Whether a job of this kind is submitted with an idempotency key."""

    # voices
    @abstractmethod
    def list_voices(self, filters: VoiceFilters) -> Flow[list[Voice]]:
        """List voices."""

    @abstractmethod
    def get_voice(self, voice_id: str) -> Flow[Voice]:
        """Read one voice."""

    @abstractmethod
    def check_voice_name(self, name: str) -> None:
        """Raise ``InvalidInputError`` for a name that the service will not take."""

    @abstractmethod
    def check_clone(self, options: CloneOptions, samples: Sequence[SampleFacts | None]) -> list[str]:
        """Raise ``InvalidInputError`` for what the service will not take; return warnings.

        :param samples: what is known of each sample; nothing of those that are hosted
        """

    @abstractmethod
    def clone_voice(
        self, name: str, samples: Sequence[Input | Body], options: CloneOptions, cover: Body | None = None
    ) -> Flow[Voice]:
        """Clone a voice; paid with a clone slot where the plan counts them, and not keyed."""

    def update_voice(self, voice_id: str, changes: Mapping[str, Any], cover: Body | None = None) -> Flow[None]:  # noqa: ARG002
        """Change ``title``, ``description``, ``tags``, ``visibility`` or the cover image of a voice."""
        raise self.lacks(Capability.UPDATE_VOICE)

    @abstractmethod
    def delete_voice(self, voice_id: str) -> Flow[None]:
        """Delete a clone and free its slot."""

    @abstractmethod
    def slots(self) -> Flow[Room]:
        """Count the clones of the account, by asking only; neither service tells how many the plan holds."""

    # assets, where the service hosts files

    def upload_asset(self, body: Body, name: str) -> Flow[Asset]:  # noqa: ARG002
        """Upload a file and register it."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    def list_assets(self, *, search: str | None = None, limit: int | None = None) -> Flow[list[Asset]]:  # noqa: ARG002
        """List the assets of the account, newest first."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    def get_asset(self, asset_id: str) -> Flow[Asset]:  # noqa: ARG002
        """Read one asset."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    def update_asset(self, asset_id: str, changes: Mapping[str, Any]) -> Flow[Asset]:  # noqa: ARG002
        """Change an asset's name or metadata."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    def assets_in_use(self) -> Flow[frozenset[str]]:
        """List ids and addresses of the files that jobs are at work on."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    def delete_asset(self, asset_id: str) -> Flow[None]:  # noqa: ARG002
        """Delete an asset."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    def download_asset(self, asset_id: str, sink: Sink) -> Flow[None]:  # noqa: ARG002
        """Fetch an asset's file."""
        raise self.lacks(Capability.HOSTS_ASSETS)

    # speech: as a job, or as the answer itself

    @abstractmethod
    def check_speech(self, options: SpeechOptions, references: Sequence[SampleFacts] = ()) -> list[str]:
        """Raise ``InvalidInputError`` for what the service will not take; return warnings."""

    @abstractmethod
    def markup(self, options: SpeechOptions) -> Markup:
        """Return what is made of marks in this script."""

    def start_speech(self, options: SpeechOptions, key: str | None) -> Flow[Job]:  # noqa: ARG002
        """Order speech, where it is a job that is asked after."""
        raise self.lacks(Capability.ASYNC_SPEECH)

    def speak(
        self, options: SpeechOptions, references: Sequence[Body], sink: Sink, *, timed: bool = False
    ) -> Flow[Job]:
        """Speak into a sink, where the audio is the answer itself; ``references`` are those of all speakers.

        :param timed: also say where the words are (``Job.said``), where the service can
        """
        raise NotImplementedError(f"{self.label} has neither start_speech nor speak.")

    def is_free(self, options: SpeechOptions) -> bool:  # noqa: ARG002
        """Whether this speech costs nothing, so that it may be asked for again after a bad answer."""
        return False

    def check_transcription(self, options: TranscriptionOptions) -> list[str]:  # noqa: ARG002
        """Raise ``InvalidInputError`` for what the service will not take; return warnings."""
        return []

    def transcribe(self, body: Body, options: TranscriptionOptions) -> Flow[Transcript]:  # noqa: ARG002
        """Write down what is said in a recording."""
        raise self.lacks(Capability.TRANSCRIPTION)

    # transcripts, where they are a job about a hosted file

    def start_transcription(self, recording: Asset) -> Flow[Job]:  # noqa: ARG002
        """Order the transcript of a hosted file; ``get_job`` asks after it."""
        raise self.lacks(Capability.TRANSCRIPTION)

    def get_transcript(self, job_id: str) -> Flow[Transcript]:  # noqa: ARG002
        """Read the transcript of a job that has succeeded."""
        raise self.lacks(Capability.TRANSCRIPTION)

    # jobs

    def check_lip_sync(self, options: LipSyncOptions) -> list[str]:  # noqa: ARG002
        """Raise ``InvalidInputError`` for what the service will not take; return warnings."""
        raise self.lacks(Capability.LIP_SYNC)

    def lip_sync_seconds(self, options: LipSyncOptions, seen: float | None, said: float | None) -> float | None:  # noqa: ARG002
        """Return how long the result of a lip sync will be, from the lengths of video and sound (seconds)."""
        return None

    def start_lip_sync(self, options: LipSyncOptions, inputs: Sequence[Input], key: str | None) -> Flow[Job]:  # noqa: ARG002
        """Order a lip sync; ``inputs`` are ``options.media`` as the service knows them, in the same order."""
        raise self.lacks(Capability.LIP_SYNC)

    @abstractmethod
    def get_job(self, kind: JobKind, job_id: str, *, path: str | None = None, wait: float = 0) -> Flow[Job]:
        """Ask after a job, if the service can for at most ``wait`` seconds until it has ended."""

    def get_jobs(self, kind: JobKind, job_ids: Sequence[str]) -> Flow[JobList]:  # noqa: ARG002
        """Ask after many jobs in one request, at most 100."""
        raise self.lacks(Capability.ASKS_FOR_MANY)

    def room(self) -> Flow[Room]:
        """Ask, without ordering anything, whether there is room for one more job."""
        return Room()
        yield  # a flow that asks nothing

    def list_jobs(self, *, limit: int = 100) -> Flow[list[Job]]:  # noqa: ARG002
        """List the newest lip syncs."""
        raise self.lacks(Capability.LIP_SYNC)

    def list_models(self) -> Flow[list[LipSyncModel]]:
        """List the lip sync models."""
        raise self.lacks(Capability.LIP_SYNC)

    def estimate(
        self,
        model: str,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
        fps: float,  # noqa: ARG002
        *,
        reasoning_enabled: bool | None = None,  # noqa: ARG002
    ) -> Flow[Estimate]:
        """Ask what a lip sync would cost."""
        raise self.lacks(Capability.ESTIMATE)


def download(url: str, sink: Sink) -> Flow[None]:
    """Fetch a public URL into a sink; the key stays at home."""
    yield Request(method="GET", url=url, sink=sink, public=True)


def present(**values: Any) -> dict[str, Any]:
    """Leave out what was not given."""
    return {name: value for name, value in values.items() if value is not None}


def path_segment(identifier: str, label: str) -> str:
    """Refuse ids that would change the path they are put into.

    :param label: the service's name, for the message
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", identifier):
        raise InvalidInputError(f"'{identifier[:60]}' is not an id of {label}. Pass the id that the service returned.")
    return identifier
