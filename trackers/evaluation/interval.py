"""The interval of sequence lengths over which the expected average overlap is averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.errors import InputError

_SQRT_TAU = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Sequence lengths ``low`` to ``high``, in frames, counted from 1, both ends included.

    Raises:
        InputError: not ``1 <= low <= high``.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise InputError(f"the interval {self.low}:{self.high} needs 1 <= LOW <= HIGH (frames counted from 1)")

    def __str__(self) -> str:
        return f"{self.low}:{self.high}"


VOT_RGBT2019_INTERVAL = Interval(low=109, high=322)


def parse_interval(text: str) -> Interval:
    """Read ``LOW:HIGH``.

    Raises:
        InputError: the text is of another form.
    """
    low, separator, high = text.partition(":")
    try:
        if not separator:
            raise ValueError(text)
        return Interval(low=int(low), high=int(high))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"--interval needs LOW:HIGH, two whole numbers like 109:322, not '{text}'") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalEstimate:
    """An interval derived from sequence lengths: its ends, the mode, and the kernel's width in frames."""

    interval: Interval
    peak: int
    kernel_std: float


def estimate_interval(lengths: Sequence[int], *, mass: float = 0.5) -> IntervalEstimate:
    """The shortest-first interval around the most common sequence length that holds ``mass`` of the lengths.

    A Gaussian kernel density of the lengths (width from a plug-in estimate of the fourth derivative) is put on
    the integers 1 to the longest length; from its mode the interval grows by one frame to the side of the larger
    density until it holds ``mass``. Source: Kristan et al., The VOT2015 challenge results; with 0.5 this gives
    the constants printed for VOT2016 to VOT2019 and VOT-RGBT2019.

    Args:
        lengths: frames of each sequence.
        mass: share of the density inside, 0..1.

    Raises:
        InputError: fewer than two different lengths.
    """
    values = np.asarray(lengths, dtype=np.float64)
    std = float(values.std()) if len(values) else 0.0
    if std == 0:
        raise InputError(
            "the interval cannot be estimated from sequences of one length; give it with --interval LOW:HIGH"
        )
    count = len(values)
    scaled = (values - values.mean()) / std
    pilot = (4 / (3 * count)) ** 0.2
    distance = (scaled[:, None] - scaled[None, :]) / pilot
    fourth = np.exp(-(distance**2) / 2) / _SQRT_TAU * (distance**4 - 6 * distance**2 + 3)
    psi = float(fourth.mean()) / pilot**5
    width = (1 / (2 * math.sqrt(math.pi) * count * psi)) ** 0.2 * std
    support = np.arange(1, int(values.max()) + 1)
    density = np.exp(-(((support[:, None] - values[None, :]) / width) ** 2) / 2).sum(axis=1)
    density /= density.sum()
    low = high = peak = int(density.argmax())
    while density[low : high + 1].sum() < mass:
        below = density[low - 1] if low > 0 else -1.0
        above = density[high + 1] if high + 1 < len(density) else -1.0
        if above >= below:
            high += 1
        else:
            low -= 1
    return IntervalEstimate(interval=Interval(low=low + 1, high=high + 1), peak=peak + 1, kernel_std=width)
