"""What makes one voice different from another, as numbers: pitch, vocal tract, colour, and colour per kind of sound.

``learn`` compares a recording with the base voice; ``voice.py`` bends the base voice's spectra by the result.
Everything is NumPy on spectra with 601 bins every 12.5 ms, the form in which hibari predicts speech.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from voice_provider.emulator.engine import MIN_SAMPLE_SECONDS, EngineError
from voice_provider.emulator.engine.pitch import HOP, RATE, track_pitch

if TYPE_CHECKING:
    from pathlib import Path

Floats = npt.NDArray[np.float64]
FFT = 1200
BINS = FFT // 2 + 1
FREQUENCIES = np.arange(BINS) * RATE / FFT
LEVEL = np.s_[5:200]  # bins that define the overall level: 100 Hz to 4 kHz
LOUD = np.s_[4:160]  # bins whose loudest one says how loud a frame is
MAX_COLOUR = 2.3  # largest correction of the average colour, in nepers (20 dB)
KINDS, ROUNDS, SHRINK = 20, 4, 8.0  # kinds of sound, matching rounds, weight of the average colour
MIN_VOICED = 40  # frames of 12.5 ms with a clear pitch
MAX_FRAMES = 4000  # frames compared with each other; 50 s of voiced sound say all there is


@dataclass(frozen=True)
class VoiceProfile:
    """A voice. Colour is in nepers per frequency bin, kinds of sound are cluster centres of mel cepstra."""

    log_pitch: float  # median of the natural logarithm of the pitch in Hz
    spread: float  # its standard deviation
    warp: float  # vocal-tract factor; below 1 lowers the formants
    colour: Floats
    kind_colour: Floats
    kind_centres: Floats
    kind_mean: Floats
    kind_scale: Floats
    gain: float = 1.0  # brings the voice to the common loudness

    def save(self, path: Path) -> None:
        """Write the profile as a compressed ``.npz``, whatever the path is called."""
        with path.open("wb") as file:
            np.savez_compressed(file, **{item.name: getattr(self, item.name) for item in fields(self)})

    @classmethod
    def load(cls, path: Path) -> VoiceProfile:
        """Read a profile.

        :raises EngineError: ``bad_input``, the file is missing or something else
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                read: dict[str, Any] = {item.name: data[item.name] for item in fields(cls)}
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, BadZipFile) as error:
            message = f"{path.name} is not a voice of the local engine. Learn the voice again."
            raise EngineError("bad_input", message) from error
        numbers: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in read.items()}
        return cls(**numbers)

    @classmethod
    def shaped(cls, pitch: float, spread: float, warp: float, tilt: float = 0.0) -> VoiceProfile:
        """Make a voice from parameters instead of a recording.

        :param pitch: median pitch in Hz
        :param spread: standard deviation of the logarithm of the pitch
        :param warp: vocal-tract factor; 0.8 a large speaker, 1.1 a small one
        :param tilt: nepers by which the highest frequencies are louder than the lowest
        """
        mel = _mel(FREQUENCIES)
        colour = tilt * (mel / mel[-1] - 0.5)
        one = np.ones(25)
        return cls(float(np.log(pitch)), spread, warp, colour, colour[None], 0 * one[None], 0 * one, one)

    def towards(self, base: VoiceProfile, share: float) -> VoiceProfile:
        """Return the voice ``share`` (0 to 1) of the way from the base voice to this one."""
        return replace(
            self,
            log_pitch=base.log_pitch + share * (self.log_pitch - base.log_pitch),
            spread=base.spread + share * (self.spread - base.spread),
            warp=1 + share * (self.warp - 1),
            colour=share * self.colour,
            kind_colour=share * self.kind_colour,
            gain=base.gain ** (1 - share) * self.gain**share,
        )


@dataclass(frozen=True)
class Analysis:
    """Pitch statistics of a recording and the spectral envelopes of its voiced frames."""

    log_pitch: float
    spread: float
    envelopes: Floats
    level: float  # root mean square


def analyse(samples: npt.NDArray[np.floating]) -> Analysis:
    """Measure a voice.

    :param samples: mono, 24 kHz
    :raises EngineError: ``sample_too_short``, ``sample_has_no_voice``
    """
    seconds = len(samples) / RATE
    if seconds < MIN_SAMPLE_SECONDS:
        raise EngineError(
            "sample_too_short",
            f"The sample is {seconds:.1f} s long and at least {MIN_SAMPLE_SECONDS:g} s are needed; "
            "30 s of clear speech are good. Record more.",
        )
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    sound = np.asarray(samples, np.float64) / (level + 1e-9) * 0.1
    pitch = track_pitch(sound)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, FFT // 2, mode="reflect"), FFT)[::HOP][: len(pitch)]
    voiced = np.nonzero(pitch > 0)[0]
    step = len(voiced) // MAX_FRAMES + 1
    chosen = voiced[::step]
    spectra = np.log(np.abs(np.fft.rfft(frames[chosen] * window, axis=1)) + 1e-6)
    energy = spectra[:, LOUD].max(1) if len(chosen) else np.zeros(0)
    clear = energy > np.percentile(energy, 25) if len(chosen) else np.zeros(0, bool)
    if clear.sum() * step < MIN_VOICED or level < 1e-4:
        raise EngineError(
            "sample_has_no_voice",
            "No clear voice was found in the sample. Give at least a second of one person speaking, without music.",
        )
    log_pitch = np.log(pitch[chosen][clear])
    low, high = np.percentile(log_pitch, [5, 95])
    spread = float(np.std(np.clip(log_pitch, low, high)))
    return Analysis(float(np.median(log_pitch)), spread, envelope(spectra[clear]), level)


