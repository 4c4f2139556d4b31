"""What runs ONNX graphs: onnxruntime, or OpenVINO where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.errors import InputError

GraphEngineName = Literal["onnx", "openvino"]
PrecisionName = Literal["float32", "bfloat16"]

Planes = NDArray[np.float32]

# A video has one size; the strips of a large picture have up to three.
_KEPT_SIZES = 4

# The package of an engine, and what installs it.
_PACKAGES: Mapping[GraphEngineName, tuple[str, str]] = MappingProxyType(
    {
        "onnx": ("onnxruntime", "pip install 'rgbt-stream[cpu]' or, with a GPU, 'rgbt-stream[gpu]'"),
        "openvino": ("openvino", "pip install 'rgbt-stream[openvino]'"),
    }
)


class RunningGraph(Protocol):
    """A graph that is ready to run, one call at a time."""

    def __call__(self, *inputs: Planes) -> Sequence[Planes]:
        """The outputs, which the next call may overwrite, of inputs in the order of the graph."""
        ...

    def fill(self, outputs: Sequence[Planes], *inputs: Planes) -> None:
        """Write the outputs, whose shapes are known, into contiguous arrays."""
        ...


@dataclass(frozen=True, slots=True)
class GraphEngine:
    """What runs graphs, on as many threads as PyTorch uses.

    Attributes:
        name: the engine.
        device: where; OpenVINO runs on the CPU alone.
        last_precision: arithmetic of the part of a network that makes a picture of fused features. There, bfloat16
            costs a tenth of a grey level; before, it would cost more, since the attention turns small differences into
            choices. onnxruntime has float32 alone.
    """

    name: GraphEngineName
    device: torch.device
    last_precision: PrecisionName = "float32"

    def start(self, onnx: bytes, *, last: bool = False) -> RunningGraph:
        """Make a graph ready to run.

        Args:
            onnx: the graph in the ONNX format.
            last: it makes a picture of fused features.

        Raises:
            InputError: the engine is not installed, or cannot use the device.
        """
        precision = self.last_precision if last else "float32"
        return start_graph(onnx, self.name, self.device, precision, fixed_sizes=True)


def start_graph(
    onnx: bytes,
    engine: GraphEngineName,
    device: torch.device,
    precision: PrecisionName = "float32",
    *,
    fixed_sizes: bool = False,
    threads: int | None = None,
) -> RunningGraph:
    """Make a graph ready to run.

    Args:
        onnx: the graph in the ONNX format.
        engine: what runs it.
        device: where; OpenVINO runs on the CPU alone.
        precision: of the arithmetic; onnxruntime has float32 alone.
        fixed_sizes: make a form of the graph for each size of input, as it comes, where the engine is then faster.
        threads: that share an operation; None takes as many as PyTorch. With one, onnxruntime can be called from
            several threads at once.

    Raises:
        InputError: the engine is not installed, or cannot use the device.
    """
    threads = threads or torch.get_num_threads()
    match engine:
        case "onnx":
            return _OnnxRuntimeGraph(onnx, device, threads)
        case "openvino":
            return _OpenVinoGraph(onnx, device, precision, threads, fixed_sizes=fixed_sizes)


def missing_package(engine: GraphEngineName) -> str | None:
    """The package that an engine needs, where it is not installed."""
    package, _ = _PACKAGES[engine]
    return package if importlib.util.find_spec(package) is None else None


class _OnnxRuntimeGraph:
    def __init__(self, onnx: bytes, device: torch.device, threads: int) -> None:
        runtime = _package("onnx")
        providers = ["CPUExecutionProvider"]
        if device.type == "cuda":
            if "CUDAExecutionProvider" not in runtime.get_available_providers():
                raise InputError(
                    "--engine onnx --device cuda: this onnxruntime has no CUDA; choose --device cpu, or replace it: "
                    "pip uninstall onnxruntime && pip install 'rgbt-stream[gpu]'"
                )
            providers.insert(0, "CUDAExecutionProvider")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        # Between two runs others need the processor; by default idle threads would go on asking for work.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Sizes change from run to run, so a plan of the memory would be made for nothing.
        options.enable_mem_pattern = False
        self._session = runtime.InferenceSession(onnx, options, providers=providers)
        self._names = [argument.name for argument in self._session.get_inputs()]

    def __call__(self, *inputs: Planes) -> Sequence[Planes]:
        outputs: Sequence[Planes] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return outputs

    def fill(self, outputs: Sequence[Planes], *inputs: Planes) -> None:
        binding = self._session.io_binding()
        for name, plane in zip(self._names, inputs, strict=True):
            binding.bind_cpu_input(name, plane)
        for output, plane in zip(self._session.get_outputs(), outputs, strict=True):
            binding.bind_output(output.name, "cpu", 0, np.float32, plane.shape, plane.ctypes.data)
        self._session.run_with_iobinding(binding)


@cache
def _openvino_core(openvino: ModuleType) -> Any:
    """One core for the whole process, which never ends.

    Its CPU plugin lends the thread that made it a stack for signals and frees it with itself; ended by another thread,
    it would leave a Ctrl-C to crash the program.
    """
    return openvino.Core()


class _OpenVinoGraph:
    def __init__(
        self, onnx: bytes, device: torch.device, precision: PrecisionName, threads: int, *, fixed_sizes: bool
    ) -> None:
        openvino = _package("openvino")
        if device.type != "cpu":
            raise InputError(f"--engine openvino --device {device}: OpenVINO runs on the CPU here; choose --device cpu")
        self._core = _openvino_core(openvino)
        self._model = self._core.read_model(onnx)
        self._options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._fixed_sizes = fixed_sizes
        self._requests: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()

    def __call__(self, *inputs: Planes) -> Sequence[Planes]:
        key = tuple(plane.shape for plane in inputs) if self._fixed_sizes else ()
        request = self._requests.get(key) or self._start(key)
        self._requests.move_to_end(key)
        results = request.infer(list(inputs), share_inputs=True, share_outputs=True)
        return [results[index] for index in range(len(results))]

    def fill(self, outputs: Sequence[Planes], *inputs: Planes) -> None:
        for plane, output in zip(outputs, self(*inputs), strict=True):
            np.copyto(plane, output)

    def _start(self, sizes: tuple[tuple[int, ...], ...]) -> Any:
        model = self._model.clone()
        if sizes:
            model.reshape({index: list(size) for index, size in enumerate(sizes)})
        request = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        self._requests[sizes] = request
        if len(self._requests) > _KEPT_SIZES:
            self._requests.popitem(last=False)
        return request


def _package(engine: GraphEngineName) -> Any:
    name, remedy = _PACKAGES[engine]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"--engine {engine} needs the package {name}: {remedy}") from error
