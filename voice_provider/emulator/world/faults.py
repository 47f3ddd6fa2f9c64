"""Faults on order: replies that come late, broken or never, with the work done or not.

A rule matches requests by method and path; the outermost ASGI layer carries it out on the real socket.
`status` speaks for the service, in its own words. `edge_before` and `edge_after` speak for something in front of it (a
gateway, a proxy, a block page), before the service has seen the request or after it has done the work.
Some let the request pass and decide what comes of it: `job_failed` and `job_rejected` how the job will end, and
`speech_swapped`, `speech_cut`, `speech_silenced` and `speech_other_voice` what is really said in the speech, which is
good media, and billed as ordered. (On a live socket these four do nothing.)
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from voice_provider.emulator.world.refusals import phrase

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from voice_provider.emulator.world.state import State

    # An error as a service words it, by status and the code that was ordered, if any.
    Words = Callable[[int, str | None], Response]

Kind = Literal[
    "status",
    "html",
    "edge_before",
    "edge_after",
    "drop_before",
    "drop_after",
    "slow",
    "truncate",
    "truncate_clean",
    "empty",
    "corrupt",
    "redirect",
    "job_failed",
    "job_rejected",
    "speech_swapped",
    "speech_cut",
    "speech_silenced",
    "speech_other_voice",
]

EDGE: tuple[Kind, ...] = ("edge_before", "edge_after")

BLOCK_PAGE = (
    "<!DOCTYPE html><html><head><title>Attention Required!</title></head>"
    "<body><h1>Sorry, you have been blocked</h1></body></html>"
)
JUNK = b"this is not media. "
# What gateways answer with, by the form that was ordered; the status in words is put in.
EDGES = {
    "html": ("text/html", "<html><head><title>{status} {phrase}</title></head><body><hr>nginx</body></html>"),
    "json": ("application/json", '{{"message": "{phrase}"}}'),
    "text": ("text/plain", "upstream connect error or disconnect/reset before headers"),
}


class FaultRule(BaseModel):
    """When a fault strikes and what it does. `times` null is always; `after` lets the first n matches pass.

    An edge says `body` if there is one, else what gateways say in its `form`, by default a page with a 502. Swapped
    speech says `body`, else the words of a line that is always the same. Speech is cut after a `share` of it (default
    0.5), and silent from there on (default 0: all of it).
    """

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    method: str | None = None
    path: str = "*"
    times: int | None = Field(default=1, ge=1)
    after: int = Field(default=0, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    status: int | None = Field(default=None, ge=200, le=599)
    code: str | None = None
    body: Any = None
    form: Literal["html", "json", "text"] = "html"
    headers: dict[str, str] = {}
    seconds: float | None = Field(default=None, ge=0)
    bytes: int | None = Field(default=None, ge=0)
    location: str | None = None
    share: float | None = Field(default=None, ge=0, le=1)


@dataclass
class _Armed:
    id: str
    rule: FaultRule
    seen: int
    fired: int

    def strikes(self, method: str, path: str) -> bool | None:
        """None if the request is not meant; else whether the fault strikes it (both are counted)."""
        rule = self.rule
        if (rule.method and rule.method.upper() != method) or not fnmatchcase(path, rule.path):
            return None
        self.seen += 1
        if self.seen <= rule.after or (rule.times is not None and self.fired >= rule.times):
            return False
        # One seeded draw per match: the same history gives the same faults, also across a restart.
        chance = random.Random(f"{rule.seed}:{self.seen}").random()  # noqa: S311 - not a secret
        if chance >= rule.probability:
            return False
        self.fired += 1
        return True


class Faults:
    """The rules in force, kept in the database with their counts."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._armed: list[_Armed] = []
        self.reload()

    def reload(self) -> None:
        self._armed = [
            _Armed(fault_id, FaultRule.model_validate_json(rule), seen, fired)
            for fault_id, rule, seen, fired in self._state.fault_rows()
        ]

    def add(self, rule: FaultRule) -> str:
        fault_id = uuid.uuid4().hex[:8]
        self._state.add_fault(fault_id, rule.model_dump_json())
        self._armed.append(_Armed(fault_id, rule, 0, 0))
        return fault_id

    def remove(self, fault_id: str | None = None) -> None:
        self._state.drop_faults(fault_id)
        self.reload()

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"id": armed.id, "seen": armed.seen, "fired": armed.fired} | armed.rule.model_dump(exclude_defaults=True)
            for armed in self._armed
        ]

    def strike(self, method: str, path: str) -> FaultRule | None:
        """The first rule that strikes this request; rules before it that matched are counted, too."""
        for armed in self._armed:
            verdict = armed.strikes(method, path)
            if verdict is None:
                continue
            self._state.count_fault(armed.id, armed.seen, armed.fired)
            if verdict:
                return armed.rule
        return None


