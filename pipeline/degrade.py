"""What a live run does when the machine is too slow: fuse more cheaply, by steps, and return when there is room again.

Level 0 fuses as asked. Level 1 fuses with a lighter method. Level 2 fuses every few pairs with the lighter method, and
the pairs between by their mean in the grey levels of the last one so fused: each picture shows its own pair, none is
shown twice. Pairing, tracking and results go on with every pair that is taken, at every level.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.colour import join_luma, split_luma
from fusion.errors import InputError
from fusion.fuser import Fuser

LEVELS = (0, 1, 2)
DEEPEST = LEVELS[-1]

# For matching grey levels: so many steps between the darkest and the brightest, on every so manieth row and column.
_MATCH_STEPS = 33
_MATCH_STRIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradeConfig:
    """When a live run fuses more cheaply, and how.

    Attributes:
        enabled: whether it may.
        lighter: the method of levels 1 and 2; None takes the one that suits the method asked for.
        every: at level 2 every so manieth pair is fused with the lighter method.
        window_s: how long it looks back before it goes a level deeper.
        most_dropped: share of pairs in that time that may be dropped.
        most_latency_s: median time from reading to result in that time that is borne.
        calm_s: so long without either, it tries the level above; a trial that fails doubles the time.
        calm_limit_s: longest such time.
    """

    enabled: bool = True
    lighter: str | None = None
    every: int = 4
    window_s: float = 2.0
    most_dropped: float = 0.05
    most_latency_s: float = 0.15
    calm_s: float = 6.0
    calm_limit_s: float = 120.0

    def __post_init__(self) -> None:
        if self.every < 2:
            raise InputError(f"degrade.every must be at least 2, not {self.every}")
        if not 0 <= self.most_dropped < 1:
            raise InputError(f"degrade.most_dropped must be at least 0 and below 1, not {self.most_dropped}")
        for name in ("window_s", "most_latency_s", "calm_s", "calm_limit_s"):
            if not 0 < getattr(self, name) <= 86_400:
                raise InputError(f"degrade.{name} must be above 0 and at most a day, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class _Observed:
    """One result: when it was ready, how many pairs were dropped before it, and how old it was."""

    at_s: float
    dropped: int
    latency_s: float


class DegradePolicy:
    """Decides the level. Knows no clock and no thread: the caller says what happened and when.

    Args:
        config: its limits.
        on_change: told the new level.
    """

    def __init__(
        self, config: DegradeConfig | None = None, on_change: Callable[[int], None] = lambda level: None
    ) -> None:
        self._config = config or DegradeConfig()
        self._on_change = on_change
        self._seen: deque[_Observed] = deque()
        self._dropped: int | None = None
        self._calm_s = self._config.calm_s
        # Since when the level stands, since when nothing has been wrong, and when the level above was last tried.
        self._since_s: float | None = None
        self._calm_since_s = 0.0
        self._tried_s: float | None = None
        self.level = 0

    def observe(self, now_s: float, *, dropped: int, latency_s: float, deepest: int = DEEPEST) -> int:
        """Take one result into account.

        Args:
            now_s: the time on any clock that does not jump.
            dropped: pairs dropped since the run began.
            latency_s: time from the reading of the pair to its result.
            deepest: the last level that would change anything.

        Returns:
            The level of the next pair.
        """
        config = self._config
        if self._since_s is None:
            self._settle(now_s)
        since_s = now_s if self._since_s is None else self._since_s
        lost = 0 if self._dropped is None else dropped - self._dropped
        self._dropped = dropped
        self._seen.append(_Observed(now_s, lost, latency_s))
        while self._seen and now_s - self._seen[0].at_s > config.window_s:
            self._seen.popleft()
        if self._is_overloaded():
            self._calm_since_s = now_s
            if now_s - since_s >= config.window_s and self.level < deepest:
                self._go_deeper(now_s)
        elif self.level > 0 and now_s - self._calm_since_s >= self._calm_s:
            self._tried_s = now_s
            self._change(self.level - 1, now_s)
        elif self._tried_s is not None and now_s - self._tried_s >= self._calm_s:
            # The trial has lasted: the next trouble is a new one.
            self._tried_s, self._calm_s = None, config.calm_s
        return self.level

    def restart(self, level: int | None = None) -> None:
        """Forget the last seconds, as after a pause; the level stays unless one is given."""
        if level is not None:
            self.level, self._tried_s, self._calm_s = level, None, self._config.calm_s
        self._since_s = None
        self._dropped = None
        self._seen.clear()

    def _is_overloaded(self) -> bool:
        lost = sum(seen.dropped for seen in self._seen)
        latencies_s = sorted(seen.latency_s for seen in self._seen)
        return (
            lost > self._config.most_dropped * (lost + len(self._seen))
            or latencies_s[len(latencies_s) // 2] > self._config.most_latency_s
        )

    def _go_deeper(self, now_s: float) -> None:
        if self._tried_s is not None:
            self._tried_s = None
            self._calm_s = min(2 * self._calm_s, self._config.calm_limit_s)
        self._change(self.level + 1, now_s)

    def _change(self, level: int, now_s: float) -> None:
        self.level = level
        self._settle(now_s)
        self._on_change(level)

    def _settle(self, now_s: float) -> None:
        """What was seen before says nothing of the level that begins now."""
        self._seen.clear()
        self._since_s = self._calm_since_s = now_s


class DegradingFuser:
    """A fuser that can be told to do with less.

    Args:
        asked: the fuser of level 0.
        lighter: the fuser of levels 1 and 2; None: there is none, so level 0 is all there is.
        every: at level 2 every so manieth picture is fused with ``lighter``.
        gray: the pictures between are grey, as those of the fusers are.
    """

    def __init__(self, asked: Fuser, lighter: Fuser | None, *, every: int = 4, gray: bool = False) -> None:
        self._asked = asked
        self._lighter = lighter
        self._every = every
        self._gray = gray
        self._turn = 0
        self._table: NDArray[np.uint8] | None = None
        self._level = 0
        self.deepest = 0 if lighter is None else DEEPEST

    @property
    def level(self) -> int:
        """The level at which pictures are fused."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        level = min(level, self.deepest)
        if level != self._level:
            self._level, self._turn = level, 0

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fuse ``visible_bgr`` (H, W, 3) and ``thermal`` (H, W), uint8, into (H, W, 3) uint8 BGR.

        Raises:
            InputError: the sizes differ, or the picture is too small for the method.
        """
        if self._lighter is None or self._level == 0:
            return self._asked(visible_bgr, thermal)
        if self._level == 1:
            return self._lighter(visible_bgr, thermal)
        turn, self._turn = self._turn, (self._turn + 1) % self._every
        if turn == 0 or self._table is None:
            fused = self._lighter(visible_bgr, thermal)
            self._table = grey_levels_of(fused, visible_bgr, thermal)
            return fused
        luma, colour = split_luma(visible_bgr)
        mean = cv2.LUT(_mean(luma, thermal), self._table)
        return join_luma(np.asarray(mean, np.uint8), None if self._gray else colour)

    def reset(self) -> None:
        """Forget earlier pictures."""
        self._asked.reset()
        if self._lighter is not None:
            self._lighter.reset()
        self._turn, self._table = 0, None


def grey_levels_of(
    fused_bgr: NDArray[np.uint8], visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Table (256,) uint8, rising, that gives the mean of both pictures the grey levels of the fused one.

    It matches the quantiles of their luma (histogram matching), so brightness and contrast do not flicker between
    pictures fused in one way and in the other.
    """
    step = _MATCH_STRIDE
    visible, _ = split_luma(visible_bgr[::step, ::step])
    fused, _ = split_luma(fused_bgr[::step, ::step])
    percents = np.linspace(0, 100, _MATCH_STEPS)
    have = np.percentile(_mean(visible, np.ascontiguousarray(thermal[::step, ::step])), percents)
    want = np.percentile(fused, percents)
    # Quantiles of a flat picture coincide; the mean of what several want speaks for all.
    grey, place, count = np.unique(have, return_inverse=True, return_counts=True)
    matched = np.bincount(place, weights=want) / count
    return np.asarray(np.round(np.interp(np.arange(256), grey, matched)), np.uint8)


def _mean(luma: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.addWeighted(luma, 0.5, thermal, 0.5, 0), np.uint8)
