"""Sends a service's requests with httpx: the key, the retries and the errors, for the worker and for the triggerer.

Invariants:

- The key goes only to the connection's origin. Redirects are never followed with it (httpx would keep ``x-api-key``
  across origins), and files behind public URLs are sent and fetched without it.
- What may have been accepted and paid is never sent again, unless it carries an idempotency key. Such a request also
  never travels on a connection that was idle: a server that has just closed it would leave the outcome unknown.
- Only the service's own words are believed. A page, foreign JSON or bare text, of any status, says nothing of what
  became of a request: of one that pays the outcome is unknown, of the others it is an outage.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import ssl
import threading
import time
from contextvars import ContextVar
from functools import cache, partial
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode, urljoin
from weakref import WeakKeyDictionary

import httpx

from voice_provider import __version__
from voice_provider.exceptions import ServiceUnavailableError, VoiceError
from voice_provider.hooks import metrics
from voice_provider.hooks.addresses import origin
from voice_provider.hooks.attempts import ATTEMPTS, in_time, retrying
from voice_provider.hooks.heads import bounded, head_within
from voice_provider.hooks.reading import ACCEPTED, Pace, Unpacker, Whole, let_go
from voice_provider.hooks.targets import Targets
from voice_provider.services.base import Flow, Request, Response, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity
    from airflow.sdk.types import Logger

    from voice_provider.hooks.settings import Settings
    from voice_provider.services.base import Body, Sink

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
# Bytes a second that a file comes with at least. What is being made and paid is waited for as long as it moves at all.
READY, IN_THE_MAKING = 1024, 16
MAX_REDIRECTS = 3  # of a file behind a public URL
# UnicodeError: a host name that no resolver takes, such as a..b
_NO_ATTEMPT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, UnicodeError)
# Many waits share few connections: each request costs about a millisecond of the triggerer's one thread.
CONNECTIONS = 8
# Seconds: httpcore looks at every idle connection twice a request, so those that a rush has left behind are let go.
_LIMITS = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=15)


# A proxy of the environment is not asked for this machine: it could not reach it, and it would see the key.
_DIRECT: dict[str, None] = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
_sending: ContextVar[bool] = ContextVar("voice_provider_sending", default=False)
# They log whole URLs, and those of files carry their signature. What matters of a request is logged here.
for _chatty in ("httpx", "httpcore.http11"):
    logging.getLogger(_chatty).addFilter(lambda _: not _sending.get())


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for all clients: building it costs 20 ms of CPU."""
    return httpx.create_ssl_context()


_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, httpx.AsyncClient]] = WeakKeyDictionary()


def _async_client(settings: Settings) -> httpx.AsyncClient:
    """Return the client that all waits of one account share on this event loop."""
    clients = _async_clients.setdefault(asyncio.get_running_loop(), {})
    client = clients.get(settings.account)
    if client is None or client.is_closed:
        client = clients[settings.account] = httpx.AsyncClient(verify=_ssl_context(), limits=_LIMITS, mounts=_DIRECT)
    return client


