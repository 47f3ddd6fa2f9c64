"""The rooms of the package: none imports one above it, and a service's name stays in its folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import voice_provider
from tests.conftest import ROOT
from tests.import_graph import circles, graph, modules

# From the ground up; a room imports only those before it. Rooms of one line may import each other.
ROOMS = (
    ("voice_provider", "exceptions", "models", "compat"),
    ("money",),
    ("services",),
    ("files",),
    ("trust",),
    ("hooks",),
    ("jobs",),
    ("lines",),
    ("triggers",),
    ("links", "retries"),
    ("operators",),
    ("sensors", "groups"),
    ("commands", "emulator"),
    ("demo",),
    ("cli", "get_provider_info", "plugin", "ui"),
)
# A package's front door names what stands behind it for type checkers; at run time it imports when it is asked.
FRONT_DOORS = {"voice_provider", "voice_provider.operators", "voice_provider.sensors"}
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
SERVICES = r"sync_labs|fish_audio"
# Where a service is named outside its folder, its hook and its half of the emulator, and why.
NAMED = {
    "services/forms.py": "the list of services, a line each",
    "services/fish_audio/dialect.py": "the message that says which connection does a lip sync instead",
    "services/sync_labs/dialect.py": "the messages that say which connection does what it lacks instead",
}


def room_of(module: str) -> str:
    """Return the room of a module."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def test_there_is_no_circle() -> None:
    edges = {name: set() if name in FRONT_DOORS else targets for name, targets in graph().items()}
    assert circles(edges) == []
    assert circles(graph(types_too=False)) == []


def test_no_room_imports_one_above_it() -> None:
    upwards = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        if name not in FRONT_DOORS
        for target in targets
        if LEVEL[room_of(target)] > LEVEL[room_of(name)]
    ]
    assert upwards == []


def test_the_emulator_shares_no_code_with_the_client() -> None:
    shared = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        if room_of(name) == "emulator"
        for target in targets
        if room_of(target) != "emulator"
    ]
    assert shared == []


def test_at_most_ten_modules_stand_at_the_top() -> None:
    assert len(list((ROOT / "voice_provider").glob("*.py"))) <= 10


def test_a_service_is_named_in_its_own_places_only() -> None:
    named = set()
    for path in modules().values():
        place = path.relative_to(ROOT / "voice_provider")
        own = (
            place.stem if place.parts[0] == "hooks" else next((p for p in place.parts if re.fullmatch(SERVICES, p)), "")
        )
        if place.parts[0] in ("emulator", "demo"):
            continue  # the emulator has a test of its own; the demo shows a service to people
        if any(name != own for name in re.findall(SERVICES, path.read_text())):
            named.add(place.as_posix())
    assert named == NAMED.keys()


@pytest.mark.parametrize("package", ["voice_provider", "voice_provider.operators", "voice_provider.sensors"])
def test_a_front_door_leads_to_what_it_names(package: str) -> None:
    door = __import__(package, fromlist=["__all__"])
    assert sorted(door.__all__) == sorted(dir(door))
    for name in door.__all__:
        assert getattr(door, name) is not None
    with pytest.raises(AttributeError, match="TTSOperater"):
        _ = door.TTSOperater


def test_a_front_door_imports_only_what_is_asked_for() -> None:
    code = (
        "import gc, sys; gc.disable(); from voice_provider.operators import DeleteVoiceOperator; "
        "assert 'voice_provider.operators.voice' in sys.modules; "
        "assert 'voice_provider.operators.clone' not in sys.modules; "
        "assert 'voice_provider.sensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_operator_and_sensor_that_people_use_stands_at_a_front_door() -> None:
    for room in ("operators", "sensors"):
        door = __import__(f"voice_provider.{room}", fromlist=["__all__"])
        classes = set()
        for path in (Path(voice_provider.__path__[0]) / room).glob("*.py"):
            classes |= set(re.findall(r"^class (\w+(?:Operator|Sensor))\(", path.read_text(), re.MULTILINE))
        bases = {
            "VoiceOperator",
            "JobOperator",
            "ResultOperator",
            "TrackOperator",
            "VoiceSensor",
            "JobSensor",
            "CompletionSensor",
        }
        assert set(door.__all__) == classes - bases


def test_type_checkers_see_the_front_doors(tmp_path: Path) -> None:
    use = tmp_path / "use.py"
    use.write_text(
        "from voice_provider import VoiceHook\n"
        "from voice_provider.operators import TTSOperator\n"
        "from voice_provider.sensors import TTSCompleteSensor\n"
        "reveal_type(VoiceHook)\nreveal_type(TTSOperator)\nreveal_type(TTSCompleteSensor)\n"
    )
    config = tmp_path / "mypy.ini"  # what others have made is not read: it would take ten times as long
    config.write_text("[mypy]\nfollow_imports = skip\n[mypy-voice_provider.*]\nfollow_imports = normal\n")
    command = [sys.executable, "-m", "mypy", f"--config-file={config}", f"--cache-dir={tmp_path}", str(use)]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout
    assert shown.count('Revealed type is "def (') == 3, shown


@pytest.mark.parametrize(
    "path",
    [
        "voice_provider.links.ResultLink",
        "voice_provider.links.JobLink",
        "voice_provider.groups.ephemeral_voice",
        "voice_provider.retries.VoiceRetryPolicy",
        "voice_provider.retries.voice_retry_policy",
        "voice_provider.emulator.pytest_plugin.voice_emulator",
        "voice_provider.emulator.pytest_plugin.run_voice_dag",
        "voice_provider.emulator.process.EmulatorProcess",
        "voice_provider.hooks.voice.VoiceHook",
        "voice_provider.hooks.sync_labs.SyncLabsHook",
        "voice_provider.hooks.fish_audio.FishAudioHook",
        "voice_provider.triggers.job.JobTrigger",
        "voice_provider.triggers.turn.TurnTrigger",
        *(
            f"voice_provider.operators.{path}"
            for path in (
                "asset.UploadAssetOperator",
                "asset.DeleteAssetOperator",
                "cleanup.CleanupVoicesOperator",
                "clone.CloneVoiceOperator",
                "lip_sync.LipSyncOperator",
                "speech.TTSOperator",
                "voice.DeleteVoiceOperator",
                "voice.UpdateVoiceOperator",
            )
        ),
        *(
            f"voice_provider.sensors.{path}"
            for path in (
                "job.VoiceTrainedSensor",
                "job.TTSCompleteSensor",
                "job.LipSyncCompleteSensor",
                "slot.VoiceSlotSensor",
            )
        ),
    ],
)
def test_what_a_running_deployment_has_stored_is_still_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(__import__(module, fromlist=[name]), name)
