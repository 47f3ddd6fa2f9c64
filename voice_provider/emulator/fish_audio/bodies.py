"""How Fish Audio reads a body: one of four encodings, with files that go to disk piece by piece."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import msgpack
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from voice_provider.emulator.fish_audio.errors import Invalid422, PlainError
from voice_provider.emulator.fish_audio.settings import settings_of
from voice_provider.emulator.world.files import WRITE_SIZE

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator

MAX_PARTS = 100

M = TypeVar("M", bound=BaseModel)


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
        limit, length = settings_of(self._emulator).fish_max_upload_bytes, 0
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
            limit = settings_of(self._emulator).fish_max_upload_bytes
            unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=limit)
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
