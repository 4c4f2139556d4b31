"""What is found of targets in one pair, and the plain way to find it: crops, network and choice one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trackers.appearance import Looks
from trackers.observer import Observer
from trackers.reliability import Trust, answer_margins, blend_views
from trackers.siamese_core import (
    Proposals,
    SiameseTrackerConfig,
    TargetMemory,
    choose_proposals,
    places_in_crop,
)
from trackers.views import Images, usable_views


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for in one pair.

    Attributes:
        memories: of B targets, each searched around its centre.
        images: the pictures of the modalities in use.
        window_influence: (B,) in place of the configured one.
        with_looks: tell what the findings look like, too; the memories must hold looks.
    """

    memories: Sequence[TargetMemory]
    images: Images
    window_influence: NDArray[np.float64] | None = None
    with_looks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found around B places.

    Attributes:
        proposals: the chosen ones.
        margins: how each of V views answered there, (V, B); None where there is one view.
        usable: which modalities could be used.
        looks: what was asked for of the findings' looks.
    """

    proposals: Proposals
    margins: NDArray[np.float64] | None
    usable: tuple[bool, ...]
    looks: Looks | None = None


class Finder(Protocol):
    """Finds targets around their last places."""

    def begin(self, search: Search, usable: tuple[bool, ...]) -> None:
        """Start a search as if these modalities could be used, which is not known yet; :meth:`find` ends it."""
        ...

    def find(self, search: Search, usable: tuple[bool, ...]) -> Finding:
        """What is found with these modalities."""
        ...


class PlainFinder:
    """Each step by itself, the choice on the CPU."""

    def __init__(self, observer: Observer, config: SiameseTrackerConfig) -> None:
        self._observer = observer
        self._config = config

    def begin(self, search: Search, usable: tuple[bool, ...]) -> None:
        """Nothing: there is no device that could work meanwhile."""

    def find(self, search: Search, usable: tuple[bool, ...]) -> Finding:
        """What is found with these modalities."""
        memories, config = search.memories, self._config
        answers = self._observer.answers(memories, search.images, usable)
        sizes = places_in_crop(memories, config)[:, 2:]
        margins = None
        if len(answers.score) == 1:
            proposals = choose_proposals(answers.score[0], answers.boxes[0], sizes, config, search.window_influence)
        else:
            score, boxes = blend_views(answers.score, answers.boxes, view_weights(memories, usable))
            proposals = choose_proposals(score, boxes, sizes, config, search.window_influence)
            views = zip(answers.score, answers.boxes, strict=True)
            margins = np.stack([answer_margins(*view, proposals.boxes) for view in views])
        looks = self._observer.looks(memories, answers, proposals.boxes) if search.with_looks else None
        return Finding(proposals=proposals, margins=margins, usable=usable, looks=looks)


def view_weights(memories: Sequence[TargetMemory], usable: Sequence[bool]) -> NDArray[np.float64]:
    """Share of each of V views in the blended response of each of B targets, (V, B)."""
    return np.stack([known_trust(memory.trust).weights(usable_views(usable)) for memory in memories], axis=1)


def known_trust(trust: Trust | None) -> Trust:
    """The trust of a tracker with several views, which all its states have."""
    if trust is None:
        raise ValueError("this state was made by a tracker with another fusion")
    return trust