def transport_of(send: Send) -> asyncio.Transport:
    """The socket under a request. ASGI has no word for it; uvicorn's `send` is a method of the object that holds it."""
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return transport


async def gone(receive: Receive) -> None:
    """Wait until the server knows that the connection is closed, so that it does not try to answer."""
    while not (await receive())["type"].endswith(".disconnect"):
        pass


async def inflict(
    rule: FaultRule,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    transport: asyncio.Transport,
    words: Words,
) -> None:
    """Carry a rule out on a request; `words` are those of the service that it was sent to."""
    match rule.kind:
        case "status" | "html" | "redirect" | "edge_before":
            await _drain(receive)
            await _reply(rule, words, send)
        case "edge_after":
            await app(scope, receive, _discard)
            await _reply(rule, words, send)
        case "drop_before":
            await _drain(receive, rule.bytes)
            transport.abort()
            await gone(receive)
        case "drop_after":
            await app(scope, receive, _discard)
            transport.abort()
            await gone(receive)
        case "truncate":
            await app(scope, receive, _Truncate(rule, send, keep_length=True))
            transport.close()  # after what was written has left
            await gone(receive)
        case "truncate_clean" | "empty":
            await app(scope, receive, _Truncate(rule, send, keep_length=False))
        case "corrupt":
            await app(scope, receive, _Corrupt(send))
        case "slow":
            await app(scope, receive, _Slow(rule, send))
        case "job_failed" | "job_rejected":
            scope.setdefault("state", {})["outcome"] = {
                "status": "FAILED" if rule.kind == "job_failed" else "REJECTED",
                "code": rule.code or "pipeline_failed",
                "message": rule.body or "The emulator was told to let this job end badly.",
            }
            await app(scope, receive, send)
        case "speech_swapped" | "speech_cut" | "speech_silenced" | "speech_other_voice":
            scope.setdefault("state", {})["speech"] = rule.model_dump(include={"kind", "share", "body"})
            await app(scope, receive, send)


async def inflict_live(
    rule: FaultRule,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    transport: asyncio.Transport,
    words: Words,
) -> None:
    """The same on a live socket: a handshake refused, or frames that come late, broken or no more."""
    match rule.kind:
        case "status" | "html" | "redirect" | "edge_before" | "edge_after":
            await receive()
            await _reply(rule, words, lambda message: send({**message, "type": f"websocket.{message['type']}"}))
        case "drop_before":
            transport.abort()
            await gone(receive)
        case _:
            await app(scope, receive, _Frames(rule, send, transport))


async def _drain(receive: Receive, limit: int | None = None) -> None:
    """Read the request's body (or its first bytes) and forget it."""
    read = 0
    while limit is None or read < limit:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return
        read += len(message.get("body", b""))


async def _discard(_: Message) -> None:
    """A reply that nobody gets."""


async def _reply(rule: FaultRule, words: Words, send: Send) -> None:
    headers = {"content-type": "application/json"}
    if rule.kind == "html":
        status, body = rule.status or 403, str(rule.body or BLOCK_PAGE)
        headers["content-type"] = "text/html; charset=UTF-8"
    elif rule.kind in EDGE:
        status = rule.status or 502
        headers["content-type"], said = EDGES[rule.form]
        written = rule.body if isinstance(rule.body, str) else json.dumps(rule.body)
        body = said.format(status=status, phrase=phrase(status)) if rule.body is None else written
    elif rule.kind == "redirect":
        status, body = rule.status or 302, ""
        headers["location"] = rule.location or "http://127.0.0.1:9/"
    else:
        status = rule.status or 500
        answer = words(status, rule.code)
        headers |= dict(answer.headers)
        written = rule.body if isinstance(rule.body, str) else json.dumps(rule.body)
        body = written if rule.body else bytes(answer.body).decode()
    content = body.encode()
    raw = {key.lower(): value for key, value in (headers | rule.headers).items()} | {
        "content-length": str(len(content))
    }
    start = [(key.encode(), value.encode()) for key, value in raw.items()]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})


