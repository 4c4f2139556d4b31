"""Looks at the machine: what of the product works here, what is missing, and how to get it."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

# isort: split
import av
import numpy as np


class Verdict(StrEnum):
    """How much a finding matters."""

    WORKS = "ok"
    ABSENT = "absent"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        verdict: works; absent but needed only for something special; broken: the product does not run without it.
        detail: what was seen.
        remedy: how to get it, empty when it works.
    """

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, one finding after another; nothing is changed on the machine."""
    yield _python()
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("torch", _torch),
        ("CUDA", _cuda),
        ("onnxruntime", _onnxruntime),
        ("OpenVINO", _openvino),
        ("H.264 recording", lambda: _codec("libx264", "yuv420p", "H.264 recording")),
        ("FFV1 16-bit thermal", lambda: _codec("ffv1", "gray16le", "FFV1 16-bit thermal")),
        ("weights", _weights),
        ("cameras", _cameras),
        ("window", _window),
    )
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # whatever a broken installation throws is a finding
            yield Finding(
                name=name,
                verdict=Verdict.BROKEN,
                detail=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
                remedy="run 'make venv' in the checkout, or reinstall with constraints.txt",
            )


def _python() -> Finding:
    right = sys.version_info >= (3, 11)
    return Finding(
        name="Python",
        verdict=Verdict.WORKS if right else Verdict.BROKEN,
        detail=f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        remedy="" if right else "install Python 3.11 or newer",
    )


def _torch() -> Finding:
    import torch

    value = torch.nn.functional.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)).sum().item()
    if value != 36.0:
        return Finding(
            name="torch",
            verdict=Verdict.BROKEN,
            detail=f"a convolution gives {value} instead of 36",
            remedy="reinstall torch with constraints.txt",
        )
    return Finding(
        name="torch",
        verdict=Verdict.WORKS,
        detail=f"{torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
    )


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding(name="CUDA", verdict=Verdict.WORKS, detail=torch.cuda.get_device_name(0))
    built = torch.version.cuda
    return Finding(
        name="CUDA",
        verdict=Verdict.ABSENT,
        detail="no usable GPU" if built else "torch was built without CUDA",
        remedy="not needed; for a GPU install torch with CUDA and use --device cuda",
    )


def _onnxruntime() -> Finding:
    remedy = "for --engine onnx: pip install 'rgbt-stream[cpu]' or, with a GPU, 'rgbt-stream[gpu]' (never both)"
    return _extra("onnxruntime", "onnxruntime", remedy, lambda runtime: ", ".join(runtime.get_available_providers()))


def _openvino() -> Finding:
    return _extra(
        "OpenVINO", "openvino", "for --engine openvino, the fastest on a CPU: pip install 'rgbt-stream[openvino]'"
    )


def _extra(name: str, package: str, remedy: str, describe: Callable[[Any], str] | None = None) -> Finding:
    """Whether an optional package is there, in which version, and what it says of itself."""
    if importlib.util.find_spec(package) is None:
        return Finding(name=name, verdict=Verdict.ABSENT, detail="not installed", remedy=remedy)
    module: Any = importlib.import_module(package)
    detail = str(module.__version__) if describe is None else f"{module.__version__}: {describe(module)}"
    return Finding(name=name, verdict=Verdict.WORKS, detail=detail)


def _codec(encoder: str, pixel_format: str, name: str) -> Finding:
    """Encode three pictures in memory and decode them again."""
    if encoder not in av.codecs_available:
        return Finding(
            name=name,
            verdict=Verdict.BROKEN,
            detail=f"the av package has no {encoder}",
            remedy="install av from PyPI (pip install av): its wheels carry FFmpeg",
        )
    buffer = io.BytesIO()
    container: Any
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for level in (10, 100, 200):
            picture = np.full((48, 64), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pixel_format)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        count = sum(1 for _ in container.decode(video=0))
    version = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return Finding(
        name=name,
        verdict=Verdict.WORKS if count == 3 else Verdict.BROKEN,
        detail=f"av {av.__version__}, libavcodec {version}: {count} of 3 pictures came back",
        remedy="" if count == 3 else "reinstall av with constraints.txt",
    )


def _weights() -> Finding:
    folder = Path(str(importlib.import_module("weights").__file__)).parent
    files = sorted(folder.glob("*.safetensors"))
    return Finding(
        name="weights",
        verdict=Verdict.WORKS if files else Verdict.BROKEN,
        detail=", ".join(file.stem for file in files) or "none are shipped here",
        remedy="" if files else "install from a complete checkout",
    )


def _cameras() -> Finding:
    devices = sorted(Path("/dev").glob("video*")) if Path("/dev").is_dir() else []
    readable = [str(device) for device in devices if os.access(device, os.R_OK)]
    if readable:
        return Finding(name="cameras", verdict=Verdict.WORKS, detail=", ".join(readable))
    if devices:
        return Finding(
            name="cameras",
            verdict=Verdict.ABSENT,
            detail=f"{len(devices)} devices, none may be read",
            remedy="join the group that owns them (often: sudo usermod -aG video $USER) and log in again",
        )
    return Finding(
        name="cameras",
        verdict=Verdict.ABSENT,
        detail="no /dev/video* device",
        remedy="only needed for cameras at this machine; files, folders and rtsp:// work without",
    )


def _window() -> Finding:
    """Whether a desktop window can be had."""
    has_toolkit = importlib.util.find_spec("_tkinter") is not None
    display = os.environ.get("DISPLAY")
    if has_toolkit and display:
        return Finding(name="window", verdict=Verdict.WORKS, detail=f"display {display}")
    return Finding(
        name="window",
        verdict=Verdict.ABSENT,
        detail="no display" if has_toolkit else "this Python was built without tkinter",
        remedy="watch the page (--web) or fused.mp4; --window needs a display and tkinter (Debian: python3-tk)",
    )
