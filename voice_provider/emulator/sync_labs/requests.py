"""How sync. labs reads a request: who asks, how often they may, what the body must look like (sections 1, 2, 9, 11)."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

from fastapi import Depends, Request
from pydantic import BaseModel

from voice_provider.emulator.sync_labs import catalog
from voice_provider.emulator.sync_labs.errors import ApiError, invalid, unauthorized
from voice_provider.emulator.sync_labs.settings import SyncLabsSettings, settings_of
from voice_provider.emulator.world import bodies
from voice_provider.emulator.world.bodies import BadBodyError
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.state import Charge, Job, Project, new_id

SERVICE = "sync_labs"
MINUTE, HOUR, MONTH = 60.0, 3600.0, 30 * 86400.0
WINDOWS = {"voices": HOUR}
GENERATE_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")
MAX_TTS_KEY = 128

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Caller:
    """Whose request it is, and the emulator it came to."""

    emulator: Emulator
    api_key: str
    org: str
    owner: str

    @property
    def settings(self) -> SyncLabsSettings:
        return settings_of(self.emulator)

    def spend(self, bucket: str) -> None:
        """Take a request from a rate bucket or answer 429 (section 11: buckets are per API key)."""
        settings = self.settings
        limit: int = getattr(settings, f"rate_{bucket}")
        if not settings.rate_limits or not limit:
            return
        wait = self.emulator.rates.take(bucket, self.api_key, limit, WINDOWS.get(bucket, MINUTE))
        if wait is not None:
            headers = {"Retry-After": str(max(1, round(wait + 0.5)))} if settings.retry_after_header else {}
            raise ApiError(429, "rate_limit_exceeded", headers=headers)

    def pay(self, usd: float, *, kind: str, monthly: int | None, exhausted: str) -> None:
        """Answer 402 if the credit or the free tier's monthly number does not cover the work (section 2)."""
        state, settings = self.emulator.state, self.settings
        if settings.credit_usd is not None:
            left = settings.credit_usd - state.spent(self.org, SERVICE)
            if left <= 0 or usd > left:
                raise ApiError(402, "account_payment_required")
        since = self.emulator.clock.now() - MONTH
        where = "service = ? AND org = ? AND kind = ? AND at > ? AND NOT refunded"
        if monthly is not None and state.count(Charge, where, SERVICE, self.org, kind, since) >= monthly:
            raise ApiError(402, exhausted)

    def check_project(self, project_id: str | None) -> None:
        found = self.emulator.state.first(Project, "id = ? AND org = ?", project_id, self.org)
        if project_id is not None and found is None:
            raise ApiError(422, "project_not_found", field="projectId")

    def job(self, kind: str, request: dict[str, Any], work: dict[str, Any]) -> Job:
        return Job(
            seq=None,
            id=new_id(),
            service=SERVICE,
            kind=kind,
            org=self.org,
            status="PENDING",
            request=request,
            work=work,
            result={},
            error_code=None,
            error=None,
            source=None,
            project_id=None,
            created_at=self.emulator.clock.now(),
            started_at=None,
            finished_at=None,
        )

    def charge(
        self, kind: str, job_id: str, units: float, unit: str, usd: float, sha256: str, *, key: str | None = None
    ) -> Charge:
        return Charge(
            seq=None,
            service=SERVICE,
            kind=kind,
            org=self.org,
            job_id=job_id,
            idempotency_key=key,
            units=units,
            unit=unit,
            usd=usd,
            at=self.emulator.clock.now(),
            request_sha256=sha256,
            settled=0,
            refunded=0,
        )

    def known(self, scope: str, key: str | None, sha256: str, conflict: ApiError) -> Job | None:
        """The job that an idempotency key already stands for; another body under the same key is a conflict."""
        found = self.emulator.state.job_for_key(self.org, scope, key) if key is not None else None
        if found is None:
            return None
        if found[0] != sha256:
            raise conflict
        job = self.emulator.state.first(Job, "id = ?", found[1])
        if job and self.emulator.clock.now() < job.created_at + self.settings.key_busy_seconds:
            raise ApiError(409, "IDEMPOTENCY_REQUEST_IN_PROGRESS")
        return job


async def authenticate(request: Request) -> Caller:
    emulator: Emulator = request.app.state.emulator
    key = request.headers.get("x-api-key")
    account = emulator.state.account(key) if key else None
    if key is None or account is None:
        raise unauthorized(header_present=key is not None or "cookie" in request.headers)
    org, owner = account
    return Caller(emulator, key, org, owner)


Authenticated = Annotated[Caller, Depends(authenticate)]


async def read(request: Request, model: type[M]) -> tuple[M, dict[str, Any]]:
    """The JSON body, checked, and as it was sent."""
    with _worded():
        return await bodies.read(request, model)


def check(model: type[M], raw: dict[str, Any]) -> M:
    with _worded():
        return bodies.check(model, raw)


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except BadBodyError as error:
        raise invalid(error.messages, field=error.field) from None


def fingerprint(raw: Any) -> str:
    return hashlib.sha256(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def generate_key(request: Request) -> str | None:
    """The Idempotency-Key of a generation: one header, 1-128 characters of a small alphabet (section 9)."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not GENERATE_KEY.fullmatch(given[0]):
        raise ApiError(400, "INVALID_IDEMPOTENCY_KEY")
    return given[0]


def tts_key(request: Request) -> str | None:
    """The Idempotency-Key of a speech job: any 1-128 characters after trimming (section 4.2)."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    key = given[0].strip()
    if len(given) > 1 or not 1 <= len(key) <= MAX_TTS_KEY:
        raise ApiError(400, "INVALID_IDEMPOTENCY_KEY")
    return key


def query_values(request: Request, name: str) -> list[str]:
    """A multi-valued parameter in any of its three encodings: repeated, comma-separated, JSON list (section 1)."""
    values: list[str] = []
    for value in parse_qs(request.url.query).get(name, []):
        values += value.strip("[]").replace('"', "").split(",")
    return [stripped for value in values if (stripped := value.strip())]


def whole(text: str) -> int | None:
    """A number of at most nine plain digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def query_limit(request: Request) -> int | None:
    given = request.query_params.get("limit")
    if given is None:
        return None
    limit = whole(given)
    if limit is None or not 1 <= limit <= 100:
        raise invalid("limit must be a whole number from 1 to 100", field="limit")
    return limit


def check_provider(request: Request) -> None:
    if request.query_params.get("provider", "elevenlabs") != "elevenlabs":
        raise invalid("provider must be one of: elevenlabs", field="provider")


def is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def named_page(emulator: Emulator, job: Job) -> dict[str, str]:
    """The header that says where a person can watch this job: in a body the service has nothing like it."""
    return {"x-emulator-page": f"{emulator.api_url}/_emulator/jobs/{job.id}"} if emulator.house.pages else {}


def outcome(request: Request) -> dict[str, Any]:
    """How an injected fault wants the job to end, as part of its work order."""
    forced = getattr(request.state, "outcome", None)
    return {"outcome": forced} if forced else {}


def speech_price(script: str) -> float:
    return len(script) * catalog.USD_PER_CHARACTER


def require_provider(emulator: Emulator, provider: str | None) -> None:
    if provider is None and settings_of(emulator).require_provider:
        raise invalid("provider must be one of: elevenlabs", field="provider")
