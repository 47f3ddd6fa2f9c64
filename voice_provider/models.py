"""The nouns: voice, asset, job, sample, manifest.

They are liberal in what they read (a service may add fields and states at any time) and small in what they show:
URLs that grant access are kept out of ``repr`` and of everything a task returns.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer

from voice_provider.exceptions import one_line

JobKind = Literal["clone", "speech", "lip_sync", "transcription"]
Basis = Literal["service", "computed", "estimated", "unknown"]
# A service's own words: they are shown in logs and in Airflow, so they are a line, and a short one.
Said = Annotated[str, AfterValidator(lambda text: one_line(text, 500))]


class Capability(StrEnum):
    """What a service can do; asking for what it lacks fails when the task starts."""

    HOSTS_ASSETS = "hosts_assets"
    ASYNC_SPEECH = "async_speech"
    LIP_SYNC = "lip_sync"
    ESTIMATE = "estimate"
    UPDATE_VOICE = "update_voice"
    VOICE_LIBRARY = "voice_library"
    SEVERAL_SAMPLES = "several_samples"
    INSTANT_CLONE = "instant_clone"
    TRANSCRIPTION = "transcription"
    WALLET = "wallet"
    ASKS_FOR_MANY = "asks_for_many"
    CANCEL = "cancel"


class JobState(StrEnum):
    """The state of a job in this provider's words; the service's own word is ``Job.status``."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED)


