"""The page about a run, opened from disk in a real browser: nothing fails, and what it shows can be handled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pose6d.rendering import make_renderer
from pose6d.report import html_report
from pose6d.report.overlay import silhouette
from tests.report_runs import BOX, FRAMES, HOSTILE, K, make_pose, write_page


class Opened:
    """A page, what it complained of, and what it asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1440, height: int = 900, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, **options)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.until("document.querySelector('video')?.readyState >= 2 || !!document.querySelector('#screen img')")

    def until(self, expression: str) -> None:
        """Wait until it is true; Playwright's own way needs eval, which the page forbids."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def picture(self, selector: str) -> np.ndarray:
        """What is seen of an element, (H, W, 3)."""
        self.page.wait_for_timeout(150)
        data = self.page.locator(selector).first.screenshot()
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def check(self) -> None:
        assert self.errors == []
        outside = [url for url in self.requests if not url.startswith(("file:", "blob:", "data:"))]
        assert outside == []


def changed(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pixels that differ visibly."""
    return float((np.abs(a.astype(int) - b).max(axis=2) > 20).mean())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_the_page_opens_and_fits(browser: Any, compared: Path, size: tuple[int, int], scheme: str) -> None:
    with Opened(browser, compared, *size, color_scheme=scheme) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate("document.querySelector('video').videoWidth") == 160
        assert opened.picture("#screen").std() > 5
        assert opened.picture("#space canvas").std() > 5
        assert page.locator(".chart svg").count() == 14
        assert page.locator("h1").inner_text() == HOSTILE.replace("/", "|")
        assert "180" not in page.locator(".warnings").inner_text()
        assert "depth is truncated </script>" in page.locator(".warnings").inner_text()
        assert "closest to the prediction" in page.locator("main").inner_text()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        level = np.mean([int(x) for x in re.findall(r"\d+", background)])
        assert level > 200 if scheme == "light" else level < 60
        opened.check()


def test_charts_zoom_and_tell_values(browser: Any, compared: Path) -> None:
    with Opened(browser, compared) as opened:
        page, chart = opened.page, opened.page.locator(".chart svg").first
        chart.scroll_into_view_if_needed()
        before, box = opened.picture(".chart svg"), chart.bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 0.5 * box["width"], middle)
        tip, place = page.locator(".tip").inner_text(), page.locator(".tip").bounding_box()
        assert box["x"] + 0.5 * box["width"] < place["x"] < box["x"] + 0.6 * box["width"]
        assert box["y"] <= place["y"] < middle
        assert re.search(r"0\.\d\d s · frame 00\d\d", tip)
        assert re.search(r"prediction −?\d+\.\d\d cm", tip)
        page.mouse.move(box["x"] + 0.3 * box["width"], middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], middle, steps=4)
        page.mouse.up()
        page.mouse.move(0, 0)
        zoomed = opened.picture(".chart svg")
        assert changed(before, zoomed) > 0.01
        assert page.locator("[data-tools] button", has_text="All").first.is_enabled()
        chart.dblclick()
        page.locator("#frame").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
        page.mouse.move(0, 0)
        assert changed(before, opened.picture(".chart svg")) < 0.002
        chart.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#now").inner_text().endswith("frame 0001")
        assert "Frame 0001, ground truth" in page.locator("#spoken").inner_text()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").first.click()
        lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        assert len(lines) == 1 + FRAMES
        assert lines[0].startswith('frame,seconds,"Translation X, ground truth (cm)","Translation X, prediction (cm)"')
        opened.check()


def test_the_scene_turns_and_follows_the_frame(browser: Any, compared: Path) -> None:
    with Opened(browser, compared) as opened:
        page = opened.page
        first = opened.picture("#space canvas")
        box = page.locator("#space canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 120, y + 40, steps=5)
        page.mouse.up()
        turned = opened.picture("#space canvas")
        assert changed(first, turned) > 0.05
        page.mouse.wheel(0, -400)
        assert changed(turned, opened.picture("#space canvas")) > 0.05
        page.get_by_role("button", name="Reset").click()
        assert changed(first, opened.picture("#space canvas")) < 0.002
        page.locator("#frame").evaluate("e => { e.value = 20; e.dispatchEvent(new Event('input')); }")
        moved = opened.picture("#space canvas")
        assert changed(first, moved) > 0.005
        assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(20.5 / 15)
        page.get_by_role("button", name="Camera moves").click()
        assert changed(moved, opened.picture("#space canvas")) > 0.02
        opened.check()


def test_the_camera_view_is_the_picture(browser: Any, compared: Path) -> None:
    """Through the recording camera, the posed mesh lies where the recording shows the object."""
    with Opened(browser, compared) as opened:
        page = opened.page
        for part in ("Points", "Path"):
            page.get_by_role("checkbox", name=part).uncheck()
        page.get_by_role("button", name="Camera view").click()
        picture = opened.picture("#space canvas")
    seen = np.abs(picture.astype(int) - picture[2, 2]).max(axis=2) > 12
    mask = silhouette(make_renderer(BOX, "cpu"), make_pose(0), K, (120, 160))
    large = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1]) > 0
    assert (seen & large).sum() / (seen | large).sum() > 0.95


def test_fingers_turn_and_pinch(browser: Any, compared: Path) -> None:
    with Opened(browser, compared, 390, 844, has_touch=True) as opened:
        page = opened.page
        page.locator("#space").scroll_into_view_if_needed()
        first, box = opened.picture("#space canvas"), page.locator("#space canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        session = page.context.new_cdp_session(page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            session.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]}
            )

        touch("touchStart", (x, y))
        touch("touchMove", (x + 60, y + 20))
        touch("touchEnd")
        turned = opened.picture("#space canvas")
        assert changed(first, turned) > 0.05
        touch("touchStart", (x - 20, y), (x + 20, y))
        touch("touchMove", (x - 60, y), (x + 60, y))
        touch("touchEnd")
        assert changed(turned, opened.picture("#space canvas")) > 0.05
        opened.check()


def test_a_run_without_truth_has_a_page(browser: Any, tmp_path: Path) -> None:
    with Opened(browser, write_page(tmp_path, compare=False)) as opened:
        page = opened.page
        assert page.locator(".chart svg").count() == 6
        assert not page.locator("#error-title").is_visible()
        assert page.get_by_text("Ground truth", exact=True).filter(visible=True).count() == 0
        page.get_by_role("button", name="Play").click()
        opened.until("Number(document.getElementById('frame').value) > 2")
        page.get_by_role("button", name="Pause").click()
        opened.check()


def test_a_page_without_video_shows_its_frames(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "shrink_video", lambda *_: b"")
    with Opened(browser, write_page(tmp_path, compare=False)) as opened:
        first = opened.picture("#screen")
        assert first.std() > 5
        opened.page.locator("#strip button").last.click()
        assert changed(first, opened.picture("#screen")) > 0.02
        opened.check()
