"""Registration, temperatures and thermal display changed from the page, on a real run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibration import read_calibration
from pipeline.registration import Registrar, center_fit
from tests.pipeline.waiting import wait_until
from tests.pipeline.web.rig import COLD, NATIVE_WH, SIZE_WH, TRUE_HOMOGRAPHY, Picture, Rig, Watcher, unregistered_rig

THERMAL = [[33.0, 24.0], [127.0, 40.0], [29.0, 96.0], [123.0, 77.0], [78.0, 58.0]]
VISIBLE = [(TRUE_HOMOGRAPHY @ (*point, 1))[:2].round(2).tolist() for point in THERMAL]
POINTS = {"visible": VISIBLE, "thermal": THERMAL, "plane_distance_m": 12.0}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with unregistered_rig(tmp_path) as open_rig:
        yield open_rig


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def registration(rig: Rig) -> dict[str, Any]:
    state: dict[str, Any] = rig.request("/api/status").json()["registration"]
    return state


def frame_after(viewer: Watcher) -> int:
    """The index of a pair that was built from now on."""
    now = int(viewer.picture().header["frame"])
    return int(viewer.picture(like=lambda picture: picture.header["frame"] > now + 6).header["frame"])


def test_a_nudge_moves_the_thermal_picture_of_the_running_stream(rig: Rig) -> None:
    with rig.watch() as viewer:
        assert registration(rig)["origin"] == "sizes"
        before = rig.hub.pair(frame_after(viewer))
        viewer.say(type="nudge", shift=[6, -4])
        wait_until(lambda: registration(rig)["origin"] == "nudged")
        after = rig.hub.pair(frame_after(viewer))
        assert before is not None
        assert after is not None
        assert np.array_equal(after.thermal[20:-30, 30:-30], before.thermal[24:-26, 24:-36])
        viewer.say(type="nudge", scale=1.02, turn_deg=1)
        wait_until(lambda: registration(rig)["scale"] > 1.01)
        state = registration(rig)
        assert state["shift_xy"] == pytest.approx([6, -4], abs=0.3)
        assert (state["scale"], state["turn_deg"], state["undo"]) == (pytest.approx(1.02), pytest.approx(1), 1)
        viewer.say(type="registration", step="undo")
        viewer.event("registration")
        assert np.array_equal(rig.homography, center_fit(SIZE_WH, NATIVE_WH))
        viewer.say(type="registration", step="undo")
        assert "nothing to take back" in viewer.event("refused")["text"]


def test_points_are_previewed_applied_saved_and_read_by_calibration(rig: Rig) -> None:
    with rig.watch() as viewer:
        frame = viewer.picture().header["frame"]
        viewer.say(type="hold", frame=frame)
        for role, size in (("visible", SIZE_WH), ("thermal", NATIVE_WH)):
            picture = decoded(rig.request(f"/api/registration/{role}.jpg?frame={frame}").body)
            assert picture.shape[:2] == size[::-1]
            asked = json.dumps({"frame": frame, **POINTS})
        preview = Picture.of(rig.request("/api/registration/preview", method="POST", body=asked).body)
        assert preview.header["rms_px"] < 0.01
        assert len(preview.header["errors_px"]) == 5
        assert "Exact at 12 m" in preview.header["note"]
        overlaid = decoded(preview.jpeg)
        assert overlaid.shape == (*SIZE_WH[::-1], 3)
        assert registration(rig)["origin"] == "sizes"  # nothing is changed yet

        viewer.say(type="register", **POINTS)
        assert "rms 0.00 px" in viewer.event("registration")["text"]
        assert np.allclose(rig.homography, TRUE_HOMOGRAPHY, atol=0.01)
        pair = rig.hub.pair(frame_after(viewer))
        assert pair is not None
        plates = pair.visible_bgr[..., 1] > 100
        assert pair.thermal_raw is not None
        warm = pair.thermal_raw > 30000
        assert (plates & warm).sum() / (plates | warm).sum() > 0.93
        viewer.say(type="calibration")
        (name,) = viewer.event("saved")["names"]
        assert name == "calibration-001.yaml"
        viewer.say(type="calibration")
        assert viewer.event("saved")["names"] == ["calibration-002.yaml"]
    loaded = rig.request(f"/recordings/{name}")
    assert loaded.headers["content-type"] == "application/yaml"
    saved = read_calibration(rig.folder / name)
    assert (saved.visible_wh, saved.thermal_wh, saved.plane_distance_m) == (SIZE_WH, NATIVE_WH, 12.0)
    assert np.array_equal(saved.homography, rig.homography)
    # A new run registers the same way from the file.
    again = Registrar(SIZE_WH, NATIVE_WH, saved)
    assert pair.thermal_native is not None
    assert np.array_equal(again(pair.thermal_native).thermal, pair.thermal_raw)


def test_a_run_that_stands_still_shows_the_change(rig: Rig) -> None:
    with rig.watch() as viewer:
        viewer.pause()
        viewer.say(type="view", view="thermal")
        before = viewer.picture(like=lambda picture: picture.header["view"] == "thermal")
        viewer.say(type="nudge", shift=[10, 0])
        after = viewer.picture()
        assert after.header["frame"] == before.header["frame"]
        first, second = (decoded(picture.jpeg).astype(int) for picture in (before, after))
        assert np.abs(first[30:-30, 30:-50] - second[30:-30, 40:-40]).mean() < 4
        assert np.abs(first - second).mean() > 4


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "nudge", "scale": 40}, "nudge scales"),
        ({"type": "nudge", "shift": [1e5, 0]}, "outside the visible"),
        ({"type": "register", "visible": VISIBLE[:3], "thermal": THERMAL[:3]}, "4 are needed"),
        ({"type": "register", "visible": VISIBLE[:4], "thermal": [[1, 1], [2, 2], [3, 3], [4, 4]]}, "no homography"),
        ({"type": "display", "mode": "fixed", "polarity": "white-hot", "low": 5, "high": 4}, "low < high"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(rig: Rig, message: dict[str, Any], reason: str) -> None:
    before = registration(rig)
    with rig.watch() as viewer:
        viewer.say(**message)
        assert reason in viewer.event("refused")["text"]
        frame_after(viewer)
    assert registration(rig) == before


def test_previews_of_strange_requests_are_refused(rig: Rig) -> None:
    def status(body: str | bytes) -> int:
        return rig.request("/api/registration/preview", method="POST", body=body).status

    assert status("{") == 400
    few = rig.request(
        "/api/registration/preview", method="POST", body='{"frame": 0, "visible": [[1, 2]], "thermal": [[1, 2]]}'
    )
    assert (few.status, few.json()) == (200, {"error": "1 pairs of points; 4 are needed"})
    assert status('{"frame": 99999999, "visible": [[1, 2, 3]], "thermal": []}') == 400
    assert status(b"x" * 10_000) == 413
    assert rig.request("/api/registration/visible.jpg?frame=99999999").status == 410
    assert rig.request("/api/registration/visible.jpg?frame=-1").status == 410
    assert rig.request("/api/registration/other.jpg?frame=1").status == 404
    statuses = [status("{") for _ in range(30)]
    assert statuses[-1] == 429


def test_without_a_builder_registration_is_fixed(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, rig.watch() as viewer:
        assert registration(rig) == {"ready": False}
        viewer.say(type="calibration")
        assert "cannot change" in viewer.event("refused")["text"]
        assert rig.request("/api/registration/preview", method="POST", body="{}").status == 404


def test_temperatures_are_those_of_the_very_picture(rig: Rig) -> None:
    warm = (TRUE_HOMOGRAPHY @ (78, 58, 1))[:2].tolist()
    with rig.watch() as viewer:
        viewer.say(type="register", **POINTS)
        viewer.event("registration")
        frame = frame_after(viewer)
        regions = [[warm[0] - 8, warm[1] - 8, 16, 16], [0, 0, 320, 240], [-50, -50, 10, 10]]
        viewer.say(type="measure", frame=frame, spot=warm, regions=regions)
        while isinstance(heard := viewer.hear(), Picture) or heard["type"] != "measured":
            if isinstance(heard, Picture):
                viewer.say(type="shown", serial=heard.header["serial"])
        assert heard["frame"] == frame
        pair = rig.hub.pair(frame)
        assert pair is not None
        assert heard["measured"]["spot"] == pytest.approx(37.0, abs=0.01)
        plate, whole, outside = heard["measured"]["regions"]
        assert plate == {"lowest": 37.0, "mean": 37.0, "highest": 37.0}
        assert (whole["lowest"], whole["highest"]) == (20.0, 37.0)
        assert pair.thermal_raw is not None
        covered = np.ones(pair.thermal.shape, bool) if pair.covered is None else pair.covered
        assert whole["mean"] == pytest.approx(pair.thermal_raw[covered].mean() * 0.01 - 273.15, abs=0.01)
        assert outside is None
        viewer.say(type="add", frame=viewer.picture().header["frame"], box=regions[0])
        picture = viewer.picture(like=lambda picture: bool(picture.header["targets"]))
        assert picture.header["measured"]["spot"] == pytest.approx(37.0, abs=0.01)
        assert picture.header["targets"][0]["celsius"] == {"lowest": 37.0, "mean": 37.0, "highest": 37.0}
        viewer.say(type="measure", frame=frame, spot=None)
        assert viewer.picture(like=lambda picture: picture.header["measured"] is None)


def test_where_the_thermal_picture_does_not_reach_there_is_no_temperature(rig: Rig) -> None:
    with rig.watch() as viewer:
        viewer.say(type="nudge", shift=[100, 0])
        wait_until(lambda: registration(rig)["origin"] == "nudged")
        frame_after(viewer)
        viewer.say(type="measure", frame=0, spot=[20, 100], regions=[[0, 0, 90, 240]])
        picture = viewer.picture(like=lambda picture: picture.header["measured"] is not None)
        assert picture.header["measured"] == {"spot": None, "spot_xy": [20, 100], "regions": [None]}


def test_range_polarity_and_palette_are_changed_while_the_run_goes_on(rig: Rig) -> None:
    with rig.watch() as viewer:
        viewer.say(type="display", mode="plateau", polarity="white-hot")
        wait_until(lambda: rig.request("/api/status").json()["thermal"]["display"]["mode"] == "plateau")
        pair = rig.hub.pair(frame_after(viewer))
        assert pair is not None
        assert pair.thermal_raw is not None
        warm = pair.thermal_raw > 30900
        assert pair.thermal[warm].mean() > pair.thermal[~warm].mean()
        viewer.say(type="display", mode="fixed", polarity="white-hot", low=COLD, high=COLD + 2550)
        wait_until(lambda: rig.request("/api/status").json()["thermal"]["display"]["mode"] == "fixed")
        pair = rig.hub.pair(frame_after(viewer))
        assert pair is not None
        assert pair.thermal.min() == 0
        assert pair.thermal.max() == 170  # 1,700 of 2,550 counts
        viewer.say(type="display", mode="fixed", polarity="black-hot")
        wait_until(lambda: rig.request("/api/status").json()["thermal"]["display"]["polarity"] == "black-hot")
        display = rig.request("/api/status").json()["thermal"]["display"]
        assert (display["low"], display["high"]) == (29315, 31016)
        pair = rig.hub.pair(frame_after(viewer))
        assert pair is not None
        assert pair.thermal[warm].mean() < 5
        viewer.say(type="view", view="thermal", palette="black-hot")
        picture = viewer.picture(like=lambda picture: picture.header["palette"] == "black-hot")
        shown = decoded(picture.jpeg)
        assert np.ptp(shown.astype(int), axis=2).max() < 12  # grey
        assert shown[warm].mean() > 240
    assert rig.request("/picture.jpg?view=thermal&palette=jet").status == 200
    assert rig.request("/picture.jpg?view=thermal&palette=../x").status == 400


def corner_error(rig: Rig) -> float:
    """Greatest distance of a corner of the thermal picture from where it truly lies."""
    width, height = NATIVE_WH
    corners = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float64)
    found, true = (cv2.perspectiveTransform(corners, matrix) for matrix in (rig.homography, TRUE_HOMOGRAPHY))
    return float(np.linalg.norm(found - true, axis=2).max())


def test_outlines_refine_a_registration_that_is_nearly_right(rig: Rig) -> None:
    with rig.watch() as viewer:
        viewer.say(type="register", **POINTS)
        viewer.event("registration")
        viewer.say(type="nudge", shift=[3, -2])
        wait_until(lambda: registration(rig)["origin"] == "nudged")
        frame_after(viewer)
        before = corner_error(rig)
        viewer.say(type="registration", step="refine")
        assert "refined by up to" in viewer.event("registration")["text"]
        assert corner_error(rig) < before / 2
        assert registration(rig)["undo"] == 3
        viewer.say(type="registration", step="undo")
        viewer.event("registration")
        assert corner_error(rig) == pytest.approx(before)
        viewer.say(type="registration", step="reset")
        viewer.event("registration")
        assert registration(rig)["origin"] == "sizes"
        assert registration(rig)["undo"] == 0
        # From far away nothing believable is found, and nothing is changed.
        viewer.say(type="nudge", shift=[90, 60], turn_deg=40)
        wait_until(lambda: registration(rig)["origin"] == "nudged")
        far = rig.homography.copy()
        viewer.say(type="registration", step="refine")
        assert "not believable" in viewer.event("refused")["text"]
        assert np.array_equal(rig.homography, far)
