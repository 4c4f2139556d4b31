"""Trackers as ONNX files: what to remember of a template, and where it is in a search crop; checked against torch.

A tracker becomes two graphs, because a template is encoded once and compared many times. ``<name>.template.onnx`` turns
template crops into the tensors ``template_0``, ``template_1``, ...; ``<name>.search.onnx`` takes these and search crops
and gives ``score`` (B, A, H, W), 0..1, and ``boxes`` (B, 4, A, H, W): ``cx, cy, w, h`` in search-crop pixels from the
crop's centre. The crops are ``crop`` (B, 3, S, S), float32 0..255 BGR, S = 127 and 255; any number B of targets.
``<name>.fused.template.onnx`` and ``<name>.fused.search.onnx`` take ``visible`` and ``thermal`` crops instead and fuse
their features at every scale with the strategy of Equation 5 of NestFuse (``fusion.attention.PAPER``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion.attention import PAPER
from fusion.errors import InputError, RunError
from fusion.graph_engines import start_graph
from fusion.onnx_writing import write_onnx
from fusion.whole_files import written_whole
from trackers.factory import load_network, tracker_config
from trackers.networks.folding import folded
from trackers.networks.interface import Features, SiameseNetwork
from trackers.views import views_of

Form = Literal["single", "fused"]
FORMS: tuple[Form, ...] = ("single", "fused")
"""One crop of one modality, or a visible and a thermal crop whose features are fused."""

_TRACED_TARGETS = 2
_CHECKED_TARGETS = (1, 3)
_SCORE_TOLERANCE = 1e-4
# Of boxes: absolute, and as a share of their spread, for anchors of large sides.
_BOX_TOLERANCE_PX = 1e-3
_BOX_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerExportReport:
    """What was exported of one form and how well it agrees with torch over both graphs.

    Attributes:
        name: the tracker.
        form: which crops the graphs take.
        template_path: the graph for template crops.
        search_path: the graph for search crops.
        checked_targets: numbers of targets it was checked with.
        score_difference: largest difference of a score, 0..1.
        box_difference_px: largest difference of a box number.
        box_spread_px: difference of the largest and the smallest box number, to judge the former by.
        size_bytes: of both files.
    """

    name: str
    form: Form
    template_path: Path
    search_path: Path
    checked_targets: tuple[int, ...]
    score_difference: float
    box_difference_px: float
    box_spread_px: float
    size_bytes: int


class TemplateGraph(nn.Module):
    """Template crops of each modality, (B, 3, S, S), to what the network remembers of B targets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *crops: Tensor) -> Features:
        """The template tensors; dimension 0 is B."""
        network = cast(SiameseNetwork, self.network)
        return network.encode_template(_features(network, crops))


