"""The fast forms of FMI and VIF against their definitions written out plainly, on generated pictures."""

import cv2
import numpy as np
import pytest
import pywt
import scipy.fft
from scipy import ndimage

from fusion.metrics import feature_information, fidelity
from fusion.metrics.feature_information import fmi_dct, fmi_w, meyer_wavelet
from fusion.metrics.fidelity import vif_paper, vif_standard


def pictures(shape: tuple[int, int]) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    planes = []
    for _ in range(2):
        rough = cv2.GaussianBlur(generator.normal(size=shape), (0, 0), 2.0)
        planes.append(np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8))
    mixed = (planes[0].astype(float) * 0.7 + planes[1] * 0.3 + generator.normal(scale=2, size=shape)).round()
    return [*planes, mixed.clip(0, 255).astype(np.uint8)]


def plain_window_similarity(source: np.ndarray, fused: np.ndarray) -> float:
    """One 3 x 3 window by the nine steps of the definition, loops and all."""
    if np.array_equal(source, fused):
        return 1.0
    shares = []
    for window in (fused, source):
        vector = window.ravel(order="F")
        constant = vector.max() == vector.min()
        weight = np.ones(9) if constant else (vector - vector.min()) / (vector.max() - vector.min())
        shares.append(weight / weight.sum())
    p, q = shares
    P, Q = np.append(0, np.cumsum(p)), np.append(0, np.cumsum(q))
    k = np.arange(1, 10)
    c = 0.0 if np.ptp(p) == 0 or np.ptp(q) == 0 else np.corrcoef(p, q)[0, 1]
    sp, sq = (np.sqrt(max((k**2 * x).sum() - (k * x).sum() ** 2, 0)) for x in (p, q))
    bound = np.array([[min(u, v) if c >= 0 else max(u + v - 1, 0.0) for v in Q] for u in P])
    phi = 0.0
    if c != 0 and sp != 0 and sq != 0:
        phi = c * sp * sq / (bound - np.outer(P, Q))[1:, 1:].sum()
    joint = phi * np.diff(np.diff(bound, axis=0), axis=1) + (1 - phi) * np.outer(p, q)
    joint_entropy = -sum(x * np.log2(abs(x)) for x in joint.ravel() if x != 0)
    hp, hq = (-sum(y * np.log2(y) for y in x if y > 0) for x in (p, q))
    information = hp + hq - joint_entropy
    return 0.0 if information == 0 else 2 * information / (hp + hq)


def plain_fmi(ir: np.ndarray, visible: np.ndarray, fused: np.ndarray) -> float:
    scores = [
        plain_window_similarity(s[i : i + 3, j : j + 3], fused[i : i + 3, j : j + 3])
        for s in (ir, visible)
        for i in range(fused.shape[0] - 2)
        for j in range(fused.shape[1] - 2)
    ]
    return float(np.mean(scores))


def test_fmi_of_dct_features_is_the_definition() -> None:
    sources = pictures((24, 31))
    expected = plain_fmi(*(scipy.fft.dctn(p.astype(float), norm="ortho") for p in sources))
    assert fmi_dct(*sources) == pytest.approx(expected, rel=1e-11)


