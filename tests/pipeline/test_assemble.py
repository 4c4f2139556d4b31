"""From sources to registered pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fusion.errors import InputError, RunError
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.calibration import Calibration, write_calibration
from pipeline.frames import FramePair, PairStatus
from pipeline.pairing import PairerConfig
from pipeline.registration import center_fit
from pipeline.sources import SourceOptions
from pipeline.thermal import ThermalConfig
from tests.pipeline.recordings import picture, write_video


def write_folder(folder: Path, length: int, size_wh: tuple[int, int] = (64, 48), dtype: type = np.uint8) -> str:
    folder.mkdir()
    for index in range(length):
        image = picture(index, size_wh)[..., 0]
        image = image if dtype is np.uint8 else (29000 + 10 * image.astype(np.uint16))
        assert cv2.imwrite(str(folder / f"{index}.png"), image)
    return str(folder)


def test_two_videos_of_one_rate_pair_one_to_one(tmp_path: Path) -> None:
    visible = str(write_video(tmp_path / "v.mp4", length=25))
    grays = [cv2.cvtColor(picture(index)[..., 0], cv2.COLOR_GRAY2BGR) for index in range(25)]
    thermal = str(write_video(tmp_path / "t.mp4", length=25, pictures=grays))
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        pairs = list(stream)
        assert (stream.info.width, stream.info.height, stream.info.length) == (64, 48, 25)
        assert stream.info.fps == pytest.approx(25)
        assert set(stream.stage_ms) == {"decode", "register", "thermal"}
        assert stream.warnings == ()
    assert [pair.index for pair in pairs] == list(range(25))
    assert {pair.dt_s for pair in pairs} == {0.0}
    assert {pair.status for pair in pairs} == {PairStatus.PAIRED}
    assert stream.stats.paired == 25


def test_reading_twice_gives_the_same_pairs(tmp_path: Path) -> None:
    visible = str(write_video(tmp_path / "v.mp4", length=20))
    thermal = write_folder(tmp_path / "t", 9, dtype=np.uint16)
    config = PairSourceConfig(visible=visible, thermal=thermal, thermal_options=SourceOptions(fps=11))

    def read() -> list[FramePair]:
        with open_pairs(config) as stream:
            return list(stream)

    for a, b in zip(read(), read(), strict=True):
        assert (a.index, a.time_s, a.dt_s, a.status, a.missing) == (b.index, b.time_s, b.dt_s, b.status, b.missing)
        assert np.array_equal(a.visible_bgr, b.visible_bgr)
        assert np.array_equal(a.thermal, b.thermal)


def test_a_folder_takes_the_rate_of_the_video_beside_it(tmp_path: Path) -> None:
    visible = str(write_video(tmp_path / "v.mp4", length=20))
    config = PairSourceConfig(visible=visible, thermal=write_folder(tmp_path / "t", 20))
    with open_pairs(config) as stream:
        assert [pair.dt_s for pair in stream] == pytest.approx([0] * 20, abs=1e-6)
        assert "taken as 25 fps" in stream.warnings[0]


def test_the_end_of_the_shorter_stream_is_counted_and_told(tmp_path: Path) -> None:
    visible, thermal = write_folder(tmp_path / "v", 30), write_folder(tmp_path / "t", 12)
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        pairs = list(stream)
    assert len(pairs) == 30
    assert [pair.missing for pair in pairs[12:]] == ["thermal"] * 18
    assert pairs[-1].status is PairStatus.SINGLE
    assert not pairs[-1].thermal.any()
    assert stream.stats.unpaired == 18
    assert "18 of 30 visible frames found no thermal frame" in stream.warnings[0]
    with open_pairs(PairSourceConfig(visible=thermal, thermal=visible)) as stream:
        assert len(list(stream)) == 12
    assert "18 thermal frames were not used" in stream.warnings[0]


@pytest.mark.parametrize(("policy", "expected"), [("drop", 12), ("hold", 30)])
def test_policies_for_unpaired_frames(tmp_path: Path, policy: str, expected: int) -> None:
    visible, thermal = write_folder(tmp_path / "v", 30), write_folder(tmp_path / "t", 12)
    pairing = PairerConfig(on_unpaired=policy, hold_s=0.2)  # type: ignore[arg-type]
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal, pairing=pairing)) as stream:
        pairs = list(stream)
    assert len(pairs) == expected
    if policy == "hold":
        held = [pair for pair in pairs if pair.status is PairStatus.HELD]
        assert len(held) == 6
        assert all(pair.thermal.any() and pair.missing is None for pair in held)


def test_thermal_of_another_size_is_fitted_with_a_warning_and_keeps_its_counts(tmp_path: Path) -> None:
    visible = write_folder(tmp_path / "v", 3, (96, 64))
    thermal = write_folder(tmp_path / "t", 3, (64, 48), np.uint16)
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        pairs = list(stream)
    assert len([line for line in stream.warnings if "no calibration given" in line]) == 1
    assert pairs[0].thermal.shape == (64, 96)
    raw = pairs[0].thermal_raw
    assert raw is not None
    assert 29000 <= raw.min() < raw.max() <= 31550


def test_a_calibration_file_is_used_and_must_fit(tmp_path: Path) -> None:
    visible = write_folder(tmp_path / "v", 2, (96, 64))
    thermal = write_folder(tmp_path / "t", 2, (64, 48))
    shifted = center_fit((96, 64), (64, 48))
    shifted[0, 2] += 10
    path = tmp_path / "c.yaml"
    write_calibration(Calibration(visible_wh=(96, 64), thermal_wh=(64, 48), homography=shifted), path)
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        plain = next(iter(stream)).thermal
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal, calibration=str(path))) as stream:
        moved = next(iter(stream)).thermal
        assert stream.warnings == ()
    assert np.abs(moved[:, 22:80].astype(int) - plain[:, 12:70]).mean() < 1
    with pytest.raises(InputError, match="the calibration is for visible pictures of 96x64"):
        open_pairs(PairSourceConfig(visible=thermal, thermal=thermal, calibration=str(path)))


def test_one_stream_alone_gives_single_frames(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "t", 4, dtype=np.uint16)
    with open_pairs(
        PairSourceConfig(thermal=folder, display=ThermalConfig(mode="fixed", low=29000, high=31000))
    ) as stream:
        pairs = list(stream)
        assert stream.stats.single == 4
        assert "no visible source" in stream.warnings
    assert [(pair.missing, pair.status) for pair in pairs] == [("visible", PairStatus.SINGLE)] * 4
    assert not pairs[0].visible_bgr.any()
    assert pairs[0].thermal.any()


def test_what_was_read_comes_before_the_error_of_a_damaged_source(tmp_path: Path) -> None:
    visible, thermal = write_folder(tmp_path / "v", 6), write_folder(tmp_path / "t", 6)
    (tmp_path / "t" / "3.png").write_bytes(b"broken")
    pairs = []
    with (
        open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream,
        pytest.raises(RunError, match=r"3\.png"),
    ):
        pairs.extend(stream)
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        iterator = iter(stream)
        read = [next(iterator) for _ in range(5)]
    assert [pair.missing for pair in read] == [None, None, None, "thermal", None]


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({}, "no source"),
        ({"sequence": "a", "visible": "b"}, "not both"),
    ],
)
def test_contradictory_requests_are_refused(config: dict[str, str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        PairSourceConfig(**config)  # type: ignore[arg-type]


def test_tiny_pictures_are_refused(tmp_path: Path) -> None:
    tiny = write_folder(tmp_path / "v", 2, (64, 48))
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1), np.uint8))
    with pytest.raises(InputError, match="thermal picture has 1x1 pixels; at least 16x16"):
        open_pairs(PairSourceConfig(visible=tiny, thermal=str(tmp_path / "dot.png")))


def test_a_change_of_size_in_mid_stream_is_followed(tmp_path: Path) -> None:
    thermal = write_folder(tmp_path / "t", 4, (64, 48))
    visible = write_folder(tmp_path / "v", 2, (64, 48))
    for index in (2, 3):
        cv2.imwrite(str(tmp_path / "v" / f"{index}.png"), picture(index, (96, 64)))
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        assert [pair.thermal.shape for pair in stream] == [(48, 64)] * 2 + [(64, 96)] * 2


def test_the_synthetic_scene_as_a_pair() -> None:
    options = SourceOptions(size_wh=(160, 120), length=10, thermal_16bit=True)
    config = PairSourceConfig(
        visible="synthetic:2", thermal="synthetic:2", visible_options=options, thermal_options=options
    )
    with open_pairs(config) as stream:
        pairs = list(stream)
    assert len(pairs) == 10
    assert all(pair.thermal_raw is not None and pair.dt_s == 0 for pair in pairs)


@pytest.mark.parametrize("clip", ["0111_1716", "0113_1714", "0117_1620"])
def test_real_video_pairs_have_as_many_pairs_as_frames(shared_data: Path, clip: str) -> None:
    videos = shared_data / "rgbt_video"
    visible, thermal = (str(videos / kind / f"{clip}.mp4") for kind in ("visible", "infrared"))
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal)) as stream:
        differences = [pair.dt_s for pair in stream]
        assert len(differences) == stream.info.length
        assert set(differences) == {0.0}
        assert stream.warnings == ()


def test_real_sequences_pair_frame_by_frame(shared_data: Path) -> None:
    for name in ("M3SVD_stairs_hood", "TNO_Nato_camp_a"):
        with open_pairs(PairSourceConfig(sequence=str(shared_data / "rgbt_tracking" / name))) as stream:
            pairs = list(stream)
            assert len(pairs) == len(stream.boxes)
            assert all(pair.missing is None for pair in pairs)
    with open_pairs(PairSourceConfig(sequence=str(shared_data / "rgb_tracking" / "VOTTIR_horse"))) as stream:
        pair = next(iter(stream))
        assert pair.missing == "visible"
        assert stream.warnings == ("VOTTIR_horse: no visible channel",)


def test_two_synthetic_scenes_are_warned_of() -> None:
    options = SourceOptions(length=2, size_wh=(96, 72))
    config = PairSourceConfig(
        visible="synthetic:2", thermal="synthetic:3", visible_options=options, thermal_options=options
    )
    with open_pairs(config) as pairs:
        assert pairs.warnings == ("synthetic:2/visible and synthetic:3/thermal are two scenes; give both one seed",)
