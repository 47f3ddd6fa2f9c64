"""Speech: hibari's English voice, bent into another one between its prediction and its waveform.

The only module that knows hibari. ``hibari.dsp`` and ``Hibari.sess`` are not declared as its API, so the
``local`` extra keeps hibari below the next minor version. Accent, rhythm and emotion stay those of the base voice.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

# Below hibari is ONNX Runtime, which tells Microsoft of its use and keeps an id in the temporary folder, unless this
# is set before it is loaded (its Privacy.md, "Disabling Telemetry"). Whoever has set it to something else has decided.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from hibari import Hibari, dsp

from voice_provider.emulator.engine import EngineError, Phrase, english
from voice_provider.emulator.engine import words_in as shared
from voice_provider.emulator.engine.pitch import RATE
from voice_provider.emulator.engine.profile import (
    BINS,
    FREQUENCIES,
    LOUD,
    Analysis,
    VoiceProfile,
    analyse,
    cepstra,
    envelope,
    learn,
    levelled,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_provider.emulator.engine.profile import Floats

Samples = npt.NDArray[np.float32]
LOUDNESS = 0.08  # root mean square of every voice
PEAK = 0.98
AUDIBLE = 0.02  # of the loudest sample
DRIFT = 0.01  # how far, in log pitch, the median of one sentence may be from the median of the voice
MAX_PHONEMES = 400  # what the model is given at once
FULL_SIMILARITY = 0.75  # the services' default goes the whole way
BUILTIN = {
    "low": VoiceProfile.shaped(pitch=112, spread=0.17, warp=0.80, tilt=-0.4),
    "bright": VoiceProfile.shaped(pitch=236, spread=0.21, warp=1.06, tilt=0.5),
}
# Rich in sounds rather than in sense: the base voice is measured on it.
REFERENCE_TEXT = (
    "Every morning the old ferry carries eleven bicycles, two goats and a box of fresh bread across the wide river. "
    "Why would anyone choose to walk? The judge laughed, then took off her heavy coat and joined the queue. "
    "Good cooks put butter, thyme and a few garlic cloves into a hot iron pan. "
    "I heard a voice from the far shore shouting: show us your boat, you lazy boys! "
    "The weather was unusual for August, with thunder, bright beams of light and a strange blue haze."
)


@dataclass
class _Base:
    """The base voice, loaded and measured once per process."""

    hibari: Any
    analysis: Analysis
    profile: VoiceProfile


_lock = threading.RLock()  # loading happens once, and the text front end keeps state
_base: list[_Base] = []


def base() -> _Base:
    """Return the base voice; the first call takes a second or two."""
    with _lock:
        if not _base:
            hibari = Hibari(threads=1)
            plain = np.concatenate([_synthesize(hibari, part, None, 1.0, _noise(0)) for part in _phonemes(hibari)])
            measured = analyse(plain)
            neutral = VoiceProfile.shaped(float(np.exp(measured.log_pitch)), measured.spread, 1.0)
            _base.append(_Base(hibari, measured, replace(neutral, gain=LOUDNESS / measured.level)))
        return _base[0]


def learn_profile(samples: npt.NDArray[np.floating]) -> VoiceProfile:
    """Learn a voice.

    :param samples: mono, 24 kHz
    :raises EngineError: ``sample_too_short``, ``sample_has_no_voice``
    """
    target = analyse(samples)
    return calibrated(learn(target, base().analysis), target.log_pitch)


def calibrated(profile: VoiceProfile, log_pitch: float) -> VoiceProfile:
    """Speak the reference text once, measure it, and correct pitch and loudness by what is off."""
    heard = analyse(np.concatenate(list(_sentences(REFERENCE_TEXT, profile))))
    shift = float(np.clip(log_pitch - heard.log_pitch, -0.15, 0.15))
    return replace(profile, log_pitch=profile.log_pitch + shift, gain=LOUDNESS / heard.level)


def builtin(name: str) -> VoiceProfile:
    """Return a built-in voice.

    :raises EngineError: ``bad_input``, for an unknown name
    """
    if name == "base":
        return base().profile
    if name not in BUILTIN:
        raise EngineError("bad_input", f"No built-in voice {name!r}. Use one of base, {', '.join(BUILTIN)}.")
    with _lock:
        if BUILTIN[name].gain == 1.0:  # not measured yet
            BUILTIN[name] = calibrated(BUILTIN[name], BUILTIN[name].log_pitch)
        return BUILTIN[name]


def speak(
    text: str,
    profile: VoiceProfile,
    *,
    stability: float = 0.5,
    similarity: float = 0.75,
    seed: int = 0,
    speed: float = 1.0,
    volume: float = 0.0,
) -> Iterator[Samples]:
    """Yield mono samples at 24 kHz, sentence by sentence.

    :param text: what to say; words in other than Latin letters are left out
    :param profile: the voice
    :param stability: 0 widens the range of the pitch and varies the pace, 1 narrows both
    :param similarity: how far to go from the base voice to the profile; 0.75 and more is all the way
    :param seed: choice of the noise in the voice and of the pace
    :param speed: 2 says it in half the time, in the same pitch
    :param volume: decibels louder or quieter; what exceeds full scale is cut off
    :raises EngineError: ``text_unspeakable``
    """
    share = min(1.0, similarity / FULL_SIMILARITY)
    chosen = profile if share == 1 else profile.towards(base().profile, share)
    lively = 1.25 - 0.5 * stability
    gain = chosen.gain * 10 ** (volume / 20)
    for sound in _sentences(text, replace(chosen, spread=chosen.spread * lively), 0.1 * (1 - stability), seed, speed):
        yield np.clip(sound * gain, -PEAK, PEAK)


def _sentences(
    text: str, profile: VoiceProfile, unrest: float = 0.0, seed: int = 0, speed: float = 1.0
) -> Iterator[Samples]:
    """Yield each sentence at the engine's own level; ``unrest`` is the largest change of pace between them."""
    hibari, noise = base().hibari, _noise(seed)
    for phonemes in _phonemes(hibari, text):
        yield _synthesize(hibari, phonemes, profile, speed * (1 + unrest * noise.uniform(-0.5, 0.5)), noise)


