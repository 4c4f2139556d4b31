"""Searches on a GPU: a pair's pictures go there once, one CUDA graph does the rest, and a few numbers come back.

Capturing pays where the same shapes come again, so the first pairs of a new number of targets run the same operations
one by one, as do all where capturing fails. On a CPU the same code runs too, without graphs; it is there to be tested.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.cuda_graphs import Capture, captured_if_possible
from trackers.device_crop import PicturePlace
from trackers.finding import Finding, Search
from trackers.networks.interface import Features, SiameseNetwork
from trackers.observer import network_arithmetic
from trackers.search_step import SearchStep, StepOutput, StepShape
from trackers.siamese_core import SiameseTrackerConfig, TargetMemory
from trackers.views import FeatureFusion, Images

# A lost target adds places to search, and a blind eye takes a modality away: more shapes than numbers of targets.
_KEPT_STEPS = 8
_PAIRS_BEFORE_CAPTURE = 2


class FrameBuffer:
    """The pictures of a pair on the device, one after the other in one flat buffer.

    Attributes:
        frames: (bytes,) uint8; replaced by a larger one when larger pictures come.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._device = device
        self.frames = torch.empty(0, dtype=torch.uint8, device=device)
        self._host = self.frames.cpu()
        self._sent: torch.cuda.Event | None = None

    def load(self, images: Images) -> list[PicturePlace]:
        """Send pictures (H, W) or (H, W, 3) uint8 on their way to the device, and say where each will be."""
        total = sum(image.size for image in images)
        if total > self.frames.numel():
            self._grow(total)
        if self._sent is not None:
            # The host's side may only be written again when all of it has been read.
            self._sent.synchronize()
        places: list[PicturePlace] = []
        begin = 0
        host = self._host.numpy()
        for image in images:
            height, width = image.shape[:2]
            np.copyto(host[begin : begin + image.size].reshape(image.shape), image)
            channels = image.shape[2] if image.ndim == 3 else 1
            places.append(PicturePlace(begin=begin, height=height, width=width, channels=channels))
            begin += image.size
        if self._on_gpu:
            self.frames[:total].copy_(self._host[:total], non_blocking=True)
            if self._sent is None:
                self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent.record()
        return places

    def _grow(self, total: int) -> None:
        if self._sent is not None:
            self._sent.synchronize()
        self.frames = torch.zeros(total, dtype=torch.uint8, device=self._device)
        self._host = torch.empty(total, dtype=torch.uint8, pin_memory=True) if self._on_gpu else self.frames


class CapturedStep:
    """One :class:`SearchStep` with its inputs and outputs at fixed addresses, captured as a CUDA graph in time.

    Args:
        step: what is computed.
        frames: where the pictures are.
        may_capture: on a GPU.

    Attributes:
        step: what is computed.
        frames: where the pictures are.
        may_capture: it has not failed yet.
    """

    def __init__(self, step: SearchStep, frames: Tensor, *, may_capture: bool = True) -> None:
        self.step = step
        self.frames = frames
        self._on_gpu = frames.device.type == "cuda"
        self.may_capture = may_capture and self._on_gpu
        self._runs = 0
        self._recorded: Capture[StepOutput] | None = None
        self._output: StepOutput | None = None
        self._numbers, self._host_numbers = Tensor(), Tensor()
        self._host_rows = Tensor()
        self._template: Features = ()
        self._template_of: list[Features] = []
        self._albums: Features = ()
        self._albums_of: list[Features] = []
        self._done: torch.cuda.Event | None = None

    @property
    def is_captured(self) -> bool:
        """A graph does the work."""
        return self._recorded is not None

    def start(self, numbers: NDArray[np.float64], memories: Sequence[TargetMemory]) -> None:
        """Put a search to the device; :meth:`finding` waits for it."""
        self._wait()
        self._set_numbers(numbers)
        self._set_template(memories)
        self._set_albums(memories)
        if self.may_capture and self._recorded is None and self._runs >= _PAIRS_BEFORE_CAPTURE:
            self._recorded = captured_if_possible(self._run, "this search")
            self.may_capture = self._recorded is not None
        self._runs += 1
        self._output = self._run() if self._recorded is None else self._recorded.replay()
        if self._on_gpu:
            rows = self._output.rows
            if self._host_rows.shape != rows.shape:
                self._host_rows = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
            self._host_rows.copy_(rows, non_blocking=True)
            if self._done is None:
                self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._done.record()

    def finding(self, usable: tuple[bool, ...]) -> Finding:
        """What the last search found; its looks hold until the next one."""
        self._wait()
        assert self._output is not None
        rows = self._host_rows if self._on_gpu else self._output.rows
        return self.step.finding(rows.numpy().copy(), self._output.looks, usable)

    def _wait(self) -> None:
        if self._done is not None:
            self._done.synchronize()

    def _run(self) -> StepOutput:
        with network_arithmetic(self.frames.device, self.step.dtype):
            return self.step(self.frames, self._numbers, self._template, self._albums)

    def _set_numbers(self, numbers: NDArray[np.float64]) -> None:
        if self._host_numbers.shape != numbers.shape:
            self._host_numbers = torch.empty(numbers.shape, dtype=torch.float64, pin_memory=self._on_gpu)
            self._numbers = torch.empty(numbers.shape, dtype=torch.float64, device=self.frames.device)
        self._host_numbers.numpy()[...] = numbers
        self._numbers.copy_(self._host_numbers, non_blocking=True)

    def _set_template(self, memories: Sequence[TargetMemory]) -> None:
        # Templates hardly ever change, so what is there already is not copied again.
        features = [memory.features for memory in memories]
        if not _same(features, self._template_of):
            self._template = _copied(self.step.template(memories), self._template)
            self._template_of = features

    def _set_albums(self, memories: Sequence[TargetMemory]) -> None:
        looks = [memory.looks for memory in memories]
        if self.step.shape.with_looks and not _same(looks, self._albums_of):
            self._albums = _copied(self.step.albums(memories), self._albums)
            self._albums_of = looks


