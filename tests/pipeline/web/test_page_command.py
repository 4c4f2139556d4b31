"""The page of the real command with the real default tracker, driven in headless Chromium."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from tests.pipeline.waiting import wait_until
from tests.pipeline.web.chromium import (
    NEEDS_CHROMIUM,
    By,
    Keys,
    browser,
    choose,
    complaints,
    keep_screenshot,
    place_of,
    press,
    release,
    shown,
    tap,
    wait_for_state,
)
from tests.pipeline.web.command import get, serving, started, synthetic
from trackers.box import Box, iou

pytestmark = NEEDS_CHROMIUM

SIZE_WH = (320, 240)
LENGTH = 9000
# Networks are loaded and warmed up on machines that have other work.
PATIENCE_S = 120
PROFILE = "scale: 0.01\noffset: -273.15\n"


def arguments(folder: Path, address: str) -> list[str]:
    profile = folder / "thermal.yaml"
    profile.write_text(PROFILE)
    thermal = ["--set=source.thermal_options.thermal_16bit=true", f"--set=source.thermal_options.profile={profile}"]
    # A box in a corner stands in for the targets that the scene would name by itself.
    return [*synthetic(LENGTH, SIZE_WH), *thermal, "--web", address, "--tracker", "siamrpn-lite", "--box", "2,2,12,12"]


def open_command(driver: Any, host: str) -> None:
    wait_until(lambda: serving(host), PATIENCE_S)
    driver.get(f"http://{host}/")
    wait_until(lambda: not driver.find_element(By.ID, "veil").is_displayed(), PATIENCE_S)
    wait_until(lambda: shown(driver) > 10, PATIENCE_S)  # the first pairs through a network take long


def lines_of(out: Path) -> list[dict[str, Any]]:
    text = (out / "results.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def target_boxes(lines: list[dict[str, Any]], target: int) -> dict[int, Box]:
    return {line["index"]: Box(*entry["box"]) for line in lines for entry in line["targets"] if entry["id"] == target}


def choose_walker(scene: SyntheticScene, frame: int) -> int | None:
    """The largest thing in plain sight, well inside the picture, from this frame on for a while, or None."""

    def good(number: int, index: int) -> bool:
        box = scene.boxes(index)[number]
        if box is None or scene.visibility(index)[number] < 0.9:
            return False
        return box.x > 4 and box.y > 4 and box.x + box.w < SIZE_WH[0] - 4 and box.y + box.h < SIZE_WH[1] - 4

    moments = range(frame, frame + 48, 12)
    candidates = [n for n in range(len(scene.boxes(frame))) if all(good(n, index) for index in moments)]
    boxes = scene.boxes(frame)
    return max(candidates, key=lambda number: (boxes[number] or Box(0, 0, 1, 1)).area, default=None)


def test_a_target_is_drawn_followed_and_written_and_the_run_is_steered(tmp_path: Path) -> None:
    out = tmp_path / "out"
    scene = SyntheticScene(SyntheticConfig(seed=3, size_wh=SIZE_WH, length=LENGTH))
    with browser() as driver:
        with started(out, *arguments(tmp_path, "127.0.0.1:0")) as (process, host):
            open_command(driver, host)
            place = place_of(driver, "picture")
            scale = place["w"] / SIZE_WH[0]

            def on_page(x: float, y: float) -> tuple[int, int]:
                return round(place["x"] + x * scale), round(place["y"] + y * scale)

            truth = None
            for _ in range(40):
                now = shown(driver)
                walker = choose_walker(scene, now)
                if walker is None:
                    time.sleep(0.5)
                    continue
                expected = scene.boxes(now + 3)[walker]
                assert expected is not None
                begin = on_page(expected.x, expected.y)
                press(driver, begin)
                seen = shown(driver)
                truth = scene.boxes(seen)[walker]
                if truth is not None and abs(truth.x - expected.x) < 5:
                    break
                truth = None
                # Where pairs are dropped it may have walked on; a person would try again.
                driver.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
                release(driver, begin)
            assert truth is not None
            assert walker is not None
            end = on_page(truth.x + truth.w, truth.y + truth.h)
            time.sleep(1.0)  # a person takes a while; the picture stands still
            assert shown(driver) == seen
            release(driver, end)
            wait_until(lambda: bool(target_boxes(lines_of(out), 2)), PATIENCE_S)
            drawn = Box(
                (begin[0] - place["x"]) / scale,
                (begin[1] - place["y"]) / scale,
                (end[0] - begin[0]) / scale,
                (end[1] - begin[1]) / scale,
            )
            wait_until(lambda: max(target_boxes(lines_of(out), 2)) > seen + 45, PATIENCE_S)
            boxes = target_boxes(lines_of(out), 2)
            assert min(boxes) == seen
            assert boxes[seen].as_tuple() == pytest.approx(drawn.as_tuple(), abs=1.0)
            # It is truly followed, at least until the machine drops many pairs in a row.
            indexes = sorted(boxes)
            gaps = [after - before for before, after in pairwise(indexes)]
            steady = next((number + 1 for number, gap in enumerate(gaps) if gap > 6), len(indexes))
            overlaps = [iou(boxes[index], scene.boxes(index)[walker] or boxes[index]) for index in indexes[:steady]]
            assert np.mean(overlaps[:60]) > 0.5
            keep_screenshot(driver, "command-fused")

            body = driver.find_element(By.TAG_NAME, "body")
            for key, view in (("2", "visible"), ("3", "thermal"), ("4", "side"), ("5", "tint"), ("1", "fused")):
                body.send_keys(key)
                wait_until(lambda view=view: shown(driver, "view") == view)
                keep_screenshot(driver, f"command-{view}")
            for field, value in (("method", "laplacian"), ("method", "nestfuse-lite"), ("pooling", "max")):
                choose(driver, field, value)
                wait_until(lambda f=field, v=value: get(host, "/api/status")["run"]["fusion"][f] == v, PATIENCE_S)
            wait_until(lambda: driver.find_element(By.ID, "run-title").text.startswith("nestfuse-lite + siamrpn-lite"))
            body.send_keys("m")
            tap(driver, on_page(SIZE_WH[0] / 2, SIZE_WH[1] / 2))
            wait_until(lambda: "°C" in driver.find_element(By.ID, "probes").text)
            assert complaints(driver) == []
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 130
        wait_for_state(driver, "lost")
        complaints(driver)  # the browser notes that the run is gone
        with started(tmp_path / "again", *arguments(tmp_path, host), "--tracker", "none", "--fuser", "average") as (
            _,
            same_host,
        ):
            assert same_host == host
            wait_until(lambda: serving(host), PATIENCE_S)
            wait_for_state(driver, "live")
            wait_until(lambda: not driver.find_element(By.ID, "veil").is_displayed(), PATIENCE_S)
            frame = shown(driver)
            wait_until(lambda: shown(driver) > frame)
    with av.open(str(out / "fused.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(lines_of(out))
