"""What is evaluated: trackers as values that any process can build, and a fingerprint that tells old results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.errors import InputError
from fusion.whole_files import written_whole
from trackers.evaluation.closed_form import CLOSED_FORMS, ClosedFormTracker
from trackers.evaluation.dataset import VideoSequence
from trackers.evaluation.pixel_fusion import PixelFusionTracker, fuser_digest
from trackers.evaluation.protocol import RunOptions
from trackers.evaluation.report.content import IDENTITY_FILE, Variant
from trackers.state import Modality, Tracker

if TYPE_CHECKING:
    from fusion.attention import PoolingKind

_PROTOCOL = (
    *("protocol.py", "regions.py", "overlap.py", "raster.py"),
    *("frames.py", "closed_form.py", "pixel_fusion.py"),
)
# Changes to these can change boxes; results made by other versions of them are stale.
_CODE = (
    ("trackers", ("*.py",)),
    ("trackers.networks", ("*.py",)),
    ("trackers.evaluation", _PROTOCOL),
    ("fusion", ("attention.py", "batch_norm.py", "nuclear.py", "polar.py")),
)


_WITHOUT_POOLING = ("mean", "gate", "adaptive")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSpec:
    """One row of the evaluation.

    Attributes:
        tracker: name, as ``trackers.factory`` knows it, or a closed form.
        modality: which pictures it looks at.
        strategy: how features of two modalities are fused (fused only); empty for what suits the tracker best.
        pooling: pooling of the channel attention (fused only).
        weights: checkpoint in place of the tracker's own.
        overrides: settings of the tracker that differ from its preset, as (name, value).
        device: where it runs.
        label: tells apart results of the same tracker with other settings.
        fuser: method that fuses the pictures before the tracker sees them (pixel level, fused only); empty for
            fusion inside the tracker.
    """

    tracker: str
    modality: Modality
    strategy: str = ""
    pooling: PoolingKind = "avg"
    weights: Path | None = None
    overrides: tuple[tuple[str, float | int | bool], ...] = ()
    device: str = "cpu"
    label: str = ""
    fuser: str = ""

    @property
    def name(self) -> str:
        """Name of its folder of results: ``<tracker>-<modality>``, and strategy and pooling where given."""
        parts = [self.tracker, str(self.modality)]
        if self.modality is Modality.FUSED:
            parts += ["pixel", self.fuser] if self.fuser else []
            parts += [self.strategy] if self.strategy else []
            parts += [self.pooling] if self.pooling != "avg" else []
        parts += [self.label] if self.label else []
        return "-".join(parts)


def variant(spec: TrackerSpec, tracker: Tracker) -> Variant:
    """The place of a tracker in the main table."""
    if isinstance(tracker, PixelFusionTracker):
        pooling = spec.pooling if spec.fuser.startswith("nestfuse") else ""
        return Variant(
            tracker=spec.tracker, modality=str(spec.modality), attention=spec.fuser, pooling=pooling, level="pixel"
        )
    strategy = strategy_name(tracker) if spec.modality is Modality.FUSED else ""
    if not strategy:
        return Variant(tracker=spec.tracker, modality=str(spec.modality))
    return Variant(
        tracker=spec.tracker,
        modality=str(spec.modality),
        attention=strategy,
        pooling="" if strategy in _WITHOUT_POOLING else spec.pooling,
        level="response" if strategy == "adaptive" else "feature",
    )


def strategy_name(tracker: Tracker) -> str:
    """Name of the strategy by which a tracker fuses features; empty for trackers that fuse none."""
    fusion = getattr(tracker, "fusion", None)
    if fusion is None:
        return ""
    from fusion.attention import AttentionStrategy
    from trackers.factory import STRATEGIES

    if isinstance(fusion, AttentionStrategy):
        fusion = fusion.with_pooling("avg")
    return next((name for name, known in STRATEGIES.items() if known == fusion), "")


def build(spec: TrackerSpec) -> Tracker:
    """Build the tracker of a specification, with its weights.

    Raises:
        InputError: the name or a setting is unknown, or the weights are missing or do not fit.
    """
    if spec.tracker in CLOSED_FORMS:
        return ClosedFormTracker(next(form for form in CLOSED_FORMS if form == spec.tracker))
    # Networks are imported here, so that workers of trackers without any start at once.
    from fusion.attention import AttentionStrategy
    from trackers.factory import build_tracker
    from trackers.siamese_tracker import SiameseTracker

    if spec.fuser and spec.modality is Modality.FUSED:
        from fusion.factory import build_fuser

        inner = build(replace(spec, modality=Modality.RGB, fuser="", pooling="avg"))
        # A fixed range: the fused picture of a frame must not depend on the frames before.
        fuser = build_fuser(spec.fuser, pooling=spec.pooling, range_name="fixed", device=spec.device)
        return PixelFusionTracker(inner, fuser)
    tracker = build_tracker(
        spec.tracker,
        weights=spec.weights,
        modality=spec.modality,
        strategy=spec.strategy or None,
        overrides=dict(spec.overrides),
        # Always the same one, whatever is installed: engines differ by hundredths of a pixel.
        engine="torch",
        device=spec.device,
    )
    if spec.pooling == "avg" or spec.modality is not Modality.FUSED:
        return tracker
    if not isinstance(tracker.fusion, AttentionStrategy):
        raise InputError(f"the strategy {strategy_name(tracker)} pools nothing; leave --poolings at avg")
    fusion = tracker.fusion.with_pooling(spec.pooling)
    return SiameseTracker(
        tracker.network, tracker.config, tracker.modality, fusion, tracker.device, tracker.dtype, tracker.execution
    )


def check_names(specs: tuple[TrackerSpec, ...]) -> None:
    """Refuse two specifications whose results would share a folder.

    Raises:
        InputError: a name occurs twice.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the tracker {name} is asked for twice")


