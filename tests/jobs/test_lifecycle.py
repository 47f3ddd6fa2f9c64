"""The worker dies at every line of a job's life; the job is paid once, and its result is kept."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import tenacity.nap

from tests.conftest import MemoryStore, Task, write_wav
from voice_provider.exceptions import (
    InvalidInputError,
    JobTimeoutError,
    OutcomeUnknownError,
    PermanentVoiceError,
    RateLimitedError,
    ServiceUnavailableError,
    SlotLimitError,
    StaleTryError,
    VoiceError,
)
from voice_provider.hooks.attempts import ATTEMPTS
from voice_provider.hooks.voice import VoiceHook
from voice_provider.jobs import lifecycle
from voice_provider.operators.base import scope_of
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_provider.emulator.process import EmulatorHandle

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"


class Killed(BaseException):
    """What a SIGKILL is to the code: no handler runs after it."""


class MortalStore(MemoryStore):
    """Dies at the n-th write, before or after it."""

    def __init__(self, dies_at: int, when: str) -> None:
        super().__init__()
        self.left, self.when = dies_at, when

    def set(self, key: str, value: Any, **_: Any) -> None:
        self.left -= 1
        if self.left == 0 and self.when == "before":
            raise Killed
        super().set(key, value)
        if self.left == 0:
            raise Killed


class DiaryStore(MemoryStore):
    """Shows all that was ever written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def set(self, key: str, value: Any, **_: Any) -> None:
        super().set(key, value)
        self.written.append(self[key])


class UnwillingStore(MemoryStore):
    """Does not take the first record that holds something of a kind."""

    def __init__(self, what: str, error: Exception | None = None) -> None:
        super().__init__()
        self.what: str | None = what
        self.error = error or ConnectionError()

    def set(self, key: str, value: Any, **_: Any) -> None:
        if isinstance(value, dict) and value.get(self.what or ""):
            self.what = None
            raise self.error
        super().set(key, value)


@pytest.fixture
def operators(sample: Path, video: Path, tmp_path: Path) -> dict[str, Callable[..., Any]]:
    out = str(tmp_path / "out") + "/"
    return {
        "clone": lambda **kw: CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample), ephemeral=True, **kw),
        "speech": lambda **kw: TTSOperator(task_id="t", text="Hello there.", voice_id=BUILT_IN, output=out, **kw),
        "lip_sync": lambda **kw: LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=out, **kw),
    }


def paid(emulator: EmulatorHandle, kind: str) -> int:
    return len([row for row in emulator.ledger(kind) if not row["refunded"]])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, 10))
@pytest.mark.parametrize("kind", ["clone", "speech", "lip_sync"])
def test_a_worker_that_dies_at_any_write_pays_once_and_loses_nothing(
    kind: str,
    dies_at: int,
    when: str,
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
) -> None:
    set_connection(tts_mode="jobs")
    task = Task()
    task.store = MortalStore(dies_at, when)
    try:
        result = task.run(operators[kind]())
    except Killed:
        result = task.run(operators[kind]())
    assert paid(emulator, kind) == 1
    state = emulator.state()
    assert state["assets"] <= 1  # an upload whose id was not yet written down is the one thing a kill can leave
    if when == "after" and dies_at > 2:
        assert state["assets"] == 0
    if kind == "clone":
        assert state["voices"]["main"] == 1
        assert result["voice_id"] == emulator.voices()[0]["id"]
    else:
        assert result["bytes"] > 0


@pytest.mark.parametrize(("policy", "expected"), [("fail", 1), ("resubmit", 2)])
def test_speech_without_a_key_is_bought_again_only_where_the_author_said_so(
    policy: str,
    expected: int,
    emulator: EmulatorHandle,
    operators: dict[str, Callable[..., Any]],
    task: Task,
) -> None:
    emulator.fault("drop_after", path="/v2/tts")
    if policy == "fail":
        with pytest.raises(OutcomeUnknownError, match=r"may be billed.*resubmit"):
            task.run(operators["speech"]())
        with pytest.raises(OutcomeUnknownError):  # and a retry does not buy it either
            task.run(operators["speech"]())
    else:
        assert task.run(operators["speech"](on_unknown_outcome="resubmit"))["bytes"] > 0
    assert paid(emulator, "speech") == expected


