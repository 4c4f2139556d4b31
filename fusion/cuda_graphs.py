"""Work of a GPU recorded once and replayed: a CUDA graph starts all of its operations by one call.

Networks of many small layers otherwise wait for the processor, which takes longer to start an operation than the GPU to
do it. What is recorded reads and writes the same memory in every replay.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Result = TypeVar("Result")

_WARM_UP_RUNS = 3
_KEPT_SIZES = 4
_CALLS_BEFORE_CAPTURE = 1


@dataclass(frozen=True, slots=True)
class Capture(Generic[Result]):
    """A recorded function: :meth:`replay` renews ``result``, which stays where it is."""

    graph: torch.cuda.CUDAGraph
    result: Result

    def replay(self) -> Result:
        """Do the recorded work on the current stream."""
        self.graph.replay()
        return self.result


def capture(run: Callable[[], Result]) -> Capture[Result]:
    """Record what ``run`` does on the current CUDA device; it must not wait for the device.

    Raises:
        RuntimeError: something in it cannot be recorded, or memory is short.
    """
    usual = torch.cuda.current_stream()
    try:
        # What the libraries prepare for a stream, they have to prepare before.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(usual)
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                run()
        usual.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile, as fusion and tracking do side by side.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            result = run()
    finally:
        # A capture that fails leaves its own stream the current one.
        torch.cuda.set_stream(usual)
    return Capture(graph, result)


def captured_if_possible(run: Callable[[], Result], what: str) -> Capture[Result] | None:
    """As :func:`capture`, or None, with a warning that names ``what``, where that fails.

    Then other captures fail too, for PyTorch's memory is not ready for them.
    """
    try:
        return capture(run)
    except RuntimeError as error:
        warnings.warn(
            f"{what} could not be captured as a CUDA graph; it goes on without: {error}", RuntimeWarning, stacklevel=3
        )
        return None


def side_by_side(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of functions that do not need each other, recorded in branches where a graph is captured.

    Small operations leave most of a GPU idle, so the branches take little more time than one of them. Call it for work
    on a CUDA device; where nothing is captured, one comes after the other.
    """
    if not torch.cuda.is_current_stream_capturing():
        return [work() for work in works]
    here = torch.cuda.current_stream()
    first, *others = works
    beside: list[tuple[torch.cuda.Stream, Result]] = []
    # First what happens beside: what it gives back of its memory is not given to it again before all have met.
    for work in others:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            beside.append((stream, work()))
    results = [first()]
    for stream, result in beside:
        here.wait_stream(stream)
        results.append(result)
    return results


class _Size:
    """Buffers and graph for pictures of one size."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.sent = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self.pictures = torch.empty(shape, dtype=torch.uint8, device=device)
        self.received: Tensor | None = None
        self.calls = 0
        self.capture: Capture[Tensor] | None = None


class CapturedPictureFunction:
    """A function of pictures on a GPU, called with arrays; sizes that come again are captured as graphs.

    Where one cannot be captured, the function runs as it is.

    Args:
        function: of (K, 1, H, W) uint8 on ``device``; gives (1, 1, H, W) float32.
        device: a CUDA device.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._sizes: OrderedDict[tuple[int, ...], _Size] = OrderedDict()
        self._may_capture = True

    @property
    def captured(self) -> int:
        """For how many sizes there is a graph now."""
        return sum(size.capture is not None for size in self._sizes.values())

    @torch.inference_mode()
    def __call__(self, *pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The result (H, W) for pictures (H, W)."""
        with torch.cuda.device(self._device):
            size = self._size((len(pictures), 1, *pictures[0].shape))
            for place, picture in zip(size.sent.numpy(), pictures, strict=True):
                np.copyto(place[0], picture)
            size.pictures.copy_(size.sent, non_blocking=True)
            result = self._result(size)
            if size.received is None:
                size.received = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
            size.received.copy_(result, non_blocking=True)
            torch.cuda.current_stream().synchronize()
            return size.received[0, 0].numpy().copy()

    def _result(self, size: _Size) -> Tensor:
        size.calls += 1
        if size.capture is None and self._may_capture and size.calls > _CALLS_BEFORE_CAPTURE:
            size.capture = captured_if_possible(lambda: self._function(size.pictures), "this fusion")
            self._may_capture = size.capture is not None
        return self._function(size.pictures) if size.capture is None else size.capture.replay()

    def _size(self, shape: tuple[int, ...]) -> _Size:
        if shape not in self._sizes:
            self._sizes[shape] = _Size(shape, self._device)
        self._sizes.move_to_end(shape)
        if len(self._sizes) > _KEPT_SIZES:
            self._sizes.popitem(last=False)
        return self._sizes[shape]
