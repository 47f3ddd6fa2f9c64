"""Fish Audio as a whole: the routes of its two back ends, the platform's and inference's."""

from fastapi import APIRouter

from voice_provider.emulator import (
    fish_audio_asr,
    fish_audio_design,
    fish_audio_live,
    fish_audio_models,
    fish_audio_speech,
    fish_audio_wallet,
)

router = APIRouter()
router.include_router(fish_audio_models.router)
router.include_router(fish_audio_wallet.router)
# Inference: speech, live speech, recognition, voice design
router.include_router(fish_audio_speech.router)
router.include_router(fish_audio_live.router)
router.include_router(fish_audio_asr.router)
router.include_router(fish_audio_design.router)
