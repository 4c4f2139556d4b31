"""Registration and temperatures on the page, driven in headless Chromium with mouse, finger and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.calibration import read_calibration
from pipeline.registration import center_fit
from tests.pipeline.waiting import wait_until
from tests.pipeline.web.chromium import (
    NEEDS_CHROMIUM,
    PHONE,
    By,
    Keys,
    browser,
    choose,
    complaints,
    drag,
    keep_screenshot,
    open_page,
    place_of,
    tap,
)
from tests.pipeline.web.rig import NATIVE_WH, SIZE_WH, TRUE_HOMOGRAPHY, Rig, unregistered_rig

pytestmark = NEEDS_CHROMIUM

# Corners of plates, as a person would pick them.
THERMAL = ((32, 23), (128, 41), (28, 97), (124, 77), (70, 51))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with unregistered_rig(tmp_path) as open_rig:
        yield open_rig


def visible_of(point: tuple[float, float]) -> tuple[float, float]:
    x, y, _ = TRUE_HOMOGRAPHY @ (*point, 1)
    return float(x), float(y)


def pick(driver: Any, role: str, point: tuple[float, float], kind: str) -> None:
    """Tap the centre of a pixel of one of the two pictures."""
    place, size = place_of(driver, f"pick-{role}"), SIZE_WH if role == "visible" else NATIVE_WH
    x = place["x"] + (point[0] + 0.5) / size[0] * place["w"]
    y = place["y"] + (point[1] + 0.5) / size[1] * place["h"]
    tap(driver, (x, y), kind)


def text_of(driver: Any, element: str) -> str:
    return str(driver.find_element(By.ID, element).text)


def moved(rig: Rig) -> np.ndarray:
    """How the thermal picture has moved since the beginning, at the centre."""
    change = rig.homography @ np.linalg.inv(center_fit(SIZE_WH, NATIVE_WH))
    x, y, w = change @ ((SIZE_WH[0] - 1) / 2, (SIZE_WH[1] - 1) / 2, 1)
    return np.array([x / w - (SIZE_WH[0] - 1) / 2, y / w - (SIZE_WH[1] - 1) / 2])


def test_keys_buttons_and_the_mouse_move_the_thermal_picture(rig: Rig) -> None:
    with browser() as driver:
        open_page(driver, rig)
        body = driver.find_element(By.TAG_NAME, "body")
        wait_until(lambda: driver.find_element(By.ID, "align").is_enabled())
        body.send_keys("a")
        wait_until(lambda: driver.find_element(By.ID, "picture").get_attribute("data-view") == "tint")
        body.send_keys(Keys.ARROW_RIGHT * 3 + Keys.ARROW_UP)
        wait_until(lambda: np.allclose(moved(rig), (3, -1), atol=1e-6))
        body.send_keys(Keys.SHIFT + Keys.ARROW_DOWN + Keys.SHIFT)
        wait_until(lambda: np.allclose(moved(rig), (3, 9), atol=1e-6))
        body.send_keys(Keys.ALT + Keys.ARROW_UP + Keys.ARROW_UP + Keys.ALT)
        wait_until(lambda: abs(rig.homography[0, 0] / 2 - 1.005**2) < 1e-6)
        wait_until(lambda: "1.010" in text_of(driver, "moved"))
        before = moved(rig)
        driver.find_element(By.CSS_SELECTOR, '[data-move="shift:-1,0"]').click()
        wait_until(lambda: np.allclose(moved(rig), before - (1, 0), atol=1e-6))
        before, place = moved(rig), place_of(driver, "picture")
        scale = place["w"] / SIZE_WH[0]
        begin = round(place["x"] + place["w"] / 2), round(place["y"] + place["h"] / 2)
        drag(driver, begin, (begin[0] + round(20 * scale), begin[1] - round(10 * scale)))
        wait_until(lambda: np.allclose(moved(rig), before + np.array([20, -10]), atol=0.5))
        keep_screenshot(driver, "desk-align")
        driver.find_element(By.ID, "save-registration").click()
        wait_until(lambda: driver.find_element(By.CSS_SELECTOR, ".card .saved-calibration").is_displayed())
        saved = read_calibration(rig.folder / "calibration-001.yaml")
        assert np.array_equal(saved.homography, rig.homography)
        body.send_keys("u")
        wait_until(lambda: np.allclose(moved(rig), 0))
        body.send_keys(Keys.ESCAPE)
        assert not driver.find_element(By.ID, "pad").is_displayed()
        assert not rig.lines()[-1]["targets"]  # the drag drew no box
        assert complaints(driver) == []


def test_points_are_picked_with_the_mouse_previewed_used_and_saved(rig: Rig) -> None:
    with browser() as driver:
        open_page(driver, rig)
        wait_until(lambda: driver.find_element(By.ID, "pick").is_enabled())
        driver.find_element(By.ID, "pick").click()
        wait_until(lambda: driver.find_element(By.ID, "picking").is_displayed())
        for number, point in enumerate(THERMAL):
            first, second = ("visible", "thermal") if number % 2 else ("thermal", "visible")
            for role in (first, second):
                pick(driver, role, point if role == "thermal" else visible_of(point), "mouse")
            if number == 3:
                wait_until(lambda: "four points always fit" in text_of(driver, "fit"))
        wait_until(lambda: len(driver.find_elements(By.CSS_SELECTOR, "#point-errors li")) == 5)
        assert float(text_of(driver, "fit").split()[1]) < 1.0
        assert np.array_equal(rig.homography, center_fit(SIZE_WH, NATIVE_WH))  # only a preview so far
        # A sixth point set wrong shows at once, and is taken back.
        pick(driver, "visible", (250, 130), "mouse")
        pick(driver, "thermal", (100, 56), "mouse")
        wait_until(lambda: len(driver.find_elements(By.CSS_SELECTOR, "#point-errors li")) == 6)
        assert float(text_of(driver, "fit").split()[1]) > 3.0
        driver.find_element(By.ID, "undo-point").click()
        driver.find_element(By.ID, "undo-point").click()
        plane = driver.find_element(By.ID, "plane")
        plane.send_keys("12" + Keys.TAB)
        wait_until(lambda: "Exact at 12 m" in text_of(driver, "pick-note"))
        keep_screenshot(driver, "desk-points")
        driver.find_element(By.ID, "save-points").click()
        wait_until(lambda: (rig.folder / "calibration-001.yaml").exists())
        saved = read_calibration(rig.folder / "calibration-001.yaml")
        assert np.array_equal(saved.homography, rig.homography)
        assert saved.plane_distance_m == 12
        for point in THERMAL:
            x, y, w = saved.homography @ (*point, 1)
            assert (x / w, y / w) == pytest.approx(visible_of(point), abs=1.0)
        wait_until(lambda: driver.find_element(By.CSS_SELECTOR, "#picking .saved-calibration").is_displayed())
        driver.find_element(By.ID, "close-points").click()
        wait_until(lambda: driver.find_element(By.ID, "picture").is_displayed())
        assert complaints(driver) == []


def test_points_are_picked_with_a_finger_on_a_phone(rig: Rig) -> None:
    with browser(PHONE) as driver:
        open_page(driver, rig)
        wait_until(lambda: driver.find_element(By.ID, "pick").is_enabled())
        driver.execute_script("document.getElementById('pick').click()")
        wait_until(lambda: driver.find_element(By.ID, "picking").is_displayed())
        for point in THERMAL:
            pick(driver, "visible", visible_of(point), "touch")
            pick(driver, "thermal", point, "touch")
        wait_until(lambda: len(driver.find_elements(By.CSS_SELECTOR, "#point-errors li")) == 5)
        assert float(text_of(driver, "fit").split()[1]) < 2.0
        assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
        keep_screenshot(driver, "phone-points")
        driver.execute_script("document.getElementById('preview').scrollIntoView()")
        keep_screenshot(driver, "phone-points-end")
        driver.execute_script("document.getElementById('use-points').click()")
        wait_until(lambda: abs(rig.homography[0, 0] - 2.2) < 0.1)
        driver.execute_script("document.getElementById('close-points').click()")
        driver.execute_script("document.getElementById('align').click()")
        wait_until(lambda: driver.find_element(By.ID, "pad").is_displayed())
        before = moved(rig)
        place = place_of(driver, "picture")
        drag(driver, (150, round(place["y"] + 80)), (180, round(place["y"] + 110)))
        wait_until(lambda: not np.allclose(moved(rig), before))
        keep_screenshot(driver, "phone-align")
        assert complaints(driver) == []


def test_points_are_picked_with_keys_alone(rig: Rig) -> None:
    with browser() as driver:
        open_page(driver, rig)
        wait_until(lambda: driver.find_element(By.ID, "pick").is_enabled())
        driver.find_element(By.TAG_NAME, "body").send_keys("p")
        wait_until(lambda: driver.switch_to.active_element.get_attribute("id") == "pick-visible")
        for across, down in ((0, 0), (10, 0), (0, 10), (10, 10)):
            keys = Keys.ARROW_RIGHT * across + Keys.ARROW_DOWN * down
            driver.switch_to.active_element.send_keys(keys + Keys.ENTER + Keys.TAB)
            driver.switch_to.active_element.send_keys(keys + Keys.ENTER + Keys.SHIFT + Keys.TAB + Keys.SHIFT)
        wait_until(lambda: "rms" in text_of(driver, "fit"))
        driver.find_element(By.ID, "use-points").click()
        wait_until(lambda: np.allclose(rig.homography[:2, :2], np.eye(2), atol=1e-6))
        driver.switch_to.active_element.send_keys(Keys.BACKSPACE)
        wait_until(lambda: "now its partner" in text_of(driver, "pick-next"))
        driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        wait_until(lambda: driver.find_element(By.ID, "picture").is_displayed())
        assert complaints(driver) == []


def test_temperatures_palette_and_range(rig: Rig) -> None:
    with browser() as driver:
        open_page(driver, rig)
        body = driver.find_element(By.TAG_NAME, "body")
        wait_until(lambda: driver.find_element(By.ID, "measure").is_displayed())
        body.send_keys("3m")
        place = place_of(driver, "picture")
        scale = place["w"] / SIZE_WH[0]
        # By size alone the middle plate lies in the middle.
        center = (place["x"] + (78 + 0.5) * 2 * scale, place["y"] + (58 + 0.5) * 2 * scale)
        tap(driver, center)
        wait_until(lambda: "37.0 °C" in text_of(driver, "probes"))
        begin = round(center[0] - 8 * scale), round(center[1] - 8 * scale)
        drag(driver, begin, (round(center[0] + 8 * scale), round(center[1] + 8 * scale)))
        wait_until(lambda: "Box 1" in text_of(driver, "probes"))
        wait_until(lambda: "37.0 … 37.0 °C, mean 37.0 °C" in text_of(driver, "probes"))
        assert not rig.lines()[-1]["targets"]
        keep_screenshot(driver, "desk-measure")
        body.send_keys(" ")
        wait_until(lambda: rig.control.state.paused)
        tap(driver, (place["x"] + 20 * scale, place["y"] + 20 * scale))  # a paused picture is measured too
        wait_until(lambda: "20.0 °C" in text_of(driver, "probes"))
        body.send_keys(" ")
        choose(driver, "palette", "black-hot")
        wait_until(lambda: driver.execute_script("return localStorage.getItem('palette')") == "black-hot")
        low = driver.find_element(By.ID, "low")
        assert float(low.get_attribute("value")) == 20.0
        low.send_keys(Keys.CONTROL + "a" + Keys.CONTROL + "10" + Keys.TAB)
        wait_until(lambda: rig.request("/api/status").json()["thermal"]["display"]["low"] == 28315)
        choose(driver, "polarity", "black-hot")
        wait_until(lambda: rig.request("/api/status").json()["thermal"]["display"]["polarity"] == "black-hot")
        choose(driver, "range", "plateau")
        wait_until(lambda: rig.request("/api/status").json()["thermal"]["display"]["mode"] == "plateau")
        assert complaints(driver) == []