class SearchGraph(nn.Module):
    """Search crops of each modality and then the template tensors, to scores and boxes."""

    def __init__(self, network: nn.Module, modalities: int) -> None:
        super().__init__()
        self.network = network
        self.modalities = modalities

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, A, H, W) and boxes (B, 4, A, H, W)."""
        network = cast(SiameseNetwork, self.network)
        crops, template = tensors[: self.modalities], tensors[self.modalities :]
        response = network.respond(template, _features(network, crops))
        return response.score, response.boxes


def export_tracker(
    name: str, out: Path, weights: Path | None = None, *, forms: Sequence[Form] = FORMS
) -> tuple[TrackerExportReport, ...]:
    """Write the graphs of a tracker and compare each form with torch.

    Args:
        name: one of :data:`trackers.factory.TRACKERS`.
        out: folder for the files.
        weights: checkpoint file in place of the imported or shipped one.
        forms: which forms to write.

    Raises:
        InputError: an unknown tracker, weights that are missing or do not fit, or a missing package.
        RunError: an exported graph computes something else.
    """
    config = tracker_config(name)
    sides = (config.exemplar_size, config.instance_size)
    return export_network(load_network(name, weights), name, out, crop_sides=sides, forms=forms)


def export_network(
    network: nn.Module,
    name: str,
    out: Path,
    *,
    crop_sides: tuple[int, int] = (127, 255),
    forms: Sequence[Form] = FORMS,
) -> tuple[TrackerExportReport, ...]:
    """As :func:`export_tracker`, for a network at hand (a ``SiameseNetwork``).

    Args:
        network: the network.
        name: first part of the file names.
        out: folder for the files.
        crop_sides: sides of template and search crops in pixels.
        forms: which forms to write.

    Raises:
        InputError: a missing package.
        RunError: an exported graph computes something else.
    """
    try:
        import onnx  # noqa: F401 - torch needs it to write
        import onnxruntime  # noqa: F401 - the check needs it
    except ImportError as error:
        raise InputError(f"export needs the package {error.name}: pip install 'rgbt-stream[cpu,export]'") from error
    out.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    return tuple(_export_form(network, name, out, crop_sides, form) for form in forms)


def _export_form(
    network: nn.Module, name: str, out: Path, crop_sides: tuple[int, int], form: Form
) -> TrackerExportReport:
    crop_names = ["crop"] if form == "single" else ["visible", "thermal"]
    stem = name if form == "single" else f"{name}.fused"
    template_path, search_path = out / f"{stem}.template.onnx", out / f"{stem}.search.onnx"
    ready = folded(network)
    template_graph, search_graph = TemplateGraph(ready), SearchGraph(ready, len(crop_names))
    template_crops, search_crops = (
        tuple(torch.full((_TRACED_TARGETS, 3, side, side), 128.0) for _ in crop_names) for side in crop_sides
    )
    with torch.no_grad():
        template = template_graph(*template_crops)
    names = [f"template_{index}" for index in range(len(template))]
    contents = (
        _graph_file(template_graph, template_crops, crop_names, names),
        _graph_file(search_graph, (*search_crops, *template), [*crop_names, *names], ["score", "boxes"]),
    )
    report = _compare(network, name, form, (template_path, search_path), contents, crop_sides)
    box_limit_px = _BOX_TOLERANCE_PX + _BOX_TOLERANCE * report.box_spread_px
    # Written so that a NaN fails too.
    if not (report.score_difference <= _SCORE_TOLERANCE and report.box_difference_px <= box_limit_px):
        raise RunError(
            f"{stem} as ONNX differs from torch by {report.score_difference:.3g} in score and "
            f"{report.box_difference_px:.3g} px in boxes; it was not written"
        )
    for path, content in zip((template_path, search_path), contents, strict=True):
        with written_whole(path) as partial:
            partial.write_bytes(content)
    return report


def _graph_file(graph: nn.Module, inputs: tuple[Tensor, ...], input_names: list[str], output_names: list[str]) -> bytes:
    free = {name: {0: "targets"} for name in (*input_names, *output_names)}
    return write_onnx(graph, inputs, input_names, output_names, free)


def _compare(
    network: nn.Module,
    name: str,
    form: Form,
    paths: tuple[Path, Path],
    contents: tuple[bytes, bytes],
    crop_sides: tuple[int, int],
) -> TrackerExportReport:
    """Run both graphs one after the other, and the network as the tracker does, on the same random crops."""
    template_session, search_session = (start_graph(content, "onnx", torch.device("cpu")) for content in contents)
    template_graph, search_graph = TemplateGraph(network), SearchGraph(network, 1 if form == "single" else 2)
    score_differences, box_differences, spreads = [], [], []
    for targets in _CHECKED_TARGETS:
        template_crops, search_crops = (
            [_noise(targets, side, seed) for seed in range(search_graph.modalities)] for side in crop_sides
        )
        score, boxes = search_session(*search_crops, *template_session(*template_crops))
        with torch.no_grad():
            template = template_graph(*map(torch.from_numpy, template_crops))
            expected = search_graph(*map(torch.from_numpy, search_crops), *template)
        expected_score, expected_boxes = (each.numpy() for each in expected)
        score_differences.append(_largest_difference(score, expected_score))
        box_differences.append(_largest_difference(boxes, expected_boxes))
        spreads.append(float(np.ptp(expected_boxes)))
    return TrackerExportReport(
        name=name,
        form=form,
        template_path=paths[0],
        search_path=paths[1],
        checked_targets=_CHECKED_TARGETS,
        score_difference=max(score_differences),
        box_difference_px=max(box_differences),
        box_spread_px=max(spreads),
        size_bytes=sum(map(len, contents)),
    )


def _largest_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")


def _noise(targets: int, side: int, seed: int) -> NDArray[np.float32]:
    """Crops (B, 3, S, S) of noise with structure at every scale, 0..255."""
    generator = np.random.default_rng((seed, targets, side))
    crops = generator.uniform(0, 120, (targets, 3, side, side))
    for cells in (2, 5, 16):
        coarse = generator.uniform(0, 45, (targets, 3, cells, cells))
        places = np.arange(side) * cells // side
        crops += coarse[:, :, places[:, None], places]
    return crops.astype(np.float32)


def _features(network: SiameseNetwork, crops: Sequence[Tensor]) -> Features:
    """What the head compares: features of the crops of one modality, or of two, fused."""
    if len(crops) == 1:
        return network.extract(crops[0])
    levels = [
        features.reshape(len(crops), -1, *features.shape[1:]) for features in network.extract(torch.cat(list(crops)))
    ]
    (fused,) = views_of([tuple(level[index] for level in levels) for index in range(len(crops))], PAPER)
    return fused
