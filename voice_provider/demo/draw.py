"""A process of its own that makes clips of the demo; their paths are printed as JSON, by their names.

Arguments: folder, engine, names. The local engine draws and voices them, the other one makes placeholders.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    folder, engine, *names = sys.argv[1:]
    # By name: the engine's packages are an extra, and nothing but this process needs them.
    maker = import_module(f"voice_provider.emulator.engine.{'clips' if engine == 'local' else 'placeholders'}")
    made = maker.make_demo_clips(Path(folder), names)
    print(json.dumps({name: str(path) for name, path in zip(names, made, strict=True)}))  # noqa: T201 - for the parent


if __name__ == "__main__":
    main()
