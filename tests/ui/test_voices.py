"""Voices on the page: whose they are, how they sound, and by which rules they go."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models.log import Log
from airflow.utils.session import create_session
from sqlalchemy import delete, select

from tests.commands.test_cli_voices import NAMES, NOW, left, managed, seed
from tests.ui.conftest import answered, forging, push
from voice_provider.files.media import probe
from voice_provider.jobs.names import run_key, short_hash
from voice_provider.ui import connections, voices

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from voice_provider.emulator.process import EmulatorHandle

VOICES = "connections/voice_default/voices"
RUN_ID = "scheduled__2026-11-20T06:00:00+00:00"
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\u202egnitteg si txet siht",
    "مرحبا بالعالم",
    "x" * 300,
    "javascript:alert(1)",
    "{{ 7 * 7 }} ${7 * 7}",
]


@pytest.mark.parametrize("service", ["sync_labs", "fish_audio"])
def test_a_page_of_the_list_is_what_the_command_line_tells_and_more(
    service: str, emulator: EmulatorHandle, set_connection: Callable[..., None], admin: TestClient
) -> None:
    set_connection(service=service, namespace="prod", clone_slots=8)
    run = run_key("nightly_news", RUN_ID) + short_hash("clone\0-1", 7)
    ids = seed(emulator, service, {**NAMES, "mine": managed("Mine", owner="nightly_news", run=run, made=NOW)})
    found = answered(admin, VOICES)
    assert (found["slots"], found["namespace"], found["total"]) == ({"active": 6, "limit": 8}, "prod", 6)
    by_id = {voice["id"]: voice for voice in found["voices"]}
    assert set(by_id) == set(ids.values())
    assert found["voices"][0]["id"] == ids["over"]  # expired first
    mine, hand, other = (by_id[ids[name]] for name in ("mine", "hand", "other"))
    assert (mine["dag_id"], mine["run_id"], mine["ours"]) == ("nightly_news", RUN_ID, True)
    assert (hand["name"], hand["ours"], hand["dag_id"]) == (NAMES["hand"], False, None)
    assert (other["namespace"], other["run_id"]) == ("dev", None)  # a run whose id the name only hashes
    chosen = answered(admin, VOICES, which="ours", search="NIGHTLY")
    assert {voice["id"] for voice in chosen["voices"]} == {ids["anna"], ids["mine"]}
    pages = [answered(admin, VOICES, offset=offset, limit=4)["voices"] for offset in (0, 4)]
    assert [voice["id"] for page in pages for voice in page] == [voice["id"] for voice in found["voices"]]
    assert admin.get(VOICES, params={"limit": 1000}).status_code == 422


def test_a_voice_of_a_run_tells_whether_its_task_had_a_consent(
    emulator: EmulatorHandle, set_connection: Callable[..., None], admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(namespace="prod")
    tasks: dict[str, dict[str, Any]] = {name: {"voice_id": ""} for name in ("agreed", "silent")}
    run_id = forging("consents", tasks)
    names = [
        managed(name, owner="consents", run=run_key("consents", run_id) + short_hash(f"{name}\0-1", 7), made=NOW)
        for name in tasks
    ]
    agreed, silent = (voice["id"] for voice in emulator.seed_voices(names))
    push("consents", run_id, "agreed", {"voice_id": agreed, "consent": {"id": "c-1", "sha256": "0" * 64}})
    push("consents", run_id, "silent", {"voice_id": silent})
    found = {voice["id"]: voice["consent"] for voice in answered(admin, VOICES)["voices"]}
    assert found == {agreed: True, silent: False}
    monkeypatch.setattr(voices, "readable", lambda _: set())
    assert {voice["consent"] for voice in answered(admin, VOICES)["voices"]} == {None}


def test_many_looks_at_a_list_are_one_question(
    emulator: EmulatorHandle, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def questions() -> int:
        return sum(entry["path"] == "/v2/voices" for entry in emulator.requests())

    emulator.seed_voices(["A"])
    for offset in range(3):
        answered(admin, VOICES, offset=offset)
    asked = questions()
    assert 0 < asked <= 2  # one for the list, and one for the slots
    monkeypatch.setattr(connections, "RECENT", 0.0)
    answered(admin, VOICES)
    assert questions() == 2 * asked


def test_a_list_from_before_a_deletion_is_not_shown_whichever_worker_has_deleted(
    emulator: EmulatorHandle, admin: TestClient
) -> None:
    ids = [voice["id"] for voice in emulator.seed_voices(["A", "B"])]
    assert answered(admin, VOICES)["total"] == 2
    voices._recent, before = connections.Recent(), voices._recent
    deleted = admin.delete(f"{VOICES}/{ids[0]}", params={"expect": "A"}).json()
    voices._recent = before  # of the worker that has not deleted it
    assert answered(admin, VOICES)["total"] == 2
    assert answered(admin, VOICES, after=deleted["at"])["total"] == 1
    asked = len(emulator.requests())
    assert answered(admin, VOICES, after=deleted["at"])["total"] == 1
    assert len(emulator.requests()) == asked, "it is known now"


def test_names_are_told_as_they_are_and_never_as_a_page(emulator: EmulatorHandle, admin: TestClient) -> None:
    emulator.seed_voices(HOSTILE)
    answer = admin.get(VOICES)
    assert {voice["name"] for voice in answer.json()["voices"]} == set(HOSTILE)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_preview_plays_whole_and_in_parts_without_the_key(
    emulator: EmulatorHandle, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = emulator.seed_voices(["A"])[0]["id"]
    for voice_id in (clone, BUILT_IN):
        whole = admin.get(f"{VOICES}/{voice_id}/preview")
        assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/mpeg")
        info = probe(io.BytesIO(whole.content), len(whole.content))
        assert info.seconds is not None
        assert info.seconds > 0.3
    size = len(whole.content)
    for asked, status, begin, end in (
        ("bytes=10-19", 206, 10, 20),
        ("bytes=10-", 206, 10, size),
        ("bytes=-5", 206, size - 5, size),
        (f"bytes=0-{size * 2}", 206, 0, size),
        ("bytes=0-1,4-5", 200, 0, size),
        ("lines=1-2", 200, 0, size),
    ):
        part = admin.get(f"{VOICES}/{BUILT_IN}/preview", headers={"Range": asked})
        assert (part.status_code, part.content) == (status, whole.content[begin:end]), asked
    beyond = admin.get(f"{VOICES}/{BUILT_IN}/preview", headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    sent = [entry for entry in emulator.requests() if entry["path"].startswith("/previews/")]
    assert sent
    assert not any(entry["has_key"] for entry in sent)
    monkeypatch.setattr(voices, "MOST_PREVIEW", 100)
    refused = admin.get(f"{VOICES}/{BUILT_IN}/preview")
    assert refused.status_code == 502
    assert "it is not played" in refused.json()["detail"]


def test_a_preview_that_is_no_audio_is_not_passed_on(
    emulator: EmulatorHandle, admin: TestClient, video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sent in (b"<html><script>alert(1)</script></html>", video.read_bytes()):

        class Sink(voices._Sink):  # the emulator sends nothing else than audio
            def write(self, data: bytes, sent: bytes = sent) -> None:
                if data and not self.position:
                    super().write(sent)

        monkeypatch.setattr(voices, "_Sink", Sink)
        answer = admin.get(f"{VOICES}/{BUILT_IN}/preview")
        assert (answer.status_code, answer.headers["content-type"]) == (502, "application/json")
        assert "is no audio" in answer.json()["detail"]


@pytest.mark.parametrize("service", ["sync_labs", "fish_audio"])
def test_a_person_s_own_voice_goes_only_after_a_second_question(
    service: str, emulator: EmulatorHandle, set_connection: Callable[..., None], admin: TestClient
) -> None:
    set_connection(service=service, namespace="prod")
    ids = seed(emulator, service)
    answered(admin, VOICES)
    with create_session(scoped=False) as session:
        session.execute(delete(Log))
    for name in ("hand", "other"):
        for params in ({}, {"expect": ""}, {"expect": "Narrator"}):
            refused = admin.delete(f"{VOICES}/{ids[name]}", params=params)
            assert refused.status_code == 409
            assert "Nothing was deleted" in refused.json()["detail"]
    assert left(emulator, service) == set(ids.values())
    assert admin.delete(f"{VOICES}/{ids['hand']}", params={"expect": NAMES["hand"]}).status_code == 200
    assert admin.delete(f"{VOICES}/{ids['brand']}").status_code == 200
    assert left(emulator, service) == set(ids.values()) - {ids["hand"], ids["brand"]}
    assert answered(admin, VOICES)["slots"]["active"] == 3  # at once, although the list was known
    assert admin.delete(f"{VOICES}/{ids['brand']}").status_code == 404
    with create_session(scoped=False) as session:
        entries = session.execute(select(Log.event, Log.owner, Log.extra)).all()
    assert {(event, owner) for event, owner, _ in entries} == {("delete_voice", "a ADMIN")}
    assert sum(ids["hand"] in extra and "voice_default" in extra for _, _, extra in entries) == 4


def test_a_built_in_voice_stays(emulator: EmulatorHandle, admin: TestClient) -> None:
    answer = admin.delete(f"{VOICES}/{BUILT_IN}", params={"expect": "Sarah"})
    assert answer.status_code == 409
    assert "no clone of this account" in answer.json()["detail"]


def test_another_site_can_do_nothing(emulator: EmulatorHandle, admin: TestClient) -> None:
    voice = emulator.seed_voices([managed("Brand", "default")])[0]["id"]
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://airflow.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert admin.delete(f"{VOICES}/{voice}", headers=headers).status_code == 403, headers
        assert admin.post(f"{VOICES}/{voice}", headers=headers).status_code == 403, headers
        assert admin.get(VOICES, headers=headers).headers["cross-origin-resource-policy"] == "same-origin"
    assert left(emulator, "sync_labs") == {voice}
    at_home = {"Origin": "http://airflow", "Sec-Fetch-Site": "same-origin"}
    assert admin.delete(f"{VOICES}/{voice}", headers=at_home).status_code == 200


def test_a_dead_service_a_wrong_key_and_a_missing_connection_are_told_in_a_sentence(
    emulator: EmulatorHandle, set_connection: Callable[..., None], admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(path: str = VOICES) -> tuple[int, str]:
        answer = admin.get(path)
        return answer.status_code, answer.json()["detail"]

    set_connection(password="wrong-key-4711")
    code, said = told()
    assert (code, "key" in said, "4711" in said) == (502, True, False)
    set_connection(host="http://127.0.0.1:9")
    began = time.monotonic()
    code, said = told()
    assert (code, "could not be reached" in said) == (502, True)
    assert time.monotonic() - began < 5
    set_connection(namespace="Not A Namespace")
    code, said = told()
    assert (code, "namespace" in said) == (400, True)
    code, said = told("connections/nowhere/voices")
    assert (code, "cannot read connection 'nowhere'" in said) == (404, True)
    monkeypatch.setenv("AIRFLOW_CONN_MAIL", '{"conn_type": "http", "host": "x"}')
    code, said = told("connections/mail/voices")
    assert (code, "no voice service" in said) == (400, True)


def test_the_list_of_connections_has_those_of_voice_services(
    emulator: EmulatorHandle, admin: TestClient, be: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MAIL", '{"conn_type": "http", "host": "x"}')
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", "{")
    assert answered(admin, "connections") == [{"id": "voice_default", "service": "sync. labs"}]
    be("VIEWER")
    assert answered(admin, "connections") == []
