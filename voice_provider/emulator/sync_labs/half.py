"""How sync. labs registers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.emulator.sync_labs import catalog, control, errors, routes
from voice_provider.emulator.sync_labs.requests import SERVICE
from voice_provider.emulator.sync_labs.settings import SyncLabsSettings
from voice_provider.emulator.sync_labs.webhooks import Webhooks
from voice_provider.emulator.world.half import Half

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator


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
    control=control.router,
    join=_join,
)