@dataclass(frozen=True, slots=True)
class _Pending:
    """A search on its way: with what it was begun, and the step that does it."""

    search: Search
    usable: tuple[bool, ...]
    pictures: list[PicturePlace]
    step: CapturedStep


class GraphFinder:
    """A :class:`trackers.finding.Finder` that leaves all to the device; arguments as of ``SiameseTracker``.

    Attributes:
        buffer: where the pictures go.
    """

    def __init__(
        self,
        network: SiameseNetwork,
        config: SiameseTrackerConfig,
        fusion: FeatureFusion,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network = network
        self._config = config
        self._fusion = fusion
        self._device = device
        self._dtype = dtype
        self.buffer = FrameBuffer(device)
        self._steps: OrderedDict[StepShape, CapturedStep] = OrderedDict()
        self._pending: _Pending | None = None
        self._may_capture = True

    @property
    def captured(self) -> int:
        """How many shapes of a search run as graphs by now."""
        return sum(step.is_captured for step in self._steps.values())

    def begin(self, search: Search, usable: tuple[bool, ...]) -> None:
        """Put the search to the device and return while it works."""
        self._pending = None
        with torch.inference_mode(), _on(self._device):
            self._start(search, usable, self.buffer.load(search.images))

    def find(self, search: Search, usable: tuple[bool, ...]) -> Finding:
        """What is found; searched again where other modalities can be used than was thought."""
        if self._pending is None or self._pending.search is not search:
            self.begin(search, usable)
        pending = self._pending
        assert pending is not None
        with torch.inference_mode(), _on(self._device):
            if pending.usable != usable:
                pending = self._start(search, usable, pending.pictures)
            self._pending = None
            return pending.step.finding(usable)

    def _start(self, search: Search, usable: tuple[bool, ...], pictures: list[PicturePlace]) -> _Pending:
        is_gated = self._fusion == "gate" and not all(usable)
        shape = StepShape(
            targets=len(search.memories),
            modalities=len(search.images),
            only=usable.index(True) if is_gated else None,
            with_looks=search.with_looks,
        )
        step = self._step(shape)
        step.start(step.step.numbers(search, pictures, usable), search.memories)
        if self._device.type == "cuda" and not step.may_capture:
            # What fails once fails for other shapes as well, and PyTorch's memory is not ready for captures then.
            self._may_capture = False
        self._pending = _Pending(search, usable, pictures, step)
        return self._pending

    def _step(self, shape: StepShape) -> CapturedStep:
        step = self._steps.get(shape)
        # Larger pictures are in another buffer than the one a graph reads.
        if step is None or step.frames is not self.buffer.frames:
            search = SearchStep(self._network, self._config, self._fusion, shape, self._dtype)
            step = CapturedStep(search, self.buffer.frames, may_capture=self._may_capture)
            self._steps[shape] = step
        self._steps.move_to_end(shape)
        if len(self._steps) > _KEPT_STEPS:
            self._steps.popitem(last=False)
        return step


def _on(device: torch.device) -> AbstractContextManager[object]:
    # Graphs and streams belong to the current device.
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _same(these: Sequence[Features], those: Sequence[Features]) -> bool:
    return len(these) == len(those) and all(one is other for one, other in zip(these, those, strict=True))


def _copied(values: Features, places: Features) -> Features:
    """The values, in the places of earlier ones, which a graph knows."""
    if not places:
        return tuple(value.clone() for value in values)
    for place, value in zip(places, values, strict=True):
        place.copy_(value)
    return places
