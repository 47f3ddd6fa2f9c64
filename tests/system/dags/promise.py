"""One run that buys everything at once, in every way, for the test of the promise: paid once, kept, given back."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

from airflow.sdk import DAG

from voice_provider.compat import SINCE_3_3
from voice_provider.groups import ephemeral_voice
from voice_provider.operators import base
from voice_provider.operators.asset import DeleteAssetOperator, UploadAssetOperator
from voice_provider.operators.cleanup import CleanupVoicesOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.retries import voice_retry_policy
from voice_provider.sensors.job import LipSyncCompleteSensor, TTSCompleteSensor

# Set for the components of the test's Airflow: what is waited for on a worker keeps one of its few places.
base.INLINE_WAIT = float(os.environ.get("VOICE_INLINE_WAIT", base.INLINE_WAIT))

PROMISE, SWEEP = "promise", "sweep"
PORTION = 30  # task instances
PORTIONS = max(1, int(os.environ.get("VOICE_TASKS", "0")) // PORTION)
ROOT = "{{ var.value.voice_root }}"
KEYED, DIRECT, ANSWERED = "voice_keyed", "voice_direct", "voice_answered"
BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
FAIL, RESUBMIT = "fail", "resubmit"


class Line(NamedTuple):
    """A task instance that buys something.

    :param mark: by which its orders are known on the bill
    :param keeps: the task that has the result, if it is a file
    :param unkeyed: its ``on_unknown_outcome``, where a lost answer cannot be asked for
    """

    task: str
    index: int
    kind: str
    mark: str
    keeps: str | None = None
    unkeyed: str | None = None
    clears: bool = False  # what follows it is cleared with it


LINES: list[Line] = []
numbers = count(1)


def marked(text: str, *, answered: bool) -> str:
    """Return how an order for speech is known on the bill: by its text, or by the hash of it."""
    return hashlib.sha256(text.encode()).hexdigest() if answered else text


def sample_seconds(number: int) -> float:
    """Return the length of a sample, by which a clone of it is known."""
    return round(1.2 + number / 10, 1)


def into(task_id: str, **more: Any) -> dict[str, Any]:
    return {"task_id": task_id, "output": f"{ROOT}/results/{task_id}/", "poll_interval": 1, **more}


def lip_sync(task_id: str, audio: Any = f"{ROOT}/inbox/line.wav", **more: Any) -> dict[str, Any]:
    return into(task_id, video=f"{ROOT}/inbox/talk.mp4", audio=audio, voice_conn_id=KEYED, **more)


def mapped(made: Any, kind: str, argument: str, values: dict[str, str], unkeyed: str | None = None) -> None:
    """Let one task instance ask for each value; ``values`` are those by their marks."""
    task_id = made.kwargs["task_id"]
    made.expand(**{argument: list(values.values())})
    LINES.extend(Line(task_id, index, kind, mark, task_id, unkeyed) for index, mark in enumerate(values))


def names(times: int) -> dict[str, str]:
    return {name: name for name in (f"line-{next(numbers)}" for _ in range(times * PORTIONS))}


def scripts(times: int, *, answered: bool = False) -> dict[str, str]:
    """Return texts that nobody else says, by their marks."""
    texts = [f"This is line {next(numbers)}." for _ in range(times * PORTIONS)]
    return {marked(text, answered=answered): text for text in texts}


def handed_over(number: int) -> None:
    """Two orders whose waits are other tasks: four task instances."""
    name, text = f"handed-{number}", f"These words of {number} are heard elsewhere."
    ordered = LipSyncOperator(**lip_sync(f"order_{number}", output_file_name=name, wait_for_completion=False))
    LipSyncCompleteSensor(
        task_id=f"wait_{number}", job=ordered.output, deferrable=True, poke_interval=1, voice_conn_id=KEYED
    )
    LINES.append(Line(f"order_{number}", -1, "lip_sync", name, f"wait_{number}", clears=True))
    said = into(f"say_{number}", text=text, voice_id=BUILT_IN, voice_conn_id=KEYED, wait_for_completion=False)
    spoken = TTSOperator(**said)
    TTSCompleteSensor(task_id=f"hear_{number}", job=spoken.output, poke_interval=1, voice_conn_id=KEYED)
    LINES.append(Line(f"say_{number}", -1, "speech", text, f"hear_{number}", clears=True))


def uploaded(number: int) -> None:
    """A file at the service for as long as it is needed: three task instances."""
    file = UploadAssetOperator(task_id=f"upload_{number}", file=f"{ROOT}/inbox/line.wav", voice_conn_id=KEYED)
    task_id, name = f"use_{number}", f"used-{number}"
    used = LipSyncOperator(**lip_sync(task_id, file.output, output_file_name=name, deferrable=True))
    gone = DeleteAssetOperator(task_id=f"remove_{number}", asset=file.output, voice_conn_id=KEYED)
    used >> gone.as_teardown(setups=file)
    LINES.append(Line(task_id, -1, "lip_sync", name, task_id))


def cloned(number: int, connection: str, *, answered: bool) -> None:
    """A voice for a while, and a line in it: three task instances."""
    group, text = f"{connection}_{number}", f"I am voice {number}."
    sample = f"{ROOT}/inbox/sample-{number}.wav"
    source: dict[str, Any] = {"samples": [sample]} if answered else {"sample": sample}
    with ephemeral_voice(
        f"Voice {number}", **source, group_id=group, voice_conn_id=connection, deferrable=True, poll_interval=1
    ) as voice:
        more = {"on_unknown_outcome": RESUBMIT} if answered else {"deferrable": True}
        said = into("speak", text=text, voice_id=voice, voice_conn_id=connection, **more)
        TTSOperator(**said)
    LINES.append(Line(f"{group}.clone_voice", -1, "clone", f"{sample_seconds(number)} s", None, clears=True))
    mark, unkeyed = marked(text, answered=answered), RESUBMIT if answered else None
    LINES.append(Line(f"{group}.speak", -1, "speech", mark, f"{group}.speak", unkeyed))


usual: dict[str, Any] = {"retries": 40, "retry_delay": timedelta(seconds=1)}
if SINCE_3_3:
    usual["retry_policy"] = voice_retry_policy(first=timedelta(seconds=1), longest=timedelta(seconds=3))
many: dict[str, Any] = {"catchup": False, "max_active_tasks": 100, "default_args": usual}

with DAG(dag_id=PROMISE, schedule=None, **many):
    speech = {"voice_id": BUILT_IN, "deferrable": True}
    mapped(LipSyncOperator.partial(**lip_sync("deferred", deferrable=True)), "lip_sync", "output_file_name", names(5))
    mapped(LipSyncOperator.partial(**lip_sync("here", deferrable=False)), "lip_sync", "output_file_name", names(2))
    mapped(TTSOperator.partial(**into("speech", voice_conn_id=KEYED, **speech)), "speech", "text", scripts(4))
    reference = [{"audio": f"{ROOT}/inbox/line.wav", "text": "A line."}]
    for policy in (FAIL, RESUBMIT):
        asked = {"on_unknown_outcome": policy}
        direct = into(f"direct_{policy}", voice_conn_id=DIRECT, **speech, **asked)
        mapped(TTSOperator.partial(**direct), "speech", "text", scripts(1), policy)
        answer = into(f"answered_{policy}", voice_conn_id=ANSWERED, references=reference, **asked)
        mapped(TTSOperator.partial(**answer), "speech", "text", scripts(2, answered=True), policy)
    for portion in range(PORTIONS):
        handed_over(portion)
        uploaded(portion)
        cloned(2 * portion, KEYED, answered=False)
        cloned(2 * portion + 1, ANSWERED, answered=True)

with DAG(dag_id=SWEEP, schedule=None, **many):
    for connection in (KEYED, ANSWERED):
        CleanupVoicesOperator(task_id=f"sweep_{connection}", orphaned=True, voice_conn_id=connection)
