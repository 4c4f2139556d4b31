"""Work on several targets or pictures side by side: a thread for each part, in which every operation stays alone.

Small networks lose on two threads most of what they gain where every layer is divided among them: each layer waits for
both, and a thread that waits for the next one keeps a core busy. Divided by crops they meet once for a whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

from fusion.workers import compute_alone
from trackers.finding import Finder, Finding, Search

Part = TypeVar("Part")
Result = TypeVar("Result")


class Lanes:
    """Threads in which PyTorch uses one thread for an operation.

    Args:
        count: how many; each is started when it is first needed.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # Apart, so that work in the first lane never waits for a place that it holds itself.
        self._first = ThreadPoolExecutor(1, thread_name_prefix="lane", initializer=compute_alone)
        self._others = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="lane", initializer=compute_alone)

    def run(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """What ``function`` gives for each of at most ``count`` parts; the first is done in the caller's thread."""
        others = [self._others.submit(function, part) for part in parts[1:]]
        try:
            first = function(parts[0])
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]

    def alone(self, function: Callable[[], Result]) -> Result:
        """What ``function`` gives in the first lane; not to be called from there."""
        return self._first.submit(function).result()

    def shares(self, count: int) -> list[slice]:
        """``count`` items in as many parts of about one size as there are lanes for."""
        parts = min(self.count, count)
        edges = [index * count // parts for index in range(parts + 1)]
        return [slice(begin, end) for begin, end in pairwise(edges)]


class LaneFinder:
    """A :class:`trackers.finding.Finder` that searches in a lane, so that its small operations stay alone as well."""

    def __init__(self, finder: Finder, lanes: Lanes) -> None:
        self._finder = finder
        self._lanes = lanes

    def begin(self, search: Search, usable: tuple[bool, ...]) -> None:
        """As the finder does."""
        self._finder.begin(search, usable)

    def find(self, search: Search, usable: tuple[bool, ...]) -> Finding:
        """What is found with these modalities."""
        return self._lanes.alone(lambda: self._finder.find(search, usable))
