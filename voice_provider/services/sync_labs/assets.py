"""Files that sync. labs hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError, ServiceUnavailableError
from voice_provider.services.base import Body, Flow, Request, Service, Sink, download, path_segment
from voice_provider.services.sync_labs.answers import (
    address_of,
    has_id,
    has_items,
    is_address,
    is_grant,
    is_list,
    items_of,
    read_asset,
)
from voice_provider.services.sync_labs.requests import AT_WORK, MAX_LISTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voice_provider.models import Asset

MAX_UPLOAD = 5 * 1024**3  # bytes of one presigned upload


class Assets(Service):
    """The flows that are about hosted files."""

    def upload_asset(self, body: Body, name: str) -> Flow[Asset]:
        """Ask for a presigned URL, PUT the file there, register it as an asset."""
        if body.size > MAX_UPLOAD:
            raise InvalidInputError(f"{body.name} has {body.size:,} bytes; {self.label} takes at most 5 GiB a file.")
        declared = {"fileName": body.name, "contentType": body.media_type, "size": body.size}
        ask = Request(method="POST", url="/v2/assets/upload", json=declared, repeatable=True, expects=is_grant)
        grant = (yield ask).object()
        upload_url, hosted_url = grant.get("uploadUrl"), grant.get("url")
        if not upload_url or not hosted_url:
            raise ServiceUnavailableError("The answer to POST /v2/assets/upload has no uploadUrl and url.")
        yield Request(method="PUT", url=upload_url, body=body, headers={"content-type": body.media_type}, public=True)
        kind = body.media_type.partition("/")[0].upper()
        registration = {"url": hosted_url, "type": kind, "name": name}
        register = Request(method="POST", url="/v2/assets", json=registration, expects=has_id)
        try:
            response = yield register
        except ServiceUnavailableError as error:
            if not error.sent:
                raise
            for asset in (yield from self.list_assets(search=name, limit=10)):  # the answer may have been lost
                if asset.url == hosted_url:
                    return asset
            response = yield register
        except InvalidInputError as error:
            if error.error_code != "uploaded_file_not_found":
                raise
            # Something in between has answered for the storage: the file was sent, and another try may arrive.
            raise ServiceUnavailableError(str(error), sent=False, status=error.status) from None
        return read_asset(response.object())

    def list_assets(self, *, search: str | None = None, limit: int | None = None) -> Flow[list[Asset]]:
        """List assets newest first, page by page until ``limit`` or the end."""
        found: list[Asset] = []
        params = {"sortBy": "dateDesc", "limit": str(min(limit or 100, 100))}
        if search:
            params["searchQuery"] = search
        while True:
            page = (yield Request(method="GET", url="/v2/assets", params=params, expects=has_items)).object()
            if not isinstance(items := page.get("items"), list):
                raise ServiceUnavailableError("The service answered with something else than a list of assets.")
            found += [read_asset(item) for item in items]
            cursor = page.get("nextCursor")
            if not cursor or cursor == params.get("cursor") or (limit and len(found) >= limit):
                return found[:limit]
            params = {**params, "cursor": str(cursor)}

    def get_asset(self, asset_id: str) -> Flow[Asset]:
        """Read one asset."""
        url = f"/v2/assets/{path_segment(asset_id, self.label)}"
        return read_asset((yield Request(method="GET", url=url, expects=has_id)).object())

    def update_asset(self, asset_id: str, changes: Mapping[str, Any]) -> Flow[Asset]:
        """Change name, visibility or metadata."""
        url = f"/v2/assets/{path_segment(asset_id, self.label)}"
        response = yield Request(method="PATCH", url=url, json=dict(changes), expects=has_id)
        return read_asset(response.object())

    def assets_in_use(self) -> Flow[frozenset[str]]:
        """List ids and addresses of the inputs of generations that wait or run."""
        named: set[str] = set()
        params = dict(AT_WORK)
        while True:
            page = items_of((yield Request(method="GET", url="/v2/generations", params=params, expects=is_list)))
            inputs = [item for generation in page for item in generation.get("input") or [] if isinstance(item, dict)]
            named |= {str(item[field]) for item in inputs for field in ("assetId", "url") if item.get(field)}
            if len(page) < MAX_LISTED or params.get("cursor") == page[-1].get("id"):
                return frozenset(named)
            params["cursor"] = str(page[-1].get("id"))

    def delete_asset(self, asset_id: str) -> Flow[None]:
        """Delete an asset."""
        yield Request(method="DELETE", url=f"/v2/assets/{path_segment(asset_id, self.label)}")

    def download_asset(self, asset_id: str, sink: Sink) -> Flow[None]:
        """Ask where the file is (the answer is a bare URL) and fetch it without the key."""
        url = f"/v2/assets/{path_segment(asset_id, self.label)}/download"
        answer = yield Request(method="GET", url=url, expects=is_address)
        yield from download(address_of(answer), sink)
