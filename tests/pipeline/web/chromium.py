"""Headless Chromium at the live page, and the hand that a person has there."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.waiting import wait_until
from tests.pipeline.web.rig import Rig

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")

from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402, F401  (for the tests)
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

NEEDS_CHROMIUM = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="no chromium here: apt-get install chromium chromium-driver"
    ),
    # Selenium leaves sockets of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DESK = (1360, 860)
PHONE = (390, 844)


@contextmanager
def browser(size_wh: tuple[int, int] = DESK) -> Iterator[Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = Options()
        options.binary_location = CHROMIUM
        for flag in (
            "headless",
            "no-sandbox",
            "disable-gpu",
            "disable-quic",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            "disable-dev-shm-usage",
            "hide-scrollbars",
            f"user-data-dir={profile}",
            f"window-size={size_wh[0]},{size_wh[1]}",
        ):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            # A window cannot be as narrow as a phone, a screen can.
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": size_wh[0], "height": size_wh[1], "deviceScaleFactor": 1, "mobile": size_wh[0] < 500},
            )
            yield driver
        finally:
            driver.quit()


def open_page(driver: Any, rig: Rig) -> None:
    driver.get(rig.server.url)
    wait_until(lambda: not driver.find_element(By.ID, "veil").is_displayed())


def complaints(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def shown(driver: Any, what: str = "frame") -> Any:
    """A fact of the picture on the canvas."""
    value = driver.find_element(By.ID, "picture").get_attribute(f"data-{what}")
    return value if what == "view" else int(value)


def drag(driver: Any, begin_xy: tuple[int, int], end_xy: tuple[int, int]) -> None:
    """Drag the mouse between two points of the page, in its pixels."""
    actions = ActionChains(driver, duration=40)
    actions.w3c_actions.pointer_action.move_to_location(*begin_xy)
    actions.w3c_actions.pointer_action.pointer_down()
    actions.w3c_actions.pointer_action.move_to_location(*[(a + b) // 2 for a, b in zip(begin_xy, end_xy, strict=True)])
    actions.w3c_actions.pointer_action.move_to_location(*end_xy)
    actions.w3c_actions.pointer_action.pointer_up()
    actions.perform()


def wait_for_state(driver: Any, state: str) -> None:
    wait_until(lambda: driver.find_element(By.ID, "state").get_attribute("data-state") == state)


def keep_screenshot(driver: Any, name: str) -> None:
    """For people: where RGBT_SCREENSHOTS names a folder."""
    folder = os.environ.get("RGBT_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(Path(folder) / f"{name}.png"))


def press(driver: Any, xy: tuple[float, float]) -> None:
    """Press the mouse at a point of the page and keep it down."""
    actions = ActionChains(driver, duration=0)
    actions.w3c_actions.pointer_action.move_to_location(round(xy[0]), round(xy[1])).pointer_down()
    actions.perform()


def release(driver: Any, xy: tuple[float, float]) -> None:
    """Drag the mouse that is down to a point of the page and let go."""
    actions = ActionChains(driver, duration=20)
    actions.w3c_actions.pointer_action.move_to_location(round(xy[0]), round(xy[1])).pointer_up()
    actions.perform()


def tap(driver: Any, xy: tuple[float, float], kind: str = "mouse") -> None:
    """Press and let go at a point of the page, with a mouse or a finger."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    builder = ActionBuilder(driver, mouse=PointerInput(kind, kind), duration=0)
    builder.pointer_action.move_to_location(round(xy[0]), round(xy[1])).pointer_down().pointer_up()
    builder.perform()


def place_of(driver: Any, element: str) -> dict[str, float]:
    """Where the element with this id lies in the window, after scrolling it into view."""
    place: dict[str, float] = driver.execute_script(
        "const e = document.getElementById(arguments[0]); e.scrollIntoView({block: 'nearest'});"
        "const r = e.getBoundingClientRect(); return {x: r.x, y: r.y, w: r.width, h: r.height}",
        element,
    )
    return place


def choose(driver: Any, element: str, value: str) -> None:
    """Choose a value of the select with this id."""
    Select(driver.find_element(By.ID, element)).select_by_value(value)
