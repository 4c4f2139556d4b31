"""Scores against the published evaluation code's values, and the properties any such score must have."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.metrics import structural_similarity

from fusion.errors import InputError
from fusion.metrics import METRIC_NAMES, score_conventions, score_picture
from fusion.metrics.information import entropy, mutual_information_standard, standard_deviation_standard
from fusion.metrics.structure import ssima_standard

SHARED = Path(__file__).parents[4] / "shared"
GOLDEN_FILE = SHARED / "metrics" / "golden.json"
needs_golden = pytest.mark.skipif(not GOLDEN_FILE.is_file(), reason="reference values are not at hand")
GOLDEN_KEYS = {"paper": "paper", "standard": "std"}
TOLERANCE = {"En": 1e-12, "SD": 1e-12, "MI": 1e-12}


def golden() -> dict[str, Any]:
    return json.loads(GOLDEN_FILE.read_text())


def read_grey(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    assert picture.ndim == 2
    return picture


def scene(seed: int, shape: tuple[int, int] = (72, 80)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(generator.normal(size=shape), (0, 0), 2.0)
    fine = generator.normal(scale=0.05, size=shape)
    levels = rough / rough.std() + fine
    return np.clip(128 + 50 * levels, 0, 255).astype(np.uint8)


@needs_golden
@pytest.mark.parametrize("convention", ["paper", "standard"])
@pytest.mark.parametrize("name", ["t1_pair1_nestfuse_avg", "t2_pair8_mean"])
def test_scores_equal_the_published_code(name: str, convention: Any) -> None:
    triple = golden()["triples"][name]
    pictures = [read_grey(GOLDEN_FILE.parent / triple["files"][key]) for key in ("ir", "vis", "fused")]
    scores = score_picture(*pictures, convention)
    assert tuple(scores) == METRIC_NAMES
    for metric, expected in triple[GOLDEN_KEYS[convention]].items():
        assert scores[metric] == pytest.approx(expected, rel=TOLERANCE.get(metric, 1e-9)), metric


@needs_golden
@pytest.mark.parametrize("name", ["t1_pair1_nestfuse_avg", "t2_pair8_mean"])
def test_scores_bear_no_signature_of_a_common_mistake(name: str) -> None:
    triple = golden()["triples"][name]
    pictures = [read_grey(GOLDEN_FILE.parent / triple["files"][key]) for key in ("ir", "vis", "fused")]
    scores = score_picture(*pictures, "paper")
    for signature, wrong in triple["mistake_signatures"].items():
        if signature == "FMI_w.no_rerange":  # no mistake: the rescaling it leaves out has no effect
            continue
        metric = signature.split(".")[0]
        for affected in ("FMI_dct", "FMI_w") if metric == "FMI" else (metric,):
            assert scores[affected] != pytest.approx(wrong, rel=3e-6), signature


@needs_golden
@pytest.mark.slow
@pytest.mark.timeout(900)  # 25 s of one core, which may be a busy one
def test_published_pictures_give_the_printed_row_of_table_five() -> None:
    row = golden()["table_v_row_vggml"]
    per_image: dict[str, list[float]] = {name: [] for name in METRIC_NAMES}
    for number in range(1, row["pairs"] + 1):
        ir, visible = (
            read_grey(SHARED / "data" / "stills" / "tno21" / f"{kind}{number}.png") for kind in ("IR", "VIS")
        )
        fused = read_grey(SHARED / "metrics" / "vggml21" / f"{number}.png")
        for metric, value in score_picture(ir, visible, fused, "paper").items():
            per_image[metric].append(value)
    printed = golden()["printed_table_v"]["VggML"]
    for metric in METRIC_NAMES:
        np.testing.assert_allclose(per_image[metric], row["per_image"][metric], rtol=1e-7, err_msg=metric)
        assert f"{np.mean(per_image[metric]):.5f}" == f"{printed[metric]:.5f}", metric


@pytest.mark.parametrize("convention", ["paper", "standard"])
def test_a_picture_fused_with_itself_loses_nothing(convention: Any) -> None:
    picture = scene(1)
    scores = score_picture(picture, picture, picture, convention)
    assert scores["MI"] == pytest.approx(2 * scores["En"])
    for metric in ("FMI_dct", "FMI_w", "SSIMa", "VIF"):
        assert scores[metric] == pytest.approx(1.0, abs=1e-9), metric


@pytest.mark.parametrize("convention", ["paper", "standard"])
def test_the_order_of_the_sources_does_not_matter(convention: Any) -> None:
    ir, visible, fused = scene(1), scene(2), scene(3)
    forward, backward = (
        score_picture(ir, visible, fused, convention),
        score_picture(visible, ir, fused, convention),
    )
    assert forward == pytest.approx(backward, rel=1e-12)


@pytest.mark.parametrize("convention", ["paper", "standard"])
def test_constant_pictures_give_finite_scores(convention: Any) -> None:
    flat = np.full((65, 65), 90, np.uint8)
    for pictures in ((flat, flat, flat), (flat, scene(1, (65, 65)), flat), (scene(1, (65, 65)), flat, flat)):
        scores = score_picture(*pictures, convention)
        assert all(np.isfinite(value) for value in scores.values()), scores
        assert scores["En"] == 0.0
        assert scores["SD"] == 0.0


def test_a_better_picture_scores_higher() -> None:
    ir, visible = scene(1), scene(2)
    mean = ((ir.astype(np.uint16) + visible + 1) // 2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, ir.shape).astype(np.uint8)
    both = [score_conventions(ir, visible, fused, ("paper", "standard")) for fused in (mean, noise)]
    for convention in ("paper", "standard"):
        good, bad = (scores[convention] for scores in both)
        for metric in ("FMI_dct", "FMI_w", "SSIMa", "VIF"):
            assert good[metric] > bad[metric], (convention, metric)


def test_computing_both_conventions_at_once_changes_nothing() -> None:
    ir, visible, fused = scene(4), scene(5), scene(6)
    both = score_conventions(ir, visible, fused, ("paper", "standard"))
    assert both["paper"] == score_picture(ir, visible, fused)
    assert both["standard"] == score_picture(ir, visible, fused, "standard")


def test_paper_deviation_grows_with_the_picture_where_the_standard_one_does_not() -> None:
    small = scene(1, (70, 70))
    large = np.tile(small, (2, 2))
    scores = [score_conventions(p, p, p, ("paper", "standard")) for p in (small, large)]
    assert scores[1]["standard"]["SD"] == pytest.approx(scores[0]["standard"]["SD"])
    assert scores[1]["paper"]["SD"] == pytest.approx(2 * scores[0]["paper"]["SD"])


def test_standard_structure_equals_the_library() -> None:
    ir, visible, fused = scene(1), scene(2), scene(3)
    expected = np.mean(
        [
            structural_similarity(
                source, fused, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for source in (ir, visible)
        ]
    )
    assert ssima_standard(ir, visible, fused) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        ((scene(1), scene(2)[:, :-1], scene(3)), "visible picture is 79x72 but the fused picture is 80x72"),
        ((scene(1).astype(np.float32), scene(2), scene(3)), "infrared picture must be .* uint8"),
        ((np.dstack([scene(3)] * 3), scene(2), scene(3)), "infrared picture must be"),
        ((scene(1, (64, 90)), scene(2, (64, 90)), scene(3, (64, 90))), "90x64 are too small.* 65 pixels"),
    ],
)
def test_pictures_that_cannot_be_measured_are_refused(pictures: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        score_picture(*pictures)


pixels = arrays.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@given(pixels, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_histogram_scores_know_nothing_of_places(picture: np.ndarray, random: Any) -> None:
    order = list(range(picture.size))
    random.shuffle(order)
    shuffled = picture.ravel()[order].reshape(picture.shape)
    assert 0 <= entropy(picture) <= 8
    assert entropy(shuffled) == entropy(picture)
    assert 0 <= standard_deviation_standard(picture) <= 127.5
    assert standard_deviation_standard(shuffled) == pytest.approx(standard_deviation_standard(picture))
    source = picture[::-1]
    assert mutual_information_standard(source.ravel()[order], source.ravel()[order], shuffled.ravel()) == pytest.approx(
        mutual_information_standard(source, source, picture), abs=1e-9
    )


@given(pixels)
@settings(deadline=None)
def test_information_shared_with_itself_is_the_entropy(picture: np.ndarray) -> None:
    constant = np.zeros_like(picture)
    assert mutual_information_standard(picture, constant, picture) == pytest.approx(entropy(picture), abs=1e-9)
    inverted = 255 - picture
    assert mutual_information_standard(inverted, constant, picture) == pytest.approx(entropy(picture), abs=1e-9)
