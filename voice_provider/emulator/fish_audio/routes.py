"""Fish Audio as a whole: the routes of its two back ends, the platform's and inference's."""

from fastapi import APIRouter

from voice_provider.emulator.fish_audio import asr, design, live, models, speech, wallet

router = APIRouter()
router.include_router(models.router)
router.include_router(wallet.router)
# Inference: speech, live speech, recognition, voice design
router.include_router(speech.router)
router.include_router(live.router)
router.include_router(asr.router)
router.include_router(design.router)