def words_in(text: str, sound: Samples) -> tuple[Phrase, ...]:
    """Estimate where each word of a text is in what ``speak`` made of it.

    The model keeps how long each sound is to itself. So the time between the first sound and the last is shared among
    the words by their phonemes, or by their letters where a word has become several, such as a number.
    """
    loud = np.nonzero(np.abs(sound) > AUDIBLE * np.abs(sound).max(initial=0))[0]
    start, end = (loud[0] / RATE, loud[-1] / RATE) if loud.size else (0.0, sound.size / RATE)
    weights = [len(word) + 1 for word in " ".join(_phonemes(base().hibari, text)).split()]
    whole = weights if len(weights) == len(text.split()) else None
    return tuple(shared(text, float(end - start), whole, float(start)))


def _noise(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed & 0xFFFFFFFF)


def _phonemes(hibari: Any, text: str = REFERENCE_TEXT) -> list[str]:
    """Return the text in the model's alphabet, in parts that it takes at once."""
    words = english.words(text)
    with _lock:
        sentences = hibari.phonemize(" ".join(words))
    parts = [part for sentence in sentences for part in _split(sentence) if any(letter.isalpha() for letter in part)]
    if not parts:
        raise EngineError("text_unspeakable", "There is nothing in the text that can be said. Write it in words.")
    return parts


def _split(phonemes: str) -> Iterator[str]:
    """Cut a sentence without punctuation between words, so that no part outgrows the memory."""
    while len(phonemes) > MAX_PHONEMES:
        cut = phonemes.rfind(" ", 1, MAX_PHONEMES) + 1 or MAX_PHONEMES
        yield phonemes[:cut]
        phonemes = phonemes[cut:]
    yield phonemes


def _synthesize(
    hibari: Any, phonemes: str, profile: VoiceProfile | None, pace: float, noise: np.random.Generator
) -> Samples:
    feed = {"ids": np.asarray([hibari.ids(phonemes)], np.int64), "speed": np.asarray([pace], np.float32)}
    parts = [output[0] for output in hibari.sess.run(None, feed)]
    return np.asarray(dsp.synth(*(parts if profile is None else _reshape(parts, profile)), noise), np.float32)