def _with_length(message: Message, length: int) -> Message:
    headers = [(key, value) for key, value in message["headers"] if key.lower() != b"content-length"]
    return {**message, "headers": [*headers, (b"content-length", str(length).encode())]}


def _length(message: Message) -> int | None:
    return next((int(value) for key, value in message["headers"] if key.lower() == b"content-length"), None)


class _Truncate:
    """Pass on only the first bytes of the body: `rule.bytes`, half of it if unset, none for "empty".

    Of a body that streams without a length, half is its first piece.
    """

    def __init__(self, rule: FaultRule, send: Send, *, keep_length: bool) -> None:
        self._rule, self._send, self._keep_length = rule, send, keep_length
        self._left: int | None = None if rule.kind != "empty" else 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            length = _length(message)
            if self._rule.kind == "empty":
                message = _with_length({**message, "status": 200}, 0)
            elif length is None:
                self._left = self._rule.bytes
            else:
                self._left = min(length // 2 if self._rule.bytes is None else self._rule.bytes, length)
                message = message if self._keep_length else _with_length(message, self._left)
            await self._send(message)
            return
        body = message.get("body", b"")
        piece = body[: self._left]
        if self._left is not None or body:
            self._left = (len(body) if self._left is None else self._left) - len(piece)
        last = not message.get("more_body", False)
        if piece or (last and not self._keep_length):
            await self._send({"type": "http.response.body", "body": piece, "more_body": self._keep_length or not last})


class _Corrupt:
    """The right number of bytes, none of them media."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            length = len(message.get("body", b""))
            message = {**message, "body": (JUNK * (length // len(JUNK) + 1))[:length]}
        await self._send(message)


class _Slow:
    """`seconds` before the reply; with `bytes`, again before every so many bytes of it (real time, not the clock's)."""

    def __init__(self, rule: FaultRule, send: Send) -> None:
        self._seconds = 1.0 if rule.seconds is None else rule.seconds
        self._size = rule.bytes
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(self._seconds)
            await self._send(message)
            return
        body = message.get("body", b"")
        if self._size:
            while len(body) > self._size:
                await self._send({"type": "http.response.body", "body": body[: self._size], "more_body": True})
                body = body[self._size :]
                await asyncio.sleep(self._seconds)
        await self._send({**message, "body": body})


class _Frames:
    """`send` of a live socket. `bytes` is how much arrives before the cut, the first frame if unset."""

    def __init__(self, rule: FaultRule, send: Send, transport: asyncio.Transport) -> None:
        self._rule, self._send, self._transport = rule, send, transport
        self._left = 0 if rule.kind in ("drop_after", "empty") else rule.bytes
        self._cut = False

    async def __call__(self, message: Message) -> None:
        kind = self._rule.kind
        if self._cut:
            return
        if kind == "slow":
            await asyncio.sleep(1.0 if self._rule.seconds is None else self._rule.seconds)
        elif message["type"] == "websocket.send":
            frame = message.get("bytes") or (message.get("text") or "").encode()
            if kind == "corrupt":
                message = {"type": "websocket.send", "bytes": (JUNK * (len(frame) // len(JUNK) + 1))[: len(frame)]}
            elif kind in ("drop_after", "empty", "truncate", "truncate_clean"):
                if self._left is not None and self._left < len(frame):
                    await self._end(clean=kind in ("empty", "truncate_clean"))
                    return
                self._left = 0 if self._left is None else self._left - len(frame)
        await self._send(message)

    async def _end(self, *, clean: bool) -> None:
        self._cut = True
        if clean:
            await self._send({"type": "websocket.close", "code": 1000})
        else:
            self._transport.abort()
