"""How one track of many takes is made: each is checked, read once, and put in its place."""

from __future__ import annotations

import hashlib
import json
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from voice_provider.exceptions import InvalidInputError
from voice_provider.files import filters
from voice_provider.files.endings import check_ending
from voice_provider.files.filters import RATE
from voice_provider.files.locations import bare, check_allowed, explained, is_location, output_of, read_bytes
from voice_provider.files.storage import Output, StoredFile
from voice_provider.files.track import FORMATS, PRESETS, Chapter, Track
from voice_provider.files.transfer import SHARED, opened, persist, pieces, put
from voice_provider.files.whole import NotWholeError
from voice_provider.lines import fit
from voice_provider.lines.script import MAX_BYTES, read_lines
from voice_provider.lines.spoken import SpokenLine, read_spoken
from voice_provider.lines.subtitles import to_srt
from voice_provider.models import Manifest
from voice_provider.money.prices import NOTHING
from voice_provider.operators.base import panel, scope_of
from voice_provider.services.options import is_path
from voice_provider.trust.origin import Origin, Run, Speaker, consents_in
from voice_provider.trust.provenance import check_name, keep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from voice_provider.hooks.voice import VoiceHook

SHOWN = 10  # lines that are named in a message


@dataclass(frozen=True)
class Asked:
    """What every such task is asked; see ``operators.tracks.TrackOperator``."""

    hook: VoiceHook
    log: Logger
    lines: Any
    output: Any
    loudness: str | None


class Laying(ABC):
    """One run of a task that makes a track.

    :param options: of the task, as the record tells them
    """

    def __init__(self, asked: Asked, context: Context, **options: Any) -> None:
        self.asked, self.context, self.options = asked, context, options

    @abstractmethod
    def lay(self, track: Track, spoken: Sequence[SpokenLine]) -> dict[str, Any]:
        """Put the takes on the track; return what the task tells besides the manifest."""

    def chapters(self) -> list[Chapter]:
        """Return the chapters of the track, once it is laid."""
        return []

    def beside(self) -> dict[str, tuple[str, str]]:
        """Return files that stand beside the track, once it is laid: ending and text, by the key of the result."""
        return {}

    def make(self) -> dict[str, Any]:
        """Make the track, and return its manifest."""
        form = self._form()
        spoken = self._spoken()
        with explained("The track cannot be made on this worker's disk", "Make room and clear the task."):
            return self._made(form, spoken)

    def _made(self, form: str, spoken: Sequence[SpokenLine]) -> dict[str, Any]:
        track = Track()
        told = self.lay(track, spoken)
        place = Output(self._location, "track", self.asked.hook.settings.allowed_outputs, scope_of(self.context).run)
        with tempfile.TemporaryFile() as made:
            preset = PRESETS[self.asked.loudness] if self.asked.loudness else None
            heard = track.write(cast("BinaryIO", made), form, preset, self.chapters())
            if preset and heard.true_peak > preset.true_peak:
                self.asked.log.warning("Its peaks are at %.1f dBTP, above %g.", heard.true_peak, preset.true_peak)
            with place.receive() as sink:
                for piece in pieces(cast("BinaryIO", made)):
                    sink.write(piece)
                kept = sink.keep(track.seconds, kind="audio")
        manifest = keep(
            Manifest(
                service=self.asked.hook.service.name,
                voice_conn_id=self.asked.hook.voice_conn_id,
                kind="speech",
                cost=NOTHING,  # the takes were paid when they were spoken
                **kept.facts,
            ),
            self._origin(spoken),
            Run.of(self.context["ti"]),
        )
        stem = manifest.uri.rpartition(".")[0]
        for key, (ending, text) in self.beside().items():
            told[key] = f"{stem}.{ending}"
            self._put(told[key], text)
        self.asked.log.info(
            "Kept %s: %d lines, %.1f s, %.1f LUFS.", manifest.uri, len(spoken), track.seconds, heard.integrated
        )
        level = {"integrated": round(heard.integrated, 1), "true_peak": round(heard.true_peak, 1)}
        return {**manifest.dump(), "lines": len(spoken), "loudness": level, **told}

    @property
    def _location(self) -> str:
        return output_of(self.asked.output)

    def _form(self) -> str:
        """Find out before anything is read whether the track can be kept."""
        location = self._location
        form = location.rpartition(".")[2].lower()
        if not is_location(location) or form not in FORMATS:
            raise InvalidInputError(
                f"output is '{bare(location)}': give an absolute path or a URI that ends in .{', .'.join(FORMATS)}."
            )
        check_name(location)
        check_ending(location, (form,), "The track")
        Output(location, "track", self.asked.hook.settings.allowed_outputs).check_writable()
        return form

    def _spoken(self) -> list[SpokenLine]:
        if not isinstance(self.asked.lines, str | dict) and not is_path(self.asked.lines):
            return read_spoken(self.asked.lines, "lines")
        location = str(self.asked.lines.get("manifest") if isinstance(self.asked.lines, dict) else self.asked.lines)
        data = read_bytes(location, self.asked.hook.settings.allowed_inputs, MAX_BYTES)
        return read_spoken(data.decode(errors="replace"), location)

    def sound(self, line: SpokenLine) -> Iterator[bytes]:
        """Decode a take, and make sure that it is the one that was kept.

        :raises InvalidInputError: it is another one, or cannot be read
        """
        file = StoredFile(line.uri, self.asked.hook.settings.allowed_inputs)
        if file.sha256() != line.sha256:
            raise InvalidInputError(
                f"The recording of line '{line.id}', {line.uri}, is not what was kept: its hash is another one. Speak "
                "it again."
            )
        try:
            with file.open() as source:
                yield from filters.samples(source)
        except NotWholeError as error:
            raise InvalidInputError(f"The recording of line '{line.id}', {line.uri}: {error}.") from None

    def progress(self, done: int, of: int) -> None:
        """Show how far it is, and log it, at each twentieth."""
        if done * 20 // of != (done - 1) * 20 // of:
            panel(self.context)(f"{done:,} of {of:,} lines")
            self.asked.log.info("%d of %d lines.", done, of)

    def _origin(self, spoken: Sequence[SpokenLine]) -> Origin:
        rows = [line.model_dump(exclude_none=True) for line in spoken]
        known = [Speaker.of({**row, "name": None}) for row in rows if row.get("voice_id") or row.get("samples")]
        return Origin(
            settings={"loudness": self.asked.loudness, **self.options},
            speakers=tuple(dict.fromkeys(known)),
            inputs=tuple({"role": "take", "id": line.id, "sha256": line.sha256} for line in spoken),
            consents=consents_in(rows),
        )

    def _put(self, location: str, text: str) -> None:
        allowed = self.asked.hook.settings.allowed_outputs
        check_allowed(location, allowed, "output")
        folder = partial(opened, name=location.rpartition("/")[2], allowed=allowed)
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            with explained(f"{location} cannot be written", "Correct it and clear the task."):
                persist(lambda: put(cast("BinaryIO", file), location, folder, SHARED))


