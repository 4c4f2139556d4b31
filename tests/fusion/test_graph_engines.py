"""Every network in every engine gives the picture that torch gives, at sizes it was not traced at."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fusion.auif import Auif
from fusion.densefuse import DenseFuse
from fusion.didfuse import DidFuse
from fusion.errors import InputError
from fusion.export import export_fuser
from fusion.factory import build_fuser, fusion_graphs
from fusion.fuser import FUSION_MODES, EngineName, method_in_mode
from fusion.graph_engines import GraphEngine
from fusion.graph_method import start_method
from fusion.ifcnn import Ifcnn
from fusion.weight_store import find_weights
from tests.fusion.small_networks import small_nestfuse

pytest.importorskip("onnx")

CPU = torch.device("cpu")
ALLOWED_GREY_LEVELS = 1e-4 * 255
NETWORKS: dict[str, type[nn.Module]] = {"auif": Auif, "didfuse": DidFuse, "densefuse": DenseFuse, "ifcnn": Ifcnn}
MODES = [(method, mode) for method, modes in FUSION_MODES.items() for mode in modes]

needs_onnxruntime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed"
)
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
ENGINES = [pytest.param("onnx", marks=needs_onnxruntime), pytest.param("openvino", marks=needs_openvino)]


def pair(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    generator = np.random.default_rng(seed)
    coarse = (generator.integers(0, 256, (5, 6), dtype=np.uint8) for _ in range(2))
    first, second = (cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in coarse)
    return first, second


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for name, build in {**NETWORKS, "nestfuse": lambda: small_nestfuse(3)}.items():
        torch.manual_seed(3)
        paths[name] = folder / f"{name}.pt"
        torch.save(build().state_dict(), paths[name])
    return paths


def check(name: str, engine: str, weights: Path, sizes: tuple[tuple[int, int], ...], **attention: str) -> None:
    fusers = [
        build_fuser(name, weights=weights, range_name="fixed", engine=chosen, **attention)  # type: ignore[arg-type]
        for chosen in ("torch", engine)
    ]
    for seed, size in enumerate(sizes):
        visible, thermal = pair(*size, seed=seed)
        expected, got = (fuser._method.fuse_luma(visible, thermal) for fuser in fusers)  # type: ignore[attr-defined]
        assert got.shape == size
        assert got.dtype == np.float32
        assert float(np.abs(expected - got).max()) <= ALLOWED_GREY_LEVELS
        assert np.ptp(expected) > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pooling", ["avg", "max", "nuclear"])
@pytest.mark.parametrize("spatial", ["softmax", "l1"])
def test_nestfuse_with_every_attention(engine: str, pooling: str, spatial: str, files: dict[str, Path]) -> None:
    sizes = ((48, 64), (33, 47), (16, 16), (50, 31))
    check("nestfuse", engine, files["nestfuse"], sizes, pooling=pooling, spatial=spatial)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("method", "mode"), MODES)
def test_every_mode_of_the_other_networks(engine: str, method: str, mode: str, files: dict[str, Path]) -> None:
    if method == "auif" and (engine, mode) not in (("onnx", "l1"), ("openvino", "sum")):
        pytest.skip("its graph takes seconds to make, and how layers are combined is checked with didfuse")
    smallest = {"auif": (10, 11), "didfuse": (2, 3), "densefuse": (2, 3), "ifcnn": (1, 2)}[method]
    check(method_in_mode(method, mode), engine, files[method], ((24, 32), (33, 19), smallest))


@needs_openvino
def test_half_the_bits_in_the_decoder_alone_stay_near() -> None:
    path = find_weights("nestfuse-lite")
    assert path is not None
    visible, thermal = pair(60, 81)
    exact, halved = (
        build_fuser("nestfuse-lite", range_name="fixed", engine=engine, gray=True)(visible, thermal).astype(int)
        for engine in ("torch", "openvino-bf16")
    )
    assert 0 < np.abs(exact - halved).mean() < 1


@needs_openvino
def test_half_the_bits_are_for_decoders_of_features_alone(files: dict[str, Path]) -> None:
    visible, thermal = pair(20, 31)
    whole, halved = (
        build_fuser("didfuse", weights=files["didfuse"], engine=engine)(visible, thermal)
        for engine in ("openvino", "openvino-bf16")
    )
    assert np.array_equal(whole, halved)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pooling", ["avg", "nuclear", "nuclear-fast"])
def test_large_pictures_go_through_in_strips(engine: str, pooling: str, files: dict[str, Path]) -> None:
    visible, thermal = pair(150, 71)
    expected, got = (
        build_fuser(
            "nestfuse",
            weights=files["nestfuse"],
            pooling=pooling,  # type: ignore[arg-type]
            range_name="fixed",
            engine=engine,
            strip_px=pixels,
        )(visible, thermal).astype(int)
        for pixels in (11_000, 4_000)
    )
    assert np.abs(expected - got).max() <= 1


@pytest.mark.parametrize("engine", ["onnx", "openvino", "openvino-bf16"])
def test_methods_without_a_network_need_no_engine(engine: EngineName) -> None:
    visible, thermal = pair(8, 9)
    expected, got = (build_fuser("average", engine=chosen)(visible, thermal) for chosen in ("torch", engine))
    assert np.array_equal(expected, got)


@pytest.mark.parametrize(("engine", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named(
    engine: str, package: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"--engine {engine} needs the package {package}: pip install"):
        build_fuser("ifcnn", weights=files["ifcnn"], engine=engine)


@needs_onnxruntime
def test_a_device_that_an_engine_cannot_use_is_refused(files: dict[str, Path]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    graphs, _ = fusion_graphs("ifcnn", files["ifcnn"])
    with pytest.raises(InputError, match="--engine onnx --device cuda"):
        start_method(graphs, GraphEngine("onnx", torch.device("cuda")))


@needs_onnxruntime
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"name": "nestfuse", "pooling": "max", "spatial": "l1"}, ["nestfuse-max-l1.onnx"]),
        (
            {"name": "nestfuse", "pooling": "nuclear"},
            ["nestfuse-nuclear.encoder.onnx", "nestfuse-nuclear.decoder.onnx"],
        ),
        ({"name": "didfuse", "mode": "l1"}, ["didfuse-l1.onnx"]),
    ],
)
def test_every_form_is_exported_under_its_name(
    arguments: dict[str, str], names: list[str], files: dict[str, Path], tmp_path: Path
) -> None:
    report = export_fuser(out=tmp_path, weights=files[arguments["name"]], **arguments)  # type: ignore[arg-type]
    assert [path.name for path in report.paths] == names
    assert all(path.stat().st_size for path in report.paths)
    assert report.largest_difference <= ALLOWED_GREY_LEVELS


@needs_openvino
def test_ctrl_c_is_heard_after_another_thread_has_dropped_a_fuser() -> None:
    code = """if True:
        import gc, os, signal, sys, threading, time
        import numpy as np
        from fusion.factory import build_fuser
        fusers = [build_fuser("nestfuse-lite", engine="openvino")]
        fusers[0](np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))
        worker = threading.Thread(target=lambda: (fusers.clear(), gc.collect()))
        worker.start()
        worker.join()
        signal.signal(signal.SIGINT, lambda number, frame: sys.exit(130))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60, check=False)
    assert done.returncode == 130
