"""Thermal device profiles: counts out of the frames cameras send, and their temperatures."""

from __future__ import annotations

from pathlib import Path

import cv2  # isort: skip  (before av)
import av
import numpy as np
import pytest

from fusion.errors import InputError
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.sources import SourceOptions, open_source
from pipeline.sources.profile import ThermalProfile, read_profile, region_temperature
from tests.pipeline.recordings import write_video
from trackers.box import Box

COUNTS = np.random.default_rng(0).integers(0, 65536, (24, 32)).astype(np.uint16)


def frame_of(data: np.ndarray, format_name: str) -> av.VideoFrame:
    """A frame whose only plane holds ``data`` (rows, 2 * width) bytes."""
    frame = av.VideoFrame(data.shape[1] // 2, data.shape[0], format_name)
    plane = frame.planes[0]
    padded = np.zeros((data.shape[0], plane.line_size), np.uint8)
    padded[:, : data.shape[1]] = data
    plane.update(padded.tobytes())
    return frame


def test_counts_below_a_picture_in_a_double_frame() -> None:
    picture = np.full((24, 64), 90, np.uint8)
    double = np.vstack([picture, COUNTS.view(np.uint8)])
    profile = ThermalProfile(counts="bottom")
    assert np.array_equal(profile.picture(frame_of(double, "yuyv422")), COUNTS)
    turned = np.vstack([COUNTS.view(np.uint8), picture])
    assert np.array_equal(ThermalProfile(counts="top").picture(frame_of(turned, "yuyv422")), COUNTS)


def test_byte_order_and_crop() -> None:
    swapped = frame_of(COUNTS.byteswap().view(np.uint8), "gray16be")
    profile = ThermalProfile(byte_order="big", crop_top=2, crop_bottom=3)
    assert np.array_equal(profile.picture(swapped), COUNTS[2:-3])


def test_frames_without_two_bytes_per_pixel_and_crops_without_rest_are_refused() -> None:
    with pytest.raises(InputError, match="frames come as yuv420p"):
        ThermalProfile().picture(av.VideoFrame(32, 24, "yuv420p"))
    with pytest.raises(InputError, match="nothing is left"):
        ThermalProfile(crop_top=30).picture(frame_of(COUNTS.view(np.uint8), "gray16le"))


def test_a_recording_of_such_a_camera_is_read_through_its_profile(tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_text("counts: bottom\nscale: 0.01\noffset: -273.15\n")
    raw = np.vstack([np.zeros_like(COUNTS), COUNTS])
    path = write_video(
        tmp_path / "raw.mkv",
        length=2,
        codec="ffv1",
        pixel_format="gray16le",
        picture_format="gray16le",
        pictures=[raw, raw],
        size_wh=(32, 48),
    )
    options = SourceOptions(profile=str(tmp_path / "camera.yaml"))
    with open_source(str(path), role="thermal", options=options) as source:
        assert (source.info.width, source.info.height) == (32, 24)
        assert source.info.is_thermal_16bit
        assert all(np.array_equal(frame.image, COUNTS) for frame in source)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("counts: bottom\n", COUNTS),
        ("counts: top\ncrop_top: 1\ncrop_bottom: 2\n", np.zeros_like(COUNTS)[1:-2]),
        ("counts: bottom\nbyte_order: big\n", COUNTS),  # the file's type says what it is
    ],
)
def test_pictures_of_such_a_camera_are_read_through_its_profile(
    tmp_path: Path, profile: str, expected: np.ndarray
) -> None:
    (tmp_path / "camera.yaml").write_text(profile)
    double = np.vstack([np.zeros_like(COUNTS), COUNTS])
    folder = tmp_path / "sequence"
    for channel, picture in (("ir", double), ("color", np.zeros((24, 32, 3), np.uint8))):
        (folder / channel).mkdir(parents=True)
        assert all(cv2.imwrite(str(folder / channel / f"{index}.png"), picture) for index in range(2))
    options = SourceOptions(profile=str(tmp_path / "camera.yaml"))
    for uri in (folder / "ir", folder / "ir" / "0.png"):
        with open_source(str(uri), role="thermal", options=options) as source:
            assert (source.info.height, source.info.width) == expected.shape
            assert all(np.array_equal(frame.image, expected) for frame in source)
    with open_pairs(PairSourceConfig(sequence=str(folder), thermal_options=options)) as pairs:
        assert pairs.thermal is not None
        assert pairs.thermal.info.height == expected.shape[0]


def test_of_pictures_of_8_bits_rows_can_be_cut_but_there_are_no_counts(tmp_path: Path) -> None:
    shown = (COUNTS >> 8).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / "shown.png"), shown)
    (tmp_path / "crop.yaml").write_text("crop_top: 4\n")
    options = SourceOptions(profile=str(tmp_path / "crop.yaml"))
    with open_source(str(tmp_path / "shown.png"), role="thermal", options=options) as source:
        assert np.array_equal(next(iter(source)).image, shown[4:])
    for text, complaint in (
        ("counts: top", r"shown\.png: .*no counts at the top"),
        ("crop_top: 24", "nothing is left"),
    ):
        (tmp_path / "wrong.yaml").write_text(text)
        with pytest.raises(InputError, match=complaint):
            open_source(
                str(tmp_path / "shown.png"), role="thermal", options=SourceOptions(profile=str(tmp_path / "wrong.yaml"))
            )


def test_temperatures_of_a_region() -> None:
    profile = ThermalProfile(scale=0.01, offset=-273.15)
    raw = np.full((20, 20), 29315, np.uint16)
    raw[5:8, 5:8] = 31015
    found = region_temperature(raw, Box(4, 4, 5, 5), profile)
    assert found is not None
    assert (found.lowest, found.highest) == pytest.approx((20.0, 37.0), abs=0.01)
    assert found.mean == pytest.approx((9 * 37 + 16 * 20) / 25, abs=0.01)
    assert region_temperature(raw, Box(50, 50, 5, 5), profile) is None
    with pytest.raises(InputError, match="no scale"):
        region_temperature(raw, Box(0, 0, 5, 5), ThermalProfile())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("scael: 1\n", "scael"), ("counts: left\n", "counts"), ("scale: -1\n", "scale"), ("crop_top: -1\n", "crop_top")],
)
def test_what_is_wrong_with_a_profile_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_profile(tmp_path / "camera.yaml")


def test_a_profile_that_cannot_be_read_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"thermal profile .*absent\.yaml: there is no such file"):
        read_profile(tmp_path / "absent.yaml")
