"""A customer of the emulator, who writes plain HTTP."""

from __future__ import annotations

import time
from typing import Any

import httpx

from voice_provider.emulator import API_KEY

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + (640).to_bytes(4) + (360).to_bytes(4)
# For requests without a key. All is plain HTTP: loading certificates would take longer than the tests.
web = httpx.Client(verify=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
LINE = "A line that nobody has said before."


class Customer(httpx.Client):
    """Calls the API as a customer's own code would, by plain HTTP."""

    def __init__(self, url: str, key: str = API_KEY) -> None:
        super().__init__(base_url=url, headers={"x-api-key": key}, timeout=30, verify=False)

    def presign(self, name: str = "sample.wav", content_type: str = "audio/wav", size: int = 1) -> dict[str, Any]:
        answer = self.post("/v2/assets/upload", json={"fileName": name, "contentType": content_type, "size": size})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def upload(self, data: bytes, name: str = "sample.wav", content_type: str = "audio/wav") -> str:
        """Presign and PUT; returns the file's URL."""
        grant = self.presign(name, content_type, len(data))
        put = web.put(grant["uploadUrl"], content=data, headers={"Content-Type": content_type})
        assert put.status_code == 200, put.text
        return grant["url"]

    def asset(self, data: bytes, name: str = "sample.wav", content_type: str = "audio/wav", **more: Any) -> dict:
        kind = content_type.partition("/")[0].upper()
        answer = self.post("/v2/assets", json={"url": self.upload(data, name, content_type), "type": kind} | more)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def clone(self, sample_url: str, name: str = "Ada") -> httpx.Response:
        return self.post("/v2/voices", json={"name": name, "provider": "elevenlabs", "url": sample_url})

    def builtin(self) -> str:
        return self.get("/v2/voices").json()[0]["id"]

    def job(self, path: str) -> dict[str, Any]:
        """Ask until the job has ended."""
        deadline = time.monotonic() + 10
        while (body := self.get(path).json())["status"] in ("PENDING", "PROCESSING"):
            assert time.monotonic() < deadline, body
            time.sleep(0.005)
        return body
