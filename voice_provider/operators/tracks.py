"""One track of many spoken lines: joined one after another, or fitted into the times of subtitles. Nothing is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from voice_provider.files.locations import output_of
from voice_provider.links import ResultLink
from voice_provider.operators.base import VoiceOperator
from voice_provider.operators.lineage import listed
from voice_provider.services.options import is_path

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow.sdk import BaseOperatorLink, Context, XComArg

    from voice_provider.operators.laying import Asked
    from voice_provider.services.options import PathObject

LOUDNESS = ("audiobook", "broadcast", "podcast")


class TrackOperator(VoiceOperator):
    """Base of the operators that make one track of many recordings.

    The recordings are checked against their hashes, so that no other take slips in; each is read once, a piece at a
    time. The track is 48 kHz mono. The record beside it names every take.

    :param lines: what was spoken: location of a manifest of lines (``manifest.jsonl``), or a list of what speech tasks
        returned (``speak.output`` of a mapped task): dicts with ``uri`` and ``sha256``, optionally ``id`` (templated)
    :param output: where the track is kept: a path or URI that ends in ``.flac``, ``.m4a``, ``.mp3``, ``.ogg`` or
        ``.wav`` (templated; the rendered field is called ``output_location``)
    :param loudness: how loud it is made, by EBU R128: ``podcast`` (-16 LUFS, true peak at most -1.5 dBTP),
        ``broadcast`` (-23, -1) or ``audiobook`` (-19, -3); None: as it was spoken
    :raises InvalidInputError: a line without a recording, or one that is not what was kept; nothing is written
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "lines", "output_location")
    reads: ClassVar[Sequence[str]] = ("lines",)
    keeps = ("uri", "cues", "subtitles")
    operator_extra_links: Collection[BaseOperatorLink] = (ResultLink(),)

    def __init__(
        self,
        *,
        lines: str | PathObject | list[dict[str, Any]] | XComArg,
        output: str | PathObject | XComArg,
        loudness: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if loudness is not None and loudness not in LOUDNESS:
            raise ValueError(f"loudness is {loudness!r}; use {', '.join(LOUDNESS)} or None.")
        self.lines: Any = lines
        self.output_location: Any = output_of(output) if is_path(output) else output
        self.loudness = loudness
        self.result_location: str | None = None  # for the link

    def _asked(self, kind: type[Asked]) -> Asked:
        self.lines = listed(self.lines)
        return kind(self.hook, self.log, self.lines, self.output_location, self.loudness)

    def _told(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        self.result_location = result["uri"]
        self.tell_assets(context, result)
        return result


class JoinLinesOperator(TrackOperator):
    """Join spoken lines to one track, in their order, with chapters and a cue sheet.

    Joints are faded for 10 ms, so that none clicks; without a gap the fades go over each other. A line's ``chapter``
    (a column of the script) begins a chapter of the file, which players show (m4a, mp3, ogg).

    Returns the manifest of the track, and ``lines`` (how many), ``loudness`` (``integrated`` in LUFS, ``true_peak`` in
    dBTP), ``cues`` (location of the cue sheet: ``id``, ``start``, ``end``, ``sha256`` and ``chapter`` of each
    line, in seconds).

    :param gap: seconds of silence between two lines; default: 0.4
    :param chapter_gap: seconds before a chapter; default: 1.5
    """

    def __init__(self, *, gap: float = 0.4, chapter_gap: float = 1.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if gap < 0 or chapter_gap < 0:
            raise ValueError(f"gap is {gap!r} and chapter_gap {chapter_gap!r}; give seconds, 0 or more.")
        self.gap = gap
        self.chapter_gap = chapter_gap

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the track, and return its manifest."""
        from voice_provider.operators.laying import Asked, Joining  # noqa: PLC0415  # parsing a DAG need not read it

        track = Joining(self._asked(Asked), context, gap=self.gap, chapter_gap=self.chapter_gap)
        return self._told(context, track.make())


class FitLinesOperator(TrackOperator):
    """Fit spoken lines into the times of a subtitle file: a dubbed track, and subtitles that fit it.

    A line that is too long takes the silence up to the next one, then gives up silence of its own, then is spoken at
    most ``fastest`` times faster. What still does not fit is not cut: the lines behind it wait, and ``overflow`` and
    ``late`` tell by how many seconds. Nothing is spoken again: times can be changed as often as one likes.

    Returns the manifest of the track, and ``lines``, ``loudness``, ``subtitles`` (location of the fitted subtitles),
    ``fingerprint`` (of takes, times and options), ``overflow`` and ``late`` (lists of ``id`` and ``seconds``), and
    ``cues`` (location of the cue sheet: ``id``, ``start``, ``end``, ``tempo``, ``removed`` (silence), ``overflow``,
    ``late`` and ``sha256`` of each line, in seconds; a ``tempo`` of 1.1 is a tenth faster than it was spoken).

    :param subtitles: location of the SRT or VTT file with the times; its cues are the lines, by their ids or numbers
        (templated)
    :param video: the video that is dubbed, whose end is the track's, too; default: None, the track ends with its last
        line (templated)
    :param fastest: how much faster a line may become; default: 1.2, beyond which people notice
    :param slowest: how much slower a line may become that is too short for its time; 1: never; default: 0.85
    :param gap: seconds between two lines, at least; default: 0.05
    :raises InvalidInputError: a subtitle has no recording, or a recording no subtitle; nothing is written
    """

    template_fields: Sequence[str] = (*TrackOperator.template_fields, "subtitles", "video")
    reads = ("lines", "subtitles", "video")

    def __init__(
        self,
        *,
        subtitles: str | PathObject | XComArg,
        video: str | PathObject | XComArg | None = None,
        fastest: float = 1.2,
        slowest: float = 0.85,
        gap: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (1 <= fastest <= 2 and 0.5 <= slowest <= 1 and gap >= 0):
            raise ValueError(
                f"fastest is {fastest!r} (1 to 2), slowest {slowest!r} (0.5 to 1) and gap {gap!r} (0 or more)."
            )
        self.subtitles: Any = subtitles
        self.video: Any = video
        self.fastest = fastest
        self.slowest = slowest
        self.gap = gap

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the track, and return its manifest."""
        from voice_provider.operators.laying import Asked, Fitting  # noqa: PLC0415  # parsing a DAG need not read it

        options = {"fastest": self.fastest, "slowest": self.slowest, "gap": self.gap}
        return self._told(context, Fitting(self._asked(Asked), context, self.subtitles, self.video, **options).make())
