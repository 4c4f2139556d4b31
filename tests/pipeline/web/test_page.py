"""The page as a person uses it: driven in headless Chromium, at the size of a desk and of a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.shelf import ShelfConfig
from pipeline.telemetry import SourceHealth
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
    press,
    release,
    shown,
    tap,
    wait_for_state,
)
from tests.pipeline.web.rig import Rig

pytestmark = NEEDS_CHROMIUM

SOURCES = (
    SourceHealth(
        role="visible", name="rtsp camera", state="live", fps=30.0, frames=900, age_s=0.01, size_wh=(320, 240)
    ),
    SourceHealth(
        role="thermal", name="thermal camera", state="reconnecting", fps=8.9, frames=260, age_s=2.2, reconnects=2
    ),
)


def test_a_box_drawn_on_the_scaled_picture_starts_on_the_frame_that_was_seen(tmp_path: Path) -> None:
    # A short shelf, so that only the hold keeps the frame while the box is being drawn.
    with Rig(tmp_path, sources=SOURCES, shelf=ShelfConfig(pairs=20)) as rig, browser() as driver:
        open_page(driver, rig)
        place = place_of(driver, "picture")
        scale = place["w"] / 320
        assert scale > 1.5
        assert abs(place["h"] / 240 - scale) < 0.02
        begin = round(place["x"] + 61 * scale), round(place["y"] + 42 * scale)
        end = round(place["x"] + 143 * scale), round(place["y"] + 118 * scale)
        drag(driver, begin, end)
        wait_until(lambda: driver.find_element(By.ID, "target-count").text == "1")
        keep_screenshot(driver, "desk")
        assert complaints(driver) == []
        wait_until(lambda: any(line["targets"] for line in rig.lines()))
        added = rig.control.state  # the run goes on
        assert not added.paused
    first = next(line for line in rig.lines() if line["targets"])
    box = first["targets"][0]["box"]
    expected = [
        (begin[0] - place["x"]) / scale,
        (begin[1] - place["y"]) / scale,
        (end[0] - begin[0]) / scale,
        (end[1] - begin[1]) / scale,
    ]
    assert box == pytest.approx(expected, abs=1.0)
    assert [line["index"] for line in rig.lines()] == sorted({line["index"] for line in rig.lines()})


def test_the_frame_of_the_box_is_the_one_on_the_screen(tmp_path: Path) -> None:
    with Rig(tmp_path, shelf=ShelfConfig(pairs=20)) as rig, browser() as driver:
        open_page(driver, rig)
        place = place_of(driver, "picture")
        start = round(place["x"] + 30), round(place["y"] + 30)
        press(driver, start)
        seen = shown(driver)
        wait_until(lambda: rig.hub.latest is not None and rig.hub.latest.result.pair.index > seen + 30)
        assert shown(driver) == seen
        release(driver, (start[0] + 90, start[1] + 60))
        wait_until(lambda: any(line["targets"] for line in rig.lines()))
        first = next(line for line in rig.lines() if line["targets"])
        assert first["index"] == seen
        wait_until(lambda: shown(driver) > seen + 30)


def test_views_pause_record_and_keys(tmp_path: Path) -> None:
    with Rig(tmp_path, sources=SOURCES) as rig, browser() as driver:
        open_page(driver, rig)
        body = driver.find_element(By.TAG_NAME, "body")
        for key, view, panels in (("2", "visible", 1), ("3", "thermal", 1), ("5", "tint", 1), ("4", "side", 2)):
            body.send_keys(key)
            wait_until(lambda view=view: shown(driver, "view") == view)
            assert shown(driver, "panels") == panels
        place = place_of(driver, "picture")
        assert place["w"] / place["h"] == pytest.approx(2 * 320 / 240, rel=0.02)
        # A box on the right picture of two lies in the same pixels as on the left one.
        scale = place["w"] / 640
        x, y = place["x"] + (320 + 100) * scale, place["y"] + 60 * scale
        drag(driver, (round(x), round(y)), (round(x + 50 * scale), round(y + 40 * scale)))
        wait_until(lambda: any(line["targets"] for line in rig.lines()))
        box = next(line for line in rig.lines() if line["targets"])["targets"][0]["box"]
        assert box == pytest.approx([100, 60, 50, 40], abs=1.0)
        keep_screenshot(driver, "desk-side")
        driver.find_element(By.CSS_SELECTOR, "[data-view=fused]").click()
        wait_until(lambda: shown(driver, "view") == "fused")

        body.send_keys(" ")
        wait_for_state(driver, "paused")
        assert rig.control.state.paused
        driver.find_element(By.ID, "pause").click()
        wait_for_state(driver, "live")
        body.send_keys("r")
        wait_until(lambda: driver.find_element(By.ID, "record").get_attribute("aria-pressed") == "true")
        assert rig.control.state.recording

        body.send_keys("n")
        body.send_keys(Keys.ARROW_RIGHT + Keys.ARROW_DOWN + Keys.ENTER)
        wait_until(lambda: driver.find_element(By.ID, "target-count").text == "2")
        body.send_keys("x2")
        wait_until(lambda: driver.find_element(By.ID, "target-count").text == "1")
        place = place_of(driver, "picture")
        tap(driver, (place["x"] + 125 / 320 * place["w"], place["y"] + 80 / 240 * place["h"]))
        wait_until(lambda: driver.find_element(By.ID, "target-count").text == "0")

        choose(driver, "pooling", "max")
        wait_until(lambda: rig.control.state.fusion is not None and rig.control.state.fusion.pooling == "max")
        body.send_keys("s")
        wait_until(lambda: bool(driver.find_elements(By.PARTIAL_LINK_TEXT, "-fused.png")))
        assert complaints(driver) == []


def test_the_page_comes_back_when_the_server_does(tmp_path: Path) -> None:
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    first_folder.mkdir()
    second_folder.mkdir()
    with browser() as driver:
        with Rig(first_folder) as rig:
            port = rig.server.port
            open_page(driver, rig)
        wait_for_state(driver, "lost")
        assert driver.find_element(By.ID, "veil").is_displayed()
        # Lost connections are all that the browser may complain about, and it does so by itself.
        assert all("WebSocket connection" in text or "ERR_CONNECTION" in text for text in complaints(driver))
        with Rig(second_folder, web=f"127.0.0.1:{port}") as rig:
            wait_for_state(driver, "live")
            wait_until(lambda: not driver.find_element(By.ID, "veil").is_displayed())
            frame = shown(driver)
            wait_until(lambda: shown(driver) > frame)


def test_the_page_fits_a_phone(tmp_path: Path) -> None:
    with Rig(tmp_path, sources=SOURCES, token="a token of some length") as rig, browser(PHONE) as driver:
        driver.get(rig.server.url)
        keep_screenshot(driver, "phone-login")
        driver.find_element(By.ID, "token").send_keys("a token of some length" + Keys.ENTER)
        wait_until(lambda: bool(driver.find_elements(By.ID, "veil")))
        wait_until(lambda: not driver.find_element(By.ID, "veil").is_displayed())
        place = place_of(driver, "picture")
        drag(
            driver,
            (round(place["x"] + 0.3 * place["w"]), round(place["y"] + 0.3 * place["h"])),
            (round(place["x"] + 0.6 * place["w"]), round(place["y"] + 0.7 * place["h"])),
        )
        wait_until(lambda: driver.find_element(By.ID, "target-count").text == "1")
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= PHONE[0]
        small = driver.execute_script(
            "return [...document.querySelectorAll('.toolbar button')].filter(b => b.offsetParent !== null)"
            ".map(b => b.getBoundingClientRect()).filter(r => r.width < 44 || r.height < 44).length"
        )
        assert small == 0
        keep_screenshot(driver, "phone")
        driver.execute_script("window.scrollTo(0, document.body.scrollHeight)")
        keep_screenshot(driver, "phone-end")
        # The first answer asks for the token (401), which the browser notes.
        assert all("401" in text for text in complaints(driver))


def test_where_websockets_do_not_get_through_pictures_and_commands_do(tmp_path: Path) -> None:
    with Rig(tmp_path, sources=SOURCES) as rig, browser() as driver:
        broken = """window.WebSocket = class {
            static OPEN = 1;
            readyState = 3;
            constructor() { setTimeout(() => this.onclose({ code: 1006 }), 5); }
        };"""
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
        driver.get(rig.server.url)
        picture = "const i = document.getElementById('fallback'); return i.hidden ? 0 : i.naturalWidth"
        wait_until(lambda: driver.execute_script(picture) == 320)
        driver.find_element(By.CSS_SELECTOR, "[data-view=side]").click()
        wait_until(lambda: driver.execute_script(picture) == 640)
        driver.find_element(By.ID, "pause").click()
        wait_until(lambda: rig.control.state.paused)
        wait_until(lambda: driver.find_element(By.ID, "pause").get_attribute("aria-pressed") == "true")
        assert not driver.find_element(By.ID, "veil").is_displayed()
        assert complaints(driver) == []
