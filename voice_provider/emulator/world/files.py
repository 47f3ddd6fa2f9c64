"""The storage host: presigned PUTs, stable asset URLs and result URLs that expire.

It answers on an origin of its own, as at real services, so a client that carries its key along is found out.
Errors are S3's XML. A file becomes visible by a rename, never half-written.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import shutil
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from voice_provider.emulator.world import urls
from voice_provider.emulator.world.refusals import Refusal
from voice_provider.emulator.world.settings import GIB
from voice_provider.emulator.world.state import Job, Upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from voice_provider.emulator.world.clock import Clock
    from voice_provider.emulator.world.settings import House
    from voice_provider.emulator.world.state import State

log = logging.getLogger(__name__)

MAX_PUT = 5 * GIB
# One hop to a thread per MiB keeps a 2 GiB upload near the speed of the disk and the loop free meanwhile.
WRITE_SIZE = 1024 * 1024
DATE_FORM = "%Y%m%dT%H%M%SZ"


class StorageError(Refusal):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
            f"<RequestId>{uuid.uuid4().hex[:16].upper()}</RequestId></Error>"
        )
        return Response(body, self.status, media_type="application/xml")


@dataclass(frozen=True)
class StoredFile:
    """A file behind one of our URLs: where it lies, whose it is and what it is called."""

    path: Path
    org: str
    name: str
    upload: Upload | None = None


class BigFileResponse(FileResponse):
    chunk_size = WRITE_SIZE


class Files:
    """The folder of files: names of things in it, and the URLs they have."""

    FOLDERS = ("uploads", "speech", "results", "voices")

    def __init__(self, root: Path) -> None:
        self.root = root
        self._make_folders()
        for leftover in (root / "tmp", *root.parent.glob("trash-*")):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        (root / "tmp").mkdir()

    def _make_folders(self) -> None:
        for folder in (*self.FOLDERS, "tmp"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def path(self, folder: str, name: str) -> Path:
        return self.root / folder / name

    def temporary(self, suffix: str = "") -> Path:
        return self.root / "tmp" / f"{uuid.uuid4().hex}{suffix}"

    def clear(self) -> None:
        """Empty the folders at once: move aside what holds something, delete it in the background."""
        full = [folder for name in (*self.FOLDERS, "tmp") if any((folder := self.root / name).iterdir())]
        if not full:
            return
        trash = self.root.with_name(f"trash-{uuid.uuid4().hex}")
        trash.mkdir()
        for folder in full:
            folder.rename(trash / folder.name)
        self._make_folders()
        threading.Thread(target=shutil.rmtree, args=(trash,), kwargs={"ignore_errors": True}, daemon=True).start()


class Storage:
    """The HTTP side of the files; `url` is its origin, known once its socket is bound."""

    def __init__(self, state: State, files: Files, clock: Clock, house: Callable[[], House]) -> None:
        self.url = ""
        self._state, self._files, self._clock, self._house = state, files, clock, house
        self._key = bytes.fromhex(state.meta("signing_key"))

    # URLs

    def upload_url(self, upload: Upload) -> str:
        seconds = self._house().upload_url_seconds
        return self._signed("PUT", _upload_path(upload), seconds, content_type=upload.content_type)

    def asset_url(self, upload: Upload) -> str:
        return self.url + _upload_path(upload)

    def speech_url(self, job: Job) -> str:
        path = f"/speech/{job.id}/speech.{job.result['format']}"
        if self._house().speech_urls == "signed":
            return self._signed("GET", path, self._house().result_url_seconds)
        return self.url + path

    def result_url(self, job: Job, name: str | None = None) -> str:
        return self._signed("GET", f"/results/{job.id}/{quote(name or job.id)}.mp4", self._house().result_url_seconds)

    def token(self, job_id: str) -> str:
        """What opens a job's result at another host than this one."""
        return str(uuid.UUID(self._signature("TOKEN", job_id)[:32]))

    def _signed(self, method: str, path: str, seconds: int, *, content_type: str = "") -> str:
        date = datetime.fromtimestamp(self._clock.now(), UTC).strftime(DATE_FORM)
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "content-type;host" if content_type else "host",
            "X-Amz-Signature": self._signature(method, path, date, str(seconds), content_type),
        }
        return f"{self.url}{path}?{urlencode(query)}"

    def _signature(self, *parts: str) -> str:
        return hmac.new(self._key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()

    def _check(self, request: Request, *, content_type: str = "") -> None:
        query = request.query_params
        given = query.get("X-Amz-Signature")
        date, seconds = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        if not given:
            raise StorageError(403, "AccessDenied", "Access Denied")
        path = quote(request.scope["path"])
        if not hmac.compare_digest(given, self._signature(request.method, path, date, seconds, content_type)):
            raise StorageError(
                403, "SignatureDoesNotMatch", "The signature does not match the method, path, dates or Content-Type."
            )
        signed_at = datetime.strptime(date, DATE_FORM).replace(tzinfo=UTC).timestamp()
        if self._clock.now() > signed_at + int(seconds):
            raise StorageError(403, "AccessDenied", "Request has expired")

    def locate(self, url: str) -> StoredFile | None:
        """The stored file behind a URL of this storage host; None if the URL is elsewhere or leads nowhere."""
        parts = urls.split(url)
        if parts is None or f"{parts.scheme}://{parts.netloc}" != self.url:
            return None
        return self._file(unquote(parts.path))

    def is_ours(self, url: str) -> bool:
        return url.startswith(self.url + "/")

    def _file(self, path: str) -> StoredFile | None:
        match path.strip("/").split("/"):
            case ["uploads", upload_id, name]:
                upload = self._state.first(Upload, "id = ?", upload_id)
                if upload is None or upload.size is None or upload.file_name != name:
                    return None
                return StoredFile(self._files.path("uploads", upload.id), upload.org, name, upload)
            case ["speech" | "results" as folder, job_id, name]:
                job = self._state.first(Job, "id = ?", job_id)
                file = job and job.result.get(folder)
                if not job or not file:
                    return None
                return StoredFile(self._files.path(folder, file), job.org, name)
        return None

    # HTTP

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        for header in ("x-api-key", "authorization"):
            if header in request.headers:
                self._state.record_leak(self._clock.now(), request.method, request.scope["path"], header)
        try:
            if request.method == "PUT":
                response = await self._put(request)
            elif request.method in ("GET", "HEAD"):
                response = self._get(request)
            else:
                raise StorageError(405, "MethodNotAllowed", "The method is not allowed here.")  # noqa: TRY301
        except StorageError as error:
            response = error.response()
        except ClientDisconnect:
            return
        except OSError as error:  # disk full, or everything was reset during an upload
            log.warning("%s %s: %s", request.method, request.scope["path"], error)
            response = StorageError(500, "InternalError", "We encountered an internal error.").response()
        await response(scope, receive, send)

    def _get(self, request: Request) -> Response:
        path = request.scope["path"]
        if path.startswith("/results/") or "X-Amz-Signature" in request.query_params:
            self._check(request)
        elif path.startswith("/speech/") and self._house().speech_urls == "signed":
            raise StorageError(403, "AccessDenied", "Access Denied")
        file = self._file(path)
        if file is None or not file.path.exists():
            raise StorageError(404, "NoSuchKey", "The specified key does not exist.")
        return BigFileResponse(file.path, media_type=media_type(file))

    async def _put(self, request: Request) -> Response:
        match request.scope["path"].strip("/").split("/"):
            case ["uploads", upload_id, _]:
                upload = self._state.first(Upload, "id = ?", upload_id)
            case _:
                upload = None
        if upload is None:
            raise StorageError(403, "AccessDenied", "Access Denied")
        self._check(request, content_type=request.headers.get("content-type", ""))
        if "transfer-encoding" in request.headers:
            raise StorageError(501, "NotImplemented", "A header you provided implies functionality not implemented.")
        if "content-length" not in request.headers:
            raise StorageError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        length = int(request.headers["content-length"])
        if length > MAX_PUT:
            raise StorageError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        temporary = self._files.temporary()
        try:
            await receive_file(request, temporary)
            temporary.rename(self._files.path("uploads", upload.id))
        finally:
            temporary.unlink(missing_ok=True)
        upload.size = length
        self._state.update(upload)
        return Response(status_code=200, headers={"ETag": f'"{upload.id}-{length:x}"'})


async def receive_file(request: Request, path: Path) -> None:
    """Write a request's body to a file, piece by piece; raises `ClientDisconnect` if it ends early."""
    pieces: list[bytes] = []
    waiting = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        async for piece in request.stream():
            pieces.append(piece)
            waiting += len(piece)
            if waiting >= WRITE_SIZE:
                await run_in_threadpool(_write, descriptor, pieces)
                pieces, waiting = [], 0
        _write(descriptor, pieces)
    finally:
        os.close(descriptor)


def _write(descriptor: int, pieces: list[bytes]) -> None:
    view = memoryview(b"".join(pieces))
    while view:
        view = view[os.write(descriptor, view) :]


def _upload_path(upload: Upload) -> str:
    return f"/uploads/{upload.id}/{quote(upload.file_name)}"


def media_type(file: StoredFile) -> str:
    if file.upload is not None:
        return file.upload.content_type
    return {"mp4": "video/mp4", "mp3": "audio/mpeg", "wav": "audio/wav"}.get(
        file.name.rpartition(".")[2], "application/octet-stream"
    )
