"""What a report shows, gathered before any of it is drawn or typeset."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from fusion.errors import InputError
from trackers.evaluation.interval import Interval
from trackers.evaluation.measures import Lineage
from trackers.evaluation.scores import OnePassScores, ResetScores

ProtocolName = Literal["vot-rgbt2019", "ope"]

# Written beside the results of each tracker; says what made them.
IDENTITY_FILE = "tracker.json"

_MODALITY_LABELS = {"ir": "Infrared", "rgb": "RGB", "fused": "Fused"}
_MODALITY_ORDER = ("ir", "rgb", "fused")
_PACKAGES = ("numpy", "torch", "opencv-python-headless", "scipy", "matplotlib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Where a tracker stands in the main table; empty texts where nothing is known.

    Attributes:
        tracker: name of the tracker.
        modality: ``ir``, ``rgb``, ``fused``, or empty.
        attention: form of the attention strategy, for fused ones.
        pooling: pooling of the channel attention, for fused ones.
        level: where features are fused, for fused ones.
    """

    tracker: str
    modality: str = ""
    attention: str = ""
    pooling: str = ""
    level: str = ""

    @property
    def modality_label(self) -> str:
        """The modality as tables print it."""
        return _MODALITY_LABELS.get(self.modality, self.modality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tracker of the report: its name in the results, its place in the table, its scores."""

    name: str
    variant: Variant
    scores: ResetScores | OnePassScores


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryPicture:
    """One failure: where it happened, a caption, and a JPEG picture (None when the frames are not there)."""

    tracker: str
    sequence: str
    frame: int
    caption: str
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialRow:
    """One figure of the official toolkit beside ours."""

    tracker: str
    measure: str
    ours: float
    official: float

    @property
    def difference(self) -> float:
        """Ours minus the official figure."""
        return self.ours - self.official


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the page and the tables show.

    Attributes:
        title: heading of the page.
        dataset: name of the dataset.
        protocol: which protocol the results belong to.
        lineage: which lineage the headline figures follow.
        interval: sequence lengths over which the EAO is averaged.
        entries: the trackers, in the order of the table.
        notes: sentences a reader must know (figures that are undefined, pictures that are missing).
        gallery: failures with their frames.
        official: figures of the official toolkit beside ours.
        configuration: what was run, as key and text.
    """

    title: str
    dataset: str
    protocol: ProtocolName
    lineage: Lineage
    interval: Interval
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    gallery: tuple[GalleryPicture, ...] = ()
    official: tuple[OfficialRow, ...] = ()
    configuration: Mapping[str, str] = field(default_factory=dict)


def read_variant(results: Path, name: str) -> Variant:
    """Place of a tracker in the table: from the identity beside its results, else from its name.

    Raises:
        InputError: the identity file is damaged.
    """
    path = results / name / IDENTITY_FILE
    if path.is_file():
        try:
            described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["variant"]
            return Variant(**{key: str(value) for key, value in described.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete the results of {name} and run again") from error
    tracker, _, modality = name.rpartition("-")
    if tracker and modality in _MODALITY_LABELS:
        return Variant(tracker=tracker, modality=modality)
    return Variant(tracker=name)


def in_table_order(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Infrared first, then RGB, then fused by attention form, pooling and level; others last."""

    def key(entry: Entry) -> tuple[object, ...]:
        variant = entry.variant
        known = variant.modality in _MODALITY_ORDER
        place = _MODALITY_ORDER.index(variant.modality) if known else len(_MODALITY_ORDER)
        return variant.tracker, place, variant.attention, variant.pooling, variant.level, entry.name

    return tuple(sorted(entries, key=key))


def versions() -> dict[str, str]:
    """Versions of Python, of this program and of the packages that can change a figure."""
    found = {"python": platform.python_version()}
    for package in ("rgbt-stream", *_PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
