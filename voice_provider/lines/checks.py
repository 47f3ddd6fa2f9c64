"""One look at a script's takes: each is measured, and listened to where that is asked for; what comes of it is written.

What was measured, and what was heard, is known by the hash of the take: a take that was looked at before is not read
again, and one that was listened to before is not paid again. Transcripts are kept one by one, as they come.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import AuthError, InvalidInputError, PermanentVoiceError, QuotaError
from voice_provider.files import filters
from voice_provider.files.locations import check_allowed, explained, open_path, reading
from voice_provider.files.measures import Measures, measure
from voice_provider.files.storage import StoredFile
from voice_provider.files.transfer import SHARED, exists, opened, persist, put
from voice_provider.files.whole import NotWholeError
from voice_provider.hooks.costs import transcription_cost
from voice_provider.lines.verdicts import UNKNOWN, Finding, Take, Verdict, Voice, findings_of, verdict_of, voices_of
from voice_provider.money.budget import check_budget
from voice_provider.money.prices import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow.sdk.types import Logger

    from voice_provider.hooks.voice import VoiceHook
    from voice_provider.lines.subjects import Subject
    from voice_provider.models import Cost

NAME = "verdicts.jsonl"
FOLDER = "checks/"  # of transcripts
VERSION = 1  # of what is measured; another one measures anew
READERS = 4  # takes that are read at a time; more of them wait for the same cores
STEPS = 20  # log lines of all takes: one each 5 %
STOPS = (AuthError, QuotaError)  # what every other take would meet, too
NO_TAKE = Finding(False, "there is no take of it")
RAW = Finding(False, "raw samples (pcm) are not checked; speak as wav or mp3")


@dataclass(frozen=True)
class Row:
    """What became of a line, as ``verdicts.jsonl`` has it.

    :param id: of the line
    :param verdict: ``ok``; ``drift``: it is not what was asked for; or ``inconclusive``: it may not be
    :param reasons: what speaks against it, with numbers
    :param uri: of the take
    :param sha256: of the take
    :param transcript: where that is kept which was heard in it; None: it was not listened to
    :param measures: what was measured, see ``files.measures.Measures``
    :param version: of the measures
    """

    id: str
    verdict: Verdict
    reasons: list[str] = field(default_factory=list)
    uri: str | None = None
    sha256: str | None = None
    transcript: str | None = None
    measures: dict[str, Any] | None = None
    version: int = VERSION


class Checks:
    """One look at the takes of a script.

    :param hook: of the connection
    :param folder: where verdicts and transcripts are kept; ends in ``/``
    :param subjects: the lines
    :param show: takes the line of progress for people
    """

    def __init__(
        self,
        hook: VoiceHook,
        folder: str,
        subjects: Sequence[Subject],
        show: Callable[[str], None],
        log: Logger,
        *,
        longest_silence: float,
    ) -> None:
        self._hook, self._folder, self._subjects = hook, folder, subjects
        self._show, self._log, self._longest = show, log, longest_silence
        self._spoken = [one for one in subjects if one.sha256]
        self._measured: dict[str, Measures] = {}
        self._broken: dict[str, Finding] = {}
        self._heard: dict[str, str] = {}
        self.transcribed = 0
        self._paid: list[Cost] = []

    def measure(self) -> None:
        """Measure each take that was not measured before.

        :raises StorageError: a storage that fails
        """
        known = self._known()
        takes = {one.sha256: one for one in self._spoken}  # lines of the same words share one
        self._measured = {sha256: known[sha256] for sha256 in takes if sha256 in known}
        new = [one for sha256, one in takes.items() if sha256 not in known]
        self._log.info("%d lines are %d takes; %d are measured.", len(self._subjects), len(takes), len(new))
        with _pool(READERS) as pool:
            for number, (one, found) in enumerate(zip(new, pool.map(self._measure, new), strict=True), 1):
                if isinstance(found, Finding):
                    self._broken[one.sha256] = found
                else:
                    self._measured[one.sha256] = found
                self._tell(f"{number:,} of {len(new):,} takes measured", number, len(new))

    def listen(
        self,
        share: Callable[[set[str]], set[str]],
        concurrency: Callable[[], int],
        max_cost: float | None = None,
    ) -> None:
        """Have takes transcribed: those that may be wrong, and some of the others. Surely wrong ones need no proof.

        :param share: picks among the hashes of those that seem right
        :param concurrency: how many at a time; asked only where some are new
        :param max_cost: dollars that new transcripts may cost; None: any
        :raises BudgetError: they would cost more; nothing was sent
        :raises VoiceError: what the service says of all of them; what was heard until then is kept
        """
        judged = [(one, verdict_of(self._findings(one))) for one in self._spoken if one.sha256 in self._measured]
        some = share({one.sha256 for one, verdict in judged if verdict == "ok"})
        wanted = {
            self._place(one): one
            for one, verdict in judged
            if verdict == "inconclusive" or (verdict == "ok" and one.sha256 in some)
        }
        there = sorted(self._transcripts() & wanted.keys())
        new = [wanted[place] for place in sorted(wanted.keys() - set(there))]
        self._log.info("%d takes are listened to; the transcripts of %d are there.", len(wanted), len(there))
        with _pool(READERS) as pool:
            self._heard = dict(zip(there, pool.map(self._read, there), strict=True))
        if new:
            lengths = [self._measured[one.sha256].seconds for one in new]
            costs = (transcription_cost(self._hook, None, seconds) for seconds in lengths)
            check_budget(total(costs), max_cost, f"Listening to {len(new):,} takes")
            self._transcribe(new, concurrency())

    @property
    def cost(self) -> Cost:
        """What was paid for transcripts."""
        return total(self._paid)

    def write(self) -> list[Row]:
        """Write the verdicts, whole or not at all; return them, in the order of the script."""
        rows = [self._row(one) for one in self._subjects]
        text = "".join(f"{json.dumps(asdict(row), ensure_ascii=False)}\n" for row in rows)
        self._put(text, f"{self._folder}{NAME}")
        return rows

    # what is known

    def _known(self) -> dict[str, Measures]:
        """Return what an earlier look has measured; a file that cannot be read is no reason to fail."""
        location = f"{self._folder}{NAME}"
        if not exists(location):
            return {}
        known = {}
        with reading(location), open_path(location).open("rb") as file:
            for line in bytes(file.read()).split(b"\n"):
                try:
                    row = Row(**json.loads(line))
                    if row.sha256 and row.measures and row.version == VERSION:
                        known[row.sha256] = Measures(**row.measures)
                except (ValueError, TypeError):
                    continue
        return known

    def _measure(self, one: Subject) -> Measures | Finding:
        """Read a take, and make sure that it is the one that was kept."""
        if str(one.uri).endswith(".pcm"):
            return RAW
        try:
            file = self._file(one)
            with file.open() as source:
                return measure(filters.samples(source))
        except (InvalidInputError, NotWholeError) as error:
            return Finding(True, str(error).rstrip("."))

    def _file(self, one: Subject) -> StoredFile:
        file = StoredFile(str(one.uri), self._hook.settings.allowed_inputs)
        if file.sha256() != one.sha256:
            raise InvalidInputError("the recording is not what was kept: its hash is another one")
        return file

    @cached_property
    def _voices(self) -> dict[str, Voice]:
        """What the takes of each voice are like, each take counted once."""
        alike = {(one.sha256, one.voice): one for one in self._spoken if one.sha256 in self._measured}
        return voices_of(self._take(one) for one in alike.values())

    def _take(self, one: Subject) -> Take:
        heard = self._heard.get(self._place(one))
        return Take(one.text, one.voice, self._measured[one.sha256], one.speed, heard)

    def _findings(self, one: Subject) -> list[Finding]:
        """Judge the take of a line. The same take may be right for one line and wrong for another."""
        if not one.sha256:
            return [NO_TAKE]
        found = [self._broken[one.sha256]] if one.sha256 in self._broken else []
        if one.sha256 in self._measured:
            voice = self._voices.get(one.voice, UNKNOWN)
            found += findings_of(self._take(one), voice, longest_silence=self._longest)
        return found

    def _row(self, one: Subject) -> Row:
        found, measures = self._findings(one), self._measured.get(one.sha256)
        return Row(
            id=one.id,
            verdict=verdict_of(found),
            reasons=[finding.what for finding in found],
            uri=one.uri,
            sha256=one.sha256 or None,
            transcript=place if (place := self._place(one)) in self._heard else None,
            measures=asdict(measures) if measures else None,
        )

    # transcripts

    def _place(self, one: Subject) -> str:
        """Return where the transcript of a take is kept: another service, or another language, hears something else."""
        asked = json.dumps([self._hook.service.name, self._language(one)])
        return f"{self._folder}{FOLDER}{one.sha256}.{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"

    def _transcripts(self) -> set[str]:
        location = f"{self._folder}{FOLDER}"
        with explained(f"The transcripts in {location} cannot be listed", "Check the worker's permissions."):
            path = open_path(location)
            path.fs.invalidate_cache()
            names = path.fs.ls(path.path, detail=False) if exists(location) else []
        return {location + name.rstrip("/").rpartition("/")[2] for name in names}

    @staticmethod
    def _read(location: str) -> str:
        with reading(location), open_path(location).open("rb") as file:
            try:
                return str(json.loads(bytes(file.read()))["text"])
            except (ValueError, TypeError, KeyError):
                raise InvalidInputError(
                    f"{location} is no transcript. Delete it: the next check pays for it anew."
                ) from None

    def _transcribe(self, new: Sequence[Subject], concurrency: int) -> None:
        with _pool(concurrency) as pool:
            asked = {pool.submit(self._hear, one): one for one in new}
            for number, done in enumerate(as_completed(asked), 1):
                one = asked[done]
                try:
                    self._heard[self._place(one)] = done.result()
                    self.transcribed += 1
                except PermanentVoiceError as error:
                    if isinstance(error, STOPS):
                        raise
                    self._broken[one.sha256] = Finding(False, f"it was not understood: {error}".rstrip("."))
                self._tell(f"{number:,} of {len(new):,} takes listened to", number, len(new))

    def _hear(self, one: Subject) -> str:
        """Transcribe a take and keep what was heard: it is paid."""
        heard = self._hook.transcribe(self._file(one).location, language=self._language(one))
        told = {"text": heard.text, "seconds": heard.seconds, "service": heard.service, "model": heard.model}
        if heard.cost is not None:
            self._paid.append(heard.cost)
        self._put(json.dumps(told, ensure_ascii=False) + "\n", self._place(one))
        return heard.text

    def _language(self, one: Subject) -> str | None:
        """Return the language as the service takes it, if it does."""
        known = "language" in self._hook.service.transcription_options.model_fields
        code = (one.language or "").replace("_", "-").partition("-")[0].lower()
        return code if known and len(code) == 2 else None

    def _put(self, text: str, location: str) -> None:
        allowed = self._hook.settings.allowed_outputs
        check_allowed(location, allowed, "output")
        folder = partial(opened, name=location.rpartition("/")[2], allowed=allowed)
        with explained(f"{location} cannot be written", "Correct it and clear the task."):
            persist(lambda: put(io.BytesIO(text.encode()), location, folder, SHARED))

    def _tell(self, line: str, done: int, of: int) -> None:
        """Show how far it is, each twentieth of the way."""
        if done * STEPS // of != (done - 1) * STEPS // of:
            self._log.info("%s", line)
            self._show(line)


@contextmanager
def _pool(count: int) -> Iterator[ThreadPoolExecutor]:
    """Work with threads; whatever ends it, nothing more is begun, and what is on its way (and paid) is still kept."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="check-lines")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def counts_of(rows: Iterable[Row]) -> dict[str, int]:
    """Count the lines by their verdict; only verdicts that there are."""
    return dict(sorted(Counter(row.verdict for row in rows).items()))
