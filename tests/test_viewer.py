"""The live viewer, in a real browser and without one."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.state_chart import StateHistory
from live.tracked_pose import TrackedPose
from live.viewer import Viewer
from live.viewer_event import ViewerEvent
from live.viewer_picture import PictureMaker, fit_to_screen, screen_to_pixel
from live.viewer_scene import thin_cloud
from pose6d.errors import MissingDependencyError, OptionError, OutputError
from pose6d.rendering import make_renderer
from pose6d.scenes.frame import Frame
from tests.rendering_scenes import draw
from tests.report_runs import BOX, K, make_pose

SIZE = (120, 160)


def make_frame(index: int = 0) -> Frame:
    """A box before a grey wall."""
    drawn = draw(make_renderer(BOX, "cpu"), make_pose(index), K, SIZE)
    mask = drawn.mask[0].numpy()
    rgb = np.where(mask[..., None], (255 * drawn.color[0].numpy()).astype(np.uint8), np.uint8(120))
    return Frame(f"{index:04d}", rgb, np.where(mask, drawn.depth[0].numpy(), 0.8).astype(np.float32), K)


def tracked(state: Any = "tracking", name: str = "box", confidence: float | None = 0.9) -> TrackedPose:
    return TrackedPose(name, state, None if state == "lost" else make_pose(0).astype(np.float32), confidence)


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    pytest.importorskip("viser", reason="the extra [viewer] is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Viewer([("box", BOX), ("other <b>", BOX)], port=port) as opened:
        yield opened


class LivePage:
    """The viewer's page, what it complained of, and what it asked for."""

    def __init__(self, browser: Any, viewer: Viewer, width: int, height: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, has_touch=width < 500)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda opened: self.requests.append(opened.url))
        self.viewer = viewer
        self.page.goto(viewer.url)

    def _note(self, message: Any) -> None:
        """Note errors; not that a picture was replaced before a busy machine had shown it."""
        if message.type == "error" and not message.location["url"].startswith("blob:"):
            self.errors.append(message.text)

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        """What `condition` returns as soon as that is true, while frames go on coming."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.viewer.show(make_frame(), [tracked(), tracked("lost", "other <b>")], 29.9, 0.012)
            found = condition()
            if found:
                return found
            self.page.wait_for_timeout(200)
        raise AssertionError("it never came true")

    def press(self, label: str) -> None:
        self.page.get_by_role("button", name=label, exact=True).click()

    def has_button(self, label: str) -> bool:
        return self.page.get_by_role("button", name=label, exact=True).count() == 1

    def picture(self) -> bool:
        return self.page.evaluate("[...document.images].some(image => image.naturalWidth === 160)")

    def check(self) -> None:
        assert self.errors == []
        own = re.compile(rf"(http|ws)://(localhost|127\.0\.0\.1):{self.viewer.url.rpartition(':')[2]}/|blob:|data:")
        assert [url for url in self.requests if not own.match(url)] == []


def test_the_page_shows_what_is_tracked_and_takes_orders(viewer: Viewer, browser: Any) -> None:
    live = LivePage(browser, viewer, 800, 600)
    live.until(live.picture)
    live.until(lambda: live.page.locator("svg[role=img]").count() == 2)
    text = live.page.locator("body").inner_text()
    assert "29.9 frames/s" in text
    assert "12 ms" in text
    assert "tracking" in text
    assert "lost" in text
    assert "other <b>" in text

    live.press("Find again")
    assert live.until(viewer.events) == [ViewerEvent("find_again", "box")]
    live.press("Record")
    assert live.until(viewer.events) == [ViewerEvent("record", on=True)]
    live.until(lambda: live.has_button("Stop recording"))
    live.press("Stop recording")
    assert live.until(viewer.events) == [ViewerEvent("record", on=False)]
    live.press("Stop")
    assert live.until(viewer.events) == [ViewerEvent("stop")]
    live.check()
    live.page.close()


@pytest.mark.parametrize("size", [(800, 600), (390, 844)])
def test_an_object_is_chosen_in_the_picture(viewer: Viewer, browser: Any, size: tuple[int, int]) -> None:
    live = LivePage(browser, viewer, *size)
    live.until(live.picture)
    assert live.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    canvas = live.page.locator("canvas").first.bounding_box()
    scale = min(canvas["width"] / SIZE[1], canvas["height"] / SIZE[0])
    left = canvas["x"] + (canvas["width"] - scale * SIZE[1]) / 2

    def screen(x: float, y: float) -> tuple[float, float]:
        return left + scale * (x + 0.5), canvas["y"] + scale * (y + 0.5)

    live.press("Choose by click")
    live.until(lambda: live.has_button("Cancel"))
    live.page.wait_for_timeout(500)
    (live.page.touchscreen.tap if size[0] < 500 else live.page.mouse.click)(*screen(100, 90))
    (event,) = live.until(viewer.events)
    assert (event.kind, event.name) == ("point", "box")
    assert np.abs(np.subtract(event.place, (100, 90))).max() <= 1

    live.until(lambda: live.has_button("Choose by click"))
    live.press("Choose by box")
    live.until(lambda: live.has_button("Cancel"))
    live.page.wait_for_timeout(500)
    live.page.mouse.move(*screen(60, 70))
    live.page.mouse.down()
    live.page.mouse.move(*screen(90, 100), steps=5)
    live.page.mouse.move(*screen(120, 110), steps=5)
    live.page.mouse.up()
    (event,) = live.until(viewer.events)
    assert event.kind == "box"
    assert np.abs(np.subtract(event.place, (60, 70, 61, 41))).max() <= 2
    live.check()
    live.page.close()


def test_showing_a_frame_does_not_wait(viewer: Viewer) -> None:
    frame, poses = make_frame(), [tracked()]
    began = time.monotonic()
    for _ in range(1000):
        viewer.show(frame, poses, 30.0, 0.01)
    assert time.monotonic() - began < 1


def test_a_port_in_use_is_named_with_its_cure() -> None:
    pytest.importorskip("viser", reason="the extra [viewer] is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=rf"127\.0\.0\.1:{port} .*take another port"):
            Viewer([("box", BOX)], port=port)
    with pytest.raises(OutputError, match="another host"):
        Viewer([("box", BOX)], host="192.0.2.1")
    with pytest.raises(OptionError, match="99999: wanted 1 to 65535"):
        Viewer([("box", BOX)], port=99999)


def test_without_viser_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pose6d\[viewer\]'"):
        Viewer([("box", BOX)])


def test_starting_and_closing_prints_nothing(viewer: Viewer, capfd: pytest.CaptureFixture[str]) -> None:
    viewer.close()
    viewer.close()
    assert capfd.readouterr().out == ""


def test_the_picture_is_marked_in_the_color_of_the_state() -> None:
    maker, frame = PictureMaker(), make_frame()
    assert np.array_equal(maker.draw(frame, [tracked()]), frame.rgb)  # nothing is known of the object yet
    maker.add("box", BOX)
    assert np.array_equal(maker.draw(frame, [tracked("lost")]), frame.rgb)
    green = maker.draw(frame, [tracked("tracking")]).astype(int)
    amber = maker.draw(frame, [tracked("doubtful")]).astype(int)
    differs = (green != amber).any(axis=2)
    assert differs.mean() > 0.01
    assert (amber - green)[differs][:, 0].mean() > 50  # amber has more red


def test_a_large_picture_is_shown_small_and_marked_at_the_same_place() -> None:
    frame = make_frame()
    large = Frame(
        "large", *(np.kron(a, np.ones((8, 8, *[1] * (a.ndim - 2)), a.dtype)) for a in (frame.rgb, frame.depth)), K
    )
    large.K = K.copy()
    large.K[:2, 2] += 0.5
    large.K[:2] *= 8
    large.K[:2, 2] -= 0.5
    maker = PictureMaker()
    maker.add("box", BOX)
    drawn = maker.draw(large, [tracked()])
    assert drawn.shape == (480, 640, 3)
    changed = (drawn.astype(int) - maker.draw(large, [])).any(axis=2)
    seen = np.kron(frame.depth < 0.79, np.ones((4, 4), bool))
    rows, columns = np.nonzero(seen)
    assert changed[rows.min() - 8 : rows.max() + 8, columns.min() - 8 : columns.max() + 8].sum() > 0.6 * changed.sum()


@pytest.mark.parametrize("aspect", [0.46, 1.0, 4 / 3, 2.5])
def test_a_place_on_the_screen_is_the_pixel_that_is_seen_there(aspect: float) -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[70, 30] = 255
    canvas = fit_to_screen(picture, aspect)
    assert canvas.shape[1] / canvas.shape[0] == pytest.approx(aspect, rel=0.02)
    ((row, column),) = np.argwhere(canvas[..., 0] == 255)
    place = ((column + 0.5) / canvas.shape[1], (row + 0.5) / canvas.shape[0])
    assert np.abs(np.subtract(screen_to_pixel(place, (160, 120), aspect), (30, 70))).max() <= 1
    assert screen_to_pixel((1.0, 1.0), (160, 120), aspect) == (159, 119)


def test_the_cloud_is_thin_and_metric() -> None:
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, :320] = 0
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    points, colors, spacing = thin_cloud(Frame("wall", np.zeros((480, 640, 3), np.uint8), depth, intrinsics))
    assert len(points) == len(colors) < 20_000
    assert points.min(axis=0) == pytest.approx([0, -0.96, 2])
    assert np.diff(np.unique(points[:, 0])).max() == pytest.approx(spacing, rel=1e-3)


def test_the_chart_tells_states_and_gaps() -> None:
    history = StateHistory("<cup>")
    assert "not seen yet" in history.html()
    for i in range(100):
        state = "lost" if 40 <= i < 60 else "tracking"
        history.add(0.1 * i, tracked(state, confidence=None if i == 20 else 0.5))
    drawn = history.html()
    assert "<cup>" not in drawn
    assert len(re.findall("<rect", drawn)) == 3
    assert len(re.findall("<polyline", drawn)) == 4  # one of three runs has a gap
    assert "50 %" in drawn
    history.add(1000.0, tracked("doubtful", confidence=None))
    assert len(re.findall("<rect", history.html())) == 1  # what is long ago is not shown


def test_numba_is_imported_before_the_viewer_has_threads(repository: Path) -> None:
    """Networks on a CPU import it, too, in the main thread: two imports at once leave numba half imported in both."""
    script = "import sys, live.viewer; sys.exit('numba.extending' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=repository, timeout=120).returncode == 0
