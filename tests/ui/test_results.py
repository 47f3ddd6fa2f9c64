"""Results on the page: they play and can be checked, and an XCom cannot make the API server read what it likes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.conftest import answered, forging
from voice_provider.operators.speech import TTSOperator
from voice_provider.ui import results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

HERE = "connections/voice_default"
PASSWD = Path("/etc/passwd")
VOICE = "EXAVITQu4vr4xnSDxMaL"


def asks(client: TestClient, dag_id: str, run_id: str, task_id: str, what: str = "media", **headers: str) -> Any:
    where = {"run_id": run_id, "task_id": task_id}
    return client.get(f"{HERE}/dags/{dag_id}/result/{what}", params=where, headers=headers)


def manifest(uri: str, size: int, **more: Any) -> dict[str, Any]:
    known = {"service": "sync_labs", "kind": "speech", "uri": uri, "sha256": "0" * 64, "bytes": size}
    return {**known, "format": "mp3", "media_type": "audio/mpeg", "seconds": 1.0, **more}


@pytest.fixture
def serve_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__VOICE__SERVE_LOCAL_FILES", "True")


def test_a_kept_result_plays_seeks_and_can_be_checked(
    admin: TestClient,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_connection(allowed_outputs=str(tmp_path / "out"), state_location=str(tmp_path / "state"))
    speak = TTSOperator(task_id="speak", text="A line.", voice_id=VOICE, output=f"{tmp_path}/out/")
    run_id = forging("kept", {"speak": task.run(speak)})

    # On this machine's disk nothing is read unless the deployment says so.
    [found] = [one for one in answered(admin, f"{HERE}/results")["results"] if one["dag_id"] == "kept"]
    assert "serve_local_files" in found["obstacle"]
    for what in ("media", "check"):
        refused = asks(admin, "kept", run_id, "speak", what)
        assert (refused.status_code, "serve_local_files" in refused.json()["detail"]) == (403, True)

    monkeypatch.setenv("AIRFLOW__VOICE__SERVE_LOCAL_FILES", "True")
    [found] = [one for one in answered(admin, f"{HERE}/results")["results"] if one["dag_id"] == "kept"]
    assert (found["obstacle"], found["task_id"], found["run_id"]) == (None, "speak", run_id)
    whole = asks(admin, "kept", run_id, "speak")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/mpeg")
    assert hashlib.sha256(whole.content).hexdigest() == found["sha256"]
    part = asks(admin, "kept", run_id, "speak", Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{found['bytes']}"
    for name in ("content-security-policy", "x-content-type-options", "cross-origin-resource-policy"):
        assert name in part.headers

    checked = asks(admin, "kept", run_id, "speak", "check").json()
    assert checked["problem"] is None
    assert (checked["record"]["run"]["task_id"], checked["record"]["file"]["sha256"]) == ("task", found["sha256"])
    file = next((tmp_path / "out").glob("*.mp3"))
    file.write_bytes(whole.content[:-1] + b"?")
    assert "changed" in asks(admin, "kept", run_id, "speak", "check").json()["problem"]
    file.write_bytes(whole.content + b"?")
    assert "not the file that was kept" in asks(admin, "kept", run_id, "speak").json()["detail"]

    # Who may read the connection and not the DAG gets nothing of it.
    monkeypatch.setattr(results, "readable", lambda _: set())
    assert asks(admin, "kept", run_id, "speak").status_code == 404
    assert answered(admin, f"{HERE}/results")["results"] == []


@pytest.mark.usefixtures("serve_local")
def test_a_forged_result_plays_nothing(
    admin: TestClient, emulator: EmulatorHandle, set_connection: Callable[..., None], tmp_path: Path, s3: Any
) -> None:
    inside, secret = tmp_path / "out" / "talk.mp3", tmp_path / "secret.mp3"
    inside.parent.mkdir()
    for file in (inside, secret):
        file.write_bytes(b"the server's own")
    (inside.parent / "link.mp3").symlink_to(secret)
    (inside.parent / "folder.mp3").mkdir()
    size = len(b"the server's own")
    s3.call_s3("create_bucket", Bucket="other")
    for bucket in ("studio", "other"):
        s3.pipe_file(f"{bucket}/out/talk.mp3", b"the server's own")
    set_connection(allowed_outputs=[str(tmp_path / "out"), "s3://studio/out"])
    forged = {
        "etc": manifest("/etc/passwd", PASSWD.stat().st_size),
        "file": manifest("file:///etc/passwd", PASSWD.stat().st_size),
        "dots": manifest(f"{tmp_path}/out/../secret.mp3", size),
        "encoded": manifest("s3://studio/out/%2e%2e/secret", size),
        "bucket": manifest("s3://other/out/talk.mp3", size),
        "beside": manifest("s3://studio/outside/talk.mp3", size),
        "account": manifest("s3://admin@studio/out/talk.mp3", size),
        "link": manifest(f"{tmp_path}/out/link.mp3", size),
        "folder": manifest(f"{tmp_path}/out/folder.mp3", 4096),
        "missing": manifest(f"{tmp_path}/out/nothing.mp3", size),
        "web": manifest("http://169.254.169.254/latest/meta-data", size),
        "chained": manifest("simplecache::file:///etc/passwd", size),
        "local": manifest("local:///etc/passwd", size),
        "page": manifest(str(inside), size, media_type="text/html"),
        "script": manifest(str(inside), size, media_type="audio/mpeg\r\nX: y"),
        "size": manifest(str(inside), size + 1),
        "others": manifest(str(inside), size, voice_conn_id="another"),
        "list": {"media_type": "audio/mpeg", "uri": [str(inside)]},
    }
    good = {
        "disk": manifest(str(inside), size),
        "store": manifest("s3://studio/out/talk.mp3", size, voice_conn_id="voice_default"),
    }
    run_id = forging("forged", forged | good)
    for name in good:
        answer = asks(admin, "forged", run_id, name, Range="bytes=4-11")
        assert (answer.status_code, answer.content) == (206, b"server's"), name
    for name in forged:
        answer = asks(admin, "forged", run_id, name)
        assert answer.status_code in (400, 403, 404), (name, answer.text)
        assert b"root:" not in answer.content, name
        assert b"the server's own" not in answer.content, name
        checked = asks(admin, "forged", run_id, name, "check")
        assert checked.status_code != 200 or checked.json()["record"] is None, name
    listed = {one["task_id"]: one for one in answered(admin, f"{HERE}/results", limit=100)["results"]}
    assert set(listed) & set(forged) == set(forged) - {"list", "others"}
    assert set(listed) >= set(good)
    assert {name for name, one in listed.items() if one["obstacle"] is None and one["dag_id"] == "forged"} == {
        *good,
        "size",
        "missing",
        "folder",
    }  # these are seen when they are asked for

    # Without allowed_outputs nothing is played, wherever it is.
    set_connection()
    for name in good:
        refused = asks(admin, "forged", run_id, name)
        assert (refused.status_code, "allowed_outputs" in refused.json()["detail"]) == (403, True)


def test_money_adds_up_what_is_told_and_says_what_is_not(
    admin: TestClient, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> None:
    def cost(usd: Any, basis: Any = "computed") -> dict[str, Any]:
        return {"cost": {"usd": usd, "basis": basis, "units": {}}}

    told = {
        "one": manifest("s3://a/1", 1, seconds=2.0, voice_conn_id="studio", **cost(0.25)),
        "two": manifest("s3://a/2", 1, seconds=3.5, **cost(0.5)),
        "two_again": manifest("s3://a/2", 1, seconds=3.5, **cost(0.5)),  # as a sensor passes it on
        "guess": manifest("s3://a/3", 1, kind="lip_sync", **cost(1, "estimated")),
        "open": manifest("s3://a/4", 1, **cost(None, "unknown")),
        "old": manifest("s3://a/5", 1),
        "lines": {"counts": {"spoken": 3}, "seconds": 10.0, "voice_conn_id": "studio", **cost(0.125)},
        "odd": manifest("s3://a/6", 1, seconds="long", cost={"usd": "a lot", "basis": ["x"]}),
        "worse": manifest("s3://a/7", 1, seconds=True, cost="$5"),
        "negative": manifest("s3://a/8", 1, **cost(-3)),
        "upload": {"media_type": "audio/mpeg", "seconds": 5.0, "asset_id": "x"},
        "ordered": {"service": "sync_labs", "kind": "speech", "job_id": "x", "submitted_at": "2026-01-01"},
    }
    forging("spends", told)
    by = answered(admin, "money", days=7)["by"]
    [spent] = [row for row in by["dag"] if row["name"] == "spends"]
    assert spent["usd"] == {"computed": 0.875, "estimated": 1.0}
    assert (spent["results"], spent["unknown"]) == (9, 5)
    assert spent["seconds"] == 2.0 + 3.5 + 10.0 + 1.0 * 4
    assert sum(row["results"] for row in by["day"]) == sum(row["results"] for row in by["connection"])
    paid_by = {row["name"]: row["usd"] for row in by["connection"]}
    assert paid_by["studio (sync. labs)"] == {"computed": 0.25}
    assert paid_by["studio (unknown)"] == {"computed": 0.125}
    assert "not told (sync. labs)" in paid_by
    set_connection(service="fish_audio")
    assert answered(admin, f"{HERE}/wallet")["usd"] is not None
