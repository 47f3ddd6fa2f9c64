"""How Fish Audio registers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.emulator.fish_audio import control, errors, routes
from voice_provider.emulator.fish_audio.requests import SERVICE, Marked
from voice_provider.emulator.fish_audio.settings import FishSettings
from voice_provider.emulator.fish_audio.state import FishModel
from voice_provider.emulator.world.half import Half

if TYPE_CHECKING:
    from voice_provider.emulator.world.emulator import Emulator


def _summary(emulator: Emulator) -> dict[str, Any]:
    return {"models": emulator.state.tally(FishModel.TABLE, "org")}


def _voices(emulator: Emulator) -> list[tuple[str, str]]:
    return [
        (str(model.data["title"]), model.id)
        for model in emulator.state.find(FishModel, "builtin IS NULL ORDER BY created_at DESC")
    ]


FISH_AUDIO = Half(
    service=SERVICE,
    paths=errors.PATHS,
    router=routes.router,
    refuse=errors.refuse,
    ordered=errors.ordered,
    settings=FishSettings,
    rows=(FishModel,),
    mark=Marked,
    control=control.router,
    summary=_summary,
    voices=_voices,
)
