"""One track of many spoken lines: joined one after another, or fitted into the times of subtitles. Nothing is paid."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.files import filters
from voice_provider.files.filters import RATE
from voice_provider.files.locations import bare, read_bytes
from voice_provider.files.storage import StoredFile
from voice_provider.files.track import Chapter, Track
from voice_provider.lines import fit
from voice_provider.lines.script import MAX_BYTES, read_lines
from voice_provider.lines.subtitles import to_srt
from voice_provider.operators.track import TrackOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.lines.spoken import SpokenLine
    from voice_provider.services.options import PathObject

SHOWN = 10  # lines that are named in a message


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
        self._cues: list[dict[str, Any]] = []

    @property
    def settings(self) -> dict[str, Any]:
        """What the record says of how it was made."""
        return {**super().settings, "gap": self.gap, "chapter_gap": self.chapter_gap}

    def lay(self, track: Track, spoken: Sequence[SpokenLine], context: Context) -> dict[str, Any]:
        """Put one line behind the other."""
        self._cues, chapter = [], spoken[0].chapter
        for number, line in enumerate(spoken, 1):
            begins = line.chapter is not None and line.chapter != chapter
            chapter = line.chapter or chapter
            gap = (self.chapter_gap if begins else self.gap) if number > 1 else 0.0
            start, end = track.add(self.sound(line), track.seconds + gap if gap else None)
            cue = {"id": line.id, "start": round(start, 3), "end": round(end, 3), "sha256": line.sha256}
            self._cues.append({**cue, **({"chapter": chapter} if chapter else {})})
            self.progress(context, number, len(spoken))
        return {}

    def chapters(self) -> list[Chapter]:
        """Return the chapters, each up to the next one."""
        begins = [cue for cue, before in zip(self._cues, [{}, *self._cues], strict=False) if _is_new(cue, before)]
        ends = [*(cue["start"] for cue in begins[1:]), self._cues[-1]["end"]]
        return [Chapter(cue["chapter"], cue["start"], end) for cue, end in zip(begins, ends, strict=False)]

    def beside(self) -> dict[str, tuple[str, str]]:
        """Return the cue sheet."""
        return {"cues": ("cues.json", json.dumps(self._cues, indent=1) + "\n")}


class FitLinesOperator(TrackOperator):
    """Fit spoken lines into the times of a subtitle file: a dubbed track, and subtitles that fit it.

    A line that is too long takes the silence up to the next one, then gives up silence of its own, then is spoken at
    most ``fastest`` times faster. What still does not fit is not cut: the lines behind it wait, and ``overflow`` and
    ``late`` tell by how many seconds. Nothing is spoken again: times can be changed as often as one likes.

    Returns the manifest of the track, and ``lines``, ``loudness``, ``subtitles`` (location of the fitted subtitles),
    ``fingerprint`` (of takes, times and options), ``overflow`` and ``late`` (lists of ``id`` and ``seconds``).

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

    def __init__(
        self,
        *,
        subtitles: str | PathObject | XComArg,
        video: str | PathObject | XComArg | None = None,
        fastest: float = fit.FASTEST,
        slowest: float = fit.SLOWEST,
        gap: float = fit.GAP,
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
        self._texts: dict[str, str] = {}
        self._placed: list[fit.Placed] = []

    @property
    def settings(self) -> dict[str, Any]:
        """What the record says of how it was made."""
        return {**super().settings, "fastest": self.fastest, "slowest": self.slowest, "gap": self.gap}

    def lay(self, track: Track, spoken: Sequence[SpokenLine], context: Context) -> dict[str, Any]:
        """Plan all lines, then put each in its place."""
        times = self._times()
        self._check_ids([line.id for line in spoken], list(times))
        by_id = {line.id: line for line in spoken}
        takes = []
        for line in spoken:
            seconds, pauses = filters.silences(self.sound(line))
            takes.append(fit.Take(line.id, *times[line.id], seconds, pauses))
        until = self._until()
        options: Any = {"fastest": self.fastest, "slowest": self.slowest, "gap": self.gap}
        self._placed = fit.fit(takes, until=until, **options)
        for number, placed in enumerate(self._placed, 1):
            sound = filters.without(self.sound(by_id[placed.id]), placed.cuts)
            if abs(placed.tempo - 1) > 1 / RATE:
                sound = filters.filtered(sound, [("atempo", f"{placed.tempo:.6f}")])
            track.add(sound, max(placed.at, track.seconds))  # tempo is kept to a few samples only
            self.progress(context, number, len(self._placed))
        if until < float("inf"):
            track.silence(until)
        told = {name: self._told(name) for name in ("overflow", "late")}
        for name, lines in told.items():
            if lines:
                shown = ", ".join(f"'{line['id']}' by {line['seconds']} s" for line in lines[:SHOWN])
                what = "do not fit into their time" if name == "overflow" else "begin late"
                self.log.warning("%d lines %s: %s%s.", len(lines), what, shown, " …" if len(lines) > SHOWN else "")
        marks = [[line.sha256, *times[line.id]] for line in spoken]
        what = json.dumps([marks, until if until < float("inf") else None, options], sort_keys=True)
        return {"fingerprint": hashlib.sha256(what.encode()).hexdigest(), **told}

    def beside(self) -> dict[str, tuple[str, str]]:
        """Return the fitted subtitles."""
        return {"subtitles": ("srt", to_srt([(line.at, line.end, self._texts[line.id]) for line in self._placed]))}

    def _times(self) -> dict[str, tuple[float, float]]:
        location = str(self.subtitles)
        if location.rpartition(".")[2].lower() not in ("srt", "vtt"):
            raise InvalidInputError(f"subtitles is '{bare(location)}': give the location of an .srt or .vtt file.")
        cues = read_lines(read_bytes(location, self.hook.settings.allowed_inputs, MAX_BYTES), location)
        self._texts = {cue.id: cue.text for cue in cues}
        return {cue.id: (cue.start or 0.0, cue.end or 0.0) for cue in cues}

    def _until(self) -> float:
        if self.video is None or not str(self.video).strip():
            return float("inf")
        location = self.video["uri"] if isinstance(self.video, dict) else str(self.video)
        return StoredFile(location, self.hook.settings.allowed_inputs).seconds() or float("inf")

    def _told(self, name: str) -> list[dict[str, Any]]:
        return [
            {"id": line.id, "seconds": round(getattr(line, name), 3)}
            for line in self._placed
            if getattr(line, name) > fit.AUDIBLE
        ]

    @staticmethod
    def _check_ids(spoken: list[str], cues: list[str]) -> None:
        for known, others, what in ((cues, spoken, "have no recording"), (spoken, cues, "have no subtitle")):
            if missing := [line for line in known if line not in set(others)]:
                shown = ", ".join(f"'{line[:40]}'" for line in missing[:SHOWN])
                raise InvalidInputError(
                    f"{len(missing)} of {len(known)} lines {what}: {shown}. lines and subtitles have to name the same "
                    "ids; those of a subtitle file are its cues' identifiers, else their numbers."
                )


def _is_new(cue: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(cue.get("chapter")) and cue.get("chapter") != before.get("chapter")
