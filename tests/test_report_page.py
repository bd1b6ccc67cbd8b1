"""The page about a run, opened from disk in a real browser: nothing fails, and what it shows can be handled."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pose6d.evaluation.comparison import compare_poses
from pose6d.evaluation.run_folder import RunFolder
from pose6d.evaluation.run_record import RunRecord
from pose6d.geometry.mesh import Mesh
from pose6d.geometry.symmetry import parse_symmetry
from pose6d.rendering import make_renderer
from pose6d.report import html_report
from pose6d.report.html_report import json_for_page, write_html_report
from pose6d.report.key_frames import KeyFrames
from pose6d.report.overlay import MAGENTA, PoseOverlay
from pose6d.report.result_writer import ResultWriter
from pose6d.report.run_facts import RunFacts, collecting_warnings, find_commit
from pose6d.report.scene_view import first_points, simplified
from pose6d.report.video import VideoWriter, shrunk_video
from pose6d.scenes.frame import Frame, Scene

K = np.array([[200.0, 0, 79.5], [0, 200.0, 59.5], [0, 0, 1]])
FRAMES = 24
HOSTILE = 'cup "5" & </script><b>'


def make_box(side: float = 0.1) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * side / 2
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])
    colors = np.array([[60 + 24 * i, 200 - 20 * i, 120] for i in range(8)], dtype=np.uint8)
    return Mesh(vertices=corners, faces=faces, colors=colors, name="models/box.ply")


def make_pose(index: int, error: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.4, 0.5 + 0.05 * index + error, 0.2]))[0]
    pose[:3, 3] = [0.004 * index - 0.05 + error / 5, 0.01 * np.sin(index / 3), 0.5 + 0.002 * index]
    return pose


class Recording(Scene):
    kind = "folder"
    description = "folder layout, for a test"

    def _read(self, index: int) -> Frame:
        raise NotImplementedError


def write_page(folder: Path, *, compare: bool, level: int = 1) -> Path:
    """Run nothing, but write the page as a run would."""
    mesh, record = make_box(), RunRecord()
    renderer = make_renderer(mesh, "cpu")
    symmetries = parse_symmetry("180 x").numpy() if compare else None
    background = np.random.default_rng(0).integers(90, 150, (120, 160, 3)).astype(np.uint8)
    with ResultWriter(
        RunFolder(folder), record, mesh, renderer, level, compare=compare, symmetries=symmetries
    ) as writer:
        for i in range(FRAMES):
            drawn = renderer.render(
                torch.as_tensor(make_pose(i)[None], dtype=torch.float32),
                torch.as_tensor(K, dtype=torch.float32),
                (120, 160),
            )
            mask = drawn.mask[0].numpy()
            rgb = np.where(mask[..., None], (255 * drawn.color[0].numpy()).astype(np.uint8), background)
            depth = np.where(mask, drawn.depth[0].numpy(), 0.8).astype(np.float32)
            frame = Frame(f"{i:04d}", rgb, depth, K, mask, make_pose(i) if compare else None)
            writer.write(frame, make_pose(i, 0.02 * np.sin(i)))
    record.seconds |= {"register": 1.5, "track": 2.0}
    record.add_details("track", {"refine": 1.2, "render": 0.4})
    record.failures["0099"] = "depth is truncated </script>"
    seconds = {name: i / 30 for i, name in enumerate(record.poses)}
    comparison = compare_poses(record.poses, record.truths, seconds, mesh, symmetries)
    settings = {"mesh_file": None, "compare": compare, "frames": HOSTILE}
    facts = RunFacts(
        Recording(folder / HOSTILE.replace("/", "|")), mesh, settings, torch.device("cpu"), folder, [HOSTILE]
    )
    return write_html_report(folder / "report.html", facts, record, writer, seconds, comparison)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("compared"), compare=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, since browsers that Playwright downloads lack H.264."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("there is no Chromium on the PATH")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=["--enable-unsafe-swiftshader"])
        yield launched
        launched.close()


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
    mask = (
        make_renderer(make_box(), "cpu")
        .render(
            torch.as_tensor(make_pose(0)[None], dtype=torch.float32),
            torch.as_tensor(K, dtype=torch.float32),
            (120, 160),
        )
        .mask[0]
    )
    large = cv2.resize(mask.numpy().astype(np.uint8), picture.shape[1::-1]) > 0
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
    monkeypatch.setattr(html_report, "shrunk_video", lambda *_: b"")
    with Opened(browser, write_page(tmp_path, compare=False)) as opened:
        first = opened.picture("#screen")
        assert first.std() > 5
        opened.page.locator("#strip button").last.click()
        assert changed(first, opened.picture("#screen")) > 0.02
        opened.check()


def test_the_page_is_one_small_file(compared: Path) -> None:
    text = compared.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", text.replace('href="data:,"', ""))
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert data["names"][-1] == "0023"
    assert len(data["charts"]) == 14
    assert all(len(s["values"]) == FRAMES for chart in data["charts"] for s in chart["series"])


def test_json_cannot_end_its_element() -> None:
    text = json_for_page({"name": "</script><!--"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><!--"}


def test_long_recordings_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "_MOST_FRAMES", 10)
    text = write_page(tmp_path, compare=True).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert data["names"] == [f"{i:04d}" for i in range(0, FRAMES, 3)]
    assert data["videoFps"] == 5
    assert all(len(s["values"]) == 8 for chart in data["charts"] for s in chart["series"])


def test_a_large_video_is_made_smaller(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    with VideoWriter(tmp_path / "noise.mp4") as video:
        for _ in range(45):
            video.write(generator.integers(0, 255, (240, 320, 3)).astype(np.uint8))
    size = (tmp_path / "noise.mp4").stat().st_size
    assert shrunk_video(tmp_path / "noise.mp4", size) == (tmp_path / "noise.mp4").read_bytes()
    small = shrunk_video(tmp_path / "noise.mp4", size // 3)
    assert 1000 < len(small) <= size // 3
    assert small[4:8] == b"ftyp"
    assert shrunk_video(tmp_path / "noise.mp4", 2000) == b""


def test_key_frames_stay_few_and_spread() -> None:
    frames = KeyFrames(most=8, width=32)
    for i in range(100):
        frames.add(str(i), np.full((48, 64, 3), i, dtype=np.uint8))
    numbers = [int(name) for name, _ in frames.pictures]
    assert 4 <= len(numbers) <= 8
    assert len(set(np.diff(numbers))) == 1
    assert numbers[0] == 0 and numbers[-1] >= 75
    assert cv2.imdecode(np.frombuffer(frames.pictures[0][1], np.uint8), 1).shape == (24, 32, 3)


def test_meshes_are_simplified_and_textures_kept() -> None:
    angles = np.linspace(0, np.pi, 200)
    u, v = (x.ravel() for x in np.meshgrid(2 * angles, angles))
    sphere = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=1) * 0.1
    index = np.arange(200 * 200).reshape(200, 200)
    a, b, c, d = (index[i : 199 + i, j : 199 + j].ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    mesh = Mesh(vertices=sphere, faces=np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]))
    vertices, faces, colors, normals = simplified(mesh)
    assert 2000 < len(faces) <= 16_000
    assert len(vertices) == len(colors) == len(normals) <= 65_535
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.1, atol=0.002)
    assert (np.einsum("ij,ij->i", normals, vertices) > 0.09).mean() > 0.98  # outwards still

    texture = np.zeros((2, 2, 3), dtype=np.uint8)
    texture[0, 1] = 255
    flat = Mesh(
        vertices=[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], faces=[[0, 1, 2], [0, 2, 3]],
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]], texture=texture,
    )  # fmt: skip
    vertices, faces, colors, _ = simplified(flat)
    white = colors[:, 0] == 255
    middle = vertices[faces].mean(axis=1)
    np.testing.assert_allclose(white.mean(), 0.25, atol=0.03)
    inside = np.abs(vertices[:, :2] - 0.5).min(axis=1) > 0.02
    edge = np.abs(vertices[:, :2] % 1).min(axis=1) > 0.01
    np.testing.assert_array_equal(white[inside & edge], (vertices[inside & edge, :2] > 0.5).all(axis=1))
    assert len(middle) >= 6000


def test_the_cloud_leaves_out_the_far_background() -> None:
    depth = np.full((120, 160), 5.0, dtype=np.float32)
    depth[40:80, 40:80] = 0.5
    depth[0, 0] = 0
    frame = Frame("0", np.zeros((120, 160, 3), dtype=np.uint8), depth, K)
    points, colors, spacing = first_points(frame, make_pose(0), 0.1)
    assert len(points) == len(colors) == 1600
    np.testing.assert_allclose(points[:, 2], 0.5)
    assert spacing == pytest.approx(1 / 200)


def test_the_overlay_shows_truth_beside_the_prediction() -> None:
    overlay, rgb = PoseOverlay(make_box(), make_renderer(make_box(), "cpu")), np.full((120, 160, 3), 90, np.uint8)
    plain, both = overlay.draw(rgb, make_pose(0), K), overlay.draw(rgb, make_pose(0), K, truth=make_pose(6))

    def magenta(image: np.ndarray) -> int:
        return int((np.abs(image.astype(int) - MAGENTA).max(axis=2) < 30).sum())

    assert magenta(plain) == 0
    assert magenta(both) > 100


def test_warnings_are_collected_and_still_shown(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: shown.append(str(message))  # type: ignore[assignment]
        with collecting_warnings() as found:
            for _ in range(2):
                warnings.warn("the texture is lost", stacklevel=1)
        warnings.warn("later", stacklevel=1)
    assert found == ["the texture is lost"]
    assert shown == ["the texture is lost"] * 2 + ["later"]


def test_a_folder_outside_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert find_commit(tmp_path) == ""
