"""What the operators share that make one track of many spoken lines."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from voice_provider.exceptions import InvalidInputError
from voice_provider.files import filters
from voice_provider.files.endings import check_ending
from voice_provider.files.locations import bare, check_allowed, explained, is_location, output_of, read_bytes
from voice_provider.files.storage import Output, StoredFile
from voice_provider.files.track import FORMATS, PRESETS, Chapter, Track
from voice_provider.files.transfer import persist, pieces, put
from voice_provider.files.whole import NotWholeError
from voice_provider.lines.script import MAX_BYTES
from voice_provider.lines.spoken import SpokenLine, read_spoken
from voice_provider.links import ResultLink
from voice_provider.models import Manifest
from voice_provider.operators.base import VoiceOperator, panel, scope_of
from voice_provider.services.options import is_path
from voice_provider.trust.origin import Origin, Speaker, consents_in
from voice_provider.trust.provenance import Run, check_name, keep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from airflow.sdk import BaseOperatorLink, Context, XComArg

    from voice_provider.services.options import PathObject


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
        if loudness is not None and loudness not in PRESETS:
            raise ValueError(f"loudness is {loudness!r}; use {', '.join(PRESETS)} or None.")
        self.lines: Any = lines
        self.output_location: Any = output_of(output) if is_path(output) else output
        self.loudness = loudness
        self.result_location: str | None = None  # for the link

    @abstractmethod
    def lay(self, track: Track, spoken: Sequence[SpokenLine], context: Context) -> dict[str, Any]:
        """Put the takes on the track; return what the task tells besides the manifest."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the record says of how it was made."""
        return {"loudness": self.loudness}

    def chapters(self) -> list[Chapter]:
        """Return the chapters of the track, once it is laid."""
        return []

    def beside(self) -> dict[str, tuple[str, str]]:
        """Return files that stand beside the track, once it is laid: ending and text, by the key of the result."""
        return {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the track, and return its manifest."""
        form = self._form()
        spoken = self._spoken()
        track = Track()
        told = self.lay(track, spoken, context)
        place = Output(self._location, "track", self.hook.settings.allowed_outputs, scope_of(context).run)
        with tempfile.TemporaryFile() as made:
            preset = PRESETS[self.loudness] if self.loudness else None
            heard = track.write(cast("BinaryIO", made), form, preset, self.chapters())
            if preset and heard.true_peak > preset.true_peak:
                self.log.warning("Its peaks are at %.1f dBTP, above %g.", heard.true_peak, preset.true_peak)
            with place.receive() as sink:
                for piece in pieces(cast("BinaryIO", made)):
                    sink.write(piece)
                kept = sink.keep(track.seconds, kind="audio")
        manifest = keep(
            Manifest(
                service=self.hook.service.name,
                kind="speech",
                uri=kept.uri,
                sha256=kept.sha256,
                bytes=kept.bytes,
                format=kept.info.format.extension,
                media_type=kept.info.format.media_type,
                seconds=kept.info.seconds,
            ),
            self._origin(spoken),
            Run.of(context["ti"]),
        )
        self.result_location = manifest.uri
        stem = manifest.uri.rpartition(".")[0]
        for key, (ending, text) in self.beside().items():
            told[key] = f"{stem}.{ending}"
            self._put(told[key], text)
        self.log.info(
            "Kept %s: %d lines, %.1f s, %.1f LUFS.", manifest.uri, len(spoken), track.seconds, heard.integrated
        )
        level = {"integrated": round(heard.integrated, 1), "true_peak": round(heard.true_peak, 1)}
        return {**manifest.dump(), "lines": len(spoken), "loudness": level, **told}

    @property
    def _location(self) -> str:
        return output_of(self.output_location)

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
        Output(location, "track", self.hook.settings.allowed_outputs).check_writable()
        return form

    def _spoken(self) -> list[SpokenLine]:
        if not isinstance(self.lines, str | dict) and not is_path(self.lines):
            return read_spoken(self.lines, "lines")
        location = str(self.lines.get("manifest") if isinstance(self.lines, dict) else self.lines)
        data = read_bytes(location, self.hook.settings.allowed_inputs, MAX_BYTES)
        return read_spoken(data.decode(errors="replace"), location)

    def sound(self, line: SpokenLine) -> Iterator[bytes]:
        """Decode a take, and make sure that it is the one that was kept.

        :raises InvalidInputError: it is another one, or cannot be read
        """
        file = StoredFile(line.uri, self.hook.settings.allowed_inputs)
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

    def progress(self, context: Context, done: int, of: int) -> None:
        """Show how far it is, and log each twentieth."""
        panel(context)(f"{done:,} of {of:,} lines")
        if done == of or done * 20 // of != (done - 1) * 20 // of:
            self.log.info("%d of %d lines.", done, of)

    def _origin(self, spoken: Sequence[SpokenLine]) -> Origin:
        rows = [line.model_dump(exclude_none=True) for line in spoken]
        known = [Speaker.of({**row, "name": None}) for row in rows if row.get("voice_id") or row.get("samples")]
        return Origin(
            settings=self.settings,
            speakers=tuple(dict.fromkeys(known)),
            inputs=tuple({"role": "take", "id": line.id, "sha256": line.sha256} for line in spoken),
            consents=consents_in(rows),
        )

    def _put(self, location: str, text: str) -> None:
        check_allowed(location, self.hook.settings.allowed_outputs, "output")
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            with explained(f"{location} cannot be written", "Correct it and clear the task."):
                persist(lambda: put(cast("BinaryIO", file), location))