def _reshape(parts: list[Samples], voice: VoiceProfile) -> list[Samples]:
    """Move the predicted spectra and the pitch of one sentence towards the voice."""
    harmonic, threshold, noise, residual, phase, predicted = parts
    heard, voiced = base().analysis, predicted > 40
    harmonic = _between_harmonics(harmonic, predicted)
    spread = np.clip(voice.spread / heard.spread, 0.5, 1.5)
    log_pitch = np.log(np.maximum(predicted, 40))
    energy = harmonic[LOUD].max(0)
    clear = (
        voiced & (energy > np.percentile(energy[voiced], 25)) if voiced.any() else voiced
    )  # those ``analyse`` counts
    middle = float(np.median(log_pitch[clear])) if clear.any() else heard.log_pitch
    stray = middle - heard.log_pitch
    log_pitch = (log_pitch - heard.log_pitch - stray + np.clip(stray, -DRIFT, DRIFT)) * spread + voice.log_pitch
    pitch = np.clip(np.where(voiced, np.exp(log_pitch), 0), 0, 600)
    density = np.where(voiced, 0.5 * np.log(np.maximum(pitch, 40) / np.maximum(predicted, 40)), 0)
    harmonic = harmonic + density.astype(np.float32)  # fewer harmonics in a band: each has to carry more

    if voice.warp != 1:
        source = np.clip(np.arange(BINS) / voice.warp, 0, BINS - 1)
        lower = np.floor(source).astype(int)
        upper = np.minimum(lower + 1, BINS - 1)
        weight = (source - lower).astype(np.float32)[:, None]
        harmonic, threshold, noise, residual = (
            part[lower] * (1 - weight) + part[upper] * weight for part in (harmonic, threshold, noise, residual)
        )
    if len(voice.kind_colour) == 1:  # all kinds of sound have the same colour: none needs to be known
        colour = voice.colour[:, None].astype(np.float32)
    else:
        shape = np.logaddexp(np.logaddexp(harmonic, noise), residual).T.astype(np.float64)
        colour = _colour(levelled(envelope(shape)), voiced, voice).T.astype(np.float32)
    return [harmonic + colour, threshold, noise + colour, residual + colour, phase, pitch.astype(np.float32)]


def _between_harmonics(harmonic: Samples, predicted: Samples) -> Samples:
    """Join the values at the predicted harmonics by straight lines.

    What the model predicts between them never sounds in the base voice and is arbitrary, with spikes of 30 dB. In
    another pitch the harmonics fall just there, and a spike becomes a bang.
    """
    joined = harmonic.copy()
    bins = np.arange(BINS, dtype=np.float64)
    for frame in np.nonzero(predicted > 40)[0]:
        step = float(predicted[frame]) / FREQUENCIES[1]
        places = np.arange(step, BINS - 1, step)
        joined[:, frame] = np.interp(bins, places, np.interp(places, bins, harmonic[:, frame]))
    return joined


def _colour(envelopes: Floats, voiced: npt.NDArray[np.bool_], voice: VoiceProfile) -> Floats:
    """Return the correction of each frame: by kind of sound where there is voice, the average where there is none."""
    features = (cepstra(envelopes) - voice.kind_mean) / voice.kind_scale
    distance = ((features[:, None] - voice.kind_centres) ** 2).sum(2)
    share = np.exp(-(distance - distance.min(1, keepdims=True)) / 6.0)
    share /= share.sum(1, keepdims=True)
    kernel = np.hanning(7) / np.hanning(7).sum()
    share = np.stack([np.convolve(column, kernel, "same") for column in share.T], 1)
    by_kind = share / np.maximum(share.sum(1, keepdims=True), 1e-6) @ voice.kind_colour
    voicing = np.convolve(voiced.astype(np.float64), kernel, "same")[:, None]
    return np.asarray(voicing * by_kind + (1 - voicing) * voice.colour)
