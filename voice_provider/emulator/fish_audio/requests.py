"""How Fish Audio reads a request: who asks, what the body holds, how many at a time, and in which shape it refuses.

Two back ends answer there (its contract, section 1). The platform (`/model*`, `/wallet*`) validates with a 422 array
and leaves framework errors in plain text; inference (`/v1/*`) says everything as `{"status", "message"}`.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgpack
from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Scope, Send

from voice_provider.emulator.fish_audio.library import library
from voice_provider.emulator.world.emulator import Emulator
from voice_provider.emulator.world.files import WRITE_SIZE
from voice_provider.emulator.world.state import Charge, FishModel

SERVICE = "fish_audio"
PATHS = ("/model", "/wallet/", "/v1/")
INFERENCE = "/v1/"

MAX_PARTS = 100
INVALID_TOKEN = "Invalid Token"  # noqa: S105 - the service's words
NO_CREDIT = (
    "Insufficient API credit. API credit is managed independently from platform credit. "
    "Please visit https://fish.audio/app/developers to view your API credit balance or add funds."
)
TOO_MANY = "You have exceeded your current concurrency limit"
MESSAGES = {401: INVALID_TOKEN, 402: NO_CREDIT, 404: "Model not found", 429: TOO_MANY}
ERROR_CODES = {401: "invalid_api_key", 402: "insufficient_balance"}

M = TypeVar("M", bound=BaseModel)


class FishError(Exception):
    """An answer other than 2xx as `{"status", "message"}` (section 2)."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body: dict[str, Any] = {"status": status, "message": message} | ({"reason": reason} if reason else {})
        code = code or ERROR_CODES.get(status)
        self.headers = (headers or {}) | ({"x-fish-error-code": code} if code else {})

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, self.headers)


class PlainError(Exception):
    """An answer of the framework below the platform: the status in words."""

    def __init__(self, status: int, text: str | None = None) -> None:
        self.status, self.text = status, text or HTTPStatus(status).description
        super().__init__(f"{status}: {self.text}")

    def response(self) -> Response:
        return PlainTextResponse(self.text, self.status)


