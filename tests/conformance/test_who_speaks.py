"""Only the service says what became of a request: the emulator does in its words, an edge does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.conftest import write_mp4, write_wav
from voice_provider.exceptions import OutcomeUnknownError, ServiceUnavailableError, TransientVoiceError
from voice_provider.hooks.attempts import ATTEMPTS
from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.asset import DeleteAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import DeleteVoiceOperator
from voice_provider.services.base import Request, Response
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.sync_labs.dialect import SyncLabs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Task
    from voice_provider.emulator.process import EmulatorHandle

FORMS = ["html", "json", "text"]
CONNECTIONS = ["sync_labs", "fish_audio"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_provider.hooks.attempts._wait", lambda _: 0)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, emulator: EmulatorHandle) -> Callable[..., str]:
    """Make a connection to the emulator, below a path if there is one."""

    def make(conn_type: str, path: str = "") -> str:
        values = {**emulator.connection(conn_type), "host": emulator.url + path}
        conn_id = f"{conn_type}{path.replace('/', '_')}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(values))
        return conn_id

    return make


def heard(answer: httpx.Response) -> tuple[Request, Response]:
    path = answer.request.url.raw_path.decode()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    response = Response(status=answer.status_code, headers=headers, content=answer.content)
    return Request(method=answer.request.method, url=path), response


ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/v2/models", {"headers": {"x-api-key": "wrong"}}),
    ("GET", "/v2/models", {"headers": {}}),
    ("GET", "/v2/voices/nobody", {}),
    ("DELETE", "/v2/voices/nobody", {}),
    ("DELETE", "/v2/assets/nothing", {}),
    ("GET", "/v2/generate/nothing", {}),
    ("GET", "/v2/tts/jobs/nothing", {}),
    ("GET", "/v2/nothing", {}),
    ("PUT", "/v2/models", {}),
    ("POST", "/v2/tts", {"json": {}}),
    ("POST", "/v2/tts", {"content": b"{"}),
    ("POST", "/v2/tts", {"json": {"voiceId": "nobody", "script": "Hello."}}),
    ("POST", "/v2/voices", {"json": {"name": ""}}),
    ("POST", "/v2/generate", {"json": {}}),
    ("POST", "/v2/generate", {"json": {}, "headers": {"idempotency-key": "bad key"}}),
    ("GET", "/v2/generations?limit=0", {}),
    ("GET", "/model", {"headers": {"authorization": "Bearer wrong"}, "params": {"self": "true"}}),
    ("GET", "/model?page_size=101", {}),
    ("GET", "/model/nobody", {}),
    ("DELETE", "/model/nobody", {}),
    ("PATCH", "/model/nobody", {"json": {"title": "x"}}),
    ("POST", "/model", {"json": {}}),
    ("POST", "/model", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/model", {"content": b"x", "headers": {"content-type": "text/plain"}}),
    ("GET", "/wallet/nobody/api-credit", {}),
    ("GET", "/wallet/self/api-credit", {"headers": {"authorization": "Bearer wrong"}}),
    ("POST", "/v1/tts", {"json": {}}),
    ("POST", "/v1/tts", {"json": {"text": "x", "reference_id": "nobody"}}),
    ("POST", "/v1/tts", {"json": {"text": "x", "format": "flac"}}),
    ("POST", "/v1/tts", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/v1/tts", {"content": b"x", "headers": {"content-type": "text/plain"}}),
    ("POST", "/v1/asr", {"files": {"audio": b"no audio"}}),
    ("GET", "/v1/nothing", {}),
]


@pytest.mark.parametrize(("method", "path", "values"), ASKED)
def test_every_refusal_of_the_emulator_is_in_the_services_shape(
    method: str, path: str, values: dict[str, Any], emulator: EmulatorHandle
) -> None:
    ours, other = (SyncLabs({}), FishAudio({})) if path.startswith("/v2") else (FishAudio({}), SyncLabs({}))
    keys = {"x-api-key": emulator.api_key, "authorization": f"Bearer {emulator.api_key}"}
    given = values.get("headers", keys)
    headers = given if "authorization" in given or not given else keys | given
    answer = httpx.request(method, emulator.url + path, **(values | {"headers": headers}))
    assert answer.is_client_error
    assert ours.speaks(*heard(answer)), answer.text
    assert not other.speaks(*heard(answer))
    assert ours.error(*heard(answer)).status == answer.status_code


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 418, 422, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("path", ["/v2/models", "/model", "/v1/tts", "/wallet/self/api-credit"])
def test_an_ordered_failure_is_in_the_services_shape_and_one_of_an_edge_is_not(
    path: str, status: int, emulator: EmulatorHandle
) -> None:
    service = SyncLabs({}) if path.startswith("/v2") else FishAudio({})
    emulator.fault("status", path, status=status)
    answer = httpx.get(emulator.url + path)
    assert service.speaks(*heard(answer)), answer.text
    for form in FORMS:
        emulator.fault("edge_before", path, status=status, form=form)
        answer = httpx.get(emulator.url + path)
        assert answer.status_code == status
        assert not service.speaks(*heard(answer)), answer.text


# what a task makes of it


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 401, 403, 404])
@pytest.mark.parametrize("conn_type", CONNECTIONS)
def test_a_voice_is_gone_when_the_service_says_so(
    conn_type: str, status: int, form: str, task: Task, emulator: EmulatorHandle, sample: Path, connect: Any
) -> None:
    conn = connect(conn_type)
    voice = task.run(CloneVoiceOperator(task_id="c", name="Ada", sample=str(sample), voice_conn_id=conn))
    emulator.fault("edge_before", method="DELETE", status=status, form=form, body="OK" if form == "text" else None)
    delete = DeleteVoiceOperator(task_id="d", voice=voice, voice_conn_id=conn)
    if (status, form) == (200, "json"):
        return  # nobody can tell it from a confirmation
    assert delete.execute({}) == {"deleted": [voice["voice_id"]]}, "asked again, until the service answered"
    assert delete.execute({}) == {"deleted": []}, "the service says that it is gone"


@pytest.mark.parametrize(
    ("conn_type", "path"),
    [("sync_labs", "/v2/v2"), ("sync_labs", "/api"), ("fish_audio", "/v1/v1"), ("fish_audio", "/model")],
)
def test_a_wrong_address_does_not_say_that_a_voice_is_gone(
    conn_type: str, path: str, task: Task, sample: Path, connect: Any
) -> None:
    conn = connect(conn_type)
    voice = task.run(CloneVoiceOperator(task_id="c", name="Ada", sample=str(sample), voice_conn_id=conn))
    with pytest.raises(TransientVoiceError, match="base URL"):
        DeleteVoiceOperator(task_id="d", voice=voice, voice_conn_id=connect(conn_type, path)).execute({})
    assert voice["voice_id"] in {found.id for found in VoiceHook.for_connection(conn).list_voices()}


def test_a_file_is_gone_when_the_service_says_so(emulator: EmulatorHandle, sample: Path, connect: Any) -> None:
    conn = connect("sync_labs")
    asset = VoiceHook.for_connection(conn).upload_asset(str(sample))
    emulator.fault("edge_before", "/v2/assets/*", method="DELETE", status=404, times=ATTEMPTS * 5)
    with pytest.raises(ServiceUnavailableError, match="404 came with a page"):
        DeleteAssetOperator(task_id="d", asset=asset.id, voice_conn_id=conn).execute({})
    assert emulator.state()["assets"] == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("times", [1, 12])
def test_a_gateway_that_says_404_does_not_lose_a_job_that_runs(
    times: int, form: str, task: Task, emulator: EmulatorHandle, tmp_path: Path, connect: Any
) -> None:
    conn = connect("sync_labs")
    emulator.settings(job_seconds=0.5)
    write_wav(tmp_path / "a.wav", seconds=1)
    write_mp4(tmp_path / "v.mp4")
    emulator.fault("edge_before", "/v2/generate/*", method="GET", status=404, form=form, times=times)
    operator = LipSyncOperator(
        task_id="l",
        video=f"{tmp_path}/v.mp4",
        audio=f"{tmp_path}/a.wav",
        output=f"{tmp_path}/out/",
        poll_interval=0.1,
        timeout=60,
        voice_conn_id=conn,
        deferrable=False,
    )
    assert task.run(operator)["bytes"] > 0
    assert len(emulator.ledger("lip_sync")) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 402, 404, 429, 500, 503])
@pytest.mark.parametrize("conn_type", CONNECTIONS)
def test_speech_that_an_edge_answered_for_is_paid_once_and_a_person_decides(
    conn_type: str, status: int, form: str, task: Task, emulator: EmulatorHandle, tmp_path: Path, connect: Any
) -> None:
    voice = {
        "sync_labs": {"voice_id": "EXAVITQu4vr4xnSDxMaL"},
        "fish_audio": {"voice_id": "8a1c5e0f2b7d4c39a6e81f3d5b9c7024"},
    }[conn_type]
    conn = connect(conn_type)
    for path in ("/v2/tts", "/v1/tts"):
        emulator.fault("edge_after", path, method="POST", status=status, form=form, times=None)
    for _ in range(2):
        operator = TTSOperator(
            task_id="t", text="One line of speech.", output=f"{tmp_path}/out/", voice_conn_id=conn, **voice
        )
        with pytest.raises(OutcomeUnknownError, match="may be billed"):
            task.run(operator)
    assert len(emulator.ledger("speech")) == 1
