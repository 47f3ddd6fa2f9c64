"""Who asks Fish Audio, what they may, and how many at a time."""

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Message, Scope, Send

from voice_provider.emulator.fish_audio.errors import INVALID_TOKEN, NO_CREDIT, TOO_MANY, FishError, PlainError
from voice_provider.emulator.fish_audio.library import library
from voice_provider.emulator.fish_audio.settings import FishSettings, settings_of
from voice_provider.emulator.fish_audio.state import FishModel
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.state import Charge

SERVICE = "fish_audio"


@dataclass(frozen=True)
class FishCaller:
    """Whose request it is, and the emulator it came to."""

    emulator: Emulator
    api_key: str
    org: str
    owner: str

    @property
    def settings(self) -> FishSettings:
        return settings_of(self.emulator)

    def charge(self, kind: str, ref: str, units: float, unit: str, usd: float, sha256: str) -> Charge:
        """A line for the bill, not saved yet. There is nothing to wait for: it is settled."""
        return Charge(
            seq=None,
            service=SERVICE,
            kind=kind,
            org=self.org,
            job_id=ref,
            idempotency_key=None,
            units=units,
            unit=unit,
            usd=usd,
            at=self.emulator.clock.now(),
            request_sha256=sha256,
            settled=1,
            refunded=0,
        )

    def credit(self, *, until: float | None = None) -> float:
        """What is left of the API wallet, at a moment or now."""
        moment = self.emulator.clock.now() if until is None else until
        return self.settings.fish_credit_usd - self.emulator.state.spent(self.org, SERVICE, until=moment)

    def check_credit(self) -> None:
        """Answer 402 if the wallet is empty; on paid models this comes before any validation (section 2)."""
        if self.credit() <= 0:
            raise FishError(402, NO_CREDIT)

    def own_model(self, model_id: str) -> FishModel | None:
        return self.emulator.state.first(FishModel, "id = ? AND org = ?", model_id, self.org)

    def model_for(self, voice_id: str) -> FishModel | None:
        """A voice model that this caller may see: their own, or one that is not private."""
        if model := library(self.emulator).get(voice_id):
            return model
        where = "id = ? AND (org = ? OR visibility != 'private')"
        return self.emulator.state.first(FishModel, where, voice_id, self.org)

    def voice_of(self, model: FishModel) -> str | Path:
        """What the engine takes as `voice`."""
        if model.profile:
            return self.emulator.files.path("voices", model.profile)
        return model.builtin or self.emulator.engine.builtin_voices[0]


def identify(connection: HTTPConnection) -> FishCaller | None:
    """The account of a bearer token, or None; for requests and for live sockets."""
    emulator: Emulator = connection.app.state.emulator
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    account = emulator.state.account(key.strip()) if scheme.lower() == "bearer" else None
    return FishCaller(emulator, key.strip(), *account) if account else None


async def platform_caller(connection: HTTPConnection) -> FishCaller:
    caller = identify(connection)
    if caller is None:
        raise unauthorized(connection)
    return caller


def unauthorized(connection: HTTPConnection) -> FishError | PlainError:
    emulator: Emulator = connection.app.state.emulator
    if settings_of(emulator).fish_platform_401 == "plain":
        return PlainError(401)
    return FishError(401, INVALID_TOKEN)


async def inference_caller(connection: HTTPConnection) -> FishCaller:
    caller = identify(connection)
    if caller is None:
        raise FishError(401, INVALID_TOKEN)
    return caller


PlatformCaller = Annotated[FishCaller, Depends(platform_caller)]
InferenceCaller = Annotated[FishCaller, Depends(inference_caller)]


@contextmanager
def slot(caller: FishCaller) -> Iterator[None]:
    """Hold one of the account's concurrent requests, or answer 429 (section 10: all endpoints of inference together).

    An answer that streams enters it before its first byte and leaves it after its last.
    """
    in_flight, settings = caller.emulator.in_flight, caller.settings
    if settings.fish_concurrency is not None and in_flight.now(caller.org) >= settings.fish_concurrency:
        wait = settings.fish_retry_after
        raise FishError(429, TOO_MANY, headers={} if wait is None else {"Retry-After": str(wait)})
    with in_flight.hold(caller.org):
        yield


class Marked:
    """`send`, adding the headers that every answer of Fish Audio carries, errors and injected faults too."""

    def __init__(self, send: Send, emulator: Emulator, scope: Scope) -> None:
        self._send, self._emulator = send, emulator
        _, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        account = emulator.state.account(key.strip()) if key else None
        self._org = account[0] if account else ""

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            marks = {"x-fish-trace-id": uuid.uuid4().hex}
            limit = settings_of(self._emulator).fish_concurrency
            if limit is not None:
                marks["ratelimit-limit-concurrency"] = str(limit)
                marks["ratelimit-current-concurrency"] = str(self._emulator.in_flight.now(self._org))
            raw = [(name.encode(), value.encode()) for name, value in marks.items()]
            message = {**message, "headers": [*message.get("headers", ()), *raw]}
        await self._send(message)


def signature(emulator: Emulator, sha256: str) -> str:
    """What proves that audio with this hash came out of voice design here (section 3.1)."""
    return hmac.new(bytes.fromhex(emulator.state.meta("signing_key")), sha256.encode(), hashlib.sha256).hexdigest()