def fingerprint(spec: TrackerSpec, options: RunOptions, tracker: Tracker) -> dict[str, Any]:
    """What the results of a tracker depend on, apart from the sequences, in a form that JSON keeps.

    The weights are those the tracker really holds, so a replaced file of the same name is noticed.
    """
    inner = tracker.inner if isinstance(tracker, PixelFusionTracker) else tracker
    description: dict[str, Any] = {
        "tracker": spec.tracker,
        "modality": str(spec.modality),
        "strategy": spec.strategy,
        "pooling": spec.pooling,
        "overrides": [list(pair) for pair in spec.overrides],
        "options": asdict(options),
        "weights": _weights_digest(inner),
        "fuser": [spec.fuser, fuser_digest(tracker.fuser)] if isinstance(tracker, PixelFusionTracker) else [],
        "config": repr(getattr(inner, "config", "")),
        "arithmetic": [str(getattr(inner, name, "")) for name in ("dtype", "execution")],
        "code": _code_digest(),
    }
    try:
        description["torch"] = metadata.version("torch")
    except metadata.PackageNotFoundError:
        description["torch"] = ""
    normal: dict[str, Any] = json.loads(json.dumps(description))
    return normal


def sequence_fingerprint(sequence: VideoSequence) -> str:
    """Digest of the ground truth and of the names and sizes of the picture files."""
    digest = hashlib.sha256()
    digest.update(sequence.groundtruth.numbers.tobytes())
    digest.update(sequence.groundtruth.counts.tobytes())
    digest.update(f"{sequence.width}x{sequence.height}".encode())
    for name, files in sorted(sequence.channels.items()):
        for file in files:
            size = file.stat().st_size if file.is_file() else -1
            digest.update(f"{name}/{file.name}:{size};".encode())
    return digest.hexdigest()


def _weights_digest(tracker: Tracker) -> str:
    network = getattr(tracker, "network", None)
    state = getattr(network, "state_dict", None)
    if state is None:
        return ""
    digest = hashlib.sha256()
    for name, value in state().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _code_digest() -> str:
    digest = hashlib.sha256()
    for package, patterns in _CODE:
        folder = Path(str(resources.files(package)))
        for pattern in patterns:
            for path in sorted(folder.glob(pattern)):
                digest.update(path.name.encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def check_identity(
    results: Path, spec: TrackerSpec, place: Variant, description: Mapping[str, Any], sequences: Mapping[str, str]
) -> None:
    """Compare what would be run with what made the results that are there, and write it down for the next time.

    Args:
        results: folder of all results.
        spec: the tracker.
        place: its place in the main table.
        description: its fingerprint.
        sequences: name of each sequence to its fingerprint.

    Raises:
        InputError: the results there were made by something else.
    """
    path = results / spec.name / IDENTITY_FILE
    known: dict[str, str] = {}
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            old, known = content["made_by"], dict(content["sequences"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); run again with --overwrite") from error
        changed = [key for key in description if old.get(key) != description[key]]
        if changed:
            raise InputError(
                f"the results in {path.parent} were made with another {', '.join(changed)}; run again with --overwrite "
                "to replace them, or choose another --out"
            )
        for name, digest in sequences.items():
            if known.get(name, digest) != digest:
                raise InputError(
                    f"the results in {path.parent} belong to another version of the sequence {name} (ground truth or "
                    "pictures changed); run again with --overwrite to replace them, or choose another --out"
                )
    elif any((path.parent).rglob("*.txt")):
        raise InputError(f"{path.parent} holds results of unknown origin; run again with --overwrite to replace them")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "variant": asdict(place),
        "made_by": dict(description),
        "sequences": {**known, **sequences},
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