class Transport:
    """Runs flows against one connection.

    :param settings: the checked connection
    :param service: the dialect of its service
    :param log: where attempts are reported
    """

    attempts = ATTEMPTS  # fewer where a person waits

    def __init__(self, settings: Settings, service: Service, log: Logger) -> None:
        self.settings = settings
        self._targets = Targets(settings)
        self._service = service
        self._log = log
        self._client: httpx.Client | None = None
        self.until = math.inf  # monotonic time at which the wait ends that all this is for
        self._making = threading.Lock()  # many lines are asked after at a time

    def run(self, flow: Flow[T], attempts: int | None = None, until: float = math.inf) -> T:
        """Drive a flow to its end on the worker.

        :param attempts: how often a request is sent at most; default: ``self.attempts``
        :param until: monotonic time after which nobody waits for the answer: from then on a question is asked once, and
             is given up after ``LAST_QUESTION``; what orders, deletes or moves a file has all its time
        """
        often, until = attempts or self.attempts, min(until, self.until)
        return self._drive(flow, lambda request: self._send_often(request, often, until))

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow on the triggerer: small JSON only, and one attempt, because its caller asks again anyway."""
        try:
            request = next(flow)
            while True:
                try:
                    response = await self._asend(request)
                except VoiceError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(response)
        except StopIteration as stop:
            return cast("T", stop.value)

    def close(self) -> None:
        """Close the connections to the service."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @staticmethod
    def _drive(flow: Flow[T], send: Callable[[Request], Response]) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    response = send(request)
                except VoiceError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(response)
        except StopIteration as stop:
            return cast("T", stop.value)

    # attempts

    def _send_often(self, request: Request, attempts: int, until: float) -> Response:
        """Send, again where that is safe; an order whose fate one sending leaves open makes what follows doubtful."""
        open_ended = False

        def send() -> Response:
            nonlocal open_ended
            try:
                return self._send(in_time(request, until))
            except VoiceError as error:
                error.doubtful = error.doubtful or open_ended
                unknown = isinstance(error, ServiceUnavailableError) and error.sent
                open_ended = open_ended or (request.method == "POST" and unknown)
                raise

        return retrying(request, attempts, until, report=partial(self._report, request, attempts))(send)

    def _report(self, request: Request, attempts: int, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._log.info(
            "%s %s did not succeed (try %d of %d), again in %.1f s: %s",
            request.method,
            "file" if request.public else request.url.partition("?")[0],
            state.attempt_number,
            attempts,
            state.upcoming_sleep,
            error,
        )

    def _send(self, request: Request) -> Response:
        if not request.may_repeat:
            with self._new_client() as client:
                return self._send_with(client, request)
        with self._making:
            client = self._client = self._client or self._new_client()
        return self._send_with(client, request)

    @staticmethod
    def _new_client() -> httpx.Client:
        return bounded(httpx.Client(verify=_ssl_context(), limits=_LIMITS, mounts=_DIRECT))

    def _answer(
        self, client: httpx.Client, request: Request, until: float = math.inf, **different: Any
    ) -> httpx.Response:
        """Send, and return an answer whose body is still to come."""
        message = self._build(client, request, **different)
        with head_within(self._seconds(request), until):
            return client.send(message, stream=True)

    def _send_with(self, client: httpx.Client, request: Request) -> Response:
        quiet = _sending.set(True)
        try:
            if request.sink is not None:
                return self._download(client, request)
            until = math.inf if request.at_most is None else time.monotonic() + request.at_most
            answer = self._answer(client, request, until)
            try:
                content = self._whole(request, answer, until)
            finally:
                answer.close()
                let_go(answer)
        except (httpx.HTTPError, UnicodeError) as error:
            raise self._no_answer(request, error) from None
        finally:
            _sending.reset(quiet)
        return self._read(request, answer, content)

    def _whole(self, request: Request, answer: httpx.Response, until: float = math.inf) -> bytes:
        whole = Whole(answer, self._seconds(request), until)
        for raw in answer.iter_raw():
            whole.add(raw)
        return whole.content(self.settings.key)

    def _seconds(self, request: Request) -> float:
        """Return how long an answer may take."""
        return min(max(request.timeout or 0, self.settings.timeout), request.at_most or math.inf)

    async def _asend(self, request: Request) -> Response:
        client = _async_client(self.settings)
        quiet = _sending.set(True)
        try:
            answer = await client.send(self._build(client, request), stream=True)
            try:
                whole = Whole(answer, self._seconds(request))
                async for raw in answer.aiter_raw():
                    whole.add(raw)
            finally:
                await answer.aclose()
                let_go(answer)
        except (httpx.HTTPError, UnicodeError) as error:
            raise self._no_answer(request, error) from None
        finally:
            _sending.reset(quiet)
        return self._read(request, answer, whole.content(self.settings.key))

    def _download(self, client: httpx.Client, request: Request) -> Response:
        """Stream into the sink; a repeated GET goes on where the last one stopped, if the host can."""
        sink = request.sink
        assert sink is not None  # noqa: S101  # the caller looked
        if sink.position and request.method != "GET":
            sink.restart()  # what is made anew is not the rest of what was made before
        url = request.url
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"accept-encoding": "identity"}  # else a position in the file is not one in the transfer
            if sink.position:
                headers["range"] = f"bytes={sink.position}-"
            answer = self._answer(client, request, url=url, headers=headers)
            try:
                if answer.has_redirect_location and request.public:
                    url = _moved(url, answer)
                    continue
                if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    sink.restart()
                    continue
                head = Response(status=answer.status_code, headers=_headers(answer))
                if not answer.is_success or not (request.public or request.expects(head)):
                    return self._read(request, answer, self._whole(request, answer))
                if sink.position and not _goes_on(answer, sink.position):
                    sink.restart()
                    if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                        continue
                self._store(request, answer, sink)
                return head
            finally:
                answer.close()
                let_go(answer)
        raise ServiceUnavailableError("The file's storage answers in circles; nothing was kept.")

    def _store(self, request: Request, answer: httpx.Response, sink: Sink) -> None:
        """Write a file as it comes; no more than the connection allows, whatever its head says."""
        unpacker, most = Unpacker(answer.headers.get("content-encoding", "")), self.settings.max_download
        pace = Pace(READY if request.method == "GET" else IN_THE_MAKING, self._seconds(request))
        for raw in answer.iter_raw():
            pace.add(len(raw))
            for piece in unpacker.pieces(raw):
                if sink.position + len(piece) > most:
                    raise ServiceUnavailableError(
                        f"The file is longer than {most // 1024**2:,} MiB: no result of the service is. If it should "
                        f"be, set max_download_mb in connection '{self.settings.conn_id}'."
                    )
                sink.write(piece)

    # one message

    def _build(
        self,
        client: httpx.Client | httpx.AsyncClient,
        request: Request,
        *,
        url: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Request:
        try:
            target = self._targets.of(request, url or request.url)
        except ValueError:
            raise ServiceUnavailableError("The service gave an address that cannot be used.") from None
        at_home = not request.public and origin(target) == origin(self.settings.base_url)
        target, named, extensions = self._targets.pinned(target, public=request.public)
        agent = f"airflow-provider-voice/{__version__}"
        sent = {"user-agent": agent, "accept-encoding": ACCEPTED, **named, **request.headers, **(headers or {})}
        if request.body is not None:
            sent["content-length"] = str(request.body.size)  # else httpx would send chunks, which presigned PUTs refuse
        if at_home:
            sent |= self._service.key_headers(self.settings.key)
        seconds = self._seconds(request)
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))
        form: dict[str, list[str]] = {}
        for name, value in request.form:
            form.setdefault(name, []).append(value)
        files = [(name, (body.name, cast("IO[bytes]", _Reader(body)), body.media_type)) for name, body in request.files]
        try:
            message = client.build_request(
                request.method,
                target,
                json=request.json,
                data=form or None,
                files=files or None,
                content=request.body.chunks() if request.body else None,
                headers=sent,
                timeout=timeout,
                extensions=extensions,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ServiceUnavailableError(f"The service gave an address that cannot be used: {error}.") from None
        if request.params:  # past httpx, which looks at each letter of an address: a hundred ids are a long question
            query = urlencode(request.params, doseq=True).encode()
            message.extensions["target"] = message.url.raw_path + b"?" + query
        return message

    def _read(self, request: Request, answer: httpx.Response, content: bytes) -> Response:
        response = Response(status=answer.status_code, headers=_headers(answer), content=content)
        if answer.is_success:
            if not request.public and not request.expects(response):
                raise self._foreign(request, response)
            return response
        if answer.has_redirect_location:
            where = answer.next_request.url.host if answer.next_request else "another address"
            raise ServiceUnavailableError(
                f"{request.method} {request.url.partition('?')[0]} was redirected to {where}. Redirects are not "
                f"followed, so that the key stays with its service. Check the base URL of the connection.",
                status=answer.status_code,
            )
        if not request.public and not self._service.speaks(request, response):
            raise self._foreign(request, response)
        raise metrics.limits(self._service.error(request, response), self._service.name)

    def _foreign(self, request: Request, response: Response) -> ServiceUnavailableError:
        """Return the error for an answer that is not the service's: what came says nothing of what was done."""
        label = self._service.label
        unknown = "" if request.may_repeat else f" Whether {label} got the request is unknown."
        return ServiceUnavailableError(
            f"{request.method} {request.url.partition('?')[0]}: {response.status} came with {_shown(response)}, which "
            f"is no answer of {label}.{unknown} Something in between (a proxy, a gateway, a login page) answers for "
            f"it: check the network, and the base URL of connection '{self.settings.conn_id}'.",
            foreign=True,
            status=response.status,
            retry_after=response.retry_after,
        )

    def _no_answer(self, request: Request, error: Exception) -> VoiceError:
        sent = not isinstance(error, _NO_ATTEMPT)
        where = "the file host" if request.public else f"{self._service.label} ({self.settings.base_url})"
        kind = type(error).__name__
        if not sent:
            return ServiceUnavailableError(
                f"{where} could not be reached ({kind}). Check the network and the base URL of connection "
                f"'{self.settings.conn_id}'.",
                sent=False,
            )
        what = "the file transfer" if request.public else f"{request.method} {request.url.partition('?')[0]}"
        return ServiceUnavailableError(f"{where} gave no complete answer to {what} ({kind}).", sent=True)


class _Reader:
    """A body as the file that httpx reads for a multipart part; it asks for the length by seeking to the end."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._pieces = body.chunks()
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def tell(self) -> int:
        return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return self._body.size + offset
        self._pieces, self._rest = self._body.chunks(), b""
        return 0


def _moved(url: str, answer: httpx.Response) -> str:
    try:
        return urljoin(url, answer.headers["location"])
    except ValueError:
        raise ServiceUnavailableError("The file's storage redirects to an address that cannot be used.") from None


def _goes_on(answer: httpx.Response, position: int) -> bool:
    """Whether the host sends the rest of the file, and from where it was asked to."""
    sent = answer.headers.get("content-range", f"bytes {position}-")
    return answer.status_code == httpx.codes.PARTIAL_CONTENT and sent.startswith(f"bytes {position}-")


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _shown(response: Response) -> str:
    """Say what came, short and in one line; of a success no values, because it may repeat what was sent."""
    title = re.search(r"<title[^>]*>([^<]{1,100})", response.text, re.IGNORECASE)
    if title:
        return f"a page '{_line(title[1], 100)}'"
    if response.is_page or response.text.lstrip().startswith("<"):
        return "a page"
    if not response.content.strip():
        return "an empty body"
    refused = response.status >= httpx.codes.BAD_REQUEST
    body = response.object()
    said = next((body[name] for name in ("message", "error", "detail") if isinstance(body.get(name), str)), None)
    if response.json() is not None:
        return f"JSON of another form ('{_line(said, 100)}')" if said and refused else "JSON of another form"
    kind = response.media_type or "text"
    return f"{kind} ('{_line(response.text, 100)}')" if refused else kind


def _line(text: str, longest: int) -> str:
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:longest].rstrip()
