"""The process: how it starts, stops, dies and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.emulator.customer import LINE, Customer, web
from voice_provider.emulator import API_KEY
from voice_provider.emulator.__main__ import start_settings
from voice_provider.emulator.process import EmulatorError, EmulatorProcess

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "voice_provider.emulator", "--engine", "tone", "--data-dir"]


def launch(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, str(data_dir), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_json_line_when_ready_and_exit_0_on_a_signal(tmp_path, number):
    process = launch(tmp_path)
    facts = json.loads(process.stdout.readline())
    assert web.get(f"{facts['url']}/_emulator/health").json()["status"] == "ok"
    assert facts.keys() == {"url", "storage_url", "api_key", "pid", "engine", "data_dir"}
    assert (facts["pid"], facts["engine"], facts["data_dir"]) == (process.pid, "tone", str(tmp_path))
    assert facts["url"].startswith("http://127.0.0.1:")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=10)
    assert (process.returncode, rest) == (0, "")


def test_it_stops_promptly_with_a_held_job_a_slow_reply_and_a_long_poll(own_emulator, video, sample):
    with Customer(own_emulator.url) as customer:
        own_emulator.settings(job_seconds=3600)
        own_emulator.fault("slow", "/v2/models", seconds=60)
        job = customer.post("/v2/generate", json=order_of(customer, video, sample)).json()["id"]

        def ask(path: str) -> None:
            with pytest.raises(httpx.TransportError):
                web.get(f"{own_emulator.url}{path}", headers={"x-api-key": API_KEY}, timeout=30)

        threads = [
            threading.Thread(target=ask, args=(path,))
            for path in ("/v2/models", f"/v2/generate/{job}?wait=true&timeout=10")
        ]
        for thread in threads:
            thread.start()
        while len([entry for entry in own_emulator.requests() if entry["method"] == "GET"]) < 2:
            time.sleep(0.01)
        began = time.monotonic()
        assert own_emulator.stop() == 0
        assert time.monotonic() - began < 4
        for thread in threads:
            thread.join(5)


def order_of(customer: Customer, video: bytes, sample: bytes) -> dict[str, object]:
    visual = {"type": "video", "url": customer.upload(video, "v.mp4", "video/mp4")}
    return {"model": "lipsync-2", "input": [visual, {"type": "audio", "url": customer.upload(sample)}]}


def test_it_comes_back_whole_after_kill_9(own_emulator, video, sample):
    with Customer(own_emulator.url) as customer:
        voice = customer.clone(customer.upload(sample)).json()["id"]
        speech = customer.post("/v2/tts", json={"voiceId": voice, "script": LINE}).json()
        asset = customer.asset(sample)
        own_emulator.settings(job_seconds=3600)
        own_emulator.fault("status", "/v2/models", status=500, times=2)
        assert customer.get("/v2/models").status_code == 500
        headers = {"Idempotency-Key": "k"}
        order = order_of(customer, video, sample)
        held = customer.post("/v2/generate", json=order, headers=headers).json()["id"]
        bill, addresses = own_emulator.ledger(), (own_emulator.url, own_emulator.storage_url)
        assert own_emulator.kill() == -signal.SIGKILL
    own_emulator.start()
    assert (own_emulator.url, own_emulator.storage_url) == addresses
    assert own_emulator.ledger() == bill
    with Customer(own_emulator.url) as customer:
        assert customer.get(f"/v2/voices/{voice}").status_code == 200
        assert customer.post("/v2/tts", json={"voiceId": voice, "script": LINE}).status_code == 200
        assert web.get(speech["url"]).status_code == 200
        assert customer.get(f"/v2/assets/{asset['id']}").json() == asset
        assert [customer.get("/v2/models").status_code for _ in range(2)] == [500, 200]
        assert customer.post("/v2/generate", json=order, headers=headers).json()["id"] == held
        assert customer.get(f"/v2/generate/{held}").json()["status"] in ("PENDING", "PROCESSING")
        own_emulator.advance(3600)
        done = customer.job(f"/v2/generate/{held}")
        assert done["status"] == "COMPLETED"
        assert web.get(done["outputUrl"]).status_code == 200
    assert [row["job_id"] for row in own_emulator.ledger("lip_sync")] == [held]


def test_an_upload_cut_by_kill_9_is_no_upload_and_can_be_repeated(own_emulator):
    with Customer(own_emulator.url) as customer:
        grant = customer.presign("big.mp4", "video/mp4", 64 * 1024 * 1024)

        def body():
            for number in range(64):
                if number == 32:
                    own_emulator.kill()
                yield bytes(1024 * 1024)

        headers = {"Content-Type": "video/mp4", "Content-Length": str(64 * 1024 * 1024)}
        with pytest.raises(httpx.TransportError):
            web.put(grant["uploadUrl"], content=body(), headers=headers)
    own_emulator.start()
    assert web.get(grant["url"]).status_code == 404
    assert list((own_emulator.data_dir / "files" / "tmp").iterdir()) == []
    assert web.put(grant["uploadUrl"], content=b"short", headers={"Content-Type": "video/mp4"}).status_code == 200


def test_a_clone_cut_by_kill_9_gives_its_slot_back(own_emulator, sample):
    own_emulator.settings(clone_slots=1)
    with Customer(own_emulator.url) as customer:
        url = customer.upload(sample)
    own_emulator.kill()
    import sqlite3

    with sqlite3.connect(own_emulator.data_dir / "state.sqlite") as state:  # the row of a clone in the making
        state.execute("INSERT INTO voices VALUES ('v', 'sync_labs', 'main', 'half made', 'v', NULL, 0, 0)")
    own_emulator.start()
    with Customer(own_emulator.url) as customer:
        assert customer.clone(url).status_code == 201


def test_changed_settings_survive_a_restart_and_end_with_a_reset(tmp_path):
    with EmulatorProcess(tmp_path, engine="tone", settings={"clone_slots": 4}) as emulator:
        emulator.settings(concurrency=9)
        emulator.advance(500)
        emulator.restart()
        settings = emulator.settings()
        assert (settings["clone_slots"], settings["concurrency"]) == (4, 9)
        assert emulator.state()["clock_offset"] == 500
        emulator.reset()
        settings = emulator.settings()
        assert (settings["clone_slots"], settings["concurrency"]) == (4, 3)


def test_a_second_emulator_on_the_same_folder_is_refused(own_emulator):
    second = launch(own_emulator.data_dir)
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out) == (1, "")
    assert f"Another emulator (process {own_emulator.pid})" in err
    assert own_emulator.state()["active"] == 0


def test_a_port_in_use_and_an_unknown_setting_are_told(own_emulator, tmp_path):
    port = own_emulator.url.rpartition(":")[2]
    for arguments, message in (
        (["--port", port], f"Port {port} on 127.0.0.1 cannot be used"),
        (["--set", "slots=3"], "Unknown setting: slots"),
    ):
        process = launch(tmp_path, *arguments)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert message in err
        assert "Traceback" not in err
    with pytest.raises(ValueError, match="write it as key=value"):
        start_settings(["slots"])


def test_it_ends_with_its_parent_when_asked_to(tmp_path):
    process = launch(tmp_path, "--exit-with-parent")
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
    process.stderr.close()


def test_a_failed_start_shows_the_log(tmp_path):
    with pytest.raises(EmulatorError, match="Unknown setting: nonsense"):
        EmulatorProcess(tmp_path, engine="tone", settings={"nonsense": 1}).start()


def test_users_get_the_fixture_by_installing_the_package(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nvoice_emulator_engine = tone\n")
    (tmp_path / "test_mine.py").write_text(
        "def test_first(voice_emulator):\n"
        "    voice_emulator.seed_voices(['mine'])\n"
        "    assert voice_emulator.state()['voices'] == {'main': 1}\n"
        "def test_second(voice_emulator):\n"
        "    assert voice_emulator.engine == 'tone'\n"
        "    assert voice_emulator.state()['voices'] == {}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}  # for this run alone
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_nothing_heavy():
    heavy = ("fastapi", "uvicorn", "airflow", "httpx", "numpy", "pydantic", "voice_provider.emulator.process")
    code = (
        "import sys, pytest, voice_provider.emulator.pytest_plugin; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
