"""Training of the tracker: sources, crops, labels, samples, and a run that survives a kill."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.checkpoints import read_state_dict
from fusion.errors import InputError
from trackers.box import Box
from trackers.networks.lite import LiteConfig
from trackers.training.geometry import CropJitter, box_in_crop, context_size, crop_transform, warp_crop
from trackers.training.labels import ellipse_labels, generalized_iou, head_loss
from trackers.training.loop import TrackerTrainingConfig, TrainingReport, train_tracker
from trackers.training.sampling import PairSampler, SamplingConfig, random_region
from trackers.training.sources import find_training_set
from trackers.training.step import GATED, THERMAL, VISIBLE, choose_modes


def write_picture(path: Path, seed: int, box: tuple[int, int, int, int] | None = None) -> None:
    generator = np.random.default_rng(seed)
    picture = cv2.resize(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8), (160, 120))
    if box is not None:
        x, y, w, h = box
        picture[y : y + h, x : x + w] = (30, 220, 250)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name, channels in (("walk", ("color", "ir")), ("drive", ("color",)), ("heat", ("ir",))):
        lines = []
        for frame in range(1, 5):
            box = (20 + 5 * frame, 30, 24, 36)
            for channel in channels:
                write_picture(root / "sequences" / name / channel / f"{frame:08d}.jpg", frame, box)
            lines.append(",".join(map(str, box)))
        (root / "sequences" / name / "groundtruth.txt").write_text("\n".join(lines))
    for index in range(3):
        write_picture(root / "photos" / "a" / f"{index}.jpg", 10 + index)
        write_picture(root / "stills" / "vis" / f"{index}.jpg", 20 + index)
        write_picture(root / "stills" / "ir" / f"{index}.jpg", 20 + index)
    (root / "photos" / "boxes.json").write_text(json.dumps({"a/1.jpg": [[10, 10, 40, 30, "dog"], [1, 1, 2, 2, "x"]]}))
    return root


def folders(data: Path) -> tuple[Path, ...]:
    return data / "sequences", data / "photos", data / "stills"


def test_folders_are_recognised_by_their_content(data: Path) -> None:
    found = find_training_set(folders(data), left_out=["drive"])
    assert [track.name for track in found.sequences] == ["heat", "walk"]
    assert found.sequences[0].shots[0].visible is None
    assert len(found.boxed) == 1
    assert len(found.boxed[0].boxes) == 1  # the 2 px box is too small to learn from
    assert (len(found.photographs), len(found.registered)) == (2, 3)


def test_boxes_may_begin_with_a_byte_order_mark_but_must_be_text(data: Path, tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    shutil.copytree(data / "sequences" / "walk", walk)
    boxes = walk / "groundtruth.txt"
    boxes.write_text("\ufeff" + boxes.read_text(), encoding="utf-8")
    (walk / "sequence").write_text("\ufeffchannels.ir=ir/%08d.jpg\n", encoding="utf-8")
    shots = find_training_set([tmp_path]).sequences[0].shots
    assert len(shots) == 4
    assert all(shot.visible is None and shot.thermal is not None for shot in shots)
    boxes.write_bytes(b"\xff\xfe1")
    with pytest.raises(InputError, match=r"groundtruth\.txt cannot be read as text"):
        find_training_set([tmp_path])


@pytest.mark.parametrize(("change", "message"), [("missing", "not a folder"), ("empty", "holds neither")])
def test_a_folder_without_data_is_refused(tmp_path: Path, change: str, message: str) -> None:
    folder = tmp_path / "x"
    if change == "empty":
        folder.mkdir()
    with pytest.raises(InputError, match=message):
        find_training_set([folder])


def test_an_unknown_left_out_sequence_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"--left-out nowhere: no such sequence; there are drive, heat, walk"):
        find_training_set(folders(data), left_out=["nowhere"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": 0}, "batch"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"workers": -1}, "workers"),
    ],
)
def test_a_training_of_nothing_is_refused(tmp_path: Path, option: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=f"{message} of a training must be at least"):
        TrackerTrainingConfig(data=(tmp_path,), out=tmp_path, **option)


def test_an_unknown_device_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--device gpu"):
        train_tracker(TrackerTrainingConfig(data=folders(data), out=tmp_path / "out", steps=1, device="gpu"))
    assert not (tmp_path / "out").exists()


boxes = st.builds(Box, *(st.floats(-50, 300) for _ in range(2)), *(st.floats(4, 200) for _ in range(2)))


@given(boxes, st.floats(-64, 64), st.floats(-64, 64), st.floats(0.8, 1.25))
@settings(deadline=None, max_examples=60)
def test_a_crop_shows_the_target_where_it_is_told(box: Box, dx: float, dy: float, scale: float) -> None:
    transform = crop_transform(box, 255, CropJitter(shift_xy=(dx, dy), scale=scale))
    cx, cy, w, h = box_in_crop(box, transform, 255)
    factor = 127 / context_size(box) * scale
    assert (cx, cy) == pytest.approx((dx, dy), abs=1e-6)
    assert (w, h) == pytest.approx((box.w * factor, box.h * factor))


def test_mirror_and_turn_keep_the_target_in_place() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[40:60, 30:50] = 255
    box = Box(30, 40, 20, 20)
    jitter = CropJitter(shift_xy=(30, -20), angle_degrees=90, mirror=True)
    transform = crop_transform(box, 255, jitter)
    crop = warp_crop(picture, transform, 255)[:, :, 0] > 127
    rows, columns = np.nonzero(crop)
    cx, cy, w, h = box_in_crop(box, transform, 255)
    assert (columns.mean() - 127, rows.mean() - 127) == pytest.approx((cx, cy), abs=0.6)
    assert np.ptp(columns) + 1 == pytest.approx(w, abs=1.5)
    assert np.ptp(rows) + 1 == pytest.approx(h, abs=1.5)


@given(st.floats(-90, 90), st.floats(-90, 90), st.floats(5, 200), st.floats(5, 200))
@settings(deadline=None, max_examples=60)
def test_some_place_on_the_target_is_positive_and_far_places_are_negative(
    cx: float, cy: float, w: float, h: float
) -> None:
    labels = ellipse_labels(torch.tensor([[cx, cy, w, h], [cx, cy, 0.0, 0.0]]), 25)
    assert (labels[0] == 1).any()
    assert (labels[1] == 0).all()
    axis = (torch.arange(25) - 12) * 8.0
    outside = ((axis[None, :] - cx).abs() > w / 2 + 8) | ((axis[:, None] - cy).abs() > h / 2 + 8)
    assert (labels[0][outside] == 0).all()


def test_generalized_iou_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [5, 0, 10, 10], [30, 0, 10, 10]])
    iou, giou = generalized_iou(first, second)
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0])
    assert giou.tolist() == pytest.approx([1, 1 / 3, 0 - (400 - 200) / 400])


def test_the_loss_falls_with_the_right_answer() -> None:
    targets = torch.tensor([[8.0, -16.0, 64.0, 64.0]])
    labels = ellipse_labels(targets, 25)
    right = torch.where(labels[:, None] == 1, 6.0, -6.0)
    logits = torch.cat([-right, right], dim=1) / 2
    axis = (torch.arange(25) - 12) * 8.0
    deltas = torch.zeros(1, 4, 25, 25)
    deltas[0, 0], deltas[0, 1] = (8.0 - axis[None, :]) / 64, (-16.0 - axis[:, None]) / 64
    good, bad = head_loss(logits, deltas, targets), head_loss(-logits, -deltas, targets)
    assert good.boxes == pytest.approx(0, abs=1e-5)
    assert good.mean_iou == pytest.approx(1, abs=1e-5)
    assert bad.total > 10 * good.total


def sampler(data: Path, **changes: float) -> PairSampler:
    return PairSampler(find_training_set(folders(data)), SamplingConfig(**changes), seed=5, start=0, count=40)


def test_samples_depend_on_seed_and_number_alone(data: Path) -> None:
    first, again = sampler(data)[7], sampler(data)[7]
    later = PairSampler(find_training_set(folders(data)), SamplingConfig(), seed=5, start=7, count=1)[0]
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(value, later[name])


def test_samples_are_whole_and_honest_about_absence_and_blindness(data: Path) -> None:
    seen = set()
    for index in range(40):
        sample = sampler(data, negative_probability=0.3)[index]
        assert sample["template_visible"].shape == sample["template_thermal"].shape == (127, 127, 3)
        assert sample["search_visible"].shape == sample["search_thermal"].shape == (255, 255, 3)
        assert sample["sees"].any()
        assert np.isfinite(sample["box"]).all()
        seen.add((bool(sample["box"][2] > 0), *sample["sees"].tolist()))
    assert {True, False} == {absent for absent, *_ in seen}
    assert len(seen) >= 4


@given(st.integers(20, 800), st.integers(20, 800), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_random_regions_lie_inside_the_picture(width: int, height: int, seed: int) -> None:
    region = random_region(width, height, np.random.default_rng(seed))
    assert region.x >= 0
    assert region.y >= 0
    assert region.x + region.w <= width
    assert region.y + region.h <= height


def test_a_blinded_eye_is_never_asked_alone() -> None:
    sees = torch.tensor([[False, True], [True, False]]).repeat(100, 1)
    modes = choose_modes(sees, np.random.default_rng(0))
    assert VISIBLE not in modes[0::2]
    assert THERMAL not in modes[1::2]
    assert GATED in modes


def config(data: Path, out: Path, **changes: object) -> TrackerTrainingConfig:
    settings = {
        "data": folders(data),
        "out": out,
        "steps": 4,
        "batch": 4,
        "checkpoint_every": 2,
        "workers": 0,
        "seed": 2,
        "warm_up_steps": 1,
        "network": LiteConfig(channels=16, tower_depth=1),
    }
    return TrackerTrainingConfig(**{**settings, **changes})  # type: ignore[arg-type]


def test_a_killed_run_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole = train_tracker(config(data, tmp_path / "whole"))

    def kill(report: TrainingReport) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tracker(config(data, tmp_path / "killed"), kill)
    with pytest.raises(InputError, match="--resume"):
        train_tracker(config(data, tmp_path / "killed"))
    resumed = train_tracker(config(data, tmp_path / "killed", resume=True))
    expected = read_state_dict(whole)
    for name, value in read_state_dict(resumed).items():
        assert torch.equal(value, expected[name]), name
    with (tmp_path / "killed" / "losses.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert "Sequences trained on (3): drive, heat, walk." in (tmp_path / "killed" / "siamrpn-lite.md").read_text()
    assert (tmp_path / "killed" / "losses.png").stat().st_size > 1000


def test_samples_do_not_depend_on_how_many_pictures_are_kept(data: Path) -> None:
    forgetful, keeping = sampler(data, kept_mb=0.0), sampler(data)
    for index in range(10):
        pairs = zip(forgetful[index].values(), keeping[index].values(), strict=True)
        assert all(np.array_equal(first, second) for first, second in pairs)
