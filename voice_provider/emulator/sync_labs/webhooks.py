"""Signed notifications of finished generations, to loopback only (contract section 10)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any

from voice_provider.emulator.sync_labs.generations import error_code, generation_json
from voice_provider.emulator.sync_labs.requests import SERVICE
from voice_provider.emulator.world.urls import is_loopback

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator
    from voice_provider.emulator.world.state import Job, State

log = logging.getLogger(__name__)

TIMEOUT = 5.0
PAYLOAD = ("status", "createdAt", "id", "input", "model", "options", "outputDuration", "outputUrl", "webhookUrl")


def secret_of(state: State, org: str) -> str:
    """The organization's signing secret, made when it is first asked for."""
    key = f"webhook_secret:{org}"
    if state.meta(key) is None:
        state.set_meta(key, "whsec_" + secrets.token_urlsafe(24))
    return str(state.meta(key))


def signature(secret: str, timestamp: int, body: bytes) -> str:
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Webhooks:
    """Calls the customer back once per finished generation, without retries (their policy is not documented)."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._sending: set[asyncio.Task[None]] = set()

    def notify(self, job: Job) -> None:
        url = job.request.get("webhookUrl")
        if job.service != SERVICE or job.kind != "lip_sync" or not url:
            return
        if not is_loopback(url):
            log.warning("Job %s: webhook not sent, its address is not on loopback", job.id)
            return
        task = asyncio.get_running_loop().create_task(self._send(job, url))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, job: Job, url: str) -> None:
        import httpx  # noqa: PLC0415 - few emulators call anybody back, and it is a tenth of what their start imports

        body = json.dumps(self._payload(job), separators=(",", ":")).encode()
        signed = signature(secret_of(self._emulator.state, job.org), int(self._emulator.clock.now()), body)
        headers = {"Content-Type": "application/json", "Sync-Signature": signed}
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
                answer = await client.post(url, content=body, headers=headers)
            log.info("Job %s: webhook answered %d", job.id, answer.status_code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("Job %s: webhook failed: %s", job.id, type(error).__name__)

    def _payload(self, job: Job) -> dict[str, Any]:
        generation = generation_json(self._emulator, job)
        payload = {name: generation[name] for name in PAYLOAD if generation.get(name) is not None}
        if generation["error"]:
            payload |= {"error": generation["error"], "error_code": error_code(job)}
        if payload["status"] == "REJECTED":  # the payload knows two states only
            payload["status"] = "FAILED"
        return payload
