"""Task groups for what belongs together: a voice for a while; lines that are spoken, checked, and spoken again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import TaskGroup

from voice_provider.hooks.voice import VoiceHook
from voice_provider.operators.checking import CheckLinesOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lines import SpeakLinesOperator
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


def checked_lines(
    lines: str | PathObject | list[dict[str, Any]] | XComArg,
    output: str | PathObject | XComArg,
    *,
    rounds: int = 2,
    max_bad: int | str | None = 0,
    check: dict[str, Any] | None = None,
    group_id: str = "checked_lines",
    voice_conn_id: str = VoiceHook.default_conn_name,
    **speak: Any,
) -> PlainXComArg:
    """Speak a script, check what was spoken, and speak again what is wrong, at most ``rounds`` times.

    ::

        spoken = checked_lines("s3://studio/script.csv", "s3://studio/takes/", check={"transcribe": True})
        JoinLinesOperator(task_id="join", lines=spoken, output="s3://studio/book.m4a")

    Each line that is spoken again is paid again. Where nothing is wrong any more the rounds that are left pay nothing:
    their takes and transcripts are there. Tasks in the group are called ``<group_id>.speak``, ``.check``,
    ``.speak_again_1``, ``.check_again_1`` and so on; several groups in a DAG need a ``group_id`` each.

    :param lines: the script, see ``SpeakLinesOperator`` (templated)
    :param output: folder of takes, manifest and verdicts, ending in ``/`` (templated)
    :param rounds: how often wrong lines are spoken again; default: 2
    :param max_bad: lines that may still be wrong after the last round; more fail its check, and what is behind it does
        not run; None: any number; default: 0 (templated)
    :param check: further arguments of ``CheckLinesOperator``: ``transcribe``, ``sample`` ...
    :param group_id: id of the task group; default: ``checked_lines``
    :param voice_conn_id: id of the connection that speaks and, unless ``check`` names another one, listens (templated)
    :param speak: further arguments of ``SpeakLinesOperator``: ``voices``, ``voice_id``, ``model`` ...
    :return: what the last check returns, for ``lines=`` of ``JoinLinesOperator`` and ``FitLinesOperator``
    :raises ValueError: ``rounds`` is less than 0
    """
    if rounds < 0:
        raise ValueError(f"rounds is {rounds!r}; give 0 or more.")
    redo = {"redo": speak.pop("redo")} if "redo" in speak else {}
    with TaskGroup(group_id, tooltip=f"Spoken, checked, and spoken again where it is wrong, at most {rounds} times."):
        for number in range(rounds + 1):
            again = f"_again_{number}" if number else ""
            spoken = SpeakLinesOperator(
                task_id=f"speak{again}",
                lines=lines,
                output=output,
                voice_conn_id=voice_conn_id,
                **{**speak, **redo},
            )
            checked = CheckLinesOperator(
                task_id=f"check{again}",
                spoken=spoken.output,
                lines=lines,
                max_bad=max_bad if number == rounds else None,
                **{"voice_conn_id": voice_conn_id, **(check or {})},
            )
            bad: Any = checked.output
            redo = {"redo": bad["bad"]}
    return cast("PlainXComArg", checked.output)
