"""A process of its own that draws and voices the two clips of the demo; their paths are printed as JSON."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    # By name: the engine's packages are an extra, and nothing but this process needs them.
    clips = import_module("voice_provider.emulator.engine.clips")
    print(json.dumps([str(path) for path in clips.make_demo_clips(Path(sys.argv[1]))]))  # noqa: T201 - for the parent


if __name__ == "__main__":
    main()
