"""Recorded sources: exact content and time, and a clear word about everything that cannot be used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import cv2  # isort: skip  (before av)
import av
import numpy as np
import pytest
from PIL import Image

from fusion.errors import InputError, RunError
from pipeline.frames import Frame
from pipeline.sources import SourceOptions, display_name, is_live, open_source, uri_kind
from pipeline.sources.images import natural_key
from tests.pipeline.recordings import picture, write_audio, write_video


def read_until_error(frames: Iterable[Frame]) -> tuple[list[Frame], RunError | None]:
    read: list[Frame] = []
    try:
        for frame in frames:
            read.append(frame)  # noqa: PERF402 - what came before the error counts
    except RunError as error:
        return read, error
    return read, None


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


# Videos


def test_video_frames_have_the_time_stamps_of_the_file_even_at_a_variable_rate(tmp_path: Path) -> None:
    pts = [0, 33, 67, 150, 151, 400, 1000]
    path = write_video(tmp_path / "vfr.mkv", length=7, pts=pts)
    with open_source(str(path), role="visible") as source:
        frames = list(source)
        assert [frame.time_s for frame in frames] == pytest.approx([stamp / 1000 for stamp in pts])
        assert [frame.index for frame in frames] == list(range(7))
        assert frames[0].image.shape == (48, 64, 3)
        assert [frame.time_s for frame in source] == [frame.time_s for frame in frames]


def test_video_time_begins_at_zero_and_takes_the_offset(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.ts", length=5, pts=[40 * i for i in range(5)], options={"bf": "2"})
    with open_source(str(path), role="visible", options=SourceOptions(offset_s=-0.25)) as source:
        assert [frame.time_s for frame in source] == pytest.approx([0.04 * i - 0.25 for i in range(5)], abs=1e-3)


def test_a_bare_stream_without_time_stamps_has_those_of_its_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "bare.h264", length=10)
    with open_source(str(path), role="visible") as source:
        assert [frame.time_s for frame in source] == pytest.approx([index / source.info.fps for index in range(10)])
        assert not source.warnings


def test_time_stamps_that_stand_still_are_told_of_in_two_lines(tmp_path: Path) -> None:
    path = write_video(tmp_path / "stuck.mkv", length=6, codec="ffv1", pixel_format="bgr0", pts=[0, 40, 40, 40, 80, 80])
    with open_source(str(path), role="visible") as source:
        times_s = [frame.time_s for frame in source]
        assert times_s == pytest.approx([0, 0.04, 0.04, 0.04, 0.08, 0.08], abs=1e-4)
        assert times_s == sorted(set(times_s))
        assert len(source.warnings) == 2
        assert "do not rise at 3 of 6 frames" in source.warnings[1]


def test_the_rotation_a_phone_writes_down_is_applied(tmp_path: Path) -> None:
    image = picture(0)
    with av.open(str(tmp_path / "phone.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    with open_source(str(tmp_path / "phone.mkv"), role="visible") as source:
        assert (source.info.width, source.info.height) == (48, 64)
        assert np.array_equal(next(iter(source)).image, np.rot90(image))


def test_video_content_is_delivered_exactly(tmp_path: Path) -> None:
    pictures = [picture(index) for index in range(4)]
    path = write_video(tmp_path / "exact.mkv", length=4, codec="ffv1", pixel_format="bgr0", pictures=pictures)
    with open_source(str(path), role="visible") as source:
        assert all(np.array_equal(frame.image, image) for frame, image in zip(source, pictures, strict=True))


def test_16_bit_thermal_video_keeps_its_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 65536, (48, 64)).astype(np.uint16) for _ in range(3)]
    path = write_video(
        tmp_path / "raw.mkv",
        length=3,
        codec="ffv1",
        pixel_format="gray16le",
        picture_format="gray16le",
        pictures=pictures,
    )
    with open_source(str(path), role="thermal") as source:
        assert source.info.is_thermal_16bit
        assert all(np.array_equal(frame.image, image) for frame, image in zip(source, pictures, strict=True))
    with open_source(str(path), role="visible") as source:
        assert next(iter(source)).image.shape == (48, 64, 3)


def test_thermal_role_gives_one_channel_and_warns_of_false_colors(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    gray = write_video(tmp_path / "gray.mp4", length=2, pictures=[cv2.cvtColor(ramp, cv2.COLOR_GRAY2BGR)] * 2)
    jet = write_video(tmp_path / "jet.mp4", length=2, pictures=[cv2.applyColorMap(ramp, cv2.COLORMAP_JET)] * 2)
    with open_source(str(gray), role="thermal") as source:
        frames = list(source)
        assert frames[0].image.shape == (48, 64)
        assert np.abs(frames[0].image.astype(int) - ramp).max() < 12
        assert source.warnings == ()
    with open_source(str(jet), role="thermal") as source:
        list(source)
        assert "false colors" in source.warnings[0]


@pytest.mark.parametrize("faststart", [False, True])
def test_a_truncated_mp4_is_refused_on_opening(tmp_path: Path, faststart: bool) -> None:
    options = {"movflags": "faststart"} if faststart else None
    path = write_video(tmp_path / "cut.mp4", length=60, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(InputError, match=r"cut\.mp4: truncated.*copy it again"):
        open_source(str(path), role="visible")


def test_a_truncated_mkv_delivers_what_is_there_and_then_fails(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mkv", length=150, options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with open_source(str(path), role="visible") as source:
        frames, error = read_until_error(source)
    assert 20 < len(frames) < 120
    assert "cut.mkv" in str(error)


def test_an_mkv_cut_by_less_than_a_second_is_warned_of(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mkv", length=20, options={"g": "2"})
    with open_source(str(path), role="visible") as source:
        assert len(list(source)) == 20
        assert not source.warnings
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(str(path), role="visible") as source:
        frames = list(source)
        assert 0 < len(frames) < 17
        assert f"ends after {len(frames)} frames" in source.warnings[-1]


@pytest.mark.parametrize("suffix", ["mkv", "ts", "flv", "mp4"])
def test_stamps_that_begin_late_are_no_sign_of_damage(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"late.{suffix}", length=10, pts=[5000 + 40 * index for index in range(10)])
    with open_source(str(path), role="visible") as source:
        assert [frame.time_s for frame in source] == pytest.approx([0.04 * index for index in range(10)], abs=2e-3)
        assert not source.warnings


def test_damage_in_the_middle_is_never_silent(tmp_path: Path) -> None:
    path = write_video(tmp_path / "damaged.mp4", length=120, codec="mpeg4", size_wh=(128, 96))
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + 4 + (len(data) // 2)
    data[middle : middle + 1500] = bytes(1500)
    path.write_bytes(data)
    with open_source(str(path), role="visible") as source:
        frames, error = read_until_error(source)
        assert len(frames) > 40
        assert error is not None or any("damaged" in warning for warning in source.warnings)
        if error is None:
            assert any(frame.suspect for frame in frames)


def test_files_that_are_no_video_are_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video " * 50)
    write_audio(tmp_path / "audio.mp4")
    for name, complaint in (
        ("empty.mp4", "empty"),
        ("text.mp4", "not a readable video"),
        ("audio.mp4", "no video in this file"),
        ("missing.mp4", "no such file"),
    ):
        with pytest.raises(InputError, match=re.escape(str(tmp_path / name)) + ".*" + complaint) as caught:
            open_source(str(tmp_path / name), role="visible")
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "secret.mp4", length=2)
    path.chmod(0)
    with pytest.raises(InputError, match="permission"):
        open_source(str(path), role="visible")


# Folders of images


def test_folders_are_sorted_naturally_at_the_given_rate(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        save(tmp_path / f"img{number}.png", np.full((20, 30), number, np.uint8))
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    with open_source(str(tmp_path), role="thermal", options=SourceOptions(fps=10)) as source:
        frames = list(source)
        assert source.info.length == 4
    assert [int(frame.image[0, 0]) for frame in frames] == [1, 2, 10, 11]
    assert [frame.time_s for frame in frames] == [0.0, 0.1, 0.2, 0.3]
    assert sorted(["b2", "a10", "a9", "A1"], key=natural_key) == ["A1", "a9", "a10", "b2"]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jpg"])
def test_visible_pictures_become_bgr(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"gray.{suffix}", np.full((20, 30), 77, np.uint8))
    with open_source(str(tmp_path), role="visible") as source:
        image = next(iter(source)).image
    assert image.shape == (20, 30, 3)
    assert np.abs(image.astype(int) - 77).max() <= 1


def test_16_bit_pictures_are_thermal_counts_and_no_visible_pictures(tmp_path: Path) -> None:
    counts = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    save(tmp_path / "raw.png", counts)
    with open_source(str(tmp_path), role="thermal") as source:
        assert source.info.is_thermal_16bit
        assert np.array_equal(next(iter(source)).image, counts)
    with pytest.raises(InputError, match="16-bit picture where 8"):
        open_source(str(tmp_path), role="visible")


def test_palettes_are_resolved_and_transparency_is_dropped_with_a_warning(tmp_path: Path) -> None:
    colors = np.zeros((20, 30, 3), np.uint8)
    colors[:, 15:] = (200, 30, 60)
    (tmp_path / "palette").mkdir()
    Image.fromarray(colors).quantize(4).save(tmp_path / "palette" / "a.png")
    with open_source(str(tmp_path / "palette"), role="visible") as source:
        assert np.abs(next(iter(source)).image[0, 20].astype(int) - (60, 30, 200)).max() <= 3
        assert source.warnings == ()
    (tmp_path / "alpha").mkdir()
    Image.fromarray(np.dstack([colors, np.full((20, 30), 128, np.uint8)])).save(tmp_path / "alpha" / "a.png")
    with open_source(str(tmp_path / "alpha"), role="visible") as source:
        assert next(iter(source)).image[0, 20].tolist() == [60, 30, 200]
        assert "transparency" in source.warnings[0]


@pytest.mark.parametrize(("value", "complaint"), [(np.nan, "NaN"), (0.5, "floating-point")])
def test_floating_point_pictures_are_refused(tmp_path: Path, value: float, complaint: str) -> None:
    save(tmp_path / "a.tiff", np.full((20, 30), value, np.float32))
    with pytest.raises(InputError, match=complaint):
        open_source(str(tmp_path), role="thermal")


def test_an_unreadable_picture_in_the_middle_keeps_its_moment_empty_and_fails_at_the_end(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"{number}.png", np.full((20, 30), number, np.uint8))
    (tmp_path / "2.png").write_bytes(b"broken")
    with open_source(str(tmp_path), role="thermal") as source:
        frames, error = read_until_error(source)
    assert [frame.index for frame in frames] == [0, 1, 3, 4]
    assert re.search(r"1 of 5 pictures.*2\.png", str(error))


def test_empty_and_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures in this folder"):
        open_source(str(tmp_path), role="visible")
    with pytest.raises(InputError, match="no such file or folder"):
        open_source(str(tmp_path / "nowhere"), role="visible")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.png: not a readable picture"):
        open_source(str(tmp_path), role="visible")


def test_bit_depth_may_not_change_within_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.zeros((20, 30), np.uint8))
    save(tmp_path / "1.png", np.zeros((20, 30), np.uint16))
    with open_source(str(tmp_path), role="thermal") as source:
        _, error = read_until_error(source)
    assert "bit depth" in str(error)


# URIs


def test_kinds_of_uri(tmp_path: Path) -> None:
    kinds = {
        "synthetic": "synthetic",
        "synthetic:12": "synthetic",
        "0": "camera",
        "/dev/video2": "camera",
        "rtsp://user:secret@host/path": "network",
        "http://host/stream.m3u8": "network",
        str(tmp_path): "folder",
        "a.mp4": "video",
        "a.PNG": "image",
    }
    assert {uri: uri_kind(uri) for uri in kinds} == kinds
    assert is_live("0")
    assert not is_live("a.mp4")
    for uri in ("", "ftp://host/file", "synthetic:x"):
        with pytest.raises(InputError):
            open_source(uri, role="visible")


def test_names_for_display_hold_no_credentials() -> None:
    assert display_name("rtsp://user:secret@host:8554/cam?token=abc") == "rtsp://host:8554/cam"
    assert display_name("/videos/a.mp4") == "a.mp4"
