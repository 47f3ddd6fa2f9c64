"""Signed notifications (contract section 10)."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def inbox():
    """A customer's web server: its address, and what arrives there."""
    arrived: queue.Queue[tuple[str, bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            arrived.put((self.headers["Sync-Signature"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", arrived
    server.shutdown()
    server.server_close()


def test_a_finished_generation_is_told_and_signed(customer, order, inbox):
    url, arrived = inbox
    secret = customer.get("/v2/organizations/webhook/secret").json()["secret"]
    job = customer.post("/v2/generate", json=order | {"webhookUrl": url}).json()
    signature, body = arrived.get(timeout=5)
    parts = dict(part.split("=", 1) for part in signature.split(","))
    expected = hmac.new(secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert secret.startswith("whsec_")
    assert parts["v1"] == expected
    told = json.loads(body)
    assert (told["id"], told["status"], told["webhookUrl"]) == (job["id"], "COMPLETED", url)
    assert told["outputUrl"]
    assert not {"outputFileName", "projectId", "synthesizedAudioUrl", "engine", "pageUrl"} & told.keys()


def test_a_failed_generation_is_told_with_its_snake_case_code(customer, order, inbox, voice_emulator):
    url, arrived = inbox
    voice_emulator.fault("job_rejected", "/v2/generate", code="account_on_hold", body="on hold")
    customer.post("/v2/generate", json=order | {"webhookUrl": url})
    told = json.loads(arrived.get(timeout=5)[1])
    assert (told["status"], told["error"], told["error_code"]) == ("FAILED", "on hold", "account_on_hold")


def test_other_machines_are_never_called_and_dead_hooks_do_no_harm(customer, order):
    for url in ("https://example.org/hook", "http://127.0.0.1:9/hook"):
        job = customer.post("/v2/generate", json=order | {"webhookUrl": url}).json()
        assert customer.job(f"/v2/generate/{job['id']}")["status"] == "COMPLETED"


def test_secrets_differ_between_organizations(customer, stranger):
    path = "/v2/organizations/webhook/secret"
    assert customer.get(path).json() == customer.get(path).json() != stranger.get(path).json()
