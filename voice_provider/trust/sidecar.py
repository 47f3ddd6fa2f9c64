"""The record beside a kept result, as it is written; read only where one is: parsing a DAG needs none of it."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from voice_provider import __version__
from voice_provider.models import Cost
from voice_provider.trust.origin import Part, Run, Speaker

GENERATOR = "airflow-provider-voice"


class File(Part):
    name: str
    sha256: str
    bytes: int
    media_type: str
    seconds: float | None = None


class Making(Part):
    kind: str
    service: str
    model: str | None = None
    engine: str | None = None
    job_id: str | None = None
    submitted_at: str | None = None
    outcome: str | None = None
    cost: Cost | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class ConsentPart(Part):
    id: str
    sha256: str


class CaptionsPart(Part):
    name: str
    sha256: str


class Generator(Part):
    name: str = GENERATOR
    version: str = __version__


class Sidecar(Part):
    """The file's content. ``voice`` and ``consent`` are one, or a list where there are several, or null."""

    schema_: Literal["airflow-provider-voice/provenance/1"] = Field(
        default="airflow-provider-voice/provenance/1", alias="schema"
    )
    file: File
    made: Making
    voice: Speaker | tuple[Speaker, ...] | None = None
    inputs: tuple[dict[str, str], ...] = ()
    consent: ConsentPart | tuple[ConsentPart, ...] | None = None
    captions: CaptionsPart | None = None
    run: Run | None = None
    generator: Generator = Generator()
    kept_at: str

    def dump(self) -> dict[str, Any]:
        """Return it as plain values; captions only where there are some."""
        return self.model_dump(mode="json", by_alias=True, exclude={"captions"} if self.captions is None else None)

    def text(self) -> str:
        """Return it as it is written."""
        return json.dumps(self.dump(), indent=2, sort_keys=True) + "\n"