class Joining(Laying):
    """One line behind the other."""

    def __init__(self, asked: Asked, context: Context, *, gap: float, chapter_gap: float) -> None:
        super().__init__(asked, context, gap=gap, chapter_gap=chapter_gap)
        self._gap, self._chapter_gap = gap, chapter_gap
        self._cues: list[dict[str, Any]] = []

    def lay(self, track: Track, spoken: Sequence[SpokenLine]) -> dict[str, Any]:
        """Put one line behind the other."""
        chapter = spoken[0].chapter
        for number, line in enumerate(spoken, 1):
            begins = line.chapter is not None and line.chapter != chapter
            chapter = line.chapter or chapter
            gap = (self._chapter_gap if begins else self._gap) if number > 1 else 0.0
            start, end = track.add(self.sound(line), track.seconds + gap if gap else None)
            cue = {"id": line.id, "start": round(start, 3), "end": round(end, 3), "sha256": line.sha256}
            self._cues.append({**cue, **({"chapter": chapter} if chapter else {})})
            self.progress(number, len(spoken))
        return {}

    def chapters(self) -> list[Chapter]:
        """Return the chapters, each up to the next one."""
        begins = [cue for cue, before in zip(self._cues, [{}, *self._cues], strict=False) if _is_new(cue, before)]
        ends = [*(cue["start"] for cue in begins[1:]), self._cues[-1]["end"]]
        return [Chapter(cue["chapter"], cue["start"], end) for cue, end in zip(begins, ends, strict=False)]

    def beside(self) -> dict[str, tuple[str, str]]:
        """Return the cue sheet."""
        return {"cues": _sheet(self._cues)}


