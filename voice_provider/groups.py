"""Task groups for what belongs together: a voice for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import TaskGroup

from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.voice import DeleteVoiceOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import XComArg
    from airflow.sdk.definitions.xcom_arg import PlainXComArg

    from voice_provider.services.options import Media, PathObject


@contextmanager
def ephemeral_voice(
    name: str,
    sample: Media | PathObject | XComArg | None = None,
    *,
    samples: Sequence[Media | PathObject | XComArg] | XComArg | None = None,
    group_id: str = "ephemeral_voice",
    voice_conn_id: str = VoiceHook.default_conn_name,
    **clone: Any,
) -> Iterator[PlainXComArg]:
    """Give the tasks inside a voice of their own, and its clone slot back behind them.

    ::

        with ephemeral_voice("Presenter", "s3://campaign/in/ceo.mp4", on_slot_limit="wait") as voice:
            TTSOperator(task_id="speak", text="Hello.", voice_id=voice, output="s3://campaign/out/")

    The clone is a setup and its deletion the teardown: the slot comes back also when a task inside has failed or was
    killed, and clearing a task inside makes a new voice for it. (In a mapped group Airflow clears clone and teardown of
    every instance with it, so wait until the other instances are done: a voice that is still in use would go.) Where no
    teardown runs (``dagrun_timeout``; a clone that is marked failed or killed in its last try)
    ``CleanupVoicesOperator(orphaned=True)`` finds the voice. Tasks in the group are called ``<group_id>.<task_id>``;
    several groups in a DAG need a ``group_id`` each. In a mapped task group each instance has a voice of its own.

    Where many runs wait for few slots, give their tasks ``weight_rule="upstream"``: those that have a voice then speak
    and give it back before others are asked whether they get one.

    :param name: what the voice is called (templated)
    :param sample: what it is cloned from; see ``CloneVoiceOperator`` (templated)
    :param samples: several of them, instead of ``sample``; Fish Audio (templated)
    :param group_id: id of the task group; default: ``ephemeral_voice``
    :param voice_conn_id: id of the connection (templated)
    :param clone: further arguments of ``CloneVoiceOperator``: ``on_slot_limit``, ``consent``, ``deferrable`` ...
    :return: the voice, for ``voice_id=``; with its id alone as ``voice["voice_id"]``
    """
    with TaskGroup(group_id, tooltip="A voice for these tasks; its clone slot comes back behind them."):
        made = CloneVoiceOperator(
            task_id="clone_voice",
            name=name,
            sample=sample,
            samples=samples,
            ephemeral=True,
            voice_conn_id=voice_conn_id,
            **clone,
        )
        gone = DeleteVoiceOperator(task_id="delete_voice", voice=made.output, voice_conn_id=voice_conn_id)
        with gone.as_teardown(setups=made):
            yield cast("PlainXComArg", made.output)
