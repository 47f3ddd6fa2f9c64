"""Whether a take is what its line asks for, told from what was measured in it and what was heard; pure.

What cannot be known of a take alone is known from the other takes of the same voice: how fast it speaks, how its takes
end, how high and how bright it sounds. A take is judged by how far it is from their median; medians do not mind that
some of them are wrong, as long as most are right.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import exp, hypot, log
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

from voice_provider.lines.divergence import compare
from voice_provider.services.texts import spoken_characters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from voice_provider.files.measures import Measures
    from voice_provider.lines.divergence import Divergence

Verdict = Literal["ok", "drift", "inconclusive"]

# Words: what people who checked thousands of lines came to (a run finds garbage inside a long line that a rate misses).
RUN = 8  # words in a row that are other ones, missing, or too many
RATE = 0.15  # word error rate, of lines of so many words or more:
WORDS = 8
SHORT_RATE = 0.8  # of shorter lines, where one misheard word is a third of them
SHORT_DOUBT = 0.5
LOST = (3, 2)  # words that are missing at the end: it was surely cut, perhaps

FEW = 5  # takes of a voice that are needed to know it
NOTHING = 0.1  # seconds of sound that are none
CLIPPED = 0.003  # share of samples
CLIPPED_TOO = 5  # times as many as its voice usually has: else all of them are as loud as they were ordered
ENDS = (-12.0, -25.0)  # dB: a take that ends louder was cut surely, perhaps; where others of its voice end below
USUAL_END = -35.0
LETTERS_OF_A_DIGIT = 4  # "7" is spoken as "seven"
EDGES = 0.2  # seconds that a take is longer than its letters say, however short it is
PLAUSIBLE = (5.0, 40.0)  # characters a second, of voices that are not known
SHORTER = (0.55, 0.72)  # of the usual length: surely, perhaps. Good takes of one voice were between 0.78 and 1.14
LONGER = (2.0, 1.5)
# Pitch and colour together, in spreads: good takes were up to 4.7 off, voices a third apart in pitch 10 and more.
ANOTHER = (8.0, 5.0)
LEAST_SPREAD = {"pitch": 0.04, "colour": 0.06}  # of the logarithm


@dataclass(frozen=True)
class Take:
    """What is known of a line and its take.

    :param text: of the line, without marks
    :param voice: whose takes it is compared with
    :param measures: of its recording
    :param speed: at which it was ordered
    :param heard: what was heard in it; None: it was not listened to
    """

    text: str
    voice: str
    measures: Measures
    speed: float = 1.0
    heard: str | None = None

    @property
    def characters(self) -> int:
        """How much there is to say."""
        digits = sum(sign.isdigit() for sign in self.text)
        return spoken_characters(self.text) + (LETTERS_OF_A_DIGIT - 1) * digits


class Finding(NamedTuple):
    """Something that speaks against a take.

    :param sure: it is wrong, else it may be
    :param what: for people, with its numbers
    :param by_ear: where it is not sure, and all the words are heard, it is nothing
    """

    sure: bool
    what: str
    by_ear: bool = False


class Usual(NamedTuple):
    """What the takes of a voice are like: their median, and how far they usually are from it."""

    middle: float
    spread: float


@dataclass(frozen=True)
class Voice:
    """What the takes of one voice are like; None where too few are known.

    :param pace: seconds of sound for each character
    :param end: level at the end, in dB
    :param clipped: share of samples at full scale
    :param pitch: logarithm, because ears go by ratios
    :param colour: logarithm
    """

    pace: float | None
    end: float | None
    clipped: float
    pitch: Usual | None
    colour: Usual | None


UNKNOWN = Voice(None, None, 0.0, None, None)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Sum findings up."""
    sure = {finding.sure for finding in findings}
    return "drift" if True in sure else "inconclusive" if sure else "ok"


def voices_of(takes: Iterable[Take]) -> dict[str, Voice]:
    """Find out what the takes of each voice are like."""
    by_voice: dict[str, list[Take]] = defaultdict(list)
    for take in takes:
        if take.measures.sound >= NOTHING and take.characters:
            by_voice[take.voice].append(take)
    return {voice: _voice(them) for voice, them in by_voice.items() if len(them) >= FEW}


