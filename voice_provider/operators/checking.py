"""Whether spoken lines say what they should: verdicts, and nothing is changed."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError, PermanentVoiceError
from voice_provider.files.locations import bare, is_location, output_of
from voice_provider.files.storage import Output
from voice_provider.models import Capability
from voice_provider.money.budget import limit_of
from voice_provider.operators.arguments import as_text, flag_of, number_of
from voice_provider.operators.base import VoiceOperator, panel
from voice_provider.operators.lineage import listed
from voice_provider.operators.scripts import at_a_time, folder_of, lines_of, script_at
from voice_provider.services.options import is_path, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.lines.subjects import Subject
    from voice_provider.services.options import PathObject

IDS = 1_000  # that are told to other tasks: an XCom is a row in Airflow's database
NAMED = 10  # lines that a message names


class CheckLinesOperator(VoiceOperator):
    """Check whether spoken lines are what their script says, and write a verdict on each; no take is changed.

    Without a service it finds silence, clipping, takes too short or too long for their text, ends that were cut off,
    and takes that sound unlike the others of their voice; what is usual is learnt from the takes themselves, of five
    on. What words are said only a transcript tells: with ``transcribe=True`` takes that may be wrong are listened to,
    and all others or a ``sample`` of them, which the service may bill. Each take is listened to once, through retries
    and later runs: transcripts are kept in ``<output>/checks/`` (as text: whoever may read the takes may read them).
    After a kill at most ``concurrency`` of them are paid again. Takes that are wrong for sure are not listened to, and
    those that were measured before, by their hash, are not read again.

    A line is ``drift`` where it is not what was asked for: no sound, a long silence, a cut or clipped take, another
    voice, eight words in a row that are not the text's, more than 15 % of the words wrong in lines of eight or more,
    80 % in shorter ones, or its last words missing. It is ``inconclusive`` where it may be so, or has no take.
    Numbers in digits are taken for whatever words stand in their place, and voices alike in pitch and colour are not
    told apart.

    Returns ``manifest`` (of what was checked, for ``JoinLinesOperator``), ``verdicts`` (location of
    ``<output>/verdicts.jsonl``: a JSON object a line, see ``voice_provider.lines.checks.Row``), ``counts`` (lines by
    verdict), ``bad`` (ids of those that drift, at most 1,000, for ``redo=`` of ``SpeakLinesOperator``),
    ``transcribed`` (takes that were listened to, this time), ``cost`` of that, ``service`` and ``voice_conn_id``.

    :param spoken: what was spoken: location of a manifest of lines, or what ``SpeakLinesOperator`` or a mapped speech
        task returned (templated)
    :param lines: the script that it was spoken from, as ``SpeakLinesOperator`` takes it: a manifest has no texts
        (templated)
    :param output: folder for verdicts and transcripts, ending in ``/``; default: that of the manifest (templated; the
        rendered field is called ``output_location``)
    :param transcribe: listen to takes; default: False (templated)
    :param sample: which of those that seem right are listened to: a share such as 0.1, or a count; the same ones each
        time; default: all (templated)
    :param longest_silence: seconds that a pause in a take, or the silence at its end, may have; default: 2
    :param concurrency: transcripts at a time; default: the connection's ``concurrency``, else as many as the service
        says that the account may, else 5 (templated)
    :param max_cost: dollars that takes which were not listened to before may cost, of each task instance; checked
        before any is sent; default: any (templated)
    :param max_bad: lines that drift with which the task still succeeds; default: any number (templated)
    :raises InvalidInputError: the script is not the one that was spoken, or cannot be read
    :raises BudgetError: listening would cost more than ``max_cost``; nothing was sent
    :raises CapabilityError: ``transcribe``, and the service does not
    :raises PermanentVoiceError: more than ``max_bad`` lines drift; the verdicts are written
    """

    template_fields: Sequence[str] = (
        *VoiceOperator.template_fields,
        "spoken",
        "lines",
        "output_location",
        "transcribe",
        "sample",
        "concurrency",
        "max_bad",
        "max_cost",
    )
    reads = ("spoken",)
    keeps = ("verdicts",)

    def __init__(
        self,
        *,
        spoken: str | PathObject | dict[str, Any] | list[dict[str, Any]] | XComArg,
        lines: str | PathObject | list[dict[str, Any]] | XComArg,
        output: str | PathObject | XComArg | None = None,
        transcribe: bool | str = False,
        sample: float | str | None = None,
        longest_silence: float = 2.0,
        concurrency: int | str | None = None,
        max_bad: int | str | None = None,
        max_cost: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not longest_silence > 0:
            raise ValueError(f"longest_silence is {longest_silence!r}; give seconds, more than 0.")
        self.spoken: Any = spoken
        self.lines: Any = lines
        self.output_location: Any = output_of(output) if is_path(output) else output
        self.transcribe = transcribe
        self.sample = sample
        self.longest_silence = longest_silence
        self.concurrency = concurrency
        self.max_bad = max_bad
        self.max_cost = max_cost

    def read_from(self) -> Iterable[Any]:
        """Add where the script is; rows of it are no locations."""
        return (*super().read_from(), script_at(self.lines))

    def execute(self, context: Context) -> dict[str, Any]:
        """Measure, listen where that is asked for, and write the verdicts."""
        # Here, and not when a DAG is parsed: it reads media.
        from voice_provider.lines.checks import NAME, Checks, counts_of  # noqa: PLC0415

        self.spoken = listed(self.spoken)
        transcribe, max_bad = flag_of(self.transcribe, "transcribe"), number_of(self.max_bad, "max_bad")
        share, max_cost = self._share(), limit_of(self.max_cost, "max_cost")
        if transcribe:
            self.hook.service.require(Capability.TRANSCRIPTION)
        folder, subjects = self._folder(), self._subjects()
        Output(folder, "verdicts", self.hook.settings.allowed_outputs).check_writable()
        checks = Checks(self.hook, folder, subjects, panel(context), self.log, longest_silence=self.longest_silence)
        checks.measure()
        if transcribe:
            checks.listen(share, partial(at_a_time, self.hook, self.concurrency), max_cost)
        rows = checks.write()
        counts, bad = counts_of(rows), [row for row in rows if row.verdict == "drift"]
        self.log.info("Lines by verdict: %s.", ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        for row in bad[:NAMED]:
            self.log.warning("Line '%s' drifts: %s.", row.id[:60], "; ".join(row.reasons))
        if max_bad is not None and len(bad) > max_bad:
            ids = ", ".join(row.id[:60] for row in bad[:NAMED])
            raise PermanentVoiceError(
                f"{len(bad):,} of {len(rows):,} lines are not what the script says (max_bad={max_bad}): {ids}"
                f"{' ...' if len(bad) > NAMED else ''}. {folder}{NAME} tells why; redo= of SpeakLinesOperator speaks "
                "them again."
            )
        result = {
            "service": self.hook.service.name,
            "voice_conn_id": self.voice_conn_id,
            "manifest": self._manifest,
            "verdicts": f"{folder}{NAME}",
            "counts": counts,
            "bad": [row.id for row in bad[:IDS]],
            "transcribed": checks.transcribed,
            "cost": checks.cost.dump(),
        }
        self.tell_assets(context, result)
        return result

    @property
    def _manifest(self) -> str | None:
        """The location of the manifest of lines, where there is one."""
        given = plain(self.spoken)
        if isinstance(given, dict) and isinstance(given.get("manifest"), str):
            return str(given["manifest"])
        return as_text(given) if isinstance(given, str) else None

    def _folder(self) -> str:
        folder, manifest = self.output_location, self._manifest
        if folder is None and manifest is not None:
            return f"{manifest.rpartition('/')[0]}/"
        return folder_of(folder or "")

    def _subjects(self) -> list[Subject]:
        from voice_provider.lines.manifest import read_manifest  # noqa: PLC0415  # as in execute
        from voice_provider.lines.subjects import subjects_of  # noqa: PLC0415

        given, manifest, allowed = plain(self.spoken), self._manifest, self.hook.settings.allowed_inputs
        if manifest is not None:
            if not is_location(manifest):
                raise InvalidInputError(f"spoken is '{bare(manifest)[:60]}': give the location of a manifest of lines.")
            rows = [asdict(row) for row in read_manifest(manifest, allowed)]
        elif isinstance(given, str | dict | None):
            raise InvalidInputError("spoken is no manifest of lines: give what SpeakLinesOperator returned.")
        else:
            rows = [{"id": str(number), **row} for number, row in enumerate(given, 1)]
        service = self.hook.service
        options = service.speech_options

        def spoken(text: str) -> str:
            return service.markup(options.model_construct(text=text)).spoken(text)

        return subjects_of(rows, lines_of(self.hook, self.lines, options=False), manifest or "spoken", spoken)

    def _share(self) -> Callable[[set[str]], set[str]]:
        """Return what picks the takes that are listened to, by their hashes, which are as good as dice."""
        text = as_text(self.sample)
        if text is None:
            return lambda hashes: hashes
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if text.isdecimal():
            return lambda hashes: set(sorted(hashes)[: int(text)])
        if not 0 <= share <= 1:
            raise InvalidInputError(f"sample is {self.sample!r}; give a share such as 0.1, or a count.")
        return lambda hashes: {sha256 for sha256 in hashes if int(sha256[:8], 16) < share * 2**32}