def learn(target: Analysis, base: Analysis) -> VoiceProfile:
    """Return what turns the base voice into the target voice."""
    warp = _warp_factor(base.envelopes.mean(0), target.envelopes.mean(0), target.log_pitch)
    warped = np.stack([np.interp(FREQUENCIES / warp, FREQUENCIES, row) for row in base.envelopes])
    difference = levelled(target.envelopes.mean(0) - warped.mean(0))
    colour = _smooth(np.clip(difference, -MAX_COLOUR, MAX_COLOUR))

    # One correction per kind of sound: pair similar sounds of both voices, correct, pair again (INCA).
    warped, wanted = levelled(warped), levelled(target.envelopes)
    features, goal = cepstra(warped), cepstra(wanted)
    mean, scale = features.mean(0), features.std(0) + 1e-3
    centres, kinds = _k_means((features - mean) / scale, KINDS)
    goal_features = (goal - goal.mean(0)) / scale
    converted, kind_colour = warped + colour, np.zeros((KINDS, BINS))
    for _ in range(ROUNDS):
        mine = (cepstra(converted) - goal.mean(0)) / scale
        distance = (mine**2).sum(1)[:, None] - 2 * mine @ goal_features.T + (goal_features**2).sum(1)
        forward = wanted[np.argpartition(distance, 4, axis=1)[:, :4]].mean(1) - warped
        nearest = distance.argmin(0)
        backward = wanted - warped[nearest]
        for kind in range(KINDS):
            here, there = kinds == kind, kinds[nearest] == kind
            total = forward[here].sum(0) + backward[there].sum(0) + SHRINK * colour
            kind_colour[kind] = total / (here.sum() + there.sum() + SHRINK)
        converted = warped + kind_colour[kinds]
    limit = 1.3 * MAX_COLOUR
    kind_colour = np.stack([np.clip(_smooth(levelled(row)), -limit, limit) for row in kind_colour])
    return VoiceProfile(target.log_pitch, target.spread, warp, colour, kind_colour, centres, mean, scale)


def envelope(log_spectra: Floats, keep: int = 40) -> Floats:
    """Smooth log spectra [frames, bins] by keeping their first cepstral coefficients."""
    quefrency = np.minimum(np.arange(FFT), FFT - np.arange(FFT))
    weight = np.interp(quefrency, [keep - 1, keep + 9], [1.0, 0.0])
    return np.asarray(np.fft.rfft(np.fft.irfft(log_spectra, axis=1) * weight, axis=1).real)


def levelled(envelopes: Floats) -> Floats:
    """Take the overall level out of envelopes."""
    return np.asarray(envelopes - envelopes[..., LEVEL].mean(-1, keepdims=True))


def cepstra(envelopes: Floats, keep: int = 26, bands: int = 64) -> Floats:
    """Return mel cepstra without the level coefficient, the features by which sounds are compared."""
    position = _mel_grid(80, 7000, bands) / FREQUENCIES[1]
    lower = np.ceil(position).astype(int) - 1
    weight = position - lower
    mel = envelopes[:, lower] * (1 - weight) + envelopes[:, lower + 1] * weight
    basis = np.cos(np.pi * np.arange(keep)[:, None] * (np.arange(bands) + 0.5) / bands)
    return np.asarray((mel @ basis.T / bands)[:, 1:])


def _mel(hertz: Floats) -> Floats:
    return np.asarray(1127 * np.log1p(hertz / 700))


def _mel_grid(low: float, high: float, count: int) -> Floats:
    ends = _mel(np.array([low, high]))
    return np.asarray(700 * np.expm1(np.linspace(ends[0], ends[1], count) / 1127))


def _smooth(curve: Floats) -> Floats:
    kernel = np.hanning(15) / np.hanning(15).sum()
    return np.convolve(np.pad(curve, 7, mode="edge"), kernel, "valid")


def _warp_factor(base: Floats, target: Floats, log_pitch: float) -> float:
    """Vocal-tract factor: three quarters from the pitch, one quarter from aligning the average envelopes."""
    knots = np.log([80, 115, 135, 155, 180, 205, 245])
    by_pitch = np.clip(np.interp(log_pitch, knots, [0.77, 0.79, 0.81, 0.88, 0.94, 1.0, 1.06]), 0.76, 1.08)
    grid, line = _mel_grid(150, 5000, 160), np.linspace(-1, 1, 160)

    def detrended(curve: Floats) -> Floats:
        on_grid = np.interp(grid, FREQUENCIES, curve)
        return np.asarray(on_grid - np.polyval(np.polyfit(line, on_grid, 2), line))

    goal = detrended(target)
    factors = np.arange(0.76, 1.121, 0.01)
    fits = []
    for factor in factors:
        mine = detrended(np.interp(FREQUENCIES / factor, FREQUENCIES, base))
        likeness = mine @ goal / np.sqrt((mine @ mine) * (goal @ goal) + 1e-9)
        fits.append(likeness - 0.6 * abs(np.log(factor)))
    aligned = factors[int(np.argmax(fits))]
    return float(np.clip(by_pitch**0.75 * aligned**0.25, 0.76, 1.1))


def _k_means(points: Floats, count: int) -> tuple[Floats, npt.NDArray[np.intp]]:
    centres = points[np.random.default_rng(0).choice(len(points), count, replace=False)]
    nearest = np.zeros(len(points), np.intp)
    for _ in range(25):
        nearest = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([points[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)])
    return centres, nearest
