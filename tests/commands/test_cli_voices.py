"""``voice-provider voices``: what a person with a full plan sees of an account, and what can be deleted from there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voice_provider.cli import main
from voice_provider.jobs.names import SHORT, ManagedName, short_hash, task_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
DAY = 86_400
NOW = int(time.time())
RUN = task_key("nightly_news", "run-1", "clone", -1)
SERVICES = ("sync_labs", "fish_audio")


def managed(label: str, namespace: str = "prod", **more: Any) -> str:
    return str(ManagedName(label, namespace, short_hash(label), **more))


NAMES = {
    "brand": managed("Brand"),
    "over": managed("Over", expires=NOW - DAY),
    "anna": managed("Anna", owner="nightly_news", run=RUN, made=NOW - 40 * DAY - 60, expires=NOW + 30 * DAY),
    "other": managed("Other", "dev", owner="nightly_news", run=RUN, made=NOW - 2 * 3600 - 60),
    "hand": "Narrator \x1b[31m",
}


@pytest.fixture(autouse=True)
def _process_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets it for its process; here it is undone."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


def seed(emulator: EmulatorHandle, service: str, names: dict[str, str] = NAMES) -> dict[str, str]:
    """Put voices into an account and return their ids."""
    if service == "fish_audio":
        made = emulator.seed_models(list(names.values()), age_seconds=3 * DAY + 60)
    else:
        made = emulator.seed_voices(list(names.values()))
    return dict(zip(names, (voice["id"] for voice in made), strict=True))


@pytest.fixture(params=SERVICES)
def account(
    request: pytest.FixtureRequest, emulator: EmulatorHandle, set_connection: Callable[..., None]
) -> tuple[str, dict[str, str]]:
    """An account with voices of all kinds, by both services."""
    set_connection(service=request.param, namespace="prod", clone_slots=8)
    return request.param, seed(emulator, request.param)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["voices", "list", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def left(emulator: EmulatorHandle, service: str) -> set[str]:
    there = emulator.models() if service == "fish_audio" else emulator.voices()
    return {model.get("id") or model["_id"] for model in there}


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Sit at a terminal and type."""
    terminal = io.StringIO(text)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)


# list