class _Noun(BaseModel):
    """Base: unknown fields are dropped, values may be given by field name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def dump(self) -> dict[str, Any]:
        """Return plain JSON-ready values without what is unknown."""
        return self.model_dump(mode="json", exclude_none=True)


class Voice(_Noun):
    """A voice of the account: built-in or cloned."""

    service: str
    id: str
    name: str = ""
    state: Literal["training", "trained", "failed"] = "trained"
    status: Said = Field(default="", description="the service's own word for the state")
    preview_url: str | None = Field(default=None, repr=False)
    restricted: bool = Field(default=False, description="the service will not let this voice speak at present")
    visibility: str | None = Field(default=None, description="private, unlist or public, where the service has it")
    description: str | None = None
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    created_at: str | None = None


class Asset(_Noun):
    """A file that the service hosts."""

    service: str
    id: str
    type: str = ""
    name: str | None = None
    url: str | None = Field(default=None, repr=False)
    size: int | None = Field(default=None, description="bytes")
    seconds: float | None = None
    created_at: str | None = None


class Job(_Noun):
    """Work that the service does for us."""

    service: str
    kind: JobKind
    id: str
    path: str | None = Field(default=None, description="where to ask after it, if that does not follow from the id")
    state: JobState
    status: Said = Field(default="", description="the service's own word")
    url: str | None = Field(default=None, repr=False, description="where the result is now; expires")
    seconds: float | None = None
    error: Said | None = None
    error_code: Said | None = None
    progress: float | None = Field(default=None, description="0..1")
    retry_after: float | None = Field(default=None, description="seconds the service asked to wait")
    engine: str | None = Field(default=None, description="what made the result, if the service says so")
    page_url: str | None = Field(default=None, description="a page that shows the job, if the service has one")
    model: str | None = None
    name: str | None = Field(default=None, description="of a clone: what the voice is called at the service")
    said: Transcript | None = Field(default=None, repr=False, description="where its words are, if that was asked for")
    created_at: str | None = None


class Cost(_Noun):
    """What something costs, and how that is known.

    :param usd: dollars; None where they are not known
    :param basis: ``service``: it says so itself; ``computed``: by its published price, or the connection's, from what
        was ordered or came; ``estimated``: before it is there; ``unknown``
    :param units: how much it is: ``bytes`` (of the text in UTF-8), ``characters``, ``seconds``, ``frames``
    """

    usd: float | None = None
    basis: Basis
    units: dict[str, float] = Field(default_factory=dict)

    @model_serializer
    def _whole(self) -> dict[str, Any]:
        """Show dollars also where they are not known, and no dust of computing."""
        usd = None if self.usd is None else round(self.usd, 6)
        return {"usd": usd, "basis": self.basis, "units": {unit: round(n, 3) for unit, n in self.units.items()}}

    def __str__(self) -> str:
        units = " and ".join(f"{round(amount, 3):,g} {unit}" for unit, amount in self.units.items())
        known = "not known" if self.usd is None else f"${self.usd:,.6f}".rstrip("0").rstrip(".")
        return ", ".join(part for part in (known, self.basis if self.usd is not None else "", units) if part)


class Segment(_Noun):
    """A part of a transcript: a word, a phrase, or what one speaker says at a stretch; times in seconds."""

    text: str
    start: float
    end: float
    speaker: str | None = Field(default=None, description="as the service numbers them, where it tells them apart")


class Transcript(_Noun):
    """What is said in a recording."""

    service: str
    text: str = Field(description="plain words, without marks: it may be given back as `texts=` or spoken")
    marked_text: str | None = Field(default=None, description="with the service's marks of speakers and sounds")
    seconds: float | None = None
    language: str | None = Field(default=None, description="two-letter code")
    segments: tuple[Segment, ...] = Field(default=(), description="phrases as the service cuts them")
    words: tuple[Segment, ...] = Field(default=(), description="one word each, where the service times words")
    turns: tuple[Segment, ...] = Field(default=(), description="one for each stretch of one speaker")
    model: str | None = None
    request_id: str | None = Field(default=None, description="what the service's support asks for")
    cost: Cost | None = Field(default=None, description="of writing it down")


class Wallet(_Noun):
    """What an account can spend."""

    service: str
    usd: float = Field(description="credit left; may be below zero")
    topped_up_usd: float | None = None
    plan: str | None = None
    plan_credits: int | None = Field(default=None, description="credits of the plan, which do not pay for the API")


class Room(_Noun):
    """How many of something an account has at a time, and how many it may have: jobs at work, or clones.

    What is not known is None.
    """

    active: int | None = None
    limit: int | None = None
    ids: frozenset[str] | None = Field(default=None, description="which ones, where the service was asked for them")

    def __str__(self) -> str:
        return f"{'?' if self.active is None else self.active} of {'?' if self.limit is None else self.limit}"


class Estimate(_Noun):
    """What a lip sync would cost."""

    service: str
    frames: int | None = None
    usd: float | None = None
    credits: float | None = None


class LipSyncModel(_Noun):
    """A model that a service offers for lip sync."""

    service: str
    id: str
    name: str = ""
    type: str = ""


class ConsentRef(_Noun):
    """A consent as results carry it on: which one it was, and not whose.

    ``sha256`` is that of the consent itself, so that a person who has it can show that it is this one.
    """

    id: str
    sha256: str
    expires: str | None = Field(default=None, description="from when on it holds no more; ISO 8601, UTC")


class Captions(_Noun):
    """The captions that stand beside a kept recording."""

    uri: str
    sha256: str
    bytes: int


class Manifest(_Noun):
    """What a task returns for a kept result; enough to find it, to check it, and to use it as an input."""

    service: str
    voice_conn_id: str | None = Field(default=None, description="the connection that it was paid by")
    kind: Literal["speech", "lip_sync", "file"]
    uri: str
    sha256: str
    bytes: int
    format: str
    media_type: str
    seconds: float | None = None
    job_id: str | None = None
    voice_id: str | None = None
    model: str | None = None
    engine: str | None = None
    submitted_at: str | None = None
    outcome: str | None = Field(
        default=None, description="set where it was not simply ordered once: found, recovered or ordered_again"
    )
    consent: ConsentRef | tuple[ConsentRef, ...] | None = Field(
        default=None, description="of the person whose voice it is; several where several speak"
    )
    captions: Captions | None = None
    samples: tuple[str, ...] | None = Field(default=None, description="sha256 of what the voice was made of, if known")
    cost: Cost | None = None
