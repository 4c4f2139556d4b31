"""How well trackers hold real targets: ours in every modality and fusion, and OpenCV's TrackerNano beside them.

Use: python benchmarks/tracking_quality.py --data DIR... [--trackers siamrpn-lite] [--strategies gate,paper]
         [--modalities fused,rgb,ir] [--nano-backbone FILE.onnx --nano-head FILE.onnx] [--only NAME...] [--json FILE]

Every run starts once, from the first box, and is never reset. Figures leave the first frame out: mean IoU, share of
frames with IoU above 0 ("held"), area under the success curve, share of frames with a centre error up to 20 px. A last
table says what a score and a status of ours are worth: the share of frames that were on target, for each range of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trackers.box import Box, iou
from trackers.evaluation.frames import PicturePair
from trackers.factory import build_tracker
from trackers.state import Modality, Tracker, TrackStatus
from trackers.training.sources import Shot, Track, read_sequence

SCORE_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.45, 0.7, 0.85, 1.0)


@dataclass(frozen=True, slots=True)
class Found:
    box: Box
    score: float | None = None
    status: TrackStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    sequence: str
    tracker: str
    frames: int
    mean_iou: float
    held: float
    auc: float
    precision_20px: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders of VOT-style sequences")
    parser.add_argument("--trackers", default="siamrpn-lite", help="names, comma-separated")
    parser.add_argument("--weights", type=Path, help="in place of the tracker's own weights")
    parser.add_argument("--strategies", default="default", help="fusion strategies, comma-separated")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="constants of the loop")
    parser.add_argument("--modalities", default="fused,rgb,ir", help="of ours, comma-separated")
    parser.add_argument("--nano-backbone", type=Path)
    parser.add_argument("--nano-head", type=Path)
    parser.add_argument("--only", nargs="*", help="names of sequences")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    overrides = {key: json.loads(value) for key, value in (entry.split("=", 1) for entry in given.set)}
    tracks = [
        read_sequence(path.parent)
        for folder in given.data
        for path in sorted(folder.glob("*/groundtruth.txt"))
        if not given.only or path.parent.name in given.only
    ]
    rows = []
    trusted: dict[str, list[tuple[Found, float]]] = {}
    for track in tracks:
        shot = track.shots[0]
        for label, run in runs(
            given, overrides, has_visible=shot.visible is not None, has_thermal=shot.thermal is not None
        ):
            found = run(track)
            rows.append(row := measure(track, label, [one.box for one in found]))
            truth = (shot.boxes[0] for shot in track.shots[1:])
            trusted.setdefault(label, []).extend(
                (one, iou(one.box, box)) for one, box in zip(found, truth, strict=True)
            )
            print(f"{row.sequence:26} {row.tracker:34} IoU {row.mean_iou:.3f} held {row.held:.3f}", flush=True)
    print("\nmean over sequences")
    for label in sorted({row.tracker for row in rows}):
        own = [row for row in rows if row.tracker == label]
        mean = {
            name: np.mean([getattr(row, name) for row in own]) for name in ("mean_iou", "held", "auc", "precision_20px")
        }
        print(
            f"{label:34} {len(own):3} sequences: IoU {mean['mean_iou']:.3f} held {mean['held']:.3f} "
            f"AUC {mean['auc']:.3f} precision {mean['precision_20px']:.3f}"
        )
    for label, frames in trusted.items():
        print_reliability(label, frames)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


Run = Callable[[Track], list[Found]]


def runs(
    given: Any, overrides: dict[str, object], *, has_visible: bool, has_thermal: bool
) -> Iterator[tuple[str, Run]]:
    wanted = [Modality(name) for name in given.modalities.split(",")]
    has = {Modality.RGB: has_visible, Modality.IR: has_thermal, Modality.FUSED: has_visible and has_thermal}
    for name in given.trackers.split(","):
        for modality in (one for one in wanted if has[one] and one is not Modality.FUSED):
            ours = build_tracker(name, weights=given.weights, modality=modality, overrides=overrides)
            yield f"{name} {modality}", lambda track, ours=ours: follow(track, ours)
        if Modality.FUSED in wanted and has[Modality.FUSED]:
            for strategy in given.strategies.split(","):
                ours = build_tracker(
                    name,
                    weights=given.weights,
                    modality=Modality.FUSED,
                    strategy=None if strategy == "default" else strategy,
                    overrides=overrides,
                )
                yield f"{name} fused {strategy}", lambda track, ours=ours: follow(track, ours)
    if given.nano_backbone and given.nano_head:
        if has_visible:
            yield (
                "cv2.TrackerNano rgb",
                lambda track: follow_nano(track, given.nano_backbone, given.nano_head, "visible"),
            )
        if has_thermal:
            yield (
                "cv2.TrackerNano ir",
                lambda track: follow_nano(track, given.nano_backbone, given.nano_head, "thermal"),
            )


def read_pair(shot: Shot) -> PicturePair:
    visible = cv2.imread(str(shot.visible), cv2.IMREAD_COLOR) if shot.visible else None
    thermal = cv2.imread(str(shot.thermal), cv2.IMREAD_GRAYSCALE) if shot.thermal else None
    if visible is None:
        visible = cv2.cvtColor(thermal, cv2.COLOR_GRAY2BGR)
    return PicturePair(visible, visible[:, :, 0] if thermal is None else thermal)


def follow(track: Track, tracker: Tracker) -> list[Found]:
    state = tracker.init(read_pair(track.shots[0]), track.shots[0].boxes[0])
    found = []
    for shot in track.shots[1:]:
        state = tracker.update(state, read_pair(shot))
        found.append(Found(state.box, state.score, state.status))
    return found


def follow_nano(track: Track, backbone: Path, head: Path, channel: str) -> list[Found]:
    settings = cv2.TrackerNano_Params()
    settings.backbone, settings.neckhead = str(backbone), str(head)
    tracker = cv2.TrackerNano_create(settings)

    def picture(shot: Shot) -> Any:
        return cv2.imread(str(getattr(shot, channel)), cv2.IMREAD_COLOR)

    tracker.init(picture(track.shots[0]), [round(value) for value in track.shots[0].boxes[0].as_tuple()])
    return [Found(Box(*map(float, tracker.update(picture(shot))[1]))) for shot in track.shots[1:]]


def print_reliability(label: str, frames: Sequence[tuple[Found, float]]) -> None:
    scored = [(one.score, one.status, overlap) for one, overlap in frames if one.score is not None]
    if not scored:
        return
    print(f"\n{label}: what a score is worth\n{'score':>14} {'frames':>7} {'IoU > 0':>8} {'IoU > 0.5':>10}")
    groups = [
        (f"{low:.2f}..{high:.2f}", [hit for score, _, hit in scored if low <= score < high or score == high == 1])
        for low, high in pairwise(SCORE_EDGES)
    ]
    groups += [(status.value, [hit for _, own, hit in scored if own is status]) for status in TrackStatus]
    for name, hits in groups:
        if hits:
            held, good = (np.mean([hit > limit for hit in hits]) for limit in (0, 0.5))
            print(f"{name:>14} {len(hits):7} {held:8.3f} {good:10.3f}")


def measure(track: Track, label: str, found: Sequence[Box]) -> Quality:
    truth = [shot.boxes[0] for shot in track.shots[1:]]
    overlaps = np.array([iou(box, true) for box, true in zip(found, truth, strict=True)])
    errors = np.array(
        [np.hypot(*np.subtract(box.center_xy, true.center_xy)) for box, true in zip(found, truth, strict=True)]
    )
    return Quality(
        sequence=track.name,
        tracker=label,
        frames=len(found),
        mean_iou=float(overlaps.mean()),
        held=float((overlaps > 0).mean()),
        auc=float(np.mean([(overlaps > threshold).mean() for threshold in np.linspace(0, 1, 21)])),
        precision_20px=float((errors <= 20).mean()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
