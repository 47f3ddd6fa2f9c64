"""What sync. labs is told: the bodies of its requests, and the checks that hold for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.base import Input, present

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_provider.services.base import Body
    from voice_provider.services.options import LipSyncOptions

PROVIDER = "elevenlabs"  # the only voice provider the service documents; required by its newest pages
MAX_SCRIPT = 5000  # characters
# options that only some models read; the service ignores the rest without a word (documentation of POST /v2/generate)
_ONLY_FOR = {"temperature": "lipsync-2", "model_mode": "react-1", "prompt": "react-1", "image": "sync-3"}


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
        active_speaker_detection=speaker.model_dump(mode="json", exclude_none=True) if speaker else None,
        occlusion_detection_enabled=options.occlusion_detection,
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


def ignored_options(options: LipSyncOptions) -> list[str]:
    """Warn of options that the model does not read."""
    return [
        f"{option} is read by {model} models only; {options.model} ignores it."
        for option, model in _ONLY_FOR.items()
        if getattr(options, option) is not None and not options.model.startswith(model)
    ]


def hosted(where: Input | Body) -> dict[str, Any]:
    """Name an input as the service knows it."""
    assert isinstance(where, Input)  # noqa: S101  # files are uploaded first, because the service hosts assets
    return {"assetId": where.asset_id} if where.asset_id else {"url": where.url}


def check_script(text: str) -> None:
    """Scripts have 1 to 5,000 characters.

    :raises InvalidInputError: empty or too long
    """
    if not text.strip():
        raise InvalidInputError("The script is empty: there is nothing to say. Nothing was paid.")
    if len(text) > MAX_SCRIPT:
        raise InvalidInputError(
            f"The script has {len(text):,} characters; sync. labs takes at most {MAX_SCRIPT:,} in one call. "
            "Split it into several tasks, for example with .expand(text=[...]). Nothing was paid."
        )