def test_a_clone_whose_answer_was_lost_is_found_by_its_name(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("drop_after", path="/v2/voices", method="POST")
    result = task.run(operators["clone"]())
    assert [voice["id"] for voice in emulator.voices()] == [result["voice_id"]]
    assert paid(emulator, "clone") == 1
    assert emulator.state()["assets"] == 0


def test_a_clone_that_was_never_made_is_not_mistaken_for_another(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.seed_voices(["Ann", "Ann [vp:default:aaaaaaaaaaaaaaaaaaaaaaaaaa:aaaa]"])
    emulator.fault("status", path="/v2/voices", method="POST", status=500)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["clone"]())
    assert paid(emulator, "clone") == 0
    result = task.run(operators["clone"]())  # a retry looks again, and then repeats it: the name settles it
    assert paid(emulator, "clone") == 1
    assert result["name"].startswith("Ann [vp:default:")
    assert emulator.state()["assets"] == 0


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "status", "html"])
def test_a_keyed_order_survives_every_lost_answer(
    fault: str, emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault(fault, path="/v2/generate", method="POST", times=2, **({"status": 503} if fault == "html" else {}))
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1


def test_an_outage_is_left_to_a_retry_which_sends_the_same_key(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    rule = emulator.fault("drop_after", path="/v2/generate", method="POST", times=None)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["lip_sync"]())
    emulator.clear_faults()
    assert rule
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1
    keys = {r["idempotency_key"] for r in emulator.requests("/v2/generate") if r["method"] == "POST"}
    assert len(keys) == 1


def test_clearing_a_finished_task_is_exactly_one_new_order(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    first = task.run(operators["lip_sync"]())
    assert task.run(operators["lip_sync"]()) == first  # a try after a success that was not reported
    assert paid(emulator, "lip_sync") == 1
    task.clear()
    again = task.run(operators["lip_sync"]())
    assert again["job_id"] != first["job_id"]
    assert task.run(operators["lip_sync"]()) == again
    assert paid(emulator, "lip_sync") == 2


def test_a_changed_request_is_a_new_order(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    task.run(operators["lip_sync"]())
    task.run(operators["lip_sync"](sync_mode="loop"))
    assert paid(emulator, "lip_sync") == 2


def test_a_kept_result_that_vanished_is_fetched_again_not_bought(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, tmp_path: Path
) -> None:
    first = task.run(operators["lip_sync"]())
    (tmp_path / "out" / first["uri"].rpartition("/")[2]).write_bytes(b"overwritten")
    assert task.run(operators["lip_sync"]())["sha256"] == first["sha256"]
    assert paid(emulator, "lip_sync") == 1


def test_a_link_that_expired_before_the_result_was_fetched_is_asked_for_anew(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("status", path="/results/*", status=403, body="<Error><Code>AccessDenied</Code></Error>")
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1


def test_a_job_that_the_service_has_forgotten_is_never_silently_bought_again(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    task.run(operators["lip_sync"](wait_for_completion=False))
    record = task.record
    record["job"]["id"] = "00000000-0000-4000-8000-000000000000"
    record.pop("manifest", None)
    record["finished"] = False
    task.store.set("voice_job", record)
    with pytest.raises(OutcomeUnknownError, match="not known to the service"):
        task.run(operators["lip_sync"]())
    assert paid(emulator, "lip_sync") == 1


def test_a_connection_that_leads_to_another_account_does_not_reuse_its_jobs(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
    task: Task,
) -> None:
    emulator.settings(job_seconds=60)
    task.run(operators["lip_sync"](wait_for_completion=False))
    emulator.add_account("another-key", "other")
    set_connection(password="another-key")
    with pytest.raises(OutcomeUnknownError, match="another account"):
        task.run(operators["lip_sync"](wait_for_completion=False))
    assert paid(emulator, "lip_sync") == 1


def test_a_refused_order_leaves_no_upload_behind(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.settings(clone_slots=0)
    with pytest.raises(SlotLimitError):
        task.run(operators["clone"]())
    assert emulator.state()["assets"] == 0
    emulator.settings(clone_slots=1)
    assert task.run(operators["clone"]())["state"] == "trained"


def test_a_failed_job_leaves_no_upload_behind_and_a_clear_orders_anew(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("job_failed", path="/v2/generate", code="generation_input_face_selection_invalid", body="No face.")
    with pytest.raises(Exception, match=r"No face \(generation_input_face_selection_invalid"):
        task.run(operators["lip_sync"]())
    assert emulator.state()["assets"] == 0
    task.clear()
    assert task.run(operators["lip_sync"]())["bytes"] > 0


def test_the_record_holds_no_key_no_script_and_no_link(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
    task: Task,
) -> None:
    set_connection(tts_mode="jobs")
    emulator.settings(job_seconds=60)
    task.run(operators["speech"](wait_for_completion=False))
    stored = json.dumps(task.record)
    assert emulator.api_key not in stored.replace("sync_labs", "")
    assert "Hello there" not in stored
    assert "http" not in stored.replace("pageUrl", "").replace(task.record["job"].get("page_url", "-"), "")


def test_a_retry_collects_the_paid_job_although_its_inputs_are_gone(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, sample: Path
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(operators["lip_sync"](timeout=0.1))
    sample.unlink()
    emulator.advance(61)
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1
    assert emulator.state()["assets"] == 0
    task.clear()
    with pytest.raises(InvalidInputError, match="does not exist"):  # a new order needs them
        task.run(operators["lip_sync"]())


def test_a_running_job_that_a_clear_may_have_changed_is_not_collected_blindly(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, sample: Path
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(operators["lip_sync"](timeout=0.1))
    sample.unlink()
    emulator.advance(61)
    task.clear()
    with pytest.raises(InvalidInputError, match="does not exist"):
        task.run(operators["lip_sync"]())


def test_a_new_key_of_the_same_account_finds_its_jobs(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
    task: Task,
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(operators["lip_sync"](timeout=0.1))
    before = task.record["account"]
    emulator.add_account("rotated-key", "main")
    set_connection(password="rotated-key")
    emulator.advance(61)
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1
    assert task.record["account"] != before


def test_a_clone_at_another_account_is_not_made_a_second_time_unasked(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
    task: Task,
) -> None:
    task.run(operators["clone"]())
    emulator.add_account("another-key", "other")
    set_connection(password="another-key")
    with pytest.raises(OutcomeUnknownError, match="another account"):
        task.run(operators["clone"]())
    assert emulator.state()["voices"] == {"main": 1}


def test_a_manifest_whose_file_was_overwritten_is_not_used(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, video: Path, tmp_path: Path
) -> None:
    speech = task.run(operators["speech"]())
    Path(speech["uri"]).write_bytes(write_wav(tmp_path / "other.wav").read_bytes())
    operator = LipSyncOperator(task_id="t", video=str(video), audio=speech, output=str(tmp_path / "o.mp4"))
    with pytest.raises(InvalidInputError, match=r"hash is another one.*folder as output"):
        task.run(operator)
    assert paid(emulator, "lip_sync") == 0


def test_clearing_a_task_that_handed_its_job_over_is_a_new_order(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.settings(job_seconds=60)
    first = task.run(operators["lip_sync"](wait_for_completion=False))
    assert task.run(operators["lip_sync"](wait_for_completion=False))["job_id"] == first["job_id"]
    task.clear()
    assert task.run(operators["lip_sync"](wait_for_completion=False))["job_id"] != first["job_id"]
    assert paid(emulator, "lip_sync") == 2


def test_an_order_is_repeated_with_the_very_body_that_was_sent(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("drop_after", path="/v2/generate", method="POST", times=None)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["lip_sync"]())
    record = task.record
    record["uploads"] = {}  # what is left when the uploads were forgotten
    task.store.set("voice_job", record)
    emulator.clear_faults()
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1


@pytest.mark.parametrize("lost", [1, ATTEMPTS])
def test_a_refusal_speaks_of_its_own_sending_only(
    lost: int, emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    """An order was accepted, its answer lost, and it is refused when it is sent again: at once, or by the next try."""
    refusal = {"status": 402, "code": "insufficient_credits"}
    emulator.fault("drop_after", path="/v2/generate", method="POST", times=lost)
    emulator.fault("status", path="/v2/generate", method="POST", **refusal)
    for number in range(1 if lost < ATTEMPTS else 2):
        with pytest.raises(VoiceError) as caught:
            task.run(operators["lip_sync"]())
        assert isinstance(caught.value, PermanentVoiceError) == (lost < ATTEMPTS or number == 1)
    assert emulator.state()["assets"] == 2, "the job that may run needs its inputs"
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1
    assert emulator.state()["assets"] == 0


def test_a_refused_order_is_sent_anew_with_inputs_that_are_there(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("status", path="/v2/generate", method="POST", status=402, code="insufficient_credits")
    with pytest.raises(PermanentVoiceError):
        task.run(operators["lip_sync"]())
    assert task.record.get("posted_at") is None
    assert emulator.state()["assets"] == 0
    assert task.run(operators["lip_sync"]())["bytes"] > 0


def test_a_clone_that_was_not_made_is_sent_again_with_a_sample_that_is_there(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("status", path="/v2/voices", method="POST", status=500)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["clone"]())
    [asset] = task.record["uploads"].values()
    operators["clone"]().hook.delete_asset(asset)  # by a person, or a sweep
    assert task.run(operators["clone"]())["state"] == "trained"
    assert emulator.state()["assets"] == 0


@pytest.mark.parametrize("on_clear", ["reattach", "resubmit"])
def test_what_was_ordered_before_is_collected_when_it_is_asked_for_again(
    on_clear: str, emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.settings(job_seconds=60)
    for changes in ({}, {"sync_mode": "loop"}):
        with pytest.raises(JobTimeoutError):
            task.run(operators["lip_sync"](timeout=0.1, on_clear=on_clear, **changes))
        task.clear()
    task.ti.max_tries -= 1  # cleared once, between the two
    [first] = task.record["earlier"]
    emulator.advance(61)
    assert task.run(operators["lip_sync"](on_clear=on_clear))["job_id"] == first["job"]["id"]
    assert emulator.state()["assets"] == 2, "the other job may need them"
    [other] = task.record["earlier"]
    assert task.run(operators["lip_sync"](sync_mode="loop"))["job_id"] == other["job"]["id"]
    assert paid(emulator, "lip_sync") == 2
    assert emulator.state()["assets"] == 0


def test_uploads_that_could_not_be_deleted_are_used_or_deleted_by_the_next_order(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("job_failed", path="/v2/generate", code="generation_input_face_selection_invalid", body="No face.")
    emulator.fault("status", path="/v2/assets/*", method="DELETE", status=503, times=None)
    with pytest.raises(VoiceError, match="No face"):
        task.run(operators["lip_sync"]())
    assert emulator.state()["assets"] == 2
    emulator.clear_faults()
    task.clear()
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert emulator.state()["assets"] == 0


def test_what_came_is_written_down_again_where_the_store_does_not_take_it_at_once(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda _: None))
    for number, (kind, what) in enumerate(
        [("clone", "uploads"), ("clone", "job"), ("lip_sync", "job"), ("lip_sync", "manifest"), ("speech", "job")]
    ):
        task = Task()
        task.ti.task_id, task.store = f"task-{number}", UnwillingStore(what)
        task.run(operators[kind]())
        assert task.store.what is None
    assert [paid(emulator, kind) for kind in ("clone", "lip_sync", "speech")] == [2, 2, 1]
    assert emulator.state()["assets"] == 0
    task = Task()
    task.store = UnwillingStore("job", StaleTryError("A later try has begun."))
    with pytest.raises(StaleTryError):  # which writes from now on
        task.run(operators["lip_sync"]())


def test_a_result_that_is_kept_needs_no_service(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    """A try that kept the result was killed before it could tell."""
    for kind in ("lip_sync", "speech"):
        first = task.run(operators[kind]())
        emulator.fault("status", path="*", status=500, times=None)
        assert task.run(operators[kind]()) == first
        task.store.clear()
        emulator.clear_faults()


def test_an_order_of_unknown_outcome_is_repeated_once_in_its_life(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("drop_after", path="/v2/tts", times=None)
    for _ in range(3):
        with pytest.raises(OutcomeUnknownError, match="ordered a second time already"):
            task.run(operators["speech"](on_unknown_outcome="resubmit"))
        task.clear()
    assert paid(emulator, "speech") == 2


def test_a_result_that_was_moved_to_another_output_is_found_there(
    emulator: EmulatorHandle, video: Path, sample: Path, task: Task, tmp_path: Path
) -> None:
    def kept_in(folder: str) -> Any:
        output = f"{tmp_path / folder}/"
        return task.run(LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=output))

    first = kept_in("first")
    emulator.fault("status", path="*", status=500, times=None)  # nothing is asked any more
    second = kept_in("second")
    assert second == {**first, "uri": second["uri"]}
    assert second["uri"].startswith(str(tmp_path / "second"))
    Path(first["uri"]).unlink()
    assert kept_in("second") == second


def test_a_result_that_vanished_and_is_not_back_yet_is_no_finished_order(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    Path(task.run(operators["lip_sync"]())["uri"]).unlink()
    emulator.fault("status", path="/v2/generate/*", status=500, times=None)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["lip_sync"]())
    emulator.clear_faults()
    task.clear()
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1


def test_no_record_holds_the_link_to_a_result(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    task.store = store = DiaryStore()
    emulator.fault("drop_after", path="/v2/generate", method="POST", times=ATTEMPTS)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["lip_sync"]())
    emulator.advance(600)  # the repeated order is answered with a job that has ended
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert not [record for record in store.written if "/results/" in record]


def test_a_clear_is_one_clear(emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(operators["lip_sync"](timeout=0.1))
    emulator.advance(61)
    task.clear()
    collected = task.run(operators["lip_sync"]())
    assert task.run(operators["lip_sync"]()) == collected  # a try after a success that was not reported
    assert paid(emulator, "lip_sync") == 1


def test_an_outage_of_the_file_host_is_not_taken_for_an_expired_link(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("status", path="/speech/*", status=503, body="<Error/>", times=None)
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["speech"]())
    emulator.clear_faults()
    assert task.run(operators["speech"]())["bytes"] > 0
    assert paid(emulator, "speech") == 1


class TestUploads:
    """A try is killed between an upload and the line that writes its id down."""

    @pytest.fixture
    def killed(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def run(action: Callable[[], Any], number: int = 1) -> None:
            upload, done = VoiceHook.upload_file, []

            def upload_and_die(*given: Any) -> Any:
                done.append(upload(*given))
                if len(done) == number:
                    raise Killed
                return done[-1]

            with monkeypatch.context() as patched:
                patched.setattr(VoiceHook, "upload_file", upload_and_die)
                with pytest.raises(Killed):
                    action()

        return run

    @pytest.mark.parametrize("changed", [False, True])
    def test_it_is_found_by_its_name(
        self,
        changed: bool,
        emulator: EmulatorHandle,
        video: Path,
        sample: Path,
        task: Task,
        killed: Callable[..., None],
        tmp_path: Path,
    ) -> None:
        def order(video: Path) -> LipSyncOperator:
            return LipSyncOperator(task_id="t", video=str(video), audio=str(sample), output=f"{tmp_path}/out/")

        killed(lambda: task.run(order(video)))
        assert emulator.state()["assets"] == 1
        task.run(order(video.rename(video.with_name("other.mp4")) if changed else video))
        assert emulator.state()["assets"] == 0

    def test_another_file_of_the_same_name_is_not_taken_for_it(
        self,
        emulator: EmulatorHandle,
        video: Path,
        task: Task,
        killed: Callable[..., None],
        tmp_path: Path,
    ) -> None:
        takes = [write_wav(tmp_path / name / "take.wav", seconds) for name, seconds in (("a", 3), ("b", 4))]

        def order() -> LipSyncOperator:
            return LipSyncOperator(
                task_id="t",
                video=str(video),
                audio=[{"ref_id": take.parent.name, "media": str(take)} for take in takes],
                segments=[
                    {"start_time": at, "end_time": at + 0.5, "audio_input": {"ref_id": ref_id}}
                    for at, ref_id in ((0, "a"), (0.5, "b"))
                ],
                output=f"{tmp_path}/out/",
            )

        killed(lambda: task.run(order()), number=3)
        assert task.run(order())["bytes"] > 0
        assert emulator.state()["assets"] == 0

    def test_what_was_deleted_meanwhile_is_uploaded_again(
        self, emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
    ) -> None:
        emulator.fault("status", path="/v2/generate", method="POST", status=429, headers={"retry-after": "600"})
        with pytest.raises(RateLimitedError):
            task.run(operators["lip_sync"]())
        for asset in task.record["uploads"].values():
            operators["lip_sync"]().hook.delete_asset(asset)
        assert task.run(operators["lip_sync"]())["bytes"] > 0
        assert emulator.state()["assets"] == 0


def test_a_voice_that_was_cloned_anew_from_the_same_is_the_same_request(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], video: Path, tmp_path: Path
) -> None:
    voice = Task().run(operators["clone"]())
    speech, lip_sync = Task(), Task()
    for voice_id in (voice["voice_id"], BUILT_IN):
        same = {"text": "Hello.", "voice_id": {**voice, "voice_id": voice_id}, "output": f"{tmp_path}/out/"}
        speech.run(TTSOperator(task_id="t", **same))
        lip_sync.run(LipSyncOperator(task_id="t", video=str(video), **same))
    assert (paid(emulator, "speech"), paid(emulator, "lip_sync")) == (1, 1)


def test_an_ephemeral_voice_is_another_request_than_one_for_all(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, sample: Path
) -> None:
    for_all = task.run(CloneVoiceOperator(task_id="t", name="Ann", sample=str(sample)))
    assert task.run(operators["clone"]())["voice_id"] != for_all["voice_id"]
    assert len(emulator.voices()) == 2


def test_a_cleared_clone_needs_no_second_slot(
    emulator: EmulatorHandle,
    set_connection: Callable[..., None],
    operators: dict[str, Callable[..., Any]],
    task: Task,
) -> None:
    set_connection(clone_slots=1)
    for _ in range(2):
        voice = task.run(operators["clone"]())
        task.clear()
    assert [found["id"] for found in emulator.voices()] == [voice["voice_id"]]


def test_what_a_killed_try_left_beside_the_result_goes_with_the_task(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    left = tmp_path / "out" / f".{'0' * 16}.{scope_of(task.context).run}.part"
    others = left.with_name(f".{'0' * 16}.another.part")
    for path in (left, others):
        path.write_bytes(b"half of it")
    task.run(operators["lip_sync"]())
    assert (left.exists(), others.exists()) == (False, True)


@pytest.mark.parametrize("waits", [True, False])
def test_a_result_that_could_not_be_told_is_collected_by_a_clear(
    waits: bool, emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    told: list[Any] = []

    def push(key: str, value: Any) -> None:
        told.append(value)
        if len(told) == 1:
            raise ConnectionError

    task.ti.xcom_push = push
    with pytest.raises(ConnectionError):
        task.run(operators["lip_sync"](wait_for_completion=waits))
    task.clear()
    again = task.run(operators["lip_sync"](wait_for_completion=waits))
    assert again["job_id"] == told[0]["job_id"]
    assert paid(emulator, "lip_sync") == 1


def test_a_key_that_is_at_work_is_asked_again_under_itself(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("status", path="/v2/generate", method="POST", status=409, code="idempotency_in_progress", times=2)
    assert task.run(operators["lip_sync"](poll_interval=0.05))["bytes"] > 0
    keys = [r["idempotency_key"] for r in emulator.requests("/v2/generate") if r["method"] == "POST"]
    assert (len(keys), len(set(keys))) == (3, 1)
    assert paid(emulator, "lip_sync") == 1


def test_each_try_claims_the_state_for_itself(
    set_connection: Callable[..., None], operators: dict[str, Callable[..., Any]], task: Task, tmp_path: Path
) -> None:
    set_connection(state_location=str(tmp_path / "state"))
    task.store.set("voice_origin", "before there was a state_location")
    operator, states = operators["speech"](), []
    for number in (1, 2):
        task.ti.id, task.ti.try_number = f"0199000{number}-0000-7000-8000-000000000000", number
        states.append(operator.state(task.context))
        assert operator.state(task.context) is states[-1]
    assert [state.attempt.number for state in states] == [1, 2]
    assert states[1].get("voice_origin") == "before there was a state_location"
    with pytest.raises(StaleTryError):
        states[0].set("voice_job", {})


def test_one_wrong_not_found_does_not_end_a_paid_job(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.settings(job_seconds=60)
    with pytest.raises(JobTimeoutError):
        task.run(operators["lip_sync"](timeout=0.1))
    emulator.advance(61)
    emulator.fault("status", path="/v2/generate/*", status=404, times=1)
    assert task.run(operators["lip_sync"]())["bytes"] > 0
    assert paid(emulator, "lip_sync") == 1


def test_an_ephemeral_clone_that_fails_for_good_gives_its_slot_back(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("drop_after", path="/v2/voices", method="POST")
    emulator.fault("status", path="/v2/voices", method="GET", status=503, times=5, after=1)
    assert task.ti.try_number > task.ti.max_tries, "this try is the last one"
    with pytest.raises(ServiceUnavailableError):
        task.run(operators["clone"]())
    assert emulator.state()["voices"].get("main", 0) == 0
    assert paid(emulator, "clone") == 1


def test_a_link_to_speech_that_has_expired_for_good_is_said_to_be_so(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task
) -> None:
    emulator.fault("status", path="/speech/*", status=403, body="<Error/>", times=None)
    with pytest.raises(OutcomeUnknownError, match=r"link to its result has expired.*on_clear='resubmit'"):
        task.run(operators["speech"]())
    assert paid(emulator, "speech") == 1


@pytest.mark.parametrize("listed", [False, True])
def test_a_voice_in_the_making_is_waited_for(
    emulator: EmulatorHandle,
    operators: dict[str, Callable[..., Any]],
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    *,
    listed: bool,
) -> None:
    """Another task's clone is still being made: its name is refused already, and it is not listed yet."""
    monkeypatch.setattr(lifecycle, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(lifecycle, "LOOK_FOR", 1.0)
    emulator.fault(
        "status",
        path="/v2/voices",
        method="POST",
        status=409,
        code="voice_name_conflict",
        times=None,
    )
    if not listed:
        with pytest.raises(ServiceUnavailableError, match="it is not listed yet"):
            task.run(operators["clone"]())
        return
    timer = threading.Timer(0.3, lambda: emulator.seed_voices([task.record["name"]]))
    timer.start()
    result = task.run(operators["clone"]())
    timer.join()
    assert result["outcome"] == "found"
    assert [voice["id"] for voice in emulator.voices()] == [result["voice_id"]]


@pytest.mark.parametrize("kind", ["lip_sync", "speech", "clone"])
def test_a_clear_of_another_task_pays_for_nothing_where_airflow_did_not_hear_of_a_success(
    emulator: EmulatorHandle, operators: dict[str, Callable[..., Any]], task: Task, kind: str
) -> None:
    first = task.run(operators[kind]())
    task.others_cleared += 1
    assert task.run(operators[kind]()) == first, "a retry: the worker died before it was heard of"
    assert paid(emulator, kind) == 1
    task.clears += 1  # a clear with lower retries leaves ``max_tries`` as it was
    task.run(operators[kind](retries=1))
    assert paid(emulator, kind) == 2
