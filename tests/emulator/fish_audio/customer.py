"""A customer of the emulator's Fish Audio, who writes plain HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from voice_provider.emulator import API_KEY

FIELDS = {"type": "tts", "train_mode": "fast", "title": "Ada"}


class FishCustomer(httpx.Client):
    """Calls the API as a customer's own code would, by plain HTTP."""

    def __init__(self, url: str, key: str | None = API_KEY) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        super().__init__(base_url=url, headers=headers, timeout=30, verify=False)

    def create(self, *clips: bytes, cover: bytes | None = None, **fields: Any) -> httpx.Response:
        """As the official SDK sends it: neither names nor types of files say anything. None leaves a field out."""
        parts = [("voices", ("upload", clip, "application/octet-stream")) for clip in clips]
        if cover is not None:
            parts.append(("cover_image", ("upload", cover, "application/octet-stream")))
        data = {name: value for name, value in (FIELDS | fields).items() if value is not None}
        return self.post("/model", data=data, files=parts or {"nothing": ("upload", b"", "text/plain")})

    def model(self, *clips: bytes, **fields: Any) -> dict[str, Any]:
        answer = self.create(*clips, **fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def state(self, model_id: str) -> str:
        return self.get(f"/model/{model_id}").json()["state"]

    def titles(self, /, **query: Any) -> list[str]:
        return [model["title"] for model in self.get("/model", params=query).json()["items"]]
