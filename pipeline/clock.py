"""From a stream's own time stamps to the host's clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# A quartz clock is off by some tens of parts per million; more than this is an artefact of too short a window.
_MAX_DRIFT = 500e-6
_MIN_SPAN_S = 5.0
_REFIT_EVERY = 15


@dataclass(frozen=True, slots=True)
class _Line:
    """Offset of the host clock, as a line over the stream's time."""

    at_s: float
    offset_s: float
    drift: float

    def __call__(self, stream_s: float) -> float:
        return self.offset_s + self.drift * (stream_s - self.at_s)


class ClockMapper:
    """Maps a stream's time stamps to host time by the lower envelope of arrival minus time stamp.

    Transport only ever delays a frame, so the least delayed frames show the true relation of the two clocks: the
    line that lies under all points ``(stamp, arrival - stamp)`` and closest to them (Moon, Skelly and Towsley,
    "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999). What remains is the
    constant least delay, which a manual offset can take away.

    Args:
        window: number of frames the line is fitted to.
        offset_s: added to every mapped time.
    """

    def __init__(self, *, window: int = 900, offset_s: float = 0.0) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=window)
        self._offset_s = offset_s
        self._line: _Line | None = None
        self._since_fit = 0
        self._last_s = float("-inf")

    def map(self, stream_s: float, arrival_s: float) -> float:
        """Host time of the moment ``stream_s``, whose frame arrived at ``arrival_s``; strictly rising, in seconds.

        ``stream_s`` must rise; call ``reset`` when the stream's clock jumps.
        """
        delay_s = arrival_s - stream_s
        self._points.append((stream_s, delay_s))
        self._since_fit += 1
        # A point under the line proves it wrong at once; otherwise fitting now and then is enough.
        if self._line is None or delay_s < self._line(stream_s) or self._since_fit >= _REFIT_EVERY:
            self._line, self._since_fit = _fit(self._points), 0
        mapped_s = stream_s + self._line(stream_s) + self._offset_s
        self._last_s = max(mapped_s, self._last_s + 1e-6)
        return self._last_s

    def reset(self) -> None:
        """Forget the relation of the clocks, after a reconnect or a jump of the stream's time stamps."""
        self._points.clear()
        self._line = None


def _fit(points: deque[tuple[float, float]]) -> _Line:
    """The edge of the lower convex hull over the mean stamp, which is the line with the least sum of distances."""
    if points[-1][0] - points[0][0] < _MIN_SPAN_S:
        at_s, offset_s = min(points, key=lambda point: point[1])
        return _Line(at_s, offset_s, 0.0)
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) >= 2 and _turns_up_not(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    mean_s = sum(point[0] for point in points) / len(points)
    right = next(i for i, point in enumerate(hull) if point[0] >= mean_s and i > 0)
    (x0, y0), (x1, y1) = hull[right - 1], hull[right]
    drift = (y1 - y0) / (x1 - x0)
    if abs(drift) > _MAX_DRIFT:
        drift = 0.0
        x0, y0 = min(points, key=lambda point: point[1])
    return _Line(x0, y0, drift)


def _turns_up_not(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether ``b`` is no corner of the lower hull between ``a`` and ``c``."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
