"""PyTorch modules in the ONNX format."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fusion.errors import InputError

OPSET = 17


def write_onnx(
    module: nn.Module,
    examples: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    free_sides: Mapping[str, Mapping[int, str]],
) -> bytes:
    """A module of tensors, traced, in the ONNX format.

    Args:
        module: in evaluation mode.
        examples: tensors to trace it with.
        inputs: names of what it takes.
        outputs: names of what it gives.
        free_sides: for inputs and outputs the dimensions whose size is left open, each with a name of its size.

    Raises:
        InputError: the package onnx is missing.
    """
    try:
        import onnx  # noqa: F401 - torch needs it to write
    except ImportError as error:
        raise InputError("making ONNX graphs needs the package onnx: pip install 'rgbt-stream[export]'") from error
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter by tracing is deprecated, but leaves sides free at no cost where the other one fixes them. It
        # also warns of every side that becomes a constant, which is meant.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(examples),
            buffer,  # type: ignore[arg-type]  # a file-like object is what the tracing exporter takes
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(sides) for name, sides in free_sides.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()
