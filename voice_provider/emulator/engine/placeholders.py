"""Placeholders for the demo's videos, where the packages that draw and voice them are not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_provider.emulator.engine.tone import write_card

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS = {"sample": 17.6, "target": 7.0}  # as long as those that are drawn


def make_demo_clips(folder: Path, names: Sequence[str] = ("sample", "target")) -> tuple[Path, ...]:
    """Write a grey card with a tone for each clip.

    :param folder: where ``sample.mp4`` and ``target.mp4`` are written
    :param names: which of them
    :return: the files
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{name}.mp4" for name in names)
    for name, path in zip(names, paths, strict=True):
        write_card(path, SECONDS[name])
    return paths