def test_fmi_of_wavelet_features_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_information, "_BATCH", 50)  # several parts a row
    sources = pictures((6, 9))
    tiled = []
    for picture in sources:
        low, (horizontal, vertical, diagonal) = pywt.dwt2(picture.astype(float), meyer_wavelet(), "symmetric")
        assert low.shape == ((6 + 101) // 2, (9 + 101) // 2)
        tiled.append(np.block([[low, horizontal], [vertical, diagonal]]))
    assert fmi_w(*sources) == pytest.approx(plain_fmi(*tiled), rel=1e-9)


def test_meyer_filters_are_orthonormal_and_halve_the_band() -> None:
    wavelet = meyer_wavelet()
    low, high = np.array(wavelet.rec_lo), np.array(wavelet.rec_hi)
    assert len(low) == len(high) == 102
    assert low.sum() == pytest.approx(np.sqrt(2), rel=1e-14)
    assert abs(high.sum()) < 1e-5
    for shift in range(0, 100, 2):
        expected = 1.0 if shift == 0 else 0.0
        assert low[shift:] @ low[: 102 - shift] == pytest.approx(expected, abs=1e-5)
        assert high[shift:] @ low[: 102 - shift] == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(low[:101], low[100::-1], atol=1e-15)  # symmetric about the centre tap


def test_the_library_s_own_meyer_filter_would_not_do() -> None:
    assert pywt.Wavelet("dmey").dec_len == 62


def plain_bands(picture: np.ndarray) -> list[list[np.ndarray]]:
    filters = fidelity._filters()
    low = ndimage.correlate(picture / 255.0, filters["low_initial"], mode="mirror")
    levels = []
    for _ in range(4):
        bands = [ndimage.correlate(low, filters[f"band_{k}"], mode="mirror") for k in (0, 3)]
        levels.append([b[: b.shape[0] // 3 * 3, : b.shape[1] // 3 * 3] for b in bands])
        low = ndimage.correlate(low, filters["low"], mode="mirror")[::2, ::2]
    return levels


def plain_vector_fidelity(reference: np.ndarray, fused: np.ndarray) -> float:
    kept = present = 0.0
    for level, (ys, zs) in enumerate(zip(plain_bands(reference), plain_bands(fused), strict=True), start=1):
        W = 2 ** (5 - level) + 1
        K = W * W
        off = int(np.ceil((W - 1) / 2 / 3))
        for y, z in zip(ys, zs, strict=True):

            def total(plane: np.ndarray, W: int = W) -> np.ndarray:
                return ndimage.correlate(plane, np.ones((W, W)), mode="mirror")[1::3, 1::3]

            my, mz = total(y) / K, total(z) / K
            cyz, vy, vz = (
                total(y * z) - K * my * mz,
                total(y * y) - K * my**2,
                total(z * z) - K * mz**2,
            )
            g = cyz / (vy + 1e-15)
            v = (vz - g * cyz) / K
            v = np.where(g < 0, vz, v)
            g = np.maximum(g, 0)
            windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3))
            C = np.cov(windows.reshape(-1, 9).T, bias=True)
            patches = windows[::3, ::3].reshape(*g.shape, 9)
            s = np.einsum("hwi,ij,hwj->hw", patches, np.linalg.inv(C), patches) / 9
            inside = np.s_[off:-off, off:-off]
            for variance in np.linalg.eigvalsh(C):
                signal = s[inside] * variance
                kept += np.log2(1 + g[inside] ** 2 * signal / (v[inside] + 0.4)).sum()
                present += np.log2(1 + signal / 0.4).sum()
    return kept / present


def test_paper_fidelity_is_the_definition() -> None:
    ir, visible, fused = pictures((90, 101))
    expected = (plain_vector_fidelity(ir, fused) + plain_vector_fidelity(visible, fused)) / 2
    assert vif_paper(ir, visible, fused) == pytest.approx(expected, rel=1e-9)


def plain_pixel_fidelity(reference: np.ndarray, fused: np.ndarray) -> float:
    x, y = reference.astype(float), fused.astype(float)
    kept = present = 0.0
    for size in (17, 9, 5, 3):
        grid = np.arange(size) - size // 2
        window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * (size / 5) ** 2))
        window /= window.sum()

        def mean(plane: np.ndarray, window: np.ndarray = window, size: int = size) -> np.ndarray:
            half = size // 2
            return ndimage.correlate(plane, window)[half:-half, half:-half]

        if size < 17:
            x, y = mean(x)[::2, ::2], mean(y)[::2, ::2]
        vx, vy = (np.maximum(mean(p * p) - mean(p) ** 2, 0) for p in (x, y))
        cxy = mean(x * y) - mean(x) * mean(y)
        g = cxy / (vx + 1e-10)
        sv = np.maximum(np.where(g < 0, vy, vy - g * cxy), 1e-10)
        g = np.maximum(g, 0)
        kept += np.log10(1 + g**2 * vx / (sv + 2)).sum()
        present += np.log10(1 + vx / 2).sum()
    return kept / present


def test_standard_fidelity_is_the_definition() -> None:
    ir, visible, fused = pictures((66, 79))
    expected = (plain_pixel_fidelity(ir, fused) + plain_pixel_fidelity(visible, fused)) / 2
    assert vif_standard(ir, visible, fused) == pytest.approx(expected, rel=1e-9)


def test_more_contrast_may_raise_fidelity_above_one_and_blur_lowers_it() -> None:
    source = pictures((96, 96))[0]
    soft = (source // 2 + 64).astype(np.uint8)
    blurred = cv2.GaussianBlur(source, (0, 0), 3)
    for vif in (vif_paper, vif_standard):
        assert vif(soft, soft, source) > 1.1
        assert vif(source, source, soft) < 1.0
        assert vif(source, source, blurred) < vif(source, source, source)