def _voice(takes: Sequence[Take]) -> Voice:
    ends = [take.measures.end for take in takes if take.measures.end is not None]
    return Voice(
        pace=median(max(take.measures.sound * take.speed - EDGES, EDGES / 4) / take.characters for take in takes),
        end=median(ends) if ends else None,
        clipped=median(take.measures.clipped for take in takes),
        pitch=_usual([take.measures.pitch for take in takes], LEAST_SPREAD["pitch"]),
        colour=_usual([take.measures.colour for take in takes], LEAST_SPREAD["colour"]),
    )


def _usual(found: Iterable[float | None], least: float) -> Usual | None:
    values = [log(value) for value in found if value]
    if len(values) < FEW:
        return None
    middle = median(values)
    # 1.4826 times the median deviation is the standard deviation of what is spread normally.
    return Usual(middle, max(1.4826 * median(abs(value - middle) for value in values), least))


def findings_of(take: Take, voice: Voice = UNKNOWN, *, longest_silence: float) -> list[Finding]:
    """Judge a take.

    :param voice: what others of its voice are like
    :param longest_silence: seconds that a pause in it, or the silence at its end, may have
    """
    if take.measures.sound < NOTHING:
        return [Finding(True, f"nothing is heard in its {take.measures.seconds:g} s")]
    found = [*_silence(take, longest_silence), *_clipping(take, voice), *_length(take, voice)]
    found += [*_end(take, voice), *_voice_of(take, voice)]
    if take.heard is None:
        return found
    heard = compare(take.text, take.heard)
    words = _words(heard, shortened=any(one.by_ear for one in found))
    return [*(one for one in found if words or one.sure or not one.by_ear), *words]


def _silence(take: Take, longest: float) -> Iterator[Finding]:
    if take.measures.silence > longest:
        yield Finding(True, f"{take.measures.silence:.1f} s of silence in it (longest_silence={longest:g})")


def _clipping(take: Take, voice: Voice) -> Iterator[Finding]:
    share = take.measures.clipped
    if share > CLIPPED:
        yield Finding(share > CLIPPED_TOO * voice.clipped, f"{share:.1%} of it is clipped")


def _length(take: Take, voice: Voice) -> Iterator[Finding]:
    """Compare its length with that of its text."""
    seconds, characters = take.measures.sound * take.speed, take.characters
    if voice.pace is None:
        least, most = (characters / rate for rate in reversed(PLAUSIBLE))
        if not least <= seconds <= most + 1:
            yield Finding(False, f"{seconds:.1f} s of sound for {characters} characters", by_ear=True)
        return
    share = seconds / (voice.pace * characters + EDGES)
    if share < SHORTER[1] or share > LONGER[1]:
        sure = share < SHORTER[0] or share > LONGER[0]
        yield Finding(sure, f"it is {share:.2f} times as long as this voice's lines are", by_ear=True)


def _end(take: Take, voice: Voice) -> Iterator[Finding]:
    end = take.measures.end
    if voice.end is not None and voice.end < USUAL_END and end is not None and end > ENDS[1]:
        what = f"its sound stops at {end:.0f} dB, and this voice's lines usually at {voice.end:.0f} dB"
        yield Finding(end > ENDS[0], what, by_ear=True)


def _voice_of(take: Take, voice: Voice) -> Iterator[Finding]:
    """Compare pitch and colour with those of its voice; voices that are alike in both are not told apart."""
    off, told = [], []
    for name, unit in (("pitch", "Hz"), ("colour", "Hz")):
        value, usual = getattr(take.measures, name), getattr(voice, name)
        if value and usual:
            off.append((log(value) - usual.middle) / usual.spread)
            told.append(f"{name} {value:.0f} {unit}, usually {exp(usual.middle):.0f}")
    if (far := hypot(*off)) >= ANOTHER[1]:
        yield Finding(far >= ANOTHER[0], f"it sounds like another voice: {', '.join(told)}")


def _words(found: Divergence, *, shortened: bool) -> list[Finding]:
    """Judge what was heard.

    :param shortened: its sound looks cut, too: then a single word that is missing at the end is no mistake of the ear
    """
    if found.run >= RUN:
        return [Finding(True, f"{found.run} words in a row are not those of the text")]
    if found.end >= (1 if shortened else LOST[1]):
        last = "word is" if found.end == 1 else f"{found.end} words are"
        return [Finding(shortened or found.end >= LOST[0], f"its last {last} missing")]
    told = f"{found.errors} errors in {found.words} words"
    if found.words >= WORDS:
        return [Finding(True, told)] if found.rate > RATE else []
    return [Finding(found.rate >= SHORT_RATE, told)] if found.rate > SHORT_DOUBT else []
