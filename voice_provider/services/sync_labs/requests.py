"""What sync. labs is told: the bodies of its requests, and the checks that hold for all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.base import Input, present
from voice_provider.services.lip_sync import ActiveSpeaker
from voice_provider.services.texts import SSML, Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.services.base import Body
    from voice_provider.services.lip_sync import LipSyncOptions

PROVIDER = "elevenlabs"  # the only voice provider the service documents; required by its newest pages
TRANSCRIPTIONS = "/v2/transcriptions"
MAX_SCRIPT = 5000  # characters
MAX_LISTED = 100  # generations in one answer
AT_WORK: dict[str, str | list[str]] = {"status": ["PENDING", "PROCESSING"], "limit": str(MAX_LISTED)}
# The service documents no marks; it hands the script on to its voice provider, whose help pages say what that does.
MARKUP = Markup(
    marks=re.compile(r"<\|[^|>]*\|>|\[[^\[\]]*\]"),
    others=(
        (
            re.compile(r"<break\b[^<>]*>", re.IGNORECASE),
            (
                "The script has {tag}: the service documents no SSML; its voice provider makes a pause of up to 3 s of "
                '<break time="1.5s" />, with most of its voices.'
            ),
        ),
        (
            re.compile(rf"(?!<break\b)(?:{SSML.pattern})", re.IGNORECASE),
            "The script has tags such as {tag}: the service documents no SSML, and may read them out. Leave them out.",
        ),
        (
            re.compile(r"<\|[^|>]*\|>|\[[^\[\]]*\]|\((?:long-)?break\)"),
            "The script has marks in brackets: the service documents none, and may read them out. Leave them out.",
        ),
    ),
)
MODELS = ("sync-3", "lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta", "react-1")
PICTURES = "sync-3"  # which takes a picture instead of a video
EMOTIONS = ("happy", "sad", "angry", "disgusted", "surprised", "neutral")  # of react-1's prompt
# options that only some models read; the service ignores the rest without a word (documentation of POST /v2/generate)
_ONLY_FOR = {"temperature": "lipsync-2", "model_mode": "react-1", "prompt": "react-1"}


def generation(options: LipSyncOptions, inputs: Sequence[Input]) -> dict[str, Any]:
    """Write the body of ``POST /v2/generate``; camelCase, but snake_case inside ``options``."""
    visual, *recordings = inputs
    items = [{"type": "video" if options.video is not None else "image", **hosted(visual)}]
    items += [
        {"type": "audio", **hosted(where), **present(refId=item.ref_id)}
        for item, where in zip(options.audio, recordings, strict=True)
    ]
    for text in options.text:
        voice = {"name": PROVIDER, "voiceId": text.voice_id, "script": text.text}
        voice |= present(stability=text.stability, similarityBoost=text.similarity_boost)
        items.append({"type": "text", "provider": voice, **present(refId=text.ref_id)})
    speaker = options.active_speaker
    settings = present(
        sync_mode=options.sync_mode,
        model_mode=options.model_mode,
        prompt=options.prompt,
        temperature=options.temperature,
        active_speaker_detection=speaker
        if isinstance(speaker, bool) or speaker is None
        else speaker.model_dump(mode="json", exclude_none=True),
        occlusion_detection_enabled=options.occlusion_detection,
        reasoning_enabled=options.reasoning_enabled,
    )
    dub = options.dub_language
    return {
        "model": options.model,
        "input": items,
        **({"options": settings} if settings else {}),
        **present(
            segments=[s.model_dump(mode="json", by_alias=True, exclude_none=True) for s in options.segments] or None,
            dubParams={"providerName": PROVIDER, "targetLang": dub, "sourceLang": options.dub_source_language}
            if dub
            else None,
            outputFileName=options.output_file_name,
            projectId=options.project_id,
        ),
    }


def check_model(options: LipSyncOptions) -> list[str]:
    """Check what is asked for against the model; warn of options that it does not read.

    :raises InvalidInputError: the model cannot do it
    """
    model = options.model
    warnings = [
        f"{option} is read by {reader} models only; {model} ignores it."
        for option, reader in _ONLY_FOR.items()
        if getattr(options, option) is not None and not model.startswith(reader)
    ]
    if options.image is not None and not model.startswith(PICTURES):
        problem = f"image is taken by model {PICTURES} only, not by {model}"
        if model in MODELS:
            raise InvalidInputError(f"{problem}. Set model='{PICTURES}', or give video. Nothing was uploaded or paid.")
        warnings.append(f"{problem}, as far as is known.")
    speaker = options.active_speaker
    if options.image is not None and (speaker is True or (isinstance(speaker, ActiveSpeaker) and speaker.auto_detect)):
        raise InvalidInputError(
            "active_speaker cannot be found out in a picture: give frame_number=0 and coordinates of the face, or "
            "leave it out. Nothing was uploaded or paid."
        )
    if options.prompt is not None and model.startswith(_ONLY_FOR["prompt"]) and options.prompt not in EMOTIONS:
        raise InvalidInputError(
            f"prompt is '{options.prompt[:60]}'; {model} takes one of {', '.join(EMOTIONS)}. Nothing was uploaded or "
            "paid."
        )
    return warnings


def hosted(where: Input | Body) -> dict[str, Any]:
    """Name an input as the service knows it."""
    assert isinstance(where, Input)  # noqa: S101  # files are uploaded first, because the service hosts assets
    return {"assetId": where.asset_id} if where.asset_id else {"url": where.url}


def check_script(text: str) -> list[str]:
    """Scripts have something to say, and at most 5,000 characters; return warnings.

    :raises InvalidInputError: empty, nothing to say, or too long
    """
    warnings = MARKUP.check(text)
    if len(text) > MAX_SCRIPT:
        raise InvalidInputError(
            f"The script has {len(text):,} characters; sync. labs takes at most {MAX_SCRIPT:,} in one call. "
            "SpeakLinesOperator cuts a longer one into lines: give it as a .txt or .md file, lines=. Nothing was paid."
        )
    return warnings
