"""How sync. labs registers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.emulator.sync_labs import catalog, control, errors, routes
from voice_provider.emulator.sync_labs.requests import SERVICE
from voice_provider.emulator.sync_labs.settings import SyncLabsSettings
from voice_provider.emulator.sync_labs.webhooks import Webhooks
from voice_provider.emulator.world.half import Half

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from voice_provider.emulator.world.emulator import Emulator


def _mark(send: Send, emulator: Emulator, scope: Scope) -> Send:  # noqa: ARG001
    """Every answer says which engine is behind it: in a header, because the service's bodies have no place for it."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            name = (b"x-emulator-engine", emulator.engine.name.encode())
            message = {**message, "headers": [*message.get("headers", ()), name]}
        await send(message)

    return marked


def _join(emulator: Emulator) -> None:
    emulator.jobs.on_end(Webhooks(emulator).notify)


SYNC_LABS = Half(
    service=SERVICE,
    paths=("/v2/",),
    router=routes.router,
    refuse=errors.refuse,
    ordered=errors.ordered,
    settings=SyncLabsSettings,
    price=catalog.price,
    mark=_mark,
    control=control.router,
    join=_join,
)