class Invalid422(Exception):  # noqa: N818 - the shape is the name
    """The platform's field validation: a JSON array."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{item['loc']}: {item['msg']}" for item in items))
        self.items = items

    def response(self) -> Response:
        return JSONResponse(self.items, 422)


def is_fish(path: str) -> bool:
    return path == "/model" or path.startswith(("/model/", *PATHS[1:]))


def refusal(path: str, status: int) -> FishError | PlainError:
    """How an error that no endpoint raised looks under a path: unknown routes, too large, bugs."""
    if path.startswith(INFERENCE) or status >= 500:
        return FishError(status, HTTPStatus(status).phrase)
    return PlainError(status)


def ordered(path: str, status: int, code: str | None) -> FishError | PlainError:
    """What an injected fault answers with: the words that this status usually comes with."""
    if status == 401 and path.startswith("/model"):
        return PlainError(401)
    return FishError(status, MESSAGES.get(status) or HTTPStatus(status).phrase, code=code)


@dataclass(frozen=True)
class FishCaller:
    """Whose request it is, and the emulator it came to."""

    emulator: Emulator
    api_key: str
    org: str
    owner: str

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
        return self.emulator.settings.fish_credit_usd - self.emulator.state.spent(self.org, SERVICE, until=moment)

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
    if emulator.settings.fish_platform_401 == "plain":
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
    in_flight, settings = caller.emulator.in_flight, caller.emulator.settings
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
            limit = self._emulator.settings.fish_concurrency
            if limit is not None:
                marks["ratelimit-limit-concurrency"] = str(limit)
                marks["ratelimit-current-concurrency"] = str(self._emulator.in_flight.now(self._org))
            raw = [(name.encode(), value.encode()) for name, value in marks.items()]
            message = {**message, "headers": [*message.get("headers", ()), *raw]}
        await self._send(message)


# Bodies


@dataclass(frozen=True)
class UploadedFile:
    """A file out of a request, kept until the request is answered; what it is, its first bytes say."""

    path: Path
    size: int
    head: bytes


Form = dict[str, list[Any]]


@asynccontextmanager
async def read_form_or_packed(request: Request) -> AsyncIterator[Form]:
    """The body as lists of values by name, whichever of four encodings it has; binary ones as `UploadedFile`.

    Files go to disk piece by piece: multipart as it comes in, MessagePack value by value. None stands for null.
    """
    reader = _Reader(request)
    try:
        yield await reader.read()
    finally:
        for path in reader.made:
            path.unlink(missing_ok=True)


class _Reader:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._emulator: Emulator = request.app.state.emulator
        self.made: list[Path] = []

    async def read(self) -> Form:
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            match kind:
                case "multipart/form-data":
                    return await self._multipart()
                case "application/msgpack":
                    return await self._packed()
                case "application/json":
                    return _listed(json.loads(await self._body()))
                case "application/x-www-form-urlencoded":
                    return _gathered(parse_qsl((await self._body()).decode(), keep_blank_values=True))
                case "" if await self._nothing():
                    return {}  # as the official SDK sends a change of nothing
        except MultiPartException as error:
            raise PlainError(400, f"Failed to parse the request body as multipart: {error.message}") from error
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            raise PlainError(400, f"Failed to parse the request body as {kind}") from error
        except ClientDisconnect:
            raise PlainError(400) from None  # nobody reads it
        raise HTTPException(415)

    async def _pieces(self) -> AsyncIterator[bytes]:
        limit, length = self._emulator.settings.fish_max_upload_bytes, 0
        async for piece in self._request.stream():
            length += len(piece)
            if length > limit:
                raise HTTPException(413)
            yield piece

    async def _nothing(self) -> bool:
        async for piece in self._pieces():
            if piece:
                return False
        return True

    async def _body(self) -> bytes:
        return b"".join([piece async for piece in self._pieces()])

    def _path(self) -> Path:
        path = self._emulator.files.temporary()
        self.made.append(path)
        return path

    async def _multipart(self) -> Form:
        parser = MultiPartParser(self._request.headers, self._pieces(), max_files=MAX_PARTS)  # type: ignore[arg-type]
        parts = await parser.parse()
        try:
            pairs = [
                (name, await run_in_threadpool(self._keep, value) if isinstance(value, UploadFile) else value)
                for name, value in parts.multi_items()
            ]
        finally:
            await parts.close()
        return _gathered(pairs)

    def _keep(self, part: UploadFile) -> UploadedFile:
        path = self._path()
        with path.open("wb") as file:
            while piece := part.file.read(WRITE_SIZE):
                file.write(piece)
        return _uploaded(path)

    async def _packed(self) -> Form:
        body = self._path()
        with body.open("wb") as file:
            async for piece in self._pieces():
                await run_in_threadpool(file.write, piece)
        return await run_in_threadpool(self._unpack, body)

    def _unpack(self, body: Path) -> Form:
        """Take the map apart value by value, so that never more than one clip is in memory."""
        form: Form = {}
        with body.open("rb") as file, body.open("rb") as peek:
            unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=self._emulator.settings.fish_max_upload_bytes)
            for _ in range(unpacker.read_map_header()):
                name = unpacker.unpack()
                peek.seek(unpacker.tell())
                first = peek.read(1)
                several = first in (b"\xdc", b"\xdd") or (first[:1] and 0x90 <= first[0] <= 0x9F)
                count = unpacker.read_array_header() if several else 1
                form[str(name)] = [self._kept(unpacker.unpack()) for _ in range(count)]
        return form

    def _kept(self, value: Any) -> Any:
        if not isinstance(value, bytes):
            return value
        path = self._path()
        path.write_bytes(value)
        return _uploaded(path)


def _uploaded(path: Path) -> UploadedFile:
    with path.open("rb") as file:
        return UploadedFile(path, path.stat().st_size, file.read(64))


def _gathered(pairs: list[tuple[str, Any]]) -> Form:
    form: Form = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def _listed(raw: Any) -> Form:
    if not isinstance(raw, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a malformed body like any other
    return {name: value if isinstance(value, list) else [value] for name, value in raw.items()}


def check(model: type[M], values: dict[str, Any], where: str) -> M:
    """Validate as the platform does: 422 with what is wrong, `where` being "body" or "query"."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise Invalid422(
            [
                {
                    "type": problem["type"],
                    "loc": [str(part) for part in problem["loc"]],
                    "msg": problem["msg"],
                    "in": where,
                }
                for problem in problems
            ]
        ) from None


def signature(emulator: Emulator, sha256: str) -> str:
    """What proves that audio with this hash came out of voice design here (section 3.1)."""
    return hmac.new(bytes.fromhex(emulator.state.meta("signing_key")), sha256.encode(), hashlib.sha256).hexdigest()