class Fitting(Laying):
    """Each line at its time."""

    def __init__(self, asked: Asked, context: Context, subtitles: Any, video: Any, **options: float) -> None:
        super().__init__(asked, context, **options)
        self._subtitles, self._video = subtitles, video
        self._texts: dict[str, str] = {}
        self._placed: list[fit.Placed] = []
        self._cues: list[dict[str, Any]] = []

    def lay(self, track: Track, spoken: Sequence[SpokenLine]) -> dict[str, Any]:
        """Plan all lines, then put each in its place."""
        times = self._times()
        self._check_ids([line.id for line in spoken], list(times))
        by_id = {line.id: line for line in spoken}
        takes = []
        for line in spoken:
            seconds, pauses = filters.silences(self.sound(line))
            takes.append(fit.Take(line.id, *times[line.id], seconds, pauses))
        until = self._until()
        self._placed = fit.fit(takes, until=until, **self.options)
        for number, placed in enumerate(self._placed, 1):
            sound = filters.without(self.sound(by_id[placed.id]), placed.cuts)
            if abs(placed.tempo - 1) > 1 / RATE:
                sound = filters.filtered(sound, [("atempo", f"{placed.tempo:.6f}")])
            track.add(sound, max(placed.at, track.seconds))  # tempo is kept to a few samples only
            self._cues.append(_cue(placed, by_id[placed.id].sha256))
            self.progress(number, len(self._placed))
        if until < float("inf"):
            track.silence(until)
        told = {name: self._told(name) for name in ("overflow", "late")}
        for name, lines in told.items():
            if lines:
                shown = ", ".join(f"'{line['id']}' by {line['seconds']} s" for line in lines[:SHOWN])
                what = "do not fit into their time" if name == "overflow" else "begin late"
                self.asked.log.warning(
                    "%d lines %s: %s%s.", len(lines), what, shown, " …" if len(lines) > SHOWN else ""
                )
        marks = [[line.sha256, *times[line.id]] for line in spoken]
        what = json.dumps([marks, until if until < float("inf") else None, self.options], sort_keys=True)
        return {"fingerprint": hashlib.sha256(what.encode()).hexdigest(), **told}

    def beside(self) -> dict[str, tuple[str, str]]:
        """Return fitted subtitles, under another name than the file that they were made of may have, and the cues."""
        shown = [(line.at, line.end, self._texts[line.id]) for line in self._placed]
        return {"subtitles": ("fitted.srt", to_srt(shown)), "cues": _sheet(self._cues)}

    def _times(self) -> dict[str, tuple[float, float]]:
        location = str(self._subtitles)
        if location.rpartition(".")[2].lower() not in ("srt", "vtt"):
            raise InvalidInputError(f"subtitles is '{bare(location)}': give the location of an .srt or .vtt file.")
        cues = read_lines(read_bytes(location, self.asked.hook.settings.allowed_inputs, MAX_BYTES), location)
        self._texts = {cue.id: cue.text for cue in cues}
        return {cue.id: (cue.start or 0.0, cue.end or 0.0) for cue in cues}

    def _until(self) -> float:
        if self._video is None or not str(self._video).strip():
            return float("inf")
        location = self._video["uri"] if isinstance(self._video, dict) else str(self._video)
        return StoredFile(location, self.asked.hook.settings.allowed_inputs).seconds() or float("inf")

    def _told(self, name: str) -> list[dict[str, Any]]:
        return [
            {"id": line.id, "seconds": round(getattr(line, name), 3)}
            for line in self._placed
            if getattr(line, name) > fit.AUDIBLE
        ]

    @staticmethod
    def _check_ids(spoken: list[str], cues: list[str]) -> None:
        for known, others, what in ((cues, spoken, "have no recording"), (spoken, cues, "have no subtitle")):
            there = set(others)
            if missing := [line for line in known if line not in there]:
                shown = ", ".join(f"'{line[:40]}'" for line in missing[:SHOWN])
                raise InvalidInputError(
                    f"{len(missing)} of {len(known)} lines {what}: {shown}. lines and subtitles have to name the same "
                    "ids; those of a subtitle file are its cues' identifiers, else their numbers."
                )


def _is_new(cue: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(cue.get("chapter")) and cue.get("chapter") != before.get("chapter")


def _sheet(cues: list[dict[str, Any]]) -> tuple[str, str]:
    return "cues.json", json.dumps(cues, indent=1) + "\n"


def _cue(line: fit.Placed, sha256: str) -> dict[str, Any]:
    """Tell where a fitted line is heard, and what was done to it."""
    numbers = {
        "start": line.at,
        "end": line.end,
        "tempo": line.tempo,
        "removed": sum(end - start for start, end in line.cuts),
        "overflow": line.overflow,
        "late": line.late,
    }
    return {"id": line.id, **{name: round(number, 3) for name, number in numbers.items()}, "sha256": sha256}
