"""Speech of many lines: a whole script in one task."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.exceptions import TaskDeferralError

from voice_provider.exceptions import InvalidInputError, VoiceError
from voice_provider.files.endings import format_for
from voice_provider.files.locations import check_allowed, output_of
from voice_provider.files.storage import Output
from voice_provider.jobs.orders import SpeechOrder
from voice_provider.money.budget import limit_of
from voice_provider.operators import base
from voice_provider.operators.arguments import as_text, number_of, seconds_of
from voice_provider.operators.asset import ids_of
from voice_provider.operators.base import VoiceOperator, panel, scope_of
from voice_provider.operators.scripts import at_a_time, folder_of, lines_of, script_at
from voice_provider.operators.speech import made_from, speakers_of
from voice_provider.services.options import is_path
from voice_provider.triggers.jobs import JobsTrigger
from voice_provider.trust.origin import Run, consents_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta

    from airflow.sdk import Context, XComArg

    from voice_provider.jobs.record import OnUnknownOutcome
    from voice_provider.lines.journal import Journal
    from voice_provider.lines.pace import Pace
    from voice_provider.lines.script import Line
    from voice_provider.lines.speaking import Rest
    from voice_provider.models import ConsentRef
    from voice_provider.services.options import PathObject
    from voice_provider.trust.origin import Speaker

_OPTIONS = ("model", "format", "sample_rate", "speed", "volume", "stability", "similarity_boost")


class SpeakLinesOperator(VoiceOperator):
    """Speak a script of many lines in one task, and pay for each once: what was spoken before is used again.

    A take is kept as ``<output>/takes/<hash>.<ext>``, its record beside it, by all that is heard: text, voice (a clone
    by what it was made from), model, format and every other option of its sound. So lines that move cost nothing, a
    changed word costs one line, and equal lines share a take unless their column ``take`` differs; also across runs
    that share an ``output``.
    Lines are written down, a window at a time, before they are sent. After a kill only those of the open window are in
    doubt that have no take, at most five times ``concurrency``: see ``on_unknown_outcome``; where the service takes
    keys none is, because it is sent again under its key, or its job is known. One run at a time speaks into a folder;
    another one fails, says who does, and goes on when it is retried. To share an account among tasks use an Airflow
    pool.

    Where speech is a job, ``concurrency`` of them run at a time. When none of them has ended for some seconds and no
    more may be sent, the task waits for half of them on the triggerer (for all, where no line waits for its place).

    Returns ``manifest`` (location of ``<output>/manifest.jsonl``: a JSON object a line, see
    ``voice_provider.lines.manifest.Row``; written whatever the end), ``counts`` (lines by outcome), ``seconds`` (of
    all takes that were found), ``cost`` of this try (``usd``, ``basis``, ``units``): what was there, and a line that
    shares a take, cost nothing; ``service`` and ``voice_conn_id``.

    :param lines: location of a CSV, JSONL, SRT or VTT file in UTF-8, or a list of dicts. Known columns are ``id``,
        ``text``, ``voice``, ``language``, ``start``, ``end``, ``file``, ``take`` and the service's speech options; all
        others are carried into the manifest. With ``file`` (``ann/hello.mp3``) a copy of the take stands below
        ``output`` under that name; its ending chooses the format where nothing else does. Or location of a long text,
        ``.txt`` or ``.md``: its paragraphs, and parts of those with more than 1,000 characters, are the lines, its
        headings (``#``, ``Chapter 1``) the column ``chapter`` (templated)
    :param voices: which voice each name in the script stands for: an id, or what ``CloneVoiceOperator`` returned;
        default: the script has ids (templated)
    :param voice_id: of lines that name no voice; an id, or what ``CloneVoiceOperator`` returned (templated)
    :param output: folder, ending in ``/``: a path or URI whose storage creates objects exclusively (local, S3, GCS,
        Azure); the rendered field is called ``output_location`` (templated)
    :param concurrency: lines at a time, 64 at most; default: the connection's ``concurrency``, else as many as the
        service says that the account may, else 5 (templated)
    :param on_line_error: ``finish`` (default) the others, or ``stop`` sending
    :param max_failed: lines without a take with which the task still succeeds; default: 0 (templated)
    :param redo: ids whose takes are deleted and bought again, once in the life of the task instance, and once more
        after a clear (templated)
    :param on_unknown_outcome: what to do with lines that may be paid, and of which nothing came: ``fail`` (default)
        names them; ``resubmit`` buys them once more
    :param max_cost: dollars that the lines which have no take may cost, of each task instance; checked before any is
        sent and before ``redo`` deletes one; where their price is not known it fails, too. Default: any (templated)
    :param timeout: seconds without a line that is accepted or ends, after which the task gives up; default: 600
    :param deferrable: wait for jobs on the triggerer instead of on a worker, where speech is a job; default: Airflow's
        ``[operators] default_deferrable``
    :param poll_interval: seconds between two questions after a job, where the service says nothing else; default: 5
    :param model: what speaks; default: the connection's ``speech_model``; Fish Audio (templated)
    :param format: ``mp3`` (default), ``wav``, ``pcm`` or ``opus``; Fish Audio (templated)
    :param sample_rate: Hz; default: the service's; Fish Audio (templated)
    :param speed: 0.5 to 2; default: 1; Fish Audio (templated)
    :param volume: dB, -20 to 20; default: 0; Fish Audio (templated)
    :param stability: 0 to 1; default: the service's (0.5); sync. labs (templated)
    :param similarity_boost: 0 to 1; default: the service's (0.75); sync. labs (templated)
    :param options: the service's other options, see ``TTSOperator`` (templated)
    :raises InvalidInputError: names each line and column that is wrong; nothing was paid
    :raises BudgetError: the lines would cost more than ``max_cost``; nothing was sent
    :raises OutcomeUnknownError: names the lines that may be paid and have no take
    :raises PermanentVoiceError: more than ``max_failed`` lines failed, and would again
    :raises TransientVoiceError: some may succeed when they are tried again, or another run speaks into the folder
    :raises JobTimeoutError: no line was accepted, and none ended, for ``timeout`` seconds; a retry goes on
    """

    template_fields: Sequence[str] = (
        *VoiceOperator.template_fields,
        "lines",
        "voices",
        "voice_id",
        "output_location",
        "concurrency",
        "max_failed",
        "max_cost",
        "redo",
        *_OPTIONS,
        "options",
    )
    keeps = ("manifest",)  # it names the takes

    def __init__(
        self,
        *,
        lines: str | PathObject | list[dict[str, Any]] | XComArg,
        output: str | PathObject | XComArg,
        voices: dict[str, Any] | XComArg | None = None,
        voice_id: str | dict[str, Any] | XComArg | None = None,
        concurrency: int | str | None = None,
        on_line_error: Literal["finish", "stop"] = "finish",
        max_failed: int | str = 0,
        max_cost: float | str | None = None,
        redo: Sequence[str] | XComArg = (),
        on_unknown_outcome: OnUnknownOutcome = "fail",
        timeout: float | timedelta = 600,
        deferrable: bool | None = None,
        poll_interval: float | timedelta = 5,
        model: str | None = None,
        format: str | None = None,  # noqa: A002  # the field's word for it
        sample_rate: int | str | None = None,
        speed: float | str | None = None,
        volume: float | str | None = None,
        stability: float | str | None = None,
        similarity_boost: float | str | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_line_error not in ("finish", "stop"):
            raise ValueError(f"on_line_error is '{on_line_error}'; use 'finish' or 'stop'.")
        if on_unknown_outcome not in ("fail", "resubmit"):
            raise ValueError(f"on_unknown_outcome is '{on_unknown_outcome}'; use 'fail' or 'resubmit'.")
        self.lines: Any = lines
        self.voices: Any = voices
        self.voice_id: Any = voice_id
        self.output_location: Any = output_of(output) if is_path(output) else output
        self.concurrency = concurrency
        self.on_line_error = on_line_error
        self.max_failed = max_failed
        self.max_cost = max_cost
        self.redo: Any = redo
        self.on_unknown_outcome = on_unknown_outcome
        self.timeout = seconds_of(timeout, "timeout")
        self.deferrable = base.default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds_of(poll_interval, "poll_interval")
        self.model = model
        self.format = format
        self.sample_rate = sample_rate
        self.speed = speed
        self.volume = volume
        self.stability = stability
        self.similarity_boost = similarity_boost
        self.options = options

    def read_from(self) -> Iterable[Any]:
        """Return where the script is; rows of it are no locations."""
        return (script_at(self.lines),)

    def execute(self, context: Context) -> dict[str, Any]:
        """Speak what has no take yet."""
        return self._speak(context, self.deferrable)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger, by what the journal knows."""
        found = event or {}
        self.log.info("Back from waiting: %s.", found.get("message"))
        return self._speak(context, self.deferrable, found.get("at"))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the trigger, on the worker where the trigger itself failed: that is no reason to burn a retry."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError as error:
            self.log.warning("Waiting on the triggerer failed (%s); waiting here.", error)
            return self._speak(context, deferrable=False)

    def _speak(self, context: Context, deferrable: bool, ended: float | None = None) -> dict[str, Any]:
        # Here, and not when a DAG is parsed: it reads subtitles, and has models of its own.
        from voice_provider.jobs.store import attempt_of  # noqa: PLC0415
        from voice_provider.lines.journal import Journal, task_of  # noqa: PLC0415
        from voice_provider.lines.orders import Orders  # noqa: PLC0415
        from voice_provider.lines.records import Records  # noqa: PLC0415
        from voice_provider.lines.run import ScriptRun  # noqa: PLC0415
        from voice_provider.lines.takes import FOLDER  # noqa: PLC0415

        folder = folder_of(self.output_location)
        max_failed = number_of(self.max_failed, "max_failed") or 0
        max_cost = limit_of(self.max_cost, "max_cost")
        lines = lines_of(self.hook, self.lines, voices=set(self._voices()) or None)
        make = self._maker()
        self._check(lines, make, folder)
        orders = Orders(self.hook.service.name, lines, make)
        records = Records(self.hook.service.name, self._told_of_voices(), Run.of(context["ti"]))
        redo = self._ids_to_redo(lines)
        Output(f"{folder}{FOLDER}", "take", self.hook.settings.allowed_outputs).check_writable()
        scope = scope_of(context)
        task = (scope.dag_id, scope.run_id, scope.task_id, scope.map_index)
        journal = Journal(folder, task_of(*task), attempt_of(context["ti"]))
        script = ScriptRun(self.hook, folder, journal, lines, orders, records, panel(context), self.log)
        try:
            owner = task_of(*task, scope.max_tries, scope.clears)
            script.begin(owner, redo, resubmit=self.on_unknown_outcome == "resubmit", max_cost=max_cost)
            rest = script.speak(
                self._pace,
                stop_on_error=self.on_line_error == "stop",
                patience=self.timeout,
                waited=self._waited(journal, ended),
                inline=base.INLINE_WAIT if deferrable else None,
                poll_interval=self.poll_interval,
            )
            deadline = time.time() + self.timeout - (rest.silent if rest is not None else 0.0)
            if rest is not None:
                script.leave(deadline)
        except BaseException:
            with suppress(VoiceError):  # the first error is the one to tell
                script.end()
            raise
        if rest is not None:
            self._wait_elsewhere(rest, deadline)
        result = script.end()
        script.judge(max_failed)
        self.tell_assets(context, result)
        return result

    def _waited(self, journal: Journal, ended: float | None) -> float:
        """Return for how many seconds there was no news: who comes back goes on with the wait, and begins none.

        :param ended: when it ended on the triggerer, wall-clock time; what the task has spent in Airflow's queue since
            is not the service's silence; None: now
        """
        if journal.away_until is None:
            return 0.0
        # After the deadline they are asked after once more, and it is over before it would wait there again.
        most = self.timeout - base.INLINE_WAIT / 2
        return max(0.0, min(self.timeout + (ended or time.time()) - journal.away_until, most))

    def _wait_elsewhere(self, rest: Rest, deadline: float) -> None:
        self.log.info("%d jobs run; waiting on the triggerer until %d of them have ended.", len(rest.jobs), rest.enough)
        trigger = JobsTrigger(
            voice_conn_id=self.voice_conn_id,
            kind="speech",
            jobs=[(job.id, job.path) for job in rest.jobs],
            enough=rest.enough,
            poll_interval=self.poll_interval,
            deadline=deadline,
            at_most=deadline - time.time(),
            first_poll=time.time() + base.DEFER_GRACE,
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def _pace(self) -> Pace:
        from voice_provider.lines.pace import Pace  # noqa: PLC0415  # as in execute

        return Pace(at_a_time(self.hook, self.concurrency))

    def _voices(self) -> dict[str, Any]:
        if self.voices is None or isinstance(self.voices, dict):
            return self.voices or {}
        raise InvalidInputError("voices is no dict: give {'Ann': 'id of a voice', ...}, or what CloneVoice returned.")

    def _told_of_voices(self) -> list[tuple[Speaker, tuple[ConsentRef, ...]]]:
        """Read what other tasks have told of the voices, for the records beside the takes."""
        values = [*self._voices().values(), self.voice_id]
        return [(speaker, consents_in(value)) for value in values for speaker in speakers_of(value)]

    def _maker(self) -> Callable[[Line], SpeechOrder]:
        """Return what makes of a line what it asks for; raises InvalidInputError where that cannot be."""
        service, voices = self.hook.service, self._voices()
        common: dict[str, Any] = {"model": service.speech_model}
        common |= {name: value for name in _OPTIONS if (value := as_text(getattr(self, name))) is not None}
        common |= self.options or {}

        def make(line: Line) -> SpeechOrder:
            voice = self.voice_id if line.voice is None else voices.get(line.voice, line.voice)
            ids = ids_of(voice, "voice_id")
            if len(ids) != 1:
                raise InvalidInputError(f"it has {len(ids) or 'no'} voices: give one in the script, or voice_id=")
            values = {**common, **line.options, "text": line.text, "voice_id": ids[0]}
            if line.language and "language" in service.speech_options.model_fields:
                values["language"] = line.language
            return SpeechOrder(self.hook.speech_order(values, line.file or ""), made_from=made_from(voice))

        return make

    def _check(self, lines: Sequence[Line], make: Callable[[Line], SpeechOrder], folder: str) -> None:
        """Check every line as the service would, and say all that is wrong with them at once."""
        from voice_provider.lines.problems import Problems  # noqa: PLC0415  # as in execute

        problems, doubts = Problems("lines"), Counter[str]()
        for line in lines:
            try:
                options = make(line).options
                doubts.update(self.hook.service.check_speech(options, []))
                if line.file:
                    check_allowed(f"{folder}{line.file}", self.hook.settings.allowed_outputs, "output")
            except InvalidInputError as error:
                problems.add(line.where, str(error).rstrip("."))
                continue
            formats = self.hook.speech_formats(options)
            if line.file and format_for(line.file, formats) is None:
                endings = " or ".join(f".{name}" for name in formats)
                problems.add(f"{line.where}, column 'file'", f"'{line.file[:60]}' has to end in {endings}")
        problems.check()
        for doubt, count in doubts.items():
            self.log.warning("%s (%d of %d lines)", doubt, count, len(lines))

    def _ids_to_redo(self, lines: Sequence[Line]) -> set[str]:
        given = [self.redo] if isinstance(self.redo, str) else self.redo or ()
        wanted = {str(item) for item in given} - {"", "None"}
        if strange := sorted(wanted - {line.id for line in lines}):
            raise InvalidInputError(f"redo names lines that the script does not have: {', '.join(strange[:10])}.")
        return wanted