def test_the_list_shows_what_takes_a_slot_expired_first_then_oldest(
    account: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    assert main(["voices", "list"]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["name", "id", "namespace", "owner", "age", "state", "expires"]
    known = service == "fish_audio"  # sync. labs keeps no dates: there only the names of some tell
    age = "3 days" if known else "?"
    expiry = datetime.fromtimestamp(NOW + 30 * DAY, UTC).date().isoformat()
    found = [" ".join(row.split()) for row in rows[1:]]
    assert sorted(found) == sorted(
        [
            f"Over {ids['over']} prod all runs {age} trained expired",
            f"Anna {ids['anna']} prod nightly_news 40 days trained {expiry}",
            f"Other {ids['other']} dev nightly_news 2 hours trained -",
            f"Brand {ids['brand']} prod all runs {age} trained -",
            f"Narrator �[31m {ids['hand']} - - {age} trained -",
        ]
    )
    names = [row.split()[0] for row in found]
    assert names == (
        ["Over", "Anna", "Brand", "Narrator", "Other"] if known else ["Over", "Anna", "Other", "Brand", "Narrator"]
    )
    assert last == "5 voices, 3 of ours in namespace 'prod'; clone slots in use: 5 of 8."


def test_ours_and_all_choose_other_voices(
    account: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    assert {row["id"] for row in listed(capsys, "--ours")} == {ids["brand"], ids["over"], ids["anna"]}
    others = [row for row in listed(capsys, "--all") if row["id"] not in ids.values()]
    assert [row["takes_slot"] for row in others] == [False] * len(others)
    assert (BUILT_IN in {row["id"] for row in others}) == (service == "sync_labs")
    with pytest.raises(SystemExit) as stop:
        main(["voices", "list", "--ours", "--all"])
    assert stop.value.code == 2


def test_json_has_every_field_with_iso_times(
    account: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    (row,) = [row for row in listed(capsys) if row["id"] == ids["anna"]]
    assert row == {
        "id": ids["anna"],
        "name": "Anna",
        "service": service,
        "name_at_service": NAMES["anna"],
        "made_by_this_provider": True,
        "ours": True,
        "takes_slot": True,
        "namespace": "prod",
        "owner": "nightly_news",
        "run": RUN,
        "fingerprint": short_hash("Anna")[:SHORT],
        "made_at": datetime.fromtimestamp(NOW - 40 * DAY - 60, UTC).isoformat(),
        "expires_at": datetime.fromtimestamp(NOW + 30 * DAY, UTC).isoformat(),
        "expired": False,
        "state": "trained",
        "restricted": False,
        **{name: row[name] for name in ("status", "visibility", "description", "tags", "languages")},
    }
    assert main(["voices", "show", ids["anna"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == row


@pytest.mark.parametrize("service", SERVICES)
def test_an_account_without_clones_has_an_empty_list(
    emulator: EmulatorHandle, set_connection: Callable[..., None], service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_connection(service=service)
    assert listed(capsys) == []
    assert main(["voices", "list"]) == 0
    assert capsys.readouterr().out == "0 voices, 0 of ours in namespace 'default'; clone slots in use: 0 of ?.\n"


def test_a_voice_in_training_and_a_failed_one_say_so(
    emulator: EmulatorHandle, set_connection: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_connection(service="fish_audio")
    emulator.seed_models(["A"], state="training")
    emulator.seed_models(["B"], state="failed")
    assert {row["name"]: row["state"] for row in listed(capsys)} == {"A": "training", "B": "failed"}


# show


def test_show_tells_all_that_is_known_and_leaves_out_what_is_not(
    account: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, ids = account
    assert main(["voices", "show", ids["anna"]]) == 0
    shown = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    shown = {name: value.strip() for name, value in shown.items()}
    assert shown["owner"] == "nightly_news"
    assert shown["expired"] == "no"
    assert shown["name at service"] == NAMES["anna"]
    assert "description" not in shown


def test_a_built_in_voice_is_shown_as_one_that_takes_no_slot(
    emulator: EmulatorHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["voices", "show", BUILT_IN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["takes_slot"] is False


def test_an_unknown_voice_is_told_in_a_sentence(
    account: tuple[str, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["voices", "show", "0" * 32]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "404" in captured.err
    assert "Traceback" not in captured.err


# delete


def test_deleting_twice_is_gone_already(
    account: tuple[str, dict[str, str]], emulator: EmulatorHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    arguments = ["voices", "delete", "--yes", ids["brand"], ids["anna"], ids["brand"]]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"Deleted: {ids['brand']} 'Brand'\nDeleted: {ids['anna']} 'Anna'\n"
    assert left(emulator, service) == {ids["over"], ids["other"], ids["hand"]}
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": [], "gone": [ids["brand"], ids["anna"]], "failed": []}


def test_what_others_made_needs_force_and_does_not_stop_the_rest(
    account: tuple[str, dict[str, str]], emulator: EmulatorHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    given = ["voices", "delete", "--yes", "--json", ids["hand"], ids["other"], ids["over"]]
    assert main(given) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["deleted"], report["gone"]) == ([ids["over"]], [])
    whose = {failure["id"]: failure["error"] for failure in report["failed"]}
    assert "was not made by this provider" in whose[ids["hand"]]
    assert "belongs to namespace 'dev'" in whose[ids["other"]]
    assert left(emulator, service) == {ids["brand"], ids["anna"], ids["hand"], ids["other"]}
    assert main([*given, "--force"]) == 0
    assert left(emulator, service) == {ids["brand"], ids["anna"]}


def test_a_built_in_voice_is_not_deleted_even_with_force(
    emulator: EmulatorHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["voices", "delete", "--yes", "--force", BUILT_IN]) == 1
    assert "'Rachel' is no clone of this account" in capsys.readouterr().err
    assert "DELETE" not in {request["method"] for request in emulator.requests()}


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_public_voice_of_somebody_else_is_not_deleted(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    force: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_connection(service="fish_audio")
    (theirs,) = emulator.seed_models(["Theirs"], org="another", visibility="public")
    assert main(["voices", "delete", "--yes", *force, theirs["id"]]) == 1
    assert "'Theirs' is no clone of this account" in capsys.readouterr().err
    assert left(emulator, "fish_audio") == set()
    assert len(emulator.models("another")) == 1


def test_one_that_fails_does_not_stop_the_rest(
    account: tuple[str, dict[str, str]], emulator: EmulatorHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    path = f"/{'model' if service == 'fish_audio' else 'v2/voices'}/{ids['brand']}"
    emulator.fault("status", path=path, method="DELETE", status=400, times=1)
    assert main(["voices", "delete", "--yes", ids["brand"], ids["over"]]) == 1
    captured = capsys.readouterr()
    assert captured.out == f"Deleted: {ids['over']} 'Over'\n"
    assert captured.err.startswith(f"{ids['brand']}: DELETE {path}")
    assert left(emulator, service) == {ids["brand"], ids["anna"], ids["other"], ids["hand"]}


def test_an_id_that_cannot_be_one_does_not_stop_the_rest(
    account: tuple[str, dict[str, str]], emulator: EmulatorHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    service, ids = account
    assert main(["voices", "delete", ids["brand"], "bad id!", ids["over"], "--yes", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["deleted"], report["gone"]) == ([ids["brand"], ids["over"]], [])
    assert [failure["id"] for failure in report["failed"]] == ["bad id!"]
    assert "bad id!" in report["failed"][0]["error"]
    assert left(emulator, service) == {ids["anna"], ids["other"], ids["hand"]}


@pytest.mark.parametrize(("typed", "is_deleted"), [("y\n", True), ("YES\n", True), ("n\n", False), ("", False)])
def test_on_a_terminal_it_shows_what_would_go_and_asks(
    account: tuple[str, dict[str, str]],
    emulator: EmulatorHandle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    is_deleted: bool,
) -> None:
    service, ids = account
    answer(monkeypatch, typed)
    assert main(["voices", "delete", "--json", ids["over"]]) == (0 if is_deleted else 1)
    captured = capsys.readouterr()
    assert "Over" in captured.err
    assert "Delete this voice? [y/N]" in captured.err
    assert json.loads(captured.out)["deleted"] == ([ids["over"]] if is_deleted else [])
    assert (ids["over"] in left(emulator, service)) is not is_deleted


def test_without_a_terminal_and_without_yes_nothing_is_sent(
    emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["voices", "delete", "some-id"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert emulator.requests() == []


def test_ctrl_c_at_the_question_deletes_nothing(
    emulator: EmulatorHandle, monkeypatch: pytest.MonkeyPatch, set_connection: Callable[..., None]
) -> None:
    def stop(_: object = None) -> str:
        raise KeyboardInterrupt

    set_connection(namespace="prod")
    ids = seed(emulator, "sync_labs", {"brand": NAMES["brand"]})
    answer(monkeypatch, "")
    monkeypatch.setattr("builtins.input", stop)
    assert main(["voices", "delete", ids["brand"]]) == 130
    assert left(emulator, "sync_labs") == {ids["brand"]}


# the connection


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (None, "Connection 'mine' is not defined, or cannot be read"),
        ("{broken", "Connection 'mine' is not defined, or cannot be read"),
        ('{"conn_type": "http"}', "which is no voice service"),
        ('{"conn_type": "sync_labs"}', "has no API key"),
        ('{"conn_type": "sync_labs", "password": "k", "extra": {"namespace": "A B"}}', "namespace 'A B' has to be"),
    ],
)
def test_a_connection_that_cannot_be_used_is_told_in_a_sentence(
    connection: str | None, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", connection)
    assert main(["voices", "list", "--json", "--conn-id", "mine"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_a_wrong_key_is_told_in_a_sentence(
    emulator: EmulatorHandle, set_connection: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_connection(password="sk-wrong-key")
    assert main(["voices", "list"]) == 1
    captured = capsys.readouterr()
    assert "Check the API key" in captured.err
    assert "sk-wrong-key" not in captured.out + captured.err


def test_a_connection_of_the_database_is_read_and_stdout_holds_nothing_but_json(
    emulator: EmulatorHandle, airflow_db: None, tmp_path: Path
) -> None:
    from airflow.configuration import conf
    from airflow.models import Connection
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    # A home of its own, because the key goes into its database.
    with (
        contextlib.closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as migrated,
        contextlib.closing(sqlite3.connect(tmp_path / "airflow.db")) as copy,
    ):
        migrated.backup(copy)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")}
    environment |= {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"}
    environment.pop("_AIRFLOW_PROCESS_CONTEXT")
    environment["AIRFLOW__CORE__FERNET_KEY"] = conf.get("core", "fernet_key")  # what encrypts the row here
    connection = json.dumps(emulator.connection("sync_labs", namespace="prod"))
    with Session(create_engine(f"sqlite:///{tmp_path}/airflow.db")) as session:
        session.add(Connection.from_json(connection, "stored"))  # noqa: AIR311  # the row, not what tasks see
        session.commit()
    ids = seed(emulator, "sync_labs")
    command = [sys.executable, "-m", "voice_provider.cli", "voices", "list", "--conn-id", "stored", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {row["id"] for row in json.loads(done.stdout)} == set(ids.values())
    assert "airflow" in done.stderr  # Airflow did log
    assert emulator.api_key not in done.stdout + done.stderr
