"""Before money is spent: what a plan would cost, and who may say yes to it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.exceptions import AirflowSkipException

from voice_provider.exceptions import BudgetError, InvalidInputError
from voice_provider.hooks.costs import video_cost
from voice_provider.models import Capability
from voice_provider.money.budget import check_budget, dollars, limit_of
from voice_provider.money.prices import total
from voice_provider.operators.arguments import as_text
from voice_provider.operators.base import VoiceOperator
from voice_provider.operators.scripts import lines_of
from voice_provider.services.options import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from airflow.sdk import Context, XComArg

    from voice_provider.models import Basis, Cost
    from voice_provider.services.options import PathObject

YES, NO = "Approve", "Reject"  # as Airflow's own approvals call them
ASKED = "asked"  # XCom: the dollars that a person was asked for
KNOWN_BY: dict[Basis, str] = {
    "service": "told by the service",
    "computed": "by the price list, for what is planned",
    "estimated": "the service's estimate; the bill may be a little different",
    "unknown": "a part of it has no known price: give one in the connection's 'prices' to see the sum",
}


class CostGateOperator(VoiceOperator):
    """Stop before money is spent: sum what a plan would cost, and go on, fail or ask a person.

    Put it before the tasks that pay. It orders nothing and uploads nothing; of a lip sync the service is asked for an
    estimate. What was spoken before and would be used again is counted as if it were new, because only the task that
    speaks knows its folder: for that see ``max_cost`` of ``SpeakLinesOperator``. A mapped gate looks at each of its
    task instances alone; for the sum of mapped tasks give their inputs to one gate.

    Returns the sum: ``usd``, ``basis`` (that of the part which is known least) and ``units``.

    :param texts: what would be spoken: a text, a list of texts, or dicts with ``text`` and ``model`` (templated)
    :param lines: location of a script (CSV, JSONL, SRT or VTT), or a list of dicts, as of ``SpeakLinesOperator``
        (templated)
    :param lip_syncs: what would be lip synced: a dict, or a list of dicts, with ``seconds`` (of the result) and
        optionally ``model`` (default: ``lipsync-2``), ``fps`` (default: 30, a fifth too dear for a video of 25) and
        ``reasoning_enabled``; manifests of speech that a video will follow have their ``seconds`` (templated)
    :param model: what speaks; default: the connection's ``speech_model`` (templated)
    :param limit: dollars up to which it goes on by itself (templated)
    :param on_exceed: what it does above: ``fail`` (default), or ``ask``: a person approves or rejects in Airflow's UI,
        and the task waits without a worker; a rejection skips what comes after. What has no known price is above any
        limit
    :param response_timeout: how long it waits for the person, a timedelta; then it fails; default: for ever
    :param assigned_users: who may answer: ``{"id": ..., "name": ...}`` or a list of them; default: whoever may edit
        the DAG's runs
    :raises CapabilityError: ``lip_syncs``, and the service has none
    :raises BudgetError: above the limit, or nobody has answered in time; nothing was ordered
    :raises InvalidInputError: a plan that cannot be read; nothing was ordered
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "texts", "lines", "lip_syncs", "model", "limit")

    def __init__(
        self,
        *,
        limit: float | str,
        texts: str | list[Any] | dict[str, Any] | XComArg | None = None,
        lines: str | PathObject | list[dict[str, Any]] | XComArg | None = None,
        lip_syncs: list[dict[str, Any]] | dict[str, Any] | XComArg | None = None,
        model: str | None = None,
        on_exceed: Literal["fail", "ask"] = "fail",
        response_timeout: timedelta | None = None,
        assigned_users: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_exceed not in ("fail", "ask"):
            raise ValueError(f"on_exceed is '{on_exceed}'; use 'fail' or 'ask'.")
        self.limit = limit
        self.texts: Any = texts
        self.lines: Any = lines
        self.lip_syncs: Any = lip_syncs
        self.model = model
        self.on_exceed = on_exceed
        self.response_timeout = response_timeout
        self.assigned_users = assigned_users

    def execute(self, context: Context) -> dict[str, Any]:
        """Sum the plan; go on where it is within the limit."""
        limit = limit_of(self.limit, "limit")
        if limit is None:
            raise InvalidInputError("limit is empty: give the dollars up to which nobody has to be asked.")
        parts = list(self._parts())
        if not parts:
            raise InvalidInputError("The plan is empty: give texts, lines or lip_syncs.")
        cost = total(parts)
        self.log.info("The plan has %s parts, and would cost: %s.", f"{len(parts):,}", cost)
        try:
            check_budget(cost, limit, "The plan", "limit")
        except BudgetError:
            if self.on_exceed == "fail":
                raise
            self._ask(context, cost, limit, len(parts))
        return cost.dump()

    def _parts(self) -> Iterator[Cost]:
        """Price what is planned, part by part."""
        from voice_provider.services.lip_sync import LipSyncOptions  # noqa: PLC0415  # not when a DAG is parsed

        usual, model = str(LipSyncOptions.model_fields["model"].default), as_text(self.model)
        for item in _items(self.texts, "texts"):
            given = item if isinstance(item, dict) else {"text": item}
            text = self.read_script(given.get("text"), given.get("text_uri"))
            yield self.hook.text_cost(text, given.get("model") or model)
        for text, of_line in self._script():
            yield self.hook.text_cost(text, of_line or model)
        for item in _items(self.lip_syncs, "lip_syncs"):
            if not isinstance(item, dict) or not isinstance(item.get("seconds"), int | float):
                raise InvalidInputError(
                    "lip_syncs: each is a dict with 'seconds', the length of the result. Nothing was ordered."
                )
            self.hook.service.require(Capability.LIP_SYNC)
            is_speech = item.get("kind") == "speech"  # its model is the one that spoke
            yield video_cost(
                self.hook,
                (None if is_speech else item.get("model")) or usual,
                float(item["seconds"]),
                item.get("fps"),
                reasoning=item.get("reasoning_enabled"),
                surely=True,
            )

    def _script(self) -> Iterator[tuple[str, str | None]]:
        """Read the lines of a script, each with its own model where it has one."""
        if as_text(self.lines) is None:
            return
        takes = set()
        for line in lines_of(self.hook, self.lines):
            take = (line.text, line.voice, line.language, line.take, str(sorted(line.options.items())))
            if take not in takes:  # equal lines share one
                takes.add(take)
                yield line.text, line.options.get("model")

    def _ask(self, context: Context, cost: Cost, limit: float, parts: int) -> None:
        """Ask a person by Airflow's own means, which leave the worker free until there is an answer."""
        from airflow.providers.standard.operators.hitl import HITLOperator  # noqa: PLC0415  # few DAGs need it

        price = "an unknown amount" if cost.usd is None else f"about {dollars(cost.usd)}"
        question = HITLOperator(
            task_id=self.task_id,
            subject=f"May this cost {price}? Up to {dollars(limit)} nobody is asked.",
            body=_explained(cost, parts),
            options=[YES, NO],
            response_timeout=self.response_timeout,
            assigned_users=self.assigned_users,
        )
        if push := getattr(context["ti"], "xcom_push", None):  # there is none where an operator is run by hand
            push(key=ASKED, value=cost.usd)
        # Unwrapped: what warns of operators that are run by hand would take this one for such.
        inspect.unwrap(HITLOperator.execute)(question, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the answer, unless the plan has become dearer meanwhile.

        :raises AirflowSkipException: the answer was no
        """
        if event.get("error"):
            raise BudgetError(f"Nobody has approved the plan ({event['error']}); nothing was ordered.")
        answers, who = event.get("chosen_options") or [], event.get("responded_by_user") or {}
        if YES not in answers:
            raise AirflowSkipException("The plan was rejected: what comes after is skipped, and nothing was ordered.")
        cost = total(self._parts())
        asked = context["ti"].xcom_pull(task_ids=self.task_id, key=ASKED, map_indexes=context["ti"].map_index)
        if asked is not None:
            check_budget(cost, float(asked), "The plan, which has changed since it was approved,", "what was approved")
        self.log.info("Approved by %s: %s.", who.get("name") or "a default answer", cost)
        return cost.dump()


def _explained(cost: Cost, parts: int) -> str:
    """Say to the person who is asked what the sum is made of, and what each answer does (Markdown)."""
    planned = [f"{parts:,} part{'' if parts == 1 else 's'}"]
    planned += [f"{amount:,.0f} {unit}" for unit, amount in cost.units.items()]
    return (
        f"- Planned: {', '.join(planned)}.\n- The price: {KNOWN_BY[cost.basis]}.\n\n"
        f"Nothing is ordered before the answer. *{YES}*: it goes on, unless the plan has become dearer by then. "
        f"*{NO}*: what comes after is skipped."
    )


def _items(value: Any, name: str) -> list[Any]:
    """Read one thing or several, as another task or a template gave them."""
    given = plain(value)
    if given is None or (isinstance(given, str) and as_text(given) is None):
        return []
    if isinstance(given, str | dict):
        return [given]
    try:
        return list(given)  # the results of mapped tasks are no list
    except TypeError:
        raise InvalidInputError(f"{name} is a {type(given).__name__}; give a list. Nothing was ordered.") from None
